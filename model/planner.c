/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>

#include "model/after.h"
#include "model/planner-internal.h"

/* The frame of the planner: planner-internal.h tells how it works. */

/* --- texts --------------------------------------------------------------------------------------------- */

struct quantity_text ulv_text_memory(uint64_t units) {
        struct quantity_text t = {};
        struct ulv_strbuf b = ON_STACK(t);

        ulv_size_format(&b, units * ULV_MEMORY_UNIT);
        return t;
}

struct quantity_text ulv_text_share(uint64_t milli) {
        struct quantity_text t = {};
        struct ulv_strbuf b = ON_STACK(t);

        ulv_share_format(&b, milli);
        return t;
}

struct reason_text ulv_reason_text(const char *fmt, ...) {
        struct reason_text t = {};
        struct ulv_strbuf b = ON_STACK(t);
        va_list ap;

        va_start(ap, fmt);
        ulv_strbuf_addv(&b, fmt, ap);
        va_end(ap);
        if (ulv_strbuf_error(&b) < 0)
                ulv_cut(t.s, sizeof(t.s), "(too long to be told)");
        return t;
}

/* --- what a plan is made of ---------------------------------------------------------------------------- */

void ulv_plan_line(struct planner *p, const char *name, const char *action, const char *note, const char *fmt, ...) {
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        struct ulv_plan_line *grown;
        va_list ap;

        if (p->trial)
                return;
        va_start(ap, fmt);
        ulv_strbuf_addv(&b, fmt, ap);
        va_end(ap);
        grown = realloc(p->plan->lines, (p->plan->n_lines + 1) * sizeof(*grown));
        if (grown)
                p->plan->lines = grown;
        if (!grown || !(grown[p->plan->n_lines].text = ulv_strbuf_steal(&b))) {
                p->error = -ENOMEM;
                return;
        }
        grown += p->plan->n_lines++;
        ulv_cut(grown->name, sizeof(grown->name), name);
        ulv_cut(grown->action, sizeof(grown->action), action);
        ulv_cut(grown->note, sizeof(grown->note), note);
}

void ulv_plan_explain(struct planner *p, const char *fmt, ...) {
        va_list ap;

        if (p->trial)
                return;
        va_start(ap, fmt);
        ulv_strbuf_addv(&p->plan->explain, fmt, ap);
        va_end(ap);
        ulv_strbuf_addc(&p->plan->explain, '\n');
}

int ulv_plan_refuse(struct planner *p, enum ulv_exit code, const char *what, const char *why, const char *try_) {
        struct ulv_diag *grown;

        if (p->trial)
                return 1;
        grown = realloc(p->plan->reasons, (p->plan->n_reasons + 1) * sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        p->plan->reasons = grown;
        grown += p->plan->n_reasons++;
        ulv_diag_what(grown, code, "%s", what);
        ulv_diag_why(grown, "%s", why);
        ulv_diag_try(grown, "%s", try_);
        return 1;
}

void ulv_plan_op_state(struct planner *p, const char *name, enum ulv_state state, bool force) {
        struct ulv_strbuf *b = ulv_plan_ops(p);

        if (!b)
                return;
        ulv_op_begin(b, "state", "partition", name, NULL);
        ulv_op_add(b, "state", ulv_state_name(state));
        if (force)
                ulv_op_add(b, "force", "yes");
        if (state == ULV_STARTING && p->r->verb == ULV_REQUEST_START && p->r->restarts > 0) {
                ulv_op_add_u64(b, "restarts", p->r->restarts);
                ulv_op_add_u64(b, "restarted", p->r->restarted);
        }
        ulv_op_end(b);
}

size_t ulv_plan_mark(const struct planner *p) { return p->trial ? 0 : p->plan->operations.len; }

void ulv_plan_back_to(struct planner *p, size_t mark) {
        struct ulv_strbuf *b = ulv_plan_ops(p);

        if (!b || !b->s)
                return;
        b->len = mark;
        b->s[mark] = 0;
}

int ulv_plan_restart(struct planner *p, size_t mark) {
        ulv_plan_back_to(p, mark);
        ulv_world_done(&p->w);
        return ulv_world_init(&p->w, p->l, p->b->policy, NULL);
}

/* --- definitions ----------------------------------------------------------------------------------------- */

int ulv_plan_old_definition(const struct ulv_partition_info *info, struct ulv_definition **ret) {
        _cleanup_strbuf_ struct ulv_strbuf file = {};
        struct ulv_source source = { .buf = info->text, .len = strlen(info->text) };
        struct ulv_diag ignored;

        ulv_strbuf_addf(&file, "%s.partition", info->name);
        if (ulv_strbuf_error(&file) < 0)
                return -ENOMEM;
        source.file = ulv_strbuf_str(&file);
        return ulv_definition_parse(&source, 1, ret, &ignored);
}

/* Can a partition that runs by `old` be resized by d? Type, zone and the sort of its CPUs stay until it stops. */
static bool is_compatible(const struct ulv_definition *old, const struct ulv_definition *d) {
        return ulv_streq(old->type, d->type) && ulv_streq(old->zone, d->zone) && old->whole_cores == d->whole_cores;
}

int ulv_plan_definition(const struct planner *p, const char *name, const struct ulv_definition **ret, struct ulv_definition **ret_own) {
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *old = NULL;
        const struct ulv_definition *d = ulv_bundle_definition(p->b, name);
        struct ulv_partition_info info;
        bool known = ulv_ledger_partition(p->l, name, &info) == 0 && info.text[0];
        int r = 1;

        *ret_own = NULL;
        if (known && (!d || ulv_state_is_live(info.state)))
                r = ulv_plan_old_definition(&info, &old);
        if (r < 0)
                return r;
        if (d && (!old || is_compatible(old, d))) {
                *ret = d;
                return 0;
        }
        if (!old)
                return 1;
        *ret = *ret_own = ulv_steal(old);
        return 0;
}

int ulv_plan_define(struct planner *p, const struct ulv_definition *d, bool *ret_changed) {
        _cleanup_strbuf_ struct ulv_strbuf text = {};
        struct ulv_partition_info info;
        struct ulv_strbuf *b = ulv_plan_ops(p);
        struct ulv_definition own = *d;
        bool changed;
        int r;

        /* A view tells no partition of another. Start order and channels are the planner's, who reads them from the bundle. */
        own.n_after = own.n_channels = 0;
        r = ulv_definition_format(&own, &text);
        if (r < 0)
                return r;
        changed = ulv_ledger_partition(p->l, d->name, &info) != 0 || !ulv_streq(info.text, ulv_strbuf_str(&text));
        if (changed && b) {
                ulv_op_begin(b, "define", "partition", d->name, NULL);
                ulv_op_add(b, "zone", d->zone);
                ulv_op_add(b, "type", d->type);
                ulv_op_add(b, "role", d->role);
                ulv_op_add(b, "text", ulv_strbuf_str(&text));
                ulv_op_end(b);
        }
        if (ret_changed)
                *ret_changed = changed;
        return 0;
}

/* --- order ------------------------------------------------------------------------------------------------- */

struct ordering { const struct ulv_bundle *b; bool *wanted; const char **names; size_t n; };

static int take_in_order(size_t i, void *userdata) {
        struct ordering *o = userdata;

        if (o->wanted[i])
                o->names[o->n++] = o->b->definitions[i]->name;
        return 0;
}

static int find_wanted(const struct ulv_bundle *b, const char *const *names, size_t n_names, bool *wanted, struct ulv_diag *reterr) {
        for (size_t i = 0; i < n_names; i++) {
                ptrdiff_t k = ulv_after_find(b->definitions, b->n_definitions, names[i]);

                if (k < 0) {
                        ulv_diag_what(reterr, ULV_EXIT_NOT_FOUND, "no partition %s", ULV_Q(names[i]));
                        ulv_diag_why(reterr, "no definition has this name");
                        ulv_diag_try(reterr, "uvctl list");
                        return 1;
                }
                wanted[k] = true;
        }
        return 0;
}

int ulv_plan_order(const struct ulv_bundle *b, const char *const *names, size_t n_names, bool all,
                   const char ***ret, size_t *ret_n, struct ulv_diag *reterr) {
        _cleanup_free_ bool *wanted = calloc(b->n_definitions + 1, sizeof(*wanted));
        _cleanup_free_ const char **ordered = calloc(b->n_definitions + 1, sizeof(*ordered));
        struct ordering o = { .b = b, .wanted = wanted, .names = ordered };
        int r;

        if (!wanted || !ordered)
                return -ENOMEM;
        for (size_t i = 0; all && i < b->n_definitions; i++)
                wanted[i] = true;
        r = find_wanted(b, names, all ? 0 : n_names, wanted, reterr);
        if (r == 0)
                r = ulv_after_walk(b->definitions, b->n_definitions, take_in_order, NULL, &o);
        if (r != 0)
                return r;
        *ret = ulv_steal(ordered);
        *ret_n = o.n;
        return 0;
}

/* --- the plan ---------------------------------------------------------------------------------------------- */

int ulv_plan_decide(struct planner *p) {
        switch (p->r->verb) {
        case ULV_REQUEST_START: return ulv_plan_start(p);
        case ULV_REQUEST_STOP: return ulv_plan_stop(p);
        case ULV_REQUEST_PAUSE: return ulv_plan_pause(p, true);
        case ULV_REQUEST_RESUME: return ulv_plan_pause(p, false);
        case ULV_REQUEST_SET: return ulv_plan_set(p);
        case ULV_REQUEST_MOVE: return ulv_plan_move(p);
        case ULV_REQUEST_ATTACH:
        case ULV_REQUEST_DETACH: return ulv_plan_attach(p);
        case ULV_REQUEST_APPLY: return ulv_plan_apply(p);
        case ULV_REQUEST_REMOVE: return ulv_plan_remove(p);
        }
        return -EINVAL;
}

void ulv_plan_free(struct ulv_plan *plan) {
        if (!plan)
                return;
        for (size_t i = 0; i < plan->n_lines; i++)
                free(plan->lines[i].text);
        free(plan->lines);
        free(plan->reasons);
        ulv_strbuf_done(&plan->operations);
        ulv_strbuf_done(&plan->explain);
        free(plan);
}

int ulv_plan_make(const struct ulv_ledger *l, const struct ulv_bundle *b, const struct ulv_request *r, struct ulv_plan **ret) {
        ULV_CLEANUP(ulv_plan_freep) struct ulv_plan *plan = calloc(1, sizeof(*plan));
        struct planner p = { .l = l, .b = b, .r = r, .plan = plan };
        int k;

        if (!plan)
                return -ENOMEM;
        plan->generation = ulv_ledger_generation(l);
        k = ulv_world_init(&p.w, l, b->policy, r->verb == ULV_REQUEST_START || r->verb == ULV_REQUEST_STOP ? r->name : NULL);
        if (k < 0)
                return k;
        ulv_plan_remember_idle(&p);
        k = ulv_plan_decide(&p);
        if (k == 0 && r->verb != ULV_REQUEST_APPLY && r->verb != ULV_REQUEST_STOP && r->verb != ULV_REQUEST_REMOVE &&
            r->verb != ULV_REQUEST_PAUSE && r->verb != ULV_REQUEST_RESUME && r->verb != ULV_REQUEST_DETACH)
                ulv_plan_summary(&p, true);
        ulv_world_done(&p.w);
        plan->use = p.use;
        if (k == 0)
                k = ulv_strbuf_error(&p.lost);
        ulv_strbuf_done(&p.lost);
        if (k >= 0 && p.error < 0)
                k = p.error;
        if (k >= 0 && ulv_strbuf_error(&plan->operations) < 0)
                k = ulv_strbuf_error(&plan->operations);
        if (k >= 0 && ulv_strbuf_error(&plan->explain) < 0)
                k = ulv_strbuf_error(&plan->explain);
        if (k > 0)
                ulv_strbuf_reset(&plan->operations);
        if (k >= 0)
                *ret = ulv_steal(plan);
        return k;
}
