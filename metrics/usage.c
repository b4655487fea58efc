/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the kernel counts for a partition: the files of its cgroup, found by its leader (Documentation/admin-guide/cgroup-v2.rst
 * has their forms). */

#include "metrics/metrics.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/cgroup.h"
#include "lib/fd.h"

#define FILE_MAX ((size_t) 64 * 1024)

uint64_t usage_key(const char *text, const char *key, bool *ret_found) {
        size_t n = strlen(key);

        for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
                if (strncmp(p, key, n) == 0 && p[n] == ' ') {
                        *ret_found = true;
                        return strtoull(p + n, NULL, 10);
                }
        return 0;
}

uint64_t usage_pressure(const char *text, const char *kind, bool *ret_found) {
        size_t n = strlen(kind);

        for (const char *p = text, *end; p && *p; p = *end ? end + 1 : NULL) {
                const char *total;

                end = strchrnul(p, '\n');
                if (strncmp(p, kind, n) != 0 || p[n] != ' ' || !(total = strstr(p, " total=")) || total >= end)
                        continue;
                *ret_found = true;
                return strtoull(total + strlen(" total="), NULL, 10);
        }
        return 0;
}

uint64_t usage_limit(const char *text, bool *ret_found) {
        *ret_found = ulv_startswith(text, "max") || (*text >= '0' && *text <= '9');
        return ulv_startswith(text, "max") ? UNLIMITED : *ret_found ? strtoull(text, NULL, 10) : 0;
}

uint64_t usage_quota(const char *text, bool *ret_found) {
        unsigned long long amount, period;

        *ret_found = true;
        if (ulv_startswith(text, "max "))
                return UNLIMITED;
        if (sscanf(text, "%20llu %20llu", &amount, &period) == 2 && period > 0 && amount <= UINT64_MAX / 1000)
                return amount * 1000 / period;
        *ret_found = false;
        return 0;
}

uint64_t usage_io(const char *text, const char *key, bool *ret_found) {
        char pattern[32];
        uint64_t sum = 0;

        (void) snprintf(pattern, sizeof(pattern), " %.16s=", key);
        *ret_found = true;      /* no line: nothing was read or written */
        for (const char *p = text; (p = strstr(p, pattern)); )
                sum += strtoull(p += strlen(pattern), NULL, 10);
        return sum;
}

/* --- the cgroup ----------------------------------------------------------------------------------------- */

static int cgroup_open(const char *mount, const char *partition, uint64_t leader) {
        _cleanup_free_ char *text = NULL;
        char file[64], path[4200];
        size_t len, parent;
        const char *at;

        (void) snprintf(file, sizeof(file), "/proc/%" PRIu64 "/cgroup", leader);
        if (!mount[0] || ulv_read_file_at(AT_FDCWD, file, FILE_MAX, &text, &len) < 0)
                return -ENOENT;
        at = ulv_cgroup_path(text, &len);
        len = at ? ulv_cgroup_of_partition(at, len, partition, &parent) : 0;
        if (len == 0 || (size_t) snprintf(path, sizeof(path), "%s%.*s", mount, (int) len, at) >= sizeof(path))
                return -ENOENT;
        return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* A source of one file: which fields of it become which of ours. */
enum form { FORM_NUMBER, FORM_LIMIT, FORM_QUOTA, FORM_KEY, FORM_PRESSURE, FORM_IO };
static const struct entry { const char *file; enum form form; const char *key; enum usage_field field; } entries[] = {
        { "cpu.stat", FORM_KEY, "usage_usec", USAGE_CPU },
        { "cpu.stat", FORM_KEY, "nr_periods", USAGE_PERIODS },
        { "cpu.stat", FORM_KEY, "nr_throttled", USAGE_THROTTLED_PERIODS },
        { "cpu.stat", FORM_KEY, "throttled_usec", USAGE_THROTTLED },
        { "memory.current", FORM_NUMBER, "", USAGE_MEMORY },
        { "cpu.max", FORM_QUOTA, "", USAGE_CPU_LIMIT },
        { "memory.max", FORM_LIMIT, "", USAGE_MEMORY_LIMIT },
        { "pids.max", FORM_LIMIT, "", USAGE_TASKS_LIMIT },
        { "memory.events", FORM_KEY, "oom_kill", USAGE_OOM_KILLS },
        { "pids.current", FORM_NUMBER, "", USAGE_TASKS },
        { "io.stat", FORM_IO, "rbytes", USAGE_READ },
        { "io.stat", FORM_IO, "wbytes", USAGE_WRITTEN },
        { "cpu.pressure", FORM_PRESSURE, "some", USAGE_CPU_SOME },
        { "cpu.pressure", FORM_PRESSURE, "full", USAGE_CPU_FULL },
        { "memory.pressure", FORM_PRESSURE, "some", USAGE_MEMORY_SOME },
        { "memory.pressure", FORM_PRESSURE, "full", USAGE_MEMORY_FULL },
        { "io.pressure", FORM_PRESSURE, "some", USAGE_IO_SOME },
        { "io.pressure", FORM_PRESSURE, "full", USAGE_IO_FULL },
};

void usage_read(const char *mount, const char *partition, uint64_t leader, struct usage *ret) {
        _cleanup_close_ int dir = cgroup_open(mount, partition, leader);
        _cleanup_free_ char *text = NULL;
        size_t len;

        for (size_t i = 0; dir >= 0 && i < ULV_ARRAY_SIZE(entries); i++) {
                const struct entry *e = &entries[i];
                bool *known = &ret->known[e->field];

                if (i == 0 || !ulv_streq(e->file, entries[i - 1].file)) {
                        free(ulv_steal(text));
                        if (ulv_read_file_at(dir, e->file, FILE_MAX, &text, &len) < 0)
                                text = NULL;    /* not on this kernel, or switched off (pressure) */
                }
                if (!text)
                        continue;
                switch (e->form) {
                case FORM_NUMBER: ret->value[e->field] = strtoull(text, NULL, 10); *known = true; break;
                case FORM_LIMIT: ret->value[e->field] = usage_limit(text, known); break;
                case FORM_QUOTA: ret->value[e->field] = usage_quota(text, known); break;
                case FORM_KEY: ret->value[e->field] = usage_key(text, e->key, known); break;
                case FORM_PRESSURE: ret->value[e->field] = usage_pressure(text, e->key, known); break;
                case FORM_IO: ret->value[e->field] = usage_io(text, e->key, known); break;
                }
        }
}

/* The eighth number of /proc/stat's first line, in ticks: time that the hypervisor below us gave to others. */
void steal_read(struct snapshot *s) {
        unsigned long long ticks;
        FILE *f = fopen("/proc/stat", "re");

        if (f && fscanf(f, "cpu %*u %*u %*u %*u %*u %*u %*u %llu", &ticks) == 1) {
                s->steal_usec = ticks * 1000000u / (uint64_t) sysconf(_SC_CLK_TCK);
                s->steal_known = true;
        }
        if (f)
                (void) fclose(f);
}
