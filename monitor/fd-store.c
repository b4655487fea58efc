/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What must outlive this process: fds in the starter's fd store, by name, with FDPOLL=0.
 *
 * A copy of each stays here, because a standalone starter can die: the directory of the notification
 * socket is watched, and when a new uv-launch has moved its socket there, all fds are pushed again.
 * (Under systemd the socket never changes, and the watch never fires.) */

#include "monitor/monitor.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <systemd/sd-daemon.h>

#include "lib/log.h"

/* Nobody to tell is no error: a new starter is told everything. */
void store_notify(const char *text) { (void) sd_notify(false, text); }

int store_find(const struct ulv_monitor *m, const char *name) {
        for (unsigned i = 0; i < m->n_kept; i++)
                if (ulv_streq(m->kept[i].name, name))
                        return m->kept[i].fd;
        return -1;
}

static void push(const struct kept *k) {
        char text[128];

        (void) snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", k->name);
        (void) sd_pid_notify_with_fds(0, false, text, &k->fd, 1);
}

static int keep(struct ulv_monitor *m, const char *name, int fd) {
        if (m->n_kept >= MONITOR_FDS_MAX || strlen(name) >= sizeof(m->kept[0].name))
                return -E2BIG;
        (void) snprintf(m->kept[m->n_kept].name, sizeof(m->kept[0].name), "%s", name);
        m->kept[m->n_kept++].fd = fd;
        return 0;
}

int ulv_monitor_store_fd(struct ulv_monitor *m, const char *name, int fd) {
        _cleanup_close_ int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        int r;

        if (copy < 0)
                return -errno;
        r = ulv_monitor_forget_fd(m, name);     /* a name stands for one fd */
        if (r < 0 || (r = keep(m, name, copy)) < 0)
                return r;
        (void) ulv_steal_fd(&copy);
        push(&m->kept[m->n_kept - 1]);
        return 0;
}

int ulv_monitor_forget_fd(struct ulv_monitor *m, const char *name) {
        char text[128];
        bool had = false;

        for (unsigned i = 0; i < m->n_kept; i++)
                if (ulv_streq(m->kept[i].name, name)) {
                        (void) ulv_close(m->kept[i].fd);
                        m->kept[i--] = m->kept[--m->n_kept];
                        had = true;
                }
        if (had) {
                (void) snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
                store_notify(text);
        }
        return 0;
}

int ulv_monitor_stored_fd(const struct ulv_monitor *m, const char *name) { return store_find(m, name); }

static int on_directory(ULV_UNUSED sd_event_source *s, const struct inotify_event *e, void *userdata) {
        struct ulv_monitor *m = userdata;
        const char *path = getenv("NOTIFY_SOCKET"), *name = path ? strrchr(path, '/') : NULL;

        if (!name || e->len == 0 || !ulv_streq(e->name, name + 1))
                return 0;
        ulv_log(ULV_LOG_NOTICE, "a new starter: giving it %u fds to keep", m->n_kept);
        store_notify("READY=1");
        for (unsigned i = 0; i < m->n_kept; i++)
                push(&m->kept[i]);
        return 0;
}

static int watch_socket(struct ulv_monitor *m) {
        const char *path = getenv("NOTIFY_SOCKET");
        _cleanup_free_ char *dir = NULL;

        if (!path || path[0] != '/')
                return 0;
        dir = strndup(path, (size_t) (strrchr(path, '/') - path));
        if (!dir)
                return -ENOMEM;
        return sd_event_add_inotify(m->event, &m->notify_watch, dir[0] ? dir : "/", IN_MOVED_TO | IN_CREATE | IN_ONLYDIR, on_directory, m);
}

/* The watch comes first: a starter that changes after it is seen, one that changed before gets what we
 * send from now on anyway. */
int store_begin(struct ulv_monitor *m) {
        char **names = NULL;
        int n, r;

        r = watch_socket(m);
        if (r < 0)
                return r;
        n = sd_listen_fds_with_names(true, &names);
        if (n < 0)
                return n;
        for (int i = 0; i < n; i++) {
                int fd = SD_LISTEN_FDS_START + i;

                /* Twice the same name can only be a half-done replacement: the later one counts. */
                for (unsigned k = 0; k < m->n_kept; k++)
                        if (ulv_streq(m->kept[k].name, names[i])) {
                                (void) ulv_close(m->kept[k].fd);
                                m->kept[k--] = m->kept[--m->n_kept];
                        }
                if (keep(m, names[i], fd) < 0)
                        (void) ulv_close(fd);
        }
        ulv_strv_free(names);
        return 0;
}
