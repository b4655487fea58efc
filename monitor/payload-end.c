/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How a payload ends, and how that is proved.
 *
 * Whatever the cause (asked, killed, dead by itself, a start that failed), the way is the same: ENDING,
 * where the backend is asked again and again whether provably nothing is left; then its clean-up; then
 * ENDED, which is reported. Only the report gives the resources back, so nothing is given back early.
 *
 * The exit status of the leader comes from where it can be had: from uv-init's own word through uv-port,
 * from waitid() if the leader is our child, from the pidfd itself (Linux 6.15 tells it to anybody once
 * the process is reaped), else "unknown". */

#include "monitor/monitor.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "lib/event.h"

#define GONE_FIRST_USEC 1000u
#define GONE_MAX_USEC (200 * 1000u)
#define KILL_AGAIN_USEC (500 * 1000u)
#define STATUS_WAIT_USEC (200 * 1000u)  /* how long the proof waits for somebody to tell the status */
#define CLEANUP_TRIES 20

/* linux/pidfd.h of 6.15, under our own name since Debian 12 hasn't got it. */
struct pidfd_exit_info {
        uint64_t mask, cgroupid;
        uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
        int32_t exit_code;
        uint32_t coredump_mask, spare;
};
#define PIDFD_EXIT_INFO _IOWR(0xFF, 11, struct pidfd_exit_info)
#define PIDFD_EXIT_MASK (UINT64_C(1) << 3)

bool ulv_monitor_pidfd_dead(int pidfd) {
        struct pollfd p = { .fd = pidfd, .events = POLLIN };

        return pidfd < 0 || poll(&p, 1, 0) != 0;
}

pid_t ulv_monitor_pidfd_pid(int pidfd) {
        char path[64], line[128];
        FILE *f;
        int pid = 0;

        (void) snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
        f = fopen(path, "re");
        while (f && fgets(line, sizeof(line), f))
                if (sscanf(line, "Pid: %d", &pid) == 1)
                        break;
        if (f)
                (void) fclose(f);
        return pid > 0 ? pid : 0;
}

/* Field 22 of /proc/PID/stat, counted from the end of the name, which may hold anything. */
uint64_t leader_start_ticks(pid_t pid) {
        char path[64], line[2048], *p;
        size_t n;
        FILE *f;

        (void) snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
        f = fopen(path, "re");
        if (!f)
                return 0;
        n = fread(line, 1, sizeof(line) - 1, f);
        (void) fclose(f);
        line[n] = 0;
        p = strrchr(line, ')');
        for (unsigned field = 2; p && field < 22; field++)
                p = strchr(p + 1, ' ');
        return p ? strtoull(p + 1, NULL, 10) : 0;
}

/* The first result counts: a kill after a time-out doesn't make it the payload's own end. */
void end_result(struct ulv_monitor *m, bool failed, const char *fmt, ...) {
        va_list ap;

        if (m->result[0])
                return;
        va_start(ap, fmt);
        (void) vsnprintf(m->result, sizeof(m->result), fmt, ap);
        va_end(ap);
        m->failed = failed && !m->stop_wanted;
}

static void result_of_exit(struct ulv_monitor *m, int code, bool by_signal) {
        if (by_signal)
                end_result(m, true, "signal:%d", code);
        else if (code == 0 && call_awaits_ready(m))
                end_result(m, true, "it ended before it said READY");
        else
                end_result(m, code != 0, "exit:%d", code);
}

void leader_status(struct ulv_monitor *m) {
        struct pidfd_exit_info info = { .mask = PIDFD_EXIT_MASK };
        siginfo_t si = { 0 };
        int n;

        if (m->exited[0] && sscanf(m->exited, "%d", &n) == 1)
                result_of_exit(m, n >= 256 ? n - 256 : n, n >= 256);
        if (m->leader_pidfd < 0)
                return;
        /* Why the partition's program could not be executed is uv-init's to tell, and its death may be seen
         * here before its word has come through uv-port: the word is waited for. */
        if (m->init_used && !m->init_ready && !m->stop_wanted && m->gone_delay < STATUS_WAIT_USEC)
                return;
        if (waitid(P_PIDFD, (id_t) m->leader_pidfd, &si, WEXITED | WNOHANG | __WALL) == 0 && si.si_pid > 0)
                result_of_exit(m, si.si_status, si.si_code != CLD_EXITED);
        else if (ioctl(m->leader_pidfd, PIDFD_EXIT_INFO, &info) == 0 && (info.mask & PIDFD_EXIT_MASK))
                result_of_exit(m, WIFSIGNALED(info.exit_code) ? WTERMSIG(info.exit_code) : WEXITSTATUS(info.exit_code), WIFSIGNALED(info.exit_code));
}

static void forget_leader(struct ulv_monitor *m) {
        oom_done(m);
        m->leader_watch = sd_event_source_disable_unref(m->leader_watch);
        m->leader_pidfd = ulv_close(m->leader_pidfd);
        m->leader = 0;
        m->leader_start = 0;
        (void) ulv_monitor_forget_fd(m, ulv_plugin.leader_fd_name);
}

static int on_gone_timer(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        monitor_turn(userdata);
        return 0;
}

/* Asks again later, less and less often. */
static void again(struct ulv_monitor *m) {
        m->gone_delay = ULV_MIN(ULV_MAX(m->gone_delay * 2, (uint64_t) GONE_FIRST_USEC), (uint64_t) GONE_MAX_USEC);
        if (monitor_arm(m, &m->gone_timer, m->gone_delay, on_gone_timer) < 0)
                (void) sd_event_exit(m->event, EXIT_FAILURE);   /* a restarted monitor goes on from here */
}

void end_kill(struct ulv_monitor *m) {
        int r = ulv_plugin.kill(m);

        m->killed = true;
        if (r < 0)
                ulv_log_errno(r, "the payload can't be killed");
}

static int on_stop_timeout(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct ulv_monitor *m = userdata;

        if (m->payload != PAYLOAD_ENDING || m->killed)
                return 0;
        ulv_log(ULV_LOG_WARNING, "%s didn't stop within its StopTimeout: killed", m->name);
        end_kill(m);
        monitor_turn(m);
        return 0;
}

/* Begins the end, or makes a gentle one a hard one. */
void end_begin(struct ulv_monitor *m, bool wanted, bool at_once) {
        uint64_t timeout = m->seen.definition ? m->seen.definition->stop_timeout : 30 * UINT64_C(1000000);
        bool gentle = m->payload == PAYLOAD_RUNNING && !at_once && timeout > 0;

        m->stop_wanted = m->stop_wanted || wanted;
        if (m->payload != PAYLOAD_ENDING) {
                m->gone_delay = 0;
                (void) sd_event_now(m->event, CLOCK_MONOTONIC, &m->gone_since);
        } else if (!at_once || m->killed)
                return;
        m->payload = PAYLOAD_ENDING;
        pause_thaw(m);
        if (gentle && !m->stop_asked) {
                m->stop_asked = true;
                gentle = (call_stop(m, timeout) || ulv_plugin.ask_stop(m) >= 0) && monitor_arm(m, &m->stop_timer, timeout, on_stop_timeout) >= 0;
        }
        if (!gentle)
                end_kill(m);
}

static bool clean(struct ulv_monitor *m) {
        int r = ulv_plugin.cleanup(m);

        if (r >= 0)
                return true;
        if (++m->cleanup_tries < CLEANUP_TRIES)
                return false;
        /* Proved gone, so what it held is free; what it left is said, not hidden. */
        ulv_log_errno(r, "%s is gone, but not all that it left can be removed", m->name);
        return true;
}

void end_prove(struct ulv_monitor *m) {
        uint64_t now;
        int r;

        if (m->stop_asked && !m->killed && !ulv_monitor_pidfd_dead(m->leader_pidfd))
                return;         /* It has its StopTimeout. */
        leader_status(m);
        r = ulv_plugin.gone(m);
        (void) sd_event_now(m->event, CLOCK_MONOTONIC, &now);
        if (r != 0) {
                /* Its leader is dead or it was killed, and still something lives. */
                if (now >= m->gone_since + KILL_AGAIN_USEC || !m->killed) {
                        m->gone_since = now;
                        end_kill(m);
                }
                return again(m);
        }
        if (m->leader_pidfd >= 0 && !m->result[0] && m->gone_delay < STATUS_WAIT_USEC)
                return again(m);
        if (!clean(m))
                return again(m);
        (void) sd_event_source_set_enabled(m->start_timer, SD_EVENT_OFF);
        (void) sd_event_source_set_enabled(m->stop_timer, SD_EVENT_OFF);
        forget_leader(m);
        port_done(m);
        m->enforcement = ENFORCED_NOT;
        m->payload = m->found_nothing ? PAYLOAD_NONE : PAYLOAD_ENDED;
        if (m->payload == PAYLOAD_ENDED) {
                /* Before uvd and whoever waits hear of it: a start that they ask PID 1 for is then one of another life. */
                store_notify("STOPPING=1");
                end_result(m, true, "unknown");
                ulv_event(m->failed ? ULV_EVENT_FAILED : ULV_EVENT_STOPPED, m->failed ? ULV_LOG_WARNING : ULV_LOG_INFO, m->name,
                          m->failed ? "%s has failed: %s" : "%s is gone: %s", m->name, m->result);
        }
        monitor_turn(m);
}
