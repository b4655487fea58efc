# The ledger against the machine: what differs is told, and nothing else is.
bats_require_minimum_version 1.5.0
load ../lib/uv

setup_file() {
    # Ranges of user IDs that no other test's instance has: what stands there is ours.
    instance_up "$(sed 's/^UIDRanges=.*/UIDRanges=1960-2047/' <<<"$PART")"
    busybox_root "$ROOT/tree"; busybox_root "$ROOT/image"
    mkdir -p "$ROOT/data" "$ROOT/tree/data" "$ROOT/image/data"
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
Root=$ROOT/$([ $n = cored ] && echo tree || echo image)
Exec=sleep 1000
[Mount \"data\"]
Source=$ROOT/data
Target=/data"
    done
    sim fake "Share=0.1" 64M
    uv apply -y
    uv start cored shared fake
    # CPUs that aren't cored's: who is bound to one of these isn't on its core.
    OWN=$(uv list -o json | jq -r '.[] | select(.Name == "cored") | .Cores[0]'); export OWN OTHER=$((1 - OWN))
}
teardown_file() { instance_down; }
tree() { local c; c=$(sed -n 's/^0:://p' "/proc/$(field shared Leader)/cgroup"); echo "$(findmnt -n -o TARGET -t cgroup2 | head -n 1)${c%/partition-shared*}"; }
clean() { uv check || { echo "not clean any more"; return 1; }; }
# kind KIND NAME: that, and nothing else, was found, with all that a finding has.
kind() {
    echo "$output"
    [ "$status" = 9 ] || { echo "exit status $status"; return 1; }
    [ "$(jq -r '[.[] | .Kind + " " + .Name] | unique | join(",")' <<<"$output")" = "$1 $2" ] || return 1
    [ "$(jq '[.[] | select(.Difference == "" or .Why == "" or .Try == "")] | length' <<<"$output")" = 0 ]
}
affinity() { [ "$(field cored CPUHow)" = affinity ] || skip "cores are no affinity here: the VM changes a cpuset (vm-enforced)"; }

@test "nothing differs: exit status 0, and how much was compared" {
    run uv check; echo "$output"; [ "$status" = 0 ]
    [[ "$output" == "0 differences; 3 partitions and "*" compared"* ]]
    [ "$(uv check -o json)" = "[]" ]
    run uv check nosuch; [ "$status" = 4 ]
    run uv check -n; [ "$status" = 2 ]
    run uv list -o nagios; [ "$status" = 2 ]
}

@test "barriers that this machine hasn't are named, the same as status names them" {
    local w
    run uv check; echo "$output"; [ "$status" = 0 ]
    for w in "no security hooks" "no device filter"; do
        [ "$(grep -c "^missing on this machine: .*$w (cored and 1 more)" <<<"$output" || true)" = "$(uv status cored | grep -c "Isolation.*$w" || true)" ]
    done
    [ "$(uv check -o json)" = "[]" ]
}

@test "right after kill -9 of uvd the next one is waited for: its ledger is compared, not nothing" {
    local i
    for i in 1 2 3; do
        kill -9 "$(pids_of uvd)"
        run uv check -o json
        [ "$status $output" = "0 []" ]
    done
}

@test "what, why, try: a finding in full for people, and --repair has its monitor mend it" {
    affinity
    local p; p=$(field cored Leader)
    taskset -pc 0-1 "$p"
    run uv check; echo "$output"; [ "$status" = 9 ]
    [ "${lines[0]}" = "cored  affinity  process $p may run on CPU $OTHER, which isn't of its cores" ]
    [[ "${lines[1]}" == "    why: "* ]]; [ "${lines[2]}" = "    try: uvctl check --repair cored" ]
    [[ "$output" == *"1 difference; "* ]]
    run uv check shared; [ "$status" = 0 ]
    run uv check -n --repair; echo "$output"; [ "$status" = 9 ]
    [[ "$output" == *"would: its monitor enforces"* ]]
    [ "$(taskset -pc "$p" | sed 's/.*: //')" = 0,1 ]
    run uv check --repair cored; echo "$output"; [ "$status" = 0 ]
    [[ "$output" == *"mended: its monitor enforces"* ]]
    [ "$(taskset -pc "$p" | sed 's/.*: //')" = "$OWN" ]
    clean
}

@test "a process beside the first one is looked at, too" {
    affinity
    uv exec cored -- sleep 100 3>&- & local e=$!
    local p l; l=$(field cored Leader)
    inside() { p=$(grep -vx "$l" "$(tree)/partition-cored/cgroup.procs" | while read -r p; do [ "$(tr '\0' ' ' <"/proc/$p/cmdline")" = "sleep 100 " ] && echo "$p"; done); [ -n "$p" ]; }
    wait_for 5 inside
    inside
    taskset -pc "$OTHER" "$p"
    run uv check -o json
    kill "$p"; wait $e || true
    kind affinity cored
    [ "$(jq -r '.[0].Object' <<<"$output")" = "process $p" ]
}

@test "processes in the cgroup of a partition that the ledger doesn't know: found, and not killed" {
    local d; d=$(tree)/partition-ghost
    mkdir "$d"
    sleep 1000 3>&- & local p=$!
    echo $p >"$d/cgroup.procs"
    run uv check --repair -o json; kill -0 $p
    kill $p; wait $p || true
    kind stray ghost
    [ "$(jq -r '.[0].Difference + "/" + .[0].Repair' <<<"$output")" = "processes run in $d, and by the ledger there is no such partition/not" ]
    run uv check --repair; echo "$output"; [ "$status" = 0 ]
    [[ "$output" == *"ghost  leftover  an empty cgroup is left of it: $d"*"mended: "* ]]
    [ ! -d "$d" ]
    clean
}

@test "the first process in another cgroup, whose limits aren't the partition's" {
    local p t; p=$(field shared Leader) t=$(tree)
    mkdir -p "$t/elsewhere"; echo "$p" >"$t/elsewhere/cgroup.procs"
    run uv check -o json
    echo "$p" >"$t/partition-shared/cgroup.procs"; rmdir "$t/elsewhere"
    kind cgroup shared
    clean
}

@test "something mounted over its directory, inside and on the host; something unmounted; a source that was removed" {
    local p; p=$(field shared Leader)
    nsenter -t "$p" -m mount -t tmpfs over /data
    run uv check -o json
    nsenter -t "$p" -m /bin/busybox umount /data
    kind mount shared; [[ "$output" == *"mounted over its /data, inside"* ]]
    mount -t tmpfs over "$ROOT/data"
    run uv check -o json shared
    umount "$ROOT/data"
    kind mount shared; [[ "$output" == *"mounted over $ROOT/data on the host"* ]]
    mount -t tmpfs over "$ROOT/image"
    run uv check -o json
    umount "$ROOT/image"
    kind mount shared; [[ "$output" == *"its / is what lies beneath"* ]]
    nsenter -t "$p" -m /bin/busybox umount /data
    run uv check -o json
    kind mount shared; [[ "$output" == *"nothing is mounted at its /data"* ]]
    uv -q restart shared
    mv "$ROOT/data" "$ROOT/gone"; rmdir "$ROOT/gone"
    run uv check -o json shared
    mkdir "$ROOT/data"; uv -q restart shared cored
    kind mount shared; [[ "$output" == *"was removed from the host"* ]]
    clean
}

@test "a mount of ours on the host" {
    mkdir -p "$ROOT/run/ultravisor/partition/odd"; mount -t tmpfs odd "$ROOT/run/ultravisor/partition/odd"
    run uv check -o json
    umount "$ROOT/run/ultravisor/partition/odd"; rmdir "$ROOT/run/ultravisor/partition/odd"
    kind leftover -
    clean
}

# The last range of user IDs of the inventory, which nobody has.
free_range() { sed -n 's/^UIDRanges=[0-9]*-//p' "$ROOT/machine.inventory"; }

@test "an interface that carries a range of user IDs which no partition has: removed if it is ours beyond doubt" {
    local r n h; r=$(free_range); n=$(printf 'uv%xn0' $((0x7000 + r)))
    ip link add "$n" type veth peer name "peer$r"
    run uv check --repair -o json; kind interface -
    ip link show "$n"
    h=$(python3 - "$r" <<'END'
import sys
crc = 0xffffffff
try: data = open("/etc/machine-id", "rb").read(64)
except OSError: data = b""
for b in data:
    crc ^= b
    for _ in range(8): crc = (crc >> 1) ^ (0x82f63b78 if crc & 1 else 0)
h = (crc ^ 0xffffffff) & 0xffff if data else 0
r = 0x7000 + int(sys.argv[1])
print("fe:%02x:%02x:%02x:%02x:00" % (h >> 8, h & 255, r >> 8, r & 255))
END
    )
    ip link set "$n" address "$h"
    run uv check --repair; echo "$output"; [ "$status" = 0 ]
    run ip link show "$n"; [ "$status" != 0 ]
    clean
}

@test "a process under user IDs that no partition has" {
    local r u; r=$(free_range); u=$((0x70000000 + r * 65536 + 7))
    setpriv --reuid=$u --clear-groups sleep 1000 3>&- & local p=$!
    wait_for 5 sh -c "[ \$(cat /proc/$p/comm) = sleep ]"
    run uv check -o json
    kill $p; wait $p || true
    kind uids -
    clean
}

@test "a monitor that is held doesn't answer, and nobody has seen its first process die: found, and nothing waits for long" {
    local m p; m=$(pids_of uv-monitor-sim | head -n 1) p=$(field fake Leader)
    kill -STOP "$m"
    kill -KILL "$p"
    SECONDS=0
    run uv check -o json
    kill -CONT "$m"
    echo "$output"
    [ $SECONDS -lt 15 ]; [ "$status" = 9 ]
    [ "$(jq -r '.[] | .Kind + " " + .Name' <<<"$output" | sort | xargs)" = "monitor fake process fake" ]
    wait_for 10 uv -q start fake
    clean
}

@test "-o nagios: one line, and the plugins' exit status" {
    run uv check -o nagios; echo "$output"; [ "$status" = 0 ]
    [[ "$output" == "ULTRAVISOR OK - 3 partitions, 0 differences | partitions=3 drift=0 limits="* ]]; [ ${#lines[@]} = 1 ]
    local d; d=$(tree)/partition-ghost
    mkdir "$d"
    run uv check -o nagios; echo "$output"; [ "$status" = 1 ]; [[ "$output" == "ULTRAVISOR WARNING - 3 partitions, 1 difference: ghost "*"| "*" drift=1 "* ]]; [ ${#lines[@]} = 1 ]
    sleep 1000 3>&- & local p=$!
    echo $p >"$d/cgroup.procs"
    run uv check -o nagios; kill $p; wait $p || true; wait_for 5 rmdir "$d"
    echo "$output"; [ "$status" = 2 ]; [[ "$output" == "ULTRAVISOR CRITICAL - "* ]]; [ ${#lines[@]} = 1 ]
    run uv check nosuch -o nagios; echo "$output"; [ "$status" = 3 ]; [[ "$output" == "ULTRAVISOR UNKNOWN - "* ]]; [ ${#lines[@]} = 1 ]
    run "$ULV_BIN/uvctl" --root /nonexistent check -o nagios; echo "$output"; [ "$status" = 3 ]; [[ "$output" == "ULTRAVISOR UNKNOWN - "* ]]; [ ${#lines[@]} = 1 ]
}

@test "while partitions start and stop, no difference is made up; after 50 starts and stops, none is left" {
    local i
    (for i in $(seq 25); do uv -q stop shared fake; uv -q start shared fake; done) 3>&- &
    while kill -0 $! 2>/dev/null; do uv check >"$BATS_TEST_TMPDIR/out" 2>&1 || { cat "$BATS_TEST_TMPDIR/out"; return 1; }; done
    clean
}

@test "what is left of a partition is found where no partition lives that would show the place" {
    local d; d=$(tree)/partition-ghost
    uv -q stop -a
    mkdir "$d"
    run uv check --repair -o json
    [ ! -d "$d" ]
    [ "$(jq -r '.[] | .Kind + " " + .Name + " " + .Repair' <<<"$output")" = "leftover ghost mended" ]
}

@test "who isn't root is told what couldn't be compared" {
    uv -q start shared
    run setpriv --reuid=65534 --regid="$(stat -c %g "$ROOT/run/ultravisor/command/public")" --clear-groups "$ULV_BIN/uvctl" --root "$ROOT" check
    echo "$output"; [ "$status" = 0 ]
    [[ "$output" == *"not compared, for only root may see it: networks and mounts"* ]]
}
