/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-unit: what the unit of a partition needs beside its monitor.
 *
 *   uv-unit want NAME      PID 1 has started the unit by itself: asks uvd whether the partition is to run. 0: yes; else
 *                          a code of enum ulv_exit, with the reason on the standard output in one line, and in full in
 *                          the log. Without any right (uv-monitor drops them).
 *   uv-unit stopped NAME   ExecStopPost=: ends the payload's scope if the unit was to stop (systemctl stop and restart,
 *                          shutdown) and its monitor didn't live to see to it. After an accident of the monitor there
 *                          is no such job: then the payload runs on, for the next monitor. The scope is killed and not
 *                          stopped, for a stop would wait for what is ordered before it, and that waits for us.
 *   uv-unit slice          uv-slice.service: has the slice of partitions with cores fit those that are there. */

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>

#include "lib/bus.h"
#include "lib/cgroup.h"
#include "lib/log.h"
#include "lib/protocol.h"
#include "monitor/plugin.h"
#include "monitor/unit/unit.h"

#define UVD_PATIENCE 300                /* of 100 ms: how long uvd may be away */
#define ASKED_AGAIN_MS 100
#define SCOPE_LOOKS 100                 /* until PID 1 has taken away the scope of a killed payload, */
#define SCOPE_LOOK_MS 20                /* with this much between them */
#define SYSTEMD "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"

static int unit_path(const char *name, char **ret) {
        char unit[128];

        (void) snprintf(unit, sizeof(unit), "uv-partition@%.64s.service", name);
        return sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit, ret);
}

static int refuse(const struct ulv_diag *d) {
        ulv_log(ULV_LOG_ERR, "%s", d->what);
        if (d->why[0])
                ulv_log(ULV_LOG_ERR, "%s", d->why);
        if (d->try_[0])
                ulv_log(ULV_LOG_ERR, "try: %s", d->try_);
        (void) printf("%s%s%s\n", d->what, d->why[0] ? ": " : "", d->why);
        return (int) d->code;
}

/* Was the unit revived by PID 1 after an accident, and not started by anybody? Then its partition ended meanwhile. */
static bool is_revived(const char *name) {
        _cleanup_free_ char *path = NULL;
        sd_bus *bus = NULL;
        uint32_t n = 0;

        if (sd_bus_open_system(&bus) >= 0 && unit_path(name, &path) >= 0)
                (void) sd_bus_get_property_trivial(bus, "org.freedesktop.systemd1", path, "org.freedesktop.systemd1.Service", "NRestarts", NULL, 'u', &n);
        sd_bus_flush_close_unref(bus);
        return n > 0;
}

/* 0: yes; 1: refused (d); -errno: uvd went away, or isn't there. */
static int ask(const char *path, const char *name, const char *token, struct ulv_diag *d) {
        sd_bus_error e = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        sd_bus *bus = NULL;
        int r;

        r = ulv_bus_connect(NULL, path, &bus);
        if (r >= 0)
                r = sd_bus_message_new_method_call(bus, &m, NULL, ULV_PATH_MONITOR, ULV_IF_MONITOR, "Want");
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", name, token);
        if (r >= 0)
                r = sd_bus_call(bus, m, UINT64_MAX, &e, NULL);
        if (r < 0 && e.name && ulv_startswith(e.name, ULV_ERROR_PREFIX)) {
                ulv_bus_error_to_diag(&e, r, d);
                r = 0;
        }
        sd_bus_error_free(&e);
        sd_bus_message_unref(m);
        sd_bus_close_unref(bus);
        return r < 0 ? r : d->what[0] != 0;
}

static int want(const char *name) {
        const char *root = getenv("ULTRAVISOR_ROOT"), *token = getenv("INVOCATION_ID");
        struct ulv_diag d = { 0 };
        char path[4096];
        int r = -EINVAL;

        if (!root || !token || snprintf(path, sizeof(path), "%s/" ULV_RUN "/" ULV_SOCKET_MONITOR, ulv_streq(root, "/") ? "" : root) >= (int) sizeof(path))
                return ULV_EXIT_USAGE;
        if (is_revived(name))
                return ULV_MONITOR_FAILED;
        for (unsigned i = 0; i < UVD_PATIENCE; i++) {
                r = ask(path, name, token, &d);
                if (r >= 0)
                        return r == 0 ? 0 : refuse(&d);
                (void) poll(NULL, 0, ASKED_AGAIN_MS);
        }
        ulv_diag_what(&d, ULV_EXIT_UNREACHABLE, "cannot start %s", name);
        ulv_diag_why(&d, "uvd doesn't answer: %s", strerror(-r));
        ulv_diag_try(&d, "systemctl start ultravisor.target");
        return refuse(&d);
}

/* Is there a job that wants this unit to be down? While a start waits for our end the payload runs on. */
static int is_to_stop(sd_bus *bus, const char *name) {
        _cleanup_free_ char *path = NULL, *type = NULL;
        sd_bus_message *m = NULL;
        const char *job;
        uint32_t id;
        int r;

        r = unit_path(name, &path);
        if (r >= 0)
                r = sd_bus_get_property(bus, "org.freedesktop.systemd1", path, "org.freedesktop.systemd1.Unit", "Job", NULL, &m, "(uo)");
        if (r >= 0)
                r = sd_bus_message_read(m, "(uo)", &id, &job);
        if (r >= 0 && id != 0)
                r = sd_bus_get_property_string(bus, "org.freedesktop.systemd1", job, "org.freedesktop.systemd1.Job", "JobType", NULL, &type);
        sd_bus_message_unref(m);
        if (r < 0 || !type)
                return ULV_MIN(r, 0);
        return ulv_streq(type, "stop") || ulv_streq(type, "restart") || ulv_streq(type, "try-restart");
}

/* For the next monitor, which will find nothing: this was no accident. */
static void note_stop(const char *name) {
        const char *root = getenv("ULTRAVISOR_ROOT");
        char path[4096];

        if (root && snprintf(path, sizeof(path), "%s/" ULV_RUN_PARTITION "/%s/" ULV_STOP_NOTE, ulv_streq(root, "/") ? "" : root, name) < (int) sizeof(path))
                (void) ulv_close(open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
}

/* The scope goes when its last process has, and then its cores are nobody's. */
static void give_back_cores(const char *scope) {
        char path[4096];
        size_t n;

        if (ulv_cgroup_root(path, sizeof(path) - 256) < 0)
                return;
        n = strlen(path);
        (void) snprintf(path + n, sizeof(path) - n, "/" ULV_SLICE_CORES "/%s", scope);
        for (unsigned i = 0; i < SCOPE_LOOKS && access(path, F_OK) == 0; i++)
                (void) poll(NULL, 0, SCOPE_LOOK_MS);
        (void) unit_slice();
}

/* A VM's scope has libvirt's name, with a number in it. */
static int kill_scopes(sd_bus *bus, const char *name, char scope[static 256], sd_bus_error *e) {
        sd_bus_message *reply = NULL;
        const char *unit;
        int r = sd_bus_call_method(bus, SYSTEMD, "ListUnitsByPatterns", e, &reply, "asas", 0, 2, "ultravisor-*.scope", "machine-qemu*ultravisor*.scope");

        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");
        while (r >= 0 && (r = sd_bus_message_read(reply, "(ssssssouso)", &unit, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)) > 0) {
                char found[96];

                if (!ulv_scope_partition(unit, strlen(unit), found, sizeof(found)) || !ulv_streq(found, name))
                        continue;
                (void) ulv_copy(scope, 256, unit);
                r = sd_bus_call_method(bus, SYSTEMD, "KillUnit", e, NULL, "ssi", unit, "all", SIGKILL);
                if (r < 0 && sd_bus_error_has_name(e, "org.freedesktop.systemd1.NoSuchUnit")) {
                        sd_bus_error_free(e);
                        r = 0;
                }
        }
        sd_bus_message_unref(reply);
        return r;
}

static int stopped(const char *name) {
        const char *code = getenv("EXIT_CODE"), *status = getenv("EXIT_STATUS");
        char failed[16];
        sd_bus_error e = SD_BUS_ERROR_NULL;
        sd_bus *bus = NULL;
        char scope[256] = "";
        bool killed;
        int r;

        (void) snprintf(failed, sizeof(failed), "%d", ULV_MONITOR_FAILED);
        if (code && status && ulv_streq(code, "exited") && (ulv_streq(status, "0") || ulv_streq(status, failed)))
                return 0;       /* It has proved that nothing is left. */
        r = sd_bus_open_system(&bus);
        if (r >= 0)
                r = is_to_stop(bus, name);
        killed = r > 0;
        if (killed) {
                ulv_log(ULV_LOG_WARNING, "%s is to stop and has no monitor that could see to it: killed", name);
                note_stop(name);
                r = kill_scopes(bus, name, scope, &e);
        }
        sd_bus_error_free(&e);
        sd_bus_flush_close_unref(bus);
        if (killed && r >= 0)
                give_back_cores(scope);
        return r < 0 ? -ulv_log_errno(r, "cannot see to it that %s has stopped", name) : 0;
}

int main(int argc, char **argv) {
        if (argc == 2 && ulv_streq(argv[1], "--version")) {
                (void) printf("uv-unit %s\n", ULV_VERSION);
                return 0;
        }
        ulv_log_open("uv-unit");
        if (argc == 3 && ulv_streq(argv[1], "want"))
                return want(argv[2]);
        if (argc == 3 && ulv_streq(argv[1], "stopped"))
                return stopped(argv[2]) != 0;
        if (argc == 2 && ulv_streq(argv[1], "slice"))
                return unit_slice() != 0;
        (void) fprintf(stderr, "uv-unit can't do this\nit is for the units uv-partition@.service and uv-slice.service\ntry: systemctl start uv-partition@NAME\n");
        return ULV_EXIT_USAGE;
}
