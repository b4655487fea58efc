/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Doorbells: an eventfd each way, that a hostile peer holds too. It may saturate the counter and clear O_NONBLOCK,
 * which belongs to the open file and so to both: a write() that found room by poll() could then block for ever. So we
 * don't write: the kernel's AIO signals an eventfd when an operation completes (IOCB_FLAG_RESFD), and that never waits;
 * the operation is a read of one byte of the channel's own memory. Reading our own bell is preadv2(RWF_NOWAIT). */

#include <stdbool.h>
#include <stdint.h>

struct bell {
        int memory, own, peer;          /* fds, owned */
        uint64_t aio;                   /* aio_context_t; 0: none */
};

int bell_open(struct bell *b, int memory, int own, int peer);
void bell_close(struct bell *b);
/* Never blocks (but see ULV bell_may_block). */
int bell_ring(struct bell *b);
/* Takes what rang, so that poll() sleeps again. */
void bell_clear(struct bell *b);
/* Waits for the own bell; timeout_usec < 0: for ever. 0: it rang, 1: time over. */
int bell_wait(const struct bell *b, int64_t timeout_usec);
