/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Building a container: which process does what, and in whose rights.
 *
 * Theory of operation. Four processes; arrows are forks:
 *
 *   monitor --> builder --> first process (clone3: user, pid, net, ipc, uts, cgroup, time namespaces)
 *                       \-> furnisher     (the host's user namespace, the first process's pid, net, ipc, cgroup)
 *
 * 1. The builder is born in the payload's cgroup (or waits until PID 1, which keeps it as a scope, has moved it there),
 *    on the partition's CPUs: what building costs, the partition pays. In the host's mount namespace it opens Root= and
 *    clones the mounts that it needs from the host by fd (open_tree), and writes its credentials, decrypted. Then it
 *    leaves for a mount namespace of its own. Meanwhile the monitor makes the cgroup ready: limits, filters, hooks.
 * 2. It clones the first process into all new namespaces but a mount namespace, writes its uid and gid
 *    map, makes its network interfaces, one end in there, and gives the clone of Root= an id mapping of that
 *    user namespace (mount_setattr).
 * 3. The furnisher, which has the host's rights but stands in the new pid, net, ipc and cgroup namespaces, gives
 *    addresses, makes the tree: root, /proc, /sys, /dev, masks (tree.c), and pivots. Builder and first process share the
 *    mount namespace, so they are moved along.
 * 4. When the monitor says that limits, filters and hooks stand, the first process unshares its mount namespace. The copy belongs to the container's user
 *    namespace, so the kernel locks every mount in it: no process of the container, whatever it may do
 *    in its namespaces, can lift a mask, make a read-only mount writable, or take one mount of the tree
 *    away from over another. And the host's tree isn't in it, not even unreachably.
 * 5. Into that it hangs the mounts and devices that may come and go (attach.h).
 * 6. The first process gives up what an application doesn't need and executes uv-init (enter.c).
 *
 * All hold one end of a socket to the monitor. What fails is told there in the three lines that the user
 * reads, and the teller ends. When all ends are closed, by exit and by exec, the builder had said that its work
 * is done, and no failure was told, the container runs. If the builder dies, the first process reads end of file
 * where it waits for the go; if the monitor dies, the builder is killed with it. A mount namespace goes
 * with its last process, so there is nothing to undo but processes and a cgroup. */

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "model/inventory.h"
#include "plugins/lxc/lxc.h"
#include "plugins/lxc/sys.h"

static void send_with_fd(int to, const void *record, size_t size, int fd) {
        union { struct cmsghdr align; char buf[CMSG_SPACE(sizeof(int))]; } control = { 0 };
        struct iovec iov = { .iov_base = (void *) (uintptr_t) record, .iov_len = size };
        struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (fd >= 0) {
                h.msg_control = &control;
                h.msg_controllen = sizeof(control);
                struct cmsghdr *c = CMSG_FIRSTHDR(&h);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(c), &fd, sizeof(int));
        }
        if (sendmsg(to, &h, MSG_NOSIGNAL) < 0)
                _exit(1);       /* who waits for it is gone: so are we */
}

static void send_word(int status, const struct lxc_word *w, int fd) { send_with_fd(status, w, sizeof(*w), fd); }

void lxc_build_tell(struct lxc_build *b, const struct lxc_word *w, int fd) { send_word(b->status, w, fd); }

_Noreturn void lxc_build_fail(struct lxc_build *b, int r, const char *what_failed, const char *try_) {
        struct lxc_word w = { .kind = LXC_FAILED };

        ulv_diag_what(&w.diag, ULV_EXIT_FAILED, "cannot start %s", b->name);
        if (r < 0)
                ulv_diag_why(&w.diag, "%s: %s", what_failed, strerror(-r));
        else
                ulv_diag_why(&w.diag, "%s", what_failed);
        ulv_diag_try(&w.diag, "%s", try_);
        send_word(b->status, &w, -1);
        _exit(1);
}

_Noreturn void lxc_build_refuse(struct lxc_build *b, const struct ulv_diag *d) {
        struct lxc_word w = { .kind = LXC_FAILED, .diag = *d };

        ulv_diag_what(&w.diag, ULV_EXIT_FAILED, "cannot start %s", b->name);
        ulv_diag_why(&w.diag, "%s", d->why);
        ulv_diag_try(&w.diag, "%s", d->try_);
        send_word(b->status, &w, -1);
        _exit(1);
}

static _Noreturn void fail_kernel(struct lxc_build *b, const char *call) {
        lxc_build_fail(b, -errno, call, "dmesg: the kernel may lack what it needs");
}

/* The event loop's blocked signals and the like aren't for children. */
static void reset_signals(void) {
        sigset_t none;

        for (int i = 1; i < NSIG; i++)
                (void) signal(i, SIG_DFL);
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
}

static void leave_mount_namespace(struct lxc_build *b) {
        if (unshare(CLONE_NEWNS) < 0)
                fail_kernel(b, "a mount namespace");
        /* Nothing that happens in here reaches the host, nor the other way round. */
        if (mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                fail_kernel(b, "making the builder's mounts private");
}

static void write_proc(struct lxc_build *b, int proc, const char *file, const char *text) {
        _cleanup_close_ int fd = openat(proc, file, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t) strlen(text))
                fail_kernel(b, file);
}

/* Its directory in /proc, if the process that we cloned lives after we opened it: then it is its. */
static void map_ids(struct lxc_build *b, pid_t pid) {
        char text[64], path[64];

        snprintf(path, sizeof(path), "/proc/%d", (int) pid);
        _cleanup_close_ int proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (proc < 0)
                fail_kernel(b, "the container's first process");
        if (lxc_pidfd_dead(b->leader_pidfd, 0))
                lxc_build_fail(b, 0, "the container's first process was killed", "more memory: uvctl set NAME memory=SIZE");
        snprintf(text, sizeof(text), "0 %u %u\n", (unsigned) b->uid_base, ULV_UID_RANGE);
        write_proc(b, proc, "uid_map", text);
        write_proc(b, proc, "gid_map", text);
        b->user_ns = openat(proc, "ns/user", O_RDONLY | O_CLOEXEC);
        if (b->user_ns < 0)
                fail_kernel(b, "the container's user namespace");
}

/* Starts the first process, as the monitor's child, which thus can tell how it ended. It reads `go` before
 * its first step. */
static pid_t clone_first(struct lxc_build *b, int *ret_go) {
        int go[2];
        struct clone_args a = {
                .flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP |
                         CLONE_NEWTIME | CLONE_PIDFD | CLONE_PARENT,
                .pidfd = (uint64_t) (uintptr_t) &b->leader_pidfd,
        };

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, go) < 0)
                fail_kernel(b, "a socket");
        /* The monitor isn't dumpable, and so nothing of ours is; but to open the new user namespace through /proc
         * would then take CAP_SYS_PTRACE. The clone keeps what we are at this moment. */
        (void) prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
        pid_t pid = sys_clone3(&a);
        if (pid < 0 && errno == EINVAL) {
                /* Kernels before 6.3 don't take a time namespace here; without offsets it changes nothing. */
                a.flags &= ~(uint64_t) CLONE_NEWTIME;
                pid = sys_clone3(&a);
        }
        if (pid < 0)
                lxc_build_fail(b, -errno, "cannot make the container's namespaces",
                               "sysctl user.max_user_namespaces (0 forbids them)");
        if (pid == 0) {
                (void) close(go[1]);
                b->go = go[0];
                lxc_enter(b);
        }
        (void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        (void) close(go[0]);
        *ret_go = go[1];
        return pid;
}

static _Noreturn void attach_one(struct lxc_build *b, size_t i, int go) {
        const struct ulv_attachment *a = &b->definition->attachments[i];
        struct lxc_word w = { .kind = LXC_ATTACHED, .index = i };
        struct ulv_diag d = { 0 };
        struct statx st;
        int mnt;

        mnt = lxc_attach_prepare(a->source, a->device ? &b->attached[i].node : NULL, a->read_only, b->user_ns, b->uid_base, &d);
        if (mnt < 0)
                lxc_build_refuse(b, &d);
        if (statx(mnt, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0)
                fail_kernel(b, a->source);
        w.mount = st.stx_mnt_id;
        send_word(b->status, &w, -1);
        send_with_fd(go, "", 1, mnt);
        _exit(0);
}

/* Each in a process of its own, that ends up in the container's user namespace. */
static void attach_all(struct lxc_build *b, int go) {
        int status;

        for (size_t i = 0; i < b->definition->n_attachments; i++) {
                pid_t pid = fork();
                if (pid < 0)
                        fail_kernel(b, "a process for its mounts");
                if (pid == 0)
                        attach_one(b, i, go);
                while (waitpid(pid, &status, 0) < 0)
                        if (errno != EINTR)
                                fail_kernel(b, "waiting for its mounts");
                if (!WIFEXITED(status))
                        lxc_build_fail(b, 0, "the process that attaches its mounts was killed", "more memory: uvctl set NAME memory=SIZE");
                if (WEXITSTATUS(status) != 0)
                        _exit(1);       /* it told the monitor why */
        }
}

/* Runs lxc_tree_furnish() in a child, for only a child enters a pid namespace. */
static void furnish(struct lxc_build *b) {
        int status;

        if (setns(b->leader_pidfd, CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWCGROUP) < 0)
                fail_kernel(b, "entering the container's namespaces");
        pid_t pid = vfork();    /* we wait for it anyway, and a copy of our memory takes as long as all its mounts */
        if (pid < 0)
                fail_kernel(b, "a process to furnish the container");
        if (pid == 0) {
                lxc_network_configure(b);
                lxc_tree_furnish(b);
                _exit(0);
        }
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        fail_kernel(b, "waiting for the furnisher");
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return;
        if (WIFEXITED(status))
                _exit(1);       /* it told the monitor why */
        lxc_build_fail(b, 0, "the process that furnishes the container was killed", "more memory: uvctl set NAME memory=SIZE");
}

/* The monitor's word. Without it the start has failed, and the monitor knows why. */
static void await_monitor(struct lxc_build *b) {
        char byte;

        if (read(b->hold, &byte, 1) != 1)
                _exit(1);
}

static _Noreturn void build(struct lxc_build *b) {
        const struct ulv_cpus *cpus = ulv_grant_cpus(b->grant);
        struct lxc_word w = { .kind = LXC_CLONED };
        int go, r;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (getppid() != b->monitor)
                _exit(1);
        reset_signals();
        (void) prctl(PR_SET_NAME, "uv-build", 0, 0, 0);
        await_monitor(b);
        if (ulv_cpus_count(cpus) > 0 && (r = ulv_set_affinity(0, cpus)) < 0)
                lxc_build_fail(b, r, "cannot run on its CPUs", "uvctl resources; the machine may have taken one offline");
        lxc_tree_open(b);
        lxc_etc_open(b);
        lxc_credentials_open(b);
        leave_mount_namespace(b);
        w.pid = clone_first(b, &go);
        send_word(b->status, &w, b->leader_pidfd);
        map_ids(b, w.pid);
        lxc_network_connect(b, w.pid);
        lxc_tree_map(b);
        attach_all(b, go);
        furnish(b);
        await_monitor(b);
        if (write(go, "", 1) != 1)
                fail_kernel(b, "telling the first process to go on");
        w.kind = LXC_BUILT;
        send_word(b->status, &w, -1);
        (void) close(b->status);        /* now, and not when the kernel has taken its mounts down */
        _exit(0);
}

int lxc_build_start(struct lxc_build *b, pid_t *ret_pid, int *ret_builder, int *ret_status, int *ret_go) {
        int status[2], hold[2], pidfd = -1;
        struct clone_args a = {
                .flags = CLONE_PIDFD, .pidfd = (uint64_t) (uintptr_t) &pidfd, .exit_signal = SIGCHLD,
        };

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, status) < 0)
                return -errno;
        if (pipe2(hold, O_CLOEXEC) < 0) {
                int r = -errno;
                (void) close(status[0]);
                (void) close(status[1]);
                return r;
        }
        if (b->cgroup >= 0) {
                a.flags |= CLONE_INTO_CGROUP;
                a.cgroup = (uint64_t) b->cgroup;
        }
        b->monitor = getpid();
        pid_t pid = sys_clone3(&a);
        if (pid == 0) {
                (void) close(status[0]);
                (void) close(hold[1]);
                b->status = status[1];
                b->hold = hold[0];
                build(b);
        }
        int r = pid < 0 ? -errno : 0;
        (void) close(status[1]);
        (void) close(hold[0]);
        if (r < 0) {
                (void) close(status[0]);
                (void) close(hold[1]);
                return r;
        }
        *ret_pid = pid;
        *ret_go = hold[1];
        *ret_builder = pidfd;
        *ret_status = status[0];
        return 0;
}
