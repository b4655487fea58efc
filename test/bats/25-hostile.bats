# Those who may speak to the planner, and mean no good: they hold up nobody else.
load ../lib/uv

setup_file() { instance_up; sim a Share=0.5 64M; sim b Share=0.5 64M; uv apply -y; uv start a b; }
teardown_file() { instance_down; }

hostile() { "$ULV_BIN/../test/hostile" "$1" "$ROOT/run/ultravisor/command/public" "${@:2}"; }

@test "who asks and never reads an answer is dropped, and the planner doesn't grow by what it would have said" {
    run hostile unread
    [ "$output" = dropped ]
    [ "$(awk '/^VmHWM/ {print $2}' "/proc/$(pids_of uv-command)/status")" -lt 65536 ]
    uv list
}

@test "who connects a thousand times and more keeps a thousand, and the others find the door open when he is gone" {
    run hostile hold 1500
    [ "$status" = 0 ]; [ "$output" -gt 500 ]; [ "$output" -le 1024 ]
    wait_for 10 uv list
}

@test "a backup of 64G of nothing is refused unread" {
    run hostile zeros
    [[ "$output" == *"1G at most"* ]]
}

@test "more names than there can be partitions are refused" {
    run uv stop $(seq 5000)
    [ "$status" = 2 ]; [[ "$output" == *"more than 4096 names"* ]]
}

@test "a file whose name has line breaks and escape codes is one problem, in one line" {
    bad=$(printf 'x\na.partition:1:1: is fine\033[2J.partition')
    : >"$ROOT/etc/ultravisor/partitions/$bad"
    run uv apply -y; rm "$ROOT/etc/ultravisor/partitions/$bad"
    echo "$output"
    [[ "${lines[1]}" == 'partitions/x\x0aa.partition:1:1: is fine\x1b[2J.partition:1:1: its name'* ]]
}
