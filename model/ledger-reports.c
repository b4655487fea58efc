/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The operations of a report: what a monitor proved about its own partition. They give back, never claim. */

#include "model/ledger-internal.h"

static int invalid(struct step *s, const struct ulv_op *op, const char *why) {
        ulv_refuse(s, ULV_REFUSED_INVALID, "not a report of %s: %s %s %s", s->reporter->name, op->verb, op->kind, op->id);
        ulv_diag_why(s->reterr, "%s", why);
        return ULV_REFUSED_INVALID;
}

static int refuse_state(struct step *s, const char *what) {
        ulv_refuse(s, ULV_REFUSED_STATE, "%s reported %s", s->reporter->name, what);
        ulv_diag_why(s->reterr, "it is %s in the ledger", ulv_state_name(s->reporter->b.state));
        ulv_diag_try(s->reterr, "the view, which says what is wanted of it");
        return ULV_REFUSED_STATE;
}

/* A report that was under way while its partition ended and was started again is about another one. */
static int check_incarnation(struct step *s, const struct ulv_op *op) {
        uint64_t n;
        int r;

        r = ulv_op_get_u64(op, "incarnation", &n);
        if (r < 0)
                return invalid(s, op, "incarnation= must be a number");
        return r == 0 && n != s->reporter->b.incarnation ? refuse_state(s, "about an earlier incarnation") : 0;
}

/* --- state ---------------------------------------------------------------------------------------------- */

/* Where a report of `running` leads. A request that is younger than the report is not overruled by it. */
static enum ulv_state after_running(const struct partition *p) {
        if (p->b.state == ULV_STOPPING || (p->b.state == ULV_PAUSING && p->b.wanted == ULV_PAUSED))
                return p->b.state;
        return ULV_RUNNING;
}

static int report_facts(struct step *s, const struct ulv_op *op, struct partition *p) {
        const char *contain = ulv_op_get(op, "contain"), *build = ulv_op_get(op, "build"), *ready = ulv_op_get(op, "ready");
        uint64_t leader = p->b.leader, start = p->b.start;

        for (unsigned i = 0; i < op->n_kv; i++)
                if (!ulv_streq(op->kv[i].key, "state") && !ulv_streq(op->kv[i].key, "leader") && !ulv_streq(op->kv[i].key, "start") &&
                    !ulv_streq(op->kv[i].key, "contain") && !ulv_streq(op->kv[i].key, "build") && !ulv_streq(op->kv[i].key, "ready") &&
                    !ulv_streq(op->kv[i].key, "incarnation"))
                        return invalid(s, op, "its keys are state= leader= start= build= ready= contain= incarnation=");
        if (ulv_op_get_u64(op, "leader", &leader) < 0 || ulv_op_get_u64(op, "start", &start) < 0)
                return invalid(s, op, "leader= and start= must be numbers");
        if (contain && !ulv_copy(p->b.contain, sizeof(p->b.contain), contain))
                return invalid(s, op, "contain= is too long");
        if (build && !ulv_copy(p->b.build, sizeof(p->b.build), build))
                return invalid(s, op, "build= is too long");
        if (ready && (!ulv_streq(ready, "yes") || !ulv_copy(p->b.ready, sizeof(p->b.ready), ready)))
                return invalid(s, op, "ready= must be yes");
        p->b.leader = leader;
        p->b.start = start;
        return 0;
}

static int op_state(struct step *s, const struct ulv_op *op) {
        const char *name = ulv_op_get(op, "state");
        enum ulv_state reported = ulv_state_from_name(name ? name : ""), to = reported;
        struct partition *p = s->reporter;
        int r;

        if (reported != ULV_RUNNING && reported != ULV_PAUSED)
                return invalid(s, op, "state= must be running or paused");
        if (!p->infra) {
                if (!ulv_is_live(p) || (reported == ULV_PAUSED && p->b.state != ULV_PAUSING && p->b.state != ULV_PAUSED))
                        return refuse_state(s, name);
                if (reported == ULV_RUNNING)
                        to = after_running(p);
        } else if (reported == ULV_PAUSED)
                return invalid(s, op, "infrastructure isn't paused");
        ulv_touch(s->l, &p->o);
        r = report_facts(s, op, p);
        if (r != 0)
                return r;
        ulv_set_state(s, p, to);
        if (p->infra)
                p->b.wanted = ULV_RUNNING;
        /* What was waited for is reached if it is what is wanted now. */
        if (to == p->b.wanted)
                ulv_waits_release(s->l, &p->b.waits, false);
        return 0;
}

/* --- holdings ------------------------------------------------------------------------------------------- */

static int find_own(struct step *s, const struct ulv_op *op, struct resource **ret_r, struct holding **ret_h) {
        struct resource *res;
        struct holding *h;
        int r;

        if (!ulv_streq(op->owner, s->reporter->name))
                return invalid(s, op, "it is about another partition");
        r = ulv_op_resource(s, op, &res);
        if (r != 0)
                return r;
        h = ulv_find_holding(s->l, res, s->reporter);
        if (!h || h->b.amount == 0) {
                ulv_refuse(s, ULV_REFUSED_CONFLICT, "%s has no %s %s", s->reporter->name, op->kind, op->id);
                ulv_diag_why(s->reterr, "its report is about something that isn't its own");
                return ULV_REFUSED_CONFLICT;
        }
        *ret_r = res;
        *ret_h = h;
        return 0;
}

static int op_reached(struct step *s, const struct ulv_op *op) {
        const char *how = ulv_op_get(op, "how");
        struct resource *res;
        struct holding *h;
        uint64_t n;
        int r;

        r = find_own(s, op, &res, &h);
        if (r != 0)
                return r;
        if (!ulv_kinds[res->kind].reached)
                return invalid(s, op, "nothing is reached of that kind");
        if (ulv_op_get_u64(op, "amount", &n) != 0)
                return invalid(s, op, "it needs amount=N");
        if (n > h->b.amount)
                return invalid(s, op, "more is reported than it has");
        ulv_touch(s->l, &h->o);
        h->b.reached = n;
        if (res->kind == KIND_CHANNEL && (r = ulv_channel_reached(s, op, h)) != 0)
                return r;
        return ulv_copy(h->b.how, sizeof(h->b.how), how ? how : "") ? 0 : invalid(s, op, "how= is too long");
}

static int op_letgo(struct step *s, const struct ulv_op *op) {
        struct resource *res;
        struct holding *h;
        uint64_t n, young = 0;
        int r;

        r = find_own(s, op, &res, &h);
        if (r == 0)
                r = ulv_op_amount(s, op, res, &n);
        if (r != 0)
                return r;
        for (struct transfer *t = s->reporter->out; t && n > 0; t = t->p_next) {
                uint64_t part = ULV_MIN(t->b.amount, n);

                if (t->r != res || part == 0)
                        continue;
                if (s->t->if_generation != 0 && t->b.made > s->t->if_generation) {
                        young += part;
                        continue;
                }
                r = ulv_settle(s->l, t, part);
                if (r < 0)
                        return r;
                n -= part;
        }
        if (n == 0)
                return 0;
        if (young > 0) {
                ulv_refuse(s, ULV_REFUSED_GENERATION, "%s let go of %s %s too early", s->reporter->name, op->kind, op->id);
                ulv_diag_why(s->reterr, "the transfer is younger than the view (generation %llu) that the report was made under",
                             (unsigned long long) s->t->if_generation);
                ulv_diag_try(s->reterr, "again, under the view of now");
                return ULV_REFUSED_GENERATION;
        }
        return invalid(s, op, "more is let go than was asked for");
}

/* Cut to fit: it is for people. */
static void set_result(struct partition *p, const char *result) {
        size_t n = strnlen(result, sizeof(p->b.result) - 1);

        memcpy(p->b.result, result, n);
        p->b.result[n] = 0;
}

static bool is_attached(const struct resource *r) { return ulv_is_attachment(r->kind) || r->kind == KIND_BLOCK || r->kind == KIND_CHANNEL; }

static int op_refused(struct step *s, const struct ulv_op *op) {
        const char *reason = ulv_op_get(op, "reason");
        struct resource *res;
        struct holding *h;
        bool any = false;
        int r;

        r = find_own(s, op, &res, &h);
        if (r != 0)
                return r;
        if (reason) {
                ulv_touch(s->l, &s->reporter->o);
                set_result(s->reporter, reason);
        }
        for (struct transfer *t = s->reporter->out; t; t = t->p_next) {
                if (t->r != res || t->b.amount == 0)
                        continue;
                /* Refused is not let go: all of it is still in use as before. */
                ulv_drop_transfer(s->l, t, t->b.amount);
                any = true;
        }
        /* What could not be attached was never there: it isn't the partition's after all. */
        if (!any && h->b.reached == 0 && is_attached(res)) {
                ulv_touch(s->l, &h->o);
                ulv_waits_release(s->l, &h->b.waits, true);
                return ulv_move_now(s->l, res, s->reporter, s->l->infra[INFRA_IDLE], 1);
        }
        return any ? 0 : invalid(s, op, "nothing was asked of it");
}

/* --- the end ---------------------------------------------------------------------------------------------- */

static int op_ended(struct step *s, const struct ulv_op *op) {
        const char *result = ulv_op_get(op, "result"), *failed = ulv_op_get(op, "failed"), *stopped = ulv_op_get(op, "stopped");
        struct partition *p = s->reporter;
        bool stopping = p->b.state == ULV_STOPPING;
        int r;

        for (unsigned i = 0; i < op->n_kv; i++)
                if (!ulv_streq(op->kv[i].key, "result") && !ulv_streq(op->kv[i].key, "failed") && !ulv_streq(op->kv[i].key, "stopped") &&
                    !ulv_streq(op->kv[i].key, "incarnation"))
                        return invalid(s, op, "its keys are result= failed= stopped= incarnation=");
        if (p == s->l->infra[INFRA_HOST] || p == s->l->infra[INFRA_IDLE] || p == s->l->infra[INFRA_POOL])
                return invalid(s, op, "it can't end");
        if (!p->infra && !ulv_is_live(p))
                return refuse_state(s, "its end");
        ulv_touch(s->l, &p->o);
        if (!p->infra) {
                r = ulv_give_back(s->l, p);
                if (r < 0)
                        return r;
        }
        ulv_waits_release(s->l, &p->b.waits, !stopping);
        ulv_set_state(s, p, failed && ulv_streq(failed, "yes") ? ULV_FAILED : ULV_DEFINED);
        p->b.leader = p->b.start = 0;
        p->b.contain[0] = p->b.build[0] = p->b.ready[0] = 0;
        set_result(p, result ? result : "");
        if (!p->infra && stopped && ulv_streq(stopped, "yes"))  /* its starter was told to, by an administrator: Restart= heeds it */
                p->b.wanted = ULV_DEFINED;
        /* An end that wasn't asked for leaves what the start was said to be: Restart= counts by it (restart.h). */
        return stopping ? ulv_set_string(&p->b.extra, p->old.extra, "") : 0;
}

int ulv_run_report_op(struct step *s, const struct ulv_op *op) {
        static const struct { const char *verb; bool about_partition; int (*f)(struct step *s, const struct ulv_op *op); } table[] = {
                { "state", true, op_state }, { "ended", true, op_ended },
                { "reached", false, op_reached }, { "letgo", false, op_letgo }, { "refused", false, op_refused },
        };
        int r;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(table); i++) {
                if (!ulv_streq(table[i].verb, op->verb))
                        continue;
                if (!table[i].about_partition)
                        return table[i].f(s, op);
                if (!ulv_streq(op->kind, "partition") || !ulv_streq(op->owner, "-"))
                        return invalid(s, op, "it is about a partition");
                if (!ulv_streq(op->id, s->reporter->name))
                        return invalid(s, op, "it is about another partition");
                r = check_incarnation(s, op);
                return r != 0 ? r : table[i].f(s, op);
        }
        return invalid(s, op, "not an operation of a report");
}
