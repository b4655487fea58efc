/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* uv-init: PID 1 of a container that brings none. Static, libc only. uv-init.c tells how it works. */

#include <stdbool.h>
#include <sys/types.h>

#define INIT_FD_ENV "ULV_INIT_FD"       /* number of the socket to uv-port; taken out of the environment */
#define INIT_GROUPS_MAX 64
#define INIT_ID_MAX 65535u              /* the partition's uid range ends here */

struct identity {
        uid_t uid;
        gid_t gid;
        gid_t groups[INIT_GROUPS_MAX];
        int n_groups;
        char name[64], home[256], shell[256];
};

/* Looks up "NAME", "UID" or "UID:GID" ("" = root) in the root's own /etc/passwd and /etc/group.
 * 0; ESRCH: there is none; another errno: the file can't be read. */
int identity_find(const char *user, struct identity *ret);

struct program {
        const char *const *argv;        /* NULL-terminated, at least one */
        const char *const *env;         /* NULL-terminated, on top of our own */
        const char *user, *cwd;         /* "" = root, "/" */
        const int *stdio;               /* three fds, or NULL: our own */
};

/* terminal.c: makes a terminal of the container's own for the program that this process, which has one of the host's as
 * 0 and 1, is about to be. Returns in the program's process, with the new one as 0, 1 and (where it was one) 2, or, where
 * there is none to be had, in the only one, as it was: 0, or an errno. status_fd: not the relay's to keep. */
int terminal_begin(int status_fd);

/* copy.c: argv of ULV_PORT_COPY. */
_Noreturn void copy_main(const char *const *argv);

/* Forks and executes it in a session of its own, with stdin's terminal, if it is one, as the controlling
 * one. Returns once the exec is through: 0, or the errno of monitor/port.h's FAILED. */
int program_start(const struct program *p, pid_t *ret_pid);
