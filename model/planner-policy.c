/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/planner-internal.h"

/* [Host] and [Pool] brought into the ledger, at an apply: the host keeps what [Host] says and the rest
 * goes to idle; the pool gets cores apart if [Pool] Cores= says so, and is the host's cores if not. */

/* Shortages of the pool and of the host are nobody's need; in a search for help they come before all. */
static const struct ulv_definition pool_need = { .name = "pool", .priority = 101, .cpu_node = -1, .memory_node = -1, .pages = "4K", .whole_cores = true },
        host_need = { .name = "host", .priority = 101, .cpu_node = -1, .memory_node = -1, .pages = "4K", .whole_cores = true };

static void set_parameter(struct planner *p, const char *key, const char *value) {
        struct ulv_strbuf *b = ulv_plan_ops(p);

        if (!b)
                return;
        ulv_op_begin(b, "set", "parameter", key, NULL);
        ulv_op_add(b, "value", value);
        ulv_op_end(b);
}

static int apply_overcommit(struct planner *p) {
        uint64_t wanted = p->b->policy->overcommit;

        if (wanted == p->w.overcommit)
                return 0;
        set_parameter(p, "pool.overcommit", TEXT("%llu", (unsigned long long) wanted));
        ulv_plan_line(p, "pool", "change", "live", "overcommit %s -> %s", SHARE(p->w.overcommit), SHARE(wanted));
        p->w.overcommit = wanted;
        return 0;
}

static int short_of_cores(struct planner *p, const struct ulv_definition *of, uint64_t has, uint64_t wanted, const struct ulv_place *at) {
        struct shortages s = { .n = 1 };
        struct reason_text why = ulv_reason_text("%llu more cores are wanted (%s:%u Cores=%llu), and %llu can be had", (unsigned long long) wanted - has,
                                                 at->file, at->line, (unsigned long long) wanted,
                                                 (unsigned long long) ulv_world_count_cores(&p->w, "idle", -1));

        s.v[0] = (struct shortage) {
                .what = SHORT_OF_CORES, .node = -1, .idle = ulv_world_count_cores(&p->w, "idle", -1), .spare = ulv_streq(of->name, "pool") ? ulv_world_host_cores_spare(&p->w) : 0,
                .needed = wanted - has, .pages = "", .at = { .file = "" }, .why = why.s,
        };
        return ulv_plan_short(p, TEXT("cannot give the %s %llu cores", of->name, (unsigned long long) wanted), of, &s);
}

/* Gives n cores of `from` to `to`, in the order in which from gives. */
static void hand_over(struct planner *p, const char *from, const char *to, uint64_t n) {
        for (struct world_core *c; n > 0 && (c = ulv_core_to_give(&p->w, from, -1)); n--)
                ulv_take_core(p, c, to);
}

static int apply_pool_cores(struct planner *p) {
        const struct ulv_policy *policy = p->b->policy;
        uint64_t has = ulv_world_count_cores(&p->w, "pool", -1), wanted = policy->pool_cores;

        if (p->w.pool_is_host) {
                p->w.pool_is_host = false;
                set_parameter(p, "pool.source", "pool");
                ulv_plan_line(p, "pool", "change", "live", "cores of its own, not the host's");
        }
        if (wanted > has) {
                struct need need = { .owner = "pool", .d = &pool_need, .cores = wanted - has };
                struct shortages s;
                int r;

                r = ulv_place(p, &need, &s);
                if (r != 0)
                        return r < 0 ? r : short_of_cores(p, &pool_need, has, wanted, &policy->at.pool_cores);
        } else
                hand_over(p, "pool", "idle", has - wanted);
        if (wanted != has)
                ulv_plan_line(p, "pool", "change", "live", "cores %llu -> %llu", (unsigned long long) has, (unsigned long long) wanted);
        return 0;
}

/* Without [Pool] Cores= the pool is the host's cores: what it had apart goes there. */
static int apply_no_pool(struct planner *p) {
        uint64_t has = ulv_world_count_cores(&p->w, "pool", -1);

        if (p->w.pool_is_host)
                return 0;
        hand_over(p, "pool", "host", has);
        set_parameter(p, "pool.source", "host");
        p->w.pool_is_host = true;
        ulv_plan_line(p, "pool", "change", "live", "the host's cores, not %llu of its own", (unsigned long long) has);
        return 0;
}

static int apply_host_cores(struct planner *p) {
        const struct ulv_policy *policy = p->b->policy;
        uint64_t has = ulv_world_count_cores(&p->w, "host", -1), wanted = policy->host_cores;

        if (!policy->host_has_cores || has == wanted)
                return 0;
        if (has > wanted)
                hand_over(p, "host", "idle", has - wanted);
        else {
                if (ulv_world_count_cores(&p->w, "idle", -1) < wanted - has)
                        return short_of_cores(p, &host_need, has, wanted, &policy->at.host_cores);
                for (size_t i = 0, n = wanted - has; n > 0 && i < p->w.n_cores; i++)
                        if (ulv_world_has_core(&p->w.cores[i], "idle")) {
                                ulv_take_core(p, &p->w.cores[i], "host");
                                n--;
                        }
        }
        ulv_plan_line(p, "host", "change", "live", "cores %llu -> %llu", (unsigned long long) has, (unsigned long long) wanted);
        return 0;
}

/* Moves n of the memory in normal pages, from low nodes or from high ones. There is enough. */
static int hand_over_memory(struct planner *p, const char *from, const char *to, bool from_high, uint64_t n) {
        unsigned nodes = ulv_world_nodes(&p->w);

        for (unsigned k = 0; k < nodes; k++) {
                unsigned node = from_high ? nodes - 1 - k : k;

                for (size_t i = 0; n > 0 && i < p->w.n_memory; i++) {
                        const struct world_amount *a = &p->w.memory[i];
                        uint64_t amount = ULV_MIN(n, a->keep);
                        int r;

                        if (a->node != node || amount == 0 || !ulv_streq(a->owner, from) || !ulv_streq(a->pages, "4K"))
                                continue;
                        r = ulv_take_memory(p, a->id, from, to, amount);
                        if (r < 0)
                                return r;
                        n -= amount;
                }
        }
        return 0;
}

static int apply_host_memory(struct planner *p) {
        const struct ulv_policy *policy = p->b->policy;
        uint64_t has = ulv_world_count_memory(&p->w, "host", -1, "4K"), wanted = policy->host_memory / ULV_MEMORY_UNIT;
        uint64_t idle = ulv_world_count_memory(&p->w, "idle", -1, "4K");
        int r;

        if (!policy->host_has_memory || has == wanted)
                return 0;
        if (wanted > has && idle < wanted - has) {
                struct shortages s = { .n = 1 };
                struct reason_text why = ulv_reason_text("%s more are wanted (%s:%u Memory=%s), and %s is idle", MEMORY(wanted - has),
                                                         policy->at.host_memory.file, policy->at.host_memory.line, MEMORY(wanted), MEMORY(idle));

                s.v[0] = (struct shortage) { .what = SHORT_OF_MEMORY, .node = -1, .idle = idle, .needed = wanted - has, .pages = "4K", .at = { .file = "" }, .why = why.s };
                return ulv_plan_short(p, TEXT("cannot give the host %s", MEMORY(wanted)), &host_need, &s);
        }
        r = has > wanted ? hand_over_memory(p, "host", "idle", true, has - wanted) : hand_over_memory(p, "idle", "host", false, wanted - has);
        if (r == 0)
                ulv_plan_line(p, "host", "change", "live", "memory %s -> %s", MEMORY(has), MEMORY(wanted));
        return r;
}

/* What is given of the pool must still fit into it. */
static int check_pool(struct planner *p) {
        const struct ulv_policy *policy = p->b->policy;
        uint64_t capacity = ulv_world_share_capacity(&p->w), given = ulv_world_share_given(&p->w);
        const struct ulv_place *at = policy->pool_has_cores ? &policy->at.pool_cores : policy->host_has_cores ? &policy->at.host_cores : &policy->at.overcommit;
        struct shortages s = { .n = 1 };
        struct reason_text why;

        if (given <= capacity)
                return 0;
        why = ulv_reason_text("%s share are given, and the pool would have %s%s", SHARE(given), SHARE(capacity),
                              at->file[0] ? TEXT(" (%s:%u)", at->file, at->line) : "");
        s.v[0] = (struct shortage) { .what = SHORT_OF_SHARE, .node = -1, .needed = given - capacity, .pages = "", .at = { .file = "" }, .why = why.s };
        return ulv_plan_short(p, "cannot make the pool that small", &pool_need, &s);
}

int ulv_plan_policy(struct planner *p) {
        int r;

        r = apply_overcommit(p);
        if (r == 0)
                r = p->b->policy->pool_has_cores ? apply_pool_cores(p) : apply_no_pool(p);
        if (r == 0)
                r = apply_host_cores(p);
        if (r == 0)
                r = apply_host_memory(p);
        return r == 0 ? check_pool(p) : r;
}
