#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2317
#
# A payload that proves the full-VM bed itself: `vm.sh run test/beds/check`. TAP, like the Bats tests.
set -u

number=0 failed=0
# check WHAT COMMAND...: one line of TAP.
check() {
        local what=$1 said
        shift
        number=$((number + 1))
        if said=$("$@" 2>&1); then
                echo "ok $number $what"
        else
                failed=$((failed + 1))
                printf 'not ok %d %s\n' "$number" "$what"
                printf '%s\n' "$said" | sed 's/^/# /'
        fi
}
is() { [[ $1 == "$2" ]] || { echo "got '$1', not '$2'"; return 1; }; }
lscpu_is() { is "$(lscpu | sed -n "s/^$1: *//p")" "$2"; }

slice_is_partition() {
        systemctl set-property --runtime bedcheck.slice AllowedCPUs=4-7
        systemctl start bedcheck.slice
        systemd-run -q --unit=bedcheck --slice=bedcheck.slice -p AllowedCPUs=6-7 sleep infinity
        echo root >/sys/fs/cgroup/bedcheck.slice/cpuset.cpus.partition
        is "$(cat /sys/fs/cgroup/bedcheck.slice/cpuset.cpus.partition)" root
}
unit_is_isolated() {
        local unit=/sys/fs/cgroup/bedcheck.slice/bedcheck.service/cpuset.cpus.partition
        echo isolated >"$unit"
        is "$(cat "$unit")" isolated && is "$(cat /sys/fs/cgroup/system.slice/cpuset.cpus.effective)" 0-3
}
fuse_and_nbd() { modprobe -a fuse nbd overlay loop veth bridge tun && [[ -e /dev/nbd0 && -e /dev/fuse && -e /dev/net/tun ]]; }
veth() { ip link add name va type veth peer name vb && ip netns add x && ip link set vb netns x && ip -n x link show vb; }
polkit() { systemctl start polkit && busctl introspect org.freedesktop.PolicyKit1 /org/freedesktop/PolicyKit1/Authority; }
libraries() {
        local name
        for name in libsystemd.so.0 libsqlite3.so.0 libcap.so.2 libseccomp.so.2 libnl-3.so.200 libnl-route-3.so.200 \
                libnl-genl-3.so.200 liburing.so.2 libcurl.so.4 libjansson.so.4 libcmocka.so.0; do
                /sbin/ldconfig -p | grep -q "	$name " || { echo "$name isn't there"; return 1; }
        done
}
clock_is_right() { # the payload's own folder has just been packed
        local age=$(($(date +%s) - $(stat -c %Z run.sh)))
        ((age >= -2 && age < 60)) || { echo "run.sh was unpacked $age s ago"; return 1; }
}

check "kernel 6.1" is "$(uname -r | cut -d. -f1,2)" 6.1
check "PID 1 is systemd 252" is "$(systemctl --version | awk 'NR == 1 {print $2}')" 252
check "the system is up" is "$(systemctl is-system-running)" running
check "8 CPUs" is "$(nproc)" 8
check "2 threads a core" lscpu_is 'Thread(s) per core' 2
check "2 cores a socket" lscpu_is 'Core(s) per socket' 2
check "2 nodes" lscpu_is 'NUMA node(s)' 2
check "node 1 has CPUs 4-7" lscpu_is 'NUMA node1 CPU(s)' 4-7
check "no swap" is "$(wc -l </proc/swaps)" 1
check "no network" is "$(ls /sys/class/net)" lo
check "cgroup v2, all controllers" is "$(cat /sys/fs/cgroup/cgroup.controllers)" \
        "cpuset cpu io memory hugetlb pids rdma misc"
check "a slice as cpuset partition" slice_is_partition
check "an isolated unit in it" unit_is_isolated
check "modules" fuse_and_nbd
check "veth and network namespaces" veth
check "polkit answers" polkit
check "libraries" libraries
check "the clock is set" clock_is_right
check "stderr can be opened again" bash -c 'echo "# text" >/dev/stderr'
echo "1..$number"
exit $((failed > 0))
