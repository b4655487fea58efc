/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uvctl: the administrator's program. It decides nothing: it reads the command line, asks the planner
 * (uv-command), and shows the answer. What it says goes to standard output; errors, questions and
 * progress go to standard error, in three lines: what, why, try. */

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "uvctl/host.h"
#include "uvctl/options.h"
#include "uvctl/text.h"

int fail(struct uvctl *u, enum ulv_exit code, const char *what, const char *why, const char *try_) {
        ulv_diag_what(&u->diag, code, "%s", what);
        ulv_diag_why(&u->diag, "%s", why);
        ulv_diag_try(&u->diag, "%s", try_);
        return (int) code;
}

int fail_errno(struct uvctl *u, int r, const char *what) {
        ulv_diag_what(&u->diag, ULV_EXIT_FAILED, "cannot %s", what);
        ulv_diag_why(&u->diag, "%s", strerror(-r));
        return ULV_EXIT_FAILED;
}

/* What the daemon says may quote a file or a name: nothing of it reaches the terminal unseen. */
static void add_line(struct ulv_strbuf *b, const char *prefix, const char *text) {
        if (!*text)
                return;
        ulv_strbuf_add(b, prefix);
        text_safe(b, text, strlen(text), true);
        ulv_strbuf_addc(b, '\n');
}

void print_diag(const struct uvctl *u, const struct ulv_diag *d) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        bool colour = u->tty_err && !getenv("NO_COLOR");

        if (!d->what[0])
                return;
        if (colour)
                ulv_strbuf_add(&b, colour_start(COLOUR_BAD));
        if (d->file[0]) {
                text_safe(&b, d->file, strlen(d->file), false);
                if (d->line > 0)
                        ulv_strbuf_addf(&b, ":%u:%u", d->line, d->column);
                ulv_strbuf_add(&b, ": ");
        }
        text_safe(&b, d->what, strlen(d->what), false);
        if (colour)
                ulv_strbuf_add(&b, COLOUR_END);
        ulv_strbuf_addc(&b, '\n');
        add_line(&b, "", d->why);
        add_line(&b, "try: ", d->try_);
        fputs(ulv_strbuf_str(&b), stderr);
}

int put(struct uvctl *u, const struct ulv_strbuf *b) {
        if (ulv_strbuf_error(b) < 0)
                return fail_errno(u, ulv_strbuf_error(b), "show the answer");
        if (b->len > 0 && fwrite(b->s, 1, b->len, stdout) != b->len)
                return fail_errno(u, -errno, "write to standard output");
        return 0;
}

bool ask(const char *question) {
        char answer[16] = "";

        fflush(stdout);
        fprintf(stderr, "%s [y/N] ", question);
        if (!fgets(answer, sizeof(answer), stdin)) {
                fputc('\n', stderr);
                return false;
        }
        answer[strcspn(answer, "\n")] = 0;
        return !strcasecmp(answer, "y") || !strcasecmp(answer, "yes");
}

bool confirm(struct uvctl *u, const char *question, const char *command) {
        if (given(u, OPT_YES))
                return true;
        if (!isatty(STDIN_FILENO) || !u->tty_err) {
                (void) fail(u, ULV_EXIT_USAGE, "nobody can be asked: this is not a terminal", "nothing was changed", "");
                ulv_diag_try(&u->diag, "uvctl %s -y", command);
                return false;
        }
        if (ask(question))
                return true;
        (void) fail(u, ULV_EXIT_FAILED, "nothing was changed", "", "");
        return false;
}

/* Standard descriptors that are closed would be taken by the next socket, and printed into. */
static void fill_standard_fds(void) {
        for (;;) {
                int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

                if (fd > STDERR_FILENO || fd < 0) {
                        (void) ulv_close(fd);
                        return;
                }
        }
}

static void init(struct uvctl *u) {
        const char *root = getenv("ULTRAVISOR_ROOT"), *term = getenv("TERM");

        *u = (struct uvctl) {
                .root = root && *root ? root : "/",
                .legend = true,
                .reason = "",
                .wait_usec = UINT64_MAX,
                .signal = SIGTERM,
                .user = "",
                .chdir = "",
                .tty_out = isatty(STDOUT_FILENO),
                .tty_err = isatty(STDERR_FILENO),
        };
        u->colour = u->tty_out && !getenv("NO_COLOR") && !(term && ulv_streq(term, "dumb"));
}

int main(int argc, char **argv) {
        _cleanup_free_ char **words = NULL;
        const struct verb *verb = NULL;
        struct uvctl u;
        int r, n = 0;

        fill_standard_fds();
        (void) signal(SIGPIPE, SIG_IGN);        /* a closed pager is a write error, told like any other */
        init(&u);
        words = calloc((size_t) argc + 2, sizeof(*words));
        u.env = calloc((size_t) argc + 2, sizeof(*u.env));
        if (!words || !u.env)
                r = fail_errno(&u, -ENOMEM, "start");
        else
                r = options_read(&u, argc, argv, words, &verb, &n);
        if (r == 0 && verb)
                r = u.host ? host_run(&u, verb, argc, argv) : verb->run(&u, n - 1, words + 1);
        if (fflush(stdout) != 0 && r == 0)
                r = fail_errno(&u, -errno, "write to standard output");
        /* An exit status is never without a word, unless it is itself the answer (exec's command, status). */
        if (r != 0 && !u.diag.what[0] && !u.host && !(verb && verb->options & OPT_STATUS_SAYS_IT))
                (void) fail(&u, (enum ulv_exit) r, "it failed, and nobody said why", "", "uvctl history, and the log of the ultravisor");
        print_diag(&u, &u.diag);
        free(u.env);
        client_disconnect(&u);
        return r;
}
