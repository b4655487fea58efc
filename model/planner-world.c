/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/planner-internal.h"

#define HOST_MEMORY_STANDARD (UINT64_C(2) * 1024 * 1024 * 1024 / ULV_MEMORY_UNIT)

/* --- taking it from the ledger ----------------------------------------------------------------------- */

static int add_core(struct world *w, const struct ulv_holding_info *h) {
        uint64_t id;

        /* The end that it moves to has a row without amount. */
        if (h->amount == 0 || ulv_uint_parse(h->id, ULV_CPU_MAX, &id) < 0)
                return 0;
        if ((w->n_cores & (w->n_cores - 1)) == 0) {
                struct world_core *grown = realloc(w->cores, ULV_MAX(w->n_cores * 2, (size_t) 1) * sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                w->cores = grown;
        }
        w->cores[w->n_cores++] = (struct world_core) {
                .id = (unsigned) id, .node = h->node, .threads = h->threads, .owner = h->owner,
                .to = h->moving_to, .missing = h->missing,
        };
        return 0;
}

static int add_amount(struct world_amount **v, size_t *n, size_t *size, const struct world_amount *a) {
        if (*n == *size) {
                struct world_amount *grown = realloc(*v, (*size * 2 + 8) * sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                *v = grown;
                *size = *size * 2 + 8;
        }
        (*v)[(*n)++] = *a;
        return 0;
}

static int add_holding(const struct ulv_holding_info *h, void *userdata) {
        struct world *w = userdata;
        struct world_amount a = {
                .id = h->id, .owner = h->owner, .node = h->node, .keep = h->keep, .out = h->amount - h->keep,
                .more = h->wanted > h->keep ? h->wanted - h->keep : 0,
        };
        uint64_t range;

        if (ulv_streq(h->kind, "core"))
                return add_core(w, h);
        if (ulv_streq(h->kind, "memory")) {
                const char *slash = strchr(h->id, '/');

                a.pages = slash ? slash + 1 : "";
                return add_amount(&w->memory, &w->n_memory, &w->size_memory, &a);
        }
        if (ulv_streq(h->kind, "share") && !ulv_streq(h->owner, "idle"))
                return add_amount(&w->shares, &w->n_shares, &w->size_shares, &a);
        if (ulv_streq(h->kind, "uids") && !ulv_streq(h->owner, "idle") && ulv_uint_parse(h->id, 2047, &range) == 0)
                w->uids[range / 64] |= UINT64_C(1) << (range % 64);
        return 0;
}

static int add_memory_4k(const struct ulv_holding_info *h, void *userdata) {
        const char *slash = strchr(h->id, '/');

        if (slash && ulv_streq(slash, "/4K"))
                *(uint64_t *) userdata += h->amount;
        return 0;
}

/* Without [Host]: one core, and 2G or half the memory. Memory is that of normal pages: huge ones are no
 * use to the host's own programs. */
static int set_guarantee(struct world *w, const struct ulv_ledger *l, const struct ulv_policy *policy) {
        uint64_t memory = ulv_world_count_memory(w, "host", -1, "4K") + ulv_world_count_memory(w, "idle", -1, "4K");
        int r = 0;

        w->host_cores = policy->host_has_cores ? policy->host_cores : 1;
        w->host_cores_at = policy->host_has_cores ? policy->at.host_cores : (struct ulv_place) { .file = "" };
        w->host_memory_at = policy->host_has_memory ? policy->at.host_memory : (struct ulv_place) { .file = "" };
        if (policy->host_has_memory) {
                w->host_memory = policy->host_memory / ULV_MEMORY_UNIT;
                return 0;
        }
        /* What the partitions have counts only where host and idle together don't settle it. */
        if (memory / 2 < HOST_MEMORY_STANDARD) {
                memory = 0;
                r = ulv_ledger_each_holding(l, "memory", NULL, add_memory_4k, &memory);
        }
        w->host_memory = ULV_MIN(HOST_MEMORY_STANDARD, memory / 2);
        return r;
}

/* The holdings of infrastructure and of one partition; of the others only what they sum to. */
static int add_narrow(struct world *w, const struct ulv_ledger *l, const char *only) {
        const char *const owners[] = { "host", "idle", "pool", only };
        uint64_t capacity = ulv_ledger_pool_capacity(l);
        struct ulv_holding_info h;
        int r = 0;

        for (size_t i = 0; r == 0 && i < ULV_ARRAY_SIZE(owners); i++)
                r = ulv_ledger_each_holding(l, NULL, owners[i], add_holding, w);
        if (r == 0)
                r = ulv_ledger_each_holding(l, "uids", NULL, add_holding, w);
        if (ulv_ledger_holding(l, "share", "pool", "idle", &h) == 0)
                capacity -= ULV_MIN(capacity, h.amount);
        w->given_elsewhere = capacity - ULV_MIN(capacity, ulv_world_share_given(w));
        return r;
}

static int by_id(const void *a, const void *b) {
        const struct world_core *x = a, *y = b;

        return x->id < y->id ? -1 : x->id > y->id;
}

int ulv_world_init(struct world *w, const struct ulv_ledger *l, const struct ulv_policy *policy, const char *only) {
        struct ulv_inventory_info inventory;
        const char *source = ulv_ledger_parameter(l, "pool.source"), *overcommit = ulv_ledger_parameter(l, "pool.overcommit");
        int r;

        *w = (struct world) { .overcommit = 1000, .pool_is_host = !source || !ulv_streq(source, "pool") };
        if (overcommit && (ulv_uint_parse(overcommit, 1000000, &w->overcommit) < 0 || w->overcommit < 1000))
                w->overcommit = 1000;
        ulv_ledger_inventory(l, &inventory);
        w->uids_first = inventory.uids_first;
        w->uids_last = ULV_MIN(inventory.uids_last, ULV_UID_RANGES);
        r = only ? add_narrow(w, l, only) : ulv_ledger_each_holding(l, NULL, NULL, add_holding, w);
        if (r == 0)
                r = set_guarantee(w, l, policy);
        if (r < 0) {
                ulv_world_done(w);
                return r;
        }
        if (w->n_cores > 0)
                qsort(w->cores, w->n_cores, sizeof(*w->cores), by_id);
        return 0;
}

void ulv_world_done(struct world *w) {
        free(w->cores);
        free(w->memory);
        free(w->shares);
        *w = (struct world) {};
}

static int copy_array(void *ret, const void *v, size_t n, size_t size) {
        void *copy = malloc(ULV_MAX(n * size, (size_t) 1));

        if (!copy)
                return -ENOMEM;
        if (n > 0)
                memcpy(copy, v, n * size);
        memcpy(ret, &copy, sizeof(copy));
        return 0;
}

int ulv_world_copy(struct world *ret, const struct world *w) {
        struct world c = *w;
        int r;

        c.cores = NULL;
        c.memory = c.shares = NULL;
        c.size_memory = w->n_memory;
        c.size_shares = w->n_shares;
        r = copy_array(&c.cores, w->cores, w->n_cores, sizeof(*w->cores));
        if (r == 0)
                r = copy_array(&c.memory, w->memory, w->n_memory, sizeof(*w->memory));
        if (r == 0)
                r = copy_array(&c.shares, w->shares, w->n_shares, sizeof(*w->shares));
        if (r < 0)
                ulv_world_done(&c);
        else
                *ret = c;
        return r;
}

/* --- rows ---------------------------------------------------------------------------------------------- */

struct world_amount *ulv_world_memory(struct world *w, const char *id, const char *owner) {
        struct world_amount a = { .owner = owner };

        for (size_t i = 0; i < w->n_memory; i++) {
                if (!ulv_streq(w->memory[i].id, id))
                        continue;
                if (ulv_streq(w->memory[i].owner, owner))
                        return &w->memory[i];
                a.id = w->memory[i].id;
                a.node = w->memory[i].node;
                a.pages = w->memory[i].pages;
        }
        return a.id && add_amount(&w->memory, &w->n_memory, &w->size_memory, &a) == 0 ? &w->memory[w->n_memory - 1] : NULL;
}

struct world_amount *ulv_world_share(struct world *w, const char *owner) {
        const struct world_amount a = { .id = "pool", .owner = owner, .pages = "" };

        for (size_t i = 0; i < w->n_shares; i++)
                if (ulv_streq(w->shares[i].owner, owner))
                        return &w->shares[i];
        return add_amount(&w->shares, &w->n_shares, &w->size_shares, &a) == 0 ? &w->shares[w->n_shares - 1] : NULL;
}

/* --- sums ---------------------------------------------------------------------------------------------- */

bool ulv_world_has_core(const struct world_core *c, const char *owner) {
        return !c->missing && !c->to[0] && ulv_streq(c->owner, owner);
}

uint64_t ulv_world_count_cores(const struct world *w, const char *owner, int node) {
        uint64_t n = 0;

        for (size_t i = 0; i < w->n_cores; i++)
                n += ulv_world_has_core(&w->cores[i], owner) && (node < 0 || w->cores[i].node == (unsigned) node);
        return n;
}

uint64_t ulv_world_wanted_cores(const struct world *w, const char *owner) {
        uint64_t n = 0;

        for (size_t i = 0; i < w->n_cores; i++)
                n += ulv_streq(w->cores[i].to[0] ? w->cores[i].to : w->cores[i].owner, owner);
        return n;
}

uint64_t ulv_world_count_memory(const struct world *w, const char *owner, int node, const char *pages) {
        uint64_t n = 0;

        for (size_t i = 0; i < w->n_memory; i++)
                if (ulv_streq(w->memory[i].owner, owner) && ulv_streq(w->memory[i].pages, pages) &&
                    (node < 0 || w->memory[i].node == (unsigned) node))
                        n += w->memory[i].keep;
        return n;
}

uint64_t ulv_world_wanted_memory(const struct world *w, const char *owner) {
        uint64_t n = 0;

        for (size_t i = 0; i < w->n_memory; i++)
                if (ulv_streq(w->memory[i].owner, owner))
                        n += w->memory[i].keep + w->memory[i].more;
        return n;
}

uint64_t ulv_world_wanted_share(const struct world *w, const char *owner) {
        for (size_t i = 0; i < w->n_shares; i++)
                if (ulv_streq(w->shares[i].owner, owner))
                        return w->shares[i].keep + w->shares[i].more;
        return 0;
}

unsigned ulv_world_nodes(const struct world *w) {
        unsigned n = 0;

        for (size_t i = 0; i < w->n_cores; i++)
                n = ULV_MAX(n, w->cores[i].node + 1);
        for (size_t i = 0; i < w->n_memory; i++)
                n = ULV_MAX(n, w->memory[i].node + 1);
        return n;
}

/* --- the pool and the host ------------------------------------------------------------------------------ */

/* Amounts on their way out still count to who gives them. */
uint64_t ulv_world_share_given(const struct world *w) {
        uint64_t n = w->given_elsewhere;

        for (size_t i = 0; i < w->n_shares; i++)
                n += w->shares[i].keep + w->shares[i].out;
        return n;
}

uint64_t ulv_world_share_capacity(const struct world *w) {
        uint64_t threads = 0;

        for (size_t i = 0; i < w->n_cores; i++)
                if (ulv_streq(w->cores[i].owner, w->pool_is_host ? "host" : "pool"))
                        threads += w->cores[i].threads;
        return threads * w->overcommit;
}

/* With the pool on the host's cores, a core may leave only as long as the shares given still fit. */
static uint64_t pool_cores_spare(const struct world *w) {
        uint64_t capacity = ulv_world_share_capacity(w), given = ulv_world_share_given(w), widest = 1;

        if (!w->pool_is_host)
                return UINT64_MAX;
        for (size_t i = 0; i < w->n_cores; i++)
                if (ulv_streq(w->cores[i].owner, "host"))
                        widest = ULV_MAX(widest, (uint64_t) w->cores[i].threads);
        return capacity > given ? (capacity - given) / (widest * w->overcommit) : 0;
}

uint64_t ulv_world_host_cores_spare(const struct world *w) {
        uint64_t has = ulv_world_count_cores(w, "host", -1);

        return has > w->host_cores ? ULV_MIN(has - w->host_cores, pool_cores_spare(w)) : 0;
}

uint64_t ulv_world_host_memory_spare(const struct world *w, const char *pages) {
        uint64_t has = ulv_world_count_memory(w, "host", -1, pages);

        if (!ulv_streq(pages, "4K"))
                return has;
        return has > w->host_memory ? has - w->host_memory : 0;
}
