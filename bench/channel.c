/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PERF.md goals 1 to 3: a channel between two processes, one on each CPU, beside raw rings (the limit), pipes and
 * sockets. The two CPUs of a virtual machine may change place: every table is bracketed by a bare ping-pong, and
 * tagged S (one core), C (one cache) or X (across); compare within a class only. L: others load the machine. */

#include "bench/bench.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "channel/channel.h"

#define LINE 64

static double now_ns(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}

static void pin(int cpu) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET((unsigned) cpu, &set);
        (void) sched_setaffinity(0, sizeof(set), &set);
}

static void must(bool ok, const char *what) {
        if (ok)
                return;
        perror(what);
        exit(1);
}

/* Runs `other` in a child on CPU 1 and `own` here on CPU 0; what own returns. */
static double duel(void (*other)(void *), double (*own)(void *), void *userdata) {
        double result;
        pid_t pid = fork();

        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                pin(1);
                other(userdata);
                _exit(0);
        }
        pin(0);
        result = own(userdata);
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
        return result;
}

static void *shared(size_t size) {
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

        must(p != MAP_FAILED, "mmap");
        return p;
}

/* --- channels --------------------------------------------------------------------------------------------------- */

struct link { int memory, bell[2]; struct ulv_channel *c; };

static void link_make(struct link *l, off_t size) {
        struct ulv_channel_spec spec = { .kind = ULV_KIND_MESSAGE, .zone = "bench" };

        l->memory = memfd_create("bench", MFD_ALLOW_SEALING | MFD_CLOEXEC);
        must(ftruncate(l->memory, size) == 0 && ulv_channel_format(l->memory, &spec) == 0 &&
             fcntl(l->memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0, "a channel");
        l->bell[0] = eventfd(0, EFD_CLOEXEC);
        l->bell[1] = eventfd(0, EFD_CLOEXEC);
}

static void link_open(struct link *l, unsigned end) {
        struct ulv_channel_fds fds = { dup(l->memory), dup(l->bell[end]), dup(l->bell[!end]), end, 1, 0 };

        must(ulv_channel_open(&fds, &l->c) == 0, "open a channel");
        while (channel_review(l->c) != 0)
                ;
}

static void link_done(struct link *l) {
        ulv_channel_close(l->c);
        (void) close(l->memory);
        (void) close(l->bell[0]);
        (void) close(l->bell[1]);
}

/* --- round trips ---------------------------------------------------------------------------------------------------- */

#define TRIPS 200000
#define SLEEPY_TRIPS 3000
#define SMALL 56

struct raw { _Alignas(128) _Atomic uint64_t word[2][16]; };

static void pong_other(void *userdata) {
        struct raw *r = userdata;

        for (uint64_t i = 1; ; i++) {
                while (atomic_load_explicit(&r->word[0][0], memory_order_acquire) != i)
                        ;
                atomic_store_explicit(&r->word[1][0], i, memory_order_release);
        }
}

static double pong_own(void *userdata) {
        struct raw *r = userdata;
        double begin = now_ns();

        for (uint64_t i = 1; i <= TRIPS; i++) {
                atomic_store_explicit(&r->word[0][0], i, memory_order_release);
                while (atomic_load_explicit(&r->word[1][0], memory_order_acquire) != i)
                        ;
        }
        return (now_ns() - begin) / TRIPS;
}

static double ping_pong(ULV_UNUSED void *userdata) {
        struct raw *r = shared(sizeof(*r));
        double ns = duel(pong_other, pong_own, r);

        (void) munmap(r, sizeof(*r));
        return ns;
}

static char class_of(double ns) { return ns < 75 ? 'S' : ns < 250 ? 'C' : ns < 1500 ? 'X' : 'L'; }

static struct link the_link;
static unsigned send_flags;

static void echo(struct link *l, bool sleepy) {
        char b[SMALL];
        size_t len;

        link_open(l, 1);
        for (;;) {
                int r = ulv_channel_receive(l->c, b, sizeof(b), &len);

                if (r == 0)
                        r = ulv_channel_send(l->c, b, len, send_flags);
                else if (r == ULV_AGAIN && sleepy) {
                        struct pollfd p = { .fd = ulv_channel_fd(l->c), .events = POLLIN };

                        if (ulv_channel_arm(l->c, ULV_READABLE) == 0)
                                (void) poll(&p, 1, -1);
                        r = ulv_channel_disarm(l->c);
                }
                if (r != 0 && r != ULV_AGAIN)
                        _exit(1);
        }
}

static void echo_awake(ULV_UNUSED void *userdata) { echo(&the_link, false); }
static void echo_sleepy(ULV_UNUSED void *userdata) { echo(&the_link, true); }

static double trips(struct link *l, unsigned n, bool sleepy) {
        char b[SMALL] = { 0 };
        double begin;
        size_t len;

        link_open(l, 0);
        begin = now_ns();
        for (unsigned i = 0; i < n; i++) {
                int r = ulv_channel_send(l->c, b, sizeof(b), send_flags);

                while (r == 0 && (r = ulv_channel_receive(l->c, b, sizeof(b), &len)) == ULV_AGAIN) {
                        struct pollfd p = { .fd = ulv_channel_fd(l->c), .events = POLLIN };

                        r = 0;
                        if (!sleepy)
                                continue;
                        if (ulv_channel_arm(l->c, ULV_READABLE) == 0)
                                (void) poll(&p, 1, -1);
                        r = ulv_channel_disarm(l->c);
                }
                must(r == 0, "a round trip");
        }
        return (now_ns() - begin) / n;
}

static double trips_awake(ULV_UNUSED void *userdata) { return trips(&the_link, TRIPS, false); }
static double trips_sleepy(ULV_UNUSED void *userdata) { return trips(&the_link, SLEEPY_TRIPS, true); }

static double channel_trip(void *userdata) {
        double ns;

        send_flags = *(const unsigned *) userdata;
        link_make(&the_link, 1 << 20);
        ns = duel(echo_awake, trips_awake, NULL);
        link_done(&the_link);
        return ns;
}

static double channel_sleepy(ULV_UNUSED void *userdata) {
        double ns;

        send_flags = 0;
        link_make(&the_link, 1 << 20);
        ns = duel(echo_sleepy, trips_sleepy, NULL);
        link_done(&the_link);
        return ns;
}

/* Kernel objects: fds[0], [1] are the own side's read and write end, [2], [3] the other's. */
static int fds[4];
static size_t fd_bytes;

static void fd_other(ULV_UNUSED void *userdata) {
        char b[SMALL];

        while (read(fds[2], b, fd_bytes) == (ssize_t) fd_bytes && write(fds[3], b, fd_bytes) == (ssize_t) fd_bytes)
                ;
}

static double fd_own(ULV_UNUSED void *userdata) {
        char b[SMALL] = { 1 };
        double begin = now_ns();

        for (unsigned i = 0; i < SLEEPY_TRIPS; i++)
                must(write(fds[1], b, fd_bytes) == (ssize_t) fd_bytes && read(fds[0], b, fd_bytes) == (ssize_t) fd_bytes, "a round trip");
        return (now_ns() - begin) / SLEEPY_TRIPS;
}

static double fd_trip(void) {
        double ns = duel(fd_other, fd_own, NULL);

        for (unsigned i = 0; i < 4; i++)
                (void) close(fds[i]);
        return ns;
}

static double eventfd_trip(ULV_UNUSED void *userdata) {
        fds[0] = eventfd(0, 0);
        fds[1] = eventfd(0, 0);
        fds[2] = dup(fds[1]);
        fds[3] = dup(fds[0]);
        fd_bytes = 8;
        return fd_trip();
}

static double pipe_trip(ULV_UNUSED void *userdata) {
        int a[2], b[2];

        must(pipe(a) == 0 && pipe(b) == 0, "pipe");
        fds[0] = a[0]; fds[3] = a[1]; fds[2] = b[0]; fds[1] = b[1];
        fd_bytes = SMALL;
        return fd_trip();
}

static double socket_trip(ULV_UNUSED void *userdata) {
        int s[2];

        must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s) == 0, "socketpair");
        fds[0] = s[0]; fds[1] = dup(s[0]); fds[2] = s[1]; fds[3] = dup(s[1]);
        fd_bytes = SMALL;
        return fd_trip();
}

/* --- one way ------------------------------------------------------------------------------------------------------------ */

struct flow { size_t len; unsigned n; bool copy; };
static struct flow flow;
static unsigned char block[1 << 20], sink[1 << 20];
static _Atomic uint64_t *arrived;      /* shared: how many the other end has got */

/* Without a copy, a word in each cache line is written, and read. */
static inline void touch(volatile unsigned char *p, size_t len) {
        for (size_t i = 0; i < len; i += LINE)
                *(volatile uint64_t *) (p + i) = i;
}
static inline void look(const volatile unsigned char *p, size_t len) {
        for (size_t i = 0; i < len; i += LINE)
                (void) *(const volatile uint64_t *) (p + i);
}

static double flow_result(double begin) {
        while (atomic_load(arrived) != flow.n)
                ;
        return flow.n / (now_ns() - begin) * 1000;      /* million a second */
}

/* The limit: slots of one size, an index each way on its own line, the other's index read when it must be; the index
 * told for each message, or for every 16th. */
struct raw_ring { _Alignas(128) _Atomic uint64_t tail; _Alignas(128) _Atomic uint64_t head; _Alignas(4096) unsigned char data[]; };
static struct raw_ring *raw;
static uint64_t raw_slots, raw_batch;

static void raw_other(ULV_UNUSED void *userdata) {
        uint64_t tail = 0;

        for (uint64_t i = 0; i < flow.n; i++) {
                const unsigned char *p = raw->data + i % raw_slots * flow.len;

                while (tail == i)
                        tail = atomic_load_explicit(&raw->tail, memory_order_acquire);
                if (flow.copy)
                        memcpy(sink, p, flow.len);
                else
                        look(p, flow.len);
                if (i % (raw_slots / 4) == 0)
                        atomic_store_explicit(&raw->head, i + 1, memory_order_release);
        }
        atomic_store(arrived, flow.n);
        pause();
}

static double raw_own(ULV_UNUSED void *userdata) {
        double begin = now_ns();
        uint64_t head = 0;

        for (uint64_t i = 0; i < flow.n; i++) {
                unsigned char *p = raw->data + i % raw_slots * flow.len;

                while (i - head >= raw_slots) {
                        atomic_store_explicit(&raw->tail, i, memory_order_release);
                        head = atomic_load_explicit(&raw->head, memory_order_acquire);
                }
                if (flow.copy)
                        memcpy(p, block, flow.len);
                else
                        touch(p, flow.len);
                if (i % raw_batch == 0 || i + 1 == flow.n)
                        atomic_store_explicit(&raw->tail, i + 1, memory_order_release);
        }
        return flow_result(begin);
}

#define RING_BYTES (4u << 20)

static double raw_flow(void *userdata) {
        double result;

        raw_batch = *(const uint64_t *) userdata;
        raw = shared(sizeof(*raw) + RING_BYTES);
        raw_slots = 1;
        while (raw_slots * 2 * flow.len <= RING_BYTES)
                raw_slots *= 2;
        atomic_store(arrived, 0);
        result = duel(raw_other, raw_own, NULL);
        (void) munmap(raw, sizeof(*raw) + RING_BYTES);
        return result;
}

static void channel_other(ULV_UNUSED void *userdata) {
        link_open(&the_link, 1);
        for (unsigned i = 0; i < flow.n; ) {
                const void *at;
                size_t len;
                int r = flow.copy ? ulv_channel_receive(the_link.c, sink, sizeof(sink), &len) : ulv_channel_peek(the_link.c, &at, &len);

                if (r == ULV_AGAIN)
                        continue;
                if (r == 0 && !flow.copy) {
                        look(at, len);
                        r = ulv_channel_release(the_link.c);
                }
                if (r != 0)
                        _exit(1);
                i++;
        }
        atomic_store(arrived, flow.n);
        pause();
}

static double channel_own(ULV_UNUSED void *userdata) {
        double begin;

        link_open(&the_link, 0);
        begin = now_ns();
        for (unsigned i = 0; i < flow.n; ) {
                void *at;
                int r = flow.copy ? ulv_channel_send(the_link.c, block, flow.len, ULV_MORE) : ulv_channel_reserve(the_link.c, flow.len, &at);

                if (r == ULV_AGAIN)
                        continue;
                if (r == 0 && !flow.copy) {
                        touch(at, flow.len);
                        r = ulv_channel_commit(the_link.c, flow.len, ULV_MORE);
                }
                must(r == 0, "send");
                i++;
        }
        return flow_result(begin);
}

static double channel_flow(ULV_UNUSED void *userdata) {
        double result;

        link_make(&the_link, 2 * RING_BYTES + 4096);
        atomic_store(arrived, 0);
        result = duel(channel_other, channel_own, NULL);
        link_done(&the_link);
        return result;
}

static void fd_sink(ULV_UNUSED void *userdata) {
        for (uint64_t got = 0, all = (uint64_t) flow.n * flow.len; got < all; ) {
                ssize_t n = read(fds[2], sink, sizeof(sink));

                if (n <= 0)
                        _exit(1);
                got += (uint64_t) n;
        }
        atomic_store(arrived, flow.n);
        pause();
}

static double fd_source(ULV_UNUSED void *userdata) {
        double begin = now_ns();

        for (unsigned i = 0; i < flow.n; i++)
                for (size_t done = 0; done < flow.len; ) {
                        ssize_t n = write(fds[1], block + done, flow.len - done);

                        must(n > 0, "write");
                        done += (size_t) n;
                }
        return flow_result(begin);
}

static double fd_flow(bool sockets) {
        unsigned all = flow.n;
        double result;
        int s[2];

        must((sockets ? socketpair(AF_UNIX, SOCK_STREAM, 0, s) : pipe(s)) == 0, "a pipe");
        fds[2] = s[0];
        fds[1] = s[1];
        flow.n /= 10;
        atomic_store(arrived, 0);
        result = duel(fd_sink, fd_source, NULL);
        flow.n = all;
        (void) close(s[0]);
        (void) close(s[1]);
        return result;
}
static double pipe_flow(ULV_UNUSED void *userdata) { return fd_flow(false); }
static double socket_flow(ULV_UNUSED void *userdata) { return fd_flow(true); }

/* --- tables ---------------------------------------------------------------------------------------------------------------- */

static void bracketed(const char *title, const char *unit, struct contender *c, size_t n, size_t base) {
        double before = ping_pong(NULL), after;

        bench_run(title, unit, c, n, 7, base);
        after = ping_pong(NULL);
        printf("  bare ping-pong before %.0f ns (%c), after %.0f ns (%c)%s\n\n", before, class_of(before), after, class_of(after),
               class_of(before) == class_of(after) ? "" : ": the CPUs changed place meanwhile, don't compare");
}

static void flows(const char *title, size_t len, bool copy, unsigned n) {
        static uint64_t one = 1, sixteen = 16;
        struct contender c[] = {
                { "raw ring (limit)", raw_flow, &sixteen, NULL, { 0 } }, { "raw ring, each message told", raw_flow, &one, NULL, { 0 } }, { "channel", channel_flow, NULL, NULL, { 0 } },
                { "pipe", pipe_flow, NULL, copy ? NULL : "it copies", { 0 } },
                { "AF_UNIX stream", socket_flow, NULL, copy ? NULL : "it copies", { 0 } },
        };

        flow = (struct flow) { len, n, copy };
        bracketed(title, "million messages/s", c, ULV_ARRAY_SIZE(c), 0);
}

int main(void) {
        static unsigned more = ULV_MORE, none = 0;
        struct contender spinning[] = {
                { "bare ping-pong (limit)", ping_pong, NULL, NULL, { 0 } },
                { "channel, 56 B, polling only", channel_trip, &more, NULL, { 0 } },
                { "channel, 56 B, doorbells on, peer awake", channel_trip, &none, NULL, { 0 } },
        };
        struct contender sleeping[] = {
                { "eventfd (limit)", eventfd_trip, NULL, NULL, { 0 } }, { "channel, 56 B, both sleep", channel_sleepy, NULL, NULL, { 0 } },
                { "AF_UNIX seqpacket, 56 B", socket_trip, NULL, NULL, { 0 } }, { "pipe, 56 B", pipe_trip, NULL, NULL, { 0 } },
        };

        if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
                puts("channels: not measured: two CPUs are needed");
                return 0;
        }
        setvbuf(stdout, NULL, _IOLBF, 0);
        arrived = shared(4096);
        bracketed("round trip between two processes that spin", "ns", spinning, ULV_ARRAY_SIZE(spinning), 0);
        bracketed("round trip between two processes that sleep", "ns", sleeping, ULV_ARRAY_SIZE(sleeping), 0);
        flows("one way, 64 B, without a copy", 64, false, 4000000);
        flows("one way, 64 B, copied", 64, true, 4000000);
        flows("one way, 1 KiB, copied", 1024, true, 1000000);
        flows("one way, 64 KiB, without a copy", 65536, false, 50000);
        return 0;
}
