# Working with a running container: its log, whatever happens around it.
bats_require_minimum_version 1.5.0
load ../lib/uv

setup_file() {
    instance_up "$PART"
    busybox_root "$ROOT/tree"
    for a in seq stty tar yes tty mkfifo ln; do ln -sf busybox "$ROOT/tree/bin/$a"; done
    container box 'sh -c "trap \"exit 0\" TERM; echo box is up; while :; do sleep 0.1 & wait $!; done"'
    uv apply -y
    uv start box
}
teardown_file() { instance_down; }
container() { # container NAME EXEC [lines of [Partition]]
    definition "$1" "[Partition]
Type=container
StopTimeout=3s
${3:-}
[CPU]
Share=0.2
[Memory]
Size=64M
[Container]
Root=$ROOT/tree
Exec=$2"
}
log_bytes() { cat "$ROOT/var/log/ultravisor/$1".log.* | wc -c; }
has() { grep -qF -- "$1" "$2"; }

@test "logs -f begins at the first byte and loses none over a restart of the partition, its monitor, uv-port" {
    container talker 'sh -c "trap \"exit 0\" TERM; i=0; while :; do i=$((i + 1)); echo line $i of $$; sleep 0.02; done"'
    uv apply -y; uv start talker
    wait_for 5 eval 'uv logs talker | grep -q "line 5 "'
    "$ULV_BIN/uvctl" --root "$ROOT" logs -f talker >"$ROOT/followed" 2>&1 3>&- & follower=$!
    wait_for 5 has "line 20 " "$ROOT/followed"
    for victim in uv-port uv-monitor-lxc uv-command; do
        pid=$(pids_of $victim | head -1); kill -9 "$pid"
        before=$(wc -l <"$ROOT/followed")
        wait_for 5 eval '[ "$(wc -l <"$ROOT/followed")" -gt $((before + 20)) ]'
    done
    wait_for 5 uv list
    uv stop --force talker; uv start talker
    wait_for 5 eval '[ "$(grep -c "^line 1 of " "$ROOT/followed")" = 2 ]'
    wait_for 5 eval 'tail -n 1 "$ROOT/followed" | grep -q "line [1-9][0-9] of"'
    kill $follower; wait $follower || true
    uv stop --force talker
    # Of each life every number, once, in order.
    run awk '/^line [0-9]+ of/ { if ($2 != 1 && $2 != last + 1) bad = bad " " last "->" $2; last = $2 } END { print bad }' "$ROOT/followed"
    [ "$output" = "" ]
    head -n 1 "$ROOT/followed" | grep -q "^line 1 of"
}

@test "a flood stays under LogMax=, its first and its last 64K are kept, and what is missing is said" {
    container flood 'sh -c "trap \"exit 0\" TERM; echo the beginning; seq 1 300000; echo the end; sleep 1000 & wait $!"' LogMax=512K
    uv apply -y; uv start flood
    most=0
    for _ in $(seq 100); do
        n=$(log_bytes flood); [ "$n" -le 524288 ]
        uv logs flood -l 1 | grep -q "the end" && break
        sleep 0.1
    done
    uv logs flood >"$ROOT/flood.txt"
    head -n 1 "$ROOT/flood.txt" | grep -q "the beginning"
    head -c 65536 "$ROOT/flood.txt" | tr -d '\r' >"$ROOT/a"
    { echo "the beginning"; seq 1 300000; } | head -c "$(wc -c <"$ROOT/a")" | cmp - "$ROOT/a"
    tail -c 65536 "$ROOT/flood.txt" | tr -d '\r' >"$ROOT/b"
    { seq 1 300000; echo "the end"; } | tail -c "$(wc -c <"$ROOT/b")" | cmp - "$ROOT/b"
    [ "$(grep -c "bytes of output are missing here: LogMax=" "$ROOT/flood.txt")" = 1 ]
    uv stop --force flood
}

@test "a flood without end stays under LogMax= all the time, keeps its first and last 64K, and costs a neighbour no line" {
    seconds=4; [ -z "${LONG:-}" ] || seconds=60
    container flood "sh -c 'trap \"exit 0\" TERM; seq 1 1000000000 & sleep $seconds; kill \$!; wait; echo; echo the end; sleep 1000 & wait \$!'" LogMax=512K
    container quiet "sh -c 'trap \"exit 0\" TERM; i=0; until [ -f /srv/enough ]; do i=\$((i + 1)); echo word \$i; sleep 0.01; done; echo done \$i; sleep 1000 & wait \$!'" LogMax=4M
    rm -f "$ROOT/tree/srv/enough"
    uv apply -y; uv start quiet; uv start flood
    end=$((SECONDS + seconds + 20))
    until uv logs flood -l 1 | grep -q "the end"; do
        [ "$(log_bytes flood)" -le 524288 ]; [ $SECONDS -lt $end ]
        sleep 0.2
    done
    touch "$ROOT/tree/srv/enough"
    wait_for 10 eval 'uv logs -l 1 quiet | grep -q "^done"'
    # The neighbour's, byte by byte.
    uv logs quiet | tr -d '\r' >"$ROOT/quiet.txt"
    n=$(sed -n 's/^done //p' "$ROOT/quiet.txt"); [ "$n" -gt 100 ]
    { seq -f 'word %.0f' 1 "$n"; echo "done $n"; } | cmp - "$ROOT/quiet.txt"
    # The flood's first 64K, and all that is kept of its end: numbers without a gap, but for the one that was cut short.
    uv logs flood >"$ROOT/flood.txt"
    head -c 65536 "$ROOT/flood.txt" >"$ROOT/a"; seq -f '%.0f'$'\r' 1 20000 | head -c 65536 | cmp - "$ROOT/a"
    tr -d '\r' <"$ROOT/flood.txt" | sed '1,/are missing here: LogMax=/d' | sed 1d | head -n -3 >"$ROOT/b"
    [ "$(wc -c <"$ROOT/b")" -ge 65536 ]
    from=$(head -n 1 "$ROOT/b"); to=$(tail -n 1 "$ROOT/b")
    seq "$from" "$to" | cmp - "$ROOT/b"
    echo "# $seconds s of flood: numbers up to $to, $((to * 10 / seconds / 1000000)) MB/s, and $n lines of a neighbour" >&3
    uv stop --force flood quiet
}

@test "shell is the user's own, a login shell in his home; without that program /bin/sh; on a terminal a pty" {
    [ "$(echo 'echo $0 $PWD $(id -u)' | uv shell box)" = "-sh /root 0" ]
    [ "$(echo 'echo $0 $PWD $(id -u)' | uv shell --user www box)" = "-sh /srv 33" ]
    [ "$(echo 'pwd' | uv shell --chdir /tmp box)" = /tmp ]
    printf 'odd:x:44:44::/nowhere:/bin/nosuchshell\n' >>"$ROOT/tree/etc/passwd"
    [ "$(echo 'echo $0 $PWD' | uv shell --user odd box)" = "-sh /" ]
    run -7 bash -c 'echo exit 7 | "$ULV_BIN/uvctl" --root "$ROOT" shell box'
    # fd 0 of script is a pipe: what is typed into its pty.
    run bash -c 'echo "[ -t 0 ] && echo yes-a-tty; echo t=\$TERM; exit 3" | TERM=vt220 script -qec "$ULV_BIN/uvctl --root $ROOT shell box" /dev/null'
    [ "$status" = 3 ]; [[ "$output" == *t=vt220* ]]; [[ "$output" == *yes-a-tty* ]]
}

on_terminal() { script -qec "stty cols 91 rows 33; '$ULV_BIN/uvctl' --root '$ROOT' $*" /dev/null </dev/null; }

@test "on a terminal a program has one of the container's own /dev/pts, its user's; nothing is left of it" {
    run on_terminal "exec box -- sh -c 'tty; stty size; ls -ln /dev/pts/0'"
    [[ "$output" == *"/dev/pts/0"*"33 91"*"crw--w----"*" 0 "* ]]
    run on_terminal "exec --user www box -- sh -c 'ls -ln \$(tty)'"; [[ "$output" == *" 33 "*"/dev/pts/0"* ]]
    [ "$(ls "/proc/$(field box Leader)/root/dev/pts")" = ptmx ]
    # The status is the program's, its end by a signal too; all that it wrote comes.
    run -137 on_terminal "exec box -- sh -c 'kill -9 \$\$'"
    run -127 on_terminal "exec box -- nosuch"; [[ "$output" == *"no such program"* ]]
    [ "$(on_terminal "exec box -- seq 30000" | tr -d '\r\0' | tail -n 1)" = 30000 ]
    [ "$(uv exec box ps | grep -c uv-init)" = 1 ]
}

@test "job control and the window's size, as it changes; who hangs up ends the session" {
    cat >"$ROOT/typist.py" <<'PY'
import fcntl, os, pty, re, select, struct, sys, termios, time
def read(until):
    seen = b""
    end = time.time() + 10
    while not re.search(until, seen):
        if time.time() > end or not select.select([fd], [], [], 10)[0]: sys.exit("no %r in %r" % (until, seen))
        seen += os.read(fd, 4096)
    return seen
pid, fd = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
assert b"job control" not in read(b"# ")
os.write(fd, b"sleep 1000\n"); time.sleep(0.3); os.write(fd, b"\x1a"); read(b"Stopped")
os.write(fd, b"jobs\n"); read(b"sleep 1000\r\n")
os.write(fd, b"fg\n"); time.sleep(0.3); os.write(fd, b"\x03"); read(b"# ")
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 123, 0, 0)); time.sleep(0.3)
os.write(fd, b"stty size\n"); read(b"44 123")
os.write(fd, b"sleep 2000\n"); time.sleep(0.3); os.close(fd); os.waitpid(pid, 0)
PY
    python3 "$ROOT/typist.py" "$ULV_BIN/uvctl" --root "$ROOT" exec box -- sh -i
    wait_for 5 eval '! uv exec box ps | grep -qE "sleep 2000|sh -i"'
}

@test "a /dev/pts that the container's root has made of something else: no terminal, said, and the command runs" {
    local what
    for what in 'mkfifo /dev/pts/ptmx' 'ln -s /etc/passwd /dev/pts/ptmx' 'echo x >/dev/pts/ptmx' true; do
        container odd "/bin/sh -c 'mount -t tmpfs none /dev/pts && { $what; }; trap \"exit 0\" 37; while :; do sleep 1 & wait \$!; done'" 
        printf 'Init=yes\n' >>"$ROOT/etc/ultravisor/partitions/odd.partition"
        uv apply -y -q; uv start -q odd
        run timeout 20 bash -c "$(declare -f on_terminal); on_terminal \"exec odd -- sh -c 'echo ran; exit 5'\""
        echo "$what: $output"; [ "$status" = 5 ]; [[ "$output" == *"no pseudo-terminal in /dev/pts"*ran* ]]
        uv stop -q --force odd
    done
}

reader() { container "$1" 'sh -c "trap \"exit 0\" TERM; echo ready; while :; do read -r x && echo got \$x; done"'; uv apply -y; uv start "$1"; wait_for 5 eval 'uv logs '"$1"' | grep -q ready'; }

@test "console: what is typed reaches the program, what it says is seen, by the typist and by who watches" {
    reader con
    "$ULV_BIN/uvctl" --root "$ROOT" console --watch con >"$ROOT/watch1" 2>&1 3>&- </dev/null & w1=$!
    "$ULV_BIN/uvctl" --root "$ROOT" console --watch con >"$ROOT/watch2" 2>&1 3>&- </dev/null & w2=$!
    wait_for 5 has ready "$ROOT/watch1"; wait_for 5 has ready "$ROOT/watch2"
    echo hello | uv console con
    wait_for 5 has "got hello" "$ROOT/watch1"; wait_for 5 has "got hello" "$ROOT/watch2"
    kill $w1 $w2; wait $w1 $w2 || true
}

@test "console: one types at a time; a second is refused in three lines, --force takes it over and the first is told" {
    mkfifo "$ROOT/first" "$ROOT/second"
    "$ULV_BIN/uvctl" --root "$ROOT" console con <"$ROOT/first" >"$ROOT/out1" 2>&1 3>&- & one=$!
    exec 7>"$ROOT/first"; echo from one >&7
    wait_for 5 has "got from one" "$ROOT/out1"
    run -6 uv console con </dev/null
    [[ "$output" == *"somebody else types into it"*"try: uvctl console --force con"* ]]
    "$ULV_BIN/uvctl" --root "$ROOT" console --force con <"$ROOT/second" >"$ROOT/out2" 2>&1 3>&- 7>&- & two=$!
    exec 8>"$ROOT/second"; echo from two >&8
    wait_for 5 has "got from two" "$ROOT/out2"
    # Not `run wait`: a subshell may not wait for our child.
    status=0; wait "$one" || status=$?; [ "$status" = 6 ]
    has "somebody else has taken it over" "$ROOT/out1"
    exec 7>&- 8>&-
    wait $two
}

@test "console: kill -9 of uv-port, the partition monitor, the planner, uvd under it: typing goes on" {
    mkfifo "$ROOT/typed"
    "$ULV_BIN/uvctl" --root "$ROOT" console con <"$ROOT/typed" >"$ROOT/out3" 2>&1 3>&- & c=$!
    exec 7>"$ROOT/typed"
    for victim in uv-port uv-monitor-lxc uv-command uvd; do
        wait_for 5 eval '[ -n "$(pids_of $victim)" ]'
        kill -9 $(pids_of $victim)
        for i in $(seq 100); do echo "after $victim $i" >&7; sleep 0.1; has "got after $victim" "$ROOT/out3" && break; done
        has "got after $victim" "$ROOT/out3"
    done
    exec 7>&-
    wait $c
}

@test "console on a terminal: Ctrl-] ends it, and the terminal is as before" {
    run bash -c '(sleep 0.5; echo typed; sleep 0.5; printf "\035") | script -qec "$ULV_BIN/uvctl --root $ROOT console con; echo status \$?; stty -a" /dev/null'
    [[ "$output" == *"got typed"* ]]; [[ "$output" == *"status 0"* ]]; [[ "$output" == *" icanon"* ]]; [[ "$output" != *"-icanon"* ]]
    [ "$(field con State)" = running ]
    uv stop --force con
}

@test "pause: nothing of it runs, it keeps what it has; exec is refused; resume, and it goes on where it was" {
    container counter 'sh -c "trap \"exit 0\" TERM; i=0; while :; do i=$((i + 1)); echo n $i; sleep 0.01; done"'
    uv apply -y; uv start counter; pid=$(field counter Leader)
    wait_for 5 eval 'uv logs counter | grep -q "n 10"'
    uv pause counter
    [ "$(field counter State)" = paused ]; [ "$(field counter MemoryReached)" = 67108864 ]
    a=$(uv logs -l 1 counter); sleep 0.3; [ "$(uv logs -l 1 counter)" = "$a" ]
    run -3 uv exec counter -- true; [[ "$output" == *"it is paused"*"try: uvctl resume counter"* ]]
    run uv pause counter; [ "$status" = 0 ]; [[ "$output" == *"already paused"* ]]
    uv resume counter
    [ "$(field counter State)" = running ]; [ "$(field counter Leader)" = "$pid" ]
    wait_for 5 eval '[ "$(uv logs -l 1 counter)" != "$a" ]'
    [ "$(uv exec counter -- echo again)" = again ]
}

@test "paused stays paused over kill -9 of its partition monitor and uvd; undo resumes; stop of a paused one is graceful" {
    uv pause counter
    kill -9 $(pids_of uv-monitor-lxc) $(pids_of uvd)
    wait_for 10 eval '[ "$(field counter State)" = paused ]'
    a=$(uv logs -l 1 counter); sleep 0.3; [ "$(uv logs -l 1 counter)" = "$a" ]
    t=$(uv history counter -o name | head -1)
    uv undo "$t"; wait_for 5 eval '[ "$(field counter State)" = running ]'
    uv pause counter
    uv stop counter
    [ "$(field counter State)" = defined ]

    run -3 uv pause counter; [[ "$output" == *"cannot pause counter"*"it is defined"*"try: uvctl start counter"* ]]
}

@test "pause and resume of a simulated partition move its state" {
    sim fake Share=0.1 64M; uv apply -y; uv start fake
    uv pause fake; [ "$(field fake State)" = paused ]
    uv resume fake; [ "$(field fake State)" = running ]
    uv stop fake
}

@test "restart: stop and start as one job, planned as a whole before anything stops; a stopped one is started" {
    pid=$(field box Leader)
    run uv restart -n box; [ "$status" = 0 ]; [ "$(field box Leader)" = "$pid" ]
    uv restart box
    [ "$(field box State)" = running ]; [ "$(field box Leader)" != "$pid" ]
    uv stop box; uv restart box; [ "$(field box State)" = running ]
}

@test "Restart=on-failure: a failure is started again, an end in order or a stop is not" {
    container fails 'sh -c "echo life; sleep 0.3; exit 3"' "Restart=on-failure
RestartSec=50ms
StartLimit=100"
    container ends 'sh -c "echo life; sleep 0.3"' "Restart=on-failure
RestartSec=50ms"
    uv apply -y; uv start fails ends
    wait_for 10 eval '[ "$(uv logs fails | grep -c life)" -ge 3 ]'
    uv history fails | grep -q uv-command
    [ "$(field ends State)" = defined ]; [ "$(uv logs ends | grep -c life)" = 1 ]
    wait_for 5 uv stop fails
    sleep 0.2; wait_for 5 eval '[ "$(field fails State)" = defined ]'
    n=$(uv logs fails | grep -c life); sleep 1; [ "$(uv logs fails | grep -c life)" = "$n" ]
}

@test "StartLimit=: given up after that many in a row, said once; kill -9 of the planner in between starts no count anew" {
    container loop 'sh -c "echo life; exit 3"' "Restart=always
RestartSec=100ms
StartLimit=4"
    uv apply -y; uv start loop || true
    wait_for 10 eval '[ "$(uv logs loop | grep -c life)" -ge 3 ]'
    kill -9 $(pids_of uv-command)
    wait_for 10 grep -q "loop: given up: it ended again after 4 starts in a row" "$ROOT/log"
    sleep 0.5
    [ "$(uv logs loop | grep -c life)" = 5 ]
    [ "$(field loop State)" = failed ]
    uv start loop || true
    wait_for 10 eval '[ "$(uv logs loop | grep -c life)" -ge 6 ]'
    wait_for 5 uv stop loop
}

@test "status tells how Restart= stands, events when it is given up" {
    container again 'sh -c "sleep 0.2; exit 3"' "Restart=on-failure
RestartSec=400ms
StartLimit=2"
    uv apply -y
    "$ULV_BIN/uvctl" --root "$ROOT" events again >"$ROOT/told" 3>&- & teller=$!
    "$ULV_BIN/uvctl" --root "$ROOT" events again -o json >"$ROOT/told.json" 3>&- & teller2=$!
    sleep 0.3
    [ "$(uv show -o json again | jq -c '.[0] | [.Restart, .Restarts, .StartLimit, .RestartAt, .RestartGivenUp]')" = '["on-failure",0,2,0,false]' ]
    uv start again
    wait_for 10 eval 'uv status again | grep -qE "Restart: on-failure, (1 of 2 starts in a row, )?start [12] in [0-9]+s"'
    wait_for 10 eval 'uv status again | grep -q "Restart: on-failure, given up after 2 starts in a row (StartLimit=); uvctl start again"'
    [ "$(uv show -o json again | jq -c '.[0] | [.Restarts, .RestartAt, .RestartGivenUp]')" = '[2,0,true]' ]
    wait_for 5 grep -q "restart again result=given up: it ended again after 2 starts" "$ROOT/told"
    wait_for 5 grep -q '"Change":"given-up","Kind":"restart","Id":"again"' "$ROOT/told.json"
    kill $teller $teller2
}

@test "top tells who uses the CPU, and memory and tasks of all" {
    container busy 'sh -c "while :; do :; done"'
    uv apply -y; uv start busy
    sleep 0.3
    run uv top -o json
    [ "$(jq -r '.[] | select(.Name == "busy") | .CPUUsed > 0.05' <<<"$output")" = true ]
    [ "$(jq -r '.[] | select(.Name == "box") | .CPUUsed < 0.05' <<<"$output")" = true ]
    [ "$(jq -r '.[] | select(.Name == "busy") | .Tasks >= 2 and .MemoryUsed > 0' <<<"$output")" = true ]
    run uv top; [[ "${lines[0]}" == "NAME"*"TASKS" ]]; [[ "$output" == *busy* ]]
    uv stop --force busy
}
