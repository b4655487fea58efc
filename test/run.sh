#!/usr/bin/env bash
# Runs the tests, stage by stage, and counts. Every test is a program that prints TAP on its standard output
# ("ok 1 - what it proves", "not ok ...", "ok 2 - ... # SKIP what the machine lacks"); Bats, cmocka and our
# own programs all can. Usage: test/run.sh BUILD_DIR [STAGE...]. The last line is
#   N passed, N failed, N skipped
# and the status is 0 only when nothing failed. Each stage has a budget in seconds; what runs over it fails.
set -u
cd "$(dirname "$0")/.." || exit 1
B=$1; shift
export B CMOCKA_MESSAGE_OUTPUT=TAP ULV_BIN="$PWD/$B/bin"
logs=$B/test-logs; mkdir -p "$logs"
passed=0 failed=0 skipped=0 began=$SECONDS failures=()

# one NAME SECONDS COMMAND...: runs one test program, counts its TAP lines.
one() {
    local name=$1 budget=$2 log status t0=$SECONDS p f s; shift 2
    log=$logs/$name.tap
    [ -t 1 ] && printf '  %s ...\r' "$name"
    timeout -k 10 "$budget" "$@" >"$log" 2>"$logs/$name.err" </dev/null; status=$?
    sed -i 's/^not ok \([0-9]* # SKIP\)/ok \1/' "$log"          # cmocka's way to say it
    p=$(grep -cE '^ok ' "$log"); s=$(grep -ciE '^ok .*# skip' "$log"); f=$(grep -cE '^not ok ' "$log")
    p=$((p - s))
    if [ $status -ne 0 ] && [ "$f" = 0 ]; then
        f=1
        [ $status = 124 ] && echo "not ok - $name took longer than its $budget s" >>"$log" ||
            echo "not ok - $name ended with status $status" >>"$log"
    elif [ $((p + s + f)) = 0 ]; then
        f=1; echo "not ok - $name ran no test" >>"$log"
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '  %-28s %4d passed %s%s %4ds\n' "$name" "$p" "$([ "$f" = 0 ] || echo "$f FAILED ")" "$([ "$s" = 0 ] || echo "$s skipped")" $((SECONDS - t0))
    grep -iE '^ok .*# skip' "$log" | sed 's/^ok [0-9]* *-* */    skipped: /'
    if [ "$f" != 0 ]; then
        failures+=("$name")
        grep -E -A40 "^not ok " "$log" | head -120 | sed 's/^/    /'
        tail -n 15 "$logs/$name.err" | sed 's/^/    | /'
    fi
}
stage() { printf '%s (%ds so far)\n' "$1" $((SECONDS - began)); }
quietly() { # quietly NAME COMMAND...: a build step that must succeed; one test of its own
    local name=$1; shift
    one "$name" 600 bash -c '"$@" >&2 && echo "ok 1 - $0"' "$name" "$@"
}

# The stages of `make test`, in order: cheapest first. test/stages/NAME is sourced and calls one().
stages=("$@"); [ ${#stages[@]} -gt 0 ] || stages=(walls unit sim fuzz bats crash sanitizer minutes systemd vm filters)
for s in "${stages[@]}"; do
    stage "$s"
    # shellcheck source=/dev/null
    . "test/stages/$s.sh"
done
printf '%ds; logs in %s\n' $((SECONDS - began)) "$logs"
[ ${#failures[@]} = 0 ] || printf 'failed: %s\n' "${failures[*]}"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
