/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A container's life as monitor/plugin.h asks for it.
 *
 * Theory of operation. A start (start.c) forks a builder, and tells later how it went. Whatever ends
 * badly is undone here in one way: kill all in the cgroup and the first process, wait for it, remove the
 * cgroup; the mounts go with their namespace. After a restart of the monitor the cgroup's name and the
 * first process's pidfd are all that is needed; nothing else is kept. */

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/log.h"
#include "model/inventory.h"
#include "plugins/lxc/lxc.h"

#define END_TRIES 300           /* of 10 ms: how long killed processes may take to be gone */

int lxc_pidfd_signal(int pidfd, int signo) {
        return syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0) < 0 ? -errno : 0;
}

/* A pidfd is readable when its process, all threads, has ended; of a PID 1: when its namespace has. */
bool lxc_pidfd_dead(int pidfd, int timeout_ms) {
        struct pollfd p = { .fd = pidfd, .events = POLLIN };

        return pidfd < 0 || poll(&p, 1, timeout_ms) > 0;
}

static int current_leader(const struct lxc *c) {
        return c->leader >= 0 ? c->leader : ulv_monitor_leader_pidfd(c->m);
}

struct lxc *lxc_get(struct ulv_monitor *m) {
        struct lxc *c = ulv_monitor_data(m);

        if (!c && (c = calloc(1, sizeof(*c)))) {
                c->m = m;
                c->status = c->builder = c->leader = c->init = c->helper = -1;
                ulv_monitor_set_data(m, c);
        }
        return c;
}

/* Once it is dead its last words are read: the pidfd of the first process may be among them. */
static void reap_builder(struct lxc *c) {
        siginfo_t si;

        if (c->builder < 0 || !lxc_pidfd_dead(c->builder, 0))
                return;
        (void) waitid(P_PIDFD, (id_t) c->builder, &si, WEXITED | WNOHANG);
        c->source = sd_event_source_unref(c->source);
        c->builder = ulv_close(c->builder);
        while (c->status >= 0 && lxc_take_word(c) > 0)
                ;
        c->status = ulv_close(c->status);
}

static int on_builder_dead(sd_event_source *s ULV_UNUSED, int fd ULV_UNUSED, uint32_t revents ULV_UNUSED, void *userdata) {
        reap_builder(userdata);
        return 0;
}

/* It has done its work and is on its way out, which takes the time that the kernel takes for its mounts, and that
 * the container's CPU limit leaves it: nobody waits for that. */
void lxc_leave_builder(struct lxc *c) {
        c->source = sd_event_source_unref(c->source);
        c->status = ulv_close(c->status);
        if (c->builder >= 0 && sd_event_add_io(ulv_monitor_event(c->m), &c->source, c->builder, EPOLLIN, on_builder_dead, c) < 0)
                lxc_end_builder(c);
}

/* Doesn't wait for ever: what hangs in the kernel (a dead file server below Root=) is asked for again by gone(). */
void lxc_end_builder(struct lxc *c) {
        c->source = sd_event_source_unref(c->source);
        if (c->builder < 0)
                return;
        (void) lxc_pidfd_signal(c->builder, SIGKILL);
        (void) lxc_pidfd_dead(c->builder, 100);
        reap_builder(c);
}

static int do_kill(struct ulv_monitor *m) {
        struct lxc *c = lxc_get(m);
        _cleanup_close_ int cgroup = ulv_cgroup_open(ulv_monitor_cgroup(m), false);
        int leader, r = 0;

        if (!c)
                return -ENOMEM;
        c->killed = true;
        lxc_end_builder(c);
        leader = current_leader(c);
        if (cgroup >= 0 && (r = ulv_cgroup_kill(cgroup)) == -ENOENT)
                r = 0;
        /* Its PID 1 takes the namespace along, where there is no cgroup. */
        if (leader >= 0) {
                int k = lxc_pidfd_signal(leader, SIGKILL);
                if (k < 0 && k != -ESRCH && r == 0)
                        r = k;
        }
        return r;
}

static int gone(struct ulv_monitor *m) {
        struct lxc *c = lxc_get(m);
        _cleanup_close_ int cgroup = ulv_cgroup_open(ulv_monitor_cgroup(m), false);

        if (!c)
                return -ENOMEM;
        reap_builder(c);
        if (c->builder >= 0)
                return 1;
        if (!lxc_pidfd_dead(current_leader(c), 0)) {
                if (c->killed)          /* it may have come to light only now */
                        (void) lxc_pidfd_signal(current_leader(c), SIGKILL);
                return 1;
        }
        return ulv_cgroup_populated(cgroup);
}

static int cleanup(struct ulv_monitor *m) {
        struct lxc *c = lxc_get(m);
        int r = gone(m);

        if (r != 0)
                return r < 0 ? r : -EBUSY;
        if (c->leader >= 0) {
                siginfo_t si;
                (void) waitid(P_PIDFD, (id_t) c->leader, &si, WEXITED | WNOHANG | __WALL);      /* our child, if it got far */
                c->leader = ulv_close(c->leader);
        }
        c->init = ulv_close(c->init);
        r = lxc_image_end(ulv_monitor_root(m), ulv_monitor_name(m));
        if (r < 0)              /* nothing hangs on it: the partition is gone, its layer is out of the way or reused never */
                ulv_log_errno(r, "cannot remove all that it wrote (Writable=ephemeral)");
        (void) ulv_monitor_forget_fd(m, LXC_CREDENTIALS_FD);    /* with it goes what they say */
        lxc_attach_forget(c);
        r = ulv_monitor_scope(m) ? ulv_scope_end(m, &c->scope_looks) : ulv_cgroup_remove(ulv_monitor_cgroup(m));
        /* The kernel takes interfaces away a moment after the last process; if somebody else holds the network
         * namespace (ip netns attach), the next start under this uid range does it. */
        return r == 0 && c->uid_base > 0 && lxc_network_left(c->uid_base) ? -EBUSY : r;
}

/* Kills what is left, and waits: killed processes are gone in moments, unless the kernel holds one. */
int lxc_undo(struct ulv_monitor *m) {
        int r = do_kill(m);

        for (unsigned i = 0; r >= 0 && i < END_TRIES; i++) {
                if ((r = cleanup(m)) != -EBUSY)
                        return r;
                struct lxc *c = lxc_get(m);
                (void) lxc_pidfd_dead(current_leader(c), 10);
                r = 0;
                if (i > 0)
                        (void) poll(NULL, 0, 10);
        }
        return r < 0 ? r : -EBUSY;
}

/* --- the rest ---------------------------------------------------------------------------------------- */

static int adopt(struct ulv_monitor *m, const struct ulv_definition *d, int leader_pidfd) {
        struct lxc *c = lxc_get(m);

        if (!c)
                return -ENOMEM;
        c->rights = lxc_rights(d);
        if (leader_pidfd >= 0 && !lxc_pidfd_dead(leader_pidfd, 0)) {
                _cleanup_close_ int cgroup = ulv_cgroup_open(ulv_monitor_cgroup(m), false);
                c->devices = cgroup >= 0 && lxc_devices_filtered(cgroup);
                c->hooks = cgroup >= 0 && lxc_hooks_there(cgroup);
                lxc_attach_load(c);
                c->apparmor = lxc_apparmor_confines(ulv_monitor_leader(m));
                return 0;
        }
        /* Without its first process a container is nothing; what a start left half done is removed. */
        int r = lxc_undo(m);
        return r < 0 ? r : 1;
}

static int enforce(struct ulv_monitor *m, const struct ulv_grant *g, struct ulv_enforced *ret, struct ulv_diag *reterr) {
        const char *scope = ulv_monitor_scope(m);
        _cleanup_close_ int cgroup = ulv_cgroup_open(ulv_monitor_cgroup(m), !scope);    /* PID 1 makes a scope when there is a process for it */
        const struct ulv_target t = { .cgroup = cgroup, .scope = scope, .leader = ulv_monitor_leader(m) };
        struct lxc *c = lxc_get(m);

        if (cgroup < 0 && cgroup != -ENOENT)
                return cgroup;
        if (c && g->uids > 0)
                c->uid_base = ULV_UID_BASE + g->uids * ULV_UID_RANGE;
        _cleanup_close_ int lock = -1;
        int r = cgroup >= 0 ? ulv_slice_take(m, g, &lock) : 0;
        if (r == 0)
                r = ulv_enforce(&t, g, ret, reterr);
        if (r == 0 && lock >= 0)
                r = ulv_slice_release(m, lock);
        return r;
}

/* uv-init takes signals for the program that it started. */
static int do_signal(struct ulv_monitor *m, int signo) {
        int leader = ulv_monitor_leader_pidfd(m);

        if (signo <= 0 || signo >= NSIG)
                return -EINVAL;
        if (leader < 0)
                return -ESRCH;
        return signo == SIGKILL ? do_kill(m) : lxc_pidfd_signal(leader, signo);
}

/* In a child of the monitor. The mount came with the start, and is kept over our own death by the starter. */
static int rotate(struct ulv_monitor *m, const struct ulv_definition *d, const char *label, struct ulv_diag *reterr) {
        const struct lxc *c = lxc_get(m);
        int dir = ulv_monitor_stored_fd(m, LXC_CREDENTIALS_FD);

        if (!c || dir < 0 || c->uid_base == 0)
                return c ? -ENODATA : -ENOMEM;
        return lxc_credentials_rotate(d, c->uid_base, ulv_monitor_root(m), dir, label, reterr);
}

static int ask_stop(struct ulv_monitor *m) {
        struct lxc *c = lxc_get(m);

        if (!c)
                return -ENOMEM;
        /* Not there yet: nothing to ask. */
        return c->status >= 0 ? do_kill(m) : do_signal(m, c->rights & LXC_INIT ? LXC_STOP_SIGNAL : SIGTERM);
}

/* The words of model/partition.h: what contains it now. */
static const char *contain(struct ulv_monitor *m) {
        struct lxc *c = lxc_get(m);

        if (!c)
                return "userns seccomp nocaps";
        snprintf(c->contain, sizeof(c->contain), "userns seccomp nocaps %s %s%s%s", c->devices ? "devices" : "anydevice",
                 c->hooks ? "hooked" : "nohook", c->apparmor ? " apparmor" : "", c->rights & LXC_NESTING ? " nesting" : "");
        return c->contain;
}

const struct ulv_plugin ulv_plugin = {
        .version = ULV_PLUGIN_VERSION,
        .name = "lxc",
        .type = "container",
        .leader_fd_name = "leader",
        .start = lxc_start,
        .adopt = adopt,
        .enforce = enforce,
        .ask_stop = ask_stop,
        .kill = do_kill,
        .gone = gone,
        .cleanup = cleanup,
        .signal = do_signal,
        .rotate = rotate,
        .attached = lxc_attach_how,
        .attach = lxc_attach,
        .detach = lxc_detach,
        .freeze = ulv_cgroup_freeze,
        .may_freeze = ulv_cgroup_may_freeze,
        .usage = ulv_cgroup_usage,
        .join = ulv_cgroup_join,
        .contain = contain,
        .narrow = lxc_narrow,
};
