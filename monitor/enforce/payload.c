/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a monitor does to the one cgroup that its payload has, and to the slice above it. */

#include <fcntl.h>

#include "monitor/enforce/enforce.h"

#define SCOPE_LOOKS 8           /* at an empty scope, until PID 1 is asked to end it */

/* --- pausing ------------------------------------------------------------------------------------------ */

/* The file is there in every cgroup2 directory but the root, whatever controllers are. */
bool ulv_cgroup_may_freeze(struct ulv_monitor *m) {
        _cleanup_close_ int fd = ulv_cgroup_open(ulv_monitor_cgroup(m), false);

        return ulv_cgroup_has(fd, "cgroup.freeze");
}

/* "frozen 1" is the kernel's word that the last task stands still: a write to cgroup.freeze only asks. */
int ulv_cgroup_freeze(struct ulv_monitor *m, bool frozen) {
        _cleanup_close_ int fd = ulv_cgroup_open(ulv_monitor_cgroup(m), false);
        char text[256];
        int r;

        if (fd < 0)
                return fd;
        r = ulv_cgroup_write(fd, "cgroup.freeze", frozen ? "1" : "0");
        if (r < 0 || (r = ulv_cgroup_read(fd, "cgroup.events", text, sizeof(text))) < 0)
                return r;
        return strstr(text, frozen ? "frozen 1" : "frozen 0") == NULL;
}

/* --- its scope ---------------------------------------------------------------------------------------- */

/* Each limit by itself would cost a call to PID 1, and one that asks whether it is in force. */
int ulv_payload_scope(struct ulv_monitor *m, const struct ulv_grant *g, pid_t pid, struct ulv_diag *reterr) {
        _cleanup_free_ struct ulv_limit_file *limits = calloc(ULV_LIMIT_FILES_MAX, sizeof(*limits));

        if (!limits)
                return -ENOMEM;
        return ulv_scope_start(ulv_monitor_scope(m), ulv_monitor_slice(m), ulv_monitor_name(m), pid, limits, ulv_grant_files(g, limits), reterr);
}

/* --- its cores ---------------------------------------------------------------------------------------- */

static char *slice_path(struct ulv_monitor *m) {
        const char *dir = ulv_monitor_cgroup(m);

        return strndup(dir, (size_t) (strrchr(dir, '/') - dir));
}

static bool has_slice(struct ulv_monitor *m) {
        return ulv_monitor_scope(m) && ulv_streq(ulv_monitor_slice(m), ULV_SLICE_CORES);
}

int ulv_slice_take(struct ulv_monitor *m, const struct ulv_grant *g, int *ret_lock) {
        _cleanup_close_ int lock = -1;
        _cleanup_free_ char *path = NULL;
        int r;

        if (!has_slice(m) || g->n_cores == 0)
                return 0;
        lock = ulv_slice_lock();
        path = slice_path(m);
        if (lock < 0 || !path)
                return lock < 0 ? lock : -ENOMEM;
        r = ulv_slice_fit(path, &g->cpus);
        if (r == 0)
                *ret_lock = ulv_steal_fd(&lock);
        return r;
}

int ulv_slice_release(struct ulv_monitor *m, int lock) {
        _cleanup_close_ int own = -1;
        _cleanup_free_ char *path = NULL;
        int r;

        if (!has_slice(m))
                return 0;
        own = lock < 0 ? ulv_slice_lock() : -1;
        path = slice_path(m);
        if (own < -1 || !path)
                return own < -1 ? own : -ENOMEM;
        r = ulv_slice_fit(path, NULL);
        ulv_scope_done();
        return r;
}

int ulv_slice_reserve(struct ulv_monitor *m, const struct ulv_grant *g) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        _cleanup_close_ int lock = -1, file = -1;
        int r;

        if (!has_slice(m) || g->n_cores == 0)
                return 0;
        r = ulv_slice_take(m, g, &lock);
        if (r < 0)
                return r;
        ulv_cpus_format(&b, &g->cpus);
        file = openat(ulv_monitor_run_dir(m), ULV_SLICE_RESERVED, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (file < 0 || write(file, ulv_strbuf_str(&b), b.len) != (ssize_t) b.len)
                return file < 0 ? -errno : -EIO;
        return ulv_strbuf_error(&b);
}

void ulv_slice_reserved_stands(struct ulv_monitor *m) { (void) unlinkat(ulv_monitor_run_dir(m), ULV_SLICE_RESERVED, 0); }

int ulv_scope_end(struct ulv_monitor *m, unsigned *looks) {
        int r = ulv_cgroup_remove_below(ulv_monitor_cgroup(m));

        if (r == 0 && access(ulv_monitor_cgroup(m), F_OK) == 0) {
                if (++*looks % SCOPE_LOOKS == 0)
                        ulv_scope_stop(ulv_monitor_scope(m));
                return -EBUSY;
        }
        *looks = 0;
        ulv_slice_reserved_stands(m);
        return r < 0 ? r : ulv_slice_release(m, -1);
}

/* --- who is counted as the payload -------------------------------------------------------------------- */

/* A child's way to be counted as the payload. Into a cgroup that was delegated (Init=yes) root can't go without rights
 * that it has given up: -EACCES. */
int ulv_cgroup_join(struct ulv_monitor *m) {
        _cleanup_close_ int fd = *ulv_monitor_cgroup(m) ? ulv_cgroup_open(ulv_monitor_cgroup(m), false) : -1;

        if (fd < 0 || faccessat(fd, "memory.current", F_OK, 0) < 0)
                return -ENOENT;         /* what isn't counted there is nobody's */
        return ulv_cgroup_write(fd, "cgroup.procs", "0");
}
