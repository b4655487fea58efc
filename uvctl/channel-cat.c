/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* channel cat, perf: the host's end of a channel whose definition says Peer=host.
 *
 * The planner passes a socket, at whose other end is the partition's uv-port: over it comes the end (an answer to OPEN, uv-call(7)), and by
 * its being open uv-port sees that we live. From then on no daemon stands between this process and the partition. If
 * uv-port goes, or its monitor, the end is asked for again, with a new epoch, for who doesn't know us couldn't tell the
 * partition of our death, nor us of its end. */

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "channel/caller.h"
#include "channel/ultravisor.h"
#include "uvctl/channel.h"

#define LINE_MAX_BYTES ((size_t) 16 * 1024 * 1024)
#define AGAIN_MS 100
#define AGAIN_MAX 300           /* while a monitor is started anew */
#define NOT_ACTIVE_MAX 15       /* a new one may not have the channel yet; or the partition has ended */
#define PERF_COUNT 10000
#define ANSWER_USEC 2000000

struct end {
        struct uvctl *u;
        const char *partition;
        char label[64];
        struct ulv_channel *c;
        struct ulv_channel_info info;
        int link;
};

/* uv-port's word: the end, or what it says later: that another one has it now (-EBUSY); -errno. */
static int answer(int link, struct ulv_channel_fds *ret) {
        int fds[ULV_CALL_OPEN_FDS] = { -1, -1, -1 }, r;
        struct ulv_call a;

        r = ulv_call_receive(link, &a, fds);
        if (r < 0)
                return r;
        if (a.code != ULV_CALL_OK || fds[0] < 0)
                return a.code == ULV_CALL_BUSY ? -EBUSY : a.code == ULV_CALL_BROKEN ? -EBADMSG : -ENOENT;
        *ret = (struct ulv_channel_fds) { .memory = fds[0], .bell = fds[1], .peer_bell = fds[2], .end = (unsigned) a.value[0], .epoch = a.value[1] };
        return 0;
}

static int open_end(struct end *e) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        struct ulv_channel_fds fds;
        struct ulv_channel *c;
        int link, r;

        r = client_call(e->u, &reply, "ChannelOpen", "ss", e->partition, e->label);
        if (r == 0)
                r = client_read(e->u, reply, "h", &link);
        if (r != 0)
                return r;
        r = answer(link, &fds);
        if (r == 0)
                r = ulv_channel_open(&fds, &c);
        if (r < 0)
                return fail_errno(e->u, r, "open the channel");
        link = fcntl(link, F_DUPFD_CLOEXEC, 3);
        if (link < 0) {
                ulv_channel_close(c);
                return fail_errno(e->u, -errno, "open the channel");
        }
        /* The old one's epoch is over: what is closed here is ours alone. */
        ulv_channel_close(e->c);
        (void) ulv_close(e->link);
        e->c = c;
        e->link = link;
        ulv_channel_get_info(c, &e->info);
        return 0;
}

/* uv-port is gone: killed, or with its partition. */
static int open_again(struct end *e) {
        unsigned left = NOT_ACTIVE_MAX;
        int r;

        client_disconnect(e->u);
        for (unsigned i = 0; ; i++) {
                r = open_end(e);
                if ((r != ULV_EXIT_UNREACHABLE && r != ULV_EXIT_NOT_ACTIVE && r != ULV_EXIT_TIMEOUT) || i == AGAIN_MAX ||
                    (r == ULV_EXIT_NOT_ACTIVE && left-- == 0))
                        return r;
                client_disconnect(e->u);
                e->u->diag = (struct ulv_diag) { 0 };
                (void) poll(NULL, 0, AGAIN_MS);
        }
}

static int begin(struct uvctl *u, const char *name, struct end *e) {
        struct rows r;
        struct pair p;
        int q = rows_get(u, ROWS_ALL, &r);

        if (q != 0)
                return q;
        *e = (struct end) { .u = u, .link = -1 };
        q = pair_find(u, &r, name, &p);
        if (q == 0 && !ulv_streq(pair_owner(&p, 1), "host")) {
                ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "the host has no end of channel %.64s", name);
                ulv_diag_why(&u->diag, "it is between %s and %s", pair_owner(&p, 0), pair_owner(&p, 1));
                ulv_diag_try(&u->diag, "Peer=host, in a [Channel] of its own in %s.partition", pair_owner(&p, 0));
                q = ULV_EXIT_USAGE;
        }
        if (q == 0) {
                (void) pair_label(&p, e->label);
                e->partition = strdup(pair_owner(&p, 0));
                q = e->partition ? open_end(e) : fail_errno(u, -ENOMEM, "open the channel");
        }
        rows_done(&r);
        return q;
}

static void done(struct end *e) {
        ulv_channel_close(e->c);
        (void) ulv_close(e->link);
        free((char *) (uintptr_t) e->partition);
}

static int read_count(struct uvctl *u, const char *word, uint64_t *ret) {
        if (ulv_uint_parse(word, UINT32_MAX, ret) >= 0)
                return 0;
        return fail(u, ULV_EXIT_USAGE, "not a number of messages", word, "uvctl channel cat CHANNEL 10");
}

static int over(const struct end *e, int r) {
        return fail(e->u, ULV_EXIT_FAILED, "the channel can't be used any more",
                    r == ULV_PEER_BAD ? "the partition's end broke the protocol" : r == ULV_REPLACED ? "another program has taken the host's end over" :
                    r < 0 ? strerror(-r) : "it can't be used so", "the same again");
}

/* --- cat -------------------------------------------------------------------------------------------------------- */

struct cat {
        struct end e;
        char *buf;                      /* read from standard input, and not sent yet */
        size_t len, size;
        bool ended;                     /* standard input is */
        bool counts; uint64_t left;     /* messages to be printed; 0 left: none, and it ends when all is sent */
        int said;                       /* the last news of the other end that were told */
};

static void news(struct cat *c, int r) {
        if (r != c->said && !c->e.u->quiet)
                fprintf(stderr, "%s\n", r == ULV_PEER_GONE ? "the partition's program died" : r == ULV_PEER_CLOSED ? "the partition's program closed it" :
                        "the partition's program came back");
        c->said = r == ULV_PEER_RESTARTED ? 0 : r;
}

/* Prints what is there. 0, or how it ended; -1: as many as were wanted. */
static int print(struct cat *c) {
        bool stream = c->e.info.kind == ULV_KIND_STREAM;

        for (;;) {
                const void *data;
                size_t len;
                int r;

                if (c->counts && c->left == 0)
                        return 0;
                r = ulv_channel_peek(c->e.c, &data, &len);
                if (r == ULV_AGAIN)
                        break;
                if (r == ULV_PEER_GONE || r == ULV_PEER_CLOSED || r == ULV_PEER_RESTARTED) {
                        news(c, r);
                        if (r != ULV_PEER_RESTARTED)
                                break;
                        continue;
                }
                if (r != 0)
                        return over(&c->e, r);
                c->said = 0;
                if (fwrite(data, 1, len, stdout) != len || (!stream && putchar('\n') == EOF))
                        return fail_errno(c->e.u, -errno, "write to standard output");
                if ((r = ulv_channel_release(c->e.c)) < 0)
                        return over(&c->e, r);
                if (c->counts && --c->left == 0)
                        return fflush(stdout) != 0 ? fail_errno(c->e.u, -errno, "write to standard output") : -1;
        }
        return fflush(stdout) != 0 ? fail_errno(c->e.u, -errno, "write to standard output") : 0;
}

/* The next message in the buffer, as a line without its newline; of a stream, all of it. false: not all of it is here yet. */
static bool next_message(const struct cat *c, size_t *ret_len, size_t *ret_taken) {
        const char *end = c->e.info.kind == ULV_KIND_STREAM ? NULL : memchr(c->buf, '\n', c->len);

        *ret_len = end ? (size_t) (end - c->buf) : c->len;
        *ret_taken = end ? *ret_len + 1 : c->len;
        return end || (c->len > 0 && (c->ended || c->e.info.kind == ULV_KIND_STREAM));
}

/* 0: all that could be sent is; 1: there is no room for more, or nobody to take it; else how it ended. */
static int send_some(struct cat *c, bool *ret_full) {
        size_t len, taken;
        int r;

        *ret_full = false;
        while (next_message(c, &len, &taken)) {
                r = c->e.info.kind == ULV_KIND_STREAM ? ulv_channel_write(c->e.c, c->buf, len, &taken) : ulv_channel_send(c->e.c, c->buf, len, 0);
                if (r == -EMSGSIZE) {
                        ulv_diag_what(&c->e.u->diag, ULV_EXIT_FAILED, "a line of %zu bytes can't be sent", len);
                        ulv_diag_why(&c->e.u->diag, "a message of this channel has %zu bytes at most", c->e.info.message_max);
                        ulv_diag_try(&c->e.u->diag, "a larger Size= of the [Channel], or Kind=stream");
                        return ULV_EXIT_FAILED;
                }
                if (r == ULV_PEER_RESTARTED)
                        news(c, r);
                else if (r == ULV_AGAIN || r == ULV_PEER_GONE || r == ULV_PEER_CLOSED) {
                        *ret_full = true;
                        return 0;
                } else if (r != 0)
                        return over(&c->e, r);
                else {
                        memmove(c->buf, c->buf + taken, c->len - taken);
                        c->len -= taken;
                }
        }
        return 0;
}

static int read_input(struct cat *c) {
        ssize_t n;

        if (c->len == c->size)
                return fail(c->e.u, ULV_EXIT_FAILED, "a line can't be sent", "it is longer than a message of this channel may be", "Kind=stream takes all bytes");
        n = read(STDIN_FILENO, c->buf + c->len, c->size - c->len);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
                return fail_errno(c->e.u, -errno, "read standard input");
        if (n == 0)
                c->ended = true;
        c->len += n > 0 ? (size_t) n : 0;
        return 0;
}

/* One round. -1: over, in order. */
static int step(struct cat *c) {
        enum { BELL, LINK, IN, MAX };
        struct pollfd p[MAX];
        bool full;
        int r, armed;

        if ((r = print(c)) != 0 || (r = send_some(c, &full)) != 0)
                return r;
        if (c->counts && c->left == 0 && c->ended && c->len == 0)
                return -1;
        /* While the other end is away, its coming rings, asked or not. */
        armed = c->said != 0 ? 0 : ulv_channel_arm(c->e.c, (c->counts && c->left == 0 ? 0 : ULV_READABLE) | (full ? ULV_WRITABLE : 0));
        p[BELL] = (struct pollfd) { .fd = ulv_channel_fd(c->e.c), .events = POLLIN };
        p[LINK] = (struct pollfd) { .fd = c->e.link, .events = POLLIN };
        p[IN] = (struct pollfd) { .fd = c->ended || full || c->len == c->size ? -1 : STDIN_FILENO, .events = POLLIN };
        if (poll(p, MAX, armed == 0 ? -1 : 0) < 0 && errno != EINTR)
                return fail_errno(c->e.u, -errno, "wait");
        if (armed < 0 || (r = ulv_channel_disarm(c->e.c)) != 0)
                return over(&c->e, armed < 0 ? armed : r);
        if (p[LINK].revents) {
                struct ulv_channel_fds none;

                r = answer(c->e.link, &none) == -EBUSY ? over(&c->e, ULV_REPLACED) : print(c);
                return r != 0 ? r : open_again(&c->e);
        }
        return p[IN].revents ? read_input(c) : 0;
}

static int allocate(struct cat *c) {
        if (c->e.info.kind == ULV_KIND_MEMORY)
                return fail(c->e.u, ULV_EXIT_USAGE, "a channel of Kind=memory can't be printed", "it is a plain region", "uvctl channel stat");
        c->size = ULV_MIN(c->e.info.message_max + 1, LINE_MAX_BYTES);
        c->buf = malloc(c->size);
        return c->buf ? 0 : fail_errno(c->e.u, -ENOMEM, "send and receive");
}

int channel_cat(struct uvctl *u, int argc, char **argv) {
        struct cat c = { .e.link = -1 };
        int r;

        if (argc < 1 || argc > 2)
                return fail(u, ULV_EXIT_USAGE, "which channel?", "uvctl channel cat wants one name, and perhaps a number of messages", "uvctl channel list");
        if (argc == 2 && (r = read_count(u, argv[1], &c.left)) != 0)
                return r;
        c.counts = argc == 2;
        r = begin(u, argv[0], &c.e);
        if (r == 0)
                r = allocate(&c);
        while (r == 0)
                r = step(&c);
        done(&c.e);
        free(c.buf);
        return r < 0 ? 0 : r;
}

/* --- perf ------------------------------------------------------------------------------------------------------- */

static int send_one(struct end *e, const char *data, size_t len) {
        int r;

        while ((r = ulv_channel_send(e->c, data, len, 0)) == ULV_AGAIN || r == ULV_PEER_RESTARTED)
                if (r == ULV_AGAIN && (r = ulv_channel_wait(e->c, ULV_WRITABLE, ANSWER_USEC)) != 0)
                        break;
        return r;
}

static int round_trip(struct end *e) {
        char answer[16];
        size_t len;
        int r = send_one(e, "0123456789abcdef", 16);

        while (r == 0 && (r = ulv_channel_receive(e->c, answer, sizeof(answer), &len)) != 0)
                if (r == ULV_AGAIN)
                        r = ulv_channel_wait(e->c, ULV_READABLE, ANSWER_USEC);
                else if (r == ULV_PEER_RESTARTED)
                        r = 0;
                else
                        break;
        return r;
}

static int perf_result(struct uvctl *u, uint64_t count, double usec) {
        struct json j = { 0 };
        int r;

        if (u->output != OUTPUT_JSON) {
                printf("%llu round trips of 16 bytes: %.2f us each\n", (unsigned long long) count, usec / (double) count);
                return 0;
        }
        json_object(&j, NULL);
        json_u64(&j, "RoundTrips", count);
        json_u64(&j, "Bytes", 16);
        json_u64(&j, "NanosecondsEach", (uint64_t) (usec * 1000 / (double) count));
        json_end(&j);
        r = put(u, &j.b);
        ulv_strbuf_done(&j.b);
        return r;
}

int channel_perf(struct uvctl *u, int argc, char **argv) {
        uint64_t count = PERF_COUNT, warm = 100;
        struct timespec a = { 0 }, b;
        struct end e = { .link = -1 };
        int r;

        if (argc < 1 || argc > 2)
                return fail(u, ULV_EXIT_USAGE, "which channel?", "uvctl channel perf wants one name, and perhaps a number of round trips", "uvctl channel list");
        if (argc == 2 && ((r = read_count(u, argv[1], &count)) != 0 || count == 0))
                return r != 0 ? r : fail(u, ULV_EXIT_USAGE, "nothing to measure", "0 round trips take no time", "uvctl channel perf CHANNEL 1000");
        r = begin(u, argv[0], &e);
        if (r == 0 && e.info.kind != ULV_KIND_MESSAGE)
                r = fail(u, ULV_EXIT_USAGE, "round trips are measured with messages", "this channel is of another Kind=", "a [Channel] with Kind=message");
        for (uint64_t i = 0; r == 0 && i < warm + count; i++) {
                if (i == warm)
                        (void) clock_gettime(CLOCK_MONOTONIC, &a);
                r = round_trip(&e);
                if (r != 0)
                        r = r == ULV_AGAIN ? fail(u, ULV_EXIT_TIMEOUT, "nothing came back", "no program of the partition answers on this channel",
                                                  "inside: uvguest echo CHANNEL") : over(&e, r);
        }
        (void) clock_gettime(CLOCK_MONOTONIC, &b);
        done(&e);
        return r != 0 ? r : perf_result(u, count, (double) (b.tv_sec - a.tv_sec) * 1e6 + (double) (b.tv_nsec - a.tv_nsec) / 1e3);
}
