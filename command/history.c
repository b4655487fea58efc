/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* History: uvd's entries, each with what `undo` would answer now: undoable=yes, or no; or unknown, where uvd cut the
 * entry, or operations, which would have to take files back, is away. Both halves of the answer come from the
 * functions that undo itself asks. */

#include "command/preview.h"
#include "command/public.h"
#include "lib/protocol.h"

struct history {
        struct manager *m;
        sd_bus_message *call, *entries;         /* entries: uvd's answer */
        char **ids; size_t n;                   /* that the ledger can take back now; uvd's texts */
        bool known;                             /* operations has answered: `stuck` counts */
        char **stuck;
};

static void history_free(struct history *h) {
        for (size_t i = 0; i < h->n; i++)
                free(h->ids[i]);
        free(h->ids);
        ulv_strv_free(h->stuck);
        sd_bus_message_unref(h->entries);
        sd_bus_message_unref(h->call);
        free(h);
}

static bool is_among(char *const *v, size_t n, const char *id) {
        for (size_t i = 0; i < n && v[i]; i++)
                if (ulv_streq(v[i], id))
                        return true;
        return false;
}

static int examine(const char *line, size_t len, void *userdata) {
        struct history *h = userdata;
        _cleanup_op_ struct ulv_op op = { 0 };
        struct ulv_diag d;
        const char *id;
        char **grown;
        int r = ulv_op_parse(line, len, &op, NULL);

        if (r != 0)
                return r < 0 ? r : -EBADMSG;
        id = ulv_op_get(&op, "id");
        if (!id || ulv_op_get(&op, "cut") || !ulv_op_get(&op, "state") || !ulv_op_get(&op, "undo"))
                return 0;
        r = undo_check(h->m, id, ulv_op_get(&op, "state"), ulv_op_get(&op, "undo"), &d);
        if (r != 0)
                return r == -ENOMEM ? r : 0;
        grown = reallocarray(h->ids, h->n + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        h->ids = grown;
        grown[h->n] = strdup(id);
        return grown[h->n] ? (h->n++, 0) : -ENOMEM;
}

struct writer { const struct history *h; struct ulv_strbuf b; };

static int write_entry(const char *line, size_t len, void *userdata) {
        struct writer *w = userdata;
        const struct history *h = w->h;
        _cleanup_op_ struct ulv_op op = { 0 };
        const char *id, *answer = "no";
        int r = ulv_op_parse(line, len, &op, NULL);

        if (r != 0)
                return r < 0 ? r : -EBADMSG;
        id = ulv_op_get(&op, "id");
        if (ulv_op_get(&op, "cut"))
                answer = "unknown";
        else if (id && is_among(h->ids, h->n, id))
                answer = !h->known ? "unknown" : h->stuck && is_among(h->stuck, SIZE_MAX, id) ? "no" : "yes";
        ulv_strbuf_add_len(&w->b, line, len);
        ulv_op_add(&w->b, "undoable", answer);
        ulv_strbuf_addc(&w->b, '\n');
        return ulv_strbuf_error(&w->b);
}

/* Answers, and ends. */
static void history_answer(struct history *h) {
        struct writer w = { .h = h, .b = { .max = (size_t) 64 * 1024 * 1024 } };
        const char *lines;
        int r;

        (void) sd_bus_message_rewind(h->entries, true);
        r = sd_bus_message_read(h->entries, "s", &lines);
        if (r >= 0)
                r = ulv_op_each_line(lines, strlen(lines), write_entry, &w);
        if (r < 0)
                (void) public_reply_errno(h->call, r);
        else
                (void) sd_bus_reply_method_return(h->call, "s", ulv_strbuf_str(&w.b));
        ulv_strbuf_done(&w.b);
        history_free(h);
}

static int on_stuck(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct history *h = userdata;

        h->known = !sd_bus_message_is_method_error(reply, NULL) && sd_bus_message_read_strv(reply, &h->stuck) >= 0;
        history_answer(h);
        return 0;
}

static int ask_operations(struct history *h) {
        struct link *l = &h->m->operations;
        sd_bus_message *ask = NULL;
        int r;

        if (!l->bus)
                return -ENOTCONN;
        r = sd_bus_message_new_method_call(l->bus, &ask, NULL, ULV_PATH_OPERATIONS, ULV_IF_OPERATIONS, "Stuck");
        if (r >= 0)
                r = sd_bus_message_open_container(ask, 'a', "s");
        for (size_t i = 0; i < h->n && r >= 0; i++)
                r = sd_bus_message_append(ask, "s", h->ids[i]);
        if (r >= 0)
                r = sd_bus_message_close_container(ask);
        if (r >= 0)
                r = link_call(l, ask, on_stuck, h);
        sd_bus_message_unref(ask);
        return r;
}

static int on_history(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct history *h = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        const char *lines;
        int r;

        if (e) {
                struct ulv_diag d;

                public_uvd_away(&d);
                (void) (ulv_startswith(e->name, ULV_ERROR_PREFIX) ? sd_bus_reply_method_error(h->call, e) : ulv_bus_reply_diag(h->call, &d));
                history_free(h);
                return 0;
        }
        h->entries = sd_bus_message_ref(reply);
        r = sd_bus_message_read(reply, "s", &lines);
        if (r >= 0)
                r = ulv_op_each_line(lines, strlen(lines), examine, h);
        if (r < 0) {
                (void) public_reply_errno(h->call, r);
                history_free(h);
        } else if (h->n == 0 || ask_operations(h) < 0)
                history_answer(h);
        return 0;
}

int method_history(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        struct link *l = &pp->m->uvd;
        sd_bus_message *ask = NULL;
        struct history *h;
        int r = -ENOTCONN;

        if (!public_has(pp->m, call, false))
                return 1;
        h = calloc(1, sizeof(*h));
        if (!h)
                return -ENOMEM;
        h->m = pp->m;
        h->call = sd_bus_message_ref(call);
        if (l->bus && (r = sd_bus_message_new_method_call(l->bus, &ask, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "History")) >= 0 &&
            (r = sd_bus_message_copy(ask, call, true)) >= 0)
                r = link_call(l, ask, on_history, h);
        sd_bus_message_unref(ask);
        if (r >= 0)
                return 1;
        if (r == -ENOTCONN) {
                struct ulv_diag d;

                public_uvd_away(&d);
                (void) ulv_bus_reply_diag(call, &d);
        } else
                (void) public_reply_errno(call, r);
        history_free(h);
        return 1;
}
