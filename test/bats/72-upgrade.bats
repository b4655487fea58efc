# Programs of another build take the place of those that run, and partitions don't notice.
load ../lib/uv

# A set of programs that differ in what they say they are, and in nothing else.
build_named() { # build_named DIR ID
    local f old
    old=$("$BUILT/uvctl" --root /nonexistent version -o json | jq -r .Build)
    mkdir -p "$1"
    for f in uvctl uvd uv-command uv-operations uv-monitor-lxc uv-monitor-sim; do
        sed "s/$old/$2/g" "$BUILT/$f" >"$1/$f.new" && grep -q "$2" "$1/$f.new" && chmod 755 "$1/$f.new"
    done
}
# As a package does it: a new file in the place of the old one, which whoever runs it keeps.
install_build() { local f; for f in "$1"/*.new; do mv "$f" "$ROOT/bin/$(basename "$f" .new)"; done; }

setup_file() {
    export NEXT=$BATS_FILE_TMPDIR/next BUILT=$ULV_BIN
    instance_make "$PART"
    mkdir "$ROOT/bin"; cp -a "$ULV_BIN/." "$ROOT/bin/"
    build_named "$NEXT" 1111111111111111
    build_named "$BATS_FILE_TMPDIR/third" 2222222222222222
    export THIRD=$BATS_FILE_TMPDIR/third
    ULV_BIN=$ROOT/bin instance_start; export LAUNCH
    busybox_root "$ROOT/tree"
    for n in one two; do
        definition $n "[Partition]
Type=container
[CPU]
Share=0.1
[Memory]
Size=64M
[Container]
Root=$ROOT/tree
Exec=/bin/sh -c 'i=0; while :; do echo line \$i; i=\$((i+1)); sleep 0.01; done'"
    done
    sim three Share=0.1 64M
    ULV_BIN=$ROOT/bin uv apply -y -q
    ULV_BIN=$ROOT/bin uv start -q -a
}
teardown_file() { ULV_BIN=$ROOT/bin instance_down; }
setup() { ULV_BIN=$ROOT/bin; }

who() { uv list -a -o json | jq -c '[.[] | select(.Role != "infrastructure" and .State == "running") | [.Name, .Leader, .Since, .Incarnation]]'; }
old() { uv list -a -o json | jq -r '[.[] | select(.OldCode) | .Name] | join(" ")'; }
monitors() { pids_of uv-monitor-lxc | sort | xargs; }        # (a sim payload is a fork of its monitor)

@test "nothing is of old code, and there is nothing to upgrade" {
    [ "$(old)" = "" ]
    run uv upgrade
    [ "$status" = 0 ] && [ "$output" = "" ]
    uv list | grep -v 'old code' >/dev/null
}

@test "after new files came, list, status and JSON mark what runs old code, and a dry run says what would be done" {
    who >"$BATS_FILE_TMPDIR/who"; monitors >"$BATS_FILE_TMPDIR/monitors"
    install_build "$NEXT"
    [ "$(old)" = "command one operations three two ultravisor" ]
    uv list | grep -E '^one .*running, old code'
    uv list | grep -q ' 6 of old code (uvctl upgrade): command, one, operations, '
    uv status one | grep -q 'old: its monitor'
    run uv upgrade -n
    [ "$status" = 0 ]
    [ "$(grep -c 'would be restarted' <<<"$output") $(grep -c 'would get a new monitor' <<<"$output")" = "3 3" ]
    [ "$(monitors)" = "$(cat "$BATS_FILE_TMPDIR/monitors")" ]
}

@test "who isn't root is told so before anything is done, with the command that helps" {
    chmod 755 "$ROOT/bin"
    run setpriv --reuid=65534 --regid="$(stat -c %g "$ROOT/run/ultravisor/command/public")" --clear-groups "$ROOT/bin/uvctl" --root "$ROOT" upgrade
    echo "$output"; [ "$status" = 5 ]; [ "${#lines[@]}" = 3 ]
    [[ "${lines[1]}" == *"ultravisor, operations, command"* ]]; [ "${lines[2]}" = "try: sudo uvctl --root $ROOT upgrade" ]
    [ "$(old)" = "command one operations three two ultravisor" ]
}

@test "upgrade NAME: the roles, and that monitor alone; the partition's processes, start and incarnation are as before" {
    uv upgrade one
    [ "$(old)" = "three two" ]
    [ "$(who)" = "$(cat "$BATS_FILE_TMPDIR/who")" ]
}

@test "a monitor in use is left, unless --force; all others get theirs; then nothing is old" {
    local pid status=0
    uv exec two -- sleep 100 3>&- &
    pid=$!
    wait_for 5 sh -c "'$ROOT/bin/uvctl' --root '$ROOT' exec two -- ps | grep -q 'sleep 100'"
    run uv upgrade
    [ "$status" = 6 ]
    [[ "$output" == *"two"*"left as it is: uvctl exec"*"--force"* && "$output" == *"three"*"new monitor"* ]]
    [ "$(old)" = two ]
    uv upgrade --force -o json | jq -e '.[0].Name == "two" and .[0].Result == "new monitor"'
    wait $pid || true
    [ "$(old)" = "" ]
    [ "$(who)" = "$(cat "$BATS_FILE_TMPDIR/who")" ]
    not_any_same=$(comm -12 <(tr ' ' '\n' <"$BATS_FILE_TMPDIR/monitors" | sort) <(monitors | tr ' ' '\n' | sort))
    [ "$not_any_same" = "" ]
}

@test "killed at any moment, upgrade leaves nothing that the next one doesn't mend" {
    local i
    install_build "$THIRD"
    for i in 1 2 3 4 5 6; do
        timeout -s KILL "0.0$((i * 3))" "$ROOT/bin/uvctl" --root "$ROOT" upgrade || true
    done
    uv upgrade
    [ "$(old)" = "" ]
    [ "$(who)" = "$(cat "$BATS_FILE_TMPDIR/who")" ]
}

@test "the console has every line, over all new monitors" {
    wait_for 10 eval 'uv logs one | grep -q "^line 101"'
    uv logs one | tr -d '\r' | sed -n 's/^line //p' >"$BATS_FILE_TMPDIR/log"
    diff <(seq 0 $(($(wc -l <"$BATS_FILE_TMPDIR/log") - 1))) "$BATS_FILE_TMPDIR/log" >&2
}

@test "a paused partition gets its new monitor, and stays paused" {
    grep -q cgroup2 /proc/mounts || skip "no cgroup v2: pause needs it"
    build_named "$BATS_FILE_TMPDIR/paused" 4444444444444444
    uv pause -q one
    who_paused() { uv list -o json | jq -c '[.[] | select(.Name == "one") | [.State, .Leader, .Incarnation]]'; }
    who_paused >"$BATS_TEST_TMPDIR/paused"
    install_build "$BATS_FILE_TMPDIR/paused"
    run uv upgrade
    [ "$status" = 0 ]
    [[ "$output" == *"one "*"new monitor, the partition as it was"* ]]
    [ "$(old)" = "" ]
    [ "$(who_paused)" = "$(cat "$BATS_TEST_TMPDIR/paused")" ]
    uv resume -q one
    who >"$BATS_FILE_TMPDIR/who"
}

@test "what uv-port has read of the console is in the log before a new monitor comes, however slow the disk" {
    local i tracer last
    for i in 5 6; do
        build_named "$BATS_FILE_TMPDIR/slow$i" $i$i$i$i$i$i$i$i$i$i$i$i$i$i$i$i
        install_build "$BATS_FILE_TMPDIR/slow$i"
        # Between its read() and its pwrite(), where a kill would lose what it holds.
        for p in $(pids_of uv-port); do
            strace -qq -o /dev/null -e trace=pwrite64 -e inject=pwrite64:delay_enter=200000 -p "$p" 3>&- & tracer="${tracer:-} $!"
        done
        sleep 0.3
        uv upgrade -q
    done
    wait $tracer || true
    [ "$(old)" = "" ]
    last=$(uv logs one --lines 100000 | tr -d '\r' | sed -n 's/^line //p' | tee "$BATS_TEST_TMPDIR/log" | tail -n 1)
    diff <(seq $((last + 1 - $(wc -l <"$BATS_TEST_TMPDIR/log"))) "$last") "$BATS_TEST_TMPDIR/log" >&2
}

@test "kill -9 of uvd, uv-command and monitors in the middle of it: upgrade, perhaps again, and nobody noticed" {
    local i victim
    who >"$BATS_TEST_TMPDIR/who"
    build_named "$BATS_FILE_TMPDIR/killed" 8888888888888888
    install_build "$BATS_FILE_TMPDIR/killed"
    for i in 2 3 4; do
        uv upgrade >/dev/null 2>&1 3>&- & victim=$!
        sleep "0.0$i"
        case $((i % 3)) in
        0) kill -KILL $(pids_of uvd) ;;
        1) kill -KILL $(pids_of uv-command) ;;
        2) kill -KILL $(pids_of uv-monitor-lxc) ;;
        esac 2>/dev/null || true
        wait $victim || true
    done
    wait_for 10 uv upgrade
    [ "$(old)" = "" ]
    [ "$(who)" = "$(cat "$BATS_TEST_TMPDIR/who")" ]
}

@test "a monitor of a version that can't make room is named, and what helps" {
    build_named "$BATS_FILE_TMPDIR/mute" 9999999999999999
    sed -i 's/Renew\x00/Renex\x00/' "$BATS_FILE_TMPDIR/mute/uv-monitor-sim.new"
    build_named "$BATS_FILE_TMPDIR/after" aaaaaaaaaaaaaaaa
    install_build "$BATS_FILE_TMPDIR/mute"
    uv upgrade -q
    install_build "$BATS_FILE_TMPDIR/after"
    run uv upgrade three
    [ "$status" = 1 ]
    [[ "$output" == *"older version"*"systemctl kill"* ]]
    kill -KILL $(pids_of uv-monitor-sim | grep -vx "$(field three Leader)")
    wait_for 5 sh -c "'$ROOT/bin/uvctl' --root '$ROOT' list three -o json | jq -e 'all(.OldCode | not)'"
    uv upgrade -q
}

@test "a monitor whose new program can't be run is no reason to touch the others, and runs again when it can" {
    build_named "$BATS_FILE_TMPDIR/fourth" 3333333333333333
    rm "$BATS_FILE_TMPDIR"/fourth/uv-monitor-{lxc,sim}.new
    printf '#!/bin/sh\nexit 1\n' >"$BATS_FILE_TMPDIR/fourth/uv-monitor-lxc.new"; chmod 755 "$BATS_FILE_TMPDIR/fourth/uv-monitor-lxc.new"
    cp "$ROOT/bin/uv-monitor-lxc" "$BATS_FILE_TMPDIR/good"
    monitors >"$BATS_FILE_TMPDIR/monitors"
    install_build "$BATS_FILE_TMPDIR/fourth"
    run uv upgrade
    [ "$status" = 1 ]
    [[ "$output" == *"one could not be upgraded; nothing after it was touched"*"hasn't reported in time"*"try: "* ]]
    mv "$BATS_FILE_TMPDIR/good" "$ROOT/bin/uv-monitor-lxc"
    wait_for 10 uv exec one -- true
    [ "$(who)" = "$(cat "$BATS_FILE_TMPDIR/who")" ]
}

@test "control: a partition that doesn't outlive its old monitor stops the upgrade, and the next one isn't touched" {
    local leader next
    leader=$(field one Leader) next=$(who | jq -c '.[] | select(.[0] == "two")')
    build_named "$BATS_FILE_TMPDIR/deadly" bbbbbbbbbbbbbbbb
    mv "$BATS_FILE_TMPDIR/deadly/uv-monitor-lxc.new" "$ROOT/bin/uv-monitor-lxc.real"
    cat >"$BATS_FILE_TMPDIR/deadly/uv-monitor-lxc.new" <<-END
	#!/bin/sh
	if [ "\$1" = one ]; then
	    kill -9 $leader; while grep -q '^State:.[^Z]' /proc/$leader/status; do sleep 0.05; done 2>/dev/null
	fi
	exec $ROOT/bin/uv-monitor-lxc.real "\$@"
	END
    chmod 755 "$BATS_FILE_TMPDIR/deadly/uv-monitor-lxc.new"
    install_build "$BATS_FILE_TMPDIR/deadly"
    monitors >"$BATS_TEST_TMPDIR/monitors"
    run uv upgrade
    echo "$status: $output"
    [ "$status" = 1 ]
    [[ "$output" == *"one could not be upgraded; nothing after it was touched"*"didn't outlive its old monitor"* ]]
    [ "$(field one State)" = failed ]
    [ "$(who | jq -c '.[] | select(.[0] == "two")')" = "$next" ]
    [[ "$(old)" == *two* ]]
}
