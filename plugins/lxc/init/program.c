/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Starting a program inside the container, for Exec= and for `uvctl exec` alike. */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "monitor/port.h"
#include "plugins/lxc/init/uv-init.h"

/* The three fds become 0, 1, 2, whatever numbers they have: first out of the way, then into place. */
static int place_stdio(const int *stdio) {
        int high[3];

        for (int i = 0; i < 3; i++)
                if ((high[i] = fcntl(stdio[i], F_DUPFD_CLOEXEC, 10)) < 0)
                        return errno;
        for (int i = 0; i < 3; i++)
                if (dup2(high[i], i) < 0)
                        return errno;
        return 0;
}

/* Beside an image's own init (plugins/lxc/rights.c: `system`), we start what may what that init may. */
static bool may_administer(void) { return prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 1; }

/* Nothing that an application starts as has a capability, nor gets one by an exec: the bounding set is what
 * root gets there. It goes while CAP_SETPCAP is there. */
static int empty_bounding_set(void) {
        for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        return errno;
        return 0;
}

/* What we have is ours: an exec of any user's would hand on what is ambient (plugins/lxc/enter.c put it there). */
static int keep_sets(bool permitted) {
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || syscall(SYS_capget, &head, sets) < 0)
                return errno;
        for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
                sets[i].inheritable = 0;
                if (!permitted)
                        sets[i].permitted = sets[i].effective = 0;
        }
        return syscall(SYS_capset, &head, sets) < 0 ? errno : 0;
}

static int become(const struct identity *id) {
        bool drop = !may_administer();
        int r = drop ? empty_bounding_set() : 0;

        if (r != 0)
                return r;
        if (setgroups((size_t) id->n_groups, id->groups) < 0 || setresgid(id->gid, id->gid, id->gid) < 0 ||
            setresuid(id->uid, id->uid, id->uid) < 0)
                return errno;
        return keep_sets(!drop);
}

static void set_environment(const struct program *p, const struct identity *id) {
        /* What Environment= says explicitly stays. */
        setenv("HOME", id->home, 0);
        setenv("USER", id->name, 0);
        setenv("LOGNAME", id->name, 0);
        setenv("SHELL", id->shell, 0);
        for (const char *const *e = p->env; *e; e++)
                putenv((char *) *e);            /* stays ours until the exec */
}

/* The user's shell as at a login: its name begins with '-'. A shell that isn't there (images for one service
 * often name one in their passwd) is no reason to have none. */
static int exec_shell(const char *path) {
        const char *slash = strrchr(path, '/');
        char name[258];

        (void) snprintf(name, sizeof(name), "-%s", slash ? slash + 1 : path);
        (void) execl(path, name, (char *) NULL);
        if (errno == ENOENT || errno == EACCES)
                (void) execl("/bin/sh", "-sh", (char *) NULL);
        return errno;
}

/* In the child. Returns only with an errno. */
static int become_program(const struct program *p, int status_fd) {
        struct identity id;
        sigset_t none;
        bool shell;
        int r;

        if ((r = identity_find(p->user, &id)) != 0)
                return r;
        if (p->stdio && (r = place_stdio(p->stdio)) != 0)
                return r;
        if (setsid() < 0)
                return errno;
        if (isatty(STDIN_FILENO))
                (void) ioctl(STDIN_FILENO, TIOCSCTTY, 0);       /* taken already: go on without job control */
        if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
                return errno;
        if ((r = become(&id)) != 0)
                return r;
        /* A terminal from outside: from here on there are two of us, of which the program is the one that comes back. */
        if (p->stdio && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && (r = terminal_begin(status_fd)) != 0)
                return r;
        /* As the user, so that nobody is put where he may not go. */
        shell = strcmp(p->argv[0], ULV_PORT_SHELL) == 0;
        if (*p->cwd || !shell || chdir(id.home) < 0)
                if (chdir(*p->cwd ? p->cwd : "/") < 0)
                        return ENOTDIR;
        set_environment(p, &id);
        sigemptyset(&none);
        if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
                return errno;
        if (strcmp(p->argv[0], ULV_PORT_COPY) == 0) {
                /* What waits for the exec sees its end, and nothing of ours is open in it. */
                if (syscall(SYS_close_range, 3u, ~0u, 0) < 0)
                        return errno;
                copy_main(p->argv);
        }
        if (shell)
                return exec_shell(id.shell);
        (void) execvp(p->argv[0], (char *const *) p->argv);
        return errno;
}

int program_start(const struct program *p, pid_t *ret_pid) {
        int status[2], error = 0;
        ssize_t n;

        if (pipe2(status, O_CLOEXEC) < 0)
                return errno;
        pid_t pid = fork();
        if (pid == 0) {
                /* Above what place_stdio() fills. */
                int fd = fcntl(status[1], F_DUPFD_CLOEXEC, 10);
                error = fd < 0 ? errno : 0;
                if (fd >= 0) {
                        (void) close(status[1]);
                        error = become_program(p, fd);
                }
                if (write(fd < 0 ? status[1] : fd, &error, sizeof(error)) < 0)
                        _exit(126);
                _exit(127);
        }
        error = pid < 0 ? errno : 0;
        (void) close(status[1]);
        /* The exec closes the last writer; until then we wait, with the rest of PID 1's work. */
        if (pid > 0) {
                do
                        n = read(status[0], &error, sizeof(error));
                while (n < 0 && errno == EINTR);
                if (n != sizeof(error))
                        error = 0;
        }
        (void) close(status[0]);
        if (error == 0)
                *ret_pid = pid;
        return error;   /* a child that failed is reaped with the others */
}
