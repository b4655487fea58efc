/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* console: a partition's console as if one sat before it.
 *
 * What it shows is the console's log, followed (log-source.h): so any number may watch, nobody's slow
 * terminal holds the partition up, and what was written while nobody looked is there too. What is typed goes
 * through a pipe to uv-port, which takes one typist at a time; the call lasts as long as the typing. The
 * partition gets neither this terminal nor the pipe.
 *
 * A process of ours that dies on the way takes the call along, not the console: it is called again.
 *
 * On a terminal the bytes go through as they are, for a console is used by programs that draw; --watch
 * without --raw spells control characters out, as `logs` does. */

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>

#include "uvctl/log-source.h"
#include "uvctl/logs.h"
#include "uvctl/terminal.h"
#include "uvctl/text.h"

#define DETACH 0x1d             /* Ctrl-] */
#define LINES 10                /* of what was there before, if not said */
#define AGAIN_MS 200
#define AGAIN_MAX 50            /* tries without a byte in between */
#define CHUNK 4096

struct console {
        struct uvctl *u;
        const char *name;
        struct log_source log;
        uint64_t at;
        struct ulv_strbuf shown;        /* read, and not to be shown before more is */
        struct terminal terminal;
        int inotify, pipe;              /* pipe: what is typed; -1 */
        sd_bus_slot *slot;
        bool types, calling, answered, ended;   /* ended: standard input is; calling: uv-port reads the pipe, or will */
        unsigned again;
        int code;
};

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *unused ULV_UNUSED) {
        struct console *c = userdata;

        c->calling = false;
        c->answered = true;
        c->code = 0;
        if (sd_bus_message_is_method_error(m, NULL))
                c->code = client_error(c->u, sd_bus_message_get_error(m), -sd_bus_message_get_errno(m));
        return 0;
}

static int send_call(struct console *c, int input) {
        _cleanup_message_ sd_bus_message *m = NULL;
        struct winsize size = terminal_size();
        struct uvctl *u = c->u;
        /* Once it was ours it is again after a hiccup of our own processes: theirs is gone as well. */
        unsigned flags = given(u, OPT_FORCE) && c->again == 0 ? ULV_FLAG_FORCE : 0;
        int r;

        r = client_new(u, "Console", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "suqqh", c->name, flags, size.ws_row, size.ws_col, input);
        c->slot = sd_bus_slot_unref(c->slot);
        if (r >= 0)
                r = sd_bus_call_async(u->bus, &c->slot, m, on_answer, c, UINT64_MAX);
        if (r >= 0)
                r = sd_bus_flush(u->bus);
        if (r < 0)
                return client_error(u, NULL, r);
        c->calling = true;
        c->answered = false;
        return 0;
}

static int begin_typing(struct console *c) {
        int p[2], r;

        c->pipe = ulv_close(c->pipe);
        if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
                return fail_errno(c->u, -errno, "make a pipe");
        r = send_call(c, p[0]);
        (void) ulv_close(p[0]);
        c->pipe = p[1];
        return r;
}

/* The call came back. 0: called again, or to be; else how it ends; -1: it is over, in order. */
static int after_answer(struct console *c) {
        if (c->code == 0)
                return -1;
        /* sd-bus calls an answer that can't come any more one that came too late. */
        if ((c->code != ULV_EXIT_UNREACHABLE && c->code != ULV_EXIT_TIMEOUT) || c->again++ >= AGAIN_MAX)
                return c->code;
        c->u->diag = (struct ulv_diag) { 0 };
        (void) poll(NULL, 0, AGAIN_MS);
        if (client_lost(c->u, -ETIMEDOUT)) {
                c->slot = sd_bus_slot_unref(c->slot);
                client_disconnect(c->u);
        }
        int r = begin_typing(c);
        if (r != ULV_EXIT_UNREACHABLE)
                return r;
        c->answered = true;     /* the planner isn't back: the same again */
        c->code = r;
        return 0;
}

static int show(struct console *c) {
        bool safe = c->u->tty_out && given(c->u, OPT_WATCH) && !given(c->u, OPT_RAW);
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        size_t n = safe ? text_complete(ulv_strbuf_str(&c->shown), c->shown.len) : c->shown.len;
        int r;

        if (n == 0)
                return 0;
        if (safe)
                text_safe(&b, c->shown.s, n, true);
        else
                ulv_strbuf_add_len(&b, c->shown.s, n);
        memmove(c->shown.s, c->shown.s + n, c->shown.len - n + 1);
        c->shown.len -= n;
        r = put(c->u, &b);
        return r == 0 && fflush(stdout) != 0 ? fail_errno(c->u, -errno, "write to standard output") : r;
}

static int show_rest(struct console *c) {
        int r, shown = 0;

        do {
                r = log_next(&c->log, &c->shown, &c->at);
                if (r >= 0)
                        shown = show(c);
        } while (r > 0 && shown == 0);
        return r < 0 ? fail_errno(c->u, r, "read the console") : shown;
}

/* Types what came from standard input. -1: the end of it, or the detach key. */
static int type(struct console *c) {
        char buf[CHUNK];
        ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));
        const char *key;

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return 0;
        key = n > 0 && c->terminal.raw ? memchr(buf, DETACH, (size_t) n) : NULL;
        for (ssize_t at = 0, end = key ? key - buf : n; at < end;) {
                struct pollfd p = { .fd = c->pipe, .events = POLLOUT };
                ssize_t w = poll(&p, 1, 1000) > 0 ? write(c->pipe, buf + at, (size_t) (end - at)) : 0;

                if (w < 0 && errno != EAGAIN && errno != EINTR)
                        break;          /* nobody reads: the answer to the call says why */
                at += w > 0 ? w : 0;
                if (w == 0)
                        break;          /* the partition doesn't read; what was typed is lost, as on a real one */
        }
        c->again = 0;
        return key || n <= 0 ? -1 : 0;
}

/* One round. 0: go on; -1: over, in order; else how it ended. */
static int step(struct console *c) {
        enum { BUS, IN, LOG, SIGNALS, MAX };
        struct pollfd p[MAX];
        char events[4096];
        bool resized;
        int r;

        while (c->u->bus && (r = sd_bus_process(c->u->bus, NULL)) != 0)
                if (r < 0) {            /* the planner is gone, and the call with it */
                        c->answered = c->calling || c->answered;
                        c->code = c->calling ? client_error(c->u, NULL, r) : c->code;
                        c->calling = false;
                        break;
                }
        if (c->types && c->answered)
                return after_answer(c);
        r = show_rest(c);
        if (r != 0)
                return r;
        p[BUS] = (struct pollfd) { .fd = c->calling ? sd_bus_get_fd(c->u->bus) : -1, .events = POLLIN };
        p[IN] = (struct pollfd) { .fd = (c->types || c->terminal.raw) && !c->ended ? STDIN_FILENO : -1, .events = POLLIN };
        p[LOG] = (struct pollfd) { .fd = c->inotify, .events = POLLIN };
        p[SIGNALS] = (struct pollfd) { .fd = c->terminal.signals, .events = POLLIN };
        if (poll(p, MAX, 1000) < 0)
                return errno == EINTR ? 0 : fail_errno(c->u, -errno, "wait");
        if (p[LOG].revents)
                (void) !read(c->inotify, events, sizeof(events));
        if (p[SIGNALS].revents && (r = terminal_signal(&c->terminal, &resized)) != 0)
                return r;
        if (p[IN].revents && type(c) < 0) {
                if (c->terminal.raw)
                        return -1;
                c->ended = true;        /* the answer comes when uv-port has read it all */
                c->pipe = ulv_close(c->pipe);
        }
        return 0;
}

static void watch_log(struct console *c) {
        char path[64];

        c->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        for (size_t i = 0; c->inotify >= 0 && i < ULV_ARRAY_SIZE(c->log.fds); i++) {
                (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", c->log.fds[i]);
                (void) inotify_add_watch(c->inotify, path, IN_MODIFY);
        }
}

static int begin(struct console *c) {
        unsigned lines = given(c->u, OPT_LINES) ? c->u->lines : LINES;
        int r;

        r = log_open(c->u, c->name, &c->log);
        if (r != 0)
                return r;
        watch_log(c);
        r = log_last(&c->log, lines, &c->shown, &c->at);
        if (r < 0)
                return fail_errno(c->u, r, "read the console");
        if (c->types && (r = begin_typing(c)) != 0)
                return r;
        if (!isatty(STDIN_FILENO) || !c->types)
                return 0;
        fprintf(stderr, "console of %s: Ctrl-] ends it\n", c->name);
        r = terminal_raw(&c->terminal);
        return r < 0 ? fail_errno(c->u, r, "set up the terminal") : 0;
}

int verb_console(struct uvctl *u, int argc ULV_UNUSED, char **argv) {
        struct console c = { .u = u, .name = argv[0], .log.fds = { -1, -1, -1 }, .terminal.signals = -1,
                             .inotify = -1, .pipe = -1, .types = !given(u, OPT_WATCH) };
        bool raw;
        int r;

        r = begin(&c);
        while (r == 0)
                r = step(&c);
        if (r < 0)
                r = show_rest(&c);
        raw = c.terminal.raw;
        terminal_done(&c.terminal);
        if (raw)
                fprintf(stderr, "\n");
        log_close(&c.log);
        ulv_strbuf_done(&c.shown);
        sd_bus_slot_unref(c.slot);
        (void) ulv_close(c.inotify);
        (void) ulv_close(c.pipe);
        return r;
}
