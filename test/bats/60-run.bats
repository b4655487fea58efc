# `make run`: the example comes up, and whatever is interrupted or killed when, nothing is left.
bats_require_minimum_version 1.5.0
load ../lib/uv

setup() {
    cd "$BATS_TEST_DIRNAME/../.."
    B=$(realpath "$ULV_BIN/.."); ROOT=$B/run; out=$BATS_TEST_TMPDIR/out; CGROUP=
    export ROOT
    # It gives out the whole machine, and only one may.
    [ ! -s /run/lock/ultravisor.lock ] || skip "another Ultravisor gives this machine's cores: $(cat /run/lock/ultravisor.lock)"
}
# run_begin [SCRIPT]: as make does it, in a process group of its own, which gets the Ctrl-C.
# (An asynchronous command of a script ignores SIGINT, and what is ignored at the start of a shell stays so.)
run_begin() { setsid env --default-signal=INT "${1:-examples/run.sh}" "$B" >"$out" 2>&1 </dev/null 3>&- & script=$!; }
is_up() { grep -q "^Ctrl-C here stops" "$out"; }
ctrl_c() { kill -INT -- -"$script" 2>/dev/null || true; }
script_ends() { wait "$script" || true; }
find_cgroup() { CGROUP=$(awk '/^cgroup / {print $2}' "$ROOT/run/ultravisor/launch.state" 2>/dev/null) || true; }
is_gone() { [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status"; }       # whoever adopts a zombie may be slow
launcher() { awk '/^PPid/ {print $2}' "/proc/$(pids_of uvd)/status"; }
teardown() { [ -z "${script:-}" ] || { ctrl_c; script_ends; }; }
nothing_is_left() {
    local left
    left=$(leftovers)
    [ ! -e "$ROOT" ] || left="$left directory"
    ! grep -qx "$ROOT" /run/lock/ultravisor.lock 2>/dev/null || left="$left lock"
    [ -z "$left" ] || { echo "left behind: $left"; cat "$out"; return 1; } >&2
}

@test "three partitions with real root file systems; roots that only root reaches; Ctrl-C leaves nothing" {
    run_begin; wait_for 30 is_up; find_cgroup
    [ "$(uv list -o json | jq -r '[.[].State] | unique | join(" ")')" = running ]
    [ "$(stat -c %a "$ROOT/roots")" = 700 ]
    ! grep -q "can reach into Root=" "$ROOT/log"
    run -1 examples/run.sh "$B"
    [[ "$output" == *"runs in $ROOT already"* ]]; [ "${#lines[@]}" = 3 ]
    ctrl_c; script_ends
    [[ "$(tail -n 1 "$out")" = "Nothing is left of it." ]]
    nothing_is_left
}

@test "Ctrl-C at any moment leaves nothing" {
    for after in 0.05 0.2 0.35 0.5 0.6 0.7 0.85; do
        run_begin; sleep $after; ctrl_c; script_ends
        nothing_is_left
    done
}

@test "kill -9 of uv-launch: partitions run on under a new one, and Ctrl-C leaves nothing, with or without it" {
    run_begin; wait_for 30 is_up; find_cgroup
    pid=$(field web Leader)
    kill -9 "$(launcher)"
    wait_for 20 grep -q "a new one takes over" "$out"
    wait_for 20 eval '[ "$(field web Leader)" = "$pid" ] && [ "$(field web State)" = running ]'
    kill -9 "$(launcher)"; ctrl_c; script_ends
    is_gone "$pid"
    nothing_is_left
}

@test "kill -9 of the script and of uv-launch: the next run ends what is left, then begins anew" {
    run_begin; wait_for 30 is_up; find_cgroup
    pid=$(field web Leader); launch=$(launcher)
    kill -9 "$script" "$launch"; script_ends; wait_for 5 is_gone "$launch"
    kill -0 "$pid"
    run examples/run.sh "$B" --until-eof </dev/null
    echo "$output"; [ "$status" = 0 ]
    is_gone "$pid"
    nothing_is_left
}

@test "in a home that nobody else may enter, the roles come to the build by a way of their own, which ends with it" {
    mkdir -m 0700 "$BATS_TEST_TMPDIR/home"; mkdir "$BATS_TEST_TMPDIR/home/build"
    cp -r "$B/bin" "$BATS_TEST_TMPDIR/home/build/"
    B=$BATS_TEST_TMPDIR/home/build ROOT=$BATS_TEST_TMPDIR/home/build/run
    run_begin; wait_for 30 is_up; find_cgroup
    grep -q " $(realpath "$B") \| /run/ultravisor-build-" /proc/self/mountinfo
    [ "$(uv exec web -- id -u)" = 0 ]
    uv image build busybox
    uv new mine --image busybox --share 0.1 --memory 64M --start
    [ "$(uv exec mine -- hostname)" = mine ]
    ctrl_c; script_ends
    nothing_is_left
    ! grep -q /run/ultravisor-build- /proc/self/mountinfo
    [ -z "$(ls -d /run/ultravisor-build-* 2>/dev/null)" ]
}
