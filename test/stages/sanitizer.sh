# Address and undefined-behaviour sanitizers: unit tests, fuzz replay, a shorter simulation, one Bats pass.
S=$B/san
quietly "sanitizer build" make -s -j2 SAN=address,undefined B="$S" tests-build
# Leaks are looked for by default; uv-port, whose filter forbids the search, says so itself.
export UBSAN_OPTIONS=print_stacktrace=1
for t in "$S"/test/test-*; do
    case $t in *.d|*.o) continue ;; esac
    one "san-$(basename "$t")" 120 "$t"
done
for t in "$S"/test/fuzz-*; do
    case $t in *.d|*.o) continue ;; esac
    n=$(basename "$t"); one "san-$n" 120 bash -c '"$0" "$1" >&2 && echo "ok 1 - $2 survives its corpus"' "$t" "test/fuzz/corpus/${n#fuzz-}" "$n"
done
one san-sim-ledger 120 bash -c '"$0" --steps 5000 --seed 7 >&2 && echo "ok 1 - the simulation runs clean under the sanitizers"' "$S/test/sim-ledger"
# One pass of Bats here; under LONG=1 all of them.
for t in $([ -n "${LONG:-}" ] && ls test/bats/*.bats || echo test/bats/10-lifecycle.bats); do
    ULV_BIN="$PWD/$S/bin" one "san-$(basename "$t")" 600 bats --tap "$t"
done
