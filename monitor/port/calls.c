/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* All that comes here is hostile. Each record is copied and checked (channel/call.c) before it is looked at; each is
 * answered with a code; nobody is waited for: who doesn't read its answers is cut off. A second has a bounded number of
 * records; the first one beyond it is refused, and the others stay in their sockets until the next second, so that a
 * flood costs the flooding partition its own time and nobody else's.
 *
 * What a program says is passed on to the monitor as numbers only. Its STATUS, a text, goes into a file that
 * uv-command reads (lib/saidform.h), and so does READY before it is told, so that no death of anybody loses it. */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "monitor/port/calls.h"
#include "monitor/port/socket.h"

#define DEAF_MS 10
#define DEAF_MOST_MS 1000

static void drop(struct calls *c, struct caller *who);

void calls_init(struct calls *c) {
        c->listening = c->said_fd = -1;
        for (unsigned i = 0; i < CALLERS_MAX; i++)
                c->callers[i].fd = -1;
}

/* --- what it said of itself --------------------------------------------------------------------------------- */

/* Where the disk is full a new uv-port will not know; this one does. */
static int write_said(const struct calls *c) {
        return pwrite(c->said_fd, &c->said, sizeof(c->said), 0) == sizeof(c->said) ? 0 : -EIO;
}

void calls_configure(struct calls *c, int listening, int said_fd, uint32_t life) {
        int type = SOCK_SEQPACKET;
        struct said old;

        if (c->said_fd >= 0)
                (void) close(c->said_fd);
        if (c->listening >= 0)
                (void) close(c->listening);
        c->listening = listening;
        (void) getsockopt(listening, SOL_SOCKET, SO_TYPE, &type, &(socklen_t) { sizeof(type) });
        c->stream = type == SOCK_STREAM;
        c->deaf_ms = c->deaf_for_ms = 0;
        c->said_fd = said_fd;
        c->said = (struct said) { .magic = SAID_MAGIC, .life = life };
        if (pread(said_fd, &old, sizeof(old), 0) == sizeof(old) && old.magic == SAID_MAGIC && old.life == life && memchr(old.status, 0, sizeof(old.status)))
                c->said = old;
        if (c->said.ready)
                c->tell(ULV_PORT_SAID, ULV_CALL_READY, 1);
}

static enum ulv_call_code serve_ready(struct calls *c) {
        if (c->said.ready)
                return ULV_CALL_OK;
        c->said.ready = 1;
        if (write_said(c) < 0) {
                c->said.ready = 0;
                return ULV_CALL_FAILED;
        }
        c->tell(ULV_PORT_SAID, ULV_CALL_READY, 1);
        return ULV_CALL_OK;
}

/* A line for people: cut to what there is room for, without a byte that a terminal would take for more than text. */
static enum ulv_call_code serve_status(struct calls *c, const struct ulv_call *q) {
        size_t n = strnlen(q->text, SAID_STATUS_MAX - 1);

        memset(c->said.status, 0, sizeof(c->said.status));
        memcpy(c->said.status, q->text, n);
        while (n > 0 && n == SAID_STATUS_MAX - 1 && ((unsigned char) q->text[n] & 0xc0) == 0x80)
                c->said.status[n--] = 0;        /* no half of a character */
        for (char *p = c->said.status; *p; p++)
                if ((unsigned char) *p < ' ' || *p == 0x7f)
                        *p = '?';
        return write_said(c) == 0 ? ULV_CALL_OK : ULV_CALL_FAILED;
}

/* --- verbs ---------------------------------------------------------------------------------------------------- */

static struct caller *listener(struct calls *c) {
        for (unsigned i = 0; i < CALLERS_MAX; i++)
                if (c->callers[i].fd >= 0 && c->callers[i].listens)
                        return &c->callers[i];
        return NULL;
}

/* What was asked and isn't listened for any more will not be answered. */
static void listens_now(struct calls *c, uint64_t mask) {
        c->tell(ULV_PORT_SAID, ULV_CALL_HELLO, (int64_t) mask);
        for (unsigned i = 0; i < ULV_CALL_ASKED_VERBS; i++)
                if (c->pending[i] != 0 && !(mask & ULV_CALL_LISTENS(ULV_CALL_FIRST_ASKED + i))) {
                        c->pending[i] = 0;
                        c->tell(ULV_PORT_CALLED, ULV_CALL_FIRST_ASKED + i, ULV_CALL_NOT_THERE);
                }
}

static enum ulv_call_code serve_hello(struct calls *c, struct caller *who, const struct ulv_call *q, struct ulv_call *a) {
        uint64_t mask = q->value[1] & ULV_CALL_LISTENS_ALL, old = who->listens;

        if (q->value[0] == 0)
                return ULV_CALL_BAD_VALUE;
        if (mask && listener(c) && listener(c) != who)
                return ULV_CALL_BUSY;
        a->value[0] = ULV_CALL_VERSION;
        a->value[1] = mask;
        memcpy(a->text, c->name, strnlen(c->name, sizeof(a->text) - 1));
        who->listens = mask;
        if (mask != old)
                listens_now(c, mask);
        return ULV_CALL_OK;
}

static enum ulv_call_code serve_view(const struct calls *c, const struct ulv_call *q, struct ulv_call *a) {
        size_t n = sizeof(a->text) - 1;

        if (c->view_len == 0)
                return ULV_CALL_NOT_THERE;
        if (q->value[0] > c->view_len)
                return ULV_CALL_BAD_VALUE;
        if (n > c->view_len - q->value[0])
                n = c->view_len - q->value[0];
        memcpy(a->text, c->view + q->value[0], n);
        a->value[0] = q->value[0];
        a->value[1] = c->view_len;
        a->value[2] = c->generation;
        return ULV_CALL_OK;
}

static enum ulv_call_code serve_release(const struct calls *c) {
        if (!c->releasable)
                return ULV_CALL_NOT_THERE;
        c->tell(ULV_PORT_SAID, ULV_CALL_RELEASE, 1);
        return ULV_CALL_OK;
}

static void send_record(struct calls *c, struct caller *who, const struct ulv_call *r) {
        if (ulv_port_send(who->fd, r, sizeof(*r), NULL, 0, MSG_DONTWAIT) < 0)
                drop(c, who);
}

static void answer(struct calls *c, struct caller *who, struct ulv_call *a, enum ulv_call_code code) {
        a->magic = ULV_CALL_MAGIC;
        a->answer = 1;
        a->code = code;
        send_record(c, who, a);
}

static void serve_question(struct calls *c, struct caller *who, const struct ulv_call *q) {
        struct ulv_call a = { .verb = q->verb, .number = q->number };
        enum ulv_call_code code = ulv_call_check(q, ULV_CALL_FROM_PARTITION);
        int r;

        if (code == ULV_CALL_OK)
                switch ((enum ulv_call_verb) q->verb) {
                case ULV_CALL_HELLO: code = serve_hello(c, who, q, &a); break;
                case ULV_CALL_VIEW: code = serve_view(c, q, &a); break;
                case ULV_CALL_READY: code = serve_ready(c); break;
                case ULV_CALL_STATUS: code = serve_status(c, q); break;
                case ULV_CALL_RELEASE: code = serve_release(c); break;
                case ULV_CALL_OPEN:
                        if (who->listens || c->stream) {
                                code = c->stream ? ULV_CALL_NO_FDS : ULV_CALL_BUSY;
                                break;
                        }
                        r = channels_give(c->channels, who->fd, q);
                        if (r == 0)
                                who->fd = -1;
                        if (r <= 0) {
                                drop(c, who);
                                return;
                        }
                        code = (enum ulv_call_code) r;
                        break;
                default: code = ULV_CALL_UNKNOWN;
                }
        answer(c, who, &a, code);
}

/* --- what the monitor asks -------------------------------------------------------------------------------- */

/* The code, and what SELFTEST counted, for which two bytes each are enough. */
static int64_t outcome(const struct ulv_call *a) {
        uint64_t code = a->code, made = a->value[0], failed = a->value[1];

        if (a->verb != ULV_CALL_SELFTEST)
                made = failed = 0;
        return (int64_t) ((code < ULV_CALL_CODES ? code : ULV_CALL_FAILED) | (made < 0xffff ? made : 0xffff) << 16 | (failed < 0xffff ? failed : 0xffff) << 32);
}

static void serve_answer(struct calls *c, const struct caller *who, const struct ulv_call *a) {
        unsigned i = a->verb - ULV_CALL_FIRST_ASKED;

        if (!who->listens || i >= ULV_CALL_ASKED_VERBS || c->pending[i] == 0 || c->pending[i] != a->number)
                return;
        c->pending[i] = 0;
        c->releasable = c->releasable || (a->verb == ULV_CALL_RESIZE && a->code == ULV_CALL_LATER);
        c->tell(ULV_PORT_CALLED, a->verb, outcome(a));
}

void calls_ask(struct calls *c, const struct ulv_call *q) {
        struct caller *who = listener(c);
        struct ulv_call r = *q;
        unsigned i = q->verb - ULV_CALL_FIRST_ASKED;

        if (i >= ULV_CALL_ASKED_VERBS)
                return;
        if (q->verb == ULV_CALL_RESIZE)
                c->releasable = false;
        if (!who || !(who->listens & ULV_CALL_LISTENS(q->verb))) {
                c->tell(ULV_PORT_CALLED, q->verb, ULV_CALL_NOT_THERE);
                return;
        }
        r.magic = ULV_CALL_MAGIC;
        r.number = c->pending[i] = ++c->number ? c->number : ++c->number;
        send_record(c, who, &r);
}

/* --- connections ------------------------------------------------------------------------------------------- */

static void drop(struct calls *c, struct caller *who) {
        if (who->fd >= 0)
                (void) close(who->fd);
        who->fd = -1;
        who->have = 0;
        if (!who->listens)
                return;
        who->listens = 0;
        c->releasable = false;
        listens_now(c, 0);
}

/* Into who->buf. true: a record, or what takes the place of one; *bad: how it is none. */
static bool receive(struct calls *c, struct caller *who, enum ulv_call_code *bad) {
        static struct ulv_port_message m;
        ssize_t n;

        *bad = ULV_CALL_OK;
        if (c->stream) {
                n = recv(who->fd, who->buf + who->have, sizeof(who->buf) - who->have, MSG_DONTWAIT);
                if (n > 0 && (who->have += (size_t) n) < sizeof(who->buf)) {
                        c->in_window++;
                        return false;
                }
                who->have = 0;
                n = n > 0 ? (ssize_t) sizeof(who->buf) : n < 0 ? -errno : 0;
        } else {
                n = ulv_port_receive(who->fd, &m);
                if (n > 0 && m.n_fds > 0)
                        *bad = ULV_CALL_BAD_FDS;
                ulv_port_message_done(&m);
                if (n == (ssize_t) sizeof(who->buf))
                        memcpy(who->buf, m.buf, sizeof(who->buf));
                else if (n > 0 || n == -EBADMSG)
                        *bad = ULV_CALL_BAD_RECORD;
        }
        if (n == -EAGAIN || n == -EINTR)
                return false;
        if (n == 0 || (n < 0 && n != -EBADMSG))
                drop(c, who);
        return who->fd >= 0;
}

static void from_caller(struct calls *c, struct caller *who) {
        enum ulv_call_code bad;
        struct ulv_call q = { 0 };

        if (!receive(c, who, &bad))
                return;
        if (bad != ULV_CALL_BAD_RECORD && ulv_call_parse(who->buf, sizeof(who->buf), &q) < 0)
                bad = ULV_CALL_BAD_RECORD;
        if (++c->in_window > CALLS_A_SECOND && bad == ULV_CALL_OK)
                bad = ULV_CALL_TOO_MANY;
        if (bad == ULV_CALL_OK) {
                if (q.answer)
                        serve_answer(c, who, &q);
                else
                        serve_question(c, who, &q);
                return;
        }
        if (!q.answer)
                answer(c, who, &(struct ulv_call) { .verb = q.verb, .number = q.number }, bad);
        if (bad == ULV_CALL_BAD_RECORD && who->fd >= 0)
                drop(c, who);   /* of a stream nobody knows where the next record begins */
}

/* Until the partition's tree is built and the socket has its place there, it doesn't listen, and its one event is
 * POLLHUP. An accept4() that fails is then tried by libc as accept(), which our filter of system calls answers by death. */
static void from_listening(struct calls *c, short revents, int64_t now_ms) {
        struct caller *place = NULL;
        int fd;

        if (!(revents & POLLIN)) {
                c->deaf_for_ms = c->deaf_for_ms == 0 ? DEAF_MS : c->deaf_for_ms >= DEAF_MOST_MS ? DEAF_MOST_MS : c->deaf_for_ms * 2;
                c->deaf_ms = now_ms + c->deaf_for_ms;
                return;
        }
        fd = accept4(c->listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
                return;
        c->in_window++;
        for (unsigned i = 0; i < CALLERS_MAX && !place; i++)
                if (c->callers[i].fd < 0)
                        place = &c->callers[i];
        for (; !place; c->next++)
                if (!c->callers[c->next % CALLERS_MAX].listens)
                        drop(c, place = &c->callers[c->next % CALLERS_MAX]);
        place->fd = fd;
        place->have = 0;
}

void calls_view(struct calls *c, uint64_t generation, const char *text, size_t len) {
        c->generation = generation;
        c->view_len = len < sizeof(c->view) ? len : sizeof(c->view);
        memcpy(c->view, text, c->view_len);
}

void calls_wishes(struct calls *c, struct pollfd fds[CALL_POLLS], int64_t now_ms, int *timeout) {
        int deaf = c->deaf_ms > now_ms ? (int) (c->deaf_ms - now_ms) : 0;

        if (now_ms - c->window_ms >= 1000) {
                c->window_ms = now_ms;
                c->in_window = 0;
        }
        if (c->in_window > CALLS_A_SECOND) {
                int until = (int) (c->window_ms + 1000 - now_ms);

                if (*timeout < 0 || until < *timeout)
                        *timeout = until;
                return;
        }
        fds[0].fd = deaf > 0 ? -1 : c->listening;
        if (deaf > 0 && (*timeout < 0 || deaf < *timeout))
                *timeout = deaf;
        for (unsigned i = 0; i < CALLERS_MAX; i++)
                fds[1 + i].fd = c->callers[i].fd;
}

void calls_serve(struct calls *c, const struct pollfd fds[CALL_POLLS], int64_t now_ms) {
        for (unsigned i = 0; i < CALLERS_MAX; i++)
                if (fds[1 + i].revents && c->callers[i].fd == fds[1 + i].fd)
                        from_caller(c, &c->callers[i]);
        if (fds[0].revents)
                from_listening(c, fds[0].revents, now_ms);
}
