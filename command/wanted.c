/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `systemctl start uv-partition@NAME`, and the boot of an enabled partition: PID 1 has started a monitor, which asks uvd,
 * which asks us (StartWanted). The answer is a start like a person's, a transaction, or else a refusal.
 *
 * At a boot all enabled partitions come at once, in any order. One whose After= names another that isn't there waits for
 * that one as long as it is on its way, and for a moment to see whether it is. What is wanted is uvd's to remember: it
 * says it again to a new uv-command. */

#include "command/wanted.h"

#include <stdio.h>

#include "command/job.h"
#include "command/restart.h"
#include "lib/log.h"
#include "lib/protocol.h"

#define TOGETHER_USEC UINT64_C(500000)  /* partitions that are started this soon after each other are started together */

struct wanted {
        struct wanted *next;
        char name[ULV_NAME_MAX + 1];
        uint64_t since;                 /* monotonic us */
        bool started;
};

struct all_wanted { struct wanted *first; sd_event_source *timer; };

int wanted_start(struct manager *m) {
        m->wanted = calloc(1, sizeof(*m->wanted));
        return m->wanted ? 0 : -ENOMEM;
}

void wanted_forget(struct manager *m) {
        struct wanted *next;

        for (struct wanted *w = m->wanted ? m->wanted->first : NULL; w; w = next) {
                next = w->next;
                free(w);
        }
        if (m->wanted)
                m->wanted->first = NULL;
}

void wanted_done(struct manager *m) {
        if (!m->wanted)
                return;
        wanted_forget(m);
        sd_event_source_disable_unref(m->wanted->timer);
        free(m->wanted);
        m->wanted = NULL;
}

static struct wanted **find(struct manager *m, const char *name) {
        struct wanted **w = &m->wanted->first;

        while (*w && !ulv_streq((*w)->name, name))
                w = &(*w)->next;
        return w;
}

/* No answer is awaited: uvd knows whether anybody still waits for this one. */
static void refuse(struct manager *m, const char *name, const struct ulv_diag *d) {
        sd_bus_message *call = NULL;

        ulv_log(ULV_LOG_NOTICE, "systemd wants %s: %s: %s", name, d->what, d->why);
        if (m->uvd.bus && sd_bus_message_new_method_call(m->uvd.bus, &call, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Refuse") >= 0 &&
            sd_bus_message_append(call, "susss", name, d->code == ULV_EXIT_OK ? (uint32_t) ULV_EXIT_FAILED : (uint32_t) d->code, d->what, d->why, d->try_) >= 0 &&
            sd_bus_message_set_expect_reply(call, false) >= 0)
                (void) sd_bus_send(m->uvd.bus, call, NULL);
        sd_bus_message_unref(call);
}

static void on_end(struct job *j, const struct ulv_diag *why) {
        struct manager *m = j->m;
        struct wanted **at, *w;

        if (!m->wanted)
                return;
        at = find(m, j->items[0].name);
        if ((w = *at)) {
                *at = w->next;
                free(w);
        }
        if (why)
                refuse(m, j->items[0].name, why);
}

static void start(struct manager *m, struct wanted *w) {
        struct job *j = job_new(m, NULL, "start", 1, 0, 0, "systemd");

        if (!j)
                return;
        w->started = true;
        j->on_end = on_end;
        j->items[0].request.verb = ULV_REQUEST_START;
        if (item_name(&j->items[0], w->name, ""))
                submit_queue(m, &j->items[0], false);
}

/* Is a partition that it comes after on its way, or may it be told of in a moment? *next: then look again. */
static bool has_to_wait(struct manager *m, const struct wanted *w, uint64_t now, uint64_t *next) {
        const struct ulv_definition *d = ulv_bundle_definition(m->bundle, w->name);

        for (size_t i = 0; d && i < d->n_after; i++) {
                struct ulv_partition_info p;
                bool known = ulv_ledger_partition(m->ledger, d->after[i], &p) == 0;

                if (ulv_streq(d->after[i], w->name) || (known && (p.state == ULV_RUNNING || p.state == ULV_PAUSED)))
                        continue;
                if (*find(m, d->after[i]) || (known && p.state == ULV_STARTING))
                        return true;
                if (now < w->since + TOGETHER_USEC) {
                        *next = ULV_MIN(*next, w->since + TOGETHER_USEC - now);
                        return true;
                }
        }
        return false;
}

static int on_timer(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        wanted_review(userdata);
        return 0;
}

void wanted_review(struct manager *m) {
        uint64_t now = manager_now(m, CLOCK_MONOTONIC), next = UINT64_MAX;
        struct wanted *following;
        int r = 0;

        if (!m->wanted || !m->wanted->first || !m->fresh || !m->ledger || !m->bundle)
                return;
        m->wanted->timer = sd_event_source_disable_unref(m->wanted->timer);
        for (struct wanted *w = m->wanted->first; w; w = following) {
                following = w->next;    /* a start that is refused at once takes w away */
                if (!w->started && !has_to_wait(m, w, now, &next))
                        start(m, w);
        }
        if (next != UINT64_MAX)
                r = sd_event_add_time_relative(m->role.event, &m->wanted->timer, CLOCK_MONOTONIC, next, 1000, on_timer, m);
        if (r < 0)
                (void) ulv_log_errno(r, "what systemd wants waits for the next change");
        jobs_kick(m);
}

void wanted_add(struct manager *m, const char *name) {
        struct wanted *w, **at;

        if (!m->wanted || !ulv_name_is_valid(name) || *(at = find(m, name)))
                return;
        w = calloc(1, sizeof(*w));
        if (!w)
                return;
        (void) snprintf(w->name, sizeof(w->name), "%s", name);
        w->since = manager_now(m, CLOCK_MONOTONIC);
        *at = w;
        wanted_review(m);
}
