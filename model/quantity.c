/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/quantity.h"

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Takes the digits at *p and moves *p behind them. */
static int take_uint(const char **p, uint64_t *ret) {
        const char *s = *p;
        uint64_t v = 0;

        if (!is_digit(*s))
                return -EINVAL;
        for (; is_digit(*s); s++)
                if (__builtin_mul_overflow(v, (uint64_t) 10, &v) || __builtin_add_overflow(v, (uint64_t) (*s - '0'), &v))
                        return -ERANGE;
        *p = s;
        *ret = v;
        return 0;
}

/* Takes "N" or "N.d" to "N.ddd" at *p: the whole part, and the rest in thousandths. */
static int take_decimal(const char **p, uint64_t *ret_whole, uint64_t *ret_milli) {
        const char *s = *p;
        uint64_t whole, milli = 0;
        int r;

        r = take_uint(&s, &whole);
        if (r < 0)
                return r;
        if (*s == '.') {
                unsigned weight = 100;

                if (!is_digit(*++s))
                        return -EINVAL;
                for (; is_digit(*s); s++, weight /= 10) {
                        if (weight == 0)
                                return -EINVAL;
                        milli += (uint64_t) (*s - '0') * weight;
                }
        }
        *p = s;
        *ret_whole = whole;
        *ret_milli = milli;
        return 0;
}

static void add_decimal(struct ulv_strbuf *b, uint64_t whole, uint64_t milli) {
        char digits[4] = { '.', (char) ('0' + milli / 100), (char) ('0' + milli / 10 % 10), (char) ('0' + milli % 10) };
        size_t n = sizeof(digits);

        ulv_strbuf_addu(b, whole);
        if (milli == 0)
                return;
        while (digits[n - 1] == '0')
                n--;
        ulv_strbuf_add_len(b, digits, n);
}

/* Largest first. P is the last: with it a fraction in thousandths still fits into 64 bits. */
static const struct { char suffix; uint64_t bytes; } size_units[] = {
        { 'P', UINT64_C(1) << 50 }, { 'T', UINT64_C(1) << 40 }, { 'G', UINT64_C(1) << 30 },
        { 'M', UINT64_C(1) << 20 }, { 'K', UINT64_C(1) << 10 }, { 0, 1 },
};

int ulv_size_parse(const char *s, uint64_t *ret_bytes) {
        uint64_t whole, milli, v;
        int r;

        r = take_decimal(&s, &whole, &milli);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(size_units); i++) {
                if (*s != size_units[i].suffix)
                        continue;
                if ((*s && s[1]) || (!*s && milli > 0))
                        return -EINVAL;
                if (__builtin_mul_overflow(whole, size_units[i].bytes, &v) ||
                    __builtin_add_overflow(v, milli * size_units[i].bytes / 1000, &v))
                        return -ERANGE;
                *ret_bytes = v;
                return 0;
        }
        return -EINVAL;
}

static size_t count_digits(uint64_t v) {
        size_t n = 1;

        while ((v /= 10) > 0)
                n++;
        return n;
}

/* The length of bytes written in this unit, or 0 if it is less than one, or three decimals don't hold it. */
static size_t size_length(uint64_t bytes, uint64_t unit) {
        uint64_t rest = bytes % unit, milli;
        size_t n = count_digits(bytes / unit) + (unit > 1);

        if (bytes < unit && unit > 1)
                return 0;
        if (rest == 0)
                return n;
        if (rest * 1000 % unit != 0)
                return 0;
        milli = rest * 1000 / unit;
        return n + (milli % 100 == 0 ? 2 : milli % 10 == 0 ? 3 : 4);
}

void ulv_size_format(struct ulv_strbuf *b, uint64_t bytes) {
        size_t best = ULV_ARRAY_SIZE(size_units) - 1, best_length = SIZE_MAX;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(size_units); i++) {
                size_t n = size_length(bytes, size_units[i].bytes);

                if (n > 0 && n < best_length) {
                        best = i;
                        best_length = n;
                }
        }
        add_decimal(b, bytes / size_units[best].bytes, bytes % size_units[best].bytes * 1000 / size_units[best].bytes);
        if (size_units[best].suffix)
                ulv_strbuf_addc(b, size_units[best].suffix);
}

int ulv_share_parse(const char *s, uint64_t *ret_milli) {
        uint64_t whole, milli, v;
        int r;

        r = take_decimal(&s, &whole, &milli);
        if (r < 0)
                return r;
        if (*s)
                return -EINVAL;
        if (__builtin_mul_overflow(whole, (uint64_t) 1000, &v) || __builtin_add_overflow(v, milli, &v))
                return -ERANGE;
        *ret_milli = v;
        return 0;
}

void ulv_share_format(struct ulv_strbuf *b, uint64_t milli) { add_decimal(b, milli / 1000, milli % 1000); }

/* Longest first, for the writer. No suffix means seconds, for the parser. */
static const struct { const char *suffix; uint64_t usec; } duration_units[] = {
        { "d", UINT64_C(86400000000) }, { "h", UINT64_C(3600000000) }, { "min", 60000000 },
        { "s", 1000000 }, { "ms", 1000 }, { "us", 1 }, { "", 1000000 },
};

int ulv_duration_parse(const char *s, uint64_t *ret_usec) {
        uint64_t v;
        int r;

        r = take_uint(&s, &v);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(duration_units); i++)
                if (ulv_streq(s, duration_units[i].suffix)) {
                        if (__builtin_mul_overflow(v, duration_units[i].usec, &v))
                                return -ERANGE;
                        *ret_usec = v;
                        return 0;
                }
        return -EINVAL;
}

void ulv_duration_format(struct ulv_strbuf *b, uint64_t usec) {
        size_t i = 0;

        if (usec == 0) {
                ulv_strbuf_add(b, "0s");
                return;
        }
        while (usec % duration_units[i].usec != 0)
                i++;
        ulv_strbuf_addu(b, usec / duration_units[i].usec);
        ulv_strbuf_add(b, duration_units[i].suffix);
}

int ulv_uint_parse(const char *s, uint64_t max, uint64_t *ret) {
        uint64_t v;
        int r;

        r = take_uint(&s, &v);
        if (r < 0)
                return r;
        if (*s)
                return -EINVAL;
        if (v > max)
                return -ERANGE;
        *ret = v;
        return 0;
}

int ulv_bool_parse(const char *s, bool *ret) {
        static const char *const words[][2] = { { "no", "yes" }, { "false", "true" }, { "off", "on" }, { "0", "1" } };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(words); i++)
                for (unsigned v = 0; v < 2; v++)
                        if (ulv_streq(s, words[i][v])) {
                                *ret = v;
                                return 0;
                        }
        return -EINVAL;
}

int ulv_cpus_parse(const char *s, struct ulv_cpus *ret) {
        struct ulv_cpus c = {};
        int r;

        while (*s) {
                uint64_t first, last;

                r = take_uint(&s, &first);
                if (r < 0)
                        return r;
                last = first;
                if (*s == '-') {
                        s++;
                        r = take_uint(&s, &last);
                        if (r < 0)
                                return r;
                }
                if (last < first)
                        return -EINVAL;
                if (last >= ULV_CPU_MAX)
                        return -ERANGE;
                for (uint64_t i = first; i <= last; i++)
                        ulv_cpus_set(&c, (unsigned) i);
                if (*s == ',' && s[1])
                        s++;
                else if (*s)
                        return -EINVAL;
        }
        *ret = c;
        return 0;
}

void ulv_cpus_format(struct ulv_strbuf *b, const struct ulv_cpus *c) {
        bool first = true;

        for (unsigned i = 0; i < ULV_CPU_MAX; i++) {
                unsigned start = i;

                if (!ulv_cpus_has(c, i))
                        continue;
                while (ulv_cpus_has(c, i + 1))
                        i++;
                if (!first)
                        ulv_strbuf_addc(b, ',');
                first = false;
                ulv_strbuf_addu(b, start);
                if (i > start) {
                        ulv_strbuf_addc(b, '-');
                        ulv_strbuf_addu(b, i);
                }
        }
}

unsigned ulv_cpus_count(const struct ulv_cpus *c) {
        unsigned n = 0;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(c->bits); i++)
                for (uint64_t bits = c->bits[i]; bits; bits &= bits - 1)
                        n++;
        return n;
}

bool ulv_cpus_within(const struct ulv_cpus *a, const struct ulv_cpus *b) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(a->bits); i++)
                if (a->bits[i] & ~b->bits[i])
                        return false;
        return true;
}

void ulv_cpus_add(struct ulv_cpus *to, const struct ulv_cpus *c) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(to->bits); i++)
                to->bits[i] |= c->bits[i];
}
