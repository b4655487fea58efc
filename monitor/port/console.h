/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The console's log: two files that take turns, and one for the first output. See console.c. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONSOLE_TAIL 4096

enum { CONSOLE_FIRST = 2, CONSOLE_FILES };

struct console {
        int fds[CONSOLE_FILES];         /* two that take turns, and the first output */
        unsigned current;               /* which of the two is being filled */
        uint32_t life;                  /* of the partition: each has a first output of its own */
        uint64_t at;                    /* bytes that the partition ever printed, as far as they were kept */
        int64_t half, used;             /* bytes of text that one of the two may have; that the current one has */
        int64_t first_room;             /* bytes that the first output may still take; 0: it is whole */
        int64_t first_used;
        uint64_t dropped;               /* bytes that could not be written since the last that could */
        char tail[CONSOLE_TAIL];        /* the last of those */
        size_t tail_len;
};

/* Takes the three fds over; limit is of all of them together. 0, or -errno (then they stay the caller's). */
int console_init(struct console *c, const int fds[CONSOLE_FILES], int64_t limit, uint32_t life);
void console_done(struct console *c);
/* Never blocks on a full disk, never fails: what can't be kept is counted. */
void console_write(struct console *c, const char *buf, size_t len);
