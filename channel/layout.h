/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The ABI of a channel's memory, the same for containers, VMs and the host: little-endian, 64 bits.
 *
 *   0      struct channel_header: written once by who makes the channel, then read by nobody but at attach
 *   1024   struct channel_end of end 0    } each written by its own end only (but ulv_channel_mark_gone()),
 *   1536   struct channel_end of end 1    } read by the other
 *   4096   message, stream: ring that end 0 writes, then the one that end 1 writes, each a multiple of 4096 bytes
 *          memory: the region, to the end
 *
 * A ring is bytes; a record begins at a multiple of 8 with a word (length, and RECORD_VALID), the payload follows, so
 * that a small message and its word share one cache line, and one transfer between caches carries both. There is no
 * index to publish: before the writer makes a record valid it zeroes the word behind it, so the reader finds either
 * zero or a whole record where the next one begins. Each end maps a ring twice in a row: no record is ever split.
 *
 * The reader tells how far it has read (`head`, bytes since the epoch began) not at each record but each quarter of
 * the ring, and whenever the writer waits for room. `want_data` and `want_space` are odd while their end sleeps for
 * one or the other; a new number for each sleep, so that it is rung once for each. `life` is epoch << 8 | state. */

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define CHANNEL_MAGIC UINT64_C(0x314e414843564c55)      /* "ULVCHAN1" */
#define CHANNEL_VERSION 1
#define CHANNEL_PAGE 4096
#define CHANNEL_SIZE_MIN (3 * CHANNEL_PAGE)
#define CHANNEL_SIZE_MAX (UINT64_C(1) << 30)

#define RECORD_VALID (UINT64_C(1) << 63)
#define RECORD_WORD 8

enum channel_state { CHANNEL_DETACHED, CHANNEL_ATTACHING, CHANNEL_ATTACHED, CHANNEL_CLOSED, CHANNEL_GONE, N_CHANNEL_STATES };

struct channel_place { uint64_t offset, size; };

struct channel_header {
        uint64_t magic;
        uint32_t version;
        uint32_t header_size;           /* of this struct; a reader that knows less ignores the rest */
        uint64_t size;                  /* of all the memory */
        uint32_t kind;                  /* enum ulv_kind */
        uint32_t reserved;
        unsigned char type[16];
        char zone[64];
        struct channel_place ring[2];   /* by the end that writes it; both empty for memory */
        struct channel_place region;    /* empty but for memory */
};

/* 128: processors that fetch lines by pairs. */
struct channel_end {
        _Alignas(128) _Atomic uint64_t life;
        _Atomic uint32_t want_data, want_space;
        _Alignas(128) _Atomic uint64_t head;
        _Alignas(128) _Atomic uint64_t sent;
        _Atomic uint64_t received, bells;
        _Atomic uint64_t bytes, full;           /* of what was sent; sends that found no room */
        _Alignas(128) _Atomic uint64_t emptied; /* the last epoch for which its ring was emptied: what is in it is of that epoch */
        uint64_t reserved[15];
};

struct channel_page {
        struct channel_header header;
        _Alignas(1024) struct channel_end end[2];
        _Alignas(CHANNEL_PAGE) unsigned char after[];
};

/* Of each of the two rings in a memory of that size. */
static inline uint64_t channel_ring_size(uint64_t size) { return (size - CHANNEL_PAGE) / 2 / CHANNEL_PAGE * CHANNEL_PAGE; }

_Static_assert(sizeof(struct channel_end) == 512 && sizeof(struct channel_page) == CHANNEL_PAGE, "the ABI's sizes");
_Static_assert(offsetof(struct channel_page, end) == 1024, "the ABI's places");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "words are shared between processes");
