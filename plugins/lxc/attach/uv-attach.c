/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-attach: what is left of a container monitor's rights once its container runs. It makes mounts of directories and
 * device nodes for this one container, and sets the device filter of its cgroup, as its monitor asks by fixed
 * records; it reads nothing else, and holds nothing but the three fds that it was started with:
 *
 *   3 the monitor's socket    4 the container's user namespace    5 its cgroup, if it has one
 *
 * It is static, so that one for each partition costs little, and ends with its monitor. Each question is answered by a
 * child, which ends up in the container's user namespace (attach-host.c); a source that hangs hangs that child. */

#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "plugins/lxc/lxc.h"
#include "plugins/lxc/sys.h"

#define SOCKET 3
#define USER_NS 4
#define CGROUP 5

static const int kept[] = { CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_MKNOD, CAP_CHOWN, CAP_DAC_READ_SEARCH };

/* Uid 0 got by exec what its monitor had at that moment; this is what the work takes. */
static int narrow(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = { 0 };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(kept); i++) {
                data[kept[i] / 32].permitted |= 1U << (kept[i] % 32);
                data[kept[i] / 32].effective |= 1U << (kept[i] % 32);
        }
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return -errno;
        return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static void answer(const struct lxc_attach_answer *a, int fd) {
        union { struct cmsghdr align; char buf[CMSG_SPACE(sizeof(int))]; } control = { 0 };
        struct iovec iov = { .iov_base = (void *) (uintptr_t) a, .iov_len = sizeof(*a) };
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
        (void) sendmsg(SOCKET, &h, MSG_NOSIGNAL);
}

static int set_filter(const struct lxc_attach_ask *q, struct ulv_diag *d) {
        int r = lxc_devices_filter(CGROUP, q->nodes, ULV_MIN((size_t) q->n_nodes, ULV_ARRAY_SIZE(q->nodes)));

        if (r == 0)
                return 0;
        ulv_diag_why(d, "the device filter of its cgroup: %s", strerror(-r));
        ulv_diag_try(d, "dmesg: the kernel may say more");
        return 1;
}

static _Noreturn void work(const struct lxc_attach_ask *q, uid_t uid_base) {
        struct lxc_attach_answer a = { .number = q->number };
        int fd = -1, r = 0;

        if (q->kind == LXC_ASK_FILTER)
                r = set_filter(q, &a.diag);
        else if (q->kind == LXC_ASK_DEVICE)
                r = lxc_attach_look(q->source, q->read_only, &a.node, &a.diag);
        if (r == 0 && q->kind != LXC_ASK_FILTER) {
                fd = lxc_attach_prepare(q->source, q->kind == LXC_ASK_DEVICE ? &a.node : NULL, q->read_only, USER_NS, uid_base, &a.diag);
                r = fd < 0;
        }
        a.failed = r != 0;
        answer(&a, fd);
        _exit(0);
}

int main(int argc, char *argv[]) {
        static struct lxc_attach_ask q;
        ssize_t n;
        int r = argc == 2 ? narrow() : -EINVAL;

        if (argc == 2 && strcmp(argv[1], "--version") == 0)
                return printf("uv-attach %s\n", ULV_VERSION) < 0;
        if (r < 0) {
                (void) fprintf(stderr, "uv-attach can't start\nit is started by uv-monitor-lxc, never by hand\ntry: uvctl attach NAME mount=LABEL:SOURCE:TARGET\n");
                return 2;
        }
        (void) signal(SIGCHLD, SIG_IGN);        /* children leave nothing */
        while ((n = recv(SOCKET, &q, sizeof(q), 0)) != 0) {
                if (n < 0 && errno == EINTR)
                        continue;
                if (n != sizeof(q) || q.source[sizeof(q.source) - 1])
                        return 1;
                pid_t pid = fork();
                if (pid == 0)
                        work(&q, (uid_t) strtoul(argv[1], NULL, 10));
                if (pid < 0) {
                        struct lxc_attach_answer a = { .number = q.number, .failed = true };
                        ulv_diag_why(&a.diag, "a process for it: %s", strerror(errno));
                        answer(&a, -1);
                }
        }
        return 0;
}
