/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Theory of operation. uv-port is started as root and touches bytes of a hostile partition, so before it
 * reads the first one it becomes nobody: its own uid (one per partition: two ports can't even signal each
 * other), no capability and none to be had, no new privilege by exec, no new process, and an allow-list of
 * system calls; any other kills it, and the monitor forks a fresh one. Each layer holds alone. */

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "monitor/port/confine.h"

/* A sanitizer maps, reads /proc and starts threads; what it watches goes without filter and memory limit. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#ifdef SANITIZED
/* The leak check at exit wants threads and ptrace, which there are none of; and this program has no heap. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0"; }
#else
#define SANITIZED false
#endif

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "the system call filter wants the name of this machine's architecture"
#endif

/* Every call it makes, and for what. */
static const unsigned allowed[] = {
#ifdef SYS_poll
        SYS_poll,
#endif
        SYS_ppoll,                              /* wait */
        SYS_recvmsg, SYS_sendmsg,               /* records */
        SYS_read,                               /* the console's pty, and who types into it */
        SYS_pread64, SYS_pwrite64, SYS_ftruncate,       /* its log */
        SYS_fstat, SYS_newfstatat,              /* which log file is current (glibc uses either) */
        SYS_write,                              /* the pty */
        SYS_writev,                             /* messages to standard error */
        SYS_getsockopt,                         /* does a container call, or a VM */
        SYS_accept4, SYS_recvfrom,              /* programs that call (channel/call.h) */
        SYS_io_setup, SYS_io_submit, SYS_io_getevents,  /* a doorbell that never waits (channel/bell.h) */
        SYS_close,                              /* fds that came with records */
        SYS_clock_gettime,                      /* the console's rate limit */
        SYS_rt_sigreturn, SYS_restart_syscall, SYS_exit_group,
};
#define ALLOWED (sizeof(allowed) / sizeof(allowed[0]))

static int limit_resources(void) {
        static const struct { int what; rlim_t most; } limits[] = {
                { RLIMIT_NOFILE, 192 },         /* 12 of its own, 4 or a VM's 5 for each channel, askers, and those of two records */
                { RLIMIT_NPROC, 0 },
                { RLIMIT_CORE, 0 },             /* a core would hold what partitions said */
                { RLIMIT_MEMLOCK, 0 },
                { RLIMIT_MSGQUEUE, 0 },
                { RLIMIT_DATA, 16 * 1024 * 1024 },
        };

        for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
                struct rlimit r = { limits[i].most, limits[i].most };
                if (SANITIZED && limits[i].what == RLIMIT_DATA)
                        continue;
                if (setrlimit(limits[i].what, &r) < 0)
                        return -errno;
        }
        return 0;
}

/* Root's way down: the bounding set goes while CAP_SETPCAP is there, the ids last, for they take the rest. */
static int drop_ids(uid_t uid) {
        for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        return -errno;
        if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
                return -errno;
        return 0;
}

/* A drop that left a way back is worse than none: it is believed. */
static int prove_ids(uid_t uid) {
        uid_t r, e, s;
        gid_t gr, ge, gs;

        if (getresuid(&r, &e, &s) < 0 || getresgid(&gr, &ge, &gs) < 0)
                return -errno;
        if (r != uid || e != uid || s != uid || gr != uid || ge != uid || gs != uid || getgroups(0, NULL) != 0)
                return -EPERM;
        if (setuid(0) == 0 || setgid(0) == 0 || seteuid(0) == 0)
                return -EPERM;
        return 0;
}

/* One comparison a call; of another architecture (int 0x80) none is allowed, and x32's numbers are no number here.
 * By hand, for this program is there once for each partition: libseccomp would be half of its memory. */
static int filter_calls(void) {
        struct sock_filter code[ALLOWED + 6];
        struct sock_fprog program = { .filter = code };
        struct sock_filter *c = code;

        if (SANITIZED)
                return 0;
        *c++ = (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
        *c++ = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
        *c++ = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
        *c++ = (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        for (size_t i = 0; i < ALLOWED; i++)    /* to the last one, behind the others and the refusal */
                *c++ = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], (unsigned char) (ALLOWED - i), 0);
        *c++ = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
        *c++ = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        program.len = (unsigned short) (c - code);
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

int port_confine(uid_t uid) {
        int r;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return -errno;
        if (geteuid() == 0 && (r = drop_ids(uid)) < 0)
                return r;
        if ((r = prove_ids(uid)) < 0 || (r = limit_resources()) < 0)
                return r;
        return filter_calls();
}
