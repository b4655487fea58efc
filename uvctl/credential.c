/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* credential encrypt, rotate. Encrypting is systemd-creds', with the key that this instance decrypts with; the
 * plaintext goes from its file into systemd-creds, and uvctl never reads it. Rotating is asked of the partition's
 * monitor by name: it reads the paths of the definition again, and no secret goes over the bus. */

#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "uvctl/uvctl.h"

#define PROGRAM "systemd-creds"

static int encrypt_failed(struct uvctl *u, const char *in, int status) {
        bool missing = WIFEXITED(status) && WEXITSTATUS(status) == 127;

        ulv_diag_what(&u->diag, ULV_EXIT_FAILED, "cannot encrypt %.200s", in);
        ulv_diag_why(&u->diag, missing ? PROGRAM " is not installed" : PROGRAM " failed; it says above why");
        ulv_diag_try(&u->diag, missing ? "apt install systemd; or [Credential] Source=, a plain file of root's" : "as root, with a key of this host: " PROGRAM " setup");
        return ULV_EXIT_FAILED;
}

static int encrypt(struct uvctl *u, char **argv) {
        char name[128], key[PATH_MAX];
        bool own = !ulv_streq(u->root, "/");
        /* A standalone instance's key is a file below its root. */
        char *words[] = { (char *) PROGRAM, (char *) "encrypt", name, argv[1], argv[2], own ? (char *) "--with-key=host" : NULL, NULL };
        int status;

        if (snprintf(name, sizeof(name), "--name=%s", argv[0]) >= (int) sizeof(name) ||
            snprintf(key, sizeof(key), "%s/" ULV_CREDENTIAL_KEY, u->root) >= (int) sizeof(key))
                return fail(u, ULV_EXIT_USAGE, "the name is too long", "a credential's name has at most 63 characters", "");
        pid_t pid = fork();
        if (pid == 0) {
                if (own)
                        (void) setenv("SYSTEMD_CREDENTIAL_SECRET", key, 1);
                (void) setenv("SYSTEMD_LOG_LEVEL", "err", 0);
                (void) umask(077);
                (void) execvp(words[0], words);
                _exit(errno == ENOENT ? 127 : 126);
        }
        if (pid < 0 || waitpid(pid, &status, 0) < 0)
                return fail_errno(u, -errno, "run " PROGRAM);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                return encrypt_failed(u, argv[1], status);
        if (!u->quiet)
                printf("%s  encrypted for this host; in a definition: [Credential \"%s\"] Encrypted=%s\n", argv[2], argv[0], argv[2]);
        return 0;
}

static int rotate(struct uvctl *u, char **argv) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r = client_call(u, &reply, "RotateCredential", "ss", argv[0], argv[1] ? argv[1] : "");

        if (r == 0 && !u->quiet)
                printf("%s  %s rotated; whoever opens it from now on reads the new content\n", argv[0], argv[1] ? argv[1] : "all credentials");
        return r;
}

static const struct {
        const char *name, *args;
        int min, max;
        int (*run)(struct uvctl *u, char **argv);
} verbs[] = {
        { "encrypt", "CREDENTIAL IN OUT", 3, 3, encrypt },
        { "rotate", "NAME [CREDENTIAL]", 1, 2, rotate },
};

int verb_credential(struct uvctl *u, int argc, char **argv) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(verbs); i++) {
                if (!ulv_streq(argv[0], verbs[i].name))
                        continue;
                if (argc - 1 >= verbs[i].min && argc - 1 <= verbs[i].max)
                        return verbs[i].run(u, argv + 1);
                ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "uvctl credential %s needs %s words", verbs[i].name, argc - 1 < verbs[i].min ? "more" : "fewer");
                ulv_diag_try(&u->diag, "uvctl credential %s %s", verbs[i].name, verbs[i].args);
                return ULV_EXIT_USAGE;
        }
        ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "uvctl credential has no verb \"%.64s\"", argv[0]);
        ulv_diag_try(&u->diag, "uvctl credential encrypt|rotate");
        return ULV_EXIT_USAGE;
}
