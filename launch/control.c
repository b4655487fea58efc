/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The launch socket: one text per SEQPACKET message, lib/protocol.h "ULV_LAUNCH". Peers are root and
 * uvd, told apart by the kernel before a byte is read. A peer that doesn't read is dropped: it comes
 * back and is told everything anew. */

#include "launch/launch.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/stat.h>

#include "lib/nameform.h"
#include "model/inventory.h"

#define TEXT_MAX 256
#define QUEUE_BYTES (16 * 1024 * 1024)  /* every partition's line, with the kernel's overhead, fits */

int control_open(struct launch *l) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        (void) snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/launch", l->run_fd);
        if (unlinkat(l->run_fd, "launch", 0) < 0 && errno != ENOENT)
                return -errno;
        l->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (l->listener < 0 || bind(l->listener, (const struct sockaddr *) &sa, sizeof(sa)) < 0 ||
            fchmodat(l->run_fd, "launch", 0660, 0) < 0 || fchownat(l->run_fd, "launch", 0, ULV_UID_UVD, 0) < 0 ||
            listen(l->listener, 16) < 0)
                return -errno;
        return 0;
}

static void client_drop(struct client *c) { c->fd = ulv_close(c->fd); }

static void client_tell(struct client *c, const char *text, size_t len) {
        if (c->fd < 0 || send(c->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t) len)
                return;
        if (errno == EAGAIN)
                say(4, "a client of the launch socket doesn't read: dropped");
        client_drop(c);
}

void control_tell(struct launch *l, const char *fmt, ...) {
        char text[TEXT_MAX];
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        if (n <= 0 || (size_t) n >= sizeof(text))
                return;
        for (size_t i = 0; i < CLIENTS_MAX; i++)
                client_tell(&l->clients[i], text, (size_t) n);
}

static void greet(struct launch *l, struct client *c) {
        char text[TEXT_MAX];

        for (const struct service *s = l->services; s && c->fd >= 0; s = s->next)
                if (!s->role) {
                        (void) snprintf(text, sizeof(text), "running %s %s", s->name, s->token);
                        client_tell(c, text, strlen(text));
                }
        client_tell(c, "end", 3);
}

void control_accept(struct launch *l) {
        int fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), size = QUEUE_BYTES;
        struct client *c = NULL;
        struct ucred u;
        socklen_t len = sizeof(u);

        if (fd < 0)
                return;
        for (size_t i = 0; i < CLIENTS_MAX && !c; i++)
                if (l->clients[i].fd < 0)
                        c = &l->clients[i];
        if (!c || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &len) < 0 || (u.uid != 0 && u.uid != ULV_UID_UVD)) {
                (void) ulv_close(fd);
                return;
        }
        (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
        *c = (struct client) { .watch = WATCH_CLIENT, .fd = fd };
        if (watch(l, fd, EPOLLIN, c) < 0)
                client_drop(c);
        else
                greet(l, c);
}

static void start(struct launch *l, const char *name) {
        struct service *s = service_find(l, name, true);
        int r = 0;

        if (l->phase != PHASE_RUN)
                return control_tell(l, "failed %s %d", name, ESHUTDOWN);
        if (s) {
                /* Twice is once. One that is on its way out comes again when it is gone. */
                s->again = s->unwanted;
                control_tell(l, "started %s %s", name, s->token);
                return;
        }
        r = service_new(l, NULL, name, &s);
        if (r == 0 && (r = service_start(l, s)) < 0) {
                cgroup_leaf_remove(l, s);
                tree_partition_dir_remove(l, s->name);
                service_free(l, s);
        }
        if (r < 0) {
                say(3, "can't start the monitor of %s: %s", name, strerror(-r));
                control_tell(l, "failed %s %d", name, -r);
        } else
                control_tell(l, "started %s %s", name, s->token);
}

static void stop(struct launch *l, const char *name) {
        struct service *s = service_find(l, name, true);

        if (s)
                service_stop(l, s);
        else
                control_tell(l, "exited %s 0", name);
}

void control_input(struct launch *l, struct client *c) {
        char text[TEXT_MAX + 1];
        ssize_t n = recv(c->fd, text, sizeof(text), MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0 || n > TEXT_MAX)
                return client_drop(c);
        text[n] = 0;
        if (strlen(text) == (size_t) n && ulv_startswith(text, "start ") && ulv_name_form_ok(text + 6))
                start(l, text + 6);
        else if (strlen(text) == (size_t) n && ulv_startswith(text, "stop ") && ulv_name_form_ok(text + 5))
                stop(l, text + 5);
        else {
                say(4, "a client of the launch socket says nonsense: dropped");
                client_drop(c);
        }
}
