/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reading the ledger: infos for the planner and for people, the pool, and each partition's view. */

#include "model/ledger-internal.h"

uint64_t ulv_ledger_generation(const struct ulv_ledger *l) { return l->c.generation; }

const char *ulv_ledger_parameter(const struct ulv_ledger *l, const char *key) {
        const struct parameter *p = ulv_find_parameter(l, key);

        return !p ? NULL : p->b.value ? p->b.value : "";
}

void ulv_ledger_inventory(const struct ulv_ledger *l, struct ulv_inventory_info *ret) {
        *ret = (struct ulv_inventory_info) {
                .kind = l->inventory.kind, .name = l->inventory.name, .prefix = l->inventory.prefix,
                .controllers = l->inventory.controllers, .kvm = l->inventory.kvm,
                .uids_first = l->inventory.uids_first, .uids_last = l->inventory.uids_last,
        };
}

/* --- the pool ---------------------------------------------------------------------------------------------- */

struct partition *ulv_pool_owner(const struct ulv_ledger *l) {
        const char *source = ulv_ledger_parameter(l, "pool.source");

        return l->infra[source && ulv_streq(source, "pool") ? INFRA_POOL : INFRA_HOST];
}

uint64_t ulv_overcommit(const struct ulv_ledger *l) {
        const char *value = ulv_ledger_parameter(l, "pool.overcommit");
        uint64_t n = 1000;

        if (value && ulv_uint_parse(value, 1000000, &n) < 0)
                n = 1000;       /* a row that an older or newer version wrote */
        return n;
}

void ulv_count_pool(struct ulv_ledger *l) {
        uint64_t threads = 0;

        for (const struct holding *h = ulv_pool_owner(l)->holdings; h; h = h->p_next)
                if (h->key.r->kind == KIND_CORE && h->b.amount > 0)
                        threads += h->key.r->b.n_threads;
        l->c.pool_capacity = threads * ulv_overcommit(l);
}

uint64_t ulv_ledger_pool_capacity(const struct ulv_ledger *l) { return l->c.pool_capacity; }

void ulv_pool_cpus(const struct ulv_ledger *l, struct ulv_cpus *ret) {
        *ret = (struct ulv_cpus) {};
        for (const struct holding *h = ulv_pool_owner(l)->holdings; h; h = h->p_next) {
                struct ulv_cpus c;

                if (h->key.r->kind != KIND_CORE || h->b.amount == 0 || !h->key.r->b.threads || ulv_cpus_parse(h->key.r->b.threads, &c) < 0)
                        continue;
                ulv_cpus_add(ret, &c);
        }
}

/* --- infos -------------------------------------------------------------------------------------------------- */

static const char *newest(const struct waits *w) {
        for (size_t i = ULV_WAITS_MAX; i-- > 0; )
                if (w->t[i])
                        return w->t[i]->id;
        return "";
}

static void fill_partition(const struct partition *p, struct ulv_partition_info *ret) {
        *ret = (struct ulv_partition_info) {
                .name = p->name, .zone = p->b.zone, .type = p->b.type, .role = p->b.role, .contain = p->b.contain,
                .result = p->b.result, .text = p->b.text ? p->b.text : "", .txn = newest(&p->b.waits), .extra = p->b.extra ? p->b.extra : "",
                .state = p->b.state, .wanted = p->b.wanted, .incarnation = p->b.incarnation, .since = p->b.since,
                .build = p->b.build, .ready = ulv_streq(p->b.ready, "yes"), .leader = p->b.leader, .leader_start = p->b.start,
        };
}

int ulv_ledger_partition(const struct ulv_ledger *l, const char *name, struct ulv_partition_info *ret) {
        const struct partition *p = ulv_find_partition(l, name);

        if (!p)
                return 1;
        fill_partition(p, ret);
        return 0;
}

int ulv_ledger_each_partition(const struct ulv_ledger *l, int (*f)(const struct ulv_partition_info *p, void *userdata), void *userdata) {
        for (int infra = 1; infra >= 0; infra--)
                for (size_t i = 0; i < l->by_name.n; i++) {
                        struct ulv_partition_info info;
                        int r;

                        if (l->by_name.v[i]->infra != infra)
                                continue;
                        fill_partition(l->by_name.v[i], &info);
                        r = f(&info, userdata);
                        if (r != 0)
                                return r;
                }
        return 0;
}

static const char *moving_to(const struct holding *h) {
        if (ulv_kinds[h->key.r->kind].unit && h->b.out > 0)
                for (const struct transfer *t = h->key.p->out; t; t = t->p_next)
                        if (t->r == h->key.r && t->b.amount > 0)
                                return t->b.to->name;
        return "";
}

/* Attributes are encoded words; the name of a disk's node has nothing that is encoded. */
static void fill_node_name(const struct resource *r, char ret[static 32]) {
        const char *name = r->kind == KIND_BLOCK && r->b.attrs ? strstr(r->b.attrs, " name=") : NULL;
        size_t n = name ? strcspn(name + 6, " ") : 0;

        if (n > 0 && n < 32) {
                memcpy(ret, name + 6, n);
                ret[n] = 0;
        }
}

static void fill_holding(const struct holding *h, struct ulv_holding_info *ret) {
        const struct resource *r = h->key.r;

        *ret = (struct ulv_holding_info) {
                .kind = ulv_kinds[r->kind].name, .id = r->id, .owner = h->key.p->name, .how = h->b.how, .txn = newest(&h->b.waits),
                .node = r->b.node, .threads = r->b.n_threads, .threads_list = r->b.threads ? r->b.threads : "",
                .amount = h->b.amount, .keep = h->b.amount - h->b.out, .wanted = h->b.amount - h->b.out + h->b.in,
                .reached = h->b.reached, .moving_to = moving_to(h), .missing = r->b.missing,
        };
        fill_node_name(r, ret->node_name);
}

/* idle's share is what the pool has left. */
static void fill_idle_share(const struct ulv_ledger *l, struct ulv_holding_info *ret) {
        uint64_t capacity = ulv_ledger_pool_capacity(l), left = capacity > l->c.share_given ? capacity - l->c.share_given : 0;

        *ret = (struct ulv_holding_info) {
                .kind = "share", .id = "pool", .owner = "idle", .how = "", .txn = "", .threads_list = "", .moving_to = "",
                .amount = left, .keep = left, .wanted = left,
        };
}

struct walk {
        int (*f)(const struct ulv_holding_info *h, void *userdata);
        void *userdata;
};

static int visit(const struct walk *w, const struct holding *h) {
        struct ulv_holding_info info;

        if (!ulv_holding_has_row(h) && h->b.in == 0)
                return 0;
        fill_holding(h, &info);
        return w->f(&info, w->userdata);
}

/* By the owners' names, and idle's share among them. */
static int walk_resource(const struct ulv_ledger *l, const struct resource *r, const struct walk *w) {
        bool share = r->kind == KIND_SHARE;
        struct ulv_holding_info info;
        int q = 0;

        for (const struct holding *h = r->holdings; q == 0 && (h || share); ) {
                if (share && (!h || strcmp(h->key.p->name, "idle") > 0)) {
                        fill_idle_share(l, &info);
                        q = w->f(&info, w->userdata);
                        share = false;
                        continue;
                }
                q = visit(w, h);
                h = h->r_next;
        }
        return q;
}

static int walk_owner(const struct ulv_ledger *l, int kind, const struct partition *p, const struct walk *w) {
        bool share = p == l->infra[INFRA_IDLE] && (kind < 0 || kind == KIND_SHARE);
        struct ulv_holding_info info;
        int q = 0;

        for (const struct holding *h = p->holdings; h && q == 0; h = h->p_next)
                if (kind < 0 || h->key.r->kind == (enum kind) kind)
                        q = visit(w, h);
        if (q == 0 && share) {
                /* Of what idle has, shares come last: it has no uid ranges as rows. */
                fill_idle_share(l, &info);
                q = w->f(&info, w->userdata);
        }
        return q;
}

int ulv_ledger_each_holding(const struct ulv_ledger *l, const char *kind, const char *owner,
                            int (*f)(const struct ulv_holding_info *h, void *userdata), void *userdata) {
        struct walk w = { f, userdata };
        int only = -1, q = 0;

        if (kind) {
                only = ulv_kind_from_name(kind);
                if (only < 0)
                        return 0;
        }
        if (owner) {
                const struct partition *p = ulv_find_partition(l, owner);

                return p ? walk_owner(l, only, p, &w) : 0;
        }
        for (int k = 0; k < KIND_MAX_; k++)
                for (size_t i = 0; (only < 0 || only == k) && i < l->sorted[k].n && q == 0; i++)
                        q = walk_resource(l, l->sorted[k].v[i], &w);
        return q;
}

int ulv_ledger_holding(const struct ulv_ledger *l, const char *kind, const char *id, const char *owner, struct ulv_holding_info *ret) {
        int k = ulv_kind_from_name(kind);
        const struct resource *r = k >= 0 ? ulv_find_resource(l, (enum kind) k, id) : NULL;
        const struct partition *p = ulv_find_partition(l, owner);
        const struct holding *h;

        if (!r || !p)
                return 1;
        if (k == KIND_SHARE && p == l->infra[INFRA_IDLE]) {
                fill_idle_share(l, ret);
                return 0;
        }
        h = ulv_find_holding(l, r, p);
        if (!h || (!ulv_holding_has_row(h) && h->b.in == 0))
                return 1;
        fill_holding(h, ret);
        return 0;
}

/* --- the view ------------------------------------------------------------------------------------------------- */

/* What a share may run on, and how it came about: --rebuild reads that back. */
static void view_pool(const struct ulv_ledger *l, struct ulv_strbuf *b) {
        _cleanup_strbuf_ struct ulv_strbuf list = {};
        struct ulv_cpus cpus;

        ulv_pool_cpus(l, &cpus);
        ulv_cpus_format(&list, &cpus);
        if (ulv_strbuf_error(&list) < 0)
                b->error = ulv_strbuf_error(&list);
        ulv_op_add(b, "cpus", ulv_strbuf_str(&list));
        ulv_op_add(b, "source", ulv_pool_owner(l) == l->infra[INFRA_POOL] ? "pool" : "host");
        ulv_op_add_u64(b, "overcommit", ulv_overcommit(l));
}

static void view_holding(const struct ulv_ledger *l, const struct holding *h, struct ulv_strbuf *b) {
        const struct resource *r = h->key.r;

        ulv_op_begin(b, "row", ulv_kinds[r->kind].name, r->id, h->key.p->name);
        if (r->kind == KIND_CHANNEL)
                ulv_channel_view(l, h, b);
        else
                ulv_row_attrs(b, r);
        if (ulv_kinds[r->kind].reached) {
                ulv_op_add_u64(b, "amount", h->b.amount);
                ulv_op_add_u64(b, "keep", h->b.amount - h->b.out);
                ulv_op_add_u64(b, "reached", h->b.reached);
                ulv_op_add(b, "how", h->b.how);
                for (const struct transfer *t = h->b.out > 0 ? h->key.p->out : NULL; t; t = t->p_next)
                        if (t->r == r && t->b.amount > 0 && t->b.force) {
                                ulv_op_add(b, "force", "yes");
                                break;
                        }
        }
        if (r->kind == KIND_SHARE)
                view_pool(l, b);
        ulv_op_end(b);
}

int ulv_ledger_view(const struct ulv_ledger *l, const char *name, struct ulv_strbuf *b) {
        const struct partition *p = ulv_find_partition(l, name);

        if (!p)
                return -ENOENT;
        ulv_op_begin(b, "row", "ledger", "-", "-");
        ulv_op_add_u64(b, "generation", l->c.generation);
        ulv_op_end(b);
        ulv_row_inventory(l, b);
        /* Without the transactions: their ids are others' words. */
        ulv_row_partition(b, p, false);
        for (const struct holding *h = p->holdings; h; h = h->p_next)
                if (h->b.amount > 0)
                        view_holding(l, h, b);
        return ulv_strbuf_error(b);
}
