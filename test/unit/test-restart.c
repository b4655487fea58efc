/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Restart=, decided by the row alone. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/restart.h"

#define S(n) ((uint64_t) (n) * 1000000)

static struct ulv_definition d = { .restart_delay = 1000000, .start_limit = 3 };
static struct ulv_partition_info p;

static struct ulv_restart decide(const char *policy, enum ulv_state state, enum ulv_state wanted, const char *extra) {
        strcpy(d.restart, policy);
        p = (struct ulv_partition_info) { .name = "a", .role = "guest", .state = state, .wanted = wanted, .extra = extra, .since = S(1000) };
        return ulv_restart_decide(&p, &d);
}

static void it_depends_on_how_it_ended(ULV_UNUSED void **state) {
        assert_int_equal(decide("no", ULV_FAILED, ULV_RUNNING, "").what, ULV_RESTART_NO);
        assert_int_equal(decide("on-failure", ULV_FAILED, ULV_RUNNING, "").what, ULV_RESTART_AT);
        assert_int_equal(decide("on-failure", ULV_DEFINED, ULV_RUNNING, "").what, ULV_RESTART_NO);
        assert_int_equal(decide("always", ULV_DEFINED, ULV_RUNNING, "").what, ULV_RESTART_AT);
        assert_int_equal(decide("always", ULV_DEFINED, ULV_DEFINED, "").what, ULV_RESTART_NO);     /* stopped */
        assert_int_equal(decide("always", ULV_STARTING, ULV_RUNNING, "").what, ULV_RESTART_NO);
        assert_int_equal(decide("always", ULV_FAILED, ULV_PAUSED, "").what, ULV_RESTART_AT);
}

static void the_delay_doubles_and_the_limit_ends_it(ULV_UNUSED void **state) {
        struct ulv_restart r = decide("always", ULV_FAILED, ULV_RUNNING, "");

        assert_int_equal(r.at, S(1001));
        assert_int_equal(r.number, 1);
        r = decide("always", ULV_FAILED, ULV_RUNNING, " restarts=2 restarted=999000000");
        assert_int_equal(r.at, S(1004));
        assert_int_equal(r.number, 3);
        r = decide("always", ULV_FAILED, ULV_RUNNING, " x=1 restarts=3 restarted=999000000");
        assert_int_equal(r.what, ULV_RESTART_GIVEN_UP);
        assert_int_equal(r.number, 3);
}

static void who_ran_for_a_minute_begins_anew(ULV_UNUSED void **state) {
        struct ulv_restart r = decide("always", ULV_FAILED, ULV_RUNNING, " restarts=3 restarted=940000000");

        assert_int_equal(r.what, ULV_RESTART_AT);
        assert_int_equal(r.number, 1);
}

static void other_keys_and_nonsense_count_nothing(ULV_UNUSED void **state) {
        assert_int_equal(decide("always", ULV_FAILED, ULV_RUNNING, " norestarts=3 restarts=").number, 1);
        assert_int_equal(decide("always", ULV_FAILED, ULV_RUNNING, " restarts=99999999999999999999999 restarted=999000000").what, ULV_RESTART_GIVEN_UP);
        assert_int_equal(ulv_restart_decide(&p, NULL).what, ULV_RESTART_NO);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(it_depends_on_how_it_ended),
                cmocka_unit_test(the_delay_doubles_and_the_limit_ends_it),
                cmocka_unit_test(who_ran_for_a_minute_begins_anew),
                cmocka_unit_test(other_keys_and_nonsense_count_nothing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
