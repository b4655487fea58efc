/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How two ends find each other, as a table: what an end does, from where it stands and what it sees of the other.
 * No lock, and no field that both may write: each step is one end's own.
 *
 * An attach at epoch E: say E and ATTACHING. When the other says E too, it no longer reads what an earlier life of
 * ours wrote: empty our ring, say ATTACHED. When the other says that too, its ring is empty: use the channel. So
 * neither end ever reads a ring that is being emptied, and nothing of one epoch is read in the next. */

#include "channel/layout.h"

/* Where this end stands. */
enum channel_own {
        OWN_ATTACHING,          /* waits for the other to come to this epoch */
        OWN_ATTACHED,           /* its ring is empty; waits for the other's */
        OWN_OPEN,
        OWN_ALONE,              /* the other has gone: in order, or it died */
        N_CHANNEL_OWN,
};

/* What is seen of the other. */
enum channel_seen {
        SEEN_OLDER,             /* not yet at this epoch */
        SEEN_ATTACHING,
        SEEN_ATTACHED,
        SEEN_LEFT,              /* closed or gone, at this epoch */
        SEEN_NEWER,             /* it came back, or this end came too early */
        SEEN_NONSENSE,
        N_CHANNEL_SEEN,
};

enum channel_step {
        STEP_STAY,
        STEP_EMPTY,             /* empty our ring, say ATTACHED; then look again */
        STEP_OPEN,
        STEP_ALONE,
        STEP_FOLLOW,            /* take its epoch, say ATTACHING; then look again */
        STEP_BAD,               /* it can't be honest */
};

static inline uint64_t life_make(uint64_t epoch, enum channel_state state) { return epoch << 8 | (unsigned) state; }
static inline uint64_t life_epoch(uint64_t life) { return life >> 8; }
static inline enum channel_state life_state(uint64_t life) { return (enum channel_state) (life & 0xff); }
#define EPOCH_MAX (UINT64_MAX >> 8)

enum channel_seen channel_look(uint64_t own_epoch, uint64_t peer_life);
enum channel_step channel_step(enum channel_own own, enum channel_seen seen);
