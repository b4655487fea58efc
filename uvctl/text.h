/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text that a partition, a file or a caller wrote, made fit for a terminal. */

#include "lib/strbuf.h"

/* Decodes one UTF-8 sequence: its length in bytes, or 0 if s doesn't begin with a valid one. */
unsigned text_decode(const char *s, size_t len, uint32_t *ret);

/* Bytes at the start of s that are printable ASCII: nearly all text, taken at one go. */
size_t text_ascii(const char *s, size_t len);

/* Is this character safe to send to a terminal? Not: controls (C0, DEL, C1), and what turns the
 * direction of text around. \n and \t are controls here. */
bool text_is_plain(uint32_t c);

/* Appends s with everything unsafe made visible: \x1b \r \u202e. With lines, \n and \t stay, and so does
 * a \r\n as the line end that a console writes. */
void text_safe(struct ulv_strbuf *b, const char *s, size_t len, bool lines);

/* How much of s can be shown before more of it is read: less than len if it ends inside a UTF-8
 * sequence or on a \r. */
size_t text_complete(const char *s, size_t len);

/* Columns that safe text takes. Every character counts as one. */
unsigned text_width(const char *s, size_t len);
