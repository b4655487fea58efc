#!/usr/bin/env bash
# Holds the events of lib/event.h, systemd/ultravisor.catalog and the code to each other: test/check-catalog.sh BUILD
set -u
shopt -s lastpipe
n=0; status=0
check() { # check TEXT: reads complaints on stdin; none = ok
    local out; out=$(cat); n=$((n + 1))
    if [ -z "$out" ]; then echo "ok $n - $1"; else echo "not ok $n - $1"; printf '%s\n' "$out" | sed 's/^/# /'; status=1; fi
}
table=$(sed -nE 's/^ +X\(([A-Z]+), "([0-9a-f]{32})"\).*/\1 \2/p' lib/event.h)
entries=$(sed -n 's/^-- //p' systemd/ultravisor.catalog)
diff <(cut -d' ' -f2 <<<"$table" | sort) <(sort <<<"$entries") | check "every event has one entry of the catalogue, and no entry is without its event"
cut -d' ' -f2 <<<"$table" | sort | uniq -d | check "no two events have one id"
while read -r name _; do
    git grep -qE "\bULV_EVENT_$name\b" -- '*.c' ':!lib' || echo "ULV_EVENT_$name is used by nobody"
done <<<"$table" | check "each event happens somewhere in the code"
git grep -nE 'MESSAGE_ID=[0-9a-f"]' -- '*.c' '*.h' ':!lib/bus-event.c' | check "no MESSAGE_ID stands anywhere but in the table"
awk '/^-- / { id = $2; part = 0; next } /^Subject: ./ { s[id]++ } /^Documentation: man:/ { d[id]++ } id && NF { l[id]++ }
    END { for (i in l) if (s[i] != 1 || d[i] != 1 || l[i] < 5) print i ": wants a Subject:, a Documentation: and an explanation" }' systemd/ultravisor.catalog |
    check "each entry has a subject, a page and an explanation"
grep -oE 'man:[a-z0-9.-]+\([0-9]\)' systemd/ultravisor.catalog | sed -E 's/man:(.*)\((.)\)/man\/\1.\2/' | sort -u | xargs ls 2>&1 >/dev/null | check "the pages that it names are there"
awk '/^-- / { on = 1 } on && length > 80 { print FILENAME ":" FNR }' systemd/ultravisor.catalog | check "no line is longer than a terminal's"
if command -v journalctl >/dev/null; then
    tmp=$(mktemp -d); mkdir -p "$tmp/usr/lib/systemd/catalog" "$tmp/var/lib/systemd/catalog"
    cp systemd/ultravisor.catalog "$tmp/usr/lib/systemd/catalog/"
    { journalctl --root="$tmp" --update-catalog 2>&1 && [ "$(journalctl --root="$tmp" --list-catalog 2>/dev/null | wc -l)" -lt "$(wc -l <<<"$table")" ] && echo "not all of it is in the data base"; } |
        check "journalctl takes the catalogue"
    rm -r "$tmp"
fi
echo "1..$n"; exit $status
