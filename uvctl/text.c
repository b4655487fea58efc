/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A partition chooses what stands in its log and in its name for things; the terminal of the
 * administrator obeys escape sequences. So nothing that others wrote reaches a terminal before it went
 * through text_safe(), which lets through valid, printable UTF-8 and spells out the rest. */

#include "uvctl/text.h"

unsigned text_decode(const char *s, size_t len, uint32_t *ret) {
        static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
        const unsigned char *p = (const unsigned char *) s;
        uint32_t c;
        unsigned n;

        if (len == 0)
                return 0;
        if (p[0] < 0x80)
                n = 1, c = p[0];
        else if (p[0] >= 0xc2 && p[0] < 0xe0)
                n = 2, c = p[0] & 0x1f;
        else if (p[0] >= 0xe0 && p[0] < 0xf0)
                n = 3, c = p[0] & 0x0f;
        else if (p[0] >= 0xf0 && p[0] < 0xf5)
                n = 4, c = p[0] & 0x07;
        else
                return 0;
        if (n > len)
                return 0;
        for (unsigned i = 1; i < n; i++) {
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (p[i] & 0x3f);
        }
        if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
                return 0;
        *ret = c;
        return n;
}

size_t text_ascii(const char *s, size_t len) {
        size_t i = 0;

        while (i < len && s[i] >= 0x20 && s[i] < 0x7f)
                i++;
        return i;
}

bool text_is_plain(uint32_t c) {
        if (c < 0x20 || (c >= 0x7f && c < 0xa0))
                return false;
        return !(c >= 0x202a && c <= 0x202e) && !(c >= 0x2066 && c <= 0x2069) &&
               c != 0x200e && c != 0x200f && c != 0x061c && c != 0x2028 && c != 0x2029;
}

static void spell_out(struct ulv_strbuf *b, uint32_t c) {
        switch (c) {
        case '\n': ulv_strbuf_add(b, "\\n"); break;
        case '\r': ulv_strbuf_add(b, "\\r"); break;
        case '\t': ulv_strbuf_add(b, "\\t"); break;
        default: ulv_strbuf_addf(b, c < 0x100 ? "\\x%02x" : "\\u%04x", c);
        }
}

void text_safe(struct ulv_strbuf *b, const char *s, size_t len, bool lines) {
        size_t i = 0;

        while (i < len) {
                size_t ascii = text_ascii(s + i, len - i);
                uint32_t c;
                unsigned n;

                ulv_strbuf_add_len(b, s + i, ascii);
                i += ascii;
                if (i == len)
                        break;
                c = (unsigned char) s[i];
                n = text_decode(s + i, len - i, &c);

                if (n > 0 && (text_is_plain(c) || (lines && (c == '\n' || c == '\t'))))
                        ulv_strbuf_add_len(b, s + i, n);
                else if (!(lines && c == '\r' && i + 1 < len && s[i + 1] == '\n'))
                        spell_out(b, c);
                i += ULV_MAX(n, 1u);
        }
}

size_t text_complete(const char *s, size_t len) {
        size_t back;

        if (len > 0 && s[len - 1] == '\r')
                return len - 1;
        /* Look for the first byte of a sequence among the last three, and see whether it is all there. */
        for (back = 1; back <= 3 && back <= len; back++) {
                unsigned char p = (unsigned char) s[len - back];

                if ((p & 0xc0) == 0x80)
                        continue;
                if ((p >= 0xf0 && p < 0xf5 && back < 4) || (p >= 0xe0 && p < 0xf0 && back < 3) ||
                    (p >= 0xc2 && p < 0xe0 && back < 2))
                        return len - back;
                break;
        }
        return len;
}

unsigned text_width(const char *s, size_t len) {
        unsigned width = 0;

        for (size_t i = 0; i < len; i++)
                width += ((unsigned char) s[i] & 0xc0) != 0x80;
        return width;
}
