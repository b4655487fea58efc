# For Bats: VMs with a real libvirtd and QEMU (emulated), after `load ../lib/uv`. The guest is Debian's cloud kernel with a
# busybox that executes what is typed into its console.
#   vm_bed [MODULE...]    libvirtd (test/beds/libvirt.sh), kernel and initrd in $BED, with $BED/root in the initrd too
#   vm NAME CPU [lines of [VM]] [of [Partition]] [sections]   a definition
#   up NAME; guest NAME COMMAND; vm_bed_down

# What a guest needs for channels: an IOMMU's interrupts by vfio-pci.
VFIO="virt/lib/irqbypass drivers/vfio/vfio drivers/vfio/vfio_virqfd drivers/vfio/vfio_iommu_type1 drivers/vfio/pci/vfio-pci-core drivers/vfio/pci/vfio-pci"

virsh() { nsenter -t "$(cat "$BED/pid")" -m virsh -c qemu:///system "$@"; }
# Read as they lie there: a command each 50 ms would be most of what the machine does. (They are too small to change files.)
log_of() { tr -d '\r' <"$ROOT/var/log/ultravisor/$1.log.0"; }
logged_of() { log_of "$1" | grep -q "$2"; }
boots() { log_of "$1" 2>/dev/null | grep -c '^up: '; }
booted() { [ "$(boots "$1")" -gt "$2" ]; }
up() { local n; n=$(boots "$1") || true; uv start -q "$1"; wait_for 40 booted "$1" "${n:-0}"; }
leader() { field "${1:-v}" Leader; }
state() { [ "$(field "$1" State)" = "$2" ]; }
# guest NAME COMMAND: typed into its console; its output, when it has ended. What is typed goes in one piece, or not at all.
guest() {
    local mark i
    mark=m$RANDOM$RANDOM
    for i in 1 2 3; do
        (printf '%s\n' "echo begin$mark; $2; echo end$mark=\$?"; sleep 0.05) | uv console --force "$1" >/dev/null || true
        wait_for 3 logged_of "$1" "^begin$mark" 2>/dev/null && break
    done
    wait_for 20 logged_of "$1" "^end$mark=" || { log_of "$1" | tail -n 5 >&2; return 1; }
    log_of "$1" | sed -n "/^begin$mark/,/^end$mark=/p" | sed '1d;$d'
    logged_of "$1" "^end$mark=0"
}
vm() {
    definition "$1" "[Partition]
Type=vm
StopTimeout=20s
${4:-}
[CPU]
$2
[Memory]
Size=96M
[VM]
Kernel=$BED/vmlinuz
Initrd=$BED/initrd
CommandLine=console=ttyS0 quiet panic=-1
Accel=tcg
${3:-}
${5:-}"
}

vm_initrd() { # vm_initrd BED_OF_VM MODULE...
    local r=$BED/initrd.d ver m image=$1/base.img
    shift
    mkdir -p "$r"/{bin,dev,proc,sys,run,tmp}
    cp /bin/busybox "$r/bin/"
    [ ! -d "$BED/root" ] || cp -r "$BED/root/." "$r/"
    ver=$(debugfs -R 'ls -p /usr/lib/modules' "$image" 2>/dev/null | awk -F/ '$6 ~ /^6/ {print $6; exit}')
    for m in drivers/acpi/button drivers/input/evdev drivers/virtio/virtio_ring drivers/virtio/virtio drivers/virtio/virtio_pci_legacy_dev \
        drivers/virtio/virtio_pci_modern_dev drivers/virtio/virtio_pci "$@"; do
        debugfs -R "dump /usr/lib/modules/$ver/kernel/$m.ko $r/${m##*/}.ko" "$image" 2>/dev/null
        echo "${m##*/}" >>"$r/modules"
    done
    cat >"$r/init" <<'I'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
for m in $(cat /modules); do insmod /$m.ko; done
for e in /dev/input/event*; do (dd if=$e of=/dev/null bs=72 count=1 2>/dev/null && echo "power button" && poweroff -f) & done
echo "up: $(nproc) cpus, $(ls /sys/block)"
while read -r line; do sh -c "$line"; done
I
    chmod +x "$r/init"
    (cd "$r" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$BED/initrd"
}

vm_bed() {
    [ -x /usr/sbin/libvirtd ] || skip "libvirtd isn't installed (package libvirt-daemon)"
    local cache=${ULV_BED_CACHE:-$BATS_TEST_DIRNAME/../../build/beds} vm
    "$BATS_TEST_DIRNAME/../beds/vm.sh" make >&2 3>&- || skip "the VM bed, of which the kernel is, can't be made"
    vm=$(find "$cache" -maxdepth 1 -name 'vm-*' ! -name '*.new' | head -n 1)
    cp "$vm/vmlinuz" "$BED/vmlinuz"
    vm_initrd "$vm" "$@"
    setsid "$BATS_TEST_DIRNAME/../beds/libvirt.sh" "$BED" >"$BED/log" 2>&1 </dev/null 3>&- &
    wait_for 20 test -e "$BED/ready"
    export ULV_UNDER="nsenter -t $(cat "$BED/pid") -m"
}
vm_bed_down() {
    local status=0
    [ -z "$(virsh list --all --name | tr -d '\n')" ] || { echo "left in libvirt:" >&2; virsh list --all >&2; status=1; }
    kill "$(cat "$BED/pid")" && wait_for 10 test ! -e "/proc/$(cat "$BED/pid")"
    rm -rf --one-file-system "$BED"
    return $status
}
