/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uvguest: what a partition can do by the call interface (calls.c, listen.c), and its channels, on the command line, from
 * inside it. Static, so that it runs in any container. */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "channel/ultravisor.h"
#include "guest/guest.h"

#define BUFFER (1024 * 1024)
#define JOIN_TRIES 200                  /* a twentieth of a second apart: the channel may come a moment after the program */
#define PERF_COUNT 10000

static char buffer[BUFFER];

static const char *result_text(int r) {
        switch (r) {
        case ULV_AGAIN: return "nothing came in time";
        case ULV_PEER_RESTARTED: return "the other end came back";
        case ULV_PEER_CLOSED: return "the other end closed it";
        case ULV_PEER_GONE: return "the other end died";
        case ULV_PEER_BAD: return "the other end broke the protocol";
        case ULV_REPLACED: return "another program here has taken this end over";
        default: return r < 0 ? strerror(-r) : "it can't be used so";
        }
}

static struct ulv_channel *join(const char *name) {
        const struct timespec pause = { .tv_nsec = 50 * 1000000 };
        struct ulv_channel *c = NULL;
        int r = -ENOENT;

        for (unsigned i = 0; (r == -ENOENT || r == -ECONNREFUSED || r == -ECONNRESET || r == -EAGAIN) && i < JOIN_TRIES; i++) {
                r = ulv_channel_join(name, &c);
                if (r < 0 && i + 1 < JOIN_TRIES)
                        (void) nanosleep(&pause, NULL);
        }
        if (r != 0)
                (void) guest_fail("cannot use that channel", r == -ENOENT ? "this partition has no channel of that name" : result_text(r),
                            "on the host: uvctl channel list; in a VM there is to be a uvguest serve");
        return c;
}

static bool is_stream(struct ulv_channel *c) {
        struct ulv_channel_info i;

        ulv_channel_get_info(c, &i);
        return i.kind == ULV_KIND_STREAM;
}

/* Waits for the other end too: what it hasn't seen before it came is lost. */
static int send_all(struct ulv_channel *c, const char *data, size_t len) {
        while (len > 0) {
                size_t n = len;
                int r = is_stream(c) ? ulv_channel_write(c, data, len, &n) : ulv_channel_send(c, data, len, 0);

                if (r == 0) {
                        data += n;
                        len -= n;
                } else if (r == ULV_AGAIN || r == ULV_PEER_RESTARTED || r == ULV_PEER_CLOSED || r == ULV_PEER_GONE)
                        (void) ulv_channel_wait(c, ULV_WRITABLE, 100 * 1000);
                else
                        return r;
        }
        return 0;
}

static int receive(struct ulv_channel *c, size_t *ret, int64_t timeout_usec) {
        int r = is_stream(c) ? ulv_channel_read(c, buffer, sizeof(buffer), ret) : ulv_channel_receive(c, buffer, sizeof(buffer), ret);

        if (r != ULV_AGAIN)
                return r;
        r = ulv_channel_wait(c, ULV_READABLE, timeout_usec);
        if (r != 0)
                return r;
        return is_stream(c) ? ulv_channel_read(c, buffer, sizeof(buffer), ret) : ulv_channel_receive(c, buffer, sizeof(buffer), ret);
}

/* Each line of standard input a message, without its newline; of a stream all bytes. */
static int verb_send(struct ulv_channel *c, int argc, char **argv) {
        bool stream = is_stream(c);
        int r = 0;

        if (argc > 0)
                return send_all(c, argv[0], strlen(argv[0]));
        while (r == 0 && fgets(buffer, sizeof(buffer), stdin))
                r = send_all(c, buffer, stream ? strlen(buffer) : strcspn(buffer, "\n"));
        return r;
}

static int verb_cat(struct ulv_channel *c, int argc, char **argv) {
        unsigned long most = argc > 0 ? strtoul(argv[0], NULL, 10) : 0, n = 0;
        bool stream = is_stream(c);

        while (most == 0 || n < most) {
                size_t len;
                int r = receive(c, &len, -1);

                if (r == ULV_AGAIN)
                        continue;
                if (r != 0) {
                        fprintf(stderr, "%s\n", result_text(r));
                        if (r < 0 || r == ULV_PEER_BAD || r == ULV_REPLACED)
                                return r;
                        /* It may come back. */
                        if (r != ULV_PEER_RESTARTED)
                                (void) usleep(50 * 1000);
                        continue;
                }
                n++;
                if (fwrite(buffer, 1, len, stdout) != len || (!stream && putchar('\n') == EOF) || fflush(stdout) != 0)
                        return -EPIPE;
        }
        return 0;
}

static int verb_echo(struct ulv_channel *c, int argc, char **argv) {
        (void) argc;
        (void) argv;
        for (;;) {
                size_t len;
                int r = receive(c, &len, -1);

                if (r == 0)
                        r = send_all(c, buffer, len);
                if (r < 0 || r == ULV_PEER_BAD || r == ULV_REPLACED)
                        return r;
                if (r == ULV_PEER_CLOSED || r == ULV_PEER_GONE)
                        (void) usleep(1000);
        }
}

static int verb_perf(struct ulv_channel *c, int argc, char **argv) {
        unsigned long count = argc > 0 ? strtoul(argv[0], NULL, 10) : PERF_COUNT, warm = 100;
        struct timespec a = { 0 }, b;
        double usec;

        for (unsigned long i = 0; i < warm + count; i++) {
                size_t len;
                int r;

                if (i == warm)
                        (void) clock_gettime(CLOCK_MONOTONIC, &a);
                r = send_all(c, "0123456789abcdef", 16);
                while (r == 0 && (r = receive(c, &len, 5 * 1000000)) == ULV_PEER_RESTARTED)
                        r = 0;
                if (r != 0)
                        return r;
        }
        (void) clock_gettime(CLOCK_MONOTONIC, &b);
        usec = (double) (b.tv_sec - a.tv_sec) * 1e6 + (double) (b.tv_nsec - a.tv_nsec) / 1e3;
        printf("%lu round trips of 16 bytes: %.2f us each\n", count, usec / (double) (count ? count : 1));
        return 0;
}

static const struct { const char *name, *arguments, *what; int (*f)(struct ulv_channel *c, int argc, char **argv); } verbs[] = {
        { "send", "[TEXT]", "sends TEXT, or each line of standard input", verb_send },
        { "cat",  "[COUNT]", "prints what comes, as long as it comes, or COUNT messages", verb_cat },
        { "echo", "", "sends back all that comes", verb_echo },
        { "perf", "[COUNT]", "measures round trips to an echo at the other end", verb_perf },
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void help(FILE *f) {
        fprintf(f, "uvguest: what this partition has, says, and is asked. uvguest VERB [ARGUMENT]\n");
        for (unsigned i = 0; i < guest_n_verbs; i++)
                fprintf(f, "  %-8s %-16s %s\n", guest_verbs[i].name, guest_verbs[i].arguments, guest_verbs[i].what);
        for (size_t i = 0; i < VERBS; i++)
                fprintf(f, "  %-8s CHANNEL %-8s %s\n", verbs[i].name, verbs[i].arguments, verbs[i].what);
        fprintf(f, "CHANNEL is the label of its [Channel \"LABEL\"]. See uvguest(1), uv-call(7).\n");
}

int main(int argc, char **argv) {
        if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
                help(stdout);
                return 0;
        }
        for (unsigned i = 0; argc >= 2 && i < guest_n_verbs; i++)
                if (strcmp(guest_verbs[i].name, argv[1]) == 0 && argc - 2 >= guest_verbs[i].min && argc - 2 <= guest_verbs[i].max)
                        return guest_verbs[i].f(argc - 2, argv + 2);
        for (size_t i = 0; argc >= 3 && argc <= 4 && i < VERBS; i++) {
                struct ulv_channel *c;
                int r;

                if (strcmp(verbs[i].name, argv[1]) != 0)
                        continue;
                c = join(argv[2]);
                if (!c)
                        return 1;
                r = verbs[i].f(c, argc - 3, argv + 3);
                ulv_channel_close(c);
                return r == 0 ? 0 : guest_fail("the channel can't be used any more", result_text(r), "the same again");
        }
        help(stderr);
        return 2;
}
