/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* QEMU as a process of this host: found by libvirt's pid file and its own command line, pinned, counted. Nothing of
 * this needs libvirtd. */

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "lib/fd.h"
#include "plugins/kvm/kvm.h"

#define PID_FILE "/run/libvirt/qemu/%s.pid"
#define COMMAND_MAX (256 * 1024u)
#define ROUNDS 10               /* threads may be born while their brothers are pinned */

/* QEMU was started with "-uuid" and the domain's. */
static int has_uuid(pid_t pid, const char *uuid) {
        _cleanup_free_ char *buf = NULL;
        _cleanup_close_ int fd = -1;
        char path[64];
        size_t len;
        int r;

        (void) snprintf(path, sizeof(path), "/proc/%d/cmdline", (int) pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = ulv_read_fd(fd, COMMAND_MAX, &buf, &len);
        if (r < 0)
                return r;
        for (const char *word = buf; word < buf + len; word += strlen(word) + 1)
                if (ulv_streq(word, "-uuid"))
                        return word + 6 < buf + len && ulv_streq(word + 6, uuid) ? 0 : -ENOENT;
        return -ENOENT;
}

/* The pid file may be of a QEMU long dead, whose number another process has. */
int kvm_find(const char *name, const char *uuid, pid_t *ret_pid) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -1;
        char path[sizeof(PID_FILE) + KVM_NAME_MAX];
        size_t len;
        long pid;
        int r;

        (void) snprintf(path, sizeof(path), PID_FILE, name);
        r = ulv_read_file_at(AT_FDCWD, path, 32, &text, &len);
        if (r < 0)
                return r;
        pid = strtol(text, NULL, 10);
        if (pid <= 1 || pid > INT32_MAX)
                return -ENOENT;
        fd = (int) syscall(SYS_pidfd_open, (pid_t) pid, 0);
        if (fd < 0 || has_uuid((pid_t) pid, uuid) < 0 || ulv_monitor_pidfd_dead(fd))
                return -ENOENT;
        *ret_pid = (pid_t) pid;
        return ulv_steal_fd(&fd);
}

/* --- pinning --------------------------------------------------------------------------------------------------- */

/* Looks at each thread. all: gives each of them all of `cpus`. 0: all are within, and use all; 1: not so. */
static int round_of_threads(pid_t pid, const struct ulv_cpus *cpus, bool all) {
        struct ulv_cpus used = { 0 };
        const struct dirent *e;
        bool outside = false;
        char path[64];
        DIR *dir;

        (void) snprintf(path, sizeof(path), "/proc/%d/task", (int) pid);
        dir = opendir(path);
        if (!dir)
                return -errno;
        while ((e = readdir(dir))) {
                pid_t tid = (pid_t) strtol(e->d_name, NULL, 10);
                struct ulv_cpus now = { 0 };

                if (tid <= 0)
                        continue;
                if (all)
                        (void) sched_setaffinity(tid, sizeof(cpus->bits), (const cpu_set_t *) (const void *) cpus->bits);
                if (sched_getaffinity(tid, sizeof(now.bits), (cpu_set_t *) (void *) now.bits) < 0)
                        continue;       /* it has ended */
                outside = outside || !ulv_cpus_within(&now, cpus);
                ulv_cpus_add(&used, &now);
        }
        (void) closedir(dir);
        return outside || !ulv_cpus_within(cpus, &used);
}

int kvm_pin(pid_t pid, const struct ulv_cpus *cpus) {
        int r = round_of_threads(pid, cpus, false);

        for (unsigned i = 0; r == 1 && i < ROUNDS; i++)
                if ((r = round_of_threads(pid, cpus, true)) == 0)
                        r = round_of_threads(pid, cpus, false);
        return r;
}

/* --- counting -------------------------------------------------------------------------------------------------- */

int kvm_process_usage(pid_t pid, struct ulv_usage *ret) {
        unsigned long long user, kernel, threads, resident;
        _cleanup_free_ char *stat = NULL, *statm = NULL;
        char path[64];
        const char *p;
        size_t len;
        int r;

        (void) snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
        if ((r = ulv_read_file_at(AT_FDCWD, path, 4096, &stat, &len)) < 0)
                return r;
        (void) snprintf(path, sizeof(path), "/proc/%d/statm", (int) pid);
        if ((r = ulv_read_file_at(AT_FDCWD, path, 4096, &statm, &len)) < 0)
                return r;
        p = strrchr(stat, ')');
        if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %llu", &user, &kernel, &threads) != 3 ||
            sscanf(statm, "%*u %llu", &resident) != 1)
                return -EBADMSG;
        *ret = (struct ulv_usage) {
                .cpu_usec = (user + kernel) * 1000000 / (uint64_t) sysconf(_SC_CLK_TCK), .memory = resident * (uint64_t) sysconf(_SC_PAGESIZE),
                .tasks = threads, .summed = true,
        };
        return 0;
}
