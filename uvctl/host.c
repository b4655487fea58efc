/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* -H: the same command line, run there, by ssh. All that it reads and writes is there, but for standard input, output
 * and error, and it asks who may there. ssh hands one text to the login shell of the account, whatever that is: so the
 * text is nothing but words in single quotes, and what needs a shell's language is a script for sh among them. */

#include "uvctl/host.h"

#include <signal.h>
#include <sys/wait.h>

#include "uvctl/options.h"

#define SSH_FAILED 255

/* Told there, as only there it is known. */
#define SCRIPT "command -v uvctl >/dev/null || { echo 'there is no uvctl on this host ('$(uname -n)')'; " \
               "echo 'it is looked for in '$PATH; echo 'try: install ultravisor there'; exit 10; } >&2; exec uvctl \"$@\""

static void add_word(struct ulv_strbuf *b, const char *word) {
        ulv_strbuf_add(b, b->len > 0 ? " '" : "'");
        for (; *word; word++)
                if (*word == '\'')
                        ulv_strbuf_add(b, "'\\''");
                else
                        ulv_strbuf_addc(b, *word);
        ulv_strbuf_addc(b, '\'');
}

int host_command(struct ulv_strbuf *b, int argc, char **argv, int from, int to) {
        add_word(b, "sh");
        add_word(b, "-c");
        add_word(b, SCRIPT);
        add_word(b, "uvctl");
        for (int i = 1; i < argc; i++)
                if (i < from || i >= to)
                        add_word(b, argv[i]);
        return ulv_strbuf_error(b);
}

/* Programs inside, and an editor, want a terminal where we have one; of another verb what it says to standard error
 * must not end up in its output, so it gets one only where both are the terminal. */
static bool wants_terminal(const struct uvctl *u, const struct verb *v) {
        bool typed = v->run == verb_exec || v->run == verb_shell || v->run == verb_console || v->run == verb_edit;

        return isatty(STDIN_FILENO) && u->tty_out && (typed || u->tty_err);
}

/* ssh's status; -errno. */
static int run(const char *const argv[]) {
        struct sigaction ignore = { .sa_handler = SIG_IGN }, interrupt, quit;
        int status, r;
        pid_t pid;

        /* Ctrl-C is for ssh, which is in our process group; how it ends is what we end with. */
        (void) sigaction(SIGINT, &ignore, &interrupt);
        (void) sigaction(SIGQUIT, &ignore, &quit);
        pid = fork();
        if (pid == 0) {
                (void) sigaction(SIGINT, &interrupt, NULL);
                (void) sigaction(SIGQUIT, &quit, NULL);
                (void) signal(SIGPIPE, SIG_DFL);
                (void) execvp(argv[0], (char *const *) argv);
                _exit(errno == ENOENT ? 127 : 126);
        }
        if (pid < 0)
                return -errno;
        while ((r = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
                ;
        if (r < 0)
                return -errno;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool is_there(const char *program) {
        const char *path = getenv("PATH");
        char at[4096];

        for (const char *p = path ? path : "/usr/bin:/bin"; p; p = strchr(p, ':') ? strchr(p, ':') + 1 : NULL) {
                int n = (int) strcspn(p, ":");

                if (snprintf(at, sizeof(at), "%.*s/%s", n, p, program) < (int) sizeof(at) && access(at, X_OK) == 0)
                        return true;
        }
        return false;
}

int host_run(struct uvctl *u, const struct verb *v, int argc, char **argv) {
        _cleanup_strbuf_ struct ulv_strbuf command = { 0 };
        /* "Connection closed." of a terminal that was asked for is no news; errors are. */
        const char *ssh[] = { "ssh", wants_terminal(u, v) ? "-t" : "-T", "-o", "LogLevel=ERROR", "--", u->host, NULL, NULL };
        int r = host_command(&command, argc, argv, u->host_from, u->host_to);

        if (r < 0)
                return fail_errno(u, r, "make a command line");
        if (!is_there(ssh[0])) {
                ulv_diag_what(&u->diag, ULV_EXIT_UNREACHABLE, "cannot reach %.64s: this machine has no ssh", u->host);
                ulv_diag_why(&u->diag, "--host runs uvctl there by ssh, and there is none in $PATH");
                ulv_diag_try(&u->diag, "apt install openssh-client");
                return ULV_EXIT_UNREACHABLE;
        }
        ssh[6] = ulv_strbuf_str(&command);
        r = run(ssh);
        if (r < 0)
                return fail_errno(u, r, "run ssh");
        if (r != SSH_FAILED || v->run == verb_exec || v->run == verb_shell)     /* of these it may be the command's own */
                return r;
        ulv_diag_what(&u->diag, ULV_EXIT_UNREACHABLE, "cannot reach %.64s", u->host);
        ulv_diag_why(&u->diag, "ssh says above why");
        ulv_diag_try(&u->diag, "ssh %.64s uvctl version", u->host);
        return ULV_EXIT_UNREACHABLE;
}

int host_take(struct uvctl *u, const char *host, char **argv, int from, int to) {
        const char *option = argv[from];

        if (u->host)
                return fail(u, ULV_EXIT_USAGE, "--host is given twice", "a command runs on one host", "one of them");
        if (option[0] == '-' && option[1] != '-' && option[1] != 'H')
                return fail(u, ULV_EXIT_USAGE, "-H is a word of its own", "it isn't sent there, the others are", "-H HOST");
        /* ssh would take it for an option. */
        if (!*host || *host == '-' || strpbrk(host, " \t\n"))
                return fail(u, ULV_EXIT_USAGE, "--host wants a host", "it is what ssh knows: HOST, USER@HOST, or a name of its configuration", "uvctl -H root@HOST list");
        u->host = host;
        u->host_from = from;
        u->host_to = to;
        return 0;
}
