/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Turns. A verb that writes definitions writes a file, then submits, and takes the file back if the ledger refuses
 * or takes back: three steps with other jobs' steps between them. Two jobs of one partition would leave the file of
 * the one and the ledger of the other, so the second waits until the first has ended, in the order in which they
 * came. A verb that writes more than drop-ins of its own partitions (apply, remove, move: a whole set at once; undo,
 * which takes a set back) waits for all, and all for it. */

#include <stdio.h>

#include "command/job.h"
#include "lib/protocol.h"

#define PATIENCE 5000000u      /* us that a job waits for its turn */

static bool writes_a_set(const struct job *j) {
        return !ulv_streq(j->verb, "set") && !ulv_streq(j->verb, "revert") && !ulv_streq(j->verb, "attach") && !ulv_streq(j->verb, "detach");
}

/* Whom j waits for: a job that has its turn, or that came before and waits itself. NULL: it may go. */
static const struct job *before(const struct job *j) {
        bool earlier = true;

        for (const struct job *k = j->m->jobs->first; k; k = k->next) {
                if (k == j)
                        earlier = false;
                else if (!k->state && (k->turn == TURN_HAS || (k->turn == TURN_WAITS && earlier)) &&
                         (writes_a_set(j) || writes_a_set(k) || ulv_streq(j->items[0].name, k->items[0].name)))
                        return k;
        }
        return NULL;
}

static void refuse(struct job *j, const struct job *k) {
        const char *what = writes_a_set(k) && k->n_items != 1 ? "" : k->items[0].name;
        struct ulv_diag d;

        ulv_diag_what(&d, ULV_EXIT_CONFLICT, "cannot %s%s%s", j->verb, j->items[0].name[0] ? " " : "", j->items[0].name);
        ulv_diag_why(&d, "%s%s%s of %s is still under way (job %s), and comes before it", k->verb, what[0] ? " " : "", what, k->subject, k->id);
        ulv_diag_try(&d, "uvctl list, then again");
        job_refuse(j, &d);
}

static int on_turn(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct job *j = userdata;
        const struct job *k = before(j);

        if (k && manager_now(j->m, CLOCK_MONOTONIC) < j->give_up_at) {
                (void) sd_event_source_set_time(j->timer, j->give_up_at);
                (void) sd_event_source_set_enabled(j->timer, SD_EVENT_ONESHOT);
                return 0;
        }
        j->timer = sd_event_source_disable_unref(j->timer);
        j->give_up_at = 0;
        if (k)
                refuse(j, k);
        else {
                j->turn = TURN_HAS;
                j->again(j);
        }
        return 0;
}

bool turn_take(struct job *j, void (*step)(struct job *j)) {
        int r;

        j->begin = step;
        if (j->flags & (ULV_FLAG_DRY_RUN | ULV_FLAG_RUNTIME))   /* writes nothing */
                return true;
        if (!before(j)) {
                j->turn = TURN_HAS;
                return true;
        }
        j->again = step;
        j->give_up_at = manager_now(j->m, CLOCK_MONOTONIC) + PATIENCE;
        r = sd_event_add_time(j->m->role.event, &j->timer, CLOCK_MONOTONIC, j->give_up_at, 1000, on_turn, j);
        if (r < 0) {
                job_refuse_errno(j, r);
                return false;
        }
        j->turn = TURN_WAITS;
        return false;
}

/* They look for themselves, from the event loop: whoever ended is still in the middle of it. */
void turn_passed(struct manager *m) {
        for (struct job *j = m->jobs->first; j; j = j->next)
                if (!j->state && j->turn == TURN_WAITS && j->timer)
                        (void) sd_event_source_set_time(j->timer, 0);
}
