/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Pausing. What is wanted stands in the view (wanted=paused), what is reached is the backend's proof: so a
 * restarted monitor only asks for the same again. A payload with a task that can't be held now (in the middle
 * of a system call that can't be interrupted) takes its time; nobody waits for it here. */

#include "monitor/monitor.h"

#include "lib/log.h"

#define AGAIN_FIRST_USEC (2 * 1000u)
#define AGAIN_MAX_USEC (500 * 1000u)

static int on_freeze_timer(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        monitor_turn(userdata);
        return 0;
}

static void again(struct ulv_monitor *m) {
        m->freeze_delay = ULV_MIN(ULV_MAX(m->freeze_delay * 2, (uint64_t) AGAIN_FIRST_USEC), (uint64_t) AGAIN_MAX_USEC);
        if (monitor_arm(m, &m->freeze_timer, m->freeze_delay, on_freeze_timer) < 0)
                (void) sd_event_exit(m->event, EXIT_FAILURE);   /* a restarted monitor goes on from here */
}

void pause_follow(struct ulv_monitor *m) {
        bool hold = m->seen.wanted == ULV_PAUSED && (m->seen.state == ULV_PAUSING || m->seen.state == ULV_PAUSED);
        int r;

        if (!m->may_freeze || m->frozen == (hold ? FROZEN_YES : FROZEN_NO))
                return;
        m->frozen = FROZEN_UNKNOWN;
        r = ulv_plugin.freeze(m, hold);
        if (r == 0) {
                if (!hold && m->seen.state != ULV_RUNNING)
                        call_time(m, CALL_TIME_RESUMED);
                m->frozen = hold ? FROZEN_YES : FROZEN_NO;
                m->freeze_delay = 0;
                m->freeze_failed = false;
                return;
        }
        if (r < 0 && !m->freeze_failed)
                ulv_log_errno(r, "%s can't be %s; tried again", m->name, hold ? "paused" : "resumed");
        m->freeze_failed = r < 0;
        again(m);
}

void pause_thaw(struct ulv_monitor *m) {
        int r = m->may_freeze && m->frozen != FROZEN_NO ? ulv_plugin.freeze(m, false) : 0;

        if (r < 0)
                ulv_log_errno(r, "%s can't be resumed to end", m->name);
        m->frozen = FROZEN_UNKNOWN;
}
