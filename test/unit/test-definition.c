/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Definitions: values as the rest of the program gets them, places, drop-ins, Exec= words. Messages and
 * canonical texts are in test/golden/definition. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "model/definition.h"
#include "test/lib/fail-alloc.inc"

static const char web[] =
        "[Partition]\nType=container\nDescription=Front\nAfter=db  cache\nIsolation=soft\n"
        "[CPU]\nShare=1.25\nShareMax=4\n[Memory]\nSize=1000M\nNode=1\n"
        "[Container]\nRoot=/srv/web\nExec=/bin/sh -c 'sleep 1'\nEnvironment=A=1\n";
static const char set[] = "# by uvctl set\n[Memory]\nSize=3G\n[Container]\nEnvironment=B=2\n";

static struct ulv_definition *parse(const char *drop_in) {
        const struct ulv_source files[] = {
                { "partitions/web.partition", web, sizeof(web) - 1 },
                { "partitions/web.partition.d/50-set.conf", drop_in, drop_in ? strlen(drop_in) : 0 },
        };
        struct ulv_definition *d = NULL;
        struct ulv_diag diag = {};
        int r;

        r = ulv_definition_parse(files, drop_in ? 2 : 1, &d, &diag);
        if (r != 0 && !alloc_failed)
                print_error("%s:%u:%u: %s\n", diag.file, diag.line, diag.column, diag.what);
        assert_true(r == 0 || (r == -ENOMEM && alloc_failed));
        return d;
}

static void values_are_in_the_units_of_the_ledger(ULV_UNUSED void **state) {
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *d = parse(NULL);

        assert_string_equal(d->name, "web");
        assert_string_equal(d->zone, "default");
        assert_string_equal(d->role, "guest");
        assert_int_equal(d->share, 1250);
        assert_int_equal(d->share_min, 0);
        assert_int_equal(d->share_max, 4000);
        assert_false(d->whole_cores);
        assert_int_equal(d->memory, 1000 * 1024 * 1024);
        assert_int_equal(d->memory_node, 1);
        assert_int_equal(d->cpu_node, -1);
        assert_int_equal(d->stop_timeout, 30 * 1000000);
        assert_int_equal(d->n_after, 2);
        assert_string_equal(d->after[1], "cache");
        assert_string_equal(d->user, "");
        assert_string_equal(d->pages, "4K");
        assert_string_equal(d->fault, "none");
}

static void places_are_short_and_point_to_what_won(ULV_UNUSED void **state) {
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *d = parse(set);

        assert_string_equal(d->at.share.file, "web.partition");
        assert_int_equal(d->at.share.line, 7);
        assert_string_equal(d->at.memory.file, "web.partition.d/50-set.conf");
        assert_int_equal(d->at.memory.line, 3);
        assert_string_equal(d->at.cores.file, "");
        assert_int_equal(d->memory, UINT64_C(3) << 30);
        assert_int_equal(d->n_environment, 2);
        assert_string_equal(d->environment[1], "B=2");
        assert_null(d->environment[2]);
}

static void the_canonical_text_says_the_same(ULV_UNUSED void **state) {
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *d = parse(set), *again = NULL;
        _cleanup_strbuf_ struct ulv_strbuf text = {}, text_again = {};
        struct ulv_diag diag;

        assert_int_equal(ulv_definition_format(d, &text), 0);
        assert_int_equal(ulv_definition_parse(&(struct ulv_source) { "web.partition", text.s, text.len }, 1, &again, &diag), 0);
        assert_int_equal(ulv_definition_format(again, &text_again), 0);
        assert_string_equal(text.s, text_again.s);
        assert_int_equal(again->memory, d->memory);
        assert_string_equal(again->exec, d->exec);
}

static void exec_is_split_like_systemds(ULV_UNUSED void **state) {
        static const struct { const char *line, *words[5]; } good[] = {
                { "/bin/true", { "/bin/true" } },
                { "  a\tb  c ", { "a", "b", "c" } },
                { "sh -c \"a 'b' c\"", { "sh", "-c", "a 'b' c" } },
                { "a'b c'd", { "ab cd" } },
                { "a\\ b '\\n' \"\\\"\"", { "a b", "\\n", "\"" } },
                { "\"\" ''", { "", "" } },
                { "", { NULL } },
        };
        static const char *const bad[] = { "\"a", "a'", "a\\", "'a\\" };
        char **v = NULL;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(good); i++) {
                size_t n = 0;

                assert_int_equal(ulv_exec_split(good[i].line, &v), 0);
                for (; good[i].words[n]; n++)
                        assert_string_equal(v[n], good[i].words[n]);
                assert_null(v[n]);
                ulv_strv_free(v);
        }
        for (size_t i = 0; i < ULV_ARRAY_SIZE(bad); i++)
                assert_int_equal(ulv_exec_split(bad[i], &v), 1);
}

static void any_allocation_may_fail(ULV_UNUSED void **state) {
        for (unsigned long n = 1;; n++) {
                ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *d = NULL;

                alloc_failed = false;
                alloc_fail_at = n;
                d = parse(set);
                alloc_fail_at = 0;
                assert_true((d == NULL) == alloc_failed || d);
                if (!alloc_failed) {
                        assert_true(n > 20);
                        return;
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(values_are_in_the_units_of_the_ledger),
                cmocka_unit_test(places_are_short_and_point_to_what_won),
                cmocka_unit_test(the_canonical_text_says_the_same),
                cmocka_unit_test(exec_is_split_like_systemds),
                cmocka_unit_test(any_allocation_may_fail),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
