/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An older ledger's log is brought up to date, all or nothing. The old file is a real one, of an earlier uvd
 * (test/fixtures/ledger); the later schema is two steps of this test's own, of the kinds that a real step has:
 * a column with a default, a table filled from another, a row rewritten. uvd is killed at every point. */

#define STORE_SCHEMA 3
#define STORE_LATER \
        "ALTER TABLE history ADD COLUMN node TEXT NOT NULL DEFAULT 'here';" \
        "UPDATE history SET subject = 'uid 0 of here' WHERE subject = 'uid 0';", \
        "CREATE TABLE about(owner TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY(owner, seq)) WITHOUT ROWID;" \
        "INSERT INTO about SELECT trim(owners), seq FROM history;" \
        "UPDATE state SET row = row || ' moved=yes' WHERE key = 'ledger -';",

#include "uvd/store.c"
#include "uvd/store-file.c"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>

#include <cmocka.h>

#define FIXTURE "test/fixtures/ledger/schema-1.sql"
#define STEPS_MAX 100000        /* of SQLite's machine; a migration takes a few hundred */

static char directory[] = "/tmp/uv-migrate-XXXXXX", file[64];

static void forget(void) {
        static const char *const ends[] = { "", "-wal", "-shm", "-journal", ".old", ".old-wal" };
        char path[96];

        for (size_t i = 0; i < ULV_ARRAY_SIZE(ends); i++) {
                (void) snprintf(path, sizeof(path), "%s%s", file, ends[i]);
                (void) unlink(path);
        }
}

static int setup(ULV_UNUSED void **state) {
        if (!mkdtemp(directory))
                return -1;
        (void) snprintf(file, sizeof(file), "%s/ledger.db", directory);
        return 0;
}

static int teardown(ULV_UNUSED void **state) {
        forget();
        return rmdir(directory);
}

static sqlite3 *plain_open(void) {
        sqlite3 *db = NULL;

        assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
        return db;
}

/* The file as the earlier uvd left it; wal: in the mode that a uvd leaves it in, too. */
static void put_old(bool wal) {
        _cleanup_close_ int fd = open(FIXTURE, O_RDONLY | O_CLOEXEC);
        _cleanup_free_ char *sql = NULL;
        sqlite3 *db;
        size_t len;

        forget();
        assert_true(fd >= 0);
        assert_int_equal(ulv_read_fd(fd, 1 << 20, &sql, &len), 0);
        db = plain_open();
        assert_int_equal(sqlite3_exec(db, wal ? "PRAGMA journal_mode=WAL" : "PRAGMA journal_mode=DELETE", NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int64_t number(const char *sql) {
        sqlite3 *db = plain_open();
        sqlite3_stmt *st = NULL;
        int64_t n = -1;

        if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
                n = sqlite3_column_int64(st, 0);
        (void) sqlite3_finalize(st);
        (void) sqlite3_close(db);
        return n;
}

static void assert_migrated(void) {
        assert_int_equal(number("SELECT value FROM meta WHERE key = 'schema'"), 3);
        assert_int_equal(number("SELECT count(*) FROM history WHERE node = 'here'"), 14);
        assert_int_equal(number("SELECT count(*) FROM history WHERE subject = 'uid 0 of here'"), 6);
        assert_int_equal(number("SELECT count(*) FROM about"), 14);
        assert_int_equal(number("SELECT count(*) FROM state"), 33);
        assert_int_equal(number("SELECT count(*) FROM state WHERE row LIKE '% moved=yes'"), 1);
}

static void assert_old(void) {
        assert_int_equal(number("SELECT value FROM meta WHERE key = 'schema'"), 1);
        assert_int_equal(number("SELECT count(*) FROM history WHERE subject = 'uid 0'"), 6);
        assert_int_equal(number("SELECT count(*) FROM history WHERE node = 'here'"), -1);
        assert_int_equal(number("SELECT count(*) FROM about"), -1);
        assert_int_equal(number("SELECT count(*) FROM state WHERE row LIKE '% moved=yes'"), 0);
}

static void test_an_older_schema_is_brought_up_to_date(ULV_UNUSED void **state) {
        for (int wal = 0; wal < 2; wal++) {
                struct store *s = NULL;
                struct ulv_diag d = {};

                put_old(wal);
                assert_old();
                assert_int_equal(store_open(directory, &s, &d), 0);
                store_close(s);
                assert_migrated();
                s = NULL;
                assert_int_equal(store_open(directory, &s, &d), 0);     /* and once is enough */
                store_close(s);
                assert_migrated();
        }
}

/* --- kill -9 ------------------------------------------------------------------------------------------- */

static int steps_left;

static int on_step(ULV_UNUSED void *userdata) {
        if (--steps_left <= 0)
                (void) raise(SIGKILL);
        return 0;
}

/* Every connection that the child opens counts its steps. */
static int count_steps(sqlite3 *db, ULV_UNUSED char **error, ULV_UNUSED const struct sqlite3_api_routines *api) {
        sqlite3_progress_handler(db, 1, on_step, NULL);
        return SQLITE_OK;
}

/* Opens in a child that dies at its n-th step. True: it lived to the end. */
static bool open_and_die(int n) {
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                struct store *s = NULL;
                struct ulv_diag d = {};

                steps_left = n;
                (void) sqlite3_auto_extension((void (*)(void)) count_steps);
                _exit(store_open(directory, &s, &d) == 0 ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
        return WIFEXITED(status);
}

static void test_killed_at_any_step_the_old_one_or_the_new_one_is_whole(ULV_UNUSED void **state) {
        unsigned old = 0, new = 0;
        bool alive = false;

        /* Each of the first steps (a statement's begin, its first write), then by strides. */
        for (int n = 1; !alive && n < STEPS_MAX; n += 1 + n / 50) {
                struct store *s = NULL;
                struct ulv_diag d = {};

                put_old(n % 2);
                alive = open_and_die(n);
                if (number("SELECT value FROM meta WHERE key = 'schema'") == 1) {
                        assert_old();
                        old++;
                } else {
                        assert_migrated();
                        new++;
                }
                assert_int_equal(number("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
                assert_int_equal(store_open(directory, &s, &d), 0);
                store_close(s);
                assert_migrated();
        }
        assert_true(alive);
        print_message("killed at %u points: %u left the old schema, %u the new one\n", old + new - 1, old, new);
        assert_true(old > 50 && new >= 1);
}

/* --- newer --------------------------------------------------------------------------------------------- */

static void test_a_newer_one_is_refused_and_not_a_byte_changed(ULV_UNUSED void **state) {
        _cleanup_free_ char *before = NULL, *after = NULL;
        size_t n_before, n_after;
        struct store *s = NULL;
        struct ulv_diag d = {};
        sqlite3 *db;
        int fd;

        put_old(false);
        db = plain_open();
        assert_int_equal(sqlite3_exec(db, "UPDATE meta SET value = '4' WHERE key = 'schema'", NULL, NULL, NULL), SQLITE_OK);
        (void) sqlite3_close(db);
        fd = open(file, O_RDONLY | O_CLOEXEC);
        assert_int_equal(ulv_read_fd(fd, 1 << 20, &before, &n_before), 0);
        (void) close(fd);
        assert_int_equal(store_open(directory, &s, &d), STORE_NEWER);
        assert_null(s);
        assert_non_null(strstr(d.why, "its schema is 4"));
        fd = open(file, O_RDONLY | O_CLOEXEC);
        assert_int_equal(ulv_read_fd(fd, 1 << 20, &after, &n_after), 0);
        (void) close(fd);
        assert_int_equal(n_before, n_after);
        assert_memory_equal(before, after, n_before);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_an_older_schema_is_brought_up_to_date),
                cmocka_unit_test(test_killed_at_any_step_the_old_one_or_the_new_one_is_whole),
                cmocka_unit_test(test_a_newer_one_is_refused_and_not_a_byte_changed),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
