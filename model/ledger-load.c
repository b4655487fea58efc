/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Rows read: a whole ledger, or the changes of an event stream into a mirror. Both put rows in, in three
 * passes (a holding needs its owner, a transfer its holdings), then take `gone` ones out; both run inside
 * the frame of a step, so that a bad row leaves nothing behind. */

#include "model/ledger-internal.h"

enum { PASS_NAMES, PASS_HOLDINGS, PASS_TRANSFERS, PASS_GONE, PASS_GONE_NAMES, PASS_MAX_ };

int ulv_bad_row(struct loader *ld, const struct ulv_op *op, const char *why) {
        ulv_diag_what(ld->reterr, ULV_EXIT_FAILED, "not a row of a ledger: %s %s %s", op->verb, op->kind, op->id);
        ulv_diag_why(ld->reterr, "line %u: %s", ld->line, why);
        return 1;
}

/* An optional number; true if it is one or isn't there. */
bool ulv_row_number(const struct ulv_op *op, const char *key, uint64_t *v) {
        *v = 0;
        return ulv_op_get_u64(op, key, v) >= 0;
}

/* An optional word, copied into a field. */
bool ulv_row_word(const struct ulv_op *op, const char *key, char *field, size_t size) {
        const char *value = ulv_op_get(op, key);

        return ulv_copy(field, size, value ? value : "");
}

/* txn=ID,ID...: replaces w by what the row says. */
int ulv_read_waits(struct loader *ld, const struct ulv_op *op, struct waits *w) {
        const char *list = ulv_op_get(op, "txn");

        ulv_waits_release(ld->l, w, false);
        while (list && *list) {
                size_t n = strcspn(list, ",");
                struct transaction *t;
                char id[65];

                if (n >= sizeof(id))
                        return ulv_bad_row(ld, op, "txn= has an id that is too long");
                memcpy(id, list, n);
                id[n] = 0;
                t = ulv_find_transaction(ld->l, id);
                if (!t)
                        return ulv_bad_row(ld, op, "txn= names a transaction that isn't there");
                if (!ulv_waits_add(ld->l, w, t))
                        return ulv_bad_row(ld, op, "txn= names too many transactions");
                list += n + (list[n] == ',');
        }
        return 0;
}

/* --- names: ledger, inventory, partition, transaction, parameter ---------------------------------------- */

static int read_ledger(struct loader *ld, const struct ulv_op *op) {
        struct ulv_ledger *l = ld->l;

        if (!ulv_row_number(op, "generation", &l->c.generation) || !ulv_row_number(op, "incarnation", &l->c.incarnation) ||
            !ulv_row_number(op, "seq", &l->c.seq) || !ulv_row_word(op, "boot", l->boot, sizeof(l->boot)))
                return ulv_bad_row(ld, op, "a counter isn't a number");
        ld->has_ledger = true;
        return 0;
}

static int read_inventory(struct loader *ld, const struct ulv_op *op) {
        static const char *const kinds[] = { "real", "part", "imagined" };
        struct ulv_ledger *l = ld->l;
        const char *kind = ulv_op_get(op, "kind"), *uids = ulv_op_get(op, "uids"), *kvm = ulv_op_get(op, "kvm"), *dash;
        uint64_t first = 0, last = 0;
        char buf[16];
        size_t i = 0;

        while (i < ULV_ARRAY_SIZE(kinds) && !ulv_streq0(kind, kinds[i]))
                i++;
        if (i == ULV_ARRAY_SIZE(kinds))
                return ulv_bad_row(ld, op, "kind= must be real, part or imagined");
        dash = uids ? strchr(uids, '-') : NULL;
        if (!dash || (size_t) (dash - uids) >= sizeof(buf))
                return ulv_bad_row(ld, op, "uids= must be FIRST-LAST");
        memcpy(buf, uids, (size_t) (dash - uids));
        buf[dash - uids] = 0;
        if (ulv_uint_parse(buf, ULV_UID_RANGES, &first) < 0 || ulv_uint_parse(dash + 1, ULV_UID_RANGES, &last) < 0)
                return ulv_bad_row(ld, op, "uids= must be FIRST-LAST");
        if (!ulv_row_word(op, "name", l->inventory.name, sizeof(l->inventory.name)) ||
            !ulv_row_word(op, "prefix", l->inventory.prefix, sizeof(l->inventory.prefix)) ||
            !ulv_row_word(op, "controllers", l->inventory.controllers, sizeof(l->inventory.controllers)))
                return ulv_bad_row(ld, op, "a word is too long");
        for (char *s = l->inventory.controllers; (s = strchr(s, '+')); )
                *s = ' ';
        l->inventory.kind = (enum ulv_inventory_kind) i;
        l->inventory.uids_first = (unsigned) first;
        l->inventory.uids_last = (unsigned) last;
        l->inventory.kvm = ulv_streq0(kvm, "yes");
        return 0;
}

int ulv_read_partition_body(struct loader *ld, const struct ulv_op *op, struct partition *p) {
        const char *state = ulv_op_get(op, "state"), *wanted = ulv_op_get(op, "wanted"), *text = ulv_op_get(op, "text");
        _cleanup_strbuf_ struct ulv_strbuf extra = { .max = 8192 };
        int r;

        if (!ulv_row_word(op, "zone", p->b.zone, sizeof(p->b.zone)) || !ulv_row_word(op, "type", p->b.type, sizeof(p->b.type)) ||
            !ulv_row_word(op, "role", p->b.role, sizeof(p->b.role)) || !ulv_row_word(op, "contain", p->b.contain, sizeof(p->b.contain)) ||
            !ulv_row_word(op, "result", p->b.result, sizeof(p->b.result)) || !ulv_row_word(op, "build", p->b.build, sizeof(p->b.build)) ||
            !ulv_row_word(op, "ready", p->b.ready, sizeof(p->b.ready)))
                return ulv_bad_row(ld, op, "a word is too long");
        if (!ulv_row_number(op, "incarnation", &p->b.incarnation) || !ulv_row_number(op, "since", &p->b.since) ||
            !ulv_row_number(op, "leader", &p->b.leader) || !ulv_row_number(op, "start", &p->b.start))
                return ulv_bad_row(ld, op, "a number isn't one");
        p->b.state = ulv_state_from_name(state ? state : "");
        p->b.wanted = ulv_state_from_name(wanted ? wanted : "");
        if (p->b.state < 0 || p->b.wanted < 0)
                return ulv_bad_row(ld, op, "no such state");
        if (!p->infra && (!ulv_name_is_valid(p->b.zone) || ulv_streq(p->b.role, "infrastructure")))
                return ulv_bad_row(ld, op, "zone or role can't be that");
        if (text && strlen(text) > ULV_DEFINITION_MAX)
                return ulv_bad_row(ld, op, "the text is too long");
        r = ulv_extra_keys(op, ulv_is_partition_key, &extra);
        if (r < 0)
                return r == -E2BIG ? ulv_bad_row(ld, op, "its extra keys are too long") : r;
        r = ulv_set_string(&p->b.extra, p->old.extra, ulv_strbuf_str(&extra));
        if (r == 0)
                r = ulv_set_string(&p->b.text, p->old.text, text ? text : "");
        return r;
}

static int read_partition(struct loader *ld, const struct ulv_op *op) {
        struct partition *p = ulv_find_partition(ld->l, op->id);
        int r;

        if (!ulv_name_is_valid(op->id))
                return ulv_bad_row(ld, op, "not a name");
        if (!p) {
                if (ld->l->c.n_partitions >= ULV_PARTITIONS_MAX)
                        return ulv_bad_row(ld, op, "too many partitions");
                p = ulv_add_partition(ld->l, op->id);
                if (!p)
                        return -ENOMEM;
                ld->l->c.n_partitions++;
        }
        ulv_touch(ld->l, &p->o);
        r = ulv_read_partition_body(ld, op, p);
        p->o.told = true;
        return r;
}

/* The transactions that a partition waits for: after all of them are there. */
static int read_partition_waits(struct loader *ld, const struct ulv_op *op) {
        struct partition *p = ulv_find_partition(ld->l, op->id);

        ulv_touch(ld->l, &p->o);
        return ulv_read_waits(ld, op, &p->b.waits);
}

static int read_transaction(struct loader *ld, const struct ulv_op *op) {
        struct transaction *t = ulv_find_transaction(ld->l, op->id);
        const char *subject = ulv_op_get(op, "subject");

        if (strlen(op->id) > 64 || strchr(op->id, ','))
                return ulv_bad_row(ld, op, "not a transaction id");
        if (!t) {
                t = ulv_add_transaction(ld->l, op->id, subject ? subject : "");
                if (!t)
                        return -ENOMEM;
        }
        ulv_touch(ld->l, &t->o);
        t->b.undone = ulv_streq0(ulv_op_get(op, "undone"), "yes");
        t->o.told = true;
        return 0;
}

static int read_parameter(struct loader *ld, const struct ulv_op *op) {
        const char *value = ulv_op_get(op, "value");
        struct parameter *p = ulv_find_parameter(ld->l, op->id);

        if (strlen(op->id) > 64 || !value || strlen(value) > ULV_PARAMETER_VALUE_MAX)
                return ulv_bad_row(ld, op, "key or value can't be that");
        if (!p && ld->l->c.n_parameters++ >= ULV_PARAMETERS_MAX)
                return ulv_bad_row(ld, op, "too many parameters");
        p = ulv_need_parameter(ld->l, op->id);
        if (!p)
                return -ENOMEM;
        p->b.gone = false;
        p->o.told = true;
        if (ulv_startswith(op->id, "pool."))
                ld->l->pool_stale = true;
        return ulv_set_string(&p->b.value, p->old.value, value);
}

static int gone_name(struct loader *ld, const struct ulv_op *op) {
        if (ulv_streq(op->kind, "partition")) {
                struct partition *p = ulv_find_partition(ld->l, op->id);

                if (!p || p->infra)
                        return ulv_bad_row(ld, op, "it isn't there");
                ulv_touch(ld->l, &p->o);
                ulv_waits_release(ld->l, &p->b.waits, false);
                p->b.gone = true;
                p->o.told = false;
                ld->l->c.n_partitions--;
                for (struct holding *h = p->holdings; h; h = h->p_next)
                        if (!ulv_holding_is_empty(h))
                                return ulv_bad_row(ld, op, "it still holds something");
                for (struct transfer *t = p->out; t; t = t->p_next)
                        if (t->b.amount > 0)
                                return ulv_bad_row(ld, op, "something of it is still on its way");
                return 0;
        }
        if (ulv_streq(op->kind, "parameter")) {
                struct parameter *p = ulv_find_parameter(ld->l, op->id);

                if (!p)
                        return ulv_bad_row(ld, op, "it isn't there");
                ulv_touch(ld->l, &p->o);
                p->b.gone = true;
                p->o.told = false;
                ld->l->pool_stale = true;
                ld->l->c.n_parameters--;
                return 0;
        }
        /* A transaction goes by itself when nothing waits for it any more. */
        if (ulv_find_transaction(ld->l, op->id))
                ulv_find_transaction(ld->l, op->id)->o.told = false;
        return 0;
}

/* --- the passes ---------------------------------------------------------------------------------------------------- */

static int read_name(struct loader *ld, const struct ulv_op *op) {
        static const struct { const char *kind; int (*f)(struct loader *ld, const struct ulv_op *op); } table[] = {
                { "ledger", read_ledger }, { "inventory", read_inventory }, { "partition", read_partition },
                { "transaction", read_transaction }, { "parameter", read_parameter },
        };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(table); i++)
                if (ulv_streq(table[i].kind, op->kind))
                        return table[i].f(ld, op);
        return ulv_streq(op->kind, "transfer") || ulv_kind_from_name(op->kind) >= 0 ? 0 : ulv_bad_row(ld, op, "no such kind");
}

static int read_row(struct loader *ld, const struct ulv_op *op) {
        switch (ld->pass) {
        case PASS_NAMES:
                return read_name(ld, op);
        case PASS_HOLDINGS:
                if (ulv_streq(op->kind, "partition"))
                        return read_partition_waits(ld, op);
                return ulv_kind_from_name(op->kind) >= 0 ? ulv_read_holding(ld, op) : 0;
        case PASS_TRANSFERS:
                return ulv_streq(op->kind, "transfer") ? ulv_read_transfer(ld, op) : 0;
        default:
                return 0;
        }
}

static int read_gone(struct loader *ld, const struct ulv_op *op) {
        if (ld->pass == PASS_GONE && ulv_streq(op->kind, "transfer"))
                return ulv_gone_transfer(ld, op);
        if (ld->pass == PASS_GONE && ulv_kind_from_name(op->kind) >= 0)
                return ulv_gone_holding(ld, op);
        if (ld->pass == PASS_GONE_NAMES && ulv_kind_from_name(op->kind) < 0 && !ulv_streq(op->kind, "transfer"))
                return gone_name(ld, op);
        return 0;
}

static int read_line(const char *line, size_t len, void *userdata) {
        struct loader *ld = userdata;
        _cleanup_op_ struct ulv_op op = {};
        int r;

        ld->line++;
        r = ulv_op_parse(line, len, &op, ld->reterr);
        if (r > 0)
                ulv_diag_why(ld->reterr, "line %u", ld->line);
        if (r != 0)
                return r;
        if (ulv_streq(op.verb, "row"))
                return read_row(ld, &op);
        if (ulv_streq(op.verb, "gone") && ld->may_be_gone)
                return read_gone(ld, &op);
        return ulv_bad_row(ld, &op, "not a row");
}

static int read_all(struct loader *ld, const char *rows, size_t len) {
        int r = 0;

        for (ld->pass = PASS_NAMES; ld->pass < PASS_MAX_ && r == 0; ld->pass++) {
                if (ld->pass >= PASS_GONE && !ld->may_be_gone)
                        break;
                ld->line = 0;
                r = ulv_op_each_line(rows, len, read_line, ld);
        }
        return r;
}

/* What was loaded is no news. */
static void accept(struct ulv_ledger *l) {
        if (l->pool_stale)
                ulv_count_pool(l);
        ulv_commit(l);
        ulv_forget_changes(l);
}

int ulv_ledger_load(const char *rows, size_t len, struct ulv_ledger **ret, struct ulv_diag *reterr) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = NULL;
        struct loader ld = { .reterr = reterr };
        int r;

        r = ulv_ledger_new_empty(&l);
        if (r < 0)
                return r;
        ld.l = l;
        r = read_all(&ld, rows, len);
        if (r == 0 && !ld.has_ledger) {
                ulv_diag_what(reterr, ULV_EXIT_FAILED, "not a ledger");
                ulv_diag_why(reterr, "the row `ledger` is missing");
                r = 1;
        }
        if (r != 0)
                return r;
        accept(l);
        r = ulv_ledger_check(l, reterr);
        if (r != 0)
                return r;
        *ret = ulv_steal(l);
        return 0;
}

int ulv_ledger_apply(struct ulv_ledger *l, const char *changes, size_t len, struct ulv_diag *reterr) {
        struct loader ld = { .l = l, .reterr = reterr, .may_be_gone = true };
        int r;

        r = read_all(&ld, changes, len);
        if (r != 0) {
                ulv_rollback(l);
                return r;
        }
        accept(l);
        return 0;
}
