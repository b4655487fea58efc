/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uvctl/json.h"

#include "uvctl/text.h"

static void quote(struct ulv_strbuf *b, const char *s) {
        size_t len = strlen(s), i = 0;

        ulv_strbuf_addc(b, '"');
        while (i < len) {
                size_t ascii = ULV_MIN(text_ascii(s + i, len - i), strcspn(s + i, "\"\\"));
                uint32_t c = 0xfffd;    /* what stands for a byte that isn't UTF-8 */
                unsigned n;

                ulv_strbuf_add_len(b, s + i, ascii);
                i += ascii;
                if (i == len)
                        break;
                n = text_decode(s + i, len - i, &c);
                if (c == '"' || c == '\\')
                        ulv_strbuf_addf(b, "\\%c", (int) c);
                else if (c == '\n')
                        ulv_strbuf_add(b, "\\n");
                else if (c == '\t')
                        ulv_strbuf_add(b, "\\t");
                else if (n == 0 || !text_is_plain(c))
                        ulv_strbuf_addf(b, "\\u%04x", c);
                else
                        ulv_strbuf_add_len(b, s + i, n);
                i += ULV_MAX(n, 1u);
        }
        ulv_strbuf_addc(b, '"');
}

/* Writes what stands before a value: comma, line end and indent, key. */
static void before(struct json *j, const char *key) {
        if (j->filled[j->depth] && j->depth > 0)
                ulv_strbuf_addc(&j->b, ',');
        if (j->depth > 0 && !j->compact) {
                ulv_strbuf_addc(&j->b, '\n');
                for (unsigned i = 0; i < j->depth; i++)
                        ulv_strbuf_add(&j->b, "  ");
        }
        j->filled[j->depth] = true;
        if (key) {
                quote(&j->b, key);
                ulv_strbuf_add(&j->b, j->compact ? ":" : ": ");
        }
}

static void nest(struct json *j, const char *key, char open, char close) {
        assert(j->depth < JSON_DEPTH_MAX);
        before(j, key);
        ulv_strbuf_addc(&j->b, open);
        j->depth++;
        j->filled[j->depth] = false;
        j->close[j->depth] = close;
}

void json_object(struct json *j, const char *key) { nest(j, key, '{', '}'); }
void json_array(struct json *j, const char *key) { nest(j, key, '[', ']'); }

void json_end(struct json *j) {
        char close = j->close[j->depth];
        bool filled = j->filled[j->depth];

        assert(j->depth > 0);
        j->depth--;
        if (filled && !j->compact) {
                ulv_strbuf_addc(&j->b, '\n');
                for (unsigned i = 0; i < j->depth; i++)
                        ulv_strbuf_add(&j->b, "  ");
        }
        ulv_strbuf_addc(&j->b, close);
        if (j->depth == 0)
                ulv_strbuf_addc(&j->b, '\n');
}

void json_string(struct json *j, const char *key, const char *value) {
        before(j, key);
        if (value)
                quote(&j->b, value);
        else
                ulv_strbuf_add(&j->b, "null");
}

void json_u64(struct json *j, const char *key, uint64_t value) {
        before(j, key);
        ulv_strbuf_addu(&j->b, value);
}

void json_milli(struct json *j, const char *key, uint64_t value) {
        unsigned rest = (unsigned) (value % 1000), digits = 3;

        before(j, key);
        ulv_strbuf_addu(&j->b, value / 1000);
        for (; rest > 0 && rest % 10 == 0; digits--)
                rest /= 10;
        if (rest > 0)
                ulv_strbuf_addf(&j->b, ".%0*u", (int) digits, rest);
}

void json_bool(struct json *j, const char *key, bool value) {
        before(j, key);
        ulv_strbuf_add(&j->b, value ? "true" : "false");
}
