/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A partition's console log as one stream of bytes with positions (lib/logform.h). */

#include "uvctl/uvctl.h"

#define LOG_TAIL_MAX ((size_t) 64 * 1024 * 1024)        /* most that is read to find the last lines */

struct log_source { int fds[3]; };      /* .0, .1, .first; read-only */

int log_open(struct uvctl *u, const char *name, struct log_source *ret) ULV_MUST_CHECK;
void log_close(struct log_source *l);
/* Appends the first output of this life, if it isn't among the latest any more, and what is missing behind
 * it; *ret_at: where the latest output begins. 0 or -errno. */
int log_begin(const struct log_source *l, struct ulv_strbuf *b, uint64_t *ret_at) ULV_MUST_CHECK;
/* Appends at most 64K of what stands at *at, and moves it; says so where that is gone already. 1: something
 * was appended; 0: there is no more now; -errno. */
int log_next(const struct log_source *l, struct ulv_strbuf *b, uint64_t *at) ULV_MUST_CHECK;
/* Appends all that is kept, at most LOG_TAIL_MAX of its end. 0 or -errno. */
int log_all(const struct log_source *l, struct ulv_strbuf *b, uint64_t *ret_at) ULV_MUST_CHECK;
/* The same, cut down to its last n lines. */
int log_last(const struct log_source *l, unsigned n, struct ulv_strbuf *b, uint64_t *ret_at) ULV_MUST_CHECK;
/* The files aren't those of the partition any more: it was removed, or had none yet. */
bool log_stale(const struct log_source *l);
