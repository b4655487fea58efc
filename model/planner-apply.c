/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/definition-keys.h"
#include "model/planner-internal.h"

/* A bundle brought into the ledger: first the pool and the host (planner-policy.c), then each definition,
 * and at last what has no definition. Partitions that run are resized in the same transaction; those that
 * don't are defined, and tried on a copy of the world, so that it can be said whether they would fit. */

/* --- definitions ------------------------------------------------------------------------------------------- */

/* Would it start now, beside all that this plan does? It takes its part of a copy, then of the next one's. */
static int try_start(struct planner *p, struct world *rest, const struct ulv_definition *d, bool *fits) {
        struct values v = ulv_plan_values(d);
        struct need need = { .owner = d->name, .d = d, .cores = v.cores, .share = v.share, .memory = v.memory / ULV_MEMORY_UNIT };
        struct planner t = { .l = p->l, .b = p->b, .r = p->r, .trial = true };
        struct shortages s;
        int r;

        if (!d->whole_cores)
                need.cores = 0;
        r = ulv_world_copy(&t.w, rest);
        if (r < 0)
                return r;
        r = ulv_place(&t, &need, &s);
        *fits = r == 0;
        if (r != 0) {
                ulv_world_done(&t.w);
                return r < 0 ? r : 0;
        }
        ulv_world_done(rest);
        *rest = t.w;
        ulv_amounts_add(&p->use.taken, &t.use.taken);
        ulv_amounts_add(&p->use.from_host, &t.use.from_host);
        return 0;
}

static void add_amounts(struct ulv_strbuf *b, const struct ulv_definition *d) {
        ulv_strbuf_addf(b, "%s, ", d->type);
        if (d->whole_cores)
                ulv_strbuf_addf(b, "%u core%s", d->cores, d->cores == 1 ? "" : "s");
        else
                ulv_strbuf_addf(b, "%s share", SHARE(d->share));
        ulv_strbuf_addf(b, ", %s", MEMORY(d->memory / ULV_MEMORY_UNIT));
        if (d->memory_node >= 0)
                ulv_strbuf_addf(b, " on node %d", d->memory_node);
}

static int refuse_fixed(struct planner *p, const struct ulv_definition *d, const char *what, const char *was, const char *is) {
        return ulv_plan_refuse(p, ULV_EXIT_CONFLICT, TEXT("cannot change the %s of %s from %s to %s", what, d->name, was, is),
                               TEXT("%s is running", d->name), TEXT("uvctl stop %s, then again", d->name));
}

/* A live partition to its definition: as much as there is, down to its Min, before it is refused. */
static int resize_live(struct planner *p, const struct ulv_definition *d, bool same_cpu) {
        STACK_TEXT(text);
        STACK_TEXT(note);
        struct values now = ulv_plan_wanted(p, d), v = ulv_plan_values(d);
        struct world before;
        struct shortages s;
        size_t mark = ulv_plan_mark(p);
        int r;

        /* In a trial its definition was set before. */
        if (ulv_streq0(p->done_to, d->name)) {
                v.cores = p->done_values->has_cores ? p->done_values->cores : v.cores;
                v.share = p->done_values->has_share ? p->done_values->share : v.share;
                v.memory = p->done_values->has_memory ? p->done_values->memory : v.memory;
        }
        v.has_cores = v.has_cores && same_cpu;
        v.has_share = v.has_share && same_cpu;
        v.has_memory = v.has_memory && !ulv_plan_keeps_memory(d);
        r = ulv_world_copy(&before, &p->w);
        if (r < 0)
                return r;
        r = ulv_plan_resize(p, d, &v, &s);
        if (r > 0 && s.n > 0 && ulv_plan_lower(d, &now, &s, &v)) {
                struct shortages again;

                ulv_world_done(&p->w);
                p->w = before;
                before = (struct world) {};
                ulv_plan_back_to(p, mark);
                r = ulv_plan_resize(p, d, &v, &again);
                ulv_strbuf_add(&note, "less than wanted");
        }
        ulv_world_done(&before);
        ulv_plan_add_difference(&text, &now, &v);
        ulv_plan_limits(p, d, &text);
        if (r > 0 && s.n == 0)
                return ulv_plan_refuse(p, ULV_EXIT_CONFLICT, TEXT("cannot change %s now", d->name),
                                       "a part of what it is to give up is still on its way to it", "uvctl apply, again when it is there");
        if (r > 0)
                return ulv_plan_short(p, TEXT("cannot change %s: %s", d->name, ulv_strbuf_str(&text)), d, &s);
        if (r == 0 && text.len > 0)
                ulv_plan_line(p, d->name, "change", note.len > 0 ? ulv_strbuf_str(&note) : "live", "%s", ulv_strbuf_str(&text));
        return r;
}

static int apply_live(struct planner *p, const struct ulv_definition *d, const struct ulv_definition *old, const struct ulv_partition_info *info) {
        STACK_TEXT(keys);
        bool same_cpu = old && old->whole_cores == d->whole_cores;
        int r = 0;

        if (!ulv_streq(info->type, d->type))
                return refuse_fixed(p, d, "type", info->type, d->type);
        if (!ulv_streq(info->zone, d->zone))
                return refuse_fixed(p, d, "zone", info->zone, d->zone);
        if (old)
                r = ulv_definition_add_changed(old, d, &keys);
        if (r == 0 && !same_cpu)
                ulv_strbuf_addf(&keys, "%s%s", keys.len > 0 ? ", " : "", d->whole_cores ? "Cores=" : "Share=");
        if (r == 0 && ulv_plan_keeps_memory(d) && old && old->memory != d->memory)
                ulv_strbuf_addf(&keys, "%sSize=", keys.len > 0 ? ", " : "");
        if (r == 0 && info->state != ULV_STOPPING)
                r = resize_live(p, d, same_cpu);
        if (r == 0 && info->state != ULV_STOPPING)
                r = ulv_plan_attach_live(p, d, old);
        if (r == 0 && info->state != ULV_STOPPING)
                r = ulv_plan_channels_live(p, d);
        if (r == 0 && keys.len > 0)
                ulv_plan_line(p, d->name, "change", "at next start", "%s", ulv_strbuf_str(&keys));
        return r;
}

static int line_changed(struct planner *p, const struct ulv_definition *d, const struct ulv_definition *old, bool fits) {
        STACK_TEXT(text);
        int r = 0;

        if (old) {
                struct values was = ulv_plan_values(old), is = ulv_plan_values(d);

                if (old->whole_cores == d->whole_cores)
                        ulv_plan_add_difference(&text, &was, &is);
                else
                        add_amounts(&text, d);
                ulv_plan_add_limit_difference(&text, old, d);
                r = ulv_definition_add_changed(old, d, &text);
        }
        if (r == 0)
                ulv_plan_line(p, d->name, "change", fits ? "at next start" : "does not fit now", "%s", text.len > 0 ? ulv_strbuf_str(&text) : "its definition");
        return r;
}

static int add_wanted(const struct ulv_holding_info *h, void *userdata) {
        struct values *v = userdata;

        if (ulv_streq(h->kind, "core"))
                v->cores += h->wanted;
        else if (ulv_streq(h->kind, "share"))
                v->share += h->wanted;
        else if (ulv_streq(h->kind, "memory"))
                v->memory += h->wanted * ULV_MEMORY_UNIT;
        return 0;
}

/* Has a partition what its definition wants? Asked of the ledger, which keeps what one partition has
 * together: most of a large set is as it should be, and the world needn't be searched for it. */
static bool is_there(const struct planner *p, const struct ulv_definition *d) {
        struct values has = {}, wants = ulv_plan_values(d);

        (void) ulv_ledger_each_holding(p->l, NULL, d->name, add_wanted, &has);
        return has.cores == (d->whole_cores ? wants.cores : 0) && has.share == (d->whole_cores ? 0 : wants.share) && has.memory == wants.memory &&
               ulv_plan_has_limits(p, d);
}

static int apply_definition(struct planner *p, const struct ulv_definition *d) {
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *old = NULL;
        struct ulv_partition_info info;
        bool changed;
        int r;

        r = ulv_plan_define(p, d, &changed);
        if (r < 0 || ulv_ledger_partition(p->l, d->name, &info) != 0 || !ulv_state_is_live(info.state))
                return r;
        /* In a trial it was stopped before. */
        if (ulv_streq0(p->done_to, d->name) && !p->done_values)
                return 0;
        /* Whether a channel is to be follows from two definitions, of which this one may be as it was. */
        if (!changed && !p->done_to && is_there(p, d))
                return info.state == ULV_STOPPING ? 0 : ulv_plan_channels_live(p, d);
        r = ulv_plan_old_definition(&info, &old);
        return r >= 0 ? apply_live(p, d, old, &info) : r;
}

/* The lines of those that don't run, when it is known what the others leave. */
static int look_ahead(struct planner *p, const struct ulv_definition *d, struct world *rest, bool *all_fit) {
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *old = NULL;
        STACK_TEXT(text);
        struct ulv_partition_info info;
        bool known = ulv_ledger_partition(p->l, d->name, &info) == 0, changed, fits;
        int r;

        if (known && ulv_state_is_live(info.state))
                return 0;
        if (ulv_plan_lacks_image(p, d))
                ulv_plan_line(p, d->name, "can't start", "", "there is no image %s (uvctl image build %s, or: uvctl image import)", d->image, d->image);
        p->trial = true;
        r = ulv_plan_define(p, d, &changed);
        p->trial = false;
        if (r < 0 || !changed)
                return r;
        r = try_start(p, rest, d, &fits);
        if (r < 0)
                return r;
        *all_fit = *all_fit && fits;
        if (known) {
                r = ulv_plan_old_definition(&info, &old);
                return r >= 0 ? line_changed(p, d, old, fits) : r;
        }
        add_amounts(&text, d);
        ulv_plan_line(p, d->name, "new", fits ? "" : "does not fit now", "%s", ulv_strbuf_str(&text));
        return 0;
}

/* --- what has no definition ---------------------------------------------------------------------------------- */

static int apply_orphan(const struct ulv_partition_info *info, void *userdata) {
        struct planner *p = userdata;
        struct ulv_strbuf *b = ulv_plan_ops(p);

        if (ulv_streq(info->role, "infrastructure") || ulv_bundle_definition(p->b, info->name))
                return 0;
        if (!p->r->prune)
                ulv_plan_line(p, info->name, "kept", "", "not in this directory (--prune removes it)");
        else if (ulv_state_is_live(info->state))
                ulv_plan_line(p, info->name, "kept", "", "not in this directory, but %s (uvctl stop %s)", ulv_state_name(info->state), info->name);
        else {
                ulv_plan_line(p, info->name, "remove", "", "not in this directory");
                if (b) {
                        ulv_op_begin(b, "remove", "partition", info->name, NULL);
                        ulv_op_end(b);
                }
        }
        return 0;
}

/* --- the whole ------------------------------------------------------------------------------------------------ */

static int count_partition(const struct ulv_partition_info *info, void *userdata) {
        *(size_t *) userdata += !ulv_streq(info->role, "infrastructure");
        return 0;
}

/* The ledger's limits, told before it refuses without knowing what for. */
static int check_limits(struct planner *p) {
        const struct ulv_strbuf *b = &p->plan->operations;
        size_t n = 0, known = 0;

        for (size_t i = 0; i < b->len; i++)
                n += b->s[i] == '\n';
        if (n > ULV_TXN_OPERATIONS_MAX || b->len > ULV_TXN_BYTES_MAX)
                return ulv_plan_refuse(p, ULV_EXIT_CAPACITY, "cannot apply all of it in one transaction",
                                       TEXT("it takes %zu operations and %zuK, and %d and %dK are the most", n, b->len / 1024, ULV_TXN_OPERATIONS_MAX, ULV_TXN_BYTES_MAX / 1024),
                                       "uvctl apply DIRECTORY, with some of the definitions first");
        (void) ulv_ledger_each_partition(p->l, count_partition, &known);
        for (size_t i = 0; i < p->b->n_definitions; i++) {
                struct ulv_partition_info info;

                known += ulv_ledger_partition(p->l, p->b->definitions[i]->name, &info) != 0;
        }
        if (known > ULV_PARTITIONS_MAX)
                return ulv_plan_refuse(p, ULV_EXIT_CAPACITY, "cannot define that many partitions",
                                       TEXT("there would be %zu, and %d are the most", known, ULV_PARTITIONS_MAX), "uvctl apply --prune");
        return 0;
}

/* Of a revert only the partition's definition counts; what else isn't applied yet isn't its business. */
static int apply_all(struct planner *p, bool *fits) {
        const char *only = p->r->name && p->r->name[0] ? p->r->name : NULL;
        struct world rest;
        int r = only ? 0 : ulv_plan_policy(p);

        ulv_plan_remember_idle(p);      /* also what the host and the pool have just given up */
        for (size_t i = 0; r == 0 && i < p->b->n_definitions; i++)
                if (!only || ulv_streq(p->b->definitions[i]->name, only))
                        r = apply_definition(p, p->b->definitions[i]);
        if (r != 0 || p->trial)
                return r;
        r = ulv_world_copy(&rest, &p->w);
        if (r < 0)
                return r;
        for (size_t i = 0; r == 0 && i < p->b->n_definitions; i++)
                if (!only || ulv_streq(p->b->definitions[i]->name, only))
                        r = look_ahead(p, p->b->definitions[i], &rest, fits);
        ulv_world_done(&rest);
        for (size_t i = 0; r == 0 && !only && i < p->b->n_definitions; i++)
                r = ulv_plan_kept(p, p->b->definitions[i]);
        return r != 0 || only ? r : ulv_ledger_each_partition(p->l, apply_orphan, p);
}

int ulv_plan_apply(struct planner *p) {
        bool fits = true;
        int r = apply_all(p, &fits);

        if (r != 0 || p->trial)
                return r;
        r = check_limits(p);
        if (r == 0)
                ulv_plan_summary(p, fits);
        return r;
}
