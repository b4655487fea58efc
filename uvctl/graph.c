/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* graph: the ledger as a picture, in the language of Graphviz. A box is a thing that is owned, an ellipse is
 * who owns it; cores of one owner on one node are one box, so that a large machine still fits a page.
 * `uvctl graph | dot -Tsvg >host.svg`. */

#include <inttypes.h>

#include "model/definition.h"
#include "uvctl/rows.h"

/* A quoted string of DOT: only the quote and the backslash mean something in it. */
static void add_quoted(struct ulv_strbuf *b, const char *prefix, const char *s) {
        ulv_strbuf_addf(b, "\"%s", prefix);
        for (; *s; s++) {
                if (*s == '"' || *s == '\\')
                        ulv_strbuf_addc(b, '\\');
                ulv_strbuf_addc(b, (unsigned char) *s < ' ' ? ' ' : *s);
        }
        ulv_strbuf_addc(b, '"');
}

static void add_edge(struct ulv_strbuf *b, const char *owner, const char *prefix, const char *id) {
        ulv_strbuf_add(b, "  ");
        add_quoted(b, "", owner);
        ulv_strbuf_add(b, " -> ");
        add_quoted(b, prefix, id);
}

static void add_owner(struct ulv_strbuf *b, const struct part *p) {
        const char *colour = p->infrastructure ? "gray90" : p->degraded || ulv_streq(p->state, "failed") ? "orange" :
                             p->running ? "palegreen" : "white";

        ulv_strbuf_add(b, "  ");
        add_quoted(b, "", p->name);
        ulv_strbuf_addf(b, " [style=filled, fillcolor=%s, label=\"%s", colour, p->name);
        if (!p->infrastructure) {
                ulv_strbuf_addf(b, "\\n%s%s\\n", p->state, p->degraded ? ", degraded" : "");
                part_add_cpu(b, p);
                ulv_strbuf_add(b, ", ");
                part_add_memory(b, p);
        }
        ulv_strbuf_add(b, "\"];\n");
}

/* The cores that an owner has on a node: one box in the node's cluster. */
static void add_cores(struct ulv_strbuf *b, struct ulv_strbuf *edges, const struct rows *r, unsigned node, const char *owner) {
        struct ulv_cpus cores = { 0 };
        char id[96];

        for (size_t i = 0; i < r->n_units; i++) {
                const struct ulv_op *op = &r->units[i];
                uint64_t number;

                if (ulv_streq(op->kind, "core") && ulv_streq(op->owner, owner) && row_u64(op, "node") == node &&
                    ulv_uint_parse(op->id, ULV_CPU_MAX - 1, &number) == 0)
                        ulv_cpus_set(&cores, (unsigned) number);
        }
        if (ulv_cpus_count(&cores) == 0)
                return;
        (void) snprintf(id, sizeof(id), "%u %s", node, owner);
        ulv_strbuf_add(b, "    ");
        add_quoted(b, "cores ", id);
        ulv_strbuf_addf(b, " [label=\"core%s ", ulv_cpus_count(&cores) == 1 ? "" : "s");
        ulv_cpus_format(b, &cores);
        ulv_strbuf_add(b, "\"];\n");
        add_edge(edges, owner, "cores ", id);
        ulv_strbuf_add(edges, ";\n");
}

static void add_node(struct ulv_strbuf *b, struct ulv_strbuf *edges, const struct rows *r, unsigned node) {
        ulv_strbuf_addf(b, "  subgraph cluster_node%u {\n    label=\"node %u\";\n", node, node);
        for (size_t i = 0; i < r->n_parts; i++)
                add_cores(b, edges, r, node, r->parts[i].name);
        for (size_t i = 0; i < r->n_units; i++) {
                const struct ulv_op *op = &r->units[i], *before = i > 0 ? &r->units[i - 1] : op;

                if (!ulv_streq(op->kind, "memory") || strtoul(op->id, NULL, 10) != node)
                        continue;
                /* Rows come sorted: one an owner, and the box is needed once. */
                if (before != op && ulv_streq(before->kind, op->kind) && ulv_streq(before->id, op->id))
                        continue;
                ulv_strbuf_add(b, "    ");
                add_quoted(b, "memory ", op->id);
                ulv_strbuf_add(b, ";\n");
        }
        ulv_strbuf_add(b, "  }\n");
}

/* What is counted, and devices: an edge each, with the amount. Cores have theirs already. */
static void add_holding(struct ulv_strbuf *edges, const struct ulv_op *op) {
        static const char *const devices[] = { "pci", "block", "net" };
        bool memory = ulv_streq(op->kind, "memory"), share = ulv_streq(op->kind, "share"), device = false;
        uint64_t amount = row_u64(op, "amount");
        char prefix[32];

        for (size_t i = 0; i < ULV_ARRAY_SIZE(devices); i++)
                device |= ulv_streq(op->kind, devices[i]);
        if (!device && !((memory || share) && amount > 0))
                return;
        (void) snprintf(prefix, sizeof(prefix), "%.16s ", op->kind);
        add_edge(edges, op->owner, prefix, op->id);
        if (!device) {
                ulv_strbuf_add(edges, " [label=\"");
                if (memory)
                        ulv_size_format(edges, amount * ULV_MEMORY_UNIT);
                else
                        ulv_share_format(edges, amount);
                ulv_strbuf_add(edges, "\"]");
        }
        ulv_strbuf_add(edges, ";\n");
}

/* After= and bridges stand in the definition, not in a row. */
static int add_definition(struct uvctl *u, struct ulv_strbuf *edges, const struct part *p) {
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *d = NULL;
        _cleanup_message_ sd_bus_message *m = NULL;
        char file[ULV_NAME_MAX + 16];
        const char *text, *files;
        struct ulv_source source;
        int r;

        r = client_call(u, &m, "Definition", "s", p->name);
        if (r == ULV_EXIT_NOT_FOUND) {          /* in the ledger, in the files no more */
                u->diag = (struct ulv_diag) { 0 };
                return 0;
        }
        if (r == 0)
                r = client_read(u, m, "ss", &text, &files);
        if (r != 0)
                return r;
        (void) snprintf(file, sizeof(file), "%.63s.partition", p->name);
        source = (struct ulv_source) { file, text, strlen(text) };
        r = ulv_definition_parse(&source, 1, &d, &u->diag);
        if (r != 0)
                return r < 0 ? fail_errno(u, r, "read a definition") : ULV_EXIT_FAILED;
        for (size_t i = 0; i < d->n_after; i++) {
                add_edge(edges, p->name, "", d->after[i]);
                ulv_strbuf_add(edges, " [style=dashed, label=\"After\"];\n");
        }
        for (size_t i = 0; i < d->n_networks; i++) {
                if (!d->networks[i].bridge[0])
                        continue;
                add_edge(edges, p->name, "bridge ", d->networks[i].bridge);
                ulv_strbuf_add(edges, " [style=dotted, label=");
                add_quoted(edges, "", d->networks[i].label);
                ulv_strbuf_add(edges, "];\n");
        }
        return 0;
}

static int build(struct uvctl *u, const struct rows *rows, struct ulv_strbuf *b) {
        _cleanup_strbuf_ struct ulv_strbuf edges = { 0 };
        int r = 0;

        ulv_strbuf_add(b, "digraph ultravisor {\n  label=");
        add_quoted(b, "", rows->machine);
        ulv_strbuf_addf(b, ";\n  comment=\"ledger generation %" PRIu64 "\";\n  rankdir=LR;\n  node [shape=ellipse];\n", rows->generation);
        for (size_t i = 0; i < rows->n_parts && r == 0; i++) {
                add_owner(b, &rows->parts[i]);
                if (!rows->parts[i].infrastructure)
                        r = add_definition(u, &edges, &rows->parts[i]);
        }
        ulv_strbuf_add(b, "  node [shape=box];\n");
        for (size_t i = 0; i < rows->n_nodes; i++)
                add_node(b, &edges, rows, rows->nodes[i].node);
        for (size_t i = 0; i < rows->n_units; i++)
                add_holding(&edges, &rows->units[i]);
        ulv_strbuf_add(b, ulv_strbuf_str(&edges));
        ulv_strbuf_add(b, "}\n");
        return r == 0 && ulv_strbuf_error(&edges) < 0 ? fail_errno(u, ulv_strbuf_error(&edges), "draw the graph") : r;
}

int verb_graph(struct uvctl *u, int argc ULV_UNUSED, char **argv ULV_UNUSED) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct rows rows;
        int r;

        r = rows_get(u, ROWS_ALL, &rows);
        if (r != 0)
                return r;
        r = build(u, &rows, &b);
        rows_done(&rows);
        return r != 0 ? r : put(u, &b);
}
