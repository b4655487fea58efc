# Fuzz targets over their corpora: old crashes stay found.
for t in "$B"/test/fuzz-*; do
    case $t in *.d|*.o) continue ;; esac
    n=$(basename "$t"); one "$n" 60 bash -c '"$0" "$1" >&2 && echo "ok 1 - $2 survives its corpus"' "$t" "test/fuzz/corpus/${n#fuzz-}" "$n"
done
