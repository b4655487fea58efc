/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-port: the half of a partition's monitor that touches what the partition says.
 *
 * Theory of operation. The privileged half (uv-monitor-lxc) never reads a byte that a partition wrote;
 * this process does, and is worth nothing to who takes it over (confine.c). One poll(2) loop over three
 * fds: the socket to the monitor (trusted), the socket to uv-init (hostile: whoever owns the partition's
 * root can make uv-init say anything), and the console's pty (hostile bytes, copied to the log unread); and a fourth while
 * somebody types (typing.h).
 *
 * From uv-init only numbers pass: which request ended, and with what status. A malformed record ends
 * that connection for good; a well-formed one that nobody asked for is dropped and counted, for after a
 * restart of this process it may be the answer to a request of its predecessor; too many of them end the
 * connection too. So what a partition can make the monitor receive is bounded by what the monitor asked.
 *
 * Nothing is kept here that a new uv-port would miss: fds come again with CONFIGURE, and the files say
 * themselves which one is current (console.c). */

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "monitor/port/calls.h"
#include "monitor/port/channels.h"
#include "monitor/port/confine.h"
#include "monitor/port/console.h"
#include "monitor/port/socket.h"
#include "monitor/port/typing.h"

#define REQUESTS_MAX 64
#define UNASKED_MAX 1000                        /* records nobody waits for, then uv-init is cut off */
#define CONSOLE_RATE (8 * 1024 * 1024)          /* bytes a second; a faster guest waits for its console */
#define CONSOLE_PAUSE_MS 100                    /* after a hang-up: no process has the console open */

struct port {
        const char *name;
        int init, pty;                          /* -1 if none */
        bool configured, ready, ended;          /* the partition's own READY and EXITED pass once */
        uint32_t requests[REQUESTS_MAX];        /* numbers that the monitor waits for; 0 = free */
        unsigned unasked;
        struct console console;
        struct typing typing;
        struct channels channels;
        struct calls calls;
        int64_t window_ms, hangup_ms;           /* the rate limit's second; when the pty may be asked again */
        size_t window_bytes;
};

static struct ulv_port_message message;         /* one at a time; too large for the stack's taste */

static void say(const struct port *p, const char *text) {
        char line[256];
        int n = snprintf(line, sizeof(line), "<4>uv-port %.64s: %s\n", p->name, text);

        if (n > 0 && write(STDERR_FILENO, line, (size_t) n) < 0)
                return;         /* nobody listens */
}

static int64_t now_ms(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint32_t *find_request(struct port *p, uint32_t number) {
        for (unsigned i = 0; i < REQUESTS_MAX; i++)
                if (p->requests[i] == number)
                        return &p->requests[i];
        return NULL;
}

/* Blocks if the monitor is slow: it is trusted, and its answer is bounded by its questions. */
static void tell_monitor(uint32_t kind, uint32_t number, int64_t value) {
        struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = kind, .number = number, .value = value };

        if (ulv_port_send(ULV_PORT_FD, &r, sizeof(r), NULL, 0, 0) < 0)
                exit(1);        /* gone, or as good as gone: the next one configures a new uv-port */
}

static void drop_init(struct port *p, const char *why) {
        if (!p->ended)          /* the usual end of a partition isn't news */
                say(p, why);
        if (p->init >= 0)
                (void) close(p->init);
        p->init = -1;
        for (unsigned i = 0; i < REQUESTS_MAX; i++)
                if (p->requests[i] != 0) {
                        tell_monitor(ULV_PORT_FAILED, p->requests[i], EPIPE);
                        p->requests[i] = 0;
                }
}

static int configure(struct port *p, const struct ulv_port_record *c) {
        int r;

        if (p->configured) {
                console_done(&p->console);
                (void) close(p->pty);
                if (p->init >= 0)
                        (void) close(p->init);
        }
        r = console_init(&p->console, message.fds + 2, c->value, c->number);
        if (r < 0)
                return r;
        p->pty = message.fds[0];
        p->init = message.fds[1];
        calls_configure(&p->calls, message.fds[5], message.fds[6], c->number);
        message.n_fds = 0;      /* all of them are ours now */
        p->configured = true;
        return 0;
}

/* Hands EXEC or SIGNAL on as it came. A partition that doesn't read its socket gets no second chance to
 * make us wait: the request fails at once. */
static void pass_to_init(struct port *p, const struct ulv_port_record *r) {
        int error = 0;
        uint32_t *slot = NULL;

        if (r->kind == ULV_PORT_EXEC) {
                static struct ulv_port_exec exec;
                if (!ulv_port_exec_parse(message.buf, message.len, &exec))
                        error = EINVAL;
                else if (find_request(p, r->number))
                        error = EEXIST;
                else if (!(slot = find_request(p, 0)))
                        error = EAGAIN;
        }
        if (error == 0 && p->init < 0)
                error = EPIPE;
        if (error == 0)
                error = -ulv_port_send(p->init, message.buf, message.len, message.fds, message.n_fds, MSG_DONTWAIT);
        if (error == 0 && slot)
                *slot = r->number;
        if (error != 0 && r->kind == ULV_PORT_EXEC)
                tell_monitor(ULV_PORT_FAILED, r->number, error);
}

/* One types at a time; who comes with value 1 takes it over. */
static void start_typing(struct port *p, const struct ulv_port_record *r) {
        if (p->typing.fd >= 0 && r->value == 0) {
                tell_monitor(ULV_PORT_FAILED, r->number, EBUSY);
                return;
        }
        if (p->typing.fd >= 0)
                tell_monitor(ULV_PORT_FAILED, p->typing.number, ECANCELED);
        typing_begin(&p->typing, message.fds[0], r->number);
        message.n_fds = 0;
}

static void from_typing(struct port *p) {
        if (typing_read(&p->typing) == 0)
                return;
        typing_end(&p->typing);
        tell_monitor(ULV_PORT_EXITED, p->typing.number, 0);
}

static void from_monitor_channel(struct port *p, const struct ulv_port_record *r) {
        char label[ULV_PORT_LABEL_SIZE] = { 0 };

        memcpy(label, message.buf + sizeof(*r), r->text_len);
        if (r->kind == ULV_PORT_NO_CHANNEL)
                channels_remove(&p->channels, label);
        else if (r->kind == ULV_PORT_PEER_GONE)
                channels_peer_gone(&p->channels, label);
        else if (r->kind == ULV_PORT_DOOR) {
                if (channels_door(&p->channels, label, message.fds[0]) == 0)
                        message.n_fds = 0;
        } else if (r->kind == ULV_PORT_HOST) {
                if (r->number == 0 && channels_host(&p->channels, label, message.fds[0]) == 0)
                        message.n_fds = 0;
                else if (r->number == 1)
                        (void) channels_account(&p->channels, label, message.fds[0]);
        } else if (channels_add(&p->channels, label, r->number, message.fds) == 0)
                message.n_fds = 0;
        else
                say(p, "more channels than there can be: one isn't given");
}

static void from_monitor_call(struct port *p, const struct ulv_port_record *r) {
        const char *text = message.buf + sizeof(*r);
        struct ulv_call q;

        if (r->kind == ULV_PORT_VIEW)
                calls_view(&p->calls, (uint64_t) r->value, text, r->text_len);
        else {
                memcpy(&q, text, sizeof(q));
                calls_ask(&p->calls, &q);
        }
}

enum { GO_ON, MONITOR_GONE, PARTITION_ENDED };

/* One of these; -errno: the monitor spoke nonsense, or CONFIGURE failed. */
static int from_monitor(struct port *p) {
        struct ulv_port_record r;
        ssize_t n = ulv_port_receive(ULV_PORT_FD, &message);

        if (n == -EAGAIN)
                return GO_ON;
        if (n == 0 || n == -ECONNRESET)
                return MONITOR_GONE;
        if (n < 0)
                return (int) n;
        if (!ulv_port_record_valid(message.buf, message.len, message.n_fds, ULV_PORT_FROM_MONITOR)) {
                ulv_port_message_done(&message);
                return -EBADMSG;
        }
        memcpy(&r, message.buf, sizeof(r));
        int error = 0;
        if (r.kind == ULV_PORT_CONFIGURE)
                error = configure(p, &r);
        else if (!p->configured)
                error = -EPROTO;
        else if (r.kind == ULV_PORT_CONSOLE)
                start_typing(p, &r);
        else if (r.kind == ULV_PORT_CHANNEL || r.kind == ULV_PORT_DOOR || r.kind == ULV_PORT_HOST || r.kind == ULV_PORT_NO_CHANNEL || r.kind == ULV_PORT_PEER_GONE)
                from_monitor_channel(p, &r);
        else if (r.kind == ULV_PORT_VIEW || r.kind == ULV_PORT_CALL)
                from_monitor_call(p, &r);
        else if (r.kind != ULV_PORT_END)
                pass_to_init(p, &r);
        ulv_port_message_done(&message);
        return error != 0 ? error : r.kind == ULV_PORT_END ? PARTITION_ENDED : GO_ON;
}

/* Is this answer one that the monitor waits for? Forgets the request if so. */
static bool expected(struct port *p, const struct ulv_port_record *r) {
        bool once = false;

        if (r->kind == ULV_PORT_READY) {
                once = !p->ready && !p->ended;
                p->ready = true;
                return once;
        }
        if (r->number == 0) {
                once = !p->ended;
                p->ended = true;
                return once;
        }
        uint32_t *slot = find_request(p, r->number);
        if (!slot)
                return false;
        *slot = 0;
        return true;
}

static void from_init(struct port *p) {
        struct ulv_port_record r;
        ssize_t n = ulv_port_receive(p->init, &message);

        if (n == -EAGAIN)
                return;
        if (n == 0 || n == -ECONNRESET) {
                drop_init(p, "uv-init is gone");
                return;
        }
        if (n < 0 || !ulv_port_record_valid(message.buf, message.len, message.n_fds, ULV_PORT_FROM_INIT)) {
                ulv_port_message_done(&message);
                drop_init(p, "the partition sent a malformed record on its init socket: closed");
                return;
        }
        memcpy(&r, message.buf, sizeof(r));
        if (expected(p, &r))
                tell_monitor(r.kind, r.number, r.value);        /* a fresh record: numbers pass, bytes don't */
        else if (++p->unasked > UNASKED_MAX)
                drop_init(p, "the partition floods its init socket: closed");
}

static void from_pty(struct port *p, int64_t now) {
        static char buf[65536];
        ssize_t n = read(p->pty, buf, sizeof(buf));

        if (n > 0) {
                console_write(&p->console, buf, (size_t) n);
                p->window_bytes += (size_t) n;
        } else if (n == 0 || (errno != EINTR && errno != EAGAIN))
                p->hangup_ms = now + CONSOLE_PAUSE_MS;
}

/* May the pty be read now? If not, *timeout says when to look again. */
static bool pty_allowed(struct port *p, int64_t now, int *timeout) {
        if (now - p->window_ms >= 1000) {
                p->window_ms = now;
                p->window_bytes = 0;
        }
        int64_t until = p->window_bytes >= CONSOLE_RATE ? p->window_ms + 1000 : 0;
        if (until < p->hangup_ms)
                until = p->hangup_ms;
        if (until <= now)
                return true;
        *timeout = (int) (until - now);
        return false;
}

#define LAST_WORDS_MS 50

enum { MONITOR, INIT, PTY, TYPING, CHANNELS, CALLS = CHANNELS + CHANNEL_POLLS, FDS = CALLS + CALL_POLLS };

/* What is waited for now; *timeout: when to look again in any case. */
static void wishes(struct port *p, struct pollfd fds[FDS], int64_t now, int *timeout) {
        bool full = typing_full(&p->typing);

        *timeout = -1;
        for (unsigned i = 0; i < FDS; i++)
                fds[i] = (struct pollfd) { .fd = -1, .events = POLLIN };
        fds[MONITOR].fd = ULV_PORT_FD;
        if (!p->configured)
                return;
        fds[INIT].fd = p->init;
        fds[TYPING].fd = full ? -1 : p->typing.fd;
        fds[PTY].events = (short) ((pty_allowed(p, now, timeout) ? POLLIN : 0) | (full && now >= p->hangup_ms ? POLLOUT : 0));
        fds[PTY].fd = fds[PTY].events ? p->pty : -1;
        channels_wishes(&p->channels, fds + CHANNELS);
        calls_wishes(&p->calls, fds + CALLS, now, timeout);
}

static int serve(struct port *p) {
        for (;;) {
                struct pollfd fds[FDS];
                int64_t now = now_ms();
                int timeout;

                wishes(p, fds, now, &timeout);
                if (poll(fds, FDS, timeout) < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (fds[PTY].revents & ~POLLOUT)
                        from_pty(p, now);
                if (fds[PTY].revents & POLLOUT)
                        typing_write(&p->typing, p->pty);
                if (fds[TYPING].revents)
                        from_typing(p);
                if (p->configured) {
                        channels_serve(&p->channels, fds + CHANNELS);
                        calls_serve(&p->calls, fds + CALLS, now);
                }
                if (fds[INIT].revents)
                        from_init(p);
                if (fds[MONITOR].revents) {
                        int r = from_monitor(p);
                        if (r != GO_ON)
                                return r;
                }
        }
}

/* A last look at the console: the guest's dying words are the ones that people look for. The kernel moves
 * them from one end of a pty to the other in a work queue, so that they may be on their way for a moment. */
static void drain(struct port *p) {
        for (unsigned i = 0; p->configured && i < 64; i++) {
                struct pollfd fd = { .fd = p->pty, .events = POLLIN };
                if (poll(&fd, 1, LAST_WORDS_MS) <= 0 || !(fd.revents & POLLIN))
                        return;
                from_pty(p, 0);
        }
}

static bool parse_uid(const char *s, uid_t *ret) {
        char *end;

        errno = 0;
        unsigned long v = strtoul(s, &end, 10);
        if (errno != 0 || end == s || *end != 0 || *s == '-' || *s == '+' || v == 0 || v >= UINT32_MAX)
                return false;
        *ret = (uid_t) v;
        return true;
}

int main(int argc, char **argv) {
        static struct port p = { .init = -1, .pty = -1, .typing = { .fd = -1 }, .console = { .fds = { -1, -1, -1 } } };
        uid_t uid;

        if (argc != 4 || strcmp(argv[2], "--uid") != 0 || !parse_uid(argv[3], &uid)) {
                fprintf(stderr, "<3>uv-port: cannot start\n<3>it wants NAME --uid UID, and fd %d, from its monitor\n"
                        "<3>try: uvctl start NAME\n", ULV_PORT_FD);
                return 2;
        }
        p.name = argv[1];
        channels_init(&p.channels);
        calls_init(&p.calls);
        p.calls.name = p.name;
        p.calls.tell = tell_monitor;
        p.calls.channels = &p.channels;
        int r = port_confine(uid);
        if (r < 0) {
                fprintf(stderr, "<3>uv-port %.64s: cannot give up its rights: %s\n", p.name, strerror(-r));
                return 1;
        }
        r = serve(&p);
        if (r == PARTITION_ENDED)
                drain(&p);
        if (r < 0)
                say(&p, r == -EBADMSG || r == -EPROTO ? "the monitor sent what isn't a record: ended" : "cannot go on: ended");
        return r < 0;
}
