/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What somebody types into the console: one fd at a time, whose bytes go to the pty. The fd is a person's,
 * through uvctl; what the partition does with its terminal decides how fast it is read. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TYPING_MAX 1024         /* bytes on their way; a terminal's line holds 4096 */

struct typing {
        int fd;                 /* -1: nobody types */
        uint32_t number;        /* the monitor's request */
        char buf[TYPING_MAX];
        size_t len, at;
};

/* Bytes wait for room in the pty. */
static inline bool typing_full(const struct typing *t) { return t->at < t->len; }
void typing_begin(struct typing *t, int fd, uint32_t number);
void typing_end(struct typing *t);
/* 0; 1: there will be no more. */
int typing_read(struct typing *t);
void typing_write(struct typing *t, int pty);
