/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>

#include "model/partition.h"

#include <cmocka.h>

static void states_have_names(void **state) {
        (void) state;
        for (int i = 0; i < ULV_STATE_MAX_; i++)
                assert_int_equal(ulv_state_from_name(ulv_state_name((enum ulv_state) i)), i);
        assert_int_equal(ulv_state_from_name("nothing"), ULV_STATE_INVALID);
        assert_int_equal(ulv_state_from_name(""), ULV_STATE_INVALID);
        assert_string_equal(ulv_state_name(ULV_STATE_INVALID), "invalid");
        assert_string_equal(ulv_state_name(ULV_STATE_MAX_), "invalid");
}

/* The graph of partition.h, edge by edge. */
static void edges_are_those_of_the_graph(void **state) {
        static const char *const edges[ULV_STATE_MAX_] = {
                /* to:          D S R P p s F  (defined starting running pausing paused stopping failed) */
                [ULV_DEFINED]  = ".x.....",
                [ULV_STARTING] = "x.x..xx",
                [ULV_RUNNING]  = "x..x.xx",
                [ULV_PAUSING]  = "x.x.xxx",
                [ULV_PAUSED]   = "x.xx.xx",
                [ULV_STOPPING] = "x.....x",
                [ULV_FAILED]   = "xx.....",
        };
        (void) state;

        for (int from = 0; from < ULV_STATE_MAX_; from++)
                for (int to = 0; to < ULV_STATE_MAX_; to++)
                        assert_int_equal(ulv_state_may((enum ulv_state) from, (enum ulv_state) to), edges[from][to] == 'x');
        assert_false(ulv_state_may(ULV_STATE_INVALID, ULV_DEFINED));
        assert_false(ulv_state_may(ULV_DEFINED, ULV_STATE_INVALID));
        for (int i = 0; i < ULV_STATE_MAX_; i++)
                assert_int_equal(ulv_state_is_live((enum ulv_state) i), i != ULV_DEFINED && i != ULV_FAILED);
}

static void isolation_is_what_is_enforced(void **state) {
        static const struct { const char *type, *contain, *cpu, *memory; bool cores; enum ulv_isolation grade; const char *limits; } t[] = {
                { "container", "userns seccomp nocaps devices", "isolated", "limit", true, ULV_ISOLATION_FIRM, "" },
                { "container", "userns seccomp nocaps devices", "limit", "limit", false, ULV_ISOLATION_FIRM, "" },
                /* A limit that is asked for and can't be enforced is no limit. */
                { "container", "userns seccomp nocaps devices", "limit", "limit", false, ULV_ISOLATION_FIRM, "limit" },
                { "container", "userns seccomp nocaps devices", "limit", "limit", false, ULV_ISOLATION_SOFT, "tracked" },
                { "container", "userns seccomp nocaps devices", "limit", "limit", false, ULV_ISOLATION_SOFT, "nodevice" },
                { "container", "userns seccomp nocaps devices", "affinity", "limit", true, ULV_ISOLATION_SOFT, "" },
                { "container", "userns seccomp nocaps devices", "limit", "tracked", true, ULV_ISOLATION_SOFT, "" },
                { "container", "userns seccomp nocaps devices", "affinity", "tracked", true, ULV_ISOLATION_SOFT, "" },
                /* No controller at all: what contains it is there, what limits it is only asked for. */
                { "container", "userns seccomp nocaps devices", "tracked", "tracked", true, ULV_ISOLATION_SOFT, "" },
                { "container", "userns seccomp nocaps devices", "", "", false, ULV_ISOLATION_SOFT, "" },
                { "container", "userns seccomp", "limit", "limit", true, ULV_ISOLATION_SOFT, "" },
                { "container", "userns seccomp nocaps anydevice", "limit", "limit", true, ULV_ISOLATION_SOFT, "" },
                { "container", "", "tracked", "tracked", true, ULV_ISOLATION_NONE, "" },
                { "container", "", "", "", false, ULV_ISOLATION_NONE, "" },
                { "container", NULL, NULL, NULL, false, ULV_ISOLATION_NONE, "" },
                { "sim", "simulated", "isolated", "preallocated", true, ULV_ISOLATION_NONE, "" },
                { "vm", "kvm confined", "isolated", "preallocated", true, ULV_ISOLATION_HARD, "" },
                { "vm", "kvm confined", "isolated", "preallocated", false, ULV_ISOLATION_FIRM, "" },
                { "vm", "kvm confined", "isolated", "limit", true, ULV_ISOLATION_FIRM, "" },
                { "vm", "tcg confined", "isolated", "preallocated", true, ULV_ISOLATION_SOFT, "" },
                /* What is emulated isolates nothing, whoever else says what. */
                { "vm", "kvm tcg confined", "isolated", "preallocated", true, ULV_ISOLATION_SOFT, "" },
                { "vm", "tcg confined", "affinity", "tracked", true, ULV_ISOLATION_SOFT, "" },
                { "vm", "kvm confined", "affinity", "tracked", true, ULV_ISOLATION_SOFT, "" },
                { "vm", "kvm confined", "isolated", "tracked", true, ULV_ISOLATION_SOFT, "" },
                { "vm", "kvm", "isolated", "preallocated", true, ULV_ISOLATION_FIRM, "" },
                { "vm", "kvms", "isolated", "preallocated", true, ULV_ISOLATION_SOFT, "" },
        };
        (void) state;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(t); i++)
                assert_int_equal(ulv_isolation_grade(t[i].type, t[i].contain, t[i].cpu, t[i].memory, t[i].limits, t[i].cores), t[i].grade);
        for (int i = ULV_ISOLATION_NONE; i <= ULV_ISOLATION_HARD; i++)
                assert_int_equal(ulv_isolation_from_name(ulv_isolation_name((enum ulv_isolation) i)), i);
        assert_int_equal(ulv_isolation_from_name("hardest"), ULV_ISOLATION_INVALID);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(states_have_names), cmocka_unit_test(edges_are_those_of_the_graph), cmocka_unit_test(isolation_is_what_is_enforced),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
