#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The full-VM bed: runs a command on Debian 12's own kernel 6.1 with systemd 252 as PID 1 and every cgroup v2
# controller, in about two seconds, without KVM.
#
#   vm.sh make                                          builds what a run needs; instant when it is there
#   vm.sh run [-t SECONDS] PAYLOAD_DIR [-- COMMAND...]  makes it, then runs COMMAND (./run.sh) in a copy of the
#                                                       folder, /run/payload, as root; stdout and stderr come out
#                                                       on stdout
# Exit status: the command's; 124 after SECONDS (300); 125 the bed itself failed; 77 "SKIP: what is missing".
#
# How: `make` boots the machine once and saves it, booted and idle, as QEMU's migration stream (ready.state) with
# the disk that belongs to it (ready.qcow2 over base.img). `run` starts the same machine from there. All writes
# of a run go to a temporary overlay, so any number of runs may go on at once, and each sees a fresh system.
# The saved machine is asleep in agent.sh's wait for the payload on /dev/vdb; a run's /dev/vdb has it. Nothing
# else comes in or goes out but two virtio ports (lib.bash), hence no console codes in the output.
#
# The machine: 2 sockets x 2 cores x 2 threads, each socket a NUMA node; 1.5 GiB, no swap, no network, TCG.
# Both QEMU calls must have the same devices, sizes and CPU model (machine_args), and the same QEMU, whose version
# is part of the recipe's hash.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.bash"

QEMU="qemu-system-x86_64"
DISK_SIZE=2G
PAYLOAD_SIZE=512M               # of /dev/vdb, a sparse file; the saved machine knows it
BOOT_SECONDS=300
MODULES=(virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk)

# shellcheck disable=SC2054
machine_args=(
        -nodefaults -no-user-config -nographic -no-reboot
        -machine q35 -accel "tcg,thread=multi" -cpu Haswell-noTSX,-pcid,-invpcid,-x2apic,-tsc-deadline       # what TCG lacks, with a warning each
        -smp 8,sockets=2,cores=2,threads=2 -m 1536M
        -object memory-backend-ram,id=ram0,size=768M -numa node,nodeid=0,cpus=0-3,memdev=ram0
        -object memory-backend-ram,id=ram1,size=768M -numa node,nodeid=1,cpus=4-7,memdev=ram1
        -nic none
        -device virtio-blk-pci,drive=root -device virtio-blk-pci,drive=payload
        -device virtio-serial-pci
        -device virtserialport,chardev=out,name=bed.out
        -device virtserialport,chardev=ctl,name=bed.ctl
        -device isa-serial,chardev=console
        -global migration.store-global-state=off        # a state saved when stopped runs on when restored
)
KERNEL_LINE="console=ttyS0 quiet panic=-1 mitigations=off systemd.show_status=0 net.ifnames=0"

# machine ARGS...: starts QEMU with its ends in $bed_run; its pid is in $qemu. It dies with us, whatever kills us.
# (<&0: a background process without a redirection of its own would get /dev/null.)
machine() {
        setpriv --pdeathsig KILL "$QEMU" "${machine_args[@]}" \
                -chardev file,id=out,path="$bed_run/out" -chardev file,id=ctl,path="$bed_run/ctl" \
                -chardev file,id=console,path="$bed_run/console.log" \
                -drive if=none,id=payload,format=raw,file="$bed_run/payload" "$@" <&0 2>"$bed_run/qemu.log" &
        qemu=$!
        bed_pids+=("$qemu")
}

# machine_failed WHY: with the last words of QEMU and of the kernel.
machine_failed() {
        { tail -n 5 "$bed_run/qemu.log"; tail -n 15 "$bed_run/console.log" | tr -d '\r'; } >&2 2>/dev/null || true
        bed_die "$1"
}

# kernel NEW: Debian's cloud kernel (the smallest one there is) and its modules, unpacked in NEW/kernel.
kernel() {
        local new=$1 package
        package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ {print $2; exit}')
        if [[ -z $package ]]; then
                apt-get -q update >/dev/null 2>&1 || true
                package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ {print $2; exit}')
        fi
        [[ $package == linux-image-6.1.* ]] || bed_skip "Debian 12's linux-image-cloud-amd64 (apt has no such package)"
        bed_say "kernel $package"
        mkdir "$new/deb" "$new/kernel"
        (cd "$new/deb" && bed_apt download "$package" >/dev/null 2>&1) || bed_skip "$package (can't be downloaded)"
        dpkg -x "$new"/deb/*.deb "$new/kernel"
        mv "$new"/kernel/boot/vmlinuz-* "$new/vmlinuz"
}

# initramfs NEW: busybox, the virtio modules, and an init that makes way for the disk's own.
initramfs() {
        local new=$1 root=$1/initramfs module
        mkdir -p "$root"/{bin,dev,proc,new}
        cp "$bed_tree/bin/busybox" "$root/bin/busybox"
        for module in "${MODULES[@]}"; do
                find "$new/kernel/lib/modules" -name "$module.ko" -exec cp -t "$root" {} +
        done
        {
                echo '#!/bin/busybox sh'
                echo '/bin/busybox mount -t devtmpfs dev /dev'
                printf '/bin/busybox insmod /%s.ko\n' "${MODULES[@]}"
                echo '/bin/busybox mount -t ext4 /dev/vda /new'
                echo '/bin/busybox mount -o move /dev /new/dev'
                echo 'exec /bin/busybox switch_root /new /lib/systemd/systemd'
        } >"$root/init"
        chmod 755 "$root/init"
        (cd "$root" && find . | "$bed_tree/bin/busybox" cpio -o -H newc 2>/dev/null) | gzip -1 >"$new/initrd"
}

# disk NEW: the tree with the kernel's modules as an ext4 image. Hard links make the copy free.
disk() {
        local new=$1
        bed_say "disk image"
        cp -al "$bed_tree" "$new/root"
        mv "$new/kernel/lib/modules" "$new/root/usr/lib/modules"
        chroot "$new/root" depmod "$(ls "$new/root/usr/lib/modules")"
        mke2fs -q -F -t ext4 -O ^has_journal -d "$new/root" "$new/base.img" "$DISK_SIZE" >/dev/null || bed_die "mke2fs"
        rm -rf -- "$new/root"
        qemu-img create -q -f qcow2 -b base.img -F raw "$new/ready.qcow2"
}

# boot NEW: the one cold boot; leaves ready.state and, in ready.qcow2, the disk as it is at that moment.
boot() {
        local new=$1 mon
        bed_say "cold boot"
        bed_begin
        truncate -s "$PAYLOAD_SIZE" "$bed_run/payload"
        mkfifo "$bed_run/mon"
        exec {mon}<>"$bed_run/mon"
        bed_copy >/dev/null
        machine -kernel "$new/vmlinuz" -initrd "$new/initrd" -append "$KERNEL_LINE" \
                -drive if=none,id=root,format=qcow2,cache=unsafe,file="$new/ready.qcow2" \
                -monitor stdio <"$bed_run/mon" >"$bed_run/mon.log"
        bed_expect ready "$BOOT_SECONDS" || machine_failed "the machine doesn't boot"
        [[ $bed_value == running* ]] || machine_failed "the machine's units failed: $bed_value"
        bed_say "booted after $SECONDS s; saving"
        # Stopped first: TCG loses pages that are written while they are saved (the restored kernel then dies).
        printf '%s\n' stop "migrate_set_parameter max-bandwidth 10G" "migrate \"exec:cat > '$new/ready.state'\"" \
                "info migrate" quit >&"$mon"
        wait "$qemu" || machine_failed "QEMU"
        bed_pids=()
        grep -q 'status: completed' "$bed_run/mon.log" || { cat "$bed_run/mon.log" >&2; bed_die "the state isn't saved"; }
}

vm_make() {
        local name new
        bed_need "$QEMU" qemu-system-x86
        BED_EXTRA=$("$QEMU" --version | head -n 1)
        name=vm-$(bed_hash "$bed_dir"/{lib.bash,agent.sh,vm.sh})
        vm=$bed_cache/$name new=$bed_cache/$name.new
        bed_lock -s
        [[ -d $vm ]] && return
        bed_lock -x
        if [[ ! -d $vm ]]; then
                bed_need qemu-img qemu-utils
                bed_need mke2fs e2fsprogs
                bed_tree
                rm -rf -- "$new"
                mkdir "$new"
                kernel "$new"
                initramfs "$new"
                disk "$new"
                (boot "$new")
                mkdir "$new/empty"
                vm=$new
                (vm_run 60 "$new/empty" true) || bed_die "the saved state doesn't run"
                vm=$bed_cache/$name
                rm -rf -- "$new"/{deb,kernel,initramfs,empty}
                mv -- "$new" "$vm"
                bed_forget vm "$name"
                bed_say "ready in $vm ($SECONDS s)"
        fi
        bed_lock -s
}

vm_run() {
        local timeout=$1 dir=$2
        shift 2
        bed_begin
        bed_payload "$bed_run/payload" "$dir" "$@"
        (($(stat -c %s "$bed_run/payload") <= $(numfmt --from=iec "$PAYLOAD_SIZE"))) ||
                bed_die "$dir is larger than $PAYLOAD_SIZE"
        truncate -s "$PAYLOAD_SIZE" "$bed_run/payload"
        bed_copy
        TMPDIR=$bed_run machine -drive if=none,id=root,format=qcow2,snapshot=on,file="$vm/ready.qcow2" \
                -monitor none -incoming "exec:cat '$vm/ready.state'" </dev/null
        bed_finish "$qemu" "$timeout"
        machine_failed "the machine went away before the command ended"
}

bed_main vm_make vm_run "$@"
