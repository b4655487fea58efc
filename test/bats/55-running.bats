# Working with a running container: its log, whatever happens around it.
bats_require_minimum_version 1.5.0
load ../lib/uv

setup_file() {
    instance_up "$PART"
    busybox_root "$ROOT/tree"
    for a in seq stty tar yes tty; do ln -sf busybox "$ROOT/tree/bin/$a"; done
    container box 'sh -c "trap \"exit 0\" TERM; echo box is up; while :; do sleep 0.1 & wait $!; done"'
    uv apply -y
    uv start box
}
teardown_file() { instance_down; }
container() { # container NAME EXEC [lines of [Partition]]
    definition "$1" "[Partition]
Type=container
StopTimeout=3s
${3:-}
[CPU]
Share=0.2
[Memory]
Size=64M
[Container]
Root=$ROOT/tree
Exec=$2"
}
log_bytes() { cat "$ROOT/var/log/ultravisor/$1".log.* | wc -c; }
has() { grep -qF -- "$1" "$2"; }

@test "logs -f begins at the first byte and loses none over a restart of the partition, its monitor, uv-port" {
    container talker 'sh -c "trap \"exit 0\" TERM; i=0; while :; do i=$((i + 1)); echo line $i of $$; sleep 0.02; done"'
    uv apply -y; uv start talker
    wait_for 5 eval 'uv logs talker | grep -q "line 5 "'
    "$ULV_BIN/uvctl" --root "$ROOT" logs -f talker >"$ROOT/followed" 2>&1 3>&- & follower=$!
    wait_for 5 has "line 20 " "$ROOT/followed"
    for victim in uv-port uv-monitor-lxc uv-command; do
        pid=$(pids_of $victim | head -1); kill -9 "$pid"
        before=$(wc -l <"$ROOT/followed")
        wait_for 5 eval '[ "$(wc -l <"$ROOT/followed")" -gt $((before + 20)) ]'
    done
    wait_for 5 uv list
    uv stop --force talker; uv start talker
    wait_for 5 eval '[ "$(grep -c "^line 1 of " "$ROOT/followed")" = 2 ]'
    wait_for 5 eval 'tail -n 1 "$ROOT/followed" | grep -q "line [1-9][0-9] of"'
    kill $follower; wait $follower || true
    uv stop --force talker
    # Of each life every number, once, in order.
    run awk '/^line [0-9]+ of/ { if ($2 != 1 && $2 != last + 1) bad = bad " " last "->" $2; last = $2 } END { print bad }' "$ROOT/followed"
    [ "$output" = "" ]
    head -n 1 "$ROOT/followed" | grep -q "^line 1 of"
}

@test "a flood stays under LogMax=, its first and its last 64K are kept, and what is missing is said" {
    container flood 'sh -c "trap \"exit 0\" TERM; echo the beginning; seq 1 300000; echo the end; sleep 1000 & wait $!"' LogMax=512K
    uv apply -y; uv start flood
    most=0
    for _ in $(seq 100); do
        n=$(log_bytes flood); [ "$n" -le 524288 ]
        uv logs flood -l 1 | grep -q "the end" && break
        sleep 0.1
    done
    uv logs flood >"$ROOT/flood.txt"
    head -n 1 "$ROOT/flood.txt" | grep -q "the beginning"
    head -c 65536 "$ROOT/flood.txt" | tr -d '\r' >"$ROOT/a"
    { echo "the beginning"; seq 1 300000; } | head -c "$(wc -c <"$ROOT/a")" | cmp - "$ROOT/a"
    tail -c 65536 "$ROOT/flood.txt" | tr -d '\r' >"$ROOT/b"
    { seq 1 300000; echo "the end"; } | tail -c "$(wc -c <"$ROOT/b")" | cmp - "$ROOT/b"
    [ "$(grep -c "bytes of output are missing here: LogMax=" "$ROOT/flood.txt")" = 1 ]
    uv stop --force flood
}

@test "a flood costs a neighbour no line" {
    container flood 'sh -c "trap \"exit 0\" TERM; yes 0123456789abcdef0123456789abcdef"' LogMax=256K
    container quiet 'sh -c "trap \"exit 0\" TERM; for i in $(seq 100); do echo word $i; sleep 0.02; done; echo done; sleep 1000 & wait $!"'
    uv apply -y; uv start flood; uv start quiet
    wait_for 20 eval 'uv logs quiet | grep -q "^done"'
    [ "$(uv logs quiet | grep -c "^word ")" = 100 ]
    [ "$(log_bytes flood)" -le 262144 ]
    uv stop --force flood quiet
}
