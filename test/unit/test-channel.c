/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Channels between two ends in one process: order, wholeness, waiting, every way to leave and to come back, and an
 * other end that lies. Two processes and speed: bench/channel.c. All interleavings of the attach: test-channel-state.c. */

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "channel/channel.h"
#include "lib/base.h"

#include <cmocka.h>

#define SIZE (64 * 1024)

struct pair { int memory, bell[2]; struct ulv_channel *end[2]; uint64_t epoch; };

static int dup_of(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 3); }

static int attach_at(struct pair *p, unsigned end, uint64_t epoch) {
        struct ulv_channel_fds fds = { dup_of(p->memory), dup_of(p->bell[end]), dup_of(p->bell[!end]), end, epoch, 0 };

        return ulv_channel_open(&fds, &p->end[end]);
}

static void make(struct pair *p, enum ulv_kind kind, off_t size) {
        struct ulv_channel_spec spec = { .kind = kind, .zone = "default" };

        *p = (struct pair) { .epoch = 1 };
        p->memory = memfd_create("channel", MFD_ALLOW_SEALING | MFD_CLOEXEC);
        assert_int_equal(ftruncate(p->memory, size), 0);
        assert_int_equal(ulv_channel_format(p->memory, &spec), 0);
        assert_int_equal(fcntl(p->memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
        for (unsigned i = 0; i < 2; i++)
                p->bell[i] = eventfd(0, EFD_CLOEXEC);
}

static void open_pair(struct pair *p, enum ulv_kind kind, off_t size) {
        make(p, kind, size);
        assert_int_equal(attach_at(p, 0, 1), 0);
        assert_int_equal(attach_at(p, 1, 1), 0);
        assert_int_equal(channel_review(p->end[0]), 0);
        assert_int_equal(channel_review(p->end[1]), 0);
}

static void done(struct pair *p) {
        for (unsigned i = 0; i < 2; i++) {
                ulv_channel_close(p->end[i]);
                (void) close(p->bell[i]);
        }
        (void) close(p->memory);
}

static void fill(unsigned char *b, size_t len, uint64_t n) {
        for (size_t i = 0; i < len; i++)
                b[i] = (unsigned char) (n * 31 + i * 7);
}

static void messages_arrive_whole_in_order_once(void **state) {
        static unsigned char sent[20000], got[20000];
        struct pair p;
        uint64_t s = 0, r = 0;
        size_t len;
        unsigned seed = 7;
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, SIZE);
        for (unsigned i = 0; i < 20000; i++)
                if (rand_r(&seed) % 2) {
                        size_t n = s * 97 % (p.end[0]->message_max + 1);

                        fill(sent, n, s);
                        int x = ulv_channel_send(p.end[0], sent, n, i % 3 ? 0 : ULV_MORE);
                        assert_true(x == 0 || x == ULV_AGAIN);
                        s += x == 0;
                } else {
                        int x = ulv_channel_receive(p.end[1], got, sizeof(got), &len);

                        assert_true(x == 0 || (x == ULV_AGAIN && r == s));
                        if (x != 0)
                                continue;
                        assert_int_equal(len, r * 97 % (p.end[0]->message_max + 1));
                        fill(sent, len, r);
                        assert_memory_equal(got, sent, len);
                        r++;
                }
        assert_true(r > 5000);
        done(&p);
}

/* The whole life of the sender lies between two looks of the receiver. */
static void what_a_visitor_sent_is_received_before_it_is_said_that_it_left(void **state) {
        struct pair p;
        char b[16];
        size_t len;
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, SIZE);
        p.end[0] = ulv_channel_close(p.end[0]);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_PEER_CLOSED);
        assert_int_equal(attach_at(&p, 0, 2), 0);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_PEER_RESTARTED);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_AGAIN);
        assert_int_equal(p.end[1]->stands, OWN_ATTACHED);
        assert_int_equal(ulv_channel_send(p.end[0], "visit", 6, 0), 0);
        p.end[0] = ulv_channel_close(p.end[0]);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), 0);
        assert_string_equal(b, "visit");
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_PEER_CLOSED);
        /* One that comes and dies before it has emptied its ring: what is there is of another epoch. */
        assert_int_equal(attach_at(&p, 0, 3), 0);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_PEER_RESTARTED);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_AGAIN);
        atomic_store(&p.end[0]->own->life, life_make(3, CHANNEL_GONE));
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_PEER_GONE);
        done(&p);
}

static void a_full_ring_takes_nothing_and_goes_on_when_there_is_room(void **state) {
        unsigned char b[1000] = { 0 };
        struct pair p;
        size_t len, n = 0;
        void *place;
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, SIZE);
        while (ulv_channel_send(p.end[0], b, sizeof(b), 0) == 0)
                n++;
        assert_int_equal(n, (p.end[0]->out.size - RECORD_WORD) / record_size(sizeof(b)));
        assert_int_equal(ulv_channel_send(p.end[0], b, sizeof(b), 0), ULV_AGAIN);
        assert_int_equal(ulv_channel_arm(p.end[0], ULV_WRITABLE), 0);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), 0);
        assert_int_equal(poll(&(struct pollfd) { .fd = ulv_channel_fd(p.end[0]), .events = POLLIN }, 1, 0), 1);
        assert_int_equal(ulv_channel_disarm(p.end[0]), 0);
        assert_int_equal(ulv_channel_send(p.end[0], b, sizeof(b), 0), 0);
        assert_int_equal(ulv_channel_send(p.end[0], b, p.end[0]->message_max + 1, 0), -EMSGSIZE);
        assert_int_equal(ulv_channel_reserve(p.end[0], 8, &place), 0);
        assert_int_equal(ulv_channel_commit(p.end[0], 9, 0), -EINVAL);
        done(&p);
}

static void a_message_longer_than_the_buffer_stays(void **state) {
        char b[8];
        struct pair p;
        size_t len;
        const void *at;
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, SIZE);
        assert_int_equal(ulv_channel_send(p.end[0], "longer than that", 16, 0), 0);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_TOO_LONG);
        assert_int_equal(len, 16);
        assert_int_equal(ulv_channel_peek(p.end[1], &at, &len), 0);
        assert_memory_equal(at, "longer than that", 16);
        assert_int_equal(ulv_channel_release(p.end[1]), 0);
        assert_int_equal(ulv_channel_peek(p.end[1], &at, &len), ULV_AGAIN);
        assert_int_equal(ulv_channel_write(p.end[0], "x", 1, &len), -EOPNOTSUPP);
        done(&p);
}

static void a_stream_is_bytes(void **state) {
        static unsigned char sent[300000], got[300000];
        struct pair p;
        size_t s = 0, r = 0, n;
        unsigned seed = 3;
        (void) state;

        open_pair(&p, ULV_KIND_STREAM, SIZE);
        fill(sent, sizeof(sent), 5);
        while (r < sizeof(sent)) {
                size_t want = (size_t) rand_r(&seed) % 5000 + 1;

                if (s < sizeof(sent) && ulv_channel_write(p.end[1], sent + s, ULV_MIN(want, sizeof(sent) - s), &n) == 0)
                        s += n;
                want = (size_t) rand_r(&seed) % 5000 + 1;
                if (ulv_channel_read(p.end[0], got + r, ULV_MIN(want, sizeof(got) - r), &n) == 0)
                        r += n;
        }
        assert_memory_equal(sent, got, sizeof(sent));
        done(&p);
}

static void an_awake_end_is_not_rung_and_a_sleeping_one_once(void **state) {
        struct pair p;
        uint64_t before;
        char b[8];
        size_t len;
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, SIZE);
        before = p.end[0]->bells;
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(ulv_channel_send(p.end[0], "x", 1, 0), 0);
        assert_int_equal(p.end[0]->bells, before);
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), 0);
        assert_int_equal(ulv_channel_arm(p.end[1], ULV_READABLE), 0);
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(ulv_channel_send(p.end[0], "x", 1, 0), 0);
        assert_int_equal(p.end[0]->bells, before + 1);
        assert_int_equal(ulv_channel_wait(p.end[1], ULV_READABLE, -1), 0);
        assert_int_equal(ulv_channel_arm(p.end[1], ULV_READABLE), ULV_AGAIN);   /* Something is there: don't sleep. */
        done(&p);
}

static void waiting_ends_with_the_time(void **state) {
        struct pair p;
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, SIZE);
        assert_int_equal(ulv_channel_wait(p.end[0], ULV_READABLE, 0), ULV_AGAIN);
        assert_int_equal(ulv_channel_wait(p.end[0], ULV_READABLE, 3000), ULV_AGAIN);
        assert_int_equal(ulv_channel_wait(p.end[0], ULV_WRITABLE, 0), 0);
        done(&p);
}

static void who_waits_in_vain_however_often_has_no_bad_peer(void **state) {
        struct pair p;
        size_t len;
        char b[8];
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, SIZE);
        bell_clear(&p.end[0]->bell);
        for (unsigned i = 0; i < 10000; i++)
                assert_int_equal(ulv_channel_wait(p.end[0], ULV_READABLE, 0), ULV_AGAIN);
        assert_int_equal(ulv_channel_send(p.end[1], "x", 1, 0), 0);
        assert_int_equal(ulv_channel_wait(p.end[0], ULV_READABLE, 0), 0);
        assert_int_equal(ulv_channel_receive(p.end[0], b, sizeof(b), &len), 0);
        done(&p);
}

static void a_region_is_shared_and_rings(void **state) {
        struct pair p;
        size_t a, b;
        char *x, *y;
        (void) state;

        open_pair(&p, ULV_KIND_MEMORY, SIZE);
        x = ulv_channel_region(p.end[0], &a);
        y = ulv_channel_region(p.end[1], &b);
        assert_int_equal(a, SIZE - CHANNEL_PAGE);
        assert_int_equal(b, a);
        memcpy(x + a - 5, "hello", 5);
        assert_int_equal(ulv_channel_ring(p.end[0]), 0);
        assert_int_equal(ulv_channel_wait(p.end[1], ULV_BELL, -1), 0);
        assert_memory_equal(y + b - 5, "hello", 5);
        assert_int_equal(ulv_channel_wait(p.end[1], ULV_BELL, 0), ULV_AGAIN);
        assert_int_equal(ulv_channel_send(p.end[0], "x", 1, 0), -EOPNOTSUPP);
        done(&p);
}

static void who_closes_is_received_to_the_end(void **state) {
        struct pair p;
        char b[8];
        size_t len;
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, SIZE);
        assert_int_equal(ulv_channel_send(p.end[0], "one", 3, 0), 0);
        assert_int_equal(ulv_channel_send(p.end[0], "two", 3, 0), 0);
        p.end[0] = ulv_channel_close(p.end[0]);
        assert_int_equal(ulv_channel_send(p.end[1], "x", 1, 0), ULV_PEER_CLOSED);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), 0);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), 0);
        assert_memory_equal(b, "two", 3);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_PEER_CLOSED);
        assert_int_equal(ulv_channel_wait(p.end[1], ULV_READABLE, -1), 0);
        done(&p);
}

/* The process is killed: nobody closes; its monitor says so. */
static void abandon(struct pair *p, unsigned end) {
        struct ulv_channel *c = ulv_steal(p->end[end]);

        assert_int_equal(ulv_channel_mark_gone(p->memory, end, p->bell[!end]), 0);
        (void) munmap(c->out.base, c->out.size * 2);
        (void) munmap(c->in.base, c->in.size * 2);
        (void) munmap(c->page, CHANNEL_PAGE);
        bell_close(&c->bell);
        free(c);
}

static void a_peer_that_comes_back_is_told_once_and_nothing_of_before_is_read(void **state) {
        struct pair p;
        char b[8];
        size_t len;
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, SIZE);
        assert_int_equal(ulv_channel_send(p.end[1], "to the dead", 11, 0), 0);
        assert_int_equal(ulv_channel_send(p.end[0], "last", 4, 0), 0);
        abandon(&p, 0);
        assert_int_equal(attach_at(&p, 0, 1), -ESTALE);
        assert_int_equal(attach_at(&p, 0, 2), 0);
        assert_int_equal(ulv_channel_send(p.end[0], "early", 5, 0), ULV_AGAIN);
        assert_int_equal(ulv_channel_send(p.end[1], "x", 1, 0), ULV_PEER_RESTARTED);    /* "last" isn't received yet */
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), 0);
        assert_memory_equal(b, "last", 4);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_PEER_RESTARTED);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_AGAIN);
        assert_int_equal(ulv_channel_receive(p.end[0], b, sizeof(b), &len), ULV_AGAIN); /* not what was sent to the dead */
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_AGAIN);
        assert_int_equal(ulv_channel_send(p.end[0], "new", 3, 0), 0);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), 0);
        assert_memory_equal(b, "new", 3);
        assert_int_equal(ulv_channel_send(p.end[1], "answer", 6, 0), 0);
        assert_int_equal(ulv_channel_receive(p.end[0], b, sizeof(b), &len), 0);
        assert_int_equal(len, 6);
        done(&p);
}

static void a_dead_peer_is_told_after_what_it_sent(void **state) {
        struct pair p;
        char b[8];
        size_t len;
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, SIZE);
        assert_int_equal(ulv_channel_send(p.end[0], "last", 4, 0), 0);
        abandon(&p, 0);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), 0);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_PEER_GONE);
        assert_int_equal(ulv_channel_send(p.end[1], b, 1, 0), ULV_PEER_GONE);
        done(&p);
}

static void an_older_life_of_an_end_is_told_that_it_is_over(void **state) {
        struct pair p;
        struct ulv_channel *old;
        char b[8];
        size_t len;
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, SIZE);
        old = p.end[0];
        assert_int_equal(attach_at(&p, 0, 2), 0);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_PEER_RESTARTED);
        assert_int_equal(ulv_channel_receive(old, b, sizeof(b), &len), ULV_REPLACED);
        ulv_channel_close(old);
        assert_int_equal(ulv_channel_receive(p.end[0], b, sizeof(b), &len), ULV_AGAIN);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_AGAIN);
        assert_int_equal(ulv_channel_send(p.end[0], "x", 1, 0), 0);
        done(&p);
}

/* --- a VM's end ---------------------------------------------------------------------------------------------- */

/* End 0 has a PCI device, played by two files: memory that isn't sealed (its size is the device's), and registers. */
static void an_end_that_is_a_device_rings_by_its_register_and_is_held_to_the_same_rules(void **state) {
        struct pair p;
        int registers = memfd_create("registers", MFD_CLOEXEC), bare = memfd_create("bare", MFD_CLOEXEC), link[2];
        struct ulv_channel_fds fds = { .end = 0, .epoch = 1, .device = 1 };
        struct channel_page *page;
        uint32_t *r;
        size_t len;
        char b[8];
        (void) state;

        make(&p, ULV_KIND_MESSAGE, SIZE);
        assert_int_equal(ftruncate(registers, 4096), 0);
        r = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, registers, 0);
        fds.memory = dup_of(p.memory);
        fds.bell = dup_of(p.bell[0]);
        fds.peer_bell = dup_of(registers);
        assert_int_equal(ulv_channel_open(&fds, &p.end[0]), 0);
        assert_int_equal(r[3], 1 << 16);
        assert_int_equal(attach_at(&p, 1, 1), 0);
        assert_int_equal(channel_review(p.end[0]), 0);
        assert_int_equal(channel_review(p.end[1]), 0);
        /* Awake it isn't rung, asleep it is. */
        r[3] = 0;
        assert_int_equal(ulv_channel_send(p.end[0], "one", 4, 0), 0);
        assert_int_equal(r[3], 0);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), 0);
        assert_int_equal(ulv_channel_arm(p.end[1], ULV_READABLE), 0);
        assert_int_equal(ulv_channel_send(p.end[0], "two", 4, 0), 0);
        assert_int_equal(r[3], 1 << 16);
        /* Who keeps the interrupts is gone: no wait for ever. */
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, link), 0);
        p.end[0]->bell.alive = link[0];
        bell_clear(&p.end[0]->bell);
        (void) close(link[1]);
        assert_int_equal(ulv_channel_wait(p.end[0], ULV_READABLE, -1), -ECONNRESET);
        (void) close(link[0]);
        done(&p);

        /* A size that the header doesn't say is no channel's; and what isn't said to be a device is to be sealed. */
        assert_int_equal(ftruncate(bare, SIZE), 0);
        page = mmap(NULL, CHANNEL_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, bare, 0);
        assert_int_equal(ulv_channel_format(bare, &(struct ulv_channel_spec) { .kind = ULV_KIND_MESSAGE, .zone = "default" }), 0);
        fds = (struct ulv_channel_fds) { dup_of(bare), eventfd(0, EFD_CLOEXEC), dup_of(registers), 0, 1, 0 };
        assert_int_equal(ulv_channel_open(&fds, &p.end[0]), -EPERM);
        page->header.size = 2 * SIZE;
        page->header.ring[0].size = page->header.ring[1].size = SIZE;
        fds = (struct ulv_channel_fds) { dup_of(bare), eventfd(0, EFD_CLOEXEC), dup_of(registers), 0, 1, 1 };
        assert_int_equal(ulv_channel_open(&fds, &p.end[0]), -EBADMSG);
        (void) munmap(page, CHANNEL_PAGE);
        (void) munmap(r, 4096);
        (void) close(bare);
        (void) close(registers);
}

/* --- what is no channel, and who lies ------------------------------------------------------------------------ */

static void memory_that_is_no_channel_is_refused(void **state) {
        static const struct { size_t offset; uint64_t value; size_t bytes; } lies[] = {
                { offsetof(struct channel_header, magic), 1, 8 }, { offsetof(struct channel_header, version), 2, 4 },
                { offsetof(struct channel_header, header_size), 8, 4 }, { offsetof(struct channel_header, size), SIZE + 4096, 8 },
                { offsetof(struct channel_header, kind), 0, 4 }, { offsetof(struct channel_header, kind), 4, 4 },
                { offsetof(struct channel_header, kind), ULV_KIND_MEMORY, 4 },
                { offsetof(struct channel_header, ring[0].offset), 0, 8 }, { offsetof(struct channel_header, ring[0].offset), 4097, 8 },
                { offsetof(struct channel_header, ring[1].offset), SIZE, 8 }, { offsetof(struct channel_header, ring[1].offset), UINT64_MAX & ~4095ull, 8 },
                { offsetof(struct channel_header, ring[0].size), SIZE, 8 }, { offsetof(struct channel_header, ring[0].size), 100, 8 },
                { offsetof(struct channel_header, ring[1].size), 0, 8 }, { offsetof(struct channel_header, ring[1].offset), 4096, 8 },
                { offsetof(struct channel_header, region.size), 4096, 8 },
        };
        struct pair p;
        (void) state;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(lies); i++) {
                make(&p, ULV_KIND_MESSAGE, SIZE);
                assert_int_equal(pwrite(p.memory, &lies[i].value, lies[i].bytes, (off_t) lies[i].offset), lies[i].bytes);
                assert_int_equal(attach_at(&p, 0, 1), -EBADMSG);
                done(&p);
        }
        make(&p, ULV_KIND_MESSAGE, SIZE);
        assert_int_equal(pwrite(p.memory, (char[64]) { [0 ... 63] = 'z' }, 64, offsetof(struct channel_header, zone)), 64);
        assert_int_equal(attach_at(&p, 0, 1), -EBADMSG);
        done(&p);
}

static void memory_that_could_still_shrink_is_refused(void **state) {
        struct ulv_channel_spec spec = { .kind = ULV_KIND_MESSAGE, .zone = "z" };
        struct pair p = { .epoch = 1 };
        (void) state;

        p.memory = memfd_create("channel", MFD_ALLOW_SEALING | MFD_CLOEXEC);
        assert_int_equal(ftruncate(p.memory, SIZE), 0);
        assert_int_equal(ulv_channel_format(p.memory, &spec), 0);
        p.bell[0] = eventfd(0, 0);
        p.bell[1] = eventfd(0, 0);
        assert_int_equal(attach_at(&p, 0, 1), -EPERM);
        done(&p);
}

static void a_lying_length_ends_the_channel_only(void **state) {
        static const uint64_t lies[] = { 1, 17, RECORD_VALID - 1, RECORD_VALID | UINT32_MAX, RECORD_VALID | (SIZE / 2), UINT64_MAX };
        char b[64];
        size_t len;
        (void) state;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(lies); i++) {
                struct pair p;

                open_pair(&p, ULV_KIND_MESSAGE, SIZE);
                atomic_store(ring_word(p.end[1]->in.base, p.end[1]->in.at), lies[i]);
                assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_PEER_BAD);
                assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_PEER_BAD);
                assert_int_equal(ulv_channel_send(p.end[1], b, 1, 0), ULV_PEER_BAD);
                done(&p);
        }
}

static void a_lying_head_ends_the_channel_only(void **state) {
        static const uint64_t lies[] = { 1, 1 << 30, UINT64_MAX, UINT64_MAX - 7 };
        static char b[15000];
        (void) state;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(lies); i++) {
                struct pair p;
                int r;

                open_pair(&p, ULV_KIND_MESSAGE, SIZE);
                atomic_store(&p.end[1]->own->head, lies[i]);
                while ((r = ulv_channel_send(p.end[0], b, 7000, 0)) == 0)
                        ;
                assert_int_equal(r, ULV_PEER_BAD);
                done(&p);
        }
}

static void a_saturated_bell_and_cleared_nonblock_hold_up_nobody(void **state) {
        uint64_t most = UINT64_MAX - 1;
        struct pair p;
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, SIZE);
        if (bell_may_block(&p.end[0]->bell))
                skip();
        assert_int_equal(fcntl(p.bell[1], F_SETFL, 0), 0);      /* end 1, which is hostile, owns this bell */
        bell_clear(&p.end[1]->bell);
        assert_int_equal(write(p.bell[1], &most, sizeof(most)), sizeof(most));
        for (uint32_t i = 0; i < 1000; i++) {
                atomic_store(&p.end[1]->own->want_data, 2 * i + 1001);  /* sleeps, ever anew */
                assert_int_equal(ulv_channel_send(p.end[0], "x", 1, 0), 0);
        }
        assert_true(p.end[0]->bells >= 1000);
        /* And one's own bell, drained by the other end with O_NONBLOCK cleared. */
        assert_int_equal(fcntl(p.bell[0], F_SETFL, 0), 0);
        bell_clear(&p.end[0]->bell);
        bell_clear(&p.end[0]->bell);
        done(&p);
}

static void counters_are_written_where_others_read_them(void **state) {
        struct pair p;
        unsigned n = 0;
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, SIZE);
        while (ulv_channel_send(p.end[0], "0123456789", 10, 0) == 0)
                n++;
        assert_int_equal(ulv_channel_arm(p.end[0], ULV_WRITABLE), 0);
        assert_int_equal(atomic_load(&p.end[0]->own->sent), n);
        assert_int_equal(atomic_load(&p.end[0]->own->bytes), 10 * n);
        assert_int_equal(atomic_load(&p.end[0]->own->full), 1);
        done(&p);
}

static void a_forked_child_rings_too(void **state) {
        struct pair p;
        char b[8];
        size_t len;
        pid_t pid;
        int status;
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, SIZE);
        assert_int_equal(ulv_channel_arm(p.end[1], ULV_READABLE), 0);
        bell_clear(&p.end[1]->bell);
        pid = fork();
        if (pid == 0)
                _exit(ulv_channel_send(p.end[0], "x", 1, 0) == 0 ? 0 : 1);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(poll(&(struct pollfd) { .fd = ulv_channel_fd(p.end[1]), .events = POLLIN }, 1, 0), 1);
        assert_int_equal(ulv_channel_disarm(p.end[1]), 0);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), 0);
        done(&p);
}

static void a_flood_of_rings_for_nothing_ends_the_channel(void **state) {
        struct pair p;
        char b[8];
        size_t len;
        int r = 0;
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, SIZE);
        for (unsigned i = 0; i < 10000 && r == 0; i++) {
                assert_int_equal(bell_ring(&p.end[0]->bell), 0);
                (void) ulv_channel_arm(p.end[1], ULV_READABLE);
                r = ulv_channel_disarm(p.end[1]);
        }
        assert_int_equal(r, ULV_PEER_BAD);
        assert_int_equal(ulv_channel_receive(p.end[1], b, sizeof(b), &len), ULV_PEER_BAD);
        done(&p);
}

/* --- an other end that writes anything anywhere, all the time -------------------------------------------------- */

struct mutator { struct pair *p; _Atomic bool stop; };

static void *mutate(void *userdata) {
        struct mutator *m = userdata;
        unsigned char *all = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, m->p->memory, 0);
        unsigned seed = 11;

        while (!atomic_load(&m->stop)) {
                uint64_t word = (uint64_t) rand_r(&seed) << (rand_r(&seed) % 40);
                size_t where = (size_t) rand_r(&seed) % (SIZE / 8) * 8;

                switch (rand_r(&seed) % 8) {
                case 0: where = offsetof(struct channel_page, end) + (size_t) rand_r(&seed) % 128 * 8; break;
                case 1: (void) fallocate(m->p->memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t) (where & ~4095ul), 4096); break;
                case 2: word = RECORD_VALID | (word & 0x3fff); break;
                case 3: where = offsetof(struct channel_page, end[1].life); word = life_make(word & 7, (enum channel_state) (word >> 3 & 7)); break;
                default: break;
                }
                atomic_store((_Atomic uint64_t *) (void *) (all + where), word);
        }
        (void) munmap(all, SIZE);
        return NULL;
}

static void an_end_survives_whatever_the_other_writes(void **state) {
        static unsigned char b[SIZE];
        static const char *const long_run = "ULV_CHANNEL_ROUNDS";
        unsigned rounds = getenv(long_run) ? (unsigned) strtoul(getenv(long_run), NULL, 10) : 300;
        uint64_t calls = 0;
        (void) state;

        for (unsigned i = 0; i < rounds; i++) {
                enum ulv_kind kind = i % 3 == 0 ? ULV_KIND_STREAM : ULV_KIND_MESSAGE;
                struct pair p;
                struct mutator m = { .p = &p };
                pthread_t t;
                int r = 0;

                open_pair(&p, kind, SIZE);
                assert_int_equal(pthread_create(&t, NULL, mutate, &m), 0);
                for (unsigned k = 0; k < 3000 && r != ULV_PEER_BAD && r != ULV_REPLACED; k++, calls++) {
                        size_t n;

                        if (kind == ULV_KIND_STREAM)
                                r = k % 2 ? ulv_channel_write(p.end[0], b, k * 37 % 7000 + 1, &n) : ulv_channel_read(p.end[0], b, sizeof(b), &n);
                        else
                                r = k % 2 ? ulv_channel_send(p.end[0], b, k * 37 % 7000, 0) : ulv_channel_receive(p.end[0], b, sizeof(b), &n);
                        assert_true(r >= 0);
                        if (k % 500 == 0)
                                assert_true(ulv_channel_wait(p.end[0], ULV_READABLE | ULV_WRITABLE, 100) >= 0);
                }
                atomic_store(&m.stop, true);
                assert_int_equal(pthread_join(t, NULL), 0);
                done(&p);
        }
        print_message("# %u channels, %llu calls beside a peer that writes anything\n", rounds, (unsigned long long) calls);
}

/* --- two threads, for the memory order ----------------------------------------------------------------------- */

#define MANY 20000

static void *count_up(void *userdata) {
        struct pair *p = userdata;
        uint64_t b[32] = { 0 };

        for (uint64_t i = 0; i < MANY; ) {
                b[0] = i;
                int r = ulv_channel_send(p->end[0], b, 8 + i % 200, i % 5 ? ULV_MORE : 0);

                if (r == ULV_AGAIN)
                        r = ulv_channel_wait(p->end[0], ULV_WRITABLE, -1);
                else if (r == 0)
                        i++;
                if (r != 0)
                        return (void *) 1;
        }
        return ulv_channel_flush(p->end[0]) == 0 ? NULL : (void *) 1;
}

static void two_threads_that_sleep_and_wake_lose_nothing(void **state) {
        char b[256];
        struct pair p;
        pthread_t t;
        void *failed;
        (void) state;

        open_pair(&p, ULV_KIND_MESSAGE, 12 * 1024);     /* small: both sleep often */
        assert_int_equal(pthread_create(&t, NULL, count_up, &p), 0);
        for (uint64_t i = 0; i < MANY; ) {
                uint64_t n;
                size_t len;
                int r = ulv_channel_receive(p.end[1], b, sizeof(b), &len);

                if (r == ULV_AGAIN)
                        r = ulv_channel_wait(p.end[1], ULV_READABLE, 10000000);
                else if (r == 0) {
                        memcpy(&n, b, sizeof(n));
                        assert_int_equal(n, i);
                        assert_int_equal(len, 8 + i % 200);
                        i++;
                }
                assert_int_equal(r, 0);
        }
        assert_int_equal(pthread_join(t, &failed), 0);
        assert_null(failed);
        done(&p);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(messages_arrive_whole_in_order_once),
                cmocka_unit_test(what_a_visitor_sent_is_received_before_it_is_said_that_it_left),
                cmocka_unit_test(a_full_ring_takes_nothing_and_goes_on_when_there_is_room),
                cmocka_unit_test(a_message_longer_than_the_buffer_stays),
                cmocka_unit_test(a_stream_is_bytes),
                cmocka_unit_test(an_awake_end_is_not_rung_and_a_sleeping_one_once),
                cmocka_unit_test(waiting_ends_with_the_time),
                cmocka_unit_test(who_waits_in_vain_however_often_has_no_bad_peer),
                cmocka_unit_test(a_region_is_shared_and_rings),
                cmocka_unit_test(who_closes_is_received_to_the_end),
                cmocka_unit_test(a_peer_that_comes_back_is_told_once_and_nothing_of_before_is_read),
                cmocka_unit_test(a_dead_peer_is_told_after_what_it_sent),
                cmocka_unit_test(an_older_life_of_an_end_is_told_that_it_is_over),
                cmocka_unit_test(an_end_that_is_a_device_rings_by_its_register_and_is_held_to_the_same_rules),
                cmocka_unit_test(memory_that_is_no_channel_is_refused),
                cmocka_unit_test(memory_that_could_still_shrink_is_refused),
                cmocka_unit_test(a_lying_length_ends_the_channel_only),
                cmocka_unit_test(a_lying_head_ends_the_channel_only),
                cmocka_unit_test(a_saturated_bell_and_cleared_nonblock_hold_up_nobody),
                cmocka_unit_test(a_forked_child_rings_too),
                cmocka_unit_test(counters_are_written_where_others_read_them),
                cmocka_unit_test(a_flood_of_rings_for_nothing_ends_the_channel),
                cmocka_unit_test(an_end_survives_whatever_the_other_writes),
                cmocka_unit_test(two_threads_that_sleep_and_wake_lose_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
