# Puts what is built into a payload, and runs a Bats file of test/systemd in the bed: installed there, or, for
# package.bats, as a package of which there is an older one, too, and for
# readme.bats, a clean tree, built as README.md says.
# guest DIR: for libvirt.bats, this host's libvirtd and QEMU, and a kernel and an initrd for a VM to boot.
guest() {
    local cache=${ULV_BED_CACHE:-$B/beds} BED=$1/guest vm
    [ -x /usr/sbin/libvirtd ] || { echo "libvirtd (package libvirt-daemon)" >&2; return 77; }
    test/beds/vm.sh make >&2 || return
    vm=$(find "$cache" -maxdepth 1 -name 'vm-*' ! -name '*.new' | head -n 1)
    mkdir -p "$BED" && cp "$vm/vmlinuz" "$BED/" && initrd "$vm" && rm -r "$BED/initrd.d" && with_agent "$vm" &&
        ULV_BED_TREE=$(find "$cache" -maxdepth 1 -name 'tree-*' ! -name '*.new' | head -n 1) test/beds/libvirt-files.sh "$1/virt"
}
# with_agent VM: adds to the initrd, as a second archive, what answers like QEMU's guest agent, and its driver.
with_agent() {
    local r=$BED/agent.d ver
    ver=$(debugfs -R 'ls -p /usr/lib/modules' "$1/base.img" 2>/dev/null | awk -F/ '$6 ~ /^6/ {print $6; exit}')
    mkdir -p "$r" && debugfs -R "dump /usr/lib/modules/$ver/kernel/drivers/char/virtio_console.ko $r/virtio_console.ko" "$1/base.img" 2>/dev/null &&
        debugfs -R "dump /usr/lib/modules/$ver/kernel/drivers/virtio/virtio_mem.ko $r/virtio_mem.ko" "$1/base.img" 2>/dev/null
    cp test/systemd/guest-init "$r/init" && cp test/systemd/guest-agent "$r/agent" && chmod 755 "$r/init" "$r/agent" &&
        (cd "$r" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >>"$BED/initrd" && rm -r "$r"
}
eval "$(sed -n '/^initrd()/,/^}/p' test/lib/vm.bash test/bats/80-kvm.bats 2>/dev/null | sed '/^}/q')"
payload() { # payload DIR KIND
    rm -rf "$1"; mkdir -p "$1/test"
    cp -r test/lib test/systemd "$1/test/"; cp -r systemd launch/tree.c "$B/test/bus" "$1/"; cp SECURITY.md "$1/systemd/"
    case $2 in
    package)
        make -s B="$B" deb >&2 && cp "$B"/deb/ultravisor_*.deb "$1/new.deb" && cp "$B"/deb/ultravisor-kvm_*.deb "$1/kvm.deb" &&
            dpkg-deb -R "$1/new.deb" "$1/old" && sed -i 's/^Version: .*/Version: 0.0.1/' "$1/old/DEBIAN/control" &&
            sed -i "s/$("$B/bin/uvctl" --root /nonexistent version -o json | jq -r .Build)/0000000000000000/" "$1/old/usr/bin/uvctl" "$1"/old/usr/lib/ultravisor/* &&
            dpkg-deb -b "$1/old" "$1/old.deb" >&2 && rm -r "$1/old" ;;
    readme)
        # A clean tree: what git has, nothing built.
        mkdir "$1/tree" && git ls-files -z | xargs -0 cp -p --parents -t "$1/tree" &&
            (cd "$1/tree" && env -u B make -j2 && env -u B make deb) >"$B/test-logs/readme.build" 2>&1 || { tail -n 20 "$B/test-logs/readme.build"; return 1; }
        printf 'make\nmake deb\n' >"$1/host-typed" ;;
    *) make -s B="$B" install DESTDIR="$1/root" PREFIX=/usr ;;
    esac
    [ "$2" != libvirt ] || guest "$1"
}
in_bed() { # in_bed FILE [TAG]
    local name p; name=$(basename "$1" .bats) p=$B/systemd-payload/$name
    payload "$p" "$name" || return
    case $1 in */vm/*) set -- "$1" "${2:-}" vm 280 ;; *) set -- "$1" "${2:-}" nspawn 170 ;; esac
    test/beds/$3.sh run -t $4 "$p" -- sh test/systemd/inside.sh "$1" ${2:+"$2"}
}
export -f payload guest initrd with_agent in_bed
under_systemd() { # under_systemd NAME SECONDS FILE [TAG]; exit 77 of the bed is "SKIP: what is missing"
    one "$1" "$2" bash -c 'out=$(in_bed "$1" "$2" 2>"$B/test-logs/$0.bed"); s=$?
        if [ $s = 77 ]; then echo "ok 1 - the systemd bed # SKIP $(tail -n 1 "$B/test-logs/$0.bed")"; exit 0; fi
        printf "%s\n" "$out"; tail -n 5 "$B/test-logs/$0.bed" >&2; exit $s' "$1" "$3" "${4:-}"
}
one systemd-bed 300 bash -c 'test/beds/nspawn.sh make >&2; s=$?
    [ $s = 77 ] && { echo "ok 1 - the systemd bed can be made # SKIP see test-logs/systemd-bed.err"; exit 0; }
    [ $s = 0 ] && echo "ok 1 - the systemd bed can be made"; exit $s'
# Of VMs all is in the long target: a guest takes its time to boot, most of all in the full VM.
for t in test/systemd/*.bats; do
    tag=; [ -n "${LONG:-}" ] || [ "$(basename "$t")" != libvirt.bats ] || tag=quick
    under_systemd "systemd-$(basename "$t" .bats)" 180 "$t" "$tag"
done
# What only a machine with all controllers can enforce.
for t in test/systemd/vm/*.bats; do
    [ -n "${LONG:-}" ] || [ "$(basename "$t")" != libvirt.bats ] || continue
    under_systemd "systemd-vm-$(basename "$t" .bats)" 320 "$t"
done
# The package that systemd-package has built, by Debian's own judge.
one lintian 120 bash -c 'launch/packages.sh lintian >&2 || { echo "ok 1 - lintian finds no error in the package # SKIP lintian is not installable"; exit 0; }
    out=$(lintian --no-cfg --allow-root --fail-on error "$B"/deb/ultravisor_*.changes 2>&1); s=$?
    printf "%s\n" "$out" | sed "s/^/# /"
    [ $s = 0 ] && echo "ok 1 - lintian finds no error in the package" || { echo "not ok 1 - lintian finds no error in the package"; exit 1; }'
