/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tables without boxes: two spaces between columns, numbers to the right, nothing behind the last cell.
 * All text lives in one buffer; the first failure is remembered and told by table_write(). */

#include <stdarg.h>

#include "lib/strbuf.h"

enum colour { COLOUR_NONE, COLOUR_GOOD, COLOUR_WARN, COLOUR_BAD, COLOUR_DIM, COLOUR_BOLD };
const char *colour_start(enum colour c);
#define COLOUR_END "\033[0m"

#define TABLE_COLUMNS_MAX 16

struct table_column { const char *header; bool right; };

struct table {
        const struct table_column *columns;     /* the caller's, live as long as the table */
        unsigned n_columns;
        struct ulv_strbuf text;
        struct table_cell { size_t at, len; unsigned width; enum colour colour; } *cells;
        size_t n_cells, size;
        int error;
};

void table_init(struct table *t, const struct table_column *columns, unsigned n_columns);
void table_done(struct table *t);
/* Next cell, row by row. Unsafe characters are spelled out; NULL is shown as "-". */
void table_add(struct table *t, const char *s);
/* The same for text in a buffer; its error becomes the table's. */
void table_add_buffer(struct table *t, const struct ulv_strbuf *b);
void table_addf(struct table *t, const char *fmt, ...) ULV_PRINTF(2, 3);
void table_colour(struct table *t, enum colour c);      /* of the cell added last */
/* Appends the table, each line behind `indent` spaces. 0, -ENOMEM, -EINVAL (the last row is not full). */
int table_write(const struct table *t, bool header, bool colour, unsigned indent, struct ulv_strbuf *b) ULV_MUST_CHECK;
