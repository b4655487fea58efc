/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The partition's side of the call interface (call.h): a socket in a container, a virtio-serial port in a VM. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "channel/caller.h"

#define ANSWER_MS 10000         /* a monitor's half that is forked anew takes a moment; longer, and it isn't there */

static int connect_socket(void) {
        struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = ULV_CALL_SOCKET_PATH };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r;

        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &a, sizeof(a)) == 0)
                return fd;
        r = -errno;
        (void) close(fd);
        return r;
}

/* Which of /dev/vport* has our name? Without asking udev, which an initial ram disk may not have. */
static int find_port(char *path, size_t size) {
        DIR *d = opendir("/sys/class/virtio-ports");
        int r = -ENOENT;

        for (struct dirent *e; r < 0 && d && (e = readdir(d)); ) {
                char file[320], name[64] = "";
                FILE *f;

                (void) snprintf(file, sizeof(file), "/sys/class/virtio-ports/%s/name", e->d_name);
                f = e->d_name[0] != '.' ? fopen(file, "re") : NULL;
                if (f && fgets(name, sizeof(name), f) && strcspn(name, "\n") == strlen(ULV_CALL_PORT) && strncmp(name, ULV_CALL_PORT, strlen(ULV_CALL_PORT)) == 0)
                        r = snprintf(path, size, "/dev/%s", e->d_name) < (int) size ? 0 : -ENAMETOOLONG;
                if (f)
                        (void) fclose(f);
        }
        if (d)
                (void) closedir(d);
        return r;
}

static int open_port(int flags) {
        char path[300];
        int r = find_port(path, sizeof(path)), fd;

        if (r < 0)
                return r;
        fd = open(path, O_RDWR | O_CLOEXEC | flags);
        return fd < 0 ? -errno : fd;
}

int ulv_call_open_port(void) { return open_port(O_NONBLOCK); }

int ulv_call_connect(void) {
        int fd = connect_socket(), port;

        if (fd != -ENOENT && fd != -ECONNREFUSED)
                return fd;
        port = open_port(0);
        return port == -ENOENT ? fd : port;
}

static int is_socket(int fd) {
        struct stat st;

        return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

int ulv_call_send(int fd, const struct ulv_call *c) {
        size_t done = 0;

        while (done < sizeof(*c)) {
                ssize_t n = is_socket(fd) ? send(fd, c, sizeof(*c), MSG_NOSIGNAL) : write(fd, (const char *) c + done, sizeof(*c) - done);

                if (n < 0 && errno != EINTR)
                        return -errno;
                done += n > 0 ? (size_t) n : 0;
        }
        return 0;
}

static void take_fds(struct msghdr *h, int *fds) {
        for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(ULV_CALL_OPEN_FDS * sizeof(int)))
                        memcpy(fds, CMSG_DATA(c), ULV_CALL_OPEN_FDS * sizeof(int));
}

static ssize_t receive_message(int fd, char *buf, size_t size, int *fds) {
        union { struct cmsghdr align; char bytes[CMSG_SPACE(ULV_CALL_OPEN_FDS * sizeof(int))]; } control;
        struct iovec iov = { buf, size };
        struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = fds ? &control : NULL, .msg_controllen = fds ? sizeof(control) : 0 };
        ssize_t n = recvmsg(fd, &h, MSG_CMSG_CLOEXEC);

        if (n > 0 && fds)
                take_fds(&h, fds);
        return n;
}

int ulv_call_receive(int fd, struct ulv_call *ret, int *fds) {
        char buf[sizeof(*ret)];
        size_t have = 0;

        while (have < sizeof(buf)) {
                ssize_t n = is_socket(fd) ? receive_message(fd, buf, sizeof(buf), fds) : read(fd, buf + have, sizeof(buf) - have);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n == 0 || errno == ECONNRESET ? -ECONNRESET : -errno;
                have += (size_t) n;
                if (is_socket(fd))
                        break;
        }
        return ulv_call_parse(buf, have, ret);
}

/* Numbers differ from those of a program that used a VM's port before: its answer may still come. */
static uint32_t next_number(void) {
        static _Atomic uint32_t last;
        struct timespec t;

        if (last == 0) {
                (void) clock_gettime(CLOCK_MONOTONIC, &t);
                last = (uint32_t) t.tv_nsec ^ (uint32_t) getpid() << 16;
        }
        return ++last;
}

/* 1: that was it. 0: something else, dropped. */
static int receive_answer(int fd, struct ulv_call *c, int *fds) {
        struct ulv_call a;
        int r = ulv_call_receive(fd, &a, fds);

        if (r < 0 || !a.answer || (a.code != ULV_CALL_BAD_RECORD && (a.number != c->number || a.verb != c->verb)))
                return r;
        *c = a;
        return 1;
}

int ulv_call(int fd, struct ulv_call *c, int *fds) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int r;

        for (unsigned i = 0; fds && i < ULV_CALL_OPEN_FDS; i++)
                fds[i] = -1;
        c->magic = ULV_CALL_MAGIC;
        c->number = next_number();
        r = ulv_call_send(fd, c);
        while (r == 0) {
                r = poll(&p, 1, ANSWER_MS);
                if (r < 0 && errno == EINTR)
                        r = 0;
                else if (r <= 0)
                        return r == 0 ? -ETIMEDOUT : -errno;
                else
                        r = receive_answer(fd, c, fds);
                if (r > 0)
                        return 0;
        }
        return r;
}
