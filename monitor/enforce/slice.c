/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The slice of the scopes that have cores of their own, as a cpuset partition.
 *
 * Theory of operation. A cpuset partition keeps everybody else off its CPUs, and needs a parent that is one. So
 * ultravisor.slice, at the top, has just the CPUs of all scopes in it, and is a partition root while it has any; each
 * scope with cores is one below it. (Shares of the pool run where the host does: their scopes are in uvpool.slice.)
 * It is made to fit from what is there: the CPUs of the scopes in it, and those that the caller is about to give. Monitors do
 * that before a scope gets CPUs, since a process can't be moved into an empty cpuset, and after it gave some back; uv-unit
 * for those that died before they could. One at a time: who is about to give holds the lock until they stand in the scope.
 * Where somebody else is to make that scope (libvirt), and may take its time or never answer, nobody waits for it: a file in
 * the partition's directory below /run says that these CPUs are taken, until they stand in the scope.
 *
 * The kernel takes any word for cpuset.cpus.partition and makes it invalid afterwards: it is read back. */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>

#include "lib/protocol.h"
#include "monitor/enforce/enforce.h"

#define LOCK "/" ULV_RUN "/slice.lock"
#define PARTITION "cpuset.cpus.partition"

int ulv_slice_lock(void) {
        _cleanup_close_ int fd = open(LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd < 0)
                return -errno;
        while (flock(fd, LOCK_EX) < 0)
                if (errno != EINTR)
                        return -errno;
        return ulv_steal_fd(&fd);
}

static void add_cpus(int dir, const char *name, struct ulv_cpus *all) {
        _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        struct ulv_cpus cpus;
        char text[4096];

        if (fd < 0 || ulv_cgroup_read(fd, "cpuset.cpus", text, sizeof(text)) < 0 || !text[0] || ulv_cpus_parse(text, &cpus) < 0)
                return;
        ulv_cpus_add(all, &cpus);
}

static int sum_scopes(int slice, struct ulv_cpus *all) {
        int copy = openat(slice, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = copy < 0 ? NULL : fdopendir(copy);
        struct dirent *e;

        if (!d) {
                (void) ulv_close(copy);
                return -errno;
        }
        while ((e = readdir(d)))
                if (e->d_type == DT_DIR && e->d_name[0] != '.')
                        add_cpus(slice, e->d_name, all);
        (void) closedir(d);
        return 0;
}

/* What is to come into it. */
static void sum_reserved(struct ulv_cpus *all) {
        DIR *d = opendir("/" ULV_RUN_PARTITION);
        struct dirent *e;
        char path[300];

        while (d && (e = readdir(d)))
                if (e->d_name[0] != '.' && (size_t) snprintf(path, sizeof(path), "%s/" ULV_SLICE_RESERVED, e->d_name) < sizeof(path)) {
                        struct ulv_cpus cpus;
                        char text[4096];

                        if (ulv_cgroup_read(dirfd(d), path, text, sizeof(text)) == 0 && ulv_cpus_parse(text, &cpus) == 0)
                                ulv_cpus_add(all, &cpus);
                }
        if (d)
                (void) closedir(d);
}

/* "root", valid; no matter what it was. */
int ulv_cpuset_partition(int cgroup) {
        char found[256];
        int r = ulv_cgroup_read(cgroup, PARTITION, found, sizeof(found));

        if (r == 0 && !ulv_streq(found, "root") && (r = ulv_cgroup_write(cgroup, PARTITION, "root")) == 0)
                r = ulv_cgroup_read(cgroup, PARTITION, found, sizeof(found));
        if (r < 0)
                return r;
        if (ulv_streq(found, "root"))
                return 0;
        (void) ulv_cgroup_write(cgroup, PARTITION, "member");
        return 1;
}

/* Has PID 1 the slice's CPUs be these, and reads back that they are. */
static int set_cpus(int slice, const struct ulv_cpus *cpus) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        char found[4096];
        int r;

        ulv_cpus_format(&b, cpus);
        if ((r = ulv_strbuf_error(&b)) < 0)
                return r;
        if (ulv_cgroup_read(slice, "cpuset.cpus", found, sizeof(found)) < 0)
                found[0] = 0;
        if (ulv_streq(found, ulv_strbuf_str(&b)))
                return 0;
        /* The controller comes with the property; where there is none, affinity is all that there is. */
        r = ulv_scope_set(ULV_SLICE_CORES, "cpuset.cpus", ulv_strbuf_str(&b));
        if (r < 0 || !ulv_cgroup_has(slice, "cpuset.cpus"))
                return r;
        r = ulv_cgroup_read(slice, "cpuset.cpus", found, sizeof(found));
        return r < 0 ? r : ulv_streq(found, ulv_strbuf_str(&b)) ? 0 : -EIO;
}

int ulv_slice_fit(const char *path, const struct ulv_cpus *more) {
        struct ulv_cpus all = more ? *more : (struct ulv_cpus) { 0 };
        _cleanup_close_ int slice = -1;
        int r;

        if (more && (r = ulv_slice_start(path)) < 0)
                return r;
        slice = ulv_cgroup_open(path, false);
        if (slice == -ENOENT)
                ulv_irq_fit(&all);      /* PID 1 took it away with its last scope */
        if (slice < 0)
                return slice == -ENOENT ? 0 : slice;
        if ((r = sum_scopes(slice, &all)) < 0)
                return r;
        sum_reserved(&all);
        if (ulv_cpus_count(&all) == 0)
                (void) ulv_cgroup_write(slice, PARTITION, "member");
        r = set_cpus(slice, &all);
        /* That it can't be one is no error: its scopes then say "limit". */
        if (r == 0 && ulv_cpus_count(&all) > 0)
                (void) !ulv_cpuset_partition(slice);
        if (r == 0)
                ulv_irq_fit(&all);
        return r;
}
