# For Bats: partitions with the probe in them. `load ../lib/uv` comes first.
B=${B:-$BATS_TEST_DIRNAME/../../build}
PROBE=$BATS_TEST_DIRNAME/../probe

roots_make() { UV_ROOTS=$(mktemp -d /tmp/uv-roots-XXXXXX); export UV_ROOTS; chmod 700 "$UV_ROOTS"; }
roots_remove() { rm -rf --one-file-system "$UV_ROOTS"; }
# probe_root NAME: a root with the probe, and an init of its own
probe_root() {
    busybox_root "$UV_ROOTS/$1"; mkdir "$UV_ROOTS/$1/sbin"
    cp "$B/test/uvprobe" "$UV_ROOTS/$1/bin/"; cp "$B/test/own-init" "$UV_ROOTS/$1/sbin/init"
    ln -sf busybox "$UV_ROOTS/$1/bin/unshare"
}
probe_container() { # probe_container NAME LINES_OF_CONTAINER
    probe_root "$1"
    definition "$1" "[Partition]
Type=container
StopTimeout=10s
[CPU]
Share=0.2
[Memory]
Size=64M
[Container]
Root=$UV_ROOTS/$1
$2"
}
# probe PARTITION [OPTIONS OF EXEC]: the names of the acts that were allowed, sorted
probe() {
    local p=$1 tap=$BATS_TEST_TMPDIR/tap; shift
    uv exec "$@" "$p" -- uvprobe >"$tap" || true
    grep -qE '^# [0-9]+ of [0-9]+ allowed' "$tap" || { tail -n 3 "$tap" >&2; return 1; }
    sed -nE 's/^not ok [0-9]+ - ([^:]*): ALLOWED$/\1/p' "$tap" | sort
}
# listed NAME: what test/probe/NAME.allowed says
listed() { sed 's/ *#.*//' "$PROBE/$1.allowed" | { grep . || true; } | sort; }

# A monitor whose layers can be left out (test/test.mk), among the product's other programs.
barriers_make() {
    export TEST_BIN; TEST_BIN=$(mktemp -d /tmp/uv-bin-XXXXXX); chmod 755 "$TEST_BIN"
    cp "$ULV_BIN"/* "$TEST_BIN/"; cp "$B/test/barriers/uv-monitor-lxc" "$TEST_BIN/"
}
barriers_remove() { rm -rf "$TEST_BIN"; }
# Not every kernel has security hooks for us (6.0, lsm=...,bpf, and nobody who forbids to load programs).
hooked() { [[ "$(uv status app)" == *", security hooks"* ]]; }
# without BARRIER[+BARRIER...] [LIST]: what the probe may then, in an application as root, must be what is listed
without() {
    export ULTRAVISOR_TEST_BARRIER_OFF=$1
    ULV_BIN=$TEST_BIN; instance_up "$PART"
    rm -rf "$UV_ROOTS/app"; probe_container app 'Exec=sleep 100000'
    uv apply -y; uv start app
    probe app >"$BATS_TEST_TMPDIR/got"
    local list=${2:-without-$1}; [[ $1 != seccomp ]] || hooked || list=without-seccomp+hooks
    diff <(listed "$list") "$BATS_TEST_TMPDIR/got"
}
