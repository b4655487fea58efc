/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Proves what people are told about a partition: sums, grade, degraded; and the drop-in that set writes. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "command/dropin.c"
#include "command/summary.c"

static const char inventory[] =
        "[Machine]\nName=test\nKind=imagined\n"
        "[Node \"0\"]\nCPUs=0-15\nThreadStride=8\nMemory=32G\n";

static struct ulv_ledger *ledger(void) {
        struct ulv_inventory *inv = NULL;
        struct ulv_ledger *l = NULL;

        assert_int_equal(ulv_inventory_parse("test", inventory, strlen(inventory), &inv, NULL), 0);
        assert_int_equal(ulv_ledger_new(inv, &l), 0);
        ulv_inventory_free(inv);
        return l;
}

static unsigned txn_number;

static int step(struct ulv_ledger *l, const char *reporter, const char *operations) {
        struct ulv_outcome o = { 0 };
        struct ulv_diag d = { 0 };
        char id[16];
        int r;

        (void) snprintf(id, sizeof(id), "t%u", ++txn_number);
        r = ulv_ledger_step(l, &(struct ulv_txn) { .id = id, .zone = "default", .subject = "test", .reason = "", .operations = operations,
                            .operations_len = strlen(operations), .reporter = reporter }, &o, &d);
        if (r != 0)
                print_message("# refused: %s / %s\n", d.what, d.why);
        ulv_outcome_done(&o);
        return r;
}

static const char text[] = "[Partition]\nType=sim\nDescription=a b\nIsolation=%s\n[CPU]\nCores=2\n[Memory]\nSize=1G\n";

static struct ulv_definition *definition(const char *isolation) {
        struct ulv_definition *d = NULL;
        struct ulv_diag e = { 0 };
        char buf[512];

        (void) snprintf(buf, sizeof(buf), text, isolation);
        if (ulv_definition_parse(&(struct ulv_source) { "db.partition", buf, strlen(buf) }, 1, &d, &e) != 0)
                fail_msg("%s", e.what);
        return d;
}

static void summarize(const struct ulv_ledger *l, const struct ulv_definition *d, struct summary *s) {
        struct ulv_partition_info p;

        assert_int_equal(ulv_ledger_partition(l, "db", &p), 0);
        assert_int_equal(summary_make(l, &p, d, s), 0);
}

static void define_and_start(struct ulv_ledger *l) {
        assert_int_equal(step(l, NULL, "define partition db - zone=default type=sim role=guest text=x\n"), 0);
        assert_int_equal(step(l, NULL, "claim core 6 db from=host\nclaim core 7 db from=host\nclaim memory 0/4K db amount=512 from=host\n"
                              "state partition db - state=starting\n"), 0);
}

static const char running[] =
        "state partition db - state=running leader=7 start=8 contain=userns+seccomp+nocaps+devices\n"
        "reached core 6 db amount=1 how=limit\nreached core 7 db amount=1 how=%s\nreached memory 0/4K db amount=%u how=limit\n";

static void run(struct ulv_ledger *l, const char *how, unsigned amount) {
        char report[512];

        (void) snprintf(report, sizeof(report), running, how, amount);
        assert_int_equal(step(l, "db", report), 0);
}

static void limits_are_told_each_and_the_weakest(ULV_UNUSED void **state) {
        struct ulv_ledger *l = ledger();
        struct summary s;

        define_and_start(l);
        assert_int_equal(step(l, NULL, "claim limit tasks db amount=500\nclaim limit io-read:/dev/vda db amount=1024\n"), 0);
        run(l, "limit", 512);
        assert_int_equal(step(l, "db", "reached limit tasks db amount=500 how=limit\n"), 0);
        summarize(l, NULL, &s);
        assert_string_equal(s.limits, "io-read:/dev/vda 1024 0 - tasks 500 500 limit");
        assert_string_equal(s.limits_how, "tracked");
        assert_true(s.degraded);
        summary_done(&s);
        ulv_ledger_free(l);
}

static void nothing_held_is_nothing_said(ULV_UNUSED void **state) {
        struct ulv_ledger *l = ledger();
        struct ulv_definition *d = definition("firm");
        struct summary s;

        assert_int_equal(step(l, NULL, "define partition db - zone=default type=sim role=guest text=x\n"), 0);
        summarize(l, d, &s);
        assert_string_equal(s.cores, "");
        assert_int_equal(s.memory_wanted, 0);
        assert_string_equal(s.cpu_how, "");
        assert_int_equal(s.isolation, ULV_ISOLATION_NONE);
        assert_false(s.degraded);       /* it doesn't run, so it isn't weaker than wanted */
        assert_string_equal(s.description, "a b");
        summary_done(&s);
        ulv_definition_free(d);
        ulv_ledger_free(l);
}

static void starting_is_wanted_and_not_reached(ULV_UNUSED void **state) {
        struct ulv_ledger *l = ledger();
        struct summary s;

        define_and_start(l);
        summarize(l, NULL, &s);
        assert_string_equal(s.cores, "6-7");
        assert_int_equal(s.cores_wanted, 2);
        assert_int_equal(s.cores_reached, 0);
        assert_int_equal(s.memory_wanted, UINT64_C(1) << 30);
        assert_string_equal(s.cpu_how, "tracked");      /* nobody has proved anything yet */
        assert_false(s.degraded);
        assert_string_equal(s.description, "");
        summary_done(&s);
        ulv_ledger_free(l);
}

static void the_weakest_core_decides(ULV_UNUSED void **state) {
        struct ulv_ledger *l = ledger();
        struct summary s;

        define_and_start(l);
        run(l, "affinity", 512);
        summarize(l, NULL, &s);
        assert_string_equal(s.cpu_how, "affinity");
        assert_string_equal(s.memory_how, "limit");
        assert_int_equal(s.cores_reached, 2);
        assert_int_equal(s.memory_reached, UINT64_C(1) << 30);
        assert_false(s.degraded);
        summary_done(&s);
        ulv_ledger_free(l);
}

static void less_than_wanted_is_degraded(ULV_UNUSED void **state) {
        struct ulv_ledger *l = ledger();
        struct summary s;

        define_and_start(l);
        run(l, "limit", 100);
        summarize(l, NULL, &s);
        assert_int_equal(s.memory_reached, UINT64_C(200) << 20);
        assert_true(s.degraded);
        summary_done(&s);
        ulv_ledger_free(l);
}

static void weaker_than_required_is_degraded(ULV_UNUSED void **state) {
        struct ulv_ledger *l = ledger();
        struct ulv_definition *none = definition("none"), *hard = definition("hard");
        struct summary s;

        define_and_start(l);
        run(l, "limit", 512);
        summarize(l, none, &s);
        assert_false(s.degraded);
        summary_done(&s);
        summarize(l, hard, &s);
        assert_true(s.isolation < ULV_ISOLATION_HARD);
        assert_true(s.degraded);
        summary_done(&s);
        ulv_definition_free(none);
        ulv_definition_free(hard);
        ulv_ledger_free(l);
}

static void a_transfer_is_wanted_at_one_end_only(ULV_UNUSED void **state) {
        struct ulv_ledger *l = ledger();
        struct summary s;

        define_and_start(l);
        run(l, "limit", 512);
        assert_int_equal(step(l, NULL, "move core 7 db to=idle\nmove memory 0/4K db to=idle amount=12\n"), 0);
        summarize(l, NULL, &s);
        assert_string_equal(s.cores, "6-7");            /* still its own until it has let go */
        assert_int_equal(s.cores_wanted, 1);
        assert_int_equal(s.memory_wanted, UINT64_C(1000) << 20);
        assert_true(s.degraded);
        summary_done(&s);
        ulv_ledger_free(l);
}

static void keys_are_one_line_of_the_text_form(ULV_UNUSED void **state) {
        struct ulv_ledger *l = ledger();
        struct ulv_definition *d = definition("none");
        struct ulv_strbuf b = { 0 };
        struct ulv_op op = { 0 };
        struct summary s;

        define_and_start(l);
        summarize(l, d, &s);
        ulv_op_begin(&b, "row", "partition", "db", NULL);
        summary_add_keys(&b, &s, "db");
        assert_int_equal(ulv_op_parse(ulv_strbuf_str(&b), b.len, &op, NULL), 0);
        assert_string_equal(ulv_op_get(&op, "cores"), "6-7");
        assert_string_equal(ulv_op_get(&op, "description"), "a b");
        assert_string_equal(ulv_op_get(&op, "unit"), "uv-partition@db.service");
        assert_null(ulv_op_get(&op, "degraded"));
        ulv_op_done(&op);
        ulv_strbuf_done(&b);
        summary_done(&s);
        ulv_definition_free(d);
        ulv_ledger_free(l);
}

/* --- drop-ins ----------------------------------------------------------------------------------------- */

static char *dropin(const char *before, const struct dropin_value *v, size_t n) {
        struct ulv_source files[] = { { "partitions/db.partition.d/50-set.conf", before, before ? strlen(before) : 0 } };
        struct ulv_bundle b = { .files = files, .n_files = before ? 1 : 0 };
        char *out = NULL;

        assert_int_equal(dropin_text(&b, "db", v, n, &out, NULL), 0);
        return out;
}

#define HEAD "# Written by 'uvctl set'. A hand edit is kept, but for comments.\n"

static void a_first_set_writes_what_was_set(ULV_UNUSED void **state) {
        char *out = dropin(NULL, (struct dropin_value[]) { { "Memory", "Size", "2G", false } }, 1);

        assert_string_equal(out, HEAD "\n[Memory]\nSize=2G\n");
        free(out);
}

static void a_second_set_keeps_the_first(ULV_UNUSED void **state) {
        char *out = dropin(HEAD "\n[Memory]\nSize=2G\n", (struct dropin_value[]) { { "CPU", "Cores", "3", false }, { "CPU", "Share", "", false } }, 2);

        assert_string_equal(out, HEAD "\n[Memory]\nSize=2G\n\n[CPU]\nCores=3\nShare=\n");
        free(out);
}

static void the_same_key_is_replaced_and_hand_edits_stay(ULV_UNUSED void **state) {
        char *out = dropin("[Memory]\nSizeMax=8G\nSize=2G\nSize=3G\n[CPU]\nCores=1\n", (struct dropin_value[]) { { "Memory", "Size", "4G", false } }, 1);

        assert_string_equal(out, HEAD "\n[Memory]\nSizeMax=8G\nSize=4G\n\n[CPU]\nCores=1\n");
        free(out);
}

static void of_a_list_only_the_line_about_the_same_is_replaced(ULV_UNUSED void **state) {
        char *out = dropin("[Limits]\nIOReadMax=\nIOReadMax=/dev/vda 1M\nIOReadMax=/dev/vdb 2M\n",
                           (struct dropin_value[]) { { "Limits", "IOReadMax", "/dev/vda 5M", true }, { "Limits", "Tasks", "", false } }, 2);

        assert_string_equal(out, HEAD "\n[Limits]\nIOReadMax=\nIOReadMax=/dev/vdb 2M\nIOReadMax=/dev/vda 5M\nTasks=\n");
        free(out);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(nothing_held_is_nothing_said), cmocka_unit_test(starting_is_wanted_and_not_reached),
                cmocka_unit_test(the_weakest_core_decides), cmocka_unit_test(less_than_wanted_is_degraded),
                cmocka_unit_test(weaker_than_required_is_degraded), cmocka_unit_test(a_transfer_is_wanted_at_one_end_only),
                cmocka_unit_test(keys_are_one_line_of_the_text_form), cmocka_unit_test(a_first_set_writes_what_was_set),
                cmocka_unit_test(a_second_set_keeps_the_first), cmocka_unit_test(the_same_key_is_replaced_and_hand_edits_stay),
                cmocka_unit_test(of_a_list_only_the_line_about_the_same_is_replaced), cmocka_unit_test(limits_are_told_each_and_the_weakest),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
