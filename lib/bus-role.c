/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/bus-role.h"

#include <fcntl.h>
#include <getopt.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <systemd/sd-daemon.h>

#include "lib/event.h"

/* 0; 1 = nothing more to do; -EINVAL. *ret_root points into argv or the environment. */
static int parse_options(int argc, char **argv, const char *name, const char *help, const char **ret_root) {
        static const struct option options[] = {
                { "root", required_argument, NULL, 'r' }, { "version", no_argument, NULL, 'V' },
                { "help", no_argument, NULL, 'h' }, { 0 },
        };
        const char *root = getenv("ULTRAVISOR_ROOT");
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'r':
                        root = optarg;
                        break;
                case 'V':
                        printf("%s %s\n", name, ULV_VERSION);
                        return 1;
                case 'h':
                        printf("%s", help);
                        return 1;
                default:
                        fprintf(stderr, "try: %s --help\n", name);
                        return -EINVAL;
                }
        if (optind < argc) {
                fprintf(stderr, "%s takes no argument, but got %s\ntry: %s --help\n", name, argv[optind], name);
                return -EINVAL;
        }
        *ret_root = root && *root ? root : "/";
        return 0;
}

int ulv_role_drop_capabilities(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 }, have[_LINUX_CAPABILITY_U32S_3];

        if (syscall(SYS_capget, &header, have) < 0)
                return -errno;
        /* A unit's filter of system calls has no capset(); what it gave us is nothing, so there is nothing to give up. */
        if (memcmp(have, none, sizeof(none)) == 0)
                return 0;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || syscall(SYS_capset, &header, none) < 0)
                return -errno;
        return 0;
}

/* Everything that this process could gain or has too much. It never needs any of it. */
static int give_up_privileges(const char *name) {
        int r;

        if (getuid() == 0 || geteuid() == 0) {
                fprintf(stderr, "%s doesn't run as root\nit has an account of its own, which the starter gives it\n"
                        "try: systemctl start ultravisor.target, or uvd --standalone --root DIR\n", name);
                return -EPERM;
        }
        r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : ulv_role_drop_capabilities();
        return r < 0 ? ulv_log_errno(r, "cannot give up privileges") : 0;
}

static int setup_event(struct ulv_role *r) {
        sigset_t mask;
        int k;

        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGTERM);
        (void) sigaddset(&mask, SIGINT);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
                return -errno;
        /* No handler: the loop ends with 0, and what is queued for peers is lost, as in a crash. */
        if ((k = sd_event_new(&r->event)) < 0 || (k = sd_event_add_signal(r->event, NULL, SIGTERM, NULL, NULL)) < 0 ||
            (k = sd_event_add_signal(r->event, NULL, SIGINT, NULL, NULL)) < 0 || (k = sd_event_set_watchdog(r->event, true)) < 0)
                return k;
        return 0;
}

int ulv_role_init(struct ulv_role *r, int argc, char **argv, const char *name, const char *help) {
        const char *root;
        int k;

        *r = (struct ulv_role) { .name = name };
        ulv_log_open(name);
        k = parse_options(argc, argv, name, help, &root);
        if (k != 0)
                return k;
        k = give_up_privileges(name);
        if (k < 0)
                return k;
        (void) umask(022);
        r->root = strdup(root);
        if (!r->root)
                return ulv_log_errno(-ENOMEM, "cannot begin");
        k = setup_event(r);
        if (k < 0)
                return ulv_log_errno(k, "cannot set up the event loop");
        return 0;
}

void ulv_role_ready(const char *status) {
        (void) sd_notifyf(false, "READY=1\nSTATUS=%s", status);
        ulv_event(ULV_EVENT_ROLE, ULV_LOG_INFO, NULL, "ready: it %s", status);
}

void ulv_role_done(struct ulv_role *r) {
        sd_event_unref(r->event);
        free(r->root);
        *r = (struct ulv_role) { 0 };
}

char *ulv_role_path(const struct ulv_role *r, const char *relative) {
        size_t n = strlen(r->root);
        char *path;

        if (asprintf(&path, "%s%s%s", r->root, n > 0 && r->root[n - 1] == '/' ? "" : "/", relative) < 0)
                return NULL;
        return path;
}

int ulv_role_directory(const struct ulv_role *r, const char *relative, mode_t mode, int *ret_fd) {
        _cleanup_free_ char *path = ulv_role_path(r, relative);
        int fd;

        if (!path)
                return -ENOMEM;
        if (mkdir(path, mode) < 0 && errno != EEXIST)
                return -errno;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        *ret_fd = fd;
        return 0;
}

int ulv_role_uid(const struct ulv_role *r, const char *account, uid_t standalone, uid_t *ret) {
        const struct passwd *pw;

        if (!ulv_streq(r->root, "/")) {
                *ret = standalone;
                return 0;
        }
        errno = 0;
        pw = getpwnam(account);
        if (!pw)
                return errno != 0 ? -errno : -ENOENT;
        *ret = pw->pw_uid;
        return 0;
}
