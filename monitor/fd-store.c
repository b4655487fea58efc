/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What must outlive this process: fds in the starter's fd store, by name, with FDPOLL=0.
 *
 * A copy of each stays here, because a standalone starter can die. Its pidfd tells when; from then on the
 * notification socket is looked at twice a second, and when a new uv-launch has moved its own there, all
 * fds are pushed again. (Not by inotify: its instances are limited to 128 a user, and monitors share one.
 * Under systemd the starter is PID 1, and nothing of this happens.) */

#include "monitor/monitor.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <systemd/sd-daemon.h>

#include "lib/log.h"
#include "lib/protocol.h"

#define LOOK_USEC (500 * 1000u)

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

/* Which socket stands there now? A new one is made while the old still exists, so the inode differs. */
static uint64_t socket_inode(void) {
        const char *path = getenv("NOTIFY_SOCKET");
        struct stat st;

        return path && stat(path, &st) >= 0 ? (uint64_t) st.st_ino : 0;
}

static int on_look(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct ulv_monitor *m = userdata;
        uint64_t inode = socket_inode();

        if (inode != 0 && inode != m->starter_socket) {
                ulv_log(ULV_LOG_NOTICE, "a new starter: giving it %u fds to keep", m->n_kept);
                m->starter_socket = inode;
                store_notify("READY=1");
                for (unsigned i = 0; i < m->n_kept; i++)
                        push(&m->kept[i]);
        }
        return monitor_arm(m, &m->starter_timer, LOOK_USEC, on_look);
}

static int on_starter_gone(sd_event_source *s, int fd, ULV_UNUSED uint32_t revents, void *userdata) {
        struct ulv_monitor *m = userdata;

        (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        (void) ulv_close(fd);
        ulv_log(ULV_LOG_WARNING, "the starter is gone; %s goes on", m->name);
        return monitor_arm(m, &m->starter_timer, 0, on_look);
}

static int watch_starter(struct ulv_monitor *m) {
        const char *path = getenv("NOTIFY_SOCKET");
        size_t n = path ? strlen(path) : 0;
        pid_t parent = getppid();
        int fd;

        m->starter_socket = socket_inode();
        if (n < sizeof(ULV_RUN_NOTIFY) || !ulv_streq(path + n - (sizeof(ULV_RUN_NOTIFY) - 1), ULV_RUN_NOTIFY))
                return 0;       /* PID 1's, or none */
        fd = (int) syscall(SYS_pidfd_open, parent, 0);
        if (fd >= 0 && getppid() == parent && parent != 1)
                return sd_event_add_io(m->event, &m->starter_watch, fd, EPOLLIN, on_starter_gone, m);
        (void) ulv_close(fd);
        /* It died before we could look: whoever stands at the socket now is asked to keep all. */
        m->starter_socket = 0;
        return monitor_arm(m, &m->starter_timer, 0, on_look);
}

/* The watch comes first: a starter that changes after it is seen. */
int store_begin(struct ulv_monitor *m) {
        char **names = NULL;
        int n, r;

        r = watch_starter(m);
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
