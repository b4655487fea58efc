# In the full VM (kernel 6.1, every controller, 4 cores of 2 threads on 2 nodes), with libvirtd and machined in it: a VM's QEMU
# is in libvirt's own scope in our slice, and has the limits that a container has there, as properties of that scope.
load ../../lib/systemd

SLICE=/sys/fs/cgroup/ultravisor.slice
virsh() { command virsh -q -c qemu:///system "$@"; }
dir() { echo "/sys/fs/cgroup$(awk -F: '/^0::/ { sub(/\.scope.*/, ".scope", $3); print $3 }' "/proc/$(leader "$1")/cgroup")"; }
unit() { basename "$(dir "$1")"; }
prop() { systemctl show -P "$2" "$(unit "$1")"; }
cores_of() { uvctl list -a -o json | jq -r --arg n "$1" '.[] | select(.Name == $n) | .Cores | join(" ")'; }
vcpus() { local t; for t in /proc/"$(leader "$1")"/task/*; do grep -q '^CPU ' "$t/comm" && awk '/^Cpus_allowed_list/ { print $2 }' "$t/status"; done | sort -n | xargs; }
define() { # define NAME CPU-LINES [MORE]
    printf '[Partition]\nType=vm\nStartTimeout=200s\n[CPU]\n%b\n[Memory]\nSize=64M\n%b[VM]\nKernel=/run/virt/vmlinuz\nAccel=tcg\n' "$2" "${3:-}" >"/etc/ultravisor/partitions/$1.partition"
}
setup_file() {
    test/systemd/libvirtd.sh
    define core 'Cores=1\nCoresMax=2' '[Limits]\nTasks=60\nIOWriteMax=/dev/vda 1M\n'
    define share 'Share=0.5'
    systemctl start ultravisor.target
    uvctl apply -y
    systemctl start uv-partition@core uv-partition@share || { journalctl -q --no-pager -o cat -u "uv-partition@*" -u libvirtd | tail -n 30 >&2; return 1; }
}
teardown_file() { uvctl stop --force --all || true; systemctl stop ultravisor.target; }

@test "QEMU is in libvirt's scope: with cores of its own in ultravisor.slice, with a share in uvpool.slice" {
    [[ "$(dir core)" == $SLICE/machine-qemu*ultravisor*core.scope ]]
    [[ "$(dir share)" == /sys/fs/cgroup/uvpool.slice/machine-qemu*ultravisor*share.scope ]]
    is "$(unit_state ultravisor-core.scope)" inactive
}

@test "the same limits as a container's: memory, tasks, I/O, CPU share, each a property and a file" {
    local d max; d=$(dir core) max=$((64 + 160 + 64)); max=$(((max << 20) + (64 << 20) / 128))
    is "$(prop core MemoryMax) $(cat "$d/memory.max")" "$max $max"
    is "$(cat "$d/memory.swap.max") $(cat "$d/memory.min")" "0 $max"
    is "$(prop core TasksMax) $(cat "$d/pids.max")" "60 60"
    [[ "$(cat "$d/io.max")" == *"wbps=1048576"* ]]
    is "$(cat "$(dir share)/cpu.max")" "50000 100000"
    # The guest's memory is counted there.
    [ "$(cat "$d/memory.current")" -gt $((64 << 20)) ]
    is "$(uvctl show core -o json | jq -r '.[0].MemoryHow')" preallocated
}

@test "a core is its own: a valid cpuset partition, each of the guest's CPUs on one of its threads, all else within" {
    local d; d=$(dir core)
    is "$(cat "$SLICE/cpuset.cpus.partition") $(cat "$d/cpuset.cpus.partition")" "root root"
    is "$(cat "$d/cpuset.cpus.effective" | tr -- '-,' '  ')" "$(cores_of core | tr -- '-,' '  ')"
    is "$(vcpus core)" "$(cat "$d/cpuset.cpus.effective" | tr -- '-,' '  ')"
    is "$(uvctl show core -o json | jq -r '.[0].CPUHow')" isolated
    uvctl check
}

@test "what somebody changes is found by the check: a limit of its scope, a CPU of the guest on all of the core" {
    local t; t=$(basename "$(dirname "$(grep -l '^CPU 0' /proc/"$(leader core)"/task/*/comm | head -n 1)")")
    systemctl set-property --runtime "$(unit core)" TasksMax=99
    taskset -p 0xff "$t" >/dev/null
    run uvctl check
    is "$status" 9
    [[ "$output" == *"pids.max is 99, and by the ledger 60"* && "$output" == *"CPU 0 of the guest"*"may run on 2 CPUs"* ]]
    systemctl set-property --runtime "$(unit core)" TasksMax=60
    uvctl check --repair || true
    uvctl check
}

@test "another number of cores while it runs: the scope, the slice and the threads follow, and what it gives up is another's at once" {
    uvctl set -q core cores=2
    is "$(wc -w <<<"$(cores_of core)")" 2
    is "$(cat "$(dir core)/cpuset.cpus.effective")" "$(cat "$SLICE/cpuset.cpus")"
    is "$(vcpus core | tr ' ' '\n' | sort -u | wc -l)" 2
    uvctl set -q core cores=1
    is "$(cat "$(dir core)/cpuset.cpus.effective")" "$(cat "$SLICE/cpuset.cpus")"
    is "$(cat "$(dir core)/cpuset.cpus.partition")" root
    uvctl check
}

@test "killed, nothing of it is left: no QEMU, no scope, and its core is anybody's again" {
    local u d; u=$(unit core) d=$(dir core)
    uvctl kill -s KILL core
    wait_for 20 test ! -d "$d"
    is "$(unit_state "$u")" inactive
    wait_for 20 test -z "$(cat "$SLICE/cpuset.cpus" 2>/dev/null)"
}
