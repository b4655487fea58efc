/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/limits.h"

#include "model/quantity.h"

static const struct { const char *word, *key; bool bytes; } table[ULV_LIMIT_MAX_] = {
        [ULV_LIMIT_TASKS] = { "tasks", "Tasks", false },
        [ULV_LIMIT_IO_READ] = { "io-read", "IOReadMax", true },
        [ULV_LIMIT_IO_WRITE] = { "io-write", "IOWriteMax", true },
        [ULV_LIMIT_IOPS_READ] = { "iops-read", "IOPSReadMax", false },
        [ULV_LIMIT_IOPS_WRITE] = { "iops-write", "IOPSWriteMax", false },
};

const char *ulv_limit_word(enum ulv_limit_what what) { return table[what].word; }
const char *ulv_limit_key(enum ulv_limit_what what) { return table[what].key; }

bool ulv_limit_same(const struct ulv_limit *a, const struct ulv_limit *b) { return a->what == b->what && ulv_streq(a->path, b->path); }

/* Absolute, in one word, and without the components that would make it mean another place than it says. */
static int take_path(const char *s, size_t len, char path[static ULV_LIMIT_PATH_MAX + 1]) {
        if (len < 1 || len > ULV_LIMIT_PATH_MAX || s[0] != '/' || (len > 1 && s[len - 1] == '/'))
                return -EINVAL;
        for (size_t i = 0; i < len; i++) {
                bool begins = s[i] == '/' && i + 1 < len;

                if ((unsigned char) s[i] <= ' ' || s[i] == 0x7f)
                        return -EINVAL;
                if (begins && (s[i + 1] == '/' || (s[i + 1] == '.' && (i + 2 == len || s[i + 2] == '/' ||
                               (s[i + 2] == '.' && (i + 3 == len || s[i + 3] == '/'))))))
                        return -EINVAL;
        }
        memcpy(path, s, len);
        path[len] = 0;
        return 0;
}

static int take_amount(enum ulv_limit_what what, const char *s, uint64_t *ret) {
        uint64_t min = what == ULV_LIMIT_TASKS ? ULV_LIMIT_TASKS_MIN : 1;
        uint64_t max = what == ULV_LIMIT_TASKS ? ULV_LIMIT_TASKS_MAX : table[what].bytes ? ULV_LIMIT_AMOUNT_MAX : ULV_LIMIT_IOPS_MAX, n;

        if (what != ULV_LIMIT_TASKS && ulv_streq(s, "infinity")) {
                *ret = 0;
                return 0;
        }
        if ((table[what].bytes ? ulv_size_parse(s, &n) : ulv_uint_parse(s, max, &n)) < 0 || n < min || n > max)
                return -EINVAL;
        *ret = n;
        return 0;
}

int ulv_limit_parse(enum ulv_limit_what what, const char *value, char separator, struct ulv_limit *ret) {
        struct ulv_limit l = { .what = what };
        const char *end = strrchr(value, separator), *amount;

        if (what == ULV_LIMIT_TASKS)
                amount = value;
        else {
                /* A tab parts words as well as a space does; paths like /dev/disk/by-path have colons in them. */
                if (separator == ' ')
                        end = value + strcspn(value, " \t");
                if (!end || !*end || take_path(value, (size_t) (end - value), l.path) < 0)
                        return -EINVAL;
                amount = end + 1;
                if (separator == ' ')
                        amount += strspn(amount, " \t");
        }
        if (take_amount(what, amount, &l.amount) < 0)
                return -EINVAL;
        *ret = l;
        return 0;
}

void ulv_limit_format(struct ulv_strbuf *b, const struct ulv_limit *l, char separator) {
        if (l->path[0]) {
                ulv_strbuf_add(b, l->path);
                ulv_strbuf_addc(b, separator);
        }
        if (l->amount == 0)
                ulv_strbuf_add(b, "infinity");
        else if (table[l->what].bytes)
                ulv_size_format(b, l->amount);
        else
                ulv_strbuf_addu(b, l->amount);
}

void ulv_limit_add_amount(struct ulv_strbuf *b, enum ulv_limit_what what, uint64_t amount) {
        const struct ulv_limit l = { .what = what, .amount = amount };

        if (amount > 0)
                ulv_limit_format(b, &l, ' ');
        else if (what == ULV_LIMIT_TASKS)
                ulv_strbuf_addu(b, ULV_LIMIT_TASKS_STANDARD);
        else
                ulv_strbuf_add(b, "none");
        if (amount > 0 && what != ULV_LIMIT_TASKS)
                ulv_strbuf_add(b, "/s");
}

struct ulv_limit_id ulv_limit_id(const struct ulv_limit *l) {
        struct ulv_limit_id id = {};
        size_t n = strlen(table[l->what].word);

        memcpy(id.s, table[l->what].word, n);
        if (l->path[0]) {
                id.s[n] = ':';
                memcpy(id.s + n + 1, l->path, strlen(l->path));
        }
        return id;
}

int ulv_limit_from_id(const char *id, struct ulv_limit *ret) {
        size_t n = strcspn(id, ":");

        for (int i = 0; i < ULV_LIMIT_MAX_; i++) {
                struct ulv_limit l = { .what = (enum ulv_limit_what) i };

                if (strlen(table[i].word) != n || strncmp(table[i].word, id, n) != 0)
                        continue;
                if (i == ULV_LIMIT_TASKS ? id[n] != 0 : id[n] != ':' || take_path(id + n + 1, strlen(id + n + 1), l.path) < 0)
                        return -EINVAL;
                *ret = l;
                return 0;
        }
        return -EINVAL;
}

struct ulv_limit *ulv_limit_find(struct ulv_limit *v, size_t n, const struct ulv_limit *like) {
        for (size_t i = 0; i < n; i++)
                if (ulv_limit_same(&v[i], like))
                        return &v[i];
        return NULL;
}

int ulv_limit_put(struct ulv_limit *v, size_t *n, const struct ulv_limit *limit) {
        struct ulv_limit *old = ulv_limit_find(v, *n, limit);

        if (old && limit->amount > 0)
                old->amount = limit->amount;
        else if (old) {
                size_t at = (size_t) (old - v);

                memmove(old, old + 1, (--*n - at) * sizeof(*v));
        } else if (limit->amount > 0) {
                if (*n == ULV_LIMITS_MAX)
                        return -E2BIG;
                v[(*n)++] = *limit;
        }
        return 0;
}

uint64_t ulv_vm_memory(uint64_t guest_bytes, bool emulated) {
        return guest_bytes + (UINT64_C(160) << 20) + guest_bytes / 128 / 4096 * 4096 + (emulated ? (uint64_t) ULV_VM_CODE_MB << 20 : 0);
}
