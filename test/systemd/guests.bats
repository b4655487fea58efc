# Many partitions at once, and the end of the system.
load ../lib/systemd

setup_file() { systemctl start ultravisor.target; }
teardown_file() { uvctl stop --all || true; systemctl stop ultravisor.target; }
unit_jobs() { systemctl list-jobs --no-legend | wc -l; }

@test "at shutdown partitions are stopped gently in the order of their definitions, before units, scopes and roles" {
    local polite='/bin/sh -c "trap \"echo bye >/bye; exit 0\" TERM; while :; do sleep 1 & wait $!; done"'
    container first "" "$polite"
    container second After=first "$polite"
    container third After=second "$polite"
    uvctl apply -y
    uvctl start -q first second third
    # As a shutdown has it: stop jobs for everything at once, and PID 1 orders them.
    systemctl stop --no-block uv-guests.service uvd.service uv-command.service uv-operations.service $(systemctl list-units --plain --no-legend 'ultravisor-*.scope' 'uv-partition@*' | cut -d' ' -f1) || true         # some are gone by then
    wait_for 30 sh -c '[ -z "$(systemctl list-jobs --no-legend)" ]'
    for p in first second third; do is "$(cat /run/roots/$p/bye)" bye; is "$(unit_state uv-partition@$p)" inactive; done
    is "$(journalctl -q -b -o cat -u 'uv-partition@*' | grep -oE '(first|second|third) is gone: exit:0' | cut -d' ' -f1 | xargs)" "third second first"
    systemctl start ultravisor.target
    wait_for 10 uvctl list
    for p in first second third; do is "$(field $p State)" defined; done
}

@test "shutdown with no role alive: each unit still stops its own partition" {
    local pids
    uvctl start -q first second third
    pids=$(for p in first second third; do leader $p; done)
    systemctl stop uv-command.service uv-operations.service uvd.service
    rm -f /run/roots/*/bye
    systemctl stop --no-block uv-guests.service $(systemctl list-units --plain --no-legend 'ultravisor-*.scope' 'uv-partition@*' | cut -d' ' -f1) || true         # some are gone by then
    wait_for 60 sh -c '[ -z "$(systemctl list-jobs --no-legend)" ]'
    for p in $pids; do gone "$p"; done
    systemctl start ultravisor.target
    for p in first second third; do wait_for 20 sh -c "uvctl list -a -o json | jq -e '.[] | select(.Name == \"$p\") | .State == \"defined\"'"; done
}

@test "64 partitions: started, uvd restarted, all re-adopted; monitors killed, all back; no payload notices" {
    local i t0 t1 before
    for i in $(seq 64); do printf '[Partition]\nType=sim\n[CPU]\nShare=0.01\n[Memory]\nSize=2M\n' >/etc/ultravisor/partitions/s$i.partition; done
    uvctl apply -q -y
    t0=$(date +%s%N)
    uvctl start -q $(seq -f s%g 64)
    t1=$(date +%s%N)
    echo "# 64 starts through systemd: $(((t1 - t0) / 1000000)) ms" >&3
    before=$(uvctl list -o json | jq -r '[.[] | select(.State == "running") | .Leader] | sort | map(tostring) | join(" ")')
    is "$(wc -w <<<"$before")" 64
    t0=$(date +%s%N)
    systemctl restart uvd.service
    # Re-adopted: every monitor holds a connection to the new uvd, and the ledger follows it.
    adopted() { [ "$(ss -xH src /run/ultravisor/uvd/monitor | grep -c ESTAB)" = 64 ] && not grep -q STALE <<<"$(uvctl list 2>&1)"; }
    wait_for 20 adopted
    t1=$(date +%s%N)
    echo "# uvd restarted, 64 monitors there again: $(((t1 - t0) / 1000000)) ms" >&3
    is "$(uvctl list -o json | jq -r '[.[] | select(.State == "running") | .Leader] | sort | map(tostring) | join(" ")')" "$before"
    t0=$(date +%s%N)
    for i in $(seq 64); do kill -KILL "$(main_pid uv-partition@s$i)"; done
    t1=$(date +%s%N)
    wait_for 20 adopted
    echo "# 64 monitors killed (in $(((t1 - t0) / 1000000)) ms), all there again $((($(date +%s%N) - t1) / 1000000)) ms later" >&3
    is "$(uvctl list -o json | jq -r '[.[] | select(.State == "running") | .Leader] | sort | map(tostring) | join(" ")')" "$before"
    uvctl stop -q $(seq -f s%g 64)
    wait_for 10 sh -c '[ -z "$(systemctl list-units --plain --no-legend "uv-partition@s*")" ]'
}

median() { sort -n | awk '{ v[NR] = $1 } END { printf "%.1f", v[int((NR + 1) / 2)] / 1000 }'; }
took() { local a b; a=$(date +%s%N); "$@" >/dev/null 2>&1; b=$(date +%s%N); echo $(((b - a) / 1000)); }      # microseconds

@test "what a start through systemd costs, beside the same without us (printed)" {
    local whole unit scope
    printf '[Service]\nType=exec\nExecStart=/bin/sleep 1000\n' >/run/systemd/system/plain.service; systemctl daemon-reload
    for i in 1 2 3; do uvctl start -q first; uvctl stop -q first; done
    whole=$(for i in $(seq 9); do took uvctl start -q first; uvctl stop -q first; sleep 0.1; done | median)
    unit=$(for i in $(seq 9); do took systemctl start plain; systemctl stop plain; done | median)
    scope=$(for i in $(seq 9); do took systemd-run --scope -q true; done | median)
    echo "# uvctl start of a container: $whole ms; systemctl start of a plain unit: $unit ms; a scope by systemd-run: $scope ms" >&3
    for i in $(seq 9); do uvctl start -q first; uvctl stop -q first; sleep 0.1; done
    journalctl -q -o short-monotonic --no-pager -n 400 | awk '{ gsub(/[][]/, "") } /Starting uv-partition@first/ { a = $1 } /Started ultravisor-first/ { b = $1 }
        /Started uv-partition@first/ && a { s += b - a; r += $1 - b; n++; a = 0 }
        END { printf "# of it, unit to scope %.1f ms, scope to running %.1f ms (mean of %d)\n", s * 1000 / n, r * 1000 / n, n }' >&3
    rm /run/systemd/system/plain.service; systemctl daemon-reload
}
