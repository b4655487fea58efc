/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The file of the log: opened, checked, brought up to date, replaced.
 *
 * A refusal leaves the file as it was: until schema and integrity are accepted nothing is written, and the
 * write-ahead log is neither folded in nor removed at close. SQLite holds its lock on the file for as long
 * as uvd lives (locking_mode=EXCLUSIVE), so there is no second writer and no shared-memory index.
 *
 * A new file is built as ledger.tmp, renamed to ledger.next when it is complete and synced, and then put in
 * place. ledger.next is thus the record of an intent: whoever opens the store finishes it first. The old
 * write-ahead log must go before the new file has the name, else SQLite would replay it there. */

#include "uvd/store-private.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define LOG_ROOM (4 * 1024 * 1024 + 256 * 1024)         /* 1000 pages, at which SQLite folds the log in, and a large commit */
#define APPLICATION_ID 0x55564c31       /* "UVL1": tells our file from any other of SQLite's */

/* migrations[n] makes version n + 1 of version n; version 0 is an empty file. A step is never changed once
 * a release had it: test/fixtures/ledger has a file of each version. All steps are one transaction, so that
 * a uvd killed between them leaves the old version, whole. */
static const char *const migrations[STORE_SCHEMA] = {
        "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE state(key TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE history(seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, generation INTEGER NOT NULL,"
        " id TEXT NOT NULL UNIQUE, owners TEXT NOT NULL, state TEXT NOT NULL, subject TEXT NOT NULL, reason TEXT NOT NULL,"
        " operations TEXT NOT NULL, undo TEXT NOT NULL, after TEXT NOT NULL);",
#ifdef STORE_LATER
        STORE_LATER
#endif
};

static int path_of(const char *dir, const char *name, char **ret) {
        char *p = NULL;

        if (asprintf(&p, "%s/%s", dir, name) < 0)
                return -ENOMEM;
        *ret = p;
        return 0;
}

static int sync_dir(int dirfd) { return fsync(dirfd) < 0 ? -errno : 0; }

static int open_dir(const char *dir, int *ret) {
        int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        *ret = fd;
        return 0;
}

/* One number of a pragma or query. */
static int query_number(struct store *s, const char *sql, int64_t *ret) {
        sqlite3_stmt *st = NULL;
        int r = -EBADMSG;

        if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK)
                return store_errno(s);
        switch (sqlite3_step(st)) {
        case SQLITE_ROW:
                *ret = sqlite3_column_int64(st, 0);
                r = 0;
                break;
        case SQLITE_DONE:
                break;
        default:
                r = store_errno(s);
        }
        (void) sqlite3_finalize(st);
        return r;
}

static int open_db(const char *path, int flags, struct store **ret) {
        struct store *s = calloc(1, sizeof(*s));
        mode_t mask;
        int r;

        if (!s)
                return -ENOMEM;
        mask = umask(077);
        r = sqlite3_open_v2(path, &s->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
        (void) umask(mask);
        if (r != SQLITE_OK) {
                r = s->db ? store_errno(s) : -ENOMEM;
                store_close(s);
                return r;
        }
        (void) sqlite3_extended_result_codes(s->db, 1);
        (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        s->unpruned = UINT64_MAX;       /* not known: the first commit cuts */
        *ret = s;
        return 0;
}

void store_close(struct store *s) {
        if (!s)
                return;
        for (int i = 0; i < ST_MAX_; i++)
                (void) sqlite3_finalize(s->statements[i]);
        (void) sqlite3_close(s->db);
        free(s);
}

/* Gives the write-ahead log the room that it takes until it begins anew, as zeros, which are no frames of it. A commit then
 * waits for its own pages and not for the file system's, which has to note how a file grows. Without room the log
 * grows as it is written to. */
static void make_room(struct store *s) {
        static const char zeros[64 * 1024];
        sqlite3_int64 size = 0, at;
        sqlite3_file *wal = NULL;

        if (store_exec(s, "SELECT 1 FROM meta") < 0 || sqlite3_file_control(s->db, NULL, SQLITE_FCNTL_JOURNAL_POINTER, &wal) != SQLITE_OK ||
            !wal || !wal->pMethods || wal->pMethods->xFileSize(wal, &size) != SQLITE_OK)
                return;
        for (at = size; at < LOG_ROOM; at += sizeof(zeros))
                if (wal->pMethods->xWrite(wal, zeros, (int) ULV_MIN(LOG_ROOM - at, (sqlite3_int64) sizeof(zeros)), at) != SQLITE_OK) {
                        (void) wal->pMethods->xTruncate(wal, size);
                        return;
                }
        (void) wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL);
}

/* Writing begins: from here on the file is ours. */
static int make_durable(struct store *s) {
        int r = store_exec(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;"
                              "PRAGMA journal_size_limit=8388608; PRAGMA cell_size_check=ON; PRAGMA cache_size=-512;");

        if (r >= 0) {
                (void) sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
                make_room(s);
        }
        return r;
}

static int migrate(struct store *s, unsigned from) {
        char tail[192];
        int r = store_exec(s, "BEGIN IMMEDIATE");

        for (unsigned v = from; r >= 0 && v < STORE_SCHEMA; v++)
                r = store_exec(s, migrations[v]);
        (void) snprintf(tail, sizeof(tail), "INSERT OR REPLACE INTO meta(key, value) VALUES('schema', %d); PRAGMA application_id=%d; COMMIT",
                        STORE_SCHEMA, APPLICATION_ID);
        if (r >= 0)
                r = store_exec(s, tail);
        store_rollback(s);
        return r;
}

static int refuse_corrupt(const char *dir, const char *why, struct ulv_diag *reterr) {
        ulv_diag_what(reterr, ULV_EXIT_FAILED, "the ledger's log %s/ledger.db is damaged; nothing was changed", dir);
        ulv_diag_why(reterr, "%s", why);
        ulv_diag_try(reterr, "uvd --restore BACKUP, or uvd --rebuild (a new ledger from what runs)");
        return STORE_CORRUPT;
}

static int check_integrity(struct store *s, const char *dir, struct ulv_diag *reterr) {
        sqlite3_stmt *st = NULL;
        const char *text;
        int r = 0;

        if (sqlite3_prepare_v2(s->db, "PRAGMA integrity_check(1)", -1, &st, NULL) != SQLITE_OK)
                return store_errno(s) == -ENOMEM ? -ENOMEM : refuse_corrupt(dir, sqlite3_errmsg(s->db), reterr);
        if (sqlite3_step(st) != SQLITE_ROW)
                r = store_errno(s) == -ENOMEM ? -ENOMEM : refuse_corrupt(dir, sqlite3_errmsg(s->db), reterr);
        else if (!(text = (const char *) sqlite3_column_text(st, 0)) || !ulv_streq(text, "ok"))
                r = text ? refuse_corrupt(dir, text, reterr) : -ENOMEM;
        (void) sqlite3_finalize(st);
        return r;
}

/* Is it ours, whole, and of a version that we know? Reads only. */
static int check_file(struct store *s, const char *dir, int64_t *ret_schema, struct ulv_diag *reterr) {
        int64_t id = 0, schema = 0;
        int r;

        r = store_exec(s, "PRAGMA locking_mode=EXCLUSIVE; BEGIN IMMEDIATE; ROLLBACK");
        if (r == -EBUSY) {
                ulv_diag_what(reterr, ULV_EXIT_CONFLICT, "the ledger's log %s/ledger.db is in use", dir);
                ulv_diag_why(reterr, "another process has it open");
                ulv_diag_try(reterr, "stop the other uvd (or sqlite3), then again");
                return STORE_BUSY;
        }
        if (r == -EBADMSG)
                return refuse_corrupt(dir, sqlite3_errmsg(s->db), reterr);
        if (r < 0)
                return r;
        r = query_number(s, "PRAGMA application_id", &id);
        if (r == -EBADMSG || (r >= 0 && id != APPLICATION_ID))
                return refuse_corrupt(dir, r < 0 ? sqlite3_errmsg(s->db) : "it is not a ledger of Ultravisor (application id)", reterr);
        if (r < 0)
                return r;
        r = query_number(s, "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'schema'", &schema);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return refuse_corrupt(dir, sqlite3_errmsg(s->db), reterr);
        if (schema > STORE_SCHEMA) {
                ulv_diag_what(reterr, ULV_EXIT_FAILED, "the ledger's log %s/ledger.db is of a newer Ultravisor; nothing was changed", dir);
                ulv_diag_why(reterr, "its schema is %lld, and this uvd (%s) knows up to %d", (long long) schema, ULV_VERSION, STORE_SCHEMA);
                ulv_diag_try(reterr, "install the newer version again, or uvd --restore a backup of this one");
                return STORE_NEWER;
        }
        *ret_schema = schema;
        return check_integrity(s, dir, reterr);
}

/* Forgets an old name and keeps `from` under it, if there is a `from`. */
static int keep_as(int dirfd, const char *from, const char *to) {
        if (linkat(dirfd, from, dirfd, to, 0) < 0 && errno != ENOENT && errno != EEXIST)
                return -errno;
        return 0;
}

static int remove_name(int dirfd, const char *name) {
        return unlinkat(dirfd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* Puts ledger.next in place, if there is one. May be interrupted and begun again at any point. */
static int finish_install(int dirfd) {
        int r;

        if (faccessat(dirfd, "ledger.next", F_OK, 0) < 0)
                return errno == ENOENT ? 0 : -errno;
        if ((r = keep_as(dirfd, "ledger.db-wal", "ledger.db.old-wal")) < 0 ||
            (r = keep_as(dirfd, "ledger.db", "ledger.db.old")) < 0 ||
            (r = remove_name(dirfd, "ledger.db-wal")) < 0 || (r = remove_name(dirfd, "ledger.db-shm")) < 0 ||
            (r = remove_name(dirfd, "ledger.db-journal")) < 0 || (r = sync_dir(dirfd)) < 0)
                return r;
        if (renameat(dirfd, "ledger.next", dirfd, "ledger.db") < 0)
                return -errno;
        return sync_dir(dirfd);
}

/* Fills ledger.tmp with a ledger, closed and synced. */
static int build(const char *path, const char *rows, size_t rows_len, const char *history, size_t history_len) {
        ULV_CLEANUP(store_closep) struct store *s = NULL;
        int r;

        r = open_db(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &s);
        /* A rollback journal leaves one self-contained file; it becomes WAL when it is opened for use. */
        if (r < 0 || (r = store_exec(s, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL;")) < 0 ||
            (r = migrate(s, 0)) < 0 || (r = store_begin(s)) < 0 || (r = store_apply(s, rows, rows_len)) < 0 ||
            (r = store_load_history(s, history, history_len)) < 0)
                return r;
        return store_exec(s, "COMMIT");
}

int store_install(const char *dir, const char *rows, size_t rows_len, const char *history, size_t history_len,
                  struct ulv_diag *reterr) {
        static const char *const stale[] = { "ledger.tmp", "ledger.tmp-journal", "ledger.next" };
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int dirfd = -1;
        int r;

        r = path_of(dir, "ledger.tmp", &path);
        if (r >= 0)
                r = open_dir(dir, &dirfd);
        for (size_t i = 0; r >= 0 && i < ULV_ARRAY_SIZE(stale); i++)
                r = remove_name(dirfd, stale[i]);
        if (r >= 0)
                r = build(path, rows, rows_len, history, history_len);
        if (r >= 0 && ((r = remove_name(dirfd, "ledger.db.old")) < 0 || (r = remove_name(dirfd, "ledger.db.old-wal")) < 0))
                goto failed;
        if (r >= 0 && renameat(dirfd, "ledger.tmp", dirfd, "ledger.next") < 0)
                r = -errno;
        if (r >= 0)
                r = sync_dir(dirfd);
        if (r >= 0)
                r = finish_install(dirfd);
        if (r >= 0)
                return 0;
failed:
        ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot write a new ledger to %s", dir);
        ulv_diag_why(reterr, "%s", strerror(-r));
        ulv_diag_try(reterr, "see that the directory is writable and has room: df %s", dir);
        return r;
}

int store_open(const char *dir, struct store **ret, struct ulv_diag *reterr) {
        ULV_CLEANUP(store_closep) struct store *s = NULL;
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int dirfd = -1;
        int64_t schema;
        int r;

        r = open_dir(dir, &dirfd);
        if (r >= 0)
                r = finish_install(dirfd);
        if (r >= 0)
                r = path_of(dir, "ledger.db", &path);
        if (r >= 0 && faccessat(dirfd, "ledger.db", F_OK, 0) < 0)
                return errno == ENOENT ? STORE_MISSING : -errno;
        if (r >= 0)
                r = open_db(path, SQLITE_OPEN_READWRITE, &s);
        if (r >= 0) {
                r = check_file(s, dir, &schema, reterr);
                if (r > 0)
                        return r;
        }
        if (r >= 0 && schema < STORE_SCHEMA)
                r = migrate(s, (unsigned) schema);
        if (r >= 0 && (r = make_durable(s)) >= 0)
                r = sync_dir(dirfd);
        if (r < 0) {
                ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot open the ledger's log %s/ledger.db", dir);
                ulv_diag_why(reterr, "%s", s ? sqlite3_errmsg(s->db) : strerror(-r));
                ulv_diag_try(reterr, "see that the directory is writable by uvd and has room: df %s", dir);
                return r;
        }
        *ret = ulv_steal(s);
        return 0;
}
