/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-monitor-BACKEND NAME: see monitor.c for what it does, plugin.h for what a backend is. */

#include "monitor/monitor.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "lib/cgroup.h"
#include "lib/fd.h"
#include "lib/log.h"
#include "lib/protocol.h"

#define PROC_FILE_MAX ((size_t) 64 * 1024)

static int on_sigterm(ULV_UNUSED sd_event_source *s, ULV_UNUSED const struct signalfd_siginfo *si, void *userdata) {
        struct ulv_monitor *m = userdata;

        if (!m->stop)
                ulv_log(ULV_LOG_INFO, "told to stop %s", m->name);
        m->stop = true;
        monitor_ask_time(m);
        monitor_turn(m);
        return 0;
}

static int open_run_dir(struct ulv_monitor *m) {
        char path[MONITOR_ROOT_MAX + 128];

        (void) snprintf(path, sizeof(path), "%s/" ULV_RUN_PARTITION "/%s", m->root, m->name);
        m->run_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        return m->run_dir < 0 ? -errno : 0;
}

int scope_place(struct ulv_monitor *m, bool cores) {
        char *path;

        m->slice = cores ? ULV_SLICE_CORES : ULV_SLICE_POOL;
        if (asprintf(&path, "%s/%s/%s", m->cgroup_root, m->slice, m->scope) < 0)
                return -ENOMEM;
        free(m->cgroup);
        m->cgroup = path;
        return 0;
}

/* The payload's scope is where an earlier life of ours had it made. */
static int scope_find(struct ulv_monitor *m) {
        char base[4096];
        int r = ulv_cgroup_root(base, sizeof(base));

        if (r < 0)
                return r;
        m->cgroup_root = strdup(base);
        if (!m->cgroup_root)
                return -ENOMEM;
        (void) snprintf(m->scope, sizeof(m->scope), "ultravisor-%s.scope", m->name);
        r = scope_place(m, true);
        return r < 0 || access(m->cgroup, F_OK) == 0 ? r : scope_place(m, false);
}

static int take_environment(struct ulv_monitor *m, const char *name) {
        const char *root = getenv("ULTRAVISOR_ROOT"), *token = getenv("ULTRAVISOR_TOKEN"), *cgroup = getenv("ULTRAVISOR_CGROUP"), *stop = getenv("ULTRAVISOR_STOP");

        if (!token)
                token = getenv("INVOCATION_ID");
        m->end_only = m->stop_wanted = stop && ulv_streq(stop, "yes");
        m->past_only = stop && ulv_streq(stop, "past");
        if (!root || root[0] != '/' || strlen(root) >= MONITOR_ROOT_MAX || !token || strlen(token) >= sizeof(m->token) || !ulv_name_is_valid(name))
                return -EINVAL;
        (void) snprintf(m->name, sizeof(m->name), "%s", name);
        (void) snprintf(m->token, sizeof(m->token), "%s", token);
        m->root = strdup(root);
        if (!m->root)
                return -ENOMEM;
        if (getenv("ULTRAVISOR_SCOPES"))
                return scope_find(m);
        if (!cgroup || cgroup[0] != '/' || strlen(cgroup) >= MONITOR_ROOT_MAX)
                m->cgroup = strdup("");
        else if (asprintf(&m->cgroup, "%s/partition-%s", cgroup, m->name) < 0)
                m->cgroup = NULL;
        return m->cgroup ? 0 : -ENOMEM;
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
        /* To PID 1 an end by one of these would be an end in order. */
        (void) signal(SIGPIPE, SIG_IGN);
        (void) signal(SIGHUP, SIG_IGN);
        (void) signal(SIGINT, SIG_IGN);
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
