/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/op.h"

#include "model/quantity.h"

/* A line is decoded into one block: room for the keys (a line has no more of them than spaces), then text as
 * long as the line: each separator becomes the NUL of the token before it, and decoding only ever shortens a
 * token. This is the inner loop of every list, mirror and recovery, so bytes are classed by a table. */

enum { WORD = 1, PLAIN = 2 };   /* of a word; stands for itself in a value */
static const unsigned char classes[256] = {
        [0x21 ... 0x24] = PLAIN, [0x26 ... 0x2c] = PLAIN, ['-'] = PLAIN | WORD, ['.'] = PLAIN | WORD, ['/'] = PLAIN,
        ['0' ... '9'] = PLAIN | WORD, [0x3a ... 0x60] = PLAIN, ['a' ... 'z'] = PLAIN | WORD, [0x7b ... 0x7e] = PLAIN,
        [0x80 ... 0xff] = PLAIN,
};
static bool is(char c, int class) { return (classes[(unsigned char) c] & class) != 0; }

static int hex_value(char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

struct scanner {
        const char *line;
        size_t len, at;         /* at: the next byte to read */
        char *out;              /* the next byte to write, in storage */
        struct ulv_diag *reterr;
};

static int bad(const struct scanner *s, size_t at, const char *what) {
        at = ULV_MIN(at, s->len);
        ulv_diag_what(s->reterr, ULV_EXIT_USAGE, "not an operation: %s (column %zu)", what, at + 1);
        if (s->reterr)
                s->reterr->column = (unsigned) at + 1;
        return 1;
}

/* Reads VERB, KIND or KEY: up to the end byte, which is taken (the end of the line counts as a space). */
static int scan_word(struct scanner *s, char end, const char **ret) {
        const char *from = s->line + s->at;
        char *start = s->out;
        size_t n = 0, left = s->len - ULV_MIN(s->at, s->len);

        while (n < left && is(from[n], WORD))
                n++;
        memcpy(start, from, n);
        s->out += n;
        s->at += n;
        if (n == 0)
                return bad(s, s->at, s->at < s->len ? "a word of a-z 0-9 . - must stand here" : "the line ends too early");
        if (s->at < s->len ? s->line[s->at] != end : end != ' ')
                return bad(s, s->at, end == ' ' ? "one space must follow a word" : "= must follow a key");
        s->at++;
        *s->out++ = 0;
        *ret = start;
        return 0;
}

/* Decodes the %XX that stands at s->at. */
static int scan_escape(struct scanner *s) {
        int high = s->at + 1 < s->len ? hex_value(s->line[s->at + 1]) : -1;
        int low = s->at + 2 < s->len ? hex_value(s->line[s->at + 2]) : -1;

        if (high < 0 || low < 0)
                return bad(s, s->at, "% needs two digits of 0-9 A-F behind it");
        if (high == 0 && low == 0)
                return bad(s, s->at, "%00 can't be held");
        *s->out++ = (char) (high * 16 + low);
        s->at += 3;
        return 0;
}

/* Reads ID, OWNER or VALUE: up to a space, which is taken, or the end of the line. */
static int scan_value(struct scanner *s, bool may_be_empty, const char **ret) {
        char *start = s->out;

        while (s->at < s->len && s->line[s->at] != ' ') {
                const char *from = s->line + s->at;
                size_t n = 0;

                while (s->at + n < s->len && is(from[n], PLAIN))
                        n++;
                memcpy(s->out, from, n);
                s->out += n;
                s->at += n;
                if (n > 0)
                        continue;
                if (*from != '%')
                        return bad(s, s->at, "a control character must be written as %XX");
                if (scan_escape(s) != 0)
                        return 1;
        }
        if (s->out == start && !may_be_empty)
                return bad(s, s->at, s->at < s->len ? "one space between tokens, not two" : "the line ends too early");
        s->at++;
        *s->out++ = 0;
        *ret = start;
        return 0;
}

static int scan_keys(struct scanner *s, struct ulv_op *op) {
        uint64_t seen = 0;      /* a bit for each first letter: only keys of the same one are compared */
        int r;

        while (s->at <= s->len) {       /* a space was taken, so a key must follow */
                size_t at = s->at;
                const char *key, *value;

                r = scan_word(s, '=', &key);
                if (r == 0)
                        r = scan_value(s, true, &value);
                if (r != 0)
                        return r;
                if ((seen & UINT64_C(1) << (key[0] & 63)) && ulv_op_get(op, key))
                        return bad(s, at, "a key stands here for the second time");
                seen |= UINT64_C(1) << (key[0] & 63);
                if (op->n_kv >= ULV_OP_KEYS_MAX)
                        return bad(s, at, "too many keys");
                op->kv[op->n_kv].key = key;
                op->kv[op->n_kv].value = value;
                op->n_kv++;
        }
        return 0;
}

/* How many keys a line can have: what follows the third space. */
static size_t keys_max(const char *line, size_t len) {
        size_t n = 0;

        for (const char *at = line; (at = memchr(at, ' ', (size_t) (line + len - at))); at++)
                n++;
        return n <= 3 ? 0 : ULV_MIN(n - 3, (size_t) ULV_OP_KEYS_MAX);
}

int ulv_op_parse(const char *line, size_t len, struct ulv_op *ret, struct ulv_diag *reterr) {
        _cleanup_op_ struct ulv_op op = {};
        struct scanner s = { .line = line, .len = len, .reterr = reterr };
        size_t n;
        int r;

        if (len > ULV_OP_LINE_MAX)
                return bad(&s, ULV_OP_LINE_MAX, "the line is too long");
        n = keys_max(line, len);
        /* Two bytes more than the line: one for the last NUL, one for the NUL of an empty last value. */
        op.storage = malloc(n * sizeof(*op.kv) + len + 2);
        if (!op.storage)
                return -ENOMEM;
        op.kv = op.storage;
        s.out = (char *) (op.kv + n);
        r = scan_word(&s, ' ', &op.verb);
        if (r == 0)
                r = scan_word(&s, ' ', &op.kind);
        if (r == 0)
                r = scan_value(&s, false, &op.id);
        if (r == 0)
                r = scan_value(&s, false, &op.owner);
        if (r == 0)
                r = scan_keys(&s, &op);
        if (r != 0)
                return r;
        *ret = op;
        op.storage = NULL;
        return 0;
}

void ulv_op_done(struct ulv_op *op) {
        free(op->storage);
        *op = (struct ulv_op) {};
}

const char *ulv_op_get(const struct ulv_op *op, const char *key) {
        for (unsigned i = 0; i < op->n_kv; i++)
                if (ulv_streq(op->kv[i].key, key))
                        return op->kv[i].value;
        return NULL;
}

int ulv_op_get_u64(const struct ulv_op *op, const char *key, uint64_t *ret) {
        const char *value = ulv_op_get(op, key);

        if (!value)
                return 1;
        return ulv_uint_parse(value, UINT64_MAX, ret) < 0 ? -EINVAL : 0;
}

static void add_encoded(struct ulv_strbuf *b, const char *s) {
        static const char hex[] = "0123456789ABCDEF";

        for (;;) {
                size_t n = 0;

                while (is(s[n], PLAIN))
                        n++;
                ulv_strbuf_add_len(b, s, n);
                s += n;
                if (!*s)
                        return;
                ulv_strbuf_add_len(b, (char[]) { '%', hex[(unsigned char) *s >> 4], hex[*s & 15] }, 3);
                s++;
        }
}

static void add_token(struct ulv_strbuf *b, const char *s) {
        ulv_strbuf_addc(b, ' ');
        add_encoded(b, s && *s ? s : "-");
}

void ulv_op_begin(struct ulv_strbuf *b, const char *verb, const char *kind, const char *id, const char *owner) {
        ulv_strbuf_add(b, verb);
        ulv_strbuf_addc(b, ' ');
        ulv_strbuf_add(b, kind);
        add_token(b, id);
        add_token(b, owner);
}

void ulv_op_add(struct ulv_strbuf *b, const char *key, const char *value) {
        ulv_strbuf_addc(b, ' ');
        ulv_strbuf_add(b, key);
        ulv_strbuf_addc(b, '=');
        add_encoded(b, value);
}

void ulv_op_add_u64(struct ulv_strbuf *b, const char *key, uint64_t value) {
        ulv_strbuf_addc(b, ' ');
        ulv_strbuf_add(b, key);
        ulv_strbuf_addc(b, '=');
        ulv_strbuf_addu(b, value);
}

void ulv_op_end(struct ulv_strbuf *b) { ulv_strbuf_addc(b, '\n'); }

int ulv_op_each_line(const char *text, size_t len, int (*f)(const char *line, size_t len, void *userdata), void *userdata) {
        while (len > 0) {
                const char *end = memchr(text, '\n', len);
                size_t n = end ? (size_t) (end - text) : len, skip = end ? n + 1 : n;
                int r = n > 0 ? f(text, n, userdata) : 0;

                if (r != 0)
                        return r;
                text += skip;
                len -= skip;
        }
        return 0;
}
