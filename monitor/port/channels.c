/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Everything in a channel's memory is hostile: words are read and written by pread() and pwrite(), one at a time, so
 * nothing can fault, and a bell is rung as libultravisor rings it, by a call that never waits. */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel/account.h"
#include "channel/bell.h"
#include "channel/layout.h"
#include "monitor/port/channels.h"
#include "monitor/port/ivshmem.h"
#include "monitor/port/socket.h"

#define LIFE_EPOCH(life) ((life) >> 8)
#define EPOCH_END (UINT64_MAX >> 8)

enum { USERS, DOORS = USERS + 2 * CHANNELS_MAX };      /* places in poll()'s array */

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
                c->v[i] = (struct port_channel) { .memory = -1, .bell = { -1, -1 }, .user = { -1, -1 }, .door = -1 };
}

static struct port_channel *find(struct channels *c, const char *name) {
        for (unsigned i = 0; i < CHANNELS_MAX; i++)
                if (strncmp(c->v[i].name, name, sizeof(c->v[i].name)) == 0)
                        return &c->v[i];
        return NULL;
}

/* A user has nothing more to say: what it sends, or its end, is its end. */
static void end_user(struct port_channel *c, unsigned end) {
        if (c->user[end] >= 0)
                mark_gone(c, end, c->epoch[end]);
        close_fd(&c->user[end]);
}

static void drop(struct port_channel *c) {
        end_user(c, 0);
        end_user(c, 1);
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
        *p = (struct port_channel) { .memory = fds[0], .bell = { fds[1], fds[2] }, .end = end, .user = { -1, -1 }, .door = -1 };
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
static int next_epoch(const struct port_channel *c, unsigned end, uint64_t *ret) {
        uint64_t own = LIFE_EPOCH(read_life(c, end)), other = LIFE_EPOCH(read_life(c, !end));

        own = own > c->epoch[end] ? own : c->epoch[end];
        if (own >= EPOCH_END || other > EPOCH_END)
                return -EBADMSG;
        *ret = own + 1 > other ? own + 1 : other;
        return 0;
}

/* As channels_give(); p NULL: there is no such channel. */
static int give(struct port_channel *p, unsigned end, int fd, uint32_t number) {
        struct ulv_call a = { .magic = ULV_CALL_MAGIC, .verb = ULV_CALL_OPEN, .answer = 1, .number = number, .value = { end } };
        int r;

        if (!p || next_epoch(p, end, &a.value[1]) < 0)
                return p ? ULV_CALL_BROKEN : ULV_CALL_NOT_THERE;
        r = ulv_port_send(fd, &a, sizeof(a), (const int[]) { p->memory, p->bell[end], p->bell[!end] }, 3, MSG_DONTWAIT);
        if (r < 0)
                return r;
        close_fd(&p->user[end]);        /* its life is over by the new epoch */
        p->user[end] = fd;
        p->epoch[end] = a.value[1];
        return 0;
}

int channels_give(struct channels *c, int fd, const struct ulv_call *q) {
        struct port_channel *p = q->text[0] && strlen(q->text) < sizeof(p->name) ? find(c, q->text) : NULL;

        return give(p, p ? p->end : 0, fd, q->number);
}

/* --- the host's tools --------------------------------------------------------------------------------------- */

static void refuse(int fd, uint32_t code) {
        struct ulv_call a = { .magic = ULV_CALL_MAGIC, .verb = ULV_CALL_OPEN, .answer = 1, .code = code };

        (void) ulv_port_send(fd, &a, sizeof(a), NULL, 0, MSG_DONTWAIT);
}

/* Who had it would ask again, if it weren't told. */
int channels_host(struct channels *c, const char *name, int fd) {
        struct port_channel *p = find(c, name);
        unsigned end = p ? !p->end : 0;
        int r;

        if (p && p->user[end] >= 0)
                refuse(p->user[end], ULV_CALL_BUSY);
        r = give(p, end, fd, 0);
        if (r > 0)
                refuse(fd, (uint32_t) r);
        return r;
}

_Static_assert(offsetof(struct channel_end, full) == offsetof(struct channel_end, sent) + (ACCOUNT_COUNTERS - 1) * sizeof(uint64_t), "counters stand in a row");

static void read_end(const struct port_channel *c, unsigned end, struct channel_account_end *ret) {
        off_t at = life_at(end) + (off_t) (offsetof(struct channel_end, sent) - offsetof(struct channel_end, life));

        ret->life = read_life(c, end);
        if (pread(c->memory, ret->count, sizeof(ret->count), at) != sizeof(ret->count))
                memset(ret->count, 0, sizeof(ret->count));
}

int channels_account(struct channels *c, const char *name, int fd) {
        const struct port_channel *p = find(c, name);
        struct channel_account a = { .magic = ACCOUNT_MAGIC };

        if (!p)
                return -ENOENT;
        read_end(p, 0, &a.end[0]);
        read_end(p, 1, &a.end[1]);
        return ulv_port_send(fd, &a, sizeof(a), NULL, 0, MSG_DONTWAIT);
}

/* The one QEMU of this end has come, and no other is served: it is told all there will ever be to say. */
static void from_door(struct port_channel *p) {
        int fd = accept4(p->door, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
                return;
        close_fd(&p->door);
        if (ivshmem_greet(fd, p->end, p->memory, p->bell) == 0)
                p->user[p->end] = fd;
        else
                close_fd(&fd);
}

void channels_wishes(const struct channels *c, struct pollfd fds[CHANNEL_POLLS]) {
        for (unsigned i = 0; i < 2 * CHANNELS_MAX; i++)
                fds[USERS + i] = (struct pollfd) { .fd = c->v[i / 2].user[i % 2], .events = POLLIN };
        for (unsigned i = 0; i < CHANNELS_MAX; i++)
                fds[DOORS + i] = (struct pollfd) { .fd = c->v[i].door, .events = POLLIN };
}

void channels_serve(struct channels *c, const struct pollfd fds[CHANNEL_POLLS]) {
        for (unsigned i = 0; i < 2 * CHANNELS_MAX; i++)
                if (fds[USERS + i].revents && c->v[i / 2].user[i % 2] == fds[USERS + i].fd)
                        end_user(&c->v[i / 2], i % 2);
        for (unsigned i = 0; i < CHANNELS_MAX; i++)
                if (fds[DOORS + i].revents && c->v[i].door == fds[DOORS + i].fd)
                        from_door(&c->v[i]);
}
