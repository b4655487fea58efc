/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uvctl/table.h"

#include <stdio.h>

#include "uvctl/text.h"

const char *colour_start(enum colour c) {
        switch (c) {
        case COLOUR_GOOD: return "\033[32m";
        case COLOUR_WARN: return "\033[33m";
        case COLOUR_BAD: return "\033[1;31m";
        case COLOUR_DIM: return "\033[2m";
        case COLOUR_BOLD: return "\033[1m";
        case COLOUR_NONE: break;
        }
        return "";
}

void table_init(struct table *t, const struct table_column *columns, unsigned n_columns) {
        assert(n_columns > 0 && n_columns <= TABLE_COLUMNS_MAX);
        *t = (struct table) { .columns = columns, .n_columns = n_columns };
}

void table_done(struct table *t) {
        ulv_strbuf_done(&t->text);
        free(t->cells);
        *t = (struct table) { 0 };
}

static struct table_cell *new_cell(struct table *t) {
        struct table_cell *cells;
        size_t size;

        if (t->error < 0)
                return NULL;
        if (t->n_cells == t->size) {
                size = ULV_MAX(t->size * 2, (size_t) 64);
                cells = reallocarray(t->cells, size, sizeof(*cells));
                if (!cells) {
                        t->error = -ENOMEM;
                        return NULL;
                }
                t->cells = cells;
                t->size = size;
        }
        return &t->cells[t->n_cells++];
}

void table_add(struct table *t, const char *s) {
        struct table_cell *c = new_cell(t);

        if (!c)
                return;
        if (!s)
                s = "-";
        *c = (struct table_cell) { .at = t->text.len };
        text_safe(&t->text, s, strlen(s), false);
        c->len = t->text.len - c->at;
        c->width = text_width(ulv_strbuf_str(&t->text) + c->at, c->len);
}

void table_add_buffer(struct table *t, const struct ulv_strbuf *b) {
        if (ulv_strbuf_error(b) < 0 && t->error == 0)
                t->error = ulv_strbuf_error(b);
        table_add(t, ulv_strbuf_str(b));
}

void table_addf(struct table *t, const char *fmt, ...) {
        _cleanup_free_ char *s = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&s, fmt, ap);
        va_end(ap);
        if (n < 0) {
                s = NULL;
                t->error = -ENOMEM;
                return;
        }
        table_add(t, s);
}

void table_colour(struct table *t, enum colour c) {
        if (t->n_cells > 0)
                t->cells[t->n_cells - 1].colour = c;
}

static void pad(struct ulv_strbuf *b, unsigned n) {
        while (n-- > 0)
                ulv_strbuf_addc(b, ' ');
}

static void write_cell(const struct table *t, unsigned column, unsigned width, const char *s, size_t len,
                       unsigned shown, enum colour colour, struct ulv_strbuf *b) {
        bool right = t->columns[column].right;

        if (column > 0)
                ulv_strbuf_add(b, "  ");
        if (right)
                pad(b, width - shown);
        if (len == 0)
                colour = COLOUR_NONE;
        if (colour != COLOUR_NONE)
                ulv_strbuf_add(b, colour_start(colour));
        ulv_strbuf_add_len(b, s, len);
        if (colour != COLOUR_NONE)
                ulv_strbuf_add(b, COLOUR_END);
        if (!right)
                pad(b, width - shown);
}

/* Ends a line without blanks at its end. */
static void end_line(struct ulv_strbuf *b) {
        if (ulv_strbuf_error(b) == 0)
                while (b->len > 0 && b->s[b->len - 1] == ' ')
                        b->len--;
        ulv_strbuf_addc(b, '\n');
}

int table_write(const struct table *t, bool header, bool colour, unsigned indent, struct ulv_strbuf *b) {
        unsigned width[TABLE_COLUMNS_MAX] = { 0 };

        if (t->error < 0)
                return t->error;
        if (ulv_strbuf_error(&t->text) < 0)
                return ulv_strbuf_error(&t->text);
        if (t->n_cells % t->n_columns != 0)
                return -EINVAL;
        for (unsigned i = 0; header && i < t->n_columns; i++)
                width[i] = (unsigned) strlen(t->columns[i].header);
        for (size_t i = 0; i < t->n_cells; i++)
                width[i % t->n_columns] = ULV_MAX(width[i % t->n_columns], t->cells[i].width);

        if (header) {
                pad(b, indent);
                for (unsigned i = 0; i < t->n_columns; i++) {
                        const char *h = t->columns[i].header;

                        write_cell(t, i, width[i], h, strlen(h), (unsigned) strlen(h),
                                   colour ? COLOUR_BOLD : COLOUR_NONE, b);
                }
                end_line(b);
        }
        for (size_t i = 0; i < t->n_cells; i++) {
                const struct table_cell *c = &t->cells[i];
                unsigned column = (unsigned) (i % t->n_columns);

                if (column == 0)
                        pad(b, indent);
                write_cell(t, column, width[column], ulv_strbuf_str(&t->text) + c->at, c->len, c->width,
                           colour ? c->colour : COLOUR_NONE, b);
                if (column + 1 == t->n_columns)
                        end_line(b);
        }
        return ulv_strbuf_error(b);
}
