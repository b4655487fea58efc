/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The call interface, this side of uv-port (channel/call.h, uv-call(7)).
 *
 * What comes from the partition are numbers, and hints: READY may end the wait of a start, an answer may shorten one. What
 * the partition has and what it let go is proved by the backend, as if it had said nothing. Who listens inside is asked
 * once, with a time-out: STOP before the signal that ends it, RESIZE before something is taken away. A refusal of RESIZE
 * is the only word that changes anything: then nothing is taken, and the ledger hears who refused. */

#include "monitor/monitor.h"

#include <sys/timerfd.h>
#include <time.h>

#include "lib/log.h"
#include "lib/protocol.h"
#include "model/quantity.h"
#include "monitor/port.h"

#define RESIZE_ANSWER_USEC (10 * 1000 * 1000u)
#define SELFTEST_USEC (10 * 1000 * 1000u)
#define RESIZE_LATER_USEC (60 * 1000 * 1000u)

static bool listens(const struct ulv_monitor *m, unsigned verb) { return (m->listens & ULV_CALL_LISTENS(verb)) != 0; }

static bool ask(struct ulv_monitor *m, unsigned verb, uint64_t a, uint64_t b, const char *text) {
        struct ulv_call q = { .magic = ULV_CALL_MAGIC, .verb = (uint16_t) verb, .value = { a, b } };

        if (!listens(m, verb))
                return false;
        (void) snprintf(q.text, sizeof(q.text), "%s", text);
        return port_call(m, &q) >= 0;
}

/* --- the view as its partition may see it ------------------------------------------------------------------- */

static void add_cpu(struct ulv_strbuf *b, const struct ulv_grant *g) {
        const struct ulv_cpus *cpus = g->n_cores > 0 ? &g->cpus : &g->pool;

        ulv_strbuf_add(b, "[CPU]\n");
        if (g->n_cores > 0)
                ulv_strbuf_addf(b, "Cores=%u\n", g->n_cores);
        else {
                ulv_strbuf_add(b, "Share=");
                ulv_share_format(b, g->share);
                ulv_strbuf_addc(b, '\n');
        }
        if (ulv_cpus_count(cpus) > 0) {
                ulv_strbuf_add(b, "CPUs=");
                ulv_cpus_format(b, cpus);
                ulv_strbuf_addc(b, '\n');
        }
}

static void add_channel(struct ulv_strbuf *b, const struct holding *h) {
        if (h->keep == 0)
                return;
        ulv_strbuf_addf(b, "[Channel \"%.*s\"]\nKind=%s\nSize=", (int) strcspn(h->id, "@"), h->id, h->word);
        ulv_size_format(b, h->size);
        ulv_strbuf_addf(b, "\nState=%s\n", h->memory[0] && ulv_streq(h->memory, h->other) ? "connected" : "waiting");
}

static int build_view(const struct ulv_monitor *m, struct ulv_strbuf *b) {
        const struct seen *s = &m->seen;

        ulv_strbuf_addf(b, "[Partition]\nName=%s\nType=%s\nLife=%llu\n", m->name, ulv_plugin.type, (unsigned long long) s->incarnation);
        add_cpu(b, &s->grant);
        ulv_strbuf_add(b, "[Memory]\nSize=");
        ulv_size_format(b, s->grant.memory_bytes);
        ulv_strbuf_addc(b, '\n');
        for (size_t i = 0; i < s->n_holdings; i++)
                if (ulv_streq(s->holdings[i].kind, "channel"))
                        add_channel(b, &s->holdings[i]);
        return ulv_strbuf_error(b);
}

void call_follow(struct ulv_monitor *m) {
        _cleanup_strbuf_ struct ulv_strbuf b = { .max = ULV_PORT_TEXT_MAX };
        int r = m->port_fd >= 0 && m->seen.valid ? build_view(m, &b) : -ENOTCONN;

        if (r == -ENOTCONN || (r >= 0 && m->view_told && ulv_streq(m->view_told, ulv_strbuf_str(&b))))
                return;
        if (r >= 0)
                r = port_view(m, ulv_strbuf_str(&b), b.len);
        if (r < 0) {
                ulv_log_errno(r, "%s can't be told its view", m->name);
                return;
        }
        free(m->view_told);
        m->view_told = strdup(ulv_strbuf_str(&b));
}

void calls_tell(struct ulv_monitor *m) {
        free(m->view_told);
        m->view_told = NULL;
        call_follow(m);
}

/* --- STOP ------------------------------------------------------------------------------------------------------ */

static void stop_by_signal(struct ulv_monitor *m) {
        if (!m->stop_called)
                return;
        m->stop_called = false;
        (void) sd_event_source_set_enabled(m->call_timer, SD_EVENT_OFF);
        if (m->payload == PAYLOAD_ENDING && !m->killed && ulv_plugin.ask_stop(m) < 0)
                end_kill(m);
}

static int on_stop_unanswered(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        stop_by_signal(userdata);
        return 0;
}

bool call_stop(struct ulv_monitor *m, uint64_t timeout) {
        resize_forget(m);
        if (!ask(m, ULV_CALL_STOP, timeout, 0, ""))
                return false;
        m->stop_called = monitor_arm(m, &m->call_timer, timeout / 2, on_stop_unanswered) >= 0;
        return m->stop_called;
}

/* --- RESIZE ---------------------------------------------------------------------------------------------------- */

/* In 1/1000 hardware threads. */
static uint64_t cpu_of(const struct ulv_grant *g) { return g->n_cores > 0 ? ulv_cpus_count(&g->cpus) * 1000 : g->share; }

static bool takes_something(const struct ulv_grant *before, const struct ulv_grant *g) {
        return g->memory_bytes < before->memory_bytes || cpu_of(g) < cpu_of(before);
}

void resize_forget(struct ulv_monitor *m) {
        if (m->resize == RESIZE_ASKED || m->resize == RESIZE_LATER)
                (void) sd_event_source_set_enabled(m->call_timer, SD_EVENT_OFF);
        m->resize = RESIZE_NONE;
}

static void resize_goes_on(struct ulv_monitor *m) {
        resize_forget(m);
        m->resize = RESIZE_AGREED;
        monitor_turn(m);
}

static int on_resize_unanswered(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct ulv_monitor *m = userdata;

        if (m->resize != RESIZE_ASKED && m->resize != RESIZE_LATER)
                return 0;
        ulv_log(ULV_LOG_WARNING, "%s was asked to give something up, and %s in time: it is taken all the same", m->name,
                m->resize == RESIZE_ASKED ? "did not answer" : "did not release it");
        resize_goes_on(m);
        return 0;
}

bool call_resize(struct ulv_monitor *m) {
        const struct ulv_grant *g = &m->seen.grant;

        if (m->resize != RESIZE_NONE && grant_same(&m->resizing, g))
                return m->resize != RESIZE_AGREED;
        resize_forget(m);
        if (m->enforcement != ENFORCED_DONE || m->frozen == FROZEN_YES || !takes_something(&m->enforced, g))
                return false;
        if (!ask(m, ULV_CALL_RESIZE, cpu_of(g), g->memory_bytes, ""))
                return false;
        m->resizing = *g;
        m->resize = monitor_arm(m, &m->call_timer, RESIZE_ANSWER_USEC, on_resize_unanswered) >= 0 ? RESIZE_ASKED : RESIZE_NONE;
        return m->resize == RESIZE_ASKED;
}

static void resize_answered(struct ulv_monitor *m, uint32_t code) {
        bool less_cpu, less_memory;
        char why[MONITOR_RESULT_MAX];

        if (m->resize != RESIZE_ASKED)
                return;
        if (code == ULV_CALL_LATER && monitor_arm(m, &m->call_timer, RESIZE_LATER_USEC, on_resize_unanswered) >= 0) {
                m->resize = RESIZE_LATER;
                return;
        }
        if (code != ULV_CALL_REFUSED && code != ULV_CALL_FAILED)
                return resize_goes_on(m);       /* also who went away: then it is as if nobody had listened */
        less_cpu = cpu_of(&m->resizing) < cpu_of(&m->enforced);
        less_memory = m->resizing.memory_bytes < m->enforced.memory_bytes;
        (void) snprintf(why, sizeof(why), "its guest %s give up %s (RESIZE)\nuvctl logs %s; or stop it, set it, and start it again",
                        code == ULV_CALL_REFUSED ? "refuses to" : "could not", less_cpu && less_memory ? "CPU and memory" : less_cpu ? "CPU" : "memory", m->name);
        resize_forget(m);
        monitor_refuse_grant(m, why);
}

/* --- PATH, TIME -------------------------------------------------------------------------------------------------- */

void call_path(struct ulv_monitor *m, const char *label, bool connected) { (void) ask(m, ULV_CALL_PATH, connected, 0, label); }

void call_time(struct ulv_monitor *m, enum call_time_why why) {
        struct timespec t;

        (void) clock_gettime(CLOCK_REALTIME, &t);
        (void) ask(m, ULV_CALL_TIME, why, (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000, "");
}

static int on_clock_set(ULV_UNUSED sd_event_source *s, int fd, ULV_UNUSED uint32_t revents, void *userdata);

/* A timer that never comes, and that the kernel cancels when the clock is set. */
static int arm_clock(int fd) {
        const struct itimerspec never = { .it_value.tv_sec = INT64_MAX / 1000000000 };

        return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0 ? -errno : 0;
}

static void watch_clock(struct ulv_monitor *m) {
        _cleanup_close_ int fd = -1;

        if (m->clock || !listens(m, ULV_CALL_TIME))
                return;
        fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
        if (fd < 0 || arm_clock(fd) < 0 || sd_event_add_io(m->event, &m->clock, fd, EPOLLIN, on_clock_set, m) < 0 ||
            sd_event_source_set_io_fd_own(m->clock, true) < 0) {
                m->clock = sd_event_source_disable_unref(m->clock);
                ulv_log(ULV_LOG_WARNING, "%s won't be told when the clock is set", m->name);
                return;
        }
        (void) ulv_steal_fd(&fd);
}

static int on_clock_set(ULV_UNUSED sd_event_source *s, int fd, ULV_UNUSED uint32_t revents, void *userdata) {
        struct ulv_monitor *m = userdata;
        uint64_t n;

        if (read(fd, &n, sizeof(n)) >= 0 || errno == EAGAIN)
                return 0;
        call_time(m, CALL_TIME_SET);
        if (!listens(m, ULV_CALL_TIME) || arm_clock(fd) < 0)
                m->clock = sd_event_source_disable_unref(m->clock);
        return 0;
}

/* --- SELFTEST ----------------------------------------------------------------------------------------------------- */

static void selftest_reply(struct ulv_monitor *m, uint64_t value) {
        if (!m->selftest)
                return;
        (void) sd_bus_reply_method_return(m->selftest, "uuu", (uint32_t) (value & 0xffff), (uint32_t) (value >> 16 & 0xffff), (uint32_t) (value >> 32 & 0xffff));
        selftest_forget(m);
}

void selftest_forget(struct ulv_monitor *m) {
        m->selftest = sd_bus_message_unref(m->selftest);
        m->selftest_timer = sd_event_source_disable_unref(m->selftest_timer);
}

static int on_selftest_unanswered(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct ulv_monitor *m = userdata;

        (void) sd_bus_reply_method_errorf(m->selftest, ULV_ERROR_TIMEOUT, "%s does not say whether it is well\nits guest did not answer SELFTEST\nuvctl logs %s",
                                          m->name, m->name);
        selftest_forget(m);
        return 0;
}

int call_selftest(struct ulv_monitor *m, sd_bus_message *call, sd_bus_error *error) {
        if (m->payload != PAYLOAD_RUNNING || m->frozen == FROZEN_YES || !listens(m, ULV_CALL_SELFTEST))
                return sd_bus_reply_method_return(call, "uuu", (uint32_t) ULV_CALL_NOT_THERE, 0u, 0u);
        if (m->selftest)
                return sd_bus_error_setf(error, ULV_ERROR_CONFLICT, "%s is testing itself\nsomebody else has asked it to\nagain in a moment", m->name);
        if (monitor_arm(m, &m->selftest_timer, SELFTEST_USEC, on_selftest_unanswered) < 0 || !ask(m, ULV_CALL_SELFTEST, 0, 0, ""))
                return sd_bus_error_setf(error, ULV_ERROR_FAILED, "%s can't be asked\nits guest-facing half isn't there now\nagain in a moment", m->name);
        m->selftest = sd_bus_message_ref(call);
        return 1;       /* answered when it has answered */
}

/* --- what uv-port says --------------------------------------------------------------------------------------------- */

static void begins_to_listen(struct ulv_monitor *m, uint64_t mask) {
        m->listens = mask & ULV_CALL_LISTENS_ALL;
        if (!listens(m, ULV_CALL_RESIZE) && m->resize == RESIZE_LATER)
                resize_goes_on(m);      /* who promised a RELEASE is gone */
        watch_clock(m);
        if (listens(m, ULV_CALL_PATH))
                channels_paths(m);
}

void call_said(struct ulv_monitor *m, uint32_t verb, uint64_t value) {
        if (verb == ULV_CALL_HELLO)
                begins_to_listen(m, value);
        else if (verb == ULV_CALL_READY && !m->said_ready)
                monitor_said_ready(m);
        else if (verb == ULV_CALL_RELEASE && m->resize == RESIZE_LATER)
                resize_goes_on(m);
}

void call_answered(struct ulv_monitor *m, uint32_t verb, uint64_t value) {
        uint32_t code = value & 0xffff;

        if (verb == ULV_CALL_STOP)
                stop_by_signal(m);
        else if (verb == ULV_CALL_RESIZE)
                resize_answered(m, code);
        else if (verb == ULV_CALL_SELFTEST)
                selftest_reply(m, value);
}

/* uv-port is gone, and what it was asked with it. The next one hears from who listens anew. */
void calls_lost(struct ulv_monitor *m) {
        m->listens = 0;
        stop_by_signal(m);
        selftest_reply(m, ULV_CALL_NOT_THERE);
        if (m->resize == RESIZE_ASKED || m->resize == RESIZE_LATER)
                resize_goes_on(m);
}

void calls_end(struct ulv_monitor *m) {
        m->listens = 0;
        selftest_reply(m, ULV_CALL_NOT_THERE);
        m->said_ready = false;
        m->stop_called = false;
        resize_forget(m);
        m->clock = sd_event_source_disable_unref(m->clock);
        free(m->view_told);
        m->view_told = NULL;
}
