# Channels between containers: made from two definitions, used by programs inside, and over the death of everybody.
bats_require_minimum_version 1.5.0
load ../lib/uv

setup_file() {
    instance_make "$PART"
    busybox_root "$ROOT/tree"
    cp "$ULV_BIN/uvguest" "$ROOT/tree/bin/"
    local a; for a in seq usleep wc; do ln -sf busybox "$ROOT/tree/bin/$a"; done
    instance_start
    sleeper web '[Channel "feed"]
Peer=db
Kind=message
Size=1M
[Channel "bytes"]
Peer=db'
    sleeper db '[Channel "feed"]
Peer=web
[Channel "bytes"]
Peer=web
Kind=stream
Size=64K'
    uv apply -y -q
    uv start web db -q
}
teardown_file() { instance_down; }
is_new() { local now; now=$("$1" "$2"); [ -n "$now" ] && [ "$now" != "$3" ]; }
channel() { uv channel list -o json | jq -r --arg c "$1" '.[] | select(.Channel == $c) | .'"$2"; }
state_is() { [ "$(channel "$1" State)" = "$2" ]; }
there_is_no() { [ -z "$(channel "$1" State)" ]; }
inside() { "$ULV_BIN/uvctl" --root "$ROOT" exec "$@" 3>&-; }
# Sends numbered lines from web, for as long as the test goes on; db keeps what comes. Not in the hands of an exec, which
# ends with uvd: the programs are the partitions' own.
receive() { uv exec db -- sh -c 'uvguest cat feed >>/tmp/got 2>/dev/null </dev/null &'; }
begin_traffic() {
    GOT=/proc/$(field db Leader)/root/tmp/got
    uv exec db -- sh -c ': >/tmp/got'
    receive
    uv exec web -- sh -c '(i=1; while echo $i; do i=$((i+1)); usleep 300; done | uvguest send feed) >/dev/null 2>&1 </dev/null &'
    wait_for 10 grep -q . "$GOT"
}
kill_guests() { uv exec "$1" -- sh -c 'for s in /proc/[0-9]*/status; do if grep -q "^Name:.uvguest" $s 2>/dev/null; then s=${s#/proc/}; kill -9 ${s%/status}; fi; done'; }
end_traffic() { kill_guests web; kill_guests db; }
more_comes() { local n; n=$(wc -l <"$GOT"); wait_for 10 sh -c "[ \$(wc -l <$GOT) -gt $((n + 20)) ]"; }
# Whole numbers, each greater than the one before: nothing half, nothing twice, nothing out of order.
in_order() { awk '!/^[1-9][0-9]*$/ || $1 <= last { print "line " NR ": " $0 " after " last; bad = 1 } { last = $1 } END { exit bad }' "$GOT"; }
nothing_is_missing() { awk 'NR > 1 && $1 != last + 1 { print "line " NR ": " $0 " after " last; bad = 1 } { last = $1 } END { exit bad }' "$GOT"; }

# bats test_tags=kernel
@test "two definitions that name each other make a channel; a message and an answer go through it" {
    wait_for 5 state_is feed connected
    inside db -- uvguest cat feed 2 >"$ROOT/out" 2>/dev/null & local cat=$!
    uv exec web -- uvguest send feed hello
    uv exec web -- uvguest send feed again
    wait $cat
    [ "$(cat "$ROOT/out")" = "hello
again" ]
    inside web -- uvguest echo feed 2>/dev/null & local echo=$!
    run uv exec db -- uvguest perf feed 100
    [[ "$output" == "100 round trips of 16 bytes: "* ]]
    kill $echo; wait $echo || true
}

# bats test_tags=kernel
@test "a stream carries all bytes, in the other direction" {
    wait_for 5 state_is bytes connected
    inside web -- sh -c 'uvguest cat bytes 2>/dev/null >/tmp/got' & local cat=$!
    uv exec db -- sh -c 'seq 1 20000 >/tmp/sent; uvguest send bytes </tmp/sent'
    wait_for 10 sh -c "[ \"\$('$ULV_BIN/uvctl' --root '$ROOT' exec web -- wc -c /tmp/got | cut -d' ' -f1)\" = 108894 ]"
    [ "$(uv exec web -- cat /tmp/got)" = "$(seq 1 20000)" ]
    kill $cat; wait $cat || true
}

# bats test_tags=kernel
@test "a peer that doesn't agree is named, the partition runs without; when it agrees the channel is there at once" {
    sleeper lone '[Channel "wish"]
Peer=other
Kind=memory
Size=12K'
    sleeper other
    uv apply -y -q
    run uv start lone -n
    [[ "$output" == *"without channel wish: other refuses, its definition has no [Channel] of that label"* ]]
    uv start lone other -q
    there_is_no wish
    sleeper other '[Channel "wish"]
Peer=lone'
    run uv apply -y
    [[ "$output" == *"channel wish added"* ]]
    wait_for 5 state_is wish connected
    sleeper other
    run uv apply -y
    [[ "$output" == *"channel wish removed"* ]]
    wait_for 5 there_is_no wish
    run -1 uv exec lone -- uvguest send wish x
    uv stop lone other -q
}

# bats test_tags=kernel
@test "kill -9 of uvd, of both monitors, of both uv-ports: under traffic nothing is lost, and the channel stays the same" {
    local before monitor port who; before=$(channel feed Number)
    begin_traffic
    kill -9 "$(pids_of uvd)"
    more_comes
    wait_for 10 uv list
    for who in web db; do
        monitor=$(monitor_of $who); kill -9 "$monitor"
        wait_for 10 is_new monitor_of $who "$monitor"
        more_comes
    done
    for who in web db; do
        port=$(port_of $who); kill -9 "$port"
        wait_for 10 is_new port_of $who "$port"
        more_comes
    done
    end_traffic
    in_order
    nothing_is_missing
    wait_for 5 state_is feed connected
    [ "$(channel feed Number)" = "$before" ]
}

# bats test_tags=kernel
@test "kill -9 of a receiving program: the next one goes on, nothing twice and nothing half" {
    begin_traffic
    local i
    for i in 1 2 3; do
        kill_guests db
        receive
        more_comes
    done
    end_traffic
    in_order
}

# bats test_tags=kernel
@test "a program that dies is heard of by the other end; so is a partition, and one that comes back with a new epoch" {
    uv exec db -- sh -c ': >/tmp/got; uvguest cat feed >>/tmp/got 2>/tmp/said </dev/null &'
    GOT=/proc/$(field db Leader)/root/tmp/got
    uv exec web -- sh -c '( (echo 1; sleep 1000) | uvguest send feed) >/dev/null 2>&1 </dev/null &'
    wait_for 10 grep -q 1 "$GOT"
    kill_guests web
    wait_for 5 grep -q 'the other end died' "${GOT%/got}/said"
    local epoch memory; epoch=$(channel feed Epoch); memory=$(channel feed Number)
    uv stop --force web -q
    uv start web -q
    wait_for 5 state_is feed connected
    [ "$(channel feed Number)" = "$memory" ]
    [ "$(channel feed Epoch)" -gt "$epoch" ]
    uv exec web -- uvguest send feed 2
    wait_for 5 grep -q 2 "$GOT"
    [ "$(cat "$GOT")" = "1
2" ]
    kill_guests db
}

# bats test_tags=kernel
@test "who floods the socket, or speaks nonsense to it, costs nobody his channel" {
    python3 - "/proc/$(field web Leader)/root/run/ultravisor/call" <<'PY'
import os, socket, sys
path = sys.argv[1]
def connect():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(path); s.settimeout(5); return s
for junk in (b"", b"x", b"\0" * 512, os.urandom(512), b"UVC1" + b"\5" * 508, os.urandom(4096)):
    s = connect()
    if junk: s.send(junk)
    s.close()
held = [connect() for _ in range(60)]
for name in (b"../feed", b"nothing"):
    s = connect(); s.send(b"UVC1\5" + b"\0" * 43 + name.ljust(464, b"\0"))
    assert int.from_bytes(s.recv(512)[12:16], "little") == 9, "NOT_THERE"
PY
    inside db -- uvguest cat feed 1 >"$ROOT/out" 2>/dev/null & local cat=$!
    uv exec web -- uvguest send feed still
    wait $cat
    [ "$(cat "$ROOT/out")" = still ]
}

# bats test_tags=kernel
@test "the examples in C and in Python, built against an installed tree as pkg-config says, talk to each other" {
    local d=$BATS_TEST_TMPDIR/d who; cd "$BATS_TEST_DIRNAME/../.."
    make -s B="${ULV_BIN%/bin}" DESTDIR="$d" PREFIX=/usr install
    export PKG_CONFIG_PATH=$d/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$d LD_LIBRARY_PATH=$d/usr/lib
    cc -Wall -Werror "$d"/usr/share/doc/ultravisor/examples/channel/answer.c $(pkg-config --cflags --libs ultravisor) -o "$BATS_TEST_TMPDIR/answer"
    # The partition's root has neither a C library nor Python: what is joined is its socket, from outside.
    as_in() { # as_in PARTITION COMMAND...
        SOCKET=/proc/$(field "$1" Leader)/root/run/ultravisor/call; shift
        SOCKET=$SOCKET exec unshare -m sh -c 'mount -t tmpfs none /run && mkdir /run/ultravisor && ln -s "$SOCKET" /run/ultravisor/call && exec "$@"' sh "$@" 3>&-
    }
    (as_in db "$BATS_TEST_TMPDIR/answer" feed) & who=$!
    [ "$(as_in web python3 "$d"/usr/share/doc/ultravisor/examples/channel/ask.py feed hello "and again")" = "HELLO
AND AGAIN" ]
    kill $who; wait $who || true
    # And without the shared library.
    cc -Wall -Werror -static examples/channel/answer.c $(pkg-config --cflags --libs --static ultravisor) -o "$ROOT/tree/bin/answer"
    inside db -- answer feed & who=$!
    [ "$(as_in web python3 examples/channel/ask.py feed static)" = STATIC ]
    kill $who; wait $who || true
}
