/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/planner-internal.h"

/* Live partitions made larger and smaller, and units moved between two of them. */

struct values ulv_plan_wanted(const struct planner *p, const struct ulv_definition *d) {
        return (struct values) {
                .has_cores = d->whole_cores, .cores = ulv_world_wanted_cores(&p->w, d->name),
                .has_share = !d->whole_cores, .share = ulv_world_wanted_share(&p->w, d->name),
                .has_memory = true, .memory = ulv_world_wanted_memory(&p->w, d->name) * ULV_MEMORY_UNIT,
        };
}

void ulv_plan_add_difference(struct ulv_strbuf *b, const struct values *from, const struct values *to) {
        if (to->has_cores && to->cores != from->cores)
                ulv_strbuf_addf(b, "cores %llu -> %llu", (unsigned long long) from->cores, (unsigned long long) to->cores);
        if (to->has_share && to->share != from->share)
                ulv_strbuf_addf(b, "%sshare %s -> %s", b->len > 0 ? ", " : "", SHARE(from->share), SHARE(to->share));
        if (to->has_memory && to->memory != from->memory)
                ulv_strbuf_addf(b, "%smemory %s -> %s", b->len > 0 ? ", " : "", MEMORY(from->memory / ULV_MEMORY_UNIT),
                                MEMORY(to->memory / ULV_MEMORY_UNIT));
}

/* "batch loses 1 core, 2G. " */
static void add_loss(struct planner *p, const char *name, const struct values *now, const struct values *v) {
        struct ulv_strbuf *b = &p->lost;
        const char *between = "";
        size_t before = b->len;

        if (p->trial)
                return;
        ulv_strbuf_addf(b, "%s loses ", name);
        size_t start = b->len;
        if (v->has_cores && v->cores < now->cores) {
                ulv_strbuf_addf(b, "%llu core%s", (unsigned long long) (now->cores - v->cores), now->cores - v->cores == 1 ? "" : "s");
                between = ", ";
        }
        if (v->has_share && v->share < now->share) {
                ulv_strbuf_addf(b, "%s%s share", between, SHARE(now->share - v->share));
                between = ", ";
        }
        if (v->has_memory && v->memory < now->memory)
                ulv_strbuf_addf(b, "%s%s", between, MEMORY((now->memory - v->memory) / ULV_MEMORY_UNIT));
        if (b->len > start)
                ulv_strbuf_add(b, ". ");
        else if (b->s) {
                b->len = before;
                b->s[before] = 0;
        }
}

int ulv_plan_resize(struct planner *p, const struct ulv_definition *d, const struct values *v, struct shortages *ret) {
        struct values now = ulv_plan_wanted(p, d);
        struct need need = { .owner = d->name, .d = d };
        uint64_t memory = v->memory / ULV_MEMORY_UNIT, memory_now = now.memory / ULV_MEMORY_UNIT;
        int r = 0;

        ret->n = 0;
        if (v->has_cores)
                need.cores = v->cores > now.cores ? v->cores - now.cores : 0;
        if (v->has_share)
                need.share = v->share > now.share ? v->share - now.share : 0;
        if (v->has_memory)
                need.memory = memory > memory_now ? memory - memory_now : 0;
        if (v->has_cores && v->cores < now.cores)
                r = ulv_give_up_cores(p, d->name, now.cores - v->cores);
        if (r == 0 && v->has_share && v->share < now.share)
                r = ulv_give_up_share(p, d->name, now.share - v->share);
        if (r == 0 && v->has_memory && memory < memory_now)
                r = ulv_give_up_memory(p, d->name, memory_now - memory);
        if (r == 0)
                r = ulv_place(p, &need, ret);
        if (r == 0)
                add_loss(p, d->name, &now, v);
        return r;
}

/* --- set ------------------------------------------------------------------------------------------------- */

/* A partition is of cores or of shares; what it isn't can't be set. */
static int check_kind(struct planner *p, const struct ulv_definition *d) {
        const struct ulv_request *r = p->r;
        const struct ulv_place *at = d->whole_cores ? &d->at.cores : &d->at.share;
        const char *has = d->whole_cores ? "Cores=" : "Share=", *file = at->file[0] ? at->file : d->name;

        if (!(r->has_cores && !d->whole_cores) && !(r->has_share && d->whole_cores))
                return 0;
        return ulv_plan_refuse(p, ULV_EXIT_USAGE, TEXT("cannot set %s of %s", d->whole_cores ? "share" : "cores", d->name),
                               TEXT("it has %s (%s:%u), and either whole cores or a share of the pool, not both", has, file, at->line),
                               d->whole_cores ? TEXT("uvctl set %s cores=%u", d->name, d->cores) : TEXT("uvctl set %s share=%s", d->name, SHARE(d->share)));
}

bool ulv_plan_keeps_memory(const struct ulv_definition *d) { return ulv_streq(d->type, "vm"); }

static int check_memory(struct planner *p, const struct ulv_definition *d) {
        if (!ulv_plan_keeps_memory(d))
                return 0;
        return ulv_plan_refuse(p, ULV_EXIT_CONFLICT, TEXT("cannot change the memory of %s while it runs", d->name),
                               "this version can't tell a VM that it has another amount", TEXT("uvctl stop %s, then again", d->name));
}

enum quantity { CORES, SHARES, BYTES };

static struct quantity_text quantity_text(enum quantity q, uint64_t n) {
        return q == CORES ? ulv_text_share(n * 1000) : q == SHARES ? ulv_text_share(n) : ulv_text_memory(n / ULV_MEMORY_UNIT);
}

/* Is n within the bounds of the definition (0: none)? */
static int check_bounds(struct planner *p, const char *name, enum quantity q, uint64_t n, uint64_t min, uint64_t max) {
        static const char *const words[] = { [CORES] = "cores", [SHARES] = "share", [BYTES] = "memory" },
                *const keys[] = { [CORES] = "Cores", [SHARES] = "Share", [BYTES] = "Size" };
        uint64_t bound = max > 0 && n > max ? max : min > 0 && n < min ? min : n;

        if (n == 0)
                return ulv_plan_refuse(p, ULV_EXIT_USAGE, TEXT("cannot set %s of %s to 0", words[q], name), "a partition that runs has some",
                                       TEXT("uvctl stop %s", name));
        if (bound == n)
                return 0;
        return ulv_plan_refuse(p, ULV_EXIT_USAGE, TEXT("cannot set %s of %s to %s", words[q], name, quantity_text(q, n).s),
                               TEXT("its definition says %s%s=%s", keys[q], bound == max ? "Max" : "Min", quantity_text(q, bound).s),
                               TEXT("uvctl set %s %s=%s", name, words[q], quantity_text(q, bound).s));
}

static int check_values(struct planner *p, const struct ulv_definition *d, const struct values *v) {
        int r;

        r = check_kind(p, d);
        if (r == 0 && v->has_cores)
                r = check_bounds(p, d->name, CORES, v->cores, d->cores_min, d->cores_max);
        if (r == 0 && v->has_share)
                r = check_bounds(p, d->name, SHARES, v->share, d->share_min, d->share_max);
        if (r == 0 && v->has_memory)
                r = check_bounds(p, d->name, BYTES, v->memory, d->memory_min, d->memory_max);
        return r;
}

/* The definition as it is with these values. A shallow copy: nothing of it is freed. */
static struct ulv_definition with_values(const struct ulv_definition *d, const struct values *v) {
        struct ulv_definition n = *d;

        if (v->has_cores)
                n.cores = (unsigned) v->cores;
        if (v->has_share)
                n.share = v->share;
        if (v->has_memory)
                n.memory = v->memory;
        return n;
}

/* "cannot raise memory of db from 16G to 24G" */
static struct reason_text cannot_set(const struct ulv_definition *d, const struct values *now, const struct values *v) {
        STACK_TEXT(b);

        if (v->has_cores && v->cores != now->cores)
                ulv_strbuf_addf(&b, "cores of %s from %llu to %llu", d->name, (unsigned long long) now->cores, (unsigned long long) v->cores);
        if (v->has_share && v->share != now->share)
                ulv_strbuf_addf(&b, "%sshare of %s from %s to %s", b.len > 0 ? " and " : "", d->name, SHARE(now->share), SHARE(v->share));
        if (v->has_memory && v->memory != now->memory)
                ulv_strbuf_addf(&b, "%smemory of %s from %s to %s", b.len > 0 ? " and " : "", d->name,
                                MEMORY(now->memory / ULV_MEMORY_UNIT), MEMORY(v->memory / ULV_MEMORY_UNIT));
        bool raise = v->cores >= now->cores * v->has_cores && v->share >= now->share * v->has_share && v->memory >= now->memory * v->has_memory;
        return ulv_reason_text("cannot %s %s", raise ? "raise" : "change", ulv_strbuf_str(&b));
}

static int refuse_in_transit(struct planner *p, const char *what, const char *name) {
        return ulv_plan_refuse(p, ULV_EXIT_CONFLICT, what, TEXT("a part of what %s is to give up is still on its way to it", name),
                               TEXT("uvctl status %s, and again when it is there", name));
}

static int set_live(struct planner *p, const struct ulv_definition *d, const struct values *v) {
        STACK_TEXT(text);
        struct values now = ulv_plan_wanted(p, d);
        struct shortages s;
        int r;

        ulv_plan_add_difference(&text, &now, v);
        for (size_t i = 0; i < p->r->n_limits; i++)
                ulv_plan_limit(p, d->name, &p->r->limits[i], &text);
        r = ulv_plan_resize(p, d, v, &s);
        if (r > 0)
                return s.n > 0 ? ulv_plan_short(p, cannot_set(d, &now, v).s, d, &s) : refuse_in_transit(p, cannot_set(d, &now, v).s, d->name);
        if (r == 0)
                ulv_plan_line(p, d->name, text.len > 0 ? "change" : "kept", "live", "%s", text.len > 0 ? ulv_strbuf_str(&text) : "has it already");
        return r;
}

/* And with the limits of the request, in `room`. 0; 1 refused. */
static int with_limits(struct planner *p, struct ulv_definition *d, struct ulv_limit room[static ULV_LIMITS_MAX]) {
        if (d->n_limits > 0)
                memcpy(room, d->limits, d->n_limits * sizeof(*room));
        d->limits = room;
        for (size_t i = 0; i < p->r->n_limits; i++)
                if (ulv_limit_put(room, &d->n_limits, &p->r->limits[i]) < 0)
                        return ulv_plan_refuse(p, ULV_EXIT_USAGE, TEXT("cannot set one more limit of %s", d->name),
                                               TEXT("%d are the most", ULV_LIMITS_MAX), TEXT("uvctl set %s io-read=DEVICE:infinity, of one that it has", d->name));
        return 0;
}

static int set_defined(struct planner *p, const struct ulv_definition *d, const struct values *v, bool live) {
        STACK_TEXT(text);
        struct values was = ulv_plan_values(d);
        struct ulv_definition changed = with_values(d, v);
        struct ulv_limit room[ULV_LIMITS_MAX];
        int r;

        r = with_limits(p, &changed, room);
        if (r != 0)
                return r;
        ulv_plan_add_difference(&text, &was, v);
        ulv_plan_add_limit_difference(&text, d, &changed);
        r = ulv_plan_define(p, &changed, NULL);
        if (r == 0 && !live)
                ulv_plan_line(p, d->name, text.len > 0 ? "change" : "kept", "at next start", "%s", text.len > 0 ? ulv_strbuf_str(&text) : "says so already");
        return r;
}

/* Memory is counted in 2 MiB, by the ledger and by the definition alike. */
static uint64_t round_memory(uint64_t bytes) {
        return bytes > UINT64_C(1) << 52 ? UINT64_C(1) << 52 : (bytes + ULV_MEMORY_UNIT - 1) / ULV_MEMORY_UNIT * ULV_MEMORY_UNIT;
}

/* What it runs by (own) can't be redefined by files that say another thing. */
static int check_same_definition(struct planner *p, const char *name, const struct ulv_definition *own) {
        if (p->r->runtime || !own || !ulv_bundle_definition(p->b, name))
                return 0;
        return ulv_plan_refuse(p, ULV_EXIT_CONFLICT, TEXT("cannot set anything of %s but for this run", name),
                               TEXT("%s.partition is another now than what it runs by, in type, zone, or cores for a share", name),
                               TEXT("uvctl stop %s, then uvctl start %s", name, name));
}

int ulv_plan_set(struct planner *p) {
        const struct ulv_request *q = p->r;
        const struct values v = {
                .has_cores = q->has_cores, .cores = q->has_cores ? q->cores : 0, .has_share = q->has_share, .share = q->has_share ? q->share : 0,
                .has_memory = q->has_memory, .memory = q->has_memory ? round_memory(q->memory) : 0,
        };
        const struct ulv_definition *d;
        struct ulv_definition *own = NULL;
        struct ulv_partition_info info;
        bool known, live;
        int r;

        r = ulv_plan_look_up(p, q->name, &info, &known);
        if (r == 0)
                r = ulv_plan_need_definition(p, q->name, &d, &own);
        if (r != 0)
                return r;
        live = ulv_state_is_live(info.state);
        if (info.state == ULV_STOPPING)
                r = ulv_plan_refuse_stopping(p, TEXT("cannot set anything of %s now", q->name), q->name);
        else if (!live && q->runtime)
                r = ulv_plan_refuse(p, ULV_EXIT_NOT_ACTIVE, TEXT("cannot set anything of %s for this run", q->name), "it is not running",
                                    TEXT("uvctl set %s without --runtime, or uvctl start %s", q->name, q->name));
        else
                r = check_same_definition(p, q->name, own);
        if (r == 0)
                r = check_values(p, d, &v);
        if (r == 0 && live && v.has_memory && v.memory != ulv_plan_wanted(p, d).memory)
                r = check_memory(p, d);
        if (r == 0 && !q->runtime)
                r = set_defined(p, d, &v, live);
        if (r == 0 && live)
                r = set_live(p, d, &v);
        ulv_definition_free(own);
        return r;
}

/* --- move ------------------------------------------------------------------------------------------------- */

struct move { const struct ulv_definition *from, *to; struct values was_from, was_to; };

static int refuse_move(struct planner *p, const char *why, const char *try_) {
        return ulv_plan_refuse(p, ULV_EXIT_CAPACITY, TEXT("cannot move that from %s to %s", p->r->name, p->r->other), why, try_);
}

static int move_cores(struct planner *p, const struct move *m) {
        int node = m->to->cpu_node;
        uint64_t has = ulv_world_count_cores(&p->w, m->from->name, node);

        if (has < p->r->cores && node >= 0)
                return refuse_move(p, TEXT("%s has %llu cores on node %d, the one of %s (%s:%u Node=%d)", m->from->name, (unsigned long long) has,
                                           node, m->to->name, m->to->at.cpu_node.file, m->to->at.cpu_node.line, node), "uvctl resources");
        if (has < p->r->cores)
                return refuse_move(p, TEXT("%s has %llu cores", m->from->name, (unsigned long long) has), "uvctl resources");
        for (uint64_t i = 0; i < p->r->cores; i++)
                ulv_take_core(p, ulv_core_to_give(&p->w, m->from->name, node), m->to->name);
        return 0;
}

static int move_memory(struct planner *p, const struct move *m) {
        uint64_t n = round_memory(p->r->memory) / ULV_MEMORY_UNIT;
        int node = m->to->memory_node;
        uint64_t has = ulv_world_count_memory(&p->w, m->from->name, node, m->to->pages);

        if (has < n)
                return refuse_move(p, TEXT("%s has %s in %s pages%s", m->from->name, MEMORY(has), m->to->pages,
                                           node < 0 ? "" : TEXT(" on node %d (%s:%u Node=%d)", node, m->to->at.memory_node.file, m->to->at.memory_node.line, node)),
                                   "uvctl resources");
        for (size_t i = 0; n > 0 && i < p->w.n_memory; i++) {
                const struct world_amount *a = &p->w.memory[i];
                uint64_t amount = ULV_MIN(n, a->keep);
                int r;

                if (amount == 0 || !ulv_streq(a->owner, m->from->name) || !ulv_streq(a->pages, m->to->pages) || (node >= 0 && a->node != (unsigned) node))
                        continue;
                r = ulv_take_memory(p, a->id, m->from->name, m->to->name, amount);
                if (r < 0)
                        return r;
                n -= amount;
        }
        return 0;
}

static int move_amounts(struct planner *p, const struct move *m) {
        int r = 0;

        if (p->r->has_cores)
                r = move_cores(p, m);
        if (r == 0 && p->r->has_memory)
                r = move_memory(p, m);
        if (r == 0 && p->r->has_share) {
                if (m->was_from.share < p->r->share || (r = ulv_move_share(p, m->from->name, m->to->name, p->r->share)) > 0)
                        return refuse_move(p, TEXT("%s has %s share", m->from->name, SHARE(m->was_from.share)), "uvctl resources");
        }
        return r;
}

/* More than it has would be told as a set to 0. */
static int check_has(struct planner *p, const struct move *m) {
        const struct ulv_request *q = p->r;
        const char *name = m->from->name;

        if (q->has_cores && m->from->whole_cores && q->cores > m->was_from.cores)
                return refuse_move(p, TEXT("%s has %llu core%s", name, (unsigned long long) m->was_from.cores, m->was_from.cores == 1 ? "" : "s"),
                                   TEXT("uvctl status %s", name));
        if (q->has_share && !m->from->whole_cores && q->share > m->was_from.share)
                return refuse_move(p, TEXT("%s has %s share", name, SHARE(m->was_from.share)), TEXT("uvctl status %s", name));
        if (q->has_memory && round_memory(q->memory) > m->was_from.memory)
                return refuse_move(p, TEXT("%s has %s", name, MEMORY(m->was_from.memory / ULV_MEMORY_UNIT)), TEXT("uvctl status %s", name));
        return 0;
}

/* Bounds of both ends; and, unless it is for this run only, what their definitions say from now on. */
static int redefine_both(struct planner *p, const struct move *m) {
        const struct ulv_request *q = p->r;
        struct values from = m->was_from, to = m->was_to;
        int r;

        from.has_cores = to.has_cores = q->has_cores;
        from.has_share = to.has_share = q->has_share;
        from.has_memory = to.has_memory = q->has_memory;
        from.cores -= q->has_cores ? ULV_MIN(q->cores, from.cores) : 0;
        from.share -= q->has_share ? ULV_MIN(q->share, from.share) : 0;
        from.memory -= q->has_memory ? ULV_MIN(round_memory(q->memory), from.memory) : 0;
        to.cores += q->has_cores ? q->cores : 0;
        to.share += q->has_share ? q->share : 0;
        to.memory += q->has_memory ? round_memory(q->memory) : 0;
        r = check_values(p, m->from, &from);
        if (r == 0)
                r = check_values(p, m->to, &to);
        if (r == 0 && !q->runtime)
                r = set_defined(p, m->from, &from, true);
        return r == 0 && !q->runtime ? set_defined(p, m->to, &to, true) : r;
}

static void line_move(struct planner *p, const struct ulv_definition *d, const struct values *was) {
        STACK_TEXT(text);
        struct values now = ulv_plan_wanted(p, d);

        ulv_plan_add_difference(&text, was, &now);
        ulv_plan_line(p, d->name, "change", "live", "%s", ulv_strbuf_str(&text));
}

static int move_between(struct planner *p, const struct ulv_definition *from, const struct ulv_definition *to) {
        struct move m = { .from = from, .to = to, .was_from = ulv_plan_wanted(p, from), .was_to = ulv_plan_wanted(p, to) };
        int r;

        r = check_has(p, &m);
        if (r == 0 && p->r->has_memory && (r = check_memory(p, from)) == 0)
                r = check_memory(p, to);
        if (r == 0)
                r = redefine_both(p, &m);
        if (r == 0)
                r = move_amounts(p, &m);
        if (r != 0)
                return r;
        line_move(p, from, &m.was_from);
        line_move(p, to, &m.was_to);
        return 0;
}

/* Both ends must run: what doesn't holds nothing. */
static int check_end(struct planner *p, const char *name) {
        struct ulv_partition_info info;
        bool known;
        int r;

        r = ulv_plan_look_up(p, name, &info, &known);
        if (r != 0)
                return r;
        if (info.state == ULV_STOPPING)
                return ulv_plan_refuse_stopping(p, TEXT("cannot move anything between %s and %s now", p->r->name, p->r->other), name);
        if (!ulv_state_is_live(info.state))
                return ulv_plan_refuse(p, ULV_EXIT_NOT_ACTIVE, TEXT("cannot move anything between %s and %s", p->r->name, p->r->other),
                                       TEXT("%s is not running: it holds nothing", name), TEXT("uvctl start %s, then again", name));
        return 0;
}

int ulv_plan_move(struct planner *p) {
        const struct ulv_definition *from, *to;
        struct ulv_definition *own_from = NULL, *own_to = NULL;
        int r;

        if (ulv_streq(p->r->name, p->r->other))
                return ulv_plan_refuse(p, ULV_EXIT_USAGE, TEXT("cannot move anything from %s to itself", ULV_Q(p->r->name)), "a move has two ends", "uvctl list");
        r = check_end(p, p->r->name);
        if (r == 0)
                r = check_end(p, p->r->other);
        if (r == 0)
                r = ulv_plan_need_definition(p, p->r->name, &from, &own_from);
        if (r == 0)
                r = ulv_plan_need_definition(p, p->r->other, &to, &own_to);
        if (r == 0)
                r = check_same_definition(p, p->r->name, own_from);
        if (r == 0)
                r = check_same_definition(p, p->r->other, own_to);
        if (r == 0)
                r = move_between(p, from, to);
        ulv_definition_free(own_from);
        ulv_definition_free(own_to);
        return r;
}
