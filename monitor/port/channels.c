/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Everything in a channel's memory is hostile: words are read and written by pread() and pwrite(), one at a time, so
 * nothing can fault, and a bell is rung as libultravisor rings it, by a call that never waits. */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel/bell.h"
#include "channel/layout.h"
#include "monitor/port/channels.h"
#include "monitor/port/ivshmem.h"
#include "monitor/port/socket.h"

#define LIFE_EPOCH(life) ((life) >> 8)
#define EPOCH_END (UINT64_MAX >> 8)

enum { USERS, DOORS = USERS + CHANNELS_MAX };      /* places in poll()'s array */

static void close_fd(int *fd) {
        if (*fd >= 0)
                (void) close(*fd);
        *fd = -1;
}

static off_t life_at(unsigned end) {
        return (off_t) (offsetof(struct channel_page, end) + end * sizeof(struct channel_end) + offsetof(struct channel_end, life));
}

static uint64_t read_life(const struct port_channel *c, unsigned end) {
        uint64_t life = 0;

        return pread(c->memory, &life, sizeof(life), life_at(end)) == sizeof(life) ? life : 0;
}

/* Which end it is whose process is proven dead. One that said goodbye stays as it is; so does what a life before the
 * epoch left. (A life may be at a later one: it follows its peer's.) */
static void mark_gone(const struct port_channel *c, unsigned end, uint64_t epoch) {
        struct bell b = { .memory = c->memory, .own = -1, .peer = c->bell[!end], .alive = -1 };
        uint64_t life = read_life(c, end), gone = LIFE_EPOCH(life) << 8 | CHANNEL_GONE;

        if (LIFE_EPOCH(life) < epoch || ((life & 0xff) != CHANNEL_ATTACHING && (life & 0xff) != CHANNEL_ATTACHED))
                return;
        if (pwrite(c->memory, &gone, sizeof(gone), life_at(end)) == sizeof(gone) && !bell_may_block(&b))
                (void) bell_ring(&b);
}

void channels_init(struct channels *c) {
        for (unsigned i = 0; i < CHANNELS_MAX; i++)
                c->v[i] = (struct port_channel) { .memory = -1, .bell = { -1, -1 }, .user = -1, .door = -1 };
}

static struct port_channel *find(struct channels *c, const char *name) {
        for (unsigned i = 0; i < CHANNELS_MAX; i++)
                if (strncmp(c->v[i].name, name, sizeof(c->v[i].name)) == 0)
                        return &c->v[i];
        return NULL;
}

static void drop(struct port_channel *c) {
        if (c->user >= 0)
                mark_gone(c, c->end, c->epoch);
        close_fd(&c->user);
        close_fd(&c->door);
        close_fd(&c->memory);
        close_fd(&c->bell[0]);
        close_fd(&c->bell[1]);
        c->name[0] = 0;
}

int channels_add(struct channels *c, const char *name, unsigned end, const int fds[3]) {
        struct port_channel *p = find(c, name);

        if (p)
                drop(p);
        else
                p = find(c, "");
        if (!p)
                return -ENOSPC;
        *p = (struct port_channel) { .memory = fds[0], .bell = { fds[1], fds[2] }, .end = end, .user = -1, .door = -1 };
        memcpy(p->name, name, strnlen(name, sizeof(p->name) - 1));
        return 0;
}

void channels_remove(struct channels *c, const char *name) {
        struct port_channel *p = find(c, name);

        if (p)
                drop(p);
}

int channels_door(struct channels *c, const char *name, int fd) {
        struct port_channel *p = find(c, name);

        if (!p)
                return -ENOENT;
        close_fd(&p->door);
        p->door = fd;
        return 0;
}

void channels_peer_gone(struct channels *c, const char *name) {
        struct port_channel *p = find(c, name);

        if (p)
                mark_gone(p, !p->end, 0);
}

/* --- programs that have an end ------------------------------------------------------------------------------------ */

/* Greater than that of any life of this end, and not less than the other's, which waits for us there. A peer that
 * wrote the highest number there is has ended the channel, and nothing else. */
static int next_epoch(const struct port_channel *c, uint64_t *ret) {
        uint64_t own = LIFE_EPOCH(read_life(c, c->end)), other = LIFE_EPOCH(read_life(c, !c->end));

        own = own > c->epoch ? own : c->epoch;
        if (own >= EPOCH_END || other > EPOCH_END)
                return -EBADMSG;
        *ret = own + 1 > other ? own + 1 : other;
        return 0;
}

int channels_give(struct channels *c, int fd, const struct ulv_call *q) {
        struct ulv_call a = { .magic = ULV_CALL_MAGIC, .verb = q->verb, .answer = 1, .number = q->number };
        struct port_channel *p = q->text[0] && strlen(q->text) < sizeof(p->name) ? find(c, q->text) : NULL;
        uint64_t epoch = 0;
        int fds[3], r;

        if (!p || next_epoch(p, &epoch) < 0)
                return p ? ULV_CALL_BROKEN : ULV_CALL_NOT_THERE;
        a.value[0] = p->end;
        a.value[1] = epoch;
        fds[0] = p->memory;
        fds[1] = p->bell[p->end];
        fds[2] = p->bell[!p->end];
        r = ulv_port_send(fd, &a, sizeof(a), fds, 3, MSG_DONTWAIT);
        if (r < 0)
                return r;
        close_fd(&p->user);     /* its life is over by the new epoch */
        p->user = fd;
        p->epoch = epoch;
        return 0;
}

/* A user has nothing more to say: what it sends, or its end, is its end. */
static void from_user(struct port_channel *p) {
        mark_gone(p, p->end, p->epoch);
        close_fd(&p->user);
}

/* The one QEMU of this end has come, and no other is served: it is told all there will ever be to say. */
static void from_door(struct port_channel *p) {
        int fd = accept4(p->door, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
                return;
        close_fd(&p->door);
        if (ivshmem_greet(fd, p->end, p->memory, p->bell) == 0)
                p->user = fd;
        else
                close_fd(&fd);
}

void channels_wishes(const struct channels *c, struct pollfd fds[CHANNEL_POLLS]) {
        for (unsigned i = 0; i < CHANNELS_MAX; i++)
                fds[USERS + i] = (struct pollfd) { .fd = c->v[i].user, .events = POLLIN };
        for (unsigned i = 0; i < CHANNELS_MAX; i++)
                fds[DOORS + i] = (struct pollfd) { .fd = c->v[i].door, .events = POLLIN };
}

void channels_serve(struct channels *c, const struct pollfd fds[CHANNEL_POLLS]) {
        for (unsigned i = 0; i < CHANNELS_MAX; i++)
                if (fds[USERS + i].revents && c->v[i].user == fds[USERS + i].fd)
                        from_user(&c->v[i]);
        for (unsigned i = 0; i < CHANNELS_MAX; i++)
                if (fds[DOORS + i].revents && c->v[i].door == fds[DOORS + i].fd)
                        from_door(&c->v[i]);
}
