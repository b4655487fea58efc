/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A slip of who edits files by hand: the file is written and apply forgotten, so that the partition is said not to be
 * there. (Of a value that `uvctl set` overrides, the plan of apply tells: model/planner-kept.c.) */

#include "uvctl/files.h"
#include "uvctl/text.h"

/* Of several names on a command line, the one that the refusal is about. */
static bool ends_with_name(const char *what, const char *name) {
        const char *last = strrchr(what, ' ');

        return last && ulv_streq(last + 1, name);
}

void tell_unapplied(struct uvctl *u, const char *name) {
        _cleanup_free_ char *base = files_configuration(u);
        char path[600];

        if (u->diag.code != ULV_EXIT_NOT_FOUND || !base || !ulv_name_is_valid(name) || !ends_with_name(u->diag.what, name))
                return;
        if (snprintf(path, sizeof(path), "%s/partitions/%s.partition", base, name) >= (int) sizeof(path) || access(path, F_OK) < 0)
                return;
        ulv_diag_why(&u->diag, "its file is there (partitions/%s.partition), but counts only once it is applied", name);
        ulv_diag_try(&u->diag, "uvctl apply, then again");
}
