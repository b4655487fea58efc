# uv-metrics: what an Ultravisor has and uses, as OpenMetrics.
load ../lib/uv

setup_file() {
    instance_up "$PART"
    busybox_root "$ROOT/tree"
    definition busy "[Partition]
Type=container
[CPU]
Share=0.25
[Memory]
Size=64M
[Container]
Root=$ROOT/tree
Exec=/bin/sh -c 'i=0; while [ \$i -lt 100000 ]; do i=\$((i+1)); done; exec sleep 1000'"
    sim quiet Cores=1 256M
    uv apply -y -q
    uv start -q -a
}
teardown_file() { instance_down; }
metrics() { "$ULV_BIN/uv-metrics" --root "$ROOT"; }
value() { metrics | awk -v s="$1" '$1 == s { print $2; found = 1 } END { exit !found }'; }

# What a reader of the standard makes of it: FILE -> "FAMILY TYPE" lines, or an error.
parsed() {
    /usr/bin/python3 - "$1" <<-'PY'
	import sys
	from prometheus_client.openmetrics.parser import text_string_to_metric_families as read
	for f in read(open(sys.argv[1]).read()):
	    print(f.name, f.type)
	PY
}

@test "by hand it prints once, and the Prometheus project's own reader of OpenMetrics takes all of it" {
    /usr/bin/python3 -c 'import prometheus_client' 2>/dev/null || skip "python3-prometheus-client isn't installed"
    metrics >"$BATS_FILE_TMPDIR/text"
    parsed "$BATS_FILE_TMPDIR/text" >"$BATS_FILE_TMPDIR/families"
    [ "$(wc -l <"$BATS_FILE_TMPDIR/families")" -gt 20 ]
    grep -qx 'ultravisor_partition_cpu_seconds counter' "$BATS_FILE_TMPDIR/families"
    grep -qx 'ultravisor_partition info' "$BATS_FILE_TMPDIR/families"
}

@test "numbers are the ledger's and the kernel's" {
    [ "$(value ultravisor_up)" = 1 ]
    [ "$(value 'ultravisor_partition_memory_wanted_bytes{partition="quiet"}')" = 268435456 ]
    [ "$(value 'ultravisor_partition_cores_reached{partition="quiet"}')" = 1 ]
    [ "$(value 'ultravisor_partition_share_wanted{partition="busy"}')" = 0.250 ]
    [ "$(value 'ultravisor_partition_state{partition="busy",state="running"}')" = 1 ]
    [ "$(value 'ultravisor_role_up{role="uvd"}')" = 1 ]
    uv pause busy -q
    [ "$(value 'ultravisor_partition_state{partition="busy",state="paused"}')" = 1 ]
    uv resume busy -q
    uv restart busy -q
    [ "$(value 'ultravisor_partition_starts_total{partition="busy"}')" = "$(field busy Incarnation)" ]
}

@test "transactions are counted once each, by what became of them" {
    local done undone
    done=$(value 'ultravisor_transactions_total{outcome="done"}')
    undone=$(value 'ultravisor_transactions_total{outcome="undone"}')
    uv set -q quiet memory=128M
    run uv set -q quiet memory=900T
    [ "$status" = 7 ]
    uv set -n quiet memory=64M
    definition broken "[Partition]
Type=container
[CPU]
Share=0.1
[Memory]
Size=64M
[Container]
Root=$ROOT/tree
Exec=/bin/not-there"
    uv apply -y -q
    run uv start -q broken
    [ "$status" != 0 ]
    [ "$(value 'ultravisor_transactions_total{outcome="undone"}')" = $((undone + 1)) ]
    [ "$(value 'ultravisor_transactions_total{outcome="done"}')" = $((done + 2)) ]
}

@test "a channel's ends are there, connected or waiting" {
    local name
    for name in left right; do
        definition $name "[Partition]
Type=container
[CPU]
Share=0.1
[Memory]
Size=32M
[Container]
Root=$ROOT/tree
Exec=sleep 1000
[Channel \"feed\"]
Kind=message
Size=64K
Peer=$([ $name = left ] && echo right || echo left)"
    done
    sed -i '/^Kind=\|^Size=64K/d' "$ROOT/etc/ultravisor/partitions/right.partition"
    uv apply -y -q
    uv start -q left
    [ "$(value 'ultravisor_channel_connected{partition="left",channel="feed",peer="right"}')" = 0 ]
    uv start -q right
    connected() { [ "$(value "ultravisor_channel_connected{partition=\"$1\",channel=\"feed\",peer=\"$2\"}")" = 1 ]; }
    wait_for 5 connected left right
    connected right left
    uv stop -q left right
}

@test "what the machine doesn't count has no sample, and no 0" {
    local dir
    dir=$(sed -n 's/^0:://p' "/proc/$(field busy Leader)/cgroup")
    dir=$(find /sys/fs/cgroup -maxdepth 1 -name unified)$dir; [ -d "$dir" ] || dir=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(field busy Leader)/cgroup")
    if [ -e "$dir/memory.current" ]; then value 'ultravisor_partition_memory_used_bytes{partition="busy"}'
    else run value 'ultravisor_partition_memory_used_bytes{partition="busy"}'; [ "$status" != 0 ]; fi
    [ ! -e "$dir/cpu.stat" ] || [ "$(value 'ultravisor_partition_cpu_seconds_total{partition="busy"}' | tr -d .)" -gt 0 ]
    run value 'ultravisor_partition_cpu_seconds_total{partition="quiet"}'; [ "$status" != 0 ]
}

@test "without the planner it says so, with exit status 1, and the text is whole" {
    run "$ULV_BIN/uv-metrics" --root "$BATS_FILE_TMPDIR/nothing"
    [ "$status" = 1 ]
    [[ "$output" == *"ultravisor_up 0"*"# EOF" ]]
}

@test "every series is in uv-metrics(8), and no other; the alert rules name none that isn't there" {
    metrics | sed -nE 's/^# TYPE ([a-z_]+) .*/\1/p' | sort >"$BATS_FILE_TMPDIR/have"
    sed -nE 's/^\.B (ultravisor[a-z_]*)$/\1/p' "$BATS_TEST_DIRNAME/../../man/uv-metrics.8" | sort >"$BATS_FILE_TMPDIR/manual"
    diff "$BATS_FILE_TMPDIR/manual" "$BATS_FILE_TMPDIR/have"
    # Names of samples, also of those that this machine has no controller for.
    metrics | sed -nE 's/^# TYPE ([a-z_]+) counter/\1_total/p; s/^# TYPE ([a-z_]+) gauge/\1/p' >"$BATS_FILE_TMPDIR/samples"
    grep -oE 'ultravisor_[a-z_]+' "$BATS_TEST_DIRNAME/../../systemd/ultravisor-alerts.yml" | sort -u |
        grep -vxFf "$BATS_FILE_TMPDIR/samples" >"$BATS_FILE_TMPDIR/unknown" || true
    diff /dev/null "$BATS_FILE_TMPDIR/unknown"
}

@test "promtool takes the alert rules: each alert comes when it shall, and none when all is well" {
    command -v promtool >/dev/null || skip "promtool (package prometheus) isn't installed"
    promtool check rules "$BATS_TEST_DIRNAME/../../systemd/ultravisor-alerts.yml"
    promtool test rules "$BATS_TEST_DIRNAME/../alerts.yml"
    diff <(sed -n 's/.*- alert: //p' "$BATS_TEST_DIRNAME/../../systemd/ultravisor-alerts.yml" | sort) \
         <(sed -nE 's/.*alertname="([A-Za-z]+)".*/\1/p' "$BATS_TEST_DIRNAME/../alerts.yml" | sort)
}

# --- the server, as systemd starts it ------------------------------------------------------------------------
serve() {
    systemd-socket-activate -l "$BATS_FILE_TMPDIR/socket" -E "ULTRAVISOR_ROOT=$ROOT" "$ULV_BIN/uv-metrics" 3>&- >"$BATS_FILE_TMPDIR/serve.log" 2>&1 &
    SERVER=$!
    wait_for 5 test -S "$BATS_FILE_TMPDIR/socket"
}
get() { curl -sS --unix-socket "$BATS_FILE_TMPDIR/socket" "$@"; }

@test "GET /metrics is answered with the type of OpenMetrics, other paths and methods are refused, noise is survived" {
    command -v systemd-socket-activate curl >/dev/null || skip "systemd-socket-activate or curl isn't here"
    serve
    get -D "$BATS_FILE_TMPDIR/head" http://x/metrics | tail -n 1 | grep -qx '# EOF'
    grep -qi '^content-type: application/openmetrics-text; version=1.0.0; charset=utf-8' "$BATS_FILE_TMPDIR/head"
    [ "$(get -o /dev/null -w '%{http_code}' http://x/)" = 404 ]
    [ "$(get -o /dev/null -w '%{http_code}' -X DELETE http://x/metrics)" = 405 ]
    [ "$(get -o /dev/null -w '%{http_code}' -d x=1 http://x/metrics)" = 405 ]
    [ "$(get -o /dev/null -w '%{http_code}' -I http://x/metrics)" = 200 ]
    head -c 100000 /dev/urandom | timeout 5 /usr/bin/python3 -c 'import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(sys.stdin.buffer.read())' "$BATS_FILE_TMPDIR/socket" || true
    get http://x/metrics | grep -q '^ultravisor_up 1'
    kill "$SERVER"
}
