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

/* copy.c: argv of ULV_PORT_COPY. */
_Noreturn void copy_main(const char *const *argv);

/* Forks and executes it in a session of its own, with stdin's terminal, if it is one, as the controlling
 * one. Returns once the exec is through: 0, or the errno of monitor/port.h's FAILED. */
int program_start(const struct program *p, pid_t *ret_pid);
