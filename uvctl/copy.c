/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* copy: files and directories between here and a partition. The partition's end is a child of its uv-init, started as
 * `exec` starts a program, or, if it doesn't run, a child of ours with its files as root directory (copy-stopped.c).
 * Our own end is a child of this process, in the caller's rights and with nothing open but the pipe between the two
 * (lib/copy.h says why what comes through it can't reach out of where it is to go). This process waits for both, and
 * shows what the partition's end complains of. */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/copy.h"
#include "model/name.h"
#include "uvctl/cage.h"
#include "uvctl/copy-stopped.h"
#include "uvctl/text.h"
#include "uvctl/uvctl.h"

#define PIPE_SIZE (1024 * 1024)
#define PROGRESS_AFTER_MS 2000
#define PROGRESS_EVERY_MS 200
#define GRACE_MS 10000          /* for our end, when the partition's has ended: what is in the pipe is little */

struct shared { uint64_t files, bytes; };       /* of the child, for the last line */

struct copying {
        struct uvctl *u;
        bool in;                        /* into the partition */
        char name[ULV_NAME_MAX + 1];    /* of it */
        const char *inside, *here;      /* the two paths */
        char last[COPY_NAME_MAX + 1];   /* in: what it is called there */
        int dir;                        /* out: where to, and as what */
        char as[COPY_NAME_MAX + 1];
        bool into;                      /* x->here is a directory that it goes into */
        int stream, errors;             /* our ends; -1 once given away */
        pid_t child;
        int pidfd, child_status;
        struct stopped stopped;
        pid_t far;                      /* the partition's end, if it is stopped: our child, too */
        int far_pidfd;
        struct shared *shared;
        bool answered, ended;           /* the partition's end, ours */
        bool given_up;                  /* ours, since theirs had ended */
        int code, status;               /* of the call; of the partition's end */
        int64_t answered_at;
};

static int64_t now_ms(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- the child ------------------------------------------------------------------------------------------- */

static volatile int stop;
static void on_signal(int signo) { stop = signo; }

static struct { bool progress, shown; int64_t begun, last; struct shared *shared; } own;

static void add_amount(char *text, size_t size, uint64_t files, uint64_t bytes) {
        static const char units[] = "BKMGTP";
        double v = (double) bytes;
        unsigned i = 0;

        for (; v >= 1024 && i + 2 < sizeof(units); i++)
                v /= 1024;
        (void) snprintf(text, size, "%llu file%s, %.*f%c", (unsigned long long) files, files == 1 ? "" : "s", i > 0 && v < 100, v, units[i]);
}

static void tick(struct copy *c) {
        int64_t now;
        char text[64];

        own.shared->files = c->files;
        own.shared->bytes = c->bytes;
        if (!own.progress || (now = now_ms()) < own.begun + PROGRESS_AFTER_MS || now < own.last + PROGRESS_EVERY_MS)
                return;
        own.last = now;
        own.shown = true;
        add_amount(text, sizeof(text), c->files, c->bytes);
        (void) dprintf(STDERR_FILENO, "\r%s ", text);
}

static void wipe(void) {
        if (own.shown)
                (void) dprintf(STDERR_FILENO, "\r\x1b[K");
        own.shown = false;
}

/* Names may come from the partition. */
static void complain(struct copy *c, const char *path, int error, const char *text) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

        wipe();
        text_safe(&b, c->top, strlen(c->top), false);
        text_safe(&b, path, strlen(path), false);
        ulv_strbuf_addf(&b, ": %s\n", error ? strerror(error) : text);
        (void) !write(STDERR_FILENO, ulv_strbuf_str(&b), b.len);
}

static _Noreturn void run_child(const struct copying *x) {
        static struct copy c = { .modes = 0777, .complain = complain, .tick = tick, .stop = &stop };
        struct sigaction action = { .sa_handler = on_signal };  /* no SA_RESTART: a read is to end */
        int r;

        (void) prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
        (void) sigaction(SIGINT, &action, NULL);
        (void) sigaction(SIGTERM, &action, NULL);
        (void) sigaction(SIGHUP, &action, NULL);
        copy_set_top(&c, x->here, x->into, x->last);
        own.shared = x->shared;
        own.progress = x->u->tty_err && !x->u->quiet;
        own.begun = now_ms();
        c.fd = x->stream;
        r = x->in ? copy_send(&c, x->here) : copy_receive(&c, x->dir, x->as);
        own.shared->files = c.files;
        own.shared->bytes = c.bytes;
        wipe();
        _exit(stop ? 128 + stop : r < 0 || c.left_out);
}

static int start_child(struct copying *x) {
        int keep[2] = { x->stream, x->in ? -1 : x->dir };

        x->shared = mmap(NULL, sizeof(*x->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (x->shared == MAP_FAILED)
                return -errno;
        x->child = fork();
        if (x->child < 0)
                return -errno;
        if (x->child == 0) {
                /* Nothing of the connection is open beside a stream that a partition wrote. */
                int high = ULV_MAX(keep[0], keep[1]), low = keep[1] < 0 ? high : ULV_MIN(keep[0], keep[1]);

                if ((low > 3 && close_range(3, (unsigned) low - 1, 0) < 0) ||
                    (high > low + 1 && close_range((unsigned) low + 1, (unsigned) high - 1, 0) < 0) ||
                    close_range((unsigned) high + 1, ~0U, 0) < 0)
                        _exit(1);
                run_child(x);
        }
        x->stream = ulv_close(x->stream);
        x->pidfd = pidfd_open(x->child, 0);
        return x->pidfd < 0 ? -errno : 0;
}

/* --- the partition's end -------------------------------------------------------------------------------------- */

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *unused ULV_UNUSED) {
        struct copying *x = userdata;

        x->answered = true;
        x->answered_at = now_ms();
        if (sd_bus_message_is_method_error(m, NULL))
                x->code = client_error(x->u, sd_bus_message_get_error(m), -sd_bus_message_get_errno(m));
        else
                x->code = client_read(x->u, m, "i", &x->status);
        return 0;
}

static int send_call(struct copying *x, const int inside[3], sd_bus_slot **slot) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r = client_new(x->u, "Exec", &m);

        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "sas", x->name, x->in ? 4 : 3, "--copy", x->in ? "receive" : "send", x->inside, x->last);
        if (r >= 0)
                r = sd_bus_message_append(m, "asssah", 0, x->u->user, "", 3, inside[0], inside[1], inside[2]);
        if (r >= 0)
                r = sd_bus_call_async(x->u->bus, slot, m, on_answer, x, UINT64_MAX);
        if (r >= 0)
                r = sd_bus_flush(x->u->bus);
        return r < 0 ? client_error(x->u, NULL, r) : 0;
}

static int start_stopped(struct copying *x, const int inside[3]) {
        const char *argv[] = { "--copy", x->in ? "receive" : "send", x->inside, x->in ? x->last : NULL, NULL };

        x->far = cage_call(x->stopped.tree, copy_end, argv, inside);
        x->far_pidfd = x->far < 0 ? -1 : pidfd_open(x->far, 0);
        return x->far_pidfd < 0 ? fail_errno(x->u, x->far < 0 ? (int) x->far : -errno, "start the partition's end of the copy") : 0;
}

static void reap_stopped(struct copying *x) {
        int status = 1;

        (void) waitpid(x->far, &status, 0);
        x->status = WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
        x->answered = true;
        x->answered_at = now_ms();
}

/* What it complains of, under its name: these are the partition's words. */
static void show_errors(struct copying *x) {
        char buf[4096];
        ssize_t n = read(x->errors, buf, sizeof(buf));
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return;
        if (n <= 0) {
                x->errors = ulv_close(x->errors);
                return;
        }
        for (size_t at = 0, k; at < (size_t) n; at += k) {
                const char *end = memchr(buf + at, '\n', (size_t) n - at);

                k = end ? (size_t) (end - buf) + 1 - at : (size_t) n - at;
                ulv_strbuf_addf(&b, "%s:", x->name);
                text_safe(&b, buf + at, k - (end ? 1 : 0), false);
                ulv_strbuf_addc(&b, '\n');
        }
        (void) !write(STDERR_FILENO, ulv_strbuf_str(&b), b.len);
}

/* --- both ------------------------------------------------------------------------------------------------ */

static void reap(struct copying *x) {
        int status;

        if (waitpid(x->child, &status, 0) == x->child)
                x->child_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        x->ended = true;
}

static int step(struct copying *x) {
        enum { BUS, ERRORS, CHILD, FAR, MAX };
        struct pollfd p[MAX];
        int r = 0, events;

        while (!x->stopped.is && (r = sd_bus_process(x->u->bus, NULL)) > 0)
                ;
        if (r < 0)
                return client_error(x->u, NULL, r);
        if (x->answered && x->ended)
                return 0;
        events = sd_bus_get_events(x->u->bus);
        p[BUS] = (struct pollfd) { .fd = x->answered || x->stopped.is ? -1 : sd_bus_get_fd(x->u->bus), .events = (short) ULV_MAX(events, 0) };
        p[ERRORS] = (struct pollfd) { .fd = x->errors, .events = POLLIN };
        p[CHILD] = (struct pollfd) { .fd = x->ended ? -1 : x->pidfd, .events = POLLIN };
        p[FAR] = (struct pollfd) { .fd = x->answered ? -1 : x->far_pidfd, .events = POLLIN };
        if (poll(p, MAX, x->answered ? 100 : -1) < 0)
                return errno == EINTR ? 0 : fail_errno(x->u, -errno, "wait");
        if (p[ERRORS].revents)
                show_errors(x);
        if (p[CHILD].revents)
                reap(x);
        if (p[FAR].revents)
                reap_stopped(x);
        /* A partition that keeps the pipe open after its end has ended has nothing to say any more. */
        if (x->answered && !x->ended && (x->code != 0 || now_ms() > x->answered_at + GRACE_MS)) {
                x->given_up = true;
                (void) kill(x->child, SIGTERM);
        }
        return 0;
}

static int outcome(struct copying *x) {
        char text[64];

        if (x->code == ULV_EXIT_NOT_ACTIVE) {
                ulv_diag_why(&x->u->diag, "its own uv-init takes files and gives them");
                if (!ulv_startswith(x->u->diag.try_, "uvctl resume"))
                        ulv_diag_try(&x->u->diag, "uvctl start %s, then again", x->name);
        }
        if (x->code != 0)
                return x->code;
        if (x->child_status > 128 && !x->given_up)
                return x->child_status;
        if (x->status != 0 || x->child_status != 0) {
                ulv_diag_what(&x->u->diag, ULV_EXIT_FAILED, "not all of it was copied");
                ulv_diag_why(&x->u->diag, x->given_up ? "the partition's end of it ended in the middle" :
                             x->status >= 256 ? "the partition's end of it was killed" : "see above");
                return ULV_EXIT_FAILED;
        }
        add_amount(text, sizeof(text), x->shared->files, x->shared->bytes);
        if (!x->u->quiet)
                printf("%s %s %s: %s\n", x->in ? "copied into" : "copied from", x->name, x->inside, text);
        return 0;
}

static int run(struct copying *x) {
        ULV_CLEANUP(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        _cleanup_close_ int far = -1, errors = -1, null = open("/dev/null", O_RDWR | O_CLOEXEC);
        int data[2], err[2], r;

        if (null < 0 || pipe2(data, O_CLOEXEC) < 0)
                return fail_errno(x->u, -errno, "make a pipe");
        x->stream = data[x->in ? 1 : 0];
        far = data[x->in ? 0 : 1];
        (void) fcntl(far, F_SETPIPE_SZ, PIPE_SIZE);
        if (pipe2(err, O_CLOEXEC) < 0)
                return fail_errno(x->u, -errno, "make a pipe");
        x->errors = err[0];
        errors = err[1];
        const int inside[3] = { x->in ? far : null, x->in ? null : far, errors };
        r = start_child(x);
        if (r < 0)
                return fail_errno(x->u, r, "start our end of the copy");
        r = x->stopped.is ? start_stopped(x, inside) : send_call(x, inside, &slot);
        far = ulv_close(far);           /* so that the ends of pipes are seen */
        errors = ulv_close(errors);
        /* Our end hears of Ctrl-C as well as we do, and tidies up; how it ends is how we end. */
        (void) signal(SIGINT, SIG_IGN);
        while (r == 0 && !(x->answered && x->ended) && !(x->ended && x->child_status > 128))
                r = step(x);
        if (!x->ended) {
                (void) kill(x->child, SIGTERM);
                reap(x);
        }
        if (x->far_pidfd >= 0 && !x->answered)
                reap_stopped(x);        /* it has heard the end of the pipe, and tidies up */
        /* What it said last is in the pipe; of a copy that was interrupted, that it was. */
        for (struct pollfd p = { .fd = x->errors, .events = POLLIN }; x->child_status <= 128 && x->errors >= 0 && poll(&p, 1, 0) > 0;)
                show_errors(x);
        return r != 0 ? r : outcome(x);
}

/* --- the command line --------------------------------------------------------------------------------------- */

/* "web:/path": as scp has it, what has a / before its colon is a path. */
static bool is_inside(const char *word, char name[static ULV_NAME_MAX + 1], const char **ret_path) {
        size_t n = strcspn(word, ":");

        if (word[n] != ':' || n > ULV_NAME_MAX)
                return false;
        memcpy(name, word, n);
        name[n] = 0;
        *ret_path = word + n + 1;
        return ulv_name_is_valid(name);
}

static int usage(struct uvctl *u, const char *what, const char *why) {
        return fail(u, ULV_EXIT_USAGE, what, why, "uvctl copy FILE web:/srv/, or uvctl copy web:/srv/FILE .");
}

static int fail_path(struct uvctl *u, int r, const char *what, const char *path) {
        char text[256];

        (void) snprintf(text, sizeof(text), "%s %.200s", what, path);
        return fail_errno(u, r, text);
}

static int prepare(struct copying *x, const char *from) {
        struct uvctl *u = x->u;
        struct stat st;
        int r;

        if (x->inside[0] != '/' || strlen(x->inside) > 4000)
                return usage(u, "the path in the partition isn't absolute", "nobody has a working directory there");
        if (!copy_name_of(from, x->last))
                return usage(u, "the last component of what is to be copied can't be .. (or longer than 255 bytes)", "it would have no name where it goes to");
        if (x->in)
                return stat(x->here, &st) == 0 ? 0 : fail_path(u, -errno, "copy", x->here);
        r = copy_target(x->here, x->last, &x->dir, x->as);
        x->into = r > 0;
        return r < 0 ? fail_path(u, r, "copy to", x->here) : 0;
}

int verb_copy(struct uvctl *u, int argc ULV_UNUSED, char **argv) {
        struct copying x = { .u = u, .dir = -1, .stream = -1, .errors = -1, .pidfd = -1, .far_pidfd = -1,
                             .stopped = { .tree = -1, .store = { -1, -1, -1 } } };
        char other[ULV_NAME_MAX + 1];
        const char *path;
        bool from = is_inside(argv[0], x.name, &x.inside);
        int r;

        x.in = !from;
        if (!from && !is_inside(argv[1], x.name, &x.inside))
                return usage(u, "neither of the two is in a partition", "one of them is written NAME:/path");
        if (from && is_inside(argv[1], other, &path))
                return usage(u, "both are in partitions", "one of the two is a path here; a file whose name has a colon is written ./NAME");
        x.here = argv[x.in ? 0 : 1];
        r = prepare(&x, argv[0] + (from ? strlen(x.name) + 1 : 0));
        if (r == 0)
                r = client_connect(u);
        if (r == 0)
                r = stopped_open(u, x.name, &x.stopped);
        if (r == 0)
                r = run(&x);
        stopped_done(&x.stopped);
        (void) ulv_close(x.dir);
        (void) ulv_close(x.stream);
        (void) ulv_close(x.errors);
        (void) ulv_close(x.pidfd);
        (void) ulv_close(x.far_pidfd);
        return r;
}
