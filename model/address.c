/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/address.h"

#include "model/quantity.h"

static int hex_digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four decimal numbers without leading zeros, which other programs read as octal. Returns what follows, or NULL. */
static const char *parse_4(const char *s, uint8_t *bytes) {
        for (unsigned i = 0; i < 4; i++) {
                unsigned v = 0, n = 0;

                if (i > 0 && *s++ != '.')
                        return NULL;
                for (; n < 3 && *s >= '0' && *s <= '9'; n++)
                        v = v * 10 + (unsigned) (*s++ - '0');
                if (n == 0 || v > 255 || (n > 1 && s[-(int) n] == '0'))
                        return NULL;
                bytes[i] = (uint8_t) v;
        }
        return s;
}

/* Groups of up to four hex digits; one "::" stands for the zeros that are missing. */
static const char *parse_6(const char *s, uint8_t *bytes) {
        uint8_t all[16] = { 0 };
        unsigned n = 0, gap = 17;

        if (s[0] == ':' && s[1] != ':')
                return NULL;
        for (;;) {
                if (s[0] == ':' && s[1] == ':') {
                        if (gap < 17)
                                return NULL;
                        gap = n;
                        s += 2;
                } else if (s[0] == ':' && n > 0)
                        s++;
                else if (n > 0)
                        break;
                if (hex_digit(*s) < 0) {
                        if (gap == n)   /* "::" at the end */
                                break;
                        return NULL;
                }
                unsigned v = 0, digits = 0;
                for (; digits < 4 && hex_digit(*s) >= 0; digits++)
                        v = v * 16 + (unsigned) hex_digit(*s++);
                if (n == 16)
                        return NULL;
                all[n++] = (uint8_t) (v >> 8);
                all[n++] = (uint8_t) (v & 255);
                if (*s != ':')
                        break;
        }
        if (gap == 17 ? n != 16 : n > 14)
                return NULL;
        memset(bytes, 0, 16);
        gap = ULV_MIN(gap, n);
        memcpy(bytes, all, gap);
        memcpy(bytes + 16 - (n - gap), all + gap, n - gap);
        return s;
}

int ulv_address_parse(const char *s, bool with_prefix, struct ulv_address *ret) {
        struct ulv_address a = { .family = strchr(s, ':') ? 6 : 4 };
        uint64_t prefix = a.family == 6 ? 128 : 32;

        s = a.family == 6 ? parse_6(s, a.bytes) : parse_4(s, a.bytes);
        if (!s || *s != (with_prefix ? '/' : 0))
                return -EINVAL;
        if (with_prefix && (ulv_uint_parse(s + 1, prefix, &prefix) < 0 || prefix == 0))
                return -EINVAL;
        a.prefix = (uint8_t) prefix;
        *ret = a;
        return 0;
}

static unsigned group(const struct ulv_address *a, unsigned i) { return (unsigned) a->bytes[2 * i] << 8 | a->bytes[2 * i + 1]; }

/* The longest run of two zero groups or more, the first of them; *ret_n 0: none. */
static unsigned zero_run(const struct ulv_address *a, unsigned *ret_n) {
        unsigned at = 0, best = 1;

        for (unsigned i = 0, n = 0; i < 8; i++) {
                n = group(a, i) == 0 ? n + 1 : 0;
                if (n > best) {
                        best = n;
                        at = i + 1 - n;
                }
        }
        *ret_n = best > 1 ? best : 0;
        return at;
}

static void format_6(struct ulv_strbuf *b, const struct ulv_address *a) {
        unsigned n, at = zero_run(a, &n);

        for (unsigned i = 0; i < 8; i++) {
                if (n > 0 && i == at) {
                        ulv_strbuf_add(b, "::");
                        i += n - 1;
                        continue;
                }
                ulv_strbuf_addf(b, "%s%x", i > 0 && !(n > 0 && i == at + n) ? ":" : "", group(a, i));
        }
}

void ulv_address_format(struct ulv_strbuf *b, const struct ulv_address *a, bool with_prefix) {
        if (a->family == 6)
                format_6(b, a);
        else
                ulv_strbuf_addf(b, "%u.%u.%u.%u", a->bytes[0], a->bytes[1], a->bytes[2], a->bytes[3]);
        if (with_prefix)
                ulv_strbuf_addf(b, "/%u", a->prefix);
}

bool ulv_address_is_in(const struct ulv_address *a, const struct ulv_address *n) {
        if (a->family != n->family)
                return false;
        for (unsigned i = 0; i < n->prefix; i++)
                if ((a->bytes[i / 8] ^ n->bytes[i / 8]) >> (7 - i % 8) & 1)
                        return false;
        return true;
}

bool ulv_address_is_host(const struct ulv_address *a) {
        unsigned zero = 0;

        for (unsigned i = 0; i < 16; i++)
                zero |= a->bytes[i];
        return zero != 0 && (a->family == 6 ? a->bytes[0] != 0xff : a->bytes[0] != 0 && a->bytes[0] < 224);
}

int ulv_mac_parse(const char *s, uint8_t ret[static 6]) {
        uint8_t mac[6];
        unsigned any = 0;

        for (unsigned i = 0; i < 6; i++, s += 2) {
                if (i > 0 && *s++ != ':')
                        return -EINVAL;
                int high = hex_digit(s[0]), low = high < 0 ? -1 : hex_digit(s[1]);
                if (low < 0)
                        return -EINVAL;
                mac[i] = (uint8_t) (high << 4 | low);
                any |= mac[i];
        }
        if (*s || any == 0 || mac[0] & 1)
                return -EINVAL;
        memcpy(ret, mac, 6);
        return 0;
}
