/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From the log to a running ledger. In this order, so that a refusal comes before anything is changed:
 * directories and the lock of this ledger; what the machine has, and its lock; what the starter keeps; the log, checked;
 * the ledger from its rows, all invariants checked; then the first commit: what the machine has now, and
 * who we are. A ledger that is missing while monitors run is not a new installation but a lost file. */

#include "uvd/uvd.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "lib/fd.h"
#include "lib/log.h"
#include "lib/protocol.h"
#include "uvd/discover.h"

#define INVENTORY_FILE_MAX ((size_t) 1024 * 1024)

/* --- directories -------------------------------------------------------------------------------------- */

/* Makes each missing part of ROOT/path; the last one is uvd's own (owner, mode). */
static int make_dirs(const char *root, const char *path, mode_t mode, uid_t uid) {
        _cleanup_free_ char *p = NULL;
        bool made = false;

        if (asprintf(&p, "%s/%s", root, path) < 0) {
                p = NULL;
                return -ENOMEM;
        }
        for (char *slash = p + strlen(root) + 1; slash; ) {
                slash = strchr(slash, '/');
                if (slash)
                        *slash = 0;
                made = mkdir(p, slash ? 0755 : mode) >= 0;
                if (!made && errno != EEXIST)
                        return -errno;
                if (slash)
                        *slash++ = '/';
        }
        /* Only as root, before privileges go, and only what we made: never another's directory. */
        if (made && geteuid() == 0 && uid != 0 && lchown(p, uid, (gid_t) uid) < 0)
                return -errno;
        return 0;
}

static int take_lock(struct uvd *u, struct ulv_diag *reterr) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/lock", u->state_dir) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        u->lock_fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (u->lock_fd < 0)
                return -errno;
        if (flock(u->lock_fd, LOCK_EX | LOCK_NB) >= 0)
                return 0;
        if (errno != EWOULDBLOCK)
                return -errno;
        ulv_diag_what(reterr, ULV_EXIT_CONFLICT, "another uvd keeps the ledger in %s", u->state_dir);
        ulv_diag_why(reterr, "it holds the lock of that directory");
        ulv_diag_try(reterr, "stop it, or give another --root");
        return 1;
}

int uvd_open_dirs(struct uvd *u, uid_t uid, struct ulv_diag *reterr) {
        static const struct { const char *path; mode_t mode; } dirs[] = {
                { "var/lib/ultravisor/uvd", 0700 }, { ULV_RUN "/uvd", 0755 }, { ULV_RUN_TYPE, 0755 },
        };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ULV_ARRAY_SIZE(dirs); i++)
                r = make_dirs(u->root, dirs[i].path, dirs[i].mode, uid);
        if (r >= 0 && (asprintf(&u->state_dir, "%s/var/lib/ultravisor/uvd", u->root) < 0 || asprintf(&u->run_dir, "%s/" ULV_RUN, u->root) < 0))
                return -ENOMEM;
        if (r >= 0) {
                u->run_fd = open(u->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                r = u->run_fd < 0 ? -errno : sandbox_drop_root(uid, (gid_t) uid);
        }
        if (r >= 0) {
                r = take_lock(u, reterr);
                if (r > 0)
                        return r;
        }
        if (r < 0) {
                ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot use the directories of uvd below %s/", u->root);
                ulv_diag_why(reterr, "%s", strerror(-r));
                ulv_diag_try(reterr, "ls -ld %s/var/lib/ultravisor/uvd %s/run/ultravisor/uvd: both are of uvd's account, writable", u->root, u->root);
        }
        return r;
}

/* --- what the machine has ----------------------------------------------------------------------------- */

int uvd_inventory(struct uvd *u, struct ulv_inventory **ret, struct ulv_diag *reterr) {
        _cleanup_free_ char *buf = NULL;
        size_t len;
        int r;

        if (!u->inventory_file) {
                r = discover(u->sysfs, ret);
                if (r < 0) {
                        ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot find out what this machine has");
                        ulv_diag_why(reterr, "%s: %s", u->sysfs, strerror(-r));
                        ulv_diag_try(reterr, "see that /sys is mounted, or give --inventory FILE");
                }
                return r;
        }
        r = ulv_read_file_at(AT_FDCWD, u->inventory_file, INVENTORY_FILE_MAX, &buf, &len);
        if (r < 0) {
                ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot read the inventory %s", u->inventory_file);
                ulv_diag_why(reterr, "%s", strerror(-r));
                ulv_diag_try(reterr, "give the right --inventory FILE, readable by uvd's account");
                return r;
        }
        return ulv_inventory_parse(u->inventory_file, buf, len, ret, reterr);
}

static const char host_lock[] = "/run/lock/ultravisor.lock";

/* PID 1 keeps it for us: between two lives of ours nobody else can take it. */
static int kept_host_lock(void) {
        char **names = NULL;
        int n = sd_listen_fds_with_names(1, &names), fd = -1;

        for (int i = 0; i < n; i++) {
                if (fd < 0 && ulv_streq(names[i], "host-lock"))
                        fd = SD_LISTEN_FDS_START + i;
                else
                        (void) close(SD_LISTEN_FDS_START + i);
                free(names[i]);
        }
        free(names);
        return fd;
}

static int keep_host_lock(int fd) {
        int r = sd_pid_notify_with_fds(0, 0, "FDSTORE=1\nFDNAME=host-lock\nFDPOLL=0", &fd, 1);

        return r < 0 ? r : 0;
}

/* One Ultravisor gives a machine's cores and memory, and who does holds this lock (a standalone one: launch/state.c, which
 * writes its directory into the file while it lives). systemd-tmpfiles made the file, for our group to read. A part of a
 * machine with a prefix of its own, or an imagined one, needs no lock. */
static int take_host_lock(struct uvd *u, const struct ulv_inventory *inv, struct ulv_diag *reterr) {
        char holder[4096] = "";
        bool locked;
        ssize_t n;
        int r = 0;

        if (u->root[0] || sd_booted() <= 0)
                return 0;
        u->host_lock_fd = kept_host_lock();
        if (u->host_lock_fd >= 0 || inv->prefix[0] || inv->kind == ULV_INVENTORY_IMAGINED)
                return 0;
        u->host_lock_fd = open(host_lock, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (u->host_lock_fd < 0 || flock(u->host_lock_fd, LOCK_EX | LOCK_NB) < 0)
                r = -errno;
        locked = r == -EWOULDBLOCK;
        if (r >= 0)
                r = keep_host_lock(u->host_lock_fd);
        if (r < 0 && !locked) {
                ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot take the lock of this machine, %s", host_lock);
                ulv_diag_why(reterr, "%s", strerror(-r));
                ulv_diag_try(reterr, "systemd-tmpfiles --create ultravisor.conf");
                return 1;
        }
        n = pread(u->host_lock_fd, holder, sizeof(holder) - 1, 0);
        holder[n > 0 ? n : 0] = 0;
        holder[strcspn(holder, "\n")] = 0;
        if (!locked && !holder[0])
                return 0;
        ulv_diag_what(reterr, ULV_EXIT_CONFLICT, "another Ultravisor gives this machine's cores and memory");
        ulv_diag_why(reterr, "%s: the one in %s %s", host_lock, holder, locked ? "runs" : "was killed, and its partitions may run on");
        ulv_diag_try(reterr, "%s%s, and systemctl start ultravisor.target", locked ? "stop that one" : "end it in order: uv-launch --root ", locked ? "" : holder);
        return 1;
}

/* --- the log ------------------------------------------------------------------------------------------ */

static bool monitors_run(const struct uvd *u, char name[static ULV_NAME_MAX + 1]) {
        for (const struct guest *g = u->guests; g; g = g->hh.next)
                if (g->token[0]) {
                        (void) snprintf(name, ULV_NAME_MAX + 1, "%s", g->name);
                        return true;
                }
        return false;
}

static int create(struct uvd *u, const struct ulv_inventory *inv, struct ulv_diag *reterr) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = NULL;
        _cleanup_strbuf_ struct ulv_strbuf rows = {};
        char name[ULV_NAME_MAX + 1];
        int r;

        if (monitors_run(u, name)) {
                ulv_diag_what(reterr, ULV_EXIT_FAILED, "the ledger's log %s/ledger.db is gone, and partitions run", u->state_dir);
                ulv_diag_why(reterr, "the starter keeps the monitor of %s: a new ledger would give away what it uses", name);
                ulv_diag_try(reterr, "uvd --rebuild (a new ledger from what runs), or uvd --restore BACKUP");
                return 1;
        }
        r = ulv_ledger_new(inv, &l);
        if (r >= 0)
                r = ulv_ledger_dump(l, NULL, &rows);
        if (r < 0)
                return r;
        r = store_install(u->state_dir, ulv_strbuf_str(&rows), rows.len, "", 0, reterr);
        if (r == 0)
                ulv_log(ULV_LOG_NOTICE, "made a new ledger in %s: all belongs to host", u->state_dir);
        return r;
}

static int load(struct uvd *u, struct ulv_diag *reterr) {
        _cleanup_strbuf_ struct ulv_strbuf rows = {}, discard = {};
        struct ulv_diag why = {};
        int r;

        r = store_rows(u->store, &rows);
        if (r >= 0)
                r = ulv_ledger_load(ulv_strbuf_str(&rows), rows.len, &u->ledger, &why);
        if (r == 0)
                r = ulv_ledger_check(u->ledger, &why);
        if (r > 0 || r == -EBADMSG) {
                ulv_diag_what(reterr, ULV_EXIT_FAILED, "the ledger in %s/ledger.db is not sound; nothing was changed", u->state_dir);
                ulv_diag_why(reterr, "%s%s%s", r > 0 ? why.what : store_error_text(u->store), why.why[0] ? ": " : "", why.why);
                ulv_diag_try(reterr, "uvd --restore BACKUP, or uvd --rebuild (a new ledger from what runs)");
                return 1;
        }
        /* What was loaded is no change. */
        return r < 0 ? r : ulv_ledger_drain_changes(u->ledger, &discard);
}

static int say_line(const char *line, size_t len, ULV_UNUSED void *userdata) {
        ulv_log(ULV_LOG_WARNING, "the machine differs from the ledger: %.*s", (int) len, line);
        return 0;
}

/* The machine as it is now, committed with its own entry in history. */
static int take_inventory(struct uvd *u, const struct ulv_inventory *inv) {
        _cleanup_strbuf_ struct ulv_strbuf differences = {}, changes = {};
        struct store_entry e = { .subject = "uvd", .state = "done", .operations = "", .undo = "" };
        char id[64];
        int r;

        r = ulv_ledger_set_inventory(u->ledger, inv, &differences);
        if (r < 0)
                return r;
        (void) ulv_op_each_line(ulv_strbuf_str(&differences), differences.len, say_line, NULL);
        r = ulv_ledger_drain_changes(u->ledger, &changes);
        if (r < 0 || changes.len == 0)
                return r;
        (void) snprintf(id, sizeof(id), "inventory-%016llx", (unsigned long long) u->epoch);
        e.id = id;
        e.time = uvd_now();
        e.generation = ulv_ledger_generation(u->ledger);
        e.reason = ulv_strbuf_str(&differences);
        e.after = ulv_strbuf_str(&changes);
        if ((r = store_begin(u->store)) < 0 || (r = store_apply(u->store, e.after, changes.len)) < 0 || (r = store_add(u->store, &e)) < 0) {
                store_rollback(u->store);
                return r;
        }
        return store_commit(u->store, u->history_keep);
}

static int fail_writing(struct uvd *u, int r, struct ulv_diag *reterr) {
        ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot write the ledger's log in %s", u->state_dir);
        ulv_diag_why(reterr, "%s (%s)", u->store ? store_error_text(u->store) : "", strerror(-r));
        ulv_diag_try(reterr, "make room or the directory writable: df %s; then uvd goes on where it was", u->state_dir);
        return r;
}

int uvd_recover(struct uvd *u, struct ulv_diag *reterr) {
        ULV_CLEANUP(ulv_inventory_freep) struct ulv_inventory *inv = NULL;
        int r;

        r = uvd_inventory(u, &inv, reterr);
        if (r == 0)
                r = take_host_lock(u, inv, reterr);
        if (r != 0)
                return r;
        r = starter_connect(u);
        if (r < 0) {
                ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot speak with the starter at %s/" ULV_SOCKET_LAUNCH, u->run_dir);
                ulv_diag_why(reterr, "%s", strerror(-r));
                ulv_diag_try(reterr, "is uv-launch running and is it of this version?");
                return r;
        }
        r = store_open(u->state_dir, &u->store, reterr);
        if (r == STORE_MISSING) {
                r = create(u, inv, reterr);
                if (r == 0)
                        r = store_open(u->state_dir, &u->store, reterr);
        }
        if (r != 0)
                return r;
        r = load(u, reterr);
        if (r > 0)
                return r;
        if (r >= 0) {
                r = take_inventory(u, inv);
                if (r >= 0) {
                        channel_report_self(u);
                        r = transact_run(u) ? 0 : -EIO;
                }
                if (r < 0)
                        return fail_writing(u, r, reterr);
        }
        return r;
}
