/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A start through systemd, taken apart: PID 1's two jobs (a unit of Type=notify whose program is ready at once, and a
 * scope around a process that is there) and polkit's answer are measured bare, beside the start of a container by a
 * member of ultravisor-admin over the system bus, in the same rounds. What is left of that is ours. Runs in the systemd
 * bed (bench/systemd.sh), where partition p0 is defined and bench-bare.service is written: `systemd UID ROUNDS`. */

#include "bench/bench.h"

#include <signal.h>
#include <sys/wait.h>

#include "bench/raw.h"
#include "lib/protocol.h"

#define SYSTEMD "org.freedesktop.systemd1"
#define SYSTEMD_MANAGER SYSTEMD, "/org/freedesktop/systemd1", SYSTEMD ".Manager"
#define POLKIT "org.freedesktop.PolicyKit1"
#define CALL_USEC 20000000

static sd_bus *root_bus, *user_bus;
static char waited[256];        /* the job that is waited for */
static bool ended;

static double ms_since(uint64_t start) { return (double) (now_usec() - start) / 1000; }

static int on_job(sd_bus_message *m, ULV_UNUSED void *userdata, ULV_UNUSED sd_bus_error *e) {
        const char *job, *unit, *result;
        uint32_t id;

        if (sd_bus_message_read(m, "uoss", &id, &job, &unit, &result) > 0 && ulv_streq(job, waited)) {
                ended = true;
                if (!ulv_streq(result, "done"))
                        FAIL("%s of %s: %s", job, unit, result);
        }
        return 0;
}

/* The reply to a call that queues a job, and the job's end. */
static void wait_for_job(sd_bus_message *call) {
        sd_bus_error e = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = NULL;
        const char *job;

        ended = false;
        if (sd_bus_call(root_bus, call, CALL_USEC, &e, &reply) < 0 || sd_bus_message_read(reply, "o", &job) <= 0)
                FAIL("systemd: %s", e.message);
        snprintf(waited, sizeof(waited), "%s", job);
        while (!ended)
                if (sd_bus_process(root_bus, NULL) == 0 && sd_bus_wait(root_bus, CALL_USEC) <= 0)
                        FAIL("systemd doesn't end %s", waited);
        sd_bus_message_unref(reply);
        sd_bus_message_unref(call);
}

static void unit_job(const char *verb, const char *unit) {
        sd_bus_message *m = NULL;

        if (sd_bus_message_new_method_call(root_bus, &m, SYSTEMD_MANAGER, verb) < 0 || sd_bus_message_append(m, "ss", unit, "fail") < 0)
                FAIL("a message");
        wait_for_job(m);
}

static double bare_unit(ULV_UNUSED void *userdata) {
        uint64_t start = now_usec();

        unit_job("StartUnit", "bench-bare.service");
        double t = ms_since(start);
        unit_job("StopUnit", "bench-bare.service");
        return t;
}

/* As monitor/enforce/scope.c asks for it. */
static double bare_scope(ULV_UNUSED void *userdata) {
        sd_bus_message *m = NULL;
        pid_t pid = fork();
        uint64_t start;

        if (pid == 0)
                for (;;)
                        (void) pause();
        start = now_usec();
        if (sd_bus_message_new_method_call(root_bus, &m, SYSTEMD_MANAGER, "StartTransientUnit") < 0 ||
            sd_bus_message_append(m, "ssa(sv)a(sa(sv))", "bench-bare.scope", "fail", 5, "Slice", "s", "uvpool.slice", "PIDs", "au", 1, (uint32_t) pid,
                                  "Delegate", "b", 1, "CollectMode", "s", "inactive-or-failed", "Before", "as", 1, "uv-guests.service", 0) < 0)
                FAIL("a message");
        wait_for_job(m);
        double t = ms_since(start);
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
        msleep(50);     /* systemd forgets the scope when it hears that it is empty */
        return t;
}

/* As command/polkit.c asks for it, about who starts p0 here. */
static double polkit(ULV_UNUSED void *userdata) {
        sd_bus_error e = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = NULL;
        const char *name;
        uint64_t start = now_usec();
        int yes = 0;

        if (sd_bus_get_unique_name(user_bus, &name) < 0 ||
            sd_bus_call_method(root_bus, POLKIT, "/org/freedesktop/PolicyKit1/Authority", POLKIT ".Authority", "CheckAuthorization", &e, &reply,
                               "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s", name, ULV_SERVICE ".manage-partitions",
                               2, "verb", "Start", "partition", "p0", 0, "") < 0)
                FAIL("polkit: %s", e.message);
        double t = ms_since(start);
        if (sd_bus_message_enter_container(reply, 'r', "bba{ss}") <= 0 || sd_bus_message_read(reply, "b", &yes) <= 0 || !yes)
                FAIL("polkit doesn't let this user start a partition");
        sd_bus_message_unref(reply);
        return t;
}

static void change(const char *verb, uint32_t flags) {
        sd_bus_error e = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = NULL, *outcome = NULL;
        const char *job, *plan, *state, *txn, *text;

        if (sd_bus_call_method(user_bus, ULV_SERVICE, ULV_PATH, ULV_IF_MANAGER, verb, &e, &reply, "asuts", 1, "p0", flags, (uint64_t) 0, "bench") < 0 ||
            sd_bus_message_read(reply, "ss", &job, &plan) <= 0 ||
            sd_bus_call_method(user_bus, ULV_SERVICE, ULV_PATH, ULV_IF_MANAGER, "Wait", &e, &outcome, "st", job, (uint64_t) 0) < 0 ||
            sd_bus_message_read(outcome, "sss", &state, &txn, &text) <= 0)
                FAIL("%s: %s", verb, e.message);
        if (!ulv_streq(state, "done"))
                FAIL("%s: %s: %s", verb, state, text);
        sd_bus_message_unref(reply);
        sd_bus_message_unref(outcome);
}

static double ours(ULV_UNUSED void *userdata) {
        uint64_t start = now_usec();

        change("Start", 0);
        double t = ms_since(start);
        change("Stop", ULV_FLAG_FORCE);
        msleep(100);    /* unit and scope are forgotten */
        return t;
}

int main(int argc, char **argv) {
        uid_t uid = argc > 2 ? (uid_t) strtoul(argv[1], NULL, 10) : 0;
        unsigned rounds = argc > 2 ? (unsigned) strtoul(argv[2], NULL, 10) : 0;
        enum { START, UNIT, SCOPE, POLKIT_SAYS, KERNEL };
        struct contender c[] = {
                [START] = { .name = "start over the system bus, to running", .run = ours },
                [UNIT] = { .name = "PID 1: a unit that is ready at once", .run = bare_unit },
                [SCOPE] = { .name = "PID 1: a scope around a process", .run = bare_scope },
                [POLKIT_SAYS] = { .name = "polkit's answer", .run = polkit },
                [KERNEL] = { .name = "the kernel: clone, the same namespaces, exec", .run = raw_clone },
        };
        double left[ROUNDS_MAX], kernel[ROUNDS_MAX];

        if (uid == 0 || rounds == 0 || rounds > ROUNDS_MAX)
                FAIL("systemd UID ROUNDS");
        if (sd_bus_open_system(&root_bus) < 0 || seteuid(uid) < 0 || sd_bus_open_system(&user_bus) < 0 || seteuid(0) < 0 ||
            sd_bus_call_method(root_bus, SYSTEMD_MANAGER, "Subscribe", NULL, NULL, NULL) < 0 ||
            sd_bus_match_signal(root_bus, NULL, SYSTEMD_MANAGER, "JobRemoved", on_job, NULL) < 0)
                FAIL("the system bus");
        bench_run("Container start through systemd", "ms", c, ULV_ARRAY_SIZE(c), rounds, START);
        for (unsigned i = 0; i < rounds; i++) {
                left[i] = c[START].figures[i] - c[UNIT].figures[i] - c[SCOPE].figures[i] - c[POLKIT_SAYS].figures[i];
                kernel[i] = c[KERNEL].figures[i];
        }
        printf("  what we add to PID 1's two jobs and polkit's answer: %.2f ms (goal: under 3 ms), two commits and the container itself with it\n",
               bench_median(left, rounds));
        printf("  of it the kernel's for its namespaces alone: %.2f ms\n", bench_median(kernel, rounds));
        return 0;
}
