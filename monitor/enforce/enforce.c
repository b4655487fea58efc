/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Limits of a payload, set and read back.
 *
 * Theory of operation. What a machine can enforce shows in the files that the payload's cgroup has; each
 * resource takes the strongest way there is and says which one it took:
 *
 *              by                                                        else
 *   cores      cpuset.cpus ("limit"), cpuset partition ("isolated")      affinity of every thread ("affinity")
 *   share      cpu.max ("limit"); pool CPUs by cpuset or affinity        "tracked"
 *   memory     memory.max and .min, .swap.max = 0, cpuset.mems ("limit") "tracked"
 *   limits     pids.max, io.max ("limit"): limits.c                      "tracked"
 *
 * A written file proves nothing (cpuset takes a partition type and makes it "invalid" afterwards), so each
 * is read back, and what differs is refused. Memory comes first: it is the one that a payload can refuse,
 * by using it, and a refusal must leave everything as it was. Shrinking it never kills: the payload is
 * throttled and its pages reclaimed (memory.high, memory.reclaim) until the new maximum fits, or not. */

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "monitor/enforce/enforce.h"

#define PERIOD_USEC 100000              /* cpu.max: 1/1000 thread is 100 us of it */
#define QUOTA_MIN_USEC 1000             /* the kernel's least */
#define SHRINK_TRIES 20                 /* of 10 ms: reclaim works at once or not at all */
#define AFFINITY_ROUNDS 16              /* a fork may bring a thread with the old mask while we look */

int ulv_target_refused(struct ulv_diag *d, const char *file, const char *wanted, const char *found, int r) {
        ulv_diag_what(d, ULV_EXIT_FAILED, "cannot set %s of its cgroup to %s", file, wanted);
        if (r < 0)
                ulv_diag_why(d, "the kernel says: %s", strerror(-r));
        else
                ulv_diag_why(d, "read back, it says %s", found);
        ulv_diag_try(d, "uvctl check");
        return 1;
}

int ulv_target_write(const struct ulv_target *t, const char *file, const char *text) {
        return t->scope ? ulv_scope_set(t->scope, file, text) : ulv_cgroup_write(t->cgroup, file, text);
}

/* PID 1 has made a scope with its limits, and after a reload of its own we look again: what its file says isn't asked for. */
static bool is_set(const struct ulv_target *t, const char *file, const char *text) {
        char found[4096];

        return t->scope && ulv_cgroup_read(t->cgroup, file, found, sizeof(found)) == 0 && ulv_streq(found, text);
}

int ulv_target_set(const struct ulv_target *t, const char *file, const char *read_file, const char *text, struct ulv_diag *reterr) {
        char found[4096];
        int r = is_set(t, file, text) ? 0 : ulv_target_write(t, file, text);

        if (r == 0)
                r = ulv_cgroup_read(t->cgroup, read_file, found, sizeof(found));
        if (r < 0)
                return ulv_target_refused(reterr, file, text, NULL, r);
        return ulv_streq(found, text) ? 0 : ulv_target_refused(reterr, file, text, found, 0);
}

static void sleep_ms(long ms) {
        struct timespec t = { .tv_nsec = ms * 1000000 };
        (void) nanosleep(&t, NULL);
}

/* A number of a cgroup file; UINT64_MAX for "max". 0; -errno. */
static int read_number(int cgroup, const char *file, uint64_t *ret) {
        char text[64], *end;
        int r = ulv_cgroup_read(cgroup, file, text, sizeof(text));

        if (r < 0)
                return r;
        if (ulv_streq(text, "max")) {
                *ret = UINT64_MAX;
                return 0;
        }
        errno = 0;
        uint64_t v = strtoull(text, &end, 10);
        if (errno != 0 || end == text || *end)
                return -EBADMSG;
        *ret = v;
        return 0;
}

/* Presses the payload below `bytes` without killing: 0, or 1 if it holds on to more. */
static int press(const struct ulv_target *t, uint64_t bytes, struct ulv_diag *reterr) {
        uint64_t current = 0;
        char text[32];

        for (unsigned i = 0; i < SHRINK_TRIES; i++) {
                if (read_number(t->cgroup, "memory.current", &current) < 0 || current <= bytes)
                        return 0;
                snprintf(text, sizeof(text), "%" PRIu64, bytes);
                (void) ulv_target_write(t, "memory.high", text);           /* no new ones */
                snprintf(text, sizeof(text), "%" PRIu64, current - bytes);
                (void) ulv_cgroup_write(t->cgroup, "memory.reclaim", text);        /* fewer old ones; EAGAIN: not all */
                sleep_ms(10);
        }
        ulv_diag_what(reterr, ULV_EXIT_CAPACITY, "cannot shrink its memory to %" PRIu64 "M", bytes >> 20);
        ulv_diag_why(reterr, "its processes use %" PRIu64 "M that the kernel can't reclaim", current >> 20);
        ulv_diag_try(reterr, "a size of %" PRIu64 "M or more, or stop something in it", (current >> 20) + 1);
        return 1;
}

static int set_memory_max(const struct ulv_target *t, uint64_t bytes, struct ulv_diag *reterr) {
        uint64_t current = 0;
        char text[32];
        int r = press(t, bytes, reterr);

        if (r == 0) {
                snprintf(text, sizeof(text), "%" PRIu64, bytes);
                r = ulv_target_set(t, "memory.max", "memory.max", text, reterr);
        }
        if (!is_set(t, "memory.high", "max"))
                (void) ulv_target_write(t, "memory.high", "max");
        if (r == 0 && read_number(t->cgroup, "memory.current", &current) == 0 && current > bytes) {
                snprintf(text, sizeof(text), "%" PRIu64, current);
                return ulv_target_refused(reterr, "memory.current", "its maximum", text, 0);
        }
        /* What it is given is its own: others' hunger doesn't take it away. */
        if (r == 0 && ulv_cgroup_has(t->cgroup, "memory.min")) {
                snprintf(text, sizeof(text), "%" PRIu64, bytes);
                r = ulv_target_set(t, "memory.min", "memory.min", text, reterr);
        }
        if (r == 0 && ulv_cgroup_has(t->cgroup, "memory.swap.max"))
                r = ulv_target_set(t, "memory.swap.max", "memory.swap.max", "0", reterr);
        return r;
}

/* The nodes that the grant names; on a machine with one there is nothing to choose. */
static int set_nodes(const struct ulv_target *t, const struct ulv_grant *g, struct ulv_diag *reterr) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct ulv_cpus nodes = { 0 };

        if (g->n_memory == 0 || !ulv_cgroup_has(t->cgroup, "cpuset.mems") || access("/sys/devices/system/node/node1", F_OK) < 0)
                return 0;
        for (unsigned i = 0; i < g->n_memory; i++)
                ulv_cpus_set(&nodes, g->memory[i].node);
        ulv_cpus_format(&b, &nodes);
        if (ulv_strbuf_error(&b) < 0)
                return ulv_strbuf_error(&b);
        return ulv_target_set(t, "cpuset.mems", "cpuset.mems.effective", ulv_strbuf_str(&b), reterr);
}

static int enforce_memory(const struct ulv_target *t, const struct ulv_grant *g, const char **ret_how, struct ulv_diag *reterr) {
        int r;

        *ret_how = "tracked";
        if (g->memory_bytes == 0 || !ulv_cgroup_has(t->cgroup, "memory.max"))
                return 0;
        r = set_memory_max(t, g->memory_bytes, reterr);
        if (r == 0)
                r = set_nodes(t, g, reterr);
        if (r == 0)
                *ret_how = "limit";
        return r;
}

/* --- affinity: the way without a cpuset controller ---------------------------------------------------- */

int ulv_set_affinity(pid_t tid, const struct ulv_cpus *cpus) {
        return sched_setaffinity(tid, sizeof(cpus->bits), (const cpu_set_t *) (const void *) cpus->bits) < 0 ? -errno : 0;
}

/* Sets one thread's affinity. 1: it could use a CPU outside until now; 0: it could not, or is gone. */
static int correct_thread(pid_t tid, const struct ulv_cpus *cpus) {
        struct ulv_cpus now = { 0 };

        if (sched_getaffinity(tid, sizeof(now.bits), (cpu_set_t *) (void *) now.bits) < 0)
                return errno == ESRCH ? 0 : -errno;
        if (memcmp(&now, cpus, sizeof(now)) == 0)
                return 0;
        int r = ulv_set_affinity(tid, cpus);
        if (r < 0)
                return r == -ESRCH ? 0 : r;
        return !ulv_cpus_within(&now, cpus);
}

/* All threads of one cgroup, one round: how many were outside. */
static int correct_threads(int cgroup, const struct ulv_cpus *cpus) {
        int fd = openat(cgroup, "cgroup.threads", O_RDONLY | O_CLOEXEC), changed = 0, r = 0;
        FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
        int tid;

        if (!f) {
                r = -errno;
                (void) ulv_close(fd);
                return r;
        }
        while (r >= 0 && fscanf(f, "%d", &tid) == 1)
                if (tid > 0 && (r = correct_thread(tid, cpus)) > 0)
                        changed++;
        (void) fclose(f);
        return r < 0 ? r : changed;
}

/* And of those that a container's own init made below. */
static int correct_cgroup(int cgroup, const struct ulv_cpus *cpus, unsigned depth) {
        int changed = correct_threads(cgroup, cpus), r = changed;
        int copy = depth > 0 && r >= 0 ? openat(cgroup, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
        struct dirent *e;

        if (!d)
                return r;
        while (r >= 0 && (e = readdir(d))) {
                if (e->d_type != DT_DIR || e->d_name[0] == '.')
                        continue;
                _cleanup_close_ int sub = openat(cgroup, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
                r = sub >= 0 ? correct_cgroup(sub, cpus, depth - 1) : 0;
                changed += ULV_MAX(r, 0);
        }
        (void) closedir(d);
        return r < 0 ? (r == -ENODEV || r == -ENOENT ? changed : r) : changed;
}

static int correct_process(int proc, const char *pid, const struct ulv_cpus *cpus) {
        char path[64];
        int changed = 0, r = 0;
        struct dirent *e;

        snprintf(path, sizeof(path), "%.20s/task", pid);
        int fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
        if (!d) {
                (void) ulv_close(fd);
                return 0;       /* gone meanwhile */
        }
        while (r >= 0 && (e = readdir(d))) {
                int tid = (int) strtol(e->d_name, NULL, 10);
                if (tid > 0 && (r = correct_thread(tid, cpus)) > 0)
                        changed++;
        }
        (void) closedir(d);
        return r < 0 ? r : changed;
}

/* Without any cgroup, membership is the leader's pid namespace. */
static int correct_pid_ns(pid_t leader, const struct ulv_cpus *cpus) {
        struct stat own, st;
        char path[64];
        int changed = 0, r = 0;
        struct dirent *e;
        DIR *d = opendir("/proc");

        if (!d)
                return -errno;
        snprintf(path, sizeof(path), "%d/ns/pid", (int) leader);
        if (fstatat(dirfd(d), path, &own, 0) < 0)
                r = errno == ENOENT ? 0 : -errno;
        else
                while (r >= 0 && (e = readdir(d))) {
                        if (strtol(e->d_name, NULL, 10) <= 0)
                                continue;
                        snprintf(path, sizeof(path), "%.20s/ns/pid", e->d_name);
                        if (fstatat(dirfd(d), path, &st, 0) == 0 && st.st_ino == own.st_ino && st.st_dev == own.st_dev &&
                            (r = correct_process(dirfd(d), e->d_name, cpus)) > 0)
                                changed += r;
                }
        (void) closedir(d);
        return r < 0 ? r : changed;
}

/* Rounds until one finds nobody outside: that round is the reading back. */
static int enforce_affinity(const struct ulv_target *t, const struct ulv_cpus *cpus, struct ulv_diag *reterr) {
        int r = 1;

        for (unsigned i = 0; r > 0 && i < AFFINITY_ROUNDS; i++)
                r = t->cgroup >= 0 ? correct_cgroup(t->cgroup, cpus, ULV_CGROUP_DEPTH) : t->leader > 0 ? correct_pid_ns(t->leader, cpus) : 0;
        if (r == 0)
                return 0;
        ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot move its threads to its CPUs");
        if (r < 0)
                ulv_diag_why(reterr, "the kernel says: %s", strerror(-r));
        else
                ulv_diag_why(reterr, "they change their affinity as fast as it is set, and this machine has no cpuset controller");
        ulv_diag_try(reterr, "uvctl stop it, then start it with the new number");
        return 1;
}

/* --- CPUs --------------------------------------------------------------------------------------------- */

const struct ulv_cpus *ulv_grant_cpus(const struct ulv_grant *g) {
        return g->n_cores > 0 ? &g->cpus : &g->pool;
}

/* Confines to a set of CPUs; *ret_how is how. */
static int enforce_cpus(const struct ulv_target *t, const struct ulv_grant *g, const char **ret_how, struct ulv_diag *reterr) {
        const struct ulv_cpus *cpus = ulv_grant_cpus(g);
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        int r;

        *ret_how = "tracked";
        if (ulv_cpus_count(cpus) == 0)
                return 0;
        if (!ulv_cgroup_has(t->cgroup, "cpuset.cpus")) {
                r = enforce_affinity(t, cpus, reterr);
                if (r == 0)
                        *ret_how = "affinity";
                return r;
        }
        ulv_cpus_format(&b, cpus);
        if ((r = ulv_strbuf_error(&b)) < 0)
                return r;
        if (g->n_cores == 0 && ulv_cgroup_has(t->cgroup, "cpuset.cpus.partition"))
                (void) ulv_cgroup_write(t->cgroup, "cpuset.cpus.partition", "member");
        r = ulv_target_set(t, "cpuset.cpus", "cpuset.cpus.effective", ulv_strbuf_str(&b), reterr);
        if (r == 0)
                *ret_how = g->n_cores > 0 && ulv_cpuset_partition(t->cgroup) == 0 ? "isolated" : "limit";
        return r;
}

/* Whole cores have no quota; a share is one, whatever CPUs of the pool it runs on. */
static void format_quota(const struct ulv_grant *g, char *text, size_t size) {
        if (g->n_cores > 0)
                (void) snprintf(text, size, "max %d", PERIOD_USEC);
        else
                (void) snprintf(text, size, "%" PRIu64 " %d", ULV_MAX(g->share * (PERIOD_USEC / 1000), (uint64_t) QUOTA_MIN_USEC), PERIOD_USEC);
}

static int enforce_quota(const struct ulv_target *t, const struct ulv_grant *g, struct ulv_diag *reterr) {
        char text[64];

        format_quota(g, text, sizeof(text));
        return ulv_target_set(t, "cpu.max", "cpu.max", text, reterr);
}

static int enforce_cpu(const struct ulv_target *t, const struct ulv_grant *g, const char **ret_how, struct ulv_diag *reterr) {
        bool quota = ulv_cgroup_has(t->cgroup, "cpu.max");
        int r = enforce_cpus(t, g, ret_how, reterr);

        if (r == 0 && quota && (g->share > 0 || g->n_cores > 0))
                r = enforce_quota(t, g, reterr);
        if (r == 0 && g->n_cores == 0)
                *ret_how = quota && g->share > 0 ? "limit" : "tracked";
        return r;
}

int ulv_enforce(const struct ulv_target *t, const struct ulv_grant *g, struct ulv_enforced *ret, struct ulv_diag *reterr) {
        struct ulv_enforced how = {};
        int r;

        r = enforce_memory(t, g, &how.memory, reterr);
        if (r == 0)
                r = enforce_cpu(t, g, &how.cpu, reterr);
        if (r == 0)
                r = ulv_enforce_limits(t, g, &how, reterr);
        ulv_scope_done();
        if (r == 0 && ret)
                *ret = how;
        return r;
}

/* --- a scope's, from its beginning ---------------------------------------------------------------------- */

static struct ulv_limit_file *add_file(struct ulv_limit_file *v, size_t *n, const char *file) {
        v[*n] = (struct ulv_limit_file) { .file = file };
        return &v[(*n)++];
}

size_t ulv_grant_files(const struct ulv_grant *g, struct ulv_limit_file ret[static ULV_LIMIT_FILES_MAX]) {
        static const char *const memory[] = { "memory.max", "memory.min" };
        const struct ulv_cpus *cpus = ulv_grant_cpus(g);
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        size_t n = 0;

        for (size_t i = 0; g->memory_bytes > 0 && i < ULV_ARRAY_SIZE(memory); i++)
                (void) snprintf(add_file(ret, &n, memory[i])->text, sizeof(ret->text), "%" PRIu64, g->memory_bytes);
        if (g->memory_bytes > 0)
                (void) snprintf(add_file(ret, &n, "memory.swap.max")->text, sizeof(ret->text), "0");
        if (g->share > 0 && g->n_cores == 0)
                format_quota(g, add_file(ret, &n, "cpu.max")->text, sizeof(ret->text));
        (void) snprintf(add_file(ret, &n, "pids.max")->text, sizeof(ret->text), "%" PRIu64, g->tasks);
        ulv_cpus_format(&b, cpus);
        if (ulv_cpus_count(cpus) > 0 && ulv_strbuf_error(&b) == 0 && b.len < sizeof(ret->text))
                (void) snprintf(add_file(ret, &n, "cpuset.cpus")->text, sizeof(ret->text), "%s", ulv_strbuf_str(&b));
        return n;
}
