/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The container's system calls: an allow-list for the native ABI. What isn't in it looks like a kernel
 * that doesn't have it (ENOSYS), which programs know how to live with; another ABI (32 bit, x32) is killed.
 *
 * Left out on purpose, for what they have cost others: new namespaces (unshare, setns, clone with CLONE_NEW*,
 * clone3, whose flags a filter can't read), mounts old and new, bpf, io_uring, userfaultfd, perf_event_open,
 * keyrings (not namespaced), kexec, modules, file handles (they open by inode, past every mount), quotas,
 * swap, clocks, and sockets of families that an application doesn't speak. */

#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/socket.h>

#include "plugins/lxc/lxc.h"

static const char *const allowed[] = {
        /* files */
        "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "open", "openat",
        "openat2", "creat", "close", "close_range", "stat", "fstat", "lstat", "newfstatat", "statx", "statfs", "fstatfs", "lseek",
        "access", "faccessat", "faccessat2", "dup", "dup2", "dup3", "fcntl", "flock", "fsync", "fdatasync", "sync", "syncfs",
        "sync_file_range", "truncate", "ftruncate", "fallocate", "fadvise64", "readahead", "getdents", "getdents64", "getcwd",
        "chdir", "fchdir", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "link", "linkat", "unlink", "unlinkat",
        "symlink", "symlinkat", "readlink", "readlinkat", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown",
        "fchownat", "umask", "mknod", "mknodat", "utime", "utimes", "utimensat", "futimesat", "setxattr", "lsetxattr", "fsetxattr",
        "getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr", "removexattr", "lremovexattr",
        "fremovexattr", "sendfile", "copy_file_range", "splice", "tee", "vmsplice", "inotify_init", "inotify_init1",
        "inotify_add_watch", "inotify_rm_watch", "name_to_handle_at", "ioctl", "chroot", "memfd_create", "cachestat",
        /* memory */
        "mmap", "munmap", "mremap", "mprotect", "madvise", "mincore", "msync", "mlock", "mlock2", "munlock", "mlockall",
        "munlockall", "brk", "pkey_alloc", "pkey_free", "pkey_mprotect", "membarrier", "get_mempolicy", "set_mempolicy", "mbind",
        "process_madvise", "process_mrelease", "memfd_secret", "mseal", "map_shadow_stack",
        /* processes, users, signals; clone is below */
        "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "getpid", "getppid", "gettid",
        "getpgid", "setpgid", "getpgrp", "getsid", "setsid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid",
        "getgroups", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid",
        "capget", "capset", "prctl", "arch_prctl", "seccomp", "kill", "tkill", "tgkill", "pidfd_open", "pidfd_send_signal",
        "pidfd_getfd", "rt_sigaction", "rt_sigprocmask", "rt_sigpending", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "rt_sigreturn",
        "rt_sigsuspend", "rt_sigtimedwait", "sigaltstack", "pause", "signalfd", "signalfd4", "restart_syscall", "set_tid_address",
        "set_robust_list", "get_robust_list", "rseq", "futex", "futex_waitv", "futex_wake", "futex_wait", "futex_requeue",
        "getrlimit", "setrlimit", "prlimit64", "getrusage", "times", "getpriority", "setpriority", "ioprio_get", "ioprio_set",
        "sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_setparam", "sched_getscheduler",
        "sched_setscheduler", "sched_get_priority_max", "sched_get_priority_min", "sched_rr_get_interval", "sched_getattr",
        "sched_setattr", "getcpu", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "alarm", "uname", "sethostname",
        "sysinfo", "getrandom", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
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

static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };
static const unsigned personalities[] = { PER_LINUX, PER_LINUX32, ADDR_NO_RANDOMIZE, 0xffffffff /* asks */ };

#define CLONE_NAMESPACES (CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

/* The low 32 bits of the first argument, all that the kernel looks at. */
static struct scmp_arg_cmp first_is(uint32_t v) {
        return (struct scmp_arg_cmp) { .arg = 0, .op = SCMP_CMP_MASKED_EQ, .datum_a = UINT32_MAX, .datum_b = v };
}

static int add_rules(scmp_filter_ctx ctx) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < ULV_ARRAY_SIZE(allowed); i++) {
                int nr = seccomp_syscall_resolve_name(allowed[i]);
                if (nr >= 0)    /* an older library doesn't know the newest: then nobody gets it */
                        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
        }
        if (r == 0)
                r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_NAMESPACES, 0));
        for (size_t i = 0; r == 0 && i < ULV_ARRAY_SIZE(families); i++)
                r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, first_is((uint32_t) families[i]));
        for (size_t i = 0; r == 0 && i < ULV_ARRAY_SIZE(personalities); i++)
                r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(personality), 1, first_is(personalities[i]));
        return r;
}

/* The library gives the program away through an fd only. */
static int export(scmp_filter_ctx ctx, void **ret, unsigned *ret_len) {
        _cleanup_close_ int fd = memfd_create("uv-filter", MFD_CLOEXEC);
        int r = fd < 0 ? -errno : seccomp_export_bpf(ctx, fd);
        off_t size = r == 0 ? lseek(fd, 0, SEEK_END) : -1;

        if (r < 0)
                return r;
        if (size <= 0 || size % 8 != 0 || size / 8 > UINT16_MAX)
                return -E2BIG;
        _cleanup_free_ void *program = malloc((size_t) size);
        if (!program)
                return -ENOMEM;
        if (pread(fd, program, (size_t) size, 0) != size)
                return -EIO;
        *ret = ulv_steal(program);
        *ret_len = (unsigned) (size / 8);       /* sizeof(struct sock_filter) */
        return 0;
}

int lxc_filter_make(void **ret, unsigned *ret_len) {
        scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
        int r = ctx ? seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) : -ENOMEM;

        if (r == 0)
                r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);         /* a tree, not a line of 300 */
        if (r == 0)
                r = add_rules(ctx);
        if (r == 0)
                r = export(ctx, ret, ret_len);
        seccomp_release(ctx);
        return r;
}
