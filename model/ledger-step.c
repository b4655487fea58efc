/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One step: the frame around the operations. Parse and run each, look at the whole at the end, then
 * commit what can't fail any more, or roll back. */

#include "model/ledger-internal.h"

enum ulv_exit ulv_refusal_exit(enum ulv_refusal refusal) {
        switch (refusal) {
        case ULV_REFUSED_INVALID: return ULV_EXIT_USAGE;
        case ULV_REFUSED_UNKNOWN: return ULV_EXIT_NOT_FOUND;
        case ULV_REFUSED_EXISTS:
        case ULV_REFUSED_CONFLICT:
        case ULV_REFUSED_GENERATION: return ULV_EXIT_CONFLICT;
        case ULV_REFUSED_STATE: return ULV_EXIT_NOT_ACTIVE;
        case ULV_REFUSED_CAPACITY:
        case ULV_REFUSED_LIMIT: return ULV_EXIT_CAPACITY;
        case ULV_REFUSED_ZONE: return ULV_EXIT_DENIED;
        }
        return ULV_EXIT_FAILED;
}

static bool runs(enum ulv_state s) { return s == ULV_RUNNING || s == ULV_PAUSING || s == ULV_PAUSED; }

/* A pause is a part of the life that it interrupts: what runs is as old as it was. */
void ulv_set_state(struct step *s, struct partition *p, enum ulv_state to) {
        if (p->b.state == to)
                return;
        if (!runs(p->b.state) || !runs(to))
                p->b.since = s->t->now;
        p->b.state = to;
}

/* --- what is looked at when all operations have run ------------------------------------------------------- */

/* Who isn't live has nothing and gets nothing. */
static int check_owner(struct step *s, const struct holding *h) {
        const struct partition *p = h->key.p;

        if (p->infra || ulv_state_is_live(p->b.state) || (h->b.amount == 0 && h->b.in == 0))
                return 0;
        ulv_refuse(s, ULV_REFUSED_STATE, "cannot give %s %s to %s", ulv_kinds[h->key.r->kind].noun, h->key.r->id, p->name);
        ulv_diag_why(s->reterr, "%s is %s, and holds nothing then", p->name, ulv_state_name(p->b.state));
        ulv_diag_try(s->reterr, "uvctl start %s", p->name);
        return ULV_REFUSED_STATE;
}

static int refuse_waits(struct step *s, const char *what, const char *id, const char *name) {
        ulv_refuse(s, ULV_REFUSED_CONFLICT, "cannot change %s %s of %s now", what, id, name);
        ulv_diag_why(s->reterr, "%d transactions wait for it already", ULV_WAITS_MAX);
        ulv_diag_try(s->reterr, "uvctl history %s, and again when they are done", name);
        return ULV_REFUSED_CONFLICT;
}

/* Does the transaction wait for this holding, and does anybody still? */
static int settle_holding(struct step *s, struct holding *h) {
        uint64_t keep = h->b.amount - h->b.out, old_keep = h->old.amount - h->old.out;

        if (!ulv_kinds[h->key.r->kind].reached || !ulv_is_live(h->key.p))
                return 0;
        if (h->b.reached >= keep) {
                ulv_waits_release(s->l, &h->b.waits, false);
                return 0;
        }
        if (s->txn && keep > old_keep && !ulv_waits_add(s->l, &h->b.waits, s->txn))
                return refuse_waits(s, ulv_kinds[h->key.r->kind].name, h->key.r->id, h->key.p->name);
        return 0;
}

static int check_pool(struct step *s) {
        struct ulv_ledger *l = s->l;
        _cleanup_strbuf_ struct ulv_strbuf given = {}, capacity = {};

        if (l->pool_stale)
                ulv_count_pool(l);
        l->pool_stale = false;
        if (l->c.share_given <= ulv_ledger_pool_capacity(l))
                return 0;
        /* An inventory that lost CPUs may have left too little: then only more must not be given. */
        if (l->c.share_given <= l->old.share_given && l->c.pool_capacity >= l->old.pool_capacity)
                return 0;
        ulv_share_format(&given, l->c.share_given);
        ulv_share_format(&capacity, ulv_ledger_pool_capacity(l));
        ulv_refuse(s, ULV_REFUSED_CAPACITY, "the pool is too small");
        ulv_diag_why(s->reterr, "it has %s threads to give (cores of %s), and %s would be given",
                     ulv_strbuf_str(&capacity), ulv_pool_owner(l)->name, ulv_strbuf_str(&given));
        ulv_diag_try(s->reterr, "less share, or more cores: [Pool] Cores= in a policy");
        return ULV_REFUSED_CAPACITY;
}

static int finish(struct step *s) {
        int r;

        /* Waits touch transactions, which chain themselves behind what is walked here. */
        for (struct object *o = s->l->touched; o; o = o->touched_next) {
                if (o->type != OBJECT_HOLDING)
                        continue;
                r = check_owner(s, (struct holding *) o);
                if (r == 0)
                        r = settle_holding(s, (struct holding *) o);
                if (r != 0)
                        return r;
        }
        return check_pool(s);
}

/* --- the frame ------------------------------------------------------------------------------------------- */

static bool is_transaction_id(const char *id) {
        static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-";
        size_t n = strlen(id);

        return n >= 1 && n <= 64 && strspn(id, allowed) == n;
}

static int check_frame(struct step *s) {
        const struct ulv_txn *t = s->t;

        if (t->operations_len > ULV_TXN_BYTES_MAX) {
                ulv_refuse(s, ULV_REFUSED_LIMIT, "the transaction is too long");
                ulv_diag_why(s->reterr, "it has %zu bytes, and %d is the most", t->operations_len, ULV_TXN_BYTES_MAX);
                ulv_diag_try(s->reterr, "several transactions");
                return ULV_REFUSED_LIMIT;
        }
        if (t->reporter) {
                s->reporter = ulv_find_partition(s->l, t->reporter);
                if (s->reporter)
                        return 0;
                ulv_refuse(s, ULV_REFUSED_UNKNOWN, "no partition %s", t->reporter);
                ulv_diag_why(s->reterr, "a report came from its monitor");
                return ULV_REFUSED_UNKNOWN;
        }
        if (!t->id || !is_transaction_id(t->id)) {
                ulv_refuse(s, ULV_REFUSED_INVALID, "not a transaction id");
                ulv_diag_why(s->reterr, "it has 1 to 64 of A-Z a-z 0-9 . _ : -");
                return ULV_REFUSED_INVALID;
        }
        if (!t->zone || !ulv_name_is_valid(t->zone)) {
                ulv_refuse(s, ULV_REFUSED_INVALID, "not a zone");
                return ULV_REFUSED_INVALID;
        }
        if (ulv_find_transaction(s->l, t->id)) {
                ulv_refuse(s, ULV_REFUSED_EXISTS, "transaction %s is there already", t->id);
                ulv_diag_why(s->reterr, "it is reaching what it wants");
                ulv_diag_try(s->reterr, "another id");
                return ULV_REFUSED_EXISTS;
        }
        if (t->if_generation != 0 && t->if_generation != s->l->c.generation) {
                ulv_refuse(s, ULV_REFUSED_GENERATION, "the ledger changed meanwhile");
                ulv_diag_why(s->reterr, "it is at generation %llu, and %llu was planned on",
                             (unsigned long long) s->l->c.generation, (unsigned long long) t->if_generation);
                ulv_diag_try(s->reterr, "again, on what is there now");
                return ULV_REFUSED_GENERATION;
        }
        return 0;
}

static int run_line(const char *line, size_t len, void *userdata) {
        struct step *s = userdata;
        _cleanup_op_ struct ulv_op op = {};
        int r;

        if (++s->n_operations > ULV_TXN_OPERATIONS_MAX) {
                ulv_refuse(s, ULV_REFUSED_LIMIT, "the transaction has too many operations");
                ulv_diag_why(s->reterr, "%d is the most", ULV_TXN_OPERATIONS_MAX);
                ulv_diag_try(s->reterr, "several transactions");
                return ULV_REFUSED_LIMIT;
        }
        r = ulv_op_parse(line, len, &op, s->reterr);
        if (r < 0)
                return r;
        if (r > 0) {
                ulv_diag_why(s->reterr, "operation %u of the transaction", s->n_operations);
                return ULV_REFUSED_INVALID;
        }
        return s->txn ? ulv_run_transaction_op(s, &op) : ulv_run_report_op(s, &op);
}

/* Turns the lines round: what was done last is taken back first. NULL: no memory. */
static char *reverse_lines(const struct ulv_strbuf *b) {
        size_t end = b->len, at = 0;
        char *s = malloc(b->len + 1);

        if (!s)
                return NULL;
        while (end > 0) {
                size_t start = end - 1;

                while (start > 0 && b->s[start - 1] != '\n')
                        start--;
                memcpy(s + at, b->s + start, end - start);
                at += end - start;
                end = start;
        }
        s[at] = 0;
        return s;
}

/* What the transaction defined is removed by its undo, but not what it also started: that is only
 * stopped, and stays defined. */
static void finish_undo(struct step *s) {
        for (const struct object *o = s->l->touched; o; o = o->touched_next) {
                const struct partition *p = (const struct partition *) o;

                if (o->type != OBJECT_PARTITION || !o->created || p->b.gone || ulv_is_live(p))
                        continue;
                ulv_op_begin(&s->undo, "remove", "partition", p->name, "-");
                ulv_op_end(&s->undo);
        }
}

static int run(struct step *s, char **ret_undo) {
        _cleanup_free_ char *undo = NULL;
        int r;

        r = check_frame(s);
        if (r != 0)
                return r;
        if (!s->reporter) {
                s->txn = ulv_add_transaction(s->l, s->t->id, s->t->subject ? s->t->subject : "");
                if (!s->txn)
                        return -ENOMEM;
        }
        r = ulv_op_each_line(s->t->operations, s->t->operations_len, run_line, s);
        if (r == 0)
                r = finish(s);
        if (r != 0)
                return r;
        finish_undo(s);
        r = ulv_strbuf_error(&s->undo);
        if (r < 0)
                return r;
        if (s->no_undo)
                ulv_strbuf_reset(&s->undo);
        undo = reverse_lines(&s->undo);
        if (!undo)
                return -ENOMEM;
        *ret_undo = ulv_steal(undo);
        return 0;
}

int ulv_ledger_step(struct ulv_ledger *l, const struct ulv_txn *t, struct ulv_outcome *ret, struct ulv_diag *reterr) {
        struct step s = { .l = l, .t = t, .reterr = reterr };
        char *undo = NULL;
        bool reaching;
        int r;

        r = run(&s, &undo);
        ulv_strbuf_done(&s.undo);
        if (r != 0) {
                ulv_rollback(l);
                return r;
        }
        reaching = s.txn && s.txn->b.waits > 0;
        l->c.generation++;
        ulv_commit(l);
        *ret = (struct ulv_outcome) { .generation = l->c.generation, .undo = undo, .reaching = reaching };
        return 0;
}

int ulv_ledger_try(struct ulv_ledger *l, const struct ulv_txn *t, struct ulv_diag *reterr) {
        struct step s = { .l = l, .t = t, .reterr = reterr };
        char *undo = NULL;
        int r = run(&s, &undo);

        free(undo);
        ulv_strbuf_done(&s.undo);
        ulv_rollback(l);
        return r;
}

void ulv_outcome_done(struct ulv_outcome *o) {
        free(o->undo);
        *o = (struct ulv_outcome) {};
}
