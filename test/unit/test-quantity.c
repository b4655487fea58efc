/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>

#include "model/quantity.h"

#include <cmocka.h>

#define K UINT64_C(1024)

static void sizes_are_read(void **state) {
        static const struct { const char *s; int r; uint64_t v; } t[] = {
                { "0", 0, 0 }, { "1", 0, 1 }, { "64K", 0, 64 * K }, { "512M", 0, 512 * K * K }, { "2G", 0, 2 * K * K * K }, { "1T", 0, K * K * K * K },
                { "1.5G", 0, 1536 * K * K }, { "0.5K", 0, 512 }, { "1.125M", 0, 1152 * K }, { "16383P", 0, 16383 * K * K * K * K * K },
                { "18446744073709551615", 0, UINT64_MAX }, { "18446744073709551616", -ERANGE, 0 }, { "16384P", -ERANGE, 0 }, { "99999999999T", -ERANGE, 0 },
                { "", -EINVAL, 0 }, { "G", -EINVAL, 0 }, { "1g", -EINVAL, 0 }, { "1 G", -EINVAL, 0 }, { " 1G", -EINVAL, 0 }, { "1G ", -EINVAL, 0 },
                { "1GB", -EINVAL, 0 }, { "-1", -EINVAL, 0 }, { "+1", -EINVAL, 0 }, { "1.", -EINVAL, 0 }, { ".5G", -EINVAL, 0 }, { "1.5", -EINVAL, 0 },
                { "1.2345G", -EINVAL, 0 }, { "0x10", -EINVAL, 0 }, { "1e3", -EINVAL, 0 },
        };
        (void) state;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(t); i++) {
                uint64_t v = 77;

                assert_int_equal(ulv_size_parse(t[i].s, &v), t[i].r);
                assert_true(v == (t[i].r == 0 ? t[i].v : 77));
        }
}

static void sizes_are_written_shortest_and_exact(void **state) {
        static const struct { uint64_t v; const char *s; } t[] = {
                { 0, "0" }, { 1, "1" }, { 1000, "1000" }, { 1024, "1K" }, { 1536, "1.5K" }, { 512 * K * K, "512M" }, { 16 * K * K * K, "16G" },
                { 1536 * K * K, "1.5G" }, { 7166 * K * K, "7166M" }, { K * K * K * K, "1T" }, { 1025, "1025" },
        };
        uint64_t x = 1;
        (void) state;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(t); i++) {
                _cleanup_strbuf_ struct ulv_strbuf b = {};

                ulv_size_format(&b, t[i].v);
                assert_string_equal(ulv_strbuf_str(&b), t[i].s);
        }
        for (int i = 0; i < 20000; i++) {       /* whatever is written reads back as it was */
                _cleanup_strbuf_ struct ulv_strbuf b = {};
                uint64_t v = (x = x * 6364136223846793005u + 1442695040888963407u) >> (i % 64), back;

                if (i % 3 == 0)
                        v = v >> 20 << 20;
                ulv_size_format(&b, v);
                assert_int_equal(ulv_size_parse(b.s, &back), 0);
                assert_true(back == v);
        }
}

static void shares_and_durations(void **state) {
        static const struct { const char *s; uint64_t v; const char *back; } shares[] = {
                { "2", 2000, "2" }, { "0.25", 250, "0.25" }, { "0.001", 1, "0.001" }, { "1.50", 1500, "1.5" }, { "0", 0, "0" },
        }, durations[] = {
                { "30s", 30000000, "30s" }, { "2min", 120000000, "2min" }, { "500ms", 500000, "500ms" }, { "1h", 3600000000, "1h" }, { "90", 90000000, "90s" },
                { "1d", 86400000000, "1d" }, { "0", 0, "0s" }, { "7us", 7, "7us" },
        };
        uint64_t v;
        (void) state;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(shares); i++) {
                _cleanup_strbuf_ struct ulv_strbuf b = {};

                assert_int_equal(ulv_share_parse(shares[i].s, &v), 0);
                assert_true(v == shares[i].v);
                ulv_share_format(&b, v);
                assert_string_equal(b.s, shares[i].back);
        }
        for (size_t i = 0; i < ULV_ARRAY_SIZE(durations); i++) {
                _cleanup_strbuf_ struct ulv_strbuf b = {};

                assert_int_equal(ulv_duration_parse(durations[i].s, &v), 0);
                assert_true(v == durations[i].v);
                ulv_duration_format(&b, v);
                assert_string_equal(b.s, durations[i].back);
        }
        for (const char *const *s = (const char *const[]) { "", "x", "1.2345", "1,5", "1/2", "1 ", "-1", NULL }; *s; s++)
                assert_int_equal(ulv_share_parse(*s, &v), -EINVAL);
        for (const char *const *s = (const char *const[]) { "", "s", "1.5s", "1 s", "1sec", "-1s", "1min 3s", NULL }; *s; s++)
                assert_int_equal(ulv_duration_parse(*s, &v), -EINVAL);
        assert_int_equal(ulv_share_parse("18446744073709552", &v), -ERANGE);
        assert_int_equal(ulv_duration_parse("999999999999h", &v), -ERANGE);
}

static void numbers_and_booleans(void **state) {
        uint64_t v = 0;
        bool b = false;
        (void) state;

        assert_int_equal(ulv_uint_parse("12", 12, &v), 0);
        assert_int_equal(ulv_uint_parse("13", 12, &v), -ERANGE);
        assert_int_equal(ulv_uint_parse("12x", 99, &v), -EINVAL);
        assert_int_equal(ulv_uint_parse("", 99, &v), -EINVAL);
        assert_true(v == 12);
        for (const char *const *s = (const char *const[]) { "yes", "true", "on", "1", NULL }; *s; s++) {
                b = false;
                assert_int_equal(ulv_bool_parse(*s, &b), 0);
                assert_true(b);
        }
        for (const char *const *s = (const char *const[]) { "no", "false", "off", "0", NULL }; *s; s++) {
                b = true;
                assert_int_equal(ulv_bool_parse(*s, &b), 0);
                assert_false(b);
        }
        for (const char *const *s = (const char *const[]) { "", "Yes", "2", "y", NULL }; *s; s++)
                assert_int_equal(ulv_bool_parse(*s, &b), -EINVAL);
}

static void lists_of_cpus(void **state) {
        static const struct { const char *s, *back; unsigned n; } good[] = {
                { "", "", 0 }, { "0", "0", 1 }, { "0-3,7", "0-3,7", 5 }, { "7,0-3", "0-3,7", 5 }, { "0-1,1-2", "0-2", 3 }, { "8191", "8191", 1 }, { "0-8191", "0-8191", 8192 },
                { "62-65", "62-65", 4 },
        };
        struct ulv_cpus c;
        (void) state;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(good); i++) {
                _cleanup_strbuf_ struct ulv_strbuf b = {};

                assert_int_equal(ulv_cpus_parse(good[i].s, &c), 0);
                assert_int_equal(ulv_cpus_count(&c), good[i].n);
                ulv_cpus_format(&b, &c);
                assert_string_equal(ulv_strbuf_str(&b), good[i].back);
        }
        for (const char *const *s = (const char *const[]) { "3-0", ",", "0,", "0-", "-1", "0 1", "a", "0--1", "0,,1", NULL }; *s; s++)
                assert_int_equal(ulv_cpus_parse(*s, &c), -EINVAL);
        assert_int_equal(ulv_cpus_parse("8192", &c), -ERANGE);
        assert_int_equal(ulv_cpus_parse("0-99999999999999999999", &c), -ERANGE);
        assert_false(ulv_cpus_has(&c, 9000));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(sizes_are_read), cmocka_unit_test(sizes_are_written_shortest_and_exact), cmocka_unit_test(shares_and_durations),
                cmocka_unit_test(numbers_and_booleans), cmocka_unit_test(lists_of_cpus),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
