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
        uvctl apply -y
        uvctl start web
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

@test "removing the package stops what is its own and leaves definitions, ledger and images" {
    local files
    files=$(installed_files)
    [ "$(wc -l <<<"$files")" -gt 25 ]
    dpkg -r ultravisor
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
    id ultravisor
    is "$(systemctl --failed --plain --no-legend | xargs)" ""
}
