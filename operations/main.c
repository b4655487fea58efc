/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-operations: keeps definitions and policies. It alone writes ROOT/etc/ultravisor, validates the whole
 * set, and hands command one bundle of what is in force (lib/protocol.h). It keeps numbered bundles in
 * ROOT/var/lib/ultravisor/operations, no data base, and never talks to uvd. */

#include "lib/bus-role.h"
#include "lib/log.h"
#include "lib/protocol.h"
#include "model/inventory.h"
#include "operations/service.h"

static const char help[] =
        "uv-operations [--root DIR]\n"
        "Keeps the definitions and policies of an Ultravisor. Started by systemd or uv-launch.\n"
        "  --root DIR   the instance (ULTRAVISOR_ROOT; default /)\n"
        "  --version    --help\n";

static int fail(int r, const char *what, const char *path) {
        return ulv_log_errno(r, "%s %s", what, path);
}

static int run(struct ulv_role *role, struct service *s) {
        _cleanup_close_ int etc = -1, state = -1, sockets = -1;
        _cleanup_free_ char *path = ulv_role_path(role, "run/ultravisor/" ULV_SOCKET_OPERATIONS);
        int r;

        if (!path)
                return ulv_log_errno(-ENOMEM, "cannot start");
        if ((r = ulv_role_directory(role, "etc/ultravisor", 0755, &etc)) < 0)
                return fail(r, "cannot open", "etc/ultravisor");
        if ((r = ulv_role_directory(role, "var/lib/ultravisor/operations", 0700, &state)) < 0)
                return fail(r, "cannot open", "var/lib/ultravisor/operations");
        if ((r = ulv_role_directory(role, "run/ultravisor/operations", 0755, &sockets)) < 0)
                return fail(r, "cannot open", "run/ultravisor/operations");
        r = ulv_role_uid(role, "uv-command", ULV_UID_COMMAND, &s->command);
        if (r < 0)
                return ulv_log_errno(r, "there is no account uv-command");
        r = install_open(&s->in, etc, state);
        if (r < 0)
                return r;
        r = written_load(state, s->in.newest, &s->written);
        if (r < 0)
                return fail(r, "cannot read what isn't settled in", "var/lib/ultravisor/operations");
        r = service_reload(s);
        if (r < 0)
                return ulv_log_errno(r, "cannot read the configuration directory");
        r = service_listen(s, role->event, path);
        if (r < 0)
                return fail(r, "cannot listen on", path);
        ulv_role_ready("keeps definitions and policies");
        r = sd_event_loop(role->event);
        ulv_bus_listener_free(s->listener);
        return r;
}

int main(int argc, char **argv) {
        struct ulv_role role;
        struct service s = { 0 };
        int r;

        r = ulv_role_init(&role, argc, argv, "uv-operations", help);
        if (r == 0) {
                r = run(&role, &s);
                install_done(&s.in);
                written_done(&s.written);
                ulv_strbuf_done(&s.problems);
        }
        ulv_role_done(&role);
        return r < 0 ? 1 : 0;
}
