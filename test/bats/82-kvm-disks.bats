# Disks, firmware, seed and networks of VMs, with the real libvirtd and QEMU (test/lib/vm.bash). Two guests: "b", a boot sector
# that counts how often it was booted (test/lib/boot.s), and "n", a Linux with a network.
bats_require_minimum_version 1.5.0
load ../lib/uv
load ../lib/vm

not_there() { [ ! -e "$1" ] || { echo "there: $1" >&2; return 1; }; }
disk() { # disk NAME FILE FORMAT WRITABLE: a VM that boots it
    definition "$1" "[Partition]
Type=vm
[CPU]
Share=0.5
[Memory]
Size=64M
[VM]
Accel=tcg
${5:-}
[Block \"root\"]
File=$2
Format=$3
${4:+Writable=$4}"
    uv apply -y >/dev/null
}
said() { uv logs "$1" 2>/dev/null | tr -d '\r' | grep -qx "$2"; }
lines() { uv logs b 2>/dev/null | tr -d '\r' | grep -cx "$1"; }
more() { [ "$(lines "$1")" -gt "$2" ]; }
begins() { local n; n=$(lines "$1") || true; uv start b; wait_for 15 more "$1" "$n"; }
counts() { begins "$1"; uv stop --force b; }
overlay() { echo "$ROOT/var/lib/ultravisor/disks/b/${1:-root}.qcow2"; }
# It is QEMU's at once, and the guest's when that has looked.
sees() { [ "$(guest n 'echo $(ls /sys/block)')" = "$1" ]; }
sum() { sha256sum <"$1"; }

setup_file() {
    BED=$(mktemp -d /tmp/uv-kvm-XXXXXX); chmod 755 "$BED"; export BED
    instance_make "$PART"
    vm_bed drivers/block/virtio_blk net/core/failover drivers/net/net_failover drivers/net/virtio_net
    BRIDGE=uvbr$(($$ % 30000)); export BRIDGE
    ip link add "$BRIDGE" type bridge
    ip address add 10.77.7.1/24 dev "$BRIDGE"
    ip link set "$BRIDGE" up
    as --32 -o "$BED/boot.o" "$BATS_TEST_DIRNAME/../lib/boot.s"
    ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o "$BED/boot.raw" "$BED/boot.o"
    truncate -s 1M "$BED/boot.raw"
    qemu-img convert -f raw -O qcow2 "$BED/boot.raw" "$BED/boot.qcow2"
    truncate -s 8M "$BED/data.raw"
    qemu-img create -q -f qcow2 -b /etc/shadow -F raw "$BED/evil.raw" 1M
    mkdir -m 700 "$BED/seed"
    printf '#cloud-config\npassword: secret\n' >"$BED/seed/user-data"
    echo 'instance-id: n' >"$BED/seed/meta-data"
    chmod 400 "$BED/seed/user-data"
    instance_start
    export ROOT LAUNCH
    vm n Share=0.5 "Seed=$BED/seed
[Block \"d\"]
File=$BED/evil.raw
Format=raw
Writable=direct
[Network \"lan\"]
Bridge=$BRIDGE
Address=10.77.7.2/24"
    uv apply -y
    up n
}
teardown_file() {
    local status=0 n
    for n in b c n u fresh imported; do uv stop --force $n >/dev/null 2>&1 || true; done
    instance_down || status=1
    vm_bed_down || status=1
    [ -z "${BRIDGE:-}" ] || ip link del "$BRIDGE" || status=1
    return $status
}

@test "a raw image boots under a BIOS; what is written is kept in a layer of the partition's own, the image stays as it was" {
    before="$(sum "$BED/boot.raw") $(stat -c %u:%g:%a "$BED/boot.raw")"
    disk b "$BED/boot.raw" raw
    counts "boot: 1"
    counts "boot: 2"
    [ "$before" = "$(sum "$BED/boot.raw") $(stat -c %u:%g:%a "$BED/boot.raw")" ]
    [ "$(stat -c %a "$(overlay)")" = 600 ]
    [ "$(stat -c %u:%a "$ROOT/var/lib/ultravisor/disks/b")" = 0:710 ]
}
@test "a layer goes with the image that it was written over: that changed, a start is refused and says so" {
    touch "$BED/boot.raw"
    run -1 uv start b
    echo "$output"
    [[ $output == *'[Block "root"]: the image that it was written over was another, or has changed since'* ]]
    uv remove --purge b
    [ ! -e "$(overlay)" ]
}
@test "ephemeral: each life begins with the image, and leaves nothing; qcow2 as well as raw" {
    disk b "$BED/boot.qcow2" qcow2 ephemeral
    counts "boot: 1"
    [ -z "$(find "$ROOT/var/lib/ultravisor/disks/b" -type f)" ]
    counts "boot: 1"
}
@test "Writable=no: the guest can't write" {
    disk b "$BED/boot.raw" raw no
    counts "read-only: 1"
}
@test "an image that is written itself has one owner in the ledger: a second partition's start is refused" {
    cp "$BED/boot.raw" "$BED/direct.raw"
    disk b "$BED/direct.raw" raw direct
    disk c "$BED/direct.raw" raw direct
    begins "boot: 1"
    run -6 uv start c
    echo "$output"
    [[ $output == *"it is b's (running), and a disk that is written has one owner"* ]]
    uv resources -a | grep -q "${BED#/}/direct.raw"
    # Nor may anybody read what is written at the same time: that is QEMU's own lock.
    disk c "$BED/direct.raw" raw kept
    run -1 uv start c
    echo "$output"
    [[ $output == *'Failed to get shared "write" lock'* ]]
    uv stop --force b
    wait_for 5 sh -c "[ \"\$(stat -c %u '$BED/direct.raw')\" = 0 ]"
    counts "boot: 2"
    uv remove --purge c
}
@test "an image that can't be is named with its line, and nothing is left half made" {
    uv remove --purge c || true
    disk c "$BED/nowhere.img" raw
    run -1 uv start c
    echo "$output"
    [[ $output == *"File=$BED/nowhere.img: No such file or directory"* ]]
    disk c "$BED/boot.raw" qcow2
    run -1 uv start c
    echo "$output"
    [[ $output == *"Format=qcow2, and it has no qcow2 header"* ]]
    disk c "$BED/boot.qcow2" raw
    run -1 uv start c
    echo "$output"
    [[ $output == *"Format=raw, and it has a qcow2 header"* ]]
    cp "$BED/boot.raw" "$BED/secret.raw"
    chmod 600 "$BED/secret.raw"
    disk c "$BED/secret.raw" raw
    run -1 uv start c
    echo "$output"
    [[ $output == *"Permission denied for the uid that the VM has of its own"* ]]
    (cd "$BED" && qemu-img create -q -f qcow2 -F raw -b secret.raw chain.qcow2)
    disk c "$BED/chain.qcow2" qcow2
    run -1 uv start c
    echo "$output"
    [[ $output == *"goes on in another file"* ]]
    [ -z "$(find "$ROOT/var/lib/ultravisor/disks/c" -name '*.qcow2')" ]
    [ ! -e "$ROOT/run/ultravisor/vm/c" ]
    [ -z "$(virsh list --all --name | grep -- -c$ || true)" ]
}
@test "a raw disk on which a guest wrote a qcow2 header is a raw disk still, and QEMU opens no file that it names" {
    said n 'up: .* vda'
    virsh dumpxml "$(virsh list --name | grep -- -n)" | grep -q "driver name='qemu' type='raw'"
    [ -z "$(find "/proc/$(leader n)/fd" -lname /etc/shadow)" ]
}
@test "a disk is attached to it and taken away again under traffic, five times (make long: 100), and nothing is left" {
    guest n 'while true; do dd if=/dev/zero of=/dev/vda bs=64k count=4 conv=fsync 2>/dev/null; done & true'
    before=$(ls -l "/proc/$(leader n)/fd" | wc -l)
    for i in $(seq $([ -n "${LONG:-}" ] && echo 100 || echo 5)); do
        uv attach n "disk=extra:$BED/data.raw:raw:ephemeral"
        uv status n | grep -q 'Disk: 1 of 1   extra  .*data.raw, read and write'
        uv detach n extra
        not_there "$ROOT/var/lib/ultravisor/disks/n/life/extra.qcow2"
    done
    ! grep -r extra "$ROOT/etc/ultravisor/partitions" || false
    [ "$(virsh domblklist "$(virsh list --name | grep -- -n)" | grep -c vd)" = 1 ]
    wait_for 5 test "$(ls -l "/proc/$(leader n)/fd" | wc -l)" -le "$before"
    run -0 uv check
}
@test "a kept disk that is attached is there for the guest, and after a monitor's death still known" {
    uv attach n "disk=extra:$BED/data.raw:raw"
    wait_for 10 sees "vda vdb"
    kill -9 $(pids_of uv-monitor-kvm)
    wait_for 10 sh -c "[ -n \"\$(pgrep -f 'uv-monitor-kvm n')\" ]"
    wait_for 10 state n running
    wait_for 10 sees "vda vdb"
    uv detach n extra
    wait_for 10 sees vda
}
@test "a monitor killed -9 while a disk comes or goes: in the end the ledger and QEMU say the same" {
    has() { [ "$(virsh domblklist "$(virsh list --name | grep -- -n)" | grep -c vdb)" = "$1" ]; }
    shown() { uv status n | grep -q "Disk: $1 of $1   extra" || [ "$1" = 0 ]; }
    for delay in $([ -n "${LONG:-}" ] && echo 0.03 0.2) 0.1; do
        uv attach --no-block n "disk=extra:$BED/data.raw:raw:ephemeral" >/dev/null
        sleep $delay
        kill -9 $(named uv-monitor-kvm n) || true
        wait_for 15 shown 1
        wait_for 5 has 1
        uv detach --no-block n extra >/dev/null
        sleep $delay
        kill -9 $(named uv-monitor-kvm n) || true
        wait_for 15 sh -c "! '$ULV_BIN/uvctl' --root '$ROOT' status n | grep -q ' extra '"
        wait_for 5 has 0
    done
}
@test "[Device]: a disk of the host's, attached and taken away; one that the host uses is refused" {
    loop=$(losetup -f --show "$BED/data.raw")
    uv attach n "device=extra:$loop:ro"
    wait_for 10 sees "vda vdb"
    [ "$(guest n 'cat /sys/block/vdb/ro')" = 1 ]
    uv status n | grep -q "Device: 1 of 1   extra  $loop, read-only"
    uv detach n extra
    mkfs.ext4 -q -F "$loop"
    mkdir "$BED/mnt"
    mount "$loop" "$BED/mnt"
    run uv attach n "device=extra:$loop"
    umount "$BED/mnt"
    losetup -d "$loop"
    echo "$output"
    [[ $output == *'[Device "extra"]: the host itself uses it'* ]]
    run uv attach n "disk=extra:$BED/nowhere.raw:raw"
    [[ $output == *"File=$BED/nowhere.raw: No such file or directory"* ]]
    run uv attach n "disk=cd:$BED/seed.iso:iso"
    [[ $output == *"a CD-ROM drive (Format=iso) comes with the next start only"* ]]
}
@test "[Network]: a card in the host's bridge, its MAC from the ledger's uid range" {
    guest n 'ip addr add 10.77.7.2/24 dev eth0; ip link set eth0 up; cat /sys/class/net/eth0/address' | grep -q '^02:'
    guest n 'ping -c 1 -W 10 10.77.7.1'
    [ "$(find "/sys/class/net/$BRIDGE/brif/" -mindepth 1 | wc -l)" = 1 ]
}
@test "Seed=: cloud-init's files on a CD-ROM, with the network in it; secrets are the VM's alone, and the administrator's stay his" {
    iso=$ROOT/run/ultravisor/vm/n/seed/seed.iso
    [ "$(stat -c %u:%a "$iso")" = "$(awk '/^Uid/ {print $2}' "/proc/$(leader n)/status"):400" ]
    [ "$(ls "$ROOT/run/ultravisor/vm/n/seed")" = seed.iso ]
    [ "$(stat -c %u:%a "$BED/seed/user-data")" = 0:400 ]
    isoinfo -d -i "$iso" | grep -q 'Volume id: cidata'
    isoinfo -R -x /user-data -i "$iso" | grep -q secret
    isoinfo -R -x /network-config -i "$iso" | grep -q 'addresses: \["10.77.7.2/24"\]'
}
@test "they go with the VM; a bridge or a file of the seed that isn't there is named at the next start" {
    uv stop --force n
    [ ! -e "$ROOT/run/ultravisor/vm/n" ]
    wait_for 5 sh -c "[ -z \"\$(ls /sys/class/net/$BRIDGE/brif)\" ]"
    rm "$BED/seed/meta-data"
    run -1 uv start n
    echo "$output"
    [[ $output == *"Seed=$BED/seed: meta-data: No such file or directory"* ]]
    sed -i 's/^Bridge=.*/Bridge=uvnone/' "$ROOT/etc/ultravisor/partitions/n.partition"
    uv apply -y
    run -1 uv start n
    echo "$output"
    [[ $output == *'Bridge=uvnone of [Network "lan"] is not there, or no bridge'* ]]
}
@test "Firmware=uefi: boots an EFI program of a disk, with variables of the partition's own" {
    gcc -O1 -ffreestanding -fno-stack-protector -fshort-wchar -fno-ident -fcf-protection=none -mno-red-zone -fno-asynchronous-unwind-tables -fno-pic \
        -c -o "$BED/efi.o" "$BATS_TEST_DIRNAME/../lib/efi.c"
    ld -m i386pep --subsystem 10 --image-base 0 -e efi_main -o "$BED/boot.efi" "$BED/efi.o"
    truncate -s 4M "$BED/esp.raw"
    mformat -i "$BED/esp.raw" -T 8192 ::
    mmd -i "$BED/esp.raw" ::/EFI ::/EFI/BOOT
    mcopy -i "$BED/esp.raw" "$BED/boot.efi" ::/EFI/BOOT/BOOTX64.EFI
    disk u "$BED/esp.raw" raw kept Firmware=uefi
    sed -i 's/^Size=.*/Size=128M/' "$ROOT/etc/ultravisor/partitions/u.partition"
    uv apply -y
    uv start u
    wait_for 30 said u '.*booted by UEFI'
    uid=$(awk '/^Uid/ {print $2}' "/proc/$(leader u)/status")
    [ "$(stat -c %u "$ROOT/var/lib/ultravisor/disks/u/nvram.fd")" = "$uid" ]
    uv stop --force u
    [ -s "$ROOT/var/lib/ultravisor/disks/u/nvram.fd" ]
    uv remove --purge u
    [ ! -e "$ROOT/var/lib/ultravisor/disks/u" ]
}
@test "Graphics=vnc: a screen on a socket that status names, for root and nobody else" {
    disk b "$BED/boot.raw" raw no Graphics=vnc
    uv start b
    socket=$(uv status b | sed -n 's/^ *Screen: VNC on \(.*\), for root$/\1/p')
    connect='use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$!\n"; read($s, my $t, 3); print "$t\n"'
    [ "$(perl -e "$connect" "$socket")" = RFB ]
    run ! setpriv --reuid=54321 --regid=54321 --clear-groups perl -e "$connect" "$socket"
    echo "$output"
    [[ $output == *"Permission denied"* ]]
    uv stop --force b
}
@test "uvctl new makes a VM of a disk's image; what belongs to containers is refused" {
    uv new fresh --disk "$BED/boot.raw:raw" --memory 64M --accel tcg --start
    wait_for 15 said fresh "boot: 1"
    [ "$(field fresh Type)" = vm ]
    uv stop --force fresh
    run -2 uv new d --disk "$BED/boot.raw"
    [[ $output == *"--disk needs the format of the image"* ]]
    run -2 uv new d --type vm --image busybox
    [[ $output == *"that is for another type of partition"* ]]
    run -2 uv new d --type vm
    [[ $output == *"a VM boots from a disk's image or a kernel"* ]]
}
@test "uvctl import takes a domain of libvirt's: what can't be kept is named, and what is kept boots" {
    cp "$BED/boot.raw" "$BED/import.raw"
    printf '%s\n' "<domain type='qemu'><name>imported</name><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type machine='q35'>hvm</type></os><devices>" \
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='$BED/import.raw'/><target dev='vda' bus='virtio'/></disk>" \
        "<watchdog model='i6300esb'/></devices></domain>" >"$BED/imported.xml"
    virsh define "$BED/imported.xml"
    PATH=$BED/bin:$PATH
    mkdir -p "$BED/bin"
    printf '#!/bin/sh\nexec nsenter -t %s -m /usr/bin/virsh "$@"\n' "$(cat "$BED/pid")" >"$BED/bin/virsh"
    chmod +x "$BED/bin/virsh"
    run -0 uv import -n libvirt:imported
    [[ $output == *"<watchdog>: not known to definitions"* ]]
    [[ $output == *"File=$BED/import.raw"* ]]
    run -4 uv status imported
    uv import libvirt:imported
    /usr/bin/nsenter -t "$(cat "$BED/pid")" -m /usr/bin/virsh undefine imported
    uv start imported
    wait_for 15 said imported "boot: 1"
    run -6 uv import libvirt:imported
    uv stop --force imported
    run -4 uv import libvirt:nowhere
    echo "$output"
    [[ $output == *"failed to get domain 'nowhere'"* ]]
}
@test "no QEMU: a start says so and leaves nothing" {
    disk b "$BED/boot.raw" raw ephemeral
    touch "$BED/empty"
    nsenter -t "$(cat "$BED/pid")" -m mount --bind "$BED/empty" /usr/bin/qemu-system-x86_64
    run -1 uv start b
    nsenter -t "$(cat "$BED/pid")" -m umount /usr/bin/qemu-system-x86_64
    echo "$output"
    [[ $output == *"No emulator found"* || $output == *"QEMU binary"* ]]
    [ ! -e "$ROOT/run/ultravisor/vm/b" ]
    not_there "$ROOT/var/lib/ultravisor/disks/b/life"
}
