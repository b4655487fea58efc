# Fuzz targets over their corpora: old crashes stay found. Under LONG=1 libFuzzer goes on from there, for
# ULV_FUZZ_SECONDS (600) a target, with the sanitizers; what it finds lies in test-logs and goes into the corpus.
for t in "$B"/test/fuzz-*; do
    case $t in *.d|*.o) continue ;; esac
    n=$(basename "$t"); one "$n" 60 bash -c '"$0" "$1" >&2 && echo "ok 1 - $2 survives its corpus"' "$t" "test/fuzz/corpus/${n#fuzz-}" "$n"
done
if [ -n "${LONG:-}" ]; then
    F=$B/libfuzzer
    quietly "libFuzzer build" make -s -j2 CC=clang B="$F" SAN=address,undefined,fuzzer-no-link FUZZ_EXTRA="-DULV_LIBFUZZER -fsanitize=fuzzer" fuzz-build
    for t in "$F"/test/fuzz-*; do
        case $t in *.d|*.o) continue ;; esac
        n=$(basename "$t"); new=$logs/$n.corpus; mkdir -p "$new"
        one "long-$n" $((${ULV_FUZZ_SECONDS:-600} + 120)) bash -c '"$0" -max_total_time="$3" -artifact_prefix="$4/" "$4" "$1" >&2 && echo "ok 1 - $2 survives $3 s of libFuzzer"' \
            "$t" "test/fuzz/corpus/${n#fuzz-}" "$n" "${ULV_FUZZ_SECONDS:-600}" "$new"
    done
fi
