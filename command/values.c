/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The values of set, move and why: KEY=VALUE as people type it. */

#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "command/public.h"

/* Who types memory=64 means 64M: taken as bytes, it would shrink the partition to the least there is. */
static int check_unit(uint64_t memory, const char *value, struct ulv_diag *reterr) {
        uint64_t number = memory > 1 && strspn(value, "0123456789") == strlen(value) ? memory + memory % 2 : 2;

        if (memory == 0 || memory >= ULV_MEMORY_UNIT)
                return 0;
        ulv_diag_what(reterr, ULV_EXIT_USAGE, "memory=%.64s is less than there can be", value);
        ulv_diag_why(reterr, "memory is given in pieces of 2M, and a number without a unit is bytes");
        ulv_diag_try(reterr, "memory=%lluM", (unsigned long long) number);
        return 1;
}

static int refuse_key(const char *key, struct ulv_diag *reterr) {
        ulv_diag_what(reterr, ULV_EXIT_USAGE, "%.64s isn't something that can be set or moved", key);
        ulv_diag_why(reterr, "cores, share and memory are; and tasks, io-read, io-write, iops-read and iops-write can be set");
        ulv_diag_try(reterr, "uvctl set NAME memory=2G, or: uvctl move memory=2G FROM TO");
        return 1;
}

static int refuse_limit(const char *key, const char *value, enum ulv_limit_what what, struct ulv_diag *reterr) {
        bool bytes = what == ULV_LIMIT_IO_READ || what == ULV_LIMIT_IO_WRITE;

        ulv_diag_what(reterr, ULV_EXIT_USAGE, "%s=%.64s isn't a limit", key, value);
        if (what == ULV_LIMIT_TASKS)
                ulv_diag_why(reterr, "it wants a number of processes and threads from %d to %d, or nothing for the %d that are standard",
                             ULV_LIMIT_TASKS_MIN, ULV_LIMIT_TASKS_MAX, ULV_LIMIT_TASKS_STANDARD);
        else
                ulv_diag_why(reterr, "it wants the path of a disk, a colon, and %s a second, or infinity", bytes ? "bytes" : "operations");
        ulv_diag_try(reterr, what == ULV_LIMIT_TASKS ? "%s=500" : bytes ? "%s=/dev/vda:10M" : "%s=/dev/vda:500", key);
        return 1;
}

/* tasks= alone means the standard again, as in a file. */
static int limit_value(struct ulv_request *r, enum ulv_limit_what what, const char *value, struct ulv_diag *reterr) {
        struct ulv_limit l = { .what = what };
        struct ulv_limit *old;

        if (!(what == ULV_LIMIT_TASKS && !*value) && ulv_limit_parse(what, value, ':', &l) < 0)
                return refuse_limit(ulv_limit_word(what), value, what, reterr);
        old = ulv_limit_find(r->limits, r->n_limits, &l);
        if (!old && r->n_limits == ULV_REQUEST_LIMITS_MAX) {
                ulv_diag_what(reterr, ULV_EXIT_USAGE, "more than %d limits at once", ULV_REQUEST_LIMITS_MAX);
                ulv_diag_try(reterr, "uvctl set, some of them first");
                return 1;
        }
        *(old ? old : &r->limits[r->n_limits++]) = l;
        return 0;
}

static int other_value(struct ulv_request *r, const char *key, const char *value, struct ulv_diag *reterr) {
        for (int i = 0; i < ULV_LIMIT_MAX_; i++)
                if (ulv_streq(key, ulv_limit_word((enum ulv_limit_what) i)))
                        return limit_value(r, (enum ulv_limit_what) i, value, reterr);
        return refuse_key(key, reterr);
}

int verb_value(struct ulv_request *r, const char *key, const char *value, struct ulv_diag *reterr) {
        int k;

        if (ulv_streq(key, "cores")) {
                k = ulv_uint_parse(value, ULV_CPU_MAX, &r->cores);
                r->has_cores = true;
        } else if (ulv_streq(key, "share")) {
                k = ulv_share_parse(value, &r->share);
                r->has_share = true;
        } else if (ulv_streq(key, "memory")) {
                k = ulv_size_parse(value, &r->memory);
                r->has_memory = true;
        } else
                return other_value(r, key, value, reterr);
        if (k < 0) {
                ulv_diag_what(reterr, ULV_EXIT_USAGE, "%s=%.64s isn't an amount", key, value);
                ulv_diag_why(reterr, "%s", ulv_streq(key, "cores") ? "it wants a whole number" : ulv_streq(key, "share") ?
                             "it wants a number with at most three decimals" : "it wants a number with K, M, G, T or P behind it");
                ulv_diag_try(reterr, "%s", ulv_streq(key, "cores") ? "cores=2" : ulv_streq(key, "share") ? "share=1.5" : "memory=2G");
                return 1;
        }
        return ulv_streq(key, "memory") ? check_unit(r->memory, value, reterr) : 0;
}

/* "cores=1" */
int verb_what(struct ulv_request *r, const char *what, struct ulv_diag *reterr) {
        const char *eq = strchr(what, '=');
        char key[16];
        int k;

        (void) snprintf(key, sizeof(key), "%.*s", (int) (eq ? eq - what : 15), what);
        k = verb_value(r, key, eq ? eq + 1 : "", reterr);
        if (k != 0 || r->n_limits == 0)
                return k;
        ulv_diag_what(reterr, ULV_EXIT_USAGE, "cannot move %s", key);
        ulv_diag_why(reterr, "a limit is each partition's own: nobody gets what another may not use");
        ulv_diag_try(reterr, "uvctl set NAME %s", what);
        return 1;
}

/* A slip in a path is told here: what its monitor says later is a limit that nothing enforces ("nodevice"). It
 * looks as nobody; where it may not look, the monitor, who may, has the last word. */
int verb_check_disks(const struct ulv_request *r, struct ulv_diag *reterr) {
        for (size_t i = 0; i < r->n_limits; i++) {
                const struct ulv_limit *l = &r->limits[i];
                struct stat st;
                bool there;

                if (l->what == ULV_LIMIT_TASKS || l->amount == 0)
                        continue;
                there = stat(l->path, &st) == 0;
                if (there ? S_ISBLK(st.st_mode) || major(st.st_dev) != 0 : errno != ENOENT && errno != ENOTDIR)
                        continue;
                ulv_diag_what(reterr, ULV_EXIT_USAGE, "cannot set %s of %s", ulv_limit_word(l->what), l->path);
                ulv_diag_why(reterr, there ? "it is no disk, and its file system isn't on one (overlay, btrfs, tmpfs, a network)" : "there is no such file here");
                ulv_diag_try(reterr, "lsblk, then a disk that it shows");
                return 1;
        }
        return 0;
}
