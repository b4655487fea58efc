/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Inventory from captured sysfs trees (test/fixtures/sysfs), written out as text and compared whole. */

#include "uvd/discover.c"
#include "uvd/discover-devices.c"
#include "uvd/discover-memory.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char base[] = "/tmp/uv-sysfs-XXXXXX";

/* Makes the tree of a fixture; returns its path. */
static char *expand(const char *name) {
        char *dir = NULL, command[512];

        assert_true(asprintf(&dir, "%s/%s", base, name) > 0);
        (void) snprintf(command, sizeof(command), "sh test/fixtures/sysfs/expand.sh test/fixtures/sysfs/%s.txt %s", name, dir);
        assert_int_equal(system(command), 0);
        return dir;
}

static void write_file(const char *dir, const char *path, const char *text) {
        char full[512];
        FILE *f;

        (void) snprintf(full, sizeof(full), "%s/%s", dir, path);
        f = fopen(full, "we");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static char *inventory_text(const char *dir) {
        struct ulv_inventory *inv = NULL;
        struct ulv_strbuf b = {};

        assert_int_equal(discover(dir, &inv), 0);
        for (size_t i = 0; i < inv->n_cores; i++) {
                ulv_strbuf_addf(&b, "core %u node %u threads ", inv->cores[i].id, inv->cores[i].node);
                ulv_cpus_format(&b, inv->cores[i].threads);
                assert_int_equal(inv->cores[i].n_threads, ulv_cpus_count(inv->cores[i].threads));
                ulv_strbuf_addc(&b, '\n');
        }
        for (size_t i = 0; i < inv->n_memory; i++)
                ulv_strbuf_addf(&b, "memory %u/%s %llu\n", inv->memory[i].node, inv->memory[i].pages, (unsigned long long) inv->memory[i].amount);
        for (size_t i = 0; i < inv->n_devices; i++)
                ulv_strbuf_addf(&b, "%s %s %s\n", inv->devices[i].kind, inv->devices[i].id, inv->devices[i].attrs);
        ulv_strbuf_addf(&b, "kvm %d uids %u-%u\n", inv->kvm, inv->uids_first, inv->uids_last);
        ulv_inventory_free(inv);
        return ulv_strbuf_steal(&b);
}

static void assert_inventory(const char *dir, const char *want) {
        _cleanup_free_ char *text = inventory_text(dir);

        assert_string_equal(text, want);
}

static void test_two_nodes_with_threads_hugepages_and_groups(ULV_UNUSED void **state) {
        _cleanup_free_ char *dir = expand("xeon-2node-16core");

        assert_inventory(dir,
                "core 0 node 0 threads 0,16\ncore 1 node 0 threads 1,17\ncore 2 node 0 threads 2,18\ncore 3 node 0 threads 3,19\n"
                "core 4 node 0 threads 4,20\ncore 5 node 0 threads 5,21\ncore 6 node 0 threads 6,22\ncore 7 node 0 threads 7,23\n"
                "core 8 node 1 threads 8,24\ncore 9 node 1 threads 9,25\ncore 10 node 1 threads 10,26\ncore 11 node 1 threads 11,27\n"
                "core 12 node 1 threads 12,28\ncore 13 node 1 threads 13,29\ncore 14 node 1 threads 14,30\ncore 15 node 1 threads 15,31\n"
                /* 32893172 kB; 33022408 kB less 512 x 2M and 2 x 1G, which are given as themselves */
                "memory 0/4K 16061\nmemory 1/1G 1024\nmemory 1/2M 512\nmemory 1/4K 14588\n"
                "block 0000-1234.sdb name=sdb size=30752636928 model=Cruzer%20Blade ro=yes\n"
                "block 0000-1234.sdc name=sdc size=30752636928 model=Cruzer%20Blade\n"
                "block eui.0025385b11b0a4d2 name=nvme0n1 size=1920383410176 model=SAMSUNG%20MZQL21T9HCJR-00A07 node=0\n"
                "block eui.0025385b11b0a4e7 name=nvme1n1 size=1920383410176 model=SAMSUNG%20MZQL21T9HCJR-00A07 node=1\n"
                "block naa.5002538f4320b1a7 name=sda size=240057409536 model=Samsung%20SSD%20883\n"
                "net eno1 mac=3c:fd:fe:a1:b2:c0 pci=0000:18:00.0 driver=ice node=0\n"
                "net eno2 mac=3c:fd:fe:a1:b2:c1 pci=0000:18:00.1 driver=ice node=0\n"
                "net ens5 mac=b8:ce:f6:00:11:22 pci=0000:af:00.0 driver=mlx5_core node=1\n"
                "pci 0000:18:00.0 group=24 node=0 class=0x020000 vendor=0x8086 device=0x1593 driver=ice\n"
                "pci 0000:18:00.1 group=25 node=0 class=0x020000 vendor=0x8086 device=0x1593 driver=ice\n"
                "pci 0000:3b:00.0 group=31 node=0 class=0x010802 vendor=0x144d device=0xa80a driver=nvme\n"
                "pci 0000:86:00.0 group=40 node=1 class=0x030000 vendor=0x10de device=0x1eb8\n"
                "pci 0000:86:00.1 group=40 node=1 class=0x040300 vendor=0x10de device=0x10f8 driver=snd_hda_intel\n"
                "pci 0000:af:00.0 group=52 node=1 class=0x020000 vendor=0x15b3 device=0x1017 driver=mlx5_core\n"
                "pci 0000:d8:00.0 group=60 node=1 class=0x010802 vendor=0x144d device=0xa80a driver=nvme\n"
                "kvm 1 uids 1-2047\n");
}

static void test_a_small_vm_without_iommu_or_numa_hints(ULV_UNUSED void **state) {
        _cleanup_free_ char *dir = expand("firecracker-2cpu"), *text = inventory_text(dir);

        assert_true(ulv_startswith(text, "core 0 node 0 threads 0\ncore 1 node 0 threads 1\nmemory 0/4K "));
        assert_non_null(strstr(text, "\nblock overlayblk name=vda size="));
        assert_non_null(strstr(text, "\nnet eth0 mac=02:fc:00:00:00:01 driver=virtio_net\n"));
        assert_null(strstr(text, "loop"));
        assert_null(strstr(text, "group="));
        assert_null(strstr(text, "node=-1"));
}

static void test_offline_cpus_do_not_count(ULV_UNUSED void **state) {
        _cleanup_free_ char *dir = expand("xeon-2node-16core"), *text = NULL;

        write_file(dir, "devices/system/cpu/online", "0-14,16-30\n");
        text = inventory_text(dir);
        assert_non_null(strstr(text, "core 14 node 1 threads 14,30\nmemory"));
}

/* Files that contradict each other must not make one CPU two cores' thread. */
static void test_a_cpu_is_in_one_core_only(ULV_UNUSED void **state) {
        _cleanup_free_ char *dir = expand("firecracker-2cpu"), *text = NULL;

        write_file(dir, "devices/system/cpu/cpu0/topology/core_cpus_list", "0-1\n");
        write_file(dir, "devices/system/cpu/cpu1/topology/core_cpus_list", "0-1\n");
        text = inventory_text(dir);
        assert_true(ulv_startswith(text, "core 0 node 0 threads 0-1\nmemory"));
        free(ulv_steal(text));
        write_file(dir, "devices/system/cpu/cpu0/topology/core_cpus_list", "nonsense\n");
        write_file(dir, "devices/system/cpu/cpu0/topology/thread_siblings_list", "1\n");
        text = inventory_text(dir);
        assert_true(ulv_startswith(text, "core 0 node 0 threads 0\ncore 1 node 0 threads 1\nmemory"));
}

static void test_no_sysfs_is_an_error(ULV_UNUSED void **state) {
        struct ulv_inventory *inv = NULL;

        assert_int_equal(discover("/nonexistent", &inv), -ENOENT);
        assert_int_equal(discover("/tmp", &inv), -ENODATA);
        assert_null(inv);
}

static void test_this_machine(ULV_UNUSED void **state) {
        _cleanup_free_ char *text = inventory_text("/sys");

        assert_true(ulv_startswith(text, "core 0 node "));
        assert_non_null(strstr(text, "\nmemory 0/4K "));
}

static int setup(ULV_UNUSED void **state) { return mkdtemp(base) ? 0 : -1; }

static int teardown(ULV_UNUSED void **state) {
        char command[128];

        (void) snprintf(command, sizeof(command), "rm -rf %s", base);
        return system(command);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_two_nodes_with_threads_hugepages_and_groups), cmocka_unit_test(test_a_small_vm_without_iommu_or_numa_hints),
                cmocka_unit_test(test_offline_cpus_do_not_count), cmocka_unit_test(test_a_cpu_is_in_one_core_only),
                cmocka_unit_test(test_no_sysfs_is_an_error), cmocka_unit_test(test_this_machine),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
