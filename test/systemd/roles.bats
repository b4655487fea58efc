# The three roles as services of PID 1: up, confined, back after any death.
load ../lib/systemd

# uv-command has both others.
connected() { [ "$(uvctl status -o json | jq -r '.Ledger + " " + .Operations')" = "connected connected" ]; }

setup_file() { systemctl start ultravisor.target; }
teardown_file() { systemctl stop ultravisor.target; }

@test "systemctl start ultravisor.target brings up the three roles, and uvctl answers" {
    for u in $ROLES; do is "$(systemctl is-active $u)" active; done
    uvctl list
    uvctl resources
    connected
}

@test "each role has an account of its own, no capability, no way to get one, and a filter of system calls" {
    local users
    users=$(for u in $ROLES; do ps -o user:32= -p "$(main_pid $u)"; done | xargs)
    is "$users" "ultravisor uv-command uv-operations"
    for u in $ROLES; do
        for set in CapInh CapPrm CapEff CapBnd CapAmb; do is "$u $set $(status_of $u $set)" "$u $set 0000000000000000"; done
        is "$u $(status_of $u NoNewPrivs) $(status_of $u Seccomp)" "$u 1 2"
    done
}

@test "a role may write its own directories and no other of the system" {
    local own pid
    for u in $ROLES; do
        pid=$(main_pid $u)
        # In its mounts and as its user, without its groups' help: what it could write if it wanted.
        nsenter -t "$pid" -m setpriv --reuid="$(stat -c %u /proc/$pid)" --regid="$(stat -c %g /proc/$pid)" --clear-groups --no-new-privs \
            find / -path /proc -prune -o -type d -writable -print 2>/dev/null | sed "s/^/$u /"
    done | grep -vE ' (/tmp|/var/tmp|/dev/shm|/dev/mqueue|/run/lock)$' >"$BATS_TEST_TMPDIR/got" || true
    own=$(cat <<-'END'
		uvd /var/lib/ultravisor/uvd
		uvd /run/ultravisor/uvd
		uvd /run/ultravisor/uvd/type
		uv-command /run/ultravisor/command
		uv-operations /etc/ultravisor
		uv-operations /etc/ultravisor/partitions
		uv-operations /etc/ultravisor/policies
		uv-operations /etc/ultravisor/templates
		uv-operations /var/lib/ultravisor/operations
		uv-operations /run/ultravisor/operations
	END
    )
    diff <(sort <<<"$own") <(sort "$BATS_TEST_TMPDIR/got")
}

@test "uvd, uv-command, uv-operations: each killed with SIGKILL is back, with a new pid, and knows all that it knew" {
    local before pid generation
    printf '[Partition]\nType=sim\n[CPU]\nShare=0.1\n[Memory]\nSize=64M\n' >/etc/ultravisor/partitions/kept.partition
    uvctl apply -y
    before=$(uvctl list -a -o name | grep -x kept)
    is "$before" kept
    for u in $ROLES; do
        pid=$(main_pid $u)
        kill -KILL "$pid"
        wait_for 5 sh -c "[ \$(systemctl show -P MainPID $u) != $pid ] && [ \$(systemctl is-active $u) = active ]"
        is "$(uvctl list -a -o name | grep -x kept)" "$before"
        wait_for 5 connected
    done
}

@test "killed again and again, no role is given up" {
    for i in 1 2 3 4 5 6 7 8; do
        for u in $ROLES; do systemctl kill -s KILL $u; done
        sleep 0.15
    done
    for u in $ROLES; do wait_for 10 systemctl is-active $u; done
    wait_for 10 uvctl list
}

# bats test_tags=check
@test "a role that can't start is given up, visibly, without burning the CPU; and is back when its reason is gone" {
    local used
    chmod 000 /var/lib/ultravisor/operations; chown root:root /var/lib/ultravisor/operations
    systemctl kill -s KILL uv-operations
    wait_for 60 sh -c "journalctl -q -b -u uv-operations -o cat | grep -q 'Start request repeated too quickly'"
    sleep 0.5
    systemctl is-failed uv-operations
    systemctl --failed --no-legend | grep -q uv-operations.service
    used=$(journalctl -q -b -u uv-operations --since=-60s -o cat | grep -c 'var/lib/ultravisor/operations')
    echo "# given up after $used starts" >&3
    [ "$used" -ge 5 ] && [ "$used" -le 31 ]
    uvctl list                                   # the others go on
    chown uv-operations:uv-operations /var/lib/ultravisor/operations; chmod 700 /var/lib/ultravisor/operations
    systemctl reset-failed uv-operations
    systemctl start ultravisor.target
    wait_for 10 connected
}

@test "stopping the target stops the roles, and starting it brings all back" {
    systemctl stop ultravisor.target
    for u in $ROLES; do wait_for 5 sh -c "[ \$(systemctl is-active $u) = inactive ]"; done  # PID 1 answers when the target is down
    systemctl start ultravisor.target
    is "$(uvctl list -a -o name | grep -x kept)" kept
}

# One machine is given by one Ultravisor, the installed one or a standalone one, whichever came first.
LOCK=/run/lock/ultravisor.lock
standalone() { timeout 20 /usr/lib/ultravisor/uvd --standalone --root /run/alone 2>&1; }
# refused WORDS: with them in the reason, and a standalone one doesn't run
refused() { local out; out=$(standalone) && return 1; echo "$out"; grep -q "another Ultravisor gives this machine's cores and memory" <<<"$out" && grep -q "$1" <<<"$out"; }

@test "while the installed one runs, and after any death of its uvd, a standalone one is refused" {
    refused 'the installed one (uvd.service) runs'
    kill -KILL "$(main_pid uvd)"
    refused 'the installed one (uvd.service) runs'
    wait_for 5 connected
    refused 'the installed one (uvd.service) runs'
}

@test "while its uvd is stopped and its partitions run on, a standalone one is refused" {
    container web
    uvctl apply -y
    [ "$(field web State)" = running ] || uvctl start web
    systemctl stop uvd.service
    refused 'is stopped, and its partitions run on'
    systemctl start ultravisor.target
    wait_for 5 connected
    uvctl stop web
}

@test "while a standalone one runs, the installed one is refused once, with status 6 and the reason, and starts when that has gone" {
    local pid
    systemctl stop ultravisor.target uvd.service
    /usr/lib/ultravisor/uvd --standalone --root /run/alone >"$BATS_FILE_TMPDIR/log" 2>&1 3>&- &
    pid=$!
    wait_for 20 uvctl --root /run/alone list
    not systemctl start uvd.service
    sleep 0.5
    is "$(systemctl show -P ExecMainStatus uvd.service) $(systemctl show -P NRestarts uvd.service) $(unit_state uvd.service)" "6 0 failed"
    journalctl -q -u uvd.service -o cat | grep -q "the one in /run/alone runs"
    kill "$pid"
    wait "$pid"
    is "$(stat -c '%a %U:%G %s' $LOCK)" "640 root:ultravisor 0"
    systemctl start ultravisor.target
    uvctl list
}

@test "a standalone one that was killed with its name in the lock isn't taken for gone" {
    systemctl stop ultravisor.target uvd.service
    echo /tmp/killed >$LOCK
    not systemctl start uvd.service
    journalctl -q -u uvd.service -o cat | grep -q "the one in /tmp/killed was killed, and its partitions may run on"
    : >$LOCK
    systemctl start ultravisor.target
    uvctl list
}
