# The first job of an administrator: define, plan, start, look, stop, remove; every promise of the words.
load ../lib/uv

setup_file() { instance_up; }
teardown_file() { instance_down; }
setup() { rm -rf "$ROOT"/etc/ultravisor/partitions/* "$ROOT"/etc/ultravisor/policies/*; }
teardown() { uv stop -a --force >/dev/null 2>&1; uv reload >/dev/null; uv apply -y --prune >/dev/null 2>&1 || true; }

@test "a partition is defined, started, listed and stopped; what it held comes back" {
    sim web Cores=2 1G
    uv apply -y
    idle=$(uv resources -o json)
    uv start web
    [ "$(field web State)" = running ]
    [ "$(field web CoresReached)" = 2 ]
    [ "$(field web MemoryReached)" = $((1 << 30)) ]
    kill -0 "$(field web Leader)"
    pid=$(field web Leader)
    uv stop web
    [ "$(field web State)" = defined ]
    run kill -0 "$pid"; [ "$status" -ne 0 ]
    [ "$(field web Leader)" = 0 ]
}

@test "a pause doesn't make it younger, and doesn't hide how old it is" {
    sim web Share=1 256M; uv apply -y; uv start web
    since=$(field web Since)
    uv pause web
    [ "$(field web Since)" = "$since" ]
    run uv status web; [[ "$output" == *"paused, runs since "* ]]
    uv resume web
    [ "$(field web Since)" = "$since" ]
}

@test "the sum over all owners is the machine, before, during and after" {
    sim a Cores=3 2G; sim b Share=1.5 512M
    uv apply -y
    for step in "true" "uv start a b" "uv set a cores=2" "uv stop a" "uv stop b"; do
        $step
        run bash -c '"$ULV_BIN/uvctl" --root "$ROOT" resources -o json'
        [ "$status" = 0 ]
        dump=$(uv backup /dev/stdout)
        [ "$(printf '%s\n' "$dump" | grep -c '^row core ')" = 16 ]
        # memory is counted in 2 MiB: 32G = 16384 of them
        [ "$(printf '%s\n' "$dump" | sed -n 's/^row memory .* amount=\([0-9]*\).*/\1/p' | paste -sd+ | bc)" = 16384 ]
    done
}

@test "list -a: infrastructure runs with its leaders, also after their death; nothing is 0 of something" {
    for role in ultravisor:uvd command:uv-command operations:uv-operations; do
        wait_for 5 eval '[ "$(field ${role%:*} State)" = running ] && [ "$(field ${role%:*} Leader)" = "$(pids_of ${role#*:})" ]'
    done
    kill -9 "$(pids_of uv-operations)"
    wait_for 5 eval 'p=$(pids_of uv-operations); [ -n "$p" ] && [ "$(field operations Leader)" = "$p" ]'
    for row in host idle pool; do [ "$(field $row State)" = running ]; run uv status $row; [ "$status" = 0 ]; [[ "$output" != *": 0 of"* ]]; done
    run uv list; [[ "$output" == *"Idle: "* ]]; [[ "$output" != *", 0. "* ]]
}

@test "-n changes nothing and tells what would be" {
    sim web Cores=2 1G
    before=$(uv list -a -o json)
    run uv apply -n
    [ "$status" = 0 ]; [[ "$output" == *web*new* ]]
    [ "$(uv list -a -o json)" = "$before" ]
    uv apply -y
    run uv start -n web
    [ "$status" = 0 ]
    [ "$(field web State)" = defined ]
}

@test "the summary of a start of several is about all of them, and names what the host gives" {
    uv stop -a --force >/dev/null 2>&1 || true
    sim a Cores=1 1G; sim b Cores=2 2G "After=a"; sim c Share=0.5 64M "After=b"
    uv apply -y
    run uv start -n a b c
    [[ "${lines[-1]}" =~ ^"Fits: 3 cores ".*", 0.5 share of ".*" idle, 3136M ".*" Nobody loses anything."$ ]]
    [[ "${lines[-1]}" != *"of 0 idle"* ]]
}

@test "history tells who, when and what in words; the operations with -o wide" {
    uv stop -a --force >/dev/null 2>&1 || true
    sim ha Cores=2 1G; sim hb Cores=1 64M
    uv apply -y; uv start ha hb; uv set --runtime ha memory=512M; uv move --reason "night job" cores=1 ha hb; uv stop ha hb
    run uv history --lines=7
    who=$(id -un)
    [[ "${lines[0]}" == WHEN*WHO*STATE*TRANSACTION*UNDO*WHAT ]]
    [[ "$output" == *" $who "*" no    stop h"* ]]
    [[ "$output" == *"change ha: -1 core; change hb: +1 core (night job)"* ]]
    [[ "$output" == *"change ha: -512M"* ]]
    [[ "$output" == *"start ha: 2 cores, 1G"* ]]
    [[ "$output" == *"define ha; define hb"* ]]
    [[ "$output" != *"claim core"* ]]
    [ "$(uv history --all -l 3 -o name | wc -l)" = 3 ]
    run uv history --all -l 20
    [[ "$output" == *"ha reached running, 2 cores, 1G"* ]]
    [[ "$output" == *"ha reached 512M and let go of 512M"* ]]
    [[ "$output" == *"hb ended: exit 0"* ]]
    [ "$(uv history --all -o json | jq '[.[] | select(.What == "" or (.What | startswith("make it")))] | length')" = 0 ]
    run uv history --lines=7 -o wide; [[ "$output" == *"claim core "*"; claim memory "* ]]
}

@test "a refusal is three lines with what, why and a try that works; exit 7" {
    sim big Cores=12 1G; sim more Cores=8 1G
    uv apply -y; uv start big
    run uv start more
    [ "$status" = 7 ]
    [ "${#lines[@]}" -le 3 ]
    [[ "${lines[2]}" == try:* ]]
    run uv why start more
    [[ "$output" == *cores* ]]
}

@test "exit codes: 2 usage, 4 no such partition, 6 generation conflict, 10 no daemon" {
    run uv frobnicate; [ "$status" = 2 ]
    run uv start nosuch; [ "$status" = 4 ]
    sim web Share=1 256M; uv apply -y
    run uv start --if-generation 1 web; [ "$status" = 6 ]
    run "$ULV_BIN/uvctl" --root /nonexistent list; [ "$status" = 10 ]
}

@test "set resizes a running partition; the drop-in is written; undo takes it back" {
    sim db Cores=4 2G "" ; sed -i 's/^Cores=4/Cores=4\nCoresMin=1\nCoresMax=8/; s/^Size=2G/Size=2G\nSizeMax=4G\nSizeMin=1G/' "$ROOT/etc/ultravisor/partitions/db.partition"
    uv apply -y; uv start db; pid=$(field db Leader)
    uv set db cores=6 memory=3G
    [ "$(field db CoresReached)" = 6 ]
    [ -f "$ROOT/etc/ultravisor/partitions/db.partition.d/50-set.conf" ]
    uv set db cores=2
    [ "$(field db CoresReached)" = 2 ]
    [ "$(field db Leader)" = "$pid" ]
    id=$(uv history db -o json | jq -r '.[0].Id // .[0].id')
    [ -n "$id" ]
}

@test "history says what undo would answer, of the ledger and of the files" {
    sim web Share=1 256M; sim db Share=1 256M; uv apply -y; uv start web db
    uv set web share=0.5; uv set web share=0.4; uv set db share=0.5; uv set --runtime db memory=128M
    for line in $(uv history -l 8 -o json | jq -r '.[] | .Id + "," + .Undoable'); do
        run uv undo -n "${line%,*}"
        [ "${line#*,}" = "$([ "$status" = 0 ] && echo yes || echo no)" ] || { uv history -l 8; echo "$line: $output"; false; }
    done
    uv history -l 8 -o json | jq -e 'map(.Undoable) | (contains(["yes"]) and contains(["no"]))'
    # The file was changed again since, so neither the file nor the ledger goes back.
    id=$(uv history web -l 2 -o name | tail -n 1)
    run uv undo "$id"
    [ "$status" = 6 ]; [[ "${lines[1]}" == *50-set.conf*"changed again since" ]]; [ "$(field web ShareWanted)" = 0.4 ]
}

@test "undo takes files back though uv-command was killed in between; and so does the undo of the undo" {
    sim web Share=1 256M; sim db Share=1 256M; uv apply -y; uv start web
    file=$ROOT/etc/ultravisor/partitions/web.partition.d/50-set.conf
    uv set web share=0.5
    kill -9 "$(pids_of uv-command)"; wait_for 5 uv list
    uv undo "$(uv history -l 1 -o name)"
    [ ! -e "$file" ]; [ "$(field web ShareWanted)" = 1 ]
    kill -9 "$(pids_of uv-command)" "$(pids_of uv-operations)"; wait_for 5 uv list
    wait_for 5 uv undo "$(uv history -l 1 -o name)"
    grep -q Share=0.5 "$file"; [ "$(field web ShareWanted)" = 0.5 ]
    # Of two that were removed together, one.
    uv stop web; uv remove web db
    kill -9 "$(pids_of uv-command)"; wait_for 5 uv list
    uv undo "$(uv history db -l 1 -o name)"
    [ -e "$ROOT/etc/ultravisor/partitions/db.partition" ]; [ ! -e "$ROOT/etc/ultravisor/partitions/web.partition" ]
    run uv plan; [[ "$output" == *"Nothing to do."* ]]
}

@test "move takes from one and gives to the other in one transaction" {
    sim a Cores=4 1G "" ; sim b Cores=1 1G
    sed -i 's/^Cores=4/Cores=4\nCoresMin=1/' "$ROOT/etc/ultravisor/partitions/a.partition"
    sed -i 's/^Cores=1/Cores=1\nCoresMax=4/' "$ROOT/etc/ultravisor/partitions/b.partition"
    uv apply -y; uv start a b
    uv move cores=2 a b
    [ "$(field a CoresReached)" = 2 ]; [ "$(field b CoresReached)" = 3 ]
}

@test "a move is in both drop-ins and stays with the next apply; undo takes both back; --runtime writes nothing" {
    sim ma Cores=4 1G; sim mb Cores=1 1G; d=$ROOT/etc/ultravisor/partitions
    sed -i 's/^Cores=4/Cores=4\nCoresMin=1/' "$d/ma.partition"; sed -i 's/^Cores=1/Cores=1\nCoresMax=4/' "$d/mb.partition"
    uv apply -y; uv start ma mb
    uv move --runtime cores=1 ma mb
    [ ! -e "$d/ma.partition.d" ]; [ "$(field ma CoresReached) $(field mb CoresReached)" = "3 2" ]
    uv apply -y                                         # back to what the files say
    [ "$(field ma CoresReached) $(field mb CoresReached)" = "4 1" ]
    run uv move cores=2 ma mb; [ "$status" = 0 ]
    undo=${lines[-1]#*uvctl undo }
    grep -qx Cores=2 "$d/ma.partition.d/50-set.conf"; grep -qx Cores=3 "$d/mb.partition.d/50-set.conf"
    run uv apply -y; [[ "$output" == *"Nothing to do"* ]]
    [ "$(field ma CoresReached) $(field mb CoresReached)" = "2 3" ]
    uv undo $undo
    [ "$(field ma CoresReached) $(field mb CoresReached)" = "4 1" ]
    ! grep -qs Cores= "$d/ma.partition.d/50-set.conf" "$d/mb.partition.d/50-set.conf"
    run uv apply -y; [[ "$output" == *"Nothing to do"* ]]
}

@test "After= is the start order; a cycle is refused with its path" {
    sim one Share=0.5 128M "After=two"; sim two Share=0.5 128M "After=three"; sim three Share=0.5 128M
    uv apply -y; uv start -a
    a=$(uv history -o json | jq -r '.[].Operations // .[].operations' | grep -oE 'state partition (one|two|three) - state=starting' | awk '{print $3}' | tac | tr '\n' ' ')
    [ "$a" = "three two one " ]
    uv stop -a
    sim three Share=0.5 128M "After=one"
    run uv reload
    [ "$status" != 0 ]; [[ "$output" == *one*two*three* ]]
}

@test "start of what runs, and stop of what doesn't, succeed and say so" {
    sim web Share=1 256M; uv apply -y; uv start web
    run uv start web; [ "$status" = 0 ]; [[ "$output" == *already* ]]
    uv stop web
    run uv stop web; [ "$status" = 0 ]
}

@test "faults of a partition are told, and give everything back" {
    for f in start-fails start-hangs; do
        sim bad Cores=2 1G "StartTimeout=1s"; printf '[Sim]\nFault=%s\n' "$f" >>"$ROOT/etc/ultravisor/partitions/bad.partition"
        uv apply -y
        run uv start bad
        [ "$status" = 1 ] || [ "$status" = 8 ]
        [ "$(field bad State)" = failed ]
        [ "$(field bad CoresWanted)" = 0 ]
        uv remove bad
    done
}

@test "a shrink that the partition refuses ends in the old state" {
    sim stub Cores=4 1G; printf '[Sim]\nFault=refuses-shrink\n' >>"$ROOT/etc/ultravisor/partitions/stub.partition"
    sed -i 's/^Cores=4/Cores=4\nCoresMin=1/' "$ROOT/etc/ultravisor/partitions/stub.partition"
    uv apply -y; uv start stub
    run uv set stub cores=2
    [ "$status" = 1 ]
    [ "$(field stub CoresReached)" = 4 ]; [ "$(field stub CoresWanted)" = 4 ]
    [ "$(field stub State)" = running ]
}

@test "a partition that hangs at stop is killed after its time-out" {
    sim hang Share=1 256M "StopTimeout=1s"; printf '[Sim]\nFault=stop-hangs\n' >>"$ROOT/etc/ultravisor/partitions/hang.partition"
    uv apply -y; uv start hang; pid=$(field hang Leader)
    uv stop hang
    run kill -0 "$pid"; [ "$status" -ne 0 ]
}

@test "infrastructure roles are rows of the ledger" {
    for r in host idle pool ultravisor command operations; do [ "$(field "$r" Name)" = "$r" ]; done
    [ "$(field ultravisor State)" = running ]
    [ "$(field ultravisor Leader)" = "$(pids_of uvd)" ]
}

@test "-o json of every reading verb is JSON" {
    sim web Share=1 256M; uv apply -y; uv start web
    for v in list "list -a" "status web" "show web" resources history status; do uv $v -o json | jq -e . >/dev/null || { echo "$v"; return 1; }; done
}

@test "an imagined machine says loudly that nothing is enforced, and isolation is none" {
    sim web Share=1 256M; uv apply -y; uv start web
    [ "$(field web Isolation)" = none ]
    run uv list; [[ "$output" == *imagined* || "$output" == *tracked* ]]
}
