/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* [Limits]: pids.max and io.max of its cgroup, set and read back.
 *
 * Theory of operation. io.max has a line for each disk that is limited, and a limit names a disk by a path: of
 * its device, of one of its partitions, or of any file that is on it. So paths are resolved each time, several
 * of them may come to one disk (then the least bound counts), and a line that no path comes to any more is taken
 * away. A path that comes to no disk is a refusal as long as nothing runs; later the disk may have been pulled
 * out, and that must not keep everything else from being changed: it is told as "nodevice". */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include "lib/disk.h"
#include "monitor/enforce/enforce.h"

#define IO_LIMITS 4     /* of one disk: ULV_LIMIT_IO_READ and those behind it, in this order */
static const char *const io_words[IO_LIMITS] = { "rbps", "wbps", "riops", "wiops" };

struct disk { unsigned major, minor; uint64_t bound[IO_LIMITS]; };      /* UINT64_MAX: none */

/* "8:0 rbps=1048576 wbps=max riops=max wiops=max" */
static bool parse_line(const char *line, struct disk *ret) {
        char text[IO_LIMITS][24];

        if (sscanf(line, "%u:%u rbps=%23s wbps=%23s riops=%23s wiops=%23s", &ret->major, &ret->minor, text[0], text[1], text[2], text[3]) != 6)
                return false;
        for (int i = 0; i < IO_LIMITS; i++)
                ret->bound[i] = ulv_streq(text[i], "max") ? UINT64_MAX : strtoull(text[i], NULL, 10);
        return true;
}

static void format_line(char *line, size_t size, const struct disk *d) {
        int n = snprintf(line, size, "%u:%u", d->major, d->minor);

        for (int i = 0; i < IO_LIMITS; i++)
                n += snprintf(line + n, size - (size_t) n, d->bound[i] == UINT64_MAX ? " %s=max" : " %s=%" PRIu64, io_words[i], d->bound[i]);
}

static struct disk *find_disk(struct disk *v, unsigned n, unsigned major, unsigned minor) {
        for (unsigned i = 0; i < n; i++)
                if (v[i].major == major && v[i].minor == minor)
                        return &v[i];
        return NULL;
}

/* The limits as the kernel knows them: a list of disks. hows: of the grant's limits. */
static int resolve(const struct ulv_target *t, const struct ulv_grant *g, struct disk *v, unsigned *n, const char **hows, struct ulv_diag *reterr) {
        for (unsigned i = 0; i < g->n_limits; i++) {
                const struct ulv_limit *l = &g->limits[i];
                struct disk *d;
                dev_t dev = 0;
                int r;

                if (l->what == ULV_LIMIT_TASKS)
                        continue;
                r = ulv_disk_of(l->path, &dev);
                if (r < 0 && t->leader <= 0) {
                        ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot limit its %s of %s", ulv_limit_word(l->what), l->path);
                        ulv_diag_why(reterr, "%s of %s: %s", ulv_limit_key(l->what), l->path, r == -ENODEV ? "there is no such disk, and no file on one" : strerror(-r));
                        ulv_diag_try(reterr, "lsblk, then uvctl edit, to name a disk that is here");
                        return 1;
                }
                hows[i] = r < 0 ? "nodevice" : "limit";
                if (r < 0)
                        continue;
                d = find_disk(v, *n, major(dev), minor(dev));
                if (!d) {
                        d = &v[(*n)++];
                        *d = (struct disk) { major(dev), minor(dev), { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX } };
                }
                uint64_t *bound = &d->bound[l->what - ULV_LIMIT_IO_READ];
                *bound = ULV_MIN(*bound, l->amount);
        }
        return 0;
}

/* Lines of disks that aren't limited any more. */
static int drop_others(const struct ulv_target *t, const char *now, struct disk *v, unsigned n) {
        for (const char *line = now; *line; line += strcspn(line, "\n"), line += *line == '\n') {
                struct disk d;
                char text[160];
                int r;

                if (!parse_line(line, &d) || find_disk(v, n, d.major, d.minor))
                        continue;
                for (int i = 0; i < IO_LIMITS; i++)
                        d.bound[i] = UINT64_MAX;
                format_line(text, sizeof(text), &d);
                r = ulv_target_write(t, "io.max", text);
                if (r < 0 && r != -ENODEV)
                        return r;
        }
        return 0;
}

/* Does io.max say that? */
static bool says(const char *now, const struct disk *d) {
        for (const char *line = now; *line; line += strcspn(line, "\n"), line += *line == '\n') {
                struct disk found;

                if (parse_line(line, &found) && found.major == d->major && found.minor == d->minor)
                        return memcmp(found.bound, d->bound, sizeof(found.bound)) == 0;
        }
        return false;
}

static int set_disks(const struct ulv_target *t, struct disk *v, unsigned n, struct ulv_diag *reterr) {
        char now[16384], text[160] = "";
        int r = ulv_cgroup_read(t->cgroup, "io.max", now, sizeof(now));

        if (r == 0)
                r = drop_others(t, now, v, n);
        for (unsigned i = 0; r == 0 && i < n; i++) {
                format_line(text, sizeof(text), &v[i]);
                r = ulv_target_write(t, "io.max", text);
        }
        if (r == 0)
                r = ulv_cgroup_read(t->cgroup, "io.max", now, sizeof(now));
        if (r < 0)
                return ulv_target_refused(reterr, "io.max", text, NULL, r);
        for (unsigned i = 0; i < n; i++)
                if (!says(now, &v[i])) {
                        format_line(text, sizeof(text), &v[i]);
                        return ulv_target_refused(reterr, "io.max", text, now, 0);
                }
        return 0;
}

int ulv_enforce_limits(const struct ulv_target *t, const struct ulv_grant *g, struct ulv_enforced *ret, struct ulv_diag *reterr) {
        bool pids = ulv_cgroup_has(t->cgroup, "pids.max"), io = ulv_cgroup_has(t->cgroup, "io.max");
        struct disk disks[ULV_LIMITS_MAX];
        unsigned n = 0;
        char text[24];
        int r = 0;

        if (pids) {
                (void) snprintf(text, sizeof(text), "%" PRIu64, g->tasks);
                r = ulv_target_set(t, "pids.max", "pids.max", text, reterr);
        }
        if (r == 0)
                r = resolve(t, g, disks, &n, ret->limits, reterr);
        if (r == 0 && io)
                r = set_disks(t, disks, n, reterr);
        for (unsigned i = 0; i < g->n_limits; i++)
                if (g->limits[i].what == ULV_LIMIT_TASKS)
                        ret->limits[i] = pids ? "limit" : "tracked";
                else if (!io)
                        ret->limits[i] = "tracked";
        return r;
}
