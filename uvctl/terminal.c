/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "uvctl/terminal.h"

#include <signal.h>
#include <sys/signalfd.h>

#include "lib/base.h"

int terminal_raw(struct terminal *t) {
        struct termios raw;
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGWINCH);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || tcgetattr(STDIN_FILENO, &t->saved) < 0)
                return -errno;
        t->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (t->signals < 0)
                return -errno;
        raw = t->saved;
        cfmakeraw(&raw);
        if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) < 0)
                return -errno;
        t->raw = true;
        return 0;
}

void terminal_done(struct terminal *t) {
        if (t->raw)
                (void) tcsetattr(STDIN_FILENO, TCSADRAIN, &t->saved);
        t->raw = false;
        t->signals = ulv_close(t->signals);
}

int terminal_signal(struct terminal *t, bool *ret_resized) {
        struct signalfd_siginfo si;

        *ret_resized = false;
        while (read(t->signals, &si, sizeof(si)) == sizeof(si)) {
                if (si.ssi_signo != SIGWINCH)
                        return 128 + (int) si.ssi_signo;
                *ret_resized = true;
        }
        return 0;
}

struct winsize terminal_size(void) {
        struct winsize size = { 0 };

        (void) ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
        return size;
}
