/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The monitor of one partition: contains it, whoever else is alive.
 *
 * Everything that happens (a changed view, a dead leader, a timer, SIGTERM) only marks what it is and
 * asks for a turn; turn() then looks at the whole and takes the next step. What is wanted comes from the
 * view (its state) or from SIGTERM, which is PID 1's or uv-launch's word and needs no uvd. What is, is
 * `payload`:
 *
 *      UNKNOWN --adopt--> RUNNING <--started-- STARTING <--start-- NONE
 *         |                  |                    |                  ^
 *         +--nothing runs--> ENDING <-------------+                  |
 *                              | gone, cleaned up                    |
 *                              +--> ENDED --reported--> exit 0       |
 *                              +--(nothing had run)------------------+
 *
 * A restarted monitor begins at UNKNOWN and finds its payload by the pidfd in the fd store, or, where the
 * store was lost with its keeper, by the pid and start time that the view records. What the view says and
 * the truth doesn't bear out is reported as ended. */

#include "monitor/monitor.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <systemd/sd-daemon.h>

#include "lib/fd.h"
#include "lib/event.h"
#include "lib/protocol.h"

#define GIVE_UP_USEC (2 * 1000 * 1000u)
#define STOP_MARGIN_USEC (30 * UINT64_C(1000000))       /* for the kill after it, the proof and the report */
#define ENFORCE_AGAIN_USEC (5 * 1000 * 1000u)

/* --- for backends ------------------------------------------------------------------------------------ */

const char *ulv_monitor_name(const struct ulv_monitor *m) { return m->name; }
const char *ulv_monitor_root(const struct ulv_monitor *m) { return m->root; }
const char *ulv_monitor_cgroup(const struct ulv_monitor *m) { return m->cgroup; }
const char *ulv_monitor_scope(const struct ulv_monitor *m) { return m->scope[0] ? m->scope : NULL; }
const char *ulv_monitor_slice(const struct ulv_monitor *m) { return m->slice; }
int ulv_monitor_set_cgroup(struct ulv_monitor *m, const char *scope, const char *dir) {
        char *path = strdup(dir);

        if (!path)
                return -ENOMEM;
        free(m->cgroup);
        m->cgroup = path;
        return !scope || ulv_copy(m->scope, sizeof(m->scope), scope) ? 0 : -ENAMETOOLONG;
}

int ulv_monitor_run_dir(const struct ulv_monitor *m) { return m->run_dir; }
sd_event *ulv_monitor_event(struct ulv_monitor *m) { return m->event; }
void *ulv_monitor_data(struct ulv_monitor *m) { return m->data; }
void ulv_monitor_set_data(struct ulv_monitor *m, void *data) { m->data = data; }
int ulv_monitor_leader_pidfd(const struct ulv_monitor *m) { return m->leader_pidfd; }
pid_t ulv_monitor_leader(const struct ulv_monitor *m) { return m->leader; }

const char *payload_text(enum payload p) {
        static const char *const text[] = { "unknown", "nothing runs", "starting", "running", "ending", "ended" };

        return text[p];
}

int monitor_arm(struct ulv_monitor *m, sd_event_source **s, uint64_t usec, sd_event_time_handler_t handler) {
        int r;

        if (!*s)
                return sd_event_add_time_relative(m->event, s, CLOCK_MONOTONIC, usec, 1, handler, m);
        r = sd_event_source_set_time_relative(*s, usec);
        return r < 0 ? r : sd_event_source_set_enabled(*s, SD_EVENT_ONESHOT);
}

void monitor_turn(struct ulv_monitor *m) { (void) sd_event_source_set_enabled(m->turn, SD_EVENT_ONESHOT); }

void ulv_monitor_look(struct ulv_monitor *m) { monitor_turn(m); }

void monitor_exit(struct ulv_monitor *m) {
        char text[MONITOR_RESULT_MAX + 64];

        (void) unlinkat(m->run_dir, ULV_DEATHS_NOTE, 0);
        /* Without a word before it, PID 1 would take an end in order for a failed start. */
        if (!m->failed)
                store_notify("READY=1");
        (void) snprintf(text, sizeof(text), "STOPPING=1\nSTATUS=%s%s", m->payload == PAYLOAD_ENDED ? "ended: " : "nothing runs", m->payload == PAYLOAD_ENDED ? m->result : "");
        store_notify(text);
        (void) sd_event_exit(m->event, m->failed && m->payload == PAYLOAD_ENDED ? ULV_MONITOR_FAILED : EXIT_SUCCESS);
}

/* A starter that waits for our end would else kill us before the partition's own time is up. */
void monitor_ask_time(struct ulv_monitor *m) {
        uint64_t usec = (m->seen.definition ? m->seen.definition->stop_timeout : 0) + STOP_MARGIN_USEC;
        char text[64];

        (void) snprintf(text, sizeof(text), "EXTEND_TIMEOUT_USEC=%llu", (unsigned long long) usec);
        store_notify(text);
}

static int on_leader(ULV_UNUSED sd_event_source *s, ULV_UNUSED int fd, ULV_UNUSED uint32_t revents, void *userdata) {
        struct ulv_monitor *m = userdata;

        m->leader_watch = sd_event_source_disable_unref(m->leader_watch);
        if (m->payload == PAYLOAD_RUNNING || m->payload == PAYLOAD_STARTING) {
                leader_status(m);
                m->payload = PAYLOAD_ENDING;
                m->gone_delay = 0;
                m->killed = false;
                (void) sd_event_now(m->event, CLOCK_MONOTONIC, &m->gone_since);
        }
        monitor_turn(m);
        return 0;
}

/* The pidfd is ours from here. Without it in the store a restart would lose the payload's identity. */
static void take_leader(struct ulv_monitor *m, int pidfd, pid_t leader) {
        int r;

        if (pidfd != m->leader_pidfd)
                (void) ulv_close(m->leader_pidfd);
        m->leader_pidfd = pidfd;
        m->leader = leader;
        m->leader_start = leader_start_ticks(leader);
        if (store_find(m, ulv_plugin.leader_fd_name) < 0 && (r = ulv_monitor_store_fd(m, ulv_plugin.leader_fd_name, pidfd)) < 0)
                ulv_log_errno(r, "the leader's pidfd can't be kept for a restart");
        m->leader_watch = sd_event_source_disable_unref(m->leader_watch);
        r = sd_event_add_io(m->event, &m->leader_watch, pidfd, EPOLLIN, on_leader, m);
        if (r < 0)
                ulv_log_errno(r, "the leader can't be watched");
}

static void say_status(const struct ulv_monitor *m) {
        char text[128];

        (void) snprintf(text, sizeof(text), "READY=1\nSTATUS=%s, leader %d", payload_text(m->payload), (int) m->leader);
        store_notify(text);
}

static int on_start_timeout(sd_event_source *s, uint64_t usec, void *userdata);

/* Once, when the payload runs. Who waits for a start doesn't wait for this: it comes after the report. */
static void narrow(struct ulv_monitor *m) {
        int r = ulv_plugin.narrow && !m->narrowed ? ulv_plugin.narrow(m, ULV_STAGE_STARTED) : 0;

        if (r < 0)
                ulv_log_errno(r, "rights that aren't needed any more can't be given up");
        m->narrowed = true;
}

/* For the ledger and the starter it runs from here on. */
static void has_started(struct ulv_monitor *m, bool is_news) {
        if (is_news)
                ulv_event(ULV_EVENT_STARTED, ULV_LOG_INFO, m->name, "%s runs, leader %d", m->name, (int) m->leader);
        (void) sd_event_source_set_enabled(m->start_timer, SD_EVENT_OFF);
        say_status(m);
        monitor_turn(m);
}

static void running(struct ulv_monitor *m) {
        bool starting = m->payload == PAYLOAD_STARTING;

        m->payload = PAYLOAD_RUNNING;
        oom_watch(m);
        m->may_freeze = ulv_plugin.freeze && ulv_plugin.may_freeze(m);
        m->frozen = FROZEN_UNKNOWN;
        m->enforcement = ENFORCED_NOT;  /* now with the payload there: applied again, and read back */
        if (!call_awaits_ready(m))
                return has_started(m, starting);
        /* An adopted one has its whole StartTimeout again: how much of it was used died with who knew. */
        if (!starting)
                (void) monitor_arm(m, &m->start_timer, m->seen.definition->start_timeout, on_start_timeout);
        monitor_turn(m);
}

void monitor_said_ready(struct ulv_monitor *m) {
        bool awaited = m->payload == PAYLOAD_RUNNING && call_awaits_ready(m);

        m->said_ready = true;
        if (awaited)
                has_started(m, true);
        monitor_turn(m);
}

void ulv_monitor_started(struct ulv_monitor *m, int leader_pidfd, pid_t leader) {
        take_leader(m, leader_pidfd, leader);
        port_payload_started(m);
        /* Where uv-init starts the partition's program, its word decides: an exec that fails isn't a start. */
        if (m->payload == PAYLOAD_UNKNOWN || (m->payload == PAYLOAD_STARTING && (!m->init_used || m->init_ready)))
                running(m);
}

/* May come before the backend has noticed that it is done. */
void monitor_ready(struct ulv_monitor *m) {
        m->init_ready = true;
        if (m->payload == PAYLOAD_STARTING && m->leader_pidfd >= 0)
                running(m);
}

/* The result that people read is why; uvctl says itself what failed. All three lines go to the log. */
void ulv_monitor_start_failed(struct ulv_monitor *m, const struct ulv_diag *d) {
        ulv_log(ULV_LOG_ERR, "%s", d->what[0] ? d->what : "the start failed");
        if (d->why[0])
                ulv_log(ULV_LOG_ERR, "why: %s", d->why);
        if (d->try_[0])
                ulv_log(ULV_LOG_ERR, "try: %s", d->try_);
        end_result(m, true, "%s", d->why[0] ? d->why : d->what[0] ? d->what : "start failed");
        end_begin(m, false, true);
        monitor_turn(m);
}

/* --- enforcement ------------------------------------------------------------------------------------- */

static int on_enforce_again(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct ulv_monitor *m = userdata;

        if (m->enforcement == ENFORCED_FAILED)
                m->enforcement = ENFORCED_NOT;
        monitor_turn(m);
        return 0;
}

static bool gives_up_something(const struct seen *s) {
        for (size_t i = 0; i < s->n_holdings; i++)
                if (s->holdings[i].keep < s->holdings[i].amount)
                        return true;
        return false;
}

/* Brings the payload under the grant of the view. What can't be enforced is refused if it takes something
 * away (the ledger leaves it with us), and tried again if not. 0: enforced. */
static int enforce(struct ulv_monitor *m, struct ulv_diag *reterr) {
        struct ulv_enforced how = { .cpu = "tracked", .memory = "tracked" };
        int r = ulv_plugin.enforce(m, &m->seen.grant, &how, reterr);

        m->enforced = m->seen.grant;
        if (r == 0) {
                m->enforcement = ENFORCED_DONE;
                memcpy(m->how_limits, how.limits, sizeof(m->how_limits));       /* string constants of the backend */
                (void) snprintf(m->how_cpu, sizeof(m->how_cpu), "%s", how.cpu ? how.cpu : "tracked");
                (void) snprintf(m->how_memory, sizeof(m->how_memory), "%s", how.memory ? how.memory : "tracked");
                return 0;
        }
        if (r < 0 && !reterr->what[0])
                ulv_diag_what(reterr, ULV_EXIT_FAILED, "the grant can't be enforced: %s", strerror(-r));
        (void) snprintf(m->refusal, sizeof(m->refusal), "%.240s%s%.260s", reterr->what, reterr->why[0] ? ": " : "", reterr->why);
        m->enforcement = gives_up_something(&m->seen) ? ENFORCED_REFUSED : ENFORCED_FAILED;
        ulv_log(ULV_LOG_WARNING, "%s", m->refusal);
        if (m->enforcement == ENFORCED_FAILED)
                (void) monitor_arm(m, &m->enforce_timer, ENFORCE_AGAIN_USEC, on_enforce_again);
        return r;
}

/* Nothing is applied, and nothing was: what the view takes away stays where it is. */
void monitor_refuse_grant(struct ulv_monitor *m, const char *why) {
        m->enforced = m->seen.grant;
        m->enforcement = ENFORCED_REFUSED;
        (void) snprintf(m->refusal, sizeof(m->refusal), "%s", why);
        ulv_log(ULV_LOG_WARNING, "%s: %s", m->name, why);
        monitor_turn(m);
}

static void follow_grant(struct ulv_monitor *m) {
        struct ulv_diag d = { 0 };

        if ((m->enforcement == ENFORCED_NOT || !grant_same(&m->enforced, &m->seen.grant)) && !call_resize(m)) {
                (void) enforce(m, &d);
                resize_forget(m);
        }
}

/* --- the turns --------------------------------------------------------------------------------------- */

static int on_start_timeout(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct ulv_monitor *m = userdata;
        struct ulv_diag d = { 0 };
        bool runs = m->payload == PAYLOAD_RUNNING && call_awaits_ready(m);

        if (m->payload != PAYLOAD_STARTING && !runs)
                return 0;
        ulv_diag_what(&d, ULV_EXIT_TIMEOUT, "cannot start %s", m->name);
        ulv_diag_why(&d, "it didn't %s within its StartTimeout%s", runs ? "say READY" : "start", m->start_waits ? ": the memory of a channel isn't there" : "");
        ulv_diag_try(&d, "a longer StartTimeout=, or uvctl logs %s", m->name);
        ulv_monitor_start_failed(m, &d);
        return 0;
}

static void start_has_failed(struct ulv_monitor *m, int r, struct ulv_diag *d) {
        if (!d->what[0]) {
                ulv_diag_what(d, ULV_EXIT_FAILED, "cannot start %s", m->name);
                ulv_diag_why(d, "%s", strerror(r < 0 ? -r : EIO));
        }
        ulv_monitor_start_failed(m, d);
}

/* All else is ready. Comes again, each turn, as long as start_waits. */
static void start_payload(struct ulv_monitor *m) {
        struct ulv_diag d = { 0 };
        int r;

        if (ulv_plugin.fixed_channels) {
                channels_follow(m);
                m->start_waits = !channels_are_there(m);
                if (m->start_waits)
                        return;
        }
        r = ulv_plugin.start(m, m->seen.definition, &m->seen.grant, &d);
        /* What the payload says waits for it in the sockets. */
        if (r == 0 && !ulv_plugin.no_port)
                r = port_begin(m);
        if (r != 0)
                start_has_failed(m, r, &d);
}

static void start(struct ulv_monitor *m) {
        struct ulv_diag d = { 0 };
        int r = 0;

        m->payload = PAYLOAD_STARTING;
        m->incarnation = m->seen.incarnation;
        (void) unlinkat(m->run_dir, ULV_STOP_NOTE, 0);
        m->stop_wanted = false;
        m->start_waits = m->found_nothing = m->killed = m->stop_asked = m->failed = m->init_used = m->init_ready = false;
        m->said_ready = false;
        m->result[0] = m->exited[0] = 0;
        if (!m->seen.definition) {
                ulv_diag_what(&d, ULV_EXIT_FAILED, "cannot start %s", m->name);
                ulv_diag_why(&d, "its definition in the ledger can't be read by this version");
                return ulv_monitor_start_failed(m, &d);
        }
        if (m->scope[0])
                r = scope_place(m, m->seen.grant.n_cores > 0);
        if (r == 0 && !ulv_plugin.no_port)
                r = port_open(m);
        if (r == 0)
                r = enforce(m, &d);
        if (r == 0 && (r = monitor_arm(m, &m->start_timer, m->seen.definition->start_timeout, on_start_timeout)) >= 0)
                return start_payload(m);
        start_has_failed(m, r, &d);
}

/* The pid and start time that the ledger holds name one process, even after the fd store was lost. */
static int leader_by_record(const struct ulv_monitor *m) {
        _cleanup_close_ int fd = -1;

        if (m->seen.leader == 0 || m->seen.start == 0 || m->seen.leader > INT32_MAX)
                return -1;
        fd = (int) syscall(SYS_pidfd_open, (pid_t) m->seen.leader, 0);
        return fd >= 0 && leader_start_ticks((pid_t) m->seen.leader) == m->seen.start ? ulv_steal_fd(&fd) : -1;
}

/* --- a stop that uvd wasn't told of -------------------------------------------------------------------- */

static void note_stop(const struct ulv_monitor *m) {
        _cleanup_close_ int fd = openat(m->run_dir, ULV_STOP_NOTE, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd < 0)
                ulv_log(ULV_LOG_WARNING, "that %s was stopped can't be noted: uvd will take it for a failure", m->name);
}

static bool stop_was_noted(const struct ulv_monitor *m) { return faccessat(m->run_dir, ULV_STOP_NOTE, F_OK, AT_SYMLINK_NOFOLLOW) == 0; }

static void nothing_runs(struct ulv_monitor *m) {
        /* A payload that we had, or should have, and that is gone is an end; else there was none yet. */
        m->found_nothing = m->leader_pidfd < 0;
        m->payload = PAYLOAD_ENDING;
        m->gone_delay = 0;
        (void) sd_event_now(m->event, CLOCK_MONOTONIC, &m->gone_since);
        end_kill(m);
        monitor_turn(m);
}

static void adopt(struct ulv_monitor *m) {
        int fd = fcntl(store_find(m, ulv_plugin.leader_fd_name), F_DUPFD_CLOEXEC, 3), r;

        m->incarnation = m->seen.incarnation;
        m->stop = m->stop || (m->seen.state != ULV_STARTING && stop_was_noted(m));     /* else the note is of a life before */
        if (fd < 0)
                fd = leader_by_record(m);
        if (fd >= 0 && ulv_monitor_pidfd_dead(fd)) {
                m->leader_pidfd = fd;
                return nothing_runs(m);
        }
        r = ulv_plugin.adopt(m, m->seen.definition, fd);
        if (r == 0 && fd >= 0) {
                if (m->leader_pidfd < 0)
                        take_leader(m, fd, ulv_monitor_pidfd_pid(fd));
                ulv_event(ULV_EVENT_ADOPTED, ULV_LOG_NOTICE, m->name, "%s runs on: adopted, leader %d", m->name, (int) m->leader);
                if (!ulv_plugin.no_port && (r = port_begin(m)) < 0)
                        ulv_log_errno(r, "console and exec of %s are lost", m->name);
                narrow(m);      /* which also sees what is attached: the report tells of it */
                if (m->payload == PAYLOAD_UNKNOWN)
                        running(m);
                return;
        }
        if (r < 0)
                ulv_log_errno(r, "the payload of %s can't be adopted, and is ended", m->name);
        m->leader_pidfd = m->leader_pidfd < 0 && r < 0 ? fd : m->leader_pidfd;
        nothing_runs(m);
}

static bool wanted_end(const struct ulv_monitor *m) {
        return m->stop || (m->seen.valid && (m->seen.state == ULV_STOPPING || !ulv_state_is_live(m->seen.state)));
}

/* Nothing runs. Is something to be started, or to be reported as lost, or are we done? */
static void turn_none(struct ulv_monitor *m) {
        /* A view of an earlier life tells what may run, never what to start. */
        if (!m->greeted) {
                if (m->stop)
                        monitor_exit(m);
                return;
        }
        if (m->seen.state == ULV_STARTING && !m->stop)
                return start(m);
        if (!ulv_state_is_live(m->seen.state))
                return monitor_exit(m);
        m->payload = PAYLOAD_ENDED;
        m->incarnation = m->seen.incarnation;
        m->stop = m->stop || stop_was_noted(m);
        m->stop_wanted = m->seen.state == ULV_STOPPING || m->stop;
        m->result[0] = 0;
        end_result(m, true, m->stop ? "stopped" : "unknown");
        monitor_turn(m);
}

static int on_give_up(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct ulv_monitor *m = userdata;

        ulv_log(ULV_LOG_WARNING, "%s has stopped, but uvd isn't there to hear it", m->name);
        note_stop(m);
        monitor_exit(m);
        return 0;
}

static int on_turn(ULV_UNUSED sd_event_source *s, void *userdata) {
        struct ulv_monitor *m = userdata;

        m->stop = m->stop || (m->end_only && m->greeted);
        if (m->past_only && m->greeted && m->seen.state == ULV_STARTING && m->payload == PAYLOAD_UNKNOWN)
                return monitor_exit(m), 0;
        if (m->payload == PAYLOAD_UNKNOWN && m->seen.valid && m->seen.definition)
                adopt(m);
        else if (m->payload == PAYLOAD_UNKNOWN && (m->greeted || m->stop))
                nothing_runs(m);
        if ((m->payload == PAYLOAD_STARTING || m->payload == PAYLOAD_RUNNING) && wanted_end(m))
                end_begin(m, true, m->payload == PAYLOAD_STARTING || (m->seen.valid && m->seen.force));
        else if (m->payload == PAYLOAD_ENDING && wanted_end(m))
                end_begin(m, true, m->seen.valid && m->seen.force);
        if (m->payload == PAYLOAD_RUNNING && m->greeted) {
                follow_grant(m);
                pause_follow(m);
                if (m->narrowed)
                        attach_follow(m);
                channels_follow(m);
                call_follow(m);
        }
        if (m->payload == PAYLOAD_STARTING && m->start_waits && m->greeted)
                start_payload(m);
        if (m->payload == PAYLOAD_ENDING)
                end_prove(m);
        if (m->payload == PAYLOAD_ENDED && m->greeted && m->incarnation > 0 && m->seen.incarnation != m->incarnation) {
                /* The end of a life that the ledger has closed already. The new one needs the rights that this
                 * process has given up: the starter brings another. */
                ulv_log(ULV_LOG_INFO, "%s is to live again: a new monitor for it", m->name);
                (void) sd_event_exit(m->event, EXIT_FAILURE);
                return 0;
        }
        if (m->payload == PAYLOAD_NONE)
                turn_none(m);
        if (m->payload == PAYLOAD_ENDED && m->stop && !m->giving_up) {
                m->giving_up = true;
                (void) monitor_arm(m, &m->give_up_timer, GIVE_UP_USEC, on_give_up);
        }
        report_send(m);
        if (m->payload == PAYLOAD_RUNNING && !m->narrowed) {
                narrow(m);
                monitor_turn(m);
        }
        return 0;
}

int monitor_begin(struct ulv_monitor *m) {
        int r = sd_event_add_defer(m->event, &m->turn, on_turn, m);

        /* After what else has arrived: one look at the whole, not one for each event. */
        return r < 0 ? r : sd_event_source_set_priority(m->turn, SD_EVENT_PRIORITY_NORMAL + 1);
}
