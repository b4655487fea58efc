/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command/preview.h"

#include <stdio.h>

#include "lib/protocol.h"

void preview_lines(struct ulv_strbuf *b, const struct ulv_plan *p) {
        for (size_t i = 0; i < p->n_lines; i++)
                ulv_strbuf_addf(b, "%s\t%s\t%s\t%s\n", p->lines[i].name, p->lines[i].action, p->lines[i].text ? p->lines[i].text : "",
                                p->lines[i].note);
}

static int step(struct ulv_ledger *l, const char *operations, uint64_t now, size_t n, struct ulv_diag *reterr) {
        struct ulv_outcome outcome = { 0 };
        struct ulv_txn t = { .zone = "default", .subject = "preview", .reason = "", .now = now, .operations = operations,
                             .operations_len = strlen(operations) };
        char id[32];
        int r;

        (void) snprintf(id, sizeof(id), "preview-%zu", n);
        t.id = id;
        r = ulv_ledger_step(l, &t, &outcome, reterr);
        ulv_outcome_done(&outcome);
        return r;
}

/* The start of a restart is planned on what the stop gives back: on the copy, the monitor has proved it gone. */
static int step_end(struct ulv_ledger *l, const char *name, uint64_t now, struct ulv_diag *reterr) {
        struct ulv_outcome outcome = { 0 };
        struct ulv_partition_info p;
        char report[128], id[128];
        int r;

        if (ulv_ledger_partition(l, name, &p) != 0 || !ulv_state_is_live(p.state))
                return 0;
        (void) snprintf(report, sizeof(report), "ended partition %s - result=exit:0\n", name);
        (void) snprintf(id, sizeof(id), "preview-end-%s", name);
        const struct ulv_txn t = { .id = id, .zone = "default", .subject = "preview", .reason = "", .now = now, .operations = report,
                                   .operations_len = strlen(report), .reporter = name };
        r = ulv_ledger_step(l, &t, &outcome, reterr);
        ulv_outcome_done(&outcome);
        return r;
}

/* What is said of all plans together: the summary of the only one, or of what all of them take; and every
 * plan's explanation. */
struct texts {
        char summary[sizeof(((struct ulv_plan *) NULL)->summary)];
        struct ulv_plan_use use;
        bool something;         /* not all of them are "Nothing to do." */
        struct ulv_strbuf explain;
};

static void add_use(struct texts *t, const struct ulv_plan *p, bool first) {
        if (first)
                t->use.idle = p->use.idle;      /* before any of it */
        ulv_amounts_add(&t->use.taken, &p->use.taken);
        ulv_amounts_add(&t->use.from_host, &p->use.from_host);
        t->something |= p->operations.len > 0;
}

/* l: NULL to plan on the mirror itself. */
static int preview_item(struct job *j, struct item *i, struct ulv_ledger *l, struct texts *t, struct ulv_diag *reterr) {
        const struct manager *m = j->m;
        struct ulv_plan *p = NULL;
        int r;

        r = manager_plan(m, l ? l : m->ledger, j->candidate ? j->candidate : m->bundle, &i->request, &p);
        if (r < 0)
                return r;
        if (r > 0)
                *reterr = p->reasons[0];
        else {
                preview_lines(&j->plan, p);
                (void) snprintf(t->summary, sizeof(t->summary), "%s", p->summary);
                add_use(t, p, i == j->items);
                if (l && p->operations.len > 0)
                        r = step(l, ulv_strbuf_str(&p->operations), manager_now(m, CLOCK_REALTIME), (size_t) (i - j->items), reterr);
                if (r == 0 && l && ulv_streq(j->verb, "restart") && i->request.verb == ULV_REQUEST_STOP)
                        r = step_end(l, i->name, manager_now(m, CLOCK_REALTIME), reterr);
        }
        ulv_strbuf_add(&t->explain, ulv_strbuf_str(&p->explain));
        ulv_plan_free(p);
        return r > 0 ? 1 : r;
}

int preview(struct job *j, struct ulv_diag *reterr) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *copy = NULL;
        struct texts t = { .explain = { .max = 4 * 1024 * 1024 } };
        int r = 0;

        if (j->if_generation != 0 && j->if_generation != ulv_ledger_generation(j->m->ledger)) {
                ulv_diag_what(reterr, ULV_EXIT_CONFLICT, "cannot %s on generation %llu", j->verb, (unsigned long long) j->if_generation);
                ulv_diag_why(reterr, "the ledger is at generation %llu: something changed since", (unsigned long long) ulv_ledger_generation(j->m->ledger));
                ulv_diag_try(reterr, "look at the change (uvctl history), then again");
                return 1;
        }
        if (j->n_items > 1)
                r = mirror_copy(j->m, &copy);
        for (size_t i = 0; i < j->n_items && r == 0; i++)
                r = preview_item(j, &j->items[i], copy, &t, reterr);
        if (r == 0) {
                if (j->n_items > 1 && ulv_streq(j->verb, "start") && t.something)
                        ulv_plan_use_summary(&t.use, "", t.summary, sizeof(t.summary));
                ulv_strbuf_addf(&j->plan, "\n%s\n", t.summary);
                if (j->flags & ULV_FLAG_EXPLAIN)
                        ulv_strbuf_addf(&j->plan, "\n%s", ulv_strbuf_str(&t.explain));
                r = j->plan.error;
        }
        ulv_strbuf_done(&t.explain);
        return r;
}

int preview_operations(struct manager *m, const char *operations, struct ulv_diag *reterr) {
        const struct ulv_txn t = { .id = "preview", .zone = "default", .subject = "preview", .reason = "", .now = manager_now(m, CLOCK_REALTIME),
                                   .operations = operations, .operations_len = strlen(operations) };
        int r = ulv_ledger_try(m->ledger, &t, reterr);

        return r > 0 ? 1 : r;
}
