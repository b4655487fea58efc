/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/planner-internal.h"

/* The limits of a partition. Nothing is short of them, so there is no world to decide on: each is compared with
 * what the ledger wants of it, and the difference is claimed or released. */

static uint64_t wanted_now(const struct planner *p, const char *name, const struct ulv_limit *l) {
        struct ulv_holding_info h;

        return ulv_ledger_holding(p->l, "limit", ulv_limit_id(l).s, name, &h) == 0 ? h.wanted : 0;
}

/* "tasks 200 -> 500", "io-read of /dev/vda 10M/s -> none" */
static void add_change(struct ulv_strbuf *b, const struct ulv_limit *l, uint64_t from, uint64_t to) {
        ulv_strbuf_addf(b, "%s%s%s%s ", b->len > 0 ? ", " : "", ulv_limit_word(l->what), l->path[0] ? " of " : "", l->path);
        ulv_limit_add_amount(b, l->what, from);
        ulv_strbuf_add(b, " -> ");
        ulv_limit_add_amount(b, l->what, to);
}

void ulv_plan_limit(struct planner *p, const char *name, const struct ulv_limit *l, struct ulv_strbuf *text) {
        uint64_t now = wanted_now(p, name, l);
        struct ulv_strbuf *b = ulv_plan_ops(p);

        if (now == l->amount)
                return;
        if (text)
                add_change(text, l, now, l->amount);
        if (!b)
                return;
        ulv_op_begin(b, l->amount > now ? "claim" : "release", "limit", ulv_limit_id(l).s, name);
        ulv_op_add_u64(b, "amount", l->amount > now ? l->amount - now : now - l->amount);
        ulv_op_end(b);
}

struct dropping { struct planner *p; const struct ulv_definition *d; struct ulv_strbuf *text; };

static int drop_limit(const struct ulv_holding_info *h, void *userdata) {
        const struct dropping *x = userdata;
        struct ulv_limit l;

        if (ulv_limit_from_id(h->id, &l) == 0 && !ulv_limit_find(x->d->limits, x->d->n_limits, &l))
                ulv_plan_limit(x->p, x->d->name, &l, x->text);
        return 0;
}

void ulv_plan_limits(struct planner *p, const struct ulv_definition *d, struct ulv_strbuf *text) {
        struct dropping x = { p, d, text };

        for (size_t i = 0; i < d->n_limits; i++)
                ulv_plan_limit(p, d->name, &d->limits[i], text);
        (void) ulv_ledger_each_holding(p->l, "limit", d->name, drop_limit, &x);
}

static int count_wanted(const struct ulv_holding_info *h, void *userdata) {
        *(size_t *) userdata += h->wanted > 0;
        return 0;
}

bool ulv_plan_has_limits(const struct planner *p, const struct ulv_definition *d) {
        size_t n = 0;

        (void) ulv_ledger_each_holding(p->l, "limit", d->name, count_wanted, &n);
        for (size_t i = 0; i < d->n_limits; i++)
                if (wanted_now(p, d->name, &d->limits[i]) != d->limits[i].amount)
                        return false;
        return n == d->n_limits;
}

void ulv_plan_add_limit_difference(struct ulv_strbuf *b, const struct ulv_definition *from, const struct ulv_definition *to) {
        for (size_t i = 0; i < from->n_limits; i++)
                if (!ulv_limit_find(to->limits, to->n_limits, &from->limits[i]))
                        add_change(b, &from->limits[i], from->limits[i].amount, 0);
        for (size_t i = 0; i < to->n_limits; i++) {
                const struct ulv_limit *was = ulv_limit_find(from->limits, from->n_limits, &to->limits[i]);

                if (!was || was->amount != to->limits[i].amount)
                        add_change(b, &to->limits[i], was ? was->amount : 0, to->limits[i].amount);
        }
}
