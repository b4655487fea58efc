# Builds the bed on first use (cached in build/beds), puts programs and tests into a payload, runs them inside.
bed() {
    local p=$B/vm-payload
    rm -rf "$p"; mkdir -p "$p/build/test/crash"
    cp -r "$B/bin" "$p/build/bin"
    cp "$B"/test/uvprobe "$B"/test/own-init "$p/build/test/"
    cp "$B"/test/wall "$B"/test/view-attack "$B"/test/run-role "$p/build/test/"
    cp "$B/test/crash/kill" "$p/build/test/crash/"
    mkdir "$p/build/test/barriers"; cp "$B/test/barriers/uv-monitor-lxc" "$p/build/test/barriers/"
    # The parser needs nothing but the C library, and the description of what a policy of its version may say.
    [ ! -x /sbin/apparmor_parser ] || cp /sbin/apparmor_parser /etc/apparmor.d/abi/3.0 plugins/lxc/apparmor/ultravisor-container "$p/"
    mkdir "$p/test"; cp -r test/lib test/vm test/bats test/probe "$p/test/"
    cp /bin/busybox "$p/busybox"
    test/beds/vm.sh run -t "${2:-200}" "$p" -- sh test/vm/inside.sh "$1" ${3:+"$3"}
}
export -f bed
# Exit 77 of the bed is "SKIP: what is missing": one test, skipped loudly.
vm() { # vm NAME SECONDS FILE [TAG]
    one "$1" "$2" bash -c 'out=$(bed "$1" "$2" "$3" 2>"$B/test-logs/$0.bed"); s=$?
        if [ $s = 77 ]; then echo "ok 1 - the full VM # SKIP $(tail -n 1 "$B/test-logs/$0.bed")"; exit 0; fi
        printf "%s\n" "$out"; tail -n 5 "$B/test-logs/$0.bed" >&2; exit $s' "$1" "$3" "$2" "${4:-}"
}
one vm-bed 600 bash -c 'test/beds/vm.sh make >&2; s=$?
    [ $s = 77 ] && { echo "ok 1 - the full VM can be made # SKIP see test-logs/vm-bed.err"; exit 0; }
    [ $s = 0 ] && echo "ok 1 - the full VM can be made"; exit $s'
vm vm-enforced 360 test/vm/enforced.bats
# Of the host's tests, those that depend on the kernel.
vm vm-images 240 test/bats/50-images.bats kernel
vm vm-containment 360 test/bats/60-containment.bats kernel
vm vm-barriers 300 test/bats/61-barriers.bats kernel
vm vm-apparmor 400 test/vm/apparmor.bats
# What one partition can do to others.
vm vm-neighbours 420 test/vm/neighbours.bats
vm vm-network 300 test/bats/65-network-credentials.bats kernel
# The device filter, idmapped and locked mounts on kernel 6.1.
vm vm-attach 300 test/bats/66-attach.bats kernel
