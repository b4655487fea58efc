/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A terminal for `uvctl exec`. The one that comes with the record is of the host's /dev/pts, where nobody inside can look
 * it up: programs would say "not a tty". So one of the container's own devpts is made, and a relay carries bytes and the
 * window's size between the two. All of it happens inside, as the user that the program runs as: nobody outside opens what
 * a container may have made of its /dev/pts, and no descriptor leaves the container. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "plugins/lxc/init/uv-init.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

#define CHUNK 4096

struct way { int from, to; size_t at, len; char buf[CHUNK]; };

struct relay {
        int outer, inner, signals;      /* inner: the master of the container's; outer -1: nobody is there any more */
        pid_t program;
        int status;                     /* of it, once `ended` */
        int ended;
        struct way in, out;
};

/* What is behind the name may be anything by now: it isn't waited for, and only the multiplexer is one. */
static int open_master(void) {
        struct stat st;
        int fd = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW), unlock = 0;

        if (fd < 0)
                return -1;
        if (fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && major(st.st_rdev) == 5 && minor(st.st_rdev) == 2 &&
            ioctl(fd, TIOCSPTLCK, &unlock) == 0)
                return fd;
        (void) close(fd);
        return -1;
}

static void copy_size(const struct relay *r) {
        struct winsize size;

        if (ioctl(r->outer, TIOCGWINSZ, &size) == 0)
                (void) ioctl(r->inner, TIOCSWINSZ, &size);
}

/* The inner one does what a terminal does; the outer one is only a pipe. */
static int make_raw(int fd) {
        struct termios t;

        if (tcgetattr(fd, &t) < 0)
                return -1;
        cfmakeraw(&t);
        return tcsetattr(fd, TCSANOW, &t);
}

/* Its master closed is what a terminal's end is: the program's session gets SIGHUP. */
static void hang_up(struct relay *r) {
        if (r->inner >= 0)
                (void) close(r->inner);
        r->inner = r->outer = r->in.from = r->in.to = r->out.from = r->out.to = -1;
        r->in.len = r->out.len = 0;
}

static void take_signals(struct relay *r) {
        struct signalfd_siginfo si;

        while (read(r->signals, &si, sizeof(si)) == sizeof(si))
                if (si.ssi_signo == SIGWINCH)
                        copy_size(r);
                else if (si.ssi_signo == SIGHUP || si.ssi_signo == SIGTERM)
                        hang_up(r);
        if (!r->ended && waitpid(r->program, &r->status, WNOHANG) == r->program)
                r->ended = 1;
}

/* Moves what can be moved. -1: an end of it is gone. */
static int move(struct way *w) {
        ssize_t n;

        if (w->len == 0) {
                n = read(w->from, w->buf, sizeof(w->buf));
                if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                        return -1;
                w->at = 0;
                w->len = n > 0 ? (size_t) n : 0;
        }
        if (w->len > 0) {
                n = write(w->to, w->buf + w->at, w->len);
                if (n < 0 && errno != EAGAIN && errno != EINTR)
                        return -1;
                w->at += n > 0 ? (size_t) n : 0;
                w->len -= n > 0 ? (size_t) n : 0;
        }
        return 0;
}

static struct pollfd wish(const struct way *w) {
        return w->len > 0 ? (struct pollfd) { .fd = w->to, .events = POLLOUT } : (struct pollfd) { .fd = w->from, .events = POLLIN };
}

static void step(struct relay *r) {
        struct pollfd p[] = { { .fd = r->signals, .events = POLLIN }, wish(&r->in), wish(&r->out) };

        if (poll(p, 3, -1) < 0)
                return;
        if (p[1].revents && r->in.from >= 0 && move(&r->in) < 0) {
                /* Nothing read, and the line is there: an end of file that was typed before it was raw. */
                r->in.len = 0;
                if (p[1].revents & (POLLHUP | POLLERR))
                        hang_up(r);
        }
        /* The program has closed its terminal, and may go on without: what comes from outside has nowhere to go. */
        if (p[2].revents && r->out.from >= 0 && move(&r->out) < 0)
                r->out.from = r->out.to = r->in.from = r->in.to = -1;
        if (p[0].revents)
                take_signals(r);
}

/* What it had written before its end. A child that it left behind isn't waited for. */
static void drain(struct relay *r) {
        while (r->out.from >= 0) {
                struct pollfd p = { .fd = r->out.to, .events = POLLOUT };

                if (move(&r->out) < 0)
                        return;
                if (r->out.len > 0)
                        (void) poll(&p, 1, -1);
                else if (poll(&(struct pollfd) { .fd = r->out.from, .events = POLLIN }, 1, 0) <= 0)
                        return;
        }
}

/* Ends as the program did. */
static _Noreturn void end_as(int status) {
        sigset_t all;

        if (WIFSIGNALED(status)) {
                sigfillset(&all);
                (void) signal(WTERMSIG(status), SIG_DFL);
                (void) sigprocmask(SIG_UNBLOCK, &all, NULL);
                (void) kill(getpid(), WTERMSIG(status));
        }
        _exit(WEXITSTATUS(status));
}

static int open_signals(void) {
        static const int taken[] = { SIGCHLD, SIGWINCH, SIGHUP, SIGTERM };
        sigset_t set;

        sigfillset(&set);       /* a program of the same user's may send any: none but those that can't be held ends us */
        if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
                return -1;
        sigemptyset(&set);
        for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
                sigaddset(&set, taken[i]);
        return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* In the program's process: the session is its own, with this terminal. */
static int take_terminal(int slave) {
        int error = isatty(STDERR_FILENO);

        if (setsid() < 0 || ioctl(slave, TIOCSCTTY, 0) < 0 || dup2(slave, STDIN_FILENO) < 0 || dup2(slave, STDOUT_FILENO) < 0 ||
            (error && dup2(slave, STDERR_FILENO) < 0))
                return errno;
        (void) close(slave);
        return 0;
}

static _Noreturn void serve(struct relay *r) {
        r->in.from = r->out.to = r->outer;
        r->in.to = r->out.from = r->inner;
        while (!r->ended)
                step(r);
        drain(r);
        end_as(r->status);
}

int terminal_begin(int status_fd) {
        static const char none[] = "uv-init: this partition has no pseudo-terminal in /dev/pts, so programs see none\r\n";
        static struct relay r;
        int slave = -1, flags;

        r.outer = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);
        r.inner = open_master();
        if (r.inner >= 0)
                slave = ioctl(r.inner, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        r.signals = open_signals();
        flags = fcntl(r.outer, F_GETFL);
        if (r.outer < 0 || slave < 0 || r.signals < 0 || flags < 0) {
                (void) !write(STDERR_FILENO, none, sizeof(none) - 1);
                (void) close(r.inner);
                return 0;
        }
        copy_size(&r);
        r.program = fork();
        if (r.program < 0)
                return errno;
        if (r.program == 0)
                return take_terminal(slave);
        (void) close(slave);
        (void) close(status_fd);
        for (int i = 0; i < 3; i++)
                (void) close(i);
        (void) fcntl(r.outer, F_SETFL, flags | O_NONBLOCK);
        if (make_raw(r.outer) < 0)
                hang_up(&r);
        serve(&r);
}
