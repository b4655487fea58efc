/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>

#include "model/name.h"

#include <cmocka.h>

static void names_are_what_a_unit_name_can_carry(void **state) {
        char longest[ULV_NAME_MAX + 2];
        (void) state;

        memset(longest, 'a', sizeof(longest));
        longest[ULV_NAME_MAX] = 0;
        assert_true(ulv_name_is_valid(longest));
        longest[ULV_NAME_MAX] = 'a';
        longest[ULV_NAME_MAX + 1] = 0;
        assert_false(ulv_name_is_valid(longest));
        for (const char *const *s = (const char *const[]) { "a", "0", "web-1", "a-", "a--b", NULL }; *s; s++)
                assert_true(ulv_name_is_valid(*s));
        for (const char *const *s = (const char *const[]) { "", "-", "-a", "A", "a.b", "a/b", "a b", "a%", "ä", "a\n", "..", NULL }; *s; s++)
                assert_false(ulv_name_is_valid(*s));
        assert_false(ulv_name_is_valid(NULL));
}

static void the_ultravisors_own_names_are_reserved(void **state) {
        (void) state;
        for (const char *const *s = (const char *const[]) { "host", "idle", "pool", "ultravisor", "command", "operations", NULL }; *s; s++)
                assert_true(ulv_name_is_reserved(*s));
        assert_false(ulv_name_is_reserved("web"));
        assert_false(ulv_name_is_reserved("hosts"));
        assert_false(ulv_name_is_reserved(""));
}

static void globs_match(void **state) {
        static const struct { const char *pattern, *name; bool match; } t[] = {
                { "*", "web", true }, { "*", "", true }, { "", "", true }, { "", "a", false }, { "web", "web", true }, { "web", "web1", false },
                { "web*", "web", true }, { "web*", "web-12", true }, { "*b", "web", true }, { "*b", "webs", false }, { "w?b", "web", true },
                { "w?b", "wb", false }, { "?", "", false }, { "*a*b*", "xxaxxbxx", true }, { "*a*b*", "xxbxxaxx", false }, { "a*a", "a", false },
                { "**", "x", true }, { "*ab", "aab", true }, { "a?*", "a", false }, { "[a]", "a", false }, { "[a]", "[a]", true },
        };
        (void) state;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(t); i++)
                assert_int_equal(ulv_name_matches(t[i].pattern, t[i].name), t[i].match);
        /* Many stars take no exponential time. */
        assert_false(ulv_name_matches("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_are_what_a_unit_name_can_carry),
                cmocka_unit_test(the_ultravisors_own_names_are_reserved),
                cmocka_unit_test(globs_match),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
