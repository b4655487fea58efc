/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ULTRAVISOR_H
#define ULTRAVISOR_H

/* libultravisor: one end of a channel. See libultravisor(3), uv-channel(7).
 *
 * A channel is shared memory that uvd made, between exactly two ends, with a doorbell each way. Its kind says what
 * it carries: messages (records that arrive whole, in order, once), a stream (bytes), or nothing of ours (a plain
 * region, and doorbells). Nothing stands between the ends: no daemon, no copy, and while both are awake no system call.
 *
 * The other end is not trusted: whatever it writes, a call here returns, stays inside its memory, and at worst says
 * ULV_PEER_BAD. What a peeked message holds may still change under one's eyes: copy first, then look.
 *
 * A channel is used by one thread at a time. All calls return 0, a positive result of enum ulv_result, or -errno;
 * ret_ arguments are touched on 0 only (where it isn't said otherwise). */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

enum ulv_result {
        ULV_AGAIN = 1,          /* nothing to receive; no room to send; the other end isn't there yet */
        ULV_PEER_RESTARTED,     /* the other end came back, with a new epoch: told once, then the channel goes on. What it
                                 * had sent before has been received; what it had not received is gone */
        ULV_PEER_CLOSED,        /* the other end closed it, and all that it had sent is received. It may come back */
        ULV_PEER_GONE,          /* the other end died; else as above */
        ULV_PEER_BAD,           /* the other end broke the protocol: this channel is over */
        ULV_REPLACED,           /* a new life of this end has attached: this one is over */
        ULV_TOO_LONG,           /* the message doesn't fit in the buffer: *ret_len says its length, it stays */
};

enum ulv_kind { ULV_KIND_MESSAGE = 1, ULV_KIND_STREAM, ULV_KIND_MEMORY };

/* What an end is given. Ownership of the fds goes to ulv_channel_open(), also when it fails. */
struct ulv_channel_fds {
        int memory;             /* the memfd; sealed F_SEAL_SHRINK | F_SEAL_GROW */
        int bell;               /* eventfd that wakes this end */
        int peer_bell;          /* eventfd that wakes the other */
        unsigned end;           /* 0 or 1 */
        uint64_t epoch;         /* of this attach, from 1; greater than that of any earlier life of either end */
        int device;             /* 1: in a VM: memory is resource2 of the channel's PCI device, whose size nobody can change, and
                                 * peer_bell its resource0; bell is rung at its interrupt */
};

struct ulv_channel_info {
        enum ulv_kind kind;
        uint64_t size;                  /* bytes of shared memory */
        uint64_t epoch;
        char zone[64];
        unsigned char type[16];         /* UUID of what it carries, zeros if its maker gave none */
        size_t message_max;             /* bytes of the longest message; 0 for memory */
        int connected;                  /* both ends are attached at this epoch */
        int bell_may_block;             /* the kernel has no AIO: a hostile peer could hold up who rings */
        uint64_t sent, received, bells; /* by this end: messages, messages, system calls to wake the other */
};

struct ulv_channel;

/* -EBADMSG: no channel's memory, of another version, or its geometry is wrong; -EPERM: not sealed; -ESTALE: this epoch
 * is over; -errno of mmap(). The other end needn't be there. */
int ulv_channel_open(const struct ulv_channel_fds *fds, struct ulv_channel **ret);
/* The end that this partition has in the channel of that name, [Channel "NAME"] of its definition, from inside a
 * container. -ENOENT: it has none, or not yet; else as above. One program at a time has an end: the last that came. */
int ulv_channel_join(const char *name, struct ulv_channel **ret);
/* Tells the other end, and frees; takes NULL. Returns NULL. */
struct ulv_channel *ulv_channel_close(struct ulv_channel *c);
void ulv_channel_get_info(struct ulv_channel *c, struct ulv_channel_info *ret);

/* --- message ---------------------------------------------------------------------------------------------
 * ULV_MORE: more follows at once, don't look whether the other end sleeps. It sees the message all the same if it is
 * awake; the last message of a batch goes without the flag, or ulv_channel_flush() follows. */
enum { ULV_MORE = 1 };
/* -EMSGSIZE: longer than message_max. ULV_AGAIN: no room; all or nothing is sent. */
int ulv_channel_send(struct ulv_channel *c, const void *data, size_t len, unsigned flags);
/* ULV_AGAIN: nothing there. ULV_TOO_LONG: see above. */
int ulv_channel_receive(struct ulv_channel *c, void *buffer, size_t size, size_t *ret_len);
int ulv_channel_flush(struct ulv_channel *c);

/* Without a copy: a place of len bytes in the ring, 8-byte aligned, to be filled; then commit with the length used
 * (at most len). Another reserve instead of a commit forgets the first. */
int ulv_channel_reserve(struct ulv_channel *c, size_t len, void **ret);
int ulv_channel_commit(struct ulv_channel *c, size_t len, unsigned flags);
/* The next message where it lies; it stays until release. */
int ulv_channel_peek(struct ulv_channel *c, const void **ret, size_t *ret_len);
int ulv_channel_release(struct ulv_channel *c);

/* --- stream: as many bytes as fit, as are there; at least one on 0 -------------------------------------- */
int ulv_channel_write(struct ulv_channel *c, const void *data, size_t len, size_t *ret_written);
int ulv_channel_read(struct ulv_channel *c, void *buffer, size_t size, size_t *ret_read);

/* --- memory ---------------------------------------------------------------------------------------------- */
void *ulv_channel_region(struct ulv_channel *c, size_t *ret_size);
/* Wakes the other end if it waits. */
int ulv_channel_ring(struct ulv_channel *c);

/* --- waiting ---------------------------------------------------------------------------------------------
 * Readable: receive would return other than ULV_AGAIN. Writable: there is room for what the last send did not find
 * room for (or for any message, if none failed). ULV_BELL (memory): the other end rang. */
enum { ULV_READABLE = 1, ULV_WRITABLE = 2, ULV_BELL = 4 };
/* Waits until one of `events` holds: spins for some 20 us, then sleeps. timeout_usec < 0: for ever. ULV_AGAIN: time over. */
int ulv_channel_wait(struct ulv_channel *c, unsigned events, int64_t timeout_usec);
/* For an event loop: the fd becomes readable (level-triggered) when something of what was armed may have come about.
 * Before it sleeps the loop arms: 0: sleep; ULV_AGAIN: don't, one of them holds now. After waking: disarm. */
int ulv_channel_fd(const struct ulv_channel *c);
int ulv_channel_arm(struct ulv_channel *c, unsigned events);
int ulv_channel_disarm(struct ulv_channel *c);

/* --- for who makes channels (uvd), not for the ends ------------------------------------------------------ */
struct ulv_channel_spec {
        enum ulv_kind kind;
        const char *zone;               /* shorter than 64 */
        const unsigned char *type;      /* 16 bytes, or NULL */
};
/* Writes the header into a memfd of its final size (a multiple of 4096; 12 KiB to 1 GiB), before it is sealed. */
int ulv_channel_format(int memory, const struct ulv_channel_spec *spec);
/* Says for end `end`, whose process is proven dead, that it is gone, and wakes the other. Its monitor's guest-facing
 * half does this. */
int ulv_channel_mark_gone(int memory, unsigned end, int peer_bell);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
