/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* channel list, show: what the ledger knows of each channel; show asks the ends, too. */

#include "uvctl/channel.h"

#include <stdio.h>

#include "channel/ring.h"
#include "uvctl/json.h"
#include "uvctl/table.h"

static const struct ulv_op *find_other(const struct rows *r, const struct ulv_op *op) {
        size_t n = strcspn(op->id, "@");

        for (size_t i = 0; i < r->n_units; i++) {
                const struct ulv_op *o = &r->units[i];

                if (ulv_streq(o->kind, "channel") && ulv_streq(o->owner, row_str(op, "peer")) && strncmp(o->id, op->id, n + 1) == 0)
                        return o;
        }
        return NULL;
}

bool pair_of(const struct rows *r, const struct ulv_op *op, struct pair *ret) {
        unsigned end = row_u64(op, "end") == 1;

        if (!ulv_streq(op->kind, "channel"))
                return false;
        *ret = (struct pair) { 0 };
        ret->end[end] = op;
        ret->end[!end] = find_other(r, op);
        return end == 0 || !ret->end[0];
}

const struct ulv_op *pair_row(const struct pair *p) { return p->end[0] ? p->end[0] : p->end[1]; }
const char *pair_owner(const struct pair *p, unsigned end) { return p->end[end] ? p->end[end]->owner : row_str(p->end[!end], "peer"); }

const char *pair_label(const struct pair *p, char buf[static 64]) {
        (void) snprintf(buf, 64, "%.*s", (int) ULV_MIN(strcspn(pair_row(p)->id, "@"), 63u), pair_row(p)->id);
        return buf;
}

const char *pair_state(const struct pair *p) {
        if (ulv_streq(pair_owner(p, 1), "host"))
                return *row_str(p->end[0], "memory") ? "ready" : "joining";
        if (!p->end[0] || !p->end[1])
                return "waiting";
        return *row_str(p->end[0], "memory") && ulv_streq(row_str(p->end[0], "memory"), row_str(p->end[1], "memory")) ? "connected" : "joining";
}

uint64_t pair_epoch(const struct pair *p) {
        uint64_t a = p->end[0] ? row_u64(p->end[0], "epoch") : 0, b = p->end[1] ? row_u64(p->end[1], "epoch") : 0;

        return ULV_MAX(a, b);
}

/* Booked to its owner, or, where the monitor can't enter the cgroup, not: that is said. */
const char *pair_memory(const struct pair *p) {
        const char *how = p->end[0] ? row_str(p->end[0], "how") : "";

        return ulv_streq(how, "shared") ? "booked" : ulv_streq(how, "unbooked") ? "unbooked" : NULL;
}

static bool is_named(const struct pair *p, const char *label, size_t n, const char *owner) {
        const char *id = pair_row(p)->id;

        return strcspn(id, "@") == n && strncmp(id, label, n) == 0 &&
               (!*owner || ulv_streq(owner, pair_owner(p, 0)) || ulv_streq(owner, pair_owner(p, 1)));
}

int pair_find(struct uvctl *u, const struct rows *r, const char *name, struct pair *ret) {
        size_t n = strcspn(name, "@");
        const char *owner = name[n] ? name + n + 1 : "";
        unsigned found = 0;
        struct pair p;

        for (size_t i = 0; i < r->n_units; i++)
                if (pair_of(r, &r->units[i], &p) && is_named(&p, name, n, owner) && found++ == 0)
                        *ret = p;
        if (found == 1)
                return 0;
        if (found == 0) {
                ulv_diag_what(&u->diag, ULV_EXIT_NOT_FOUND, "no channel %.128s", name);
                ulv_diag_why(&u->diag, "none of that name is there; one comes with the partitions that have it");
                ulv_diag_try(&u->diag, "uvctl channel list");
                return ULV_EXIT_NOT_FOUND;
        }
        ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "%u channels are called %.128s", found, name);
        ulv_diag_why(&u->diag, "each is some partition's");
        ulv_diag_try(&u->diag, "%.*s@%s", (int) n, name, pair_owner(ret, 0));
        return ULV_EXIT_USAGE;
}

static bool is_wanted(const struct pair *p, int argc, char **argv) {
        for (int i = 0; i < argc; i++)
                if (ulv_streq(argv[i], pair_owner(p, 0)) || ulv_streq(argv[i], pair_owner(p, 1)))
                        return true;
        return argc == 0;
}

static void add_label(struct table *t, const struct ulv_op *op) { table_addf(t, "%.*s", (int) strcspn(op->id, "@"), op->id); }

static int list_table(struct uvctl *u, const struct rows *r, int argc, char **argv) {
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
                table_add(&t, pair_owner(&p, 0));
                table_add(&t, pair_owner(&p, 1));
                table_add(&t, row_str(&r->units[i], "kind"));
                table_add_buffer(&t, &size);
                table_add(&t, pair_state(&p));
                table_addf(&t, "%llu", (unsigned long long) pair_epoch(&p));
                table_add(&t, pair_memory(&p));
        }
        q = table_write(&t, u->legend, u->colour, 0, &b);
        table_done(&t);
        if (q < 0)
                return fail_errno(u, q, "show the table");
        rows_notes(r, &b);
        return put(u, &b);
}

static void pair_json(struct json *j, const struct pair *p) {
        char label[64];

        json_string(j, "Channel", pair_label(p, label));
        json_string(j, "Owner", pair_owner(p, 0));
        json_string(j, "Peer", pair_owner(p, 1));
        json_string(j, "Kind", row_str(pair_row(p), "kind"));
        json_u64(j, "Size", row_u64(pair_row(p), "size"));
        json_string(j, "State", pair_state(p));
        json_u64(j, "Epoch", pair_epoch(p));
        json_string(j, "Memory", pair_memory(p));
        json_string(j, "Number", row_str(pair_row(p), "memory"));
}

static int list_json(struct uvctl *u, const struct rows *r, int argc, char **argv) {
        struct json j = { 0 };
        struct pair p;
        int q;

        json_array(&j, NULL);
        for (size_t i = 0; i < r->n_units; i++) {
                if (!pair_of(r, &r->units[i], &p) || !is_wanted(&p, argc, argv))
                        continue;
                json_object(&j, NULL);
                pair_json(&j, &p);
                json_end(&j);
        }
        json_end(&j);
        q = put(u, &j.b);
        ulv_strbuf_done(&j.b);
        return q;
}

static int list(struct uvctl *u, int argc, char **argv) {
        struct rows r;
        int q = rows_get(u, ROWS_ALL, &r);

        if (q != 0)
                return q;
        q = (u->output == OUTPUT_JSON ? list_json : list_table)(u, &r, argc, argv);
        rows_done(&r);
        return q;
}

/* --- show ----------------------------------------------------------------------------------------------------- */

static bool has_rings(const struct pair *p) { return !ulv_streq(row_str(pair_row(p), "kind"), "memory"); }

static void add_geometry(struct ulv_strbuf *b, const struct pair *p) {
        uint64_t size = row_u64(pair_row(p), "size"), ring = channel_ring_size(size);

        if (has_rings(p)) {
                ulv_strbuf_add(b, "two rings of ");
                ulv_size_format(b, ring);
                ulv_strbuf_addf(b, ", a message of %llu bytes at most", (unsigned long long) ring_message_max(ring));
        } else {
                ulv_strbuf_add(b, "a region of ");
                ulv_size_format(b, size - CHANNEL_PAGE);
        }
}

static void show_text(const struct pair *p, const struct channel_account *s, struct ulv_strbuf *b) {
        const char *memory = pair_memory(p);
        char label[64];

        ulv_strbuf_addf(b, "%s%s - %s of ", b->len > 0 ? "\n" : "", pair_label(p, label), row_str(pair_row(p), "kind"));
        ulv_size_format(b, row_u64(pair_row(p), "size"));
        ulv_strbuf_addf(b, "\n      State: %s, epoch %llu\n", pair_state(p), (unsigned long long) pair_epoch(p));
        for (unsigned i = 0; i < 2; i++) {
                ulv_strbuf_addf(b, "      End %u: %s%s, ", i, pair_owner(p, i), i == 0 ? ", which owns the memory" : "");
                if (s)
                        end_state(&s->end[i], b);
                else
                        ulv_strbuf_add(b, p->end[i] ? "its program isn't known" : "not here");
                ulv_strbuf_addc(b, '\n');
        }
        ulv_strbuf_add(b, "   Geometry: ");
        add_geometry(b, p);
        ulv_strbuf_add(b, "\n     Memory: ");
        ulv_size_format(b, row_u64(pair_row(p), "size"));
        if (memory)
                ulv_strbuf_addf(b, ulv_streq(memory, "booked") ? ", booked to %s\n" : ", not booked to %s: its cgroup can't be entered\n", pair_owner(p, 0));
        else
                ulv_strbuf_add(b, ", not there yet\n");
}

static void end_json(struct json *j, const struct pair *p, const struct channel_account *s, unsigned end) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

        json_object(j, NULL);
        json_string(j, "Partition", pair_owner(p, end));
        json_bool(j, "OwnsMemory", end == 0);
        if (s) {
                end_state(&s->end[end], &b);
                json_string(j, "State", ulv_strbuf_str(&b));
        }
        json_end(j);
}

static void show_json(const struct pair *p, const struct channel_account *s, struct json *j) {
        uint64_t ring = channel_ring_size(row_u64(pair_row(p), "size"));

        json_object(j, NULL);
        pair_json(j, p);
        if (has_rings(p)) {
                json_u64(j, "RingSize", ring);
                json_u64(j, "MessageMax", ring_message_max(ring));
        }
        json_array(j, "Ends");
        end_json(j, p, s, 0);
        end_json(j, p, s, 1);
        json_end(j);
        json_end(j);
}

static int show(struct uvctl *u, int argc, char **argv) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct json j = { 0 };
        struct rows r;
        int q;

        if (argc == 0)
                return fail(u, ULV_EXIT_USAGE, "which channel?", "uvctl channel show wants names", "uvctl channel list");
        q = rows_get(u, ROWS_ALL, &r);
        if (q != 0)
                return q;
        json_array(&j, NULL);
        for (int i = 0; q == 0 && i < argc; i++) {
                struct channel_account s;
                struct pair p;
                bool asked;

                q = pair_find(u, &r, argv[i], &p);
                if (q != 0)
                        break;
                asked = pair_ask(u, &p, &s);
                if (u->output == OUTPUT_JSON)
                        show_json(&p, asked ? &s : NULL, &j);
                else
                        show_text(&p, asked ? &s : NULL, &b);
        }
        json_end(&j);
        if (q == 0)
                q = put(u, u->output == OUTPUT_JSON ? &j.b : &b);
        ulv_strbuf_done(&j.b);
        rows_done(&r);
        return q;
}

static const struct { const char *name, *args; int (*run)(struct uvctl *u, int argc, char **argv); } verbs[] = {
        { "list", "[PARTITION...]", list },
        { "show", "CHANNEL...", show },
        { "stat", "[CHANNEL...]", channel_stat },
        { "cat", "CHANNEL [COUNT]", channel_cat },
        { "perf", "CHANNEL [COUNT]", channel_perf },
};

int verb_channel(struct uvctl *u, int argc, char **argv) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(verbs); i++)
                if (ulv_streq(argv[0], verbs[i].name))
                        return verbs[i].run(u, argc - 1, argv + 1);
        ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "uvctl channel has no verb \"%.64s\"", argv[0]);
        ulv_diag_why(&u->diag, "it has list, show, stat, cat and perf");
        ulv_diag_try(&u->diag, "uvctl channel list [PARTITION...]");
        return ULV_EXIT_USAGE;
}
