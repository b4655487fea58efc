/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The command channel: org.ultravisor1.Ledger (lib/protocol.h), for the uid of command alone. Reads are
 * answered at once from what is committed; Submit is queued for the next commit; what concerns a running
 * partition is passed on to its monitor. */

#include "uvd/uvd.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "lib/build.h"
#include "lib/fd.h"
#include "lib/log.h"
#include "lib/protocol.h"

#define OPERATIONS_MAX ((size_t) 16 * 1024 * 1024)
#define TEXT_MAX 1024           /* of subject and reason */
#define HISTORY_LIMIT 1000u

int reply_diag_simple(sd_bus_message *m, enum ulv_exit code, const char *what, const char *why, const char *try_) {
        struct ulv_diag d;

        ulv_diag_what(&d, code, "%s", what);
        ulv_diag_why(&d, "%s", why);
        ulv_diag_try(&d, "%s", try_);
        return ulv_bus_reply_diag(m, &d);
}

static int reply_errno(sd_bus_message *m, const char *what, int r) {
        return reply_diag_simple(m, ULV_EXIT_FAILED, what, strerror(-r),
                                 r == -ENOMEM ? "free memory on this host, then again" : "see the log of uvd");
}

/* Ids are chosen by the client and end up in lines of history: the ledger checks their form for those that
 * it steps, but here they are used to look up before that. */
static bool id_is_valid(const char *id) {
        size_t n = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-");

        return n > 0 && n <= 64 && id[n] == 0;
}

static int method_submit(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct uvd *u = userdata;
        struct transact_call c = { .m = m };
        int r;

        r = sd_bus_message_read(m, "sstsss", &c.id, &c.zone, &c.if_generation, &c.subject, &c.reason, &c.operations);
        if (r < 0)
                return r;
        if (!id_is_valid(c.id))
                return reply_diag_simple(m, ULV_EXIT_USAGE, "not the id of a transaction", "it must be 1 to 64 of A-Z a-z 0-9 . _ : -", "");
        if (strlen(c.operations) > OPERATIONS_MAX || strlen(c.subject) > TEXT_MAX || strlen(c.reason) > TEXT_MAX || strlen(c.zone) > ULV_NAME_MAX)
                return reply_diag_simple(m, ULV_EXIT_USAGE, "the transaction is too long",
                                         "operations may take 16M, subject and reason 1024 bytes each", "split it into several");
        r = transact_queue(u, &c);
        return r < 0 ? r : 1;
}

static int method_rows(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        struct uvd *u = userdata;
        const char *kind;
        char epoch[17];
        int r;

        r = sd_bus_message_read(m, "s", &kind);
        if (r < 0)
                return r;
        r = ulv_ledger_dump(u->ledger, kind[0] ? kind : NULL, &b);
        if (r < 0)
                return reply_errno(m, "cannot list the ledger's rows", r);
        (void) snprintf(epoch, sizeof(epoch), "%016llx", (unsigned long long) u->epoch);
        if (!kind[0])
                publish_subscribe(u, sd_bus_message_get_bus(m));
        r = sd_bus_reply_method_return(m, "tss", ulv_ledger_generation(u->ledger), epoch, ulv_strbuf_str(&b));
        if (!kind[0])
                monitors_tell_wants(u);
        return r;
}

static int method_transaction(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        _cleanup_strbuf_ struct ulv_strbuf state = {}, undo = {};
        struct uvd *u = userdata;
        uint64_t generation;
        const char *id;
        int r;

        r = sd_bus_message_read(m, "s", &id);
        if (r < 0)
                return r;
        r = store_find(u->store, id, &generation, &state, &undo);
        if (r < 0)
                return reply_errno(m, "cannot read the history", r);
        if (r > 0) {
                char what[128];

                (void) snprintf(what, sizeof(what), "there is no transaction %.64s", id);
                return reply_diag_simple(m, ULV_EXIT_NOT_FOUND, what, "it was never recorded, or HistoryKeep= has let it go", "uvctl history");
        }
        return sd_bus_reply_method_return(m, "sts", ulv_strbuf_str(&state), generation, ulv_strbuf_str(&undo));
}

static int method_history(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        struct uvd *u = userdata;
        const char *owner;
        uint64_t before;
        uint32_t limit;
        int r;

        r = sd_bus_message_read(m, "stu", &owner, &before, &limit);
        if (r < 0)
                return r;
        r = store_history(u->store, owner, before, limit > 0 ? ULV_MIN(limit, HISTORY_LIMIT) : HISTORY_LIMIT, &b);
        if (r < 0)
                return reply_errno(m, "cannot read the history", r);
        return sd_bus_reply_method_return(m, "s", ulv_strbuf_str(&b));
}

static int method_backup(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        _cleanup_strbuf_ struct ulv_strbuf b = { .max = UVD_BACKUP_MAX };
        _cleanup_close_ int fd = -1;
        struct uvd *u = userdata;
        int r;

        r = backup_write(u->ledger, u->store, &b);
        if (r >= 0)
                r = ulv_memfd_sealed("uv-backup", ulv_strbuf_str(&b), b.len, &fd);
        if (r < 0)
                return reply_errno(m, "cannot write the backup", r);
        return sd_bus_reply_method_return(m, "th", ulv_ledger_generation(u->ledger), fd);
}

static int method_restore(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        _cleanup_free_ char *buf = NULL;
        struct uvd *u = userdata;
        struct ulv_diag d = {};
        struct stat st;
        size_t len;
        int fd, r;

        r = sd_bus_message_read(m, "h", &fd);
        if (r < 0)
                return r;
        /* A file that could still grow or block is a caller's way to hold us up. */
        if (!ulv_memfd_is_sealed(fd))
                return reply_diag_simple(m, ULV_EXIT_USAGE, "cannot restore from this", "a backup is handed over in a sealed memfd", "uvctl restore FILE");
        /* Sealed, so this is its size for good. Nobody waits while a gigabyte of zeros is read. */
        if (fstat(fd, &st) < 0 || (size_t) st.st_size > UVD_BACKUP_MAX)
                return reply_diag_simple(m, ULV_EXIT_USAGE, "cannot restore from this", "a backup is 1G at most", "another backup file");
        if (!transact_run(u)) {
                (void) sd_bus_reply_method_errorf(m, ULV_ERROR_FAILED, "%s\n%s\n%s", "not restored", "an earlier commit has failed", "again");
                return sd_event_exit(u->event, ULV_EXIT_FAILED);
        }
        r = ulv_read_fd(fd, UVD_BACKUP_MAX, &buf, &len);
        if (r >= 0)
                r = backup_restore(u, buf, len, &d);
        if (r > 0)
                return ulv_bus_reply_diag(m, &d);
        if (r == -EOWNERDEAD) {
                (void) sd_bus_reply_method_errorf(m, ULV_ERROR_OUTCOME_UNKNOWN, "%s\n%s\n%s", "whether the backup was restored is not known",
                                                  "writing the ledger's log failed, and uvd starts anew from what is on the disk", "uvctl status");
                return sd_event_exit(u->event, ULV_EXIT_FAILED);
        }
        if (r < 0)
                return reply_errno(m, "cannot restore; nothing was changed", r);
        ulv_log(ULV_LOG_NOTICE, "restored a backup of generation %llu", (unsigned long long) ulv_ledger_generation(u->ledger));
        publish_replaced(u);    /* first: who asked must not see an answer of the old mirror after this one */
        return sd_bus_reply_method_return(m, "t", ulv_ledger_generation(u->ledger));
}

static int method_exec(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        const char *name;
        int r = sd_bus_message_read(m, "s", &name);

        return r < 0 ? r : monitors_forward(userdata, m, name, "Exec");
}

static int method_signal(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        const char *name;
        int r = sd_bus_message_read(m, "s", &name);

        return r < 0 ? r : monitors_forward(userdata, m, name, "Signal");
}

static int method_enforce(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        const char *name;
        int r = sd_bus_message_read(m, "s", &name);

        return r < 0 ? r : monitors_forward(userdata, m, name, "Enforce");
}

static int method_rotate(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        const char *name;
        int r = sd_bus_message_read(m, "s", &name);

        return r < 0 ? r : monitors_forward(userdata, m, name, "RotateCredential");
}

static int method_renew(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        const char *name;
        int r = sd_bus_message_read(m, "s", &name);

        return r < 0 ? r : monitors_forward(userdata, m, name, "Renew");
}

static int method_channel_open(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        const char *name;
        int r = sd_bus_message_read(m, "s", &name);

        return r < 0 ? r : monitors_forward(userdata, m, name, "ChannelOpen");
}

static int method_channel_state(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        const char *name;
        int r = sd_bus_message_read(m, "s", &name);

        return r < 0 ? r : monitors_forward(userdata, m, name, "ChannelState");
}

static int method_console(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        const char *name;
        int r = sd_bus_message_read(m, "s", &name);

        return r < 0 ? r : monitors_forward(userdata, m, name, "Console");
}

static int method_usage(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        const char *name;
        int r = sd_bus_message_read(m, "s", &name);

        return r < 0 ? r : monitors_forward(userdata, m, name, "Usage");
}

static int method_selftest(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        const char *name;
        int r = sd_bus_message_read(m, "s", &name);

        return r < 0 ? r : monitors_forward(userdata, m, name, "SelfTest");
}

static void report_leader(struct uvd *u, const char *owner, pid_t pid, const char *build);

static uint32_t peer_pid(sd_bus_message *m) {
        struct ucred creds;
        socklen_t len = sizeof(creds);

        return getsockopt(sd_bus_get_fd(sd_bus_message_get_bus(m)), SOL_SOCKET, SO_PEERCRED, &creds, &len) < 0 ? 0 : (uint32_t) creds.pid;
}

static int method_runs(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        const char *role, *build;
        uint32_t pid;
        int r;

        r = sd_bus_message_read(m, "sus", &role, &pid, &build);
        if (r < 0)
                return r;
        /* Of itself the kernel's word counts. */
        if (ulv_streq(role, "command"))
                pid = peer_pid(m);
        if ((!ulv_streq(role, "operations") && !ulv_streq(role, "command")) || pid == 0 || pid > INT32_MAX || strlen(build) > ULV_BUILD_LEN)
                return reply_diag_simple(m, ULV_EXIT_USAGE, "not a role that command can tell of", "itself and operations are, by pid and build", "");
        report_leader(userdata, role, (pid_t) pid, build);
        return sd_bus_reply_method_return(m, "");
}

static int method_refuse(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        const char *name, *what, *why, *try_;
        struct uvd *u = userdata;
        struct ulv_diag d;
        struct guest *g;
        uint32_t code;
        int r;

        r = sd_bus_message_read(m, "susss", &name, &code, &what, &why, &try_);
        if (r < 0)
                return r;
        if (code == ULV_EXIT_OK || code > ULV_EXIT_UNREACHABLE)
                return reply_diag_simple(m, ULV_EXIT_USAGE, "not the code of a refusal", "it is one of uvctl's exit codes", "");
        ulv_diag_what(&d, (enum ulv_exit) code, "%s", what);
        ulv_diag_why(&d, "%s", why);
        ulv_diag_try(&d, "%s", try_);
        g = guest_find(u, name);
        if (g)          /* Nobody waits any more: what was to be refused is over. */
                monitors_refuse(g, &d);
        return sd_bus_reply_method_return(m, "");
}

static const sd_bus_vtable ledger_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Submit", "sstsss", "utss", method_submit, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Rows", "s", "tss", method_rows, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Transaction", "s", "sts", method_transaction, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("History", "stu", "s", method_history, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Backup", "", "th", method_backup, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Restore", "h", "t", method_restore, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Exec", "sasasssah", "i", method_exec, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Console", "suqqh", "", method_console, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ChannelOpen", "ss", "h", method_channel_open, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ChannelState", "ss", "h", method_channel_state, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Usage", "s", "tttb", method_usage, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Signal", "si", "", method_signal, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Enforce", "s", "", method_enforce, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("SelfTest", "s", "uuu", method_selftest, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RotateCredential", "ss", "", method_rotate, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Renew", "su", "", method_renew, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Refuse", "susss", "", method_refuse, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Runs", "sus", "", method_runs, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL("Changed", "ts", 0),
        SD_BUS_SIGNAL("Settled", "ts", 0),
        SD_BUS_SIGNAL("Replaced", "t", 0),
        SD_BUS_SIGNAL("StartWanted", "s", 0),
        SD_BUS_VTABLE_END
};

static bool may_connect(const struct ucred *creds, void *userdata) {
        const struct uvd *u = userdata;

        return creds->uid == u->uid_command;
}

/* The row of infrastructure partition `owner`: who runs it now. */
static void report_leader(struct uvd *u, const char *owner, pid_t pid, const char *build) {
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        uint64_t start;

        if (process_start_ticks(pid, &start) < 0)
                return; /* Gone again already: its successor will be seen. */
        ulv_op_begin(&b, "state", "partition", owner, "-");
        ulv_op_add(&b, "state", "running");
        ulv_op_add_u64(&b, "leader", (uint64_t) pid);
        ulv_op_add_u64(&b, "start", start);
        ulv_op_add(&b, "build", build);
        ulv_op_end(&b);
        if (ulv_strbuf_error(&b) < 0 || transact_report(u, owner, ulv_strbuf_str(&b)) < 0)
                ulv_log(ULV_LOG_WARNING, "out of memory: who runs %s is not recorded", owner);
}

void channel_report_self(struct uvd *u) { report_leader(u, "ultravisor", getpid(), ulv_build); }

static int on_connected(struct ulv_bus_peer *p, void *userdata) {
        int r = sd_bus_add_object_vtable(p->bus, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, ledger_vtable, userdata);

        return r < 0 ? r : 0;
}

int channel_listen(struct uvd *u) {
        static const struct ulv_bus_listener_ops ops = { .allow = may_connect, .connected = on_connected };
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/" ULV_SOCKET_LEDGER, u->run_dir) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        /* The kernel's word on the peer decides, not the file's mode: uvd can't give the socket away. */
        return ulv_bus_listen(u->event, path, 0666, &ops, u, &u->commands);
}
