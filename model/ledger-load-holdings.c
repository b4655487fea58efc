/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Rows of holdings and transfers, read for ledger-load.c: who has what, and what is on its way. */

#include "model/attachment.h"
#include "model/channel.h"
#include "model/ledger-internal.h"

static bool is_holding_key(const char *key) {
        static const char *const keys[] = { "node", "threads", "amount", "reached", "how", "txn", "missing", "memory", "epoch" };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(keys); i++)
                if (ulv_streq(keys[i], key))
                        return true;
        return false;
}

/* NODE/PAGES */
static bool parse_memory_id(const char *id, unsigned *ret_node) {
        const char *slash = strchr(id, '/');
        char node[8];
        uint64_t n;

        if (!slash || (size_t) (slash - id) >= sizeof(node) || strlen(slash + 1) < 1 || strlen(slash + 1) > 7)
                return false;
        memcpy(node, id, (size_t) (slash - id));
        node[slash - id] = 0;
        if (ulv_uint_parse(node, 65535, &n) < 0)
                return false;
        *ret_node = (unsigned) n;
        return true;
}

static int read_core(struct loader *ld, const struct ulv_op *op, struct resource *r) {
        const char *threads = ulv_op_get(op, "threads");
        struct ulv_cpus cpus;
        uint64_t node;

        if (!ulv_row_number(op, "node", &node) || node > 65535 || !threads || ulv_cpus_parse(threads, &cpus) < 0 || ulv_cpus_count(&cpus) == 0)
                return ulv_bad_row(ld, op, "node= or threads= can't be that");
        r->b.node = (unsigned) node;
        r->b.n_threads = ulv_cpus_count(&cpus);
        ld->l->pool_stale = true;
        return ulv_set_string(&r->b.threads, r->old.threads, threads);
}

/* What a row says about the thing itself. */
static int read_resource(struct loader *ld, const struct ulv_op *op, enum kind kind, struct resource *r) {
        _cleanup_strbuf_ struct ulv_strbuf attrs = { .max = 1024 };
        int q;

        ulv_touch(ld->l, &r->o);
        r->b.missing = ulv_streq0(ulv_op_get(op, "missing"), "yes");
        if (kind == KIND_CORE)
                return read_core(ld, op, r);
        q = ulv_extra_keys(op, is_holding_key, &attrs);
        if (q < 0)
                return q == -E2BIG ? ulv_bad_row(ld, op, "its keys are too long") : q;
        if (attrs.len > 0 && !ulv_kinds[kind].device && kind != KIND_CHANNEL)
                return ulv_bad_row(ld, op, "a key that doesn't belong there");
        return ulv_set_string(&r->b.attrs, r->old.attrs, ulv_strbuf_str(&attrs));
}

static int find_or_add_resource(struct loader *ld, const struct ulv_op *op, enum kind kind, struct resource **ret) {
        struct resource *r = ulv_find_resource(ld->l, kind, op->id);
        struct ulv_limit limit;
        unsigned node = 0;
        uint64_t id;

        if (!r) {
                if (strlen(op->id) >= sizeof(((struct ulv_inv_device *) 0)->id) || kind == KIND_SHARE ||
                    (kind == KIND_MEMORY && !parse_memory_id(op->id, &node)) ||
                    (kind == KIND_LIMIT && ulv_limit_from_id(op->id, &limit) < 0) ||
                    (kind == KIND_CORE && ulv_uint_parse(op->id, ULV_CPU_MAX - 1, &id) < 0) ||
                    (kind == KIND_UIDS && ulv_uint_parse(op->id, ULV_UID_RANGES, &id) < 0) ||
                    (kind == KIND_CHANNEL && !ulv_channel_id_is_valid(op->id)) ||
                    (ulv_is_attachment((enum kind) kind) && !ulv_attachment_id_is_valid(ulv_kinds[kind].name, op->id)))
                        return ulv_bad_row(ld, op, "not an id of that kind");
                r = ulv_add_resource(ld->l, kind, op->id);
                if (!r)
                        return -ENOMEM;
                r->b.node = node;
        }
        *ret = r;
        return read_resource(ld, op, kind, r);
}

int ulv_read_holding(struct loader *ld, const struct ulv_op *op) {
        int kind = ulv_kind_from_name(op->kind), q;
        struct partition *p = ulv_find_partition(ld->l, op->owner);
        struct resource *r = NULL;
        struct holding *h;
        uint64_t amount = 1, reached;

        if (kind < 0)
                return ulv_bad_row(ld, op, "no such kind");
        if (!p)
                return ulv_bad_row(ld, op, "its owner isn't there");
        q = find_or_add_resource(ld, op, (enum kind) kind, &r);
        if (q != 0)
                return q;
        if (ulv_is_implied(ld->l, r, p) || (r->kind == KIND_LIMIT && p->infra))
                return ulv_bad_row(ld, op, "what idle has of that kind isn't a row");
        if ((!ulv_kinds[kind].unit && ulv_op_get_u64(op, "amount", &amount) != 0) || !ulv_row_number(op, "reached", &reached) ||
            amount > UINT64_MAX / 4096 || reached > amount || (amount == 0 && p != ld->l->infra[INFRA_IDLE]))
                return ulv_bad_row(ld, op, "amount= or reached= can't be that");
        h = ulv_need_holding(ld->l, r, p);
        if (!h)
                return -ENOMEM;
        if (r->kind == KIND_SHARE)
                ld->l->c.share_given += amount - h->b.amount;
        r->b.total += amount - h->b.amount;
        h->b.amount = amount;
        h->b.reached = reached;
        h->o.told = true;
        if (!ulv_row_word(op, "how", h->b.how, sizeof(h->b.how)))
                return ulv_bad_row(ld, op, "how= is too long");
        if (!ulv_row_word(op, "memory", h->b.memory, sizeof(h->b.memory)) || !ulv_row_number(op, "epoch", &h->b.epoch) ||
            (kind != KIND_CHANNEL && (h->b.memory[0] || h->b.epoch)))
                return ulv_bad_row(ld, op, "memory= or epoch= can't be that");
        return ulv_read_waits(ld, op, &h->b.waits);
}

/* Takes a transfer out of the sums, or puts it in. */
static int count_transfer(struct loader *ld, const struct transfer *t, bool in) {
        struct holding *from = ulv_find_holding(ld->l, t->r, t->from), *into;

        if (!from)
                return -EINVAL;
        ulv_touch(ld->l, &from->o);
        from->b.out += in ? t->b.amount : 0 - t->b.amount;
        if (ulv_is_implied(ld->l, t->r, t->b.to))
                return 0;
        into = ulv_need_holding(ld->l, t->r, t->b.to);
        if (!into)
                return -ENOMEM;
        into->b.in += in ? t->b.amount : 0 - t->b.amount;
        return 0;
}

int ulv_read_transfer(struct loader *ld, const struct ulv_op *op) {
        const char *to_name = ulv_op_get(op, "to"), *kind_name = ulv_op_get(op, "kind"), *id = ulv_op_get(op, "id"), *txn_id = ulv_op_get(op, "txn");
        int kind = ulv_kind_from_name(kind_name ? kind_name : ""), q;
        struct partition *from = ulv_find_partition(ld->l, op->owner), *to = to_name ? ulv_find_partition(ld->l, to_name) : NULL;
        struct resource *r = kind >= 0 && id ? ulv_find_resource(ld->l, (enum kind) kind, id) : NULL;
        struct transaction *txn = txn_id ? ulv_find_transaction(ld->l, txn_id) : NULL;
        struct transfer *t;
        uint64_t seq, amount, made;

        if (!from || !to || from == to || !r || !txn || !ulv_find_holding(ld->l, r, from))
                return ulv_bad_row(ld, op, "it names something that isn't there");
        if (ulv_uint_parse(op->id, UINT64_MAX, &seq) < 0 || !ulv_row_number(op, "amount", &amount) || !ulv_row_number(op, "made", &made) ||
            amount == 0 || amount > UINT64_MAX / 4096)
                return ulv_bad_row(ld, op, "a number isn't one");
        t = ulv_find_transfer(ld->l, seq);
        if (t) {
                if (t->r != r || t->from != from)
                        return ulv_bad_row(ld, op, "a transfer can't change what it moves");
                q = count_transfer(ld, t, false);
                if (q < 0)
                        return q;
                ulv_touch(ld->l, &t->o);
                ulv_transaction_release(ld->l, t->b.txn, false);
        } else {
                t = ulv_add_transfer(ld->l, seq, r, from);
                if (!t)
                        return -ENOMEM;
        }
        t->b = (struct transfer_body) { .to = to, .amount = amount, .made = made, .txn = txn, .force = ulv_streq0(ulv_op_get(op, "force"), "yes") };
        t->o.told = true;
        ulv_transaction_hold(ld->l, txn);
        return count_transfer(ld, t, true);
}

/* --- gone ------------------------------------------------------------------------------------------------------- */

int ulv_gone_transfer(struct loader *ld, const struct ulv_op *op) {
        struct transfer *t;
        uint64_t seq;
        int q;

        t = ulv_uint_parse(op->id, UINT64_MAX, &seq) == 0 ? ulv_find_transfer(ld->l, seq) : NULL;
        if (!t)
                return ulv_bad_row(ld, op, "it isn't there");
        q = count_transfer(ld, t, false);
        if (q < 0)
                return q;
        ulv_touch(ld->l, &t->o);
        t->b.amount = 0;
        t->o.told = false;
        ulv_transaction_release(ld->l, t->b.txn, false);
        return 0;
}

int ulv_gone_holding(struct loader *ld, const struct ulv_op *op) {
        int kind = ulv_kind_from_name(op->kind);
        struct partition *p = ulv_find_partition(ld->l, op->owner);
        struct resource *r = kind >= 0 ? ulv_find_resource(ld->l, (enum kind) kind, op->id) : NULL;
        struct holding *h = p && r ? ulv_find_holding(ld->l, r, p) : NULL;

        if (!h || h->b.amount == 0)
                return ulv_bad_row(ld, op, "it isn't there");
        ulv_touch(ld->l, &h->o);
        if (r->kind == KIND_SHARE)
                ld->l->c.share_given -= h->b.amount;
        if (r->kind == KIND_CORE)
                ld->l->pool_stale = true;
        ulv_touch(ld->l, &r->o);
        r->b.total -= h->b.amount;
        h->b.amount = h->b.reached = 0;
        h->b.how[0] = h->b.memory[0] = 0;
        h->b.epoch = 0;
        ulv_waits_release(ld->l, &h->b.waits, false);
        h->o.told = false;
        return 0;
}
