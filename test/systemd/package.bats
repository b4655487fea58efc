# The Debian package: installed, upgraded while partitions run, removed, purged.
load ../lib/systemd

installed_files() { dpkg -L ultravisor | while read -r f; do [ -d "$f" ] || echo "$f"; done; }
# What installing must not touch: settings, modules, links, mounts, and what cores each group of PID 1's may use.
host_state() {
    grep -rs '' /proc/sys --exclude-dir=random --exclude={inode-nr,inode-state,file-nr,dentry-state,ns_last_pid,nr,stat_refresh} 2>/dev/null |
        grep -avE '/proc/sys/(kernel/(random|pty|sched_domain|threads-max)|fs/(dentry|inode|file|aio-nr|quota)|net/netfilter)' | sort
    cut -d' ' -f1 /proc/modules | sort
    ip -o link | sed -E 's/ (qlen|state) [^ ]*//g'
    cut -d' ' -f5,6 /proc/self/mountinfo | sort
    find /sys/fs/cgroup -name 'cpuset.cpus*' -exec grep -H '' {} + 2>/dev/null | sort
}
# A partition that runs: what must be the same after an upgrade.
partition_pids() { systemctl show -P MainPID 'uv-partition@*.service' | xargs; }

@test "the package installs, the roles run, and the host has all that it had" {
    host_state >"$BATS_TEST_TMPDIR/before"
    DEBIAN_FRONTEND=noninteractive dpkg -i old.deb
    host_state >"$BATS_TEST_TMPDIR/after"
    diff "$BATS_TEST_TMPDIR/before" "$BATS_TEST_TMPDIR/after"
    for u in $ROLES; do is "$(systemctl is-active $u)" active; done
    # PID 1's package has a trigger for it.
    journalctl --list-catalog | grep -q 'Ultravisor: The ledger can.t be written'
    is "$(systemctl is-enabled ultravisor.target)" enabled
    wait_for 5 uvctl list
    # Nothing is given away: what there is, is the host's.
    is "$(uvctl resources | awk '$1 == "cores" || $1 == "memory" { print $1, $2 == $3 }' | xargs)" "cores 1 memory 1"
}

@test "an upgrade restarts the roles at once, and disturbs no partition" {
    local before roles
    if [ ! -e /lib/systemd/system/uv-partition@.service ]; then
        printf '[Service]\nExecStart=/bin/sleep 1000\n' >/etc/systemd/system/uv-partition@.service
        systemctl daemon-reload
        systemctl start uv-partition@web
    else
        sim web Share=0.1 64M
        for n in one two three; do container $n "" '/bin/sh -c "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done"'; done
        uvctl apply -y
        uvctl start web one two three
    fi
    before=$(partition_pids) roles=$(for u in $ROLES; do main_pid $u; done | xargs)
    [ -n "$before" ]
    dpkg -i new.deb
    is "$(dpkg-query -W -f '${Version}' ultravisor)" "$(uvctl --version | awk '{ print $2 }')"
    is "$(partition_pids)" "$before"
    for u in $ROLES; do
        is "$(systemctl is-active $u)" active
        not grep -qw "$(main_pid $u)" <<<"$roles"
        is "$(readlink "/proc/$(main_pid $u)/exe")" "/usr/lib/ultravisor/$u"
    done
    wait_for 5 uvctl list
}

# The partitions as the kernel and PID 1 have them: process, its start, scope.
payloads() { local n p; for n in one two three web; do p=$(leader $n); echo "$n $p $(start_ticks "$p") $(systemctl show -P InvocationID ultravisor-$n.scope)"; done; }
old_code() { uvctl list -a -o json | jq -r '[.[] | select(.OldCode) | .Name] | join(" ")'; }

@test "list marks the monitors that run the old package's code, uvctl upgrade gives each a new one, and no partition notices" {
    local before roles monitors since n at
    is "$(old_code)" "one three two web"
    uvctl list | grep -qE '^one .*running, old code'
    before=$(payloads) monitors=$(partition_pids) roles=$(for u in $ROLES; do main_pid $u; done | xargs) since=$(date +%s.%N)
    uvctl upgrade >$BATS_TEST_TMPDIR/said
    is "$(awk '{ print $1, $2, $3 }' $BATS_TEST_TMPDIR/said | xargs)" "one new monitor, three new monitor, two new monitor, web new monitor,"
    is "$(old_code)" ""
    is "$(payloads)" "$before"
    is "$(for u in $ROLES; do main_pid $u; done | xargs)" "$roles"
    for n in $(partition_pids); do not grep -qw "$n" <<<"$monitors"; done
    for n in one two three web; do
        is "$(unit_state uv-partition@$n) $(systemctl show -P Result uv-partition@$n)" "active success"
        is "$(readlink "/proc/$(main_pid uv-partition@$n)/exe" | sed 's/-[a-z]*$//')" /usr/lib/ultravisor/uv-monitor
    done
    # To an administrator's eye nothing failed.
    journalctl --sync
    is "$(journalctl -q -o cat --since "@$since" -u 'uv-partition@*' | grep -c 'Failed with result')" 0
    for n in one two three; do
        at=$(uvctl logs --lines 1 $n | tr -dc 0-9)
        wait_for 5 sh -c "[ \$(uvctl logs --lines 1 $n | tr -dc 0-9) -gt $at ]"
        uvctl logs --lines 100000 $n | tr -d '\r' | sed -n 's/^line //p' >$BATS_TEST_TMPDIR/log
        diff <(seq $(wc -l <$BATS_TEST_TMPDIR/log)) $BATS_TEST_TMPDIR/log
    done
    run uvctl upgrade
    is "$status $output" "0 "
}

@test "needrestart offers no restart of a partition: it would be one of what runs in it" {
    is "$(perl -e 'our %nrconf = (blacklist_rc => []); eval do { local (@ARGV, $/) = "/etc/needrestart/conf.d/ultravisor.conf"; <> }; die $@ if $@;
        print join " ", grep { my $rc = $_; !grep { $rc =~ /$_/ } @{$nrconf{blacklist_rc}} } qw(uv-partition@web.service uvd.service ssh.service)')" "uvd.service ssh.service"
}

@test "VMs are in a package of their own, and libvirt with it: without it a start says which one, with it that isn't the reason" {
    local before
    not grep -q libvirt <<<"$(dpkg-query -W -f '${Depends} ${Recommends}' ultravisor)"
    not test -e /usr/lib/ultravisor/uv-monitor-kvm
    printf '[Partition]\nType=vm\n[CPU]\nShare=0.1\n[Memory]\nSize=64M\n[VM]\nKernel=/usr/lib/os-release\nAccel=tcg\n' >/etc/ultravisor/partitions/v.partition
    uvctl apply -y
    run uvctl start v
    echo "$output"
    is "$status" 1
    [[ "$output" == *"no monitor for Type=vm on this host: uv-monitor-kvm isn't installed"*"try: apt install ultravisor-kvm"* ]]
    not systemctl start uv-partition@v
    journalctl -q -u uv-partition@v -o cat | grep -q "uv-monitor-kvm isn't installed"
    is "$(field v State) $(field v MemoryReached)" "failed 0"
    before=$(partition_pids)
    dpkg -i kvm.deb
    run timeout 60 uvctl start v
    echo "$output"
    [[ "$output" != *"isn't installed"* ]]
    uvctl -q stop --force v || true
    dpkg -r ultravisor-kvm
    is "$(partition_pids | tr ' ' '\n' | grep -vx 0 | xargs)" "$(tr ' ' '\n' <<<"$before" | grep -vx 0 | xargs)"
    rm /etc/ultravisor/partitions/v.partition; uvctl apply -q -y --prune; systemctl reset-failed uv-partition@v || true
}

@test "removing the package stops what is its own and leaves definitions, ledger and images" {
    local files
    files=$(installed_files)
    [ "$(wc -l <<<"$files")" -gt 25 ]
    systemctl start ultravisor.slice uvpool.slice
    systemctl enable -q uv-partition@web.service || ln -s /lib/systemd/system/uv-partition@.service /etc/systemd/system/ultravisor.target.wants/uv-partition@web.service
    run dpkg -r ultravisor
    is "$status" 0
    [[ "$output" == *"Ending the partitions that run: "*"uv-partition@web.service"* ]]
    is "$(systemctl is-active ultravisor.slice uvpool.slice | xargs)" "inactive inactive"
    # What is in /etc is a configuration file of dpkg: it stays until a purge.
    for f in $files; do case $f in /etc/*) ;; *) not test -e "$f" ;; esac; done
    is "$(pgrep -x 'uvd|uv-.*' | xargs)" ""
    is "$(systemctl list-units --plain --no-legend 'uv*' 'ultravisor*' | grep -v 'uv-partition@.*sleep' | awk '{ print $1, $3 }' | xargs)" ""
    [ -e /var/lib/ultravisor/uvd/ledger.db ]
    [ -d /etc/ultravisor/partitions ]
}

@test "installed again, it knows all that it knew" {
    dpkg -i new.deb
    wait_for 5 uvctl list
    [ ! -e /etc/ultravisor/partitions/web.partition ] || [ "$(uvctl list -o name | grep -cx web)" = 1 ]
}

@test "purging leaves no file, no unit and no process; the accounts stay, as Debian has it" {
    rm -f /etc/systemd/system/uv-partition@.service
    dpkg -P ultravisor
    is "$(find / -xdev \( -path /proc -o -path /sys -o -path /run/payload -o -path /payload -o -path /var/log/journal \) -prune -o \
        \( -name '*ultravisor*' -o -name 'uvd*' -o -name 'uv-*' -o -name uvctl \) -print | grep -v '^/tmp\|^/var/log/dpkg\|^/run/log' | xargs)" ""
    is "$(find /run -xdev -name '*ultravisor*' | xargs)" ""
    is "$(pgrep -x 'uvd|uv-.*' | xargs)" ""
    is "$(find /etc/systemd/system -name 'uv-*' -o -name 'ultravisor*' | xargs)" ""
    id ultravisor
    is "$(systemctl --failed --plain --no-legend | xargs)" ""
}
