/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* check, of one partition: its first process, its cgroup, its monitor, and each limit that the ledger says is enforced. */

#include <dirent.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include "channel/call.h"
#include "lib/cgroup.h"
#include "lib/disk.h"
#include "uvctl/check.h"

#define PERIOD_USEC 100000      /* of cpu.max: 1/1000 thread is 100 us of it */
#define QUOTA_MIN_USEC 1000
#define ANSWER_USEC 2000000u
#define GUEST_USEC 15000000u    /* longer than its monitor waits */

void check_add_tree(struct check *c, const char *below) {
        char tree[sizeof(c->trees[0])];

        (void) snprintf(tree, sizeof(tree), "%s%s", c->mount, below);
        for (unsigned i = 0; i < c->n_trees; i++)
                if (ulv_streq(c->trees[i], tree))
                        return;
        if (c->n_trees < TREES_MAX)
                memcpy(c->trees[c->n_trees++], tree, sizeof(tree));
}

/* The cgroup of a partition by that of its first process, and below what it lies. false: it has none of its own. */
static bool find_cgroup(struct check *c, const struct part *p, char *ret, size_t size) {
        _cleanup_free_ char *text = NULL;
        char path[64], below[sizeof(c->trees[0])];
        size_t len = 0, parent;
        const char *at;

        (void) snprintf(path, sizeof(path), "/proc/%" PRIu64 "/cgroup", p->leader);
        text = check_read_all(path);
        at = c->mount[0] && text ? ulv_cgroup_path(text, &len) : NULL;
        len = at ? ulv_cgroup_of_partition(at, len, p->name, &parent) : 0;
        if (len == 0)
                return false;
        (void) snprintf(below, sizeof(below), "%.*s", (int) parent, at);
        check_add_tree(c, below);
        return (size_t) snprintf(ret, size, "%s%.*s", c->mount, (int) len, at) < size;
}

/* --- values ----------------------------------------------------------------------------------------------- */

static void compare(struct check *c, const struct part *p, const char *cgroup, const char *file, const char *want) {
        _cleanup_free_ char *have = NULL;
        char path[1024];

        (void) snprintf(path, sizeof(path), "%s/%s", cgroup, file);
        have = check_read(path);
        c->limits++;
        if (!have)
                (void) check_find(c, CHECK_LIMIT, p->name, file, "%s can't be read, and by the ledger it is %s", path, want);
        else if (!ulv_streq(have, want))
                (void) check_find(c, CHECK_LIMIT, p->name, file, "%s is %s, and by the ledger %s", file, have, want);
}

/* The same of what not every kernel has. */
static void compare_if_there(struct check *c, const struct part *p, const char *cgroup, const char *file, const char *want) {
        char path[1024];

        (void) snprintf(path, sizeof(path), "%s/%s", cgroup, file);
        if (access(path, F_OK) == 0)
                compare(c, p, cgroup, file, want);
}

/* Whoever holds the directory above down holds down all in it: nobody of ours sets anything there. */
static void check_above(struct check *c, const struct part *p, const char *cgroup) {
        static const struct { const char *file, *free; } files[] = {
                { "cpu.max", "max 100000" }, { "memory.max", "max" }, { "memory.high", "max" }, { "pids.max", "max" },
        };
        char above[768];
        const char *name;

        (void) snprintf(above, sizeof(above), "%.*s", (int) (strrchr(cgroup, '/') - cgroup), cgroup);
        name = strrchr(above, '/') + 1;
        if (!ulv_streq(name, "ultravisor.slice") && !ulv_streq(name, "uvpool.slice"))
                return;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(files); i++) {
                char path[1024], object[64];
                struct finding *f;

                (void) snprintf(path, sizeof(path), "%s/%s", above, files[i].file);
                _cleanup_free_ char *have = check_read(path);
                if (!have || ulv_streq(have, files[i].free))
                        continue;
                (void) snprintf(object, sizeof(object), "%.20s %.20s", name, files[i].file);
                f = check_find(c, CHECK_LIMIT, p->name, object, "%s of %s is %.32s, which holds down all partitions in it", files[i].file, name, have);
                if (f) {
                        f->mend = MEND_NOT;
                        (void) snprintf(f->try_, sizeof(f->try_), "systemctl revert %s", name);
                }
        }
}

static void check_limits(struct check *c, const struct part *p, const char *cgroup) {
        const char *at = row_str(&p->op, "limits");
        struct part_limit l;
        char text[32];

        if ((ulv_streq(row_str(&p->op, "memory-how"), "limit") || ulv_streq(row_str(&p->op, "memory-how"), "preallocated")) && p->memory_wanted == p->memory_reached) {
                bool emulated = strstr(row_str(&p->op, "contain"), "tcg") != NULL;

                (void) snprintf(text, sizeof(text), "%" PRIu64, ulv_streq(p->type, "vm") ? ulv_vm_memory(p->memory_reached, emulated) : p->memory_reached);
                compare(c, p, cgroup, "memory.max", text);
                compare_if_there(c, p, cgroup, "memory.min", text);
                compare_if_there(c, p, cgroup, "memory.swap.max", "0");
                compare_if_there(c, p, cgroup, "memory.high", "max");
        }
        while (part_next_limit(&at, &l))
                if (l.limit.what == ULV_LIMIT_TASKS && ulv_streq(l.how, "limit") && l.limit.amount == l.reached) {
                        (void) snprintf(text, sizeof(text), "%" PRIu64, l.reached);
                        compare(c, p, cgroup, "pids.max", text);
                }
}

/* The line of io.max about the disk behind a path; several limits of one disk stand in one line. */
static void check_disks(struct check *c, const struct part *p, const char *cgroup) {
        static const char *const keys[] = { [ULV_LIMIT_IO_READ] = "rbps", [ULV_LIMIT_IO_WRITE] = "wbps", [ULV_LIMIT_IOPS_READ] = "riops", [ULV_LIMIT_IOPS_WRITE] = "wiops" };
        const char *limits = row_str(&p->op, "limits");
        _cleanup_free_ char *have = NULL;
        struct part_limit l;
        char path[1024];

        (void) snprintf(path, sizeof(path), "%s/io.max", cgroup);
        have = check_read_all(path);
        while (have && part_next_limit(&limits, &l)) {
                char want[64], line[256] = "", disk[32];
                const char *at;
                dev_t dev;
                int r;

                if (l.limit.what == ULV_LIMIT_TASKS || !ulv_streq(l.how, "limit") || l.limit.amount != l.reached)
                        continue;
                r = ulv_disk_of(l.limit.path, &dev);
                if (r == -EACCES)
                        check_skip(c, "limits of disks by a path");
                if (r < 0)
                        continue;       /* pulled out: its limit went with it */
                c->limits++;
                (void) snprintf(disk, sizeof(disk), "%u:%u ", major(dev), minor(dev));
                (void) snprintf(want, sizeof(want), " %s=%" PRIu64 " ", keys[l.limit.what], l.reached);
                at = ulv_startswith(have, disk) ? have : NULL;
                for (const char *s = strchr(have, '\n'); s && !at; s = strchr(s + 1, '\n'))
                        if (ulv_startswith(s + 1, disk))
                                at = s + 1;
                if (at)
                        (void) snprintf(line, sizeof(line), "%.*s ", (int) strcspn(at, "\n"), at);
                if (!strstr(line, want))
                        (void) check_find(c, CHECK_LIMIT, p->name, l.limit.path, "io.max of %.64s is %s, and by the ledger%s", l.limit.path, at ? line : "not set", want);
        }
}

/* --- CPUs --------------------------------------------------------------------------------------------------- */

static bool is_outside(pid_t tid, const struct ulv_cpus *cores, unsigned *ret_cpu) {
        cpu_set_t set;

        CPU_ZERO(&set);
        if (sched_getaffinity(tid, sizeof(set), &set) < 0)
                return false;
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
                if (CPU_ISSET(cpu, &set) && !ulv_cpus_has(cores, cpu)) {
                        *ret_cpu = cpu;
                        return true;
                }
        return false;
}

/* The first thread of a cgroup, and of those that a container's own init made below, that may run elsewhere. */
static pid_t find_outside(const char *cgroup, const struct ulv_cpus *cores, unsigned depth, unsigned *ret_cpu) {
        _cleanup_free_ char *threads = NULL;
        char path[1280];
        pid_t found = 0;
        DIR *d;

        (void) snprintf(path, sizeof(path), "%s/cgroup.threads", cgroup);
        threads = check_read_all(path);
        for (const char *s = threads; s && *s; s += strcspn(s, "\n"), s += *s == '\n') {
                pid_t tid = (pid_t) strtol(s, NULL, 10);

                if (tid > 0 && is_outside(tid, cores, ret_cpu))
                        return tid;
        }
        d = depth > 0 ? opendir(cgroup) : NULL;
        for (struct dirent *e; found == 0 && d && (e = readdir(d)); )
                if (e->d_type == DT_DIR && e->d_name[0] != '.' && (size_t) snprintf(path, sizeof(path), "%s/%s", cgroup, e->d_name) < sizeof(path))
                        found = find_outside(path, cores, depth - 1, ret_cpu);
        if (d)
                (void) closedir(d);
        return found;
}

static void check_affinity(struct check *c, const struct part *p, const char *cgroup, const struct ulv_cpus *cores) {
        unsigned cpu = 0;
        pid_t tid = is_outside((pid_t) p->leader, cores, &cpu) ? (pid_t) p->leader : cgroup[0] ? find_outside(cgroup, cores, CGROUP_DEPTH, &cpu) : 0;
        char object[32];

        c->limits++;
        (void) snprintf(object, sizeof(object), "process %d", (int) tid);
        if (tid > 0)
                (void) check_find(c, CHECK_AFFINITY, p->name, object, "%s may run on CPU %u, which isn't of its cores", object, cpu);
}

/* Each CPU of a guest's is on one of the partition's own: threads that QEMU names "CPU 0/KVM". */
static void check_vcpus(struct check *c, const struct part *p) {
        char dir[64], path[128];
        DIR *d;

        (void) snprintf(dir, sizeof(dir), "/proc/%" PRIu64 "/task", p->leader);
        d = opendir(dir);
        for (struct dirent *e; d && (e = readdir(d)); ) {
                _cleanup_free_ char *name = NULL;
                char object[32];
                cpu_set_t set;
                unsigned n;

                (void) snprintf(path, sizeof(path), "%s/%.20s/comm", dir, e->d_name);
                if (e->d_name[0] == '.' || !(name = check_read(path)) || sscanf(name, "CPU %u/", &n) != 1 ||
                    sched_getaffinity((pid_t) strtol(e->d_name, NULL, 10), sizeof(set), &set) < 0)
                        continue;
                c->limits++;
                (void) snprintf(object, sizeof(object), "thread %.20s", e->d_name);
                if (CPU_COUNT(&set) != 1)
                        (void) check_find(c, CHECK_AFFINITY, p->name, object, "CPU %u of the guest (%s) may run on %d CPUs, and is one of the partition's own", n, object, CPU_COUNT(&set));
        }
        if (d)
                (void) closedir(d);
}

static void check_cpu(struct check *c, const struct part *p, const char *cgroup) {
        const char *how = row_str(&p->op, "cpu-how");
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct ulv_cpus cores;
        char text[64];

        if (p->has_share && ulv_streq(how, "limit") && p->share_wanted == p->share_reached && cgroup[0]) {
                (void) snprintf(text, sizeof(text), "%" PRIu64 " %d", ULV_MAX(p->share_reached * (PERIOD_USEC / 1000), (uint64_t) QUOTA_MIN_USEC), PERIOD_USEC);
                compare(c, p, cgroup, "cpu.max", text);
        }
        if (!p->has_cores || p->cores_wanted != p->cores_reached)
                return;
        check_cores(c, p, &cores);
        if (ulv_streq(p->type, "vm"))
                check_vcpus(c, p);
        if (ulv_streq(how, "affinity"))
                check_affinity(c, p, cgroup, &cores);
        else if (cgroup[0] && (ulv_streq(how, "limit") || ulv_streq(how, "isolated"))) {
                ulv_cpus_format(&b, &cores);
                compare(c, p, cgroup, "cpuset.cpus.effective", ulv_strbuf_str(&b));
                (void) snprintf(text, sizeof(text), "max %d", PERIOD_USEC);
                compare_if_there(c, p, cgroup, "cpu.max", text);
        }
        if (cgroup[0] && ulv_streq(how, "isolated"))         /* the ledger's word for the kernel's cpuset partition */
                compare(c, p, cgroup, "cpuset.cpus.partition", "root");
}

/* --- who sees to it ---------------------------------------------------------------------------------------- */

/* A question that only its monitor can answer. */
static void check_monitor(struct check *c, const struct part *p) {
        _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
        int r = client_new(c->u, "Usage", &m);

        if (r == 0 && sd_bus_message_append(m, "s", p->name) >= 0)
                r = client_send(c->u, m, ANSWER_USEC, &reply);
        if (r == ULV_EXIT_TIMEOUT || r == ULV_EXIT_UNREACHABLE)
                (void) check_find(c, CHECK_MONITOR, p->name, "", r == ULV_EXIT_TIMEOUT ? "its monitor doesn't answer" : "it has no monitor");
        c->u->diag = (struct ulv_diag) { 0 };
}

/* One whose guest listens for it says itself whether it is well. Who may only look isn't answered: that is no difference. */
static void check_guest(struct check *c, const struct part *p) {
        _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
        uint32_t code, made, failed;
        int r = client_new(c->u, "SelfTest", &m);

        if (r == 0 && sd_bus_message_append(m, "s", p->name) >= 0)
                r = client_send(c->u, m, GUEST_USEC, &reply);
        if (r == ULV_EXIT_TIMEOUT)
                (void) check_find(c, CHECK_GUEST, p->name, "", "its guest doesn't answer SELFTEST");
        else if (r == 0 && sd_bus_message_read(reply, "uuu", &code, &made, &failed) >= 0 && code != ULV_CALL_NOT_THERE && (code != ULV_CALL_OK || failed > 0))
                (void) check_find(c, CHECK_GUEST, p->name, "", "of %u checks that its guest made %u failed", made, failed);
        c->u->diag = (struct ulv_diag) { 0 };
}

/* Dead, and its parent hasn't taken notice: a monitor that is held. */
static bool is_zombie(uint64_t pid) {
        _cleanup_free_ char *stat = check_stat(pid);

        return stat && ulv_startswith(stat, " Z");
}

bool check_partition(struct check *c, const struct part *p) {
        uint64_t recorded = row_u64(&p->op, "start"), ticks = process_start_ticks(p->leader);
        char cgroup[768] = "";

        c->partitions++;
        check_monitor(c, p);
        if (!ulv_streq(p->type, "sim"))
                check_guest(c, p);
        if (ticks != 0 && is_zombie(p->leader))
                ticks = 0;
        if (ticks == 0 || (recorded != 0 && ticks != recorded)) {
                (void) check_find(c, CHECK_PROCESS, p->name, "", ticks == 0 ? "its first process, %" PRIu64 ", isn't there" :
                                  "process %" PRIu64 " is another one than the ledger's: its number was given again", p->leader);
                return false;
        }
        if (ulv_streq(p->type, "sim"))
                return true;
        if (!find_cgroup(c, p, cgroup, sizeof(cgroup)) && c->mount[0])
                (void) check_find(c, CHECK_CGROUP, p->name, "", "process %" PRIu64 " isn't in a cgroup of the partition", p->leader);
        if (c->rows->imagined)
                return true;
        check_cpu(c, p, cgroup);
        if (cgroup[0]) {
                check_limits(c, p, cgroup);
                check_disks(c, p, cgroup);
                check_above(c, p, cgroup);
        }
        return true;
}
