/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A VM has one port for calls, and one program at a time may have it open: uvguest serve has it, and passes calls of the
 * others on. Each has a number of its own on the port; one of them may listen, and the monitor hears when it ends. When
 * the monitor's half dies, the connections of those who waited or listened end, as in a container: they ask again. */

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "guest/vm.h"

#define AWAY_MS 500             /* the other side isn't there: looked for again after this */

static struct {
        int fd;                         /* -1: not open */
        int64_t away_until;
        char buf[sizeof(struct ulv_call)];
        size_t have;
        uint32_t number;
        uint64_t mask;                  /* of who listens */
} port = { .fd = -1 };

static int64_t now_ms(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A record goes into one buffer of the port, or not at all. */
static int to_port(const struct ulv_call *c) {
        return port.fd >= 0 && write(port.fd, c, sizeof(*c)) == sizeof(*c) ? 0 : -EAGAIN;
}

static void drop(struct vm_caller *c) {
        if (c->fd >= 0)
                (void) close(c->fd);
        *c = (struct vm_caller) { .fd = -1 };
}

static void answer(struct vm_caller *c, struct ulv_call *a, uint32_t code) {
        a->magic = ULV_CALL_MAGIC;
        a->answer = 1;
        a->code = code;
        if (send(c->fd, a, sizeof(*a), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                drop(c);
}

void vm_refuse(struct vm_caller *c, const struct ulv_call *q, uint32_t code) {
        struct ulv_call a = { .verb = q->verb, .number = q->number };

        answer(c, &a, code);
}

void vm_caller_gone(struct vm_caller *c) {
        struct ulv_call bye = { .magic = ULV_CALL_MAGIC, .verb = ULV_CALL_HELLO, .value = { ULV_CALL_VERSION } };

        if (c->listens) {
                bye.number = ++port.number;
                (void) to_port(&bye);
                port.mask = 0;
        }
        drop(c);
}

void vm_relay(struct vm_caller all[VM_CALLERS_MAX], struct vm_caller *c, const struct ulv_call *q) {
        struct ulv_call up = *q;

        if (q->answer) {
                if (c->listens)
                        (void) to_port(q);
                return;
        }
        if (q->verb == ULV_CALL_HELLO && q->value[1] != 0)
                for (unsigned i = 0; i < VM_CALLERS_MAX; i++)
                        if (&all[i] != c && all[i].fd >= 0 && all[i].listens)
                                return vm_refuse(c, q, ULV_CALL_BUSY);
        if (c->waits != 0)
                return vm_refuse(c, q, ULV_CALL_BUSY);
        if (q->verb == ULV_CALL_HELLO && !c->listens && q->value[1] == 0)
                up.value[1] = port.mask;        /* who only asks changes nothing for who listens */
        up.number = ++port.number ? port.number : ++port.number;
        if (to_port(&up) < 0)
                return vm_refuse(c, q, ULV_CALL_TOO_MANY);
        c->waits = up.number;
        c->number = q->number;
        c->wants = q->verb == ULV_CALL_HELLO ? q->value[1] : 0;
}

static void answered(struct vm_caller *c, struct ulv_call *a) {
        if (a->verb == ULV_CALL_HELLO && a->code == ULV_CALL_OK) {
                if (c->listens || c->wants)
                        port.mask = c->wants;
                c->listens = c->wants != 0;
                a->value[1] = c->wants;
        }
        a->number = c->number;
        c->waits = 0;
        answer(c, a, a->code);
}

static void from_monitor(struct vm_caller all[VM_CALLERS_MAX], struct ulv_call *r) {
        for (unsigned i = 0; i < VM_CALLERS_MAX; i++) {
                struct vm_caller *c = &all[i];

                if (c->fd < 0)
                        continue;
                if (r->answer && c->waits == r->number)
                        return answered(c, r);
                if (!r->answer && c->listens) {
                        if (send(c->fd, r, sizeof(*r), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                                vm_caller_gone(c);
                        return;
                }
        }
        if (!r->answer) {
                r->answer = 1;
                r->code = ULV_CALL_NOT_THERE;
                (void) to_port(r);
        }
}

static void port_away(struct vm_caller all[VM_CALLERS_MAX]) {
        (void) close(port.fd);
        port.fd = -1;
        port.have = 0;
        port.mask = 0;
        port.away_until = now_ms() + AWAY_MS;
        for (unsigned i = 0; i < VM_CALLERS_MAX; i++)
                if (all[i].fd >= 0 && (all[i].waits || all[i].listens))
                        drop(&all[i]);
}

int vm_port(int *timeout) {
        int64_t now = now_ms();

        if (port.fd < 0 && now >= port.away_until) {
                port.fd = ulv_call_open_port();
                if (port.fd < 0)
                        port.away_until = now + AWAY_MS;
        }
        *timeout = port.fd < 0 ? (int) (port.away_until - now) + 1 : -1;
        return port.fd;
}

void vm_from_port(struct vm_caller all[VM_CALLERS_MAX]) {
        ssize_t n = read(port.fd, port.buf + port.have, sizeof(port.buf) - port.have);
        struct ulv_call r;

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0)
                return port_away(all);
        port.have += (size_t) n;
        if (port.have < sizeof(port.buf))
                return;
        port.have = 0;
        if (ulv_call_parse(port.buf, sizeof(port.buf), &r) < 0)
                return port_away(all);  /* where the next record begins nobody knows: anew */
        from_monitor(all, &r);
}
