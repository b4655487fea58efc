/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How a listener works: the event loop accepts a connection, the kernel's word on the peer (SO_PEERCRED,
 * a pidfd) is taken and judged by the owner's allow() before one byte is read, then an sd_bus in server
 * mode is started on the socket. sd-bus itself ends connections that don't authenticate. Its Disconnected
 * signal, synthesized locally, ends the peer's life here. A reserve fd is held so that a process at its
 * limit of fds can still take connections off the queue and close them, instead of spinning.
 *
 * The connections aren't attached with sd_bus_attach_event(): its prepare callbacks ask every connection
 * for its wishes in every turn of the loop, and with a thousand of them that takes longer than the work.
 * Here a connection has a source for its socket, drains what has arrived when that becomes readable, and only
 * then says what it waits for; sd-bus's own time-outs get a timer while there is one. What others queued on
 * it meanwhile (signals, late replies) and the socket didn't take at once is found by one walk before each
 * turn, a few nanoseconds per connection. */

#include "lib/bus.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define OTHERS_MAX 128  /* connections of one uid that isn't root */

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* linux 6.5, asm-generic/socket.h */
#endif

#define DRAIN_MAX 256   /* messages of one connection in one turn of the loop */

struct connection {
        struct ulv_bus_peer peer;
        struct connection *next, *previous;
        sd_event_source *io, *timer;    /* timer: NULL while sd-bus waits for no time */
        int events;             /* what io waits for */
        bool known;             /* connected() took it, so disconnected() will be told */
        bool draining, ended;   /* ended: by a handler, while drain() still looks at it */
};

struct ulv_bus_listener {
        sd_event *event;
        sd_event_source *source;
        int fd, reserve;
        const struct ulv_bus_listener_ops *ops;
        void *userdata;
        struct connection *connections;
        size_t n_connections;
};

/* Fills a socket address; a path too long for it is reached through an fd of its directory. */
static int address(const char *path, struct sockaddr_un *ret, int *ret_dir) {
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *parent = NULL;
        int n;

        *ret = (struct sockaddr_un) { .sun_family = AF_UNIX };
        if (strlen(path) < sizeof(ret->sun_path)) {
                memcpy(ret->sun_path, path, strlen(path) + 1);
                return 0;
        }
        if (!slash)
                return -ENAMETOOLONG;
        parent = strndup(path, (size_t) (slash - path));
        if (!parent)
                return -ENOMEM;
        *ret_dir = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (*ret_dir < 0)
                return -errno;
        n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", *ret_dir, slash + 1);
        return n < 0 || (size_t) n >= sizeof(ret->sun_path) ? -ENAMETOOLONG : 0;
}

static void connection_free(struct connection *c) {
        struct ulv_bus_listener *l = c->peer.listener;

        if (c->previous)
                c->previous->next = c->next;
        else
                l->connections = c->next;
        if (c->next)
                c->next->previous = c->previous;
        l->n_connections--;
        if (c->known && l->ops->disconnected)
                l->ops->disconnected(&c->peer, l->userdata);
        sd_event_source_disable_unref(c->io);
        sd_event_source_disable_unref(c->timer);
        sd_bus_close_unref(c->peer.bus);
        (void) ulv_close(c->peer.pidfd);
        if (c->draining)
                c->ended = true;
        else
                free(c);
}

static int on_disconnected(ULV_UNUSED sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        connection_free(userdata);
        return 1;
}

/* Before each message is looked at: who asks and asks and never reads an answer would fill our memory. */
static int on_message(ULV_UNUSED sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct connection *c = userdata;

        return ulv_bus_peer_overdue(&c->peer);
}

static int on_time(sd_event_source *s, uint64_t usec, void *userdata);

/* Edges, not levels: with a hundred sockets readable, each turn of the loop would look at all of them. */
static int watch_events(struct connection *c, int events) {
        int r;

        if (events == c->events)
                return 0;
        r = sd_event_source_set_io_events(c->io, (uint32_t) events | EPOLLET);
        if (r >= 0)
                c->events = events;
        return r;
}

static int watch_time(struct connection *c, uint64_t until) {
        int r;

        if (until == UINT64_MAX) {
                c->timer = sd_event_source_disable_unref(c->timer);
                return 0;
        }
        if (!c->timer)
                return sd_event_add_time(c->peer.listener->event, &c->timer, CLOCK_MONOTONIC, until, 1, on_time, c);
        r = sd_event_source_set_time(c->timer, until);
        return r < 0 ? r : sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
}

/* What sd-bus waits for now. `more`: it wasn't asked until it had nothing left, so no edge will come. */
static int watch(struct connection *c, bool more) {
        int events = sd_bus_get_events(c->peer.bus), r;
        uint64_t until = UINT64_MAX;

        if (events < 0)
                return events;
        r = watch_events(c, events);
        if (r >= 0)
                r = sd_bus_get_timeout(c->peer.bus, &until);
        return r < 0 ? r : watch_time(c, more ? 0 : until);
}

/* Takes all that has arrived. Any handler may end any connection, this one too. */
static void drain(struct connection *c) {
        int r = 1;

        c->draining = true;
        for (unsigned n = 0; r > 0 && !c->ended && n < DRAIN_MAX; n++)
                r = sd_bus_process(c->peer.bus, NULL);
        c->draining = false;
        if (c->ended)
                free(c);
        else if (r < 0 || watch(c, r > 0) < 0)
                connection_free(c);
}

static int on_time(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        drain(userdata);
        return 0;
}

static int on_io(ULV_UNUSED sd_event_source *s, ULV_UNUSED int fd, ULV_UNUSED uint32_t revents, void *userdata) {
        drain(userdata);
        return 0;
}

/* Before each turn of the loop: whoever has something left to write is told when there is room for it. */
static int on_turn(ULV_UNUSED sd_event_source *s, void *userdata) {
        struct ulv_bus_listener *l = userdata;

        for (struct connection *c = l->connections; c; c = c->next) {
                uint64_t n = 0;

                if (sd_bus_get_n_queued_write(c->peer.bus, &n) >= 0 && n > 0 && c->io)
                        (void) watch_events(c, EPOLLIN | EPOLLOUT);
        }
        return 0;
}

static int peer_pidfd(int fd, pid_t pid) {
        int pidfd = -1;
        socklen_t len = sizeof(pidfd);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) >= 0)
                return pidfd;
        /* Before Linux 6.5. The pid may have been reused since connect(): whoever decides by more than
         * the uid must look at what the pidfd's process is, and ask for its token. */
        return (int) syscall(SYS_pidfd_open, pid, 0);
}

static bool too_many(const struct ulv_bus_listener *l, uid_t uid) {
        size_t n = 0;

        if (l->n_connections >= (l->ops->most > 0 ? l->ops->most : ULV_BUS_CONNECTIONS_MAX))
                return true;
        if (uid == 0)
                return false;
        for (const struct connection *c = l->connections; c; c = c->next)
                n += c->peer.creds.uid == uid;
        return n >= (l->ops->per_uid > 0 ? l->ops->per_uid : OTHERS_MAX);
}

static int start_bus(struct connection *c, int fd) {
        sd_id128_t id;
        int r;

        r = sd_bus_new(&c->peer.bus);
        if (r < 0) {
                (void) ulv_close(fd);
                return r;
        }
        r = sd_bus_set_fd(c->peer.bus, fd, fd);
        if (r < 0) {
                (void) ulv_close(fd);
                return r;
        }
        (void) sd_id128_randomize(&id);
        if ((r = sd_bus_set_server(c->peer.bus, true, id)) < 0 ||
            (r = sd_bus_negotiate_fds(c->peer.bus, true)) < 0 ||
            /* allow() has judged the peer; vtables needn't ask for capabilities on top. */
            (r = sd_bus_set_trusted(c->peer.bus, true)) < 0 ||
            (r = sd_bus_add_filter(c->peer.bus, NULL, on_message, c)) < 0 || (r = sd_bus_start(c->peer.bus)) < 0 ||
            (r = sd_bus_match_signal(c->peer.bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
                                     "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, c)) < 0)
                return r;
        return 0;
}

static void connection_new(struct ulv_bus_listener *l, int fd) {
        struct connection *c;
        struct ucred creds;
        socklen_t len = sizeof(creds);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &creds, &len) < 0 || too_many(l, creds.uid) ||
            (l->ops->allow && !l->ops->allow(&creds, l->userdata)) || !(c = calloc(1, sizeof(*c)))) {
                (void) ulv_close(fd);
                return;
        }
        c->peer = (struct ulv_bus_peer) { .creds = creds, .listener = l, .pidfd = peer_pidfd(fd, creds.pid) };
        c->next = l->connections;
        if (c->next)
                c->next->previous = c;
        l->connections = c;
        l->n_connections++;
        if (start_bus(c, fd) < 0 || (l->ops->connected && l->ops->connected(&c->peer, l->userdata) != 0)) {
                connection_free(c);
                return;
        }
        c->known = true;
        c->events = EPOLLIN;
        if (sd_event_add_io(l->event, &c->io, fd, EPOLLIN | EPOLLET, on_io, c) < 0)
                connection_free(c);
        else
                drain(c);
}

static int on_connect(ULV_UNUSED sd_event_source *s, int fd, ULV_UNUSED uint32_t revents, void *userdata) {
        struct ulv_bus_listener *l = userdata;
        int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (conn >= 0) {
                connection_new(l, conn);
                return 0;
        }
        if (errno == EMFILE || errno == ENFILE) {
                l->reserve = ulv_close(l->reserve);
                (void) ulv_close(accept4(fd, NULL, NULL, SOCK_CLOEXEC));
                l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
        }
        return 0;
}

int ulv_bus_listen(sd_event *e, const char *path, mode_t mode, const struct ulv_bus_listener_ops *ops, void *userdata,
                   struct ulv_bus_listener **ret) {
        _cleanup_close_ int fd = -1, dir = -1;
        struct ulv_bus_listener *l;
        struct sockaddr_un sa;
        int r;

        r = address(path, &sa, &dir);
        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (unlink(path) < 0 && errno != ENOENT)
                return -errno;
        /* Nobody connects before listen(), so the mode is in force from the first connection on. */
        if (bind(fd, (const struct sockaddr *) &sa, sizeof(sa)) < 0 || chmod(path, mode) < 0 || listen(fd, SOMAXCONN) < 0)
                return -errno;

        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        *l = (struct ulv_bus_listener) { .event = sd_event_ref(e), .fd = ulv_steal_fd(&fd), .ops = ops, .userdata = userdata,
                                         .reserve = open("/dev/null", O_RDONLY | O_CLOEXEC) };
        r = sd_event_add_io(e, &l->source, l->fd, EPOLLIN, on_connect, l);
        if (r >= 0)
                r = sd_event_source_set_prepare(l->source, on_turn);
        if (r < 0) {
                ulv_bus_listener_free(l);
                return r;
        }
        *ret = l;
        return 0;
}

void ulv_bus_listener_free(struct ulv_bus_listener *l) {
        if (!l)
                return;
        while (l->connections)
                connection_free(l->connections);
        sd_event_source_disable_unref(l->source);
        sd_event_unref(l->event);
        (void) ulv_close(l->fd);
        (void) ulv_close(l->reserve);
        free(l);
}

int ulv_bus_listener_each(struct ulv_bus_listener *l, int (*f)(struct ulv_bus_peer *p, void *userdata), void *userdata) {
        struct connection *next;
        int r;

        for (struct connection *c = l->connections; c; c = next) {
                next = c->next; /* f may drop c, but no other. */
                r = f(&c->peer, userdata);
                if (r != 0)
                        return r;
        }
        return 0;
}

void ulv_bus_peer_drop(struct ulv_bus_peer *p) {
        connection_free((struct connection *) ((char *) p - offsetof(struct connection, peer)));
}

bool ulv_bus_peer_overdue(struct ulv_bus_peer *p) {
        uint64_t n = 0;

        if (sd_bus_get_n_queued_write(p->bus, &n) < 0 || n <= ULV_BUS_QUEUE_MAX)
                return false;
        ulv_bus_peer_drop(p);
        return true;
}

int ulv_bus_connect(sd_event *e, const char *path, sd_bus **ret) {
        _cleanup_close_ int fd = -1, dir = -1;
        struct sockaddr_un sa;
        sd_bus *bus = NULL;
        int r;

        r = address(path, &sa, &dir);
        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (const struct sockaddr *) &sa, sizeof(sa)) < 0)
                return -errno;
        if ((r = sd_bus_new(&bus)) < 0 || (r = sd_bus_set_fd(bus, fd, fd)) < 0) {
                sd_bus_unref(bus);
                return r;
        }
        (void) ulv_steal_fd(&fd);
        if ((r = sd_bus_negotiate_fds(bus, true)) < 0 || (r = sd_bus_set_trusted(bus, true)) < 0 || (r = sd_bus_start(bus)) < 0 ||
            (e && (r = sd_bus_attach_event(bus, e, SD_EVENT_PRIORITY_NORMAL)) < 0)) {
                sd_bus_close_unref(bus);
                return r;
        }
        *ret = bus;
        return 0;
}
