#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The libvirt bed: a real libvirtd with directories and configuration of its own, beside whatever the machine has.
#
#   libvirt.sh DIR        runs until SIGTERM. DIR/ready is there when libvirtd answers; DIR/pid is the process whose mount
#                         namespace has it (nsenter -t PID -m); DIR/libvirtd.pid and DIR/libvirtd.log are libvirtd's.
#                         A libvirtd that ends is started again, but not while DIR/hold exists.
#
# Private in the mount namespace: /etc/libvirt, /run/libvirt, /var/{lib,log,cache}/libvirt, and /etc/passwd and /etc/group
# with libvirt-qemu, which Debian's libvirt-daemon-system would add. Perl holds it together, for a shell can't become a
# subreaper: QEMU is a daemon, and where PID 1 doesn't reap, libvirtd would wait half a minute for each dead one.
set -euo pipefail
dir=$1
if [ "${2:-}" != inside ]; then
        exec unshare -m --propagation private "$0" "$dir" inside
fi
for d in /etc/libvirt /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt; do
        mkdir -p $d
        mount -t tmpfs -o mode=755 tmpfs $d
done
mkdir -p /var/log/libvirt/qemu
for f in passwd group; do
        { grep -v '^libvirt-qemu:' /etc/$f; } >/etc/libvirt/$f
done
echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>/etc/libvirt/passwd
echo 'libvirt-qemu:x:64055:' >>/etc/libvirt/group
for f in passwd group; do mount --bind /etc/libvirt/$f /etc/$f; done
# No virtlogd, and no cgroup of libvirt's own: the build host has v1 hierarchies that aren't ours to fill. user: whom it asks
# whether /dev/kvm can be used; each of our domains has a uid of its own.
printf 'user = "root"\ngroup = "root"\nstdio_handler = "file"\nsecurity_driver = "none"\ncgroup_controllers = [ ]\n' >/etc/libvirt/qemu.conf
printf 'auth_unix_rw = "none"\nauth_unix_ro = "none"\nlog_outputs = "3:stderr"\n' >/etc/libvirt/libvirtd.conf
exec perl -e '
        use strict; use POSIX ":sys_wait_h";
        my $dir = shift;
        syscall(157, 36, 1, 0, 0, 0) == 0 or die "subreaper: $!";      # prctl(PR_SET_CHILD_SUBREAPER)
        my $pid = 0;
        sub put { open(my $f, ">", "$dir/$_[0].new") or die; print $f "$_[1]\n"; close $f; rename "$dir/$_[0].new", "$dir/$_[0]"; }
        sub done { kill "TERM", $pid if $pid; waitpid($pid, 0) if $pid; exit 0 }
        $SIG{TERM} = \&done; $SIG{INT} = \&done;
        put("pid", $$);
        for (;;) {
                while ((my $dead = waitpid(-1, WNOHANG)) > 0) { $pid = 0 if $dead == $pid }
                if (!$pid && !-e "$dir/hold") {
                        unlink "$dir/ready"; unlink "/run/libvirt/libvirt-sock", "/run/libvirt/libvirt-sock-ro";
                        $pid = fork();
                        if ($pid == 0) {
                                open(STDERR, ">>", "$dir/libvirtd.log"); open(STDOUT, ">&STDERR");
                                exec "/usr/sbin/libvirtd", "-p", "/run/libvirt/libvirtd.pid" or exit 1;
                        }
                        put("libvirtd.pid", $pid);
                }
                put("ready", $pid) if $pid && !-e "$dir/ready" && -S "/run/libvirt/libvirt-sock";
                select(undef, undef, undef, 0.05);
        }' "$dir"
