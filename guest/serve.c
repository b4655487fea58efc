/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uvguest serve: in a VM, what uv-port is to a container's programs. It has the devices, and gives programs their ends at
 * the same socket (OPEN of channel/call.h), with the same rules: a program's connection is its sign of life, the last that came
 * has the end, and each has a greater epoch than any before. What a program is given is the device's own memory and
 * registers: nothing stands between it and the other end but this process's hold of the interrupt. If it ends, so do
 * the wake-ups, and its programs are told by the end of their connections; the next serve begins with ends that are gone. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "channel/caller.h"
#include "channel/state.h"
#include "guest/vm.h"

#define TABLE "/sys/firmware/dmi/tables/DMI"
#define TABLE_MAX 65536

static struct served { struct vm_device device; int user; uint64_t epoch; } served[VM_CHANNELS_MAX];
static size_t n_served;
static struct vm_caller callers[VM_CALLERS_MAX];        /* the oldest goes first, but for who listens */
static int listening;
static unsigned next_caller;

static int fail(const char *what, const char *why, const char *try_) {
        fprintf(stderr, "uvguest serve: %s\n%s\ntry: %s\n", what, why, try_);
        return 1;
}

static void close_fd(int *fd) {
        if (*fd >= 0)
                (void) close(*fd);
        *fd = -1;
}

static _Atomic uint64_t *life_of(const struct served *s, unsigned end) { return &s->device.page->end[end].life; }

/* The life that was given this epoch, and may have followed its peer to a later one, is over. 0: any life is. */
static void mark_gone(const struct served *s, uint64_t epoch) {
        uint64_t life = atomic_load(life_of(s, s->device.end));

        if (life_epoch(life) < epoch || (life_state(life) != CHANNEL_ATTACHING && life_state(life) != CHANNEL_ATTACHED))
                return;
        if (atomic_compare_exchange_strong(life_of(s, s->device.end), &life, life_make(life_epoch(life), CHANNEL_GONE)))
                (void) bell_ring(&s->device.bell);
}

/* --- programs --------------------------------------------------------------------------------------------- */

/* Greater than that of any life of this end, and not less than the other's, which waits for us there. */
static int next_epoch(const struct served *s, uint64_t *ret) {
        uint64_t own = life_epoch(atomic_load(life_of(s, s->device.end))), other = life_epoch(atomic_load(life_of(s, !s->device.end)));

        own = own > s->epoch ? own : s->epoch;
        if (own >= EPOCH_MAX || other > EPOCH_MAX)
                return -EBADMSG;
        *ret = own + 1 > other ? own + 1 : other;
        return 0;
}

static int send_answer(int fd, const struct ulv_call *a, const int fds[3]) {
        union { struct cmsghdr align; char bytes[CMSG_SPACE(3 * sizeof(int))]; } control = { 0 };
        struct iovec iov = { (void *) (uintptr_t) a, sizeof(*a) };
        struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (fds) {
                h.msg_control = &control;
                h.msg_controllen = sizeof(control);
                *CMSG_FIRSTHDR(&h) = (struct cmsghdr) { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(3 * sizeof(int)) };
                memcpy(CMSG_DATA(CMSG_FIRSTHDR(&h)), fds, 3 * sizeof(int));
        }
        return sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static struct served *find(const char *label) {
        for (size_t i = 0; i < n_served; i++)
                if (strcmp(served[i].device.name.label, label) == 0)
                        return &served[i];
        return NULL;
}

/* The connection is then that of the end's user, or it is told why not. */
static void give(struct vm_caller *c, const struct ulv_call *q) {
        struct ulv_call a = { .magic = ULV_CALL_MAGIC, .verb = q->verb, .answer = 1, .number = q->number, .value = { 0, 0, 1 } };
        struct served *s = find(q->text);
        int fds[3];

        if (!s || next_epoch(s, &a.value[1]) < 0)
                return vm_refuse(c, q, s ? ULV_CALL_BROKEN : ULV_CALL_NOT_THERE);
        if (c->listens || c->waits)
                return vm_refuse(c, q, ULV_CALL_BUSY);
        a.value[0] = s->device.end;
        fds[0] = s->device.bell.memory;
        fds[1] = s->device.bell.own;
        fds[2] = s->device.bell.peer;
        if (send_answer(c->fd, &a, fds) < 0)
                return vm_caller_gone(c);
        close_fd(&s->user);     /* its life is over by the new epoch */
        s->user = c->fd;
        s->epoch = a.value[1];
        c->fd = -1;
}

static void from_caller(struct vm_caller *c) {
        char buf[sizeof(struct ulv_call)];
        struct ulv_call q = { 0 };
        ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_TRUNC);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0)
                return vm_caller_gone(c);
        if (ulv_call_parse(buf, (size_t) n, &q) < 0) {
                vm_refuse(c, &q, ULV_CALL_BAD_RECORD);
                return vm_caller_gone(c);
        }
        if (!q.answer && q.verb == ULV_CALL_OPEN && ulv_call_check(&q, ULV_CALL_FROM_PARTITION) == ULV_CALL_OK)
                give(c, &q);
        else
                vm_relay(callers, c, &q);
}

static void from_user(struct served *s) {
        mark_gone(s, s->epoch);
        close_fd(&s->user);
}

static void from_listening(void) {
        int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        struct vm_caller *place = NULL;

        if (fd < 0)
                return;
        for (unsigned i = 0; i < VM_CALLERS_MAX && !place; i++)
                if (callers[i].fd < 0)
                        place = &callers[i];
        for (; !place; next_caller++)
                if (!callers[next_caller % VM_CALLERS_MAX].listens)
                        vm_caller_gone(place = &callers[next_caller % VM_CALLERS_MAX]);
        *place = (struct vm_caller) { .fd = fd };
}

static int serve(void) {
        enum { LISTENING, PORT, CALLERS, USERS = CALLERS + VM_CALLERS_MAX, FDS = USERS + VM_CHANNELS_MAX };
        struct pollfd fds[FDS];

        for (;;) {
                int timeout;

                fds[LISTENING] = (struct pollfd) { .fd = listening, .events = POLLIN };
                fds[PORT] = (struct pollfd) { .fd = vm_port(&timeout), .events = POLLIN };
                for (unsigned i = 0; i < VM_CALLERS_MAX; i++)
                        fds[CALLERS + i] = (struct pollfd) { .fd = callers[i].fd, .events = POLLIN };
                for (size_t i = 0; i < n_served; i++)
                        fds[USERS + i] = (struct pollfd) { .fd = served[i].user, .events = POLLIN };
                if (poll(fds, USERS + n_served, timeout) < 0 && errno != EINTR)
                        return -errno;
                for (size_t i = 0; i < n_served; i++)
                        if (fds[USERS + i].revents && fds[USERS + i].fd == served[i].user)
                                from_user(&served[i]);
                for (unsigned i = 0; i < VM_CALLERS_MAX; i++)
                        if (fds[CALLERS + i].revents && fds[CALLERS + i].fd == callers[i].fd)
                                from_caller(&callers[i]);
                if (fds[PORT].revents)
                        vm_from_port(callers);
                if (fds[LISTENING].revents)
                        from_listening();
        }
}

/* --- start ------------------------------------------------------------------------------------------------ */

static int listen_there(void) {
        struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = ULV_CALL_SOCKET_PATH };

        (void) mkdir(ULV_CALL_DIRECTORY, 0755);
        listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void) unlink(ULV_CALL_SOCKET_PATH);
        return listening < 0 || bind(listening, (struct sockaddr *) &a, sizeof(a)) < 0 || chmod(ULV_CALL_SOCKET_PATH, 0600) < 0 || listen(listening, 16) < 0 ? -errno : 0;
}

static int open_all(const struct vm_name *names, size_t n) {
        for (size_t i = 0; i < n; i++) {
                struct served *s = &served[n_served];
                const char *what = "";
                char why[256];
                int r = vm_device_open(&names[i], &s->device, &what);

                if (r < 0) {
                        (void) snprintf(why, sizeof(why), "device %s: %s: %s", names[i].address, what, strerror(-r));
                        return fail("a channel's device can't be used", why, "modprobe vfio-pci vfio_iommu_type1, as root, once; a kernel with CONFIG_INTEL_IOMMU");
                }
                s->user = -1;
                mark_gone(s, 0);
                n_served++;
        }
        return 0;
}

int vm_serve(void) {
        static unsigned char table[TABLE_MAX];
        static struct vm_name names[VM_CHANNELS_MAX];
        int fd = open(TABLE, O_RDONLY | O_CLOEXEC), r;
        ssize_t len = fd < 0 ? -1 : read(fd, table, sizeof(table));
        size_t n;

        if (len < 0)
                return fail("cannot see which channels there are", TABLE " can't be read: run as root, in a VM", "uvguest --help");
        (void) close(fd);
        n = vm_names(table, (size_t) len, names, VM_CHANNELS_MAX);
        for (unsigned i = 0; i < VM_CALLERS_MAX; i++)
                callers[i].fd = -1;
        r = open_all(names, n);
        if (r != 0)
                return r;
        r = listen_there();
        if (r < 0)
                return fail("cannot listen at " ULV_CALL_SOCKET_PATH, strerror(-r), "as root");
        r = serve();
        return fail("cannot go on", strerror(-r), "the same again");
}
