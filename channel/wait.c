/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Waiting: spin a little, for a wake-up costs 25 us and the answer is often sooner; then say that one sleeps, look
 * again, and sleep on the bell. */

#include <errno.h>
#include <time.h>

#include "channel/channel.h"

#define SPIN_NSEC 20000
#define SPURIOUS_MAX 4096       /* wake-ups in a row for nothing: the other end rings to cost us time */

static int64_t now_nsec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
}

static bool was_rung(struct ulv_channel *c) {
        uint64_t rings = atomic_load_explicit(&c->peer->sent, memory_order_acquire);

        if (rings == c->rings_seen)
                return false;
        c->rings_seen = rings;
        return true;
}

static bool holds(struct ulv_channel *c, unsigned events) {
        int r;

        if ((events & ULV_READABLE) && !c->bad && channel_has_unread(c))
                return true;
        if ((events & ULV_BELL) && c->kind == ULV_KIND_MEMORY && was_rung(c))
                return true;
        r = channel_check(c);
        if (r != 0)
                return r != ULV_AGAIN;  /* News are returned by the call that was waited for. */
        return (events & ULV_WRITABLE) && c->kind != ULV_KIND_MEMORY &&
               channel_find_room(c, c->out.needed ? c->out.needed - 1 : c->message_max) != ULV_AGAIN;
}

/* Odd: sleeps; another number than for any sleep before. */
static void want(_Atomic uint32_t *w, bool asleep) {
        uint32_t n = atomic_load_explicit(w, memory_order_relaxed);

        if (asleep)
                atomic_store_explicit(w, (n + 1) | 1, memory_order_seq_cst);
        else if (n & 1)
                atomic_store_explicit(w, n + 1, memory_order_relaxed);
}

int ulv_channel_fd(const struct ulv_channel *c) { return c->bell.own; }

int ulv_channel_arm(struct ulv_channel *c, unsigned events) {
        int r = 0;

        if (c->kind != ULV_KIND_MEMORY && c->in.told != c->in.head)
                r = channel_tell_head(c);
        else if (c->kind != ULV_KIND_MEMORY)
                channel_publish_counters(c);
        if (r != 0)
                return r;
        if (events & (ULV_READABLE | ULV_BELL))
                want(&c->own->want_data, true);
        if (events & ULV_WRITABLE)
                want(&c->own->want_space, true);
        atomic_thread_fence(memory_order_seq_cst);
        return holds(c, events) ? ULV_AGAIN : 0;
}

int ulv_channel_disarm(struct ulv_channel *c) {
        want(&c->own->want_data, false);
        want(&c->own->want_space, false);
        /* Who waits in vain for somebody who isn't there wasn't woken. */
        return bell_clear(&c->bell) && ++c->spurious > SPURIOUS_MAX ? channel_bad(c) : 0;
}

static bool spin(struct ulv_channel *c, unsigned events, int64_t limit) {
        int64_t end = now_nsec() + (limit >= 0 && limit < SPIN_NSEC ? limit : SPIN_NSEC);

        do
                for (unsigned i = 0; i < 32; i++) {
                        if (holds(c, events))
                                return true;
                        relax();
                }
        while (now_nsec() < end);
        return false;
}

int ulv_channel_wait(struct ulv_channel *c, unsigned events, int64_t timeout_usec) {
        int64_t end, left = timeout_usec;
        int r;

        if (timeout_usec > INT64_MAX / 2000)
                left = timeout_usec = -1;       /* centuries */
        end = now_nsec() + timeout_usec * 1000;
        if (spin(c, events, timeout_usec < 0 ? -1 : timeout_usec * 1000)) {
                c->spurious = 0;
                return 0;
        }
        for (;;) {
                bool over = timeout_usec >= 0 && (left = (end - now_nsec()) / 1000) <= 0;

                r = ulv_channel_arm(c, events);
                if (r == 0 && !over)
                        r = bell_wait(&c->bell, left);
                else if (r == 0)
                        r = -ETIMEDOUT;
                if (ulv_channel_disarm(c) != 0)
                        return 0;       /* The call that was waited for says it. */
                if (r == ULV_AGAIN && !over)
                        r = 0;
                if (r < 0)
                        return r == -ETIMEDOUT ? ULV_AGAIN : r;
                if (holds(c, events)) {
                        c->spurious = 0;
                        return 0;
                }
        }
}
