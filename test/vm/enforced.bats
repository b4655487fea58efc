# On kernel 6.1 with every cgroup v2 controller: what the host can only ask for is enforced here, and measured.
load ../lib/uv

WHOLE='[Machine]
Name=vm
Kind=part
Prefix=vm
UIDRanges=100-300
[Node "0"]
CPUs=0-3
Memory=512M
[Node "1"]
CPUs=4-7
Memory=512M'

container() { # container NAME CPU MEMORY EXEC
    definition "$1" "[Partition]
Type=container
StopTimeout=3s
[CPU]
$2
[Memory]
Size=$3
SizeMin=16M
SizeMax=256M
[Container]
Root=$ROOT/tree
Exec=$4"
}
setup_file() {
    instance_make; rm "$ROOT/machine.inventory"
    busybox_root "$ROOT/tree"
    # The real machine, found in sysfs: no inventory file.
    # In a scope of its own, with every controller handed down: as an administrator without our units would do it.
    systemd-run --quiet --scope -p Delegate=yes "$ULV_BIN/uvd" --standalone --root "$ROOT" >>"$ROOT/log" 2>&1 </dev/null 3>&- &
    LAUNCH=$!; export LAUNCH
    wait_for 60 uv list || { cat "$ROOT/log" >&2; return 1; }
    container burn Share=0.5 32M 'sh -c "while :; do :; done"'
    container core Cores=1 32M 'sleep 1000'
    container mem Share=0.5 32M 'sleep 1000'
    uv apply -y; uv start -a
}
teardown_file() { instance_down; }
cg() { local p; p=$(sed -n 's/^0:://p' "/proc/$(field "$1" Leader)/cgroup"); echo "/sys/fs/cgroup${p%/}"; }
top_cg() { local d; d=$(cg "$1"); while [ "${d##*/}" != "partition-$1" ] && [ "$d" != /sys/fs/cgroup ]; do d=${d%/*}; done; echo "$d"; }

@test "sysfs: 4 cores of 2 threads on 2 nodes are the inventory" {
    [ "$(uv backup /dev/stdout | grep -c '^row core ')" = 4 ]
    uv backup /dev/stdout | grep -q '^row core 0 .*threads=0[,-]1'
    [ "$(uv backup /dev/stdout | grep '^row core ' | grep -c node=1)" = 2 ]
}

@test "a core of its own: the cpuset is both its threads, and the host knows" {
    d=$(top_cg core)
    list=$(cat "$d/cpuset.cpus.effective")
    [ "$(echo "$list" | tr ',' '\n' | awk -F- '{n += $2 ? $2 - $1 + 1 : 1} END {print n}')" = 2 ]
    [ "$(uv exec core -- nproc)" = 2 ]
}

@test "a share is a cap: half a thread gets half a thread" {
    d=$(top_cg burn)
    [ "$(cat "$d/cpu.max")" != "max 100000" ]
    a=$(awk '/^usage_usec/ {print $2}' "$d/cpu.stat"); t0=$(date +%s%N); sleep 4
    b=$(awk '/^usage_usec/ {print $2}' "$d/cpu.stat"); t1=$(date +%s%N)
    used=$(((b - a) * 100 / ((t1 - t0) / 1000)))
    echo "used $used % of a thread"
    [ "$used" -le 58 ]
}

@test "memory is a limit: who takes more is killed inside, and nobody else" {
    d=$(top_cg mem)
    [ "$(cat "$d/memory.max")" = $((32 << 20)) ]
    run uv exec mem -- sh -c 'dd if=/dev/zero of=/dev/null bs=64M count=1'
    [ "$status" != 0 ]
    [ "$(field mem State)" = running ]; [ "$(field core State)" = running ]
}

@test "a memory shrink below what is used is refused, and the old limit stands" {
    d=$(top_cg mem)
    uv exec mem -- sh -c 'dd if=/dev/zero of=/tmp/fill bs=1M count=14' || true
    uv set mem memory=64M
    [ "$(cat "$d/memory.max")" = $((64 << 20)) ]
    uv exec mem -- sh -c 'dd if=/dev/zero of=/dev/shm/fill bs=1M count=14'
    run uv set mem memory=16M
    [ "$status" != 0 ]
    [ "$(cat "$d/memory.max")" = $((64 << 20)) ]
    [ "$(field mem MemoryReached)" = $((64 << 20)) ]
}

@test "Tasks= and set tasks=: forks beyond them are refused, and no more than them; changed while it runs" {
    d=$(top_cg mem)
    [ "$(cat "$d/pids.max")" = 4096 ]
    uv set mem tasks=12
    [ "$(cat "$d/pids.max")" = 12 ]
    run uv exec mem -- sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do sleep 3 & done; wait'
    echo "$output"; [[ "$output" == *"can't fork"* ]]
    [ "$(awk '/^max/ {print $2}' "$d/pids.events")" -gt 0 ]
    uv set mem tasks=30
    run uv exec mem -- sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do sleep 1 & done; wait'
    echo "$output"; [ "$status" = 0 ]; [ -z "$output" ]
    uv set mem tasks=
    [ "$(cat "$d/pids.max")" = 4096 ]
}

write_ms() { # write_ms MEGABYTES: how long it takes to write them, past every cache
    local t0; t0=$(date +%s%N)
    uv exec mem -- dd if=/dev/zero of=/io bs=64k count=$(($1 * 16)) oflag=direct || return 1
    echo $((($(date +%s%N) - t0) / 1000000)) >"$BATS_TEST_TMPDIR/ms"
}

@test "io.max: a write really takes the time that the limit says; set, raised and taken back while it runs" {
    d=$(top_cg mem)
    uv set mem "io-write=$ROOT:1M" "iops-read=/dev/vda:5000"
    echo "io.max: $(cat "$d/io.max")"
    [ "$(cat "$d/io.max")" = "$(lsblk -ndo MAJ:MIN /dev/vda | tr -d ' ') rbps=max wbps=1048576 riops=5000 wiops=max" ]
    uv status mem | grep -E 'IO write: 1M/s of 1M/s on .*enforced: io.max'
    [ "$(uv show mem -o json | grep -c '"How": "limit"')" = 2 ]; [ "$(field mem Isolation)" = firm ]
    write_ms 4; slow=$(cat "$BATS_TEST_TMPDIR/ms"); echo "4M at 1M/s: $slow ms"
    [ "$slow" -ge 2500 ]
    uv set mem "io-write=$ROOT:infinity"
    [[ "$(cat "$d/io.max")" == *"wbps=max riops=5000"* ]]
    write_ms 4; fast=$(cat "$BATS_TEST_TMPDIR/ms"); echo "4M without: $fast ms"
    [ "$((slow / 2))" -gt "$fast" ]
    uv undo "$(uv history -o name | head -n 1)"
    [[ "$(cat "$d/io.max")" == *"wbps=1048576 riops=5000"* ]]
    uv set --runtime mem "io-write=$ROOT:infinity" iops-read=/dev/vda:infinity
    [ -z "$(cat "$d/io.max")" ]
    uv apply -y
    [[ "$(cat "$d/io.max")" == *"wbps=1048576 riops=5000"* ]]
}

@test "a disk that goes while it runs: the limit is told as not enforced, and nothing else is held up by it" {
    touch "$ROOT/on-the-disk"; d=$(top_cg mem)
    uv set --runtime mem "io-read=$ROOT/on-the-disk:7M"
    [[ "$(cat "$d/io.max")" == *" rbps=7340032 wbps=1048576 "* ]]
    rm "$ROOT/on-the-disk"
    uv set --runtime mem tasks=99
    [ "$(cat "$d/pids.max")" = 99 ]; [[ "$(cat "$d/io.max")" == *" rbps=max wbps=1048576 "* ]]
    uv status mem | grep -E 'IO read: 7M/s of 7M/s on .*enforced: nothing: there is no such disk now'
    [ "$(field mem Isolation)" = soft ]
    uv apply -y
    [ "$(field mem Isolation)" = firm ]
}

@test "limits of a definition are there from the start, and a disk that isn't there is a refusal with its path" {
    container lim Share=0.1 32M 'sleep 1000'
    printf '[Limits]\nTasks=77\nIOReadMax=/dev/vda 3M\nIOReadMax=/ 2M\n' >>"$ROOT/etc/ultravisor/partitions/lim.partition"
    uv apply -y; uv start lim
    d=$(top_cg lim)
    [ "$(cat "$d/pids.max")" = 77 ]
    [[ "$(cat "$d/io.max")" == *" rbps=2097152 wbps=max"* ]]
    uv stop lim
    printf 'IOReadMax=/dev/nosuch 3M\n' >>"$ROOT/etc/ultravisor/partitions/lim.partition"
    uv apply -y
    run uv start lim
    echo "$output"; [ "$status" != 0 ]; [[ "$output" == *"IOReadMax of /dev/nosuch: there is no such disk"* ]]
    uv remove lim
}

@test "set moves a running partition to more cores; the cpuset follows" {
    sed -i 's/^Cores=1/Cores=1\nCoresMax=3/' "$ROOT/etc/ultravisor/partitions/core.partition"; uv apply -y
    uv set core cores=2
    [ "$(uv exec core -- nproc)" = 4 ]
    uv set core cores=1
    [ "$(uv exec core -- nproc)" = 2 ]
}

@test "the grade says what is enforced: firm where all of it is" {
    [ "$(field mem Isolation)" = firm ]
    run uv status mem; [[ "$output" == *"memory.max"* || "$output" == *limit* ]]
}

@test "metrics: the limits are the kernel's own, the same as the ledger's until somebody changes one" {
    shown() { "$ULV_BIN/uv-metrics" --root "$ROOT" | awk -v s="ultravisor_partition_$1" '$1 == s { print $2 }'; }
    local d; d=$(top_cg burn)
    for p in burn core mem; do
        [ "$(shown "memory_limit_bytes{partition=\"$p\"}")" = "$(shown "memory_reached_bytes{partition=\"$p\"}")" ]
    done
    [ "$(shown 'cpu_limit{partition="burn"}')" = 0.500 ]
    [ "$(shown 'cpu_limit{partition="core"}')" = +Inf ]
    [ "$(shown 'share_reached{partition="core"}')" = 0.000 ]
    [ "$(shown 'memory_used_bytes{partition="burn"}')" -gt 0 ]
    shown 'cpu_throttled_seconds_total{partition="burn"}' | awk '{ exit !($1 > 0) }'
    shown 'stalled_seconds_total{partition="burn",resource="cpu",kind="some"}' | awk '{ exit !($1 > 0) }'
    old=$(cat "$d/cpu.max")
    echo "70000 100000" >"$d/cpu.max"
    [ "$(shown 'cpu_limit{partition="burn"}')" = 0.700 ]
    [ "$(shown 'share_reached{partition="burn"}')" = 0.500 ]
    echo "$old" >"$d/cpu.max"
}

@test "check finds a limit that somebody changed, and a cpuset" {
    local d old; d=$(top_cg core)
    run uv check; [ "$status" = 0 ] || { echo "$output"; return 1; }
    old=$(cat "$d/memory.max"); echo 62914560 >"$d/memory.max"
    run uv check; [ "$status" = 9 ]
    [[ "$output" == *"core  limit  memory.max is 62914560, and by the ledger $old"* ]]
    echo "$old" >"$d/memory.max"
    old=$(cat "$d/cpuset.cpus"); echo "${old%%[-,]*}" >"$d/cpuset.cpus"
    run uv check; [ "$status" = 9 ]
    [[ "$output" == *"core  limit  cpuset.cpus.effective is ${old%%[-,]*}, and by the ledger"* ]]
    echo "$old" >"$d/cpuset.cpus"
    uv check
}

memory_of() { cat "$(top_cg "$1")/memory.current"; }
channel() { uv channel list -o json | jq -r --arg c "$1" '.[] | select(.Channel == $c) | .'"$2"; }
is_booked() { [ "$(channel "$1" State) $(channel "$1" Memory)" = "connected booked" ]; }
channels() { # channels LABEL...: of 8M each, between mem, who owns them, and core
    local l own='' other=''
    for l in "$@"; do
        own+="[Channel \"$l\"]"$'\nPeer=core\nKind=memory\nSize=8M\n'; other+="[Channel \"$l\"]"$'\nPeer=mem\n'
    done
    container mem Share=0.5 32M "sleep 1000
$own"
    container core Cores=1 32M "sleep 1000
$other"
}

# bats test_tags=channel
@test "a channel's pages are its owner's memory from the moment that it is there" {
    shared_of() { awk '$1 == "shmem" { print $2 }' "$(top_cg "$1")/memory.stat"; }
    local before; uv set mem memory=32M -q; uv restart mem -q; before=$(shared_of mem)     # without what earlier tests wrote
    channels feed; uv apply -y
    wait_for 10 is_booked feed
    [ $(($(shared_of mem) - before)) -ge $(((8 << 20) - 4096)) ]    # the first page was uvd's, who lays it out
    [ "$(memory_of core)" -lt $((8 << 20)) ]
}

# bats test_tags=channel
@test "the limit is reached while a channel's pages are allocated: that is said, nothing half is left, and nobody dies of it" {
    uv exec mem -- sh -c 'dd if=/dev/zero of=/tmp/fill bs=1M count=14; dd if=/dev/zero of=/dev/shm/fill bs=1M count=5'
    local pid before; pid=$(field mem Leader); before=$(memory_of mem)
    channels feed more; uv apply -y || true
    wait_for 10 grep -q "channel more isn't there: its pages can't be allocated within the partition's memory" "$ROOT/log"
    wait_for 10 eval '[ "$(channel more Memory)" = null ] || [ -z "$(channel more State)" ]'
    is_booked feed
    [ "$(field mem Leader)" = "$pid" ]; [ "$(field mem State)" = running ]
    [ "$(memory_of mem)" -le $((before + (4 << 20))) ]
    uv exec mem -- sh -c ': >/tmp/fill; : >/dev/shm/fill'
    channels; uv apply -y
}

@test "kill -9 of monitor and uvd: limits stand, the process lives" {
    pid=$(field core Leader); t=$(start_time "$pid"); d=$(top_cg core); before=$(cat "$d/cpuset.cpus")
    kill -9 $(pids_of uv-monitor-lxc); kill -9 "$(pids_of uvd)"
    wait_for 20 uv exec core -- true
    [ "$(start_time "$pid")" = "$t" ]; [ "$(cat "$d/cpuset.cpus")" = "$before" ]
}

@test "stopped: no cgroup, no process, no mount is left" {
    d=$(top_cg core)
    uv stop -a
    [ ! -d "$d" ]
    ! grep -q "$ROOT/tree" /proc/self/mountinfo
}
