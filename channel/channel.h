/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The inside of libultravisor: one end of a channel. */

#include "channel/bell.h"
#include "channel/ring.h"
#include "channel/state.h"
#include "channel/ultravisor.h"

struct ulv_channel {
        struct channel_page *page;
        struct channel_end *own, *peer;         /* in page */
        struct ring_out out;
        struct ring_in in;
        uint64_t epoch;
        uint64_t peer_life;                     /* as last acted upon: while it says the same, all is as it was */
        enum channel_own stands;
        bool was_open;                          /* at this epoch or before: a later one is a restart */
        bool bad, replaced;
        uint32_t rung_data, rung_space;         /* the sleeps of the other end that were rung for */
        uint64_t sent, received, bells, bytes, full;
        uint64_t rings_seen;                    /* memory: of the other end's `sent`, which counts its rings */
        unsigned spurious;                      /* wake-ups in a row for nothing */
        struct bell bell;
        int link;                               /* to who gave this end, which sees by it that we live; -1 */

        /* The geometry, as it was checked at attach. */
        enum ulv_kind kind;
        uint64_t size, message_max;
        unsigned char *region;
        uint64_t region_size;
        char zone[64];
        unsigned char type[16];
};

/* Looks at the other end, and acts by the table of state.h. 0: the channel is open; else what stands in the way. */
int channel_review(struct ulv_channel *c);

/* The one look at the other end that each call makes: a word in a cache line that rarely changes. */
static inline int channel_check(struct ulv_channel *c) {
        if (__builtin_expect(c->stands == OWN_OPEN &&
                             atomic_load_explicit(&c->peer->life, memory_order_acquire) == c->peer_life, 1))
                return 0;
        return channel_review(c);
}

int channel_bad(struct ulv_channel *c);
/* There is a record to be received, of a life that this end was connected to. */
bool channel_has_unread(const struct ulv_channel *c);
/* Wakes the other end, if it sleeps for a message (or in ALONE and the like: for news). */
int channel_wake_reader(struct ulv_channel *c);
/* Tells the head, and wakes the other end if it sleeps for room. */
int channel_tell_head(struct ulv_channel *c);
void channel_publish_counters(struct ulv_channel *c);
/* Takes the other end's head, if that gives room. 0, ULV_AGAIN or ULV_PEER_BAD. */
int channel_find_room(struct ulv_channel *c, uint64_t len);
