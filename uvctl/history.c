/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `history`: who changed what, and when, in the words of the verbs. The ledger keeps operations; they are
 * summed up by partition here, and shown as they are with -o wide. */

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

static int history_line(const char *line, size_t len, void *userdata) {
        struct history *h = userdata;
        _cleanup_op_ struct ulv_op op = { 0 };
        struct ulv_op *ops;
        int r;

        r = ulv_op_parse(line, len, &op, NULL);
        if (r != 0)
                return r < 0 ? r : -EBADMSG;
        h->last = strtoull(op.id, NULL, 10);
        if (!h->reports && ulv_startswith(row_str(&op, "id"), "report-"))
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
                _cleanup_message_ sd_bus_message *m = NULL;
                const char *lines;

                r = client_call(u, &m, "History", "stu", owner, before, (uint32_t) HISTORY_PAGE);
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

/* --- in words ---------------------------------------------------------------------------------------- */

/* What a transaction does to one partition. */
struct deed {
        const char *owner;                      /* of an op in `deeds` */
        const char *state;                      /* that it is brought to, NULL if none */
        bool defined, removed, killed, limited;
        struct ulv_strbuf attached;             /* " +mount data" */
        int64_t cores, share, memory;           /* what it gets more; memory in ULV_MEMORY_UNITs */
};

#define DEEDS_MAX 64    /* more are counted */
#define DEEDS_SHOWN 4

struct deeds {
        struct ulv_op *ops; size_t n_ops;       /* own the names */
        struct deed v[DEEDS_MAX]; size_t n, more;
};

static struct deed *deed_of(struct deeds *d, const char *owner) {
        for (size_t i = 0; i < d->n; i++)
                if (ulv_streq(d->v[i].owner, owner))
                        return &d->v[i];
        if (d->n == DEEDS_MAX) {
                d->more++;
                return NULL;
        }
        d->v[d->n] = (struct deed) { .owner = owner };
        return &d->v[d->n++];
}

/* n = 1 or -1. The host, idle and the pool give and take what others get and lose: not told. */
static void add_amount(struct deeds *d, const struct ulv_op *op, const char *owner, int n) {
        static const char *const quiet[] = { "host", "idle", "pool" };
        int64_t amount = (int64_t) ULV_MIN(row_u64(op, "amount"), UINT64_C(1) << 60);
        struct deed *deed;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(quiet); i++)
                if (ulv_streq(owner, quiet[i]))
                        return;
        deed = deed_of(d, owner);
        if (!deed)
                return;
        if (ulv_streq(op->kind, "core"))
                deed->cores += n;
        else if (ulv_streq(op->kind, "share"))
                deed->share += n * amount;
        else if (ulv_streq(op->kind, "memory"))
                deed->memory += n * amount;
        else if (ulv_streq(op->kind, "limit"))
                deed->limited = true;
        else if (ulv_streq(op->kind, "mount") || ulv_streq(op->kind, "device") || ulv_streq(op->kind, "block") || ulv_streq(op->kind, "channel"))
                ulv_strbuf_addf(&deed->attached, "%s%c%s %.*s", deed->attached.len > 0 ? ", " : "", n > 0 ? '+' : '-', op->kind,
                                (int) strcspn(op->id, "@"), op->id);
}

static void add_partition_op(struct deeds *d, const struct ulv_op *op) {
        struct deed *deed = deed_of(d, op->id);

        if (!deed)
                return;
        if (ulv_streq(op->verb, "define"))
                deed->defined = true;
        else if (ulv_streq(op->verb, "remove"))
                deed->removed = true;
        else if (ulv_streq(op->verb, "state")) {
                deed->state = row_str(op, "state");
                deed->killed = ulv_streq(row_str(op, "force"), "yes");
        }
}

static int take_operation(const char *line, size_t len, void *userdata) {
        struct deeds *d = userdata;
        struct ulv_op *grown = reallocarray(d->ops, d->n_ops + 1, sizeof(*grown)), *op;
        int r;

        if (!grown)
                return -ENOMEM;
        d->ops = grown;
        r = ulv_op_parse(line, len, &d->ops[d->n_ops], NULL);
        if (r != 0)
                return r < 0 ? r : 0;           /* > 0: of a later version; the others tell enough */
        op = &d->ops[d->n_ops++];
        if (ulv_streq(op->kind, "partition"))
                add_partition_op(d, op);
        else if (ulv_streq(op->verb, "claim"))
                add_amount(d, op, op->owner, 1);
        else if (ulv_streq(op->verb, "release"))
                add_amount(d, op, op->owner, -1);
        else if (ulv_streq(op->verb, "move")) {
                add_amount(d, op, op->owner, -1);
                add_amount(d, op, row_str(op, "to"), 1);
        }
        return 0;
}

static void add_delta(struct ulv_strbuf *b, int64_t n, bool sign, bool *first, void (*format)(struct ulv_strbuf *b, uint64_t v), const char *unit) {
        if (n == 0)
                return;
        ulv_strbuf_add(b, *first ? ": " : ", ");
        *first = false;
        if (sign || n < 0)
                ulv_strbuf_addc(b, n < 0 ? '-' : '+');
        format(b, (uint64_t) (n < 0 ? -n : n));
        ulv_strbuf_add(b, unit);
}

static void format_units(struct ulv_strbuf *b, uint64_t units) { ulv_size_format(b, units * ULV_MEMORY_UNIT); }

/* "start web: 1 core, 128M", "change db: +8G", "stop web" */
static void add_deed(struct ulv_strbuf *b, const struct deed *d) {
        bool gets = d->cores || d->share || d->memory || d->limited || d->attached.len > 0, first = true, starts = d->state && ulv_streq(d->state, "starting");

        if (starts)
                ulv_strbuf_add(b, "start");
        else if (d->state && ulv_streq(d->state, "stopping"))
                ulv_strbuf_add(b, d->killed ? "kill" : "stop");
        else if (d->state)
                ulv_strbuf_addf(b, "make it %s:", d->state);
        else
                ulv_strbuf_add(b, d->removed ? "remove" : gets ? "change" : "define");
        ulv_strbuf_addf(b, " %s", d->owner);
        add_delta(b, d->cores, !starts, &first, ulv_strbuf_addu, d->cores == 1 || d->cores == -1 ? " core" : " cores");
        add_delta(b, d->share, !starts, &first, ulv_share_format, " share");
        add_delta(b, d->memory, !starts, &first, format_units, "");
        if (d->limited && !starts)
                ulv_strbuf_addf(b, "%slimits", first ? ": " : ", ");
        if (d->attached.len > 0 && !starts)
                ulv_strbuf_addf(b, "%s%s", first && !d->limited ? ": " : ", ", ulv_strbuf_str(&d->attached));
}

int history_words(struct ulv_strbuf *b, const char *operations) {
        struct deeds d = { 0 };
        int r = ulv_op_each_line(operations, strlen(operations), take_operation, &d);

        for (size_t i = 0; i < d.n && i < DEEDS_SHOWN; i++) {
                ulv_strbuf_add(b, i > 0 ? "; " : "");
                add_deed(b, &d.v[i]);
        }
        if (d.n > DEEDS_SHOWN)
                ulv_strbuf_addf(b, "; and %s%zu more", d.more > 0 ? "over " : "", d.n - DEEDS_SHOWN);
        for (size_t i = 0; i < d.n; i++)
                ulv_strbuf_done(&d.v[i].attached);
        for (size_t i = 0; i < d.n_ops; i++)
                ulv_op_done(&d.ops[i]);
        free(d.ops);
        return r < 0 ? r : 0;
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

static void add_what(struct table *t, const struct ulv_op *op) {
        _cleanup_strbuf_ struct ulv_strbuf what = { 0 };
        const char *reason = row_str(op, "reason");

        if (history_words(&what, row_str(op, "operations")) < 0)
                what.error = what.error ? what.error : -ENOMEM;
        if (what.len == 0 && ulv_startswith(row_str(op, "id"), "inventory-"))
                ulv_strbuf_add(&what, "what the machine has, as it was found");
        if (*reason)
                ulv_strbuf_addf(&what, what.len > 0 ? " (%s)" : "%s", reason);
        table_add_buffer(t, &what);
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
        time_t seconds = (time_t) (row_u64(op, "time") / 1000000);
        char when[32] = "-";
        struct tm tm;

        if (localtime_r(&seconds, &tm))
                (void) strftime(when, sizeof(when), "%F %T", &tm);
        table_add(t, when);
        add_who(t, row_str(op, "subject"));
        table_add(t, row_str(op, "state")[0] ? row_str(op, "state") : NULL);
        table_add(t, row_str(op, "id"));
        table_add(t, row_str(op, "undo")[0] ? "yes" : "no");
        add_what(t, op);
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
                json_object(&j, NULL);
                json_u64(&j, "Sequence", strtoull(h->ops[i].id, NULL, 10));
                for (size_t k = 0; k < ULV_ARRAY_SIZE(keys); k++)
                        if (keys[k].number)
                                json_u64(&j, keys[k].name, row_u64(&h->ops[i], keys[k].key));
                        else
                                json_string(&j, keys[k].name, row_str(&h->ops[i], keys[k].key));
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
        size_t limit = given(u, OPT_ALL) ? SIZE_MAX : given(u, OPT_LINES) ? u->lines : 20;
        int r;

        r = get_history(u, argc > 0 ? argv[0] : "", limit, &h);
        if (r == 0 && argc > 0 && h.n == 0)
                r = check_name(u, argv[0]);
        if (r == 0)
                r = u->output == OUTPUT_JSON ? history_json(u, &h) : history_table(u, &h);
        history_done(&h);
        return r;
}
