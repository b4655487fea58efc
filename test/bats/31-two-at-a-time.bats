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

# edit_before CALL...: who keeps the files finds two calls when it looks again: a reload, of what the standard input edits,
# and what the planner makes of CALL, which it was asked for before it heard of the edit.
edit_before() {
    local reload call
    STOPPED=$(pids_of uv-operations); kill -STOP $STOPPED
    "$ULV_BIN/uvctl" --root "$ROOT" reload 3>&- >/dev/null & reload=$!
    cat >"$EDITED"; sleep 0.3
    "$ULV_BIN/uvctl" --root "$ROOT" "$@" 3>&- & call=$!
    sleep 0.3; kill -CONT $STOPPED; STOPPED=
    wait $reload; wait $call
}

@test "a hand edit that comes into force between plan and write isn't overwritten: it is planned anew" {
    sim old Share=0.1 64M; sim two Share=0.2 64M; uv apply -y -q
    EDITED=$ROOT/etc/ultravisor/partitions/two.partition
    sed 's/0.2/0.3/' "$EDITED" >"$ROOT/edit"
    edit_before remove -q old <"$ROOT/edit"
    grep -q Share=0.3 "$EDITED"; [ ! -e "$ROOT/etc/ultravisor/partitions/old.partition" ]
    sed -i 's/0.3/0.15/' "$ROOT/edit"; uv start -q two; sim three Share=0.5 64M; uv apply -y -q; uv start -q three
    edit_before move -q share=0.1 three two <"$ROOT/edit"
    grep -q Share=0.15 "$EDITED"; [ "$(field two ShareWanted)" = 0.4 ]
}

@test "a hand edit of the drop-in that set is about to write isn't overwritten" {
    uv set -q web share=0.4
    EDITED=$ROOT/etc/ultravisor/partitions/web.partition.d/50-set.conf
    printf '[CPU]\nShare=0.4\n[Limits]\nTasks=77\n' >"$ROOT/edit"
    edit_before set -q web memory=128M <"$ROOT/edit"
    grep -q Tasks=77 "$EDITED"; grep -q Size=128M "$EDITED"
}
