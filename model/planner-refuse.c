/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/planner-internal.h"

/* Shortages told, and a command that helps. The candidates, in this order: another partition down to no
 * less than its Min; a partition of lower priority stopped; less for the one that asks; one of the same
 * or of higher priority stopped (both priorities are told). Each is tried on a world of its own before it is offered (planner-internal.h). */

#define TRIALS_MAX 8    /* of each sort */

/* --- why ------------------------------------------------------------------------------------------------- */

static void add_place(struct ulv_strbuf *b, const struct shortage *s) {
        if (s->at.file[0])
                ulv_strbuf_addf(b, " (%s:%u Node=%d)", s->at.file, s->at.line, s->node);
}

/* The host is named where it helps, and where nothing is idle. */
static void add_host(struct ulv_strbuf *b, const struct shortage *s, const char *spare, const char *keeps, const struct ulv_place *at) {
        if (s->spare == 0 && s->idle > 0) {
                ulv_strbuf_add(b, " and");
                return;
        }
        ulv_strbuf_addf(b, ", the host can give %s%s (it keeps %s", spare, s->idle > 0 ? " more" : "", keeps);
        if (at->file[0])
                ulv_strbuf_addf(b, ": %s:%u", at->file, at->line);
        ulv_strbuf_add(b, "), and");
}

static void why_cores(const struct planner *p, struct ulv_strbuf *b, const struct shortage *s) {
        if (s->node >= 0)
                ulv_strbuf_addf(b, "node %d has %llu idle", s->node, (unsigned long long) s->idle);
        else
                ulv_strbuf_addf(b, "%llu core%s idle", (unsigned long long) s->idle, s->idle == 1 ? " is" : "s are");
        add_host(b, s, TEXT("%llu", (unsigned long long) s->spare), TEXT("%llu", (unsigned long long) p->w.host_cores), &p->w.host_cores_at);
        ulv_strbuf_addf(b, " %llu %s needed", (unsigned long long) s->needed, s->needed == 1 ? "is" : "are");
        add_place(b, s);
}

static void why_memory(const struct planner *p, struct ulv_strbuf *b, const struct shortage *s) {
        bool huge = !ulv_streq(s->pages, "4K");

        if (s->node >= 0)
                ulv_strbuf_addf(b, "node %d has %s idle", s->node, MEMORY(s->idle));
        else
                ulv_strbuf_addf(b, "%s is idle", MEMORY(s->idle));
        if (huge)
                ulv_strbuf_addf(b, " in %s pages and", s->pages);
        else
                add_host(b, s, MEMORY(s->spare), MEMORY(p->w.host_memory), &p->w.host_memory_at);
        ulv_strbuf_addf(b, " %s %s needed", MEMORY(s->needed), s->node >= 0 ? "are" : "is");
        add_place(b, s);
}

static void add_why(const struct planner *p, struct ulv_strbuf *b, const struct shortage *s) {
        if (s->why) {
                ulv_strbuf_add(b, s->why);
                return;
        }
        switch (s->what) {
        case SHORT_OF_CORES: why_cores(p, b, s); break;
        case SHORT_OF_MEMORY: why_memory(p, b, s); break;
        case SHORT_OF_SHARE:
                ulv_strbuf_addf(b, "the pool has %s share left of %s (%s cores), and %s %s needed", SHARE(s->idle),
                                SHARE(ulv_world_share_capacity(&p->w)), p->w.pool_is_host ? "the host's" : "its own",
                                SHARE(s->needed), s->needed == 1000 ? "is" : "are");
                break;
        case SHORT_OF_UIDS:
                ulv_strbuf_addf(b, "all ranges of 64K uids that this machine may use are taken (%u to %u)", p->w.uids_first, p->w.uids_last);
                break;
        }
}

/* --- trials ------------------------------------------------------------------------------------------------ */

struct candidate { const struct ulv_definition *d; struct ulv_definition *own; };
struct candidates { const struct planner *p; struct candidate *v; size_t n, size; };

static int add_candidate(const struct ulv_partition_info *info, void *userdata) {
        struct candidates *c = userdata;
        struct candidate one = {};
        int r;

        if (ulv_streq(info->role, "infrastructure") || !ulv_state_is_live(info->state) || info->state == ULV_STOPPING)
                return 0;
        r = ulv_plan_definition(c->p, info->name, &one.d, &one.own);
        if (r != 0)
                return r < 0 ? r : 0;
        if (c->n == c->size) {
                struct candidate *grown = realloc(c->v, (c->size * 2 + 8) * sizeof(*grown));

                if (!grown) {
                        ulv_definition_free(one.own);
                        return -ENOMEM;
                }
                c->v = grown;
                c->size = c->size * 2 + 8;
        }
        c->v[c->n++] = one;
        return 0;
}

static int by_priority(const void *a, const void *b) {
        const struct candidate *x = a, *y = b;

        if (x->d->priority != y->d->priority)
                return x->d->priority < y->d->priority ? -1 : 1;
        return strcmp(x->d->name, y->d->name);
}

static void candidates_done(struct candidates *c) {
        for (size_t i = 0; i < c->n; i++)
                ulv_definition_free(c->v[i].own);
        free(c->v);
}

static const struct values nothing = { .has_cores = true, .has_share = true, .has_memory = true };

/* One trial: the request again, on a fresh world in which `other` (may be NULL) has only `left`; &nothing
 * is a stop. */
static int try_again(const struct planner *p, const struct ulv_request *r, const struct values *values,
                     const struct ulv_definition *other, const struct values *left) {
        struct planner t = {
                .l = p->l, .b = p->b, .r = r, .values = values, .trial = true,
                .done_to = other ? other->name : NULL, .done_values = left != &nothing ? left : NULL,
        };
        struct shortages none;
        int k;

        k = ulv_world_init(&t.w, p->l, p->b->policy, NULL);
        if (k < 0)
                return k;
        t.w.settled = true;
        if (other)
                k = ulv_plan_resize(&t, other, left, &none);
        t.w.settled = false;
        if (k == 0)
                k = ulv_plan_decide(&t);
        ulv_world_done(&t.w);
        return k;
}

/* --- what may help ------------------------------------------------------------------------------------------- */

struct search {
        struct planner *p;
        const struct ulv_definition *d; /* whose need it is */
        const struct shortages *s;
        struct candidates c;
        struct reason_text *found;
};

static bool is_within(uint64_t n, uint64_t min, uint64_t max) { return n >= min && (max == 0 || n <= max); }

/* What other would have if it gave up exactly what is short of the first kind; false if it has no Min, or
 * its bounds forbid it. */
static bool shrunk(const struct search *f, const struct ulv_definition *other, struct values *ret, struct reason_text *ret_text) {
        const struct shortage *s = &f->s->v[0];
        struct values now = ulv_plan_wanted(f->p, other);
        uint64_t lacks = s->needed - s->idle - s->spare, bytes = lacks * ULV_MEMORY_UNIT;

        *ret = (struct values) {};
        if (s->what == SHORT_OF_CORES && other->whole_cores && other->cores_min > 0 && now.cores > lacks &&
            is_within(now.cores - lacks, other->cores_min, other->cores_max)) {
                *ret = (struct values) { .has_cores = true, .cores = now.cores - lacks };
                *ret_text = ulv_reason_text("uvctl set %s cores=%llu, then again (the minimum of %s is %u)", other->name,
                                            (unsigned long long) ret->cores, other->name, other->cores_min);
                return true;
        }
        if (s->what == SHORT_OF_SHARE && !other->whole_cores && other->share_min > 0 && now.share > lacks &&
            is_within(now.share - lacks, other->share_min, other->share_max)) {
                *ret = (struct values) { .has_share = true, .share = now.share - lacks };
                *ret_text = ulv_reason_text("uvctl set %s share=%s, then again (the minimum of %s is %s)", other->name,
                                            SHARE(ret->share), other->name, SHARE(other->share_min));
                return true;
        }
        if (s->what == SHORT_OF_MEMORY && other->memory_min > 0 && now.memory > bytes &&
            is_within(now.memory - bytes, other->memory_min, other->memory_max)) {
                *ret = (struct values) { .has_memory = true, .memory = now.memory - bytes };
                *ret_text = ulv_reason_text("uvctl set %s memory=%s, then again (the minimum of %s is %s)", other->name,
                                            MEMORY(ret->memory / ULV_MEMORY_UNIT), other->name, MEMORY(other->memory_min / ULV_MEMORY_UNIT));
                return true;
        }
        return false;
}

/* 0 = found; 1 = no; -ENOMEM. So are the next three. */
static int find_shrink(struct search *f) {
        unsigned trials = 0;

        for (size_t i = 0; i < f->c.n && trials < TRIALS_MAX; i++) {
                const struct ulv_definition *other = f->c.v[i].d;
                struct values left;
                int r;

                /* One that runs by an older definition than its file's can't be set by a drop-in. */
                if (ulv_streq(other->name, f->d->name) || (f->c.v[i].own && ulv_bundle_definition(f->p->b, other->name)) || !shrunk(f, other, &left, f->found))
                        continue;
                trials++;
                r = try_again(f->p, f->p->r, f->p->values, other, &left);
                if (r <= 0)
                        return r;
        }
        return 1;
}

static int find_stop(struct search *f, bool lower_priority) {
        unsigned trials = 0;

        for (size_t i = 0; i < f->c.n && trials < TRIALS_MAX; i++) {
                const struct ulv_definition *other = f->c.v[i].d;
                int r;

                if (ulv_streq(other->name, f->d->name) || (other->priority < f->d->priority) != lower_priority)
                        continue;
                trials++;
                r = try_again(f->p, f->p->r, f->p->values, other, &nothing);
                if (r < 0)
                        return r;
                if (r > 0)
                        continue;
                *f->found = ulv_reason_text("uvctl stop %s, then again (its priority is %u, that of %s is %u)", other->name,
                                            other->priority, f->d->name, f->d->priority);
                return 0;
        }
        return 1;
}

static void add_setting(struct ulv_strbuf *b, const struct values *from, const struct values *to) {
        if (to->has_cores && to->cores != from->cores)
                ulv_strbuf_addf(b, " cores=%llu", (unsigned long long) to->cores);
        if (to->has_share && to->share != from->share)
                ulv_strbuf_addf(b, " share=%s", SHARE(to->share));
        if (to->has_memory && to->memory != from->memory)
                ulv_strbuf_addf(b, " memory=%s", MEMORY(to->memory / ULV_MEMORY_UNIT));
}

/* Less for the one that asks: all that there is of what is short. */
static int find_less(struct search *f) {
        const struct ulv_request *q = f->p->r;
        bool start = q->verb == ULV_REQUEST_START;
        struct values now = start ? (struct values) {} : ulv_plan_wanted(f->p, f->d), v;
        struct ulv_request less = *q;
        struct ulv_definition bounds = *f->d;
        STACK_TEXT(b);
        int r;

        if (!start && q->verb != ULV_REQUEST_SET)
                return 1;
        v = start ? ulv_plan_values(f->d) : (struct values) {
                .has_cores = q->has_cores, .cores = q->cores, .has_share = q->has_share, .share = q->share, .has_memory = q->has_memory, .memory = q->memory,
        };
        /* Whatever is more than nothing, and not below what it has, is worth offering. */
        bounds.cores_min = (unsigned) ULV_MAX(now.cores + 1, (uint64_t) f->d->cores_min);
        bounds.share_min = ULV_MAX(now.share + 1, f->d->share_min);
        bounds.memory_min = ULV_MAX(now.memory + ULV_MEMORY_UNIT, f->d->memory_min);
        const struct values asked = v;
        if (!ulv_plan_lower(&bounds, &now, f->s, &v))
                return 1;
        less.cores = v.cores;
        less.share = v.share;
        less.memory = v.memory;
        r = try_again(f->p, &less, start ? &v : NULL, NULL, NULL);
        if (r != 0)
                return r;
        ulv_strbuf_addf(&b, "uvctl set %s", f->d->name);
        add_setting(&b, &asked, &v);
        if (!start && q->runtime)
                ulv_strbuf_add(&b, " --runtime");
        *f->found = ulv_reason_text("%s%s", ulv_strbuf_str(&b), start ? ", then again" : "");
        return ulv_strbuf_error(&b);
}

static int find_help(struct search *f) {
        int r;

        f->c.p = f->p;
        r = ulv_ledger_each_partition(f->p->l, add_candidate, &f->c);
        if (r < 0)
                return r;
        if (f->c.n > 0)
                qsort(f->c.v, f->c.n, sizeof(*f->c.v), by_priority);
        r = find_shrink(f);
        if (r > 0)
                r = find_stop(f, true);
        if (r > 0)
                r = find_less(f);
        if (r > 0)
                r = find_stop(f, false);
        if (r > 0) {
                *f->found = ulv_reason_text("uvctl resources, to see who has what");
                r = 0;
        }
        return r;
}

int ulv_plan_short(struct planner *p, const char *what, const struct ulv_definition *d, const struct shortages *s) {
        struct reason_text help = {};
        int r;

        if (p->trial)
                return 1;
        /* The world is spoilt by what didn't fit; texts and candidates look at it as it is. */
        r = ulv_plan_restart(p, 0);
        if (r == 0) {
                struct search f = { .p = p, .d = d, .s = s, .found = &help };

                r = find_help(&f);
                candidates_done(&f.c);
        }
        for (size_t i = 0; r == 0 && i < s->n; i++) {
                STACK_TEXT(why);

                add_why(p, &why, &s->v[i]);
                r = ulv_strbuf_error(&why);
                if (r == 0 && ulv_plan_refuse(p, ULV_EXIT_CAPACITY, what, ulv_strbuf_str(&why), i == 0 ? help.s : "") < 0)
                        r = -ENOMEM;
        }
        return r < 0 ? r : 1;
}
