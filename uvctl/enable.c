/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* enable, disable: whether a partition is started at boot is systemd's to know. The names are checked here, for systemctl
 * would enable any; the rest is its own, with the caller's rights. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "model/name.h"
#include "uvctl/uvctl.h"

static int check_names(struct uvctl *u, int argc, char **argv) {
        int r = client_connect(u);

        for (int i = 0; r == ULV_EXIT_OK && i < argc; i++) {
                _cleanup_message_ sd_bus_message *m = NULL;

                r = client_call(u, &m, "Definition", "s", argv[i]);
        }
        return r;
}

static int run_systemctl(struct uvctl *u, const char *verb, int argc, char **argv) {
        const char **words = calloc((size_t) argc + 4, sizeof(*words));
        int n = 0, r = words ? 0 : -ENOMEM;

        if (r == 0) {
                words[n++] = "systemctl";
                words[n++] = verb;
                if (u->quiet)
                        words[n++] = "--quiet";
        }
        for (int i = 0; r == 0 && i < argc; i++) {
                char *unit;

                r = asprintf(&unit, "uv-partition@%s.service", argv[i]) < 0 ? -ENOMEM : 0;
                if (r == 0)
                        words[n++] = unit;
        }
        if (r == 0) {
                (void) fflush(stdout);
                (void) execvp(words[0], (char **) (uintptr_t) words);
                r = -errno;
        }
        return fail_errno(u, r, "run systemctl");
}

static int with_systemd(struct uvctl *u, const char *verb, int argc, char **argv) {
        int r;

        if (!ulv_streq(u->root, "/"))
                return fail(u, ULV_EXIT_USAGE, "an instance below a directory starts nothing at boot", "systemd does that, for an installed Ultravisor",
                            "make install, then the same without --root");
        for (int i = 0; i < argc; i++)
                if (!ulv_name_is_valid(argv[i]))
                        return fail(u, ULV_EXIT_NOT_FOUND, "that is not the name of a partition", argv[i], "uvctl list");
        /* What is enabled may have lost its definition meanwhile. */
        r = ulv_streq(verb, "enable") ? check_names(u, argc, argv) : ULV_EXIT_OK;
        return r == ULV_EXIT_OK ? run_systemctl(u, verb, argc, argv) : r;
}

int systemctl(const char *verb, const char *unit, bool quiet) {
        int status;
        pid_t pid;

        (void) fflush(stdout);
        pid = fork();
        if (pid == 0) {
                if (!quiet)
                        (void) execlp("systemctl", "systemctl", verb, unit, (char *) NULL);
                else if (dup2(open("/dev/null", O_RDWR | O_CLOEXEC), STDERR_FILENO) >= 0)
                        (void) execlp("systemctl", "systemctl", "--quiet", "--no-ask-password", verb, unit, (char *) NULL);
                _exit(127);
        }
        if (pid < 0 || waitpid(pid, &status, 0) < 0)
                return -errno;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

/* A partition that was removed: at the next boot its unit would only fail. */
void disable_removed(const struct uvctl *u, const char *name) {
        char unit[ULV_NAME_MAX + 32], link[ULV_NAME_MAX + 96];
        struct stat st;

        (void) snprintf(unit, sizeof(unit), "uv-partition@%s.service", name);
        (void) snprintf(link, sizeof(link), "/etc/systemd/system/ultravisor.target.wants/%s", unit);
        if (!ulv_streq(u->root, "/") || lstat(link, &st) < 0)
                return;
        if (systemctl("disable", unit, true) < 0)
                fprintf(stderr, "%s is removed, and still enabled: its unit will fail at boot\ntry: sudo uvctl disable %s\n", name, name);
        else if (!u->quiet)
                printf("%s isn't started at boot any more\n", name);
}

int verb_enable(struct uvctl *u, int argc, char **argv) { return with_systemd(u, "enable", argc, argv); }
int verb_disable(struct uvctl *u, int argc, char **argv) { return with_systemd(u, "disable", argc, argv); }
