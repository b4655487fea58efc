/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A transaction or a report in words. The ledger keeps operations, one a unit; they are summed up by partition. */

#include "uvctl/history.h"

#include "uvctl/rows.h"

struct amounts {
        int64_t cores, share, memory;           /* memory in ULV_MEMORY_UNITs */
        bool limited;
        struct ulv_strbuf attached;             /* "+mount data, -device sda" */
};

/* What is told of one partition. */
struct deed {
        const char *owner;                      /* of an op in `deeds` */
        const char *state;                      /* that it is brought to, or has reached; NULL if none */
        const char *result, *refusal;           /* of a report: how it ended, why it didn't let go; NULL if none */
        bool defined, removed, forced, failed, stopped;
        struct amounts gets, reached, letgo;    /* gets: less than 0, what it gives */
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

static void add_amount(struct amounts *a, const struct ulv_op *op, int n) {
        int64_t amount = (int64_t) ULV_MIN(row_u64(op, "amount"), UINT64_C(1) << 60);

        if (ulv_streq(op->kind, "core"))
                a->cores += n;
        else if (ulv_streq(op->kind, "share"))
                a->share += n * amount;
        else if (ulv_streq(op->kind, "memory"))
                a->memory += n * amount;
        else if (ulv_streq(op->kind, "limit"))
                a->limited = true;
        else if (ulv_streq(op->kind, "mount") || ulv_streq(op->kind, "device") || ulv_streq(op->kind, "disk") || ulv_streq(op->kind, "block") || ulv_streq(op->kind, "channel"))
                ulv_strbuf_addf(&a->attached, "%s%c%s %.*s", a->attached.len > 0 ? ", " : "", n > 0 ? '+' : '-', op->kind,
                                (int) strcspn(op->id, "@"), op->id);
}

/* The host, idle and the pool give and take what others get and lose: not told. */
static struct deed *holder(struct deeds *d, const char *owner) {
        static const char *const quiet[] = { "host", "idle", "pool" };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(quiet); i++)
                if (ulv_streq(owner, quiet[i]))
                        return NULL;
        return deed_of(d, owner);
}

static void add_unit_op(struct deeds *d, const struct ulv_op *op) {
        bool moves = ulv_streq(op->verb, "move");
        struct deed *deed = holder(d, op->owner), *to = moves ? holder(d, row_str(op, "to")) : NULL;

        if (to)
                add_amount(&to->gets, op, 1);
        if (!deed)
                return;
        if (moves || ulv_streq(op->verb, "release"))
                add_amount(&deed->gets, op, -1);
        else if (ulv_streq(op->verb, "claim"))
                add_amount(&deed->gets, op, 1);
        else if (ulv_streq(op->verb, "reached"))
                add_amount(&deed->reached, op, 1);
        else if (ulv_streq(op->verb, "letgo"))
                add_amount(&deed->letgo, op, 1);
        else if (ulv_streq(op->verb, "refused"))
                deed->refusal = row_str(op, "reason");
}

static void add_partition_op(struct deeds *d, const struct ulv_op *op) {
        struct deed *deed = deed_of(d, op->id);

        if (!deed)
                return;
        if (ulv_streq(op->verb, "define"))
                deed->defined = true;
        else if (ulv_streq(op->verb, "remove"))
                deed->removed = true;
        else if (ulv_streq(op->verb, "ended")) {
                deed->result = row_str(op, "result");
                deed->failed = ulv_streq(row_str(op, "failed"), "yes");
                deed->stopped = ulv_streq(row_str(op, "stopped"), "yes");
        } else if (ulv_streq(op->verb, "state")) {
                deed->state = row_str(op, "state");
                deed->forced = ulv_streq(row_str(op, "force"), "yes");
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
        else if (ulv_streq(op->kind, "parameter"))
                (void) deed_of(d, "policy");            /* "change policy" */
        else
                add_unit_op(d, op);
        return 0;
}

/* --- words ------------------------------------------------------------------------------------------------- */

static void add_delta(struct ulv_strbuf *b, int64_t n, bool sign, bool *first, void (*format)(struct ulv_strbuf *b, uint64_t v), const char *unit) {
        if (n == 0)
                return;
        ulv_strbuf_add(b, *first ? "" : ", ");
        *first = false;
        if (sign || n < 0)
                ulv_strbuf_addc(b, n < 0 ? '-' : '+');
        format(b, (uint64_t) (n < 0 ? -n : n));
        ulv_strbuf_add(b, unit);
}

static void format_units(struct ulv_strbuf *b, uint64_t units) { ulv_size_format(b, units * ULV_MEMORY_UNIT); }

static bool is_any(const struct amounts *a) {
        return a->cores || a->share || a->memory || a->limited || a->attached.len > 0;
}

/* "1 core, 128M"; brief: without limits and what is attached. */
static void add_amounts(struct ulv_strbuf *b, const char *before, const struct amounts *a, bool sign, bool brief) {
        bool first = true;

        if (!is_any(a) || (brief && !a->cores && !a->share && !a->memory))
                return;
        ulv_strbuf_add(b, before);
        add_delta(b, a->cores, sign, &first, ulv_strbuf_addu, a->cores == 1 || a->cores == -1 ? " core" : " cores");
        add_delta(b, a->share, sign, &first, ulv_share_format, " share");
        add_delta(b, a->memory, sign, &first, format_units, "");
        if (a->limited && !brief)
                ulv_strbuf_addf(b, "%slimits", first ? "" : ", ");
        if (a->attached.len > 0 && !brief)
                ulv_strbuf_addf(b, "%s%s", first && !a->limited ? "" : ", ", ulv_strbuf_str(&a->attached));
}

static const char *verb_of(const struct deed *d) {
        static const struct { const char *state, *verb; } verbs[] = {
                { "starting", "start" }, { "stopping", "stop" }, { "pausing", "pause" }, { "running", "resume" },
        };

        if (d->state && d->forced && ulv_streq(d->state, "stopping"))
                return "kill";
        for (size_t i = 0; d->state && i < ULV_ARRAY_SIZE(verbs); i++)
                if (ulv_streq(d->state, verbs[i].state))
                        return verbs[i].verb;
        return d->removed ? "remove" : is_any(&d->gets) ? "change" : d->defined ? "define" : "change";
}

/* "start web: 1 core, 128M", "change db: +8G", "stop web" */
static void add_deed(struct ulv_strbuf *b, const struct deed *d) {
        bool starts = d->state && ulv_streq(d->state, "starting");

        ulv_strbuf_addf(b, "%s %s", verb_of(d), d->owner);
        add_amounts(b, ": ", &d->gets, !starts, starts);
}

/* "exit:1", "signal:9", "unknown", or words of which the first line tells it. */
static void add_end(struct ulv_strbuf *b, const struct deed *d) {
        const char *colon = strchr(d->result, ':');

        ulv_strbuf_addf(b, "%s %s: ", d->owner, d->failed ? "failed" : d->stopped ? "stopped with its unit" : "ended");
        if (ulv_startswith(d->result, "exit:") || ulv_startswith(d->result, "signal:"))
                ulv_strbuf_addf(b, "%.*s %s", (int) (colon - d->result), d->result, colon + 1);
        else
                ulv_strbuf_addf(b, "%.*s", (int) strcspn(d->result, "\n"), ulv_streq(d->result, "unknown") || !*d->result ? "how isn't known" : d->result);
}

/* "web reached running, 1 core, 128M", "db let go of 8G", "web ended: exit 1" */
static void add_report(struct ulv_strbuf *b, const struct deed *d) {
        const char *word = d->owner;

        if (d->result) {
                add_end(b, d);
                return;
        }
        if (d->refusal) {
                ulv_strbuf_addf(b, "%s can't: %.*s", word, (int) strcspn(d->refusal, "\n"), d->refusal);
                return;
        }
        if (d->state || is_any(&d->reached)) {
                ulv_strbuf_addf(b, "%s reached %s", word, d->state ? d->state : "");
                add_amounts(b, d->state ? ", " : "", &d->reached, false, false);
                word = " and";
        }
        if (is_any(&d->letgo)) {
                ulv_strbuf_addf(b, "%s let go of ", word);
                add_amounts(b, "", &d->letgo, false, false);
        }
}

static void amounts_done(struct amounts *a) { ulv_strbuf_done(&a->attached); }

int history_words(struct ulv_strbuf *b, const char *operations, bool report) {
        struct deeds d = { 0 };
        int r = ulv_op_each_line(operations, strlen(operations), take_operation, &d);

        for (size_t i = 0; i < d.n && i < DEEDS_SHOWN; i++) {
                ulv_strbuf_add(b, i > 0 ? "; " : "");
                (report ? add_report : add_deed)(b, &d.v[i]);
        }
        if (d.n > DEEDS_SHOWN)
                ulv_strbuf_addf(b, "; and %s%zu more", d.more > 0 ? "over " : "", d.n - DEEDS_SHOWN);
        for (size_t i = 0; i < d.n; i++) {
                amounts_done(&d.v[i].gets);
                amounts_done(&d.v[i].reached);
                amounts_done(&d.v[i].letgo);
        }
        for (size_t i = 0; i < d.n_ops; i++)
                ulv_op_done(&d.ops[i]);
        free(d.ops);
        return r < 0 ? r : 0;
}
