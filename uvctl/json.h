/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A small JSON writer. Values go into the innermost open object (with a key) or array (key NULL);
 * commas, line ends and escapes are its business. The text is pure ASCII but for printable UTF-8, so
 * that neither a terminal nor a parser is fooled by what a partition wrote. */

#include "lib/strbuf.h"

#define JSON_DEPTH_MAX 8

struct json {
        struct ulv_strbuf b;            /* ulv_strbuf_done() frees it */
        unsigned depth;
        bool compact;                   /* all on one line, for streams of objects */
        bool filled[JSON_DEPTH_MAX + 1];        /* has this level a value already? */
        char close[JSON_DEPTH_MAX + 1];
};

void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
void json_end(struct json *j);          /* closes the innermost; after the outermost, ends the line */
void json_string(struct json *j, const char *key, const char *value);   /* NULL: null */
void json_u64(struct json *j, const char *key, uint64_t value);
void json_milli(struct json *j, const char *key, uint64_t value);       /* thousandths: 2500 is 2.5 */
void json_bool(struct json *j, const char *key, bool value);
