/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The simulated backend: a partition that has an owner's rights in the ledger and a process of a few
 * pages, for tests and for rehearsing a machine that one doesn't have. It has no privilege, limits
 * nothing and says so (every resource is "tracked", containment is "simulated").
 *
 * The payload is forked from the monitor into a session of its own, is named uv-sim-NAME (cut to 15
 * bytes by the kernel), sleeps, and ends with status 0 at SIGTERM. Until its pidfd is in the fd store it
 * waits at a pipe and would end with the monitor; so no kill of the monitor leaves one that is unknown.
 * A restarted monitor finds it by that pidfd.
 *
 * Faults (model/definition.h): start-fails, start-hangs (never says that it started), dies (with status
 * 1, Delay= after the start), refuses-shrink, stop-hangs (ignores SIGTERM). Delay= alone delays the start. */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/log.h"
#include "monitor/plugin.h"

struct sim {
        struct ulv_grant grant;         /* in force */
        bool granted, refuse_shrink;
        int go;                         /* the payload's pipe, until it may go */
        pid_t pid;                      /* of one that waits for Delay= */
        int pidfd;
        sd_event_source *delay;
};

static struct sim *sim_of(struct ulv_monitor *m) {
        struct sim *s = ulv_monitor_data(m);

        if (!s && (s = calloc(1, sizeof(*s)))) {
                *s = (struct sim) { .go = -1, .pidfd = -1 };
                ulv_monitor_set_data(m, s);
        }
        return s;
}

/* --- the payload ------------------------------------------------------------------------------------- */

static void on_term(ULV_UNUSED int signo) { _exit(0); }

static void dies_after(uint64_t usec) {
        struct timespec t = { (time_t) (usec / 1000000), (long) (usec % 1000000) * 1000 };

        while (nanosleep(&t, &t) < 0)
                ;
        _exit(1);
}

static _Noreturn void payload(const char *name, const char *fault, uint64_t delay, int go) {
        struct sigaction end = { .sa_handler = ulv_streq(fault, "stop-hangs") ? SIG_IGN : on_term };
        char title[16], byte;
        sigset_t none;
        int null = open("/dev/null", O_RDWR);

        (void) setsid();
        (void) snprintf(title, sizeof(title), "uv-sim-%s", name);
        (void) prctl(PR_SET_NAME, title);
        (void) sigaction(SIGTERM, &end, NULL);
        if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 || dup2(go, 3) < 0 ||
            syscall(SYS_close_range, 4u, ~0u, 0) < 0)
                _exit(1);
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        if (read(3, &byte, 1) != 1)
                _exit(1);       /* The monitor died before anybody knew of us. */
        (void) close(3);
        if (ulv_streq(fault, "dies"))
                dies_after(delay);
        for (;;)
                (void) pause();
}

static int start_payload(struct ulv_monitor *m, const struct ulv_definition *d, struct sim *s) {
        int p[2];

        if (pipe2(p, O_CLOEXEC) < 0)
                return -errno;
        s->pid = fork();
        if (s->pid == 0) {
                (void) close(p[1]);
                payload(ulv_monitor_name(m), d->fault, d->fault_delay, p[0]);
        }
        (void) ulv_close(p[0]);
        if (s->pid < 0) {
                (void) ulv_close(p[1]);
                return -EAGAIN;
        }
        s->go = p[1];
        s->pidfd = (int) syscall(SYS_pidfd_open, s->pid, 0);
        return s->pidfd < 0 ? -errno : 0;
}

/* Tells the monitor, which stores the pidfd; then lets the payload go. */
static void let_go(struct ulv_monitor *m, struct sim *s) {
        ulv_monitor_started(m, ulv_steal_fd(&s->pidfd), s->pid);
        if (write(s->go, "", 1) != 1)
                ulv_log(ULV_LOG_WARNING, "the payload of %s doesn't listen", ulv_monitor_name(m));
        s->go = ulv_close(s->go);
}

static int on_delay(ULV_UNUSED sd_event_source *source, ULV_UNUSED uint64_t usec, void *userdata) {
        struct ulv_monitor *m = userdata;
        struct sim *s = ulv_monitor_data(m);

        s->delay = sd_event_source_disable_unref(s->delay);
        let_go(m, s);
        return 0;
}

/* --- the backend ------------------------------------------------------------------------------------- */

static int sim_start(struct ulv_monitor *m, const struct ulv_definition *d, ULV_UNUSED const struct ulv_grant *grant, struct ulv_diag *reterr) {
        struct sim *s = sim_of(m);
        int r;

        if (!s)
                return -ENOMEM;
        s->refuse_shrink = ulv_streq(d->fault, "refuses-shrink");
        if (ulv_streq(d->fault, "start-fails")) {
                ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot start %s", d->name);
                ulv_diag_why(reterr, "its definition says Fault=start-fails");
                ulv_diag_try(reterr, "uvctl edit %s, without that line", d->name);
                return -EIO;
        }
        r = start_payload(m, d, s);
        if (r < 0 || ulv_streq(d->fault, "start-hangs"))
                return r;
        if (d->fault_delay > 0 && ulv_streq(d->fault, "none"))
                return sd_event_add_time_relative(ulv_monitor_event(m), &s->delay, CLOCK_MONOTONIC, d->fault_delay, 1000, on_delay, m);
        let_go(m, s);
        return 0;
}

static int sim_adopt(struct ulv_monitor *m, const struct ulv_definition *d, int leader_pidfd) {
        struct sim *s = sim_of(m);

        if (!s)
                return -ENOMEM;
        s->refuse_shrink = ulv_streq(d->fault, "refuses-shrink");
        return leader_pidfd < 0;
}

static bool shrinks(const struct ulv_grant *from, const struct ulv_grant *to) {
        return !ulv_cpus_within(&from->cpus, &to->cpus) || to->memory_bytes < from->memory_bytes || to->share < from->share;
}

static int sim_enforce(struct ulv_monitor *m, const struct ulv_grant *grant, struct ulv_enforced *ret, struct ulv_diag *reterr) {
        struct sim *s = sim_of(m);

        if (!s)
                return -ENOMEM;
        if (s->granted && s->refuse_shrink && shrinks(&s->grant, grant)) {
                ulv_diag_what(reterr, ULV_EXIT_FAILED, "%s doesn't let go", ulv_monitor_name(m));
                ulv_diag_why(reterr, "its definition says Fault=refuses-shrink");
                return 1;
        }
        s->grant = *grant;
        s->granted = true;
        *ret = (struct ulv_enforced) { .cpu = "tracked", .memory = "tracked" };
        return 0;
}

/* The monitor's leader, or the payload that isn't let go yet. */
static int payload_signal(struct ulv_monitor *m, int signo) {
        const struct sim *s = sim_of(m);
        int fd = ulv_monitor_leader_pidfd(m);

        if (fd < 0 && s)
                fd = s->pidfd;
        if (fd < 0)
                return 0;
        return syscall(SYS_pidfd_send_signal, fd, signo, NULL, 0) < 0 && errno != ESRCH ? -errno : 0;
}

static int sim_ask_stop(struct ulv_monitor *m) { return payload_signal(m, SIGTERM); }
static int sim_kill(struct ulv_monitor *m) { return payload_signal(m, SIGKILL); }

static int sim_gone(struct ulv_monitor *m) {
        const struct sim *s = sim_of(m);
        struct pollfd p = { .fd = ulv_monitor_leader_pidfd(m), .events = POLLIN };

        if (p.fd < 0 && s)
                p.fd = s->pidfd;
        return p.fd >= 0 && poll(&p, 1, 0) == 0;
}

static int sim_cleanup(struct ulv_monitor *m) {
        struct sim *s = sim_of(m);

        if (!s)
                return -ENOMEM;
        s->delay = sd_event_source_disable_unref(s->delay);
        s->go = ulv_close(s->go);
        if (s->pidfd >= 0) {
                siginfo_t si;

                (void) waitid(P_PIDFD, (id_t) s->pidfd, &si, WEXITED | WNOHANG);
                s->pidfd = ulv_close(s->pidfd);
        }
        s->granted = false;
        return 0;
}

static int sim_freeze(ULV_UNUSED struct ulv_monitor *m, ULV_UNUSED bool frozen) { return 0; }
static bool sim_may_freeze(ULV_UNUSED struct ulv_monitor *m) { return true; }
static const char *contain(struct ulv_monitor *m ULV_UNUSED) { return "simulated"; }

const struct ulv_plugin ulv_plugin = {
        .version = ULV_PLUGIN_VERSION,
        .name = "sim",
        .type = "sim",
        .leader_fd_name = "leader",
        .start = sim_start,
        .adopt = sim_adopt,
        .enforce = sim_enforce,
        .ask_stop = sim_ask_stop,
        .kill = sim_kill,
        .gone = sim_gone,
        .cleanup = sim_cleanup,
        .signal = payload_signal,
        .freeze = sim_freeze,
        .may_freeze = sim_may_freeze,
        .contain = contain,
        .no_port = true,
};
