/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "model/limits.h"
#include "uvctl/rows.h"

static const struct table_column columns[] = {
        { "", false }, { "TOTAL", true }, { "HOST", true }, { "I/O", true }, { "PARTITIONS", true },
        { "POOL", true }, { "IDLE", true },
};

static void add_amounts(struct table *t, const char *name, const struct sum *s, void (*format)(struct ulv_strbuf *b, uint64_t v)) {
        const uint64_t values[] = { s->total, s->host, s->io, s->partitions, s->pool, s->idle };

        table_add(t, name);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(values); i++) {
                _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

                format(&b, values[i]);
                /* Memory has no pool: "-" is "can't be", 0 is "isn't". */
                if (i == 4 && format == ulv_size_format)
                        table_add(t, NULL);
                else
                        table_add_buffer(t, &b);
        }
}

static void add_nodes(struct table *t, const struct rows *r, bool memory) {
        char name[32];

        if (r->n_nodes < 2)
                return;
        for (size_t i = 0; i < r->n_nodes; i++) {
                (void) snprintf(name, sizeof(name), "  node %u", r->nodes[i].node);
                if (memory)
                        add_amounts(t, name, &r->nodes[i].memory, ulv_size_format);
                else
                        add_amounts(t, name, &r->nodes[i].cores, ulv_strbuf_addu);
        }
}

static const char *plural(uint64_t n) { return n == 1 ? "" : "s"; }

/* "pool: 3 cores = 6 share, 2 given to 1 partition" */
static void add_pool(struct ulv_strbuf *b, const struct rows *r) {
        ulv_strbuf_addf(b, "pool: %s%" PRIu64 " core%s = ", r->pool == &r->of_host ? "the host's " : "", r->pool->cores, plural(r->pool->cores));
        ulv_share_format(b, r->pool->threads * r->overcommit);
        ulv_strbuf_add(b, " share");
        if (r->overcommit != 1000) {
                ulv_strbuf_add(b, " (overcommitted by ");
                ulv_share_format(b, r->overcommit);
                ulv_strbuf_addc(b, ')');
        }
        ulv_strbuf_add(b, ", ");
        ulv_share_format(b, r->share_given);
        ulv_strbuf_addf(b, " given to %u partition%s\n", r->share_holders, plural(r->share_holders));
}

/* What is on its way from one owner to another still counts to the first: say so. */
static void add_transfers(struct ulv_strbuf *b, const struct rows *r) {
        for (size_t i = 0; i < r->n_units; i++) {
                const struct ulv_op *op = &r->units[i];
                uint64_t amount = row_u64(op, "amount");

                if (!ulv_streq(op->kind, "transfer"))
                        continue;
                ulv_strbuf_addf(b, "on its way: %s ", row_str(op, "kind"));
                if (ulv_streq(row_str(op, "kind"), "memory"))
                        ulv_size_format(b, amount * ULV_MEMORY_UNIT);
                else if (ulv_streq(row_str(op, "kind"), "share"))
                        ulv_share_format(b, amount);
                else
                        ulv_strbuf_add(b, row_str(op, "id"));
                ulv_strbuf_addf(b, " from %s to %s\n", op->owner, row_str(op, "to"));
        }
}

static bool is_unit(const struct ulv_op *op) {
        static const char *const kinds[] = { "core", "memory", "share", "limit", "mount", "device", "disk", "channel", "pci", "block", "net" };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(kinds); i++)
                if (ulv_streq(op->kind, kinds[i]))
                        return true;
        return false;
}

static void format_amount(struct ulv_strbuf *b, const struct ulv_op *op, const char *key) {
        struct ulv_limit limit;

        if (!ulv_op_get(op, key))
                ulv_strbuf_addc(b, '-');
        else if (ulv_streq(op->kind, "memory"))
                ulv_size_format(b, row_u64(op, key) * ULV_MEMORY_UNIT);
        else if (ulv_streq(op->kind, "share"))
                ulv_share_format(b, row_u64(op, key));
        else if (ulv_streq(op->kind, "limit") && ulv_limit_from_id(op->id, &limit) == 0)
                ulv_limit_add_amount(b, limit.what, row_u64(op, key));
        else
                ulv_strbuf_addu(b, row_u64(op, key));
}

/* --all: the ledger's holdings one by one. */
static int show_units(struct uvctl *u, const struct rows *r) {
        static const struct table_column unit_columns[] = {
                { "KIND", false }, { "ID", false }, { "OWNER", false }, { "AMOUNT", true }, { "REACHED", true }, { "BY", false },
        };
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct table t;
        int q;

        table_init(&t, unit_columns, ULV_ARRAY_SIZE(unit_columns));
        for (size_t i = 0; i < r->n_units; i++) {
                _cleanup_strbuf_ struct ulv_strbuf amount = { 0 }, reached = { 0 };
                const struct ulv_op *op = &r->units[i];

                if (!is_unit(op))
                        continue;
                format_amount(&amount, op, "amount");
                format_amount(&reached, op, "reached");
                table_add(&t, op->kind);
                table_add(&t, op->id);
                table_add(&t, op->owner);
                table_add_buffer(&t, &amount);
                table_add_buffer(&t, &reached);
                table_add(&t, ulv_op_get(op, "how"));
        }
        q = table_write(&t, u->legend, u->colour, 0, &b);
        table_done(&t);
        return q < 0 ? fail_errno(u, q, "show the table") : put(u, &b);
}

static int show_sums(struct uvctl *u, const struct rows *r) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct table t;
        int q;

        table_init(&t, columns, ULV_ARRAY_SIZE(columns));
        add_amounts(&t, "cores", &r->cores, ulv_strbuf_addu);
        add_nodes(&t, r, false);
        add_amounts(&t, "memory", &r->memory, ulv_size_format);
        add_nodes(&t, r, true);
        q = table_write(&t, u->legend, u->colour, 0, &b);
        table_done(&t);
        if (q < 0)
                return fail_errno(u, q, "show the table");
        if (u->legend) {
                add_pool(&b, r);
                add_transfers(&b, r);
                rows_notes(r, &b);
        }
        return put(u, &b);
}

static void json_sum(struct json *j, const char *key, const struct sum *s) {
        json_object(j, key);
        json_u64(j, "Total", s->total);
        json_u64(j, "Host", s->host);
        json_u64(j, "IO", s->io);
        json_u64(j, "Partitions", s->partitions);
        json_u64(j, "Pool", s->pool);
        json_u64(j, "Idle", s->idle);
        json_end(j);
}

static void json_unit(struct json *j, const struct ulv_op *op) {
        json_object(j, NULL);
        json_string(j, "Kind", op->kind);
        json_string(j, "Id", op->id);
        json_string(j, "Owner", op->owner);
        row_values_json(j, op);
        json_end(j);
}

static int show_json(struct uvctl *u, const struct rows *r) {
        struct json j = { 0 };
        int q;

        json_object(&j, NULL);
        json_u64(&j, "Generation", r->generation);
        json_string(&j, "Machine", r->machine);
        json_bool(&j, "Imagined", r->imagined);
        json_sum(&j, "Cores", &r->cores);
        json_sum(&j, "Memory", &r->memory);
        json_array(&j, "Nodes");
        for (size_t i = 0; i < r->n_nodes; i++) {
                json_object(&j, NULL);
                json_u64(&j, "Node", r->nodes[i].node);
                json_sum(&j, "Cores", &r->nodes[i].cores);
                json_sum(&j, "Memory", &r->nodes[i].memory);
                json_end(&j);
        }
        json_end(&j);
        json_object(&j, "Pool");
        json_bool(&j, "OfHost", r->pool == &r->of_host);
        json_u64(&j, "Cores", r->pool->cores);
        json_milli(&j, "Share", r->pool->threads * r->overcommit);
        json_milli(&j, "Given", r->share_given);
        json_u64(&j, "Holders", r->share_holders);
        json_end(&j);
        if (given(u, OPT_ALL)) {
                json_array(&j, "Units");
                for (size_t i = 0; i < r->n_units; i++)
                        if (is_unit(&r->units[i]))
                                json_unit(&j, &r->units[i]);
                json_end(&j);
        }
        json_end(&j);
        q = put(u, &j.b);
        ulv_strbuf_done(&j.b);
        return q;
}

int verb_resources(struct uvctl *u, int argc ULV_UNUSED, char **argv ULV_UNUSED) {
        struct rows r;
        int q;

        q = rows_get(u, ROWS_ALL, &r);
        if (q != 0)
                return q;
        if (u->output == OUTPUT_JSON)
                q = show_json(u, &r);
        else if (given(u, OPT_ALL))
                q = show_units(u, &r);
        else
                q = show_sums(u, &r);
        rows_done(&r);
        return q;
}
