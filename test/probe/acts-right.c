/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Users, capabilities, priorities, limits. */

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/ioprio.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "test/probe/probe.h"

static uid_t other(void) { return getuid() == 7 ? 8 : 7; }
static int set_uid(void) { return TRIED(setresuid(other(), other(), other())); }
static int set_root(void) { return getuid() == 0 ? EINVAL : TRIED(setuid(0)); }
static int set_gid(void) { return TRIED(setresgid(9, 9, 9)); }
static int set_groups(void) { gid_t g = 9; return TRIED(setgroups(1, &g)); }
static int own_file(void) {
        char path[64];
        snprintf(path, sizeof(path), "/tmp/uvprobe-%d", (int) getpid());
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
        if (fd >= 0)
                (void) unlink(path);
        return fd;
}
static int give_away(void) { int fd = own_file(); return fd < 0 ? EBADF : TRIED(fchown(fd, other(), (gid_t) -1)); }
static int file_capability(void) {
        struct vfs_cap_data c = { .magic_etc = VFS_CAP_REVISION_2, .data[0].permitted = 1u << CAP_NET_RAW };
        int fd = own_file();
        return fd < 0 ? EBADF : TRIED(fsetxattr(fd, "security.capability", &c, sizeof(c), 0));
}
static int trusted_xattr(void) { int fd = own_file(); return fd < 0 ? EBADF : TRIED(fsetxattr(fd, "trusted.uvprobe", "x", 1, 0)); }
/* CAP_SYS_ADMIN, in any of the three sets. */
static int take_capability(void) {
        struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct d[2] = { 0 };

        if (syscall(SYS_capget, &h, d) < 0)
                return errno;
        d[0].permitted |= 1u << CAP_SYS_ADMIN;
        d[0].effective |= 1u << CAP_SYS_ADMIN;
        return TRIED(syscall(SYS_capset, &h, d));
}
/* Whatever it is: a single one is too much for an application. */
static int any_capability(void) {
        struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct d[2] = { 0 };

        if (syscall(SYS_capget, &h, d) < 0)
                return errno;
        return d[0].permitted | d[1].permitted | d[0].inheritable | d[1].inheritable ? 0 : EPERM;
}
static int any_in_bounding_set(void) {
        for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
                        return 0;
        return EPERM;
}
static int secure_bits(void) { return TRIED(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS, 0, 0, 0)); }
static int set_mm(void) { return past_rights(prctl(PR_SET_MM, PR_SET_MM_BRK, 0, 0, 0)); }
static int new_privileges(void) { return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? EPERM : 0; }
static int unfiltered(void) { return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2 ? EPERM : 0; }
static int nice_(void) { return TRIED(setpriority(PRIO_PROCESS, 0, -20)); }
static int realtime(void) { struct sched_param p = { .sched_priority = 1 }; return TRIED(sched_setscheduler(0, SCHED_FIFO, &p)); }
static int deadline(void) {
        struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period; } a = {
                .size = 48, .policy = 6, .runtime = 1000000, .deadline = 10000000, .period = 10000000,
        };
        return TRIED(syscall(SYS_sched_setattr, 0, &a, 0));
}
static int io_realtime(void) { return TRIED(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_RT, 0))); }
static int raise_limit(int what) {
        struct rlimit r;
        if (getrlimit(what, &r) < 0)
                return errno;
        if (r.rlim_max == RLIM_INFINITY)
                return 0;
        r.rlim_max++;
        return TRIED(setrlimit(what, &r));
}
static int more_files(void) { return raise_limit(RLIMIT_NOFILE); }
static int more_locked(void) { return raise_limit(RLIMIT_MEMLOCK); }
static int more_realtime(void) { return raise_limit(RLIMIT_RTPRIO); }
static int no_oom(void) {
        int fd = open("/proc/self/oom_score_adj", O_WRONLY);
        return fd < 0 ? errno : TRIED(write(fd, "-1000", 5));
}
static int wake(void) { int id; return TRIED(syscall(SYS_timer_create, 8 /* CLOCK_REALTIME_ALARM */, NULL, &id)); }

const struct act right_acts[] = {
        { "user", "setresuid", set_uid }, { "user", "root-again", set_root }, { "user", "setresgid", set_gid }, { "user", "setgroups", set_groups },
        { "user", "chown", give_away }, { "user", "file-capability", file_capability }, { "user", "trusted-xattr", trusted_xattr },
        { "capability", "take-sys-admin", take_capability }, { "capability", "has-any", any_capability },
        { "capability", "bounding-set", any_in_bounding_set }, { "capability", "securebits", secure_bits }, { "capability", "set-mm", set_mm },
        { "capability", "new-privileges", new_privileges }, { "capability", "unfiltered", unfiltered },
        { "priority", "nice", nice_ }, { "priority", "realtime", realtime }, { "priority", "deadline", deadline },
        { "priority", "io-realtime", io_realtime }, { "limit", "files", more_files }, { "limit", "locked-memory", more_locked },
        { "limit", "realtime", more_realtime }, { "limit", "oom_score_adj", no_oom }, { "limit", "wake-alarm", wake }, ACTS_END,
};
