/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Three layers, each remade only when what is below it changed: a partition's parsed definition (its text
 * in the ledger), its summary (any change of the mirror), the whole answer. */

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION HASH_FNV  /* the default one falls through cases in a way that clang warns of */
#include "command/rows.h"

#include <stdio.h>
#include <uthash.h>

#include "lib/log.h"

struct entry {
        char name[ULV_NAME_MAX + 1];
        char *text;                             /* that `definition` was parsed from */
        struct ulv_definition *definition;      /* NULL: no text, or one that this version doesn't understand */
        struct summary summary;
        uint64_t round;                         /* of the cache when `summary` was made */
        UT_hash_handle hh;
};

struct cache {
        struct entry *entries;
        uint64_t round;                         /* rises with each change of the mirror */
        struct ulv_strbuf all, partitions;      /* answers to "" and "partition" */
        uint64_t all_round, partitions_round;
};

static void entry_free(struct entry *e) {
        summary_done(&e->summary);
        ulv_definition_free(e->definition);
        free(e->text);
        free(e);
}

int rows_start(struct manager *m) {
        m->cache = calloc(1, sizeof(*m->cache));
        if (!m->cache)
                return -ENOMEM;
        m->cache->round = 1;
        return 0;
}

static void forget(struct cache *c, const char *name) {
        struct entry *e, *next;

        HASH_ITER(hh, c->entries, e, next)
                if (!name || ulv_streq(e->name, name)) {
                        HASH_DEL(c->entries, e);
                        entry_free(e);
                }
}

void rows_done(struct manager *m) {
        if (!m->cache)
                return;
        forget(m->cache, NULL);
        ulv_strbuf_done(&m->cache->all);
        ulv_strbuf_done(&m->cache->partitions);
        free(m->cache);
        m->cache = NULL;
}

void rows_stale(struct manager *m) {
        m->cache->round++;
}

void rows_all_changed(struct manager *m) {
        forget(m->cache, NULL);
        m->cache->round++;
}

void rows_changed(struct manager *m, const char *changes) {
        static const char gone[] = "gone partition ";

        m->cache->round++;
        for (const char *p = changes; (p = strstr(p, gone)); p += strlen(gone)) {
                const char *name = p + strlen(gone);
                _cleanup_free_ char *copy = NULL;

                if (p != changes && p[-1] != '\n')
                        continue;
                copy = strndup(name, strcspn(name, " \n"));
                if (copy)
                        forget(m->cache, copy);
        }
}

/* --- summaries ---------------------------------------------------------------------------------------- */

/* The definition as the ledger has it: what the partition runs by, which files may be ahead of. */
static int refresh_definition(struct entry *e, const char *text) {
        struct ulv_definition *d = NULL;
        char file[ULV_NAME_MAX + 16];
        char *copy;
        int r;

        if (e->text && ulv_streq(e->text, text))
                return 0;
        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        (void) snprintf(file, sizeof(file), "%s.partition", e->name);
        if (text[0]) {
                r = ulv_definition_parse(&(struct ulv_source) { .file = file, .buf = copy, .len = strlen(copy) }, 1, &d, NULL);
                if (r < 0) {
                        free(copy);
                        return r;
                }
        }
        ulv_definition_free(e->definition);
        free(e->text);
        e->definition = d;
        e->text = copy;
        return 0;
}

static int entry_get(struct manager *m, const struct ulv_partition_info *p, struct entry **ret) {
        struct cache *c = m->cache;
        struct entry *e;
        int r;

        HASH_FIND_STR(c->entries, p->name, e);
        if (!e) {
                e = calloc(1, sizeof(*e));
                if (!e)
                        return -ENOMEM;
                (void) snprintf(e->name, sizeof(e->name), "%s", p->name);
                HASH_ADD_STR(c->entries, name, e);
                if (!e->hh.tbl) {
                        entry_free(e);
                        return -ENOMEM;
                }
        }
        if (e->round != c->round) {
                struct summary s;

                r = refresh_definition(e, p->text);
                if (r == 0)
                        r = summary_make(m->ledger, p, e->definition, &s);
                if (r < 0)
                        return r;
                summary_done(&e->summary);
                e->summary = s;
                e->round = c->round;
        }
        *ret = e;
        return 0;
}

int rows_summary(struct manager *m, const char *name, struct ulv_partition_info *ret_info, const struct summary **ret,
                 const struct ulv_definition **ret_definition) {
        struct ulv_partition_info p;
        struct entry *e;
        int r;

        if (!m->ledger || ulv_ledger_partition(m->ledger, name, &p) != 0)
                return 1;
        r = entry_get(m, &p, &e);
        if (r < 0)
                return r;
        if (ret_info)
                *ret_info = p;
        if (ret)
                *ret = &e->summary;
        if (ret_definition)
                *ret_definition = e->definition;
        return 0;
}

/* --- answers ------------------------------------------------------------------------------------------ */

struct writer { struct manager *m; struct ulv_strbuf *b; };

/* A partition's row goes on without its definition's text, and with the computed keys. The token that is
 * cut out can't be part of another: values have no spaces. */
static int write_partition(struct writer *w, const char *line, size_t len) {
        const char *name = line + strlen("row partition "), *cut, *rest, *end = line + len;
        char copy[ULV_NAME_MAX + 1];
        struct ulv_partition_info p;
        const struct summary *s;
        int r;

        (void) snprintf(copy, sizeof(copy), "%.*s", (int) strcspn(name, " \n"), name);
        cut = memmem(line, len, " text=", strlen(" text="));
        rest = cut ? memchr(cut + 1, ' ', (size_t) (end - cut - 1)) : NULL;
        ulv_strbuf_add_len(w->b, line, (size_t) ((cut ? cut : end) - line));
        if (rest)
                ulv_strbuf_add_len(w->b, rest, (size_t) (end - rest));
        r = rows_summary(w->m, copy, &p, &s, NULL);
        if (r < 0)
                return r;
        if (r == 0) {
                bool unit = ulv_streq(w->m->role.root, "/") && !ulv_streq(p.role, "infrastructure");

                summary_add_keys(w->b, s, unit ? copy : NULL);
        }
        ulv_strbuf_addc(w->b, '\n');
        return 0;
}

static int write_line(const char *line, size_t len, void *userdata) {
        struct writer *w = userdata;

        if (len > strlen("row partition ") && ulv_startswith(line, "row partition "))
                return write_partition(w, line, len);
        ulv_strbuf_add_len(w->b, line, len);
        if (!w->m->fresh && ulv_startswith(line, "row ledger "))
                ulv_op_add(w->b, "stale", "yes");
        ulv_strbuf_addc(w->b, '\n');
        return 0;
}

static int answer(struct manager *m, const char *kind, struct ulv_strbuf *b) {
        _cleanup_strbuf_ struct ulv_strbuf dump = { 0 };
        struct writer w = { m, b };
        int r;

        ulv_strbuf_reset(b);
        r = ulv_ledger_dump(m->ledger, kind[0] ? kind : NULL, &dump);
        if (r == 0)
                r = ulv_op_each_line(ulv_strbuf_str(&dump), dump.len, write_line, &w);
        return r != 0 ? r : ulv_strbuf_error(b);
}

int rows_get(struct manager *m, const char *kind, const char **ret) {
        struct cache *c = m->cache;
        bool partitions = ulv_streq(kind, "partition");
        struct ulv_strbuf *b = partitions ? &c->partitions : &c->all;
        uint64_t *round = partitions ? &c->partitions_round : &c->all_round;
        int r;

        /* Other kinds are asked for seldom: they share the room of "", which is then made again. */
        if (*round != c->round || !(partitions || kind[0] == 0)) {
                *round = 0;
                r = answer(m, kind, b);
                if (r < 0)
                        return r;
                if (partitions || kind[0] == 0)
                        *round = c->round;
        }
        *ret = ulv_strbuf_str(b);
        return 0;
}
