/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The ledger and the machine: a first ledger, an inventory that changed since, and what runs taken into
 * a new ledger (--rebuild). */

#include "model/ledger-internal.h"

/* Units that an inventory doesn't tell go into `differences`, if somebody wants to know. */
struct sync {
        struct ulv_ledger *l;
        struct ulv_strbuf *differences;         /* NULL: a new ledger, all is new */
        bool any;
};

static void differ(struct sync *y, const struct resource *r, const char *what) {
        y->any = true;
        if (!y->differences)
                return;
        ulv_strbuf_add(y->differences, r->key);
        ulv_strbuf_addc(y->differences, ' ');
        ulv_strbuf_add(y->differences, what);
        ulv_strbuf_addc(y->differences, '\n');
}

/* Whoever has something of r has a row that changes with it. */
static void touch_resource(struct ulv_ledger *l, struct resource *r) {
        ulv_touch(l, &r->o);
        for (struct holding *h = r->holdings; h; h = h->r_next)
                ulv_touch(l, &h->o);
}

/* A unit of the machine: finds its resource, or makes it and gives it to the host. */
static int need_unit(struct sync *y, enum kind kind, const char *id, struct resource **ret) {
        struct resource *r = ulv_find_resource(y->l, kind, id);
        struct holding *h;

        if (r && r->holdings) {
                if (r->b.missing) {
                        r->b.missing = false;
                        touch_resource(y->l, r);
                        differ(y, r, "is back");
                }
                *ret = r;
                return 0;
        }
        if (!r)
                r = ulv_add_resource(y->l, kind, id);
        h = r ? ulv_need_holding(y->l, r, y->l->infra[INFRA_HOST]) : NULL;
        if (!h)
                return -ENOMEM;
        ulv_touch(y->l, &r->o);
        h->b.amount = 1;
        r->b.missing = false;
        differ(y, r, "is new, the host's");
        *ret = r;
        return 0;
}

static int sync_core(struct sync *y, const struct ulv_inv_core *c) {
        _cleanup_strbuf_ struct ulv_strbuf id = {}, threads = {};
        struct resource *r;
        int q;

        ulv_strbuf_addu(&id, c->id);
        ulv_cpus_format(&threads, c->threads);
        if (ulv_strbuf_error(&id) < 0 || ulv_strbuf_error(&threads) < 0)
                return -ENOMEM;
        q = need_unit(y, KIND_CORE, ulv_strbuf_str(&id), &r);
        if (q < 0)
                return q;
        if (r->b.node == c->node && r->b.threads && ulv_streq(r->b.threads, ulv_strbuf_str(&threads)))
                return 0;
        if (r->b.threads)
                differ(y, r, "has other threads, or another node");
        touch_resource(y->l, r);
        r->b.node = c->node;
        r->b.n_threads = c->n_threads;
        return ulv_set_string(&r->b.threads, r->old.threads, ulv_strbuf_str(&threads));
}

static int sync_device(struct sync *y, const struct ulv_inv_device *d) {
        _cleanup_strbuf_ struct ulv_strbuf attrs = {};
        int kind = ulv_kind_from_name(d->kind), q;
        struct resource *r;

        if (kind < 0 || !ulv_kinds[kind].device)
                return -EINVAL;
        q = need_unit(y, (enum kind) kind, d->id, &r);
        if (q < 0)
                return q;
        if (d->attrs[0]) {
                ulv_strbuf_addc(&attrs, ' ');
                ulv_strbuf_add(&attrs, d->attrs);
        }
        if (ulv_strbuf_error(&attrs) < 0)
                return -ENOMEM;
        if (ulv_streq(r->b.attrs ? r->b.attrs : "", ulv_strbuf_str(&attrs)))
                return 0;
        touch_resource(y->l, r);
        y->any = true;
        return ulv_set_string(&r->b.attrs, r->old.attrs, ulv_strbuf_str(&attrs));
}

static struct resource *memory_resource(struct ulv_ledger *l, const struct ulv_inv_memory *m) {
        _cleanup_strbuf_ struct ulv_strbuf id = {};
        struct resource *r;

        ulv_strbuf_addu(&id, m->node);
        ulv_strbuf_addc(&id, '/');
        ulv_strbuf_add(&id, m->pages);
        if (ulv_strbuf_error(&id) < 0)
                return NULL;
        r = ulv_find_resource(l, KIND_MEMORY, ulv_strbuf_str(&id));
        if (!r)
                r = ulv_add_resource(l, KIND_MEMORY, ulv_strbuf_str(&id));
        if (r) {
                ulv_touch(l, &r->o);
                r->b.node = m->node;
        }
        return r;
}

/* Takes up to n from what p may give, at once. */
static uint64_t shrink(struct ulv_ledger *l, struct resource *r, struct partition *p, uint64_t n) {
        struct holding *h = ulv_find_holding(l, r, p);
        uint64_t part;

        if (!h || n == 0)
                return n;
        part = ULV_MIN(n, h->b.amount - h->b.out);
        ulv_touch(l, &h->o);
        ulv_touch(l, &r->o);
        h->b.amount -= part;
        r->b.total -= part;
        return n - part;
}

static int sync_memory(struct sync *y, const struct ulv_inv_memory *m) {
        struct resource *r = memory_resource(y->l, m);
        struct holding *host, *idle;
        bool is_new = r && !r->holdings;

        host = r ? ulv_need_holding(y->l, r, y->l->infra[INFRA_HOST]) : NULL;
        idle = r ? ulv_need_holding(y->l, r, y->l->infra[INFRA_IDLE]) : NULL;
        if (!host || !idle)
                return -ENOMEM;
        ulv_touch(y->l, &r->o);
        if (m->amount > r->b.total) {
                host->b.amount += m->amount - r->b.total;
                r->b.total = m->amount;
                differ(y, r, is_new ? "is new, the host's" : "has grown, for the host");
        } else if (m->amount < r->b.total) {
                uint64_t rest = shrink(y->l, r, y->l->infra[INFRA_HOST], r->b.total - m->amount);

                rest = shrink(y->l, r, y->l->infra[INFRA_IDLE], rest);
                differ(y, r, rest ? "has shrunk below what partitions have" : "has shrunk, at the cost of host and idle");
        }
        if (r->b.missing) {
                r->b.missing = false;
                touch_resource(y->l, r);
                differ(y, r, "is back");
        }
        return 0;
}

static int by_core_id(const void *key, const void *element) {
        uint64_t id = *(const uint64_t *) key, other = ((const struct ulv_inv_core *) element)->id;

        return id < other ? -1 : id > other;
}

static bool has_core(const struct ulv_inventory *inv, const char *id) {
        uint64_t n;

        return ulv_uint_parse(id, ULV_CPU_MAX, &n) == 0 && inv->n_cores > 0 &&
               bsearch(&n, inv->cores, inv->n_cores, sizeof(*inv->cores), by_core_id);
}

static bool has_memory(const struct ulv_inventory *inv, const struct resource *r) {
        const char *slash = strchr(r->id, '/');

        for (size_t i = 0; slash && i < inv->n_memory; i++)
                if (inv->memory[i].node == r->b.node && ulv_streq(inv->memory[i].pages, slash + 1))
                        return true;
        return false;
}

static bool has_device(const struct ulv_inventory *inv, const struct resource *r) {
        for (size_t i = 0; i < inv->n_devices; i++)
                if (ulv_streq(inv->devices[i].kind, ulv_kinds[r->kind].name) && ulv_streq(inv->devices[i].id, r->id))
                        return true;
        return false;
}

static bool is_there(const struct ulv_inventory *inv, const struct resource *r) {
        return r->kind == KIND_CORE ? has_core(inv, r->id)
             : r->kind == KIND_MEMORY ? has_memory(inv, r)
             : ulv_kinds[r->kind].device ? has_device(inv, r) : true;
}

static void mark_missing(struct sync *y, const struct ulv_inventory *inv) {
        for (struct resource *r = y->l->resources; r; r = r->hh.next) {
                if (r->b.missing || is_there(inv, r))
                        continue;
                r->b.missing = true;
                touch_resource(y->l, r);
                differ(y, r, "is missing");
        }
}

static void sync_facts(struct sync *y, const struct ulv_inventory *inv) {
        struct ulv_ledger *l = y->l;
        __typeof__(l->inventory) facts = {
                .kind = inv->kind, .kvm = inv->kvm, .uids_first = inv->uids_first, .uids_last = inv->uids_last,
        };

        /* The fields are as long here as there. */
        (void) ulv_copy(facts.name, sizeof(facts.name), inv->name);
        (void) ulv_copy(facts.prefix, sizeof(facts.prefix), inv->prefix);
        (void) ulv_copy(facts.controllers, sizeof(facts.controllers), inv->controllers);
        if (facts.kind == l->inventory.kind && facts.kvm == l->inventory.kvm && facts.uids_first == l->inventory.uids_first &&
            facts.uids_last == l->inventory.uids_last && ulv_streq(facts.name, l->inventory.name) &&
            ulv_streq(facts.prefix, l->inventory.prefix) && ulv_streq(facts.controllers, l->inventory.controllers))
                return;
        l->inventory = facts;
        l->inventory_dirty = true;
        y->any = true;
        if (y->differences)
                ulv_strbuf_add(y->differences, "facts about the machine changed\n");
}

static int sync_all(struct sync *y, const struct ulv_inventory *inv) {
        int r = 0;

        for (size_t i = 0; i < inv->n_cores && r == 0; i++)
                r = sync_core(y, &inv->cores[i]);
        for (size_t i = 0; i < inv->n_memory && r == 0; i++)
                r = sync_memory(y, &inv->memory[i]);
        for (size_t i = 0; i < inv->n_devices && r == 0; i++)
                r = sync_device(y, &inv->devices[i]);
        return r;
}

int ulv_ledger_new(const struct ulv_inventory *inv, struct ulv_ledger **ret) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = NULL;
        struct sync y = {};
        int r;

        r = ulv_ledger_new_empty(&l);
        if (r < 0)
                return r;
        y.l = l;
        r = sync_all(&y, inv);
        if (r < 0)
                return r;
        sync_facts(&y, inv);
        ulv_count_pool(l);
        l->c.generation = 1;
        l->inventory_dirty = true;
        ulv_commit(l);
        *ret = ulv_steal(l);
        return 0;
}

int ulv_ledger_set_inventory(struct ulv_ledger *l, const struct ulv_inventory *inv, struct ulv_strbuf *differences) {
        struct sync y = { .l = l, .differences = differences };
        int r;

        r = sync_all(&y, inv);
        if (r < 0) {
                ulv_rollback(l);
                return r;
        }
        mark_missing(&y, inv);
        sync_facts(&y, inv);
        if (y.any) {
                ulv_count_pool(l);
                l->pool_told = true;
                l->c.generation++;
        }
        ulv_commit(l);
        return differences ? ulv_strbuf_error(differences) : 0;
}
