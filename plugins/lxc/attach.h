/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Mounts and devices of a container, at its start and while it runs.
 *
 * Theory of operation. Two halves, with different rights:
 *
 *   prepare (attach-host.c)   with the host's rights: opens the directory or looks at the device node, clones it as a mount of
 *                             its own, gives that the container's ids, and locks its flags
 *   place   (attach-inside.c) with the container's rights: hangs it into the tree, or takes it away again
 *
 * Between them goes one fd. At a start the builder prepares, and the container's first process places, once its mount
 * namespace is its own: so nothing that is attached is locked in its place as the rest of the tree is, and it can be
 * detached later. While it runs, the monitor has given its rights up: there uv-attach prepares, a small program that
 * was started before that and does nothing else (attach/uv-attach.c), and a child of the monitor places, which enters the
 * container's user namespace and mount namespace, being the owner of both.
 *
 * The lock. A mount whose flag says read-only can be made writable by whoever is root where it is attached. Therefore it is
 * attached first in a mount namespace of the host's, that is then copied into one of the container's user
 * namespace: the kernel marks the flags of what it copies so as not to be changed there. The clone of this copy keeps
 * the marks, and is what is placed. */

#include "lib/diag.h"

#include <sys/types.h>

/* A device of the host, as it was found. */
struct lxc_node { bool block, read_only; unsigned major, minor; };

/* attach-host.c */

/* Looks at path: 0; 1: it isn't the device that it is said to be, or can't be given (d: why). */
int lxc_attach_look(const char *path, bool read_only, struct lxc_node *ret, struct ulv_diag *d);
/* To be called in a process of its own, in a mount namespace like the host's; that process can do nothing else afterwards.
 * node: NULL for a directory. Returns the mount's fd; -1: d says why. */
int lxc_attach_prepare(const char *source, const struct lxc_node *node, bool read_only, int user_ns, uid_t uid_base, struct ulv_diag *d);

/* attach-inside.c. The caller is root of the container, in its root and mount namespace. */

/* target: the path inside. 0; 1: d says why. */
int lxc_attach_place(const char *target, bool device, int mnt, struct ulv_diag *d);

/* uv-attach's words: one record each way, over a SEQPACKET socket. */
struct lxc_attach_ask {
        uint64_t number;
        enum { LXC_ASK_MOUNT = 1, LXC_ASK_DEVICE, LXC_ASK_FILTER } kind;
        bool read_only;
        char source[4096];
        unsigned n_nodes; struct lxc_node nodes[64];    /* FILTER: all that is open from now on */
};
struct lxc_attach_answer {
        uint64_t number;
        bool failed;
        struct lxc_node node;           /* DEVICE */
        struct ulv_diag diag;           /* failed; else MOUNT and DEVICE: with the mount's fd */
};
