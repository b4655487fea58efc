# Containers, for real: namespaces, own uid range, what is enforced and what is only asked for, exec, logs, exit codes.
bats_require_minimum_version 1.5.0
load ../lib/uv

setup_file() {
    instance_up "$PART"
    busybox_root "$ROOT/tree"
    container box Share=0.5 64M 'sh -c "trap \"exit 0\" TERM; echo hello from $(hostname); while :; do sleep 1 & wait $!; done"'
    uv apply -y
}
teardown_file() { instance_down; }
container() { # container NAME CPU MEMORY EXEC [more lines]
    definition "$1" "[Partition]
Type=container
StopTimeout=5s
[CPU]
$2
[Memory]
Size=$3
[Container]
Root=$ROOT/tree
Exec=$4
${5:-}"
}

@test "a container starts with namespaces of its own and a uid range of its own" {
    uv start box
    pid=$(field box Leader)
    for ns in user mnt pid net ipc uts cgroup; do [ "$(readlink /proc/$pid/ns/$ns)" != "$(readlink /proc/self/ns/$ns)" ]; done
    read -r inside outside count <"/proc/$pid/uid_map"
    [ "$inside" = 0 ] && [ "$outside" -ge 1879048192 ] && [ "$count" = 65536 ]
    [ "$(awk '/^Uid/ {print $2}' /proc/$pid/status)" = "$outside" ]
}

@test "one uv-port serves a start from its beginning: none dies on the way, which would cost it 100 ms" {
    uv stop box; uv start box
    run grep -c "uv-port of box is gone" "$ROOT/log"
    [ "$output" = 0 ]
}

@test "exec runs inside: its own processes, host name, root; the status is the command's" {
    [ "$(uv exec box -- hostname)" = box ]
    [ "$(uv exec box -- id -u)" = 0 ]
    run uv exec box -- sh -c 'exit 7'; [ "$status" = 7 ]
    [ "$(echo piped | uv exec box -- cat)" = piped ]
    run uv exec box -- sh -c 'ls /proc | grep -c "^[0-9]"'; [ "$output" -lt 10 ]
    run uv exec box -- sh -c 'echo x > /proc/sys/kernel/hostname'; [ "$status" != 0 ]
    run uv exec box -- sh -c 'ls /sys/class/net'; [[ "$output" == lo ]]
}

@test "what can't be executed is told as a shell tells it: 127 not there, 126 not executable; user and directory in words" {
    run -127 uv exec box -- nosuchprogram
    [[ "${lines[1]}" == "no such program in the partition" ]]
    run uv exec box -- /etc/passwd
    [ "$status" = 126 ]; [[ "${lines[1]}" == "it isn't executable" ]]
    run uv exec --user nosuchuser box -- true
    [ "$status" = 1 ]; [[ "${lines[1]}" == "no such user in the partition's /etc/passwd" ]]
    run uv exec --chdir /nowhere box -- true
    [ "$status" = 1 ]; [[ "${lines[1]}" == "no such working directory in the partition" ]]
    [ "${#lines[@]}" = 3 ]
}

@test "logs keep what it printed" {
    run uv logs box; [[ "$output" == *"hello from box"* ]]
}

@test "no fd leaks into it" {
    run uv exec box -- sh -c 'ls -l /proc/self/fd 2>/dev/null | grep -v "/proc" | grep -c -- "->"'
    [ "$output" -le 4 ]
    run uv exec box -- sh -c 'for f in /proc/1/fd/*; do readlink $f; done'
    [[ "$output" != *"$ROOT"* ]]
}

@test "kill -9 of its monitor, its uv-port, uvd: it keeps pid and start time, exec and logs work after" {
    pid=$(field box Leader); t=$(start_time "$pid")
    for victim in uv-monitor-lxc uv-port uvd uv-command; do
        wait_for 5 eval '[ -n "$(pids_of $victim)" ]'
        kill -9 $(pids_of $victim)
        wait_for 10 uv exec box -- true
        [ "$(field box Leader)" = "$pid" ]; [ "$(start_time "$pid")" = "$t" ]
    done
    [ "$(uv exec box -- echo again)" = again ]
}

@test "PID 1 of all containers is the same file in memory, and nobody writes it through them" {
    container other Share=0.1 64M "sleep 1000"; uv apply -y; uv start other
    one=$(field box Leader) two=$(field other Leader)
    [ "$(stat -L -c %d:%i "/proc/$one/exe")" = "$(stat -L -c %d:%i "/proc/$two/exe")" ]
    [ "$(stat -L -c %d:%i "/proc/$one/exe")" = "$(stat -L -c %d:%i "$ULV_BIN/uv-init")" ]
    sum=$(cksum <"$ULV_BIN/uv-init")
    run uv exec box -- sh -c 'echo x >>/proc/1/exe'; [ "$status" != 0 ]
    run sh -c "echo x >>/proc/$one/exe"; [ "$status" != 0 ]        # not even the host's root, this way
    [ "$(cksum <"$ULV_BIN/uv-init")" = "$sum" ]
    uv stop --force other
}

@test "stop is graceful: SIGTERM reaches the program, its end is clean, nothing is left" {
    pid=$(field box Leader)
    uv stop box
    [ "$(field box State)" = defined ]
    run kill -0 "$pid"; [ "$status" != 0 ]
    ! grep -q "$ROOT/tree" /proc/self/mountinfo
}

@test "a program that can't be executed: three lines that name it" {
    container bad Share=0.1 64M /no/such/program; uv apply -y
    run uv start bad
    [ "$status" = 1 ]; [[ "$output" == *"/no/such/program"* ]]
    [ "$(field bad State)" = failed ]
}

@test "a root that isn't there: refused, nothing left" {
    container bad Share=0.1 64M /bin/true; sed -i "s|^Root=.*|Root=$ROOT/nowhere|" "$ROOT/etc/ultravisor/partitions/bad.partition"; uv apply -y
    run uv start bad
    [ "$status" = 1 ]; [[ "$output" == *nowhere* ]]
}

@test "an exit status of the program is told: 0 is the end, others are failed" {
    container one Share=0.1 64M 'sh -c "exit 3"'; container two Share=0.1 64M '/bin/true'; uv apply -y
    uv start one || true; uv start two || true
    wait_for 5 bash -c '[ "$("$ULV_BIN/uvctl" --root "$ROOT" list -a -o json | jq -r ".[] | select(.Name == \"one\") | .State")" = failed ]'
    wait_for 5 bash -c '[ "$("$ULV_BIN/uvctl" --root "$ROOT" list -a -o json | jq -r ".[] | select(.Name == \"two\") | .State")" = defined ]'
    run uv status one; [[ "$output" == *3* ]]
}

@test "User=, Environment= and WorkingDirectory= are what the program gets" {
    container env Share=0.1 64M 'sh -c "id -u; pwd; echo $COLOUR; sleep 60"' 'User=www
WorkingDirectory=/srv
Environment=COLOUR=blue'
    uv apply -y; uv start env
    wait_for 5 bash -c '"$ULV_BIN/uvctl" --root "$ROOT" logs env | grep -q blue'
    run uv logs env; [[ "$output" == *33* ]]; [[ "$output" == */srv* ]]
    uv stop --force env
}

@test "a root whose /dev, /proc, /etc are links to outside touches nothing outside" {
    busybox_root "$ROOT/evil"; mkdir "$ROOT/canary"; echo safe >"$ROOT/canary/passwd"
    for d in dev proc sys tmp run etc; do rm -rf "$ROOT/evil/$d"; ln -s "$ROOT/canary" "$ROOT/evil/$d"; done
    container evil Share=0.1 64M 'sleep 60'; sed -i "s|^Root=.*|Root=$ROOT/evil|" "$ROOT/etc/ultravisor/partitions/evil.partition"; uv apply -y
    before=$(find "$ROOT/canary" -printf '%p %u %m %s\n')
    uv start evil || true
    uv stop --force evil || true
    [ "$(find "$ROOT/canary" -printf '%p %u %m %s\n')" = "$before" ]
    ! grep -q canary /proc/self/mountinfo
}

@test "each resource says how it is enforced, and the grade follows from it" {
    container core Cores=1 64M 'sh -c "nproc; sleep 60"'; uv apply -y; uv start core
    run uv status core
    [[ "$output" == *enforced* ]]
    [ "$(field core Isolation)" = soft ]
    [ "$(uv exec core -- nproc)" = 1 ]
    uv stop --force core
}
