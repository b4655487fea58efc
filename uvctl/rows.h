/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The ledger's rows as the planner hands them out, read for showing. One pass over the text, each line
 * parsed once by model/op.h's parser; strings live in the ops. */

#include "model/op.h"
#include "model/quantity.h"
#include "uvctl/uvctl.h"

struct part {
        struct ulv_op op;               /* owns all strings */
        const char *name, *type, *role, *state, *isolation, *zone, *description;
        bool infrastructure, running, degraded;
        bool old_code;                  /* its monitor, or the role, is of another build than this uvctl (lib/build.h) */
        bool has_cores, has_share;      /* it has or wants some */
        uint64_t cores_wanted, cores_reached, share_wanted, share_reached, memory_wanted, memory_reached;
        uint64_t leader, since;
};

/* Who has how much, in the columns of `uvctl resources`. infrastructure owners count to the host. */
struct sum { uint64_t total, host, io, partitions, pool, idle; };
struct node_sum { unsigned node; struct sum cores, memory; /* memory in bytes */ };

/* How much is asked for. ROWS_PARTITIONS: partitions alone. ROWS_SUMMARY: these, and what rows_notes() says; the
 * rows of idle, host and pool have their own sums. ROWS_ALL: every row, and the sums over them. */
enum rows_extent { ROWS_PARTITIONS, ROWS_SUMMARY, ROWS_ALL };

struct rows {
        uint64_t generation;
        struct part *parts; size_t n_parts, size_parts;
        struct ulv_op *units; size_t n_units, size_units;       /* all others but uids and transactions */
        const char **io; size_t n_io;           /* names of I/O partitions */
        struct node_sum *nodes; size_t n_nodes;                 /* by number */
        struct sum cores, memory;
        struct cores { uint64_t cores, threads; } of_host, of_pool, *pool;      /* pool: the one that shares run on */
        uint64_t overcommit, share_given;       /* in 1/1000 */
        unsigned share_holders;
        bool imagined, stale;                   /* stale: uvd can't be reached, these are its last words */
        char machine[64];
};

int rows_get(struct uvctl *u, enum rows_extent extent, struct rows *ret) ULV_MUST_CHECK;
void rows_done(struct rows *r);
const struct part *rows_part(const struct rows *r, const char *name);
/* What must be said beside every sum: an imagined machine, a ledger that can't be reached. */
void rows_notes(const struct rows *r, struct ulv_strbuf *b);
const char *row_str(const struct ulv_op *op, const char *key);          /* "" if absent */
uint64_t row_u64(const struct ulv_op *op, const char *key);             /* 0 if absent or no number */
void row_values_json(struct json *j, const struct ulv_op *op);         /* "Values": its keys, into the open object */
void part_add_cpu(struct ulv_strbuf *b, const struct part *p);  /* "2 cores", "1 of 2 cores" (reached of wanted), "0.5 share", "-" */
void part_add_memory(struct ulv_strbuf *b, const struct part *p);       /* "2G", "2G of 3G", "-" */
