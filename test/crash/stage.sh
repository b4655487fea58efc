# kill -9 of anything, lives without growth, power cuts, and for each a control that must fail. Cycles grow under LONG=1.
K=$B/test/crash/kill
one kill-9 "$([ -n "${LONG:-}" ] && echo 7200 || echo 300)" "$K" --cycles "$([ -n "${LONG:-}" ] && echo 10000 || echo 500)" --seed "${ULV_SEED:-$(date +%s)}"
for c in lost-ack half-done restarted orphan; do
    one "control-$c" 60 bash -c 'if "$0" --cycles 5 --control "$1" | grep -q "^not ok 1"; then echo "ok 1 - the check finds a planted fault: $1"; else exit 1; fi' "$K" "$c"
done
L=$B/test/crash/lifecycles
one lifecycles "$([ -n "${LONG:-}" ] && echo 3600 || echo 120)" "$L" --cycles "$([ -n "${LONG:-}" ] && echo 10000 || echo 200)"
for c in connection file process; do
    one "control-growth-$c" 60 bash -c 'if "$0" --cycles 20 --control "$1" | grep -q "^not ok"; then echo "ok 1 - growth is found: $1"; else exit 1; fi' "$L" "$c"
done
one power-cut "$([ -n "${LONG:-}" ] && echo 1800 || echo 120)" "$B/test/crash/power-cut" --cycles "$([ -n "${LONG:-}" ] && echo 10000 || echo 1000)"
one control-power-cut 60 bash -c 'if "$0" --cycles 20 --lie | grep -q "^not ok 1"; then echo "ok 1 - the power cut finds a store that does not sync"; else exit 1; fi' "$B/test/crash/power-cut"
