/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a mount or a device is taken away from a container that runs: detach.c. */

#include "plugins/lxc/attach.h"

struct lxc_detach {
        pid_t leader;
        int leader_pidfd;
        const char *cgroup;             /* directory, "" if there is none */
        uint64_t mount;                 /* its id */
        const struct lxc_node *node;    /* of a device, else NULL */
        bool force;
        int words;                      /* an fd that is kept open */
};
#define LXC_DETACH_LATER 2

/* Has the leader's mount namespace a mount of that id? */
bool lxc_detach_is_there(pid_t leader, uint64_t mount);
/* Becomes the container's root, in its root and mount namespace; of our fds only those n stay open. 0; 1: d. */
int lxc_detach_enter(int leader_pidfd, const int *keep, size_t n, struct ulv_diag *d);
/* In a child of the monitor's. 0: it is gone, and nobody uses it; 1: d says why not; LXC_DETACH_LATER: out of sight by force,
 * and still used. */
int lxc_detach_remove(const struct lxc_detach *x, struct ulv_diag *d);
