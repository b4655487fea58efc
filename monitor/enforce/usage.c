/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a payload uses, as the kernel counts it: the files of its cgroup, and where a controller is missing
 * (memory, pids) the sums over the processes that cgroup.procs lists. Nothing of this is the payload's word. */

#include <fcntl.h>
#include <stdio.h>

#include "monitor/enforce/enforce.h"

#define PROCESSES_MAX 65536

static uint64_t number_of(int cgroup, const char *file, bool *ret_there) {
        char text[64];

        *ret_there = ulv_cgroup_read(cgroup, file, text, sizeof(text)) == 0;
        return *ret_there ? strtoull(text, NULL, 10) : 0;
}

/* cpu.stat is there without the controller too. */
static int cpu_time(int cgroup, uint64_t *ret) {
        char text[4096];
        const char *p;
        int r = ulv_cgroup_read(cgroup, "cpu.stat", text, sizeof(text));

        if (r < 0)
                return r;
        p = strstr(text, "usage_usec ");
        if (!p)
                return -ENODATA;
        *ret = strtoull(p + strlen("usage_usec "), NULL, 10);
        return 0;
}

/* Pages that are its own; what it shares with others isn't. */
static uint64_t process_memory(unsigned long pid) {
        unsigned long long size, resident, shared;
        char path[64];
        FILE *f;
        int n;

        (void) snprintf(path, sizeof(path), "/proc/%lu/statm", pid);
        f = fopen(path, "re");
        if (!f)
                return 0;               /* it has ended meanwhile */
        n = fscanf(f, "%llu %llu %llu", &size, &resident, &shared);
        (void) fclose(f);
        return n == 3 && resident >= shared ? (resident - shared) * (uint64_t) sysconf(_SC_PAGESIZE) : 0;
}

static int sum_processes(int cgroup, struct ulv_usage *u, bool memory, bool tasks) {
        int fd = openat(cgroup, "cgroup.procs", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        FILE *f = fd < 0 ? NULL : fdopen(fd, "re");
        unsigned long pid;

        if (!f) {
                (void) ulv_close(fd);
                return -errno;
        }
        for (unsigned n = 0; n < PROCESSES_MAX && fscanf(f, "%lu", &pid) == 1; n++) {
                if (memory)
                        u->memory += process_memory(pid);
                if (tasks)
                        u->tasks++;
        }
        (void) fclose(f);
        return 0;
}

int ulv_cgroup_usage(struct ulv_monitor *m, struct ulv_usage *ret) {
        _cleanup_close_ int cgroup = ulv_cgroup_open(ulv_monitor_cgroup(m), false);
        struct ulv_usage u = { 0 };
        bool memory, tasks;
        int r;

        if (cgroup < 0)
                return cgroup;
        r = cpu_time(cgroup, &u.cpu_usec);
        if (r < 0)
                return r;
        u.memory = number_of(cgroup, "memory.current", &memory);
        u.tasks = number_of(cgroup, "pids.current", &tasks);
        u.summed = !memory || !tasks;
        r = u.summed ? sum_processes(cgroup, &u, !memory, !tasks) : 0;
        if (r == 0)
                *ret = u;
        return r;
}
