/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include "lib/base.h"

/* Runs a program of the host's that reads what strangers wrote (tar, zstd), where it can do no harm: see cage.c.
 * in, out: detached mounts (-1: none) that are /in, read-only, and /out. argv[0] is an absolute path. The
 * standard descriptors are these three. Returns the pid, or -errno; 126 is the cage's own failure. */
pid_t cage_spawn(int in, int out, const char *const argv[], int stdin_fd, int stdout_fd, int stderr_fd) ULV_MUST_CHECK;
/* Runs f, and no program, in a child that has a tree which strangers filled as its root directory and sees nothing else.
 * tree: a detached mount. As cage_spawn(), but it outlives us, until f finds its descriptors closed; the exit status is
 * what f returns. */
pid_t cage_call(int tree, int (*f)(const char *const *argv), const char *const argv[], const int stdio[3]) ULV_MUST_CHECK;
/* A clone of the mount at fd, from that directory down, to be one of them. -errno. */
int cage_clone(int fd) ULV_MUST_CHECK;
