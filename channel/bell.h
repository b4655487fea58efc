/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Doorbells: an eventfd each way, that a hostile peer holds too. It may saturate the counter and clear O_NONBLOCK,
 * which belongs to the open file and so to both: a write() that found room by poll() could then block for ever. So we
 * don't write: the kernel's AIO signals an eventfd when an operation completes (IOCB_FLAG_RESFD), and that never waits;
 * the operation is a read of one byte of the channel's own memory. Reading our own bell is preadv2(RWF_NOWAIT).
 *
 * In a VM the channel is a PCI device, ivshmem: its own bell is an eventfd that vfio rings at the device's interrupt, and
 * the other end's a register, to which a store never waits.
 *
 * A process has one AIO context for all of its bells: the kernel counts them (fs.aio-max-nr), and takes some 20 ms to
 * destroy one. It ends with the process; a forked child makes its own when it first rings. */

#include <stdbool.h>
#include <stdint.h>

struct bell {
        int memory, own, peer;          /* fds, owned; of a device peer is its registers' */
        volatile uint32_t *registers;   /* NULL: no device */
        uint32_t knock;                 /* what rings the other end there */
        int alive;                      /* of a device: whose hang-up ends the interrupts, -1: nobody's; not owned */
};

int bell_open(struct bell *b, int memory, int own, int peer);
int bell_open_device(struct bell *b, int memory, int own, int registers, unsigned end);
void bell_close(struct bell *b);
/* Without AIO a hostile peer could hold up who rings. */
bool bell_may_block(const struct bell *b);
/* Never blocks, but see above. */
int bell_ring(const struct bell *b);
/* Takes what rang, so that poll() sleeps again. false: nothing had. */
bool bell_clear(const struct bell *b);
/* Waits for the own bell; timeout_usec < 0: for ever. 0: it rang, 1: time over, -ECONNRESET: it won't any more. */
int bell_wait(const struct bell *b, int64_t timeout_usec);
