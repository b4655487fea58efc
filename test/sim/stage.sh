# Each simulation over its seeds, then its controls: every bug that is planted must be found.
# Under LONG=1 more steps and seeds. ULV_SEED repeats one that failed.
for t in "$B"/test/sim-*; do
    case $t in *.d|*.o) continue ;; esac
    n=$(basename "$t")
    for seed in ${ULV_SEED:-1 $(date +%s) $([ -z "${LONG:-}" ] || seq 2 40)}; do
        one "$n-$seed" 300 "$t" --steps "$([ -n "${LONG:-}" ] && echo 1000000 || echo 100000)" --seed "$seed"
    done
    one "$n-controls" 120 "$t" --controls
done
