/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/cgroup.h"
#include "monitor/enforce/cgroup.c"

static void the_cgroup2_line_is_found_among_those_of_version_1(ULV_UNUSED void **state) {
        static const char mixed[] = "12:cpuset:/0::/no\n1:name=systemd:/a\n0::/b/c\n", alone[] = "0::/";
        const char *path;
        size_t len = 0;

        path = ulv_cgroup_path(mixed, &len);
        assert_int_equal(len, strlen("/b/c"));
        assert_memory_equal(path, "/b/c", len);
        path = ulv_cgroup_path(alone, &len);
        assert_int_equal(len, 1);
        assert_memory_equal(path, "/", len);
        assert_null(ulv_cgroup_path("1:cpu:/0::/x\n", &len));
        assert_null(ulv_cgroup_path("", &len));
}

static size_t part(const char *path, const char *name, size_t *parent) { return ulv_cgroup_of_partition(path, strlen(path), name, parent); }

static void a_partitions_cgroup_is_the_one_with_its_name_however_far_below_its_init_stands(ULV_UNUSED void **state) {
        static const char scope[] = "/uvpool.slice/ultravisor-web.scope", standalone[] = "/a/partition-web";
        char below[128];
        size_t parent = 0;

        assert_int_equal(part(scope, "web", &parent), strlen(scope));
        assert_int_equal(parent, strlen("/uvpool.slice"));
        (void) snprintf(below, sizeof(below), "%s/init.scope", scope);
        assert_int_equal(part(below, "web", &parent), strlen(scope));
        assert_int_equal(part(standalone, "web", &parent), strlen(standalone));
        assert_int_equal(parent, 2);
}

static void libvirts_scope_is_the_partitions_too_whatever_its_number(ULV_UNUSED void **state) {
        static const char vm[] = "/ultravisor.slice/machine-qemu\\x2d17\\x2dultravisor\\x2dmy\\x2ddb.scope";
        char below[160], name[80];
        size_t parent = 0;

        assert_int_equal(part(vm, "my-db", &parent), strlen(vm));
        assert_int_equal(parent, strlen("/ultravisor.slice"));
        (void) snprintf(below, sizeof(below), "%s/libvirt/vcpu0", vm);
        assert_int_equal(part(below, "my-db", &parent), strlen(vm));
        assert_int_equal(part(vm, "db", &parent), 0);
        assert_int_equal(part("/machine.slice/machine-qemu\\x2d17\\x2dother.scope", "other", &parent), 0);
        assert_true(ulv_scope_partition("ultravisor-my-db.scope", 22, name, sizeof(name)));
        assert_string_equal(name, "my-db");
        assert_true(ulv_scope_partition("ultravisor-v.scope", 18, name, sizeof(name)));
        assert_false(ulv_scope_partition("ultravisor-.scope", 17, name, sizeof(name)));
        assert_false(ulv_scope_partition("ultravisor-a.scope2", 19, name, sizeof(name)));
        assert_false(ulv_scope_partition("machine-qemu\\x2d1\\x2dultravisor\\x2d.scope", 40, name, sizeof(name)));
}

static void a_longer_or_shorter_name_is_anothers(ULV_UNUSED void **state) {
        size_t parent = 77;

        assert_int_equal(part("/a/partition-web2", "web", &parent), 0);
        assert_int_equal(part("/a/partition-web", "web2", &parent), 0);
        assert_int_equal(part("/a/xpartition-web", "web", &parent), 0);
        assert_int_equal(part("/ultravisor-web.scope2", "web", &parent), 0);
        assert_int_equal(part("", "web", &parent), 0);
        assert_int_equal(parent, 77);
        assert_int_equal(part("/partition-web2/partition-web", "web", &parent), strlen("/partition-web2/partition-web"));
}

static void they_are_mounted_somewhere_or_nowhere(ULV_UNUSED void **state) {
        char mount[4096] = "untouched", small[2] = "u";
        int r = ulv_cgroup_mount(mount, sizeof(mount));

        if (r == -ENODEV) {
                assert_string_equal(mount, "untouched");
                return;
        }
        assert_int_equal(r, 0);
        assert_int_equal(mount[0], '/');
        assert_int_equal(ulv_cgroup_mount(small, sizeof(small)), -ENAMETOOLONG);
}

static void put(const char *dir, const char *file, const char *text) {
        char path[256];
        FILE *f;

        (void) snprintf(path, sizeof(path), "%s/%s", dir, file);
        f = fopen(path, "we");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0 && fclose(f) == 0);
}

/* A file keeps what was written to it, and a cgroup doesn't: thus each write shows. */
static void what_is_handed_down_already_or_is_not_there_is_not_written(ULV_UNUSED void **state) {
        char dir[] = "/tmp/uv-cgroup-XXXXXX", child[64], text[64];
        _cleanup_close_ int fd = -1;

        assert_non_null(mkdtemp(dir));
        (void) snprintf(child, sizeof(child), "%s/partition-a", dir);
        put(dir, "cgroup.controllers", "cpuset cpu memory\n");
        put(dir, "cgroup.subtree_control", "cpuset memory cpu\n");
        fd = ulv_cgroup_open(child, true);
        assert_true(fd >= 0);
        int parent = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(ulv_cgroup_read(parent, "cgroup.subtree_control", text, sizeof(text)), 0);
        assert_string_equal(text, "cpuset memory cpu");
        put(dir, "cgroup.subtree_control", "cpuset memory\n");
        assert_int_equal(close(ulv_cgroup_open(child, true)), 0);
        assert_int_equal(ulv_cgroup_read(parent, "cgroup.subtree_control", text, sizeof(text)), 0);
        assert_string_equal(text, "+cpuet memory");      /* "+cpu", over what was there */
        (void) unlinkat(parent, "cgroup.controllers", 0);
        (void) unlinkat(parent, "cgroup.subtree_control", 0);
        (void) close(parent);
        assert_int_equal(rmdir(child), 0);
        assert_int_equal(rmdir(dir), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_cgroup2_line_is_found_among_those_of_version_1),
                cmocka_unit_test(a_partitions_cgroup_is_the_one_with_its_name_however_far_below_its_init_stands),
                cmocka_unit_test(libvirts_scope_is_the_partitions_too_whatever_its_number),
                cmocka_unit_test(a_longer_or_shorter_name_is_anothers),
                cmocka_unit_test(they_are_mounted_somewhere_or_nowhere),
                cmocka_unit_test(what_is_handed_down_already_or_is_not_there_is_not_written),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
