/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-command: plans, explains, and is the one public face. It holds no state that it can't rebuild: the
 * ledger's mirror comes from uvd, definitions and policies from operations, and a verb is a plan on both,
 * submitted to uvd. Either of them may be dead: reads are answered from the mirror. */

#include <time.h>

#include "command/job.h"
#include "command/restart.h"
#include "command/rows.h"
#include "command/wanted.h"
#include "lib/log.h"

static const char help[] =
        "uv-command [--root DIR]\n"
        "Plans for an Ultravisor, and serves org.ultravisor1. Started by systemd or uv-launch.\n"
        "  --root DIR   the instance (ULTRAVISOR_ROOT; default /)\n"
        "  --version    --help\n";

uint64_t manager_now(ULV_UNUSED const struct manager *m, clockid_t clock) {
        struct timespec t;

        if (clock_gettime(clock, &t) < 0)
                return 0;
        return (uint64_t) t.tv_sec * 1000000u + (uint64_t) t.tv_nsec / 1000u;
}

static int run(struct manager *m) {
        _cleanup_close_ int sockets = -1;
        int r;

        r = ulv_role_directory(&m->role, "run/ultravisor/command", 0755, &sockets);
        if (r < 0)
                return ulv_log_errno(r, "cannot open run/ultravisor/command");
        if ((r = rows_start(m)) < 0 || (r = jobs_start(m)) < 0 || (r = restart_start(m)) < 0 || (r = wanted_start(m)) < 0 || (r = definitions_start(m)) < 0 || (r = mirror_start(m)) < 0 ||
            (r = public_start(m)) < 0)
                return ulv_log_errno(r, "cannot start");
        r = sd_event_loop(m->role.event);
        return r < 0 ? ulv_log_errno(r, "the event loop failed") : 0;
}

int main(int argc, char **argv) {
        struct manager m = { 0 };
        int r;

        r = ulv_role_init(&m.role, argc, argv, "uv-command", help);
        if (r == 0) {
                r = run(&m);
                public_done(&m);
                restart_done(&m);
                wanted_done(&m);
                jobs_done(&m);
                mirror_done(&m);
                definitions_done(&m);
                rows_done(&m);
        }
        ulv_role_done(&m.role);
        return r < 0 ? 1 : 0;
}
