/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* edit: a copy of a definition, in a directory of our own, goes through the administrator's editor until it
 * is free of errors; then it is applied as `apply NAME.partition` would be. The file itself is written
 * by uv-operations alone. */

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "uvctl/files.h"

struct edit {
        const char *name;
        char *original;         /* ROOT/etc/ultravisor/partitions/NAME.partition */
        char directory[64];     /* ours alone; the copy is in it under the name that messages quote */
        char *copy;
};

static void edit_done(struct edit *e, bool keep) {
        if (e->copy && !keep)
                (void) unlink(e->copy);
        if (e->directory[0] && !keep)
                (void) rmdir(e->directory);
        free(e->copy);
        free(e->original);
}

static int read_all(const char *path, char **ret, size_t *ret_len) {
        _cleanup_free_ char *buf = malloc(ULV_INI_FILE_MAX + 2);
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        size_t len = 0;
        ssize_t n;

        if (!buf || fd < 0)
                return buf ? -errno : -ENOMEM;
        while (len <= ULV_INI_FILE_MAX && (n = read(fd, buf + len, ULV_INI_FILE_MAX + 1 - len)) != 0) {
                if (n < 0)
                        return -errno;
                len += (size_t) n;
        }
        if (len > ULV_INI_FILE_MAX)
                return -EFBIG;
        buf[len] = 0;
        *ret = ulv_steal(buf);
        *ret_len = len;
        return 0;
}

static int write_copy(struct edit *e, const char *text, size_t len) {
        _cleanup_close_ int fd = -1;
        const char *tmp = getenv("TMPDIR");

        if (snprintf(e->directory, sizeof(e->directory), "%.40s/uvctl-XXXXXX", tmp && *tmp == '/' && strlen(tmp) < 40 ? tmp : "/tmp") < 0 ||
            !mkdtemp(e->directory)) {
                e->directory[0] = 0;
                return -errno;
        }
        if (asprintf(&e->copy, "%s/%s.partition", e->directory, e->name) < 0) {
                e->copy = NULL;
                return -ENOMEM;
        }
        fd = open(e->copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        return write(fd, text, len) == (ssize_t) len ? 0 : -EIO;
}

static int prepare(struct uvctl *u, struct edit *e, char **ret_text, size_t *ret_len) {
        _cleanup_free_ char *base = files_configuration(u);
        int r;

        if (!ulv_name_is_valid(e->name) || ulv_name_is_reserved(e->name)) {
                ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "%.64s is no name of a partition", e->name);
                ulv_diag_why(&u->diag, "a name is of a-z, 0-9 and -, at most %d, and none of the ultravisor's own", ULV_NAME_MAX);
                ulv_diag_try(&u->diag, "uvctl list");
                return ULV_EXIT_USAGE;
        }
        if (!base || asprintf(&e->original, "%s/partitions/%s.partition", base, e->name) < 0) {
                e->original = NULL;
                return fail_errno(u, -ENOMEM, "edit");
        }
        r = read_all(e->original, ret_text, ret_len);
        if (r == -ENOENT) {
                ulv_diag_what(&u->diag, ULV_EXIT_NOT_FOUND, "there is no definition of %s", e->name);
                ulv_diag_why(&u->diag, "%.400s is not there", e->original);
                ulv_diag_try(&u->diag, "write it (uv-partition(5) has examples), then uvctl apply");
                return ULV_EXIT_NOT_FOUND;
        }
        if (r == 0)
                r = write_copy(e, *ret_text, *ret_len);
        return r < 0 ? fail_errno(u, r, "copy the definition") : 0;
}

/* What was typed isn't lost with a refusal: the copy stays, and can be mended and applied. */
static bool keep_text(const struct edit *e, const char *before, size_t before_len) {
        _cleanup_free_ char *text = NULL;
        size_t len;

        if (!e->copy || !before || read_all(e->copy, &text, &len) < 0 || (len == before_len && memcmp(text, before, len) == 0))
                return false;
        fprintf(stderr, "what you wrote is kept in %s\nwhen it is mended: uvctl apply %s\n", e->copy, e->copy);
        return true;
}

/* $VISUAL, $EDITOR (which may have words behind the program), else what Debian calls `editor`, else vi. */
static int run_editor(struct uvctl *u, const char *path) {
        const char *choice = getenv("VISUAL");
        char **words = NULL;
        size_t n = 0;
        int status, r;
        pid_t pid;

        if (!choice || !*choice)
                choice = getenv("EDITOR");
        if (!choice || !*choice)
                choice = access("/usr/bin/editor", X_OK) == 0 ? "editor" : "vi";
        r = ulv_exec_split(choice, &words);
        if (r != 0)
                return fail(u, ULV_EXIT_USAGE, "$EDITOR is not a command", "it has an open quote", "EDITOR=vi uvctl edit NAME");
        while (words[n])
                n++;
        char **argv = calloc(n + 2, sizeof(*argv));

        if (argv && n > 0) {
                memcpy(argv, words, n * sizeof(*argv));
                argv[n] = (char *) path;
                fflush(stdout);
                pid = fork();
                if (pid == 0) {
                        (void) signal(SIGPIPE, SIG_DFL);
                        execvp(argv[0], argv);
                        _exit(127);
                }
        } else
                pid = -1;
        free(argv);
        ulv_strv_free(words);
        if (pid < 0)
                return fail_errno(u, -errno, "start the editor");
        while ((r = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
                ;
        if (r < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                ulv_diag_what(&u->diag, ULV_EXIT_FAILED, "nothing was changed: the editor failed");
                ulv_diag_why(&u->diag, "%.100s did not end well", choice);
                ulv_diag_try(&u->diag, "EDITOR=nano uvctl edit NAME");
                return ULV_EXIT_FAILED;
        }
        return 0;
}

/* The edited text with the drop-ins that it will be read with. */
static int edited_set(struct uvctl *u, const struct edit *e, const char *text, size_t len, struct file_set *ret) {
        struct file_set f;
        int r;

        r = files_load(u, e->original, &f);
        if (r != 0)
                return r;
        for (size_t i = 0; i < f.n; i++)
                if (!strstr(f.v[i].file, ".partition.d/")) {
                        char *copy = strndup(text, len);

                        if (!copy) {
                                files_done(&f);
                                return fail_errno(u, -ENOMEM, "check the definition");
                        }
                        free((char *) f.v[i].buf);
                        f.v[i].buf = copy;
                        f.v[i].len = len;
                }
        r = files_find_template(u, &f, NULL);   /* the edited text may name another */
        if (r != 0) {
                files_done(&f);
                return r;
        }
        *ret = f;
        return 0;
}

/* Edits until the definition is good, or the administrator gives up. */
static int edit_rounds(struct uvctl *u, struct edit *e, const char *before, size_t before_len, struct file_set *ret, bool *ret_same) {
        for (;;) {
                _cleanup_free_ char *text = NULL;
                struct file_set f;
                unsigned bad = 0;
                size_t len;
                int r;

                r = run_editor(u, e->copy);
                if (r != 0)
                        return r;
                r = read_all(e->copy, &text, &len);
                if (r < 0)
                        return fail_errno(u, r, "read the edited definition");
                *ret_same = len == before_len && memcmp(text, before, len) == 0;
                if (*ret_same)
                        return 0;
                r = edited_set(u, e, text, len, &f);
                if (r != 0)
                        return r;
                r = files_check(u, &f, NULL, &bad);
                if (r == 0 && bad == 0) {
                        *ret = f;
                        return 0;
                }
                files_done(&f);
                if (r != 0)
                        return r;
                if (!isatty(STDIN_FILENO) || !ask("Edit it again?"))
                        return fail(u, ULV_EXIT_FAILED, "nothing was changed: the definition has errors", "they are listed above", "mend what you wrote, then uvctl apply FILE");
        }
}

int verb_edit(struct uvctl *u, int argc ULV_UNUSED, char **argv) {
        struct edit e = { .name = argv[0] };
        _cleanup_free_ char *text = NULL;
        struct file_set f = { 0 };
        char command[100];
        bool same = false;
        size_t len = 0;
        int r;

        r = prepare(u, &e, &text, &len);
        if (r == 0)
                r = edit_rounds(u, &e, text, len, &f, &same);
        if (r == 0 && same) {
                edit_done(&e, false);
                if (!u->quiet)
                        printf("nothing was changed\n");
                return 0;
        }
        (void) snprintf(command, sizeof(command), "edit %.64s", argv[0]);
        if (r == 0)
                r = files_apply(u, &f, false, command);
        files_done(&f);
        edit_done(&e, r != 0 && keep_text(&e, text, len));
        return r;
}
