/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-monitor-BACKEND NAME: see monitor.c for what it does, plugin.h for what a backend is. */

#include "monitor/monitor.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "lib/log.h"
#include "lib/protocol.h"

static int on_sigterm(ULV_UNUSED sd_event_source *s, ULV_UNUSED const struct signalfd_siginfo *si, void *userdata) {
        struct ulv_monitor *m = userdata;

        if (!m->stop)
                ulv_log(ULV_LOG_INFO, "told to stop %s", m->name);
        m->stop = true;
        monitor_turn(m);
        return 0;
}

static int open_run_dir(struct ulv_monitor *m) {
        char path[sizeof(m->root) + 128];

        (void) snprintf(path, sizeof(path), "%s/" ULV_RUN_PARTITION "/%s", m->root, m->name);
        m->run_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        return m->run_dir < 0 ? -errno : 0;
}

static int take_environment(struct ulv_monitor *m, const char *name) {
        const char *root = getenv("ULTRAVISOR_ROOT"), *token = getenv("ULTRAVISOR_TOKEN"), *cgroup = getenv("ULTRAVISOR_CGROUP");

        if (!token)
                token = getenv("INVOCATION_ID");
        if (!root || root[0] != '/' || strlen(root) >= sizeof(m->root) || !token || strlen(token) >= sizeof(m->token) || !ulv_name_is_valid(name))
                return -EINVAL;
        (void) snprintf(m->name, sizeof(m->name), "%s", name);
        (void) snprintf(m->root, sizeof(m->root), "%s", root);
        (void) snprintf(m->token, sizeof(m->token), "%s", token);
        if (cgroup && cgroup[0] == '/' && strlen(cgroup) + strlen(name) + 16 < sizeof(m->cgroup))
                (void) snprintf(m->cgroup, sizeof(m->cgroup), "%.4095s/partition-%.63s", cgroup, m->name);
        return 0;
}

/* What an earlier life saw last is enough to find the payload, even before uvd answers. */
static int recall(struct ulv_monitor *m) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        const char *text;
        int r = view_held_open(m);

        if (r < 0)
                return r;
        text = view_held_text(m, &b);
        if (text[0] && (r = seen_parse(&m->seen, m->name, text, strlen(text), 0)) < 0)
                ulv_log_errno(r, "the kept view can't be read, ignoring");
        return 0;
}

static int begin(struct ulv_monitor *m) {
        sigset_t set;
        int r;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGCHLD);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        (void) signal(SIGPIPE, SIG_IGN);
        if ((r = sd_event_new(&m->event)) < 0 || (r = monitor_begin(m)) < 0 ||
            (r = sd_event_add_signal(m->event, NULL, SIGTERM, on_sigterm, m)) < 0 ||
            (r = store_begin(m)) < 0 || (r = open_run_dir(m)) < 0)
                return r;
        if (ulv_plugin.narrow && (r = ulv_plugin.narrow(m, ULV_STAGE_BORN)) < 0)
                return r;
        /* Other monitors are uid 0 too, and none of them is to attach to this one. (An unprivileged one would
         * lose /proc/self/fdinfo by this, which it needs to know its payload again.) */
        if (geteuid() == 0)
                (void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        if ((r = recall(m)) < 0 || (r = link_begin(m)) < 0)
                return r;
        store_notify("READY=1");
        monitor_turn(m);
        return 0;
}

int main(int argc, char *argv[]) {
        static struct ulv_monitor m = { .run_dir = -1, .leader_pidfd = -1, .port_pidfd = -1, .port_fd = -1, .console_slave = -1, .init_far = -1 };
        static char log_name[128];
        int r;

        if (argc == 2 && ulv_streq(argv[1], "--version")) {
                (void) printf("uv-monitor-%s %s\n", ulv_plugin.name, ULV_VERSION);
                return 0;
        }
        if (argc != 2 || ulv_plugin.version != ULV_PLUGIN_VERSION || take_environment(&m, argv[1]) < 0) {
                (void) dprintf(STDERR_FILENO, "uv-monitor-%s can't start\nit is started for one partition by uv-launch or systemd, never by hand\ntry: uvctl start NAME\n", ulv_plugin.name);
                return 2;
        }
        (void) snprintf(log_name, sizeof(log_name), "uv-monitor-%s %s", ulv_plugin.name, m.name);
        ulv_log_open(log_name);
        r = begin(&m);
        if (r >= 0)
                r = sd_event_loop(m.event);
        if (r < 0)
                ulv_log_errno(r, "the monitor of %s ends", m.name);
        link_done(&m);
        return r < 0 ? EXIT_FAILURE : r;
}
