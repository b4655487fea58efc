# Bad days: full disk, no fds, read-only state, damaged or newer or deleted ledger, killed roles. One clear
# error with what to try, nothing changed, nothing lost.
load ../lib/uv

teardown() {
    [ -z "${ROOT:-}" ] || instance_stop || true
    [ -z "${MOUNTED:-}" ] || umount "$MOUNTED" 2>/dev/null || true
    if [ -n "${ROOT:-}" ]; then left=$(leftovers); [ -z "$left" ] || { echo "$left"; return 1; }; rm -rf --one-file-system "$ROOT"; fi
}
ledger_dir() { echo "$ROOT/var/lib/ultravisor/uvd"; }
stop_and_damage() { instance_stop; "$@"; }

@test "a damaged ledger is refused with what to try, and left as it is" {
    instance_up; sim a Share=1 256M; uv apply -y; instance_stop
    db=$(ledger_dir)/ledger.db; rm -f "$db"-wal "$db"-shm
    dd if=/dev/urandom of="$db" bs=512 seek=2 count=16 conv=notrunc 2>/dev/null
    sum=$(sha256sum <"$db")
    run "$ULV_BIN/../test/run-role" uvd "$ROOT"
    echo "$output"
    [ "$status" != 0 ]; [[ "$output" == *try:* ]]; [[ "$output" == *--rebuild* ]]
    [ "$(sha256sum <"$db")" = "$sum" ]
}

@test "a ledger of a newer version is refused, and left as it is" {
    instance_up; instance_stop
    db=$(ledger_dir)/ledger.db
    sqlite3 "$db" "UPDATE meta SET value = 999 WHERE key = 'schema' OR key = 'version'; PRAGMA wal_checkpoint(TRUNCATE);" >/dev/null
    sum=$(sha256sum <"$db")
    run "$ULV_BIN/../test/run-role" uvd "$ROOT"
    echo "$output"
    [ "$status" != 0 ]; [[ "$output" == *newer* ]]
    [ "$(sha256sum <"$db")" = "$sum" ]
}

@test "a ledger that an earlier uvd left is taken over: its partitions, its history; and it can be gone on from" {
    instance_up; instance_stop      # for the directory, and who owns it
    rm -f "$(ledger_dir)"/ledger.db*
    sqlite3 "$(ledger_dir)/ledger.db" <"$BATS_TEST_DIRNAME/../fixtures/ledger/schema-1.sql"
    chown --reference="$(ledger_dir)" "$(ledger_dir)/ledger.db"
    sim web Share=2 1G; sim db Cores=2 2G After=web
    instance_start
    # They ran when it was killed; they don't run now, and that is found out.
    wait_for 10 eval '[ "$(field db State)" = failed ] && [ "$(field web State)" = failed ]'
    [ "$(uv history -o json -l 100 | jq -r '[.[] | .Id] | map(select(. == "5-tr2rfsbd")) | length')" = 1 ]
    [ "$(uv resources -o json | jq .Cores.Total)" = 16 ]
    uv start db
    [ "$(field db CoresReached)" = 2 ]
}

@test "a read-only state directory: one error, no ledger" {
    instance_make; mkdir -p "$(ledger_dir)"; mount -t tmpfs -o ro,mode=0755 none "$(ledger_dir)"; MOUNTED=$(ledger_dir)
    run "$ULV_BIN/../test/run-role" uvd "$ROOT"
    echo "$output"
    [ "$status" != 0 ]; [[ "$output" == *try:* ]]
    umount "$MOUNTED"; MOUNTED=
}

@test "a full disk: no false acknowledgement, partitions go on, and all is well when there is room again" {
    instance_make; mkdir -p "$(ledger_dir)"; mount -t tmpfs -o size=600k,mode=0777 none "$(ledger_dir)"; MOUNTED=$(ledger_dir)
    instance_start
    sim a Share=0.1 64M; sim b Share=0.1 64M; uv apply -y; uv start a; pid=$(field a Leader)
    dd if=/dev/zero of="$(ledger_dir)/filler" bs=4k 2>/dev/null || true
    # Until a commit fails: the answer is an error that says so, never a success that is lost.
    ok=0; failed=
    for i in $(seq 40); do
        if uv start b >/dev/null 2>"$ROOT/err" && uv stop b >/dev/null 2>"$ROOT/err"; then ok=$((ok + 1)); else failed=1; break; fi
    done
    [ -n "$failed" ]
    cat "$ROOT/err"
    kill -0 "$pid"
    rm -f "$(ledger_dir)/filler"
    wait_for 15 uv start b
    [ "$(field a Leader)" = "$pid" ]
    instance_stop; umount "$MOUNTED"; MOUNTED=
}

@test "out of file descriptors: uvd goes on serving whom it has, and serves others when there are fds again" {
    instance_up; sim a Share=0.1 64M; uv apply -y; uv start a; pid=$(field a Leader)
    limit() { setpriv --reuid=1879109634 --regid=1879109634 --clear-groups prlimit --pid "$(pids_of uv-command)" --nofile="$1:"; }
    limit 24 || skip "prlimit isn't allowed here"
    for i in 1 2 3 4 5 6; do uv list >/dev/null 2>&1 || true; done
    limit 1024
    wait_for 10 uv list
    [ "$(field a Leader)" = "$pid" ]
}

@test "a deleted ledger with 64 partitions running: uvd refuses a fresh one, --rebuild finds the same owners, nothing restarts" {
    instance_up
    for i in $(seq 64); do sim "p$i" Share=0.2 64M; done
    uv apply -y; uv start -a
    before=$(uv backup /dev/stdout | grep -E '^row (core|memory|share|uids) ' | sort)
    leaders=$(uv list -o json | jq -r '.[] | "\(.Name) \(.Leader)"' | sort)
    rm -f "$(ledger_dir)"/ledger.db*
    kill -9 "$(pids_of uvd)"
    sleep 0.5
    [ ! -e "$(ledger_dir)/ledger.db" ]
    grep -q -- --rebuild "$ROOT/log"
    "$ULV_BIN/uvd" --root "$ROOT" --inventory "$ROOT/machine.inventory" --rebuild
    wait_for 15 uv backup /dev/null
    wait_for 15 bash -c '[ "$("$ULV_BIN/uvctl" --root "$ROOT" list -o json | jq "[.[] | select(.State == \"running\")] | length")" = 64 ]'
    [ "$(uv backup /dev/stdout | grep -E '^row (core|memory|share|uids) ' | sort)" = "$before" ]
    [ "$(uv list -o json | jq -r '.[] | "\(.Name) \(.Leader)"' | sort)" = "$leaders" ]
}

@test "a backup under load restores to the same text dump of that generation" {
    instance_up; for i in 1 2 3 4; do sim "p$i" Share=0.2 64M; done; uv apply -y
    (while [ ! -e "$ROOT/stop" ]; do uv start p1 p2 >/dev/null 2>&1; uv stop p1 p2 >/dev/null 2>&1; done) 3>&- &
    load=$!
    # In the midst of it, at a generation where neither runs: what runs is given back by a restore.
    sleep 0.5; wait_for 20 eval 'uv backup --force "$ROOT/b1" && ! grep -qE "^row partition p[12] .*state=(starting|running|stopping)" "$ROOT/b1"'
    touch "$ROOT/stop"; wait $load
    uv stop -a --force
    # restore is refused while something runs, and exact when nothing does
    uv start p3; run uv restore "$ROOT/b1"; [ "$status" != 0 ]; uv stop p3
    uv restore "$ROOT/b1"
    uv backup "$ROOT/b2"
    diff <(grep '^row parameter\|^row core\|^row memory' "$ROOT/b1" | sort) <(grep '^row parameter\|^row core\|^row memory' "$ROOT/b2" | sort)
}

@test "operations killed in the middle: the last good set stays in force; bad files never count" {
    instance_up; sim a Share=1 256M; uv apply -y
    echo 'Nonsense' >>"$ROOT/etc/ultravisor/partitions/a.partition"
    run uv reload; [ "$status" != 0 ]; [[ "$output" == *a.partition:* ]]
    kill -9 "$(pids_of uv-operations)"
    wait_for 10 uv list
    uv start a
    # operations is back in a moment, and tells again what is wrong with the files.
    wait_for 10 eval 'uv status | grep -q a.partition:'
}

@test "bad arguments: names, sizes, flags; each one clear error, exit not 0, nothing changed" {
    instance_up; sim a Share=1 256M; uv apply -y
    before=$(uv backup /dev/stdout | grep -v '^row history' | grep '^row')
    for args in "start ../x" "start A" "start $(printf 'x%.0s' $(seq 100))" "set a memory=12Q" "set a cores=-1" "set a share=abc" "set a bogus=1" "set a" "move cores=x a b" "move" "exec a" "start --if-generation x a" "undo nosuch" "restore /nonexistent" "restore /dev/null" "logs nosuch" "remove nosuch" "list --bogus" "why" "why dance a" "list -o xml"; do
        run uv $args
        [ "$status" != 0 ] || { echo "accepted: $args"; return 1; }
        [ -n "$output" ]
    done
    [ "$(uv backup /dev/stdout | grep -v '^row history' | grep '^row')" = "$before" ]
}

@test "kill -9 of uv-command again and again: no verb sees it, none claims what isn't" {
    instance_up
    for n in ka kb kc kd; do sim $n Cores=1 64M "$([ $n = ka ] || echo After=ka)"; done
    uv apply -y
    ( while true; do kill -9 "$(awk '$1 == "role" && $2 == "command" {print $3}' "$ROOT/run/ultravisor/launch.state")"; sleep 0.3; done ) 2>/dev/null 3>&- &
    killer=$!
    for i in $(seq 12); do
        uv start ka kb kc kd || { kill $killer; false; }
        [ "$(uv list -o json | jq '[.[] | select(.Name | startswith("k")) | select(.State == "running")] | length')" = 4 ] || { kill $killer; false; }
        uv set kb memory=$((64 + 2 * i))M || { kill $killer; false; }
        [ "$(field kb MemoryReached)" = $(((64 + 2 * i) << 20)) ] || { kill $killer; false; }
        uv stop ka kb kc kd || { kill $killer; false; }
    done
    kill $killer
}

@test "a start of several: the printed undo takes back all of it; of a failure all is told, and what goes back" {
    instance_up
    sim ua Cores=1 64M; sim ub Cores=1 64M After=ua; sim uc Cores=1 64M
    uv apply -y
    run uv start ua ub uc; [ "$status" = 0 ]
    undo=${lines[-1]#*uvctl undo }
    [ "$(wc -w <<<"$undo")" = 3 ]
    uv undo $undo
    for n in ua ub uc; do [ "$(field $n State)" = defined ]; done
    run uv stop ua; [[ "$output" != *"back with"* ]]                # nothing would take a stop back
    for n in ub uc; do printf '[Sim]\nFault=start-fails\n' >>"$ROOT/etc/ultravisor/partitions/$n.partition"; done
    uv apply -y
    run uv start ua ub uc
    [ "$status" = 1 ]
    [[ "$output" == *"cannot start ub"* ]]; [[ "$output" == *"cannot start uc"* ]]; [[ "$output" == *"ua: running"* ]]
    [[ "$output" =~ "goes back with: uvctl undo "([0-9a-z-]+)$'\n' ]]
    uv undo "${BASH_REMATCH[1]}"
    [ "$(field ua State)" = defined ]
}

@test "undo while uvd is away: unreachable in three lines; when it is back, undone" {
    instance_up; sim a Share=0.5 64M; uv apply -y; uv start a
    id=$(uv set a share=0.4 | grep -o 'uvctl undo .*' | cut -d' ' -f3); [ -n "$id" ]
    chmod 0 "$(ledger_dir)"; kill -9 "$(pids_of uvd)"; sleep 0.3
    run uv undo "$id"
    chmod 0700 "$(ledger_dir)"
    echo "$output"
    [ "$status" = 10 ]; [ "${#lines[@]}" = 3 ]; [[ "${lines[2]}" == try:* ]]
    wait_for 10 uv undo "$id"
    [ "$(field a ShareWanted)" = 0.5 ]
}
