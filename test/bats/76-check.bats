# The ledger against the machine: what differs is told, and nothing else is.
bats_require_minimum_version 1.5.0
load ../lib/uv

setup_file() {
    instance_up "$PART"
    busybox_root "$ROOT/tree"
    local n
    for n in cored shared; do
        definition "$n" "[Partition]
Type=container
StopTimeout=5s
[CPU]
$([ $n = cored ] && echo Cores=1 || echo Share=0.1)
[Memory]
Size=32M
[Container]
Root=$ROOT/tree
Exec=sleep 1000"
    done
    uv apply -y
    uv start cored shared
}
teardown_file() { instance_down; }
tree() { local c; c=$(sed -n 's/^0:://p' "/proc/$(field shared Leader)/cgroup"); echo "$(findmnt -n -o TARGET -t cgroup2 | head -n 1)${c%/partition-shared*}"; }

@test "nothing differs: exit status 0, and how much was compared" {
    run uv check; [ "$status" = 0 ]
    [[ "$output" == "0 differences; 2 partitions and "*" compared" ]]
    [ "$(uv check -o json)" = "[]" ]
    run uv check nosuch; [ "$status" = 4 ]
}

@test "a process that may run on a core that isn't its partition's" {
    [ "$(uv status cored -o json | jq -r 'if type == "array" then .[0] else . end | .CPUHow')" = affinity ] || skip "cores are no affinity here: the VM changes a cpuset (vm-enforced)"
    local p; p=$(field cored Leader)
    taskset -pc 0-1 "$p"
    run uv check; [ "$status" = 9 ]
    [[ "$output" == *"cored  affinity  process $p may run on CPU"* ]]
    [[ "$output" == *"1 difference; "* ]]
    run uv check shared; [ "$status" = 0 ]
    [ "$(uv check -o json | jq -r '.[0].Kind')" = affinity ]
    uv restart cored
    run uv check; [ "$status" = 0 ]
}

@test "processes in the cgroup of a partition that the ledger doesn't know" {
    local d; d=$(tree)/partition-ghost
    mkdir "$d"
    sleep 1000 3>&- & echo $! >"$d/cgroup.procs"
    run uv check
    kill $!; wait $! || true
    wait_for 5 rmdir "$d"
    [ "$status" = 9 ]
    [[ "$output" == *"ghost  stray  processes run in $d, and by the ledger there is no such partition"* ]]
    run uv check; [ "$status" = 0 ]
}

@test "while partitions start and stop, no difference is made up" {
    local i
    (for i in $(seq 8); do uv -q restart shared; done) 3>&- &
    while kill -0 $! 2>/dev/null; do uv check >"$BATS_TEST_TMPDIR/out" 2>&1 || [ $? = 1 ] || { cat "$BATS_TEST_TMPDIR/out"; return 1; }; done
}
