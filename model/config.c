/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/config.h"

void ulv_cut(char *dst, size_t size, const char *src) {
        size_t n = strnlen(src, size - 1);

        memcpy(dst, src, n);
        dst[n] = 0;
}

/* The longest start of s with at most max bytes that ends between characters. */
static size_t cut_length(const char *s, size_t max) {
        size_t n = strnlen(s, max + 1);

        if (n <= max)
                return n;
        for (n = max; n > 0 && ((unsigned char) s[n] & 0xC0) == 0x80; n--)
                ;
        return n;
}

struct ulv_quote ulv_quote(const char *text) {
        size_t n = cut_length(text, ULV_QUOTE_MAX);
        struct ulv_quote q;

        memcpy(q.s, text, n);
        memcpy(q.s + n, text[n] ? "..." : "", text[n] ? 4 : 1);
        return q;
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char) (c + 32) : c; }

/* Edits (insert, delete, replace, swap neighbours) from a to b; words longer than the table are far away. */
static size_t distance(const char *a, const char *b) {
        enum { MAX = 32 };
        size_t la = strlen(a), lb = strlen(b), d[MAX + 1][MAX + 1];

        if (la > MAX || lb > MAX)
                return SIZE_MAX;
        for (size_t i = 0; i <= la; i++)
                for (size_t j = 0; j <= lb; j++) {
                        if (i == 0 || j == 0) {
                                d[i][j] = i + j;
                                continue;
                        }
                        bool same = lower(a[i - 1]) == lower(b[j - 1]);
                        d[i][j] = ULV_MIN(d[i - 1][j - 1] + !same, ULV_MIN(d[i - 1][j], d[i][j - 1]) + 1);
                        if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]))
                                d[i][j] = ULV_MIN(d[i][j], d[i - 2][j - 2] + 1);
                }
        return d[la][lb];
}

const char *ulv_config_nearest(const char *word, const char *const *known, size_t n) {
        const char *best = NULL;
        size_t best_distance = SIZE_MAX;

        for (size_t i = 0; i < n; i++) {
                size_t d = distance(word, known[i]);

                /* One edit for short words, two for longer ones: a farther word is no help. */
                if (d < best_distance && d <= (strlen(known[i]) > 4 ? 2u : 1u)) {
                        best = known[i];
                        best_distance = d;
                }
        }
        return best;
}

/* The offset of a comment behind a value, or -1: a # or ; with a blank before it. */
static ptrdiff_t comment_in(const char *value) {
        for (size_t i = 0; value[i]; i++)
                if ((value[i] == '#' || value[i] == ';') && (i == 0 || value[i - 1] == ' ' || value[i - 1] == '\t'))
                        return (ptrdiff_t) i;
        return -1;
}

int ulv_config_bad_value(const struct ulv_ini_item *item, const char *expected, struct ulv_diag *reterr) {
        ptrdiff_t comment = comment_in(item->value);

        if (comment < 0)
                return ulv_ini_error(item, true, reterr, "%s=%s is not %s", item->key, ULV_Q(item->value), expected);
        (void) ulv_ini_error(item, true, reterr, "comments stand on their own lines, not behind a value");
        ulv_diag_at(reterr, item->file, item->line, item->value_column + (unsigned) comment);
        return 1;
}

int ulv_config_unknown(const struct ulv_ini_item *item, const char *prefix, const char *word, const char *suffix,
                       const char *where, const char *const *known, size_t n, struct ulv_diag *reterr) {
        const char *nearest = ulv_config_nearest(word, known, n);

        if (!nearest)
                return ulv_ini_error(item, false, reterr, "unknown %s%s%s%s", prefix, ULV_Q(word), suffix, where);
        return ulv_ini_error(item, false, reterr, "unknown %s%s%s%s: did you mean %s%s%s?",
                             prefix, ULV_Q(word), suffix, where, prefix, nearest, suffix);
}

const char *ulv_config_short_name(const char *file) {
        const char *last = strrchr(file, '/'), *before;

        if (!last)
                return file;
        /* NAME.partition.d/50-set.conf says more than 50-set.conf; a template isn't the partition of its name. */
        if (!(last - file >= 2 && memcmp(last - 2, ".d", 2) == 0) &&
            !(last - file >= 9 && memcmp(last - 9, "templates", 9) == 0 && (last - file == 9 || last[-10] == '/')))
                return last + 1;
        for (before = last; before > file && before[-1] != '/'; before--)
                ;
        return before;
}

void ulv_config_add_place(struct ulv_strbuf *b, const struct ulv_key_place *at, const char *from) {
        if (from && ulv_streq(from, at->file))
                ulv_strbuf_add(b, "line ");
        else {
                ulv_strbuf_add(b, ulv_config_short_name(at->file));
                ulv_strbuf_addc(b, ':');
        }
        ulv_strbuf_addu(b, at->line);
}

struct ulv_place_text ulv_config_place(const struct ulv_key_place *at, const char *from) {
        struct ulv_place_text t = {};
        /* On the stack, so that it never allocates; a name that doesn't fit costs the place, not the message. */
        struct ulv_strbuf b = { .s = t.s, .size = sizeof(t.s), .max = sizeof(t.s) - 1 };

        ulv_config_add_place(&b, at, from);
        if (ulv_strbuf_error(&b) < 0)
                ulv_cut(t.s, sizeof(t.s), "another file");
        return t;
}

int ulv_config_keep_files(const struct ulv_source *files, size_t n, const char **ret, char **ret_storage) {
        size_t size = 1;
        char *storage, *p;

        for (size_t i = 0; i < n; i++)
                size += strlen(ulv_config_short_name(files[i].file)) + 1;
        p = storage = malloc(size);
        if (!storage)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                const char *name = ulv_config_short_name(files[i].file);
                size_t len = strlen(name) + 1;

                ret[i] = memcpy(p, name, len);
                p += len;
        }
        *ret_storage = storage;
        return 0;
}
