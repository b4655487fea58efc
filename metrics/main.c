/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-metrics: what an Ultravisor has and uses, as OpenMetrics. Started by systemd when somebody connects to
 * uv-metrics.socket, with an account that may look and nothing else; by hand it prints once. It opens no socket for
 * others itself, and changes nothing. */

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "lib/fd.h"
#include "lib/log.h"
#include "metrics/metrics.h"

static const char help[] =
        "uv-metrics [--root DIR]\n"
        "Prints what an Ultravisor has and uses, as OpenMetrics text. Started by uv-metrics.socket it serves that\n"
        "as /metrics. uv-metrics(8) has every series.\n"
        "  --root DIR   the instance (ULTRAVISOR_ROOT; default /)\n"
        "  --version    --help\n";

static int print_once(struct source *s) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct snapshot shot;
        bool up;
        int r = snapshot_take(s, &shot);

        if (r < 0)
                return ulv_log_errno(r, "cannot ask the planner");
        exposition(&shot, &b);
        up = shot.up;
        snapshot_done(&shot);
        r = ulv_strbuf_error(&b);
        if (r >= 0)
                r = ulv_write_all(STDOUT_FILENO, b.s, b.len);
        if (r < 0)
                return ulv_log_errno(r, "cannot print");
        return up ? 0 : 1;
}

int main(int argc, char **argv) {
        struct source s = { .root = getenv("ULTRAVISOR_ROOT") };
        int n, r;

        if (argc == 3 && ulv_streq(argv[1], "--root"))
                s.root = argv[2];
        else if (argc == 2 && ulv_startswith(argv[1], "--root="))
                s.root = argv[1] + strlen("--root=");
        else if (argc == 2 && ulv_streq(argv[1], "--version"))
                return printf("uv-metrics %s\n", ULV_VERSION) < 0;
        else if (argc != 1) {
                bool asked = argc == 2 && ulv_streq(argv[1], "--help");

                (void) fputs(help, asked ? stdout : stderr);
                return asked ? 0 : 2;
        }
        if (!s.root || !s.root[0])
                s.root = "/";
        ulv_log_open("uv-metrics");
        (void) signal(SIGPIPE, SIG_IGN);
        n = sd_listen_fds(1);
        if (n > 1 || n < 0) {
                ulv_log(ULV_LOG_ERR, "one socket is expected, and %d came", n);
                return 1;
        }
        r = n == 1 ? serve(&s, SD_LISTEN_FDS_START) : print_once(&s);
        if (r < 0 && n == 1)
                ulv_log_errno(r, "cannot serve");
        sd_bus_close_unref(s.bus);
        return r < 0 ? 1 : r;
}
