/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An end by its name, from inside a container (ask.h). */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "channel/ask.h"
#include "channel/channel.h"

#define ANSWER_FDS 3
#define TRIES 4         /* of our own programs that open the same end at the same moment, one gets the epoch */

static int connect_port(void) {
        struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = ASK_PATH };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r;

        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &a, sizeof(a)) == 0)
                return fd;
        r = -errno;
        (void) close(fd);
        return r;
}

/* The fds of an answer, all of them or none. */
static int take_fds(struct msghdr *h, int fds[ANSWER_FDS]) {
        unsigned n = 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(ANSWER_FDS * sizeof(int))) {
                        memcpy(fds, CMSG_DATA(c), ANSWER_FDS * sizeof(int));
                        n = ANSWER_FDS;
                }
        return n == ANSWER_FDS ? 0 : -EPROTO;
}

static int receive_answer(int fd, struct answer *a, int fds[ANSWER_FDS]) {
        union { struct cmsghdr align; char bytes[CMSG_SPACE(ANSWER_FDS * sizeof(int))]; } control;
        struct iovec iov = { a, sizeof(*a) };
        struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
        ssize_t n;

        do
                n = recvmsg(fd, &h, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        if (n == 0)
                return -ECONNRESET;
        if (n != sizeof(*a) || a->magic != ASK_MAGIC)
                return -EPROTO;
        return a->error ? -(int) (a->error & 0xfff) : take_fds(&h, fds);
}

static int join(const char *name, struct ulv_channel **ret) {
        struct ask q = { .magic = ASK_MAGIC };
        struct ulv_channel_fds given;
        int link = connect_port(), fds[ANSWER_FDS], r;
        struct answer a;

        if (link < 0)
                return link;
        memcpy(q.name, name, strlen(name));
        r = send(link, &q, sizeof(q), MSG_NOSIGNAL) == sizeof(q) ? receive_answer(link, &a, fds) : -errno;
        if (r == 0) {
                given = (struct ulv_channel_fds) { .memory = fds[0], .bell = fds[1], .peer_bell = fds[2], .end = a.end, .epoch = a.epoch, .device = a.device == 1 };
                r = ulv_channel_open(&given, ret);
        }
        if (r == 0) {
                (*ret)->link = link;
                (*ret)->bell.alive = given.device ? link : -1;
        } else
                (void) close(link);
        return r;
}

int ulv_channel_join(const char *name, struct ulv_channel **ret) {
        int r = -ESTALE;

        if (strlen(name) >= ASK_NAME_MAX)
                return -ENOENT;
        for (unsigned i = 0; r == -ESTALE && i < TRIES; i++)
                r = join(name, ret);
        return r;
}
