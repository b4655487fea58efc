/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The XML of a VM, text for text: test/golden/domain/NAME.xml for each case below. With --write it writes those that
 * are missing, to be read by a person. (80-kvm.bats holds them to libvirt's schema.) */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "plugins/kvm/domain.c"

#define HEAD "[Partition]\nType=vm\n[CPU]\nCores=1\n[Memory]\nSize=512M\n"

static const struct {
        const char *name, *text, *cpus;
        uint64_t share;
        const char *pool, *slice;
        struct { unsigned node; uint64_t mib; } memory[2];
        unsigned n_channels;
} cases[] = {
        { .name = "kernel", .text = HEAD "[VM]\nKernel=/boot/vmlinuz\nInitrd=/boot/initrd\nCommandLine=console=ttyS0 quiet\nAccel=tcg\n",
          .cpus = "1", .memory = { { 0, 512 } } },
        { .name = "disk-vnc", .text = HEAD "[VM]\nGraphics=vnc\n[Block \"root\"]\nFile=/srv/db.qcow2\nFormat=qcow2\nWritable=direct\n", .cpus = "4-5,20-21",
          .memory = { { 1, 512 } } },
        { .name = "disks", .text = HEAD "[VM]\n[Block \"root\"]\nFile=/srv/debian.qcow2\nFormat=qcow2\n[Block \"scratch\"]\nFile=/srv/empty.img\nFormat=raw\n"
          "Writable=ephemeral\n[Block \"tools\"]\nFile=/srv/tools.img\nFormat=raw\nWritable=no\n[Block \"install\"]\nFile=/srv/install.iso\nFormat=iso\n", .cpus = "2,18",
          .memory = { { 0, 256 }, { 1, 256 } } },
        { .name = "block-device", .text = HEAD "[VM]\n[Device \"db\"]\nPath=/dev/dm-3\n[Device \"archive\"]\nPath=/dev/sdb\nReadOnly=yes\n", .cpus = "2,18",
          .memory = { { 0, 256 }, { 1, 256 } } },
        { .name = "uefi-seed", .text = HEAD "[VM]\nFirmware=uefi\nSeed=/etc/ultravisor/seeds/db\n[Block \"root\"]\nFile=/srv/debian.qcow2\nFormat=qcow2\n"
          "[Network \"lan\"]\nBridge=br0\nAddress=10.0.0.30/24\n[Network \"san\"]\nBridge=br1\nMAC=52:54:00:0a:00:30\n", .cpus = "1", .memory = { { 0, 512 } } },
        { .name = "hugepages", .text = "[Partition]\nType=vm\n[CPU]\nCores=1\n[Memory]\nSize=2G\nPages=1G\n[Block \"a\"]\nFile=/srv/raw.img\nFormat=raw\nWritable=direct\n", .cpus = "3",
          .memory = { { 1, 2048 } } },
        { .name = "share", .text = "[Partition]\nType=vm\n[CPU]\nShare=1.5\n[Memory]\nSize=512M\nPages=2M\n[VM]\nKernel=/k\n", .share = 1500, .pool = "0,8-9",
          .memory = { { 0, 512 } } },
        { .name = "share-anywhere", .text = "[Partition]\nType=vm\n[CPU]\nShare=0.25\n[Memory]\nSize=512M\n[VM]\nKernel=/k\n", .share = 250, .memory = { { 0, 512 } } },
        { .name = "channels", .text = HEAD "[VM]\nKernel=/boot/vmlinuz\n", .cpus = "1", .memory = { { 0, 512 } }, .n_channels = 9 },
        { .name = "slice", .text = HEAD "[VM]\nKernel=/k\nAgent=yes\n", .cpus = "1-2", .slice = "ultravisor", .memory = { { 0, 512 } } },
        { .name = "escapes", .text = HEAD "[VM]\nKernel=/k\nCommandLine=a=\"<&'>\" init=/bin/sh\n[Block \"a\"]\nFile=/srv/a&b<c>'d\".img\nFormat=raw\n", .cpus = "1", .memory = { { 0, 512 } } },
};

static bool write_missing;

static void read_golden(const char *path, const char *made, char *buf, size_t size) {
        FILE *f = fopen(path, "r");
        size_t n;

        if (!f && write_missing && (f = fopen(path, "w"))) {
                (void) fputs(made, f);
                (void) fclose(f);
                f = fopen(path, "r");
        }
        assert_non_null(f);
        n = fread(buf, 1, size - 1, f);
        buf[n] = 0;
        (void) fclose(f);
}

static void grant_of(size_t i, struct ulv_grant *g) {
        assert_int_equal(ulv_cpus_parse(cases[i].cpus ? cases[i].cpus : "", &g->cpus), 0);
        assert_int_equal(ulv_cpus_parse(cases[i].pool ? cases[i].pool : "", &g->pool), 0);
        g->share = cases[i].share;
        for (size_t j = 0; j < 2 && cases[i].memory[j].mib > 0; j++) {
                g->memory[j].node = cases[i].memory[j].node;
                g->memory[j].bytes = cases[i].memory[j].mib << 20;
                g->memory_bytes += g->memory[j].bytes;
                g->n_memory++;
        }
}

static void domain_is_as_written(ULV_UNUSED void **state) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(cases); i++) {
                struct ulv_source file = { .file = "db.partition", .buf = cases[i].text, .len = strlen(cases[i].text) };
                ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *d = NULL;
                _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
                struct ulv_grant g = { 0 };
                static const char *const labels[] = { "feed", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "second-slot" };
                static struct kvm_channel channels[ULV_ARRAY_SIZE(labels)];
                struct kvm_domain k = { .grant = &g, .console = "/dev/pts/7", .uid = 1885929472 };
                struct ulv_link links[2] = { { "uv7069n0", { 2, 0, 0, 0x70, 0x69, 0 } }, { "uv7069n1", { 2, 0, 0, 0x70, 0x69, 1 } } };
                struct ulv_diag diag = { 0 };
                static char golden[65536];
                char path[256];

                assert_int_equal(ulv_definition_parse(&file, 1, &d, &diag), 0);
                grant_of(i, &g);
                kvm_identity("/", "db", k.name, k.uuid);
                k.d = d;
                k.channels = channels;
                k.n_channels = cases[i].n_channels;
                for (unsigned c = 0; c < k.n_channels; c++) {
                        channels[c].label = labels[c];
                        (void) snprintf(channels[c].path, sizeof(channels[c].path), "/run/ultravisor/vm/db/channel-%u", c);
                }
                k.kernel = d->kernel[0] ? "/run/ultravisor/vm/db/kernel" : NULL;
                k.initrd = d->initrd[0] ? "/run/ultravisor/vm/db/initrd" : NULL;
                for (size_t n = 0; n < d->n_networks && n < 2; n++)
                        if (d->networks[n].has_mac)
                                memcpy(links[n].mac, d->networks[n].mac, 6);
                k.links = links;
                k.disks = "/var/lib/ultravisor/disks/db";
                k.nvram = ulv_streq(d->firmware, "uefi") ? "/var/lib/ultravisor/disks/db/nvram.fd" : NULL;
                k.seed = d->seed[0] ? "/run/ultravisor/vm/db/seed/seed.iso" : NULL;
                k.call = "/run/ultravisor/vm/db/call";
                k.slice = cases[i].slice;
                k.vnc = ulv_streq(d->graphics, "vnc") ? "/run/ultravisor/vm/db/vnc/socket" : NULL;
                assert_int_equal(kvm_domain_xml(&k, &b), 0);
                (void) snprintf(path, sizeof(path), "test/golden/domain/%s.xml", cases[i].name);
                read_golden(path, ulv_strbuf_str(&b), golden, sizeof(golden));
                assert_string_equal(ulv_strbuf_str(&b), golden);
        }
}

/* A monitor of a later life finds the domain of this one by it, and no other's. */
static void identity_is_the_same_for_ever_and_no_others(ULV_UNUSED void **state) {
        static const struct { const char *root, *partition; } who[] = {
                { "/", "db" }, { "/", "db2" }, { "/tmp/a", "db" }, { "/tmp/adb", "x" }, { "/tmp/a", "dbx" }, { "/tmp/ad", "bx" },
        };
        char name[ULV_ARRAY_SIZE(who)][KVM_NAME_MAX], uuid[ULV_ARRAY_SIZE(who)][37];

        for (size_t i = 0; i < ULV_ARRAY_SIZE(who); i++) {
                kvm_identity(who[i].root, who[i].partition, name[i], uuid[i]);
                for (size_t j = 0; j < i; j++) {
                        assert_string_not_equal(name[i], name[j]);
                        assert_string_not_equal(uuid[i], uuid[j]);
                }
        }
        assert_string_equal(name[0], "ultravisor-db");
        assert_int_equal(uuid[0][14], '8');
        assert_int_equal(strlen(uuid[0]), 36);
}

static void vcpus_are_the_threads_of_the_cores_or_the_share_rounded_up(ULV_UNUSED void **state) {
        struct ulv_grant g = { 0 };

        assert_int_equal(ulv_cpus_parse("4-5,20-21", &g.cpus), 0);
        assert_int_equal(kvm_vcpus(&g), 4);
        g = (struct ulv_grant) { .share = 1 };
        assert_int_equal(kvm_vcpus(&g), 1);
        g.share = 2000;
        assert_int_equal(kvm_vcpus(&g), 2);
        g.share = 2001;
        assert_int_equal(kvm_vcpus(&g), 3);
}

static void the_disk_after_vdz_is_vdaa(ULV_UNUSED void **state) {
        static const struct { unsigned slot; const char *dev; } names[] = { { 0, "dev='vda'" }, { 25, "dev='vdz'" }, { 26, "dev='vdaa'" }, { 63, "dev='vdbl'" } };
        const struct ulv_attachment a = { .label = "x", .disk = true, .source = (char *) "/x", .format = "raw", .writable = "no" };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(names); i++) {
                _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

                kvm_disk_xml(&b, &a, "", names[i].slot, 0);
                assert_non_null(strstr(ulv_strbuf_str(&b), names[i].dev));
        }
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(domain_is_as_written),
                cmocka_unit_test(identity_is_the_same_for_ever_and_no_others),
                cmocka_unit_test(the_disk_after_vdz_is_vdaa),
                cmocka_unit_test(vcpus_are_the_threads_of_the_cores_or_the_share_rounded_up),
        };

        write_missing = argc > 1 && ulv_streq(argv[1], "--write");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
