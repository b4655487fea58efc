/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Lifecycles without growth: --cycles N times a container and a simulated partition are started and stopped.
 *
 * What our long-lived processes hold then is compared: the most that each held in the last tenth of the cycles
 * with the most in the first tenth. Resident memory may grow by a few pages, the number of fds by none. What is
 * bounded but fills at first (the data base's page cache in uvd, the jobs that uv-command remembers) has filled in
 * WARM cycles before. And what a life leaves behind is looked for after the last one, with the instance still up:
 * processes below uv-launch, cgroups, mounts, network namespaces that anything of ours is in or holds, files in
 * run/. --control NAME plants what a check must find (exit 1):
 *   connection   a client that doesn't hang up: uv-command holds an fd more each cycle
 *   file         a file in run/
 *   process      a process below uv-launch */

#include "test/lib/instance.h"

#include <dirent.h>
#include <ftw.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/protocol.h"

#define PAGES_MAX 32            /* of growth, each process: 128 KiB, a malloc arena's step */

#define WARM 80                 /* cycles of 4 jobs: more than uv-command remembers */

static const char *const roles[] = { "uv-launch", "uvd", "uv-command", "uv-operations" };
#define ROLES ULV_ARRAY_SIZE(roles)
static const char *const partitions[] = { "box", "fake" };

static const char INVENTORY[] =
        "[Machine]\nName=lives\nKind=part\nPrefix=lives\nUIDRanges=700-800\n[Node \"0\"]\nCPUs=0-1\nMemory=8G\n";

static struct instance inst;
static const char *control = "";
static int failures, tests;

/* The instance at rest. Numbers alone, so that two can be compared as bytes. */
enum thing { PROCESSES, MOUNTS, CGROUPS, NETNS, FILES, FDS, THINGS = FDS + ROLES };
static const char *const things[THINGS] = {
        "processes", "mounts", "cgroups", "network namespaces", "files in run/",
        "fds of uv-launch", "fds of uvd", "fds of uv-command", "fds of uv-operations",
};
struct scene { unsigned n[THINGS]; };

static void result(bool good, const char *text) {
        printf("%s %d - %s\n", good ? "ok" : "not ok", ++tests, text);
        failures += !good;
}

/* --- what a process holds ------------------------------------------------------------------------------- */

static pid_t role_pids[ROLES];
static int note_role(pid_t pid, const char *exe, ULV_UNUSED const char *comm, ULV_UNUSED void *userdata) {
        for (size_t k = 0; k < ROLES; k++)
                if (ulv_streq(exe, roles[k]))
                        role_pids[k] = pid;
        return 0;
}

static unsigned count_dir(pid_t pid, const char *what) {
        char path[64];
        unsigned n = 0;
        DIR *d;

        snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
        d = opendir(path);
        if (!d)
                FAIL("%s: %m", path);
        for (const struct dirent *e; (e = readdir(d));)
                n += e->d_name[0] != '.';
        closedir(d);
        return n;
}

static unsigned long resident(pid_t pid) {
        unsigned long rss;
        char path[64];
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/statm", pid);
        f = fopen(path, "re");
        if (!f || fscanf(f, "%*u %lu", &rss) != 1)
                FAIL("%s: %m", path);
        fclose(f);
        return rss;
}

/* max[k] becomes the most that role k has had. */
static void note_resident(unsigned long max[ROLES]) {
        for (size_t k = 0; k < ROLES; k++) {
                unsigned long rss = resident(role_pids[k]);

                max[k] = rss > max[k] ? rss : max[k];
        }
}

/* --- what is there -------------------------------------------------------------------------------------- */

static unsigned counted_files, counted_dirs;
static int count_one(ULV_UNUSED const char *path, ULV_UNUSED const struct stat *st, int type, ULV_UNUSED struct FTW *ftw) {
        counted_files++;
        counted_dirs += type == FTW_D;
        return 0;
}
static void count_tree(const char *path) {
        counted_files = counted_dirs = 0;
        (void) nftw(path, count_one, 16, FTW_PHYS);
}

static unsigned count_mounts(pid_t pid) {
        char path[64], line[4096];
        unsigned n = 0;
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
        f = fopen(path, "re");
        while (f && fgets(line, sizeof(line), f))
                n += strstr(line, inst.root) != NULL;
        if (f)
                fclose(f);
        return n;
}

/* A network namespace lives as long as a process is in it or holds an fd of it. */
struct walk { struct scene *scene; char own[64]; };
static int count_process(pid_t pid, ULV_UNUSED const char *exe, ULV_UNUSED const char *comm, void *userdata) {
        struct walk *w = userdata;
        char path[320], link[64];
        ssize_t n;
        DIR *d;

        w->scene->n[PROCESSES]++;
        snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
        n = readlink(path, link, sizeof(link) - 1);
        link[n > 0 ? n : 0] = 0;
        w->scene->n[NETNS] += n > 0 && !ulv_streq(link, w->own);
        snprintf(path, sizeof(path), "/proc/%d/fd", pid);
        d = opendir(path);
        for (const struct dirent *e; d && (e = readdir(d));) {
                n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);
                link[n > 0 ? n : 0] = 0;
                w->scene->n[NETNS] += ulv_startswith(link, "net:[");
        }
        if (d)
                closedir(d);
        return 0;
}

/* Where uv-launch made this instance's cgroups: its state file says. */
static unsigned count_cgroups(void) {
        char path[256], line[4200], cgroup[4096] = "";
        FILE *f;

        snprintf(path, sizeof(path), "%s/run/ultravisor/launch.state", inst.root);
        f = fopen(path, "re");
        while (f && fgets(line, sizeof(line), f))
                (void) sscanf(line, "cgroup %4095s", cgroup);
        if (f)
                fclose(f);
        count_tree(cgroup);
        return counted_dirs;
}

static struct scene look(void) {
        struct scene s = { 0 };
        struct walk w = { .scene = &s };
        char path[256];
        ssize_t n = readlink("/proc/self/ns/net", w.own, sizeof(w.own) - 1);

        w.own[n > 0 ? n : 0] = 0;
        each_process(&inst, count_process, &w);
        s.n[MOUNTS] = count_mounts(getpid()) + count_mounts(inst.launch);
        s.n[CGROUPS] = count_cgroups();
        snprintf(path, sizeof(path), "%s/run", inst.root);
        count_tree(path);
        s.n[FILES] = counted_files;
        for (size_t k = 0; k < ROLES; k++)
                s.n[FDS + k] = count_dir(role_pids[k], "fd");
        return s;
}

/* The scene that stays the same for half a second: monitors end after their partition's end was acknowledged. */
static struct scene look_settled(void) {
        struct scene s = look(), t;

        for (int k = 0, same = 0; k < 200 && same < 10; k++, s = t) {
                msleep(50);
                t = look();
                same = memcmp(&s, &t, sizeof(s)) == 0 ? same + 1 : 0;
        }
        return s;
}

/* --- the cycles ----------------------------------------------------------------------------------------- */

static void one_cycle(sd_bus *bus) {
        static const char *const verbs[] = { "Start", "Stop" };
        char text[512];

        for (size_t v = 0; v < ULV_ARRAY_SIZE(verbs); v++)
                for (size_t k = 0; k < ULV_ARRAY_SIZE(partitions); k++)
                        if (instance_do(bus, verbs[v], partitions[k], 0, text, sizeof(text)) != 0)
                                FAIL("%s %s: %s (log: %s/log)", verbs[v], partitions[k], text, inst.root);
        if (ulv_streq(control, "connection") && !instance_manager(&inst))       /* and nobody closes it */
                FAIL("no connection");
}

static void plant(void) {
        if (ulv_streq(control, "file")) {
                instance_write(&inst, "run/ultravisor/left", "behind\n");
        } else if (ulv_streq(control, "process")) {
                /* Looked for below us, since nothing of ours can become uv-launch's child. */
                inst.launch = getpid();
                if (fork() == 0) {
                        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                        pause();
                        _exit(0);
                }
        }
}

static void begin(void) {
        instance_make(&inst, "lives", INVENTORY);
        instance_busybox(&inst);
        instance_write(&inst, "etc/ultravisor/partitions/box.partition", "[Partition]\nType=container\nStopTimeout=5s\n[CPU]\nShare=0.1\n"
                       "[Memory]\nSize=64M\n[Container]\nRoot=%s/tree\nExec=/bin/sleep 100000\n", inst.root);
        instance_write(&inst, "etc/ultravisor/partitions/fake.partition", "[Partition]\nType=sim\n[CPU]\nShare=0.1\n[Memory]\nSize=64M\n");
        instance_start(&inst);
        role_pids[0] = inst.launch;
}

static void compare(const unsigned long first[ROLES], const unsigned long last[ROLES], const struct scene *before, const struct scene *after) {
        char text[160];

        for (size_t k = 0; k < ROLES; k++) {
                snprintf(text, sizeof(text), "%s doesn't grow: %lu resident pages, then %lu", roles[k], first[k], last[k]);
                result(last[k] <= first[k] + PAGES_MAX, text);
        }
        for (size_t k = 0; k < THINGS; k++) {
                snprintf(text, sizeof(text), "nothing is left of a life: %s %u, then %u", things[k], before->n[k], after->n[k]);
                result(after->n[k] <= before->n[k], text);
        }
}

static unsigned options(int argc, char **argv) {
        static const struct option options[] = { { "cycles", 1, NULL, 'c' }, { "control", 1, NULL, 'k' }, { 0 } };
        unsigned cycles = 200;
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'c': cycles = (unsigned) strtoul(optarg, NULL, 10); break;
                case 'k': control = optarg; break;
                default: exit(2);
                }
        return cycles < 10 ? 10 : cycles;
}

int main(int argc, char **argv) {
        unsigned cycles = options(argc, argv);
        unsigned long first[ROLES] = { 0 }, last[ROLES] = { 0 };
        struct scene before, after;
        uint64_t began;
        sd_bus *bus;

        setvbuf(stdout, NULL, _IOLBF, 0);
        begin();
        bus = instance_manager(&inst);
        if (!bus)
                FAIL("the instance doesn't answer");
        for (unsigned k = 0; k < WARM; k++)
                one_cycle(bus);
        each_process(&inst, note_role, NULL);
        before = look_settled();
        began = now_usec();
        for (unsigned k = 0; k < cycles; k++) {
                one_cycle(bus);
                if (k < cycles / 10)
                        note_resident(first);
                else if (k >= cycles - cycles / 10)
                        note_resident(last);
        }
        printf("# %u cycles, %.1f ms each\n", cycles, (double) (now_usec() - began) / 1000 / cycles);
        plant();
        after = look_settled();
        compare(first, last, &before, &after);
        sd_bus_close_unref(bus);
        inst.launch = role_pids[0];
        result(instance_stop(&inst) == 0, "stopping it leaves nothing behind");
        printf("1..%d\n", tests);
        return failures > 0;
}
