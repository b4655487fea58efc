/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* exec: a command inside a partition. The partition gets no descriptor of ours: whoever holds the
 * administrator's terminal can type into it (TIOCSTI) and paint on it, and a file's descriptor says more
 * than its bytes. So standard input, output and error are new: one pty if both our input and output are a
 * terminal, else three pipes; and uvctl carries the bytes over until the command ended and its output
 * is read. Inside, uv-init puts a pty of the container's own /dev/pts behind ours, and only relays.
 *
 * On a pty everything goes through as it is: that is what a shell or an editor inside needs, and why one
 * doesn't look at untrusted output with it. Pipes that end on a terminal go through text_safe() like logs,
 * unless --raw. */

#include <fcntl.h>
#include <poll.h>

#include "uvctl/terminal.h"
#include "uvctl/text.h"
#include "uvctl/uvctl.h"

#define CHUNK 16384
#define STEP_MSEC 10
#define PATIENCE_MSEC 500

/* Bytes on their way from one descriptor to another. */
struct stream {
        int from, to;           /* -1: ended */
        bool owns_to;           /* close `to` when `from` ended */
        bool safe;              /* through text_safe() */
        int error;              /* of writing; -EPIPE is somebody who has read enough */
        size_t len, at;
        char buf[CHUNK];
};

struct exec {
        struct uvctl *u;
        bool pty, answered;
        unsigned patience;      /* rounds of STEP_MSEC that typing still waits for the pty to be raw */
        int code;               /* of the call */
        int status;             /* of the command */
        int inside[3];          /* what the partition gets */
        int master;
        struct stream in, out, err;
        struct terminal terminal;
};

static void copy_window_size(const struct exec *x) {
        struct winsize size = terminal_size();

        if (size.ws_row > 0)
                (void) ioctl(x->master, TIOCSWINSZ, &size);
}

static int open_pty(struct exec *x) {
        int slave;

        x->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (x->master < 0 || grantpt(x->master) < 0 || unlockpt(x->master) < 0)
                return -errno;
        /* By the master, not by name: this /dev/pts may not be the one that made it. */
        slave = ioctl(x->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (slave < 0)
                return -errno;
        x->inside[0] = slave;
        x->inside[1] = fcntl(slave, F_DUPFD_CLOEXEC, 3);
        x->inside[2] = fcntl(slave, F_DUPFD_CLOEXEC, 3);
        if (x->inside[1] < 0 || x->inside[2] < 0)
                return -errno;
        copy_window_size(x);
        x->patience = PATIENCE_MSEC / STEP_MSEC;
        x->in = (struct stream) { .from = STDIN_FILENO, .to = x->master };
        x->out = (struct stream) { .from = x->master, .to = STDOUT_FILENO };
        return 0;
}

static int open_pipes(struct exec *x) {
        int in[2], out[2], err[2];

        if (pipe2(in, O_CLOEXEC) < 0)
                return -errno;
        x->inside[0] = in[0];
        x->in = (struct stream) { .from = STDIN_FILENO, .to = in[1], .owns_to = true };
        if (pipe2(out, O_CLOEXEC) < 0)
                return -errno;
        x->inside[1] = out[1];
        x->out = (struct stream) { .from = out[0], .to = STDOUT_FILENO, .safe = x->u->tty_out && !given(x->u, OPT_RAW) };
        if (pipe2(err, O_CLOEXEC) < 0)
                return -errno;
        x->inside[2] = err[1];
        x->err = (struct stream) { .from = err[0], .to = STDERR_FILENO, .safe = x->u->tty_err && !given(x->u, OPT_RAW) };
        if (fcntl(in[1], F_SETFL, O_NONBLOCK) < 0)
                return -errno;
        return 0;
}

/* As a shell: 127 there is no such program, 126 there is, and it can't be executed. */
static int error_code(struct uvctl *u, const sd_bus_error *e, int r) {
        int code = client_error(u, e, r);

        if (e && e->name && ulv_streq(e->name, ULV_ERROR_NO_PROGRAM))
                return 127;
        return e && e->name && ulv_streq(e->name, ULV_ERROR_NOT_EXECUTABLE) ? 126 : code;
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *unused ULV_UNUSED) {
        struct exec *x = userdata;

        x->answered = true;
        if (sd_bus_message_is_method_error(m, NULL))
                x->code = error_code(x->u, sd_bus_message_get_error(m), -sd_bus_message_get_errno(m));
        else
                x->code = client_read(x->u, m, "i", &x->status);
        return 0;
}

static int send_call(struct exec *x, const char *name, char **argv, sd_bus_slot **slot) {
        _cleanup_message_ sd_bus_message *m = NULL;
        struct uvctl *u = x->u;
        int r;

        r = client_new(u, "Exec", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "s", name);
        if (r >= 0)
                r = sd_bus_message_append_strv(m, argv);
        if (r >= 0)
                r = sd_bus_message_append_strv(m, (char **) u->env);
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", u->user, u->chdir);
        if (r >= 0)
                r = sd_bus_message_append(m, "ah", 3, x->inside[0], x->inside[1], x->inside[2]);
        if (r >= 0)
                r = sd_bus_call_async(u->bus, slot, m, on_answer, x, UINT64_MAX);
        if (r < 0)
                return fail_errno(u, r, "make a call");
        /* Ours are closed once they are sent, so that the ends of pipes are seen. */
        r = sd_bus_flush(u->bus);
        for (int i = 0; i < 3; i++)
                x->inside[i] = ulv_close(x->inside[i]);
        return r < 0 ? client_error(u, NULL, r) : 0;
}

static void end_stream(struct stream *s) {
        if (s->from > STDERR_FILENO)
                (void) ulv_close(s->from);
        if (s->owns_to)
                (void) ulv_close(s->to);
        s->from = s->to = -1;
        s->len = s->at = 0;
}

/* Writes what is buffered; leaves the rest if the other end is full. */
static void write_stream(struct stream *s) {
        while (s->at < s->len) {
                ssize_t n = write(s->to, s->buf + s->at, s->len - s->at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return;
                if (n < 0) {
                        s->error = -errno;
                        end_stream(s);
                        return;
                }
                s->at += (size_t) n;
        }
        s->at = s->len = 0;
}

static void write_safe(struct stream *s, bool all) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        size_t n = all ? s->len : text_complete(s->buf, s->len);
        int to = s->to;

        text_safe(&b, s->buf, n, true);
        memmove(s->buf, s->buf + n, s->len - n);
        s->len -= n;
        for (size_t at = 0; at < b.len;) {
                ssize_t w = write(to, b.s + at, b.len - at);

                if (w < 0 && errno != EINTR && errno != EAGAIN) {
                        s->error = -errno;
                        return;
                }
                at += w > 0 ? (size_t) w : 0;
        }
}

static void read_stream(struct stream *s) {
        ssize_t n = read(s->from, s->buf + s->len, sizeof(s->buf) - s->len);

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return;
        if (n <= 0) {                   /* a pty's end is EIO */
                if (s->safe)
                        write_safe(s, true);
                end_stream(s);
                return;
        }
        s->len += (size_t) n;
        if (s->safe)
                write_safe(s, false);
        else
                write_stream(s);
}

/* What a stream waits for: room at the other end if something is buffered, else more. */
static struct pollfd wish(const struct stream *s) {
        if (s->from < 0)
                return (struct pollfd) { .fd = -1 };
        if (!s->safe && s->len > 0)
                return (struct pollfd) { .fd = s->to, .events = POLLOUT };
        return (struct pollfd) { .fd = s->from, .events = POLLIN };
}

static void move(struct stream *s, short revents) {
        if (s->from < 0 || !revents)
                return;
        if (!s->safe && s->len > 0)
                write_stream(s);
        else
                read_stream(s);
}

/* uv-init makes the pty raw, and puts one of the container's own behind it: what is typed before that would be echoed twice,
 * and an end of file be taken for one of the line. One from before an upgrade doesn't: then it is waited for in vain. */
static bool may_type(struct exec *x) {
        struct termios t;

        if (x->patience > 0 && (tcgetattr(x->master, &t) < 0 || !(t.c_lflag & ICANON)))
                x->patience = 0;
        return x->patience == 0;
}

/* One round of waiting and moving. Returns 0, or how it ended early. */
static int step(struct exec *x) {
        enum { BUS, IN, OUT, ERR, SIGNALS, MAX };
        struct pollfd p[MAX];
        bool resized = false, typing = may_type(x);
        int r, events;

        while ((r = sd_bus_process(x->u->bus, NULL)) > 0)
                ;
        if (r < 0)
                return client_error(x->u, NULL, r);
        if (x->answered)
                return 0;
        events = sd_bus_get_events(x->u->bus);
        p[BUS] = (struct pollfd) { .fd = sd_bus_get_fd(x->u->bus), .events = (short) ULV_MAX(events, 0) };
        p[IN] = typing ? wish(&x->in) : (struct pollfd) { .fd = -1 };
        p[OUT] = wish(&x->out);
        p[ERR] = wish(&x->err);
        p[SIGNALS] = (struct pollfd) { .fd = x->terminal.signals, .events = POLLIN };
        r = poll(p, MAX, typing ? -1 : STEP_MSEC);
        if (r < 0)
                return errno == EINTR ? 0 : fail_errno(x->u, -errno, "wait");
        x->patience -= r == 0 && x->patience > 0;
        move(&x->in, p[IN].revents);
        move(&x->out, p[OUT].revents);
        move(&x->err, p[ERR].revents);
        r = p[SIGNALS].revents ? terminal_signal(&x->terminal, &resized) : 0;
        if (resized)
                copy_window_size(x);
        return r;
}

/* The command has ended: what it has written until now is in the pipes. What a child that it left behind
 * may still write is not waited for. */
static void drain(struct stream *s) {
        if (s->from < 0)
                return;
        (void) fcntl(s->from, F_SETFL, O_NONBLOCK);
        for (;;) {
                struct pollfd p = { .fd = s->from, .events = POLLIN };

                if (s->from < 0 || poll(&p, 1, 0) <= 0)
                        break;
                read_stream(s);
                while (!s->safe && s->from >= 0 && s->len > 0) {
                        struct pollfd q = { .fd = s->to, .events = POLLOUT };

                        (void) poll(&q, 1, -1);
                        write_stream(s);
                }
        }
        if (s->from >= 0 && s->safe)
                write_safe(s, true);
}

static void exec_done(struct exec *x) {
        terminal_done(&x->terminal);
        for (int i = 0; i < 3; i++)
                (void) ulv_close(x->inside[i]);
        x->in.owns_to ? end_stream(&x->in) : (void) 0;
        if (x->out.from == x->master)
                x->out.from = -1;
        end_stream(&x->out);
        end_stream(&x->err);
        (void) ulv_close(x->master);
}

static int run(struct exec *x, const char *name, char **argv) {
        ULV_CLEANUP(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        int r;

        r = client_connect(x->u);
        if (r != 0)
                return r;
        r = x->pty ? open_pty(x) : open_pipes(x);
        if (r < 0)
                return fail_errno(x->u, r, "make a terminal or pipes for the command");
        r = send_call(x, name, argv, &slot);
        if (r != 0)
                return r;
        if (x->pty) {
                r = terminal_raw(&x->terminal);
                if (r < 0)
                        return fail_errno(x->u, r, "set up the terminal");
        }
        while (r == 0 && !x->answered)
                r = step(x);
        if (r != 0)
                return r;
        drain(&x->out);
        drain(&x->err);
        if (x->code != 0)
                return x->code;
        if (x->out.error < 0 && x->out.error != -EPIPE)
                return fail_errno(x->u, x->out.error, "write to standard output");
        return x->status >= 256 ? 128 + (x->status - 256) : x->status;
}

/* A program that draws has to know on what; --env=TERM= says otherwise. */
static int add_term(struct uvctl *u, char **ret) {
        const char *term = getenv("TERM");

        *ret = NULL;
        if (!term || !*term || strlen(term) > 64)
                return 0;
        if (asprintf(ret, "TERM=%s", term) < 0) {
                *ret = NULL;
                return -ENOMEM;
        }
        memmove(u->env + 1, u->env, u->n_env++ * sizeof(*u->env));     /* there is a slot more than options */
        u->env[0] = *ret;
        return 0;
}

static int exec_words(struct uvctl *u, const char *name, char **words) {
        _cleanup_free_ struct exec *x = calloc(1, sizeof(*x));  /* three buffers: not for the stack */
        _cleanup_free_ char *term = NULL;
        int r;

        if (!x)
                return fail_errno(u, -ENOMEM, "run the command");
        x->u = u;
        x->inside[0] = x->inside[1] = x->inside[2] = x->master = x->terminal.signals = -1;
        x->in = x->out = x->err = (struct stream) { .from = -1, .to = -1 };
        x->pty = isatty(STDIN_FILENO) && u->tty_out;
        if (x->pty && add_term(u, &term) < 0)
                return fail_errno(u, -ENOMEM, "run the command");
        r = run(x, name, words);
        exec_done(x);
        return r & 0xff;
}

int verb_exec(struct uvctl *u, int argc ULV_UNUSED, char **argv) { return exec_words(u, argv[0], argv + 1); }

/* "-" is what uv-init takes for the user's shell (lib/protocol.h): only it can read the partition's passwd. */
int verb_shell(struct uvctl *u, int argc ULV_UNUSED, char **argv) {
        char shell[] = "-", *words[] = { shell, NULL };

        return exec_words(u, argv[0], words);
}
