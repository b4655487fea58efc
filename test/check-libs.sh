#!/usr/bin/env bash
# Compares the NEEDED list of each program with the table in ARCHITECTURE.md ("## Libraries").
set -u
B=$1; n=0; status=0
while IFS='|' read -r _ program libs _; do
    program=$(echo "$program" | tr -d ' `'); libs=$(echo "$libs" | tr -d '`' | xargs -n1 2>/dev/null | sort | xargs)
    file=$B/bin/$program; case $program in lib*) file=$B/lib/$program ;; esac
    [ -e "$file" ] || continue
    n=$((n + 1))
    have=$(readelf -d "$file" 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort | xargs)
    if [ "$libs" = static ]; then
        libs=
        # musl's, as ARCHITECTURE.md says: glibc's names its tunables.
        grep -qa 'glibc\.' "$file" && have="$have glibc"
    fi
    if [ "$have" = "$libs" ]; then echo "ok $n - $program links ${libs:-nothing}"
    else echo "not ok $n - $program links '$have', ARCHITECTURE.md says '$libs'"; status=1; fi
done < <(sed -n '/^## Libraries/,/^## /p' ARCHITECTURE.md | grep -E '^\| *`')
for p in "$B"/bin/*; do
    p=$(basename "$p"); n=$((n + 1))
    if grep -qE "^\| *\`$p\`" ARCHITECTURE.md; then echo "ok $n - $p is in the table"; else echo "not ok $n - $p isn't in the table"; status=1; fi
done
echo "1..$n"; exit $status
