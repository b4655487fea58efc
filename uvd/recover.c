/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From the log to a running ledger. In this order, so that a refusal comes before anything is changed:
 * directories and the lock of this ledger; what the machine has; what the starter keeps; the log, checked;
 * the ledger from its rows, all invariants checked; then the first commit: what the machine has now, and
 * who we are. A ledger that is missing while monitors run is not a new installation but a lost file. */

#include "uvd/uvd.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

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
