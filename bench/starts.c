/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PERF.md goal 5 and start latency. `starts sim` and `starts lxc`: N partitions up, each through uv-command with
 * its own commit and monitor, beside the raw work (the kernel's own for N containers, for lxc) and peers; the
 * memory that we add for each; what is left when all are down; one start taken apart into commit, monitor and
 * kernel; and uvd's recovery with 64 partitions. `starts sim 1000` sets N. */

#include "bench/bench.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "bench/raw.h"
#include "lib/protocol.h"

static struct instance inst;
static sd_bus *manager;
static bool lxc;
static unsigned count = 1000;

/* What the machine has for the test, in MiB: all but 2 GiB. */
static unsigned memory_total(void) {
        return (unsigned) (sysconf(_SC_PHYS_PAGES) / 256 - 2048) & ~1u;
}
static unsigned memory_each(void) { return ULV_MAX(ULV_MIN((memory_total() - 2048) / count & ~1u, 32u), 2u); }

static void define(unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                char path[128];

                snprintf(path, sizeof(path), "etc/ultravisor/partitions/p%04u.partition", i);
                if (lxc)
                        instance_write(&inst, path, "[Partition]\nType=container\n[CPU]\nShare=0.001\n[Memory]\nSize=%uM\n[Container]\nRoot=%s/tree\nExec=/bin/sleep 3600\n", memory_each(), inst.root);
                else
                        instance_write(&inst, path, "[Partition]\nType=sim\n[CPU]\nShare=0.1\n[Memory]\nSize=64M\n");
        }
}

static void run(const char *fmt, ...) ULV_PRINTF(1, 2);
static void run(const char *fmt, ...) {
        char command[1024];
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(command, sizeof(command), fmt, ap);
        va_end(ap);
        if (system(command) != 0)
                FAIL("%s", command);
}

struct memory { const char *exe; uint64_t kib; unsigned n; };
static int sum_memory(pid_t pid, const char *exe, const char *comm, void *userdata) {
        struct memory *m = userdata;
        char path[64], line[256];
        FILE *f;

        if (!ulv_streq(exe, m->exe) || ulv_startswith(comm, "uv-sim-"))
                return 0;
        snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
        f = fopen(path, "re");
        while (f && fgets(line, sizeof(line), f)) {
                unsigned long kib;

                if (sscanf(line, "Private_Dirty: %lu", &kib) == 1 || sscanf(line, "Private_Clean: %lu", &kib) == 1)
                        m->kib += kib;
        }
        if (f)
                fclose(f);
        m->n++;
        return 0;
}
static double memory_of(const char *exe, unsigned *ret_n) {
        struct memory m = { .exe = exe };

        each_process(&inst, sum_memory, &m);
        if (ret_n)
                *ret_n = m.n;
        return (double) m.kib;
}

static unsigned running(sd_bus *bus) {
        _cleanup_free_ char *rows = instance_rows(bus, "partition", NULL);
        unsigned n = 0;

        for (const char *at = rows; at && (at = strstr(at, " state=running")); at++)
                n++;
        return n - 3; /* uvd, command and operations are rows too */
}

static double commit_only(void *userdata);

/* What there must be at least, each shown: the kernel's work, two commits a partition, a monitor's program loaded. */
static void limits(double up) {
        char program[300], tree[160], *monitor[] = { program, NULL };
        unsigned started, spawned = 0;
        double raw, commits, monitors;
        uint64_t start;

        snprintf(tree, sizeof(tree), "%s/tree", inst.root);
        snprintf(program, sizeof(program), "%s/uv-monitor-lxc", inst.bin);
        raw = raw_up(tree, count, &started);
        commits = commit_only(NULL);
        for (int i = 0; i < 4; i++) {           /* others use this disk as well: the least that it can be */
                double again = commit_only(NULL);
                commits = again < commits ? again : commits;
        }
        commits *= 2 * count;
        start = now_usec();
        for (; spawned < 50; spawned++)
                (void) bench_spawn(monitor);    /* without a partition's name it ends once it is loaded */
        monitors = (double) (now_usec() - start) / 1000 / spawned * count / (double) ULV_MAX(sysconf(_SC_NPROCESSORS_ONLN), 1L);
        if (raw < 0 || started < count) {
                printf("  raw: only %u of %u containers came up by the kernel alone\n", started, count);
                return;
        }
        printf("  beside: the kernel alone %.2f s, commits %.2f s, monitors' programs %.2f s; ours is %.2fx of 1.25 x kernel + commits + monitors (goal <= 1)\n",
               raw / 1e3, commits / 1e3, monitors / 1e3, up / (1.25 * raw + commits + monitors));
}

/* What this instance has of each: as many when all are down as before they were up, or something was left. */
struct traces { unsigned processes, cgroups, mounts, files; };
static unsigned count_lines(const char *fmt, ...) ULV_PRINTF(1, 2);
static unsigned count_lines(const char *fmt, ...) {
        char command[1024];
        unsigned n = 0;
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(command, sizeof(command), fmt, ap);
        va_end(ap);
        FILE *f = popen(command, "re");
        if (!f || fscanf(f, "%u", &n) != 1)
                FAIL("%s", command);
        pclose(f);
        return n;
}
static int count_process(ULV_UNUSED pid_t pid, ULV_UNUSED const char *exe, ULV_UNUSED const char *comm, void *userdata) {
        (*(unsigned *) userdata)++;
        return 0;
}
static struct traces traces(void) {
        struct traces t = { 0 };

        each_process(&inst, count_process, &t.processes);
        t.cgroups = count_lines("d=/proc/%d/root$(awk '/ - cgroup2 / { print $5; exit }' /proc/%d/mountinfo)$(sed -n 's/^0:://p' /proc/%d/cgroup); "
                                "find \"${d%%/*}\" -type d -name 'partition-p*' 2>/dev/null | wc -l", inst.launch, inst.launch, inst.launch);
        t.mounts = count_lines("wc -l </proc/%d/mountinfo", inst.launch);
        t.files = count_lines("find %s/run/ultravisor/partition | wc -l", inst.root);
        return t;
}

/* All of them by one request; the time until the last one runs. */
static void up_and_down(void) {
        sd_bus *bus = instance_manager(&inst);
        double uvd_before = memory_of("uvd", NULL), monitors, ports, attach, uvd_after;
        struct traces before = traces(), after;
        double up;
        unsigned n;
        uint64_t start;

        (void) sd_bus_set_method_call_timeout(bus, UINT64_C(600000000));
        start = now_usec();
        run("%s/uvctl --root %s -q start --all >/dev/null", inst.bin, inst.root);
        up = (double) (now_usec() - start) / 1e3;
        printf("%s: %u partitions up in %.2f s (%.2f ms each), each with a commit, a monitor and a report\n", lxc ? "lxc" : "sim", count,
               up / 1e3, up / count);
        monitors = memory_of(lxc ? "uv-monitor-lxc" : "uv-monitor-sim", &n);
        ports = memory_of("uv-port", NULL);
        attach = memory_of("uv-attach", NULL);
        uvd_after = memory_of("uvd", NULL);
        printf("  running: %u. Private memory each: monitor %.0f KiB, port %.0f KiB, uv-attach %.0f KiB (goal: together <= 448), uvd %.1f KiB (goal: <= 16)\n",
               running(bus), n ? monitors / n : 0, n ? ports / n : 0, n ? attach / n : 0, (uvd_after - uvd_before) / count);
        start = now_usec();
        run("%s/uvctl --root %s -q stop --all --force >/dev/null", inst.bin, inst.root);
        printf("  down in %.2f s\n", (double) (now_usec() - start) / 1e6);
        msleep(500);    /* the last monitors are on their way out */
        after = traces();
        printf("  left: %d processes, %d cgroups, %d mounts, %d files of partitions (goal: none)\n", (int) (after.processes - before.processes),
               (int) (after.cgroups - before.cgroups), (int) (after.mounts - before.mounts), (int) (after.files - before.files));
        if (lxc)
                limits(up);
        putchar('\n');
        sd_bus_close_unref(bus);
}

/* The round's figures, for the row that is what is left of one of them. */
static struct { double ours, commit, monitor; } last;

static double ours_start(ULV_UNUSED void *userdata) {
        uint64_t start = now_usec(), t;
        char text[512];

        if (instance_do(manager, "Start", "p0000", 0, text, sizeof(text)) != 0) {
                fprintf(stderr, "%s\n", text);
                return -1;
        }
        t = now_usec() - start;
        if (instance_do(manager, "Stop", "p0000", ULV_FLAG_FORCE, text, sizeof(text)) != 0)
                return -1;
        msleep(50);     /* its monitor is on its way out, and the next start isn't to wait for that */
        return last.ours = (double) t / 1000;
}
static double uvctl_start(ULV_UNUSED void *userdata) {
        char uvctl[300];
        char *start_[] = { uvctl, (char *) "--root", inst.root, (char *) "-q", (char *) "start", (char *) "p0000", NULL };
        char *stop[] = { uvctl, (char *) "--root", inst.root, (char *) "-q", (char *) "stop", (char *) "--force", (char *) "p0000", NULL };
        uint64_t start = now_usec(), t;

        snprintf(uvctl, sizeof(uvctl), "%s/uvctl", inst.bin);
        if (bench_spawn(start_) != 0)
                return -1;
        t = now_usec() - start;
        if (bench_spawn(stop) != 0)
                return -1;
        msleep(50);
        return (double) t / 1000;
}
/* One empty transaction: what the commit and the calls take of a start. */
static double commit_only(ULV_UNUSED void *userdata) {
        sd_bus *bus;
        int p[2];
        pid_t pid;
        double t = -1;

        if (pipe2(p, O_CLOEXEC) < 0)
                return -1;
        pid = fork();
        if (pid == 0) {
                uint64_t start;
                char key[32];

                become_command();
                bus = instance_ledger(&inst);
                start = now_usec();
                for (int i = 0; i < 20; i++) {
                        snprintf(key, sizeof(key), "c-%d-%d", getpid(), i);
                        if (sd_bus_call_method(bus, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Submit", NULL, NULL, "sstsss", key, "default",
                                               (uint64_t) 0, "bench", "", "set parameter bench - value=1\n") < 0)
                                _exit(1);
                }
                t = (double) (now_usec() - start) / 20 / 1000;
                _exit(write(p[1], &t, sizeof(t)) < 0);
        }
        close(p[1]);
        if (read(p[0], &t, sizeof(t)) < (ssize_t) sizeof(t))
                t = -1;
        close(p[0]);
        waitpid(pid, NULL, 0);
        return t;
}
/* What one start waits for of it. */
static double commits_of_start(ULV_UNUSED void *userdata) { return last.commit = 2 * commit_only(NULL); }
static double monitor_of_start(ULV_UNUSED void *userdata) {
        char path[300], *argv[] = { path, NULL };
        uint64_t start = now_usec();

        snprintf(path, sizeof(path), "%s/uv-monitor-lxc", inst.bin);
        (void) bench_spawn(argv);       /* without a partition's name it ends once it is loaded */
        return last.monitor = (double) (now_usec() - start) / 1000;
}
static double rest_of_start(ULV_UNUSED void *userdata) { return last.ours - last.commit - last.monitor; }

static double program(void *userdata) {
        uint64_t start = now_usec();

        return bench_spawn(userdata) != 0 ? -1 : (double) (now_usec() - start) / 1000;
}
/* crun wants nothing but cgroup2 at /sys/fs/cgroup: it gets that, in a mount namespace of this process. */
static void make_place_for_crun(void) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return;
        (void) mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL);
        run("mkdir -p %s/oci && cd %s/oci && ln -sfn ../tree rootfs && crun spec && sed -i 's/\"terminal\": true/\"terminal\": false/; "
            "s|\"sh\"|\"/bin/true\"|' config.json", inst.root, inst.root);
}

static void kill_uvd(void) {
        run("kill -9 $(for p in /proc/[0-9]*; do [ \"$(readlink $p/exe 2>/dev/null)\" = \"$(realpath %s/uvd)\" ] && tr '\\0' '\\n' <$p/environ | "
            "grep -qx ULTRAVISOR_ROOT=%s && echo ${p#/proc/}; done)", inst.bin, inst.root);
}

/* From the kill of uvd until a start that is asked for at that moment has come to its end: a new uvd has read
 * the log, taken the starter's list and a transaction, and a monitor has reported to it. */
static void recovery(void) {
        double figures[9], median;
        char text[512];

        run("%s/uvctl --root %s -q start $(seq -f p%%04g -s ' ' 0 63) >/dev/null", inst.bin, inst.root);
        for (unsigned i = 0; i < ULV_ARRAY_SIZE(figures); i++) {
                uint64_t start;

                kill_uvd();
                start = now_usec();
                if (instance_do(manager, "Start", "p0064", 0, text, sizeof(text)) != 0)
                        FAIL("a start after the death of uvd: %s", text);
                figures[i] = (double) (now_usec() - start) / 1000;
                if (instance_do(manager, "Stop", "p0064", ULV_FLAG_FORCE, text, sizeof(text)) != 0)
                        FAIL("%s", text);
        }
        median = bench_median(figures, ULV_ARRAY_SIZE(figures));        /* and sorts them */
        printf("Recovery with 64 partitions, kill -9 of uvd to the end of a start: median %.0f ms, worst %.0f ms (goal: < 1000)\n\n",
               median, figures[ULV_ARRAY_SIZE(figures) - 1]);
}

/* What is below /run is in memory on every machine, and its files are made without a disk's file system. In a mount
 * namespace of our own, which the instance has too. */
static void run_in_memory(void) {
        char path[160];

        snprintf(path, sizeof(path), "%s/run", inst.root);
        if (mkdir(path, 0755) < 0 || unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("run", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") < 0)
                FAIL("a tmpfs at %s: %m", path);
}

static int stop(void) {
        char path[160];

        kill(inst.launch, SIGTERM);
        waitpid(inst.launch, NULL, 0);
        inst.launch = -1;
        snprintf(path, sizeof(path), "%s/run", inst.root);
        if (umount2(path, MNT_DETACH) < 0)
                FAIL("%s: %m", path);
        return instance_stop(&inst);
}

static void make_tree(void) {
        run("cd %s && mkdir -p tree/bin tree/proc tree/sys tree/dev tree/tmp tree/run tree/etc && cp /bin/busybox tree/bin/busybox && "
            "for a in sh sleep true; do ln -sf busybox tree/bin/$a; done && echo root:x:0:0::/:/bin/sh >tree/etc/passwd", inst.root);
}

static void bench_sim(void) {
        struct contender starts[] = {
                { .name = "a call, ledger step and commit", .run = commit_only },
                { .name = "start through the daemon (two commits)", .run = ours_start },
                { .name = "uvctl start, whole process", .run = uvctl_start },
        };

        bench_run("Simulated partition start", "ms", starts, ULV_ARRAY_SIZE(starts), 21, 0);
}

static void bench_lxc(void) {
        char bundle[160], tree[160];
        char *bwrap[] = { (char *) "bwrap", (char *) "--unshare-all", (char *) "--bind", tree, (char *) "/", (char *) "/bin/true", NULL };
        struct contender parts[] = {
                { .name = "limit: the kernel alone, in process", .run = raw_start, .userdata = tree },
                { .name = "through the daemon, one connection", .run = ours_start },
                { .name = "  of it two calls, ledger steps, commits", .run = commits_of_start },
                { .name = "  of it the monitor's program loaded", .run = monitor_of_start },
                { .name = "  the rest", .run = rest_of_start },
        };
        char *crun[] = { (char *) "crun", (char *) "--cgroup-manager=disabled", (char *) "run", (char *) "-b", bundle, (char *) "bench-uv", NULL };
        struct contender starts[] = {
                { .name = "uvctl start, whole process", .run = uvctl_start },
                { .name = "bwrap --unshare-all /bin/true", .run = program, .userdata = bwrap, .missing = bench_has("bwrap") ? NULL : "apt-get install bubblewrap" },
                { .name = "crun run /bin/true", .run = program, .userdata = crun, .missing = bench_has("crun") ? NULL : "apt-get install crun" },
        };

        snprintf(bundle, sizeof(bundle), "%s/oci", inst.root);
        snprintf(tree, sizeof(tree), "%s/tree", inst.root);
        if (bench_has("crun"))
                make_place_for_crun();
        bench_run("Container start, request to running; goal: the rest <= 1.2x the limit", "ms", parts, ULV_ARRAY_SIZE(parts), 21, 0);
        bench_run("Container start by a program; goal: uvctl <= 0.5x crun", "ms", starts, ULV_ARRAY_SIZE(starts), 21, bench_has("crun") ? 2 : 0);
}

int main(int argc, char **argv) {
        char part[256];

        lxc = argc > 1 && ulv_streq(argv[1], "lxc");
        if (argc > 2)
                count = (unsigned) strtoul(argv[2], NULL, 10);
        setvbuf(stdout, NULL, _IOLBF, 0);
        snprintf(part, sizeof(part), "[Machine]\nName=bench\nKind=part\nPrefix=bench\nUIDRanges=1-2047\n[Node \"0\"]\nCPUs=0-1\nMemory=%uM\n", memory_total());
        instance_make(&inst, "bench", lxc ? part
                                          : "[Machine]\nName=bench\nKind=imagined\n[Node \"0\"]\nCPUs=0-255\nMemory=256G\n");
        run_in_memory();
        make_tree();
        define(count);
        instance_start(&inst);
        run("%s/uvctl --root %s -q apply -y >/dev/null", inst.bin, inst.root);
        manager = instance_manager(&inst);
        if (lxc)
                bench_lxc();
        else
                bench_sim();
        up_and_down();
        if (count > 64)
                recovery();
        return stop();
}
