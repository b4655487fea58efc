# Unit tests (cmocka), one program per module.
for t in "$B"/test/test-*; do
    case $t in *.d|*.o) continue ;; esac
    one "$(basename "$t")" 60 "$t"
done
