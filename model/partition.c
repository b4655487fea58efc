/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/partition.h"

/* The graph of partition.h, as the table that is asked. */
#define TO(s) (1u << ULV_##s)
static const struct { const char *name; unsigned successors; bool live; } states[ULV_STATE_MAX_] = {
        [ULV_DEFINED]  = { "defined",  TO(STARTING),                                                false },
        [ULV_STARTING] = { "starting", TO(RUNNING) | TO(STOPPING) | TO(DEFINED) | TO(FAILED),       true },
        [ULV_RUNNING]  = { "running",  TO(PAUSING) | TO(STOPPING) | TO(DEFINED) | TO(FAILED),       true },
        [ULV_PAUSING]  = { "pausing",  TO(PAUSED) | TO(RUNNING) | TO(STOPPING) | TO(DEFINED) | TO(FAILED), true },
        [ULV_PAUSED]   = { "paused",   TO(RUNNING) | TO(PAUSING) | TO(STOPPING) | TO(DEFINED) | TO(FAILED), true },
        [ULV_STOPPING] = { "stopping", TO(DEFINED) | TO(FAILED),                                    true },
        [ULV_FAILED]   = { "failed",   TO(STARTING) | TO(DEFINED),                                  false },
};

const char *ulv_state_name(enum ulv_state s) { return s >= 0 && s < ULV_STATE_MAX_ ? states[s].name : "invalid"; }

enum ulv_state ulv_state_from_name(const char *s) {
        for (int i = 0; i < ULV_STATE_MAX_; i++)
                if (ulv_streq(states[i].name, s))
                        return (enum ulv_state) i;
        return ULV_STATE_INVALID;
}

bool ulv_state_may(enum ulv_state from, enum ulv_state to) {
        return from >= 0 && from < ULV_STATE_MAX_ && to >= 0 && to < ULV_STATE_MAX_ && (states[from].successors >> to & 1);
}

bool ulv_state_is_live(enum ulv_state s) { return s >= 0 && s < ULV_STATE_MAX_ && states[s].live; }

static const char *const grades[] = { "none", "soft", "firm", "hard" };

const char *ulv_isolation_name(enum ulv_isolation i) {
        return i >= 0 && (size_t) i < ULV_ARRAY_SIZE(grades) ? grades[i] : "invalid";
}

enum ulv_isolation ulv_isolation_from_name(const char *s) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(grades); i++)
                if (ulv_streq(grades[i], s))
                        return (enum ulv_isolation) i;
        return ULV_ISOLATION_INVALID;
}

/* Is word one of the words in the list? Spaces, commas and + part words. */
static bool has_word(const char *list, const char *word) {
        size_t n = strlen(word);

        while (*list) {
                size_t length = strcspn(list, " ,+");

                if (length == n && strncmp(list, word, n) == 0)
                        return true;
                list += length;
                list += strspn(list, " ,+");
        }
        return false;
}

/* The strength of one `how`: 0 nothing, 1 asked for, 2 a limit, 3 whole and set apart. */
static unsigned how_strength(const char *how) {
        static const struct { const char *how; unsigned strength; } table[] = {
                { "affinity", 1 }, { "limit", 2 }, { "isolated", 3 }, { "preallocated", 3 },
        };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(table); i++)
                if (ulv_streq(table[i].how, how))
                        return table[i].strength;
        return 0;       /* "tracked", "simulated", nothing reported yet, a word of a newer monitor */
}

enum ulv_isolation ulv_isolation_grade(const char *type, const char *contain, const char *cpu_how, const char *memory_how, const char *limits_how,
                                       bool whole_cores) {
        unsigned cpu = how_strength(cpu_how ? cpu_how : ""), memory = how_strength(memory_how ? memory_how : "");
        bool contained, limited = !limits_how || !limits_how[0] || how_strength(limits_how) >= 2;

        contain = contain ? contain : "";
        if (has_word(contain, "simulated") || (ulv_streq(type, "sim") && !has_word(contain, "userns")))
                return ULV_ISOLATION_NONE;
        /* Nothing contains it and nothing limits it: only the ledger knows of it. */
        if (!contain[0] && cpu == 0 && memory == 0)
                return ULV_ISOLATION_NONE;
        if (has_word(contain, "kvm") && !has_word(contain, "tcg") && has_word(contain, "confined") && whole_cores && cpu == 3 && memory == 3 && limited)
                return ULV_ISOLATION_HARD;
        contained = has_word(contain, "kvm")
                || (has_word(contain, "userns") && has_word(contain, "seccomp") && has_word(contain, "nocaps") && has_word(contain, "devices"));
        return contained && !has_word(contain, "tcg") && cpu >= 2 && memory >= 2 && limited ? ULV_ISOLATION_FIRM : ULV_ISOLATION_SOFT;
}
