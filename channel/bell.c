/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "channel/bell.h"

#define OPERATIONS 32   /* completions that the kernel keeps for us until we look */
#define REGISTERS_SIZE 4096     /* the page that the device's are in */
#define DOORBELL 3              /* the register, of four bytes each: other end << 16, vector 0 */

static _Atomic(aio_context_t) context;

/* Makes it, if it is still `old` (none, or that of the process that we were forked from). 0: the kernel has none for us. */
static aio_context_t make_context(aio_context_t old) {
        aio_context_t made = 0;

        if (syscall(SYS_io_setup, OPERATIONS, &made) < 0)
                return 0;
        if (!atomic_compare_exchange_strong(&context, &old, made)) {
                (void) syscall(SYS_io_destroy, made);   /* Another thread was quicker. */
                made = old;
        }
        return made;
}

static aio_context_t get_context(void) {
        aio_context_t c = atomic_load(&context);

        return c ? c : make_context(0);
}

bool bell_may_block(const struct bell *b) { return !b->registers && get_context() == 0; }

int bell_open(struct bell *b, int memory, int own, int peer) {
        *b = (struct bell) { .memory = memory, .own = own, .peer = peer, .alive = -1 };
        /* What isn't needed where there is AIO, and is better than nothing where there is none. */
        return fcntl(own, F_SETFL, O_NONBLOCK) < 0 || fcntl(peer, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

int bell_open_device(struct bell *b, int memory, int own, int registers, unsigned end) {
        void *page = mmap(NULL, REGISTERS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, registers, 0);

        *b = (struct bell) { .memory = memory, .own = own, .peer = registers, .alive = -1 };
        if (page == MAP_FAILED)
                return -errno;
        b->registers = page;
        b->knock = (uint32_t) !end << 16;
        return 0;
}

void bell_close(struct bell *b) {
        if (b->registers)
                (void) munmap((void *) (uintptr_t) b->registers, REGISTERS_SIZE);
        (void) close(b->memory);
        (void) close(b->own);
        (void) close(b->peer);
        *b = (struct bell) { .memory = -1, .own = -1, .peer = -1, .alive = -1 };
}

static int ring_by_aio(const struct bell *b, aio_context_t c) {
        unsigned char byte;
        struct iocb op = {
                .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t) b->memory, .aio_buf = (uintptr_t) &byte, .aio_nbytes = 1,
                .aio_flags = IOCB_FLAG_RESFD, .aio_resfd = (uint32_t) b->peer,
        };
        struct iocb *ops[] = { &op };
        bool again = false;

        while (syscall(SYS_io_submit, c, 1, ops) != 1) {
                struct io_event done[OPERATIONS];
                struct timespec now = { 0 };

                if (errno == EINVAL && !again && (c = make_context(c)) != 0)
                        again = true;   /* We are a forked child. */
                else if (errno == EAGAIN && syscall(SYS_io_getevents, c, 0, OPERATIONS, done, &now) <= 0)
                        return -EAGAIN;
                else if (errno != EAGAIN && errno != EINTR)
                        return -errno;
        }
        return 0;
}

int bell_ring(const struct bell *b) {
        struct pollfd p = { .fd = b->peer, .events = POLLOUT };
        uint64_t one = 1;
        aio_context_t c;

        if (b->registers) {
                atomic_thread_fence(memory_order_seq_cst);      /* what it is rung for comes first */
                b->registers[DOORBELL] = b->knock;
                return 0;
        }
        c = get_context();
        if (c)
                return ring_by_aio(b, c);
        if (poll(&p, 1, 0) != 1)
                return 0;       /* Saturated: it rings. */
        if (write(b->peer, &one, sizeof(one)) < 0 && errno != EAGAIN)
                return -errno;
        return 0;
}

bool bell_clear(const struct bell *b) {
        uint64_t n;
        struct iovec v = { &n, sizeof(n) };

        return syscall(SYS_preadv2, b->own, &v, 1, -1L, -1L, RWF_NOWAIT) > 0;
}

int bell_wait(const struct bell *b, int64_t timeout_usec) {
        struct pollfd p[] = { { .fd = b->own, .events = POLLIN }, { .fd = b->alive } };
        struct timespec t = { .tv_sec = timeout_usec / 1000000, .tv_nsec = timeout_usec % 1000000 * 1000 };
        int n = ppoll(p, 2, timeout_usec < 0 ? NULL : &t, NULL);

        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        if (p[0].revents & POLLNVAL)
                return -EBADF;
        if (p[0].revents == 0 && p[1].revents != 0)
                return -ECONNRESET;
        return n == 0;
}
