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

@test "processes are limited" {
    d=$(top_cg mem)
    [ "$(cat "$d/pids.max")" != max ]
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
