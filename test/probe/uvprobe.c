/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uvprobe [--list]: tries every act, each in a child, and prints TAP: "ok" is refused, with the errno that
 * did it; "not ok" is allowed. The status is 0 only if all were refused. An act that the filter kills
 * (SIGSYS) is refused; one that hangs or dies otherwise is told as allowed, for nothing refused it. */

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/probe/probe.h"

#define ACT_SECONDS 10
#define KILLED_BY_FILTER 1000

static const struct act *const families[] = {
        mount_acts, namespace_acts, process_acts, kernel_acts, socket_acts, file_acts, right_acts,
};

/* What we were born with but 0, 1, 2: asked first, before anything opens something. */
static int leaked_fd(void) {
        DIR *d = opendir("/proc/self/fd");
        struct dirent *e;
        int r = EBADF;

        while (d && (e = readdir(d)))
                if (e->d_name[0] != '.' && atoi(e->d_name) > 2 && atoi(e->d_name) != dirfd(d))
                        r = 0;
        if (d)
                (void) closedir(d);
        return r;
}

/* 0: allowed; else what refused it. */
static int try(const struct act *a) {
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                (void) alarm(ACT_SECONDS);
                int r = a->run();
                _exit(r >= 0 && r < 255 ? r : 254);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid) {
                fprintf(stderr, "uvprobe: no process for %s\n", a->name);
                exit(2);
        }
        if (WIFSIGNALED(status))
                return WTERMSIG(status) == SIGSYS ? KILLED_BY_FILTER : 0;
        return WEXITSTATUS(status);
}

int main(int argc, char **argv) {
        const struct act leak = { "fds", "leaked-fd", NULL };
        int leaks = leaked_fd(), list = argc == 2 && strcmp(argv[1], "--list") == 0;
        unsigned n = 0, allowed = 0;

        setvbuf(stdout, NULL, _IOLBF, 0);
        for (size_t f = 0; f <= sizeof(families) / sizeof(families[0]); f++)
                for (const struct act *a = f == 0 ? &leak : families[f - 1]; a->name; a++) {
                        if (list) {
                                printf("%s %s\n", a->family, a->name);
                        } else {
                                int r = a->run ? try(a) : leaks;
                                allowed += r == 0;
                                printf("%sok %u - %s %s: %s\n", r == 0 ? "not " : "", ++n, a->family, a->name,
                                       r == 0 ? "ALLOWED" : r == KILLED_BY_FILTER ? "killed by the filter" : strerrorname_np(r) ? strerrorname_np(r) : "refused");
                        }
                        if (!a->run)
                                break;
                }
        if (list)
                return 0;
        printf("1..%u\n# %u of %u allowed, uid %d\n", n, allowed, n, (int) getuid());
        return allowed > 0;
}
