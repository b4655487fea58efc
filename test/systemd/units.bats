# Partitions as units of PID 1: systemctl and uvctl say the same, and no death of ours takes a payload along.
load ../lib/systemd

UNIT=uv-partition@web.service
SCOPE=ultravisor-web.scope

setup_file() {
    container web Restart=always
    container db
    systemctl start ultravisor.target
    uvctl apply -y
}
teardown_file() { uvctl stop --all || true; systemctl stop ultravisor.target; }

running() { # running NAME: ledger, unit and scope agree
    is "$(field "$1" State)" running
    is "$(unit_state "uv-partition@$1.service") $(unit_state "ultravisor-$1.scope")" "active active"
    grep -q "/uvpool.slice/ultravisor-$1.scope" "/proc/$(leader "$1")/cgroup"
}
stopped() { # stopped NAME [STATE of the unit]
    is "$(field "$1" State)" defined
    is "$(unit_state "uv-partition@$1.service") $(unit_state "ultravisor-$1.scope")" "${2:-inactive} inactive"
}
same() { is "$(leader web) $(start_ticks "$(leader web)")" "$1"; }       # same "PID START"
who() { echo "$(leader web) $(start_ticks "$(leader web)")"; }
# The pid of its monitor, or the test ends: kill 0 would end the tests themselves.
monitor() { local p; p=$(main_pid $UNIT); [ "$p" -gt 1 ] || { echo "no monitor" >&2; return 1; }; echo "$p"; }
# Each test begins with web running.
setup() { [ "$(field web State)" = running ] || wait_for 10 uvctl start -q web; }

@test "systemctl start starts a partition, as uvctl start does: transaction, unit, scope in uvpool.slice" {
    uvctl stop web
    systemctl start $UNIT
    running web
    uvctl history web | grep -q systemd
    systemctl stop $UNIT
    wait_for 5 stopped web
    [[ "$(uvctl history web | sed -n 2p)" == *"monitor of web  done"*"web stopped with its unit: signal 15" ]]
    uvctl start web
    running web
    [ "$(systemctl show -P StatusText $UNIT)" = "running, leader $(leader web)" ]
}

@test "uv-slice.service says by name what this machine can't enforce" {
    local said c
    is "$(unit_state uv-slice.service)" active
    is "$(unit_state ultravisor.slice) $(unit_state uvpool.slice)" "active active"
    said=$(systemctl show -P StatusText uv-slice.service)
    echo "# $said" >&3
    [[ "$said" == "no partition has cores of its own"* ]]
    for c in cpuset cpu memory pids io; do
        grep -qw $c /sys/fs/cgroup/cgroup.controllers || [[ "$said" == *[\ ,]"$c ("* ]]
    done
    systemctl reload uv-slice.service
    is "$(systemctl show -P StatusText uv-slice.service)" "$said"
}

@test "the monitor's unit has the monitor, its uv-port and uv-attach, nothing of the payload" {
    local got
    got=$(for p in $(cat /sys/fs/cgroup/$(systemctl show -P ControlGroup $UNIT)/cgroup.procs); do cat /proc/$p/comm; done | sort | xargs)
    is "$got" "uv-attach uv-monitor-lxc uv-port"
    got=$(for p in $(cat /sys/fs/cgroup/$(systemctl show -P ControlGroup $SCOPE)/cgroup.procs); do cat /proc/$p/comm; done | sort | xargs)
    is "$got" "sleep uv-init"
}

@test "the payload isn't spared by the OOM killer, and can't have itself spared" {
    is "$(cat "/proc/$(leader web)/oom_score_adj")" 0
    not uvctl exec web -- sh -c 'echo -1 >/proc/self/oom_score_adj'
}

@test "systemctl start of what can't start fails, and says why in the unit's status" {
    not systemctl start uv-partition@nosuch.service
    systemctl show -P StatusText uv-partition@nosuch.service | grep -q 'no partition nosuch: no definition has this name'
    is "$(systemctl show -P ExecMainStatus uv-partition@nosuch.service)" 4
    container big "" /bin/true
    sed -i 's/Size=32M/Size=900G/' /etc/ultravisor/partitions/big.partition
    uvctl reload
    not systemctl start uv-partition@big.service
    systemctl show -P StatusText uv-partition@big.service | grep -q '900G'
    is "$(systemctl show -P ExecMainStatus uv-partition@big.service)" 7
    is "$(unit_state uv-partition@big.service)" failed
    container bad "" /bin/not-there
    uvctl apply -y
    not systemctl start uv-partition@bad.service
    is "$(field bad State)" failed
    sleep 0.5
    is "$(systemctl show -P NRestarts uv-partition@bad.service)" 0
    rm /etc/ultravisor/partitions/{big,bad}.partition
}

@test "journalctl -u tells why" {
    journalctl -q -u uv-partition@nosuch.service -o cat | grep -q 'no definition has this name'
}

@test "systemctl stop ends it, though it has Restart=always, and uvctl stop ends its unit" {
    local pid
    running web
    pid=$(leader web)
    systemctl stop $UNIT
    wait_for 5 stopped web
    gone "$pid"
    sleep 1.5
    stopped web
    uvctl start web
    uvctl stop web
    wait_for 5 stopped web
}

@test "systemctl restart is a new life of the partition" {
    local old
    systemctl start $UNIT
    old=$(who)
    systemctl restart $UNIT
    running web
    [ "$(who)" != "$old" ]
}

@test "systemctl start just after uvctl stop starts another life: it doesn't take the unit that is leaving for it" {
    local i
    for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
        uvctl -q stop web
        systemctl start $UNIT
        is "$(field web State)" running
    done
}

@test "uvctl enable is systemctl enable, of what has a definition" {
    uvctl enable -q web
    is "$(systemctl is-enabled $UNIT)" enabled
    [ -e /etc/systemd/system/ultravisor.target.wants/$UNIT ]
    uvctl disable -q web
    is "$(systemctl is-enabled $UNIT || true)" disabled
    run uvctl enable nosuch
    is "$status" 4
    run uvctl enable ../../etc/x
    is "$status" 4
}

@test "a partition that is removed isn't enabled any more" {
    sim gone Share=0.1 64M
    uvctl apply -y
    uvctl enable -q gone
    run uvctl remove gone
    is "$status" 0
    [[ "$output" == *"gone isn't started at boot any more"* ]]
    not test -L /etc/systemd/system/ultravisor.target.wants/uv-partition@gone.service
}

@test "enabled partitions are started with ultravisor.target, in the order of After=" {
    container first
    container second After=first
    uvctl apply -y
    uvctl enable -q second first
    systemctl stop ultravisor.target
    systemctl start ultravisor.target
    wait_for 20 sh -c 'uvctl list -o json | jq -e "[.[] | select(.Name == \"first\" or .Name == \"second\") | .State] == [\"running\", \"running\"]"'
    order=$(uvctl history | awk '/start (first|second):/ { sub(/:/, "", $8); print }' | grep -oE 'start (first|second)' | xargs)
    is "$order" "start second start first"       # newest first
    uvctl disable -q second first
    uvctl stop -q second first
}

@test "the monitor killed by any signal: PID 1 revives it, the payload and its scope run on" {
    local before unit_pid
    before=$(who)
    for s in KILL ABRT SEGV HUP INT PIPE; do
        unit_pid=$(monitor)
        kill -$s "$unit_pid"
        sleep 0.1
        wait_for 5 uvctl exec web -- /bin/true
        running web
        same "$before"
    done
    [ "$(systemctl show -P NRestarts $UNIT)" -ge 3 ]
}

@test "killed 20 times in a row, as fast as it comes back" {
    local before
    before=$(who)
    for i in $(seq 20); do systemctl kill --kill-whom=main -s KILL $UNIT || true; sleep 0.03; done
    wait_for 5 uvctl exec web -- /bin/true
    same "$before"
}

@test "systemctl restart uvd, kill -9 of each role: nothing of the partition notices" {
    local before m
    before=$(who) m=$(monitor)
    systemctl restart uvd.service
    wait_for 5 uvctl exec web -- /bin/true
    for u in $ROLES; do systemctl kill -s KILL $u; done
    wait_for 10 uvctl exec web -- /bin/true
    same "$before"
    is "$(monitor)" "$m"
}

@test "monitor and uvd killed together: found again, by fds and token" {
    local before
    before=$(who)
    kill -KILL "$(monitor)" "$(main_pid uvd)"
    wait_for 10 uvctl exec web -- /bin/true
    running web
    same "$before"
}

@test "daemon-reload and daemon-reexec disturb nothing, and the fds are still there after them" {
    local before
    before=$(who)
    systemctl daemon-reload
    systemctl daemon-reexec
    kill -KILL "$(monitor)"
    wait_for 5 uvctl exec web -- /bin/true
    running web
    same "$before"
}

@test "a monitor that dies at once, again and again, is waited for ever longer, never given up, and its partition runs on" {
    local before n said
    before=$(who) n=$(systemctl show -P NRestarts $UNIT)
    rm -f /run/ultravisor/partition/web/deaths     # of the tests before
    mv /usr/lib/ultravisor/uv-monitor-lxc{,.well}
    printf '#!/bin/sh\nkill -KILL $$\n' >/usr/lib/ultravisor/uv-monitor-lxc
    chmod 755 /usr/lib/ultravisor/uv-monitor-lxc
    kill -KILL "$(monitor)"
    sleep 5
    n=$(($(systemctl show -P NRestarts $UNIT) - n))
    said=$(systemctl show -P StatusText $UNIT)
    mv /usr/lib/ultravisor/uv-monitor-lxc{.well,}
    echo "# $n restarts in 5 s; $said" >&3
    [ "$n" -gt 5 ]
    [ "$n" -lt 25 ]
    [[ "$said" == *"died at once in a row"* ]]
    [ "$(start_ticks "${before% *}")" = "${before#* }" ]
    wait_for 15 uvctl exec web -- /bin/true
    same "$before"
    # Stopped and started in order, again and again, it never waits.
    for n in 1 2 3 4 5 6 7 8; do uvctl -q stop web; uvctl -q start web; done
    [ ! -e /run/ultravisor/partition/web/deaths ] || [ "$(cut -d' ' -f1 /run/ultravisor/partition/web/deaths)" = 0 ]
}

@test "systemctl stop without uvd ends the payload; uvd hears of it when it is back, and takes it for no failure" {
    local pid
    pid=$(leader web)
    systemctl stop uvd.service
    systemctl stop $UNIT
    gone "$pid"
    is "$(unit_state $UNIT) $(unit_state $SCOPE)" "inactive inactive"
    systemctl start uvd.service
    wait_for 10 stopped web
    sleep 1.5
    stopped web
    is "$(field web State)" defined
}

@test "systemctl stop and start while uvd is away: one life ends, another begins, and systemctl start says so when it has" {
    local before
    before=$(who)
    systemctl stop uvd.service
    systemctl stop $UNIT
    gone "${before% *}"
    systemctl start $UNIT
    running web
    [ "$(who)" != "$before" ]
    uvctl exec web -- /bin/true
    # The note of that stop is gone: what comes next is no stop.
    kill -KILL "$(monitor)"
    before=$(who)
    wait_for 5 uvctl exec web -- /bin/true
    same "$before"
}

@test "a start after a stop without uvd is refused for its reason if it has one, and the stopped life is over all the same" {
    sed -i s/^Size=.*/Size=900G/ /etc/ultravisor/partitions/web.partition
    uvctl reload
    systemctl stop uvd.service
    systemctl stop $UNIT
    run systemctl start $UNIT
    sed -i s/^Size=.*/Size=32M/ /etc/ultravisor/partitions/web.partition
    uvctl reload
    is "$status" 1
    systemctl show -P StatusText $UNIT | grep -q 900G
    stopped web failed
    systemctl reset-failed $UNIT
}

@test "systemctl stop of a monitor that hangs: killed, and the payload with it" {
    local pid
    systemctl start $UNIT
    pid=$(leader web)
    mkdir -p /run/systemd/system/$UNIT.d
    printf '[Service]\nTimeoutStopSec=1s\n' >/run/systemd/system/$UNIT.d/hang.conf
    systemctl daemon-reload
    kill -STOP "$(monitor)"
    systemctl stop $UNIT
    wait_for 5 gone "$pid"
    rm -r /run/systemd/system/$UNIT.d; systemctl daemon-reload
    wait_for 5 sh -c "[ \$(systemctl show -P ActiveState $SCOPE) = inactive ]"
    wait_for 10 sh -c 'uvctl list -a -o json | jq -e ".[] | select(.Name == \"web\") | .State != \"running\""'
}

@test "systemctl stop at the moment of an accident: the payload is gone all the same, and nothing revives it" {
    local i pid
    for i in 0 1 2 3 4 5 6 7 8 9 10 11; do
        uvctl start -q web
        pid=$(leader web)
        kill -KILL "$(monitor)"
        sleep "0.00$i" 2>/dev/null || sleep 0.01
        systemctl stop $UNIT
        wait_for 5 gone "$pid"
        wait_for 5 stopped web
    done
}

@test "a start that PID 1 wants waits for uv-command, for uvd, and is done when they are back" {
    uvctl stop -q web
    kill -STOP "$(main_pid uv-command)"
    systemctl start --no-block $UNIT
    sleep 0.3
    is "$(unit_state $UNIT)" activating
    systemctl restart uvd.service
    sleep 0.3
    systemctl kill -s KILL uv-command.service
    wait_for 10 running web
}

@test "the monitor killed at any moment of a start: nothing is left that nobody knows, and the next start works" {
    local i
    container frail Restart=no
    uvctl apply -q -y
    for i in $(seq 0 4 110); do
        uvctl start -q --no-block frail
        sleep "0.$(printf %03d "$i")"
        systemctl kill --kill-whom=main -s KILL uv-partition@frail.service 2>/dev/null || true
        wait_for 20 sh -c 'uvctl list -a -o json | jq -e ".[] | select(.Name == \"frail\") | .State | . == \"running\" or . == \"failed\" or . == \"defined\""'
        if [ "$(field frail State)" = running ]; then
            wait_for 5 running frail
            uvctl stop -q frail
        fi
        wait_for 5 sh -c '[ "$(systemctl show -P ActiveState ultravisor-frail.scope)" = inactive ]'
    done
    uvctl start -q frail
    running frail
    uvctl stop -q frail
}

@test "the system bus killed: partitions run on, and uvd is PID 1's client again when it is back" {
    local before
    before=$(who)
    systemctl kill -s KILL dbus.service
    sleep 0.5
    same "$before"
    wait_for 20 busctl list
    kill -KILL "$(monitor)"
    wait_for 10 uvctl exec web -- /bin/true
    same "$before"
    wait_for 10 uvctl start -q db
    uvctl stop -q db
}

@test "a payload killed from outside: Restart= starts it again in a new scope, on-failure semantics are the planner's" {
    local old
    uvctl stop web || true
    uvctl start web
    old=$(leader web)
    kill -KILL "$old"
    wait_for 10 sh -c "l=\$(uvctl list -a -o json | jq -r '.[] | select(.Name == \"web\") | .Leader'); [ \$l != 0 ] && [ \$l != $old ]"
    running web
}

@test "a partition stopped and started again and again leaves no unit, scope, cgroup or file behind" {
    uvctl stop web
    for i in 1 2 3 4 5; do uvctl start -q db; uvctl stop -q db; done
    wait_for 5 stopped db
    wait_for 5 sh -c '[ -z "$(systemctl list-units --no-legend -a "ultravisor-*.scope")" ]'
    is "$(ls /run/systemd/transient /run/systemd/system.control 2>/dev/null | grep ultravisor- | xargs)" ""
    is "$(find /sys/fs/cgroup/uvpool.slice -mindepth 1 -type d 2>/dev/null | xargs)" ""
    is "$(ls /run/ultravisor/uvd/type | xargs)" ""
}

# bats test_tags=check
@test "uvctl check: units that the ledger doesn't know, and partitions whose unit is gone, are found; nothing is made up while they come and go" {
    local kinds='.[] | .Kind + " " + .Name'
    is "$(uvctl check -o json)" "[]"
    systemd-run -q --scope --slice=uvpool.slice --unit=ultravisor-ghost.scope sleep 1000 3>&- &
    wait_for 5 systemctl is-active ultravisor-ghost.scope
    is "$(uvctl check -o json | jq -r "$kinds" | sort | xargs)" "stray ghost unit ghost"
    not uvctl check --repair
    systemctl is-active ultravisor-ghost.scope
    systemctl stop ultravisor-ghost.scope
    wait_for 5 uvctl check
    (for i in 1 2 3 4 5; do uvctl -q stop web; uvctl -q start web; done) 3>&- &
    while kill -0 $! 2>/dev/null; do uvctl check || return 1; done
    is "$(uvctl check -o nagios | cut -d' ' -f1-2)" "ULTRAVISOR OK"
    systemctl stop uvd.service
    run uvctl check -o nagios
    systemctl start uvd.service
    is "$status" 3
    [[ "$output" == "ULTRAVISOR UNKNOWN - "* ]]
}

# happened SUBJECT [FIELD=VALUE]: `journalctl -x` shows an event of this entry of the catalogue, with its subject in words.
happened() {
    local id; id=$(awk -v s="$1" '/^-- / { id = $2 } /^Subject: / && index($0, s) { print id }' /usr/lib/systemd/catalog/ultravisor.catalog)
    is "${#id}" 32
    journalctl -q -b -x --no-pager MESSAGE_ID="$id" ${2:+"$2"} >"$BATS_TEST_TMPDIR/journal"
    grep -qF "Subject: ${3:-$1}" "$BATS_TEST_TMPDIR/journal" && grep -qF 'Defined-By: Ultravisor' "$BATS_TEST_TMPDIR/journal" ||
        { echo "not in the journal: $*"; cat "$BATS_TEST_TMPDIR/journal"; return 1; }
}

# bats test_tags=check
@test "journalctl -x explains what happened to a partition, to a change and to a role, by the catalogue" {
    container fails "" /bin/false
    uvctl apply -y -q
    uvctl -q start fails || true
    uvctl -q stop web; uvctl -q start web
    kill -KILL "$(monitor)"
    wait_for 10 uvctl exec web -- true
    busctl call org.ultravisor1 /org/ultravisor1 org.ultravisor1.Manager Renew su web 0
    wait_for 10 uvctl exec web -- true
    not uvctl set web memory=900G
    kill -KILL "$(main_pid uvd)"
    wait_for 10 uvctl check
    systemd-run -q --scope --slice=uvpool.slice --unit=ultravisor-ghost.scope sleep 1000 3>&- &
    wait_for 5 systemctl is-active ultravisor-ghost.scope
    not uvctl check
    systemctl stop ultravisor-ghost.scope
    journalctl --sync
    happened "ULTRAVISOR_PARTITION@ runs" ULTRAVISOR_PARTITION=web "Partition web runs"
    happened "has ended" ULTRAVISOR_PARTITION=web "Partition web has ended"
    happened "has failed" ULTRAVISOR_PARTITION=fails "Partition fails has failed"
    happened "has taken over" ULTRAVISOR_PARTITION=web "A new monitor has taken over partition web"
    happened "gets a monitor of the new code" ULTRAVISOR_PARTITION=web "Partition web gets a monitor of the new code"
    happened "A change was refused" ULTRAVISOR_OBJECT=web
    happened "Somebody asked the Ultravisor for a change" ULTRAVISOR_VERB=Start
    for u in $ROLES; do happened "A part of the Ultravisor is ready" _SYSTEMD_UNIT=$u.service; done
    happened "The machine differs from the ledger" ULTRAVISOR_KIND=stray
    rm /etc/ultravisor/partitions/fails.partition; uvctl -q apply -y --prune
}
