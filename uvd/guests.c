/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What uvd knows of each partition's monitor, and when it asks the starter for one: a live partition has a
 * monitor, or one has been asked for. The starter revives a monitor that dies (and says "restarted"); what
 * is left to uvd is the first start, a monitor that ended while its partition is live, and a starter that
 * could not start one.
 *
 * A partition for which no monitor ever ran since the commit that wanted it (`fresh`) holds resources that
 * nothing uses: if its monitor can't be started, uvd itself reports it ended. In any other case something
 * may run, and only a monitor can prove that it doesn't: uvd tries again, at growing intervals, and says so. */

#include "uvd/uvd.h"

#include <stdio.h>

#include "lib/log.h"
#include "lib/protocol.h"

#define FRESH_FAILURES 3u       /* exits without a Hello before a start is given up */
#define RETRY_MAX 60u           /* seconds between attempts, at most */

struct guest *guest_find(struct uvd *u, const char *name) {
        struct guest *g;

        HASH_FIND_STR(u->guests, name, g);
        return g;
}

struct guest *guest_get(struct uvd *u, const char *name) {
        struct guest *g = guest_find(u, name);

        if (g || !ulv_name_is_valid(name))
                return g;
        g = calloc(1, sizeof(*g));
        if (!g)
                return NULL;
        (void) snprintf(g->name, sizeof(g->name), "%s", name);
        g->uvd = u;
        g->view_fd = -1;
        HASH_ADD_STR(u->guests, name, g);
        if (!g->hh.tbl) {               /* HASH_NONFATAL_OOM */
                free(g);
                return NULL;
        }
        return g;
}

void guest_free(struct uvd *u, struct guest *g) {
        view_close(g);
        sd_event_source_disable_unref(g->retry);
        HASH_DEL(u->guests, g);
        free(g);
}

static bool is_live(struct uvd *u, const char *name, struct ulv_partition_info *ret) {
        return u->ledger && ulv_ledger_partition(u->ledger, name, ret) == 0 && !ulv_streq(ret->role, "infrastructure") &&
               ulv_state_is_live(ret->state);
}

/* Nothing more to know about it: no monitor, no start under way, not live. */
void guest_forget_if_idle(struct uvd *u, struct guest *g) {
        struct ulv_partition_info p;

        if (g->peer || g->held || g->asked || g->token[0] || is_live(u, g->name, &p))
                return;
        guest_free(u, g);
}

static void report_ended(struct uvd *u, struct guest *g, const char *result) {
        _cleanup_strbuf_ struct ulv_strbuf b = {};

        ulv_log(ULV_LOG_WARNING, "cannot start %s: no monitor for it (%s); what it held goes back", g->name, result);
        ulv_op_begin(&b, "ended", "partition", g->name, "-");
        ulv_op_add(&b, "result", result);
        ulv_op_add(&b, "failed", "yes");
        ulv_op_add_u64(&b, "incarnation", g->incarnation);
        ulv_op_end(&b);
        if (ulv_strbuf_error(&b) < 0 || transact_report(u, g->name, ulv_strbuf_str(&b)) < 0)
                ulv_log(ULV_LOG_ERR, "out of memory: the end of %s is not recorded", g->name);
        if (!g->token[0])       /* a unit that asks whether it is to run ends by the answer */
                starter_stop(u, g->name);
}

static int on_retry(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct guest *g = userdata;

        g->retry = sd_event_source_disable_unref(g->retry);
        guest_review(g->uvd, g->name, false);
        return 0;
}

static void retry_later(struct uvd *u, struct guest *g) {
        uint64_t seconds = g->failures > 6 ? RETRY_MAX : ULV_MIN(1u << g->failures, RETRY_MAX);

        if (!g->retry && sd_event_add_time_relative(u->event, &g->retry, CLOCK_MONOTONIC, seconds * 1000000, 0, on_retry, g) < 0)
                ulv_log(ULV_LOG_ERR, "out of memory: %s waits for its monitor until the starter says something", g->name);
}

static void ask(struct uvd *u, struct guest *g) {
        int r = starter_start(u, g->name);

        if (r >= 0) {
                g->asked = true;
                return;
        }
        if (r != -ENOTCONN)     /* With no starter there is nothing to wait for: its coming reviews all. */
                (void) ulv_log_errno(r, "cannot ask for the monitor of %s", g->name);
        if (r != -ENOTCONN)
                retry_later(u, g);
}

/* Nothing would come of asking, whoever started it. (Of one that may run it is asked for all the same, until it is there again.) */
static bool lacks_monitor(struct uvd *u, struct guest *g, const struct ulv_partition_info *p) {
        char program[64], result[256];
        struct ulv_diag d = {};

        if (!g->fresh || p->state != ULV_STARTING || starter_has_monitor(p->type, program, sizeof(program)))
                return false;
        ulv_diag_what(&d, (enum ulv_exit) ULV_MONITOR_FAILED, "cannot start %s", g->name);
        ulv_diag_why(&d, "no monitor for Type=%s on this host: %s isn't installed", p->type, program);
        ulv_diag_try(&d, "%s", ulv_streq(p->type, "vm") ? "apt install ultravisor-kvm" : "make install, or the package ultravisor again");
        (void) snprintf(result, sizeof(result), "%.127s\n%.100s", d.why, d.try_);
        report_ended(u, g, result);
        monitors_refuse(g, &d);
        return true;
}

static void review(struct uvd *u, struct guest *g, const struct ulv_partition_info *p) {
        if (g->peer || g->asked || g->token[0] || g->retry)
                return;
        if (p->state != ULV_STARTING)
                ulv_log(ULV_LOG_NOTICE, "%s is %s without a monitor: starting one", g->name, ulv_state_name(p->state));
        ask(u, g);
}

/* A monitor that is still there must see that it is over: next_changed_view() tells of live ones only. */
static void review_ended(struct uvd *u, struct guest *g) {
        char name[sizeof(g->name)];
        int r = 0;

        g->fresh = false;
        g->failures = 0;
        g->retry = sd_event_source_disable_unref(g->retry);
        memcpy(name, g->name, sizeof(name));
        if (g->view && g->peer)
                r = view_update(u, g);
        if (r < 0)
                (void) ulv_log_errno(r, "cannot update the view of %s", name);
        g = guest_find(u, name);        /* Its connection may have been dropped as overdue, and it with that. */
        if (g)
                guest_forget_if_idle(u, g);
}

void guest_review(struct uvd *u, const char *name, bool committed) {
        struct ulv_partition_info p;
        struct guest *g;

        g = guest_find(u, name);
        if (!is_live(u, name, &p)) {
                starter_forget_type(u, name);   /* a monitor that is started now has to ask */
                if (g)
                        review_ended(u, g);
                return;
        }
        if (!g && !(g = guest_get(u, name))) {
                ulv_log(ULV_LOG_ERR, "out of memory: no monitor for %s", name);
                return;
        }
        /* An old monitor that is still on its way out has proved its own incarnation gone, not used this one. */
        if (committed && p.state == ULV_STARTING && p.incarnation != g->incarnation) {
                g->fresh = true;
                g->stopped = false;
                g->failures = 0;
        }
        g->incarnation = p.incarnation;
        if (committed && lacks_monitor(u, g, &p))
                return;
        review(u, g, &p);
        if (g->wanting)
                monitors_resume(g);
}

static int review_one(const struct ulv_partition_info *p, void *userdata) {
        struct ulv_strbuf *names = userdata;

        if (!ulv_streq(p->role, "infrastructure") && ulv_state_is_live(p->state)) {
                ulv_strbuf_add(names, p->name);
                ulv_strbuf_addc(names, '\n');
        }
        return 0;
}

static int review_name(const char *line, size_t len, void *userdata) {
        char name[ULV_NAME_MAX + 1];

        (void) snprintf(name, sizeof(name), "%.*s", (int) len, line);
        guest_review(userdata, name, false);
        return 0;
}

void guests_review_all(struct uvd *u) {
        _cleanup_strbuf_ struct ulv_strbuf names = {};

        if (!u->ledger)
                return;
        /* Names first: a review may queue reports, and the walk's pointers live until the next change. */
        (void) ulv_ledger_each_partition(u->ledger, review_one, &names);
        (void) ulv_op_each_line(ulv_strbuf_str(&names), names.len, review_name, u);
}

/* --- what the starter says --------------------------------------------------------------------------- */

void guest_started(struct uvd *u, const char *name, const char *token) {
        struct guest *g = guest_get(u, name);

        if (!g)
                return;
        g->asked = false;
        (void) snprintf(g->token, sizeof(g->token), "%s", token);
        monitors_resume(g);
}

void guest_failed(struct uvd *u, const char *name, int error) {
        struct guest *g = guest_get(u, name);
        struct ulv_partition_info p;

        if (!g)
                return;
        g->asked = false;
        g->token[0] = 0;
        g->failures++;
        monitors_resume(g);
        if (!is_live(u, name, &p)) {
                guest_forget_if_idle(u, g);
                return;
        }
        ulv_log(ULV_LOG_WARNING, "the starter cannot start the monitor of %s: %s", name, strerror(error));
        if (g->fresh && p.state == ULV_STARTING)
                report_ended(u, g, "no-monitor");
        else
                retry_later(u, g);
}

void guest_exited(struct uvd *u, const char *name, int status) {
        struct guest *g = guest_find(u, name);
        struct ulv_partition_info p;

        if (!g)
                return;
        g->asked = false;
        g->token[0] = 0;
        monitors_resume(g);
        if (!is_live(u, name, &p)) {
                guest_forget_if_idle(u, g);
                return;
        }
        /* Ended in order, and its partition was wanted again meanwhile: at once. Else it came to nothing. */
        if (status != 0) {
                g->failures++;
                ulv_log(ULV_LOG_WARNING, "the monitor of %s ended with status %d while %s is %s", name, status, name, ulv_state_name(p.state));
        }
        if (status != 0 && g->fresh && p.state == ULV_STARTING && g->failures >= FRESH_FAILURES)
                report_ended(u, g, "monitor-failed");
        else if (status != 0)
                retry_later(u, g);
        else
                ask(u, g);
}

void guests_forget_tokens(struct uvd *u) {
        for (struct guest *g = u->guests; g; g = g->hh.next) {
                g->asked = false;
                g->token[0] = 0;
                monitors_resume(g);
        }
}

/* --- what its connection says ------------------------------------------------------------------------ */

void guest_connected(struct guest *g, struct ulv_bus_peer *peer) {
        struct ulv_partition_info p;

        g->peer = peer;
        g->asked = false;
        g->fresh = false;
        g->failures = 0;
        g->retry = sd_event_source_disable_unref(g->retry);
        /* It knows why it was started; the one after it is another matter. */
        g->stopped = false;
        if (is_live(g->uvd, g->name, &p))
                (void) !starter_write_type(g->uvd, g->name);
}

void guest_disconnected(struct uvd *u, struct guest *g) {
        struct ulv_partition_info p;

        g->peer = NULL;
        /* The starter may have told of its end before we saw this one, and the partition be wanted again since. */
        if (is_live(u, g->name, &p))
                review(u, g, &p);
        else
                guest_forget_if_idle(u, g);
}
