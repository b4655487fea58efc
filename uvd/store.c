/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Writing and reading the log. The ledger has already checked what is written here; the store's own duty
 * is that a commit is on the disk, whole, before store_commit() says so, and that a commit of which this
 * can't be said is never followed by another: SQLite may report an error for a commit that a power cut
 * later turns out to have kept, so the only honest word is "unknown", and a fresh process reads the truth.
 *
 * Keys of `state`: a unit (core, device, partition...) has one owner, so its key is "KIND ID" and a change
 * of owner overwrites; counted kinds (memory, share) have a row per owner, so theirs is "KIND ID OWNER". */

#include "uvd/store-private.h"

#include <stdio.h>

#include "lib/fd.h"
#include "model/op.h"

static const char *const statement_sql[ST_MAX_] = {
        [ST_BEGIN] = "BEGIN IMMEDIATE",
        [ST_COMMIT] = "COMMIT",
        [ST_PUT] = "INSERT INTO state(key, row) VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET row = ?2",
        /* A unit that went to another owner comes as `row` (new) and `gone` (old), in either order. */
        [ST_GONE] = "DELETE FROM state WHERE key = ?1 AND substr(row || ' ', 1, length(?2)) = ?2",
        [ST_ADD] = "INSERT INTO history(seq, time, generation, id, owners, state, subject, reason, operations, undo, after)"
                   " VALUES(NULLIF(?1, 0), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        [ST_SETTLE] = "UPDATE history SET state = ?2 WHERE id = ?1",
        [ST_PRUNE] = "DELETE FROM history WHERE seq <= (SELECT max(seq) FROM history) - ?1 AND state <> 'reaching'",
        [ST_FIND] = "SELECT generation, state, undo FROM history WHERE id = ?1",
        [ST_HISTORY] = "SELECT seq, time, generation, id, state, subject, reason, operations, undo, after FROM history"
                       " WHERE seq < ?1 AND (?2 = '' OR instr(owners, ' ' || ?2 || ' ') > 0) ORDER BY seq DESC LIMIT ?3",
        [ST_OLDEST] = "SELECT seq, time, generation, id, state, subject, reason, operations, undo, after FROM history ORDER BY seq",
        [ST_ROWS] = "SELECT row FROM state ORDER BY key",
};

int store_errno(struct store *s) {
        switch (sqlite3_extended_errcode(s->db) & 0xff) {
        case SQLITE_NOMEM: return -ENOMEM;
        case SQLITE_FULL: return -ENOSPC;
        case SQLITE_READONLY: return -EROFS;
        case SQLITE_BUSY: case SQLITE_LOCKED: return -EBUSY;
        case SQLITE_CORRUPT: case SQLITE_NOTADB: return -EBADMSG;
        case SQLITE_CANTOPEN: {
                int e = sqlite3_system_errno(s->db);
                return e > 0 ? -e : -EIO;
        }
        default: return -EIO;
        }
}

const char *store_error_text(struct store *s) { return s->broken[0] ? s->broken : sqlite3_errmsg(s->db); }

/* The statement, prepared at its first use and reset. NULL: store_errno(). */
static sqlite3_stmt *statement(struct store *s, enum statement which) {
        if (!s->statements[which] &&
            sqlite3_prepare_v3(s->db, statement_sql[which], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[which], NULL) != SQLITE_OK)
                return NULL;
        return s->statements[which];
}

/* Text is bound without a copy: every caller runs the statement before its text goes away. */
static bool bind_text(sqlite3_stmt *st, int i, const char *text, size_t len) {
        return sqlite3_bind_text64(st, i, text, len, SQLITE_STATIC, SQLITE_UTF8) == SQLITE_OK;
}
static bool bind_string(sqlite3_stmt *st, int i, const char *text) { return bind_text(st, i, text ? text : "", text ? strlen(text) : 0); }
static bool bind_number(sqlite3_stmt *st, int i, uint64_t n) { return sqlite3_bind_int64(st, i, (sqlite3_int64) n) == SQLITE_OK; }

/* Runs a bound statement that gives no rows, and forgets what was bound. */
static int run(struct store *s, sqlite3_stmt *st, bool bound) {
        int r = bound && sqlite3_step(st) == SQLITE_DONE ? 0 : store_errno(s);

        (void) sqlite3_reset(st);
        (void) sqlite3_clear_bindings(st);
        return r;
}

int store_exec(struct store *s, const char *sql) {
        return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : store_errno(s);
}

/* A statement without values. */
static int run_plain(struct store *s, enum statement which) {
        sqlite3_stmt *st = statement(s, which);

        return st ? run(s, st, true) : store_errno(s);
}

int store_begin(struct store *s) { return s->broken[0] ? -EROFS : run_plain(s, ST_BEGIN); }

void store_rollback(struct store *s) {
        if (!sqlite3_get_autocommit(s->db))
                (void) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}

/* In strides of a sixteenth: each cut writes other pages than those that entries are added to. */
static int prune(struct store *s, uint64_t history_keep) {
        sqlite3_stmt *st;
        int r;

        if (s->unpruned < history_keep / 16)
                return 0;
        st = statement(s, ST_PRUNE);
        r = st ? run(s, st, bind_number(st, 1, history_keep)) : store_errno(s);
        if (r >= 0)
                s->unpruned = 0;
        return r;
}

int store_commit(struct store *s, uint64_t history_keep) {
        int moved = 0, r;

        r = prune(s, history_keep);
        if (r >= 0)
                r = run_plain(s, ST_COMMIT);
        /* Deleted or replaced behind our back: then the commit is durable in a file that nobody will find. */
        if (r >= 0 && sqlite3_file_control(s->db, NULL, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved) {
                (void) snprintf(s->broken, sizeof(s->broken), "ledger.db was moved or deleted");
                return -ESTALE;
        }
        if (r < 0) {
                (void) snprintf(s->broken, sizeof(s->broken), "%s", sqlite3_errmsg(s->db));
                store_rollback(s);
        }
        return r;
}

static bool is_counted(const char *kind, size_t len) {
        return (len == 6 && memcmp(kind, "memory", 6) == 0) || (len == 5 && (memcmp(kind, "share", 5) == 0 || memcmp(kind, "limit", 5) == 0));
}

/* A line's first tokens: VERB KIND ID OWNER and where each ends. False: it isn't a line of rows. */
struct head { const char *verb, *kind, *id, *owner; size_t verb_len, kind_len, id_len, owner_len; };

static bool split_head(const char *line, size_t len, struct head *ret) {
        const char *at = line, *end = line + len, *start[4];
        size_t n[4];

        for (int i = 0; i < 4; i++) {
                const char *space = memchr(at, ' ', (size_t) (end - at));

                start[i] = at;
                n[i] = (size_t) ((space ? space : end) - at);
                if (n[i] == 0)
                        return false;
                if (!space && i < 3)
                        return false;
                at = space ? space + 1 : end;
        }
        *ret = (struct head) { start[0], start[1], start[2], start[3], n[0], n[1], n[2], n[3] };
        return true;
}

static int apply_line(const char *line, size_t len, void *userdata) {
        struct store *s = userdata;
        sqlite3_stmt *st;
        struct head h;
        bool gone;
        size_t key_len;

        if (!split_head(line, len, &h))
                return -EBADMSG;
        gone = h.verb_len == 4 && memcmp(h.verb, "gone", 4) == 0;
        if (!gone && !(h.verb_len == 3 && memcmp(h.verb, "row", 3) == 0))
                return -EBADMSG;
        key_len = (size_t) ((is_counted(h.kind, h.kind_len) ? h.owner + h.owner_len : h.id + h.id_len) - h.kind);
        st = statement(s, gone ? ST_GONE : ST_PUT);
        if (!st)
                return store_errno(s);
        if (gone) {
                _cleanup_free_ char *prefix = NULL;

                if (asprintf(&prefix, "row %.*s ", (int) (h.owner + h.owner_len - h.kind), h.kind) < 0) {
                        prefix = NULL;
                        return -ENOMEM;
                }
                return run(s, st, bind_text(st, 1, h.kind, key_len) && bind_string(st, 2, prefix));
        }
        return run(s, st, bind_text(st, 1, h.kind, key_len) && bind_text(st, 2, line, len));
}

int store_apply(struct store *s, const char *changes, size_t len) { return ulv_op_each_line(changes, len, apply_line, s); }

int store_replace(struct store *s, const char *rows, size_t len) {
        int r = store_exec(s, "DELETE FROM state");

        return r < 0 ? r : store_apply(s, rows, len);
}

/* Whom an entry is about, " db web ", so that a history of one owner is a search for " db ". Names are
 * never escaped in the one text form, so tokens can be taken as they stand. */
static void add_owner(struct ulv_strbuf *b, const char *name, size_t len) {
        char word[80];

        if (len == 0 || len > 63 || (len == 1 && name[0] == '-'))
                return;
        (void) snprintf(word, sizeof(word), " %.*s ", (int) len, name);
        if (strstr(ulv_strbuf_str(b), word))
                return;
        ulv_strbuf_add(b, b->len > 0 ? word + 1 : word);
}

static int line_owners(const char *line, size_t len, void *userdata) {
        const char *end = line + len;
        struct head h;

        if (!split_head(line, len, &h))
                return 0;
        if (h.kind_len == 9 && memcmp(h.kind, "partition", 9) == 0)
                add_owner(userdata, h.id, h.id_len);
        add_owner(userdata, h.owner, h.owner_len);
        for (const char *at = h.owner + h.owner_len; at < end; ) {
                const char *word = at + 1, *space = word < end ? memchr(word, ' ', (size_t) (end - word)) : NULL;
                size_t n = (size_t) ((space ? space : end) - word);

                if (n > 3 && memcmp(word, "to=", 3) == 0)
                        add_owner(userdata, word + 3, n - 3);
                else if (n > 5 && memcmp(word, "from=", 5) == 0)
                        add_owner(userdata, word + 5, n - 5);
                at = space ? space : end;
        }
        return 0;
}

int store_add(struct store *s, const struct store_entry *e) {
        _cleanup_strbuf_ struct ulv_strbuf owners = {};
        sqlite3_stmt *st = statement(s, ST_ADD);

        if (!st)
                return store_errno(s);
        (void) ulv_op_each_line(e->operations, strlen(e->operations), line_owners, &owners);
        (void) ulv_op_each_line(e->after, strlen(e->after), line_owners, &owners);
        if (ulv_strbuf_error(&owners) < 0)
                return ulv_strbuf_error(&owners);
        if (s->unpruned < UINT64_MAX)
                s->unpruned++;
        return run(s, st, bind_number(st, 1, e->seq) && bind_number(st, 2, e->time) && bind_number(st, 3, e->generation) &&
                          bind_string(st, 4, e->id) && bind_string(st, 5, ulv_strbuf_str(&owners)) &&
                          bind_string(st, 6, e->state) && bind_string(st, 7, e->subject) && bind_string(st, 8, e->reason) &&
                          bind_string(st, 9, e->operations) && bind_string(st, 10, e->undo) && bind_string(st, 11, e->after));
}

int store_settle(struct store *s, const char *id, const char *state) {
        sqlite3_stmt *st = statement(s, ST_SETTLE);

        return st ? run(s, st, bind_string(st, 1, id) && bind_string(st, 2, state)) : store_errno(s);
}

int store_drop_history(struct store *s) { return store_exec(s, "DELETE FROM history"); }

/* Text of a column, never NULL but out of memory. */
static const char *column(sqlite3_stmt *st, int i) { return (const char *) sqlite3_column_text(st, i); }

/* Ends a read: SQLITE_DONE is success, and a buffer's error is one. */
static int end_read(struct store *s, sqlite3_stmt *st, int step, const struct ulv_strbuf *b) {
        int r = step == SQLITE_DONE || step == SQLITE_ROW ? ulv_strbuf_error(b) : store_errno(s);

        (void) sqlite3_reset(st);
        (void) sqlite3_clear_bindings(st);
        return r;
}

int store_find(struct store *s, const char *id, uint64_t *ret_generation, struct ulv_strbuf *state, struct ulv_strbuf *undo) {
        sqlite3_stmt *st = statement(s, ST_FIND);
        uint64_t generation = 0;
        int step, r;

        if (!st || !bind_string(st, 1, id))
                return store_errno(s);
        step = sqlite3_step(st);
        if (step == SQLITE_ROW) {
                const char *word = column(st, 1), *text = column(st, 2);

                generation = (uint64_t) sqlite3_column_int64(st, 0);
                ulv_strbuf_add(state, word ? word : "");
                ulv_strbuf_add(undo, text ? text : "");
        }
        r = end_read(s, st, step, undo);
        if (r < 0)
                return r;
        if (step == SQLITE_DONE)
                return 1;
        *ret_generation = generation;
        return ulv_strbuf_error(state);
}

/* A long text is cut at a line's end, so that the whole stays a line of the one text form. */
#define SHOWN_MAX ((size_t) 24 * 1024)

static void add_shown(struct ulv_strbuf *b, const char *key, const char *text, bool *cut) {
        _cleanup_free_ char *head = NULL;
        size_t len = strlen(text);
        char *newline;

        if (len <= SHOWN_MAX) {
                ulv_op_add(b, key, text);
                return;
        }
        *cut = true;
        head = strndup(text, SHOWN_MAX);
        if (!head) {
                b->error = -ENOMEM;
                return;
        }
        newline = strrchr(head, '\n');
        if (newline)
                newline[1] = 0;
        ulv_op_add(b, key, newline ? head : "");
}

static int begin_entry(sqlite3_stmt *st, struct ulv_strbuf *b) {
        static const char *const keys[] = { "id", "state", "subject", "reason" };
        char seq[24];

        (void) snprintf(seq, sizeof(seq), "%lld", (long long) sqlite3_column_int64(st, 0));
        ulv_op_begin(b, "row", "history", seq, "-");
        ulv_op_add_u64(b, "time", (uint64_t) sqlite3_column_int64(st, 1));
        ulv_op_add_u64(b, "generation", (uint64_t) sqlite3_column_int64(st, 2));
        for (int i = 0; i < 4; i++) {
                const char *text = column(st, 3 + i);

                if (!text)
                        return -ENOMEM;
                ulv_op_add(b, keys[i], text);
        }
        return 0;
}

int store_history(struct store *s, const char *owner, uint64_t before, unsigned limit, struct ulv_strbuf *b) {
        static const char *const keys[] = { "operations", "undo", "after" };
        sqlite3_stmt *st = statement(s, ST_HISTORY);
        int step;

        if (!st || !bind_number(st, 1, before > 0 ? ULV_MIN(before, (uint64_t) INT64_MAX) : (uint64_t) INT64_MAX) ||
            !bind_string(st, 2, owner) || !bind_number(st, 3, limit))
                return store_errno(s);
        while ((step = sqlite3_step(st)) == SQLITE_ROW) {
                bool cut = false;

                if (begin_entry(st, b) < 0)
                        b->error = -ENOMEM;
                for (int i = 0; i < 3; i++) {
                        const char *text = column(st, 7 + i);

                        if (text)
                                add_shown(b, keys[i], text, &cut);
                }
                if (cut)
                        ulv_op_add(b, "cut", "yes");
                ulv_op_end(b);
                if (ulv_strbuf_error(b) < 0)
                        break;
        }
        return end_read(s, st, step, b);
}

int store_rows(struct store *s, struct ulv_strbuf *b) {
        sqlite3_stmt *st = statement(s, ST_ROWS);
        int step;

        if (!st)
                return store_errno(s);
        while ((step = sqlite3_step(st)) == SQLITE_ROW) {
                const char *row = column(st, 0);

                if (!row) {
                        b->error = -ENOMEM;
                        break;
                }
                ulv_strbuf_add(b, row);
                ulv_strbuf_addc(b, '\n');
        }
        return end_read(s, st, step, b);
}

/* --- history as the backup has it: nothing is cut, texts follow as lines of their own ---------------- */

struct part { struct ulv_strbuf *b; const char *mark; };

static int add_part(const char *line, size_t len, void *userdata) {
        struct part *p = userdata;

        ulv_strbuf_add(p->b, p->mark);
        ulv_strbuf_add_len(p->b, line, len);
        ulv_strbuf_addc(p->b, '\n');
        return ulv_strbuf_error(p->b);
}

static const char *const marks[] = { "+operations ", "+undo ", "+after " };

int store_dump_history(struct store *s, struct ulv_strbuf *b) {
        sqlite3_stmt *st = statement(s, ST_OLDEST);
        int step;

        if (!st)
                return store_errno(s);
        while ((step = sqlite3_step(st)) == SQLITE_ROW && ulv_strbuf_error(b) >= 0) {
                if (begin_entry(st, b) < 0)
                        b->error = -ENOMEM;
                ulv_op_end(b);
                for (int i = 0; i < 3; i++) {
                        const char *text = column(st, 7 + i);
                        struct part p = { b, marks[i] };

                        if (text)
                                (void) ulv_op_each_line(text, strlen(text), add_part, &p);
                }
        }
        return end_read(s, st, step, b);
}

struct loader {
        struct store *store;
        bool open;                      /* head holds an entry whose texts are being collected */
        struct ulv_op head;
        struct ulv_strbuf texts[3];
};

static int loader_flush(struct loader *l) {
        struct store_entry e = { .operations = ulv_strbuf_str(&l->texts[0]), .undo = ulv_strbuf_str(&l->texts[1]),
                                 .after = ulv_strbuf_str(&l->texts[2]) };
        const struct { const char *key; const char **to; } words[] = {
                { "id", &e.id }, { "state", &e.state }, { "subject", &e.subject }, { "reason", &e.reason },
        };
        char *end;
        int r;

        if (!l->open)
                return 0;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(words); i++)
                if (!(*words[i].to = ulv_op_get(&l->head, words[i].key)))
                        return -EBADMSG;
        e.seq = strtoull(l->head.id, &end, 10);
        if (*end || e.seq == 0 || e.seq > INT64_MAX || ulv_op_get_u64(&l->head, "time", &e.time) != 0 ||
            ulv_op_get_u64(&l->head, "generation", &e.generation) != 0)
                return -EBADMSG;
        r = store_add(l->store, &e);
        ulv_op_done(&l->head);
        l->open = false;
        for (int i = 0; i < 3; i++)
                ulv_strbuf_reset(&l->texts[i]);
        return r;
}

static int load_line(const char *line, size_t len, void *userdata) {
        struct loader *l = userdata;
        int r;

        for (int i = 0; i < 3; i++) {
                size_t n = strlen(marks[i]);

                if (len < n || memcmp(line, marks[i], n) != 0)
                        continue;
                if (!l->open)
                        return -EBADMSG;
                ulv_strbuf_add_len(&l->texts[i], line + n, len - n);
                ulv_strbuf_addc(&l->texts[i], '\n');
                return ulv_strbuf_error(&l->texts[i]);
        }
        r = loader_flush(l);
        if (r < 0)
                return r;
        r = ulv_op_parse(line, len, &l->head, NULL);
        if (r != 0)
                return r < 0 ? r : -EBADMSG;
        l->open = true;
        return ulv_streq(l->head.verb, "row") && ulv_streq(l->head.kind, "history") ? 0 : -EBADMSG;
}

int store_load_history(struct store *s, const char *lines, size_t len) {
        struct loader l = { .store = s };
        int r = ulv_op_each_line(lines, len, load_line, &l);

        if (r >= 0)
                r = loader_flush(&l);
        if (l.open)
                ulv_op_done(&l.head);
        for (int i = 0; i < 3; i++)
                ulv_strbuf_done(&l.texts[i]);
        return r;
}
