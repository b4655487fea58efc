/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The administrator's terminal, in raw mode while what is typed is somebody else's to understand. */

#include <stdbool.h>
#include <sys/ioctl.h>
#include <termios.h>

struct terminal {
        struct termios saved;
        bool raw;
        int signals;            /* signalfd: SIGWINCH, and what would end us with the terminal in raw mode; -1 */
};

/* 0 or -errno. */
int terminal_raw(struct terminal *t);
/* Gives it back as it was; for one that was never raw too. */
void terminal_done(struct terminal *t);
/* Something is there at t->signals: 0, and whether the size changed; or 128 + the signal that ends us. */
int terminal_signal(struct terminal *t, bool *ret_resized);
/* Of standard input; zeros if it is no terminal. */
struct winsize terminal_size(void);
