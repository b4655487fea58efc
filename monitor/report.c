/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reports: the difference between what the view says and what is.
 *
 * Nothing is queued. Each time anything changes, and after each Hello, the whole difference is made anew
 * and sent in one Report(), one at a time; what couldn't be said while uvd was dead is thus said as soon
 * as it is back, from the view that it then gives. Repeating an answered report is pointless while the
 * view that it was made from stands; otherwise it is sent again, but not faster than REPEAT_USEC. */

#include "monitor/monitor.h"

#include <stdio.h>

#include "lib/log.h"
#include "lib/protocol.h"
#include "model/op.h"

#define REPEAT_USEC (200 * 1000u)
#define RETRY_USEC (1000 * 1000u)

static bool is_enforced_kind(const struct holding *h) {
        return ulv_streq(h->kind, "core") || ulv_streq(h->kind, "memory") || ulv_streq(h->kind, "share") ||
               ulv_streq(h->kind, "limit");
}

static const char *how_of_limit(const struct ulv_monitor *m, const char *id) {
        for (unsigned i = 0; i < m->enforced.n_limits; i++)
                if (ulv_streq(ulv_limit_id(&m->enforced.limits[i]).s, id))
                        return m->how_limits[i] ? m->how_limits[i] : "tracked";
        return "tracked";
}

static const char *how_of(const struct ulv_monitor *m, const struct holding *h) {
        if (ulv_streq(h->kind, "limit"))
                return how_of_limit(m, h->id);
        return ulv_streq(h->kind, "memory") ? m->how_memory : m->how_cpu;
}

static void report_holding(const struct ulv_monitor *m, const struct holding *h, struct ulv_strbuf *b) {
        if (m->enforcement == ENFORCED_REFUSED && h->keep < h->amount) {
                ulv_op_begin(b, "refused", h->kind, h->id, m->name);
                ulv_op_add(b, "reason", m->refusal);
                ulv_op_end(b);
        }
        if (m->enforcement != ENFORCED_DONE)
                return;
        if (h->keep < h->amount) {
                ulv_op_begin(b, "letgo", h->kind, h->id, m->name);
                ulv_op_add_u64(b, "amount", h->amount - h->keep);
                ulv_op_end(b);
        }
        if (h->keep > 0 && (h->reached != h->keep || !ulv_streq(h->how, how_of(m, h)))) {
                ulv_op_begin(b, "reached", h->kind, h->id, m->name);
                ulv_op_add_u64(b, "amount", h->keep);
                ulv_op_add(b, "how", how_of(m, h));
                ulv_op_end(b);
        }
}

static void report_attachment(struct ulv_monitor *m, const struct holding *h, struct ulv_strbuf *b) {
        const char *how = attach_how(m, h), *refusal = attach_refusal(m, h);

        if (refusal && (h->keep > 0) == !how) {
                ulv_op_begin(b, "refused", h->kind, h->id, m->name);
                ulv_op_add(b, "reason", refusal);
                ulv_op_end(b);
        } else if (h->keep == 0 && !how) {
                ulv_op_begin(b, "letgo", h->kind, h->id, m->name);
                ulv_op_add_u64(b, "amount", 1);
                ulv_op_end(b);
        } else if (h->keep > 0 && how && (h->reached != 1 || !ulv_streq(h->how, how))) {
                ulv_op_begin(b, "reached", h->kind, h->id, m->name);
                ulv_op_add_u64(b, "amount", 1);
                ulv_op_add(b, "how", how);
                ulv_op_end(b);
        }
}

/* A report says which life it is about, in case that another one has begun meanwhile. */
static void add_incarnation(const struct ulv_monitor *m, struct ulv_strbuf *b) {
        if (m->incarnation > 0)
                ulv_op_add_u64(b, "incarnation", m->incarnation);
}

/* What the payload can be held in is one of the words, for the planner, which refuses a pause without it. */
static const char *contain_words(struct ulv_monitor *m, char words[static 128]) {
        (void) snprintf(words, 128, "%s%s", ulv_plugin.contain(m), m->may_freeze ? " freezer" : "");
        return words;
}

static bool is_resumed(const struct ulv_monitor *m) {
        return (m->seen.state == ULV_PAUSING || m->seen.state == ULV_PAUSED) && m->seen.wanted == ULV_RUNNING && m->frozen == FROZEN_NO;
}

static void report_channels(struct ulv_monitor *m, struct ulv_strbuf *b) {
        for (size_t i = 0; i < m->seen.n_holdings; i++)
                if (ulv_streq(m->seen.holdings[i].kind, "channel"))
                        channel_report(m, &m->seen.holdings[i], b);
}

static void report_running(struct ulv_monitor *m, struct ulv_strbuf *b) {
        const struct seen *s = &m->seen;
        char words[128];
        bool new_code = !ulv_streq(s->build, ulv_build);        /* an upgrade was between the report before and us */

        if (s->wanted == ULV_PAUSED && m->frozen == FROZEN_YES && (s->state == ULV_PAUSING || (s->state == ULV_PAUSED && new_code))) {
                ulv_op_begin(b, "state", "partition", m->name, "-");
                ulv_op_add(b, "state", "paused");
                ulv_op_add(b, "build", ulv_build);
                add_incarnation(m, b);
                ulv_op_end(b);
        } else if ((s->state == ULV_STARTING && !call_awaits_ready(m)) || is_resumed(m) ||
                   (s->state == ULV_RUNNING && (s->ready != (m->said_ready || s->ready) || s->leader != (uint64_t) m->leader || s->start != m->leader_start || new_code ||
                                                 (s->contain[0] && !ulv_streq(s->contain, contain_words(m, words)))))) {
                ulv_op_begin(b, "state", "partition", m->name, "-");
                ulv_op_add(b, "state", "running");
                ulv_op_add_u64(b, "leader", (uint64_t) m->leader);
                ulv_op_add_u64(b, "start", m->leader_start);
                ulv_op_add(b, "build", ulv_build);
                if (m->said_ready || s->ready)
                        ulv_op_add(b, "ready", "yes");
                ulv_op_add(b, "contain", contain_words(m, words));
                add_incarnation(m, b);
                ulv_op_end(b);
        }
        for (size_t i = 0; ulv_plugin.attached && i < s->n_holdings; i++)
                if (attach_is_kind(s->holdings[i].kind))
                        report_attachment(m, &s->holdings[i], b);
        report_channels(m, b);
        if (!grant_same(&m->enforced, &s->grant))
                return;
        for (size_t i = 0; i < s->n_holdings; i++)
                if (is_enforced_kind(&s->holdings[i]))
                        report_holding(m, &s->holdings[i], b);
}

int report_build(struct ulv_monitor *m, struct ulv_strbuf *b) {
        const struct seen *s = &m->seen;

        if (!s->valid || !ulv_state_is_live(s->state))
                return 0;
        if (m->payload == PAYLOAD_ENDED) {
                ulv_op_begin(b, "ended", "partition", m->name, "-");
                ulv_op_add(b, "result", m->result[0] ? m->result : "unknown");
                if (m->failed)
                        ulv_op_add(b, "failed", "yes");
                if (m->stop)
                        ulv_op_add(b, "stopped", "yes");
                add_incarnation(m, b);
                ulv_op_end(b);
        } else if (m->payload == PAYLOAD_RUNNING && m->enforcement != ENFORCED_NOT && s->state != ULV_STOPPING)
                report_running(m, b);
        else if (m->payload == PAYLOAD_STARTING && m->start_waits)
                report_channels(m, b);
        return ulv_strbuf_error(b);
}

static int on_retry(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct ulv_monitor *m = userdata;

        ulv_strbuf_reset(&m->report);   /* say it again */
        monitor_turn(m);
        return 0;
}

static int on_reported(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct ulv_monitor *m = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(reply);

        m->report_pending = false;
        m->report_slot = sd_bus_slot_unref(m->report_slot);
        if (e) {
                ulv_log(ULV_LOG_WARNING, "uvd refused a report: %s", e->message ? e->message : e->name);
                (void) monitor_arm(m, &m->report_timer, RETRY_USEC, on_retry);
        } else if (ulv_startswith(ulv_strbuf_str(&m->report), "ended "))
                monitor_exit(m);        /* The answer to an earlier report isn't the answer to this one. */
        monitor_turn(m);
        return 0;
}

/* Answered already, as far as the same view goes? Too soon to say it again? */
static bool said_already(struct ulv_monitor *m, const struct ulv_strbuf *b) {
        uint64_t now;

        if (!m->report_view || !ulv_streq(ulv_strbuf_str(&m->report), ulv_strbuf_str(b)))
                return false;
        if (ulv_streq(m->report_view, m->seen.text))
                return true;
        (void) sd_event_now(m->event, CLOCK_MONOTONIC, &now);
        if (now >= m->report_at + REPEAT_USEC)
                return false;
        (void) monitor_arm(m, &m->report_timer, m->report_at + REPEAT_USEC - now, on_retry);
        return true;
}

void report_send(struct ulv_monitor *m) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        int r;

        if (!m->greeted || m->report_pending || !m->seen.valid)
                return;
        r = report_build(m, &b);
        if (r >= 0 && b.len == 0) {
                if (m->payload == PAYLOAD_ENDED)
                        monitor_exit(m);        /* The view knows it already. */
                return;
        }
        if (r >= 0 && said_already(m, &b))
                return;
        if (r >= 0)
                r = sd_bus_call_method_async(m->bus, &m->report_slot, NULL, ULV_PATH_MONITOR, ULV_IF_MONITOR, "Report", on_reported, m, "ts",
                                             m->seen.generation, ulv_strbuf_str(&b));
        if (r < 0) {
                ulv_log_errno(r, "a report can't be sent");
                (void) monitor_arm(m, &m->report_timer, RETRY_USEC, on_retry);
                return;
        }
        m->report_pending = true;
        (void) sd_event_now(m->event, CLOCK_MONOTONIC, &m->report_at);
        ulv_strbuf_done(&m->report);
        m->report = b;
        b = (struct ulv_strbuf) { 0 };
        free(m->report_view);
        m->report_view = strdup(m->seen.text);
}
