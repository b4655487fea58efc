# In the full VM (kernel 6.1, every controller, 4 cores of 2 threads on 2 nodes): a partition's limits are properties of
# its scope, the kernel says the same, and cores of its own are a valid cpuset partition that PID 1 doesn't undo.
load ../../lib/systemd
ROOTS=/srv/roots         # this kernel has no idmapped tmpfs

SLICE=/sys/fs/cgroup/ultravisor.slice
scope() { echo "/sys/fs/cgroup$(systemctl show -P ControlGroup "ultravisor-$1.scope")"; }
prop() { systemctl show -P "$2" "ultravisor-$1.scope"; }
cores_of() { uvctl list -a -o json | jq -r --arg n "$1" '.[] | select(.Name == $n) | .Cores | join(" ")'; }
cpus() { sed 's/-/ /' <<<"$(tr ',' '\n' <"$1")" | while read -r a b; do seq "$a" "${b:-$a}"; done | xargs; }     # cpus FILE: one by one

define() { # define NAME CPU-LINES MEMORY [EXEC] [MORE LINES]
    container "$1" "" "${4:-/bin/sleep 10000}"
    sed -i "s/^Share=.*/$2/; s/^Size=.*/Size=$3/" "/etc/ultravisor/partitions/$1.partition"
    printf '%b' "${5:-}" >>"/etc/ultravisor/partitions/$1.partition"
}
# Interrupts whose affinity can be changed at all: NUMBER CPUS, sorted.
movable() {
    local f l
    for f in /proc/irq/[0-9]*/smp_affinity_list; do
        l=$(cat "$f")
        { echo "$l" >"$f"; } 2>/dev/null && echo "$(basename "$(dirname "$f")") $l"
    done | sort -n
}
setup_file() {
    movable >"$BATS_FILE_TMPDIR/irqs"
    define mem Share=0.5 64M "" '[Limits]\nTasks=50\nIOWriteMax=/dev/vda 1M\n'
    define core 'Cores=1\nCoresMax=2' 64M
    define other 'Cores=1\nCoresMax=2' 64M
    systemctl start ultravisor.target
    uvctl apply -y
    systemctl start uv-partition@mem uv-partition@core || { journalctl -q --no-pager -o cat -u "uv-partition@*" | tail -n 30 >&2; return 1; }
}
teardown_file() { uvctl stop --all || true; systemctl stop ultravisor.target; }

@test "memory, CPU share, tasks and I/O: properties of the scope, and files of its cgroup" {
    local d; d=$(scope mem)
    is "$(prop mem MemoryMax) $(cat "$d/memory.max")" "67108864 67108864"
    is "$(prop mem MemorySwapMax)" 0
    is "$(prop mem MemoryMin) $(cat "$d/memory.min") $(cat "${d%/*}/memory.min")" "67108864 67108864 max"
    is "$(prop mem TasksMax) $(cat "$d/pids.max")" "50 50"
    is "$(prop mem CPUQuotaPerSecUSec) $(cat "$d/cpu.max")" "500ms 50000 100000"
    [[ "$(cat "$d/io.max")" == *"wbps=1048576"* ]]
    [[ "$(prop mem IOWriteBandwidthMax)" == *" 1048576" ]]
    is "$(uvctl list -o json | jq -r '.[] | select(.Name == "mem") | .Isolation')" firm
}

@test "uvctl set changes the properties while it runs, an unrelated property leaves them, daemon-reload too" {
    local d; d=$(scope mem)
    uvctl set -q mem memory=96M tasks=60
    is "$(prop mem MemoryMax) $(cat "$d/memory.max")" "100663296 100663296"
    is "$(prop mem TasksMax) $(cat "$d/pids.max")" "60 60"
    systemctl set-property --runtime ultravisor-mem.scope CPUWeight=50
    systemctl daemon-reload
    is "$(cat "$d/memory.max") $(cat "$d/pids.max") $(cat "$d/cpu.max")" "100663296 60 50000 100000"
    uvctl set -q mem memory=64M
    is "$(cat "$d/memory.max")" 67108864
}

filtered() { uvctl show mem -o json | grep -E '"Contain": "[^"]* devices'; }

@test "the device filter is on the scope, and PID 1 leaves it there: the next monitor finds it" {
    filtered
    systemctl daemon-reload
    systemctl set-property --runtime ultravisor-mem.scope CPUWeight=60
    systemctl kill --kill-whom=main -s KILL uv-partition@mem
    wait_for 20 uvctl exec mem -- true
    filtered
}

@test "out of memory: the process that takes too much dies, unit, scope and partition go on" {
    local before; before=$(leader mem)
    not uvctl exec mem -- sh -c 'dd if=/dev/zero of=/dev/null bs=200M count=1'
    [ "$(awk '/^oom_kill / { print $2 }' "$(scope mem)/memory.events")" -ge 1 ]
    is "$(leader mem) $(field mem State)" "$before running"
    is "$(unit_state uv-partition@mem) $(unit_state ultravisor-mem.scope)" "active active"
    # And it is an event of the journal's, about that partition.
    local id; id=$(awk '/^-- / { id = $2 } /^Subject: .*has used all of its memory/ { print id }' /usr/lib/systemd/catalog/ultravisor.catalog)
    journalctl --sync
    [ "$(journalctl -q -b -o cat MESSAGE_ID="$id" ULTRAVISOR_PARTITION=mem | wc -l)" -ge 1 ]
}

@test "cores of its own: a valid cpuset partition below a valid ultravisor.slice, and nobody of the host on them" {
    local d c; d=$(scope core)
    c=$(cat "$d/cpuset.cpus.effective")
    is "$(cat "$d/cpuset.cpus.partition") $(cat $SLICE/cpuset.cpus.partition)" "root root"
    is "$(cat $SLICE/cpuset.cpus)" "$c"
    is "$(cpus "$d/cpuset.cpus.effective" | wc -w)" 2
    for cpu in $(cpus "$d/cpuset.cpus.effective"); do
        not grep -qw "$cpu" <<<"$(cpus /sys/fs/cgroup/system.slice/cpuset.cpus.effective) $(cpus /sys/fs/cgroup/init.scope/cpuset.cpus.effective) $(cpus "$(scope mem)/cpuset.cpus.effective")"
    done
    uvctl status core | grep -i 'enforced: cpuset'
}

@test "uv-slice.service: its status has the CPUs that are partitions', no controller is missing; without a partition nothing is taken" {
    is "$(systemctl show -P StatusText uv-slice.service)" "no partition has cores of its own"
    systemctl reload uv-slice.service
    is "$(systemctl show -P StatusText uv-slice.service)" "CPUs $(cat $SLICE/cpuset.cpus) are partitions' own, cpuset root"
    is "$(cat "$SLICE/cpuset.cpus.partition") $(cat "$(scope core)/cpuset.cpus.partition")" "root root"
}

@test "no task but the partition's and the kernel's own may run on its CPUs" {
    local d mine task allowed bad=""
    d=$(scope core); mine=" $(cpus "$d/cpuset.cpus.effective") "
    for task in /proc/[0-9]*/task/[0-9]*; do
        [ -s "${task%/task/*}/cmdline" ] || continue        # of the kernel
        grep -q ultravisor-core.scope "$task/cgroup" 2>/dev/null && continue
        allowed=$(awk '/^Cpus_allowed_list/ { print $2 }' "$task/status" 2>/dev/null) || continue
        for cpu in $(cpus <(echo "$allowed")); do [[ "$mine" != *" $cpu "* ]] || bad+="$(cat "$task/comm") "; done
    done
    is "$bad" ""
}

@test "no interrupt that can be moved goes to its CPUs" {
    local mine irq list n=0
    mine=" $(cpus "$(scope core)/cpuset.cpus.effective") "
    while read -r irq list; do
        n=$((n + 1))
        for cpu in $(cpus <(echo "$list")); do [[ "$mine" != *" $cpu "* ]] || { echo "irq $irq may go to $list, which has $cpu" >&2; return 1; }; done
    done < <(movable)
    echo "# $n interrupts kept off; those that can't be moved: $(journalctl -q -o cat -u uv-partition@core | grep -o "move from.*" | head -n 1)" >&3
    [ "$n" -gt 0 ]
    [ -s /run/ultravisor/interrupts ]
}

# kinds: what `uvctl check` finds, as "KIND NAME", each once.
kinds() { uvctl check -o json "$@" | jq -r '.[] | .Kind + " " + .Name' | sort -u | xargs; }

# bats test_tags=check
@test "uvctl check: limits, cpusets, interrupts and host tasks that were changed by hand are found, and --repair mends them" {
    local d m irq c tasks; d=$(scope core) m=$(scope mem); tasks=$(cat "$m/pids.max") c=$(cpus "$(scope core)/cpuset.cpus.effective" | cut -d' ' -f1)
    is "$(kinds)" ""
    systemctl set-property --runtime ultravisor-mem.scope MemoryMax=500M
    echo 77 >"$m/pids.max"
    echo "10000 100000" >"$m/cpu.max"
    echo "$(lsblk -ndo MAJ:MIN /dev/vda | tr -d ' ') wbps=max" >"$m/io.max"
    irq=$(movable | tail -n 1 | cut -d' ' -f1); echo "$c" >"/proc/irq/$irq/smp_affinity_list"
    echo member >"$SLICE/cpuset.cpus.partition"
    uvctl check -n --repair -o json >"$BATS_TEST_TMPDIR/out" || is $? 9
    is "$(jq -r '.[] | .Kind + " " + .Name + " " + .Repair' "$BATS_TEST_TMPDIR/out" | sort -u | xargs)" "interrupt core would limit core would limit mem would task core would"
    is "$(jq -r '.[] | select(.Name == "mem") | .Object' "$BATS_TEST_TMPDIR/out" | sort | xargs)" "/dev/vda cpu.max memory.max pids.max"
    is "$(cat "$m/pids.max")" 77
    uvctl check --repair
    is "$(cat "$m/memory.max") $(cat "$m/pids.max") $(cat "$m/cpu.max") $(cat "$d/cpuset.cpus.partition")" "67108864 $tasks 50000 100000 root"
    echo "$c" >"$d/cpuset.cpus"
    is "$(kinds core)" "limit core"
    uvctl check --repair core
}

# bats test_tags=check
@test "uvctl check: a drop-in of a scope, and a limit of the slice that holds down all, are told and left alone" {
    mkdir -p /run/systemd/system/ultravisor-mem.scope.d
    printf '[Scope]\nCPUWeight=7\n' >/run/systemd/system/ultravisor-mem.scope.d/mine.conf
    systemctl set-property --runtime uvpool.slice CPUQuota=30%
    systemctl daemon-reload
    not uvctl check --repair >$BATS_TEST_TMPDIR/out
    grep -q "^mem  unit  /run/systemd/system/ultravisor-mem.scope.d/mine.conf changes its scope" $BATS_TEST_TMPDIR/out
    grep -q "uvpool.slice is 30000 100000, which holds down" $BATS_TEST_TMPDIR/out
    grep -q "try: systemctl revert uvpool.slice" $BATS_TEST_TMPDIR/out
    rm -r /run/systemd/system/ultravisor-mem.scope.d; systemctl revert uvpool.slice
    is "$(kinds)" ""
}

@test "it survives daemon-reload, daemon-reexec, a drop-in of the slice and a killed monitor" {
    local d c; d=$(scope core); c=$(cat "$d/cpuset.cpus.effective")
    systemctl daemon-reload
    systemctl daemon-reexec
    systemctl set-property --runtime ultravisor.slice CPUWeight=200
    systemctl kill --kill-whom=main -s KILL uv-partition@core
    wait_for 20 uvctl exec core -- true
    is "$(cat "$d/cpuset.cpus.partition") $(cat $SLICE/cpuset.cpus.partition) $(cat "$d/cpuset.cpus.effective")" "root root $c"
}

@test "a drop-in that takes the CPUs away is put right after daemon-reload" {
    local d c; d=$(scope core); c=$(cat "$d/cpuset.cpus.effective")
    mkdir -p /run/systemd/system/ultravisor-core.scope.d
    printf '[Scope]\nMemoryMax=50M\n' >/run/systemd/system/ultravisor-core.scope.d/mine.conf
    echo member >$SLICE/cpuset.cpus.partition
    systemctl daemon-reload
    wait_for 10 sh -c "[ \$(cat $SLICE/cpuset.cpus.partition) = root ] && [ \$(cat $d/cpuset.cpus.partition) = root ] && [ \$(cat $d/memory.max) = 67108864 ]"
    is "$(cat "$d/cpuset.cpus.effective")" "$c"
    rm -r /run/systemd/system/ultravisor-core.scope.d; systemctl daemon-reload
}

@test "a second one with a core: the slice grows; set cores: the scope grows and shrinks, the host gets back what is let go" {
    local host
    systemctl start uv-partition@other
    is "$(cat "$(scope other)/cpuset.cpus.partition") $(cat "$(scope core)/cpuset.cpus.partition") $(cat $SLICE/cpuset.cpus.partition)" "root root root"
    is "$(cpus $SLICE/cpuset.cpus | wc -w)" 4
    uvctl set -q other cores=2
    is "$(cpus "$(scope other)/cpuset.cpus.effective" | wc -w) $(cat "$(scope other)/cpuset.cpus.partition")" "4 root"
    host=$(cpus /sys/fs/cgroup/system.slice/cpuset.cpus.effective | wc -w)
    uvctl set -q other cores=1
    is "$(cpus "$(scope other)/cpuset.cpus.effective" | wc -w)" 2
    is "$(cpus $SLICE/cpuset.cpus | wc -w)" 4
    is "$(cpus /sys/fs/cgroup/system.slice/cpuset.cpus.effective | wc -w)" $((host + 2))
}

@test "a core moves from one to the other: let go first, proved by the cpuset, then given" {
    uvctl set -q other cores=2
    uvctl move cores=1 other core
    is "$(cpus "$(scope core)/cpuset.cpus.effective" | wc -w) $(cpus "$(scope other)/cpuset.cpus.effective" | wc -w)" "4 2"
    is "$(cat "$(scope other)/cpuset.cpus.partition") $(cat "$(scope core)/cpuset.cpus.partition")" "root root"
    uvctl history -o json >/dev/null
}

@test "stopped with no uvd and a monitor that was killed: the cores are the host's all the same" {
    systemctl stop uvd.service
    mkdir -p /run/systemd/system/uv-partition@other.service.d
    kill -STOP "$(main_pid uv-partition@other.service)"
    printf '[Service]\nTimeoutStopSec=1s\n' >/run/systemd/system/uv-partition@other.service.d/slow.conf
    systemctl daemon-reload
    systemctl stop uv-partition@other
    rm -r /run/systemd/system/uv-partition@other.service.d; systemctl daemon-reload
    is "$(cat $SLICE/cpuset.cpus)" "$(cat "$(scope core)/cpuset.cpus")"
    is "$(cpus /sys/fs/cgroup/system.slice/cpuset.cpus.effective | wc -w)" 4
    systemctl start uvd.service
    wait_for 10 sh -c "[ \"\$(uvctl list -a -o json | jq -r '.[] | select(.Name == \"other\") | .State')\" = defined ]"
    systemctl start uv-partition@other
}

@test "stopped: the cores are the host's again, to the last" {
    systemctl stop uv-partition@other uv-partition@core
    wait_for 5 sh -c "[ ! -e $SLICE ] || [ -z \"\$(cat $SLICE/cpuset.cpus)\" ]"
    is "$(cpus /sys/fs/cgroup/system.slice/cpuset.cpus.effective | wc -w)" 8
    diff "$BATS_FILE_TMPDIR/irqs" <(movable)
    [ ! -e /run/ultravisor/interrupts ]
}
