/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Objects in a step: touched before they change, then committed or rolled back, and told. The theory is
 * in ledger-internal.h. */

#include "model/ledger-internal.h"

/* --- touching ------------------------------------------------------------------------------------------ */

void ulv_touch(struct ulv_ledger *l, struct object *o) {
        if (o->touched)
                return;
        o->touched = true;
        o->touched_next = NULL;
        if (l->touched_last)
                l->touched_last->touched_next = o;
        else
                l->touched = o;
        l->touched_last = o;
        switch (o->type) {
        case OBJECT_RESOURCE: ((struct resource *) o)->old = ((struct resource *) o)->b; break;
        case OBJECT_PARTITION: ((struct partition *) o)->old = ((struct partition *) o)->b; break;
        case OBJECT_HOLDING: ((struct holding *) o)->old = ((struct holding *) o)->b; break;
        case OBJECT_TRANSFER: ((struct transfer *) o)->old = ((struct transfer *) o)->b; break;
        case OBJECT_TRANSACTION: ((struct transaction *) o)->old = ((struct transaction *) o)->b; break;
        case OBJECT_PARAMETER: ((struct parameter *) o)->old = ((struct parameter *) o)->b; break;
        }
}

void ulv_touch_new(struct ulv_ledger *l, struct object *o) {
        o->created = true;
        ulv_touch(l, o);
}

int ulv_set_string(char **field, const char *old, const char *value) {
        char *s = NULL;

        if (*value) {
                s = strdup(value);
                if (!s)
                        return -ENOMEM;
        }
        /* The one that the step found stays until commit or rollback; one set in between goes. */
        if (*field != old)
                free(*field);
        *field = s;
        return 0;
}

/* --- transactions that wait ------------------------------------------------------------------------------ */

bool ulv_waits_any(const struct waits *w) { return w->t[0]; }
bool ulv_waits_full(const struct waits *w) { return w->t[ULV_WAITS_MAX - 1]; }

void ulv_transaction_hold(struct ulv_ledger *l, struct transaction *t) {
        ulv_touch(l, &t->o);
        t->b.waits++;
}

void ulv_transaction_release(struct ulv_ledger *l, struct transaction *t, bool undone) {
        ulv_touch(l, &t->o);
        t->b.waits--;
        t->b.undone |= undone;
}

bool ulv_waits_add(struct ulv_ledger *l, struct waits *w, struct transaction *t) {
        for (size_t i = 0; i < ULV_WAITS_MAX; i++) {
                if (w->t[i] == t)
                        return true;
                if (w->t[i])
                        continue;
                w->t[i] = t;
                ulv_transaction_hold(l, t);
                return true;
        }
        return false;
}

void ulv_waits_release(struct ulv_ledger *l, struct waits *w, bool undone) {
        for (size_t i = 0; i < ULV_WAITS_MAX; i++)
                if (w->t[i])
                        ulv_transaction_release(l, w->t[i], undone);
        *w = (struct waits) {};
}

/* --- going away ------------------------------------------------------------------------------------------ */

void ulv_object_free(struct object *o) {
        switch (o->type) {
        case OBJECT_RESOURCE:
                free(((struct resource *) o)->id);
                free(((struct resource *) o)->key);
                free(((struct resource *) o)->b.threads);
                free(((struct resource *) o)->b.attrs);
                break;
        case OBJECT_PARTITION:
                free(((struct partition *) o)->b.text);
                free(((struct partition *) o)->b.extra);
                break;
        case OBJECT_TRANSACTION:
                free(((struct transaction *) o)->subject);
                break;
        case OBJECT_PARAMETER:
                free(((struct parameter *) o)->key);
                free(((struct parameter *) o)->b.value);
                break;
        case OBJECT_HOLDING:
        case OBJECT_TRANSFER:
                break;
        }
        free(o);
}

/* --- the end of a step -------------------------------------------------------------------------------------- */

bool ulv_holding_has_row(const struct holding *h) {
        return h->b.amount > 0 || (h->key.r->kind == KIND_MEMORY && ulv_streq(h->key.p->name, "idle"));
}

bool ulv_holding_is_empty(const struct holding *h) { return !ulv_holding_has_row(h) && h->b.in == 0; }

static bool is_over(const struct object *o) {
        switch (o->type) {
        case OBJECT_RESOURCE: return false;     /* a uid range that nobody has costs little */
        case OBJECT_PARTITION: return ((const struct partition *) o)->b.gone;
        case OBJECT_HOLDING: return ulv_holding_is_empty((const struct holding *) o);
        case OBJECT_TRANSFER: return ((const struct transfer *) o)->b.amount == 0;
        case OBJECT_TRANSACTION: return ((const struct transaction *) o)->b.waits == 0;
        case OBJECT_PARAMETER: return ((const struct parameter *) o)->b.gone;
        }
        return false;
}

static void mark_view(struct ulv_ledger *l, struct partition *p) {
        if (p->view_changed || p->infra)
                return;
        p->view_changed = true;
        DL_APPEND2(l->view_changed, p, view_prev, view_next);
}

/* What becomes of one end of a channel stands in the view of who has the other. */
static void mark_other_end(struct ulv_ledger *l, const struct holding *h) {
        const struct holding *other = h->key.r->kind == KIND_CHANNEL ? ulv_channel_other(l, h->key.r) : NULL;

        if (other)
                mark_view(l, other->key.p);
}

static void unmark_view(struct ulv_ledger *l, struct partition *p) {
        if (p->view_changed)
                DL_DELETE2(l->view_changed, p, view_prev, view_next);
        p->view_changed = false;
}

/* Out of every table and list by which it is found, but not freed. */
static void unlink_object(struct ulv_ledger *l, struct object *o) {
        switch (o->type) {
        case OBJECT_RESOURCE: {
                struct resource *r = (struct resource *) o;
                size_t at = 0;

                HASH_DEL(l->resources, r);
                while (l->sorted[r->kind].v[at] != r)
                        at++;
                l->sorted[r->kind].n--;
                memmove(l->sorted[r->kind].v + at, l->sorted[r->kind].v + at + 1, (l->sorted[r->kind].n - at) * sizeof(r));
                break;
        }
        case OBJECT_PARTITION: {
                struct partition *p = (struct partition *) o;
                size_t at = ulv_partition_place(l, p->name);

                HASH_DEL(l->partitions, p);
                l->by_name.n--;
                memmove(l->by_name.v + at, l->by_name.v + at + 1, (l->by_name.n - at) * sizeof(*l->by_name.v));
                unmark_view(l, p);
                break;
        }
        case OBJECT_HOLDING: {
                struct holding *h = (struct holding *) o;

                l->unused |= ulv_is_attachment(h->key.r->kind) || h->key.r->kind == KIND_CHANNEL;
                HASH_DEL(l->holdings, h);
                DL_DELETE2(h->key.p->holdings, h, p_prev, p_next);
                DL_DELETE2(h->key.r->holdings, h, r_prev, r_next);
                break;
        }
        case OBJECT_TRANSFER: {
                struct transfer *t = (struct transfer *) o;

                HASH_DEL(l->transfers, t);
                DL_DELETE2(t->from->out, t, p_prev, p_next);
                DL_DELETE2(t->r->transfers, t, r_prev, r_next);
                break;
        }
        case OBJECT_TRANSACTION: {
                struct transaction *t = (struct transaction *) o;

                HASH_DEL(l->transactions, t);
                break;
        }
        case OBJECT_PARAMETER: {
                struct parameter *p = (struct parameter *) o;

                HASH_DEL(l->parameters, p);
                break;
        }
        }
        if (o->dirty)
                DL_DELETE(l->dirty, o);
        o->dirty = false;
}

/* Drops the strings of the body that loses. */
static void drop_strings(struct object *o, bool keep_new) {
        if (o->type == OBJECT_RESOURCE) {
                struct resource *r = (struct resource *) o;

                if (r->b.threads != r->old.threads)
                        free(keep_new ? r->old.threads : r->b.threads);
                if (r->b.attrs != r->old.attrs)
                        free(keep_new ? r->old.attrs : r->b.attrs);
        } else if (o->type == OBJECT_PARTITION) {
                struct partition *p = (struct partition *) o;

                if (p->b.text != p->old.text)
                        free(keep_new ? p->old.text : p->b.text);
                if (p->b.extra != p->old.extra)
                        free(keep_new ? p->old.extra : p->b.extra);
        } else if (o->type == OBJECT_PARAMETER) {
                struct parameter *p = (struct parameter *) o;

                if (p->b.value != p->old.value)
                        free(keep_new ? p->old.value : p->b.value);
        }
}

static void restore(struct object *o) {
        drop_strings(o, false);
        switch (o->type) {
        case OBJECT_RESOURCE: ((struct resource *) o)->b = ((struct resource *) o)->old; break;
        case OBJECT_PARTITION: ((struct partition *) o)->b = ((struct partition *) o)->old; break;
        case OBJECT_HOLDING: ((struct holding *) o)->b = ((struct holding *) o)->old; break;
        case OBJECT_TRANSFER: ((struct transfer *) o)->b = ((struct transfer *) o)->old; break;
        case OBJECT_TRANSACTION: ((struct transaction *) o)->b = ((struct transaction *) o)->old; break;
        case OBJECT_PARAMETER: ((struct parameter *) o)->b = ((struct parameter *) o)->old; break;
        }
}

/* Takes the touched list away; the caller walks it with next_touched(). */
static struct object *take_touched(struct ulv_ledger *l) {
        struct object *o = l->touched;

        l->touched = l->touched_last = NULL;
        l->pool_stale = l->pool_told = false;
        return o;
}

static void commit_object(struct ulv_ledger *l, struct object *o, bool created) {
        struct partition *viewer = o->type == OBJECT_PARTITION ? (struct partition *) o
                                 : o->type == OBJECT_HOLDING ? ((struct holding *) o)->key.p : NULL;

        if (o->type == OBJECT_RESOURCE)
                return;
        if (viewer && !viewer->b.gone)
                mark_view(l, viewer);
        if (o->type == OBJECT_HOLDING)
                mark_other_end(l, (struct holding *) o);
        if (!is_over(o)) {
                if (!o->dirty)
                        DL_APPEND(l->dirty, o);
                o->dirty = true;
                return;
        }
        unlink_object(l, o);
        if (o->type == OBJECT_TRANSACTION && !created) {
                struct transaction *t = (struct transaction *) o;

                t->settled = true;
                DL_APPEND2(l->settled, t, s_prev, s_next);
        }
        o->parked = o->told;
        if (o->parked)
                DL_APPEND(l->gone, o);
}

static bool is_unused(const struct object *o) {
        return !o->parked && !(o->type == OBJECT_TRANSACTION && ((const struct transaction *) o)->settled);
}

void ulv_commit(struct ulv_ledger *l) {
        struct object *o, *next, *dead = NULL;

        if (l->pool_told)
                for (struct holding *h = l->sorted[KIND_SHARE].v[0]->holdings; h; h = h->r_next)
                        mark_view(l, h->key.p);
        /* Holdings point to their partitions, so nothing is freed before all are through. */
        for (o = take_touched(l); o; o = next) {
                bool created = o->created;

                next = o->touched_next;
                o->touched = o->created = false;
                drop_strings(o, true);
                commit_object(l, o, created);
                if (is_over(o) && is_unused(o)) {
                        o->touched_next = dead;
                        dead = o;
                }
        }
        for (o = dead; o; o = next) {
                next = o->touched_next;
                ulv_object_free(o);
        }
        l->ledger_dirty = true;
        l->old = l->c;
}

void ulv_rollback(struct ulv_ledger *l) {
        struct object *o, *next, *dead = NULL;

        for (o = take_touched(l); o; o = next) {
                next = o->touched_next;
                restore(o);
                if (o->created) {
                        unlink_object(l, o);
                        o->touched_next = dead;
                        dead = o;
                }
                o->touched = o->created = false;
        }
        for (o = dead; o; o = next) {
                next = o->touched_next;
                ulv_object_free(o);
        }
        l->c = l->old;
}

/* Channels, mounts and devices that nobody has. Names of uid ranges are few; of these there is no end. Nothing that was
 * told points to them any more. */
static void free_unused(struct ulv_ledger *l) {
        static const enum kind kinds[] = { KIND_CHANNEL, KIND_MOUNT, KIND_DEVICE, KIND_DISK };

        l->unused = false;
        for (size_t k = 0; k < ULV_ARRAY_SIZE(kinds); k++)
                for (size_t i = l->sorted[kinds[k]].n; i-- > 0; ) {
                        struct resource *r = l->sorted[kinds[k]].v[i];

                        if (r->holdings || r->transfers)
                                continue;
                        unlink_object(l, &r->o);
                        ulv_object_free(&r->o);
                }
}

void ulv_changes_told(struct ulv_ledger *l) {
        struct object *o, *next;

        DL_FOREACH_SAFE(l->dirty, o, next) {
                DL_DELETE(l->dirty, o);
                o->dirty = false;
                o->told = o->type != OBJECT_HOLDING || ulv_holding_has_row((struct holding *) o);
        }
        DL_FOREACH_SAFE(l->gone, o, next) {
                DL_DELETE(l->gone, o);
                o->parked = false;
                if (is_unused(o))
                        ulv_object_free(o);
        }
        l->ledger_dirty = l->inventory_dirty = false;
        if (l->unused)
                free_unused(l);
}

void ulv_settled_told(struct ulv_ledger *l) {
        struct transaction *t, *next;

        DL_FOREACH_SAFE2(l->settled, t, next, s_next) {
                DL_DELETE2(l->settled, t, s_prev, s_next);
                t->settled = false;
                if (is_unused(&t->o))
                        ulv_object_free(&t->o);
        }
}

void ulv_forget_changes(struct ulv_ledger *l) {
        ulv_changes_told(l);
        ulv_settled_told(l);
        while (l->view_changed)
                unmark_view(l, l->view_changed);
}

const char *ulv_ledger_next_changed_view(struct ulv_ledger *l) {
        while (l->view_changed) {
                struct partition *p = l->view_changed;

                unmark_view(l, p);
                if (ulv_is_live(p))
                        return p->name;
        }
        return NULL;
}
