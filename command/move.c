/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Move: one transaction in the ledger, and the drop-ins of both ends, written together, so that the next apply
 * finds what was moved where it is. With --runtime nothing is written. */

#include <stdio.h>

#include "command/change.h"
#include "command/public.h"
#include "command/rows.h"
#include "lib/fd.h"
#include "lib/protocol.h"

/* What one end of the move is to have, as a set would say it. n: 1 gets it, -1 gives it. 0; 1 = no such end. */
static int end_of_move(struct manager *m, const struct ulv_request *q, const char *name, int n, struct ulv_request *ret) {
        uint64_t memory = (q->memory + ULV_MEMORY_UNIT - 1) / ULV_MEMORY_UNIT * ULV_MEMORY_UNIT;        /* as the planner counts */
        const struct summary *s;
        int r = rows_summary(m, name, NULL, &s, NULL);

        if (r != 0)
                return r;
        *ret = *q;
        ret->name = name;
        ret->cores = n > 0 ? s->cores_wanted + q->cores : s->cores_wanted - q->cores;
        ret->share = n > 0 ? s->share_wanted + q->share : s->share_wanted - q->share;
        ret->memory = n > 0 ? s->memory_wanted + memory : s->memory_wanted - memory;
        return 0;
}

struct end { struct ulv_request values; char path[ULV_NAME_MAX + 64], *text; };

static int end_make(struct manager *m, const struct ulv_request *q, const char *name, int n, struct end *e, struct ulv_diag *d) {
        int r = end_of_move(m, q, name, n, &e->values);

        (void) snprintf(e->path, sizeof(e->path), "partitions/%s.partition.d/50-set.conf", name);
        return r == 0 ? change_dropin(m, &e->values, &e->text, d) : r;
}

/* The set in force with the drop-ins of both ends: written together or not at all. */
static int bundle_with(const struct ulv_bundle *b, const struct end ends[static 2], int *ret_fd) {
        _cleanup_strbuf_ struct ulv_strbuf text = { .max = ULV_BUNDLE_MAX };
        _cleanup_free_ struct ulv_source *v = calloc(b->n_files + 2, sizeof(*v));
        size_t n = 0;
        int r;

        if (!v)
                return -ENOMEM;
        for (size_t i = 0; i < b->n_files; i++)
                if (!ulv_streq(b->files[i].file, ends[0].path) && !ulv_streq(b->files[i].file, ends[1].path))
                        v[n++] = b->files[i];
        for (int i = 0; i < 2; i++)
                v[n++] = (struct ulv_source) { .file = ends[i].path, .buf = ends[i].text, .len = strlen(ends[i].text) };
        r = ulv_bundle_build(b->version, v, n, &text);
        return r < 0 ? r : ulv_memfd_sealed("ultravisor-bundle", ulv_strbuf_str(&text), text.len, ret_fd);
}

static void move_go(struct job *j) {
        const struct item *i = &j->items[0];
        struct end ends[2] = { 0 };
        struct ulv_diag d = { 0 };
        int r;

        if (j->flags & ULV_FLAG_RUNTIME) {
                job_run(j);
                return;
        }
        r = end_make(j->m, &i->request, i->name, -1, &ends[0], &d);
        if (r == 0)
                r = end_make(j->m, &i->request, i->other, 1, &ends[1], &d);
        j->bundle = ulv_close(j->bundle);
        if (r == 0)
                r = bundle_with(j->m->bundle, ends, &j->bundle);
        free(ends[0].text);
        free(ends[1].text);
        if (r > 0)
                job_refuse(j, &d);
        else if (r < 0)
                job_refuse_errno(j, r);
        else
                change_install(j);
}

static void move_begin(struct job *j) {
        if (change_plan(j))
                move_go(j);
}

int method_move(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        struct ulv_request request = { .verb = ULV_REQUEST_MOVE };
        const char *what, *from, *to, *reason;
        uint64_t if_generation;
        struct ulv_diag d = { 0 };
        uint32_t flags;
        struct job *j;
        int r;

        if (!public_has(pp->m, call, true))
                return 1;
        r = sd_bus_message_read(call, "sssuts", &what, &from, &to, &flags, &if_generation, &reason);
        if (r < 0)
                return r;
        if (public_too_long(call, what) || public_too_long(call, reason))
                return 1;
        if (verb_what(&request, what, &d) != 0)
                return ulv_bus_reply_diag(call, &d);
        j = job_new(pp->m, call, "move", 1, flags, if_generation, reason);
        if (!j)
                return 1;
        request.runtime = flags & ULV_FLAG_RUNTIME;
        j->items[0].request = request;
        if (item_name(&j->items[0], from, to) && turn_take(j, move_begin))
                move_begin(j);
        return 1;
}
