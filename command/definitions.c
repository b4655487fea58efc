/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The bundle of definitions and policies in force, fetched from operations and parsed by the same code as
 * there. While operations is away the last one goes on counting. */

#include "command/job.h"
#include "command/manager.h"
#include "command/restart.h"
#include "command/wanted.h"
#include "lib/build.h"
#include "lib/fd.h"
#include "lib/log.h"
#include "lib/protocol.h"

static int ask(struct manager *m);
static void tell_operations(struct manager *m);

/* 0; 1 = not a good bundle; -errno. */
static int take(struct manager *m, int fd) {
        _cleanup_free_ char *text = NULL;
        struct ulv_bundle *b = NULL;
        size_t len;
        int r;

        if (!ulv_memfd_is_sealed(fd))
                return -EINVAL;
        r = ulv_read_fd(fd, ULV_BUNDLE_MAX, &text, &len);
        if (r == 0)
                r = ulv_bundle_parse(text, len, &b, NULL, NULL);
        if (r != 0)
                return r;
        ulv_bundle_free(m->bundle);
        m->bundle = b;
        return 0;
}

static int on_bundle(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct manager *m = userdata;
        const char *problems, *build;
        uint64_t version;
        int fd, r;

        if (sd_bus_message_is_method_error(reply, NULL)) {
                if (ulv_startswith(sd_bus_message_get_error(reply)->name, ULV_ERROR_PREFIX))    /* else the connection ended */
                        ulv_log(ULV_LOG_ERR, "uv-operations doesn't give its bundle: %s", sd_bus_message_get_error(reply)->message);
                link_drop(&m->operations);
                return 0;
        }
        r = sd_bus_message_read(reply, "thss", &version, &fd, &problems, &build);
        if (r >= 0 && (!m->bundle || m->bundle->version != version))
                r = take(m, fd);
        else if (r > 0)
                r = 0;          /* how sd-bus says that it read something */
        if (r != 0) {
                ulv_log(ULV_LOG_ERR, "cannot take the definitions: %s", r < 0 ? strerror(-r) : "not a good bundle");
                return 0;
        }
        free(m->problems);
        m->problems = strdup(problems);
        m->version = ULV_MAX(m->version, version);
        if (!ulv_streq(m->operations_build, build) && ulv_copy(m->operations_build, sizeof(m->operations_build), build))
                tell_operations(m);
        restart_review(m);
        wanted_review(m);
        jobs_kick(m);
        public_ready(m, false);
        return 0;
}

static int on_changed(sd_bus_message *signal, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct manager *m = userdata;
        uint64_t version;

        if (sd_bus_message_read(signal, "t", &version) < 0)
                return 0;
        m->version = ULV_MAX(m->version, version);
        (void) ask(m);
        return 0;
}

static int ask(struct manager *m) {
        sd_bus_message *call = NULL;
        int r;

        r = sd_bus_message_new_method_call(m->operations.bus, &call, NULL, ULV_PATH_OPERATIONS, ULV_IF_OPERATIONS, "Bundle");
        if (r >= 0)
                r = link_call(&m->operations, call, on_bundle, m);
        sd_bus_message_unref(call);
        return r < 0 ? r : 0;
}

static void tell(struct manager *m, const char *role, pid_t pid, const char *build) {
        sd_bus_message *call = NULL;

        if (sd_bus_message_new_method_call(m->uvd.bus, &call, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Runs") >= 0 &&
            sd_bus_message_append(call, "sus", role, (uint32_t) pid, build) >= 0 &&
            sd_bus_message_set_expect_reply(call, false) >= 0)
                (void) sd_bus_send(m->uvd.bus, call, NULL);
        sd_bus_message_unref(call);
}

static void tell_operations(struct manager *m) {
        struct ucred creds;
        socklen_t len = sizeof(creds);

        if (m->uvd.bus && m->operations.bus && m->operations_build[0] && getsockopt(sd_bus_get_fd(m->operations.bus), SOL_SOCKET, SO_PEERCRED, &creds, &len) >= 0)
                tell(m, "operations", creds.pid, m->operations_build);
}

/* Lost calls are sent again with the next connection, so nobody waits for an answer. */
void definitions_tell_who(struct manager *m) {
        if (m->uvd.bus)
                tell(m, "command", getpid(), ulv_build);
        tell_operations(m);
}

static int operations_up(struct link *l, void *userdata) {
        struct manager *m = userdata;

        m->operations_build[0] = 0;     /* it is told with the first answer */
        if (sd_bus_match_signal(l->bus, NULL, NULL, ULV_PATH_OPERATIONS, ULV_IF_OPERATIONS, "Changed", on_changed, m) < 0)
                return -ENOMEM;
        unsettled_review(m);
        return ask(m);
}

static void operations_down(ULV_UNUSED struct link *l, ULV_UNUSED void *userdata) {
}

int definitions_start(struct manager *m) {
        char *path = ulv_role_path(&m->role, "run/ultravisor/" ULV_SOCKET_OPERATIONS);

        if (!path)
                return -ENOMEM;
        m->operations.up = operations_up;
        m->operations.down = operations_down;
        m->operations.userdata = m;
        return link_start(&m->operations, m->role.event, path);
}

void definitions_done(struct manager *m) {
        link_done(&m->operations);
        ulv_bundle_free(m->bundle);
        free(m->problems);
        m->bundle = NULL;
        m->problems = NULL;
}
