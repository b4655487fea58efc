/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A growing text buffer with a hard maximum. The first failed append is remembered, and every later
 * one is a no-op, so a writer appends without looking and asks ulv_strbuf_error() once at the end.
 * The text is always NUL-terminated; s is never NULL after the first successful append. */

#include <stdarg.h>

#include "lib/base.h"

struct ulv_strbuf {
        char *s;        /* owned; NULL while empty */
        size_t len;     /* bytes without the final NUL */
        size_t size;    /* bytes allocated */
        size_t max;     /* most bytes that s may take; 0 means ULV_STRBUF_MAX */
        int error;      /* 0, or the -errno of the first failure: -ENOMEM, -E2BIG (over max) */
};

#define ULV_STRBUF_MAX ((size_t) 256 * 1024 * 1024)
#define _cleanup_strbuf_ ULV_CLEANUP(ulv_strbuf_done)

void ulv_strbuf_done(struct ulv_strbuf *b);
void ulv_strbuf_reset(struct ulv_strbuf *b);            /* empties, keeps the memory and max, clears error */
void ulv_strbuf_add(struct ulv_strbuf *b, const char *s);
void ulv_strbuf_add_len(struct ulv_strbuf *b, const char *s, size_t len);
void ulv_strbuf_addc(struct ulv_strbuf *b, char c);
void ulv_strbuf_addu(struct ulv_strbuf *b, uint64_t v); /* decimal */
void ulv_strbuf_addf(struct ulv_strbuf *b, const char *fmt, ...) ULV_PRINTF(2, 3);
void ulv_strbuf_addv(struct ulv_strbuf *b, const char *fmt, va_list ap) ULV_PRINTF(2, 0);

static inline int ulv_strbuf_error(const struct ulv_strbuf *b) { return b->error; }
/* The text so far, "" if none. Valid until the next append. */
static inline const char *ulv_strbuf_str(const struct ulv_strbuf *b) { return b->s ? b->s : ""; }
/* Hands the text to the caller (to free), leaves b empty. NULL after an error or out of memory. */
char *ulv_strbuf_steal(struct ulv_strbuf *b);
