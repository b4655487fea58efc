/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Undo: the ledger kept, with each transaction, the operations that take it back. They are tried on the mirror; then
 * operations, which noted what it wrote for the old transaction, takes these files back; then they are submitted as a
 * new transaction, for which the files are noted again: so an undo can be undone, and none of it needs this process
 * to have lived through the first one. If either of the two refuses, neither changes anything. */

#include "command/change.h"
#include "command/preview.h"
#include "command/public.h"
#include "lib/protocol.h"

/* "0.1 share", "64M on node 0", "core 3" of an operation on something that is held. */
static void add_thing(struct ulv_strbuf *b, const struct ulv_op *op) {
        struct ulv_limit limit;
        uint64_t amount = 0;

        if (ulv_op_get(op, "amount") && ulv_op_get_u64(op, "amount", &amount) < 0)
                amount = 0;
        if (ulv_streq(op->kind, "share")) {
                ulv_share_format(b, amount);
                ulv_strbuf_add(b, " share");
        } else if (ulv_streq(op->kind, "memory")) {
                ulv_size_format(b, amount * ULV_MEMORY_UNIT);
                ulv_strbuf_addf(b, " on node %.*s", (int) strcspn(op->id, "/"), op->id);
        } else if (ulv_streq(op->kind, "limit") && ulv_limit_from_id(op->id, &limit) == 0) {
                ulv_limit_add_amount(b, limit.what, amount);
                ulv_strbuf_addf(b, " of %s", op->id);
        } else
                ulv_strbuf_addf(b, "%s %s", op->kind, op->id);
}

/* The words of an operation, as far as they mean something to people. */
static void add_words(struct ulv_strbuf *b, const struct ulv_op *op) {
        const char *state = ulv_op_get(op, "state"), *to = ulv_op_get(op, "to"), *from = ulv_op_get(op, "from");

        if (ulv_streq(op->kind, "partition")) {
                ulv_strbuf_addf(b, "%s", ulv_streq(op->verb, "define") ? "its definition as it was" :
                                ulv_streq(op->verb, "remove") ? "its definition goes" : state ? state : op->verb);
                return;
        }
        ulv_strbuf_addf(b, "%s ", ulv_streq(op->verb, "claim") ? "gets" : ulv_streq(op->verb, "release") ? "gives back" : op->verb);
        add_thing(b, op);
        if (to || from)
                ulv_strbuf_addf(b, to ? " to %s" : " from %s", to ? to : from);
}

/* A line per operation. */
static int undo_line(const char *line, size_t len, void *userdata) {
        struct ulv_strbuf *b = userdata;
        _cleanup_op_ struct ulv_op op = { 0 };
        int r = ulv_op_parse(line, len, &op, NULL);

        if (r != 0)
                return r < 0 ? r : -EBADMSG;
        ulv_strbuf_addf(b, "%s\tundo\t", ulv_streq(op.kind, "partition") ? op.id : op.owner);
        add_words(b, &op);
        ulv_strbuf_add(b, "\t\n");
        return 0;
}

int undo_check(struct manager *m, const char *txn, const char *state, const char *undo, struct ulv_diag *d) {
        if (ulv_streq(state, "reaching")) {
                ulv_diag_what(d, ULV_EXIT_CONFLICT, "transaction %s is still under way", txn);
                ulv_diag_try(d, "again when it is done");
                return 1;
        }
        if (ulv_streq(state, "undone")) {
                ulv_diag_what(d, ULV_EXIT_CONFLICT, "transaction %s can't be taken back", txn);
                ulv_diag_why(d, "a part of what it wanted wasn't reached, and went back by itself");
                ulv_diag_try(d, "uvctl history, and uvctl plan for what is different from the definitions");
                return 1;
        }
        if (!undo[0]) {
                ulv_diag_what(d, ULV_EXIT_CONFLICT, "transaction %s can't be taken back", txn);
                ulv_diag_why(d, "what it did has no opposite: a partition that was stopped isn't made as it was");
                ulv_diag_try(d, "uvctl history");
                return 1;
        }
        return preview_operations(m, undo, d);
}

/* The old transaction's undo is known. */
static int undo_go(struct job *j, const char *state, const char *undo, struct ulv_diag *d) {
        int r = undo_check(j->m, j->items[0].name, state, undo, d);

        if (r == 0)
                r = ulv_op_each_line(undo, strlen(undo), undo_line, &j->plan);
        if (r != 0)
                return r;
        ulv_strbuf_addf(&j->plan, "\nTakes back transaction %s.\n", j->items[0].name);
        j->items[0].operations = strdup(undo);
        return j->items[0].operations ? j->plan.error : -ENOMEM;
}

static int on_transaction(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct job *j = userdata;
        const char *state, *undo;
        struct ulv_diag d = { 0 };
        uint64_t generation;
        int r;

        j->busy--;
        if (sd_bus_message_is_method_error(reply, NULL)) {
                const sd_bus_error *e = sd_bus_message_get_error(reply);

                if (ulv_startswith(e->name, ULV_ERROR_PREFIX))
                        ulv_bus_error_to_diag(e, 0, &d);
                else            /* the connection ended; nothing was asked for yet */
                        public_uvd_away(&d);
                job_refuse(j, &d);
                return 0;
        }
        r = sd_bus_message_read(reply, "sts", &state, &generation, &undo);
        if (r >= 0)
                r = undo_go(j, state, undo, &d);
        if (r > 0)
                job_refuse(j, &d);
        else if (r < 0)
                job_refuse_errno(j, r);
        else
                change_take_back(j);
        return 0;
}

static void undo_begin(struct job *j) {
        sd_bus_message *ask = NULL;
        int r = -ENOTCONN;

        if (j->m->uvd.bus && (r = sd_bus_message_new_method_call(j->m->uvd.bus, &ask, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Transaction")) >= 0 &&
            (r = sd_bus_message_append(ask, "s", j->items[0].name)) >= 0)
                r = link_call(&j->m->uvd, ask, on_transaction, j);
        sd_bus_message_unref(ask);
        if (r == -ENOTCONN) {
                struct ulv_diag d;

                public_uvd_away(&d);
                job_refuse(j, &d);
        } else if (r < 0)
                job_refuse_errno(j, r);
        else
                j->busy++;
}

int method_undo(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        const char *txn, *reason;
        uint32_t flags;
        struct job *j;
        int r;

        if (!public_has(pp->m, call, false))
                return 1;
        r = sd_bus_message_read(call, "sus", &txn, &flags, &reason);
        if (r < 0)
                return r;
        if (public_too_long(call, reason))
                return 1;
        j = job_new(pp->m, call, "undo", 1, flags, 0, reason);
        if (j && item_name(&j->items[0], txn, "") && turn_take(j, undo_begin))
                undo_begin(j);
        return 1;
}
