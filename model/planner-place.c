/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/planner-internal.h"

/* Placement. Cores: all on one node if any node has them: the wanted node, else one where the memory
 * fits too, and of those the one whose idle cores suffice with the least left over (so that big holes
 * stay for big partitions); what idle lacks comes from the host, highest numbers first. Memory: on the
 * node of the cores, else on one node, else spread; idle's before the host's. */

/* --- moving things ----------------------------------------------------------------------------------- */

/* A live partition lets go in its own time; everybody else gives at once. */
static bool gives_at_once(const struct planner *p, const char *owner) {
        return p->w.settled || ulv_name_is_reserved(owner);
}

/* claim from idle or host, release to idle, move between others: each as an administrator would say it. */
static void write_op(struct planner *p, const char *kind, const char *id, const char *from, const char *to, uint64_t amount) {
        struct ulv_strbuf *b = ulv_plan_ops(p);
        bool claim = ulv_streq(from, "idle") || (ulv_streq(from, "host") && !ulv_streq(to, "idle"));
        bool release = !claim && ulv_streq(to, "idle");

        if (!b)
                return;
        ulv_op_begin(b, claim ? "claim" : release ? "release" : "move", kind, id, claim ? to : from);
        if (claim && !ulv_streq(from, "idle"))
                ulv_op_add(b, "from", from);
        if (!claim && !release)
                ulv_op_add(b, "to", to);
        if (amount > 0)
                ulv_op_add_u64(b, "amount", amount);
        ulv_op_end(b);
}

static struct ulv_place_text number_text(unsigned n) {
        struct ulv_place_text t;
        char digits[12];
        size_t i = sizeof(digits) - 1;

        digits[i] = 0;
        do
                digits[--i] = (char) ('0' + n % 10);
        while ((n /= 10) > 0);
        ulv_cut(t.s, sizeof(t.s), digits + i);
        return t;
}

/* Does the host give something up for a partition? What goes to the pool or to idle is nobody's yet. */
static bool is_hosts_gift(const char *from, const char *to) { return ulv_streq(from, "host") && !ulv_name_is_reserved(to); }

void ulv_take_core(struct planner *p, struct world_core *c, const char *to) {
        p->use.from_host.cores += is_hosts_gift(c->owner, to);
        write_op(p, "core", number_text(c->id).s, c->owner, to, 0);
        if (gives_at_once(p, c->owner))
                c->owner = to;
        else
                c->to = to;
}

/* from and to are rows of one resource. */
static void shift(struct planner *p, struct world_amount *from, struct world_amount *to, uint64_t n) {
        from->keep -= n;
        if (gives_at_once(p, from->owner))
                to->keep += n;
        else {
                from->out += n;
                to->more += n;
        }
}

int ulv_take_memory(struct planner *p, const char *id, const char *from, const char *to, uint64_t n) {
        /* The second call may move what the first returned. */
        if (!ulv_world_memory(&p->w, id, from) || !ulv_world_memory(&p->w, id, to))
                return -ENOMEM;
        p->use.from_host.memory += is_hosts_gift(from, to) ? n : 0;
        shift(p, ulv_world_memory(&p->w, id, from), ulv_world_memory(&p->w, id, to), n);
        write_op(p, "memory", id, from, to, n);
        return 0;
}

/* --- cores --------------------------------------------------------------------------------------------- */

struct world_core *ulv_core_to_give(struct world *w, const char *owner, int node) {
        bool partition = !ulv_name_is_reserved(owner);
        struct world_core *best = NULL;
        uint64_t fewest = UINT64_MAX;

        for (size_t i = w->n_cores; i-- > 0;) {
                struct world_core *c = &w->cores[i];
                uint64_t here;

                if (!ulv_world_has_core(c, owner) || (node >= 0 && c->node != (unsigned) node))
                        continue;
                if (!partition)
                        return c;
                /* A partition stays together: its smallest part goes first. */
                here = ulv_world_count_cores(w, owner, (int) c->node);
                if (here < fewest) {
                        best = c;
                        fewest = here;
                }
        }
        return best;
}

static struct world_core *lowest_idle(struct world *w, int node) {
        for (size_t i = 0; i < w->n_cores; i++)
                if (ulv_world_has_core(&w->cores[i], "idle") && (node < 0 || w->cores[i].node == (unsigned) node))
                        return &w->cores[i];
        return NULL;
}

/* Takes n cores on a node (-1: any), idle's first. There are enough. */
static void take_cores(struct planner *p, const char *owner, int node, uint64_t n) {
        for (struct world_core *c; n > 0; n--) {
                c = lowest_idle(&p->w, node);
                if (!c)
                        c = ulv_core_to_give(&p->w, "host", node);
                if (!c)
                        return;
                ulv_take_core(p, c, owner);
        }
}

/* What a node (-1: all) could give. */
struct supply { uint64_t idle, spare; };

static struct supply core_supply(const struct world *w, int node) {
        return (struct supply) {
                .idle = ulv_world_count_cores(w, "idle", node),
                .spare = ULV_MIN(ulv_world_count_cores(w, "host", node), ulv_world_host_cores_spare(w)),
        };
}

static struct supply memory_supply(const struct world *w, int node, const char *pages) {
        return (struct supply) {
                .idle = ulv_world_count_memory(w, "idle", node, pages),
                .spare = ULV_MIN(ulv_world_count_memory(w, "host", node, pages), ulv_world_host_memory_spare(w, pages)),
        };
}

static bool suffices(struct supply s, uint64_t n) { return s.idle + s.spare >= n; }

/* Is a, which suffices, a better choice than b? Idle alone is better than with the host's help; of two
 * with idle alone the fuller node, of two with the host's help the one that takes less of it. */
static bool is_better(struct supply a, struct supply b, uint64_t n) {
        if ((a.idle >= n) != (b.idle >= n))
                return a.idle >= n;
        return a.idle >= n ? a.idle < b.idle : a.idle >= b.idle;
}

/* The best node by is_better(), -1 if none suffices. also: the memory must fit there. */
static int best_core_node(const struct world *w, const struct need *need, bool also_memory) {
        struct supply best = {};
        int node = -1;

        for (unsigned i = 0; i < ulv_world_nodes(w); i++) {
                struct supply s = core_supply(w, (int) i);

                if (!suffices(s, need->cores) || (also_memory && !suffices(memory_supply(w, (int) i, need->d->pages), need->memory)))
                        continue;
                if (node < 0 || is_better(s, best, need->cores)) {
                        node = (int) i;
                        best = s;
                }
        }
        return node;
}

static int best_memory_node(const struct world *w, const char *pages, uint64_t n) {
        struct supply best = {};
        int node = -1;

        for (unsigned i = 0; i < ulv_world_nodes(w); i++) {
                struct supply s = memory_supply(w, (int) i, pages);

                if (suffices(s, n) && (node < 0 || is_better(s, best, n))) {
                        node = (int) i;
                        best = s;
                }
        }
        return node;
}

/* The node where owner has most of its cores, -1 if it has none. */
static int home_of(const struct world *w, const char *owner) {
        uint64_t most = 0;
        int home = -1;

        for (unsigned i = 0; i < ulv_world_nodes(w); i++) {
                uint64_t n = ulv_world_count_cores(w, owner, (int) i);

                if (n > most) {
                        most = n;
                        home = (int) i;
                }
        }
        return home;
}

static void add_shortage(struct shortages *s, enum short_of what, int node, struct supply supply, uint64_t needed,
                         const char *pages, struct ulv_place at) {
        s->v[s->n++] = (struct shortage) {
                .what = what, .node = node, .idle = supply.idle, .spare = supply.spare, .needed = needed, .pages = pages, .at = at,
        };
}

static const struct ulv_place nowhere = { .file = "" };

static void place_cores(struct planner *p, const struct need *need, struct shortages *ret) {
        int node = need->d->cpu_node, home = home_of(&p->w, need->owner);
        struct supply all = core_supply(&p->w, -1);

        if (need->cores == 0)
                return;
        ulv_plan_explain(p, "cores: %llu wanted; %llu idle, the host can give %llu (it keeps %llu)", (unsigned long long) need->cores,
                         (unsigned long long) all.idle, (unsigned long long) all.spare, (unsigned long long) p->w.host_cores);
        if (node >= 0) {
                struct supply s = core_supply(&p->w, node);

                ulv_plan_explain(p, "cores: Node=%d (%s:%u): %llu idle there", node, need->d->at.cpu_node.file, need->d->at.cpu_node.line,
                                 (unsigned long long) s.idle);
                if (suffices(s, need->cores))
                        take_cores(p, need->owner, node, need->cores);
                else
                        add_shortage(ret, SHORT_OF_CORES, node, s, need->cores, "", need->d->at.cpu_node);
                return;
        }
        if (!suffices(all, need->cores)) {
                add_shortage(ret, SHORT_OF_CORES, -1, all, need->cores, "", nowhere);
                return;
        }
        if (home >= 0 && suffices(core_supply(&p->w, home), need->cores))
                node = home;
        if (node < 0 && need->d->memory_node < 0)
                node = best_core_node(&p->w, need, true);
        if (node < 0)
                node = best_core_node(&p->w, need, false);
        ulv_plan_explain(p, node >= 0 ? "cores: all from node %d" : "cores: no node has them all: spread", node);
        take_cores(p, need->owner, node, need->cores);
}

int ulv_give_up_cores(struct planner *p, const char *owner, uint64_t n) {
        for (struct world_core *c; n > 0; n--) {
                c = ulv_core_to_give(&p->w, owner, -1);
                if (!c)
                        return 1;
                ulv_take_core(p, c, "idle");
        }
        return 0;
}

/* --- memory -------------------------------------------------------------------------------------------- */

/* Takes up to *n from `from` on a node (-1: any, the node with most first), at most `limit`. */
static int take_memory_from(struct planner *p, const char *owner, const char *from, int node, const char *pages, uint64_t limit, uint64_t *n) {
        limit = ULV_MIN(limit, *n);
        while (limit > 0) {
                const struct world_amount *best = NULL;
                uint64_t amount;
                int r;

                for (size_t i = 0; i < p->w.n_memory; i++) {
                        const struct world_amount *a = &p->w.memory[i];

                        if (ulv_streq(a->owner, from) && ulv_streq(a->pages, pages) && a->keep > 0 &&
                            (node < 0 || a->node == (unsigned) node) && (!best || a->keep > best->keep))
                                best = a;
                }
                if (!best)
                        return 0;
                amount = ULV_MIN(limit, best->keep);
                r = ulv_take_memory(p, best->id, from, owner, amount);
                if (r < 0)
                        return r;
                limit -= amount;
                *n -= amount;
        }
        return 0;
}

static int take_memory(struct planner *p, const char *owner, int node, const char *pages, uint64_t n) {
        uint64_t spare = memory_supply(&p->w, node, pages).spare;
        int r;

        r = take_memory_from(p, owner, "idle", node, pages, n, &n);
        return r < 0 ? r : take_memory_from(p, owner, "host", node, pages, spare, &n);
}

static int place_memory(struct planner *p, const struct need *need, struct shortages *ret) {
        const char *pages = need->d->pages;
        int node = need->d->memory_node, home = home_of(&p->w, need->owner);
        struct supply all = memory_supply(&p->w, -1, pages);

        if (need->memory == 0)
                return 0;
        ulv_plan_explain(p, "memory: %s wanted in %s pages; %s idle, the host can give %s (it keeps %s)", MEMORY(need->memory), pages,
                         MEMORY(all.idle), MEMORY(all.spare), MEMORY(p->w.host_memory));
        if (node >= 0) {
                struct supply s = memory_supply(&p->w, node, pages);

                ulv_plan_explain(p, "memory: Node=%d (%s:%u): %s idle there", node, need->d->at.memory_node.file,
                                 need->d->at.memory_node.line, MEMORY(s.idle));
                if (suffices(s, need->memory))
                        return take_memory(p, need->owner, node, pages, need->memory);
                add_shortage(ret, SHORT_OF_MEMORY, node, s, need->memory, pages, need->d->at.memory_node);
                return 0;
        }
        if (!suffices(all, need->memory)) {
                add_shortage(ret, SHORT_OF_MEMORY, -1, all, need->memory, pages, nowhere);
                return 0;
        }
        node = home >= 0 && suffices(memory_supply(&p->w, home, pages), need->memory) ? home : best_memory_node(&p->w, pages, need->memory);
        ulv_plan_explain(p, node >= 0 ? "memory: all from node %d" : "memory: no node has it all: spread", node);
        return take_memory(p, need->owner, node, pages, need->memory);
}

int ulv_give_up_memory(struct planner *p, const char *owner, uint64_t n) {
        int home = home_of(&p->w, owner);

        while (n > 0) {
                const struct world_amount *from = NULL;
                uint64_t amount;
                int r;

                /* What isn't beside its cores goes first. */
                for (size_t i = 0; i < p->w.n_memory; i++) {
                        const struct world_amount *a = &p->w.memory[i];

                        if (ulv_streq(a->owner, owner) && a->keep > 0 && (!from || home < 0 || from->node == (unsigned) home))
                                from = a;
                }
                if (!from)
                        return 1;
                amount = ULV_MIN(n, from->keep);
                r = ulv_take_memory(p, from->id, owner, "idle", amount);
                if (r < 0)
                        return r;
                n -= amount;
        }
        return 0;
}

/* --- shares and uids ------------------------------------------------------------------------------------- */

static int place_share(struct planner *p, const struct need *need, struct shortages *ret) {
        uint64_t capacity = ulv_world_share_capacity(&p->w), given = ulv_world_share_given(&p->w);
        struct supply s = { .idle = capacity > given ? capacity - given : 0 };
        struct world_amount *a;

        if (need->share == 0)
                return 0;
        ulv_plan_explain(p, "share: %s wanted; the pool is %s cores: %s, of which %s are given", SHARE(need->share),
                         p->w.pool_is_host ? "the host's" : "its own", SHARE(capacity), SHARE(given));
        if (!suffices(s, need->share)) {
                add_shortage(ret, SHORT_OF_SHARE, -1, s, need->share, "", nowhere);
                return 0;
        }
        a = ulv_world_share(&p->w, need->owner);
        if (!a)
                return -ENOMEM;
        a->keep += need->share;
        write_op(p, "share", "pool", "idle", need->owner, need->share);
        return 0;
}

int ulv_move_share(struct planner *p, const char *from, const char *to, uint64_t n) {
        struct world_amount *a, *b = NULL;
        bool idle = ulv_streq(to, "idle");

        /* Both rows first: making one may move the other. */
        if (!ulv_world_share(&p->w, from) || (!idle && !ulv_world_share(&p->w, to)))
                return -ENOMEM;
        a = ulv_world_share(&p->w, from);
        if (!idle)
                b = ulv_world_share(&p->w, to);
        if (a->keep < n)
                return 1;
        if (b)
                shift(p, a, b, n);
        else {
                a->keep -= n;
                a->out += gives_at_once(p, from) ? 0 : n;
        }
        write_op(p, "share", "pool", from, to, n);
        return 0;
}

int ulv_give_up_share(struct planner *p, const char *owner, uint64_t n) { return ulv_move_share(p, owner, "idle", n); }

static void place_uids(struct planner *p, const struct need *need, struct shortages *ret) {
        if (!need->uids)
                return;
        for (unsigned i = ULV_MAX(p->w.uids_first, 1u); i <= p->w.uids_last; i++)
                if (!(p->w.uids[i / 64] >> (i % 64) & 1)) {
                        p->w.uids[i / 64] |= UINT64_C(1) << (i % 64);
                        write_op(p, "uids", number_text(i).s, "idle", need->owner, 0);
                        return;
                }
        add_shortage(ret, SHORT_OF_UIDS, -1, (struct supply) {}, 1, "", nowhere);
}

int ulv_place(struct planner *p, const struct need *need, struct shortages *ret) {
        const struct ulv_amounts before = p->use.from_host;
        int r;

        ret->n = 0;
        place_cores(p, need, ret);
        r = place_share(p, need, ret);
        if (r == 0)
                r = place_memory(p, need, ret);
        if (r == 0)
                place_uids(p, need, ret);
        if (r < 0 || ret->n > 0) {
                p->use.from_host = before;      /* the caller takes the world anew */
                return r < 0 ? r : 1;
        }
        ulv_amounts_add(&p->use.taken, &(struct ulv_amounts) { need->cores, need->share, need->memory });
        return 0;
}
