/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Restart=, carried out. model/restart.c decides by the mirror and the definitions alone; this file looks at
 * each change, sleeps until the next start is due, and starts by a job like a person's, whose subject is
 * "Restart=". What it remembers (which job is under way, when a refused start is tried again, what was said)
 * is a matter of politeness: a new uv-command decides the same. */

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION HASH_FNV  /* the default one falls through cases in a way that clang warns of */

#include "command/restart.h"

#include <stdio.h>
#include <uthash.h>

#include "command/job.h"
#include "lib/log.h"
#include "model/restart.h"

#define AGAIN_USEC 1000000u             /* after a refusal: doubled each time */
#define AGAIN_MAX_USEC (60 * 1000000u)

struct memory {
        char name[ULV_NAME_MAX + 1];
        uint64_t incarnation;           /* whose end this is about */
        char job[32];                   /* the start, "" if none was tried */
        uint64_t not_before, again;     /* monotonic us */
        bool said;                      /* that it was given up */
        UT_hash_handle hh;
};

struct restarts { struct memory *all; sd_event_source *timer; uint64_t next; };        /* next: us from now */

int restart_start(struct manager *m) {
        m->restarts = calloc(1, sizeof(*m->restarts));
        return m->restarts ? 0 : -ENOMEM;
}

void restart_done(struct manager *m) {
        struct memory *e, *next;

        if (!m->restarts)
                return;
        HASH_ITER(hh, m->restarts->all, e, next) {
                HASH_DEL(m->restarts->all, e);
                free(e);
        }
        sd_event_source_disable_unref(m->restarts->timer);
        free(m->restarts);
        m->restarts = NULL;
}

/* What is known of this end; of an earlier one nothing is. NULL: no memory. */
static struct memory *remember(struct restarts *s, const struct ulv_partition_info *p) {
        struct memory *e;

        HASH_FIND_STR(s->all, p->name, e);
        if (!e) {
                e = calloc(1, sizeof(*e));
                if (!e)
                        return NULL;
                (void) snprintf(e->name, sizeof(e->name), "%s", p->name);
                HASH_ADD_STR(s->all, name, e);
                if (!e->hh.tbl) {       /* HASH_NONFATAL_OOM */
                        free(e);
                        return NULL;
                }
        }
        if (e->incarnation != p->incarnation) {
                e->incarnation = p->incarnation;
                e->job[0] = 0;
                e->not_before = e->again = 0;
                e->said = false;
        }
        return e;
}

static void sleep_at_most(struct restarts *s, uint64_t usec) { s->next = ULV_MIN(s->next, ULV_MAX(usec, (uint64_t) 1000)); }

static void say_given_up(struct manager *m, struct memory *e, unsigned starts) {
        char text[384];

        if (e->said)
                return;
        e->said = true;
        (void) snprintf(text, sizeof(text), "%s: given up: it ended again after %u starts in a row (StartLimit=)\nits last end: uvctl status %s\nuvctl start %s",
                        e->name, starts, e->name, e->name);
        ulv_log(ULV_LOG_WARNING, "%.*s", (int) strcspn(text, "\n"), text);
        public_tell_job(m, "restart", "failed", text);
}

/* The start was refused (with no end of another life after it): again, but not at once. true: it is under way. */
static bool under_way(struct manager *m, struct memory *e, uint64_t now) {
        const struct job *j = e->job[0] ? job_find(m, e->job) : NULL;

        if (!e->job[0] || (j && !j->state))
                return e->job[0] != 0;
        e->again = ULV_MIN(ULV_MAX(e->again * 2, (uint64_t) AGAIN_USEC), (uint64_t) AGAIN_MAX_USEC);
        e->not_before = now + e->again;
        if (j && j->text && e->again == AGAIN_USEC)
                ulv_log(ULV_LOG_WARNING, "Restart= of %s: %.*s", e->name, (int) strcspn(j->text, "\n"), j->text);
        e->job[0] = 0;
        return false;
}

static void start(struct manager *m, struct memory *e, const struct ulv_restart *r) {
        struct job *j = job_new(m, NULL, "start", 1, 0, 0, "Restart=");

        if (!j)
                return;
        j->items[0].request = (struct ulv_request) { .verb = ULV_REQUEST_START, .restarts = r->number,
                                                     .restarted = manager_now(m, CLOCK_REALTIME) };
        if (!item_name(&j->items[0], e->name, ""))
                return;
        (void) snprintf(e->job, sizeof(e->job), "%s", j->id);
        ulv_log(ULV_LOG_NOTICE, "%s ended by itself: start %u in a row", e->name, r->number);
        submit_queue(m, &j->items[0], false);
}

static int review_one(const struct ulv_partition_info *p, void *userdata) {
        struct manager *m = userdata;
        struct ulv_restart r;
        uint64_t now = manager_now(m, CLOCK_MONOTONIC), today = manager_now(m, CLOCK_REALTIME);
        struct memory *e;

        if (ulv_state_is_live(p->state) || p->wanted == ULV_DEFINED)    /* nearly all, at each change: no look at definitions */
                return 0;
        r = ulv_restart_decide(p, ulv_bundle_definition(m->bundle, p->name));
        if (r.what == ULV_RESTART_NO || !(e = remember(m->restarts, p)))
                return 0;
        if (r.what == ULV_RESTART_GIVEN_UP)
                say_given_up(m, e, r.number);
        else if (under_way(m, e, now))
                return 0;
        else if (r.at > today)
                sleep_at_most(m->restarts, r.at - today);
        else if (e->not_before > now)
                sleep_at_most(m->restarts, e->not_before - now);
        else
                start(m, e, &r);
        return 0;
}

static int on_timer(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct manager *m = userdata;

        m->restarts->timer = sd_event_source_disable_unref(m->restarts->timer);
        restart_review(m);
        jobs_kick(m);
        return 0;
}

void restart_review(struct manager *m) {
        struct restarts *s = m->restarts;
        int r = 0;

        if (!s || !m->fresh || !m->ledger || !m->bundle)
                return;
        s->timer = sd_event_source_disable_unref(s->timer);
        s->next = UINT64_MAX;
        (void) ulv_ledger_each_partition(m->ledger, review_one, m);
        if (s->next != UINT64_MAX)
                r = sd_event_add_time_relative(m->role.event, &s->timer, CLOCK_MONOTONIC, s->next, 1000, on_timer, m);
        if (r < 0)
                (void) ulv_log_errno(r, "Restart= waits for the next change");
}
