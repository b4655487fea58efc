/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "operations/written.h"

#include <stdlib.h>

#include "lib/fd.h"
#include "lib/log.h"
#include "model/op.h"

#define NOTES "unsettled"       /* a line each: "unsettled dropin TXN PARTITION version=N", "settled ..." */
#define NOTES_MAX ((size_t) WRITTEN_MAX * 256)

void written_done(struct written *w) {
        free(w->v);
        *w = (struct written) { 0 };
}

const struct written_note *written_find(const struct written *w, const char *txn) {
        for (size_t i = 0; i < w->n; i++)
                if (ulv_streq(w->v[i].txn, txn))
                        return &w->v[i];
        return NULL;
}

static int append(struct written *w, uint64_t version, bool settled, const char *partition, const char *txn) {
        struct written_note note = { .version = version, .settled = settled }, *v;

        if ((partition[0] && !ulv_name_is_valid(partition)) || !txn[0] || !ulv_copy(note.partition, sizeof(note.partition), partition) ||
            !ulv_copy(note.txn, sizeof(note.txn), txn))
                return -EINVAL;
        if (w->n >= WRITTEN_MAX)
                return -E2BIG;
        v = realloc(w->v, (w->n + 1) * sizeof(*v));
        if (!v)
                return -ENOMEM;
        w->v = v;
        v[w->n++] = note;
        return 0;
}

struct loading { struct written *w; uint64_t newest; bool stale; };

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
        return append(l->w, version, ulv_streq(op.verb, "settled"), ulv_streq(op.owner, "-") ? "" : op.owner, op.id);
}

int written_store(int state, const struct written *w) {
        _cleanup_strbuf_ struct ulv_strbuf b = { .max = NOTES_MAX };

        for (size_t i = 0; i < w->n; i++) {
                ulv_op_begin(&b, w->v[i].settled ? "settled" : "unsettled", "dropin", w->v[i].txn, w->v[i].partition);
                ulv_op_add_u64(&b, "version", w->v[i].version);
                ulv_op_end(&b);
        }
        return b.error ? b.error : ulv_write_file_atomic(state, NOTES, ulv_strbuf_str(&b), b.len, 0600);
}

int written_load(int state, uint64_t newest, struct written *ret) {
        _cleanup_free_ char *buf = NULL;
        struct written w = { 0 };
        struct loading l = { .w = &w, .newest = newest };
        size_t len = 0;
        int r;

        r = ulv_read_file_at(state, NOTES, NOTES_MAX, &buf, &len);
        if (r == 0)
                r = ulv_op_each_line(buf, len, load_line, &l);
        if (r == 0 && l.stale)          /* their numbers will be given again */
                r = written_store(state, &w);
        if (r == -EBADMSG || r == -EINVAL || r == -E2BIG) {
                /* It was renamed into place whole: a disk that lies, or a hand at work. */
                ulv_log(ULV_LOG_ERR, "the note of what isn't settled is damaged: 'uvctl plan' tells whether a file and the ledger differ");
                written_done(&w);
                r = 0;
        }
        if (r < 0 && r != -ENOENT) {
                written_done(&w);
                return r;
        }
        *ret = w;
        return 0;
}

int written_add(struct written *w, uint64_t version, uint64_t oldest, const char *partition, const char *txn) {
        size_t n = 0;

        for (size_t i = 0; i < w->n; i++)
                if (!w->v[i].settled || w->v[i].version >= oldest)
                        w->v[n++] = w->v[i];
        w->n = n;
        return append(w, version, false, partition, txn);
}

void written_settle(int state, struct written *w, uint64_t version) {
        bool any = false;

        for (size_t i = 0; i < w->n; i++)
                if (w->v[i].version == version && !w->v[i].settled)
                        any = w->v[i].settled = true;
        if (any && written_store(state, w) < 0)
                ulv_log(ULV_LOG_DEBUG, "version %llu is settled, but its note is not", (unsigned long long) version);
}

void written_drop(int state, struct written *w, uint64_t version, const char *partition) {
        size_t n = 0, before = w->n;

        for (size_t i = 0; i < before; i++)
                if (w->v[i].version != version || (partition[0] && !ulv_streq(w->v[i].partition, partition)))
                        w->v[n++] = w->v[i];
        w->n = n;
        if (n < before)
                (void) written_store(state, w);
}
