/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uvguest listen: is asked by the monitor, one question at a time, and answers with what a program of the partition says:
 * its exit status is the code. Without a program each question is a line, and is agreed to. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest/guest.h"

#define LATER_STATUS 75         /* EX_TEMPFAIL of sysexits.h */

/* A question as words: the program's arguments, or a line. */
static unsigned words(const struct ulv_call *q, char text[3][64], const char *argv[4]) {
        unsigned n = 0;

        argv[n++] = ulv_call_verb_name(q->verb);
        switch ((enum ulv_call_verb) q->verb) {
        case ULV_CALL_STOP:
        case ULV_CALL_RESIZE:
                for (unsigned i = 0; i < (q->verb == ULV_CALL_STOP ? 1 : 2); i++) {
                        (void) snprintf(text[i], sizeof(text[i]), "%llu", (unsigned long long) q->value[i]);
                        argv[n++] = text[i];
                }
                break;
        case ULV_CALL_PATH:
                (void) snprintf(text[0], sizeof(text[0]), "%.63s", q->text);
                argv[n++] = text[0];
                argv[n++] = q->value[0] ? "connected" : "gone";
                break;
        case ULV_CALL_TIME:
                argv[n++] = q->value[0] == 1 ? "resumed" : "set";
                (void) snprintf(text[0], sizeof(text[0]), "%llu", (unsigned long long) q->value[1]);
                argv[n++] = text[0];
                break;
        default:
                break;
        }
        return n;
}

static enum ulv_call_code run(const char *program, const char *const words_of[], unsigned n) {
        const char *argv[8] = { program };
        int status;
        pid_t pid;

        memcpy(argv + 1, words_of, n * sizeof(argv[0]));
        pid = fork();
        if (pid == 0) {
                (void) execvp(program, (char **) (unsigned long) argv);
                perror(program);
                _exit(127);
        }
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (pid < 0 || !WIFEXITED(status))
                return ULV_CALL_FAILED;
        switch (WEXITSTATUS(status)) {
        case 0: return ULV_CALL_OK;
        case 1: return ULV_CALL_REFUSED;
        case LATER_STATUS: return ULV_CALL_LATER;
        default: return ULV_CALL_FAILED;
        }
}

static int answer(int fd, const struct ulv_call *q, const char *program) {
        struct ulv_call a = { .magic = ULV_CALL_MAGIC, .verb = q->verb, .answer = 1, .number = q->number };
        char text[3][64];
        const char *argv[4];
        unsigned n = words(q, text, argv), made = 0, failed = 0;

        for (unsigned i = 0; i < n && !program; i++)
                printf("%s%c", argv[i], i + 1 < n ? ' ' : '\n');
        (void) fflush(stdout);
        a.code = ulv_call_check(q, ULV_CALL_FROM_MONITOR);
        if (a.code == ULV_CALL_OK && q->verb == ULV_CALL_SELFTEST) {
                guest_checks(NULL, &made, &failed);
                a.value[0] = made;
                a.value[1] = failed;
        }
        if (a.code == ULV_CALL_OK && program)
                a.code = run(program, argv, n);
        if (q->verb == ULV_CALL_SELFTEST && a.code != ULV_CALL_OK && program) {
                a.value[0]++;
                a.value[1]++;
        }
        return ulv_call_send(fd, &a);
}

static int begin(void) {
        struct ulv_call c = { .verb = ULV_CALL_HELLO, .value = { ULV_CALL_VERSION, ULV_CALL_LISTENS_ALL } };
        int fd = ulv_call_connect(), r;

        if (fd < 0)
                return fd;
        r = ulv_call(fd, &c, NULL);
        if (r == 0 && c.code == ULV_CALL_OK)
                return fd;
        (void) close(fd);
        return r < 0 ? r : c.code == ULV_CALL_BUSY ? -EBUSY : c.code == ULV_CALL_TOO_MANY ? -EAGAIN : -EPROTO;
}

int guest_listen(int argc, char **argv) {
        const struct timespec pause = { .tv_nsec = 100 * 1000000 };

        for (bool listened = false;;) {
                struct ulv_call q;
                int fd = begin(), r = fd;

                if (fd < 0 && (!listened && (fd == -ENOENT || fd == -EACCES || fd == -EBUSY || fd == -EPROTO)))
                        return guest_fail("cannot listen", fd == -EBUSY ? "another program of this partition does" : strerror(-fd),
                                          "as root inside a partition that Ultravisor runs");
                listened = listened || fd >= 0;
                while (r >= 0 && (r = ulv_call_receive(fd, &q, NULL)) == 0)
                        if (!q.answer)
                                r = answer(fd, &q, argc > 0 ? argv[0] : NULL);
                if (fd >= 0)
                        (void) close(fd);
                (void) nanosleep(&pause, NULL);         /* the monitor's half died, and comes again */
        }
}
