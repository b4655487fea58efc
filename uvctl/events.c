/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Changes of the ledger as they happen, from the Changed signal: one line per row that a commit changed, and one
 * for a restart that was given up, which changes no row (JobChanged of the job "restart").
 * It goes on until it is interrupted, --wait=T is over, or the planner is gone. */

#include <inttypes.h>
#include <time.h>

#include "model/name.h"
#include "uvctl/part.h"
#include "uvctl/text.h"

struct events {
        struct uvctl *u;
        char **names; int n_names;      /* only of these owners; none: all */
        uint64_t generation;
        int code;
};

static bool selected(const struct events *e, const struct ulv_op *op) {
        bool is_name = ulv_streq(op->kind, "partition") || ulv_streq(op->kind, "restart");
        const char *owner = is_name ? op->id : op->owner;

        for (int i = 0; i < e->n_names; i++)
                if (ulv_streq(e->names[i], owner) || ulv_streq0(e->names[i], ulv_op_get(op, "to")))
                        return true;
        return e->n_names == 0;
}

/* Amounts in people's units; the definition's text is not a thing for one line. */
static void add_values(struct ulv_strbuf *b, const struct ulv_op *op) {
        static const char *const shown[] = {
                "state", "result", "leader", "contain", "amount", "reached", "how", "to", "value", "txn", "subject", "missing",
        };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(shown); i++) {
                const char *value = ulv_op_get(op, shown[i]);
                bool counts = ulv_streq(shown[i], "amount") || ulv_streq(shown[i], "reached");

                if (!value || !*value)
                        continue;
                ulv_strbuf_addf(b, " %s=", shown[i]);
                if (counts && ulv_streq(op->kind, "memory"))
                        ulv_size_format(b, row_u64(op, shown[i]) * ULV_MEMORY_UNIT);
                else if (counts && ulv_streq(op->kind, "share"))
                        ulv_share_format(b, row_u64(op, shown[i]));
                else
                        text_safe(b, value, strlen(value), false);
        }
}

static void add_word(struct ulv_strbuf *b, const char *s) {
        if (ulv_streq(s, "-") || !*s)
                return;
        ulv_strbuf_addc(b, ' ');
        text_safe(b, s, strlen(s), false);
}

static int put_line(struct events *e, const struct ulv_op *op) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        time_t now = time(NULL);
        char when[16] = "";
        struct tm tm;

        if (localtime_r(&now, &tm))
                (void) strftime(when, sizeof(when), "%T", &tm);
        ulv_strbuf_addf(&b, "%s %" PRIu64 "%s", when, e->generation, ulv_streq(op->verb, "gone") ? " gone" : "");
        add_word(&b, op->kind);
        add_word(&b, op->id);
        add_word(&b, op->owner);
        add_values(&b, op);
        ulv_strbuf_addc(&b, '\n');
        return put(e->u, &b);
}

static int put_json(struct events *e, const struct ulv_op *op) {
        struct json j = { .compact = true };
        int r;

        json_object(&j, NULL);
        json_u64(&j, "Generation", e->generation);
        json_string(&j, "Change", op->verb);
        json_string(&j, "Kind", op->kind);
        json_string(&j, "Id", op->id);
        json_string(&j, "Owner", op->owner);
        row_values_json(&j, op);
        json_end(&j);
        r = put(e->u, &j.b);
        ulv_strbuf_done(&j.b);
        return r;
}

static int put_event(struct events *e, const struct ulv_op *op) {
        int r = e->u->output == OUTPUT_JSON ? put_json(e, op) : put_line(e, op);

        if (r == 0 && fflush(stdout) != 0)
                r = fail_errno(e->u, -errno, "write to standard output");
        return r;
}

static int on_line(const char *line, size_t len, void *userdata) {
        struct events *e = userdata;
        _cleanup_op_ struct ulv_op op = { 0 };
        int r;

        r = ulv_op_parse(line, len, &op, NULL);
        if (r != 0)
                return fail_errno(e->u, r < 0 ? r : -EBADMSG, "read an event");
        /* The counters' row comes with every commit; the generation is in front of each line already. */
        if (ulv_streq(op.kind, "ledger") || !selected(e, &op))
                return 0;
        return put_event(e, &op);
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *unused ULV_UNUSED) {
        struct events *e = userdata;
        const char *changes;

        e->code = client_read(e->u, m, "ts", &e->generation, &changes);
        if (e->code == 0)
                e->code = ulv_op_each_line(changes, strlen(changes), on_line, e);
        return 0;
}

/* "NAME: given up: why", then lines with what to try. */
static int on_job(sd_bus_message *m, void *userdata, sd_bus_error *unused ULV_UNUSED) {
        struct events *e = userdata;
        const char *job, *state, *text, *why;
        char name[ULV_NAME_MAX + 1], line[200];
        struct ulv_op_kv value = { "result", line };
        struct ulv_op op = { .verb = "given-up", .kind = "restart", .id = name, .owner = "-", .kv = &value, .n_kv = 1 };

        if (sd_bus_message_read(m, "sss", &job, &state, &text) <= 0 || !ulv_streq(job, "restart") || e->code != 0)
                return 0;
        why = strstr(text, ": ");
        if (!why || why - text > ULV_NAME_MAX)
                return 0;
        (void) snprintf(name, sizeof(name), "%.*s", (int) (why - text), text);
        (void) snprintf(line, sizeof(line), "%.*s", (int) strcspn(why + 2, "\n"), why + 2);
        if (selected(e, &op))
                e->code = put_event(e, &op);
        return 0;
}

static uint64_t monotonic_usec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}

/* Who waits for a name that there isn't, or may not look, would wait for ever: signals that a caller may not have
 * don't come, and nobody says so. */
static int check_names(struct uvctl *u, int argc, char **argv) {
        struct rows rows;
        int r = rows_get(u, ROWS_PARTITIONS, &rows);

        if (r != 0)
                return r;
        for (int i = 0; i < argc && r == 0; i++)
                if (!rows_part(&rows, argv[i]) && !ulv_name_is_reserved(argv[i]))
                        r = no_such_partition(u, argv[i]);
        rows_done(&rows);
        return r;
}

int verb_events(struct uvctl *u, int argc, char **argv) {
        ULV_CLEANUP(sd_bus_slot_unrefp) sd_bus_slot *match = NULL, *jobs = NULL;
        struct events e = { .u = u, .names = argv, .n_names = argc };
        uint64_t begin = monotonic_usec(), spent;
        int r;

        r = client_connect(u);
        if (r != 0)
                return r;
        r = sd_bus_match_signal(u->bus, &match, u->service, ULV_PATH, ULV_IF_MANAGER, "Changed", on_changed, &e);
        if (r >= 0)
                r = sd_bus_match_signal(u->bus, &jobs, u->service, ULV_PATH, ULV_IF_MANAGER, "JobChanged", on_job, &e);
        if (r < 0)
                return fail_errno(u, r, "listen");
        r = check_names(u, argc, argv);
        if (r != 0)
                return r;
        while (e.code == 0) {
                spent = monotonic_usec() - begin;
                if (u->wait_usec != UINT64_MAX && spent >= u->wait_usec)
                        return 0;
                r = sd_bus_process(u->bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(u->bus, u->wait_usec == UINT64_MAX ? UINT64_MAX : u->wait_usec - spent);
                if (r < 0 && r != -EINTR)
                        return client_error(u, NULL, r);
        }
        return e.code;
}
