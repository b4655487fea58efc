/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <unistd.h>

#include "monitor/port/typing.h"

void typing_begin(struct typing *t, int fd, uint32_t number) {
        typing_end(t);
        t->fd = fd;
        t->number = number;
        t->len = t->at = 0;
}

void typing_end(struct typing *t) {
        if (t->fd >= 0)
                (void) close(t->fd);
        t->fd = -1;
}

int typing_read(struct typing *t) {
        ssize_t n = read(t->fd, t->buf, sizeof(t->buf));

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return 0;
        t->len = n > 0 ? (size_t) n : 0;
        t->at = 0;
        return n <= 0;
}

/* The pty doesn't block. What it can't take at all (a hang-up) is nothing to wait for. */
void typing_write(struct typing *t, int pty) {
        ssize_t n = write(pty, t->buf + t->at, t->len - t->at);

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return;
        t->at = n < 0 ? t->len : t->at + (size_t) n;
}
