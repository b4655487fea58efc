/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The ledger's log: what is committed is read back, what isn't leaves nothing, and whatever state the file is
 * found in, opening it either works or refuses and changes nothing. Runs on the disk below TMPDIR; a disk
 * that is full is a tmpfs of 256K in a mount namespace (skipped where that isn't allowed). */

#include "uvd/store.c"
#include "uvd/store-file.c"

#include <dirent.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <cmocka.h>

#define ROWS "row ledger - - generation=1\nrow core 0 host node=0\nrow core 1 host node=0\n" \
             "row memory 0/4K host amount=100\nrow partition web - state=defined\n"

static int setup(void **state) {
        char *dir = strdup("/tmp/uv-store-XXXXXX");

        if (!dir || !mkdtemp(dir))
                return -1;
        *state = dir;
        return 0;
}

static int teardown(void **state) {
        char *dir = *state, path[512];
        DIR *d = opendir(dir);
        struct dirent *e;

        while (d && (e = readdir(d))) {
                (void) snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
                (void) unlink(path);
        }
        closedir(d);
        (void) rmdir(dir);
        free(dir);
        return 0;
}

static struct store *make(const char *dir) {
        struct store *s = NULL;
        struct ulv_diag d = {};

        assert_int_equal(store_install(dir, ROWS, strlen(ROWS), "", 0, &d), 0);
        assert_int_equal(store_open(dir, &s, &d), 0);
        return s;
}

static char *rows_of(struct store *s) {
        struct ulv_strbuf b = {};

        assert_int_equal(store_rows(s, &b), 0);
        return ulv_strbuf_steal(&b);
}

static void assert_rows(struct store *s, const char *want) {
        _cleanup_free_ char *rows = rows_of(s);

        assert_string_equal(rows, want);
}

static void commit_one(struct store *s, const char *changes, const char *id, const char *operations) {
        struct store_entry e = { .time = 7, .generation = 2, .id = id, .subject = "uid:0", .reason = "a b%", .state = "reaching",
                                 .operations = operations, .undo = "undo it\n", .after = changes };

        assert_int_equal(store_begin(s), 0);
        assert_int_equal(store_apply(s, changes, strlen(changes)), 0);
        assert_int_equal(store_add(s, &e), 0);
        assert_int_equal(store_commit(s, 1000), 0);
}

static char *slurp(const char *dir, const char *name, size_t *ret_len) {
        char path[512], *buf = NULL;
        int fd;

        (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
        fd = open(path, O_RDONLY);
        assert_true(fd >= 0);
        assert_int_equal(ulv_read_fd(fd, 64 << 20, &buf, ret_len), 0);
        (void) close(fd);
        return buf;
}

static void put(const char *dir, const char *name, off_t at, const char *text) {
        char path[512];
        int fd;

        (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
        fd = open(path, O_RDWR | O_CREAT, 0600);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, text, strlen(text), at), strlen(text));
        (void) close(fd);
}

/* --- what is written --------------------------------------------------------------------------------- */

static void test_rows_survive_and_the_file_is_private(void **state) {
        struct store *s = make(*state);
        char path[512];
        struct stat st;

        assert_rows(s, "row core 0 host node=0\nrow core 1 host node=0\nrow ledger - - generation=1\n"
                       "row memory 0/4K host amount=100\nrow partition web - state=defined\n");
        (void) snprintf(path, sizeof(path), "%s/ledger.db", (char *) *state);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        store_close(s);
}

static void test_a_unit_has_one_row_whoever_comes_first(void **state) {
        struct store *s = make(*state);

        commit_one(s, "gone core 0 host\nrow core 0 web node=0\nrow core 1 web node=0\ngone core 1 host\n", "t1", "");
        commit_one(s, "row memory 0/4K host amount=60\nrow memory 0/4K web amount=40\n", "t2", "");
        assert_rows(s, "row core 0 web node=0\nrow core 1 web node=0\nrow ledger - - generation=1\n"
                       "row memory 0/4K host amount=60\nrow memory 0/4K web amount=40\nrow partition web - state=defined\n");
        commit_one(s, "gone memory 0/4K web\ngone partition web -\ngone core 0 webby\n", "t3", "");
        assert_rows(s, "row core 0 web node=0\nrow core 1 web node=0\nrow ledger - - generation=1\nrow memory 0/4K host amount=60\n");
        store_close(s);
}

static void test_a_rollback_leaves_nothing(void **state) {
        _cleanup_free_ char *before = NULL;
        struct store *s = make(*state);
        struct ulv_strbuf text = {};
        uint64_t g;

        before = rows_of(s);
        assert_int_equal(store_begin(s), 0);
        assert_int_equal(store_apply(s, "row core 0 web node=0\n", 22), 0);
        assert_int_equal(store_add(s, &(struct store_entry) { .id = "x", .subject = "", .reason = "", .state = "done", .operations = "", .undo = "", .after = "" }), 0);
        store_rollback(s);
        assert_rows(s, before);
        assert_int_equal(store_find(s, "x", &g, &text, &text), 1);
        assert_int_equal(store_apply(s, "nonsense\n", 9), -EBADMSG);
        assert_int_equal(store_apply(s, "row core\n", 9), -EBADMSG);
        store_close(s);
}

static void test_the_first_outcome_is_found_by_id(void **state) {
        struct store *s = make(*state);
        struct ulv_strbuf st = {}, undo = {};
        uint64_t g;

        commit_one(s, "row core 0 web node=0\n", "t1", "claim core 0 web\n");
        assert_int_equal(store_find(s, "t1", &g, &st, &undo), 0);
        assert_int_equal(g, 2);
        assert_string_equal(ulv_strbuf_str(&st), "reaching");
        assert_string_equal(ulv_strbuf_str(&undo), "undo it\n");
        assert_int_equal(store_begin(s), 0);
        assert_int_equal(store_settle(s, "t1", "done"), 0);
        assert_int_equal(store_commit(s, 1000), 0);
        ulv_strbuf_reset(&st);
        assert_int_equal(store_find(s, "t1", &g, &st, &undo), 0);
        assert_string_equal(ulv_strbuf_str(&st), "done");
        /* The same id a second time is the caller's mistake, and nothing of that commit stays. */
        assert_int_equal(store_begin(s), 0);
        assert_true(store_add(s, &(struct store_entry) { .id = "t1", .subject = "", .reason = "", .state = "done", .operations = "", .undo = "", .after = "" }) < 0);
        store_rollback(s);
        ulv_strbuf_done(&st);
        ulv_strbuf_done(&undo);
        store_close(s);
}

static void test_history_by_owner_newest_first_and_pruned(void **state) {
        struct store *s = make(*state);
        struct ulv_strbuf b = {};

        commit_one(s, "row core 0 web node=0\n", "t1", "claim core 0 web\n");
        commit_one(s, "row core 0 db node=0\n", "t2", "move core 0 web to=db\n");
        commit_one(s, "row core 1 webby node=0\n", "t3", "claim core 1 webby\n");
        assert_int_equal(store_history(s, "web", 0, 10, &b), 0);
        assert_string_equal(ulv_strbuf_str(&b),
                "row history 2 - time=7 generation=2 id=t2 state=reaching subject=uid:0 reason=a%20b%25 operations=move%20core%200%20web%20to=db%0A undo=undo%20it%0A after=row%20core%200%20db%20node=0%0A\n"
                "row history 1 - time=7 generation=2 id=t1 state=reaching subject=uid:0 reason=a%20b%25 operations=claim%20core%200%20web%0A undo=undo%20it%0A after=row%20core%200%20web%20node=0%0A\n");
        ulv_strbuf_reset(&b);
        assert_int_equal(store_history(s, "db", 0, 10, &b), 0);
        assert_non_null(strstr(ulv_strbuf_str(&b), " id=t2 "));
        ulv_strbuf_reset(&b);
        assert_int_equal(store_history(s, "", 3, 1, &b), 0);
        assert_non_null(strstr(ulv_strbuf_str(&b), "row history 2 "));
        assert_null(strstr(ulv_strbuf_str(&b), "row history 1 "));
        /* Pruned by number, but what is still reaching is kept: its undo may be needed. */
        assert_int_equal(store_begin(s), 0);
        assert_int_equal(store_settle(s, "t2", "done"), 0);
        assert_int_equal(store_commit(s, 1), 0);
        ulv_strbuf_reset(&b);
        assert_int_equal(store_history(s, "", 0, 10, &b), 0);
        assert_non_null(strstr(ulv_strbuf_str(&b), " id=t1 "));
        assert_null(strstr(ulv_strbuf_str(&b), " id=t2 "));
        assert_non_null(strstr(ulv_strbuf_str(&b), " id=t3 "));
        ulv_strbuf_done(&b);
        store_close(s);
}

static void test_a_long_text_is_cut_in_lines_but_not_in_the_dump(void **state) {
        struct store *s = make(*state), *copy = NULL;
        struct ulv_strbuf big = {}, b = {}, again = {};
        char dir[] = "/tmp/uv-store-XXXXXX", *d2 = mkdtemp(dir);

        for (int i = 0; i < 3000; i++)
                ulv_strbuf_addf(&big, "claim core %d web\n", i);
        commit_one(s, "row core 0 web node=0\n", "t1", ulv_strbuf_str(&big));
        assert_int_equal(store_history(s, "", 0, 10, &b), 0);
        assert_non_null(strstr(ulv_strbuf_str(&b), " cut=yes\n"));
        assert_true(b.len < ULV_OP_LINE_MAX);
        ulv_strbuf_reset(&b);
        assert_int_equal(store_dump_history(s, &b), 0);
        assert_non_null(strstr(ulv_strbuf_str(&b), "\n+operations claim core 2999 web\n"));
        /* What was dumped is the same again in another file. */
        assert_int_equal(store_install(d2, ROWS, strlen(ROWS), ulv_strbuf_str(&b), b.len, NULL), 0);
        assert_int_equal(store_open(d2, &copy, NULL), 0);
        assert_int_equal(store_dump_history(copy, &again), 0);
        assert_string_equal(ulv_strbuf_str(&again), ulv_strbuf_str(&b));
        store_close(copy);
        store_close(s);
        ulv_strbuf_done(&big);
        ulv_strbuf_done(&b);
        ulv_strbuf_done(&again);
        d2 = strdup(dir);
        (void) teardown((void **) &d2);
}

static void test_history_that_is_none_is_refused(void **state) {
        static const char *const bad[] = {
                "+undo x\n", "row core 0 web\n", "row history 0 - id=a state=done subject= reason= time=1 generation=1\n",
                "row history 1 - id=a state=done subject= time=1 generation=1\n", "row history 1 - id=a state=done subject= reason= time=x generation=1\n",
        };
        struct store *s = make(*state);

        for (size_t i = 0; i < ULV_ARRAY_SIZE(bad); i++) {
                assert_int_equal(store_begin(s), 0);
                assert_int_equal(store_load_history(s, bad[i], strlen(bad[i])), -EBADMSG);
                store_rollback(s);
        }
        store_close(s);
}

/* --- what is found ------------------------------------------------------------------------------------ */

static void test_missing(void **state) {
        struct store *s = NULL;

        assert_int_equal(store_open(*state, &s, NULL), STORE_MISSING);
}

/* Opens a bad ledger.db and asserts the refusal, its words, and that no byte changed. */
static void assert_refused(const char *dir, int refusal, const char *word) {
        _cleanup_free_ char *before = NULL, *after = NULL;
        struct store *s = NULL;
        struct ulv_diag d = {};
        size_t n, m;

        before = slurp(dir, "ledger.db", &n);
        assert_int_equal(store_open(dir, &s, &d), refusal);
        after = slurp(dir, "ledger.db", &m);
        assert_int_equal(n, m);
        assert_memory_equal(before, after, n);
        assert_non_null(strstr(d.what, word));
        assert_true(d.why[0] && d.try_[0]);
}

static void test_corrupt_is_refused_untouched(void **state) {
        store_close(make(*state));
        put(*state, "ledger.db", 4096 + 4000, "XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX");
        put(*state, "ledger.db", 3 * 4096, "XXXXXXXXXXXXXXXX");
        put(*state, "ledger.db", 2 * 4096, "XXXXXXXXXXXXXXXX");
        assert_refused(*state, STORE_CORRUPT, "damaged");
}

static void test_not_a_ledger_is_refused_untouched(void **state) {
        put(*state, "ledger.db", 0, "this is a text file, long enough that it can't be taken for an empty one\n");
        assert_refused(*state, STORE_CORRUPT, "damaged");
}

static void test_another_sqlite_file_is_refused_untouched(void **state) {
        char path[512];
        sqlite3 *db;

        (void) snprintf(path, sizeof(path), "%s/ledger.db", (char *) *state);
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, "CREATE TABLE t(x)", NULL, NULL, NULL), SQLITE_OK);
        (void) sqlite3_close(db);
        assert_refused(*state, STORE_CORRUPT, "damaged");
}

static void test_a_newer_schema_is_refused_untouched(void **state) {
        struct store *s = make(*state);

        assert_int_equal(store_exec(s, "UPDATE meta SET value = '99' WHERE key = 'schema'"), 0);
        store_close(s);
        assert_refused(*state, STORE_NEWER, "newer");
}

static void test_a_second_process_is_refused(void **state) {
        struct store *s = make(*state);
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                struct store *other = NULL;
                struct ulv_diag d = {};

                _exit(store_open(*state, &other, &d) == STORE_BUSY ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        commit_one(s, "row core 0 web node=0\n", "t1", "");
        store_close(s);
}

static void test_a_deleted_file_fails_the_commit(void **state) {
        struct store *s = make(*state);
        char path[512];

        (void) snprintf(path, sizeof(path), "%s/ledger.db", (char *) *state);
        commit_one(s, "row core 1 web node=0\n", "t1", "");
        assert_int_equal(unlink(path), 0);
        /* SQLite notices at the beginning, we at the end: what counts is that no such commit is called done. */
        for (int i = 0; i < 2; i++) {
                int r = store_begin(s);

                if (r >= 0 && (r = store_apply(s, "row core 0 web node=0\n", 22)) >= 0)
                        r = store_commit(s, 1000);
                assert_true(r < 0);
                store_rollback(s);
        }
        store_close(s);
}

/* --- replaced ---------------------------------------------------------------------------------------- */

#define NEW_ROWS "row ledger - - generation=9\n"

static off_t log_size(const char *dir) {
        char path[512];
        struct stat st = { 0 };

        (void) snprintf(path, sizeof(path), "%s/ledger.db-wal", dir);
        assert_int_equal(stat(path, &st), 0);
        return st.st_size;
}

/* A commit that makes its file grow waits for the file system as well. */
static void test_no_commit_makes_the_log_grow(void **state) {
        struct store *s = make(*state);
        off_t size = log_size(*state);
        char id[32];

        assert_true(size >= LOG_ROOM);
        for (unsigned i = 0; i < 400; i++) {    /* more than once around */
                (void) snprintf(id, sizeof(id), "i-%u", i);
                commit_one(s, "row core 0 web node=0\n", id, "claim core 0 web\n");
        }
        assert_int_equal(log_size(*state), size);
        store_close(s);
}

static void test_an_install_keeps_the_old_one_beside_it(void **state) {
        struct store *s = make(*state);
        char path[512];

        commit_one(s, "row core 0 web node=0\n", "t1", "");
        store_close(s);
        assert_int_equal(store_install(*state, NEW_ROWS, strlen(NEW_ROWS), "", 0, NULL), 0);
        assert_int_equal(store_open(*state, &s, NULL), 0);
        assert_rows(s, NEW_ROWS);
        store_close(s);
        (void) snprintf(path, sizeof(path), "%s/ledger.db.old", (char *) *state);
        assert_int_equal(access(path, F_OK), 0);
}

/* Killed with a full write-ahead log, then an install that is itself interrupted before the rename: the next
 * open finishes it, and the old log is not replayed over the new file. */
static void test_an_interrupted_install_is_finished(void **state) {
        char a[512], b[512];
        struct store *s = NULL;
        int status;
        pid_t pid;

        store_close(make(*state));
        pid = fork();
        if (pid == 0) {
                struct store *mine = NULL;

                if (store_open(*state, &mine, NULL) != 0)
                        _exit(1);
                commit_one(mine, "row core 0 web node=0\n", "t1", "");
                _exit(0);       /* not closed: ledger.db-wal stays */
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        (void) snprintf(a, sizeof(a), "%s/ledger.db-wal", (char *) *state);
        assert_int_equal(access(a, F_OK), 0);
        (void) snprintf(a, sizeof(a), "%s/ledger.tmp", (char *) *state);
        (void) snprintf(b, sizeof(b), "%s/ledger.next", (char *) *state);
        assert_int_equal(build(a, NEW_ROWS, strlen(NEW_ROWS), "", 0), 0);
        assert_int_equal(rename(a, b), 0);
        assert_int_equal(store_open(*state, &s, NULL), 0);
        assert_rows(s, NEW_ROWS);
        store_close(s);
        assert_int_equal(access(b, F_OK), -1);
}

static void test_a_half_built_file_is_no_intent(void **state) {
        struct store *s = make(*state);

        store_close(s);
        put(*state, "ledger.tmp", 0, "half");
        assert_int_equal(store_open(*state, &s, NULL), 0);
        store_close(s);
        assert_int_equal(store_install(*state, NEW_ROWS, strlen(NEW_ROWS), "", 0, NULL), 0);
}

/* --- a full disk ------------------------------------------------------------------------------------- */

/* In a child: 0 held, 77 skipped, else the line. Commits until the disk is full; what was acknowledged must be
 * there when the file is opened again with room, and nothing of the failed one. */
static int on_a_full_disk(const char *dir) {
        struct store *s = NULL;
        struct ulv_diag d = {};
        struct ulv_strbuf big = {}, st = {}, undo = {};
        unsigned acknowledged = 0;
        char id[32];
        uint64_t g;
        int r = 0;

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("uv", dir, "tmpfs", 0, "size=512k") < 0)
                return 77;
        for (int i = 0; i < 400; i++)
                ulv_strbuf_addf(&big, "row parameter p%d - value=1\n", i);
        if (store_install(dir, ROWS, strlen(ROWS), "", 0, &d) != 0 || store_open(dir, &s, &d) != 0)
                return __LINE__ & 63;
        for (; acknowledged < 10000; acknowledged++) {
                struct store_entry e = { .id = id, .subject = "", .reason = "", .state = "done", .operations = ulv_strbuf_str(&big), .undo = "", .after = "" };

                (void) snprintf(id, sizeof(id), "t%u", acknowledged);
                r = store_begin(s);
                if (r >= 0)
                        r = store_add(s, &e);
                r = r < 0 ? r : store_commit(s, 100000);
                if (r < 0)
                        break;
        }
        if (r != -ENOSPC || acknowledged == 0)
                return 62;
        store_rollback(s);
        store_close(s);
        s = NULL;
        if (mount("uv", dir, "tmpfs", MS_REMOUNT, "size=4m") < 0)
                return 61;
        if (store_open(dir, &s, &d) != 0)
                return 60;
        for (unsigned i = 0; i <= acknowledged; i++) {
                (void) snprintf(id, sizeof(id), "t%u", i);
                if (store_find(s, id, &g, &st, &undo) != (i < acknowledged ? 0 : 1))
                        return 59;
        }
        store_close(s);
        return 0;
}

static void test_a_full_disk_loses_nothing_acknowledged(void **state) {
        int status;
        pid_t pid = fork();

        if (pid == 0)
                _exit(on_a_full_disk(*state));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
                skip();
        assert_int_equal(WEXITSTATUS(status), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_rows_survive_and_the_file_is_private), T(test_a_unit_has_one_row_whoever_comes_first), T(test_a_rollback_leaves_nothing),
                T(test_the_first_outcome_is_found_by_id), T(test_history_by_owner_newest_first_and_pruned),
                T(test_a_long_text_is_cut_in_lines_but_not_in_the_dump), T(test_history_that_is_none_is_refused), T(test_missing),
                T(test_corrupt_is_refused_untouched), T(test_not_a_ledger_is_refused_untouched), T(test_another_sqlite_file_is_refused_untouched),
                T(test_a_newer_schema_is_refused_untouched), T(test_a_second_process_is_refused), T(test_a_deleted_file_fails_the_commit),
                T(test_no_commit_makes_the_log_grow), T(test_an_install_keeps_the_old_one_beside_it),
                T(test_an_interrupted_install_is_finished), T(test_a_half_built_file_is_no_intent),
                T(test_a_full_disk_loses_nothing_acknowledged),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
