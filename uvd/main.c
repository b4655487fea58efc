/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uvd, the ultravisor's recorder: the one writer of the ledger.
 *
 * Order of start-up: options; as root (an administrator who types it) only to make directories and to read
 * a backup, then uvd's own account for good; the lock; recovery (recover.c); the sockets; the sandbox;
 * READY. It never waits for a peer after that, and ends by SIGTERM, or by itself after a commit that
 * failed: whoever started it starts it again. */

#include "uvd/uvd.h"

#include <fcntl.h>
#include <getopt.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

#include "lib/fd.h"
#include "lib/event.h"
#include "lib/protocol.h"

static const char help[] =
        "uvd [--root DIR] [--inventory FILE] [--sysfs DIR]\n"
        "    Keeps the ledger of this host: who owns which core, memory and device.\n"
        "uvd --standalone --root DIR [--inventory FILE]\n"
        "    Brings up a whole Ultravisor below DIR (executes uv-launch).\n"
        "uvd --rebuild [--root DIR]\n"
        "    Makes a new ledger from what runs, after the old one was lost or damaged.\n"
        "uvd --restore FILE [--root DIR]\n"
        "    Puts a backup (uvctl backup) in the place of the ledger. Nothing may run.\n"
        "    --inventory FILE  give what FILE says, not what this machine has\n"
        "    --sysfs DIR       read a captured /sys\n"
        "    --version  --help\n"
        "uvd(8) says more.\n";

struct options {
        const char *root, *inventory, *sysfs, *restore;
        bool standalone, rebuild;
};

enum { OPT_ROOT = 256, OPT_INVENTORY, OPT_SYSFS, OPT_RESTORE, OPT_STANDALONE, OPT_REBUILD, OPT_VERSION, OPT_HELP };

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct options *o) {
        static const struct option options[] = {
                { "root", required_argument, NULL, OPT_ROOT }, { "inventory", required_argument, NULL, OPT_INVENTORY },
                { "sysfs", required_argument, NULL, OPT_SYSFS }, { "restore", required_argument, NULL, OPT_RESTORE },
                { "standalone", no_argument, NULL, OPT_STANDALONE }, { "rebuild", no_argument, NULL, OPT_REBUILD },
                { "version", no_argument, NULL, OPT_VERSION }, { "help", no_argument, NULL, OPT_HELP }, {}
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case OPT_ROOT: o->root = optarg; break;
                case OPT_INVENTORY: o->inventory = optarg; break;
                case OPT_SYSFS: o->sysfs = optarg; break;
                case OPT_RESTORE: o->restore = optarg; break;
                case OPT_STANDALONE: o->standalone = true; break;
                case OPT_REBUILD: o->rebuild = true; break;
                case OPT_VERSION:
                        printf("uvd %s\n", ULV_VERSION);
                        return ULV_EXIT_OK;
                case OPT_HELP:
                        printf("%s", help);
                        return ULV_EXIT_OK;
                default:
                        fprintf(stderr, "try: uvd --help\n");
                        return ULV_EXIT_USAGE;
                }
        if (optind < argc || (o->standalone + o->rebuild + (o->restore != NULL)) > 1) {
                fprintf(stderr, "uvd cannot do this\n%s\ntry: uvd --help\n",
                        optind < argc ? "it takes options only" : "--standalone, --rebuild and --restore exclude each other");
                return ULV_EXIT_USAGE;
        }
        return -1;
}

static int say_diag(const struct ulv_diag *d, int r) {
        struct ulv_diag own;

        if (!d->what[0]) {
                ulv_diag_what(&own, ULV_EXIT_FAILED, "uvd cannot go on");
                ulv_diag_why(&own, "%s", strerror(r < 0 ? -r : EIO));
                ulv_diag_try(&own, "%s", r == -ENOMEM ? "free memory on this host, then again" : "see the log above");
                d = &own;
        }
        if (d->file[0])
                ulv_log(ULV_LOG_ERR, "%s:%u:%u: %s", d->file, d->line, d->column, d->what);
        else
                ulv_log(ULV_LOG_ERR, "%s", d->what);
        if (d->why[0])
                ulv_log(ULV_LOG_ERR, "%s", d->why);
        if (d->try_[0])
                ulv_log(ULV_LOG_ERR, "try: %s", d->try_);
        return d->code != ULV_EXIT_OK ? (int) d->code : ULV_EXIT_FAILED;
}

/* uv-launch from beside our own file; it becomes this process. */
static int exec_launch(const struct options *o) {
        const char *argv[8] = { "uv-launch" };
        static const char name[] = "uv-launch";
        char path[4096 + sizeof(name)];
        ssize_t n = readlink("/proc/self/exe", path, 4096);
        char *slash;
        int k = 1;

        path[n < 0 ? 0 : n] = 0;
        slash = strrchr(path, '/');
        if (!slash)
                return -ENOENT;
        memcpy(slash + 1, name, sizeof(name));  /* room for it is left, whatever the path's length */
        if (o->root) {
                argv[k++] = "--root";
                argv[k++] = o->root;
        }
        if (o->inventory) {
                argv[k++] = "--inventory";
                argv[k++] = o->inventory;
        }
        (void) execv(path, (char *const *) argv);
        fprintf(stderr, "cannot execute %s\n%s\ntry: make, or install uv-launch beside uvd\n", path, strerror(errno));
        return -errno;
}

/* Accounts when installed (systemd-sysusers makes them), documented numbers in a standalone instance. */
static uid_t account(const char *root, const char *name, uid_t standalone) {
        const struct passwd *pw = root[0] ? NULL : getpwnam(name);

        return pw ? pw->pw_uid : standalone;
}

/* Without a slash at its end: "" when installed. */
static int make_root(const char *given, char **ret) {
        char *root = given ? strdup(given) : NULL;
        size_t n;

        if (!given)
                given = getenv("ULTRAVISOR_ROOT");
        if (!root)
                root = strdup(given && given[0] ? given : "/");
        if (!root)
                return -ENOMEM;
        n = strlen(root);
        while (n > 0 && root[n - 1] == '/')
                root[--n] = 0;
        *ret = root;
        return 0;
}

/* One fd per connection, pidfd and view: the soft limit of 1024 is for programs that use select(). */
static void raise_fd_limit(void) {
        struct rlimit l;

        if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
                l.rlim_cur = l.rlim_max;
                (void) setrlimit(RLIMIT_NOFILE, &l);
        }
}

static int setup_event(struct uvd *u) {
        sigset_t mask;
        int r;

        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGTERM);
        (void) sigaddset(&mask, SIGINT);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
                return -errno;
        if ((r = sd_event_new(&u->event)) < 0 || (r = sd_event_add_signal(u->event, NULL, SIGTERM, NULL, NULL)) < 0 ||
            (r = sd_event_add_signal(u->event, NULL, SIGINT, NULL, NULL)) < 0 || (r = sd_event_set_watchdog(u->event, true)) < 0)
                return r;
        return 0;
}

static int serve(struct uvd *u, struct ulv_diag *d) {
        int r = uvd_recover(u, d);

        if (r != 0)
                return r;
        if ((r = channel_listen(u)) < 0 || (r = monitors_listen(u)) < 0) {
                ulv_diag_what(d, ULV_EXIT_FAILED, "cannot listen below %s/uvd", u->run_dir);
                ulv_diag_why(d, "%s", strerror(-r));
                ulv_diag_try(d, "see that the directory is uvd's own and writable");
                return r;
        }
        if ((r = starter_attach(u)) < 0)
                return r;
        guests_review_all(u);
        starter_forget_old_types(u);
        if ((r = sandbox_enter()) < 0)
                return r;
        (void) sd_notifyf(false, "READY=1\nSTATUS=generation %llu", (unsigned long long) ulv_ledger_generation(u->ledger));
        ulv_event(ULV_EVENT_ROLE, ULV_LOG_INFO, NULL, "ready: the ledger is at generation %llu", (unsigned long long) ulv_ledger_generation(u->ledger));
        r = sd_event_loop(u->event);
        (void) sd_notify(false, "STOPPING=1");
        if (r > 0) {
                ulv_diag_what(d, (enum ulv_exit) r, "uvd ends, to start anew from what is on the disk");
                return 1;
        }
        /* Whatever arrived before the signal is committed and answered. */
        return r < 0 ? r : transact_run(u) ? 0 : -EIO;
}

static void uvd_done(struct uvd *u) {
        struct guest *g, *next;

        ulv_bus_listener_free(u->commands);
        ulv_bus_listener_free(u->monitors);
        HASH_ITER(hh, u->guests, g, next)
                guest_free(u, g);
        starter_free(u);
        transact_done(u);
        ulv_ledger_free(u->ledger);
        store_close(u->store);
        sd_event_unref(u->event);
        (void) ulv_close(u->run_fd);
        (void) ulv_close(u->lock_fd);
        (void) ulv_close(u->host_lock_fd);
        free(u->root);
        free(u->state_dir);
        free(u->run_dir);
}

static int read_backup(const char *file, char **ret, size_t *ret_len, struct ulv_diag *d) {
        int r = ulv_read_file_at(AT_FDCWD, file, UVD_BACKUP_MAX, ret, ret_len);

        if (r < 0) {
                ulv_diag_what(d, ULV_EXIT_FAILED, "cannot read the backup %s", file);
                ulv_diag_why(d, "%s", strerror(-r));
                ulv_diag_try(d, "give the file that uvctl backup wrote");
        }
        return r;
}

static int run(struct uvd *u, const struct options *o, struct ulv_diag *d) {
        _cleanup_free_ char *backup = NULL;
        size_t backup_len = 0;
        int r;

        if (o->restore && (r = read_backup(o->restore, &backup, &backup_len, d)) < 0)
                return r;
        if ((r = make_root(o->root, &u->root)) < 0)
                return r;
        u->uid_command = account(u->root, "uv-command", ULV_UID_COMMAND);
        u->sysfs = o->sysfs ? o->sysfs : "/sys";
        u->inventory_file = o->inventory ? o->inventory : getenv("ULTRAVISOR_INVENTORY");
        if (u->inventory_file && !u->inventory_file[0])
                u->inventory_file = NULL;
        raise_fd_limit();
        if ((r = settings_read(u, d)) != 0 || (r = uvd_open_dirs(u, account(u->root, "ultravisor", ULV_UID_UVD), d)) != 0 ||
            (r = setup_event(u)) < 0)
                return r;
        if (getrandom(&u->epoch, sizeof(u->epoch), 0) != sizeof(u->epoch))
                return -EIO;
        if (o->restore)
                return uvd_restore_file(u, backup, backup_len, d);
        return o->rebuild ? uvd_rebuild(u, d) : serve(u, d);
}

int main(int argc, char **argv) {
        struct uvd u = { .run_fd = -1, .lock_fd = -1, .host_lock_fd = -1 };
        struct options o = {};
        struct ulv_diag d = {};
        int r;

        r = parse_options(argc, argv, &o);
        if (r >= 0)
                return r;
        if (o.standalone)
                return exec_launch(&o) < 0 ? ULV_EXIT_FAILED : ULV_EXIT_OK;
        ulv_log_open("uvd");
        u.last = &u.first;
        r = run(&u, &o, &d);
        if (r != 0)
                r = say_diag(&d, r);
        uvd_done(&u);
        return r;
}
