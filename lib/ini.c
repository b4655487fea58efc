/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/ini.h"

#include <stdarg.h>
#include <stdio.h>

/* One pass over the text, line by line. Each line is first checked as bytes (length, UTF-8, controls),
 * copied, NUL-terminated, and then taken apart in place: what a handler sees are pointers into that copy
 * and into the copy of the last section header. Nothing is allocated, so that a hostile file can't make
 * the scanner hold more than these buffers. Columns count bytes from 1. */

struct scan {
        const char *file;
        const char *const *free_sections;
        ulv_ini_handler handler;
        void *userdata;
        struct ulv_diag *reterr;
        unsigned line;                          /* number of the line at hand, from 1 */
        bool in_section, section_is_free;
        char text[ULV_INI_LINE_MAX + 1];        /* the line at hand */
        char header[ULV_INI_LINE_MAX + 1];      /* the last section line; section and label point into it */
        const char *section, *label;
};

static void ULV_PRINTF(5, 0) fail_va(struct ulv_diag *reterr, const char *file, unsigned line, unsigned column,
                                            const char *fmt, va_list ap) {
        char what[sizeof(reterr->what)];

        if (vsnprintf(what, sizeof(what), fmt, ap) < 0)
                what[0] = 0;
        ulv_diag_what(reterr, ULV_EXIT_FAILED, "%s", what);
        ulv_diag_at(reterr, file, line, column);
}

int ulv_ini_error(const struct ulv_ini_item *item, bool at_value, struct ulv_diag *reterr, const char *fmt, ...) {
        va_list ap;

        va_start(ap, fmt);
        if (reterr)
                fail_va(reterr, item->file, item->line, at_value ? item->value_column : item->column, fmt, ap);
        va_end(ap);
        return 1;
}

/* Fails at offset (from 0) of the line at hand. */
static int ULV_PRINTF(3, 4) fail(struct scan *s, size_t offset, const char *fmt, ...) {
        va_list ap;

        va_start(ap, fmt);
        if (s->reterr)
                fail_va(s->reterr, s->file, s->line, (unsigned) offset + 1, fmt, ap);
        va_end(ap);
        return 1;
}

static bool is_blank(char c) { return c == ' ' || c == '\t'; }
static bool is_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
static bool is_word(char c) { return is_letter(c) || (c >= '0' && c <= '9'); }

/* Length of the UTF-8 character at p (n > 0 bytes there), 0 if it is none: no overlong form, no
 * surrogate, nothing above U+10FFFF. */
size_t ulv_utf8_length(const char *p, size_t n) {
        const unsigned char *u = (const unsigned char *) p;
        size_t len = u[0] < 0x80 ? 1 : u[0] >= 0xC2 && u[0] < 0xE0 ? 2 : (u[0] & 0xF0) == 0xE0 ? 3 :
                     u[0] >= 0xF0 && u[0] < 0xF5 ? 4 : 0;

        if (len == 0 || len > n)
                return 0;
        for (size_t i = 1; i < len; i++)
                if ((u[i] & 0xC0) != 0x80)
                        return 0;
        if ((u[0] == 0xE0 && u[1] < 0xA0) || (u[0] == 0xED && u[1] > 0x9F) ||
            (u[0] == 0xF0 && u[1] < 0x90) || (u[0] == 0xF4 && u[1] > 0x8F))
                return 0;
        return len;
}

static int check_bytes(struct scan *s, const char *line, size_t len) {
        for (size_t i = 0, n; i < len; i += n) {
                n = ulv_utf8_length(line + i, len - i);
                if (n == 0)
                        return fail(s, i, "not UTF-8 text (byte 0x%02X)", (unsigned) (unsigned char) line[i]);
                if (line[i] == 0)
                        return fail(s, i, "NUL byte: this is not a text file");
                if (line[i] == '\r' && i + 1 == len) {
                        (void) fail(s, i, "the line ends in CRLF, as on Windows");
                        ulv_diag_try(s->reterr, "sed -i 's/\\r$//' %s", s->file);
                        return 1;
                }
                /* U+0080 to U+009F are controls too, and terminals obey them. */
                if (((unsigned char) line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7F)
                        return fail(s, i, "control character 0x%02X", (unsigned) (unsigned char) line[i]);
                if (n == 2 && (unsigned char) line[i] == 0xC2 && (unsigned char) line[i + 1] < 0xA0)
                        return fail(s, i, "control character 0x%02X", (unsigned) (unsigned char) line[i + 1]);
        }
        return 0;
}

static int emit(struct scan *s, struct ulv_ini_item item) {
        item.section = s->section;
        item.label = s->label;
        item.file = s->file;
        item.line = s->line;
        return s->handler(&item, s->userdata, s->reterr);
}

static bool section_is_free(const struct scan *s) {
        for (size_t i = 0; s->free_sections && s->free_sections[i]; i++)
                if (ulv_streq(s->free_sections[i], s->section))
                        return true;
        return false;
}

/* Takes s->header apart: start is where its [ stands, len where the text ends. */
static int scan_section(struct scan *s, size_t start, size_t len) {
        char *h = s->header;
        size_t i = start + 1, name = i, label = 0, label_end = 0;

        while (i < len && is_word(h[i]))
                i++;
        if (i == name || !is_letter(h[name]))
                return fail(s, name, "a section's name is expected after [ (like [Memory])");
        size_t name_end = i;
        while (i < len && is_blank(h[i]))
                i++;
        if (i < len && h[i] == '"') {
                label = ++i;
                while (i < len && h[i] != '"')
                        i++;
                if (i == len)
                        return fail(s, label - 1, "the label's closing \" is missing");
                if (i == label)
                        return fail(s, label - 1, "the label is empty");
                label_end = i++;
                while (i < len && is_blank(h[i]))
                        i++;
        }
        if (i == len || h[i] != ']')
                return fail(s, i, "] is expected here ([Section] or [Section \"label\"])");
        if (i + 1 < len) {
                for (i++; i < len && is_blank(h[i]); i++)
                        ;
                return fail(s, i, h[i] == '#' || h[i] == ';' ? "comments stand on their own lines" :
                                  "nothing may follow the ] of a section");
        }
        h[name_end] = 0;
        if (label > 0)
                h[label_end] = 0;
        s->section = h + name;
        s->label = label > 0 ? h + label : "";
        s->in_section = true;
        s->section_is_free = section_is_free(s);
        return emit(s, (struct ulv_ini_item) { .type = ULV_INI_SECTION, .column = (unsigned) start + 1 });
}

/* Takes s->text[start..len) apart as Key=value. */
static int scan_key(struct scan *s, size_t start, size_t len) {
        char *t = s->text;
        size_t i = start, key_end;

        while (i < len && is_word(t[i]))
                i++;
        key_end = i;
        while (i < len && is_blank(t[i]))
                i++;
        if (key_end == start || i == len || t[i] != '=')
                return fail(s, start, memchr(t + start, '=', len - start) ?
                                "a key has letters and digits only (Key=value)" :
                                "neither a [Section], nor Key=value, nor a # comment");
        if (!s->in_section)
                return fail(s, start, "%.*s= stands before any [Section]", (int) ULV_MIN(key_end - start, (size_t) 64), t + start);
        for (i++; i < len && is_blank(t[i]); i++)
                ;
        t[key_end] = 0;
        return emit(s, (struct ulv_ini_item) {
                .type = ULV_INI_KEY, .key = t + start, .value = t + i,
                .column = (unsigned) start + 1, .value_column = (unsigned) i + 1,
        });
}

static int scan_line(struct scan *s, const char *line, size_t len) {
        size_t start = 0;
        int r;

        if (len > ULV_INI_LINE_MAX)
                return fail(s, ULV_INI_LINE_MAX, "the line is longer than %d bytes", ULV_INI_LINE_MAX);
        r = check_bytes(s, line, len);
        if (r != 0)
                return r;
        while (len > 0 && is_blank(line[len - 1]))
                len--;
        while (start < len && is_blank(line[start]))
                start++;
        if (start == len || line[start] == '#' || line[start] == ';')
                return 0;
        char *copy = line[start] == '[' ? s->header : s->text;
        memcpy(copy, line, len);
        copy[len] = 0;
        if (line[start] == '[')
                return scan_section(s, start, len);
        if (s->in_section && s->section_is_free)
                return emit(s, (struct ulv_ini_item) {
                        .type = ULV_INI_LINE, .value = s->text + start,
                        .column = (unsigned) start + 1, .value_column = (unsigned) start + 1,
                });
        return scan_key(s, start, len);
}

int ulv_ini_scan(const char *file, const char *buf, size_t len, const char *const *free_sections,
                 ulv_ini_handler handler, void *userdata, struct ulv_diag *reterr) {
        struct scan s = {
                .file = file, .free_sections = free_sections, .handler = handler, .userdata = userdata,
                .reterr = reterr, .line = 1, .section = "", .label = "",
        };
        int r;

        if (len > ULV_INI_FILE_MAX)
                return fail(&s, 0, "the file is larger than %dK", ULV_INI_FILE_MAX / 1024);
        if (len >= 3 && memcmp(buf, "\xEF\xBB\xBF", 3) == 0) {
                (void) fail(&s, 0, "the file begins with a byte order mark");
                ulv_diag_try(reterr, "sed -i '1s/^\\xEF\\xBB\\xBF//' %s", file);
                return 1;
        }
        for (size_t at = 0; at < len; s.line++) {
                const char *end = memchr(buf + at, '\n', len - at);
                size_t n = end ? (size_t) (end - (buf + at)) : len - at;

                r = scan_line(&s, buf + at, n);
                if (r != 0)
                        return r;
                at += n + 1;
        }
        return 0;
}
