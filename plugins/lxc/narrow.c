/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a container's monitor gives up (monitor/narrow.c says how).
 *
 * Theory of operation. uv-monitor-lxc is uid 0, because it maps a partition's uids and mounts its root; but
 * of root's rights it keeps those that it has a reason for, the table below. It narrows a second
 * time once the payload runs: the right to mount, which is the right to everything, is held for the few
 * milliseconds of a start only.
 *
 * Uid 0 without a capability still owns root's files: cgroup limits, the run directory and the logs need
 * none. Rights inside the container's user namespace belong to its creator's uid and need none either
 * (killing, signals, waiting). */

#include <malloc.h>
#include <sys/capability.h>
#include <sys/mman.h>

#include "lib/log.h"
#include "plugins/lxc/lxc.h"

static const struct ulv_kept_right kept[] = {
        { CAP_SYS_ADMIN, ULV_STAGE_BORN, "namespaces, detached and idmapped mounts, pivot_root of the builder" },
        { CAP_NET_ADMIN, ULV_STAGE_BORN, "veth pairs into the bridges of [Network], addresses and routes inside" },
        { CAP_CHOWN, ULV_STAGE_BORN, "console, /dev and the log files get their owners" },
        { CAP_DAC_READ_SEARCH, ULV_STAGE_BORN, "Root= may lie below a directory that root doesn't own" },
        { CAP_MKNOD, ULV_STAGE_BORN, "nodes of the devices of [Device]" },
        { CAP_SETPCAP, ULV_STAGE_STARTED, "uv-port, forked again after a crash, empties its bounding set" },
        { CAP_SETUID, ULV_STAGE_STARTED, "the uid map; uv-port becomes its own uid; a rotated credential is User='s" },
        { CAP_SETGID, ULV_STAGE_STARTED, "the gid map; uv-port becomes its own gid; a rotated credential is User='s" },
        { CAP_KILL, ULV_STAGE_STARTED, "uv-port has another uid and must be ended" },
        { CAP_SYS_NICE, ULV_STAGE_STARTED, "affinity of the payload's threads where there is no cpuset" },
};

/* Compiling filters and reading definitions took some 300K of heap and 30K of stack, and a monitor may live for
 * years without needing as much again. What lies below the page under this frame is nobody's. */
static void give_back_memory(void) {
        uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE), here = (uintptr_t) __builtin_frame_address(0) & ~(page - 1);

        (void) malloc_trim(0);
        (void) madvise((void *) (here - 32 * page), 31 * page, MADV_DONTNEED);        /* to where it was never so deep: ENOMEM */
}

int lxc_narrow(struct ulv_monitor *m, enum ulv_stage stage) {
        struct lxc *c = lxc_get(m);
        int r;

        /* The last moment for it: it needs what is given up here. */
        if (stage == ULV_STAGE_STARTED && (r = c ? lxc_attach_begin(c) : -ENOMEM) < 0)
                ulv_log_errno(r, "mounts and devices can't be attached while it runs");
        r = ulv_monitor_narrow(kept, ULV_ARRAY_SIZE(kept), stage);
        if (r < 0)
                return ulv_log_errno(r, "cannot give up rights that are not needed");
        if (stage == ULV_STAGE_STARTED) {
                c->init = ulv_close(c->init);
                give_back_memory();
        }
        return 0;
}

bool lxc_may_build(void) {
        cap_flag_value_t have = CAP_CLEAR;
        cap_t now = cap_get_proc();

        if (now)
                (void) cap_get_flag(now, CAP_SYS_ADMIN, CAP_EFFECTIVE, &have);
        (void) cap_free(now);
        return have == CAP_SET;
}
