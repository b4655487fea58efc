/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uvctl takes a plan apart, whatever the text is. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail     /* uvctl's own */

#include "uvctl/json.c"
#include "uvctl/plan.c"
#include "uvctl/table.c"
#include "uvctl/text.c"

/* What plan.c calls for showing; the tests here only take apart. */
int put(struct uvctl *u ULV_UNUSED, const struct ulv_strbuf *b) { return ulv_strbuf_error(b); }
int fail_errno(struct uvctl *u ULV_UNUSED, int r ULV_UNUSED, const char *what ULV_UNUSED) { return ULV_EXIT_FAILED; }

static void lines_summary_explanation(void **state ULV_UNUSED) {
        struct plan p;

        assert_int_equal(plan_parse("web\tchange\tmemory 2G -> 3G\tlive\ncache\tnew\tcontainer\t\n\nFits.\na: b\nc: d\n", &p), 0);
        assert_int_equal(p.n_lines, 2);
        assert_string_equal(p.lines[0].name, "web");
        assert_string_equal(p.lines[0].text, "memory 2G -> 3G");
        assert_string_equal(p.lines[0].note, "live");
        assert_string_equal(p.lines[1].action, "new");
        assert_string_equal(p.lines[1].note, "");
        assert_string_equal(p.summary, "Fits.");
        assert_string_equal(p.explanation, "a: b\nc: d\n");
        plan_done(&p);
}

static void nothing_to_do_is_a_summary_alone(void **state ULV_UNUSED) {
        struct plan p;

        assert_int_equal(plan_parse("\nweb runs already.\n", &p), 0);
        assert_int_equal(p.n_lines, 0);
        assert_string_equal(p.summary, "web runs already.");
        assert_string_equal(p.explanation, "");
        plan_done(&p);
}

static void odd_text_is_taken_as_it_is(void **state ULV_UNUSED) {
        static const char *const texts[] = { "", "\n", "\n\n\n", "no tabs", "a\tb", "a\tb\tc\td\te\tf\n", "\t\t\t\t\n", "x\n\n" };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(texts); i++) {
                struct plan p;

                assert_int_equal(plan_parse(texts[i], &p), 0);
                for (size_t k = 0; k < p.n_lines; k++)
                        assert_non_null(p.lines[k].note);
                assert_non_null(p.summary);
                assert_non_null(p.explanation);
                plan_done(&p);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lines_summary_explanation),
                cmocka_unit_test(nothing_to_do_is_a_summary_alone),
                cmocka_unit_test(odd_text_is_taken_as_it_is),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
