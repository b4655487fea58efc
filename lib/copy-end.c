/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A partition's end of a copy, as the words of monitor/port.h's ULV_PORT_COPY say, with the stream as standard input
 * or output and complaints as standard error: of uv-init's child in one that runs, of uvctl's in the tree of one
 * that doesn't. */

#include "lib/copy.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void complain(struct copy *c, const char *path, int error, const char *text) {
        dprintf(STDERR_FILENO, "%s%s: %s\n", c->top, path, error ? strerror(error) : text);
}

static int receive(struct copy *c, const char *path, const char *name) {
        char last[COPY_NAME_MAX + 1];
        int dir, r;

        if (!name || strlen(name) > COPY_NAME_MAX)
                return -EINVAL;
        r = copy_target(path, name, &dir, last);
        copy_set_top(c, path, r > 0, name);
        if (r < 0) {
                complain(c, "", -r, NULL);
                return r;
        }
        return copy_receive(c, dir, last);
}

int copy_end(const char *const *argv) {
        static struct copy c = { .modes = 07777, .complain = complain };
        const char *path = argv[1] ? argv[2] : NULL;
        int r = -EINVAL;

        (void) signal(SIGPIPE, SIG_IGN);        /* nobody reads any more: no more than an end */
        if (path && strcmp(argv[1], "send") == 0) {
                c.fd = STDOUT_FILENO;
                copy_set_top(&c, path, false, "");
                r = copy_send(&c, path);
        } else if (path && strcmp(argv[1], "receive") == 0) {
                c.fd = STDIN_FILENO;
                r = receive(&c, path, argv[3]);
        }
        return r < 0 || c.left_out;
}
