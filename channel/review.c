/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What an end does when the other's life changes: the steps of state.h's table, acted. */

#include <string.h>

#include "channel/channel.h"

int channel_bad(struct ulv_channel *c) {
        c->bad = true;
        c->stands = OWN_ALONE;
        return ULV_PEER_BAD;
}

static void say(struct ulv_channel *c, enum channel_state state) {
        atomic_store_explicit(&c->own->life, life_make(c->epoch, state), memory_order_seq_cst);
        c->bells++;
        (void) bell_ring(&c->bell);
}

/* Nobody reads our ring now, and nobody will before we say ATTACHED. */
static void empty(struct ulv_channel *c) {
        if (c->kind != ULV_KIND_MEMORY)
                atomic_store_explicit(ring_word(c->out.base, 0), 0, memory_order_relaxed);
        c->out.at = c->out.tail = c->out.head = c->out.needed = 0;
        c->out.reserved = UINT64_MAX;
        c->in.at = c->in.head = c->in.told = c->in.taken = 0;
        atomic_store_explicit(&c->own->head, 0, memory_order_relaxed);
        atomic_store_explicit(&c->own->emptied, c->epoch, memory_order_release);
}

/* -1: looks again; else the call's result. */
static int act(struct ulv_channel *c, enum channel_step step, uint64_t life) {
        bool restarted = c->was_open;

        switch (step) {
        case STEP_STAY:
                c->peer_life = life;
                return c->stands == OWN_OPEN ? 0 : c->stands != OWN_ALONE ? ULV_AGAIN :
                       life_state(life) == CHANNEL_CLOSED ? ULV_PEER_CLOSED : ULV_PEER_GONE;
        case STEP_EMPTY:
                empty(c);
                c->stands = OWN_ATTACHED;
                say(c, CHANNEL_ATTACHED);
                return -1;
        case STEP_OPEN:
                c->stands = OWN_OPEN;
                c->was_open = true;
                return -1;
        case STEP_ALONE:
                c->stands = OWN_ALONE;
                return -1;
        case STEP_FOLLOW:
                c->epoch = life_epoch(life);
                c->stands = OWN_ATTACHING;
                c->was_open = false;
                say(c, CHANNEL_ATTACHING);
                return restarted ? ULV_PEER_RESTARTED : -1;
        default:
                return channel_bad(c);
        }
}

/* One that opened, sent and left before we looked was connected to us: we had said ATTACHED, so it could open, and its
 * ring is that of this epoch. (What stands in the ring of one that left before it emptied it was sent to nobody.) */
static void note_visit(struct ulv_channel *c, enum channel_step step) {
        if (c->stands == OWN_ATTACHED && (step == STEP_ALONE || step == STEP_FOLLOW) &&
            atomic_load_explicit(&c->peer->emptied, memory_order_acquire) == c->epoch)
                c->was_open = true;
}

/* What the other end sent before it left is received first. */
bool channel_has_unread(const struct ulv_channel *c) {
        return c->kind != ULV_KIND_MEMORY && c->stands != OWN_ATTACHING && c->was_open && ring_look(&c->in) != 0;
}

int channel_review(struct ulv_channel *c) {
        /* A few steps lead to an end, unless the other end keeps moving: then the next call goes on. */
        unsigned steps = 8;
        int r = -1;

        if (c->bad)
                return ULV_PEER_BAD;
        if (c->replaced || life_epoch(atomic_load_explicit(&c->own->life, memory_order_acquire)) != c->epoch) {
                c->replaced = true;
                return ULV_REPLACED;
        }
        while (r < 0 && steps-- > 0) {
                uint64_t life = atomic_load_explicit(&c->peer->life, memory_order_acquire);
                enum channel_step step = channel_step(c->stands, channel_look(c->epoch, life));

                note_visit(c, step);
                if (step == STEP_FOLLOW && channel_has_unread(c))
                        return ULV_PEER_RESTARTED;
                r = act(c, step, life);
        }
        return r < 0 ? ULV_AGAIN : r;
}
