/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The connection to the planner (uv-command): sd-bus peer to peer over ROOT/run/ultravisor/command/public,
 * so it needs no system bus. It is made at the first call: verbs that read only files never make it. */

#include <stdarg.h>

#include "lib/bus.h"
#include "uvctl/uvctl.h"

static int unreachable(struct uvctl *u, const char *path, int r) {
        bool installed = ulv_streq(u->root, "/");

        if (r == -EACCES || r == -EPERM) {
                (void) fail(u, ULV_EXIT_DENIED, "this user may not speak to the planner", "", "sudo uvctl ...");
                ulv_diag_why(&u->diag, "%s: %s", path, strerror(-r));
                return ULV_EXIT_DENIED;
        }
        (void) fail(u, ULV_EXIT_UNREACHABLE, "cannot reach the planner (uv-command)", "", "");
        ulv_diag_why(&u->diag, "%s: %s", path, strerror(-r));
        if (installed)
                ulv_diag_try(&u->diag, "uvctl --root DIR ..., if your Ultravisor runs below a directory (`make run`: build/run)");
        else
                ulv_diag_try(&u->diag, "uvd --standalone --root %s", u->root);
        return ULV_EXIT_UNREACHABLE;
}

int client_connect(struct uvctl *u) {
        _cleanup_free_ char *path = NULL;
        int r;

        if (u->bus)
                return 0;
        if (asprintf(&path, "%s%srun/ultravisor/%s", u->root, ulv_streq(u->root, "/") ? "" : "/", ULV_SOCKET_PUBLIC) < 0) {
                path = NULL;
                return fail_errno(u, -ENOMEM, "connect");
        }
        r = ulv_bus_connect(NULL, path, &u->bus);
        return r < 0 ? unreachable(u, path, r) : 0;
}

int client_error(struct uvctl *u, const sd_bus_error *e, int r) {
        bool ours = sd_bus_error_is_set(e) && ulv_startswith(e->name, ULV_ERROR_PREFIX);

        if (!ours && (r == -ETIMEDOUT || r == -ECONNRESET || r == -ENOTCONN || r == -EPIPE)) {
                if (r == -ETIMEDOUT)
                        return fail(u, ULV_EXIT_TIMEOUT, "no answer from the planner (uv-command) in time",
                                    "what was asked may still happen", "uvctl history");
                (void) fail(u, ULV_EXIT_UNREACHABLE, "lost the planner (uv-command) before it answered",
                            "", "uvctl history, to see whether it happened; then again");
                ulv_diag_why(&u->diag, "%s; what was asked may have happened", strerror(-r));
                return ULV_EXIT_UNREACHABLE;
        }
        ulv_bus_error_to_diag(e, r, &u->diag);
        if (u->diag.code == ULV_EXIT_OK)
                u->diag.code = ULV_EXIT_FAILED;
        return (int) u->diag.code;
}

int client_new(struct uvctl *u, const char *method, sd_bus_message **ret) {
        int r;

        r = client_connect(u);
        if (r != 0)
                return r;
        r = sd_bus_message_new_method_call(u->bus, ret, NULL, ULV_PATH, ULV_IF_MANAGER, method);
        return r < 0 ? fail_errno(u, r, "make a call") : 0;
}

int client_send(struct uvctl *u, sd_bus_message *m, uint64_t timeout_usec, sd_bus_message **ret) {
        ULV_CLEANUP(sd_bus_error_free) sd_bus_error e = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call(u->bus, m, timeout_usec, &e, ret);
        return r < 0 ? client_error(u, &e, r) : 0;
}

int client_call(struct uvctl *u, sd_bus_message **ret, const char *method, const char *types, ...) {
        _cleanup_message_ sd_bus_message *m = NULL;
        va_list ap;
        int r;

        r = client_new(u, method, &m);
        if (r != 0)
                return r;
        va_start(ap, types);
        r = sd_bus_message_appendv(m, types, ap);
        va_end(ap);
        if (r < 0)
                return fail_errno(u, r, "make a call");
        return client_send(u, m, CLIENT_TIMEOUT, ret);
}

int client_read(struct uvctl *u, sd_bus_message *m, const char *types, ...) {
        va_list ap;
        int r;

        va_start(ap, types);
        r = sd_bus_message_readv(m, types, ap);
        va_end(ap);
        if (r > 0)
                return 0;
        return fail(u, ULV_EXIT_FAILED, "the planner's answer is not of the form that this uvctl knows",
                    "uvctl and uv-command are of different versions", "uvctl version");
}
