#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Inside a systemd bed: puts what libvirt-files.sh gathered (virt/) in place, as Debian's packages would, and starts libvirtd
# as a unit. /run/virt has the guest's kernel and initrd.
set -e
cp -a virt/. /
mkdir -p /etc/libvirt /var/lib/libvirt /var/log/libvirt/qemu /run/libvirt /run/virt
cp guest/vmlinuz guest/initrd /run/virt/
grep -q '^libvirt-qemu:' /etc/passwd || echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>/etc/passwd
grep -q '^libvirt-qemu:' /etc/group || echo 'libvirt-qemu:x:64055:' >>/etc/group
printf 'user = "root"\ngroup = "root"\nstdio_handler = "file"\nsecurity_driver = "none"\n' >/etc/libvirt/qemu.conf
printf 'auth_unix_rw = "none"\nauth_unix_ro = "none"\nlog_outputs = "3:stderr"\n' >/etc/libvirt/libvirtd.conf
systemctl daemon-reload
systemctl reload dbus
systemd-run -q --unit=libvirtd -p Delegate=yes -p KillMode=process -p Restart=always -p RestartSec=1 /usr/sbin/libvirtd
for i in $(seq 300); do virsh -c qemu:///system list >/dev/null 2>&1 && exit 0; sleep 0.1; done
journalctl -q --no-pager -o cat -u libvirtd | tail -n 20 >&2
exit 1
