/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Theory of operation. uv-port is started as root and touches bytes of a hostile partition, so before it
 * reads the first one it becomes nobody: its own uid (one per partition: two ports can't even signal each
 * other), no capability and none to be had, no new privilege by exec, no new process, and an allow-list of
 * system calls; any other kills it, and the monitor forks a fresh one. Each layer holds alone. */

#include <errno.h>
#include <grp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
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

/* Every call it makes, and for what. */
static const int allowed[] = {
        SCMP_SYS(poll), SCMP_SYS(ppoll),                /* wait */
        SCMP_SYS(recvmsg), SCMP_SYS(sendmsg),           /* records */
        SCMP_SYS(read),                                 /* the console's pty, and who types into it */
        SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(ftruncate),     /* its log */
        SCMP_SYS(fstat), SCMP_SYS(newfstatat),          /* which log file is current (glibc uses either) */
        SCMP_SYS(write),                                /* the pty; messages to standard error */
        SCMP_SYS(close),                                /* fds that came with records */
        SCMP_SYS(clock_gettime),                        /* the console's rate limit */
        SCMP_SYS(rt_sigreturn), SCMP_SYS(restart_syscall), SCMP_SYS(exit_group),
};

static int limit_resources(void) {
        static const struct { int what; rlim_t most; } limits[] = {
                { RLIMIT_NOFILE, 32 },          /* 11 of its own, and those of two records */
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

static int filter_calls(void) {
        if (SANITIZED)
                return 0;
        scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
        int r = ctx ? 0 : -ENOMEM;

        for (size_t i = 0; r == 0 && i < sizeof(allowed) / sizeof(allowed[0]); i++)
                r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
        if (r == 0)
                r = seccomp_load(ctx);
        seccomp_release(ctx);
        return r;
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
