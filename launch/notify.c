/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The notification socket: sd_notify(3) and its fd store, as PID 1 serves them. Who speaks is told by
 * the kernel (SCM_CREDENTIALS), and only the main process of a service counts. The socket is read
 * empty before a dead process is reaped, so what it said last counts, and its pid isn't reused yet.
 *
 * Nobody but ours may send at all: what comes with a message must be closed by us, and closing another's
 * socket that lingers would hold us up for as long as its owner likes.
 *
 * The socket is bound under a temporary name and renamed into place: monitors that outlived an earlier
 * uv-launch watch the directory, see the new one come, and push their fds again. */

#include "launch/launch.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "model/inventory.h"

#define MESSAGE_MAX 4096
#define FDS_MAX 253

struct message {
        struct service *from;
        int fds[FDS_MAX];
        unsigned n_fds;
        bool store, remove, poll;
        const char *name;
};

int notify_open(struct launch *l) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int one = 1;

        /* By the directory's fd: the path of ROOT may be longer than a socket address. */
        (void) snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/notify.new", l->run_fd);
        if (unlinkat(l->run_fd, "notify.new", 0) < 0 && errno != ENOENT)
                return -errno;
        l->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (l->notify < 0 || setsockopt(l->notify, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) < 0 ||
            bind(l->notify, (const struct sockaddr *) &sa, sizeof(sa)) < 0 ||
            fchownat(l->run_fd, "notify.new", 0, ULV_GID_ROLES, 0) < 0 || fchmodat(l->run_fd, "notify.new", 0660, 0) < 0 ||
            renameat(l->run_fd, "notify.new", l->run_fd, "notify") < 0)
                return -errno;
        return 0;
}

/* A socket that lingers is closed at once, whoever made it linger. */
static void discard(int fd) {
        (void) setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger) { 0 }, sizeof(struct linger));
        (void) ulv_close(fd);
}

void stored_drop(struct launch *l, struct stored *d) {
        struct stored **at = &d->service->store;

        while (*at != d)
                at = &(*at)->next;
        *at = d->next;
        d->service->n_store--;
        (void) epoll_ctl(l->epoll, EPOLL_CTL_DEL, d->fd, NULL);
        discard(d->fd);
        free(d);
}

void store_empty(struct launch *l, struct service *s) {
        while (s->store)
                stored_drop(l, s->store);
}

static bool same_file(int a, int b) {
        return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a, b) == 0;
}

static void store_add(struct launch *l, struct service *s, const char *name, int fd, bool hangup) {
        struct stored *d, **end = &s->store;

        while (*end) {
                if (ulv_streq((*end)->name, name) && same_file((*end)->fd, fd))
                        return discard(fd);
                end = &(*end)->next;
        }
        d = s->n_store < STORE_MAX ? calloc(1, sizeof(*d)) : NULL;
        if (!d) {
                say(4, "%s: fd %s isn't kept: %s", s->name, name, s->n_store < STORE_MAX ? "no memory" : "its store is full");
                return discard(fd);
        }
        *d = (struct stored) { .watch = WATCH_STORED, .service = s, .fd = fd };
        memcpy(d->name, name, strnlen(name, sizeof(d->name) - 1));
        *end = d;
        s->n_store++;
        if (hangup)
                (void) watch(l, fd, 0, d);      /* EPERM: nothing that can hang up */
}

static void store_remove(struct launch *l, struct service *s, const char *name) {
        struct stored *next;

        for (struct stored *d = s->store; d; d = next) {
                next = d->next;
                if (ulv_streq(d->name, name))
                        stored_drop(l, d);
        }
}

/* Names go into LISTEN_FDNAMES: printable, no colon (sd_pid_notify_with_fds(3)). */
static bool fdname_ok(const char *s) {
        size_t n = 0;

        for (; s[n]; n++)
                if (s[n] <= ' ' || s[n] >= 127 || s[n] == ':')
                        return false;
        return n > 0 && n < FDNAME_SIZE;
}

static void parse_line(struct launch *l, struct message *m, char *line) {
        struct service *s = m->from;

        if (ulv_streq(line, "READY=1")) {
                s->ready = true;
                if (s->role && s->watchdog_at == 0)
                        s->watchdog_at = now_usec() + WATCHDOG_USEC;
                if (s->role && l->phase == PHASE_RUN)
                        say(7, "%s is ready", s->name);
        } else if (ulv_streq(line, "STOPPING=1"))
                s->stopping = true;
        else if (ulv_streq(line, "WATCHDOG=1") && s->role)
                s->watchdog_at = now_usec() + WATCHDOG_USEC;
        else if (ulv_streq(line, "WATCHDOG=trigger"))
                service_signal(s, SIGKILL);
        else if (ulv_streq(line, "FDSTORE=1"))
                m->store = true;
        else if (ulv_streq(line, "FDSTOREREMOVE=1"))
                m->remove = true;
        else if (ulv_streq(line, "FDPOLL=0"))
                m->poll = false;
        else if (ulv_startswith(line, "FDNAME=") && fdname_ok(line + 7))
                m->name = line + 7;
}

static void handle(struct launch *l, struct message *m, char *text) {
        for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
                parse_line(l, m, line);
        if (m->remove && m->name)
                store_remove(l, m->from, m->name);
        for (unsigned i = 0; m->store && i < m->n_fds; i++) {
                store_add(l, m->from, m->name ? m->name : "stored", m->fds[i], m->poll);
                m->fds[i] = -1;
        }
        /* What isn't stored is closed by the caller; that is all that BARRIER=1 wants. */
}

static void take_control(struct launch *l, struct msghdr *h, struct message *m) {
        for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
                if (c->cmsg_level != SOL_SOCKET)
                        continue;
                if (c->cmsg_type == SCM_CREDENTIALS) {
                        struct ucred u;

                        memcpy(&u, CMSG_DATA(c), sizeof(u));
                        m->from = u.pid > 0 ? service_by_pid(l, u.pid) : NULL;
                } else if (c->cmsg_type == SCM_RIGHTS) {
                        m->n_fds = (unsigned) ((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
                        memcpy(m->fds, CMSG_DATA(c), m->n_fds * sizeof(int));
                }
        }
}

/* One datagram; false when there is none left. */
static bool receive(struct launch *l) {
        union { struct cmsghdr align; char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int) * FDS_MAX)]; } control;
        char text[MESSAGE_MAX + 1];
        struct iovec iov = { text, MESSAGE_MAX };
        struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
        struct message m = { .poll = true };
        ssize_t n = recvmsg(l->notify, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

        if (n < 0)
                return errno == EINTR;
        take_control(l, &h, &m);
        if (m.from && (h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
                say(4, "a message of %s was cut and is ignored", m.from->name);
        else if (m.from) {
                text[n] = 0;
                handle(l, &m, text);
        }
        for (unsigned i = 0; i < m.n_fds; i++)
                discard(m.fds[i]);
        return true;
}

void notify_drain(struct launch *l) {
        /* Bounded: a flood must not keep us from everything else; what is left wakes us again. */
        for (unsigned i = 0; i < 4096 && receive(l); i++)
                ;
}
