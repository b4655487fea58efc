# For Bats: a standalone Ultravisor of the test's own. `load ../lib/uv` brings it in.
#   instance_up [INVENTORY_TEXT]   makes $ROOT and starts it; uv ... is uvctl on it
#   instance_down                  stops it and fails if anything was left behind
ULV_BIN=${ULV_BIN:-$BATS_TEST_DIRNAME/../../build/bin}
export ULV_BIN

uv() { "$ULV_BIN/uvctl" --root "$ROOT" "$@"; }

IMAGINED='[Machine]
Name=lab
Kind=imagined
UIDRanges=1-200
[Node "0"]
CPUs=0-7,16-23
ThreadStride=16
Memory=16G
[Node "1"]
CPUs=8-15,24-31
ThreadStride=16
Memory=16G'

# A part of this machine that enforces what the machine can: both CPUs, 4G. Prefix and uids of its own, so that
# two runs of the tests on one machine don't meet.
PART="[Machine]
Name=part
Kind=part
Prefix=b$$
UIDRanges=$((100 + $$ % 1700))-$((250 + $$ % 1700))
[Node \"0\"]
CPUs=0-1
Memory=4G"

instance_make() {
    ROOT=$(mktemp -d /tmp/uv-bats-XXXXXX); chmod 755 "$ROOT"; export ROOT
    mkdir -p "$ROOT/etc/ultravisor/partitions" "$ROOT/etc/ultravisor/policies"
    printf '%s\n' "${1:-$IMAGINED}" >"$ROOT/machine.inventory"
}
instance_start() {
    # fd 3 is Bats' own; a daemon that inherits it keeps Bats waiting.
    setsid ${ULV_UNDER:-} "$ULV_BIN/uvd" --standalone --root "$ROOT" --inventory "$ROOT/machine.inventory" >>"$ROOT/log" 2>&1 </dev/null 3>&- &
    LAUNCH=$!
    local i
    for i in $(seq 200); do
        uv list >/dev/null 2>&1 && return 0
        kill -0 "$LAUNCH" 2>/dev/null || { cat "$ROOT/log" >&2; return 1; }
        sleep 0.05
    done
    echo "the instance doesn't answer" >&2; tail -n 30 "$ROOT/log" >&2; return 1
}
instance_up() { instance_make "$@"; instance_start; }
instance_stop() {
    [ -n "${LAUNCH:-}" ] || return 0
    kill -TERM "$LAUNCH" 2>/dev/null || true
    local i
    for i in $(seq 400); do kill -0 "$LAUNCH" 2>/dev/null || break; sleep 0.05; done
    if kill -0 "$LAUNCH" 2>/dev/null; then echo "uv-launch doesn't end" >&2; kill -KILL "$LAUNCH"; return 1; fi
    wait "$LAUNCH" 2>/dev/null || true
    LAUNCH=
}
# Processes, mounts and cgroups that name this instance.
leftovers() {
    local p
    # One grep for all: in the VM a process costs 30 ms, and the machine has 200.
    for p in $(grep -lszxF "ULTRAVISOR_ROOT=$ROOT" /proc/[0-9]*/environ); do
        p=${p%/environ}
        [ "${p#/proc/}" = $$ ] || echo "process ${p#/proc/}: $(tr '\0' ' ' <"$p/cmdline")"
    done
    grep -F "$ROOT" /proc/self/mountinfo | sed 's/^/mount: /'
    if [ -n "${CGROUP:-}" ] && [ -d "$CGROUP" ]; then find "$CGROUP" -type d | sed 's/^/cgroup: /'; fi
    return 0
}
instance_down() {
    local left status=0
    instance_stop || status=1
    left=$(leftovers)
    [ -z "$left" ] || { echo "left behind:" >&2; echo "$left" >&2; status=1; }
    if [ $status = 0 ] && [ -z "${ULV_KEEP:-}" ]; then rm -rf --one-file-system "$ROOT"; else echo "kept: $ROOT" >&2; fi
    return $status
}

# definition NAME TEXT: writes it as by hand.
definition() { printf '%s\n' "$2" >"$ROOT/etc/ultravisor/partitions/$1.partition"; }
policy() { printf '%s\n' "$2" >"$ROOT/etc/ultravisor/policies/$1.policy"; }
sim() { # sim NAME "Cores=2" "1G" [more lines]
    definition "$1" "[Partition]
Type=sim
${4:-}
[CPU]
$2
[Memory]
Size=$3"
}
sleeper() { # sleeper NAME [lines of [Container], and more sections]: a container below $ROOT/tree that does nothing
    definition "$1" "[Partition]
Type=container
StopTimeout=5s
[CPU]
Share=0.1
[Memory]
Size=64M
[Container]
Root=$ROOT/tree
Exec=sleep 10000
${2:-}
${3:-}"
}
field() { uv list -a -o json | jq -r --arg n "$1" '.[] | select(.Name == $n) | .'"$2"; }
# pid_of PROGRAM: pids of a role of this instance, by its executable's name and its environment.
pids_of() {
    local p exe
    # One grep for all: a process for each of the machine's is a second, under load.
    for p in $(grep -lszxF "ULTRAVISOR_ROOT=$ROOT" /proc/[0-9]*/environ); do
        p=${p%/environ}
        exe=$(readlink "$p/exe" 2>/dev/null) || continue
        exe=${exe% (deleted)}       # an upgrade took its place
        [ "${exe##*/}" != "$1" ] || echo "${p#/proc/}"
    done
    return 0
}
# The monitor, and the uv-port, of one partition.
monitor_of() { named uv-monitor-lxc "$1"; }
port_of() { named uv-port "$1"; }
named() { local p; for p in $(pids_of "$1"); do if tr '\0' '\n' <"/proc/$p/cmdline" | grep -qx "$2"; then echo "$p"; fi; done; }
start_time() { awk '{ sub(/.*\) /, ""); print $20 }' "/proc/$1/stat" 2>/dev/null; }
# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
    local end=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || { echo "not within time: $*" >&2; return 1; }; sleep 0.05; done
}
busybox_root() { # busybox_root DIR
    mkdir -p "$1"/{bin,etc,proc,sys,dev,tmp,run,root,srv}
    cp /bin/busybox "$1/bin/busybox"
    local a; for a in sh sleep cat echo ls mount id nproc hostname env ps kill mkdir touch head dd printf grep true false ip test stat; do ln -sf busybox "$1/bin/$a"; done
    printf 'root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/srv:/bin/sh\n' >"$1/etc/passwd"
    printf 'root:x:0:\nwww:x:33:\n' >"$1/etc/group"
}
