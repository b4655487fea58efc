/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uvctl's pure pieces: what text may reach a terminal, the JSON writer, the table. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "uvctl/json.c"
#include "uvctl/table.c"
#include "uvctl/text.c"

static void expect_safe(const char *in, size_t len, bool lines, const char *out) {
        struct ulv_strbuf b = { 0 };

        text_safe(&b, in, len, lines);
        assert_string_equal(ulv_strbuf_str(&b), out);
        ulv_strbuf_done(&b);
}
#define SAFE(in, lines, out) expect_safe(in, sizeof(in) - 1, lines, out)

static void escapes_never_reach_the_terminal(void **state ULV_UNUSED) {
        SAFE("\033[2J\033]0;title\007", true, "\\x1b[2J\\x1b]0;title\\x07");
        SAFE("\302\233" "31m", true, "\\x9b31m");               /* CSI as one C1 character */
        SAFE("\x9b" "31m", true, "\\x9b31m");                   /* the same as a bare byte */
        SAFE("a\342\200\256b", true, "a\\u202eb");              /* right-to-left override */
        SAFE("a\177b\0c", true, "a\\x7fb\\x00c");
        SAFE("\b\b\bgood", true, "\\x08\\x08\\x08good");
}

static void lines_and_tabs_stay_where_they_are_wanted(void **state ULV_UNUSED) {
        SAFE("a\tb\r\nc\n", true, "a\tb\nc\n");
        SAFE("a\tb\nc", false, "a\\tb\\nc");
        SAFE("over\rwritten", true, "over\\rwritten");
}

static void utf8_passes_and_what_only_looks_like_it_does_not(void **state ULV_UNUSED) {
        SAFE("Z\303\274rich \342\202\254 \360\237\220\247", false, "Z\303\274rich \342\202\254 \360\237\220\247");
        SAFE("\300\257", false, "\\xc0\\xaf");                  /* overlong */
        SAFE("\355\240\200", false, "\\xed\\xa0\\x80");         /* surrogate */
        SAFE("\364\220\200\200", false, "\\xf4\\x90\\x80\\x80"); /* beyond U+10FFFF */
        SAFE("\342\202", false, "\\xe2\\x82");                  /* cut */
}

static void a_chunk_ends_before_a_cut_character(void **state ULV_UNUSED) {
        assert_int_equal(text_complete("ab", 2), 2);
        assert_int_equal(text_complete("ab\342\202", 4), 2);
        assert_int_equal(text_complete("ab\342\202\254", 5), 5);
        assert_int_equal(text_complete("ab\360", 3), 2);
        assert_int_equal(text_complete("ab\r", 3), 2);
        assert_int_equal(text_complete("\200\200\200\200", 4), 4);      /* never was a character */
        assert_int_equal(text_complete("", 0), 0);
}

static void json_escapes_and_nests(void **state ULV_UNUSED) {
        struct json j = { .compact = true };

        json_object(&j, NULL);
        json_string(&j, "Name", "a\"b\\c\n\t\001\177\377");
        json_milli(&j, "Share", 2500);
        json_milli(&j, "Small", 1);
        json_milli(&j, "Whole", 3000);
        json_u64(&j, "Big", UINT64_MAX);
        json_bool(&j, "No", false);
        json_string(&j, "None", NULL);
        json_array(&j, "Cores");
        json_u64(&j, NULL, 1);
        json_u64(&j, NULL, 2);
        json_end(&j);
        json_array(&j, "Empty");
        json_end(&j);
        json_end(&j);
        assert_string_equal(ulv_strbuf_str(&j.b),
                "{\"Name\":\"a\\\"b\\\\c\\n\\t\\u0001\\u007f\\ufffd\",\"Share\":2.5,\"Small\":0.001,\"Whole\":3,"
                "\"Big\":18446744073709551615,\"No\":false,\"None\":null,\"Cores\":[1,2],\"Empty\":[]}\n");
        ulv_strbuf_done(&j.b);
}

static void json_is_indented_for_people(void **state ULV_UNUSED) {
        struct json j = { 0 };

        json_array(&j, NULL);
        json_object(&j, NULL);
        json_u64(&j, "A", 1);
        json_end(&j);
        json_object(&j, NULL);
        json_end(&j);
        json_end(&j);
        assert_string_equal(ulv_strbuf_str(&j.b), "[\n  {\n    \"A\": 1\n  },\n  {}\n]\n");
        ulv_strbuf_done(&j.b);
}

static void table_aligns_by_characters(void **state ULV_UNUSED) {
        static const struct table_column columns[] = { { "NAME", false }, { "MEMORY", true }, { "NOTE", false } };
        struct ulv_strbuf b = { 0 };
        struct table t;

        table_init(&t, columns, 3);
        table_add(&t, "z\303\274rich");
        table_add(&t, "16G of 24G");
        table_add(&t, "");
        table_add(&t, "a");
        table_addf(&t, "%dG", 2);
        table_add(&t, NULL);
        assert_int_equal(table_write(&t, true, false, 2, &b), 0);
        assert_string_equal(ulv_strbuf_str(&b),
                "  NAME        MEMORY  NOTE\n"
                "  z\303\274rich  16G of 24G\n"
                "  a               2G  -\n");
        table_done(&t);
        ulv_strbuf_done(&b);
}

static void table_colours_cells_and_not_their_padding(void **state ULV_UNUSED) {
        static const struct table_column columns[] = { { "A", false }, { "B", false } };
        struct ulv_strbuf b = { 0 };
        struct table t;

        table_init(&t, columns, 2);
        table_add(&t, "x\033y");
        table_colour(&t, COLOUR_BAD);
        table_add(&t, "");
        table_colour(&t, COLOUR_BAD);
        assert_int_equal(table_write(&t, false, true, 0, &b), 0);
        assert_string_equal(ulv_strbuf_str(&b), "\033[1;31mx\\x1by\033[0m\n");
        table_done(&t);
        ulv_strbuf_done(&b);
}

static void table_refuses_half_a_row(void **state ULV_UNUSED) {
        static const struct table_column columns[] = { { "A", false }, { "B", false } };
        struct ulv_strbuf b = { 0 };
        struct table t;

        table_init(&t, columns, 2);
        table_add(&t, "x");
        assert_int_equal(table_write(&t, false, false, 0, &b), -EINVAL);
        table_done(&t);
        ulv_strbuf_done(&b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(escapes_never_reach_the_terminal),
                cmocka_unit_test(lines_and_tabs_stay_where_they_are_wanted),
                cmocka_unit_test(utf8_passes_and_what_only_looks_like_it_does_not),
                cmocka_unit_test(a_chunk_ends_before_a_cut_character),
                cmocka_unit_test(json_escapes_and_nests),
                cmocka_unit_test(json_is_indented_for_people),
                cmocka_unit_test(table_aligns_by_characters),
                cmocka_unit_test(table_colours_cells_and_not_their_padding),
                cmocka_unit_test(table_refuses_half_a_row),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
