/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The partition's end of `uvctl copy`: a child of uv-init that is already who it is to be, with the stream as its
 * standard input or output. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/copy.h"
#include "monitor/port.h"
#include "plugins/lxc/init/uv-init.h"

static void complain(struct copy *c, const char *path, int error, const char *text) {
        fprintf(stderr, "%s%s: %s\n", c->top, path, error ? strerror(error) : text);
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

void copy_main(const char *const *argv) {
        static struct copy c = { .modes = 07777, .complain = complain };
        const char *path = argv[1] ? argv[2] : NULL;
        int r = -EINVAL;

        (void) prctl(PR_SET_NAME, "uv-copy", 0, 0, 0);
        (void) signal(SIGPIPE, SIG_IGN);        /* nobody reads any more: no more than an end */
        if (path && strcmp(argv[1], "send") == 0) {
                c.fd = STDOUT_FILENO;
                copy_set_top(&c, path, false, "");
                r = copy_send(&c, path);
        } else if (path && strcmp(argv[1], "receive") == 0) {
                c.fd = STDIN_FILENO;
                r = receive(&c, path, argv[3]);
        }
        (void) fflush(stderr);
        _exit(r < 0 || c.left_out);
}
