/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The console's log: two files that take turns. See console.c. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONSOLE_TAIL 4096

struct console {
        int fds[2];
        unsigned current;       /* which of the two is being filled */
        int64_t half, used;     /* bytes that one file may have; bytes in the current one */
        uint64_t dropped;       /* bytes that could not be written since the last that could */
        char tail[CONSOLE_TAIL];/* the last of those */
        size_t tail_len;
};

/* Takes both fds over. 0, or -errno (then they stay the caller's). */
int console_init(struct console *c, int fd0, int fd1, int64_t limit);
void console_done(struct console *c);
/* Never blocks on a full disk, never fails: what can't be kept is counted. */
void console_write(struct console *c, const char *buf, size_t len);
