/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The ledger's tables: kinds, and objects found and made. What becomes of objects in a step is in
 * ledger-object.c, the theory in ledger-internal.h. */

#include "model/attachment.h"
#include "model/channel.h"
#include "model/ledger-internal.h"

const struct kind_info ulv_kinds[KIND_MAX_] = {
        [KIND_BLOCK]  = { .name = "block",  .unit = true, .reached = true, .device = true, .noun = "block device" },
        [KIND_CHANNEL] = { .name = "channel", .unit = true, .reached = true, .idle_implied = true, .noun = "channel" },
        [KIND_CORE]   = { .name = "core",   .unit = true, .reached = true, .noun = "core" },
        [KIND_DEVICE] = { .name = "device", .unit = true, .reached = true, .idle_implied = true, .noun = "device" },
        [KIND_DISK]   = { .name = "disk",   .unit = true, .reached = true, .idle_implied = true, .noun = "disk" },
        [KIND_LIMIT]  = { .name = "limit",  .reached = true, .idle_implied = true, .noun = "limit" },
        [KIND_MEMORY] = { .name = "memory", .reached = true, .noun = "memory" },
        [KIND_MOUNT]  = { .name = "mount",  .unit = true, .reached = true, .idle_implied = true, .noun = "mount" },
        [KIND_NET]    = { .name = "net",    .unit = true, .device = true, .noun = "network interface" },
        [KIND_PCI]    = { .name = "pci",    .unit = true, .device = true, .noun = "PCI device" },
        [KIND_SHARE]  = { .name = "share",  .reached = true, .idle_implied = true, .noun = "share of" },
        [KIND_UIDS]   = { .name = "uids",   .unit = true, .idle_implied = true, .noun = "uid range" },
};

int ulv_kind_from_name(const char *s) {
        for (int i = 0; i < KIND_MAX_; i++)
                if (ulv_streq(ulv_kinds[i].name, s))
                        return i;
        return -EINVAL;
}

int ulv_natural_compare(const char *a, const char *b) {
        const char *whole_a = a, *whole_b = b;

        while (*a && *b) {
                size_t na, nb;
                int r;

                if (*a < '0' || *a > '9' || *b < '0' || *b > '9') {
                        if (*a != *b)
                                return (unsigned char) *a < (unsigned char) *b ? -1 : 1;
                        a++;
                        b++;
                        continue;
                }
                a += strspn(a, "0");
                b += strspn(b, "0");
                na = strspn(a, "0123456789");
                nb = strspn(b, "0123456789");
                if (na != nb)
                        return na < nb ? -1 : 1;
                r = strncmp(a, b, na);
                if (r != 0)
                        return r;
                a += na;
                b += nb;
        }
        if (*a || *b)
                return *a ? 1 : -1;
        return strcmp(whole_a, whole_b);
}

/* --- finding ------------------------------------------------------------------------------------------- */

struct partition *ulv_find_partition(const struct ulv_ledger *l, const char *name) {
        struct partition *p;

        HASH_FIND(hh, l->partitions, name, strlen(name), p);
        return p && !p->b.gone ? p : NULL;
}

struct resource *ulv_find_resource(const struct ulv_ledger *l, enum kind kind, const char *id) {
        char key[160];
        size_t n = strlen(ulv_kinds[kind].name), m = strlen(id);
        struct resource *r;

        if (n + 1 + m >= sizeof(key))
                return NULL;
        memcpy(key, ulv_kinds[kind].name, n);
        key[n] = ' ';
        memcpy(key + n + 1, id, m + 1);
        HASH_FIND(hh, l->resources, key, n + 1 + m, r);
        return r;
}

struct holding *ulv_find_holding(const struct ulv_ledger *l, const struct resource *r, const struct partition *p) {
        __typeof__(((struct holding *) NULL)->key) key = { (struct resource *) r, (struct partition *) p };
        struct holding *h;

        HASH_FIND(hh, l->holdings, &key, sizeof(key), h);
        return h;
}

struct transfer *ulv_find_transfer(const struct ulv_ledger *l, uint64_t seq) {
        struct transfer *t;

        HASH_FIND(hh, l->transfers, &seq, sizeof(seq), t);
        return t && t->b.amount > 0 ? t : NULL;
}

struct transaction *ulv_find_transaction(const struct ulv_ledger *l, const char *id) {
        struct transaction *t;

        HASH_FIND(hh, l->transactions, id, strlen(id), t);
        return t;
}

struct parameter *ulv_find_parameter(const struct ulv_ledger *l, const char *key) {
        struct parameter *p;

        HASH_FIND(hh, l->parameters, key, strlen(key), p);
        return p && !p->b.gone ? p : NULL;
}

bool ulv_is_uid_range(const struct ulv_ledger *l, const char *id) {
        uint64_t n;

        return id[0] != '0' && ulv_uint_parse(id, ULV_UID_RANGES, &n) == 0 && n >= l->inventory.uids_first && n <= l->inventory.uids_last;
}

/* Where name stands, or would stand. */
size_t ulv_partition_place(const struct ulv_ledger *l, const char *name) {
        size_t low = 0, high = l->by_name.n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (strcmp(l->by_name.v[middle]->name, name) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

/* --- making ----------------------------------------------------------------------------------------------- */

/* Makes room for one more pointer in a sorted array. */
static int grow(void *array_v, size_t n, size_t *size) {
        void ***v = array_v, **bigger;
        size_t want = ULV_MAX(*size * 2, (size_t) 16);

        if (n < *size)
                return 0;
        bigger = realloc(*v, want * sizeof(void *));
        if (!bigger)
                return -ENOMEM;
        *v = bigger;
        *size = want;
        return 0;
}

struct partition *ulv_add_partition(struct ulv_ledger *l, const char *name) {
        struct partition *p;
        size_t at;

        if (grow(&l->by_name.v, l->by_name.n, &l->by_name.size) < 0)
                return NULL;
        p = calloc(1, sizeof(*p));
        if (!p || !ulv_copy(p->name, sizeof(p->name), name)) {
                free(p);
                return NULL;
        }
        p->o.type = OBJECT_PARTITION;
        p->infra = ulv_name_is_reserved(name);
        HASH_ADD_KEYPTR(hh, l->partitions, p->name, strlen(p->name), p);
        if (p->o.unhashed) {
                free(p);
                return NULL;
        }
        at = ulv_partition_place(l, name);
        memmove(l->by_name.v + at + 1, l->by_name.v + at, (l->by_name.n - at) * sizeof(*l->by_name.v));
        l->by_name.v[at] = p;
        l->by_name.n++;
        ulv_touch_new(l, &p->o);
        return p;
}

bool ulv_may_be_made(const struct ulv_ledger *l, int kind, const char *id) {
        struct ulv_limit limit;

        return (kind == KIND_UIDS && ulv_is_uid_range(l, id)) ||
               (kind == KIND_LIMIT && ulv_limit_from_id(id, &limit) == 0 && l->sorted[KIND_LIMIT].n < ULV_LIMIT_IDS_MAX) ||
               (kind == KIND_CHANNEL && ulv_channel_id_is_valid(id)) ||
               (ulv_is_attachment((enum kind) kind) && ulv_attachment_id_is_valid(ulv_kinds[kind].name, id));
}

struct resource *ulv_add_resource(struct ulv_ledger *l, enum kind kind, const char *id) {
        size_t n = strlen(ulv_kinds[kind].name), at, m = strlen(id);
        struct resource *r;

        if (grow(&l->sorted[kind].v, l->sorted[kind].n, &l->sorted[kind].size) < 0)
                return NULL;
        r = calloc(1, sizeof(*r));
        if (!r)
                return NULL;
        r->kind = kind;
        r->id = strdup(id);
        r->key = malloc(n + 1 + m + 1);
        r->o.type = OBJECT_RESOURCE;
        if (!r->id || !r->key) {
                ulv_object_free(&r->o);
                return NULL;
        }
        memcpy(r->key, ulv_kinds[kind].name, n);
        r->key[n] = ' ';
        memcpy(r->key + n + 1, id, m + 1);
        HASH_ADD_KEYPTR(hh, l->resources, r->key, n + 1 + m, r);
        if (r->o.unhashed) {
                ulv_object_free(&r->o);
                return NULL;
        }
        for (at = l->sorted[kind].n; at > 0 && ulv_natural_compare(l->sorted[kind].v[at - 1]->id, id) > 0; at--)
                l->sorted[kind].v[at] = l->sorted[kind].v[at - 1];
        l->sorted[kind].v[at] = r;
        l->sorted[kind].n++;
        ulv_touch_new(l, &r->o);
        return r;
}

static int resource_compare(const struct resource *a, const struct resource *b) {
        return a->kind != b->kind ? (a->kind < b->kind ? -1 : 1) : ulv_natural_compare(a->id, b->id);
}

/* Into the owner's list, in order; from its end, because that is where most come. */
static void link_to_owner(struct partition *p, struct holding *h) {
        struct holding *after = p->holdings ? p->holdings->p_prev : NULL;

        while (after && resource_compare(after->key.r, h->key.r) > 0)
                after = after == p->holdings ? NULL : after->p_prev;
        if (after)
                DL_APPEND_ELEM2(p->holdings, after, h, p_prev, p_next);
        else
                DL_PREPEND2(p->holdings, h, p_prev, p_next);
}

/* And into the resource's, by name: a walk over all owners of it is a walk over those that have some. */
static void link_to_resource(struct resource *r, struct holding *h) {
        struct holding *after = r->holdings ? r->holdings->r_prev : NULL;

        while (after && strcmp(after->key.p->name, h->key.p->name) > 0)
                after = after == r->holdings ? NULL : after->r_prev;
        if (after)
                DL_APPEND_ELEM2(r->holdings, after, h, r_prev, r_next);
        else
                DL_PREPEND2(r->holdings, h, r_prev, r_next);
}

struct holding *ulv_need_holding(struct ulv_ledger *l, struct resource *r, struct partition *p) {
        struct holding *h = ulv_find_holding(l, r, p);

        if (h) {
                ulv_touch(l, &h->o);
                return h;
        }
        h = calloc(1, sizeof(*h));
        if (!h)
                return NULL;
        h->o.type = OBJECT_HOLDING;
        h->key.r = r;
        h->key.p = p;
        HASH_ADD(hh, l->holdings, key, sizeof(h->key), h);
        if (h->o.unhashed) {
                free(h);
                return NULL;
        }
        link_to_owner(p, h);
        link_to_resource(r, h);
        ulv_touch_new(l, &h->o);
        return h;
}

struct transfer *ulv_add_transfer(struct ulv_ledger *l, uint64_t seq, struct resource *r, struct partition *from) {
        struct transfer *t = calloc(1, sizeof(*t)), *after;

        if (!t)
                return NULL;
        t->o.type = OBJECT_TRANSFER;
        t->seq = seq;
        t->r = r;
        t->from = from;
        HASH_ADD(hh, l->transfers, seq, sizeof(t->seq), t);
        if (t->o.unhashed) {
                free(t);
                return NULL;
        }
        after = from->out ? from->out->p_prev : NULL;
        while (after && after->seq > seq)
                after = after == from->out ? NULL : after->p_prev;
        if (after)
                DL_APPEND_ELEM2(from->out, after, t, p_prev, p_next);
        else
                DL_PREPEND2(from->out, t, p_prev, p_next);
        DL_APPEND2(r->transfers, t, r_prev, r_next);
        ulv_touch_new(l, &t->o);
        return t;
}

struct transaction *ulv_add_transaction(struct ulv_ledger *l, const char *id, const char *subject) {
        struct transaction *t = calloc(1, sizeof(*t));

        if (!t)
                return NULL;
        t->o.type = OBJECT_TRANSACTION;
        t->subject = strdup(subject);
        if (!t->subject || !ulv_copy(t->id, sizeof(t->id), id)) {
                free(t->subject);
                free(t);
                return NULL;
        }
        HASH_ADD_KEYPTR(hh, l->transactions, t->id, strlen(t->id), t);
        if (t->o.unhashed) {
                free(t->subject);
                free(t);
                return NULL;
        }
        ulv_touch_new(l, &t->o);
        return t;
}

struct parameter *ulv_need_parameter(struct ulv_ledger *l, const char *key) {
        struct parameter *p;

        HASH_FIND(hh, l->parameters, key, strlen(key), p);
        if (p) {
                ulv_touch(l, &p->o);
                return p;
        }
        p = calloc(1, sizeof(*p));
        if (!p)
                return NULL;
        p->o.type = OBJECT_PARAMETER;
        p->key = strdup(key);
        if (p->key)
                HASH_ADD_KEYPTR(hh, l->parameters, p->key, strlen(p->key), p);
        if (!p->key || p->o.unhashed) {
                free(p->key);
                free(p);
                return NULL;
        }
        p->b.gone = true;       /* until it gets a value */
        ulv_touch_new(l, &p->o);
        p->old.gone = true;
        return p;
}

/* --- new and free ---------------------------------------------------------------------------------------------- */

int ulv_ledger_new_empty(struct ulv_ledger **ret) {
        static const char *const names[INFRA_MAX_] = {
                [INFRA_COMMAND] = "command", [INFRA_HOST] = "host", [INFRA_IDLE] = "idle",
                [INFRA_OPERATIONS] = "operations", [INFRA_POOL] = "pool", [INFRA_ULTRAVISOR] = "ultravisor",
        };
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = calloc(1, sizeof(*l));

        if (!l || !ulv_add_resource(l, KIND_SHARE, "pool"))
                return -ENOMEM;
        for (int i = 0; i < INFRA_MAX_; i++) {
                struct partition *p = l->infra[i] = ulv_add_partition(l, names[i]);

                if (!p)
                        return -ENOMEM;
                (void) ulv_copy(p->b.zone, sizeof(p->b.zone), "default");
                (void) ulv_copy(p->b.role, sizeof(p->b.role), "infrastructure");
                /* host, idle and pool are always there; the roles are when uvd says so. */
                p->b.state = p->b.wanted = i == INFRA_HOST || i == INFRA_IDLE || i == INFRA_POOL ? ULV_RUNNING : ULV_DEFINED;
        }
        ulv_commit(l);
        *ret = ulv_steal(l);
        return 0;
}

#define FREE_ALL(head, T, member)                                                                       \
        do {                                                                                            \
                T *_e, *_next;                                                                          \
                HASH_ITER(hh, head, _e, _next) { HASH_DEL(head, _e); member; }                          \
        } while (0)

void ulv_ledger_free(struct ulv_ledger *l) {
        if (!l)
                return;
        ulv_rollback(l);
        ulv_forget_changes(l);
        FREE_ALL(l->holdings, struct holding, ulv_object_free(&_e->o));
        FREE_ALL(l->transfers, struct transfer, ulv_object_free(&_e->o));
        FREE_ALL(l->transactions, struct transaction, ulv_object_free(&_e->o));
        FREE_ALL(l->parameters, struct parameter, ulv_object_free(&_e->o));
        FREE_ALL(l->partitions, struct partition, ulv_object_free(&_e->o));
        FREE_ALL(l->resources, struct resource, ulv_object_free(&_e->o));
        for (int i = 0; i < KIND_MAX_; i++)
                free(l->sorted[i].v);
        free(l->by_name.v);
        free(l);
}
