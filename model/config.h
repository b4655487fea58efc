/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What definitions, policies and bundles share: the texts of the usual mistakes, and short names of
 * places. Messages quote what the user wrote, but never so much of it that the rest is cut off. */

#include "lib/ini.h"
#include "lib/strbuf.h"
#include "model/definition.h"

/* A quoted piece of user text for a message: at most ULV_QUOTE_MAX bytes, cut at a character, "..." behind. */
#define ULV_QUOTE_MAX 48
struct ulv_quote { char s[ULV_QUOTE_MAX + 4]; };
struct ulv_quote ulv_quote(const char *text);
#define ULV_Q(text) (ulv_quote(text).s)

/* The nearest of n known words (an edit or two away, case aside), or NULL. */
const char *ulv_config_nearest(const char *word, const char *const *known, size_t n);

/* "Key=value is not EXPECTED" at the value, or, where the value has a comment behind it, that. */
int ulv_config_bad_value(const struct ulv_ini_item *item, const char *expected, struct ulv_diag *reterr);
/* "unknown KIND WORD: did you mean NEAREST?" at the item. prefix and suffix stand around a word: "[", "]" or "", "=". */
int ulv_config_unknown(const struct ulv_ini_item *item, const char *prefix, const char *word, const char *suffix,
                       const char *where, const char *const *known, size_t n, struct ulv_diag *reterr);

/* Where a file stands for a reader: "web.partition", "web.partition.d/50-set.conf". Points into file. */
const char *ulv_config_short_name(const char *file);

/* "[Section] Key=" of one file or set may be given once: where it was. */
struct ulv_key_place { const char *file; unsigned line, column, value_column; };        /* line 0: not given */
/* "line 5", or "web.partition:5" if that is another file than `from`. */
void ulv_config_add_place(struct ulv_strbuf *b, const struct ulv_key_place *at, const char *from);
/* The same in a buffer of its own, for one message. */
struct ulv_place_text { char s[160]; };
struct ulv_place_text ulv_config_place(const struct ulv_key_place *at, const char *from);
#define ULV_AT(at, from) (ulv_config_place(at, from).s)

/* Copies n short file names into one block and makes places point there; files and ret have n entries.
 * *ret_storage is to be freed. 0 or -ENOMEM. */
int ulv_config_keep_files(const struct ulv_source *files, size_t n, const char **ret, char **ret_storage) ULV_MUST_CHECK;

/* Copies src into dst (size bytes), cut to fit. */
void ulv_cut(char *dst, size_t size, const char *src);
