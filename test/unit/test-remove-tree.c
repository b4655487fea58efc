/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Removing a tree that somebody else filled: deep, without permissions, with links that lead out. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "lib/remove-tree.h"

static char base[] = "/tmp/ulv-remove-XXXXXX";
static int dir;

static int setup(void **state ULV_UNUSED) {
        if (!mkdtemp(base))
                return -1;
        dir = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return dir < 0 ? -1 : 0;
}

static int teardown(void **state ULV_UNUSED) {
        (void) close(dir);
        return rmdir(base);     /* fails if a test left something */
}

static void make_file(int at, const char *name) {
        int fd = openat(at, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        (void) close(fd);
}

static void what_is_not_there_is_no_error(void **state ULV_UNUSED) {
        assert_int_equal(ulv_remove_tree(dir, "nothing"), 0);
}

static void a_file_and_a_link_are_removed_themselves(void **state ULV_UNUSED) {
        make_file(dir, "keep");
        assert_int_equal(symlinkat("keep", dir, "link"), 0);
        assert_int_equal(ulv_remove_tree(dir, "link"), 0);
        assert_int_equal(faccessat(dir, "keep", F_OK, 0), 0);
        assert_int_equal(ulv_remove_tree(dir, "keep"), 0);
}

static void links_inside_are_not_followed(void **state ULV_UNUSED) {
        assert_int_equal(mkdirat(dir, "outside", 0700), 0);
        make_file(dir, "outside/file");
        assert_int_equal(mkdirat(dir, "t", 0700), 0);
        assert_int_equal(symlinkat("../outside", dir, "t/l"), 0);
        assert_int_equal(ulv_remove_tree(dir, "t"), 0);
        assert_int_equal(faccessat(dir, "outside/file", F_OK, 0), 0);
        assert_int_equal(ulv_remove_tree(dir, "outside"), 0);
}

/* Ten thousand levels, and 64 descriptors: neither paths nor fds nor stack may grow with the depth. */
static void depth_costs_no_descriptors(void **state ULV_UNUSED) {
        struct rlimit old, few;
        int at;

        assert_int_equal(mkdirat(dir, "deep", 0700), 0);
        at = openat(dir, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (unsigned i = 0; i < 10000; i++) {
                int next;

                assert_int_equal(mkdirat(at, "d", 0700), 0);
                if (i % 1000 == 0)
                        make_file(at, ".deep-0");       /* the name that moving up would take */
                next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                (void) close(at);
                at = next;
        }
        (void) close(at);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
        few = (struct rlimit) { .rlim_cur = 64, .rlim_max = old.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        assert_int_equal(ulv_remove_tree(dir, "deep"), 0);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
        assert_int_equal(faccessat(dir, "deep", F_OK, 0), -1);
}

/* As an ordinary user, whom permissions bind. */
static void directories_without_permissions_are_opened(void **state ULV_UNUSED) {
        uid_t uid = geteuid();

        if (uid == 0) {
                assert_int_equal(chmod(base, 0777), 0);
                assert_int_equal(seteuid(65534), 0);
        }
        assert_int_equal(mkdirat(dir, "t", 0700), 0);
        assert_int_equal(mkdirat(dir, "t/shut", 0700), 0);
        make_file(dir, "t/shut/file");
        assert_int_equal(fchmodat(dir, "t/shut", 0, 0), 0);
        assert_int_equal(fchmodat(dir, "t", 0, 0), 0);
        assert_int_equal(ulv_remove_tree(dir, "t"), 0);
        if (uid == 0)
                assert_int_equal(seteuid(0), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_not_there_is_no_error),
                cmocka_unit_test(a_file_and_a_link_are_removed_themselves),
                cmocka_unit_test(links_inside_are_not_followed),
                cmocka_unit_test(depth_costs_no_descriptors),
                cmocka_unit_test(directories_without_permissions_are_opened),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
