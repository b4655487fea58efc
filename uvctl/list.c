/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "model/name.h"
#include "uvctl/part.h"

static bool selected(const struct uvctl *u, const struct part *p, int argc, char **argv) {
        for (int i = 0; i < argc; i++)
                if (ulv_name_matches(argv[i], p->name))
                        return true;
        return argc == 0 && (!p->infrastructure || given(u, OPT_ALL));
}

static const struct table_column columns[] = {
        { "NAME", false }, { "TYPE", false }, { "ROLE", false }, { "STATE", false }, { "ISOLATION", false },
        { "CPU", false }, { "MEMORY", true }, { "UP", false },
};
static const struct table_column wide_columns[] = {
        { "NAME", false }, { "ZONE", false }, { "TYPE", false }, { "ROLE", false }, { "STATE", false },
        { "ISOLATION", false }, { "CPU", false }, { "CORES", false }, { "BY", false }, { "MEMORY", true },
        { "BY", false }, { "UP", false }, { "LEADER", true }, { "UNIT", false }, { "DESCRIPTION", false },
};

static const char *or_dash(const char *s) { return *s ? s : NULL; }

static void add_row(struct table *t, const struct part *p, bool wide) {
        _cleanup_strbuf_ struct ulv_strbuf cpu = { 0 }, memory = { 0 };
        char up[32];

        part_add_cpu(&cpu, p);
        part_add_memory(&memory, p);
        part_up(p, up, sizeof(up));
        table_add(t, p->name);
        if (wide)
                table_add(t, or_dash(p->zone));
        table_add(t, or_dash(p->type));
        table_add(t, or_dash(p->role));
        if (p->degraded || p->old_code)
                table_addf(t, "%s%s%s", p->state, p->degraded ? ", degraded" : "", p->old_code ? ", old code" : "");
        else
                table_add(t, or_dash(p->state));
        table_colour(t, state_colour(p));
        table_add(t, p->running && !p->infrastructure ? or_dash(p->isolation) : NULL);
        table_add_buffer(t, &cpu);
        if (wide) {
                table_add(t, or_dash(row_str(&p->op, "cores")));
                table_add(t, or_dash(row_str(&p->op, "cpu-how")));
        }
        table_add_buffer(t, &memory);
        if (wide)
                table_add(t, or_dash(row_str(&p->op, "memory-how")));
        table_add(t, up);
        if (wide) {
                if (p->leader > 0)
                        table_addf(t, "%" PRIu64, p->leader);
                else
                        table_add(t, NULL);
                table_add(t, or_dash(row_str(&p->op, "unit")));
                table_add(t, or_dash(p->description));
        }
}

/* Names of those that f is true of, behind "2 degraded: "; nothing if there are none. */
static void add_names(struct ulv_strbuf *b, const struct rows *rows, const char *word, bool (*f)(const struct part *p)) {
        unsigned n = 0;

        for (size_t i = 0; i < rows->n_parts; i++)
                n += f(&rows->parts[i]);
        if (n == 0)
                return;
        ulv_strbuf_addf(b, " %u %s:", n, word);
        for (size_t i = 0, shown = 0; i < rows->n_parts && shown < 8; i++)
                if (f(&rows->parts[i]))
                        ulv_strbuf_addf(b, "%s%s", shown++ > 0 ? ", " : " ", rows->parts[i].name);
        ulv_strbuf_add(b, n > 8 ? ", ..." : ".");
}

static bool is_degraded(const struct part *p) { return p->degraded; }
static bool is_old(const struct part *p) { return p->old_code; }
static bool is_failed(const struct part *p) { return ulv_streq(p->state, "failed"); }

/* "5 partitions. Idle: 3 cores, 4 share, 32G. Nothing degraded." */
static void add_summary(struct ulv_strbuf *b, const struct rows *rows, unsigned shown) {
        const struct part *idle = rows_part(rows, "idle");
        size_t before;

        ulv_strbuf_addf(b, "%u partition%s.", shown, shown == 1 ? "" : "s");
        if (idle) {
                ulv_strbuf_addf(b, " Idle: %" PRIu64 " core%s, ", idle->cores_wanted, idle->cores_wanted == 1 ? "" : "s");
                ulv_share_format(b, idle->share_wanted);
                ulv_strbuf_add(b, " share, ");
                ulv_size_format(b, idle->memory_wanted);
                /* "32G" says what it is; a bare 0 doesn't. */
                ulv_strbuf_add(b, idle->memory_wanted == 0 ? " memory." : ".");
        }
        before = b->len;
        add_names(b, rows, "degraded", is_degraded);
        add_names(b, rows, "failed", is_failed);
        if (b->len == before)
                ulv_strbuf_add(b, " Nothing degraded.");
        add_names(b, rows, "of old code (uvctl upgrade)", is_old);
        ulv_strbuf_addc(b, '\n');
        rows_notes(rows, b);
}

static int list_json(struct uvctl *u, const struct rows *rows, int argc, char **argv) {
        struct json j = { 0 };
        int r;

        json_array(&j, NULL);
        for (size_t i = 0; i < rows->n_parts; i++)
                if (selected(u, &rows->parts[i], argc, argv)) {
                        json_object(&j, NULL);
                        part_json(&j, &rows->parts[i]);
                        json_end(&j);
                }
        json_end(&j);
        r = put(u, &j.b);
        ulv_strbuf_done(&j.b);
        return r;
}

static int list_table(struct uvctl *u, const struct rows *rows, int argc, char **argv) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        bool wide = u->output == OUTPUT_WIDE;
        struct table t;
        unsigned shown = 0;
        int r = 0;

        table_init(&t, wide ? wide_columns : columns,
                   wide ? ULV_ARRAY_SIZE(wide_columns) : ULV_ARRAY_SIZE(columns));
        for (size_t i = 0; i < rows->n_parts; i++) {
                if (!selected(u, &rows->parts[i], argc, argv))
                        continue;
                shown += !ulv_streq(rows->parts[i].role, "infrastructure");
                if (u->output == OUTPUT_NAME)
                        ulv_strbuf_addf(&b, "%s\n", rows->parts[i].name);
                else
                        add_row(&t, &rows->parts[i], wide);
        }
        if (u->output != OUTPUT_NAME && t.n_cells > 0)
                r = table_write(&t, u->legend, u->colour, 0, &b);
        table_done(&t);
        if (r < 0)
                return fail_errno(u, r, "show the table");
        if (u->output != OUTPUT_NAME && u->legend)
                add_summary(&b, rows, shown);
        return put(u, &b);
}

/* A name without wildcards that isn't there is an error; a pattern that matches nothing is an answer. */
static int check_names(struct uvctl *u, const struct rows *rows, int argc, char **argv) {
        for (int i = 0; i < argc; i++)
                if (!strpbrk(argv[i], "*?") && !rows_part(rows, argv[i]))
                        return no_such_partition(u, argv[i]);
        return 0;
}

int verb_list(struct uvctl *u, int argc, char **argv) {
        struct rows rows;
        int r;

        r = rows_get(u, u->output == OUTPUT_TABLE || u->output == OUTPUT_WIDE ? ROWS_SUMMARY : ROWS_PARTITIONS, &rows);
        if (r != 0)
                return r;
        r = check_names(u, &rows, argc, argv);
        if (r == 0)
                r = u->output == OUTPUT_JSON ? list_json(u, &rows, argc, argv) : list_table(u, &rows, argc, argv);
        rows_done(&rows);
        return r;
}
