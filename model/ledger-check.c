/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Every invariant, counted again from the objects alone: no sum that the steps keep is believed. */

#include "model/attachment.h"
#include "model/ledger-internal.h"

static int broken(struct ulv_diag *d, const char *what, const char *name, const char *why) {
        ulv_diag_what(d, ULV_EXIT_DEGRADED, "the ledger is wrong: %s %s", what, name);
        ulv_diag_why(d, "%s", why);
        ulv_diag_try(d, "uvctl restore a backup, or uvd --rebuild from what runs");
        return 1;
}

static int check_resource(const struct ulv_ledger *l, const struct resource *r, struct ulv_diag *d) {
        uint64_t sum = 0;
        uint64_t id;

        for (const struct holding *h = r->holdings; h; h = h->r_next)
                if (__builtin_add_overflow(sum, h->b.amount, &sum))
                        return broken(d, "resource", r->key, "its amounts don't add up");
        switch (r->kind) {
        case KIND_SHARE:
                return sum == l->c.share_given ? 0 : broken(d, "resource", r->key, "the sum of shares isn't what was counted");
        case KIND_LIMIT:
                return 0;       /* there is no sum that they must make */
        case KIND_MEMORY:
                return sum == r->b.total ? 0 : broken(d, "resource", r->key, "the owners don't have what there is in all");
        case KIND_UIDS:
                if (sum > 0 && (ulv_uint_parse(r->id, ULV_UID_RANGES, &id) < 0 || id < l->inventory.uids_first || id > l->inventory.uids_last))
                        return broken(d, "resource", r->key, "it isn't in the inventory");
                return sum <= 1 ? 0 : broken(d, "resource", r->key, "it has more than one owner");
        case KIND_CHANNEL:
                if (sum > 0 && !ulv_channel_is_good(l, r))
                        return broken(d, "resource", r->key, "it can't be that, or not with that other end");
                return sum <= 1 ? 0 : broken(d, "resource", r->key, "it has more than one owner");
        case KIND_MOUNT:
        case KIND_DEVICE:
        case KIND_DISK:
                return sum <= 1 ? 0 : broken(d, "resource", r->key, "it has more than one owner");
        default:
                return sum == 1 ? 0 : broken(d, "resource", r->key, sum ? "it has more than one owner" : "nobody owns it");
        }
}

static int check_holding(const struct ulv_ledger *l, const struct holding *h, struct ulv_diag *d) {
        const struct resource *r = h->key.r;
        const struct partition *p = h->key.p;
        uint64_t out = 0, in = 0;

        for (const struct transfer *t = r->transfers; t; t = t->r_next) {
                if (t->from == p && __builtin_add_overflow(out, t->b.amount, &out))
                        return broken(d, "resource", r->key, "transfers don't add up");
                if (t->b.to == p && __builtin_add_overflow(in, t->b.amount, &in))
                        return broken(d, "resource", r->key, "transfers don't add up");
        }
        if (out != h->b.out || in != h->b.in)
                return broken(d, "resource", r->key, "transfers aren't what was counted");
        if (out > h->b.amount)
                return broken(d, "resource", r->key, "more is on its way out than its owner has");
        if (h->b.reached > h->b.amount)
                return broken(d, "resource", r->key, "more is in use than its owner has");
        if (!ulv_kinds[r->kind].reached && (h->b.reached > 0 || ulv_waits_any(&h->b.waits)))
                return broken(d, "resource", r->key, "nothing is reached of that kind");
        if (ulv_is_implied(l, r, p))
                return broken(d, "resource", r->key, "idle has it as a row");
        if (r->kind != KIND_CHANNEL && (h->b.memory[0] || h->b.epoch))
                return broken(d, "resource", r->key, "it is no channel, and has a memory");
        if ((ulv_is_attachment(r->kind) || r->kind == KIND_CHANNEL) && h->b.amount > 0 && ulv_attachment_owner(r->id) && !ulv_streq(ulv_attachment_owner(r->id), p->name))
                return broken(d, "resource", r->key, "it is another partition's");
        if (r->kind == KIND_SHARE && (p == l->infra[INFRA_HOST] || p == l->infra[INFRA_POOL]))
                return broken(d, "resource", r->key, "the pool has a share of itself");
        if (r->kind == KIND_LIMIT && p->infra)
                return broken(d, "resource", r->key, "infrastructure has it");
        if (!p->infra && !ulv_is_live(p) && (h->b.amount > 0 || in > 0))
                return broken(d, "partition", p->name, "it isn't live and has something");
        return !ulv_is_live(p) && ulv_waits_any(&h->b.waits) ? broken(d, "resource", r->key, "a transaction waits for who isn't live") : 0;
}

static int check_partition(const struct partition *p, struct ulv_diag *d) {
        bool waited = ulv_waits_any(&p->b.waits);

        if (p->b.gone || ulv_name_is_reserved(p->name) != p->infra)
                return broken(d, "partition", p->name, "it can't be there");
        if (p->infra != ulv_streq(p->b.role, "infrastructure"))
                return broken(d, "partition", p->name, "its role can't be that");
        if (p->infra)
                return waited ? broken(d, "partition", p->name, "a transaction waits for infrastructure") : 0;
        if (!ulv_is_live(p) && (waited || p->out || p->b.leader))
                return broken(d, "partition", p->name, "it isn't live, and something of it is under way");
        if (p->b.wanted != ULV_DEFINED && p->b.wanted != ULV_RUNNING && p->b.wanted != ULV_PAUSED)
                return broken(d, "partition", p->name, "what is wanted of it can't be wanted");
        if (p->b.state == ULV_STOPPING && p->b.wanted != ULV_DEFINED)
                return broken(d, "partition", p->name, "it is stopping, and wanted otherwise");
        return 0;
}

static int check_transfer(const struct ulv_ledger *l, const struct transfer *t, struct ulv_diag *d) {
        if (t->b.amount == 0 || t->from == t->b.to || t->seq > l->c.seq)
                return broken(d, "transfer of", t->r->key, "it can't be that");
        if (!ulv_is_live(t->from))
                return broken(d, "transfer of", t->r->key, "it comes from who isn't live");
        if (!t->b.to->infra && !ulv_is_live(t->b.to))
                return broken(d, "transfer of", t->r->key, "it goes to who isn't live");
        /* check_holding() looks at the sums; both ends must have a holding for that. */
        if (!ulv_find_holding(l, t->r, t->from) || (!ulv_is_implied(l, t->r, t->b.to) && !ulv_find_holding(l, t->r, t->b.to)))
                return broken(d, "transfer of", t->r->key, "an end of it has no row");
        return 0;
}

static uint64_t count_waits(const struct waits *w, const struct transaction *t) {
        for (size_t i = 0; i < ULV_WAITS_MAX; i++)
                if (w->t[i] == t)
                        return 1;
        return 0;
}

static int check_transaction(const struct ulv_ledger *l, const struct transaction *t, struct ulv_diag *d) {
        uint64_t n = 0;

        for (const struct partition *p = l->partitions; p; p = p->hh.next)
                n += count_waits(&p->b.waits, t);
        for (const struct holding *h = l->holdings; h; h = h->hh.next)
                n += count_waits(&h->b.waits, t);
        for (const struct transfer *f = l->transfers; f; f = f->hh.next)
                n += f->b.txn == t;
        return n == t->b.waits && n > 0 ? 0 : broken(d, "transaction", t->id, "what waits for it isn't what was counted");
}

static int check_pool(const struct ulv_ledger *l, struct ulv_diag *d) {
        uint64_t threads = 0;
        bool missing = false;

        for (const struct resource *r = l->resources; r; r = r->hh.next)
                if (r->kind == KIND_CORE) {
                        const struct holding *h = ulv_find_holding(l, r, ulv_pool_owner(l));

                        missing |= r->b.missing;
                        threads += h && h->b.amount > 0 ? r->b.n_threads : 0;
                }
        if (threads * ulv_overcommit(l) != l->c.pool_capacity)
                return broken(d, "resource", "share pool", "the pool's threads aren't what was counted");
        /* A machine that lost CPUs may have given more than there is; check tells that as drift. */
        if (!missing && l->c.share_given > ulv_ledger_pool_capacity(l))
                return broken(d, "resource", "share pool", "more is given than there is");
        return 0;
}

int ulv_ledger_check(const struct ulv_ledger *l, struct ulv_diag *reterr) {
        int r = 0;

        for (const struct resource *e = l->resources; e && r == 0; e = e->hh.next)
                r = check_resource(l, e, reterr);
        for (const struct transfer *e = l->transfers; e && r == 0; e = e->hh.next)
                r = check_transfer(l, e, reterr);
        for (const struct holding *e = l->holdings; e && r == 0; e = e->hh.next)
                r = check_holding(l, e, reterr);
        for (const struct partition *e = l->partitions; e && r == 0; e = e->hh.next)
                r = check_partition(e, reterr);
        for (const struct transaction *e = l->transactions; e && r == 0; e = e->hh.next)
                r = check_transaction(l, e, reterr);
        return r == 0 ? check_pool(l, reterr) : r;
}
