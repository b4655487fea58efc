# Each barrier alone: with one of them not put up (in a monitor built for this), the others hold all but a handful.
bats_require_minimum_version 1.5.0
load ../lib/uv
load ../lib/probe

setup_file() { roots_make; barriers_make; }
teardown_file() { roots_remove; barriers_remove; }
teardown() { [ -z "${ROOT:-}" ] || instance_down; }

@test "the product has no such switch" {
    [ "$(grep -c BARRIER_OFF "$ULV_BIN/uv-monitor-lxc")" = 0 ]
    grep -q BARRIER_OFF "$B/test/barriers/uv-monitor-lxc"
}
@test "none off: this build holds as the product does" { without none; }
@test "without the bounding set emptied" { without caps; }
@test "without the securebits that make root nobody special" { without noroot; }
@test "without both: an application with all capabilities, in its own user namespace" { without caps+noroot; }
# In the full VM the security hooks stand behind it.
# bats test_tags=kernel
@test "without the system call filter" { without seccomp; }
@test "without the security hooks, status says so" { without hooks; run ! hooked; [[ "$(uv status app)" == *", no security hooks"* ]]; }
@test "without both: what a kernel lets every user try" { without seccomp+hooks; }
@test "without masks over /proc and /sys" { without masks; }
@test "without the device filter" { without devices; }
@test "without no_new_privs" { without nnp; }
