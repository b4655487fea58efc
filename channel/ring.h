/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One ring, seen from its writer and from its reader: records in shared memory, everything else private. What is
 * read from the other end is loaded once and bounded; positions count bytes since the epoch began. */

#include <stdbool.h>
#include <stddef.h>

#include "channel/layout.h"

/* The writer. base: the ring, mapped twice in a row. */
struct ring_out {
        unsigned char *base;
        uint64_t size, at;              /* at: tail modulo size */
        uint64_t tail, head;            /* head: the reader's, as last seen */
        uint64_t reserved;              /* bytes of payload that reserve promised; UINT64_MAX: none */
        uint64_t needed;                /* room that the last reserve didn't find; 0: it did */
};

struct ring_in {
        unsigned char *base;
        uint64_t size, at, head;
        uint64_t told;                  /* the head that the writer knows of */
        uint64_t taken;                 /* stream: bytes of the record at `at` that were read already */
};

static inline _Atomic uint64_t *ring_word(unsigned char *base, uint64_t at) {
        return (_Atomic uint64_t *) __builtin_assume_aligned(base + at, RECORD_WORD);
}

/* A record of len bytes in the ring, its word with it. */
static inline uint64_t record_size(uint64_t len) { return RECORD_WORD + ((len + RECORD_WORD - 1) & ~(uint64_t) (RECORD_WORD - 1)); }

/* A quarter: so that several messages of any size are on their way at once. */
static inline uint64_t ring_message_max(uint64_t size) { return size / 4 - 2 * RECORD_WORD; }

/* The record, and the zero word behind it. */
static inline bool ring_has_room(const struct ring_out *r, uint64_t len) {
        return record_size(len) + RECORD_WORD <= r->size - (r->tail - r->head);
}

/* Takes the reader's head; false if it can't be true. */
static inline bool ring_see_head(struct ring_out *r, uint64_t head) {
        if (head < r->head || head > r->tail || head % RECORD_WORD != 0)
                return false;
        r->head = head;
        return true;
}

/* The record at the writer's place becomes valid. The word behind it was zeroed before: see layout.h. */
static inline void ring_commit(struct ring_out *r, uint64_t len) {
        uint64_t step = record_size(len);

        atomic_store_explicit(ring_word(r->base, r->at + step), 0, memory_order_relaxed);
        atomic_store_explicit(ring_word(r->base, r->at), RECORD_VALID | len, memory_order_release);
        r->tail += step;
        r->at += step;
        if (r->at >= r->size)
                r->at -= r->size;
        /* The next word to be zeroed, if the next message is as long: its cache line is fetched while nobody waits. */
        __builtin_prefetch(r->base + r->at + step, 1);
}

/* The word of the record at the reader's place: 0 if there is none. */
static inline uint64_t ring_look(const struct ring_in *r) {
        return atomic_load_explicit(ring_word(r->base, r->at), memory_order_acquire);
}

/* false: the word can't be an honest writer's. */
static inline bool ring_length(const struct ring_in *r, uint64_t word, uint64_t *ret_len) {
        uint64_t len = word & ~RECORD_VALID;

        if (!(word & RECORD_VALID) || len > ring_message_max(r->size))
                return false;
        *ret_len = len;
        return true;
}

static inline void ring_advance(struct ring_in *r, uint64_t len) {
        uint64_t step = record_size(len);

        r->head += step;
        r->at += step;
        if (r->at >= r->size)
                r->at -= r->size;
        r->taken = 0;
}

static inline bool ring_should_tell(const struct ring_in *r) { return r->head - r->told >= r->size / 4; }
