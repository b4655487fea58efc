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

/* Where a thread of QEMU's belongs: libvirt has it name the guest's CPUs "CPU 0/KVM", "CPU 0/TCG". */
static struct ulv_cpus place_of(pid_t pid, pid_t tid, const struct ulv_cpus *cpus, bool each) {
        _cleanup_free_ char *name = NULL;
        struct ulv_cpus one = { 0 };
        unsigned n, at = 0;
        char path[64];
        size_t len;

        (void) snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", (int) pid, (int) tid);
        if (!each || ulv_read_file_at(AT_FDCWD, path, 64, &name, &len) < 0 || sscanf(name, "CPU %u/", &n) != 1)
                return *cpus;
        for (unsigned cpu = 0; cpu < ULV_CPU_MAX; cpu++)
                if (ulv_cpus_has(cpus, cpu) && at++ == n % ulv_cpus_count(cpus))
                        ulv_cpus_set(&one, cpu);
        return one;
}

/* Looks at each thread, and puts right what isn't where it belongs. 0: all were; 1: not so. */
static int round_of_threads(pid_t pid, const struct ulv_cpus *cpus, bool each) {
        const struct dirent *e;
        bool wrong = false;
        char path[64];
        DIR *dir;

        (void) snprintf(path, sizeof(path), "/proc/%d/task", (int) pid);
        dir = opendir(path);
        if (!dir)
                return -errno;
        while ((e = readdir(dir))) {
                pid_t tid = (pid_t) strtol(e->d_name, NULL, 10);
                struct ulv_cpus now = { 0 }, place;

                if (tid <= 0 || sched_getaffinity(tid, sizeof(now.bits), (cpu_set_t *) (void *) now.bits) < 0)
                        continue;       /* it has ended */
                place = place_of(pid, tid, cpus, each);
                if (memcmp(&now, &place, sizeof(now)) == 0)
                        continue;
                (void) ulv_set_affinity(tid, &place);
                wrong = true;
        }
        (void) closedir(dir);
        return wrong;
}

int kvm_pin(pid_t pid, const struct ulv_cpus *cpus, bool each) {
        int r = 1;

        for (unsigned i = 0; r == 1 && i < ROUNDS; i++)
                r = round_of_threads(pid, cpus, each);
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

/* VmRSS, and what it has of huge pages, which isn't in it. */
bool kvm_has_all(pid_t pid, uint64_t bytes) {
        static const char *const words[] = { "\nVmRSS:", "\nHugetlbPages:" };
        _cleanup_free_ char *text = NULL;
        unsigned long long kib = 0;
        char path[64];
        size_t len;

        (void) snprintf(path, sizeof(path), "/proc/%d/status", (int) pid);
        if (ulv_read_file_at(AT_FDCWD, path, 16384, &text, &len) < 0)
                return false;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(words); i++) {
                const char *at = strstr(text, words[i]);

                kib += at ? strtoull(at + strlen(words[i]), NULL, 10) : 0;
        }
        return bytes > 0 && kib >= bytes / 1024;
}
