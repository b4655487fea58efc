#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libvirt-files.sh DIR: this host's libvirtd, QEMU (x86, no displays) and systemd-machined, with all that they are linked
# to, below DIR, for a bed that has none of them. The beds are the same Debian, so that the host's files fit; the tree of
# all beds stays small. What the bed has already is left out where ULV_BED_TREE names its tree.
set -euo pipefail
out=$1
files() {
        printf '%s\n' /usr/sbin/libvirtd /usr/bin/virsh /usr/bin/qemu-system-x86_64 /usr/bin/qemu-img /usr/lib/systemd/systemd-machined /usr/bin/machinectl
        dpkg -L libvirt-daemon-driver-qemu | grep '/connection-driver/.*so$'
        dpkg -L systemd-container | grep 'org.freedesktop.machine1\.\|systemd-machined.service'
        printf '%s\n' /usr/share/qemu/{kvmvapic,linuxboot_dma,linuxboot,pvh,multiboot_dma}.bin /usr/share/seabios/{bios-256k,bios,vgabios-stdvga}.bin
        dpkg -L qemu-system-common | grep '/accel-tcg'
        printf '%s\n' /usr/lib/ipxe/qemu/efi-virtio.rom
}
{ files; { files | xargs -n 1 ldd 2>/dev/null || true; } | awk '$3 ~ /^\// { print $3 }'; } | sort -u | while read -r f; do
        f=/usr/${f#/usr/}; f=${f/#\/usr\/\/lib/\/usr\/lib}
        [ -e "$f" ] && [ ! -e "${ULV_BED_TREE:-/nonexistent}$f" ] || continue
        mkdir -p "$out$(dirname "$f")"
        cp -P "$f" "$out$f"
        [ ! -L "$f" ] || cp -L --remove-destination "$f" "$out$f"
done
# Debian has them there by links.
mkdir -p "$out/usr/share/qemu"
for f in bios-256k vgabios-stdvga; do ln -sf "../seabios/$f.bin" "$out/usr/share/qemu/$f.bin"; done
mkdir -p "$out/usr/lib/systemd/system"
cp -P /usr/lib/systemd/system/dbus-org.freedesktop.machine1.service "$out/usr/lib/systemd/system/"
