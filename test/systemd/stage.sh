# Installs what is built into a payload, runs a Bats file of test/systemd in the bed.
installed() { # installed FILE [TAG]
    local p=$B/systemd-payload/$(basename "$1" .bats)
    rm -rf "$p"; mkdir -p "$p/test"
    make -s B="$B" install DESTDIR="$p/root" PREFIX=/usr || return
    cp -r test/lib test/systemd "$p/test/"; cp -r systemd launch/tree.c "$p/"
    cp /bin/busybox "$p/busybox"
    test/beds/nspawn.sh run -t 120 "$p" -- sh test/systemd/inside.sh "$1" ${2:+"$2"}
}
export -f installed
under_systemd() { # under_systemd NAME SECONDS FILE [TAG]; exit 77 of the bed is "SKIP: what is missing"
    one "$1" "$2" bash -c 'out=$(installed "$1" "$2" 2>"$B/test-logs/$0.bed"); s=$?
        if [ $s = 77 ]; then echo "ok 1 - the systemd bed # SKIP $(tail -n 1 "$B/test-logs/$0.bed")"; exit 0; fi
        printf "%s\n" "$out"; tail -n 5 "$B/test-logs/$0.bed" >&2; exit $s' "$1" "$3" "${4:-}"
}
one systemd-bed 300 bash -c 'test/beds/nspawn.sh make >&2; s=$?
    [ $s = 77 ] && { echo "ok 1 - the systemd bed can be made # SKIP see test-logs/systemd-bed.err"; exit 0; }
    [ $s = 0 ] && echo "ok 1 - the systemd bed can be made"; exit $s'
for t in test/systemd/*.bats; do
    under_systemd "systemd-$(basename "$t" .bats)" 180 "$t"
done
