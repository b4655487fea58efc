#!/usr/bin/env bash
# Proves the walls between the folders (DESIGN.md section 3): who may include whom, what model/ may call,
# that model/'s headers stand alone.
set -u
shopt -s lastpipe
B=$1; n=0; status=0
check() { # check TEXT: reads complaints on stdin; none = ok
    local out; out=$(cat); n=$((n + 1))
    if [ -z "$out" ]; then echo "ok $n - $1"; else echo "not ok $n - $1"; printf '%s\n' "$out" | sed 's/^/# /'; status=1; fi
}
# folder -> what it may include from the project
declare -A may=(
    [lib]="lib" [channel]="channel" [model]="model lib" [monitor]="monitor model lib channel/call.h" [monitor/enforce]="monitor model lib" [monitor/unit]="monitor model lib" [plugins/lxc]="plugins/lxc monitor model lib"
    [plugins/lxc/attach]="plugins/lxc"
    [plugins/kvm]="plugins/kvm monitor model lib channel/call.h"
    [plugins/sim]="plugins/sim monitor model lib" [uvd]="uvd model lib channel/ultravisor.h" [command]="command model lib"
    [operations]="operations model lib" [metrics]="metrics model lib" [uvctl]="uvctl model lib channel" [launch]="launch model/inventory.h lib/protocol.h lib/nameform.h lib/image.h lib/base.h lib/diag.h lib/strbuf.h model/quantity.h"
)
for d in "${!may[@]}"; do
    grep -HoE '^#include "[^"]+"' "$d"/*.[ch] 2>/dev/null | sed 's/:#include "/ /; s/"$//' | while read -r file inc; do
        ok=
        for m in ${may[$d]}; do case $inc in "$m"|"$m"/*) ok=1 ;; esac; done
        [ -n "$ok" ] || echo "$file includes $inc"
    done | check "$d includes only what lies below it: ${may[$d]}"
done
for o in "$B"/obj/model/*.o; do nm -u "$o" | awk -v o="$o" '{print o, $NF}'; done |
    grep -vE ' (malloc|calloc|realloc|free|qsort|bsearch|mem[a-z]+|str[a-z]+|__(mem|str)[a-z]+_chk|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__assert_fail|ulv_[a-z0-9_]+|__(asan|ubsan)_.*)$' |
    grep -vE ' (strerror|strftime)?$' | check "model/ calls memory and string functions only"
for h in lib/*.h model/*.h monitor/*.h monitor/enforce/*.h channel/*.h; do
    echo "#include \"$h\"" | ${CC:-gcc} -std=gnu17 -D_GNU_SOURCE -I. -Wall -Werror -fsyntax-only -x c - 2>/dev/null || echo "$h"
done | check "headers stand alone"
grep -nE '\b(strcpy|strcat|sprintf|gets|strtok|alloca|atoi)\(' $(git ls-files '*.c' '*.h' | grep -v '^test/') | check "no strcpy, sprintf, atoi and the like"
for f in $(git ls-files '*.c' '*.h'); do grep -q 'SPDX-License-Identifier: LGPL-2.1-or-later' "$f" || echo "$f"; done | check "every source names its licence"
echo "1..$n"; exit $status
