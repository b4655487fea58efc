/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* channel list: what the ledger knows of each channel. Its rows are ends; one line is both. */

#include <stdio.h>

#include "uvctl/json.h"
#include "uvctl/rows.h"
#include "uvctl/table.h"

struct pair { const struct ulv_op *end[2]; };   /* NULL: that end's partition isn't running, or doesn't want it */

static const struct ulv_op *find_other(const struct rows *r, const struct ulv_op *op) {
        size_t n = strcspn(op->id, "@");

        for (size_t i = 0; i < r->n_units; i++) {
                const struct ulv_op *o = &r->units[i];

                if (ulv_streq(o->kind, "channel") && ulv_streq(o->owner, row_str(op, "peer")) && strncmp(o->id, op->id, n + 1) == 0)
                        return o;
        }
        return NULL;
}

/* The pair that a row tells of; one whose both ends are there is told by its owner's. */
static bool pair_of(const struct rows *r, const struct ulv_op *op, struct pair *ret) {
        unsigned end = row_u64(op, "end") == 1;

        if (!ulv_streq(op->kind, "channel"))
                return false;
        *ret = (struct pair) { 0 };
        ret->end[end] = op;
        ret->end[!end] = find_other(r, op);
        return end == 0 || !ret->end[0];
}

static const char *owner_of(const struct pair *p, unsigned end) { return p->end[end] ? p->end[end]->owner : row_str(p->end[!end], "peer"); }

static const char *state_of(const struct pair *p) {
        if (!p->end[0] || !p->end[1])
                return "waiting";
        return *row_str(p->end[0], "memory") && ulv_streq(row_str(p->end[0], "memory"), row_str(p->end[1], "memory")) ? "connected" : "joining";
}

static uint64_t epoch_of(const struct pair *p) {
        uint64_t a = p->end[0] ? row_u64(p->end[0], "epoch") : 0, b = p->end[1] ? row_u64(p->end[1], "epoch") : 0;

        return ULV_MAX(a, b);
}

static bool is_wanted(const struct pair *p, int argc, char **argv) {
        for (int i = 0; i < argc; i++)
                if (ulv_streq(argv[i], owner_of(p, 0)) || ulv_streq(argv[i], owner_of(p, 1)))
                        return true;
        return argc == 0;
}

/* Booked to its owner, or, where the monitor can't enter the cgroup, not: that is said. */
static const char *memory_of(const struct pair *p) {
        const char *how = p->end[0] ? row_str(p->end[0], "how") : "";

        return ulv_streq(how, "shared") ? "booked" : ulv_streq(how, "unbooked") ? "unbooked" : NULL;
}

static void add_label(struct table *t, const struct ulv_op *op) { table_addf(t, "%.*s", (int) strcspn(op->id, "@"), op->id); }

static int show_table(struct uvctl *u, const struct rows *r, int argc, char **argv) {
        static const struct table_column columns[] = {
                { "CHANNEL", false }, { "OWNER", false }, { "PEER", false }, { "KIND", false }, { "SIZE", true }, { "STATE", false },
                { "EPOCH", true }, { "MEMORY", false },
        };
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct table t;
        struct pair p;
        int q;

        table_init(&t, columns, ULV_ARRAY_SIZE(columns));
        for (size_t i = 0; i < r->n_units; i++) {
                _cleanup_strbuf_ struct ulv_strbuf size = { 0 };

                if (!pair_of(r, &r->units[i], &p) || !is_wanted(&p, argc, argv))
                        continue;
                ulv_size_format(&size, row_u64(&r->units[i], "size"));
                add_label(&t, &r->units[i]);
                table_add(&t, owner_of(&p, 0));
                table_add(&t, owner_of(&p, 1));
                table_add(&t, row_str(&r->units[i], "kind"));
                table_add_buffer(&t, &size);
                table_add(&t, state_of(&p));
                table_addf(&t, "%llu", (unsigned long long) epoch_of(&p));
                table_add(&t, memory_of(&p));
        }
        q = table_write(&t, u->legend, u->colour, 0, &b);
        table_done(&t);
        if (q < 0)
                return fail_errno(u, q, "show the table");
        rows_notes(r, &b);
        return put(u, &b);
}

static int show_json(struct uvctl *u, const struct rows *r, int argc, char **argv) {
        struct json j = { 0 };
        struct pair p;
        int q;

        json_array(&j, NULL);
        for (size_t i = 0; i < r->n_units; i++) {
                const struct ulv_op *op = &r->units[i];
                char label[128];

                if (!pair_of(r, op, &p) || !is_wanted(&p, argc, argv))
                        continue;
                (void) snprintf(label, sizeof(label), "%.*s", (int) strcspn(op->id, "@"), op->id);
                json_object(&j, NULL);
                json_string(&j, "Channel", label);
                json_string(&j, "Owner", owner_of(&p, 0));
                json_string(&j, "Peer", owner_of(&p, 1));
                json_string(&j, "Kind", row_str(op, "kind"));
                json_u64(&j, "Size", row_u64(op, "size"));
                json_string(&j, "State", state_of(&p));
                json_u64(&j, "Epoch", epoch_of(&p));
                json_string(&j, "Memory", memory_of(&p));
                json_string(&j, "Number", row_str(op, "memory"));
                json_end(&j);
        }
        json_end(&j);
        q = put(u, &j.b);
        ulv_strbuf_done(&j.b);
        return q;
}

int verb_channel(struct uvctl *u, int argc, char **argv) {
        struct rows r;
        int q;

        if (!ulv_streq(argv[0], "list")) {
                ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "uvctl channel has no verb \"%.64s\"", argv[0]);
                ulv_diag_try(&u->diag, "uvctl channel list [NAME...]");
                return ULV_EXIT_USAGE;
        }
        q = rows_get(u, ROWS_ALL, &r);
        if (q != 0)
                return q;
        q = (u->output == OUTPUT_JSON ? show_json : show_table)(u, &r, argc - 1, argv + 1);
        rows_done(&r);
        return q;
}
