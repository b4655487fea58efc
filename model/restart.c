/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/restart.h"

/* The number of " KEY=" in the row's further keys; 0 if it isn't there. */
static uint64_t extra_number(const struct ulv_partition_info *p, const char *key) {
        size_t n = strlen(key);
        uint64_t v = 0;

        for (const char *s = p->extra; (s = strstr(s, key)); s++) {
                if (s == p->extra || s[-1] != ' ' || s[n] != '=')
                        continue;
                for (s += n + 1; *s >= '0' && *s <= '9' && v < UINT64_MAX / 10 - 9; s++)
                        v = v * 10 + (uint64_t) (*s - '0');
                return v;
        }
        return 0;
}

static bool is_to_be_restarted(const struct ulv_partition_info *p, const struct ulv_definition *d) {
        if (!d || ulv_streq(p->role, "infrastructure") || ulv_state_is_live(p->state) || p->wanted == ULV_DEFINED)
                return false;
        return ulv_streq(d->restart, "always") || (ulv_streq(d->restart, "on-failure") && p->state == ULV_FAILED);
}

/* RestartSec=, doubled with each start in a row. */
static uint64_t delay(const struct ulv_definition *d, uint64_t before) {
        uint64_t usec = d->restart_delay;

        while (before-- > 0 && usec < ULV_RESTART_DELAY_MAX_USEC)
                usec *= 2;
        return ULV_MAX(ULV_MIN(usec, ULV_RESTART_DELAY_MAX_USEC), d->restart_delay);
}

struct ulv_restart ulv_restart_decide(const struct ulv_partition_info *p, const struct ulv_definition *d) {
        uint64_t before, restarted;

        if (!is_to_be_restarted(p, d))
                return (struct ulv_restart) { .what = ULV_RESTART_NO };
        before = extra_number(p, "restarts");
        restarted = extra_number(p, "restarted");
        if (before > 0 && p->since >= restarted && p->since - restarted >= ULV_RESTART_STABLE_USEC)
                before = 0;
        if (before >= d->start_limit)
                return (struct ulv_restart) { .what = ULV_RESTART_GIVEN_UP, .number = (unsigned) ULV_MIN(before, (uint64_t) 1000) };
        return (struct ulv_restart) { .what = ULV_RESTART_AT, .at = p->since + delay(d, before), .number = (unsigned) before + 1 };
}
