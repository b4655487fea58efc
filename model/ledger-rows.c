/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The ledger's rows, written: each object's, the dump, and what changed since the last call. Reading is
 * in ledger-load.c. */

#include "model/ledger-internal.h"

static void add_text(struct ulv_strbuf *b, const char *key, const char *value) {
        if (value && *value)
                ulv_op_add(b, key, value);
}

static void add_number(struct ulv_strbuf *b, const char *key, uint64_t value) {
        if (value > 0)
                ulv_op_add_u64(b, key, value);
}

static void add_waits(struct ulv_strbuf *b, const struct waits *w) {
        if (!ulv_waits_any(w))
                return;
        ulv_strbuf_add(b, " txn=");
        for (size_t i = 0; i < ULV_WAITS_MAX && w->t[i]; i++) {
                if (i > 0)
                        ulv_strbuf_addc(b, ',');
                ulv_strbuf_add(b, w->t[i]->id);         /* has no byte that would be encoded */
        }
}

bool ulv_is_partition_key(const char *key) {
        static const char *const keys[] = { "zone", "type", "role", "state", "wanted", "incarnation", "since", "leader",
                                            "start", "build", "ready", "contain", "result", "txn", "text" };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(keys); i++)
                if (ulv_streq(keys[i], key))
                        return true;
        return false;
}

int ulv_extra_keys(const struct ulv_op *op, bool (*known)(const char *key), struct ulv_strbuf *b) {
        for (unsigned i = 0; i < op->n_kv; i++)
                if (!known(op->kv[i].key))
                        ulv_op_add(b, op->kv[i].key, op->kv[i].value);
        return ulv_strbuf_error(b);
}

void ulv_row_partition(struct ulv_strbuf *b, const struct partition *p, bool with_waits) {
        ulv_op_begin(b, "row", "partition", p->name, "-");
        add_text(b, "zone", p->b.zone);
        add_text(b, "type", p->b.type);
        add_text(b, "role", p->b.role);
        ulv_op_add(b, "state", ulv_state_name(p->b.state));
        ulv_op_add(b, "wanted", ulv_state_name(p->b.wanted));
        add_number(b, "incarnation", p->b.incarnation);
        add_number(b, "since", p->b.since);
        add_number(b, "leader", p->b.leader);
        add_number(b, "start", p->b.start);
        add_text(b, "build", p->b.build);
        add_text(b, "ready", p->b.ready);
        add_text(b, "contain", p->b.contain);
        add_text(b, "result", p->b.result);
        if (with_waits)
                add_waits(b, &p->b.waits);
        if (p->b.extra)
                ulv_strbuf_add(b, p->b.extra);
        add_text(b, "text", p->b.text);
        ulv_op_end(b);
}

void ulv_row_attrs(struct ulv_strbuf *b, const struct resource *r) {
        if (r->kind == KIND_CORE) {
                ulv_op_add_u64(b, "node", r->b.node);
                ulv_op_add(b, "threads", r->b.threads ? r->b.threads : "");
        }
        if (r->b.attrs)
                ulv_strbuf_add(b, r->b.attrs);
        if (r->b.missing)
                ulv_op_add(b, "missing", "yes");
}

static void row_holding(struct ulv_strbuf *b, const struct holding *h) {
        const struct resource *r = h->key.r;

        ulv_op_begin(b, "row", ulv_kinds[r->kind].name, r->id, h->key.p->name);
        ulv_row_attrs(b, r);
        if (!ulv_kinds[r->kind].unit)
                ulv_op_add_u64(b, "amount", h->b.amount);
        add_number(b, "reached", h->b.reached);
        add_text(b, "how", h->b.how);
        add_text(b, "memory", h->b.memory);
        add_number(b, "epoch", h->b.epoch);
        add_waits(b, &h->b.waits);
        ulv_op_end(b);
}

/* 20 digits and the NUL. */
static const char *number_text(uint64_t v, char buf[21]) {
        char *s = buf + 20;

        *s = 0;
        do
                *--s = (char) ('0' + v % 10);
        while ((v /= 10) > 0);
        return s;
}

static void row_transfer(struct ulv_strbuf *b, const struct transfer *t) {
        char seq[21];

        ulv_op_begin(b, "row", "transfer", number_text(t->seq, seq), t->from->name);
        ulv_op_add(b, "to", t->b.to->name);
        ulv_op_add(b, "kind", ulv_kinds[t->r->kind].name);
        ulv_op_add(b, "id", t->r->id);
        ulv_op_add_u64(b, "amount", t->b.amount);
        ulv_op_add_u64(b, "made", t->b.made);
        if (t->b.force)
                ulv_op_add(b, "force", "yes");
        ulv_op_add(b, "txn", t->b.txn->id);
        ulv_op_end(b);
}

static void row_transaction(struct ulv_strbuf *b, const struct transaction *t) {
        ulv_op_begin(b, "row", "transaction", t->id, "-");
        ulv_op_add(b, "subject", t->subject);
        if (t->b.undone)
                ulv_op_add(b, "undone", "yes");
        ulv_op_end(b);
}

static void row_parameter(struct ulv_strbuf *b, const struct parameter *p) {
        ulv_op_begin(b, "row", "parameter", p->key, "-");
        ulv_op_add(b, "value", p->b.value ? p->b.value : "");
        ulv_op_end(b);
}

void ulv_row_of(struct ulv_strbuf *b, const struct object *o) {
        switch (o->type) {
        case OBJECT_RESOURCE: break;
        case OBJECT_PARTITION: ulv_row_partition(b, (const struct partition *) o, true); break;
        case OBJECT_HOLDING: row_holding(b, (const struct holding *) o); break;
        case OBJECT_TRANSFER: row_transfer(b, (const struct transfer *) o); break;
        case OBJECT_TRANSACTION: row_transaction(b, (const struct transaction *) o); break;
        case OBJECT_PARAMETER: row_parameter(b, (const struct parameter *) o); break;
        }
}

void ulv_row_ledger(const struct ulv_ledger *l, struct ulv_strbuf *b) {
        ulv_op_begin(b, "row", "ledger", "-", "-");
        ulv_op_add_u64(b, "generation", l->c.generation);
        ulv_op_add_u64(b, "incarnation", l->c.incarnation);
        ulv_op_add_u64(b, "seq", l->c.seq);
        add_text(b, "boot", l->boot);
        ulv_op_end(b);
}

void ulv_row_inventory(const struct ulv_ledger *l, struct ulv_strbuf *b) {
        static const char *const kinds[] = {
                [ULV_INVENTORY_REAL] = "real", [ULV_INVENTORY_PART] = "part", [ULV_INVENTORY_IMAGINED] = "imagined",
        };
        char controllers[sizeof(l->inventory.controllers)];

        memcpy(controllers, l->inventory.controllers, sizeof(controllers));
        for (char *s = controllers; (s = strchr(s, ' ')); )
                *s = '+';
        ulv_op_begin(b, "row", "inventory", "-", "-");
        ulv_op_add(b, "kind", kinds[l->inventory.kind]);
        ulv_op_add(b, "name", l->inventory.name);
        ulv_op_add(b, "prefix", l->inventory.prefix);
        ulv_op_add(b, "controllers", controllers);
        ulv_op_add(b, "kvm", l->inventory.kvm ? "yes" : "no");
        ulv_op_add_u64(b, "uids", l->inventory.uids_first);
        ulv_strbuf_addc(b, '-');
        ulv_strbuf_addu(b, l->inventory.uids_last);
        ulv_op_end(b);
}

/* --- the dump -------------------------------------------------------------------------------------------- */

static void dump_resources(const struct ulv_ledger *l, int kind, struct ulv_strbuf *b) {
        for (size_t i = 0; i < l->sorted[kind].n; i++) {
                const struct resource *r = l->sorted[kind].v[i];

                for (const struct holding *h = r->holdings; h; h = h->r_next)
                        if (ulv_holding_has_row(h))
                                row_holding(b, h);
        }
}

/* What is kept in hash tables only is sorted when it is asked for. */
static int by_seq(const void *a, const void *b) {
        uint64_t x = (*(struct transfer *const *) a)->seq, y = (*(struct transfer *const *) b)->seq;

        return x < y ? -1 : x > y;
}
static int by_id(const void *a, const void *b) {
        return ulv_natural_compare((*(struct transaction *const *) a)->id, (*(struct transaction *const *) b)->id);
}
static int by_key(const void *a, const void *b) {
        return ulv_natural_compare((*(struct parameter *const *) a)->key, (*(struct parameter *const *) b)->key);
}

#define DUMP_TABLE(T, head, compare)                                                                    \
        do {                                                                                            \
                size_t _n = HASH_COUNT(head), _i = 0;                                                   \
                T **_v = calloc(_n + 1, sizeof(*_v)), *_e;                                              \
                if (!_v)                                                                                \
                        return -ENOMEM;                                                                 \
                for (_e = (head); _e; _e = _e->hh.next)                                                 \
                        _v[_i++] = _e;                                                                  \
                qsort(_v, _n, sizeof(*_v), compare);                                                    \
                for (_i = 0; _i < _n; _i++)                                                             \
                        ulv_row_of(b, &_v[_i]->o);                                                   \
                free(_v);                                                                               \
        } while (0)

static int dump_transfers(const struct ulv_ledger *l, struct ulv_strbuf *b) {
        DUMP_TABLE(struct transfer, l->transfers, by_seq);
        return 0;
}
static int dump_transactions(const struct ulv_ledger *l, struct ulv_strbuf *b) {
        DUMP_TABLE(struct transaction, l->transactions, by_id);
        return 0;
}
static int dump_parameters(const struct ulv_ledger *l, struct ulv_strbuf *b) {
        DUMP_TABLE(struct parameter, l->parameters, by_key);
        return 0;
}
static int dump_partitions(const struct ulv_ledger *l, struct ulv_strbuf *b) {
        for (size_t i = 0; i < l->by_name.n; i++)
                ulv_row_partition(b, l->by_name.v[i], true);
        return 0;
}
static int dump_ledger(const struct ulv_ledger *l, struct ulv_strbuf *b) { ulv_row_ledger(l, b); return 0; }
static int dump_inventory(const struct ulv_ledger *l, struct ulv_strbuf *b) { ulv_row_inventory(l, b); return 0; }

int ulv_ledger_dump(const struct ulv_ledger *l, const char *kind, struct ulv_strbuf *b) {
        static const struct { const char *kind; int (*f)(const struct ulv_ledger *l, struct ulv_strbuf *b); } table[] = {
                { "block", NULL }, { "channel", NULL }, { "core", NULL }, { "device", NULL }, { "disk", NULL }, { "inventory", dump_inventory }, { "ledger", dump_ledger }, { "limit", NULL }, { "memory", NULL },
                { "mount", NULL }, { "net", NULL }, { "parameter", dump_parameters }, { "partition", dump_partitions }, { "pci", NULL }, { "share", NULL },
                { "transaction", dump_transactions }, { "transfer", dump_transfers }, { "uids", NULL },
        };
        int r = 0;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(table) && r == 0; i++) {
                if (kind && *kind && !ulv_streq(kind, table[i].kind))
                        continue;
                if (table[i].f)
                        r = table[i].f(l, b);
                else
                        dump_resources(l, ulv_kind_from_name(table[i].kind), b);
        }
        return r < 0 ? r : ulv_strbuf_error(b);
}

/* --- what changed ------------------------------------------------------------------------------------------ */

static void gone_line(struct ulv_strbuf *b, const struct object *o) {
        char seq[21];

        switch (o->type) {
        case OBJECT_RESOURCE: return;
        case OBJECT_PARTITION: ulv_op_begin(b, "gone", "partition", ((const struct partition *) o)->name, "-"); break;
        case OBJECT_TRANSACTION: ulv_op_begin(b, "gone", "transaction", ((const struct transaction *) o)->id, "-"); break;
        case OBJECT_PARAMETER: ulv_op_begin(b, "gone", "parameter", ((const struct parameter *) o)->key, "-"); break;
        case OBJECT_TRANSFER:
                ulv_op_begin(b, "gone", "transfer", number_text(((const struct transfer *) o)->seq, seq), ((const struct transfer *) o)->from->name);
                break;
        case OBJECT_HOLDING: {
                const struct holding *h = (const struct holding *) o;

                ulv_op_begin(b, "gone", ulv_kinds[h->key.r->kind].name, h->key.r->id, h->key.p->name);
                break;
        }
        }
        ulv_op_end(b);
}

/* Is there a row of this name again, made since? Then that row says it all. */
static bool is_back(const struct ulv_ledger *l, const struct object *o) {
        switch (o->type) {
        case OBJECT_RESOURCE: return true;
        case OBJECT_PARTITION: return ulv_find_partition(l, ((const struct partition *) o)->name);
        case OBJECT_TRANSACTION: return ulv_find_transaction(l, ((const struct transaction *) o)->id);
        case OBJECT_PARAMETER: return ulv_find_parameter(l, ((const struct parameter *) o)->key);
        case OBJECT_TRANSFER: return false;
        case OBJECT_HOLDING: {
                const struct holding *gone = (const struct holding *) o, *h;
                const struct partition *p = ulv_find_partition(l, gone->key.p->name);

                h = p ? ulv_find_holding(l, gone->key.r, p) : NULL;
                return h && ulv_holding_has_row(h);
        }
        }
        return false;
}

static bool has_row(const struct object *o) {
        return o->type != OBJECT_HOLDING || ulv_holding_has_row((const struct holding *) o);
}

int ulv_ledger_drain_changes(struct ulv_ledger *l, struct ulv_strbuf *b) {
        size_t before = b->len;
        struct object *o;

        if (ulv_strbuf_error(b) < 0)
                return ulv_strbuf_error(b);
        if (l->ledger_dirty)
                ulv_row_ledger(l, b);
        if (l->inventory_dirty)
                ulv_row_inventory(l, b);
        /* Rows first, then what is gone: a row may still point to what goes. */
        DL_FOREACH(l->dirty, o) {
                if (has_row(o))
                        ulv_row_of(b, o);
                else if (o->told)
                        gone_line(b, o);
        }
        for (int pass = 0; pass < 2; pass++)
                DL_FOREACH(l->gone, o)
                        if ((o->type == OBJECT_HOLDING || o->type == OBJECT_TRANSFER) == (pass == 0) && !is_back(l, o))
                                gone_line(b, o);
        if (ulv_strbuf_error(b) < 0) {
                /* Nothing was told: the next call tells it. */
                int r = ulv_strbuf_error(b);

                b->len = before;
                if (b->s)
                        b->s[before] = 0;
                return r;
        }
        ulv_changes_told(l);
        return 0;
}

int ulv_ledger_drain_settled(struct ulv_ledger *l, struct ulv_strbuf *b) {
        struct transaction *t;

        DL_FOREACH2(l->settled, t, s_next) {
                ulv_strbuf_add(b, t->b.undone ? "undone " : "done ");
                ulv_strbuf_add(b, t->id);
                ulv_strbuf_addc(b, '\n');
        }
        if (ulv_strbuf_error(b) < 0)
                return ulv_strbuf_error(b);
        ulv_settled_told(l);
        return 0;
}
