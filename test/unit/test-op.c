/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>

#include "model/op.h"

#include <cmocka.h>

static void a_line_is_read(void **state) {
        static const char line[] = "claim memory 0/4K web amount=512 from=host empty= text=a%20b%0Ac%25";
        _cleanup_op_ struct ulv_op op = {};
        uint64_t n = 7;
        (void) state;

        assert_int_equal(ulv_op_parse(line, sizeof(line) - 1, &op, NULL), 0);
        assert_string_equal(op.verb, "claim");
        assert_string_equal(op.kind, "memory");
        assert_string_equal(op.id, "0/4K");
        assert_string_equal(op.owner, "web");
        assert_int_equal(op.n_kv, 4);
        assert_string_equal(ulv_op_get(&op, "empty"), "");
        assert_string_equal(ulv_op_get(&op, "text"), "a b\nc%");
        assert_null(ulv_op_get(&op, "nothing"));
        assert_int_equal(ulv_op_get_u64(&op, "amount", &n), 0);
        assert_int_equal(n, 512);
        assert_int_equal(ulv_op_get_u64(&op, "nothing", &n), 1);
        assert_int_equal(ulv_op_get_u64(&op, "from", &n), -EINVAL);
        assert_int_equal(ulv_op_get_u64(&op, "empty", &n), -EINVAL);
        assert_int_equal(n, 512);
}

static void bad_lines_say_where(void **state) {
        static const struct { const char *line; unsigned column; const char *text; } t[] = {
                { "", 1, "the line ends too early" }, { "a", 2, "too early" }, { "a b", 4, "too early" }, { "a b c", 6, "the line ends too early" },
                { " a b c d", 1, "a word" }, { "a  b c d", 3, "a word" }, { "a b  c d", 5, "not two" }, { "a b c d ", 9, "the line ends too early" },
                { "a b c d k", 10, "= must follow" }, { "a b c d =v", 9, "a word" }, { "a b c d K=v", 9, "a word" }, { "a b c d k=%2", 11, "%" },
                { "a b c d k=%zz", 11, "%" }, { "a b c d k=%0a", 11, "%" }, { "a b c d k=%00", 11, "%00" }, { "a b c\td", 6, "control" },
                { "a b c d k=1 k=2", 13, "second time" }, { "A b c d", 1, "a word" }, { "a b c d k=\x7f", 11, "control" },
        };
        (void) state;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(t); i++) {
                struct ulv_op op = { .n_kv = 5 };
                struct ulv_diag d = {};

                assert_int_equal(ulv_op_parse(t[i].line, strlen(t[i].line), &op, &d), 1);
                assert_int_equal(d.column, t[i].column);
                assert_int_equal(d.code, ULV_EXIT_USAGE);
                assert_non_null(strstr(d.what, t[i].text));
                assert_int_equal(op.n_kv, 5);   /* untouched */
        }
}

static void limits_hold(void **state) {
        _cleanup_free_ char *line = malloc(ULV_OP_LINE_MAX + 2);
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        _cleanup_op_ struct ulv_op op = {};
        (void) state;

        assert_non_null(line);
        memset(line, 'x', ULV_OP_LINE_MAX + 1);
        memcpy(line, "a b ", 4);
        memcpy(line + 6, " o k=", 5);
        assert_int_equal(ulv_op_parse(line, ULV_OP_LINE_MAX + 1, &op, NULL), 1);
        assert_int_equal(ulv_op_parse(line, ULV_OP_LINE_MAX, &op, NULL), 0);
        ulv_op_done(&op);
        ulv_op_begin(&b, "a", "b", "c", "d");
        for (int i = 0; i < ULV_OP_KEYS_MAX; i++)
                ulv_strbuf_addf(&b, " k%d=", i);
        assert_int_equal(ulv_op_parse(b.s, b.len, &op, NULL), 0);
        assert_int_equal(op.n_kv, ULV_OP_KEYS_MAX);
        ulv_op_done(&op);
        ulv_strbuf_add(&b, " more=");
        assert_int_equal(ulv_op_parse(b.s, b.len, &op, NULL), 1);
}

static void what_is_written_reads_back(void **state) {
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        _cleanup_op_ struct ulv_op op = {};
        char all[256];
        (void) state;

        for (int i = 0; i < 255; i++)
                all[i] = (char) (i + 1);
        all[255] = 0;
        ulv_op_begin(&b, "row", "x.y-1", all, NULL);
        ulv_op_add(&b, "v", all);
        ulv_op_add_u64(&b, "n", UINT64_MAX);
        ulv_op_end(&b);
        assert_int_equal(b.s[b.len - 1], '\n');
        assert_int_equal(ulv_op_parse(b.s, b.len - 1, &op, NULL), 0);
        assert_string_equal(op.id, all);
        assert_string_equal(op.owner, "-");
        assert_string_equal(ulv_op_get(&op, "v"), all);
        assert_string_equal(ulv_op_get(&op, "n"), "18446744073709551615");
}

static int count(const char *line, size_t len, void *userdata) {
        unsigned *n = userdata;

        assert_true(len > 0 && line[0] == 'l');
        return ++*n == 3 ? 42 : 0;
}

static void lines_are_walked(void **state) {
        unsigned n = 0;
        (void) state;

        assert_int_equal(ulv_op_each_line("", 0, count, &n), 0);
        assert_int_equal(ulv_op_each_line("l\n\nl", 4, count, &n), 0);
        assert_int_equal(n, 2);
        assert_int_equal(ulv_op_each_line("l\nl\n", 4, count, &n), 42);
        assert_int_equal(n, 3);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_line_is_read), cmocka_unit_test(bad_lines_say_where), cmocka_unit_test(limits_hold),
                cmocka_unit_test(what_is_written_reads_back), cmocka_unit_test(lines_are_walked),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
