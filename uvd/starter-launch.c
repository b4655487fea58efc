/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-launch as the starter (starter.h), spoken to over its SEQPACKET socket (lib/protocol.h, ULV_LAUNCH). A connection
 * begins with the list of what runs, read to its "end" before anything is decided. If the connection is lost, nothing
 * is known about monitors until a new one has listed them; attempts repeat every second.
 *
 * Words are never awaited: what the socket doesn't take at once waits in a list, bounded by the number of
 * partitions, as each has at most one "start" under way. */

#include "uvd/starter.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/un.h>

#include "lib/fd.h"
#include "lib/log.h"
#include "lib/protocol.h"
#include "model/quantity.h"

#define WORD_MAX 256
#define NUMBER_MAX 65535        /* of an errno or a status */
#define LIST_TIMEOUT_MS 5000
#define RETRY_USEC UINT64_C(1000000)

struct word { struct word *next; char text[WORD_MAX]; };

struct starter {
        int fd;                         /* -1: not connected */
        bool listed;                    /* "end" was read */
        sd_event_source *io, *retry;
        struct word *first, **last;
};

static int starter_get(struct uvd *u, struct starter **ret) {
        if (!u->starter) {
                u->starter = calloc(1, sizeof(*u->starter));
                if (!u->starter)
                        return -ENOMEM;
                u->starter->fd = -1;
                u->starter->last = &u->starter->first;
        }
        *ret = u->starter;
        return 0;
}

static void forget_words(struct starter *s) {
        struct word *next;

        for (struct word *w = s->first; w; w = next) {
                next = w->next;
                free(w);
        }
        s->first = NULL;
        s->last = &s->first;
}

/* Three words at most: VERB NAME TOKEN-or-NUMBER. Returns how many there are. */
static int split(char *text, const char *words[static 3]) {
        int n = 0;

        for (char *at = text; at && n < 3; n++) {
                words[n] = at;
                at = strchr(at, ' ');
                if (at)
                        *at++ = 0;
        }
        return n;
}

/* An errno, a status, or -1: a monitor that ended, and nobody could tell how. */
static bool read_number(const char *s, int *ret) {
        uint64_t n;

        if (ulv_streq(s, "-1"))
                *ret = -1;
        else if (ulv_uint_parse(s, NUMBER_MAX, &n) == 0)
                *ret = (int) n;
        else
                return false;
        return true;
}

static bool is_token(const char *s) { return strlen(s) == UVD_TOKEN_SIZE - 1 && strspn(s, "0123456789abcdef") == UVD_TOKEN_SIZE - 1; }

static void handle(struct uvd *u, char *text) {
        const char *w[3] = { "", "", "" };
        int n = split(text, w);
        bool named = n == 3 && ulv_name_is_valid(w[1]);
        int number = 0;

        if (n == 1 && ulv_streq(w[0], "end")) {
                u->starter->listed = true;
                guests_review_all(u);
        } else if (named && is_token(w[2]) && (ulv_streq(w[0], "running") || ulv_streq(w[0], "started") || ulv_streq(w[0], "restarted")))
                guest_started(u, w[1], w[2]);
        else if (named && ulv_streq(w[0], "failed") && read_number(w[2], &number))
                guest_failed(u, w[1], number);
        else if (named && ulv_streq(w[0], "exited") && read_number(w[2], &number))
                guest_exited(u, w[1], number);
        else
                ulv_log(ULV_LOG_WARNING, "the starter said something unknown: %s", w[0]);
}

/* One message. 1: handled; 0: none there now; < 0: the connection is over. */
static int receive(struct uvd *u) {
        char text[WORD_MAX + 1];
        ssize_t n = recv(u->starter->fd, text, WORD_MAX, MSG_DONTWAIT);

        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (n == 0)
                return -ECONNRESET;
        text[n] = 0;
        handle(u, text);
        return 1;
}

static int connect_socket(struct uvd *u, int *ret) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        int n;

        if (fd < 0)
                return -errno;
        /* By the directory's fd: ROOT may be longer than a socket address. */
        n = snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/" ULV_SOCKET_LAUNCH, u->run_fd);
        if (n < 0 || (size_t) n >= sizeof(sa.sun_path))
                return -ENAMETOOLONG;
        if (connect(fd, (const struct sockaddr *) &sa, sizeof(sa)) < 0)
                return -errno;
        *ret = ulv_steal_fd(&fd);
        return 0;
}

static void disconnect(struct uvd *u) {
        struct starter *s = u->starter;

        s->io = sd_event_source_disable_unref(s->io);
        s->fd = ulv_close(s->fd);
        s->listed = false;
        forget_words(s);
        guests_forget_tokens(u);
}

static int connect_launch(struct uvd *u) {
        struct starter *s;
        int r = starter_get(u, &s);

        if (r < 0)
                return r;
        r = connect_socket(u, &s->fd);
        if (r == -ENOENT || r == -ECONNREFUSED)
                return 1;
        while (r >= 0 && !s->listed) {
                struct pollfd p = { .fd = s->fd, .events = POLLIN };

                r = poll(&p, 1, LIST_TIMEOUT_MS);
                if (r == 0)
                        r = -ETIMEDOUT;
                else if (r < 0)
                        r = errno == EINTR ? 0 : -errno;
                else
                        r = receive(u);
        }
        if (r < 0)
                disconnect(u);
        return r < 0 ? r : 0;
}

static int attach(struct uvd *u);

static int on_retry(ULV_UNUSED sd_event_source *source, ULV_UNUSED uint64_t usec, void *userdata) {
        struct uvd *u = userdata;
        int r;

        r = connect_launch(u);
        if (r == 0)
                ulv_log(ULV_LOG_NOTICE, "connected to the starter again");
        r = attach(u);
        if (r < 0)
                (void) ulv_log_errno(r, "cannot watch the starter");
        return 0;
}

static void flush_words(struct starter *s) {
        while (s->first) {
                struct word *w = s->first;

                if (send(s->fd, w->text, strlen(w->text), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                        break;  /* Full, or over: then on_io() hears of it. */
                s->first = w->next;
                if (!s->first)
                        s->last = &s->first;
                free(w);
        }
        if (s->io)
                (void) sd_event_source_set_io_events(s->io, s->first ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static int on_io(ULV_UNUSED sd_event_source *source, ULV_UNUSED int fd, ULV_UNUSED uint32_t revents, void *userdata) {
        struct uvd *u = userdata;
        int r;

        flush_words(u->starter);
        while ((r = receive(u)) > 0)
                ;
        if (r < 0) {
                ulv_log(ULV_LOG_NOTICE, "the starter is gone; monitors and partitions run on");
                disconnect(u);
                r = attach(u);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int attach(struct uvd *u) {
        struct starter *s = u->starter;
        int r;

        s->retry = sd_event_source_disable_unref(s->retry);
        if (s->fd < 0) {
                r = sd_event_add_time_relative(u->event, &s->retry, CLOCK_MONOTONIC, RETRY_USEC, 0, on_retry, u);
                return r < 0 ? r : 0;
        }
        r = sd_event_add_io(u->event, &s->io, s->fd, EPOLLIN, on_io, u);
        if (r >= 0)
                flush_words(s);
        return r < 0 ? r : 0;
}

static int start(struct uvd *u, const char *name) {
        struct starter *s = u->starter;
        struct word *w;

        if (!s || s->fd < 0)
                return -ENOTCONN;
        w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        (void) snprintf(w->text, sizeof(w->text), "start %s", name);
        *s->last = w;
        s->last = &w->next;
        flush_words(s);
        return 0;
}

/* Its word on a monitor that was asked for comes by itself. */
static int token(ULV_UNUSED struct uvd *u, struct guest *g, ULV_UNUSED const char *said) { return g->asked; }

/* A monitor that has nothing to do ends, and isn't started again. */
static void stop(ULV_UNUSED struct uvd *u, ULV_UNUSED const char *name) {}

static void free_launch(struct uvd *u) {
        struct starter *s = u->starter;

        if (!s)
                return;
        sd_event_source_disable_unref(s->io);
        sd_event_source_disable_unref(s->retry);
        (void) ulv_close(s->fd);
        forget_words(s);
        free(s);
        u->starter = NULL;
}

const struct starter_ops starter_launch = { connect_launch, attach, start, token, stop, free_launch };
