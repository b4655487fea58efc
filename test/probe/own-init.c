/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The init of a root that has no systemd, for tests of Init=yes: reaps, and ends where systemd would. */

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
        sigset_t set;
        int signo;

        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        sigaddset(&set, SIGRTMIN + 3);
        sigaddset(&set, SIGTERM);
        if (getpid() != 1 || sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return 1;
        printf("own init, console %s\n", ttyname(0));
        (void) fflush(stdout);
        while (sigwait(&set, &signo) == 0) {
                if (signo == SIGRTMIN + 3)
                        return 0;
                if (signo == SIGTERM)
                        return 7;
                while (waitpid(-1, NULL, WNOHANG) > 0)
                        ;
        }
        return 1;
}
