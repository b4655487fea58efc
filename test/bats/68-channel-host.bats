# The host's end of a channel, and what is seen of channels from the host.
bats_require_minimum_version 1.5.0
load ../lib/uv

setup_file() {
    instance_make "$PART"
    busybox_root "$ROOT/tree"
    cp "$ULV_BIN/uvguest" "$ROOT/tree/bin/"
    local a; for a in seq usleep wc tr; do ln -sf busybox "$ROOT/tree/bin/$a"; done
    mkfifo "$ROOT/quiet"        # as an input that says nothing: <>
    instance_start
    sleeper web '[Channel "admin"]
Peer=host
Kind=message
Size=256K
[Channel "bytes"]
Peer=host
Kind=stream
Size=64K
[Channel "feed"]
Peer=db
Kind=message
Size=1M'
    sleeper db '[Channel "feed"]
Peer=web
[Channel "admin"]
Peer=host
Kind=memory
Size=16K'
    uv apply -y -q
    uv start web db -q
}
teardown_file() { instance_down; }
host() { uv channel "$@" 3>&-; }
# With &: $! is uvctl itself.
beside() { exec "$ULV_BIN/uvctl" --root "$ROOT" channel "$@" 3>&-; }
inside() { uv exec "$1" -- sh -c "$2"; }
# A program that answers in capitals, until it is killed.
answer() { inside web "uvguest echo $1 </dev/null >/dev/null 2>/tmp/said & "; }
kill_guests() { inside "$1" 'for s in /proc/[0-9]*/status; do if grep -q "^Name:.uvguest" $s 2>/dev/null; then s=${s#/proc/}; kill -9 ${s%/status}; fi; done'; }
end_of() { uv channel stat "$1" -o json | jq -r --arg p "$2" '.[] | select(.Partition == $p) | .'"$3"; }
end_is() { [ "$(end_of "$1" "$2" "$3")" = "$4" ]; }

# bats test_tags=kernel
@test "channel cat: lines are messages both ways; it counts what it prints, and 0 sends only" {
    answer admin
    printf 'one\ntwo words\n three \nlast without newline' >"$ROOT/lines"
    host cat admin@web 4 <"$ROOT/lines" >"$ROOT/got"
    diff "$ROOT/got" <(cat "$ROOT/lines"; echo)
    kill_guests web
    printf 'a\nb\n' >"$ROOT/lines"
    beside cat admin@web 0 <"$ROOT/lines" & local cat=$!        # waits for who takes it
    [ "$(inside web 'uvguest cat admin 2 2>/dev/null')" = "a
b" ]
    wait $cat
}

# bats test_tags=kernel
@test "channel cat: a stream's bytes go through as they are, both ways at once, more than its ring has" {
    answer bytes
    head -c 1000000 /dev/urandom >"$ROOT/sent"
    beside cat bytes <"$ROOT/sent" >"$ROOT/got" & local cat=$!
    wait_for 20 sh -c "[ \$(stat -c %s '$ROOT/got') = 1000000 ]"
    kill $cat; wait $cat || true
    cmp "$ROOT/sent" "$ROOT/got"
    kill_guests web
}

# bats test_tags=kernel
@test "a killed cat is peer gone inside; a new one has a new epoch, and the one before is told that it is over" {
    inside web 'uvguest cat admin </dev/null >/tmp/got 2>/tmp/said &'
    beside cat admin@web <>"$ROOT/quiet" & local first=$!
    wait_for 5 end_is admin@web host State attached
    local epoch; epoch=$(end_of admin@web host Epoch)
    kill -9 $first; wait $first || true
    wait_for 5 end_is admin@web host State gone
    wait_for 5 inside web 'grep -q "the other end died" /tmp/said'
    beside cat admin@web <>"$ROOT/quiet" 2>"$ROOT/err" & local second=$!
    wait_for 5 end_is admin@web host State attached
    [ "$(end_of admin@web host Epoch)" -gt "$epoch" ]
    wait_for 5 inside web 'grep -q "the other end came back" /tmp/said'
    echo hello | host cat admin@web 0
    wait_for 5 inside web 'grep -qx hello /tmp/got'
    wait_for 5 grep -q "another program has taken the host's end over" "$ROOT/err"
    wait $second || true
    kill_guests web
}

# bats test_tags=kernel
@test "kill -9 of uvd, of the monitor and of its uv-port: a cat goes on" {
    answer admin
    mkfifo "$ROOT/in"; beside cat admin@web <"$ROOT/in" >"$ROOT/got" & local cat=$! who
    exec 9>"$ROOT/in"
    echo before >&9
    wait_for 5 grep -qx before "$ROOT/got"
    for who in "$(pids_of uvd)" "$(port_of web)" "$(monitor_of web)"; do
        kill -9 "$who"
        wait_for 10 uv list
        echo "after $who" >&9
        wait_for 10 grep -qx "after $who" "$ROOT/got"
    done
    exec 9>&-
    kill $cat; wait $cat || true
    kill_guests web
}

# bats test_tags=kernel
@test "channel perf measures round trips; without an answer it says so" {
    answer admin
    run host perf admin@web 1000
    [[ "$output" == "1000 round trips of 16 bytes: "* ]]
    host perf admin@web 100 -o json | jq -e '.RoundTrips == 100 and .NanosecondsEach > 0'
    kill_guests web
    run -8 host perf admin@web 1
    [[ "$output" == *"uvguest echo CHANNEL"* ]]
}

# bats test_tags=kernel
@test "channel stat: messages, bytes, wake-ups and refused sends of each end, and rates while they grow" {
    inside web 'seq 1 100 | uvguest send feed >/dev/null 2>&1 &'
    [ "$(inside db 'uvguest cat feed 100 2>/dev/null | wc -l')" = 100 ]
    [ "$(end_of feed web Sent)" = 100 ]
    [ "$(end_of feed web Bytes)" = 192 ]
    [ "$(end_of feed db Received)" = 100 ]
    end_is feed db State closed
    # A rate needs two looks; who finds no room waits, and that is counted.
    inside web 'uvguest cat feed >/dev/null 2>&1 </dev/null &'
    inside db '(i=0; while [ $i -lt 60 ]; do echo $i; i=$((i+1)); usleep 50000; done) 2>/dev/null | uvguest send feed >/dev/null 2>&1 &'
    wait_for 5 end_is feed db State attached
    uv channel stat feed --wait=1s -o json | jq -s -e 'length >= 2 and (.[-1][] | select(.Partition == "db") | .SentPerSecond > 2 and .SentPerSecond < 60)'
    inside web 'uvguest cat bytes 2>/dev/null </dev/null | sleep 1000 >/dev/null 2>&1 &'         # takes some, and no more
    head -c 200000 /dev/zero | tr '\0' 'x' >"$ROOT/sent"
    beside cat bytes <"$ROOT/sent" >/dev/null & local cat=$!
    wait_for 5 sh -c "'$ULV_BIN/uvctl' --root '$ROOT' channel stat bytes -o json | jq -e '.[] | select(.Partition == \"host\") | .Refused > 0'"
    kill $cat; wait $cat || true
    run uv channel stat
    [ "${lines[0]% *}" != "" ]
    [[ "${lines[0]}" == CHANNEL*END*STATE*EPOCH*SENT*BYTES*RECEIVED*WAKEUPS*REFUSED* ]]
    [ "$(uv channel stat --no-legend | wc -l)" = 8 ]
    kill_guests web; kill_guests db
}

# bats test_tags=kernel
@test "channel show: both ends, state, epoch, geometry, and whose memory it is" {
    run uv channel show feed admin@web
    [[ "$output" == *"feed - message of 1M"*"State: connected, epoch "*"End 0: web, which owns the memory"*"End 1: db"*"two rings of 508K"*"Memory: 1M, "*"booked to web"* ]]
    [[ "$output" == *"admin - message of 256K"*"State: ready"*"End 1: host"* ]]
    uv channel show feed -o json | jq -e '.[0] | .Owner == "web" and .Peer == "db" and .RingSize == 520192 and .MessageMax == 130032 and (.Ends | length) == 2'
    uv channel list -o json | jq -e '[.[] | select(.Channel == "admin" and .Peer == "host" and .State == "ready")] | length == 2'
}

# bats test_tags=kernel
@test "what can't be is refused by name: an ambiguous label, a partition's end, a region, a peer without memory" {
    run -2 uv channel cat admin
    [[ "$output" == *"2 channels are called admin"*"admin@"* ]]
    run -2 uv channel cat feed
    [[ "$output" == *"the host has no end of channel feed"*"between web and db"* ]]
    run -2 uv channel cat admin@db
    [[ "$output" == *"Kind=memory can't be printed"* ]]
    run -4 uv channel show nothing
    run -2 uv channel frob
    run -2 uv channel cat admin@web many
    sleeper poor '[Channel "x"]
Peer=host'
    run uv verify "$ROOT/etc/ultravisor/partitions/poor.partition"
    [ "$status" != 0 ]
    [[ "$output" == *"poor.partition:"*"with Peer=host owns the memory: it has Kind= and Size="* ]]
    rm "$ROOT/etc/ultravisor/partitions/poor.partition"
}

# bats test_tags=kernel
@test "a partition that stops ends a cat with status 3" {
    beside cat admin@web <>"$ROOT/quiet" 2>"$ROOT/err" & local cat=$!
    wait_for 5 end_is admin@web host State attaching
    uv stop --force web -q
    local status=0; wait $cat || status=$?

    [ "$status" = 3 ]
}
