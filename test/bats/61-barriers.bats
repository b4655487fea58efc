# Each barrier alone: with one of them not put up (in a monitor built for this), the others hold all but a handful.
bats_require_minimum_version 1.5.0
load ../lib/uv
load ../lib/probe

setup_file() {
    roots_make
    export TEST_BIN; TEST_BIN=$(mktemp -d /tmp/uv-bin-XXXXXX); chmod 755 "$TEST_BIN"
    cp "$ULV_BIN"/* "$TEST_BIN/"; cp "$B/test/barriers/uv-monitor-lxc" "$TEST_BIN/"
}
teardown_file() { roots_remove; rm -rf "$TEST_BIN"; }
teardown() { [ -z "${ROOT:-}" ] || instance_down; }
# without BARRIER: what the probe may then, in an application as root, must be what is listed
without() {
    export ULTRAVISOR_TEST_BARRIER_OFF=$1
    ULV_BIN=$TEST_BIN; instance_up "$PART"
    rm -rf "$UV_ROOTS/app"; probe_container app 'Exec=sleep 100000'
    uv apply -y; uv start app
    probe app >"$BATS_TEST_TMPDIR/got"
    diff <(listed "without-$1") "$BATS_TEST_TMPDIR/got"
}

@test "the product has no such switch" {
    [ "$(grep -c BARRIER_OFF "$ULV_BIN/uv-monitor-lxc")" = 0 ]
    grep -q BARRIER_OFF "$B/test/barriers/uv-monitor-lxc"
}
@test "none off: this build holds as the product does" { without none; }
@test "without the bounding set emptied" { without caps; }
@test "without the securebits that make root nobody special" { without noroot; }
@test "without both: an application with all capabilities, in its own user namespace" { without caps+noroot; }
@test "without the system call filter" { without seccomp; }
@test "without masks over /proc and /sys" { without masks; }
@test "without the device filter" { without devices; }
@test "without no_new_privs" { without nnp; }
