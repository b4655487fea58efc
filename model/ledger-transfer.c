/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How units change their owner. What a live partition has leaves it in two steps: a transfer, which it
 * is told through its view, and the settling, when its monitor proved that it let go (or that all of it
 * is gone). Between the two the units still count to it. Everything else moves at once.
 *
 * A transfer the other way that is still pending is cancelled before anything new is begun: taking back
 * a shrink is not a grow behind it. */

#include "model/ledger-internal.h"

static void take(struct ulv_ledger *l, struct holding *h, uint64_t n) {
        ulv_touch(l, &h->o);
        h->b.amount -= n;
        h->b.reached = ULV_MIN(h->b.reached, h->b.amount);
        if (h->b.amount == 0) {
                h->b.how[0] = h->b.memory[0] = 0;
                h->b.epoch = 0;
        }
}

/* Remembers what a core that comes or goes does to the pool. */
static void core_moved(struct ulv_ledger *l, const struct resource *r, const struct partition *from, const struct partition *to) {
        if (r->kind == KIND_CORE && (from == ulv_pool_owner(l) || to == ulv_pool_owner(l)))
                l->pool_stale = l->pool_told = true;
}

int ulv_move_now(struct ulv_ledger *l, struct resource *r, struct partition *from, struct partition *to, uint64_t n) {
        struct holding *into = NULL;

        if (!ulv_is_implied(l, r, to)) {
                into = ulv_need_holding(l, r, to);
                if (!into)
                        return -ENOMEM;
        }
        if (!ulv_is_implied(l, r, from))
                take(l, ulv_find_holding(l, r, from), n);
        else if (r->kind == KIND_SHARE)
                l->c.share_given += n;
        if (into)
                into->b.amount += n;
        else if (r->kind == KIND_SHARE)
                l->c.share_given -= n;
        core_moved(l, r, from, to);
        return 0;
}

/* Changes the sums that a transfer stands in, at both of its ends. */
static void add_out(struct ulv_ledger *l, struct holding *h, uint64_t n) {
        ulv_touch(l, &h->o);
        h->b.out += n;
}

static int begin_transfer(struct step *s, struct resource *r, struct partition *from, struct partition *to, uint64_t n) {
        struct ulv_ledger *l = s->l;
        struct holding *into = NULL;
        struct transfer *t;

        if (!ulv_is_implied(l, r, to)) {
                into = ulv_need_holding(l, r, to);
                if (!into)
                        return -ENOMEM;
        }
        t = ulv_add_transfer(l, ++l->c.seq, r, from);
        if (!t)
                return -ENOMEM;
        t->b.to = to;
        t->b.amount = n;
        t->b.made = l->c.generation + 1;
        t->b.txn = s->txn;
        ulv_transaction_hold(l, s->txn);
        if (into)
                into->b.in += n;
        add_out(l, ulv_find_holding(l, r, from), n);
        return 0;
}

static void reduce_transfer(struct ulv_ledger *l, struct transfer *t, uint64_t n, bool undone) {
        struct holding *into = ulv_find_holding(l, t->r, t->b.to), *from = ulv_find_holding(l, t->r, t->from);

        ulv_touch(l, &t->o);
        t->b.amount -= n;
        ulv_touch(l, &from->o);
        from->b.out -= n;
        if (into && !ulv_is_implied(l, t->r, t->b.to)) {
                ulv_touch(l, &into->o);
                into->b.in -= n;
        }
        if (undone) {
                ulv_touch(l, &t->b.txn->o);
                t->b.txn->b.undone = true;
        }
        if (t->b.amount == 0)
                ulv_transaction_release(l, t->b.txn, false);
}

void ulv_drop_transfer(struct ulv_ledger *l, struct transfer *t, uint64_t n) {
        struct holding *from = ulv_find_holding(l, t->r, t->from);
        uint64_t keep = from->b.amount - from->b.out;

        reduce_transfer(l, t, n, true);
        /* The monitor may have let go of them already: only what it was to keep is sure to be in use. */
        from->b.reached = ULV_MIN(from->b.reached, keep);
}

int ulv_settle(struct ulv_ledger *l, struct transfer *t, uint64_t n) {
        struct holding *into;
        int r;

        r = ulv_move_now(l, t->r, t->from, t->b.to, n);
        if (r < 0)
                return r;
        /* The transaction goes on to wait for the new owner. Where too many wait already, it doesn't: a
         * report can't be refused for that. */
        into = ulv_find_holding(l, t->r, t->b.to);
        if (into && ulv_is_live(t->b.to) && ulv_kinds[t->r->kind].reached)
                (void) ulv_waits_add(l, &into->b.waits, t->b.txn);
        reduce_transfer(l, t, n, false);
        return 0;
}

/* A transfer to a partition that is gone goes to idle, and its transaction didn't get what it wanted. */
static int retarget(struct ulv_ledger *l, struct transfer *t) {
        struct partition *idle = l->infra[INFRA_IDLE];
        struct holding *into = NULL, *missed;

        if (!ulv_is_implied(l, t->r, idle)) {
                into = ulv_need_holding(l, t->r, idle);
                if (!into)
                        return -ENOMEM;
                into->b.in += t->b.amount;
        }
        missed = ulv_find_holding(l, t->r, t->b.to);
        ulv_touch(l, &missed->o);
        missed->b.in -= t->b.amount;
        ulv_touch(l, &t->o);
        t->b.to = idle;
        ulv_touch(l, &t->b.txn->o);
        t->b.txn->b.undone = true;
        return 0;
}

int ulv_give_back(struct ulv_ledger *l, struct partition *p) {
        int r;

        for (struct transfer *t = p->out; t; t = t->p_next) {
                if (t->b.amount == 0)
                        continue;
                r = ulv_settle(l, t, t->b.amount);
                if (r < 0)
                        return r;
        }
        for (struct holding *h = p->holdings; h; h = h->p_next) {
                if (h->b.amount > 0) {
                        r = ulv_move_now(l, h->key.r, p, l->infra[INFRA_IDLE], h->b.amount);
                        if (r < 0)
                                return r;
                }
                if (ulv_waits_any(&h->b.waits)) {
                        ulv_touch(l, &h->o);
                        ulv_waits_release(l, &h->b.waits, true);
                }
                if (h->b.in == 0)
                        continue;
                for (struct transfer *t = h->key.r->transfers; t; t = t->r_next) {
                        if (t->b.to != p || t->b.amount == 0)
                                continue;
                        r = retarget(l, t);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* --- shift: what claim, release and move come to ------------------------------------------------------- */

static const struct transfer *pending(const struct resource *r, const struct partition *from) {
        for (const struct transfer *t = r->transfers; t; t = t->r_next)
                if (t->b.amount > 0 && (!from || t->from == from))
                        return t;
        return NULL;
}

static const struct partition *unit_owner(const struct ulv_ledger *l, const struct resource *r) {
        for (const struct holding *h = r->holdings; h; h = h->r_next)
                if (h->b.amount > 0)
                        return h->key.p;
        return l->infra[INFRA_IDLE];
}

static const char *verb_command(const struct resource *r) {
        return r->kind == KIND_CORE ? "cores=1" : r->kind == KIND_MEMORY ? "memory=SIZE" : "share=N";
}

/* The unit isn't `from`'s to give: say whose it is, and what would help. */
static int refuse_unit(struct step *s, const struct resource *r, const struct partition *from, const struct partition *to) {
        const struct partition *owner = unit_owner(s->l, r);
        const struct transfer *t = pending(r, NULL);

        ulv_refuse(s, ULV_REFUSED_CONFLICT, "cannot give %s %s from %s to %s", ulv_kinds[r->kind].noun, r->id, from->name, to->name);
        if (t) {
                ulv_diag_why(s->reterr, "it is %s's, on its way to %s (transaction %s)", t->from->name, t->b.to->name, t->b.txn->id);
                ulv_diag_try(s->reterr, "uvctl undo %s, or wait until it is done", t->b.txn->id);
                return ULV_REFUSED_CONFLICT;
        }
        ulv_diag_why(s->reterr, "it is %s's (%s)", owner->name, owner->infra ? "infrastructure" : ulv_state_name(owner->b.state));
        if (owner == to)
                ulv_diag_try(s->reterr, "nothing: %s has it", to->name);
        else if (r->kind == KIND_CORE && !owner->infra)
                ulv_diag_try(s->reterr, "uvctl move %s %s %s", verb_command(r), owner->name, to->name);
        else
                ulv_diag_try(s->reterr, "uvctl resources, to see what is idle");
        return ULV_REFUSED_CONFLICT;
}

static int refuse_amount(struct step *s, const struct resource *r, const struct partition *from, const struct partition *to, uint64_t n) {
        const struct holding *h = ulv_find_holding(s->l, r, from);
        uint64_t keep = h ? h->b.amount - h->b.out : 0;
        _cleanup_strbuf_ struct ulv_strbuf need = {}, has = {}, leaving = {};
        void (*format)(struct ulv_strbuf *, uint64_t) = r->kind == KIND_MEMORY ? ulv_size_format : ulv_share_format;
        uint64_t scale = r->kind == KIND_MEMORY ? ULV_MEMORY_UNIT : 1;

        /* Too large to be said in bytes is too large for anything. */
        if (n > UINT64_MAX / scale)
                n = UINT64_MAX / scale;
        format(&need, n * scale);
        format(&has, keep * scale);
        ulv_refuse(s, ULV_REFUSED_CAPACITY, "cannot give %s of %s %s from %s to %s", ulv_strbuf_str(&need),
                   ulv_kinds[r->kind].name, r->id, from->name, to->name);
        if (h && h->b.out > 0) {
                format(&leaving, h->b.out * scale);
                ulv_diag_why(s->reterr, "%s has %s of it, and %s more on their way out", from->name, ulv_strbuf_str(&has), ulv_strbuf_str(&leaving));
        } else
                ulv_diag_why(s->reterr, "%s has %s of it", from->name, ulv_strbuf_str(&has));
        ulv_diag_try(s->reterr, "uvctl resources, to see who has how much");
        return ULV_REFUSED_CAPACITY;
}

/* How much of n is on its way from `to` to `from`, and stays now where it is? */
static uint64_t cancel_opposite(struct ulv_ledger *l, struct resource *r, struct partition *from, struct partition *to, uint64_t n) {
        uint64_t cancelled = 0;

        for (struct transfer *t = to->out; t && cancelled < n; t = t->p_next) {
                uint64_t part = ULV_MIN(t->b.amount, n - cancelled);

                if (t->r != r || t->b.to != from || part == 0)
                        continue;
                ulv_drop_transfer(l, t, part);
                cancelled += part;
        }
        return cancelled;
}

/* May the unit, or the amount, be taken from there? */
static int check_source(struct step *s, struct resource *r, struct partition *from, struct partition *to, uint64_t n) {
        const struct holding *h;

        if (ulv_is_implied(s->l, r, from))
                return ulv_kinds[r->kind].unit && unit_owner(s->l, r) != from ? refuse_unit(s, r, from, to) : 0;
        h = ulv_find_holding(s->l, r, from);
        if (h && h->b.amount - h->b.out >= n)
                return 0;
        return ulv_kinds[r->kind].unit ? refuse_unit(s, r, from, to) : refuse_amount(s, r, from, to, n);
}

int ulv_shift(struct step *s, struct resource *r, struct partition *from, struct partition *to, uint64_t n) {
        int q;

        n -= cancel_opposite(s->l, r, from, to, n);
        if (n == 0)
                return 0;
        if (r->b.missing && !to->infra) {
                ulv_refuse(s, ULV_REFUSED_UNKNOWN, "cannot give %s %s to %s", ulv_kinds[r->kind].noun, r->id, to->name);
                ulv_diag_why(s->reterr, "the machine doesn't have it any more (missing)");
                ulv_diag_try(s->reterr, "uvctl resources -a");
                return ULV_REFUSED_UNKNOWN;
        }
        q = check_source(s, r, from, to, n);
        if (q != 0)
                return q;
        if (ulv_is_live(from))
                return begin_transfer(s, r, from, to, n);
        return ulv_move_now(s->l, r, from, to, n);
}
