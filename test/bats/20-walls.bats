# Who may call what, what each role can't do, and what a monitor can't do with its view.
load ../lib/uv
load ../lib/manual
MANUAL=$BATS_TEST_DIRNAME/../../man/org.ultravisor1.5

setup_file() { instance_up; sim one Cores=1 256M "After=two-secret-name"; sim two-secret-name Share=0.5 256M; uv apply -y; uv start -a; }
teardown_file() { instance_down; }

caps() { awk '/^Cap(Eff|Prm|Bnd|Inh|Amb)/ {print $2}' "/proc/$1/status" | sort -u | tr '\n' ' '; }

@test "uvd, uv-command and uv-operations have no root, no capability, no way to new privileges" {
    for p in uvd uv-command uv-operations; do
        pid=$(pids_of $p); [ -n "$pid" ]
        [ "$(awk '/^Uid/ {print $2}' "/proc/$pid/status")" -gt 65536 ]
        awk '/^Cap(Eff|Prm|Inh|Amb)/ && $2 != "0000000000000000" {bad=1} END {exit bad}' "/proc/$pid/status"
        [ "$(awk '/^NoNewPrivs/ {print $2}' "/proc/$pid/status")" = 1 ]
    done
    [ "$(awk '/^Seccomp:/ {print $2}' "/proc/$(pids_of uvd)/status")" = 2 ]
}

@test "a sim monitor has no root and no capability" {
    for pid in $(pids_of uv-monitor-sim); do
        [ "$(awk '/^Uid/ {print $2}' "/proc/$pid/status")" -gt 65536 ]
        awk '/^Cap(Eff|Prm|Inh|Amb)/ && $2 != "0000000000000000" {bad=1} END {exit bad}' "/proc/$pid/status"
    done
}

@test "the ledger's and operations' sockets take uv-command only, not even root; the public one root only" {
    run "$ULV_BIN/../test/wall" "$ROOT/run/ultravisor/uvd/command"; [ "$status" = 1 ]
    run "$ULV_BIN/../test/wall" "$ROOT/run/ultravisor/operations/command"; [ "$status" = 1 ]
    run "$ULV_BIN/../test/wall" "$ROOT/run/ultravisor/command/public"; [ "$status" = 0 ]
    run "$ULV_BIN/../test/wall" "$ROOT/run/ultravisor/command/public" 65534; [ "$status" = 1 ]
    run "$ULV_BIN/../test/wall" "$ROOT/run/ultravisor/uvd/monitor" 65534; [ "$status" = 1 ]
}

@test "a stranger can't even connect to the sockets of roles, nor send the starter a message or an fd" {
    for socket in uvd/command uvd/monitor operations/command command/public launch notify; do
        run "$ULV_BIN/../test/wall" "$ROOT/run/ultravisor/$socket" 65534; [ "$output" = unreachable ]
    done
}

@test "a view can't be written, mapped writable, punched, or reopened for either; another's can't be had" {
    mon=$(for p in $(pids_of uv-monitor-sim); do tr '\0' ' ' <"/proc/$p/cmdline" | grep -q ' one ' && echo "$p"; done | head -n 1)
    [ -n "$mon" ] || mon=$(pids_of uv-monitor-sim | head -n 1)
    run "$ULV_BIN/../test/view-attack" "$mon" "$ROOT/run/ultravisor/uvd/monitor" two-secret-name
    echo "$output"
    [ "$status" = 0 ]
    [[ "$output" == *"5 of 5 refused"* ]]
}

@test "strings of a view shows no other partition's name" {
    for mon in $(pids_of uv-monitor-sim); do
        map=$(ls -l "/proc/$mon/map_files" | grep -F '/memfd:uv-view (deleted)' | awk '{print $9}' | head -n 1)
        [ -n "$map" ]
        names=$(strings "/proc/$mon/map_files/$map" | grep -oE '\b(one|two-secret-name)\b' | sort -u | wc -l)
        [ "$names" = 1 ]
    done
}

@test "introspection on the private socket is org.ultravisor1(5), word by word" {
    "$ULV_BIN/../test/bus" members "$ROOT/run/ultravisor/command/public" | sort >"$BATS_TEST_TMPDIR/members"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/members")" -gt 40 ]
    diff <(manual_members | sort) "$BATS_TEST_TMPDIR/members"
}
