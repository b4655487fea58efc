/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-init [--user USER] [--cwd DIR] -- PROGRAM [ARGUMENT...]
 * uv-init --serve
 *
 * Theory of operation. The kernel makes PID 1 of a pid namespace immune to signals it has no handler for
 * and gives it all orphans, so a common program is a bad PID 1: it can't be asked to stop, and collects
 * zombies. This one does that work: it starts Exec= as its only own child, takes every signal through one
 * signalfd, passes those on that ask for something, reaps whatever ends, and ends with Exec=, which ends
 * the container, for the kernel kills the rest of the namespace with its PID 1.
 *
 * It also serves `uvctl exec`: an EXEC record on the socket to uv-port carries words and three fds; the
 * program runs as a child of ours, so nobody from outside ever enters the container (setns into a hostile
 * container is how fds get stolen).
 *
 * With --serve it is no PID 1, but waits beside an image's own (plugins/lxc/enter.c) and does `exec` alone;
 * signals do to it what they do to anybody, and the end of its parent is the end of all.
 *
 * It lives inside, so nothing outside believes it; nobody inside can speak to it but by signals, and
 * the container's root, by signals it could send to Exec= itself. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "monitor/port/socket.h"
#include "plugins/lxc/init/uv-init.h"

#define JOBS_MAX 64

struct init {
        int socket, signals;            /* socket: -1 if none or closed */
        pid_t main;                     /* Exec=; with --serve, 1 */
        /* pid 0 = free; number 0 = nobody waits for its end any more. */
        struct { pid_t pid; uint32_t number; } jobs[JOBS_MAX];
};

static struct ulv_port_message message;
static const char *const no_words[] = { NULL };

static void tell(struct init *s, uint32_t kind, uint32_t number, int64_t value) {
        struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = kind, .number = number, .value = value };

        if (s->socket >= 0)
                (void) ulv_port_send(s->socket, &r, sizeof(r), NULL, 0, 0);     /* waits SO_SNDTIMEO at most */
}

static int64_t status_value(int status) {
        return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Ends as Exec= did: by the same signal where that is possible for a PID 1, which it isn't; so by the
 * shell's convention, for whoever looks at the host's wait status. */
static _Noreturn void end_with(struct init *s, int status) {
        tell(s, ULV_PORT_EXITED, 0, status_value(status));
        exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

static void reap(struct init *s) {
        int status;
        pid_t pid;

        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
                if (pid == s->main)
                        end_with(s, status);
                for (unsigned i = 0; i < JOBS_MAX; i++)
                        if (s->jobs[i].pid == pid) {
                                s->jobs[i].pid = 0;
                                if (s->jobs[i].number != 0)
                                        tell(s, ULV_PORT_EXITED, s->jobs[i].number, status_value(status));
                        }
        }
}

static void take_signals(struct init *s) {
        struct signalfd_siginfo si;

        while (read(s->signals, &si, sizeof(si)) == sizeof(si)) {
                if (si.ssi_signo == SIGCHLD)
                        reap(s);
                else
                        (void) kill(s->main, (int) si.ssi_signo);
        }
}

/* A monitor doesn't use a number twice at a time; so one that we know already comes from a new monitor, and
 * who waited for the old job has gone with the old one. */
static void forget_number(struct init *s, uint32_t number) {
        for (unsigned i = 0; i < JOBS_MAX; i++)
                if (s->jobs[i].number == number)
                        s->jobs[i].number = 0;
}

/* 0, or an errno of FAILED. */
static int start_job(struct init *s, uint32_t number) {
        static struct ulv_port_exec e;
        unsigned i = 0;

        if (!ulv_port_exec_parse(message.buf, message.len, &e))
                return EINVAL;
        while (i < JOBS_MAX && s->jobs[i].pid != 0)
                i++;
        if (i == JOBS_MAX)
                return EAGAIN;
        forget_number(s, number);
        const struct program p = { .argv = e.argv, .env = e.env, .user = e.user, .cwd = e.cwd, .stdio = message.fds };
        int r = program_start(&p, &s->jobs[i].pid);
        if (r == 0)
                s->jobs[i].number = number;
        return r;
}

static void take_record(struct init *s) {
        struct ulv_port_record r;
        ssize_t n = ulv_port_receive(s->socket, &message);

        if (n == -EAGAIN)
                return;
        if (n <= 0 || !ulv_port_record_valid(message.buf, message.len, message.n_fds, ULV_PORT_TO_INIT)) {
                /* Nobody there, or nonsense: the container goes on without `exec`. */
                ulv_port_message_done(&message);
                (void) close(s->socket);
                s->socket = -1;
                return;
        }
        memcpy(&r, message.buf, sizeof(r));
        if (r.kind == ULV_PORT_EXEC) {
                int error = start_job(s, r.number);
                if (error != 0)
                        tell(s, ULV_PORT_FAILED, r.number, error);
        } else
                (void) kill(s->main, (int) r.number);
        ulv_port_message_done(&message);
}

static _Noreturn void serve(struct init *s) {
        for (;;) {
                struct pollfd fds[2] = { { .fd = s->signals, .events = POLLIN }, { .fd = s->socket, .events = POLLIN } };

                if (poll(fds, 2, -1) < 0 && errno != EINTR)
                        exit(1);
                if (fds[0].revents)
                        take_signals(s);
                if (fds[1].revents)
                        take_record(s);
        }
}

/* All but what the kernel sends us for our own faults, and what no process can take. */
static int open_signals(bool serve) {
        static const int own[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT };
        sigset_t set;

        sigfillset(&set);
        for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
                sigdelset(&set, own[i]);
        if (serve) {
                sigemptyset(&set);
                sigaddset(&set, SIGCHLD);
        }
        if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
                return -1;
        (void) signal(SIGPIPE, SIG_DFL);
        return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* The socket's number is taken out of the environment before anything is started. */
static int take_socket(void) {
        const char *s = getenv(INIT_FD_ENV);
        struct timeval wait = { .tv_sec = 2 };
        int fd = -1, type;
        socklen_t len = sizeof(type);

        if (s && *s >= '0' && *s <= '9' && !s[1])       /* one digit: it is 3 */
                fd = *s - '0';
        unsetenv(INIT_FD_ENV);
        if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_SEQPACKET)
                return -1;
        /* A send may wait, but not for ever; the far end was made non-blocking, and this one with it. */
        (void) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
        (void) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
        return fd;
}

/* Returns the status of a bad start; else serves for ever. */
static int begin(struct init *s, const struct program *p) {
        int r = 0;

        (void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);      /* no pidfd_getfd() of our socket */
        (void) prctl(PR_SET_NAME, "uv-init", 0, 0, 0);
        s->socket = take_socket();
        s->signals = open_signals(!p);
        if (s->signals < 0 || (!p && s->socket < 0))
                return 1;
        if (p)
                r = program_start(p, &s->main);
        else
                s->main = 1;
        if (r != 0) {
                tell(s, ULV_PORT_FAILED, 0, r);
                return 127;
        }
        tell(s, ULV_PORT_READY, 0, 0);
        serve(s);
}

/* Says a user's number: for who may not read the files that have it. */
static int find(const char *user) {
        struct identity id;

        return identity_find(user, &id) != 0 || printf("%u\n", (unsigned) id.uid) < 0 || fflush(stdout) != 0;
}

int main(int argc, char **argv) {
        static struct init s;
        struct program p = { .env = no_words, .user = "", .cwd = "" };
        int i = 1;

        if (argc == 2 && strcmp(argv[1], "--serve") == 0)
                return begin(&s, NULL);
        if (argc == 3 && strcmp(argv[1], "--find") == 0)
                return find(argv[2]);
        for (; i + 1 < argc && strcmp(argv[i], "--") != 0; i += 2) {
                if (strcmp(argv[i], "--user") == 0)
                        p.user = argv[i + 1];
                else if (strcmp(argv[i], "--cwd") == 0)
                        p.cwd = argv[i + 1];
                else
                        break;
        }
        if (i + 1 >= argc || strcmp(argv[i], "--") != 0) {
                fprintf(stderr, "usage: uv-init [--user USER] [--cwd DIR] -- PROGRAM [ARGUMENT...]\n       uv-init --serve\n       uv-init --find USER\n");
                return 2;
        }
        p.argv = (const char *const *) argv + i + 1;
        return begin(&s, &p);
}
