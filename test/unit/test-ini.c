/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The INI scanner: what a handler sees, and the limits. Messages are in test/golden/definition. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/ini.h"
#include "lib/strbuf.h"

static struct ulv_strbuf seen;
static int answer;      /* of the handler, at the item numbered answer_at */
static unsigned answer_at;

static int note(const struct ulv_ini_item *i, ULV_UNUSED void *userdata, struct ulv_diag *reterr) {
        static const char kinds[] = { 'S', 'K', 'L' };

        ulv_strbuf_addf(&seen, "%c %s|%s|%s|%s %s:%u:%u:%u\n", kinds[i->type], i->section, i->label, i->key ? i->key : "-",
                        i->value ? i->value : "-", i->file, i->line, i->column, i->value_column);
        if (answer_at > 0 && --answer_at == 0)
                return answer > 0 ? ulv_ini_error(i, true, reterr, "no %d", answer) : answer;
        return 0;
}

static int scan(const char *text, size_t len, struct ulv_diag *d) {
        static const char *const rules[] = { "Rules", NULL };

        ulv_strbuf_done(&seen);
        return ulv_ini_scan("f", text, len, rules, note, NULL, d);
}

static void items_come_in_order_with_their_places(ULV_UNUSED void **state) {
        static const char text[] = "# c\n[A]\nK=v\n  Key2 =  two words \n\n[B \"la bel\"]\n;x\n\tE=\n[Rules]\nallow  x\n  deny y=z \nno = key";
        struct ulv_diag d = {};

        assert_int_equal(scan(text, sizeof(text) - 1, &d), 0);
        assert_string_equal(seen.s,
                            "S A||-|- f:2:1:0\n"
                            "K A||K|v f:3:1:3\n"
                            "K A||Key2|two words f:4:3:11\n"
                            "S B|la bel|-|- f:6:1:0\n"
                            "K B|la bel|E| f:8:2:4\n"
                            "S Rules||-|- f:9:1:0\n"
                            "L Rules||-|allow  x f:10:1:1\n"
                            "L Rules||-|deny y=z f:11:3:3\n"
                            "L Rules||-|no = key f:12:1:1\n");
}

static void a_handler_ends_the_scan_with_its_own_result(ULV_UNUSED void **state) {
        static const char text[] = "[A]\nK=v\nL=w\n";
        struct ulv_diag d = {};

        answer = 1;
        answer_at = 2;
        assert_int_equal(scan(text, sizeof(text) - 1, &d), 1);
        assert_string_equal(d.what, "no 1");
        assert_int_equal(d.line, 2);
        assert_int_equal(d.column, 3);
        answer = -ENOMEM;
        answer_at = 3;
        assert_int_equal(scan(text, sizeof(text) - 1, &d), -ENOMEM);
        answer_at = 0;
}

static void limits_are_exact(ULV_UNUSED void **state) {
        static char line[ULV_INI_LINE_MAX + 3], file[ULV_INI_FILE_MAX + 1];
        struct ulv_diag d = {};

        memset(line, 'x', sizeof(line));
        memcpy(line, "[A]\nK=", 6);
        assert_int_equal(scan(line, ULV_INI_LINE_MAX, &d), 0);
        line[0] = '#';
        memset(line + 1, 'x', 8);
        assert_int_equal(scan(line, ULV_INI_LINE_MAX, &d), 0);
        assert_int_equal(scan(line, ULV_INI_LINE_MAX + 1, &d), 1);
        assert_int_equal(d.column, ULV_INI_LINE_MAX + 1);
        memset(file, '\n', sizeof(file));
        assert_int_equal(scan(file, ULV_INI_FILE_MAX, &d), 0);
        assert_int_equal(scan(file, ULV_INI_FILE_MAX + 1, &d), 1);
}

static void the_text_needs_no_end_and_no_diag(ULV_UNUSED void **state) {
        /* Bytes behind len are not looked at. */
        static const char text[] = { '[', 'A', ']', '\n', 'K', '=', 'v', '\r', 1 };

        assert_int_equal(scan(text, 7, NULL), 0);
        assert_int_equal(scan(text, 8, NULL), 1);
        assert_int_equal(scan(text, 2, NULL), 1);
        assert_int_equal(scan(NULL, 0, NULL), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(items_come_in_order_with_their_places),
                cmocka_unit_test(a_handler_ends_the_scan_with_its_own_result),
                cmocka_unit_test(limits_are_exact),
                cmocka_unit_test(the_text_needs_no_end_and_no_diag),
        };
        int r = cmocka_run_group_tests(tests, NULL, NULL);

        ulv_strbuf_done(&seen);
        return r;
}
