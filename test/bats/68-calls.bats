# The call interface between a container and its monitor, verb by verb, and over the death of everybody.
bats_require_minimum_version 1.5.0
load ../lib/uv

setup_file() {
    instance_make "$PART"
    busybox_root "$ROOT/tree"
    cp "$ULV_BIN/uvguest" "$ROOT/tree/bin/"
    local a; for a in usleep rm wc; do ln -sf busybox "$ROOT/tree/bin/$a"; done
    # Answers by what stands in /tmp/answer-VERB: an exit status.
    cat >"$ROOT/tree/bin/answer" <<'SH'
#!/bin/sh
echo "$*" >>/tmp/asked
[ ! -f "/tmp/sleep-$1" ] || sleep "$(cat /tmp/sleep-$1)"
exit "$(cat /tmp/answer-$1 2>/dev/null || echo 0)"
SH
    chmod 755 "$ROOT/tree/bin/answer"
    instance_start
    sleeper web '' '[Channel "feed"]
Peer=db
Kind=message
Size=1M'
    sleeper db '' '[Channel "feed"]
Peer=web'
    uv apply -y -q
    uv start web db -q
}
teardown_file() { instance_down; }
call_py() { # call_py NAME: python on stdin, with `path` that of NAME's socket
    { echo "import sys; sys.path.insert(0, '$BATS_TEST_DIRNAME/../lib'); from call import *; path = '/proc/$(field "$1" Leader)/root/run/ultravisor/call'"; cat; } | python3 - 3>&-
}
# listen NAME: its bin/answer answers; each question is a line of /tmp/asked. The program is the partition's own.
listen() {
    uv exec "$1" -- sh -c 'rm -f /tmp/asked /tmp/answer-* /tmp/sleep-*; : >/tmp/asked; uvguest listen answer >/dev/null 2>&1 </dev/null &'
    wait_for 20 hears "$1"
}
# Somebody listens if a second one is told so.
hears() { call_py "$1" <<<'s = connect(path); sys.exit(ask(s, record(1, (1, 1)))["code"] != "BUSY")'; }
deaf() { local p; for p in $(pids_in "$1" uvguest); do kill -9 "$p"; done; wait_for 20 not hears "$1"; }
not() { ! "$@"; }
# The root of a container that the ledger doesn't call running yet.
inside_of() { local p; p=$(grep -ls "partition-$1\$" /proc/[0-9]*/cgroup | head -n 1); [ -n "$p" ] && echo "${p%/cgroup}/root"; }
go_on() { touch "$(inside_of "$1")/tmp/go"; }       # whose root it was may have ended meanwhile
pids_in() { local p; for p in $(pgrep -x "$2"); do [ "$(readlink "/proc/$p/ns/pid")" = "$(readlink "/proc/$(field "$1" Leader)/ns/pid")" ] && echo "$p"; done; return 0; }
asked() { cat "/proc/$(field "$1" Leader)/root/tmp/asked"; }
was_asked() { asked "$1" | grep -qx -- "$2"; }
view_has() { uv exec "$1" -- uvguest view | grep -qx "$2"; }
is() { [ "$(field "$1" "$2")" = "$3" ]; }
is_new() { local now; now=$("$1" "$2"); [ -n "$now" ] && [ "$now" != "$3" ]; }

# bats test_tags=kernel
@test "VIEW: a partition's own view, and nothing of another's" {
    run sh -c "'$ULV_BIN/uvctl' --root '$ROOT' exec web -- uvguest view | grep -v ^Life="
    [ "$output" = '[Partition]
Name=web
Type=container
[CPU]
Share=0.1
'"$(grep -o 'CPUs=.*' <<<"$output")"'
[Memory]
Size=64M
[Channel "feed"]
Kind=message
Size=1M
State=connected' ]
    run uv exec web -- uvguest channels
    [ "${lines[1]}" = "feed                 message  1M       connected" ]
    # It follows what changes.
    uv set web memory=96M -q
    wait_for 20 view_has web Size=96M
    uv set web memory=64M -q
    uv stop db -q
    wait_for 20 view_has web State=waiting
    uv start db -q
    wait_for 20 view_has web State=connected
}

# bats test_tags=kernel
@test "READY and STATUS: told, shown without what a terminal would obey, kept over the death of uv-port, monitor and uvd" {
    [ "$(field web Ready)" = false ]
    uv exec web -- uvguest ready "$(printf 'serving \033[31m12 clients, Gr\303\274\303\237e')"
    wait_for 20 is web Ready true
    said() { uv status web --lines=0 | grep -qF 'Says: serving ?[31m12 clients, Grüße'; }
    is_ready() { uv status web --lines=0 | grep -q 'State: running since .*, ready'; }
    said; is_ready
    local who; who=$(port_of web); kill -9 "$who"; wait_for 40 is_new port_of web "$who"
    said; is_ready
    who=$(monitor_of web); kill -9 "$who"; wait_for 40 is_new monitor_of web "$who"
    said; is_ready
    kill -9 "$(pids_of uvd)"; wait_for 10 is_ready
    said
    [ "$(field db Ready)" = false ]
    wait_for 10 uv exec web -- uvguest status ''
    run uv status web --lines=0
    [[ "$output" != *Says:* ]]
}

# bats test_tags=kernel
@test "Ready=notify: a start waits for READY, and fails when the program ends or its time is over before" {
    late() { definition late "[Partition]
Type=container
Ready=notify
StartTimeout=$1
[CPU]
Share=0.1
[Memory]
Size=64M
[Container]
Root=$ROOT/tree
Exec=$2"; uv apply -y -q; }
    late 90s "sh -c 'until [ -f /tmp/go ]; do usleep 20000; done; uvguest ready; sleep 1000'"
    uv start late -q 3>&- & local start=$!
    wait_for 20 is late State starting
    wait_for 20 inside_of late
    # In the middle of it everybody dies.
    local who; who=$(monitor_of late); kill -9 "$who"; wait_for 40 is_new monitor_of late "$who"
    who=$(port_of late); kill -9 "$who"; wait_for 40 is_new port_of late "$who"
    sleep 0.3
    [ "$(field late State)" = starting ]
    kill -0 $start
    wait_for 20 go_on late
    wait $start
    [ "$(field late State)" = running ]
    [ "$(field late Ready)" = true ]
    uv stop late -q --force
    late 1s "sleep 1000"
    run -1 uv start late
    [[ "$output" == *"it didn't say READY within its StartTimeout"* ]]
    late 90s "true"
    run -1 uv start late
    [[ "$output" == *"it ended before it said READY"* ]]
    [ "$(field late Leader)" = 0 ]
}

# bats test_tags=kernel
@test "what isn't a call is refused by a code; a flood waits, and nobody else does" {
    call_py web <<'PY'
s = connect(path)
for verb, value, text, code in ((99, (), b"", "UNKNOWN"), (VERB["STOP"], (), b"", "WRONG_WAY"), (VERB["READY"], (1,), b"", "BAD_VALUE"),
                                (VERB["RELEASE"], (), b"", "NOT_THERE"), (VERB["OPEN"], (), b"../feed", "NOT_THERE")):
    a = ask(s, record(verb, value, text))
    assert a["code"] == code and a["number"] == 7 and a["answer"] == 1, a
assert ask(s, record(VERB["HELLO"], (1,)), (0, 1))["code"] == "BAD_FDS"
assert ask(s, record(VERB["HELLO"], (1,)))["text"] == b"web"
for junk in (b"x", record(1)[:-1], record(1) + b"x", record(1, magic=1), record(4, text=b"x" * 464)):
    s = connect(path)
    assert ask(s, junk)["code"] == "BAD_RECORD"
    assert receive(s) is None
s, codes = connect(path), []
while "TOO_MANY" not in codes and len(codes) < 400: codes.append(ask(s, record(VERB["HELLO"], (1,)))["code"])
assert codes[-1] == "TOO_MANY", codes
PY
    [ "$(uv exec db -- uvguest view | head -n 2 | tail -n 1)" = Name=db ]
    [ "$(uv exec web -- uvguest view | head -n 2 | tail -n 1)" = Name=web ]
}

# bats test_tags=kernel
@test "STOP comes before the signal, and holds it up for no more than half of StopTimeout" {
    listen db
    # What it wrote last can be read as long as somebody holds the file.
    exec 7<"/proc/$(field db Leader)/root/tmp/asked"
    uv stop db -q
    cat <&7 >"$ROOT/out"; exec 7<&-
    grep -qx 'STOP 5000000' "$ROOT/out"
    uv start db -q
    listen db
    uv exec db -- sh -c 'echo 1000 >/tmp/sleep-STOP'
    local before=$SECONDS
    uv stop db -q
    [ $((SECONDS - before)) -ge 2 ]; [ $((SECONDS - before)) -le 4 ]
    [ "$(field db State)" = defined ]
    uv start db -q
}

# bats test_tags=kernel
@test "RESIZE: a shrink that the guest refuses ends in the old state, and set says who refused" {
    listen web
    uv exec web -- sh -c 'echo 1 >/tmp/answer-RESIZE'
    run -1 uv set web memory=32M
    [[ "$output" == *"its guest refuses to give up memory (RESIZE)"* ]]
    [ "$(field web MemoryWanted)" = 67108864 ]; [ "$(field web MemoryReached)" = 67108864 ]
    was_asked web 'RESIZE 100 33554432'
    view_has web Size=64M
    # A guest that could not, an answer that isn't one.
    uv exec web -- sh -c 'echo 3 >/tmp/answer-RESIZE'
    run -1 uv set web memory=32M
    [[ "$output" == *"its guest could not give up memory (RESIZE)"* ]]
    # It agrees; what grows is not asked.
    uv exec web -- sh -c 'echo 0 >/tmp/answer-RESIZE; : >/tmp/asked'
    uv set web memory=32M -q
    [ "$(field web MemoryReached)" = 33554432 ]
    uv set web memory=64M -q
    [ "$(asked web | grep -c RESIZE)" = 1 ]
}

# bats test_tags=kernel
@test "RESIZE: later means until RELEASE; the death of who was asked, of uv-port or of the monitor is no refusal" {
    uv exec web -- sh -c 'echo 75 >/tmp/answer-RESIZE; : >/tmp/asked'
    uv set web memory=32M -q 3>&- & local set=$!
    wait_for 20 was_asked web 'RESIZE 100 33554432'
    sleep 0.5
    [ "$(field web MemoryReached)" = 67108864 ]
    uv exec web -- uvguest release
    wait $set
    [ "$(field web MemoryReached)" = 33554432 ]
    local who size=64
    for who in deaf port monitor; do
        uv set web memory=64M -q
        wait_for 20 hears web
        uv exec web -- sh -c ': >/tmp/asked'
        uv set web memory=32M -q 3>&- & set=$!
        wait_for 20 was_asked web 'RESIZE 100 33554432'
        case $who in
        deaf) deaf web ;;
        port) who=$(port_of web); kill -9 "$who"; wait_for 40 is_new port_of web "$who" ;;
        monitor) who=$(monitor_of web); kill -9 "$who"; wait_for 40 is_new monitor_of web "$who" ;;
        esac
        wait_for 40 is web MemoryReached 33554432
        wait $set || true
        [ "$(field web MemoryWanted)" = 33554432 ]
        pids_in web uvguest | grep -q . || { listen web; uv exec web -- sh -c 'echo 75 >/tmp/answer-RESIZE'; }
    done
    uv set web memory=64M -q
}

# bats test_tags=kernel
@test "PATH: who listens hears when a channel's other end goes and comes, and what it is now when it begins to listen" {
    deaf web; listen web
    wait_for 20 was_asked web 'PATH feed connected'
    uv stop --force db -q
    wait_for 20 was_asked web 'PATH feed gone'
    uv exec web -- sh -c ': >/tmp/asked'
    uv start db -q
    wait_for 20 was_asked web 'PATH feed connected'
    # Also after its uv-port died: it has come back by itself.
    uv exec web -- sh -c ': >/tmp/asked'
    local who; who=$(port_of web); kill -9 "$who"; wait_for 40 is_new port_of web "$who"
    wait_for 20 was_asked web 'PATH feed connected'
}

# bats test_tags=kernel
@test "TIME: a paused partition hears what time it is when it goes on" {
    grep -q cgroup2 /proc/mounts || skip "no cgroup v2: pause needs it"
    wait_for 20 hears web
    uv pause web -q
    uv resume web -q
    wait_for 20 grep -qE '^TIME resumed [0-9]{16}$' "/proc/$(field web Leader)/root/tmp/asked"
}

# bats test_tags=kernel
@test "SELFTEST: check asks who listens, and says what failed; uvguest selftest says it inside" {
    wait_for 20 hears web
    uv check web db
    run uv exec web -- uvguest selftest
    [ "$status" = 0 ]; [[ "$output" == *"4 checks, 0 failed"* ]]
    uv exec web -- sh -c 'echo 1 >/tmp/answer-SELFTEST'
    run -9 uv check web
    [[ "$output" == *"guest"*"of 5 checks that its guest made 1 failed"*"uvctl exec web -- uvguest selftest"* ]]
    uv exec web -- sh -c 'rm /tmp/answer-SELFTEST'
    uv check web
}

# bats test_tags=kernel
@test "the examples in C and in Python do what they say" {
    local h=$BATS_TEST_TMPDIR/include; cd "$BATS_TEST_DIRNAME/../.."
    mkdir -p "$h"; cp channel/call.h "$h/ultravisor-call.h"
    cc -Wall -Wextra -Werror -static -I "$h" examples/call/listen.c -o "$ROOT/tree/bin/listen-example"
    [ "$(cd "/proc/$(field db Leader)/root/run/ultravisor" && ULTRAVISOR_CALL=call python3 "$OLDPWD/examples/call/view.py")" = "$(uv exec db -- uvguest view)" ]
    uv exec db -- sh -c 'listen-example >/dev/null 2>&1 </dev/null &'
    wait_for 20 hears db
    is db Ready true
    run -1 uv set db memory=16M
    [[ "$output" == *"its guest refuses to give up memory (RESIZE)"* ]]
    uv set db memory=32M -q
    is db MemoryReached 33554432
    uv set db memory=64M -q
}
