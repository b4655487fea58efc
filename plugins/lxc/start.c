/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The start of a container, on the monitor's side of the fork.
 *
 * Theory of operation. Nothing is believed to be there until it was looked at: the definition, the
 * monitor's rights, an empty cgroup with its limits read back. Then all that the payload's first exec
 * needs is prepared here, where an error is a return value, and the builder (build.c) gets it by fork.
 * It reports over a socket; the event loop goes on meanwhile. */

#include <fcntl.h>
#include <limits.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "lib/log.h"
#include "model/inventory.h"
#include "plugins/lxc/lxc.h"

/* uv-init lies beside this program. All containers run that one file, and thus share its memory; none can write it:
 * it belongs to the host's root, who is nobody in there, and what is executed is a clone of its mount, read-only,
 * which has no place in any file system. */
static int open_init(void) {
        struct mount_attr a = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
        char path[512];
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 16);

        if (n < 0)
                return -errno;
        path[n] = 0;
        char *slash = strrchr(path, '/');
        if (!slash)
                return -ENOENT;
        snprintf(slash, 16, "/uv-init");
        _cleanup_close_ int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
        if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0)
                return -errno;
        return ulv_steal_fd(&fd);
}

/* The words of PID 1: uv-init's own before Exec='s, or those of the image's init alone. The strings stay
 * whose they are. */
static int make_argv(const struct ulv_definition *d, char **words, char ***ret) {
        size_t n = 0;

        while (words[n])
                n++;
        char **argv = calloc(n + LXC_ARGV_EXTRA + 1, sizeof(char *)), **a = argv;
        if (!argv)
                return -ENOMEM;
        if (d->init) {
                memcpy(argv, words, n * sizeof(char *));
                *ret = argv;
                return 0;
        }
        *a++ = (char *) "uv-init";
        *a++ = (char *) "--user";
        *a++ = d->user ? d->user : (char *) "";
        *a++ = (char *) "--cwd";
        *a++ = d->cwd ? d->cwd : (char *) "";
        *a++ = (char *) "--";
        memcpy(a, words, n * sizeof(char *));
        *ret = argv;
        return 0;
}

/* Nothing of our own environment: it tells of the host, and has our token. */
static int make_env(const struct ulv_definition *d, bool has_socket, char ***ret) {
        static const char *const base[] = {
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=vt220", "container=ultravisor",
        };
        char **env = calloc(ULV_ARRAY_SIZE(base) + d->n_environment + 3, sizeof(char *)), **e = env;

        if (!env)
                return -ENOMEM;
        if (has_socket)
                *e++ = (char *) "ULV_INIT_FD=3";        /* first: it counts, whatever Environment= says */
        for (size_t i = 0; i < ULV_ARRAY_SIZE(base); i++)
                *e++ = (char *) base[i];
        if (d->n_credentials > 0)
                *e++ = (char *) "CREDENTIALS_DIRECTORY=" LXC_CREDENTIALS_DIR;
        for (size_t i = 0; i < d->n_environment; i++)
                *e++ = d->environment[i];
        *ret = env;
        return 0;
}

/* Programs that the kernel took and never asks are taken off: what is on a container's cgroup works. */
static void settle_hooks(struct lxc *c) {
        _cleanup_close_ int cgroup = ulv_cgroup_open(ulv_monitor_cgroup(c->m), false);

        if (c->hooks || cgroup < 0 || !lxc_hooks_there(cgroup))
                return;
        lxc_hooks_remove(cgroup);
        ulv_log(ULV_LOG_NOTICE, "this kernel's security hooks don't ask \"bpf\" (lsm=... on its command line): the system call filter alone refuses what they would");
}

static void finish(struct lxc *c) {
        struct ulv_monitor *m = c->m;

        /* It may have ended by now: /bin/true takes less time than this. It has been started all the same. */
        if (!c->failed && c->built && c->leader >= 0) {
                lxc_leave_builder(c);
                settle_hooks(c);
                int r = lxc_attach_save(c);
                if (r < 0)
                        ulv_log_errno(r, "what is attached can't be kept for a restart of this monitor");
                ulv_monitor_started(m, ulv_steal_fd(&c->leader), c->leader_pid);
                return;
        }
        lxc_end_builder(c);
        if (!c->failed) {
                ulv_diag_what(&c->diag, ULV_EXIT_FAILED, "cannot start %s", ulv_monitor_name(m));
                ulv_diag_why(&c->diag, "the processes that build it were killed");
                ulv_diag_try(&c->diag, "a larger memory size; dmesg tells who killed them");
        }
        int r = lxc_undo(m);
        if (r < 0)
                ulv_log_errno(r, "cannot remove what a failed start left");
        ulv_monitor_start_failed(m, &c->diag);
}

int lxc_take_word(struct lxc *c) {
        union { struct cmsghdr align; char buf[CMSG_SPACE(sizeof(int))]; } control;
        struct lxc_word w;
        struct iovec iov = { .iov_base = &w, .iov_len = sizeof(w) };
        struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
        ssize_t n = recvmsg(c->status, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        int fd = -1;

        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        struct cmsghdr *h0 = CMSG_FIRSTHDR(&h);
        if (h0 && h0->cmsg_level == SOL_SOCKET && h0->cmsg_type == SCM_RIGHTS)
                memcpy(&fd, CMSG_DATA(h0), sizeof(fd));
        if (n != sizeof(w)) {
                (void) ulv_close(fd);
                return -EPIPE;
        }
        if (w.kind == LXC_CLONED && fd >= 0 && c->leader < 0) {
                c->leader = ulv_steal_fd(&fd);
                c->leader_pid = w.pid;
        } else if (w.kind == LXC_CREDENTIALS && fd >= 0) {
                int r = ulv_monitor_store_fd(c->m, LXC_CREDENTIALS_FD, fd);
                if (r < 0)
                        ulv_log_errno(r, "its credentials can't be rotated");
        } else if (w.kind == LXC_BUILT) {
                c->built = true;
        } else if (w.kind == LXC_HOOKED) {
                c->hooks = true;
        } else if (w.kind == LXC_ATTACHED) {
                lxc_attach_made(c, w.index, w.mount);
        } else if (w.kind == LXC_FAILED && !c->failed) {
                c->failed = true;
                c->diag = w.diag;
        }
        (void) ulv_close(fd);
        return 1;
}

static int on_status(sd_event_source *s ULV_UNUSED, int fd ULV_UNUSED, uint32_t revents ULV_UNUSED, void *userdata) {
        struct lxc *c = userdata;
        int r;

        while ((r = lxc_take_word(c)) > 0)
                ;
        if (r < 0)
                finish(c);
        return 0;
}

/* *ret_go: see lxc_build_start(). */
static int start_builder(struct lxc *c, const struct ulv_definition *d, const struct ulv_grant *g, int cgroup, char **words, pid_t *ret_pid, int *ret_go) {
        struct ulv_monitor *m = c->m;
        char root[PATH_MAX];
        _cleanup_free_ char **argv = NULL, **env = NULL, **helper_env = NULL;
        char *helper_argv[] = { (char *) "uv-init", (char *) "--serve", NULL };
        struct lxc_build b = {
                .name = ulv_monitor_name(m), .definition = d, .root = root, .image = *d->image ? d->image : NULL, .grant = g,
                .instance_root = ulv_monitor_root(m), .kept = ulv_streq(d->writable, "kept"),
                .hostname = d->hostname && *d->hostname ? d->hostname : ulv_monitor_name(m),
                .uid_base = ULV_UID_BASE + g->uids * ULV_UID_RANGE,
                .cgroup = cgroup, .in_cgroup = cgroup >= 0 || ulv_monitor_scope(m), .console = ulv_monitor_console_fd(m), .init_socket = ulv_monitor_init_fd(m), .init_exe = c->init,
                .call = ulv_monitor_call_fd(m),
                .leader_pidfd = -1, .user_ns = -1, .nothing = -1, .console_tree = -1, .layer = -1, .layer_tree = -1, .usr = -1,
                .credentials = -1, .zone = -1,
                .rights = c->rights, .apparmor = c->apparmor, .helper_argv = helper_argv, .attached = c->attached,
        };
        int r;

        (void) snprintf(root, sizeof(root), "%s%s", *d->image ? "Image=" : "", *d->image ? d->image : d->root);
        if ((r = make_argv(d, words, &argv)) < 0 ||
            (r = make_env(d, b.init_socket >= 0 && !d->init, &env)) < 0 || (r = make_env(d, b.init_socket >= 0, &helper_env)) < 0)
                return r;
        b.helper_env = helper_env;
        b.filter = lxc_filter(b.rights, &b.filter_len);
        b.argv = argv;
        b.env = env;
        r = lxc_build_start(&b, ret_pid, &c->builder, &c->status, ret_go);
        if (r < 0)
                return r;
        return sd_event_add_io(ulv_monitor_event(m), &c->source, c->status, EPOLLIN, on_status, c);
}

/* A reason and a way on, for an error that the caller passes up. */
static int because(struct ulv_diag *d, int r, const char *try_, const char *why) {
        ulv_diag_why(d, "%s", why);
        ulv_diag_try(d, "%s", try_);
        return r;
}

/* What can be known to be wrong before anything is made. */
static int check_definition(const struct ulv_definition *d, const struct ulv_grant *g, char ***ret_words, struct ulv_diag *reterr) {
        const char *exec = d->exec && *d->exec ? d->exec : d->init ? "/sbin/init" : NULL;
        int r = exec ? ulv_exec_split(exec, ret_words) : 1;

        if (r < 0)
                return r;
        if (r > 0 || !**ret_words)
                return because(reterr, -EINVAL, "Exec=/path/of/program argument ... in [Container]", "Exec= of its definition isn't a command");
        if (!*d->image && (!d->root || d->root[0] != '/'))
                return because(reterr, -EINVAL, "Image=NAME or Root=/path/of/tree in [Container]", "its definition says neither Image= nor Root=");
        if (g->uids == 0 || g->uids > ULV_UID_RANGES)
                return because(reterr, -EINVAL, "uvctl resources", "the view grants it no range of user ids");
        return 0;
}

static int open_cgroup(const struct lxc *c, bool create, int *ret, struct ulv_diag *reterr) {
        int cgroup = ulv_cgroup_open(ulv_monitor_cgroup(c->m), create);

        if (cgroup < 0 && cgroup != -ENOENT) {
                ulv_diag_why(reterr, "its cgroup %s: %s", ulv_monitor_cgroup(c->m), strerror(-cgroup));
                return cgroup;
        }
        *ret = cgroup < 0 ? -1 : cgroup;
        return 0;
}

/* The cgroup that is to be, empty; -1 where there is none, or where PID 1 makes it around the builder. */
static int find_cgroup(struct lxc *c, int *ret, struct ulv_diag *reterr) {
        const char *scope = ulv_monitor_scope(c->m);
        _cleanup_close_ int cgroup = -1;
        int r = open_cgroup(c, !scope, &cgroup, reterr);

        if (r < 0)
                return r;
        r = ulv_cgroup_populated(cgroup);
        if (r != 0) {
                ulv_diag_why(reterr, "its cgroup %s has processes that nobody should have put there", ulv_monitor_cgroup(c->m));
                return r < 0 ? r : -EBUSY;
        }
        *ret = scope ? -1 : ulv_steal_fd(&cgroup);
        return 0;
}

/* Everything that has to stand before the first step in it: the limits, read back, the filter, its owner. */
static int prepare_cgroup(struct lxc *c, const struct ulv_grant *g, int cgroup, struct ulv_diag *reterr) {
        const struct ulv_target t = { .cgroup = cgroup, .scope = ulv_monitor_scope(c->m), .leader = -1 };
        struct lxc_node nodes[ULV_ATTACHMENTS_MAX];
        int r = t.scope ? ulv_enforce(&t, g, NULL, reterr) : 0;         /* in a cgroup of ours they stand since before the builder */

        if (r != 0)
                return r < 0 ? r : -EOPNOTSUPP;
        c->devices = false;
        if (cgroup >= 0 && lxc_barrier("devices")) {
                r = lxc_devices_filter(cgroup, nodes, lxc_attach_nodes(c, nodes));
                c->devices = r == 0;
                if (r < 0)
                        ulv_log_errno(r, "no device filter on the container's cgroup: its /dev and user namespace alone keep devices away");
        }
        if (cgroup >= 0 && lxc_barrier("hooks") && (r = lxc_hooks_put(cgroup, ulv_monitor_root(c->m), c->rights)) < 0)
                ulv_log(ULV_LOG_NOTICE, "no security hooks for the container's cgroup, the system call filter alone refuses what they would: %s", strerror(-r));
        /* Not before it has the builder: into what isn't ours we couldn't fork. */
        if (cgroup >= 0 && (c->rights & LXC_INIT) && (r = ulv_cgroup_delegate(cgroup, c->uid_base)) < 0) {
                ulv_diag_why(reterr, "its cgroup %s can't be handed to its init: %s", ulv_monitor_cgroup(c->m), strerror(-r));
                return r;
        }
        return 0;
}

/* Keys are not namespaced: what we start would hold on to the session keyring of whoever started us. It gets an empty
 * one. Now, for it's the hooks' to refuse later. */
static void leave_keyring(void) {
        if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
                ulv_log_errno(-errno, "the container's programs have the session keyring of its monitor, behind the system call filter");
}

/* A builder that is gone says, or has said, why on its socket. */
static void tell_builder(int go) {
        if (write(go, "", 1) < 0 && errno != EPIPE)
                ulv_log_errno(-errno, "its builder can't be told to go on");
}

static int prepare(struct lxc *c, const struct ulv_definition *d, const struct ulv_grant *g, char **words, struct ulv_diag *reterr) {
        _cleanup_close_ int cgroup = -1, go = -1, lock = -1;
        const char *scope = ulv_monitor_scope(c->m);
        pid_t pid;
        int r;

        (void) ulv_close(c->init);
        c->init = open_init();
        if (c->init < 0)
                return because(reterr, c->init, "make, or install the package again", "uv-init can't be read beside this monitor's program");
        r = lxc_attach_expect(c, d, reterr);
        if (r != 0)
                return r < 0 ? r : -ENXIO;
        leave_keyring();
        r = find_cgroup(c, &cgroup, reterr);
        if (r == 0)
                r = start_builder(c, d, g, cgroup, words, &pid, &go);
        if (r >= 0 && scope && (r = ulv_slice_take(c->m, g, &lock)) >= 0 &&
            (r = ulv_payload_scope(c->m, g, pid, reterr)) >= 0)
                r = open_cgroup(c, false, &cgroup, reterr);
        if (r >= 0)
                tell_builder(go);       /* it is in its cgroup */
        if (r >= 0)
                r = prepare_cgroup(c, g, cgroup, reterr);
        if (r >= 0)
                tell_builder(go);       /* and that is ready for what isn't ours */
        return r;
}

int lxc_start(struct ulv_monitor *m, const struct ulv_definition *d, const struct ulv_grant *g, struct ulv_diag *reterr) {
        struct lxc *c = lxc_get(m);
        char **words = NULL;

        if (!c || c->builder >= 0)
                return c ? -EALREADY : -ENOMEM;
        c->failed = c->killed = c->built = c->hooks = false;
        c->rights = lxc_rights(d);
        c->apparmor = lxc_apparmor_loaded();
        c->uid_base = ULV_UID_BASE + g->uids * ULV_UID_RANGE;
        ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot start %s", ulv_monitor_name(m));
        if (!lxc_may_build())
                return because(reterr, -EPERM, "the same again", "its monitor has given up the right to mount since its last start");
        int r = check_definition(d, g, &words, reterr);
        if (r == 0) {
                r = prepare(c, d, g, words, reterr);
                if (r < 0)
                        (void) lxc_undo(m);
        }
        if (r < 0 && !*reterr->why)
                ulv_diag_why(reterr, "%s", strerror(-r));
        if (r < 0 && !*reterr->try_)
                ulv_diag_try(reterr, "dmesg: the kernel may say more");
        ulv_strv_free(words);
        return r;
}
