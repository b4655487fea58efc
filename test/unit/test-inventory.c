/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>

#include "model/inventory.h"
#include "model/ledger.h"

#include <cmocka.h>

#define MACHINE "[Machine]\nName=epyc\nKind=imagined\n"
#define NODES "[Node \"0\"]\nCPUs=0-3,8-11\nThreadStride=8\nMemory=8G\nHugePages2M=64\nHugePages1G=1\n[Node \"1\"]\nCPUs=4-7,12-15\nThreadStride=8\nMemory=8G\n"

static struct ulv_inventory *parse(const char *text) {
        struct ulv_inventory *inv = NULL;
        struct ulv_diag d = {};

        if (ulv_inventory_parse("x.inventory", text, strlen(text), &inv, &d) != 0)
                print_message("%s:%u: %s\n", d.file, d.line, d.what);
        assert_non_null(inv);
        return inv;
}

static void a_machine_is_read(void **state) {
        ULV_CLEANUP(ulv_inventory_freep) struct ulv_inventory *inv = parse(MACHINE NODES "[Device \"0000:18:00.0\"]\nKind=pci\nGroup=12\nDescription=a b\n");
        (void) state;

        assert_int_equal(inv->kind, ULV_INVENTORY_IMAGINED);
        assert_string_equal(inv->name, "epyc");
        assert_int_equal(inv->n_cores, 8);
        for (unsigned i = 0; i < 8; i++) {
                assert_int_equal(inv->cores[i].id, i);
                assert_int_equal(inv->cores[i].node, i / 4);
                assert_int_equal(inv->cores[i].n_threads, 2);
                assert_true(ulv_cpus_has(inv->cores[i].threads, i) && ulv_cpus_has(inv->cores[i].threads, i + 8));
        }
        assert_int_equal(inv->n_memory, 4);
        assert_string_equal(inv->memory[0].pages, "1G");
        assert_int_equal(inv->memory[0].amount, 512);
        assert_string_equal(inv->memory[1].pages, "2M");
        assert_int_equal(inv->memory[1].amount, 64);
        assert_string_equal(inv->memory[2].pages, "4K");
        assert_int_equal(inv->memory[2].amount, 4096 - 512 - 64);
        assert_int_equal(inv->memory[3].amount, 4096);
        assert_int_equal(inv->n_devices, 1);
        assert_string_equal(inv->devices[0].attrs, "group=12 description=a%20b");
        assert_int_equal(inv->uids_first, 1);
        assert_int_equal(inv->uids_last, ULV_UID_RANGES);
}

static void threads_make_cores(void **state) {
        static const struct { const char *cpus, *stride; size_t cores; } t[] = {
                { "0-3", "", 4 }, { "0-3", "ThreadStride=0\n", 4 }, { "0-3", "ThreadStride=1\n", 2 }, { "0-3", "ThreadStride=2\n", 2 },
                { "0-2", "ThreadStride=1\n", 2 }, { "1,3", "ThreadStride=2\n", 1 }, { "0", "ThreadStride=8191\n", 1 },
        };
        (void) state;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(t); i++) {
                ULV_CLEANUP(ulv_inventory_freep) struct ulv_inventory *inv = NULL;
                _cleanup_strbuf_ struct ulv_strbuf b = {};

                ulv_strbuf_addf(&b, MACHINE "[Node \"0\"]\nCPUs=%s\n%sMemory=1G\n", t[i].cpus, t[i].stride);
                inv = parse(b.s);
                assert_int_equal(inv->n_cores, t[i].cores);
        }
}

static void errors_say_where_and_what(void **state) {
        static const struct { const char *text, *what; unsigned line; } t[] = {
                { "", "needs Kind=", 1 }, { MACHINE, "needs [Node", 1 }, { "[Machine]\nKind=real\n" NODES, "part or imagined", 2 },
                { "[Machine]\nKind=part\n" NODES, "needs Prefix=", 1 }, { MACHINE "[Node]\n", "needs a number", 4 }, { MACHINE "[Node \"x\"]\n", "needs a number", 4 },
                { MACHINE NODES "[Node \"1\"]\n", "second time", 14 }, { MACHINE NODES "[Node \"2\"]\nCPUs=7\n", "another node", 15 },
                { MACHINE "[Node \"0\"]\nCPUs=x\n", "a list like", 5 }, { MACHINE "[Node \"0\"]\nMemory=x\n", "a size like", 5 },
                { MACHINE NODES "[Device \"a\"]\n", "needs Kind=pci", 1 }, { MACHINE NODES "[Device \"a\"]\nKind=usb\n", "pci, block or net", 15 },
                { MACHINE NODES "[Device \"a\"]\nKind=pci\n[Device \"a\"]\nKind=pci\n", "second time", 17 }, { MACHINE NODES "[Nope]\n", "no section [Nope]", 14 },
                { MACHINE NODES "Nope=1\n", "no key Nope=", 14 }, { MACHINE "UIDRanges=0-5\n" NODES, "FIRST-LAST", 4 }, { MACHINE "UIDRanges=1,3\n" NODES, "FIRST-LAST", 4 },
                { MACHINE "Prefix=A\n" NODES, "Prefix=", 4 }, { MACHINE "[Node \"0\"]\nCPUs=0\nMemory=1G\nHugePages1G=2\n", "huge pages", 1 },
        };
        (void) state;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(t); i++) {
                struct ulv_inventory *inv = NULL;
                struct ulv_diag d = {};

                assert_int_equal(ulv_inventory_parse("x.inventory", t[i].text, strlen(t[i].text), &inv, &d), 1);
                if (!strstr(d.what, t[i].what) || d.line != t[i].line)
                        fail_msg("%zu: line %u: %s", i, d.line, d.what);
                assert_string_equal(d.file, "x.inventory");
                assert_null(inv);
        }
}

static void a_machine_that_changed(void **state) {
        ULV_CLEANUP(ulv_inventory_freep) struct ulv_inventory *inv = parse(MACHINE NODES), *less = parse(MACHINE "[Node \"0\"]\nCPUs=0-2,8-10\nThreadStride=8\nMemory=4G\n");
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = NULL;
        _cleanup_strbuf_ struct ulv_strbuf b = {}, changes = {};
        struct ulv_holding_info h;
        struct ulv_diag d;
        (void) state;

        assert_int_equal(ulv_ledger_new(inv, &l), 0);
        assert_int_equal(ulv_ledger_pool_capacity(l), 16000);
        assert_int_equal(ulv_ledger_set_inventory(l, inv, &b), 0);
        assert_string_equal(ulv_strbuf_str(&b), "");
        assert_int_equal(ulv_ledger_generation(l), 1);
        assert_int_equal(ulv_ledger_set_inventory(l, less, &b), 0);
        assert_non_null(strstr(b.s, "core 3 is missing\n"));
        assert_non_null(strstr(b.s, "memory 1/4K is missing\n"));
        assert_non_null(strstr(b.s, "memory 0/4K has shrunk, at the cost of host and idle\n"));
        assert_int_equal(ulv_ledger_check(l, &d), 0);
        assert_int_equal(ulv_ledger_holding(l, "core", "3", "host", &h), 0);
        assert_true(h.missing);
        assert_int_equal(ulv_ledger_holding(l, "memory", "0/4K", "host", &h), 0);
        assert_int_equal(h.amount, 2048);
        assert_int_equal(ulv_ledger_drain_changes(l, &changes), 0);
        assert_non_null(strstr(changes.s, "row core 3 host node=0 threads=3,11 missing=yes\n"));
        ulv_strbuf_reset(&b);
        assert_int_equal(ulv_ledger_set_inventory(l, inv, &b), 0);
        assert_non_null(strstr(b.s, "core 3 is back\n"));
        assert_non_null(strstr(b.s, "memory 0/4K has grown, for the host\n"));
        assert_int_equal(ulv_ledger_generation(l), 3);
        assert_int_equal(ulv_ledger_check(l, &d), 0);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_machine_is_read), cmocka_unit_test(threads_make_cores), cmocka_unit_test(errors_say_where_and_what),
                cmocka_unit_test(a_machine_that_changed),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
