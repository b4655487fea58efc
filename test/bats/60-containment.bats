# Nothing gets out: the probe's acts under both profiles, with each layer off, and roots that change under a start.
bats_require_minimum_version 1.5.0
load ../lib/uv
load ../lib/probe

setup_file() {
    roots_make
    instance_up "$PART"
    probe_container app 'Exec=sleep 100000'
    probe_container sys 'Init=yes'
    probe_container nest 'Exec=sleep 100000
User=www
Nesting=yes'
    uv apply -y
}
teardown_file() { instance_down; roots_remove; }

# bats test_tags=kernel
@test "the probe can tell: root in new namespaces without our layers may do most of it" {
    [ "$("$B/test/uvprobe" --list | wc -l)" -ge 80 ]
    run unshare --mount --pid --net --uts --ipc --fork "$B/test/uvprobe"
    [ "$(grep -c '^not ok' <<<"$output")" -ge 80 ]
}

# bats test_tags=kernel
@test "app: none of the acts is allowed, not as root inside" {
    uv start app
    run probe app
    echo "$output"; [ -z "$output" ]
}

# bats test_tags=kernel
@test "app: nor as a user" {
    run probe app --user www
    echo "$output"; [ -z "$output" ]
}

# bats test_tags=kernel
@test "system: the root's own init is PID 1, on a console, and exec stands beside it" {
    uv start sys
    wait_for 5 eval 'uv logs sys | grep -q "own init, console /dev/"'
    [ "$(uv exec sys -- cat /proc/1/comm)" = init ]
    [ "$(field sys State)" = running ]
    uv exec sys -- sh -c 'echo up >/tmp/x; cat /tmp/x'
}

# bats test_tags=kernel
@test "system: the probe is allowed what is documented, and nothing else" {
    run probe sys
    diff <(listed system) <(echo "$output")
}

# bats test_tags=kernel
@test "system: a user inside is allowed no more than its list" {
    run probe sys --user www
    diff <(listed system-user) <(echo "$output")
}

# bats test_tags=kernel
@test "system: stop asks as systemd wants to be asked; its end is told with its status" {
    pid=$(field sys Leader)
    uv stop sys
    [ "$(field sys State)" = defined ]; [ ! -e "/proc/$pid" ]
    uv start sys; kill -TERM "$(field sys Leader)"
    wait_for 5 eval '[ "$(field sys State)" = failed ]'
    run uv status sys; [[ "$output" == *7* ]]
}

@test "system: Debian's systemd boots, says that it runs, and halts when it is asked" {
    tree=$(ls -d "${ULV_BED_CACHE:-$B/beds}"/tree-*/ 2>/dev/null | head -n 1)
    [ -n "$tree" ] || skip "no Debian tree (test/beds/vm.sh make)"
    uv image import debian "${tree%/}" -q
    definition deb "[Partition]
Type=container
StopTimeout=30s
[CPU]
Share=1
[Memory]
Size=256M
[Container]
Image=debian
Init=yes"
    uv apply -y; uv start deb
    wait_for 20 eval '[ "$(uv exec deb -- systemctl is-system-running)" = running ]'
    [ "$(uv exec deb -- cat /proc/1/comm)" = systemd ]
    uv exec deb -- systemd-run --wait --pipe -p PrivateTmp=yes -p DynamicUser=yes id -u
    uv stop deb
    run uv status deb; [[ "$output" == *"exit:0"* ]]
    uv remove --purge deb; uv image remove debian
}

# bats test_tags=kernel
@test "Nesting=yes: user namespaces, mounts and a fresh /proc inside; the rest of the list stays shut" {
    uv start nest
    [ "$(uv exec --user www nest -- unshare --user --map-root-user --mount --pid --fork --mount-proc sh -c 'mount -t tmpfs none /tmp && echo $$')" = 1 ]
    run probe nest --user www
    diff <(listed nesting) <(echo "$output")
    uv stop --force nest
}

# bats test_tags=kernel
@test "the device filter is on the cgroup: a process in it opens what is listed, and no other device" {
    uv start app 2>/dev/null || true
    d=$(sed -n 's/^0:://p' "/proc/$(field app Leader)/cgroup")
    mount=$(awk '$9 == "cgroup2" || $10 == "cgroup2" {print $5; exit}' /proc/self/mountinfo)
    [ -n "$d" ] && [ -d "$mount$d" ] || skip "no cgroup2 here"
    run uv status app; [[ "$output" == *"devices filtered"* ]]
    # Root of the host, in that cgroup and nothing else of the container's: the filter alone refuses.
    in_cgroup() { sh -c 'echo $$ >"$0/cgroup.procs" && shift && exec "$@"' "$mount$d" - "$@"; }
    in_cgroup head -c 1 /dev/zero >/dev/null
    run in_cgroup head -c 1 /dev/kmsg; [ "$status" != 0 ]; [[ "$output" == *"not permitted"* ]]
    run in_cgroup mknod "$BATS_TEST_TMPDIR/node" c 1 3; [ "$status" != 0 ]
}

# bats test_tags=kernel
@test "the monitor of what runs can neither mount nor trace: it holds five capabilities, and takes none back" {
    for m in $(pids_of uv-monitor-lxc); do
        # KILL SETGID SETUID SETPCAP SYS_NICE
        [ "$(awk '/^CapPrm/ {print $2}' "/proc/$m/status")" = 00000000008001e0 ]
        [ "$(awk '/^CapEff/ {print $2}' "/proc/$m/status")" = 00000000008001e0 ]
        [ "$(awk '/^CapBnd/ {print $2}' "/proc/$m/status")" = 00000000008001e0 ]
        [ "$(awk '/^Cap(Inh|Amb)/ {n += $2 != 0} END {print n + 0}' "/proc/$m/status")" = 0 ]
    done
    [ -n "$m" ]
}

# bats test_tags=kernel
@test "AppArmor: the profile is used where the host has it" {
    [ -e /sys/kernel/security/apparmor/profiles ] || skip "this kernel has no AppArmor, or securityfs isn't mounted"
    grep -q '^ultravisor-container ' /sys/kernel/security/apparmor/profiles || skip "ultravisor-container isn't loaded: apparmor_parser -r plugins/lxc/apparmor/ultravisor-container"
    [[ "$(cat "/proc/$(field app Leader)/attr/apparmor/current")" == ultravisor-container* ]]
}

@test "a root that changes while it is started, links for directories, touches nothing outside" {
    probe_root race; canary=$UV_ROOTS/canary; mkdir -p "$canary"/{dev,proc,sys,etc,run,tmp}; echo safe >"$canary/etc/passwd"
    for n in dev proc sys etc run tmp; do ln -s "$canary/$n" "$UV_ROOTS/race/.$n"; done
    definition race "[Partition]
Type=container
[CPU]
Share=0.1
[Memory]
Size=64M
[Container]
Root=$UV_ROOTS/race
Exec=/bin/true"
    uv apply -y
    before=$(find "$canary" -printf '%p %y %u %g %m %s %T@ %l\n' | sort); mounts=$(grep -c . /proc/self/mountinfo)
    mkfifo "$BATS_TEST_TMPDIR/end"
    "$B/test/swapper" "$UV_ROOTS/race" dev proc sys etc run tmp <"$BATS_TEST_TMPDIR/end" >"$BATS_TEST_TMPDIR/swaps" 3>&- &
    exec 5>"$BATS_TEST_TMPDIR/end"
    starts=200; [ -z "${LONG:-}" ] || starts=10000
    good=0
    for ((i = 0; i < starts; i++)); do
        uv start race >/dev/null 2>&1 && good=$((good + 1))
        uv stop --force race >/dev/null 2>&1 || true
    done
    exec 5>&-; wait $!
    echo "$good of $starts started, $(cat "$BATS_TEST_TMPDIR/swaps") exchanges"
    [ "$(cat "$BATS_TEST_TMPDIR/swaps")" -gt "$starts" ]
    [ "$(find "$canary" -printf '%p %y %u %g %m %s %T@ %l\n' | sort)" = "$before" ]
    [ "$(grep -c . /proc/self/mountinfo)" = "$mounts" ]
    ! grep -q canary /proc/self/mountinfo
}
