/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The kernel killed a process of the partition for want of memory: that is said once, with an event, so that whoever
 * looks for the reason finds it. Polled, not watched by inotify, of which root's processes have a hundred or so. */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "lib/event.h"
#include "monitor/monitor.h"

static uint64_t kills(int fd) {
        char text[1024];
        ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
        const char *at;

        text[ULV_MAX(n, 0)] = 0;
        at = strstr(text, "\noom_kill ");
        return at ? strtoull(at + strlen("\noom_kill "), NULL, 10) : 0;
}

static int on_events(ULV_UNUSED sd_event_source *s, int fd, ULV_UNUSED uint32_t revents, void *userdata) {
        struct ulv_monitor *m = userdata;
        uint64_t now = kills(fd);       /* and by the reading, what woke us is over */

        if (now > m->oom_kills)
                ulv_event(ULV_EVENT_OOM, ULV_LOG_WARNING, m->name, "%s has no memory left: the kernel killed %" PRIu64 " of its processes", m->name, now - m->oom_kills);
        m->oom_kills = now;
        return 0;
}

/* Where there is no such file there is no limit either. */
void oom_watch(struct ulv_monitor *m) {
        char path[4096];
        int fd;

        oom_done(m);
        if ((size_t) snprintf(path, sizeof(path), "%s/memory.events", ulv_monitor_cgroup(m)) >= sizeof(path))
                return;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return;
        m->oom_kills = kills(fd);
        if (sd_event_add_io(m->event, &m->oom, fd, EPOLLPRI, on_events, m) < 0)
                (void) ulv_close(fd);
        else
                (void) sd_event_source_set_io_fd_own(m->oom, true);
}

void oom_done(struct ulv_monitor *m) { m->oom = sd_event_source_disable_unref(m->oom); }
