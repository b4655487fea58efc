/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The INI form of definitions, policies and settings: a pure scanner over (buffer, length).
 *
 *   # comment, on its own line (also ;)
 *   [Section]   or   [Section "label"]
 *   Key=value            spaces around = and at the ends are dropped; no quoting, no continuation
 *   free line            only in sections that the caller declares free (policy's [Rules])
 *
 * Text must be UTF-8 without NUL or control characters but tab and newline (CRLF is refused by name).
 * Limits: ULV_INI_LINE_MAX bytes a line, ULV_INI_FILE_MAX bytes a file. */

#include "lib/diag.h"

#define ULV_INI_LINE_MAX 4096
#define ULV_INI_FILE_MAX (64 * 1024)

struct ulv_ini_item {
        enum { ULV_INI_SECTION, ULV_INI_KEY, ULV_INI_LINE } type;
        const char *section, *label;    /* label is "" where there is none */
        const char *key, *value;        /* key: NULL but for KEY; value: KEY's value, or the free LINE */
        const char *file;               /* as given to ulv_ini_scan */
        unsigned line, column;          /* of the key, the free line or the section's [ */
        unsigned value_column;
};

/* Called for each item in order; strings live during the call only. Return 0 to go on; anything else
 * ends the scan and is returned by ulv_ini_scan() (fill reterr yourself; ulv_ini_error() helps). */
typedef int (*ulv_ini_handler)(const struct ulv_ini_item *item, void *userdata, struct ulv_diag *reterr);

/* free_sections: NULL-terminated names of sections whose lines are free, or NULL.
 * Returns 0, -ENOMEM, or 1 (bad input: reterr tells file:line:column and what). */
int ulv_ini_scan(const char *file, const char *buf, size_t len, const char *const *free_sections,
                 ulv_ini_handler handler, void *userdata, struct ulv_diag *reterr) ULV_MUST_CHECK;

/* Fills reterr with the item's place (its value's column if at_value) and returns 1. */
int ulv_ini_error(const struct ulv_ini_item *item, bool at_value, struct ulv_diag *reterr,
                  const char *fmt, ...) ULV_PRINTF(4, 5);

/* Bytes of the UTF-8 character at p (n > 0 bytes there), 0 if it is none. */
size_t ulv_utf8_length(const char *p, size_t n);
