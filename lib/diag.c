/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/diag.h"

#include <stdarg.h>
#include <stdio.h>

ULV_PRINTF(3, 0)
static void set(char *field, size_t size, const char *fmt, va_list ap) {
        if (vsnprintf(field, size, fmt, ap) < 0)
                field[0] = 0;
}

void ulv_diag_what(struct ulv_diag *d, enum ulv_exit code, const char *fmt, ...) {
        va_list ap;

        if (!d)
                return;
        *d = (struct ulv_diag) { .code = code };
        va_start(ap, fmt);
        set(d->what, sizeof(d->what), fmt, ap);
        va_end(ap);
}

void ulv_diag_why(struct ulv_diag *d, const char *fmt, ...) {
        va_list ap;

        if (!d)
                return;
        va_start(ap, fmt);
        set(d->why, sizeof(d->why), fmt, ap);
        va_end(ap);
}

void ulv_diag_try(struct ulv_diag *d, const char *fmt, ...) {
        va_list ap;

        if (!d)
                return;
        va_start(ap, fmt);
        set(d->try_, sizeof(d->try_), fmt, ap);
        va_end(ap);
}

void ulv_diag_at(struct ulv_diag *d, const char *file, unsigned line, unsigned column) {
        if (!d)
                return;
        (void) snprintf(d->file, sizeof(d->file), "%s", file);
        d->line = line;
        d->column = column;
}
