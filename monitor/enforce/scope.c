/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The payload's cgroup where PID 1 is systemd: a scope of its own in ultravisor.slice.
 *
 * Theory of operation. What is written by hand into a cgroup that systemd keeps, it puts back when it next looks. So
 * the scope is made by it, around the builder (which waits), and each limit is a property of the scope; enforce.c and
 * limits.c speak of the kernel's files, and read them back, and here is the table of which property makes which file.
 * Delegate= has the kernel's controllers there from the start, and what is below left alone; what systemd has no property
 * for (cpuset.cpus.partition, our device filter) is ours to set on the scope's cgroup, and stays.
 *
 * Calls wait for PID 1's answer: a monitor has nothing better to do, and one partition depends on it. A property is in
 * force when PID 1 answers the next question, so each change is followed by one. A scope is made with its limits. */

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <systemd/sd-bus.h>

#include "lib/cgroup.h"
#include "lib/fd.h"
#include "monitor/enforce/enforce.h"

#define SERVICE "org.freedesktop.systemd1"
#define MANAGER SERVICE, "/org/freedesktop/systemd1", SERVICE ".Manager"
#define GUESTS "uv-guests.service"      /* at shutdown it stops partitions in their order: before PID 1 ends their scopes */
#define CALL_USEC (25 * UINT64_C(1000000))
#define APPEAR_USEC 100                 /* between two looks whether PID 1 has moved the builder: a start waits for it */
#define APPEAR_TRIES 30000              /* and how often at most: some 5 s, for the kernel adds 50 us to each wait */
#define EXISTS_TRIES 200                /* of 10 ms: and to forget an earlier scope of that name */

static sd_bus *bus;                     /* of a few calls in a row */

static int bus_get(sd_bus **ret) {
        int r = bus ? 0 : sd_bus_open_system(&bus);

        *ret = bus;
        return r < 0 ? r : 0;
}

void ulv_scope_done(void) { bus = sd_bus_flush_close_unref(bus); }

/* --- the scope ---------------------------------------------------------------------------------------- */

static int append_limit(sd_bus_message *m, const char *file, const char *text);

static int append_scope(sd_bus_message *m, const char *scope, const char *slice, const char *partition, pid_t pid,
                        const struct ulv_limit_file *limits, size_t n_limits) {
        char description[128];
        int r;

        (void) snprintf(description, sizeof(description), "Partition %.64s", partition);
        if ((r = sd_bus_message_append(m, "ss", scope, "fail")) < 0 || (r = sd_bus_message_open_container(m, 'a', "(sv)")) < 0)
                return r;
        r = sd_bus_message_append(m, "(sv)(sv)(sv)(sv)(sv)(sv)", "Description", "s", description, "Slice", "s", slice,
                                  "PIDs", "au", 1, (uint32_t) pid, "Delegate", "b", 1, "CollectMode", "s", "inactive-or-failed",
                                  "Before", "as", 1, GUESTS);
        for (size_t i = 0; r >= 0 && i < n_limits; i++)
                r = append_limit(m, limits[i].file, limits[i].text);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_append(m, "a(sa(sv))", 0);
}

/* Proved by the kernel, not by a job's end: the process is in it. */
static int wait_for_move(const char *scope, pid_t pid) {
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%d/cgroup", (int) pid);
        for (unsigned i = 0; i < APPEAR_TRIES; i++) {
                _cleanup_free_ char *text = NULL;
                size_t len, n = strlen(scope);
                int r = ulv_read_file_at(AT_FDCWD, path, 65536, &text, &len);
                const char *at = r < 0 ? NULL : ulv_cgroup_path(text, &len);

                if (r < 0)
                        return r;
                if (at && len > n && at[len - n - 1] == '/' && strncmp(at + len - n, scope, n) == 0)
                        return 0;
                (void) usleep(APPEAR_USEC);
        }
        return -ETIMEDOUT;
}

int ulv_scope_start(const char *scope, const char *slice, const char *partition, pid_t pid, const struct ulv_limit_file *limits,
                    size_t n_limits, struct ulv_diag *reterr) {
        sd_bus_error e = SD_BUS_ERROR_NULL;
        sd_bus *b = NULL;
        int r = -EBUSY;

        for (unsigned i = 0; i < EXISTS_TRIES; i++) {
                sd_bus_message *m = NULL;

                sd_bus_error_free(&e);
                r = bus_get(&b);
                if (r >= 0)
                        r = sd_bus_message_new_method_call(b, &m, MANAGER, "StartTransientUnit");
                if (r >= 0)
                        r = append_scope(m, scope, slice, partition, pid, limits, n_limits);
                if (r >= 0)
                        r = sd_bus_call(b, m, CALL_USEC, &e, NULL);
                sd_bus_message_unref(m);
                if (r >= 0 || !sd_bus_error_has_name(&e, SERVICE ".UnitExists"))
                        break;
                (void) poll(NULL, 0, 10);
        }
        if (r >= 0)
                r = wait_for_move(scope, pid);
        if (r < 0) {
                ulv_diag_why(reterr, "systemd doesn't make %s: %s", scope, e.message ? e.message : strerror(-r));
                ulv_diag_try(reterr, "systemctl status %s", scope);
        }
        sd_bus_error_free(&e);
        return r < 0 ? r : 0;
}

/* PID 1 ends a scope when it hears that the last process has gone. It hears nothing if there was none: a builder that was
 * dying while it was moved leaves a scope that stands for ever, and nobody in it. */
void ulv_scope_stop(const char *scope) {
        sd_bus *b = NULL;

        if (bus_get(&b) >= 0)
                (void) sd_bus_call_method(b, MANAGER, "StopUnit", NULL, NULL, "ss", scope, "replace");
        ulv_scope_done();
}

int ulv_slice_start(const char *slice) {
        sd_bus *b = NULL;
        int r;

        if (access(slice, F_OK) == 0)
                return 0;
        r = bus_get(&b);
        if (r >= 0)
                r = sd_bus_call_method(b, MANAGER, "StartUnit", NULL, NULL, "ss", strrchr(slice, '/') + 1, "fail");
        for (unsigned i = 0; r >= 0 && access(slice, F_OK) < 0; i++) {
                if (i >= APPEAR_TRIES)
                        return -ETIMEDOUT;
                (void) usleep(APPEAR_USEC);
        }
        return r < 0 ? r : 0;
}

/* --- limits ------------------------------------------------------------------------------------------- */

static int append_number(sd_bus_message *m, const char *property, const char *text) {
        return sd_bus_message_append(m, "(sv)", property, "t", ulv_streq(text, "max") ? UINT64_MAX : (uint64_t) strtoull(text, NULL, 10));
}

/* cpu.max "QUOTA PERIOD" as time per second. */
static int append_quota(sd_bus_message *m, const char *text) {
        uint64_t quota, period;

        if (ulv_startswith(text, "max"))
                return append_number(m, "CPUQuotaPerSecUSec", "max");
        if (sscanf(text, "%" SCNu64 " %" SCNu64, &quota, &period) != 2 || period == 0)
                return -EINVAL;
        return sd_bus_message_append(m, "(sv)(sv)", "CPUQuotaPerSecUSec", "t", quota * 1000000 / period, "CPUQuotaPeriodUSec", "t", period);
}

/* A list of CPUs or nodes as bytes, the lowest first. */
static int append_set(sd_bus_message *m, const char *property, const char *text) {
        struct ulv_cpus set;
        uint8_t bytes[sizeof(set.bits)] = { 0 };
        size_t n = 0;
        int r = ulv_cpus_parse(text, &set);

        if (r < 0)
                return r;
        for (size_t i = 0; i < sizeof(bytes) * 8; i++)
                if (ulv_cpus_has(&set, (unsigned) i)) {
                        bytes[i / 8] = (uint8_t) (bytes[i / 8] | 1u << i % 8);
                        n = i / 8 + 1;
                }
        if ((r = sd_bus_message_open_container(m, 'r', "sv")) < 0 || (r = sd_bus_message_append(m, "s", property)) < 0 ||
            (r = sd_bus_message_open_container(m, 'v', "ay")) < 0 || (r = sd_bus_message_append_array(m, 'y', bytes, n)) < 0 ||
            (r = sd_bus_message_close_container(m)) < 0)
                return r;
        return sd_bus_message_close_container(m);
}

/* io.max "MAJOR:MINOR rbps=N wbps=max ...": each of it is a list of its own. */
static int append_disk(sd_bus_message *m, const char *text) {
        static const struct { const char *word, *property; } table[] = {
                { " rbps=", "IOReadBandwidthMax" }, { " wbps=", "IOWriteBandwidthMax" }, { " riops=", "IOReadIOPSMax" }, { " wiops=", "IOWriteIOPSMax" },
        };
        char path[64];
        int r = 0;

        (void) snprintf(path, sizeof(path), "/dev/block/%.*s", (int) ULV_MIN(strcspn(text, " "), (size_t) 32), text);
        for (size_t i = 0; r >= 0 && i < ULV_ARRAY_SIZE(table); i++) {
                const char *at = strstr(text, table[i].word);
                uint64_t n = !at || ulv_startswith(at + strlen(table[i].word), "max") ? UINT64_MAX : strtoull(at + strlen(table[i].word), NULL, 10);

                r = sd_bus_message_append(m, "(sv)", table[i].property, "a(st)", 1, path, n);
        }
        return r;
}

static int append_limit(sd_bus_message *m, const char *file, const char *text) {
        static const struct { const char *file, *property; bool set; } table[] = {
                { "memory.max", "MemoryMax", false }, { "memory.high", "MemoryHigh", false }, { "memory.min", "MemoryMin", false },
                { "memory.swap.max", "MemorySwapMax", false }, { "pids.max", "TasksMax", false },
                { "cpuset.cpus", "AllowedCPUs", true }, { "cpuset.mems", "AllowedMemoryNodes", true },
        };

        if (ulv_streq(file, "cpu.max"))
                return append_quota(m, text);
        if (ulv_streq(file, "io.max"))
                return append_disk(m, text);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(table); i++)
                if (ulv_streq(table[i].file, file))
                        return table[i].set ? append_set(m, table[i].property, text) : append_number(m, table[i].property, text);
        return -EOPNOTSUPP;
}

int ulv_scope_set(const char *scope, const char *file, const char *text) {
        sd_bus_message *m = NULL;
        sd_bus *b = NULL;
        int r;

        if ((r = bus_get(&b)) < 0 || (r = sd_bus_message_new_method_call(b, &m, MANAGER, "SetUnitProperties")) < 0)
                return r;
        if ((r = sd_bus_message_append(m, "sb", scope, 1)) >= 0 && (r = sd_bus_message_open_container(m, 'a', "(sv)")) >= 0 &&
            (r = append_limit(m, file, text)) >= 0 && (r = sd_bus_message_close_container(m)) >= 0)
                r = sd_bus_call(b, m, CALL_USEC, NULL, NULL);
        sd_bus_message_unref(m);
        if (r >= 0)
                r = sd_bus_call_method(b, SERVICE, "/", "org.freedesktop.DBus.Peer", "Ping", NULL, NULL, "");
        return r < 0 ? r : 0;
}
