/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sending and receiving. The fast path of each is a look at the other end's life, private arithmetic, and one word in
 * the ring; the other end's head is read only when the room that was last seen is used up. */

#include <errno.h>
#include <string.h>

#include "channel/channel.h"

#define PUBLISH_EACH 1024       /* messages of one that neither sleeps nor wakes anybody */

void channel_publish_counters(struct ulv_channel *c) {
        atomic_store_explicit(&c->own->sent, c->sent, memory_order_relaxed);
        atomic_store_explicit(&c->own->received, c->received, memory_order_relaxed);
        atomic_store_explicit(&c->own->bells, c->bells, memory_order_relaxed);
        atomic_store_explicit(&c->own->bytes, c->bytes, memory_order_relaxed);
        atomic_store_explicit(&c->own->full, c->full, memory_order_relaxed);
}

/* What was stored before must be seen by who then goes to sleep, or its wish to be woken be seen here: the fence makes
 * one of the two true. */
static int wake(struct ulv_channel *c, const _Atomic uint32_t *want, uint32_t *rung) {
        uint32_t w;

        atomic_thread_fence(memory_order_seq_cst);
        w = atomic_load_explicit(want, memory_order_relaxed);
        if (__builtin_expect(!(w & 1) || w == *rung, 1))
                return 0;
        *rung = w;
        c->bells++;
        channel_publish_counters(c);
        return bell_ring(&c->bell);
}

int channel_wake_reader(struct ulv_channel *c) { return wake(c, &c->peer->want_data, &c->rung_data); }

int channel_tell_head(struct ulv_channel *c) {
        c->in.told = c->in.head;
        atomic_store_explicit(&c->own->head, c->in.head, memory_order_release);
        channel_publish_counters(c);
        return wake(c, &c->peer->want_space, &c->rung_space);
}

int channel_find_room(struct ulv_channel *c, uint64_t len) {
        if (!ring_has_room(&c->out, len)) {
                if (!ring_see_head(&c->out, atomic_load_explicit(&c->peer->head, memory_order_acquire)))
                        return channel_bad(c);
                if (!ring_has_room(&c->out, len)) {
                        c->out.needed = len + 1;
                        return ULV_AGAIN;
                }
        }
        c->out.needed = 0;
        return 0;
}

static inline int reserve(struct ulv_channel *c, size_t len, void **ret) {
        int r;

        if (__builtin_expect(len > c->message_max, 0))
                return c->message_max ? -EMSGSIZE : -EOPNOTSUPP;
        r = channel_check(c);
        if (__builtin_expect(r == 0 && !ring_has_room(&c->out, len), 0)) {
                r = channel_find_room(c, len);
                c->full += r == ULV_AGAIN;
        }
        if (__builtin_expect(r != 0, 0))
                return r;
        c->out.reserved = len;
        *ret = c->out.base + c->out.at + RECORD_WORD;
        return 0;
}

static inline int commit(struct ulv_channel *c, size_t len, unsigned flags) {
        if (__builtin_expect(c->out.reserved == UINT64_MAX, 0))
                return ULV_AGAIN;       /* The other end restarted since the reserve. */
        if (__builtin_expect(len > c->out.reserved, 0))
                return -EINVAL;
        ring_commit(&c->out, len);
        c->out.reserved = UINT64_MAX;
        c->out.needed = 0;
        c->sent++;
        c->bytes += len;
        if (__builtin_expect(c->sent % PUBLISH_EACH == 0, 0))
                channel_publish_counters(c);
        return flags & ULV_MORE ? 0 : channel_wake_reader(c);
}

int ulv_channel_reserve(struct ulv_channel *c, size_t len, void **ret) { return reserve(c, len, ret); }
int ulv_channel_commit(struct ulv_channel *c, size_t len, unsigned flags) { return commit(c, len, flags); }

int ulv_channel_flush(struct ulv_channel *c) {
        int r = channel_check(c);

        return r != 0 ? r : channel_wake_reader(c);
}

int ulv_channel_send(struct ulv_channel *c, const void *data, size_t len, unsigned flags) {
        void *place;
        int r = reserve(c, len, &place);

        if (r != 0)
                return r;
        memcpy(place, data, len);
        return commit(c, len, flags);
}

/* The word of the next record. What the other end sent before it left or restarted comes before the news of that. */
static int next_record(struct ulv_channel *c, uint64_t *ret_len) {
        uint64_t word;
        int r = 0;

        if (c->kind == ULV_KIND_MEMORY)
                return -EOPNOTSUPP;
        word = c->was_open && !c->bad ? ring_look(&c->in) : 0;
        if (word == 0) {
                if (ring_should_tell(&c->in) || (c->in.told != c->in.head && atomic_load_explicit(&c->peer->want_space, memory_order_relaxed) & 1))
                        (void) channel_tell_head(c);
                r = channel_check(c);
                if (r == 0)
                        return ULV_AGAIN;
                if (!channel_has_unread(c))
                        return r;
                word = ring_look(&c->in);
        }
        return ring_length(&c->in, word, ret_len) ? 0 : channel_bad(c);
}

static int pass(struct ulv_channel *c, uint64_t len) {
        ring_advance(&c->in, len);
        c->received++;
        c->spurious = 0;
        if (__builtin_expect(ring_should_tell(&c->in) || atomic_load_explicit(&c->peer->want_space, memory_order_relaxed) & 1, 0))
                return channel_tell_head(c);
        return 0;
}

int ulv_channel_peek(struct ulv_channel *c, const void **ret, size_t *ret_len) {
        uint64_t len;
        int r = next_record(c, &len);

        if (r != 0)
                return r;
        *ret = c->in.base + c->in.at + RECORD_WORD;
        *ret_len = len;
        return 0;
}

int ulv_channel_release(struct ulv_channel *c) {
        uint64_t len;
        int r = next_record(c, &len);

        return r != 0 ? r : pass(c, len);
}

int ulv_channel_receive(struct ulv_channel *c, void *buffer, size_t size, size_t *ret_len) {
        uint64_t len;
        int r = next_record(c, &len);

        if (r != 0)
                return r;
        *ret_len = len;
        if (len > size)
                return ULV_TOO_LONG;
        memcpy(buffer, c->in.base + c->in.at + RECORD_WORD, len);
        return pass(c, len);
}
