/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `history`: who changed what, and when, in words (history-words.c), or as the ledger keeps it with -o wide. */

#include "uvctl/history.h"

#include <inttypes.h>
#include <pwd.h>
#include <time.h>

#include "uvctl/part.h"
#include "uvctl/rows.h"
#include "uvctl/text.h"

#define HISTORY_PAGE 100

struct history {
        struct ulv_op *ops; size_t n;
        bool reports;           /* also what partition monitors reported; people ask for what people did */
        uint64_t last;          /* sequence of the oldest entry read */
};

static void history_done(struct history *h) {
        for (size_t i = 0; i < h->n; i++)
                ulv_op_done(&h->ops[i]);
        free(h->ops);
}

static int find_end(const char *line, size_t len, void *userdata) {
        _cleanup_op_ struct ulv_op op = { 0 };
        bool *unasked = userdata;

        if (ulv_op_parse(line, len, &op, NULL) == 0 && ulv_streq(op.verb, "ended"))
                *unasked = *unasked || ulv_streq(row_str(&op, "stopped"), "yes") || ulv_streq(row_str(&op, "failed"), "yes");
        return 0;
}

/* A report is what became of what somebody did, and that tells it; but an end that no transaction asked for. */
static bool is_told(const struct ulv_op *op) {
        const char *operations = row_str(op, "operations");
        bool unasked = false;

        return !ulv_startswith(row_str(op, "id"), "report-") ||
               (ulv_op_each_line(operations, strlen(operations), find_end, &unasked) == 0 && unasked);
}

static int history_line(const char *line, size_t len, void *userdata) {
        struct history *h = userdata;
        _cleanup_op_ struct ulv_op op = { 0 };
        struct ulv_op *ops;
        int r;

        r = ulv_op_parse(line, len, &op, NULL);
        if (r != 0)
                return r < 0 ? r : -EBADMSG;
        h->last = strtoull(op.id, NULL, 10);
        if (!h->reports && !is_told(&op))
                return 0;
        ops = reallocarray(h->ops, h->n + 1, sizeof(*ops));
        if (!ops)
                return -ENOMEM;
        h->ops = ops;
        ops[h->n++] = op;
        op = (struct ulv_op) { 0 };
        return 0;
}

/* Newest first, page by page, until there are `limit`. */
static int get_history(struct uvctl *u, const char *owner, size_t limit, struct history *h) {
        uint64_t before = 0;
        int r;

        while (h->n < limit) {
                /* Of transactions alone there are fewer in a page than in the history. */
                size_t left = ULV_MIN(limit - h->n, (size_t) HISTORY_PAGE), wanted = h->reports ? left : ULV_MIN(2 * left + 8, (size_t) HISTORY_PAGE);
                _cleanup_message_ sd_bus_message *m = NULL;
                const char *lines;

                r = client_call(u, &m, "History", "stu", owner, before, (uint32_t) wanted);
                if (r == 0)
                        r = client_read(u, m, "s", &lines);
                if (r != 0)
                        return r;
                r = ulv_op_each_line(lines, strlen(lines), history_line, h);
                if (r < 0)
                        return fail_errno(u, r, "read the history");
                if (h->last <= 1 || h->last == before || !*lines)
                        break;
                before = h->last;
        }
        while (h->n > limit)
                ulv_op_done(&h->ops[--h->n]);
        return 0;
}

/* --- shown --------------------------------------------------------------------------------------------- */

/* "uid 0" is what the ledger keeps; people have names. */
static void add_who(struct table *t, const char *subject) {
        const struct passwd *pw = NULL;
        uint64_t uid;

        if (ulv_startswith(subject, "uid ") && ulv_uint_parse(subject + 4, UINT32_MAX, &uid) == 0)
                pw = getpwuid((uid_t) uid);
        table_add(t, pw ? pw->pw_name : *subject ? subject : NULL);
}

static void add_what(struct ulv_strbuf *what, const struct ulv_op *op) {
        const char *reason = row_str(op, "reason"), *id = row_str(op, "id");

        if (history_words(what, row_str(op, "operations"), ulv_startswith(id, "report-")) < 0)
                what->error = what->error ? what->error : -ENOMEM;
        if (what->len == 0)
                ulv_strbuf_add(what, ulv_startswith(id, "inventory-") ? "what the machine has, as it was found" :
                               *row_str(op, "operations") ? "of a kind that this uvctl doesn't know" : *reason ? "" : "nothing");
        if (*reason)
                ulv_strbuf_addf(what, what->len > 0 ? " (%s)" : "%s", reason);
}

/* What undo would answer now, from the planner. */
static const char *undoable(const struct ulv_op *op) {
        const char *answer = row_str(op, "undoable");

        return ulv_streq(answer, "yes") || ulv_streq(answer, "no") ? answer : "?";
}

/* One line, whatever it holds: `; ` between operations. */
static void add_raw(struct table *t, const char *operations) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

        for (const char *s = operations; *s; s++) {
                if (*s != '\n')
                        ulv_strbuf_addc(&b, *s);
                else if (s[1])
                        ulv_strbuf_add(&b, "; ");
        }
        table_add_buffer(t, &b);
}

static void add_history_row(struct table *t, const struct ulv_op *op, bool wide) {
        _cleanup_strbuf_ struct ulv_strbuf what = { 0 };
        time_t seconds = (time_t) (row_u64(op, "time") / 1000000);
        char when[32] = "-";
        struct tm tm;

        if (localtime_r(&seconds, &tm))
                (void) strftime(when, sizeof(when), "%F %T", &tm);
        table_add(t, when);
        add_who(t, row_str(op, "subject"));
        table_add(t, row_str(op, "state")[0] ? row_str(op, "state") : NULL);
        table_add(t, row_str(op, "id"));
        table_add(t, undoable(op));
        add_what(&what, op);
        table_add_buffer(t, &what);
        if (wide)
                add_raw(t, row_str(op, "operations"));
}

static int history_table(struct uvctl *u, const struct history *h) {
        static const struct table_column columns[] = {
                { "WHEN", false }, { "WHO", false }, { "STATE", false }, { "TRANSACTION", false }, { "UNDO", false }, { "WHAT", false },
                { "OPERATIONS", false },
        };
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        bool wide = u->output == OUTPUT_WIDE;
        struct table t;
        int r = 0;

        table_init(&t, columns, ULV_ARRAY_SIZE(columns) - !wide);
        for (size_t i = 0; i < h->n; i++)
                if (u->output == OUTPUT_NAME)
                        ulv_strbuf_addf(&b, "%s\n", row_str(&h->ops[i], "id"));
                else
                        add_history_row(&t, &h->ops[i], wide);
        if (u->output != OUTPUT_NAME)
                r = table_write(&t, u->legend, u->colour, 0, &b);
        table_done(&t);
        return r < 0 ? fail_errno(u, r, "show the table") : put(u, &b);
}

static int history_json(struct uvctl *u, const struct history *h) {
        static const struct { const char *name, *key; bool number; } keys[] = {
                { "Time", "time", true }, { "Generation", "generation", true }, { "Id", "id", false },
                { "Subject", "subject", false }, { "Reason", "reason", false }, { "State", "state", false },
                { "Operations", "operations", false }, { "Undo", "undo", false }, { "After", "after", false },
        };
        struct json j = { 0 };
        int r;

        json_array(&j, NULL);
        for (size_t i = 0; i < h->n; i++) {
                _cleanup_strbuf_ struct ulv_strbuf what = { 0 };

                add_what(&what, &h->ops[i]);
                json_object(&j, NULL);
                json_u64(&j, "Sequence", strtoull(h->ops[i].id, NULL, 10));
                for (size_t k = 0; k < ULV_ARRAY_SIZE(keys); k++)
                        if (keys[k].number)
                                json_u64(&j, keys[k].name, row_u64(&h->ops[i], keys[k].key));
                        else
                                json_string(&j, keys[k].name, row_str(&h->ops[i], keys[k].key));
                json_string(&j, "What", ulv_strbuf_str(&what));
                json_string(&j, "Undoable", undoable(&h->ops[i]));
                json_end(&j);
        }
        json_end(&j);
        r = put(u, &j.b);
        ulv_strbuf_done(&j.b);
        return r;
}

/* A partition that is gone has a history; a misspelt one has none. */
static int check_name(struct uvctl *u, const char *name) {
        struct rows rows;
        int r = rows_get(u, ROWS_PARTITIONS, &rows);

        if (r != 0)
                return r;
        if (!rows_part(&rows, name))
                r = no_such_partition(u, name);
        rows_done(&rows);
        return r;
}

int verb_history(struct uvctl *u, int argc, char **argv) {
        struct history h = { .reports = given(u, OPT_ALL) };
        size_t limit = given(u, OPT_LINES) ? u->lines : given(u, OPT_ALL) ? SIZE_MAX : 20;
        int r;

        r = get_history(u, argc > 0 ? argv[0] : "", limit, &h);
        if (r == 0 && argc > 0 && h.n == 0)
                r = check_name(u, argv[0]);
        if (r == 0)
                r = u->output == OUTPUT_JSON ? history_json(u, &h) : history_table(u, &h);
        history_done(&h);
        return r;
}
