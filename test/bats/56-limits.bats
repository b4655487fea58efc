# [Limits], set while it runs: wanted, reached, by what, and back. That they are enforced is measured in the VM
# (test/vm/enforced.bats); here it is said by name what this machine lacks.
bats_require_minimum_version 1.5.0
load ../lib/uv

setup_file() {
    instance_up "$PART"
    busybox_root "$ROOT/tree"
    sim db Share=0.2 64M
    printf '[Limits]\nTasks=200\nIOReadMax=/dev/vda 10M\n' >>"$ROOT/etc/ultravisor/partitions/db.partition"
    definition box "[Partition]
Type=container
StopTimeout=3s
[CPU]
Share=0.2
[Memory]
Size=64M
[Container]
Root=$ROOT/tree
Exec=sleep 1000"
    uv apply -y; uv start -a
}
teardown_file() { instance_down; }

limits() { uv list -a -o json | jq -c --arg n "$1" '.[] | select(.Name == $n) | [.Limits[] | [.Limit, .Path, .Wanted, .Reached, .How]]'; }

@test "a definition's limits are wanted and reached from the start, and status says by what" {
    [ "$(limits db)" = '[["io-read","/dev/vda",10485760,10485760,"tracked"],["tasks","",200,200,"tracked"]]' ]
    run -0 uv status db
    grep -qE 'IO read: 10M/s of 10M/s on /dev/vda +enforced: nothing, tracked only \(no io controller\)' <<<"$output"
    grep -qE 'Tasks: 200 of 200 +enforced: nothing, tracked only \(no pids controller\)' <<<"$output"
    run -0 uv show db
    grep -qxF 'Limits=io-read:/dev/vda 10485760 10485760 tracked tasks 200 200 tracked' <<<"$output"
}

@test "set changes a limit without a restart and writes it; undo takes both back" {
    leader=$(field db Leader); conf=$ROOT/etc/ultravisor/partitions/db.partition.d/50-set.conf
    run -0 uv set db tasks=500 io-read=/dev/vda:20M iops-write=/dev/vdb:70
    [ "${lines[0]}" = 'db  change  tasks 200 -> 500, io-read of /dev/vda 10M/s -> 20M/s, iops-write of /dev/vdb none -> 70/s  live' ]
    [ "$(limits db)" = '[["io-read","/dev/vda",20971520,20971520,"tracked"],["iops-write","/dev/vdb",70,70,"tracked"],["tasks","",500,500,"tracked"]]' ]
    [ "$(field db Leader)" = "$leader" ]
    [ "$(sed 1,2d "$conf")" = $'[Limits]\nTasks=500\nIOReadMax=/dev/vda 20M\nIOPSWriteMax=/dev/vdb 70' ]
    uv undo "$(uv history -o name | head -n 1)"
    [ "$(limits db)" = '[["io-read","/dev/vda",10485760,10485760,"tracked"],["tasks","",200,200,"tracked"]]' ]
    [ ! -e "$conf" ]
}

@test "--runtime writes nothing, and apply brings it back to the files" {
    uv set --runtime db tasks=300 io-read=/dev/vda:infinity
    [ "$(limits db)" = '[["tasks","",300,300,"tracked"]]' ]
    [ ! -e "$ROOT/etc/ultravisor/partitions/db.partition.d/50-set.conf" ]
    run -0 uv apply -y
    [[ "$output" == *"tasks 300 -> 200, io-read of /dev/vda none -> 10M/s  live"* ]]
    [ "$(limits db)" = '[["io-read","/dev/vda",10485760,10485760,"tracked"],["tasks","",200,200,"tracked"]]' ]
    run -0 uv plan; [ "$output" = "Nothing to do." ]
}

@test "a limit taken back in the files by set stays back, and tasks= alone is the standard" {
    uv set db io-read=/dev/vda:infinity tasks=
    [ "$(limits db)" = '[]' ]
    uv stop db; uv start db
    [ "$(limits db)" = '[]' ]
    uv set db io-read=/dev/vda:10M tasks=200
}

@test "limits outlive the death of uvd, the planner and the monitor" {
    before=$(limits box); uv set box tasks=50
    kill -9 "$(pids_of uvd)" "$(pids_of uv-command)" $(pids_of uv-monitor-lxc)
    wait_for 20 uv list
    wait_for 10 eval '[[ "$(limits box)" == "[[\"tasks\",\"\",50,50,\""* ]]'
    [ "$before" = '[]' ]
    uv set box tasks=
}

@test "bad values change nothing and say what would be good" {
    generation=$(uv backup /dev/stdout | sed -n 's/^row ledger .*generation=\([0-9]*\).*/\1/p')
    run -2 uv set box tasks=0;             [ "${lines[0]}" = "tasks=0 isn't a limit" ]; [ "${lines[2]}" = "try: tasks=500" ]
    run -2 uv set box tasks=4194305;       run -2 uv set box tasks=7
    run -2 uv set box io-read=10M;         [ "${lines[2]}" = "try: io-read=/dev/vda:10M" ]
    run -2 uv set box io-read=/dev/vda:0
    run -2 uv set box iops-read=/dev/vda:10M; [ "${lines[1]}" = "it wants the path of a disk, a colon, and operations a second, or infinity" ]
    run -2 uv set box io-write=/dev/nosuch:1M; [ "${lines[1]}" = "there is no such file here" ]
    run -2 uv set box io-write=/proc:1M;   [[ "${lines[1]}" == "it is no disk, and its file system isn't on one"* ]]
    run -2 uv move tasks=50 box db;         [ "${lines[0]}" = "cannot move tasks" ]
    [ "$(uv backup /dev/stdout | sed -n 's/^row ledger .*generation=\([0-9]*\).*/\1/p')" = "$generation" ]
}

@test "a start with a disk that isn't there is refused with its path; the ledger has nothing of it left" {
    sed 's/^Exec=.*/Exec=sleep 5/' "$ROOT/etc/ultravisor/partitions/box.partition" >"$ROOT/etc/ultravisor/partitions/nodisk.partition"
    printf '[Limits]\nIOWriteMax=/dev/nosuch 1M\n' >>"$ROOT/etc/ultravisor/partitions/nodisk.partition"
    uv apply -y
    run uv start nodisk
    [ "$status" != 0 ]; [[ "$output" == *"IOWriteMax of /dev/nosuch: there is no such disk"* ]]
    [ "$(uv backup /dev/stdout | grep -c '^row limit .* nodisk ')" = 0 ]
    uv remove nodisk
}

@test "firm isolation is refused to a limit that nothing enforces here" {
    ! uv status | grep -q 'Controllers:.*pids' || skip "this machine has a pids controller"
    definition strict "$(sed 's/^Type=container/&\nIsolation=firm/' "$ROOT/etc/ultravisor/partitions/box.partition")
[Limits]
Tasks=50"
    uv apply -y
    run -5 uv start strict
    uv remove strict
}
