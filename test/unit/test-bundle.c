/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Bundles: built, taken apart, checked as a whole. Messages are in test/golden/bundle. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "model/bundle.h"
#include "test/lib/fail-alloc.inc"

#define DEFINITION "[Partition]\nType=sim\n%s\n[CPU]\nCores=1\n[Memory]\nSize=1G\n"

static struct ulv_source file(char *storage, size_t size, const char *path, const char *more) {
        snprintf(storage, size, DEFINITION, more);
        return (struct ulv_source) { .file = path, .buf = storage, .len = strlen(storage) };
}

static void build(struct ulv_strbuf *b, const char *web_more) {
        char a[256], c[256];
        const struct ulv_source files[] = {
                { .file = "policies/50-x.policy", .buf = "[Host]\nCores=1\n", .len = 15 },
                file(a, sizeof(a), "partitions/web.partition", web_more),
                { .file = "partitions/web.partition.d/50-set.conf", .buf = "[CPU]\nCores=3\n", .len = 14 },
                file(c, sizeof(c), "partitions/db.partition", ""),
        };

        assert_int_equal(ulv_bundle_build(12, files, 4, b), 0);
}

static void count(ULV_UNUSED const struct ulv_diag *d, void *userdata) { ++*(unsigned *) userdata; }

static void what_is_built_is_taken_apart(ULV_UNUSED void **state) {
        ULV_CLEANUP(ulv_bundle_freep) struct ulv_bundle *b = NULL;
        _cleanup_strbuf_ struct ulv_strbuf text = {};

        build(&text, "After=db");
        assert_int_equal(ulv_bundle_parse(text.s, text.len, &b, NULL, NULL), 0);
        assert_int_equal(b->version, 12);
        assert_int_equal(b->n_files, 4);
        assert_int_equal(b->n_definitions, 2);
        assert_string_equal(b->definitions[0]->name, "db");
        assert_int_equal(ulv_bundle_definition(b, "web")->cores, 3);
        assert_null(ulv_bundle_definition(b, "none"));
        assert_int_equal(b->policy->host_cores, 1);
}

static void an_empty_one_is_good(ULV_UNUSED void **state) {
        ULV_CLEANUP(ulv_bundle_freep) struct ulv_bundle *b = NULL;
        _cleanup_strbuf_ struct ulv_strbuf text = {};

        assert_int_equal(ulv_bundle_build(1, NULL, 0, &text), 0);
        assert_string_equal(text.s, "ultravisor-bundle 1\nversion 1\nend\n");
        assert_int_equal(ulv_bundle_parse(text.s, text.len, &b, NULL, NULL), 0);
        assert_non_null(b->policy);
}

static void a_bundle_cut_anywhere_is_refused(ULV_UNUSED void **state) {
        _cleanup_strbuf_ struct ulv_strbuf text = {};

        build(&text, "");
        for (size_t n = 0; n < text.len; n++) {
                struct ulv_bundle *b = NULL;
                unsigned errors = 0;

                assert_int_equal(ulv_bundle_parse(text.s, n, &b, count, &errors), 1);
                assert_null(b);
                assert_true(errors > 0);
        }
}

/* A chain of After= as long as a set may be: no recursion may follow it. */
static void a_very_long_chain_is_followed(ULV_UNUSED void **state) {
        enum { N = 8000 };
        ULV_CLEANUP(ulv_bundle_freep) struct ulv_bundle *b = NULL;
        _cleanup_strbuf_ struct ulv_strbuf text = {};
        _cleanup_free_ struct ulv_source *files = calloc(N, sizeof(*files));
        _cleanup_free_ char *storage = calloc(N, 256);
        unsigned errors = 0;

        for (size_t i = 0; i < N; i++) {
                char *path = storage + i * 256, *body = path + 64;

                snprintf(path, 64, "partitions/p%zu.partition", i);
                snprintf(body, 192, "[Partition]\nType=sim\nAfter=p%zu\n[CPU]\nCores=1\n[Memory]\nSize=1G\n", (i + 1) % N);
                files[i] = (struct ulv_source) { .file = path, .buf = body, .len = strlen(body) };
        }
        assert_int_equal(ulv_bundle_build(1, files, N, &text), 0);
        assert_int_equal(ulv_bundle_parse(text.s, text.len, &b, count, &errors), 1);
        assert_int_equal(errors, 1);
}

static void any_allocation_may_fail(ULV_UNUSED void **state) {
        _cleanup_strbuf_ struct ulv_strbuf good = {}, bad = {};
        unsigned long n = 1;

        build(&good, "After=db");
        build(&bad, "After=nobody web");
        for (alloc_failed = true; alloc_failed; n++) {
                ULV_CLEANUP(ulv_bundle_freep) struct ulv_bundle *b = NULL, *none = NULL;
                bool failed;
                int r;

                alloc_failed = false;
                alloc_fail_at = n;
                r = ulv_bundle_parse(good.s, good.len, &b, NULL, NULL);
                assert_int_equal(r, alloc_failed ? -ENOMEM : 0);
                failed = alloc_failed;
                alloc_failed = false;
                alloc_fail_at = n;
                r = ulv_bundle_parse(bad.s, bad.len, &none, NULL, NULL);
                alloc_fail_at = 0;
                assert_true(r == 1 || (r == -ENOMEM && alloc_failed));
                alloc_failed = alloc_failed || failed;
        }
        assert_true(n > 30);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_built_is_taken_apart),
                cmocka_unit_test(an_empty_one_is_good),
                cmocka_unit_test(a_bundle_cut_anywhere_is_refused),
                cmocka_unit_test(a_very_long_chain_is_followed),
                cmocka_unit_test(any_allocation_may_fail),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
