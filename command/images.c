/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the planner, which looks at nothing, is told of the machine: images that definitions name and that aren't there. */

#include "lib/image.h"

#include <unistd.h>

#include "command/manager.h"

/* What can't be looked at isn't said to be missing: then the monitor tells. */
static bool is_missing(const struct manager *m, const char *image) {
        char relative[sizeof(ULV_IMAGES) + ULV_NAME_MAX + 2], target[8];
        _cleanup_free_ char *path = NULL;

        (void) snprintf(relative, sizeof(relative), ULV_IMAGES "/%s", image);
        path = ulv_role_path(&m->role, relative);
        return path && readlink(path, target, sizeof(target)) < 0 && errno == ENOENT;
}

static bool is_asked_about(const struct ulv_request *r, const struct ulv_definition *d) {
        if (!ulv_streq(d->type, "container") || !d->image[0])
                return false;
        return r->verb == ULV_REQUEST_APPLY ? !r->name || !r->name[0] || ulv_streq(d->name, r->name) :
               r->verb == ULV_REQUEST_START && ulv_streq(d->name, r->name);
}

int manager_plan(const struct manager *m, const struct ulv_ledger *l, const struct ulv_bundle *b, const struct ulv_request *request, struct ulv_plan **ret) {
        _cleanup_free_ const char **missing = calloc(b->n_definitions + 1, sizeof(*missing));
        struct ulv_request r = *request;
        size_t n = 0;

        if (!missing)
                return -ENOMEM;
        for (size_t i = 0; i < b->n_definitions; i++)
                if (is_asked_about(&r, b->definitions[i]) && is_missing(m, b->definitions[i]->image))
                        missing[n++] = b->definitions[i]->image;
        r.missing = missing;
        return ulv_plan_make(l, b, &r, ret);
}
