# The simulations over two seeds (new ones under LONG=1 only, so that a landing isn't a lottery), then their
# controls: every bug that is planted must be found. Under LONG=1 more steps, too. ULV_SEED repeats a seed that
# failed; `--replay FILE` a trace of sim-ledger.
for seed in ${ULV_SEED:-1 1795574155 $([ -z "${LONG:-}" ] || { seq 2 40; date +%s; })}; do
    one "sim-ledger-$seed" 300 "$B/test/sim-ledger" --steps "$([ -n "${LONG:-}" ] && echo 1000000 || echo 100000)" --seed "$seed"
    one "sim-planner-$seed" 300 bash -c '"$@" >&2 && echo "ok 1 - the planner holds, seed $0"' "$seed" \
        "$B/test/sim-planner" --steps "$([ -n "${LONG:-}" ] && echo 200000 || echo 20000)" --seed "$seed"
done
one sim-ledger-controls 120 "$B/test/sim-ledger" --controls
for c in host try double; do
    one "sim-planner-control-$c" 60 bash -c 'if "$0" --steps 5000 --sabotage "$1" >&2; then exit 1; else echo "ok 1 - the simulation finds a planted bug: $1"; fi' \
        "$B/test/sim-planner" "$c"
done
. test/channel/stage.sh
