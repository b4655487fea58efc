# The standalone starter: what it keeps alive, what a new one takes over, what it leaves behind (nothing).
load ../lib/uv

setup() { instance_up; sim a Share=0.5 64M "StopTimeout=2s"; sim b Share=0.5 64M "StopTimeout=2s"; uv apply -y; uv start a b; }
teardown() {
    [ -z "${ROOT:-}" ] && return 0
    instance_stop || true
    left=$(leftovers); [ -z "$left" ] || { echo "$left"; return 1; }
    [ ! -e "$ROOT/run" ] || { find "$ROOT/run"; return 1; }
    rm -rf --one-file-system "$ROOT"
}
identity() { echo "$1 $(field "$1" Leader) $(start_time "$(field "$1" Leader)")"; }
serves() { [ "$(field a State)" = running ] && [ "$(field b State)" = running ] && ! uv list 2>&1 | grep -q STALE; }
# Payload and monitor are one program; the monitors are those that uv-launch (or nobody) is the parent of.
monitors() { local p; for p in $(pids_of uv-monitor-sim); do grep -qx "Name:	uv-monitor-sim" "/proc/$p/status" && echo "$p"; done; }

@test "a monitor killed -9 finds its partition again: same pid, same start, still stoppable" {
    before=$(identity a; identity b)
    for i in 1 2 3; do kill -9 $(monitors); sleep 0.3; wait_for 5 serves; done
    [ "$(identity a; identity b)" = "$before" ]
    [ "$(monitors | wc -l)" = 2 ]
    uv stop a
    [ "$(field a State)" = defined ]
    [ "$(field b State)" = running ]
}

@test "uv-launch killed -9: its roles go with it, partitions don't, and a new one adopts them with their fds" {
    before=$(identity a; identity b)
    kill -9 "$LAUNCH"; wait "$LAUNCH" || true
    for p in $(echo "$before" | awk '{print $2}'); do kill -0 "$p"; done
    instance_start
    wait_for 5 serves
    [ "$(identity a; identity b)" = "$before" ]
    # The fds are with the new one: a monitor killed now comes back from them.
    wait_for 5 grep -q 'giving it' "$ROOT/log"
    sleep 0.6
    kill -9 $(monitors); sleep 0.3; wait_for 5 serves
    [ "$(identity a; identity b)" = "$before" ]
}

@test "uv-launch and the monitors killed together: partitions are known by the ledger's pid and start time" {
    before=$(identity a; identity b)
    kill -9 "$LAUNCH" $(monitors); wait "$LAUNCH" || true
    instance_start
    wait_for 5 serves
    [ "$(identity a; identity b)" = "$before" ]
}

@test "of a monitor the last line of launch.state counts, and a line cut off doesn't: a new uv-launch takes over what runs" {
    file=$ROOT/run/ultravisor/launch.state
    inode=$(stat -c %i "$file")
    uv stop a b; wait_for 5 eval '[ -z "$(monitors)" ]'
    uv start a
    [ "$(stat -c %i "$file")" = "$inode" ]      # a start adds a line: a thousand don't write a thousand each
    [ "$(grep -c '^monitor a ' "$file")" = 3 ]
    before=$(identity a)
    kill -9 "$LAUNCH"; wait "$LAUNCH" || true
    printf 'monitor b 1 1 feed' >>"$file"
    instance_start
    wait_for 5 eval '[ "$(field a State)" = running ]'
    [ "$(identity a)" = "$before" ]
    grep -q 'adopted 1 monitor of' "$ROOT/log"
    [ "$(field b State)" = defined ]
    uv stop a
}

@test "SIGTERM stops the partitions with uvd hanging; the next life finds out" {
    pids=$(field a Leader; field b Leader)
    kill -STOP $(pids_of uvd)
    instance_stop
    for p in $pids; do run kill -0 "$p"; [ "$status" != 0 ]; done
    grep -q "isn't there to hear it" "$ROOT/log"
    instance_start
    wait_for 10 eval '[ "$(field a State)" != running ] && [ "$(field b State)" != running ]'
    uv start a
    [ "$(field a State)" = running ]
}

@test "a second SIGINT doesn't wait for a partition that doesn't stop" {
    definition c "[Partition]
Type=sim
StopTimeout=1min
[CPU]
Share=0.5
[Memory]
Size=64M
[Sim]
Fault=stop-hangs"
    uv apply -y; uv start c
    pid=$(field c Leader)
    kill -INT "$LAUNCH"; sleep 1; kill -0 "$pid"
    kill -INT "$LAUNCH"; wait_for 5 eval "! kill -0 $LAUNCH"
    wait "$LAUNCH" || true; LAUNCH=
    run kill -0 "$pid"; [ "$status" != 0 ]
}

@test "one uv-launch a root directory: the second says why, and what to try" {
    run "$ULV_BIN/uv-launch" --root "$ROOT" --inventory "$ROOT/machine.inventory"
    [ "$status" = 1 ]
    [ "${#lines[@]}" = 3 ]
    [[ "${lines[2]}" == try:* ]]
    serves
}

@test "a stranger's words on the notification socket count for nothing" {
    command -v python3 >/dev/null || skip "no python3"
    NOTIFY_SOCKET=$ROOT/run/ultravisor/notify python3 -c '
import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for m in (b"STOPPING=1", b"WATCHDOG=trigger", b"FDSTOREREMOVE=1\nFDNAME=leader", b"FDSTORE=1\nFDNAME=leader", b"\0" * 4096, b"x" * 9000):
    s.sendto(m, os.environ["NOTIFY_SOCKET"])'
    before=$(identity a)
    kill -9 $(monitors); sleep 0.3; wait_for 5 serves
    [ "$(identity a)" = "$before" ]
}

@test "a simulated partition's monitor and payload have no privilege" {
    [ "$(pids_of uv-monitor-sim | wc -l)" = 4 ]
    for p in $(pids_of uv-monitor-sim); do
        for line in 'CapPrm:	0000000000000000' 'CapEff:	0000000000000000' 'CapBnd:	0000000000000000' 'NoNewPrivs:	1'; do
            grep -qx "$line" "/proc/$p/status"
        done
        [ "$(awk '/^Uid:/{print $2}' "/proc/$p/status")" = $((0x7000F004)) ]
    done
}
