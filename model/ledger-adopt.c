/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* --rebuild: what runs is taken into a new ledger, one view after the other, as its monitor kept it. The
 * units come from idle or from the host, who have all at first. What was on its way out when the old
 * ledger was lost stays with the partition: whoever wanted it asks again. */

#include "model/ledger-internal.h"

struct adoption {
        struct loader ld;
        struct partition *p;
};

enum { PASS_PARTITION, PASS_HOLDINGS, PASS_MAX_ };

static int refuse(struct adoption *a, const struct ulv_op *op, const char *why) {
        ulv_diag_what(a->ld.reterr, ULV_EXIT_CONFLICT, "cannot adopt %s", a->p ? a->p->name : op->id);
        ulv_diag_why(a->ld.reterr, "%s %s: %s", op->kind, op->id, why);
        ulv_diag_try(a->ld.reterr, "stop one of those who have it (systemctl stop uv-partition@NAME), then again");
        return 1;
}

static int adopt_partition(struct adoption *a, const struct ulv_op *op) {
        struct ulv_ledger *l = a->ld.l;
        struct partition *p = ulv_find_partition(l, op->id);
        int r;

        if (a->p || !ulv_name_is_valid(op->id) || ulv_name_is_reserved(op->id))
                return refuse(a, op, "not the row of one partition");
        if (p && ulv_is_live(p))
                return refuse(a, op, "it is in the ledger already, and live");
        if (!p) {
                if (l->c.n_partitions >= ULV_PARTITIONS_MAX)
                        return refuse(a, op, "too many partitions");
                p = ulv_add_partition(l, op->id);
                if (!p)
                        return -ENOMEM;
                l->c.n_partitions++;
        }
        ulv_touch(l, &p->o);
        r = ulv_read_partition_body(&a->ld, op, p);
        if (r != 0)
                return r;
        if (!ulv_is_live(p))
                return refuse(a, op, "its view doesn't say that it runs");
        l->c.incarnation = ULV_MAX(l->c.incarnation, p->b.incarnation);
        a->p = p;
        return 0;
}

static int find_resource(struct adoption *a, const struct ulv_op *op, struct resource **ret) {
        int kind = ulv_kind_from_name(op->kind);
        struct resource *r = kind < 0 ? NULL : ulv_find_resource(a->ld.l, (enum kind) kind, op->id);

        if (!r && ulv_may_be_made(a->ld.l, kind, op->id)) {
                r = ulv_add_resource(a->ld.l, (enum kind) kind, op->id);
                if (!r)
                        return -ENOMEM;
        }
        if (!r)
                return refuse(a, op, "the machine doesn't have it");
        *ret = r;
        return 0;
}

/* The pool as the view knew it: its cores, and how far it was given out. */
static int set_parameter(struct ulv_ledger *l, const char *key, const char *value) {
        struct parameter *p = ulv_find_parameter(l, key);

        if (p && ulv_streq0(p->b.value, value))
                return 0;
        if (!p)
                l->c.n_parameters++;
        p = ulv_need_parameter(l, key);
        if (!p)
                return -ENOMEM;
        p->b.gone = false;
        l->pool_stale = true;
        return ulv_set_string(&p->b.value, p->old.value, value);
}

static int adopt_pool_cores(struct ulv_ledger *l, const struct ulv_cpus *cpus) {
        for (size_t i = 0; i < l->sorted[KIND_CORE].n; i++) {
                struct resource *r = l->sorted[KIND_CORE].v[i];
                struct ulv_cpus threads;
                bool inside = r->b.threads && ulv_cpus_parse(r->b.threads, &threads) == 0 && ulv_cpus_within(&threads, cpus);

                for (int from = 0; inside && from < 2; from++) {
                        struct partition *p = l->infra[from ? INFRA_HOST : INFRA_IDLE];
                        struct holding *h = ulv_find_holding(l, r, p);

                        if (h && h->b.amount > 0 && ulv_move_now(l, r, p, l->infra[INFRA_POOL], 1) < 0)
                                return -ENOMEM;
                }
        }
        return 0;
}

static int adopt_pool(struct adoption *a, const struct ulv_op *op) {
        const char *source = ulv_op_get(op, "source"), *overcommit = ulv_op_get(op, "overcommit"), *list = ulv_op_get(op, "cpus");
        struct ulv_cpus cpus;
        uint64_t n;
        int r = 0;

        if (overcommit) {
                if (ulv_uint_parse(overcommit, 1000000, &n) < 0 || n < 1000)
                        return refuse(a, op, "overcommit= can't be that");
                if (n != ulv_overcommit(a->ld.l))
                        r = set_parameter(a->ld.l, "pool.overcommit", overcommit);
        }
        if (r < 0 || !source || !ulv_streq(source, "pool"))
                return r;
        if (!list || ulv_cpus_parse(list, &cpus) < 0)
                return refuse(a, op, "cpus= isn't a list");
        r = set_parameter(a->ld.l, "pool.source", "pool");
        return r < 0 ? r : adopt_pool_cores(a->ld.l, &cpus);
}

/* Takes n from idle, then from the host; anybody else keeps what he has. */
static int take(struct adoption *a, const struct ulv_op *op, struct resource *r, uint64_t n) {
        struct ulv_ledger *l = a->ld.l;

        if (ulv_kinds[r->kind].idle_implied) {
                for (const struct holding *h = r->holdings; ulv_kinds[r->kind].unit && h; h = h->r_next)
                        if (h->b.amount > 0)
                                return refuse(a, op, "somebody else has it");
                return ulv_move_now(l, r, l->infra[INFRA_IDLE], a->p, n);
        }
        for (int from = 0; from < 2 && n > 0; from++) {
                struct partition *p = l->infra[from ? INFRA_HOST : INFRA_IDLE];
                const struct holding *h = ulv_find_holding(l, r, p);
                uint64_t part = h ? ULV_MIN(n, h->b.amount) : 0;

                if (part > 0 && ulv_move_now(l, r, p, a->p, part) < 0)
                        return -ENOMEM;
                n -= part;
        }
        return n > 0 ? refuse(a, op, ulv_kinds[r->kind].unit ? "somebody else has it" : "there isn't that much left") : 0;
}

static int adopt_holding(struct adoption *a, const struct ulv_op *op) {
        struct ulv_ledger *l = a->ld.l;
        uint64_t amount = 1, reached = 0;
        const char *how = ulv_op_get(op, "how");
        struct resource *r = NULL;
        struct holding *h;
        int q;

        if (!ulv_streq(op->owner, a->p->name))
                return refuse(a, op, "a row of somebody else");
        q = find_resource(a, op, &r);
        if (q != 0)
                return q;
        if (ulv_op_get_u64(op, "amount", &amount) < 0 || ulv_op_get_u64(op, "reached", &reached) < 0 || amount == 0 ||
            reached > amount || amount > UINT64_MAX / 4096 || (ulv_kinds[r->kind].unit && amount != 1))
                return refuse(a, op, "amount= or reached= can't be that");
        if (ulv_find_holding(l, r, a->p) && ulv_find_holding(l, r, a->p)->b.amount > 0)
                return refuse(a, op, "it stands in the view twice");
        q = r->kind == KIND_SHARE ? adopt_pool(a, op) : 0;
        if (q == 0)
                q = take(a, op, r, amount);
        if (q != 0)
                return q;
        h = ulv_find_holding(l, r, a->p);
        h->b.reached = ulv_kinds[r->kind].reached ? reached : 0;
        return ulv_copy(h->b.how, sizeof(h->b.how), how ? how : "") ? 0 : refuse(a, op, "how= is too long");
}

static int adopt_line(const char *line, size_t len, void *userdata) {
        struct adoption *a = userdata;
        _cleanup_op_ struct ulv_op op = {};
        int r;

        a->ld.line++;
        r = ulv_op_parse(line, len, &op, a->ld.reterr);
        if (r != 0)
                return r;
        if (!ulv_streq(op.verb, "row"))
                return ulv_bad_row(&a->ld, &op, "not a row of a view");
        if (ulv_streq(op.kind, "ledger") || ulv_streq(op.kind, "inventory"))
                return 0;
        if (ulv_streq(op.kind, "partition"))
                return a->ld.pass == PASS_PARTITION ? adopt_partition(a, &op) : 0;
        /* The view doesn't say who is at the other end: the channel is made anew, by the next apply. */
        if (ulv_streq(op.kind, "channel"))
                return 0;
        return a->ld.pass == PASS_HOLDINGS ? adopt_holding(a, &op) : 0;
}

static int adopt_all(struct adoption *a, const char *view, size_t len) {
        struct ulv_ledger *l = a->ld.l;
        int r = 0;

        for (a->ld.pass = PASS_PARTITION; a->ld.pass < PASS_MAX_ && r == 0; a->ld.pass++) {
                a->ld.line = 0;
                r = ulv_op_each_line(view, len, adopt_line, a);
                if (r == 0 && !a->p) {
                        ulv_diag_what(a->ld.reterr, ULV_EXIT_FAILED, "not a view");
                        ulv_diag_why(a->ld.reterr, "the row of its partition is missing");
                        r = 1;
                }
        }
        if (r != 0)
                return r;
        if (l->pool_stale)
                ulv_count_pool(l);
        if (l->c.share_given <= ulv_ledger_pool_capacity(l))
                return 0;
        ulv_diag_what(a->ld.reterr, ULV_EXIT_CAPACITY, "cannot adopt %s", a->p->name);
        ulv_diag_why(a->ld.reterr, "the pool is too small for its share");
        ulv_diag_try(a->ld.reterr, "stop one of those who have a share (systemctl stop uv-partition@NAME), then again");
        return 1;
}

int ulv_ledger_adopt(struct ulv_ledger *l, const char *view, size_t len, struct ulv_diag *reterr) {
        struct adoption a = { .ld = { .l = l, .reterr = reterr } };
        int r;

        r = adopt_all(&a, view, len);
        if (r != 0) {
                ulv_rollback(l);
                return r;
        }
        l->pool_told = true;
        l->c.generation++;
        ulv_commit(l);
        return 0;
}
