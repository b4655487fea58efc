/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/strbuf.h"

#include <stdio.h>

void ulv_strbuf_done(struct ulv_strbuf *b) {
        size_t max = b->max;

        free(b->s);
        *b = (struct ulv_strbuf) { .max = max };
}

void ulv_strbuf_reset(struct ulv_strbuf *b) {
        b->len = 0;
        b->error = 0;
        if (b->s)
                b->s[0] = 0;
}

static bool reserve(struct ulv_strbuf *b, size_t more) {
        size_t max = b->max ? b->max : ULV_STRBUF_MAX, size;
        char *s;

        if (b->error < 0)
                return false;
        if (more > max || b->len > max - more) {
                b->error = -E2BIG;
                return false;
        }
        if (b->len + more + 1 <= b->size)
                return true;
        size = ULV_MAX(b->size * 2, (size_t) 64);
        size = ULV_MAX(size, b->len + more + 1);
        s = realloc(b->s, size);
        if (!s) {
                b->error = -ENOMEM;
                return false;
        }
        b->s = s;
        b->size = size;
        return true;
}

void ulv_strbuf_add_len(struct ulv_strbuf *b, const char *s, size_t len) {
        if (!reserve(b, len))
                return;
        if (len > 0)
                memcpy(b->s + b->len, s, len);
        b->len += len;
        b->s[b->len] = 0;
}

void ulv_strbuf_add(struct ulv_strbuf *b, const char *s) { ulv_strbuf_add_len(b, s, strlen(s)); }
void ulv_strbuf_addc(struct ulv_strbuf *b, char c) { ulv_strbuf_add_len(b, &c, 1); }

void ulv_strbuf_addu(struct ulv_strbuf *b, uint64_t v) {
        char digits[20];
        size_t n = sizeof(digits);

        do
                digits[--n] = (char) ('0' + v % 10);
        while ((v /= 10) > 0);
        ulv_strbuf_add_len(b, digits + n, sizeof(digits) - n);
}

void ulv_strbuf_addv(struct ulv_strbuf *b, const char *fmt, va_list ap) {
        va_list again;
        int n;

        va_copy(again, ap);
        n = vsnprintf(NULL, 0, fmt, again);
        va_end(again);
        if (n < 0) {
                if (b->error == 0)
                        b->error = -EINVAL;
                return;
        }
        if (!reserve(b, (size_t) n))
                return;
        (void) vsnprintf(b->s + b->len, (size_t) n + 1, fmt, ap);
        b->len += (size_t) n;
}

void ulv_strbuf_addf(struct ulv_strbuf *b, const char *fmt, ...) {
        va_list ap;

        va_start(ap, fmt);
        ulv_strbuf_addv(b, fmt, ap);
        va_end(ap);
}

char *ulv_strbuf_steal(struct ulv_strbuf *b) {
        char *s;

        if (b->error < 0 || (!b->s && !reserve(b, 0)))
                return NULL;
        b->s[b->len] = 0;
        s = ulv_steal(b->s);
        *b = (struct ulv_strbuf) { .max = b->max };
        return s;
}
