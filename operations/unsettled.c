/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "operations/unsettled.h"

#include <stdlib.h>
#include <unistd.h>

#include "lib/fd.h"
#include "lib/log.h"
#include "model/name.h"
#include "model/op.h"

#define NOTES "unsettled"       /* a line each: "unsettled dropin TXN PARTITION version=N" */
#define NOTES_MAX ((size_t) UNSETTLED_MAX * 256)

void unsettled_done(struct unsettled *u) {
        free(u->v);
        *u = (struct unsettled) { 0 };
}

const struct unsettled_note *unsettled_find(const struct unsettled *u, const char *txn) {
        for (size_t i = 0; i < u->n; i++)
                if (ulv_streq(u->v[i].txn, txn))
                        return &u->v[i];
        return NULL;
}

static int append(struct unsettled *u, uint64_t version, const char *partition, const char *txn) {
        struct unsettled_note note = { .version = version }, *v;

        if (!ulv_name_is_valid(partition) || !txn[0] || !ulv_copy(note.partition, sizeof(note.partition), partition) ||
            !ulv_copy(note.txn, sizeof(note.txn), txn))
                return -EINVAL;
        if (u->n >= UNSETTLED_MAX)
                return -E2BIG;
        v = realloc(u->v, (u->n + 1) * sizeof(*v));
        if (!v)
                return -ENOMEM;
        u->v = v;
        v[u->n++] = note;
        return 0;
}

struct loading { struct unsettled *u; uint64_t newest; bool stale; };

static int load_line(const char *line, size_t len, void *userdata) {
        struct loading *l = userdata;
        _cleanup_op_ struct ulv_op op = { 0 };
        uint64_t version;
        int r = ulv_op_parse(line, len, &op, NULL);

        if (r < 0)
                return r;
        if (r > 0 || ulv_op_get_u64(&op, "version", &version) != 0)
                return -EBADMSG;
        if (version > l->newest) {
                l->stale = true;
                return 0;
        }
        return append(l->u, version, op.owner, op.id);
}

static int store(int state, const struct unsettled *u) {
        _cleanup_strbuf_ struct ulv_strbuf b = { .max = NOTES_MAX };

        for (size_t i = 0; i < u->n; i++) {
                ulv_op_begin(&b, "unsettled", "dropin", u->v[i].txn, u->v[i].partition);
                ulv_op_add_u64(&b, "version", u->v[i].version);
                ulv_op_end(&b);
        }
        return b.error ? b.error : ulv_write_file_atomic(state, NOTES, ulv_strbuf_str(&b), b.len, 0600);
}

int unsettled_load(int state, uint64_t newest, struct unsettled *ret) {
        _cleanup_free_ char *buf = NULL;
        struct unsettled u = { 0 };
        struct loading l = { .u = &u, .newest = newest };
        size_t len = 0;
        int r;

        r = ulv_read_file_at(state, NOTES, NOTES_MAX, &buf, &len);
        if (r == 0)
                r = ulv_op_each_line(buf, len, load_line, &l);
        if (r == 0 && l.stale)          /* their numbers will be given again */
                r = store(state, &u);
        if (r == -EBADMSG || r == -EINVAL || r == -E2BIG) {
                /* It was renamed into place whole: a disk that lies, or a hand at work. */
                ulv_log(ULV_LOG_ERR, "the note of what isn't settled is damaged: 'uvctl plan' tells whether a file and the ledger differ");
                unsettled_done(&u);
                r = 0;
        }
        if (r < 0 && r != -ENOENT) {
                unsettled_done(&u);
                return r;
        }
        *ret = u;
        return 0;
}

int unsettled_add(int state, struct unsettled *u, uint64_t version, const char *partition, const char *txn) {
        int r = append(u, version, partition, txn);

        if (r < 0)
                return r;
        r = store(state, u);
        if (r < 0)
                u->n--;
        return r;
}

void unsettled_drop(int state, struct unsettled *u, uint64_t version) {
        size_t n = 0;

        for (size_t i = 0; i < u->n; i++)
                if (u->v[i].version != version)
                        u->v[n++] = u->v[i];
        if (n == u->n)
                return;
        u->n = n;
        if (n == 0)
                (void) unlinkat(state, NOTES, 0);
        else
                (void) store(state, u);
}
