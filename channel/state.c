/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The table of state.h. Pure. */

#include <stddef.h>

#include "channel/state.h"

enum channel_seen channel_look(uint64_t own_epoch, uint64_t peer_life) {
        uint64_t epoch = life_epoch(peer_life);

        if ((peer_life & 0xff) >= N_CHANNEL_STATES)
                return SEEN_NONSENSE;
        if (epoch < own_epoch)
                return SEEN_OLDER;
        switch (life_state(peer_life)) {
        case CHANNEL_ATTACHING:
        case CHANNEL_ATTACHED:
                if (epoch > own_epoch)
                        return SEEN_NEWER;
                return life_state(peer_life) == CHANNEL_ATTACHING ? SEEN_ATTACHING : SEEN_ATTACHED;
        case CHANNEL_CLOSED:
        case CHANNEL_GONE:
                /* At a later epoch: a life that came and went while we looked elsewhere. */
                return SEEN_LEFT;
        default:
                return SEEN_NONSENSE;   /* nobody goes back to DETACHED */
        }
}

enum channel_step channel_step(enum channel_own own, enum channel_seen seen) {
        static const enum channel_step table[N_CHANNEL_OWN][N_CHANNEL_SEEN] = {
                /*                  OLDER      ATTACHING   ATTACHED    LEFT        NEWER        NONSENSE */
                [OWN_ATTACHING] = { STEP_STAY, STEP_EMPTY, STEP_EMPTY, STEP_ALONE, STEP_FOLLOW, STEP_BAD },
                [OWN_ATTACHED]  = { STEP_BAD,  STEP_STAY,  STEP_OPEN,  STEP_ALONE, STEP_FOLLOW, STEP_BAD },
                [OWN_OPEN]      = { STEP_BAD,  STEP_BAD,   STEP_STAY,  STEP_ALONE, STEP_FOLLOW, STEP_BAD },
                [OWN_ALONE]     = { STEP_BAD,  STEP_BAD,   STEP_BAD,   STEP_STAY,  STEP_FOLLOW, STEP_BAD },
        };

        return table[own][seen];
}
