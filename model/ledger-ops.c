/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The operations of a transaction: what is wanted, and who owns. Each writes the line that takes it back
 * into s->undo (the step turns the lines round). */

#include "model/attachment.h"
#include "model/ledger-internal.h"

static int invalid(struct step *s, const struct ulv_op *op, const char *why) {
        ulv_refuse(s, ULV_REFUSED_INVALID, "cannot %s %s %s", op->verb, op->kind, op->id);
        ulv_diag_why(s->reterr, "%s", why);
        return ULV_REFUSED_INVALID;
}

static int unknown(struct step *s, const char *what, const char *name) {
        ulv_refuse(s, ULV_REFUSED_UNKNOWN, "no %s %s", what, name);
        ulv_diag_why(s->reterr, "the ledger has no such row");
        ulv_diag_try(s->reterr, "%s", ulv_streq(what, "partition") ? "uvctl list -a" : "uvctl resources -o wide");
        return ULV_REFUSED_UNKNOWN;
}

/* A connection acts within its zone; `default` is the host's own and acts everywhere. */
static int check_zone(struct step *s, const struct ulv_op *op, const char *name, const char *zone) {
        if (ulv_streq(s->t->zone, "default") || ulv_streq(s->t->zone, zone))
                return 0;
        ulv_refuse(s, ULV_REFUSED_ZONE, "cannot %s %s %s", op->verb, op->kind, op->id);
        ulv_diag_why(s->reterr, "%s is in zone %s, and the transaction comes from zone %s", name, zone, s->t->zone);
        ulv_diag_try(s->reterr, "the administrator of zone %s", zone);
        return ULV_REFUSED_ZONE;
}

/* --- definitions --------------------------------------------------------------------------------------- */

static int copy_word(struct step *s, const struct ulv_op *op, const char *key, const char *fallback, char *ret, size_t size) {
        const char *value = ulv_op_get(op, key);

        value = value ? value : fallback;
        if (!ulv_name_is_valid(value) || !ulv_copy(ret, size, value)) {
                ulv_refuse(s, ULV_REFUSED_INVALID, "cannot define partition %s", op->id);
                ulv_diag_why(s->reterr, "%s=%s is not a word of a-z 0-9 - with at most %zu bytes", key, value, size - 1);
                return ULV_REFUSED_INVALID;
        }
        return 0;
}

/* (What this transaction made itself, finish_undo() of the step takes back.) */
static void undo_define(struct step *s, const struct partition *p) {
        if (p->o.created)
                return;
        ulv_op_begin(&s->undo, "define", "partition", p->name, "-");
        ulv_op_add(&s->undo, "zone", p->b.zone);
        ulv_op_add(&s->undo, "type", p->b.type);
        ulv_op_add(&s->undo, "role", p->b.role);
        ulv_op_add(&s->undo, "text", p->b.text ? p->b.text : "");
        ulv_op_end(&s->undo);
}

static int check_define(struct step *s, const struct ulv_op *op) {
        const char *text = ulv_op_get(op, "text");

        if (!ulv_name_is_valid(op->id))
                return invalid(s, op, "a name has 1 to 63 of a-z 0-9 -, and doesn't begin with -");
        if (ulv_name_is_reserved(op->id))
                return invalid(s, op, "the name is the ultravisor's own");
        if (ulv_streq0(ulv_op_get(op, "role"), "infrastructure"))
                return invalid(s, op, "role infrastructure is the ultravisor's own");
        for (unsigned i = 0; i < op->n_kv; i++)
                if (!ulv_streq(op->kv[i].key, "zone") && !ulv_streq(op->kv[i].key, "type") &&
                    !ulv_streq(op->kv[i].key, "role") && !ulv_streq(op->kv[i].key, "text"))
                        return invalid(s, op, "its keys are zone= type= role= text=");
        if (text && strlen(text) > ULV_DEFINITION_MAX) {
                ulv_refuse(s, ULV_REFUSED_LIMIT, "cannot define partition %s", op->id);
                ulv_diag_why(s->reterr, "its text has more than %d bytes", ULV_DEFINITION_MAX);
                return ULV_REFUSED_LIMIT;
        }
        return 0;
}

static int make_partition(struct step *s, const struct ulv_op *op, struct partition **ret) {
        struct partition *p;

        if (s->l->c.n_partitions >= ULV_PARTITIONS_MAX) {
                ulv_refuse(s, ULV_REFUSED_LIMIT, "cannot define partition %s", op->id);
                ulv_diag_why(s->reterr, "%d partitions are the most", ULV_PARTITIONS_MAX);
                ulv_diag_try(s->reterr, "uvctl remove one that isn't needed");
                return ULV_REFUSED_LIMIT;
        }
        /* One that this transaction removed comes back as itself. */
        HASH_FIND(hh, s->l->partitions, op->id, strlen(op->id), p);
        if (p) {
                char *text = p->b.text, *extra = p->b.extra;

                p->b = (struct partition_body) { .text = text, .extra = extra };
                if (ulv_set_string(&p->b.extra, p->old.extra, "") < 0)
                        return -ENOMEM;
        } else {
                p = ulv_add_partition(s->l, op->id);
                if (!p)
                        return -ENOMEM;
        }
        p->b.state = p->b.wanted = ULV_DEFINED;
        p->b.since = s->t->now;
        s->l->c.n_partitions++;
        *ret = p;
        return 0;
}

static int op_define(struct step *s, const struct ulv_op *op) {
        char zone[sizeof(((struct partition_body *) 0)->zone)], type[16], role[16];
        struct partition *p = ulv_find_partition(s->l, op->id);
        const char *text = ulv_op_get(op, "text");
        int r;

        r = check_define(s, op);
        if (r == 0)
                r = copy_word(s, op, "zone", p ? p->b.zone : "default", zone, sizeof(zone));
        if (r == 0)
                r = copy_word(s, op, "type", p ? p->b.type : "", type, sizeof(type));
        if (r == 0)
                r = copy_word(s, op, "role", p ? p->b.role : "guest", role, sizeof(role));
        if (r == 0)
                r = check_zone(s, op, op->id, zone);
        if (r == 0 && p)
                r = check_zone(s, op, op->id, p->b.zone);
        if (r != 0)
                return r;
        if (p && ulv_is_live(p) && (!ulv_streq(zone, p->b.zone) || !ulv_streq(type, p->b.type) || !ulv_streq(role, p->b.role))) {
                ulv_refuse(s, ULV_REFUSED_STATE, "cannot change zone, type or role of %s", p->name);
                ulv_diag_why(s->reterr, "it is %s", ulv_state_name(p->b.state));
                ulv_diag_try(s->reterr, "uvctl stop %s, then again", p->name);
                return ULV_REFUSED_STATE;
        }
        if (p) {
                undo_define(s, p);
                ulv_touch(s->l, &p->o);
        } else {
                r = make_partition(s, op, &p);
                if (r != 0)
                        return r;
        }
        (void) ulv_copy(p->b.zone, sizeof(p->b.zone), zone);
        (void) ulv_copy(p->b.type, sizeof(p->b.type), type);
        (void) ulv_copy(p->b.role, sizeof(p->b.role), role);
        return ulv_set_string(&p->b.text, p->old.text, text ? text : "");
}

/* A partition that is named by an operation, and that people may define. */
static int find_guest(struct step *s, const struct ulv_op *op, struct partition **ret) {
        struct partition *p = ulv_find_partition(s->l, op->id);
        int r;

        if (!p)
                return unknown(s, "partition", op->id);
        if (p->infra)
                return invalid(s, op, "it is infrastructure, which the ultravisor keeps itself");
        r = check_zone(s, op, p->name, p->b.zone);
        if (r != 0)
                return r;
        *ret = p;
        return 0;
}

static int op_remove(struct step *s, const struct ulv_op *op) {
        struct partition *p;
        int r;

        r = find_guest(s, op, &p);
        if (r != 0)
                return r;
        if (ulv_is_live(p)) {
                ulv_refuse(s, ULV_REFUSED_STATE, "cannot remove %s", p->name);
                ulv_diag_why(s->reterr, "it is %s", ulv_state_name(p->b.state));
                ulv_diag_try(s->reterr, "uvctl stop %s, then again", p->name);
                return ULV_REFUSED_STATE;
        }
        undo_define(s, p);
        ulv_touch(s->l, &p->o);
        p->b.gone = true;
        s->l->c.n_partitions--;
        return 0;
}

/* --- resources ------------------------------------------------------------------------------------------- */

int ulv_op_resource(struct step *s, const struct ulv_op *op, struct resource **ret) {
        int kind = ulv_kind_from_name(op->kind);
        struct resource *r;

        if (kind < 0)
                return invalid(s, op, "no such kind of resource");
        r = ulv_find_resource(s->l, (enum kind) kind, op->id);
        if (!r && ulv_may_be_made(s->l, kind, op->id)) {
                r = ulv_add_resource(s->l, (enum kind) kind, op->id);
                if (!r)
                        return -ENOMEM;
        }
        if (!r)
                return unknown(s, ulv_kinds[kind].noun, op->id);
        *ret = r;
        return 0;
}

int ulv_op_amount(struct step *s, const struct ulv_op *op, const struct resource *r, uint64_t *ret) {
        uint64_t n = 1;
        int q;

        q = ulv_op_get_u64(op, "amount", &n);
        if (q < 0)
                return invalid(s, op, "amount= must be a number");
        if (ulv_kinds[r->kind].unit ? n != 1 : q > 0 || n == 0)
                return invalid(s, op, ulv_kinds[r->kind].unit ? "the amount of a unit is 1" : "it needs amount=N, more than 0");
        *ret = n;
        return 0;
}

/* An owner named by an operation, that this connection may act on. */
static int find_owner(struct step *s, const struct ulv_op *op, const char *name, struct partition **ret) {
        struct partition *p = ulv_find_partition(s->l, name);
        int r;

        if (!p)
                return unknown(s, "partition", name);
        r = p == s->l->infra[INFRA_IDLE] ? 0 : check_zone(s, op, p->name, p->b.zone);
        if (r != 0)
                return r;
        *ret = p;
        return 0;
}

static void write_shift(struct step *s, const char *verb, const struct resource *r, const struct partition *owner, const char *key,
                        const struct partition *other, uint64_t n) {
        ulv_op_begin(&s->undo, verb, ulv_kinds[r->kind].name, r->id, owner->name);
        if (other)
                ulv_op_add(&s->undo, key, other->name);
        if (!ulv_kinds[r->kind].unit)
                ulv_op_add_u64(&s->undo, "amount", n);
        ulv_op_end(&s->undo);
}

/* A channel's end is claimed again with all that was said of it. */
static void undo_channel(struct step *s, const struct resource *r, const struct partition *owner) {
        ulv_op_begin(&s->undo, "claim", "channel", r->id, owner->name);
        ulv_row_attrs(&s->undo, r);
        ulv_op_end(&s->undo);
}

static void undo_shift(struct step *s, const struct resource *r, const struct partition *from, const struct partition *to, uint64_t n) {
        const struct partition *idle = s->l->infra[INFRA_IDLE];

        if (from == idle)
                write_shift(s, "release", r, to, NULL, NULL, n);
        else if (to == idle && r->kind == KIND_CHANNEL)
                undo_channel(s, r, from);
        else if (to == idle)
                write_shift(s, "claim", r, from, NULL, NULL, n);
        else
                write_shift(s, "move", r, to, "to", from, n);
}

/* A limit is a partition's, or nobody's; and no sum of them runs over. */
static int check_limit(struct step *s, const struct ulv_op *op, const struct resource *r, const struct partition *from, const struct partition *to, uint64_t n) {
        const struct partition *idle = s->l->infra[INFRA_IDLE];
        const struct holding *h = ulv_find_holding(s->l, r, to);

        if (!(from == idle && !to->infra) && !(to == idle && !from->infra))
                return invalid(s, op, "a limit is set for a partition (claim), or taken from it (release)");
        if (n > ULV_LIMIT_AMOUNT_MAX || (h && h->b.amount + n > ULV_LIMIT_AMOUNT_MAX))
                return invalid(s, op, "that is more than any limit can be");
        return 0;
}

/* Detached whoever uses it: said to the monitor with the transfer. */
static void force_out(struct step *s, const struct resource *r, struct partition *from) {
        for (struct transfer *t = from->out; t; t = t->p_next)
                if (t->r == r && t->b.amount > 0) {
                        ulv_touch(s->l, &t->o);
                        t->b.force = true;
                }
}

/* claim KIND ID OWNER [from=], release KIND ID OWNER [to=], move KIND ID OWNER to= */
static int op_shift(struct step *s, const struct ulv_op *op) {
        bool claim = ulv_streq(op->verb, "claim"), move = ulv_streq(op->verb, "move");
        const char *other_key = claim ? "from" : "to", *other_name = ulv_op_get(op, other_key);
        struct partition *owner, *other, *from, *to;
        struct resource *res;
        uint64_t n;
        int r;

        for (unsigned i = 0; i < op->n_kv; i++)
                if (!(claim && ulv_streq(op->kind, "channel")) && !ulv_streq(op->kv[i].key, other_key) && !ulv_streq(op->kv[i].key, "amount") && (claim || move || !ulv_streq(op->kv[i].key, "force")))
                        return invalid(s, op, claim ? "its keys are from= and amount=" : "its keys are to=, amount= and, of a release, force=");
        if (move && !other_name)
                return invalid(s, op, "it needs to=OWNER");
        r = ulv_op_resource(s, op, &res);
        if (r == 0)
                r = ulv_op_amount(s, op, res, &n);
        if (r == 0)
                r = find_owner(s, op, op->owner, &owner);
        if (r == 0)
                r = find_owner(s, op, other_name ? other_name : "idle", &other);
        if (r != 0)
                return r;
        if (owner == other)
                return invalid(s, op, "from and to are the same owner");
        from = claim ? other : owner;
        to = claim ? owner : other;
        if (ulv_is_attachment(res->kind) && ulv_attachment_owner(res->id) && to != s->l->infra[INFRA_IDLE] &&
            !ulv_streq(to->name, ulv_attachment_owner(res->id)))
                return invalid(s, op, "what its name has behind the @ is the only one who may have it");
        if (res->kind == KIND_SHARE && (to == s->l->infra[INFRA_HOST] || to == s->l->infra[INFRA_POOL]))
                return invalid(s, op, "a share is given to a partition, or back to idle");
        if (res->kind == KIND_LIMIT && (r = check_limit(s, op, res, from, to, n)) != 0)
                return r;
        if (res->kind == KIND_CHANNEL && (r = ulv_channel_claim(s, op, res, from, to)) != 0)
                return r;
        r = ulv_shift(s, res, from, to, n);
        if (r == 0 && ulv_streq0(ulv_op_get(op, "force"), "yes"))
                force_out(s, res, from);
        if (r == 0)
                undo_shift(s, res, from, to, n);
        return r;
}

/* --- states ------------------------------------------------------------------------------------------------- */

static bool is_state_key(const char *key) {
        return ulv_streq(key, "state") || ulv_streq(key, "incarnation");
}

static int set_extra(struct step *s, const struct ulv_op *op, struct partition *p) {
        _cleanup_strbuf_ struct ulv_strbuf extra = { .max = 4096 };
        int r;

        for (unsigned i = 0; i < op->n_kv; i++)
                if (!is_state_key(op->kv[i].key) && ulv_is_partition_key(op->kv[i].key))
                        return invalid(s, op, "one of its keys is a key of the row");
        r = ulv_extra_keys(op, is_state_key, &extra);
        if (r == -E2BIG)
                return invalid(s, op, "its extra keys are too long");
        if (r < 0)
                return r;
        return ulv_set_string(&p->b.extra, p->old.extra, ulv_strbuf_str(&extra));
}

static int refuse_state(struct step *s, const struct partition *p, enum ulv_state to) {
        bool live = ulv_is_live(p);

        ulv_refuse(s, ULV_REFUSED_STATE, "cannot bring %s to %s", p->name, ulv_state_name(to));
        if (s->reterr && live)
                s->reterr->code = ULV_EXIT_CONFLICT;
        ulv_diag_why(s->reterr, "it is %s%s", ulv_state_name(p->b.state), to == ULV_STARTING && live ? " already" : "");
        if (!live)
                ulv_diag_try(s->reterr, "uvctl start %s", p->name);
        else if (p->b.state == ULV_STOPPING)
                ulv_diag_try(s->reterr, "uvctl status %s, and again when it is stopped", p->name);
        else
                ulv_diag_try(s->reterr, "uvctl status %s", p->name);
        return ULV_REFUSED_STATE;
}

static int op_starting(struct step *s, struct partition *p) {
        if (!ulv_state_may(p->b.state, ULV_STARTING))
                return refuse_state(s, p, ULV_STARTING);
        ulv_set_state(s, p, ULV_STARTING);
        p->b.wanted = ULV_RUNNING;
        p->b.incarnation = ++s->l->c.incarnation;
        p->b.result[0] = 0;
        return 0;
}

/* Pausing and resuming: wanted at once, reached by the monitor's report. */
static int op_pausing(struct step *s, struct partition *p, bool pause) {
        enum ulv_state to = pause ? ULV_PAUSING : ULV_RUNNING;

        if (p->b.state != ULV_PAUSING && (pause ? !ulv_state_may(p->b.state, ULV_PAUSING) : p->b.state != ULV_PAUSED))
                return refuse_state(s, p, to);
        if (pause)
                ulv_set_state(s, p, ULV_PAUSING);
        p->b.wanted = pause ? ULV_PAUSED : ULV_RUNNING;
        return 0;
}

static int op_stopping(struct step *s, struct partition *p) {
        if (p->b.state != ULV_STOPPING && !ulv_state_may(p->b.state, ULV_STOPPING))
                return refuse_state(s, p, ULV_STOPPING);
        ulv_set_state(s, p, ULV_STOPPING);
        p->b.wanted = ULV_DEFINED;
        return 0;
}

/* What has ended by itself isn't wanted any more. */
static int op_settled(struct step *s, struct partition *p) {
        if (ulv_is_live(p))
                return refuse_state(s, p, ULV_DEFINED);
        ulv_set_state(s, p, ULV_DEFINED);
        p->b.wanted = ULV_DEFINED;
        return 0;
}

/* Was it made something else in this transaction? Then its start can't be taken back together with that:
 * a partition that stops can't become something else yet. */
static bool is_remade(const struct partition *p) {
        return !p->o.created && (!ulv_streq(p->b.zone, p->old.zone) || !ulv_streq(p->b.type, p->old.type) || !ulv_streq(p->b.role, p->old.role));
}

static void undo_state(struct step *s, const struct partition *p, enum ulv_state to, enum ulv_state was_wanted) {
        if (to == ULV_STOPPING || (to == ULV_STARTING && is_remade(p))) {
                s->no_undo = true;
                return;
        }
        if (to != ULV_STARTING && p->b.wanted == was_wanted)
                return;
        ulv_op_begin(&s->undo, "state", "partition", p->name, "-");
        ulv_op_add(&s->undo, "state", ulv_state_name(to == ULV_STARTING ? ULV_STOPPING : to == ULV_PAUSING ? ULV_RUNNING : ULV_PAUSING));
        ulv_op_end(&s->undo);
}

static int op_state(struct step *s, const struct ulv_op *op) {
        const char *name = ulv_op_get(op, "state");
        enum ulv_state to = ulv_state_from_name(name ? name : ""), before, was_wanted;
        struct partition *p;
        int r;

        r = find_guest(s, op, &p);
        if (r != 0)
                return r;
        before = p->b.state;
        was_wanted = p->b.wanted;
        ulv_touch(s->l, &p->o);
        switch ((int) to) {
        case ULV_STARTING: r = op_starting(s, p); break;
        case ULV_STOPPING: r = op_stopping(s, p); break;
        case ULV_PAUSING: r = op_pausing(s, p, true); break;
        case ULV_RUNNING: r = op_pausing(s, p, false); break;
        case ULV_DEFINED: r = op_settled(s, p); break;
        default: return invalid(s, op, "state= must be starting, stopping, pausing, running or defined");
        }
        if (r == 0)
                r = set_extra(s, op, p);
        if (r != 0)
                return r;
        if (to == ULV_DEFINED) {        /* reached already; nothing of it can be taken back */
                s->no_undo = true;
                return 0;
        }
        /* Who waits for another state than this waits in vain. */
        if (to != ULV_STOPPING || before != ULV_STOPPING)
                ulv_waits_release(s->l, &p->b.waits, true);
        if (!ulv_waits_add(s->l, &p->b.waits, s->txn)) {
                ulv_refuse(s, ULV_REFUSED_CONFLICT, "cannot bring %s to %s", p->name, ulv_state_name(to));
                ulv_diag_why(s->reterr, "%d transactions wait for that already", ULV_WAITS_MAX);
                ulv_diag_try(s->reterr, "uvctl status %s", p->name);
                return ULV_REFUSED_CONFLICT;
        }
        undo_state(s, p, to, was_wanted);
        return 0;
}

/* --- parameters ------------------------------------------------------------------------------------------------ */

static int check_parameter(struct step *s, const struct ulv_op *op, const char *value) {
        uint64_t n;

        if (strlen(op->id) > 64 || ulv_streq(op->id, "-") || strspn(op->id, "abcdefghijklmnopqrstuvwxyz0123456789.-") != strlen(op->id))
                return invalid(s, op, "a key has 1 to 64 of a-z 0-9 . -");
        if (op->n_kv > (value ? 1u : 0u))
                return invalid(s, op, "its key is value=");
        if (!value)
                return 0;
        if (strlen(value) > ULV_PARAMETER_VALUE_MAX)
                return invalid(s, op, "the value is too long");
        if (ulv_streq(op->id, "pool.source") && !ulv_streq(value, "host") && !ulv_streq(value, "pool"))
                return invalid(s, op, "its value is host or pool");
        if (ulv_streq(op->id, "pool.overcommit") && (ulv_uint_parse(value, 1000000, &n) < 0 || n < 1000))
                return invalid(s, op, "its value is a number from 1000 (none) to 1000000");
        return 0;
}

static int op_set(struct step *s, const struct ulv_op *op) {
        const char *value = ulv_op_get(op, "value");
        struct parameter *p;
        int r;

        r = check_zone(s, op, "every parameter", "default");
        if (r == 0)
                r = check_parameter(s, op, value);
        if (r != 0)
                return r;
        p = ulv_find_parameter(s->l, op->id);
        ulv_op_begin(&s->undo, "set", "parameter", op->id, "-");
        if (p)
                ulv_op_add(&s->undo, "value", p->b.value ? p->b.value : "");
        ulv_op_end(&s->undo);
        if (!p && !value)
                return 0;
        if (!p && s->l->c.n_parameters >= ULV_PARAMETERS_MAX) {
                ulv_refuse(s, ULV_REFUSED_LIMIT, "cannot set parameter %s", op->id);
                ulv_diag_why(s->reterr, "%d parameters are the most", ULV_PARAMETERS_MAX);
                return ULV_REFUSED_LIMIT;
        }
        if (!p)
                s->l->c.n_parameters++;
        p = ulv_need_parameter(s->l, op->id);
        if (!p)
                return -ENOMEM;
        p->b.gone = !value;
        if (!value)
                s->l->c.n_parameters--;
        if (ulv_startswith(op->id, "pool."))
                s->l->pool_stale = s->l->pool_told = true;
        return ulv_set_string(&p->b.value, p->old.value, value ? value : "");
}

/* --- the table -------------------------------------------------------------------------------------------------- */

int ulv_run_transaction_op(struct step *s, const struct ulv_op *op) {
        static const struct { const char *verb, *kind; bool owner; int (*f)(struct step *s, const struct ulv_op *op); } table[] = {
                { "define", "partition", false, op_define }, { "remove", "partition", false, op_remove },
                { "claim", NULL, true, op_shift }, { "release", NULL, true, op_shift }, { "move", NULL, true, op_shift },
                { "state", "partition", false, op_state }, { "set", "parameter", false, op_set },
        };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(table); i++) {
                if (!ulv_streq(table[i].verb, op->verb))
                        continue;
                if (table[i].kind && !ulv_streq(table[i].kind, op->kind))
                        return invalid(s, op, "that verb is for another kind");
                if (table[i].owner == ulv_streq(op->owner, "-"))
                        return invalid(s, op, table[i].owner ? "it needs an owner" : "it takes no owner");
                return table[i].f(s, op);
        }
        return invalid(s, op, "not an operation of a transaction");
}
