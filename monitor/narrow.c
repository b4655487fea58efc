/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Giving up rights, as every monitor does that begins as root: what isn't in the backend's table goes out of all its sets,
 * the bounding set too, so that neither exec nor a child gets it back. Then it is tried to get each of them back, and
 * whoever succeeds isn't to go on. */

#include <linux/prctl.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include "monitor/plugin.h"

static bool is_kept(const struct ulv_kept_right *kept, size_t n, cap_value_t cap, enum ulv_stage stage) {
        for (size_t i = 0; i < n; i++)
                if (kept[i].cap == cap)
                        return stage <= kept[i].until;
        return false;
}

/* The bounding set first: it needs CAP_SETPCAP, which may be among what goes. */
static int narrow_bounding(const struct ulv_kept_right *kept, size_t n, enum ulv_stage stage) {
        for (cap_value_t cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                if (!is_kept(kept, n, cap, stage) && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 && cap_drop_bound(cap) < 0)
                        return -errno;
        return 0;
}

/* Permitted and effective: what is kept and was there. */
static int narrow_sets(const struct ulv_kept_right *kept, size_t n, enum ulv_stage stage) {
        cap_t now = cap_get_proc(), next = cap_init();
        int r = now && next ? 0 : -ENOMEM;

        for (size_t i = 0; r == 0 && i < n; i++) {
                cap_flag_value_t have = CAP_CLEAR;
                cap_value_t cap = kept[i].cap;

                if (stage > kept[i].until || cap_get_flag(now, cap, CAP_PERMITTED, &have) < 0 || have != CAP_SET)
                        continue;
                if (cap_set_flag(next, CAP_PERMITTED, 1, &cap, CAP_SET) < 0 || cap_set_flag(next, CAP_EFFECTIVE, 1, &cap, CAP_SET) < 0)
                        r = -errno;
        }
        if (r == 0 && (cap_reset_ambient() < 0 || cap_set_proc(next) < 0))
                r = -errno;
        (void) cap_free(now);
        (void) cap_free(next);
        return r;
}

/* Tries to take each dropped capability back. */
static int prove(const struct ulv_kept_right *kept, size_t n, enum ulv_stage stage) {
        cap_t want = cap_get_proc();
        int r = want ? 0 : -ENOMEM;

        for (cap_value_t cap = 0; r == 0 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
                if (is_kept(kept, n, cap, stage))
                        continue;
                if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != 0 ||
                    cap_set_flag(want, CAP_PERMITTED, 1, &cap, CAP_SET) < 0 || cap_set_flag(want, CAP_EFFECTIVE, 1, &cap, CAP_SET) < 0 ||
                    cap_set_proc(want) == 0 ||
                    cap_set_flag(want, CAP_PERMITTED, 1, &cap, CAP_CLEAR) < 0 || cap_set_flag(want, CAP_EFFECTIVE, 1, &cap, CAP_CLEAR) < 0)
                        r = -EPERM;
        }
        (void) cap_free(want);
        return r;
}

int ulv_monitor_narrow(const struct ulv_kept_right *kept, size_t n, enum ulv_stage stage) {
        int r = narrow_bounding(kept, n, stage);

        if (r == 0)
                r = narrow_sets(kept, n, stage);
        return r < 0 ? r : prove(kept, n, stage);
}
