/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* kill -9 anything: --cycles N times a random process of ours (uvd, uv-command, uv-operations, a monitor, a
 * uv-port) is killed at a random moment under a load of transactions, starts and stops; --seed S.
 *
 * Two workers submit ledger transactions of two parameters each, with ids of their own, and note what was
 * acknowledged; where the connection broke they submit the same id again, as a client should. Others start and
 * stop a partition each and note the state that was acknowledged. One of them is a container. Some partitions, one
 * of them a container, are never touched. Every
 * QUIET cycles the workers rest, and the whole is compared: acknowledged = recorded, both parameters equal,
 * every invariant of the ledger, untouched partitions have pid and start time of the beginning, and each
 * payload that runs has a running row. --control NAME plants a fault that a check must find (exit 1):
 * lost-ack, half-done, restarted, orphan. */

#include "test/lib/instance.h"

#include <getopt.h>
#include <stdarg.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lib/protocol.h"
#include "model/ledger.h"

#define RAW 2
#define LIFE 4
#define STILL 4
#define IS_CONTAINER(k) ((k) == 0)      /* the first of each are containers, the others simulated */
#define IDS 256
#define QUIET 25

enum expected { UNSURE, RUNNING, NOT_RUNNING };
static struct shared {
        volatile int rest, stop, ready[RAW + LIFE];
        struct { volatile uint64_t acked, tries; } raw[RAW];
        volatile int life[LIFE];
        volatile uint64_t changes[LIFE];
} *shared;

static struct instance inst;
static uint64_t seed = 1;
static const char *control = "";
static int failures;

static const char INVENTORY[] =
        "[Machine]\nName=crash\nKind=part\nPrefix=crash\nUIDRanges=400-600\n[Node \"0\"]\nCPUs=0-1\nMemory=8G\n";

static void rest(int worker) {
        while (shared->rest && !shared->stop) {
                shared->ready[worker] = 1;
                msleep(2);
        }
        shared->ready[worker] = 0;
        if (shared->stop)
                _exit(0);
}

static sd_bus *insist(sd_bus *(*connect)(const struct instance *)) {
        sd_bus *b;

        while (!(b = connect(&inst))) {
                if (shared->stop)
                        _exit(0);
                msleep(5);
        }
        return b;
}

static void raw_worker(int w) {
        sd_bus *bus = NULL;

        become_command();
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (uint64_t v = 1;; v++) {
                char id[64], ops[256];
                int r;

                rest(w);
                snprintf(id, sizeof(id), "crash-%d-%llu-%llu", w, (unsigned long long) seed, (unsigned long long) v);
                snprintf(ops, sizeof(ops), "set parameter crash.%d.a - value=%llu\nset parameter crash.%d.b - value=%llu\n",
                         w, (unsigned long long) v, w, (unsigned long long) v);
                /* The same id until an answer comes: it is carried out once, whatever dies meanwhile. */
                do {
                        if (!bus)
                                bus = insist(instance_ledger);
                        r = sd_bus_call_method(bus, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Submit", NULL, NULL, "sstsss",
                                               id, "default", (uint64_t) 0, "crash-test", "load", ops);
                        if (r < 0) {
                                sd_bus_close_unref(bus);
                                bus = NULL;
                                msleep(2);
                        }
                        if (shared->stop)
                                _exit(0);
                        shared->raw[w].tries++;
                } while (r < 0);
                shared->raw[w].acked = v;
                msleep(1);
        }
}

/* uv-command answers from its mirror while uvd is away, and says so. */
static bool is_stale(sd_bus *bus) {
        _cleanup_free_ char *row = instance_rows(bus, "ledger", NULL);

        return !row || strstr(row, " stale=yes");
}

/* What became of a partition whose job was lost: waits for a state that stays. */
static enum expected settle(sd_bus *bus, const char *name) {
        enum expected last = UNSURE;

        for (int i = 0; i < 2000; i++) {
                _cleanup_free_ char *rows = instance_rows(bus, "partition", NULL);
                bool running = false, still = false;
                enum expected now;
                char key[64], *at;

                if (!rows || is_stale(bus)) {
                        last = UNSURE;
                        if (!rows)
                                return UNSURE;
                        msleep(20);
                        continue;
                }
                snprintf(key, sizeof(key), "row partition %s ", name);
                at = strstr(rows, key);
                if (!at) {
                        still = true;           /* never defined: the start was lost before its commit */
                } else {
                        char *end = strchr(at, '\n');

                        if (end)
                                *end = 0;
                        running = strstr(at, " state=running") != NULL;
                        still = strstr(at, " state=defined") || strstr(at, " state=failed");
                }
                now = running ? RUNNING : still ? NOT_RUNNING : UNSURE;
                if (now != UNSURE && now == last)
                        return now;
                last = now;
                msleep(50);
        }
        return UNSURE;
}

static void life_worker(int w) {
        uint64_t state = seed * 977 + (uint64_t) w + 1;
        char name[32], text[512];
        sd_bus *bus = NULL;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(name, sizeof(name), "life%d", w);
        for (;;) {
                bool start = shared->life[w] != RUNNING;
                int r;

                if (shared->life[w] != UNSURE)
                        rest(RAW + w);
                if (!bus)
                        bus = insist(instance_manager);
                if (shared->life[w] == UNSURE) {
                        shared->life[w] = (int) settle(bus, name);
                } else {
                        shared->life[w] = UNSURE;
                        r = instance_do(bus, start ? "Start" : "Stop", name, random_below(&state, 4) ? 0 : ULV_FLAG_FORCE, text, sizeof(text));
                        if (r == 0) {
                                shared->life[w] = start ? RUNNING : NOT_RUNNING;
                                shared->changes[w]++;
                        }
                }
                if (shared->life[w] == UNSURE) {        /* lost or failed: ask anew */
                        sd_bus_close_unref(bus);
                        bus = NULL;
                        msleep(5);
                }
                if (shared->stop)
                        _exit(0);
                msleep(random_below(&state, 10));
        }
}

/* A simulated payload that was forked a moment ago looks like its monitor until it has a name of its own. */
static bool is_new_payload(pid_t pid, const char *comm) {
        char path[64], text[512] = "", parent[32] = "";
        int ppid = 0;
        FILE *f;

        if (!ulv_streq(comm, "uv-monitor-sim"))
                return false;
        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        f = fopen(path, "re");
        if (f && fgets(text, sizeof(text), f) && strrchr(text, ')'))
                (void) sscanf(strrchr(text, ')'), ") %*c %d", &ppid);
        if (f)
                fclose(f);
        snprintf(path, sizeof(path), "/proc/%d/comm", ppid);
        f = ppid > 1 ? fopen(path, "re") : NULL;
        if (f) {
                (void) !fgets(parent, sizeof(parent), f);
                fclose(f);
        }
        return ulv_startswith(parent, "uv-monitor-sim");
}

struct victims { const char *role; pid_t pids[64]; int n; };
static int collect(pid_t pid, const char *exe, const char *comm, void *userdata) {
        struct victims *v = userdata;

        if (ulv_startswith(comm, "uv-sim-") || is_new_payload(pid, comm) || !ulv_startswith(exe, v->role) || v->n >= 64)
                return 0;
        v->pids[v->n++] = pid;
        return 0;
}

static const char *kill_one(uint64_t *state) {
        static const char *const roles[] = { "uvd", "uvd", "uv-command", "uv-operations", "uv-monitor", "uv-monitor", "uv-port" };
        struct victims v = { .role = roles[random_below(state, ULV_ARRAY_SIZE(roles))] };
        pid_t pid;

        each_process(&inst, collect, &v);
        if (v.n == 0)
                return "nobody";
        pid = v.pids[random_below(state, (unsigned) v.n)];
        if (kill(pid, SIGKILL) < 0)
                return "nobody";
        return v.role;
}

struct still { pid_t pid; uint64_t start; } still[STILL];

static void fail(const char *fmt, ...) ULV_PRINTF(1, 2);
static void fail(const char *fmt, ...) {
        va_list ap;

        failures++;
        printf("# ");
        va_start(ap, fmt);
        vprintf(fmt, ap);
        va_end(ap);
        printf("\n");
}

/* Is it PID 1 of a container? The last number of NSpid: is its pid in its own namespace. */
static bool is_first(pid_t pid) {
        char path[64], line[256];
        bool first = false;
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/status", pid);
        f = fopen(path, "re");
        while (f && fgets(line, sizeof(line), f)) {
                char *last = strrchr(line, '\t');

                if (ulv_startswith(line, "NSpid:") && last && ulv_streq(last, "\t1\n"))
                        first = true;
        }
        if (f)
                fclose(f);
        return first;
}

struct counted { int payloads, containers; char names[64][16]; };
static int count_payload(pid_t pid, ULV_UNUSED const char *exe, const char *comm, void *userdata) {
        struct counted *c = userdata;

        c->containers += is_first(pid);
        if (ulv_startswith(comm, "uv-sim-") && c->payloads < 64)
                snprintf(c->names[c->payloads++], 16, "%s", comm + 7);
        return 0;
}

static struct ulv_ledger *whole_ledger(void) {
        struct ulv_ledger *l = NULL;
        struct ulv_diag d = { 0 };
        uint64_t end = now_usec() + 20000000;

        /* Recovery may be under way: ask until uv-command answers with a ledger of this uvd. */
        while (!l && now_usec() < end) {
                sd_bus *bus = insist(instance_manager);
                char *rows = instance_rows(bus, "", NULL);

                if (rows && rows[0] && !is_stale(bus) && ulv_ledger_load(rows, strlen(rows), &l, &d) != 0)
                        l = NULL;
                free(rows);
                sd_bus_close_unref(bus);
                if (!l)
                        msleep(20);
        }
        if (!l)
                fail("no valid ledger within 20 s: %s %s", d.what, d.why);
        return l;
}

static void check_raw(const struct ulv_ledger *l) {
        sd_bus *bus = insist(instance_manager);

        for (int w = 0; w < RAW; w++) {
                char key[32];
                const char *a, *b;
                uint64_t acked = shared->raw[w].acked;

                snprintf(key, sizeof(key), "crash.%d.a", w);
                a = ulv_ledger_parameter(l, key);
                snprintf(key, sizeof(key), "crash.%d.b", w);
                b = ulv_ledger_parameter(l, key);
                if (!ulv_streq0(a, b))
                        fail("half done: worker %d has a=%s b=%s", w, a ? a : "-", b ? b : "-");
                if (strtoull(a ? a : "0", NULL, 10) != acked)
                        fail("worker %d was acknowledged %llu, the ledger has %s", w, (unsigned long long) acked, a ? a : "-");
                for (uint64_t v = acked > 20 ? acked - 20 : 1; v <= acked; v++) {
                        char id[64];

                        snprintf(id, sizeof(id), "crash-%d-%llu-%llu", w, (unsigned long long) seed, (unsigned long long) v);
                        if (sd_bus_call_method(bus, NULL, ULV_PATH, ULV_IF_MANAGER, "Transaction", NULL, NULL, "s", id) < 0)
                                fail("acknowledged transaction %s isn't known", id);
                }
        }
        sd_bus_close_unref(bus);
}

struct walk { int running, containers; struct counted *payloads; const struct ulv_ledger *l; };
static int check_partition(const struct ulv_partition_info *p, void *userdata) {
        struct walk *w = userdata;
        bool simulated = ulv_streq(p->type, "sim");
        int n = 0;

        if (ulv_streq(p->role, "infrastructure"))
                return 0;
        for (int k = 0; k < w->payloads->payloads; k++)
                n += ulv_streq(w->payloads->names[k], p->name);
        if (simulated && p->state == ULV_RUNNING && n != 1)
                fail("%s is running in the ledger (leader %llu) and has %d payloads", p->name, (unsigned long long) p->leader, n);
        if (!ulv_state_is_live(p->state) && n != 0)
                fail("orphan: %s is %s and has %d payloads", p->name, ulv_state_name(p->state), n);
        if (p->state == ULV_RUNNING && process_start_time((pid_t) p->leader) != p->leader_start)
                fail("%s: leader %llu is not the process that was started", p->name, (unsigned long long) p->leader);
        return 0;
}
static int count_running(const struct ulv_partition_info *p, void *userdata) {
        struct walk *w = userdata;
        bool running = !ulv_streq(p->role, "infrastructure") && p->state == ULV_RUNNING;

        w->running += running && ulv_streq(p->type, "sim");
        w->containers += running && !ulv_streq(p->type, "sim");
        return 0;
}

static void check_still(void) {
        for (int k = 0; k < STILL; k++)
                if (process_start_time(still[k].pid) != still[k].start)
                        fail("still%d was restarted: pid %d is gone", k, still[k].pid);
}

static void check_all(void) {
        struct counted payloads = { 0 };
        struct walk walk = { .payloads = &payloads };
        struct ulv_partition_info p;
        struct ulv_ledger *l;
        struct ulv_diag d = { 0 };

        shared->rest = 1;
        for (uint64_t end = now_usec() + 30000000;;) {
                int ready = 0;

                for (int w = 0; w < RAW + LIFE; w++)
                        ready += shared->ready[w];
                if (ready == RAW + LIFE)
                        break;
                if (now_usec() > end) {
                        for (int w = 0; w < RAW + LIFE; w++)
                                if (!shared->ready[w])
                                        fail("worker %d got no answer for 30 s", w);
                        break;
                }
                msleep(2);
        }
        msleep(50);
        l = whole_ledger();
        if (l) {
                if (ulv_ledger_check(l, &d) != 0)
                        fail("invariant: %s %s", d.what, d.why);
                check_raw(l);
                walk.l = l;
                (void) ulv_ledger_each_partition(l, count_running, &walk);
                /* A payload just forked has its name when it has first run, which takes long on a busy machine. */
                for (int k = 0; k < 100 && (k == 0 || payloads.payloads != walk.running); k++) {
                        msleep(k ? 50 : 0);
                        payloads = (struct counted) { 0 };
                        each_process(&inst, count_payload, &payloads);
                }
                (void) ulv_ledger_each_partition(l, check_partition, &walk);
                if (payloads.payloads != walk.running)
                        fail("%d payloads run, %d partitions are running", payloads.payloads, walk.running);
                if (payloads.containers != walk.containers)
                        fail("orphan: %d containers run, %d are running in the ledger", payloads.containers, walk.containers);
                for (int w = 0; w < LIFE; w++) {
                        char name[32];

                        snprintf(name, sizeof(name), "life%d", w);
                        if (shared->life[w] != UNSURE && ulv_ledger_partition(l, name, &p) == 0 &&
                            (p.state == ULV_RUNNING) != (shared->life[w] == RUNNING))
                                fail("%s was acknowledged %s, the ledger says %s", name, shared->life[w] == RUNNING ? "running" : "stopped",
                                     ulv_state_name(p.state));
                }
                check_still();
                ulv_ledger_free(l);
        }
        if (failures > 0 && !control[0]) {
                char command[2048];

                snprintf(command, sizeof(command), "%s/uvctl --root %s list -a -o wide; %s/uvctl --root %s history -a | grep -v crash- | head -n 30",
                         inst.bin, inst.root, inst.bin, inst.root);
                fflush(stdout);
                if (system(command) != 0)
                        fail("uvctl doesn't answer");
        }
        shared->rest = 0;
}

static void sabotage(void) {
        if (ulv_streq(control, "lost-ack")) {
                shared->raw[0].acked += 1;
        } else if (ulv_streq(control, "restarted")) {
                kill(still[0].pid, SIGKILL);
        } else if (ulv_streq(control, "orphan")) {
                /* A double-forked child of uv-launch can't be had; one below us is looked for there. */
                inst.launch = getpid();
                if (fork() == 0) {
                        (void) prctl(PR_SET_NAME, "uv-sim-life0");
                        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                        pause();
                }
                msleep(50);
        } else if (ulv_streq(control, "half-done")) {
                pid_t pid = fork();

                if (pid == 0) {
                        sd_bus *bus;

                        become_command();
                        bus = insist(instance_ledger);
                        _exit(sd_bus_call_method(bus, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Submit", NULL, NULL, "sstsss", "half", "default",
                                                 (uint64_t) 0, "crash-test", "control", "set parameter crash.1.b - value=0\n") < 0);
                }
                waitpid(pid, NULL, 0);
        }
}

static void spawn(void (*f)(int), int w) {
        if (fork() == 0) {
                f(w);
                _exit(0);
        }
}

static void begin(void) {
        char text[512];
        sd_bus *bus;

        instance_make(&inst, "kill", INVENTORY);
        for (int k = 0; k < STILL + LIFE; k++) {
                char path[128], name[32];

                snprintf(name, sizeof(name), "%s%d", k < STILL ? "still" : "life", k < STILL ? k : k - STILL);
                snprintf(path, sizeof(path), "etc/ultravisor/partitions/%s.partition", name);
                if (IS_CONTAINER(k < STILL ? k : k - STILL))
                        instance_write(&inst, path, "[Partition]\nType=container\n[CPU]\nShare=0.1\n[Memory]\nSize=64M\n[Container]\n"
                                       "Root=%s/tree\nExec=/bin/sleep 100000\n", inst.root);
                else
                        instance_write(&inst, path, "[Partition]\nType=sim\n[CPU]\n%s\n[Memory]\nSize=64M\n", k == STILL + 1 ? "Cores=1" : "Share=0.1");
        }
        instance_busybox(&inst);
        instance_start(&inst);
        bus = insist(instance_manager);
        for (int k = 0; k < STILL; k++) {
                struct ulv_partition_info p;
                struct ulv_ledger *l;
                char name[32];

                snprintf(name, sizeof(name), "still%d", k);
                if (instance_do(bus, "Start", name, 0, text, sizeof(text)) != 0)
                        FAIL("cannot start %s: %s (log: %s/log)", name, text, inst.root);
                l = whole_ledger();
                if (!l || ulv_ledger_partition(l, name, &p) != 0 || p.state != ULV_RUNNING)
                        FAIL("%s isn't running", name);
                still[k] = (struct still) { (pid_t) p.leader, process_start_time((pid_t) p.leader) };
                ulv_ledger_free(l);
        }
        sd_bus_close_unref(bus);
        for (int w = 0; w < LIFE; w++)
                shared->life[w] = NOT_RUNNING;
        for (int w = 0; w < RAW; w++)
                spawn(raw_worker, w);
        for (int w = 0; w < LIFE; w++)
                spawn(life_worker, w);
}

int main(int argc, char **argv) {
        static const struct option options[] = {
                { "cycles", 1, NULL, 'c' }, { "seed", 1, NULL, 's' }, { "control", 1, NULL, 'k' }, { 0 } };
        unsigned cycles = 100, killed = 0;
        uint64_t state;
        int c, left;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'c': cycles = (unsigned) strtoul(optarg, NULL, 10); break;
                case 's': seed = strtoull(optarg, NULL, 10); break;
                case 'k': control = optarg; break;
                default: return 2;
                }
        setvbuf(stdout, NULL, _IOLBF, 0);
        state = seed * 7919 + 1;
        shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (shared == MAP_FAILED)
                FAIL("mmap: %m");
        begin();
        for (unsigned k = 1; k <= cycles && failures == 0; k++) {
                msleep(5 + random_below(&state, 60));
                killed += !ulv_streq(kill_one(&state), "nobody");
                check_still();
                if (k % QUIET == 0 || k == cycles)
                        check_all();
        }
        if (control[0]) {
                pid_t launch = inst.launch;

                shared->rest = 1;
                msleep(300);
                sabotage();
                check_all();
                inst.launch = launch;
        }
        shared->stop = 1;
        while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
        printf("# %u kills; acknowledged %llu + %llu transactions, %llu starts and stops\n", killed,
               (unsigned long long) shared->raw[0].acked, (unsigned long long) shared->raw[1].acked,
               (unsigned long long) (shared->changes[0] + shared->changes[1] + shared->changes[2]));
        if (failures > 0)
                printf("# log kept: %s/log\n", inst.root);
        printf("%s 1 - %u times kill -9: nothing acknowledged lost, half done, owned twice, orphaned or restarted (seed %llu)\n",
               failures ? "not ok" : "ok", killed, (unsigned long long) seed);
        msleep(100);
        if (failures > 0)
                setenv("ULV_KEEP", "1", 1);
        left = instance_stop(&inst);
        printf("%s 2 - stopping it leaves nothing behind\n1..2\n", left ? "not ok" : "ok");
        return failures > 0 || left > 0;
}
