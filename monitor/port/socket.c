/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "monitor/port/socket.h"

void ulv_port_message_done(struct ulv_port_message *m) {
        for (unsigned i = 0; i < m->n_fds; i++)
                if (m->fds[i] >= 0)
                        (void) close(m->fds[i]);
        m->n_fds = 0;
}

/* Collects the fds of every control message; one too many is closed at once and reported. */
static bool take_fds(struct msghdr *h, struct ulv_port_message *m) {
        bool fits = true;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n; i++) {
                        int fd;
                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        if (m->n_fds < ULV_PORT_FDS_MAX)
                                m->fds[m->n_fds++] = fd;
                        else {
                                (void) close(fd);
                                fits = false;
                        }
                }
        }
        return fits;
}

ssize_t ulv_port_receive(int fd, struct ulv_port_message *m) {
        union { struct cmsghdr align; char buf[CMSG_SPACE(ULV_PORT_FDS_MAX * sizeof(int))]; } control;
        struct iovec iov = { .iov_base = m->buf, .iov_len = sizeof(m->buf) };
        struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
        ssize_t n;

        m->n_fds = 0;
        m->len = 0;
        do
                n = recvmsg(fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        bool fits = take_fds(&h, m);
        if (!fits || (h.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
                ulv_port_message_done(m);
                return -EBADMSG;
        }
        if (n == 0)
                ulv_port_message_done(m);
        m->len = (size_t) n;
        return n;
}

int ulv_port_send(int fd, const void *buf, size_t len, const int *fds, unsigned n_fds, int flags) {
        union { struct cmsghdr align; char buf[CMSG_SPACE(ULV_PORT_FDS_MAX * sizeof(int))]; } control;
        struct iovec iov = { .iov_base = (void *) buf, .iov_len = len };
        struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t n;

        if (n_fds > ULV_PORT_FDS_MAX)
                return -EINVAL;
        if (n_fds > 0) {
                memset(&control, 0, sizeof(control));
                h.msg_control = &control;
                h.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                struct cmsghdr *c = CMSG_FIRSTHDR(&h);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
        }
        do
                n = sendmsg(fd, &h, flags | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}
