/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Policies: the set as a whole, and Match=. Messages are in test/golden/policy. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "model/policy.h"
#include "test/lib/fail-alloc.inc"

static const char host[] = "[Host]\nCores=2\nMemory=4000K\n[Require \"prod\"]\nMatch=zone:prod type:container\nIsolation=firm\n";
static const char pool[] = "[Pool]\nCores=3\nOvercommit=1.5\n[Require \"all\"]\nMatch=*\nIsolation=soft\n";
static const struct ulv_source files[] = {
        { "policies/10-host.policy", host, sizeof(host) - 1 }, { "policies/50-pool.policy", pool, sizeof(pool) - 1 },
};

static void files_add_up_to_one_set(ULV_UNUSED void **state) {
        ULV_CLEANUP(ulv_policy_freep) struct ulv_policy *p = NULL;
        struct ulv_diag d = {};

        assert_int_equal(ulv_policy_parse(files, 2, &p, &d), 0);
        assert_true(p->has_host && p->has_pool && p->host_has_cores && p->host_has_memory && p->pool_has_cores);
        assert_int_equal(p->host_memory, 4 * 1024 * 1024);      /* rounded up to what the ledger counts in */
        assert_int_equal(p->overcommit, 1500);
        assert_int_equal(p->n_require, 2);
        assert_string_equal(p->require[1].label, "all");
        assert_string_equal(p->require[1].at.file, "50-pool.policy");
        assert_int_equal(p->require[1].at.line, 4);
        assert_string_equal(p->at.host_memory.file, "10-host.policy");
        assert_int_equal(p->at.host_memory.line, 3);
}

static void no_files_are_the_standard(ULV_UNUSED void **state) {
        ULV_CLEANUP(ulv_policy_freep) struct ulv_policy *p = NULL;

        assert_int_equal(ulv_policy_parse(NULL, 0, &p, NULL), 0);
        assert_false(p->has_host || p->has_pool || p->host_has_cores || p->pool_has_cores);
        assert_int_equal(p->overcommit, 1000);
        assert_string_equal(p->at.host_cores.file, "");
}

static void all_terms_must_match(ULV_UNUSED void **state) {
        const struct ulv_definition d = { .name = "web-1", .zone = "prod", .type = "container" };
        static const struct { const char *match; bool yes; } cases[] = {
                { "*", true }, { "web-*", true }, { "web-?", true }, { "web", false }, { "zone:prod", true }, { "zone:p*", true },
                { "zone:default", false }, { "type:container web-1", true }, { "type:container db", false }, { "  web*   zone:prod  ", true },
                { "type:sim", false }, { "zone:prod type:container web-1 *", true },
        };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(cases); i++)
                assert_int_equal(ulv_policy_matches(cases[i].match, &d), cases[i].yes);
}

static void any_allocation_may_fail(ULV_UNUSED void **state) {
        unsigned long n = 1;

        for (alloc_failed = true; alloc_failed; n++) {
                ULV_CLEANUP(ulv_policy_freep) struct ulv_policy *p = NULL;
                struct ulv_diag d = {};
                int r;

                alloc_failed = false;
                alloc_fail_at = n;
                r = ulv_policy_parse(files, 2, &p, &d);
                alloc_fail_at = 0;
                assert_int_equal(r, alloc_failed ? -ENOMEM : 0);
        }
        assert_true(n > 8);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(files_add_up_to_one_set),
                cmocka_unit_test(no_files_are_the_standard),
                cmocka_unit_test(all_terms_must_match),
                cmocka_unit_test(any_allocation_may_fail),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
