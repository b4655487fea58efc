/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Makes the containers' system call filters, when Ultravisor is built: the kernel's own instructions, as C text that
 * plugins/lxc/filter.c takes in. (Made anew at each start they were a tenth of the time that a start takes.)
 *
 * An allow-list for the native ABI. What isn't in it looks like a kernel
 * that doesn't have it (ENOSYS), which programs know how to live with, or, where every kernel has it, like
 * one that doesn't give the right (EPERM); another ABI (int 0x80, x32) is killed.
 *
 * Left out of every list, for what they have cost others: bpf, io_uring, userfaultfd, perf_event_open,
 * keyrings (not namespaced), kexec, modules, opening by file handle (by inode, past every mount), quotas,
 * swap, clocks, other people's socket families, and of netlink all but routes. An application doesn't get
 * new namespaces, mounts old and new, chroot and the ways into another process either; an image's own init
 * does (`wide`), but not user namespaces, inside of which the kernel's least tested doors stand open: those
 * take Nesting=yes. clone3, whose flags a filter can't read, comes with them; the C library falls back. */

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "plugins/lxc/doors.h"

static const char *const allowed[] = {
        /* files */
        "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "open", "openat",
        "openat2", "creat", "close", "close_range", "stat", "fstat", "lstat", "newfstatat", "statx", "statfs", "fstatfs", "lseek",
        "access", "faccessat", "faccessat2", "dup", "dup2", "dup3", "fcntl", "flock", "fsync", "fdatasync", "sync", "syncfs",
        "sync_file_range", "truncate", "ftruncate", "fallocate", "fadvise64", "readahead", "getdents", "getdents64", "getcwd",
        "chdir", "fchdir", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "link", "linkat", "unlink", "unlinkat",
        "symlink", "symlinkat", "readlink", "readlinkat", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown",
        "fchownat", "umask", "utime", "utimes", "utimensat", "futimesat", "setxattr", "lsetxattr", "fsetxattr",
        "getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr", "removexattr", "lremovexattr",
        "fremovexattr", "sendfile", "copy_file_range", "splice", "tee", "vmsplice", "inotify_init", "inotify_init1",
        "inotify_add_watch", "inotify_rm_watch", "ioctl", "memfd_create", "cachestat",
        /* memory */
        "mmap", "munmap", "mremap", "mprotect", "madvise", "mincore", "msync", "mlock", "mlock2", "munlock", "mlockall",
        "munlockall", "brk", "pkey_alloc", "pkey_free", "pkey_mprotect", "membarrier", "get_mempolicy", "set_mempolicy", "mbind",
        "memfd_secret", "mseal", "map_shadow_stack",
        /* processes, users, signals; clone is below */
        "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "getpid", "getppid", "gettid",
        "getpgid", "setpgid", "getpgrp", "getsid", "setsid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid",
        "getgroups", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid",
        "capget", "capset", "prctl", "arch_prctl", "seccomp", "kill", "tkill", "tgkill", "pidfd_open", "pidfd_send_signal",
        "rt_sigaction", "rt_sigprocmask", "rt_sigpending", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "rt_sigreturn",
        "rt_sigsuspend", "rt_sigtimedwait", "sigaltstack", "pause", "signalfd", "signalfd4", "restart_syscall", "set_tid_address",
        "set_robust_list", "get_robust_list", "rseq", "futex", "futex_waitv", "futex_wake", "futex_wait", "futex_requeue",
        "getrlimit", "setrlimit", "prlimit64", "getrusage", "times", "getpriority", "setpriority", "ioprio_get", "ioprio_set",
        "sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_setparam", "sched_getscheduler",
        "sched_setscheduler", "sched_get_priority_max", "sched_get_priority_min", "sched_rr_get_interval", "sched_getattr",
        "sched_setattr", "getcpu", "alarm", "uname", "sysinfo",
        "getrandom", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
        /* waiting and time */
        "poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_wait",
        "epoll_wait_old", "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "timerfd_create", "timerfd_settime",
        "timerfd_gettime", "timer_create", "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete", "getitimer",
        "setitimer", "nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "time",
        /* talking; socket is below */
        "pipe", "pipe2", "socketpair", "bind", "connect", "listen", "accept", "accept4", "getsockname", "getpeername",
        "getsockopt", "setsockopt", "shutdown", "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg", "shmget",
        "shmat", "shmctl", "shmdt", "semget", "semop", "semtimedop", "semctl", "msgget", "msgsnd", "msgrcv", "msgctl", "mq_open",
        "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr", "io_setup", "io_destroy", "io_submit",
        "io_getevents", "io_pgetevents", "io_cancel",
};

/* For an image's own init, and for container runtimes inside. */
static const char *const wide[] = {
        "mount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "move_mount",
        "mount_setattr", "setns", "name_to_handle_at", "mknod", "mknodat", "sethostname", "setdomainname", "ptrace", "kcmp",
        "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "pidfd_getfd", "vhangup",
};
/* Not for applications, and told as what it is: a right that they don't have. */
static const char *const app_refused[] = {
        "mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "sethostname", "setdomainname", "ptrace",
};
/* For nobody, likewise. */
static const char *const refused[] = {
        "reboot", "swapon", "swapoff", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "init_module", "finit_module",
        "delete_module", "kexec_load", "kexec_file_load", "acct", "quotactl", "open_by_handle_at", "syslog", "iopl", "ioperm",
};

static const unsigned personalities[] = { PER_LINUX, PER_LINUX32, ADDR_NO_RANDOMIZE, 0xffffffff /* asks */ };
/* Names for files that aren't devices. */
static const mode_t plain_types[] = { 0, S_IFREG, S_IFIFO, S_IFSOCK }, device_types[] = { S_IFCHR, S_IFBLK };

#define CLONE_NAMESPACES (CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)
#define SOCKET_TYPE 0xf         /* without SOCK_CLOEXEC and SOCK_NONBLOCK */

/* The low 32 bits of an argument, all that the kernel looks at in an int. */
static struct scmp_arg_cmp masked(unsigned arg, uint32_t mask, uint32_t v) {
        return (struct scmp_arg_cmp) { .arg = arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = v };
}
static struct scmp_arg_cmp is(unsigned arg, uint32_t v) { return masked(arg, UINT32_MAX, v); }

static int add_names(scmp_filter_ctx ctx, uint32_t action, const char *const *names, size_t n) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < n; i++) {
                int nr = seccomp_syscall_resolve_name(names[i]);
                if (nr >= 0)    /* an older library doesn't know the newest: then nobody gets it */
                        r = seccomp_rule_add(ctx, action, nr, 0);
        }
        return r;
}
#define ADD_NAMES(ctx, action, names) add_names(ctx, action, names, ULV_ARRAY_SIZE(names))

static int add_sockets(scmp_filter_ctx ctx, unsigned rights) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < ULV_ARRAY_SIZE(door_sockets); i++) {
                const struct door_socket *s = &door_sockets[i];
                struct scmp_arg_cmp args[3] = { is(0, (uint32_t) s->family) };
                unsigned n = 1;

                if (s->type != DOOR_ANY)
                        args[n++] = masked(1, SOCKET_TYPE, (uint32_t) s->type);
                if (s->protocol != DOOR_ANY)
                        args[n++] = is(2, (uint32_t) s->protocol);
                if (s->rights == 0 || s->rights & rights)
                        r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), n, args);
        }
        return r;
}

static int add_mknod(scmp_filter_ctx ctx) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < ULV_ARRAY_SIZE(plain_types); i++)
                if ((r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mknod), 1, masked(1, S_IFMT, plain_types[i]))) == 0)
                        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mknodat), 1, masked(2, S_IFMT, plain_types[i]));
        for (size_t i = 0; r == 0 && i < ULV_ARRAY_SIZE(device_types); i++)
                if ((r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mknod), 1, masked(1, S_IFMT, device_types[i]))) == 0)
                        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mknodat), 1, masked(2, S_IFMT, device_types[i]));
        return r;
}

/* New namespaces: none for an application; all but user namespaces for an init; all with Nesting=. */
static int add_namespaces(scmp_filter_ctx ctx, unsigned rights) {
        static const char *const all[] = { "clone", "clone3", "unshare" };
        uint32_t never = rights & LXC_INIT ? CLONE_NEWUSER : CLONE_NAMESPACES;
        int r;

        if (rights & LXC_NESTING)
                return ADD_NAMES(ctx, SCMP_ACT_ALLOW, all);
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, masked(0, never, 0));
        if (r == 0 && (rights & LXC_INIT))
                r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(unshare), 1, masked(0, never, 0));
        return r;
}

static int add_rules(scmp_filter_ctx ctx, unsigned rights) {
        int r = ADD_NAMES(ctx, SCMP_ACT_ALLOW, allowed);

        if (r == 0)
                r = ADD_NAMES(ctx, SCMP_ACT_ERRNO(EPERM), refused);
        if (r == 0)
                r = rights ? ADD_NAMES(ctx, SCMP_ACT_ALLOW, wide) : ADD_NAMES(ctx, SCMP_ACT_ERRNO(EPERM), app_refused);
        if (r == 0 && !rights)
                r = add_mknod(ctx);
        if (r == 0)
                r = add_namespaces(ctx, rights);
        if (r == 0)
                r = add_sockets(ctx, rights);
        for (size_t i = 0; r == 0 && i < ULV_ARRAY_SIZE(personalities); i++)
                r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(personality), 1, is(0, personalities[i]));
        return r;
}

/* Refused commands of an allowed call: the library has no way to say "all but these, in the low 32 bits", and
 * to compare all 64 is a known hole (CVE-2019-10063). So this goes before its program. */
#define OFFSET_ARG1 (offsetof(struct seccomp_data, args) + sizeof(uint64_t))
#define N_IOCTLS ULV_ARRAY_SIZE(door_ioctls)

static void print_one(struct sock_filter f) { printf("{%u,%u,%u,%#x},\n", f.code, f.jt, f.jf, f.k); }

static void print_no_ioctl(void) {
        print_one((struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
        print_one((struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, N_IOCTLS + 2));
        print_one((struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, OFFSET_ARG1));
        for (size_t i = 0; i < N_IOCTLS; i++)
                print_one((struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, door_ioctls[i], (uint8_t) (N_IOCTLS - 1 - i), i + 1 == N_IOCTLS));
        print_one((struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "OFFSET_ARG1 is the low half");

/* The library gives the program away through an fd only. */
static int print(scmp_filter_ctx ctx, unsigned rights) {
        _cleanup_close_ int fd = memfd_create("uv-filter", MFD_CLOEXEC);
        struct sock_filter f;
        ssize_t n;
        int r = fd < 0 ? -errno : seccomp_export_bpf(ctx, fd);

        if (r < 0 || lseek(fd, 0, SEEK_SET) < 0)
                return r < 0 ? r : -errno;
        printf("static const struct sock_filter filter_%u[] = {\n", rights);
        print_no_ioctl();
        while ((n = read(fd, &f, sizeof(f))) == sizeof(f))
                print_one(f);
        printf("};\n_Static_assert(sizeof(filter_%u) / sizeof(filter_%u[0]) <= BPF_MAXINSNS, \"too long\");\n", rights, rights);
        return n < 0 ? -errno : 0;
}

static int make(unsigned rights) {
        scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
        int r = ctx ? seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) : -ENOMEM;

        if (r == 0)
                r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);         /* a tree, not a line of 300 */
        if (r == 0)
                r = add_rules(ctx, rights);
        if (r == 0)
                r = print(ctx, rights);
        seccomp_release(ctx);
        return r;
}

/* One program for each profile: LXC_INIT and LXC_NESTING, or not. */
int main(void) {
        int r = seccomp_api_set(3);     /* what every kernel from 4.14 on has; the one that we are built on counts for nothing */

        for (unsigned rights = 0; r == 0 && rights <= (LXC_INIT | LXC_NESTING); rights++)
                r = make(rights);
        if (r != 0)
                fprintf(stderr, "the system call filters can't be made: %s\n", strerror(-r));
        return r != 0 || fflush(stdout) != 0;
}
