# Two administrators at a time: what the files say and what the ledger says is the same, whoever came first, and
# whoever was killed in between.
load ../lib/uv

setup() { instance_up; sim web Share=0.5 256M; uv apply -y; uv start web; }
teardown() { if [ -n "${STOPPED:-}" ]; then kill -CONT $STOPPED; fi; instance_down; }
in_file() { sed -n 's/^Share=//p' "$ROOT/etc/ultravisor/partitions/web.partition.d/50-set.conf"; }
in_ledger() { field web ShareWanted; }
agree() { [ "$(in_file)" = "$(in_ledger)" ]; }

@test "two sets of one partition at a time: one after the other, and file and ledger agree" {
    for i in $(seq 111 2 127); do
        uv set -q web share=0.$i & first=$!
        uv set -q web share=0.$((i + 1)) & second=$!
        wait $first; wait $second
        agree || { echo "round $i: file $(in_file), ledger $(in_ledger)"; false; }
    done
}

@test "sets of several partitions and removes at a time: no file is lost to another's" {
    for n in a b c d e f; do sim $n Share=0.5 64M; done
    uv apply -y
    for n in a b c; do uv set -q $n share=0.25 & done; uv remove d & uv remove e & uv set -q f share=0.25 & uv set -q web share=0.25 &
    for job in $(jobs -p); do [ "$job" = "$LAUNCH" ] || wait "$job"; done
    for n in a b c f web; do grep -qx Share=0.25 "$ROOT/etc/ultravisor/partitions/$n.partition.d/50-set.conf"; done
    [ ! -e "$ROOT/etc/ultravisor/partitions/d.partition" ]; [ ! -e "$ROOT/etc/ultravisor/partitions/e.partition" ]
}

@test "a set that waits too long for another says for whose, and changes nothing" {
    STOPPED=$(pids_of uv-monitor-sim)
    kill -STOP $STOPPED
    uv set --no-block web share=0.3
    run uv set web share=0.2
    echo "$output"
    [ "$status" = 6 ]
    [[ "$output" == *"cannot set web"*"set web of uid 0 is still under way"*"try: uvctl list, then again"* ]]
    [ "$(in_file)" = 0.3 ]
    kill -CONT $STOPPED; STOPPED=
    wait_for 10 eval '[ -z "$(field web Transaction)" ]'
    uv set web share=0.2
    agree
}

@test "kill -9 of uv-command between the file and the ledger: the next one makes them agree" {
    file=$ROOT/etc/ultravisor/partitions/web.partition.d/50-set.conf
    uv set -q web share=0.4
    for i in $(seq 211 216); do
        pid=$(pids_of uv-command); ln -f "$file" "$ROOT/old"
        "$ULV_BIN/uvctl" --root "$ROOT" set -q web share=0.$i 3>&- >/dev/null 2>&1 & setter=$!
        # As soon as the file is another one: the transaction isn't there yet, or just is.
        for ((k = 0; k < 1000000; k++)); do [ "$file" -ef "$ROOT/old" ] || break; done
        kill -9 $setter "$pid"          # uvctl would ask for it again
        wait $setter || true
        wait_for 10 eval '! grep -q ^unsettled "$ROOT/var/lib/ultravisor/operations/unsettled"'
        wait_for 5 agree || { echo "round $i: file $(in_file), ledger $(in_ledger)"; false; }
    done
}

@test "a hand edit that comes into force between plan and write isn't overwritten: what was planned on is planned anew" {
    local delay c o a
    for ((k = 0; k < 150; k++)); do sim "many$k" Share=0.01 64M; done; sim two Share=0.2 64M; uv apply -y -q
    mkdir "$ROOT/mine"
    for delay in 008 014; do
        c=$(pids_of uv-command); o=$(pids_of uv-operations)
        printf '[Partition]\nType=sim\n[CPU]\nShare=0.%s\n[Memory]\nSize=64M\n' "1${delay#0}" >"$ROOT/mine/web.partition"
        "$ULV_BIN/uvctl" --root "$ROOT" apply -y -q "$ROOT/mine/web.partition" 3>&- & a=$!
        # The planner stands still somewhere between its question and its answer; who keeps the files comes back meanwhile, and finds the edit.
        sleep "0.$delay"; kill -STOP "$c"
        sim two "Share=0.2${delay#0}" 64M
        kill -9 "$o"; wait_for 5 eval 'n=$(pids_of uv-operations); [ -n "$n" ] && [ "$n" != '"$o"' ]'; sleep 0.05
        kill -CONT "$c"; wait "$a"
        grep -q "Share=0.2${delay#0}" "$ROOT/etc/ultravisor/partitions/two.partition"
        grep -q "Share=0.1${delay#0}" "$ROOT/etc/ultravisor/partitions/web.partition"
    done
}
