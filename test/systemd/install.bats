# What `make install` puts on a system, and what it allows.
load ../lib/systemd

# as USER COMMAND...: with that account's groups
as() { local user=$1; shift; setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups --reset-env "$@"; }
pid1() { # pid1 USER METHOD SIGNATURE ARG...: a call to PID 1's manager as USER
    local user=$1; shift
    as "$user" busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager "$@"
}
denied() { # denied USER METHOD...: refused, and for that reason
    local said
    if said=$(pid1 "$@" 2>&1); then echo "allowed: $*" >&2; return 1; fi
    grep -qE 'Access denied|Interactive authentication required|not (allowed|authorized)|rejected' <<<"$said" ||
        { echo "$*: failed, but wasn't refused: $said" >&2; return 1; }
}

@test "PID 1 takes every unit without a word" {
    local said
    said=$(cd /usr/lib/systemd/system && systemd-analyze verify --man=no ultravisor.target uv*.service 2>&1 | grep -E '(ultravisor|uv[d-])' || true)
    is "$said" ""
}

@test "the three roles, uv-metrics and uv-slice are below 1.5 on systemd's scale of exposure" {
    local figure
    for u in $ROLES uv-metrics uv-slice; do
        figure=$(systemd-analyze security --no-pager $u.service | sed -nE 's/.*exposure level for .*: ([0-9.]+) .*/\1/p')
        echo "# $u $figure" >&3
        awk -v f="$figure" 'BEGIN { exit !(f != "" && f < 1.5) }'
    done
}

@test "the exposure of a partition's unit is what SECURITY.md publishes" {
    local figure
    figure=$(systemd-analyze security --no-pager uv-partition@web.service | sed -nE 's/.*exposure level for .*: ([0-9.]+) .*/\1/p')
    echo "# uv-partition@ $figure" >&3
    grep -qF "\`uv-partition@.service\` has $figure" systemd/SECURITY.md
}

@test "each directory has the owner and the mode that a standalone instance gives it" {
    local path uid gid mode n=0
    while read -r path uid gid mode; do
        # Members of ultravisor-admin need no bus: the public socket gets its directory's group.
        [ "$path" != run/ultravisor/command ] || { gid=ultravisor-admin mode=2755; }
        is "/$path $(stat -c '%U %G %a' "/$path")" "/$path $uid $gid $mode"
        n=$((n + 1))
    done < <(awk -F'[{},]' '/^static const struct . const char \*path/ { on = 1; next } /^};/ { on = 0 } on && NF > 4 { print $2, $3, $4, $5 }' tree.c |
        sed -E 's/ULV_RUN_PARTITION/"run\/ultravisor\/partition"/; s/ULV_RUN/"run\/ultravisor"/; s/ULV_LOG_DIR/"var\/log\/ultravisor"/; s/ULV_IMAGES/"var\/lib\/ultravisor\/images"/; s/ULV_WRITABLE/"var\/lib\/ultravisor\/writable"/
            s/" "//; s/"//g; s/ULV_UID_UVD|ULV_GID_ROLES/ultravisor/g; s/ULV_UID_COMMAND/uv-command/g; s/ULV_UID_OPERATIONS/uv-operations/g; s/ULV_[UG]ID_METRICS/uv-metrics/g
            s/ 0 / root /; s/ 0 / root /; s/ 0([0-7]+) *$/ \1/' | awk '$1 ~ /ultravisor/ { print $1, $2, $3, $4 }')
    [ "$n" -ge 15 ]
}

@test "uvd's account may start and stop partitions' monitors, and nothing else of PID 1's" {
    local unit=uv-partition@web.service
    # Stand-ins, so that only PID 1's answer counts.
    printf '[Service]\nExecStart=/bin/sleep 1000\n' >/etc/systemd/system/uv-partition@.service
    cp /etc/systemd/system/uv-partition@.service /etc/systemd/system/other.service
    cp /etc/systemd/system/other.service /etc/systemd/system/xuv-partition@web.service
    systemctl daemon-reload
    systemctl start other
    for m in StartUnit RestartUnit StopUnit; do pid1 ultravisor $m ss $unit replace; done
    pid1 ultravisor StartUnit ss $unit replace
    pid1 ultravisor ResetFailedUnit s $unit
    for other in other.service uvd.service uv-command.service ultravisor.target xuv-partition@web.service dbus.service; do
        for m in StartUnit RestartUnit StopUnit; do denied ultravisor $m ss $other replace; done
    done
    denied ultravisor KillUnit ssi other.service all 9
    denied ultravisor KillUnit ssi $unit all 9
    denied ultravisor SetUnitProperties 'sba(sv)' $unit true 1 CPUWeight t 200
    denied ultravisor StartTransientUnit 'ssa(sv)a(sa(sv))' uv-partition@new.service fail 0 0
    denied ultravisor StartTransientUnit 'ssa(sv)a(sa(sv))' mine.service fail 0 0
    denied ultravisor Reload
    denied ultravisor EnableUnitFiles asbb 1 other.service true true
    # Names that PID 1 takes for no unit of that template, or that it refuses by itself.
    not pid1 ultravisor StartUnit ss uv-partition@../other.service replace
    not pid1 ultravisor StartUnit ss "uv-partition@web.service other.service" replace
    denied ultravisor StartUnit ss uv-partition@Web.service replace
    # And the other roles may not even that.
    for user in uv-command uv-operations nobody; do denied $user StartUnit ss $unit replace; denied $user StopUnit ss $unit replace; done
    systemctl is-active -q other $unit
    systemctl stop other $unit
    rm /etc/systemd/system/{uv-partition@,other,xuv-partition@web}.service
    systemctl daemon-reload
}

@test "only uv-command's account may own org.ultravisor1 on the system bus" {
    local name=org.ultravisor1
    own() { as "$1" busctl call org.freedesktop.DBus / org.freedesktop.DBus RequestName su $name 4; }
    own uv-command
    for user in ultravisor uv-operations nobody; do not own $user; done
}

@test "uvd is ready with 1,000 defined partitions in under a second" {
    local began ready
    systemctl start ultravisor.target
    for i in $(seq 1000); do sim "p$i" Share=0.001 2M; done
    uvctl apply -y -q
    is "$(uvctl list -o name | grep -c '^p')" 1000
    systemctl restart uvd
    began=$(systemctl show -P ExecMainStartTimestampMonotonic uvd) ready=$(systemctl show -P ActiveEnterTimestampMonotonic uvd)
    echo "# 1,000 partitions: uvd ready $(((ready - began) / 1000)) ms after its start" >&3
    [ $((ready - began)) -lt 1000000 ]
    wait_for 5 uvctl list
    is "$(uvctl list -o name | grep -c '^p')" 1000
}

metrics() { # GET /metrics, without a program for it
    exec 4<>/dev/tcp/127.0.0.1/9719
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >&4
    cat <&4
    exec 4>&-
}

@test "metrics are served when an administrator wants it, by an account that may look and nothing else" {
    local pid set got
    not systemctl -q is-enabled uv-metrics.socket
    not systemctl -q is-active uv-metrics.socket
    systemctl start ultravisor.target uv-metrics.socket
    not systemctl -q is-active uv-metrics.service
    container seen; uvctl apply -y -q; uvctl start -q seen
    metrics >/tmp/metrics
    grep -qx 'ultravisor_up 1' /tmp/metrics
    grep -qx 'ultravisor_partition_state{partition="seen",state="running"} 1' /tmp/metrics
    grep -q '^ultravisor_partition_cpu_seconds_total{partition="seen"} ' /tmp/metrics
    is "$(tail -n 1 /tmp/metrics)" '# EOF'
    pid=$(main_pid uv-metrics)
    is "$(ps -o user:32= -p "$pid")" uv-metrics
    for set in CapInh CapPrm CapEff CapBnd CapAmb; do is "$set $(status_of uv-metrics $set)" "$set 0000000000000000"; done
    not as uv-metrics uvctl stop seen
    is "$(field seen State)" running
    # Without the planner it says that, and partitions have no samples.
    systemctl stop uv-command
    sleep 1.1
    metrics >/tmp/metrics
    grep -qx 'ultravisor_up 0' /tmp/metrics
    not grep -q 'partition="seen"' /tmp/metrics
    systemctl start ultravisor.target uv-command
    wait_for 5 uvctl stop seen
    systemctl stop uv-metrics.socket uv-metrics.service
}
