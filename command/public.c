/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The public socket. Who may connect is the kernel's word by the socket's owner, group and mode (0660);
 * who may do what is decided per call, before the call is parsed: uid 0, our own uid and the socket's
 * group may all. */

#include "command/public.h"

#include <stdio.h>
#include <sys/stat.h>

#include "lib/log.h"
#include "lib/protocol.h"

#define PATIENCE 3000000u       /* us after which the socket opens though a role is missing */
#define GROUPS_MAX 1024
#define CONNECTIONS_MAX 1024

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Rows", "s", "ts", method_rows, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Start", "asuts", "sss", method_start, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Stop", "asuts", "sss", method_stop, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Restart", "asuts", "sss", method_restart, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Pause", "asuts", "sss", method_pause, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Resume", "asuts", "sss", method_resume, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Set", "sa{ss}uts", "sss", method_set, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Attach", "ssuts", "sss", method_attach, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Detach", "ssuts", "sss", method_detach, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Move", "sssuts", "sss", method_move, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Remove", "asuts", "sss", method_remove, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Apply", "hbuts", "sss", method_apply, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Undo", "sus", "sss", method_undo, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Wait", "st", "ssss", method_wait, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Why", "ssa{ss}", "us", method_why, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Verify", "h", "bs", method_verify, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Reload", "", "t", method_reload, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Status", "", "a{ss}", method_status, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("History", "stu", "s", method_history, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Transaction", "s", "sts", method_transaction, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Backup", "", "th", method_backup, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Restore", "h", "t", method_restore, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Definition", "s", "ss", method_definition, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Logs", "s", "hhh", method_logs, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Exec", "sasasssah", "i", method_exec, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Console", "suqqh", "", method_console, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Usage", "s", "tttb", method_usage, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Signal", "si", "", method_signal, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RotateCredential", "ss", "", method_rotate_credential, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL("Changed", "ts", 0),
        SD_BUS_SIGNAL("JobChanged", "sss", 0),
        SD_BUS_VTABLE_END,
};

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

bool public_may(struct public_peer *pp, sd_bus_message *call, enum access a) {
        struct ulv_diag d;

        if (pp->may_manage)
                return true;
        ulv_diag_what(&d, ULV_EXIT_DENIED, "uid %u may not %s this Ultravisor", (unsigned) pp->peer->creds.uid,
                      a == ACCESS_READ ? "ask" : "change");
        ulv_diag_why(&d, "root and the group of the socket (gid %u) may", (unsigned) pp->m->group);
        ulv_diag_try(&d, "sudo");
        (void) ulv_bus_reply_diag(call, &d);
        return false;
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

static int connected(struct ulv_bus_peer *p, void *userdata) {
        struct manager *m = userdata;
        struct public_peer *pp = calloc(1, sizeof(*pp));

        if (!pp)
                return -ENOMEM;
        *pp = (struct public_peer) { .m = m, .peer = p,
                .may_manage = p->creds.uid == 0 || p->creds.uid == geteuid() || in_group(p, m->group) };
        if (sd_bus_add_object_vtable(p->bus, NULL, ULV_PATH, ULV_IF_MANAGER, vtable, pp) < 0 || objects_add(pp) < 0) {
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
        ulv_role_ready(m->fresh ? "plans and explains" : "waits for uvd");
        return 0;
}

void public_ready(struct manager *m, bool anyway) {
        int r;

        if (m->listener || (!anyway && !(m->fresh && m->bundle)))
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
        sd_event_source_disable_unref(m->patience);
}

/* --- telling ------------------------------------------------------------------------------------------ */

struct news { uint64_t generation; const char *changes, *job, *state, *text; };

static int tell(struct ulv_bus_peer *p, void *userdata) {
        const struct news *n = userdata;
        int r;

        if (n->job)
                r = sd_bus_emit_signal(p->bus, ULV_PATH, ULV_IF_MANAGER, "JobChanged", "sss", n->job, n->state, n->text);
        else {
                r = sd_bus_emit_signal(p->bus, ULV_PATH, ULV_IF_MANAGER, "Changed", "ts", n->generation, n->changes);
                objects_tell(p->userdata, n->changes);
        }
        if (r < 0)
                ulv_bus_peer_drop(p);
        else
                (void) ulv_bus_peer_overdue(p);
        return 0;
}

void public_tell_changed(struct manager *m, uint64_t generation, const char *changes) {
        if (m->listener)
                (void) ulv_bus_listener_each(m->listener, tell, &(struct news) { .generation = generation, .changes = changes });
}

void public_tell_job(struct manager *m, const char *job, const char *state, const char *text) {
        if (m->listener)
                (void) ulv_bus_listener_each(m->listener, tell, &(struct news) { .job = job, .state = state, .text = text });
}
