/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The container's first process, from its clone to its exec of uv-init.
 *
 * Theory of operation. It has all rights in its own user namespace and none outside. It waits until its
 * root stands, takes the mounts over locked (build.c), and puts its rights down in an order in which
 * each step still may: ids, mounts, host name, loopback, limits, bounding set, securebits, no_new_privs, system
 * call filter. uv-init comes from a read-only mount of its own (start.c): a container's root finds nothing to write
 * through /proc/1/exe (CVE-2019-5736), and nothing but its own three fds and the init socket is left open
 * (CVE-2024-21626).
 *
 * With Init=yes PID 1 is the image's own, and uv-init runs beside it as an orphan of its: forked here, under
 * the same rights and the same filter, with the socket, for `exec`. So it is no more of ours than
 * anything else inside, and again nobody outside ever enters or reads what a partition wrote. */

#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "plugins/lxc/lxc.h"

#define INIT_SOCKET_FD 3        /* what ULV_INIT_FD says, plugin.c */

static _Noreturn void fail(struct lxc_build *b, const char *what) {
        lxc_build_fail(b, -errno, what, "dmesg: the kernel may say more");
}

/* One word of the builder's, with an fd or without. */
static int await_word(struct lxc_build *b) {
        union { struct cmsghdr align; char buf[CMSG_SPACE(sizeof(int))]; } control;
        char byte;
        struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
        struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
        ssize_t n;
        int fd = -1;

        do
                n = recvmsg(b->go, &h, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n != 1)
                _exit(1);       /* the builder failed and told why */
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
                memcpy(&fd, CMSG_DATA(c), sizeof(fd));
        return fd;
}

static void await_go(struct lxc_build *b, int *mounts) {
        for (size_t i = 0; i < b->definition->n_attachments; i++)
                mounts[i] = await_word(b);
        (void) await_word(b);
}

/* Here, and not by the furnisher: what is attached before our mount namespace is our own is locked in its place. */
static void place_attachments(struct lxc_build *b, const int *mounts) {
        struct ulv_diag d = { 0 };

        for (size_t i = 0; i < b->definition->n_attachments; i++) {
                const struct ulv_attachment *a = &b->definition->attachments[i];

                if (lxc_attach_place(a->device ? a->source : a->target, a->device, mounts[i], &d) != 0)
                        lxc_build_refuse(b, &d);
                (void) close(mounts[i]);
        }
}

static void take_ids(struct lxc_build *b) {
        if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
                fail(b, "becoming the container's root");
}

/* As one of the container's ids. */
static void try_hooks(struct lxc_build *b) {
        const struct lxc_word w = { .kind = LXC_HOOKED };

        if (lxc_hooks_refuse())
                lxc_build_tell(b, &w, -1);
}

static void take_mounts(struct lxc_build *b) {
        if (unshare(CLONE_NEWNS) < 0)
                fail(b, "the container's mount namespace");
        if (chdir("/") < 0)
                fail(b, "entering the root");
}

static void loopback_up(struct lxc_build *b) {
        struct ifreq ifr = { .ifr_name = "lo" };
        _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
                fail(b, "the loopback interface");
        ifr.ifr_flags |= IFF_UP;
        if (ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
                fail(b, "the loopback interface");
}

static void limit_resources(struct lxc_build *b) {
        static const struct { int what; rlim_t soft, hard; } limits[] = {
                { RLIMIT_NOFILE, 1024, 524288 },
                { RLIMIT_CORE, 0, RLIM_INFINITY },
                { RLIMIT_MEMLOCK, 8 * 1024 * 1024, 8 * 1024 * 1024 },
                { RLIMIT_STACK, 8 * 1024 * 1024, RLIM_INFINITY },
                { RLIMIT_MSGQUEUE, 819200, 819200 },
                { RLIMIT_NICE, 0, 0 }, { RLIMIT_RTPRIO, 0, 0 },
        };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(limits); i++) {
                struct rlimit now, r;
                if (getrlimit(limits[i].what, &now) < 0)
                        fail(b, "reading resource limits");
                /* We may not raise what we got. */
                r.rlim_max = ULV_MIN(now.rlim_max, limits[i].hard);
                r.rlim_cur = ULV_MIN(r.rlim_max, limits[i].soft);
                if (setrlimit(limits[i].what, &r) < 0)
                        fail(b, "setting resource limits");
        }
        (void) umask(022);
}

/* A host with AppArmor confines what we execute by our profile, as one layer more. */
static void apply_apparmor(struct lxc_build *b) {
        static const char text[] = "exec ultravisor-container";
        _cleanup_close_ int fd = b->apparmor ? open("/proc/self/attr/apparmor/exec", O_WRONLY | O_CLOEXEC) : -1;

        if (b->apparmor && (fd < 0 || write(fd, text, sizeof(text) - 1) != (ssize_t) sizeof(text) - 1))
                fail(b, "the AppArmor profile ultravisor-container");
}

/* Root is nobody special in profile `app`: an exec gives it nothing, whatever the bounding set says, and no program
 * gets that back. uv-init gets its few by the ambient set, and keeps it from what it starts (init/program.c). */
static void make_root_powerless(struct lxc_build *b) {
        size_t n;
        const cap_value_t *keep = lxc_uv_init_capabilities(&n);
        cap_t caps = cap_get_proc();

        if (!caps || cap_set_flag(caps, CAP_INHERITABLE, (int) n, keep, CAP_SET) < 0 || cap_set_proc(caps) < 0)
                fail(b, "capabilities for uv-init");
        (void) cap_free(caps);
        for (size_t i = 0; i < n; i++)
                if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, keep[i], 0, 0) < 0)
                        fail(b, "capabilities for uv-init");
        if (prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                  SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED, 0, 0, 0) < 0)
                fail(b, "taking root its privileges (securebits)");
}

/* The filter is set while CAP_SYS_ADMIN is there, for with Init=yes no_new_privs would keep `su` from working inside. */
static void drop_rights(struct lxc_build *b) {
        const struct sock_fprog program = { .len = (unsigned short) b->filter_len, .filter = (struct sock_filter *) b->filter };

        for (cap_value_t cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                if (!lxc_keeps_capability(b->rights, cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        fail(b, "dropping capabilities");
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
                fail(b, "dropping rights");
        if (!(b->rights & LXC_INIT) && lxc_barrier("noroot"))
                make_root_powerless(b);
        if (!(b->rights & LXC_INIT) && lxc_barrier("nnp") && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                fail(b, "no_new_privs");
        if (lxc_barrier("seccomp") && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
                fail(b, "the system call filter");
}

/* Moves an fd out of the way of 0..3. */
static int high(struct lxc_build *b, int fd) {
        int h = fcntl(fd, F_DUPFD_CLOEXEC, 10);

        if (h < 0)
                fail(b, "arranging file descriptors");
        return h;
}

/* 0, 1, 2: the console; above: nothing that survives an exec. */
static void arrange_fds(struct lxc_build *b) {
        int console;

        b->status = high(b, b->status);
        b->init_exe = high(b, b->init_exe);
        if (b->init_socket >= 0)
                b->init_socket = high(b, b->init_socket);
        console = high(b, b->console >= 0 ? b->console : open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY));
        for (int i = 0; i < 3; i++)
                if (dup2(console, i) < 0)
                        fail(b, "the console");
        if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
                fail(b, "closing file descriptors");
}

/* 3: its socket. */
static _Noreturn void become_uv_init(struct lxc_build *b, char **argv, char **env) {
        if (b->init_socket >= 0 && dup2(b->init_socket, INIT_SOCKET_FD) < 0)
                fail(b, "uv-init's socket");
        (void) fexecve(b->init_exe, argv, env);
        fail(b, "executing uv-init");
}

/* The helper first: it must be there before the image's init can look for orphans. */
static _Noreturn void become_own_init(struct lxc_build *b) {
        char text[300];
        pid_t pid = b->init_socket >= 0 ? fork() : 1;

        if (pid == 0) {
                if (setsid() < 0)
                        fail(b, "a session");
                become_uv_init(b, b->helper_argv, b->helper_env);
        }
        if (pid < 0)
                fail(b, "a process for uv-init");
        (void) execve(b->argv[0], b->argv, b->env);
        snprintf(text, sizeof(text), "executing %.200s, the root's own init", b->argv[0]);
        lxc_build_fail(b, -errno, text, "a root with an init, Exec=/path/of/init, or Init=no");
}

_Noreturn void lxc_enter(struct lxc_build *b) {
        int mounts[ULV_ATTACHMENTS_MAX];

        await_go(b, mounts);
        take_ids(b);
        try_hooks(b);
        take_mounts(b);
        place_attachments(b, mounts);
        if (sethostname(b->hostname, strlen(b->hostname)) < 0)
                fail(b, "the host name");
        loopback_up(b);
        if (setsid() < 0)       /* uv-init has no terminal; the program it starts takes the console */
                fail(b, "a session");
        arrange_fds(b);
        limit_resources(b);
        apply_apparmor(b);
        drop_rights(b);
        if (b->rights & LXC_INIT)
                become_own_init(b);
        become_uv_init(b, b->argv, b->env);
}
