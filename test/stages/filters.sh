# Whatever the stages before did: no program of ours has met its own filter of system calls. One that dies of it comes
# back, so that nothing fails but the clock. The kernel tells of it in its log (audit record 1326).
one own-filters 20 bash -c '
    since=$(($(cut -d. -f1 /proc/uptime) - $1))
    dmesg >"$B/test-logs/dmesg" 2>/dev/null || { echo "ok 1 - no program of ours met its own filter of system calls # SKIP the log of the kernel is not readable"; exit 0; }
    killed=$(awk -v since="$since" -v ours="exe=\"$PWD/$B/bin/" "
        { t = \$0; sub(/^\\[ */, \"\", t); if (t + 0 >= since && /type=1326/ && index(\$0, ours)) print }" "$B/test-logs/dmesg")
    [ -z "$killed" ] || head -n 5 <<<"$killed" | sed "s/^/# /"
    [ -z "$killed" ] && echo "ok 1 - no program of ours met its own filter of system calls" || { echo "not ok 1 - no program of ours met its own filter of system calls"; exit 1; }
' own-filters $((SECONDS - began))
