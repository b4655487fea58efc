/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sockets, device nodes, /proc and /sys, file handles, terminals. */

#include <dirent.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "test/probe/probe.h"

#define SOCKET(name, family, type, protocol) static int name(void) { return TRIED(socket(family, type, protocol)); }
SOCKET(raw4, AF_INET, SOCK_RAW, IPPROTO_ICMP)
SOCKET(raw6, AF_INET6, SOCK_RAW, IPPROTO_ICMPV6)
SOCKET(sctp, AF_INET, SOCK_STREAM, IPPROTO_SCTP)
SOCKET(mptcp, AF_INET, SOCK_STREAM, 262)
SOCKET(packet, AF_PACKET, SOCK_RAW, 0)
SOCKET(packet_dgram, AF_PACKET, SOCK_DGRAM, 0)
SOCKET(vsock, AF_VSOCK, SOCK_STREAM, 0)
SOCKET(alg, AF_ALG, SOCK_SEQPACKET, 0)
SOCKET(bluetooth, AF_BLUETOOTH, SOCK_RAW, 1)
SOCKET(can, AF_CAN, SOCK_RAW, 1)
SOCKET(key, AF_KEY, SOCK_RAW, 2)
SOCKET(tipc, AF_TIPC, SOCK_SEQPACKET, 0)
SOCKET(xdp, AF_XDP, SOCK_RAW, 0)
SOCKET(nl_audit, AF_NETLINK, SOCK_RAW, NETLINK_AUDIT)
SOCKET(nl_netfilter, AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)
SOCKET(nl_uevent, AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT)
SOCKET(nl_xfrm, AF_NETLINK, SOCK_RAW, NETLINK_XFRM)
SOCKET(nl_connector, AF_NETLINK, SOCK_DGRAM, NETLINK_CONNECTOR)
SOCKET(nl_generic, AF_NETLINK, SOCK_RAW, NETLINK_GENERIC)
SOCKET(nl_selinux, AF_NETLINK, SOCK_RAW, NETLINK_SELINUX)

const struct act socket_acts[] = {
        { "socket", "raw-ipv4", raw4 }, { "socket", "raw-ipv6", raw6 }, { "socket", "sctp", sctp }, { "socket", "mptcp", mptcp },
        { "socket", "packet", packet }, { "socket", "packet-dgram", packet_dgram }, { "socket", "vsock", vsock }, { "socket", "alg", alg },
        { "socket", "bluetooth", bluetooth }, { "socket", "can", can }, { "socket", "key", key }, { "socket", "tipc", tipc },
        { "socket", "xdp", xdp }, { "netlink", "audit", nl_audit }, { "netlink", "netfilter", nl_netfilter },
        { "netlink", "uevent", nl_uevent }, { "netlink", "xfrm", nl_xfrm }, { "netlink", "connector", nl_connector },
        { "netlink", "generic", nl_generic }, { "netlink", "selinux", nl_selinux }, ACTS_END,
};

/* --- nodes ------------------------------------------------------------------------------------------- */

static int node(const char *path, mode_t type, unsigned major, unsigned minor) {
        (void) unlink(path);
        int r = TRIED(mknod(path, type | 0666, makedev(major, minor)));
        if (r == 0)
                (void) unlink(path);
        return r;
}
static int node_null(void) { return node("/tmp/uvprobe-null", S_IFCHR, 1, 3); }
static int node_mem(void) { return node("/tmp/uvprobe-mem", S_IFCHR, 1, 1); }
static int node_disk(void) { return node("/tmp/uvprobe-disk", S_IFBLK, 8, 0); }
static int node_in_dev(void) { return node("/dev/uvprobe-kmsg", S_IFCHR, 1, 11); }
#define OPEN(name, path, flags) static int name(void) { return TRIED(open(path, flags)); }
OPEN(dev_mem, "/dev/mem", O_RDONLY)
OPEN(dev_kmsg, "/dev/kmsg", O_RDONLY)
OPEN(dev_port, "/dev/port", O_RDONLY)
OPEN(dev_kvm, "/dev/kvm", O_RDWR)
OPEN(dev_fuse, "/dev/fuse", O_RDWR)
OPEN(dev_tun, "/dev/net/tun", O_RDWR)
OPEN(dev_loop, "/dev/loop-control", O_RDWR)
OPEN(dev_uffd, "/dev/userfaultfd", O_RDWR)
OPEN(dev_disk, "/dev/vda", O_RDONLY)

/* --- /proc and /sys: opening for writing is the act; nothing is written ------------------------------- */

OPEN(core_pattern, "/proc/sys/kernel/core_pattern", O_WRONLY)
OPEN(modprobe, "/proc/sys/kernel/modprobe", O_WRONLY)
OPEN(sysrq, "/proc/sysrq-trigger", O_WRONLY)
OPEN(sysrq_mask, "/proc/sys/kernel/sysrq", O_WRONLY)
OPEN(drop_caches, "/proc/sys/vm/drop_caches", O_WRONLY)
/* Anybody opens it, and only some may write: what is written is what it says. */
static int last_pid(void) {
        char text[32];
        int fd = open("/proc/sys/kernel/ns_last_pid", O_RDWR);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
        return n < 0 ? errno : TRIED(pwrite(fd, text, (size_t) n, 0));
}
OPEN(panic, "/proc/sys/kernel/panic", O_WRONLY)
OPEN(ip_forward, "/proc/sys/net/ipv4/ip_forward", O_WRONLY)
OPEN(userns_limit, "/proc/sys/user/max_user_namespaces", O_WRONLY)
OPEN(binfmt, "/proc/sys/fs/binfmt_misc/register", O_WRONLY)
OPEN(irq, "/proc/irq/default_smp_affinity", O_WRONLY)
OPEN(bus, "/proc/bus/pci/devices", O_WRONLY)
OPEN(fs_dir, "/proc/fs/jbd2", O_RDONLY | O_DIRECTORY)
OPEN(uevent_helper, "/sys/kernel/uevent_helper", O_WRONLY)
OPEN(power, "/sys/power/state", O_WRONLY)
OPEN(hugepages, "/sys/kernel/mm/transparent_hugepage/enabled", O_WRONLY)
OPEN(ksm, "/sys/kernel/mm/ksm/run", O_WRONLY)
OPEN(mtu, "/sys/class/net/lo/mtu", O_WRONLY)
OPEN(module_parameter, "/sys/module/kernel/parameters/panic", O_WRONLY)
OPEN(profiling, "/sys/kernel/profiling", O_WRONLY)
OPEN(cpu_online, "/sys/devices/system/cpu/cpu1/online", O_WRONLY)
static int release_agent(void) {
        static const char *const paths[] = { "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/rdma/release_agent",
                                             "/sys/fs/cgroup/systemd/release_agent" };
        for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
                if (open(paths[i], O_WRONLY) >= 0)
                        return 0;
        return errno;
}
/* Limits of its own cgroup: an init gets the directory, never these. */
static int own_limit(void) {
        static const char *const paths[] = { "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/pids.max",
                                             "/sys/fs/cgroup/cpuset.cpus", "/sys/fs/cgroup/cgroup.max.depth" };
        errno = ENOENT;
        for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
                if (open(paths[i], O_WRONLY) >= 0)
                        return 0;
        return errno;
}
static int cgroup_up(void) {
        int fd = open("/sys/fs/cgroup/../../../sys/fs/cgroup/../cgroup.procs", O_WRONLY);
        return fd < 0 ? errno : 0;
}
/* A mask gives an empty file: nothing read is refused. */
static int reads(const char *path) {
        char buf[512];
        int fd = open(path, O_RDONLY | O_NONBLOCK);
        ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf));

        return n < 0 ? errno : n == 0 ? ENODATA : 0;
}
static int kcore(void) { return reads("/proc/kcore"); }
static int kmsg(void) { return reads("/proc/kmsg"); }
static int keys(void) { return reads("/proc/keys"); }
static int key_users(void) { return reads("/proc/key-users"); }
static int timer_list(void) { return reads("/proc/timer_list"); }
static int slabinfo(void) { return reads("/proc/slabinfo"); }
/* Names of the kernel's are no secret, their addresses are: zeros for those who may not see them. */
static int kallsyms(void) {
        char first[512] = "";
        int fd = open("/proc/kallsyms", O_RDONLY);
        ssize_t n = fd < 0 ? -1 : read(fd, first, sizeof(first) - 1);
        return n < 0 ? errno : strtoull(first, NULL, 16) == 0 ? ENODATA : 0;
}
static int interrupts(void) { return reads("/proc/interrupts"); }
static int sched_debug(void) { return reads("/sys/kernel/debug/sched/debug"); }
static int kernel_notes(void) { return reads("/sys/kernel/notes"); }
static int lists(const char *path) {
        DIR *d = opendir(path);
        struct dirent *e;

        if (!d)
                return errno;
        while ((e = readdir(d)))
                if (e->d_name[0] != '.')
                        return 0;
        return ENODATA;
}
static int firmware(void) { return lists("/sys/firmware"); }
static int debugfs(void) { return lists("/sys/kernel/debug"); }
static int modules(void) { return lists("/sys/module"); }
static int security(void) { return lists("/sys/kernel/security"); }

/* By inode number, past every mount: CVE of the first containers. */
static int by_handle(void) {
        union { struct file_handle h; char room[sizeof(struct file_handle) + MAX_HANDLE_SZ]; } u = { .h.handle_bytes = 8, .h.handle_type = 1 };
        int mount_id, fd = open("/", O_RDONLY);

        *(uint32_t *) (void *) u.h.f_handle = 2;        /* the root of an ext4 */
        u.h.handle_bytes = MAX_HANDLE_SZ;
        if (name_to_handle_at(fd, "", &u.h, &mount_id, AT_EMPTY_PATH) < 0) {
                u.h.handle_bytes = 8;
                u.h.handle_type = 1;
        }
        return past_rights(open_by_handle_at(fd, &u.h, O_RDONLY));
}
static int cwd_outside(void) {
        char buf[4096];
        long n = syscall(SYS_getcwd, buf, sizeof(buf));
        return n > 0 && buf[0] == '(' ? 0 : ENOENT;
}
static int up_and_out(void) {
        struct stat root, above;
        return stat("/", &root) == 0 && stat("/../../..", &above) == 0 && root.st_ino != above.st_ino ? 0 : ENOENT;
}

/* --- terminals ------------------------------------------------------------------------------------------ */

static int own_terminal(void) {
        int master = posix_openpt(O_RDWR | O_NOCTTY), fd;

        if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
                return -1;
        (void) setsid();
        fd = open(ptsname(master), O_RDWR);
        (void) ioctl(fd, TIOCSCTTY, 0);
        return fd;
}
static int try_ioctl(unsigned long command) {
        int fd = own_terminal(), zero = 0;
        return fd < 0 ? EBADF : past_rights(syscall(SYS_ioctl, fd, command, &zero));
}
static int sti(void) {
        int fd = own_terminal();
        return fd < 0 ? EBADF : TRIED(ioctl(fd, TIOCSTI, "x"));
}
static int sti_high(void) {
        int fd = own_terminal();
        return fd < 0 ? EBADF : TRIED(syscall(SYS_ioctl, fd, TIOCSTI | 1UL << 32, "x"));
}
static int paste(void) { return try_ioctl(TIOCLINUX); }
static int discipline(void) { return try_ioctl(TIOCSETD); }

const struct act file_acts[] = {
        { "mknod", "null", node_null }, { "mknod", "mem", node_mem }, { "mknod", "disk", node_disk }, { "mknod", "in-dev", node_in_dev },
        { "device", "mem", dev_mem }, { "device", "kmsg", dev_kmsg }, { "device", "port", dev_port }, { "device", "kvm", dev_kvm },
        { "device", "fuse", dev_fuse }, { "device", "tun", dev_tun }, { "device", "loop-control", dev_loop },
        { "device", "userfaultfd", dev_uffd }, { "device", "disk", dev_disk },
        { "proc-write", "core_pattern", core_pattern }, { "proc-write", "modprobe", modprobe }, { "proc-write", "sysrq-trigger", sysrq },
        { "proc-write", "sysrq", sysrq_mask }, { "proc-write", "drop_caches", drop_caches }, { "proc-write", "ns_last_pid", last_pid },
        { "proc-write", "panic", panic }, { "proc-write", "ip_forward", ip_forward }, { "proc-write", "max_user_namespaces", userns_limit },
        { "proc-write", "binfmt_misc", binfmt }, { "proc-write", "irq", irq }, { "proc-write", "bus-pci", bus }, { "proc-read", "fs-jbd2", fs_dir },
        { "sys-write", "uevent_helper", uevent_helper }, { "sys-write", "power-state", power }, { "sys-write", "hugepages", hugepages },
        { "sys-write", "ksm", ksm }, { "sys-write", "mtu", mtu }, { "sys-write", "module-parameter", module_parameter },
        { "sys-write", "profiling", profiling }, { "sys-write", "cpu-online", cpu_online }, { "cgroup", "release_agent", release_agent },
        { "cgroup", "own-limit", own_limit }, { "cgroup", "above", cgroup_up },
        { "proc-read", "kcore", kcore }, { "proc-read", "kmsg", kmsg }, { "proc-read", "keys", keys }, { "proc-read", "key-users", key_users },
        { "proc-read", "timer_list", timer_list }, { "proc-read", "slabinfo", slabinfo }, { "proc-read", "kallsyms", kallsyms },
        { "proc-read", "interrupts", interrupts }, { "sys-read", "sched-debug", sched_debug }, { "sys-read", "notes", kernel_notes },
        { "sys-read", "firmware", firmware }, { "sys-read", "debug", debugfs }, { "sys-read", "module", modules },
        { "sys-read", "security", security }, { "handle", "open_by_handle_at", by_handle }, { "root", "cwd-outside", cwd_outside },
        { "root", "dot-dot", up_and_out }, { "tty", "TIOCSTI", sti }, { "tty", "TIOCSTI-high-bits", sti_high },
        { "tty", "TIOCLINUX", paste }, { "tty", "TIOCSETD", discipline }, ACTS_END,
};
