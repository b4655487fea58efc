/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The methods, and the private socket. Who may connect to that is the kernel's word by the socket's owner, group and
 * mode (0660), and who may connect may all: uid 0, our own uid and the socket's group. An installed Ultravisor
 * serves the same objects on the system bus (system.c), where polkit decides about each call. */

#include "command/public.h"

#include <stdio.h>
#include <sys/stat.h>

#include "command/system.h"
#include "lib/log.h"
#include "lib/protocol.h"

#define PATIENCE 3000000u       /* us after which the socket opens though a role is missing */
#define GROUPS_MAX 1024
#define CONNECTIONS_MAX 1024

/* Every method, its arguments, and who may call it: nothing is a method that isn't in this list. */
#define IN(...) __VA_ARGS__
#define OUT(...) __VA_ARGS__
#define CHANGE IN("as", names, "u", flags, "t", if_generation, "s", reason)
#define JOB OUT("s", job, "s", plan, "s", transaction)
#define METHODS(X) \
        X("Rows", "s", IN("s", kind), OUT("t", generation, "s", rows), method_rows, VIEW, NOTHING) \
        X("Status", "", IN(NULL), OUT("a{ss}", facts), method_status, VIEW, NOTHING) \
        X("Definition", "s", IN("s", name), OUT("s", text, "s", files), method_definition, VIEW, PARTITION) \
        X("Logs", "s", IN("s", name), OUT("h", a, "h", b, "h", first), method_logs, VIEW, PARTITION) \
        X("Usage", "s", IN("s", name), OUT("t", cpu_usec, "t", memory, "t", tasks, "b", summed), method_usage, VIEW, PARTITION) \
        X("ChannelState", "ss", IN("s", name, "s", channel), OUT("h", state), method_channel_state, VIEW, PARTITION) \
        X("History", "stu", IN("s", owner, "t", before_seq, "u", limit), OUT("s", lines), method_history, VIEW, NOTHING) \
        X("Transaction", "s", IN("s", id), OUT("s", state, "t", generation, "s", undo), method_transaction, VIEW, TRANSACTION) \
        X("Wait", "st", IN("s", job, "t", timeout_usec), OUT("s", state, "s", transactions, "s", text, "s", undo), method_wait, VIEW, NOTHING) \
        X("Why", "ssa{ss}", IN("s", verb, "s", name, "a{ss}", values), OUT("u", code, "s", text), method_why, VIEW, NOTHING) \
        X("Verify", "h", IN("h", bundle), OUT("b", ok, "s", problems), method_verify, VIEW, NOTHING) \
        X("Start", "asuts", CHANGE, JOB, method_start, MANAGE, PARTITIONS) \
        X("Stop", "asuts", CHANGE, JOB, method_stop, MANAGE, PARTITIONS) \
        X("Restart", "asuts", CHANGE, JOB, method_restart, MANAGE, PARTITIONS) \
        X("Pause", "asuts", CHANGE, JOB, method_pause, MANAGE, PARTITIONS) \
        X("Resume", "asuts", CHANGE, JOB, method_resume, MANAGE, PARTITIONS) \
        X("Signal", "si", IN("s", name, "i", signal), OUT(NULL), method_signal, MANAGE, PARTITION) \
        X("Renew", "su", IN("s", name, "u", flags), OUT(NULL), method_renew, MANAGE, PARTITION) \
        X("Enforce", "s", IN("s", name), OUT(NULL), method_enforce, MANAGE, PARTITION) \
        X("SelfTest", "s", IN("s", name), OUT("u", code, "u", made, "u", failed), method_selftest, MANAGE, PARTITION) \
        X("Set", "sa{ss}uts", IN("s", name, "a{ss}", values, "u", flags, "t", if_generation, "s", reason), JOB, method_set, CONFIGURE, PARTITION) \
        X("Revert", "suts", IN("s", name, "u", flags, "t", if_generation, "s", reason), JOB, method_revert, CONFIGURE, PARTITION) \
        X("Attach", "ssuts", IN("s", name, "s", what, "u", flags, "t", if_generation, "s", reason), JOB, method_attach, CONFIGURE, PARTITION) \
        X("Detach", "ssuts", IN("s", name, "s", label, "u", flags, "t", if_generation, "s", reason), JOB, method_detach, CONFIGURE, PARTITION) \
        X("Move", "sssuts", IN("s", what, "s", from, "s", to, "u", flags, "t", if_generation, "s", reason), JOB, method_move, CONFIGURE, MOVE) \
        X("Remove", "asuts", CHANGE, JOB, method_remove, CONFIGURE, PARTITIONS) \
        X("Apply", "hbuts", IN("h", bundle, "b", replace, "u", flags, "t", if_generation, "s", reason), JOB, method_apply, CONFIGURE, NOTHING) \
        X("Undo", "sus", IN("s", transaction, "u", flags, "s", reason), JOB, method_undo, CONFIGURE, TRANSACTION) \
        X("Reload", "", IN(NULL), OUT("t", version), method_reload, CONFIGURE, NOTHING) \
        X("Backup", "", IN(NULL), OUT("t", generation, "h", file), method_backup, CONFIGURE, NOTHING) \
        X("Restore", "h", IN("h", file), OUT("t", generation), method_restore, CONFIGURE, NOTHING) \
        X("RotateCredential", "ss", IN("s", name, "s", credential), OUT(NULL), method_rotate_credential, CONFIGURE, PARTITION) \
        X("ChannelOpen", "ss", IN("s", name, "s", channel), OUT("h", end), method_channel_open, CHANNEL, PARTITION) \
        X("Exec", "sasasssah", IN("s", name, "as", argv, "as", env, "s", user, "s", cwd, "ah", stdio), OUT("i", status), method_exec, CONSOLE, PARTITION) \
        X("Console", "suqqh", IN("s", name, "u", flags, "q", rows, "q", columns, "h", input), OUT(NULL), method_console, CONSOLE, PARTITION)

#define AS_VTABLE(name, in, args, result, handler, access, about) \
        SD_BUS_METHOD_WITH_ARGS(name, SD_BUS_ARGS(args), SD_BUS_RESULT(result), handler, SD_BUS_VTABLE_UNPRIVILEGED),
#define AS_METHOD(name, in, args, result, handler, access, about) { name, in, ACCESS_##access, ABOUT_##about },

static const struct method methods[] = { METHODS(AS_METHOD) };
static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        METHODS(AS_VTABLE)
        SD_BUS_SIGNAL_WITH_ARGS("Changed", SD_BUS_ARGS("t", generation, "s", changes), 0),
        SD_BUS_SIGNAL_WITH_ARGS("JobChanged", SD_BUS_ARGS("s", job, "s", state, "s", text), 0),
        SD_BUS_VTABLE_END,
};

const struct method *public_method(const char *name) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(methods); i++)
                if (ulv_streq(methods[i].name, name))
                        return &methods[i];
        return NULL;
}

/* --- who may ------------------------------------------------------------------------------------------ */

static bool in_group(const struct ulv_bus_peer *p, gid_t group) {
        gid_t groups[GROUPS_MAX];
        socklen_t len = sizeof(groups);

        if (p->creds.gid == group)
                return true;
        if (getsockopt(sd_bus_get_fd(p->bus), SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
                return false;
        for (size_t i = 0; i < len / sizeof(*groups); i++)
                if (groups[i] == group)
                        return true;
        return false;
}

/* Each call on the private socket, before sd-bus looks what it is for. */
static int on_private(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        struct question q;
        struct ulv_diag d;
        char what[256];
        uint8_t type;

        if (sd_bus_message_get_type(call, &type) < 0 || type != SD_BUS_MESSAGE_METHOD_CALL)
                return 0;
        access_question(call, &q);
        if (q.access > ACCESS_VIEW || !pp->may)
                access_audit(&q, pp->peer->creds.uid, "private", pp->may ? "allowed" : "denied", "");
        if (pp->may)
                return 0;
        access_refused(&q, pp->peer->creds.uid, what, sizeof(what));
        ulv_diag_what(&d, ULV_EXIT_DENIED, "%s", what);
        ulv_diag_why(&d, "root and the group of the socket (gid %u) may", (unsigned) pp->m->group);
        ulv_diag_try(&d, "sudo");
        (void) ulv_bus_reply_diag(call, &d);
        return 1;
}

void *public_who(const struct public_peer *pp, sd_bus_message *call) {
        return pp->peer ? (void *) (uintptr_t) pp : system_who(pp->m, call);
}

uid_t public_uid(const struct manager *m, sd_bus_message *call) {
        sd_bus *bus = sd_bus_message_get_bus(call);
        const struct public_peer *system = system_peer(m);
        socklen_t len = sizeof(struct ucred);
        struct ucred creds;

        if (system && system->bus == bus)
                return system_uid(m, call);
        return getsockopt(sd_bus_get_fd(bus), SOL_SOCKET, SO_PEERCRED, &creds, &len) < 0 ? (uid_t) -1 : creds.uid;
}

bool public_has(struct manager *m, sd_bus_message *call, bool bundle) {
        struct ulv_diag d;

        if (m->ledger && (!bundle || m->bundle))
                return true;
        ulv_diag_what(&d, ULV_EXIT_UNREACHABLE, "%s known yet", !m->ledger ? "the ledger isn't" : "definitions and policies aren't");
        ulv_diag_why(&d, "%s isn't there since the planner was started", !m->ledger ? "uvd" : "the keeper of definitions (uv-operations)");
        ulv_diag_try(&d, "again in a moment");
        (void) ulv_bus_reply_diag(call, &d);
        return false;
}

bool public_too_long(sd_bus_message *call, const char *text) {
        struct ulv_diag d;

        if (strlen(text) <= TEXT_MAX)
                return false;
        ulv_diag_what(&d, ULV_EXIT_USAGE, "a text of the call is longer than %u bytes", TEXT_MAX);
        (void) ulv_bus_reply_diag(call, &d);
        return true;
}

int public_read_names(sd_bus_message *call, const char ***ret, size_t *ret_n) {
        _cleanup_free_ const char **v = calloc(NAMES_MAX, sizeof(*v));
        const char *name;
        size_t n = 0;
        int r;

        if (!v)
                return -ENOMEM;
        r = sd_bus_message_enter_container(call, 'a', "s");
        while (r >= 0 && (r = sd_bus_message_read_basic(call, 's', &name)) > 0) {
                struct ulv_diag d;

                if (n < NAMES_MAX) {
                        v[n++] = name;
                        continue;
                }
                ulv_diag_what(&d, ULV_EXIT_USAGE, "more than %u names", NAMES_MAX);
                (void) ulv_bus_reply_diag(call, &d);
                return 1;
        }
        if (r < 0 || (r = sd_bus_message_exit_container(call)) < 0)
                return r;
        *ret = ulv_steal(v);
        *ret_n = n;
        return 0;
}

int public_reply_errno(sd_bus_message *call, int r) {
        struct ulv_diag d;

        ulv_diag_what(&d, ULV_EXIT_FAILED, "%s failed: %s", sd_bus_message_get_member(call), strerror(-r));
        return ulv_bus_reply_diag(call, &d);
}

/* --- connections -------------------------------------------------------------------------------------- */

int public_serve(struct public_peer *pp) {
        int r = sd_bus_add_object_vtable(pp->bus, NULL, ULV_PATH, ULV_IF_MANAGER, vtable, pp);

        return r < 0 ? r : objects_add(pp);
}

static int connected(struct ulv_bus_peer *p, void *userdata) {
        struct manager *m = userdata;
        struct public_peer *pp = calloc(1, sizeof(*pp));

        if (!pp)
                return -ENOMEM;
        *pp = (struct public_peer) { .m = m, .bus = p->bus, .peer = p,
                .may = p->creds.uid == 0 || p->creds.uid == geteuid() || in_group(p, m->group) };
        if (sd_bus_add_filter(p->bus, NULL, on_private, pp) < 0 || public_serve(pp) < 0) {
                free(pp);
                return -ENOMEM;
        }
        p->userdata = pp;
        return 0;
}

static void disconnected(struct ulv_bus_peer *p, void *userdata) {
        jobs_forget_waits(userdata, p->userdata);
        free(p->userdata);
}

static int listen_now(struct manager *m) {
        static const struct ulv_bus_listener_ops ops = { .connected = connected, .disconnected = disconnected, .most = CONNECTIONS_MAX };
        _cleanup_free_ char *path = ulv_role_path(&m->role, "run/ultravisor/" ULV_SOCKET_PUBLIC);
        struct stat st;
        int r;

        if (!path)
                return -ENOMEM;
        r = ulv_bus_listen(m->role.event, path, 0660, &ops, m, &m->listener);
        if (r < 0)
                return r;
        if (stat(path, &st) < 0)
                return -errno;
        m->group = st.st_gid;
        if (ulv_streq(m->role.root, "/") && (r = system_start(m)) < 0)
                return r;
        ulv_role_ready(m->fresh ? "plans and explains" : "waits for uvd");
        return 0;
}

void public_ready(struct manager *m, bool anyway) {
        int r;

        if (m->listener || (!anyway && !(m->fresh && m->bundle && m->reviewed)))
                return;
        r = listen_now(m);
        if (r < 0) {
                (void) ulv_log_errno(r, "cannot open the public socket");
                (void) sd_event_exit(m->role.event, r);
        }
}

static int on_patience(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct manager *m = userdata;

        if (!m->listener)
                ulv_log(ULV_LOG_WARNING, "%s isn't there yet", m->fresh ? "uv-operations" : "uvd");
        public_ready(m, true);
        return 0;
}

int public_start(struct manager *m) {
        return sd_event_add_time_relative(m->role.event, &m->patience, CLOCK_MONOTONIC, PATIENCE, 1000, on_patience, m);
}

void public_done(struct manager *m) {
        ulv_bus_listener_free(m->listener);
        m->listener = NULL;
        system_done(m);
        objects_done(m);
        sd_event_source_disable_unref(m->patience);
}

/* --- telling ------------------------------------------------------------------------------------------ */

struct told { uint64_t generation; const char *changes, *job, *state, *text; };

static int tell_bus(sd_bus *bus, const struct told *n) {
        if (n->job)
                return sd_bus_emit_signal(bus, ULV_PATH, ULV_IF_MANAGER, "JobChanged", "sss", n->job, n->state, n->text);
        return sd_bus_emit_signal(bus, ULV_PATH, ULV_IF_MANAGER, "Changed", "ts", n->generation, n->changes);
}

static int tell(struct ulv_bus_peer *p, void *userdata) {
        if (tell_bus(p->bus, userdata) < 0)
                ulv_bus_peer_drop(p);
        else
                (void) ulv_bus_peer_overdue(p);
        return 0;
}

static void tell_all(struct manager *m, struct told n) {
        const struct public_peer *system = system_peer(m);

        if (m->listener)
                (void) ulv_bus_listener_each(m->listener, tell, &n);
        if (system)
                (void) tell_bus(system->bus, &n);
}

void public_tell_changed(struct manager *m, uint64_t generation, const char *changes) {
        tell_all(m, (struct told) { .generation = generation, .changes = changes });
        objects_tell(m, changes);
}

void public_tell_job(struct manager *m, const char *job, const char *state, const char *text) {
        tell_all(m, (struct told) { .job = job, .state = state, .text = text });
}
