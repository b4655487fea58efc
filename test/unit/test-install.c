/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Proves that files and the set in force change together or not at all: also over a crash in the middle,
 * and never at the cost of a hand edit. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "operations/files.c"
#include "operations/set.c"
#include "operations/install.c"
#include "operations/written.c"

#define DB "partitions/db.partition"
#define WEB "partitions/web.partition"
#define A "[Partition]\nType=sim\n[CPU]\nShare=1\n[Memory]\nSize=64M\n"
#define C "[Partition]\nType=sim\n[CPU]\nShare=3\n[Memory]\nSize=64M\n"
#define B "[Partition]\nType=sim\n[CPU]\nShare=2\n[Memory]\nSize=64M\n"

struct bed { char dir[64]; int etc, state; struct install in; };

static void bed_open(struct bed *b) {
        char path[128];

        (void) snprintf(b->dir, sizeof(b->dir), "/tmp/test-install-XXXXXX");
        assert_non_null(mkdtemp(b->dir));
        (void) snprintf(path, sizeof(path), "%s/etc", b->dir);
        assert_int_equal(mkdir(path, 0755), 0);
        b->etc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        (void) snprintf(path, sizeof(path), "%s/state", b->dir);
        assert_int_equal(mkdir(path, 0700), 0);
        b->state = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(b->etc >= 0 && b->state >= 0);
        assert_int_equal(install_open(&b->in, b->etc, b->state), 0);
}

/* As after a kill -9: what is on disk is all there is. */
static void bed_restart(struct bed *b) {
        install_done(&b->in);
        assert_int_equal(install_open(&b->in, b->etc, b->state), 0);
}

static void bed_close(struct bed *b) {
        char command[96];

        install_done(&b->in);
        (void) close(b->etc);
        (void) close(b->state);
        (void) snprintf(command, sizeof(command), "rm -rf '%s'", b->dir);
        assert_int_equal(system(command), 0);
}

static struct set candidate(const struct bed *b, const char *db, const char *web) {
        struct ulv_source v[2];
        struct set s = { 0 };
        size_t n = 0;

        if (db)
                v[n++] = (struct ulv_source) { DB, db, strlen(db) };
        if (web)
                v[n++] = (struct ulv_source) { WEB, web, strlen(web) };
        assert_int_equal(install_candidate(&b->in, v, n, &s, NULL), 0);
        return s;
}

static int install(struct bed *b, const char *db, const char *web) {
        struct set s = candidate(b, db, web);
        struct ulv_diag d = { 0 };

        return install_run(&b->in, &s, &d);
}

static void assert_file(const struct bed *b, const char *path, const char *text) {
        _cleanup_free_ char *buf = NULL;
        size_t len;
        int r = config_file_read(b->etc, path, &buf, &len);

        if (!text)
                assert_int_equal(r, -ENOENT);
        else {
                assert_int_equal(r, 0);
                assert_string_equal(buf, text);
        }
}

static void assert_in_force(const struct bed *b, uint64_t version, const char *db, const char *web) {
        const struct ulv_source *d = find_file(&b->in.in_force, DB), *w = find_file(&b->in.in_force, WEB);

        assert_int_equal(b->in.in_force.files.version, version);
        assert_true(db ? d && d->len == strlen(db) && memcmp(d->buf, db, d->len) == 0 : !d);
        assert_true(web ? w && w->len == strlen(web) && memcmp(w->buf, web, w->len) == 0 : !w);
}

static void an_install_writes_files_and_survives(ULV_UNUSED void **state) {
        struct bed b;

        bed_open(&b);
        assert_in_force(&b, 0, NULL, NULL);
        assert_int_equal(install(&b, A, B), 0);
        assert_file(&b, DB, A);
        assert_file(&b, WEB, B);
        bed_restart(&b);
        assert_in_force(&b, 1, A, B);
        assert_int_equal(install(&b, NULL, B), 0);
        assert_file(&b, DB, NULL);
        assert_int_equal(install(&b, NULL, B), 0);      /* nothing to do is no new version */
        assert_in_force(&b, 2, NULL, B);
        bed_close(&b);
}

static void a_crash_in_the_middle_is_undone(ULV_UNUSED void **state) {
        struct bed b;
        struct set s;

        bed_open(&b);
        assert_int_equal(install(&b, A, NULL), 0);
        /* Killed after the first of two files. */
        s = candidate(&b, B, B);
        assert_int_equal(ulv_write_file_atomic(b.state, KEPT, "version 2\n", 10, 0600), 0);
        assert_int_equal(ulv_write_file_atomic(b.state, INTENT, s.text, s.len, 0600), 0);
        assert_int_equal(config_file_write(b.etc, DB, B, strlen(B)), 0);
        set_done(&s);
        bed_restart(&b);
        assert_file(&b, DB, A);
        assert_file(&b, WEB, NULL);
        assert_in_force(&b, 1, A, NULL);
        assert_int_equal(faccessat(b.state, INTENT, F_OK, 0), -1);
        bed_close(&b);
}

static void undoing_spares_hand_edits(ULV_UNUSED void **state) {
        static const char edited[] = B "# by hand\n", kept[] = "version 2\n" DB "\n";
        struct bed b;
        struct set s;

        bed_open(&b);
        assert_int_equal(install(&b, A, A), 0);
        /* db had the new text before (noted as kept); web was edited after the crash. */
        s = candidate(&b, B, B);
        assert_int_equal(ulv_write_file_atomic(b.state, KEPT, kept, strlen(kept), 0600), 0);
        assert_int_equal(ulv_write_file_atomic(b.state, INTENT, s.text, s.len, 0600), 0);
        assert_int_equal(config_file_write(b.etc, DB, B, strlen(B)), 0);
        assert_int_equal(config_file_write(b.etc, WEB, edited, strlen(edited)), 0);
        set_done(&s);
        bed_restart(&b);
        assert_file(&b, DB, B);
        assert_file(&b, WEB, edited);
        assert_in_force(&b, 1, A, A);
        bed_close(&b);
}

static void a_hand_edit_is_never_overwritten(ULV_UNUSED void **state) {
        static const char edited[] = A "# by hand\n";
        struct bed b;

        bed_open(&b);
        assert_int_equal(install(&b, A, A), 0);
        assert_int_equal(config_file_write(b.etc, WEB, edited, strlen(edited)), 0);
        assert_int_equal(install(&b, B, B), 1);
        assert_file(&b, DB, A);                         /* all or nothing: db wasn't written either */
        assert_file(&b, WEB, edited);
        assert_in_force(&b, 1, A, A);
        assert_int_equal(install(&b, B, A), 0);         /* a change beside it is no conflict */
        assert_file(&b, WEB, edited);
        bed_close(&b);
}

static void a_revert_takes_back_one_version_only(ULV_UNUSED void **state) {
        struct ulv_diag d = { 0 };
        struct bed b;

        bed_open(&b);
        assert_int_equal(install(&b, A, A), 0);
        assert_int_equal(install(&b, B, A), 0);
        assert_int_equal(install(&b, B, B), 0);
        assert_int_equal(install_revert(&b.in, 2, "", false, &d), 0);
        assert_file(&b, DB, A);
        assert_file(&b, WEB, B);
        assert_in_force(&b, 4, A, B);
        assert_int_equal(install_revert(&b.in, 2, "", false, &d), 0);      /* it is back */
        assert_in_force(&b, 4, A, B);
        assert_int_equal(install(&b, C, B), 0);
        assert_int_equal(install_revert(&b.in, 2, "", true, &d), 1);       /* db is another one since */
        assert_int_equal(install_revert(&b.in, 2, "", false, &d), 1);
        assert_int_equal(d.code, ULV_EXIT_CONFLICT);
        assert_string_equal(d.why, DB " was changed again since");
        assert_int_equal(install_revert(&b.in, 99, "", false, &d), 1);
        bed_close(&b);
}

static void of_one_partition_only_its_files_go_back(ULV_UNUSED void **state) {
        struct ulv_diag d = { 0 };
        struct bed b;

        bed_open(&b);
        assert_int_equal(install(&b, A, A), 0);
        assert_int_equal(install(&b, B, B), 0);
        assert_int_equal(install_revert(&b.in, 2, "web", true, &d), 0);
        assert_in_force(&b, 2, B, B);                   /* it was only asked */
        assert_int_equal(install_revert(&b.in, 2, "we", false, &d), 0);
        assert_in_force(&b, 2, B, B);
        assert_int_equal(install_revert(&b.in, 2, "web", false, &d), 0);
        assert_in_force(&b, 3, B, A);
        bed_close(&b);
}

static void notes_outlive_what_they_are_about(ULV_UNUSED void **state) {
        struct written w = { 0 };
        struct bed b;

        bed_open(&b);
        assert_int_equal(written_add(&w, 2, 0, "web", "9-abc"), 0);
        assert_int_equal(written_add(&w, 3, 0, "", "10-abc"), 0);
        assert_int_equal(written_add(&w, 3, 0, "Web", "10-abc"), -EINVAL);
        assert_int_equal(written_store(b.state, &w), 0);
        written_settle(b.state, &w, 2);
        written_done(&w);
        assert_int_equal(written_load(b.state, 3, &w), 0);
        assert_int_equal(w.n, 2);
        assert_true(written_find(&w, "9-abc")->settled);
        assert_string_equal(written_find(&w, "9-abc")->partition, "web");
        assert_false(written_find(&w, "10-abc")->settled);
        /* With the version that it is of, a settled one goes; one that isn't stays. */
        assert_int_equal(written_add(&w, 60, 10, "web", "11-abc"), 0);
        assert_null(written_find(&w, "9-abc"));
        assert_non_null(written_find(&w, "10-abc"));
        written_drop(b.state, &w, 3, "");
        assert_null(written_find(&w, "10-abc"));
        written_done(&w);
        assert_int_equal(written_load(b.state, 59, &w), 0);     /* version 60 never came to be */
        assert_int_equal(w.n, 0);
        written_done(&w);
        bed_close(&b);
}

static void a_damaged_set_falls_back_to_the_one_before(ULV_UNUSED void **state) {
        char name[SET_NAME_SIZE];
        struct bed b;

        bed_open(&b);
        assert_int_equal(install(&b, A, NULL), 0);
        assert_int_equal(install(&b, B, NULL), 0);
        assert_int_equal(ulv_write_file_atomic(b.state, set_name(2, name), "rubbish", 7, 0600), 0);
        bed_restart(&b);
        assert_in_force(&b, 1, A, NULL);
        assert_int_equal(b.in.newest, 2);               /* a number is never given twice */
        bed_close(&b);
}

static void the_last_are_kept(ULV_UNUSED void **state) {
        char name[SET_NAME_SIZE];
        struct bed b;

        bed_open(&b);
        for (int i = 0; i < SET_KEEP + 5; i++)
                assert_int_equal(install(&b, i % 2 ? A : B, NULL), 0);
        assert_int_equal(faccessat(b.state, set_name(5, name), F_OK, 0), -1);
        assert_int_equal(faccessat(b.state, set_name(6, name), F_OK, 0), 0);
        assert_int_equal(faccessat(b.state, set_name(SET_KEEP + 5, name), F_OK, 0), 0);
        bed_close(&b);
}

static void files_that_cannot_be_trusted_do_not_count(ULV_UNUSED void **state) {
        struct ulv_strbuf problems = { 0 };
        struct config_files f = { 0 };
        struct bed b;

        bed_open(&b);
        assert_int_equal(install(&b, A, A), 0);
        assert_int_equal(fchmodat(b.etc, DB, 0666, 0), 0);
        assert_int_equal(symlinkat("db.partition", b.etc, "partitions/link.partition"), 0);
        assert_int_equal(mkfifoat(b.etc, "partitions/fifo.partition", 0644), 0);
        assert_int_equal(config_file_write(b.etc, "partitions/.hidden.partition", A, strlen(A)), 0);
        assert_int_equal(config_file_write(b.etc, "partitions/Bad.partition", A, strlen(A)), 0);
        assert_int_equal(config_files_read(b.etc, &f, &problems), 0);
        assert_int_equal(f.n, 1);
        assert_string_equal(f.v[0].file, WEB);
        assert_string_equal(ulv_strbuf_str(&problems),
                "partitions/Bad.partition:1:1: its name can't be one: a to z, 0 to 9 and - (at most 63), then .partition or .policy\n"
                "partitions/db.partition:1:1: can be written by everybody, so it doesn't count (chmod o-w)\n"
                "partitions/fifo.partition:1:1: isn't a regular file\n"
                "partitions/link.partition:1:1: is a symbolic link, so it doesn't count\n");
        config_files_done(&f);
        ulv_strbuf_done(&problems);
        bed_close(&b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_install_writes_files_and_survives), cmocka_unit_test(a_crash_in_the_middle_is_undone),
                cmocka_unit_test(undoing_spares_hand_edits), cmocka_unit_test(a_hand_edit_is_never_overwritten),
                cmocka_unit_test(a_revert_takes_back_one_version_only), cmocka_unit_test(of_one_partition_only_its_files_go_back),
                cmocka_unit_test(notes_outlive_what_they_are_about), cmocka_unit_test(a_damaged_set_falls_back_to_the_one_before),
                cmocka_unit_test(the_last_are_kept), cmocka_unit_test(files_that_cannot_be_trusted_do_not_count),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
