/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* check, of the whole machine: who and what is on cores that are a partition's, and what is there of partitions that the
 * ledger doesn't know: cgroups, interfaces, processes under their user IDs. */

#include "uvctl/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>

#include "lib/cgroup.h"
#include "lib/crc32c.h"
#include "model/inventory.h"

#define KTHREAD 0x00200000u     /* of the flags in /proc/PID/stat */

static bool is_core_holder(const struct part *p) { return !p->infrastructure && p->running && p->has_cores && p->cores_wanted == p->cores_reached; }

/* --- tasks -------------------------------------------------------------------------------------------------- */

/* Of this ledger, in whose tree strays are looked for, or of another one's. */
static bool is_in_partition(pid_t tid) {
        char path[64], word[64];
        _cleanup_free_ char *cgroup = NULL;
        const char *at;

        (void) snprintf(path, sizeof(path), "/proc/%d/cgroup", (int) tid);
        cgroup = check_read_all(path);
        if (cgroup && strstr(cgroup, "/partition-"))
                return true;
        for (at = cgroup; at && (at = strchr(at, '/')); )
                if (at++, ulv_scope_partition(at, strcspn(at, "/\n"), word, sizeof(word)))
                        return true;
        return false;
}

static bool is_excused(pid_t tid) {
        _cleanup_free_ char *stat = check_stat((uint64_t) tid);
        unsigned flags = 0;

        return !stat || sscanf(stat, " %*c %*d %*d %*d %*d %*d %u", &flags) != 1 || flags & KTHREAD || is_in_partition(tid);
}

/* A partition with cores. apart: the kernel keeps everybody else off them ("isolated"). Else ("limit") others may run
 * there, among other places; but who is bound there was put there. By "affinity" alone nobody is kept off anything. */
struct holder { const struct part *p; struct ulv_cpus cores; bool apart; unsigned n; pid_t first; unsigned cpu; };

static void check_task(struct holder *v, size_t n, pid_t tid) {
        cpu_set_t set;

        CPU_ZERO(&set);
        if (sched_getaffinity(tid, sizeof(set), &set) < 0)
                return;
        for (size_t i = 0; i < n; i++) {
                bool inside = false, outside = false;
                unsigned first = 0;

                for (unsigned cpu = CPU_SETSIZE; cpu-- > 0; )
                        if (CPU_ISSET(cpu, &set)) {
                                bool its = ulv_cpus_has(&v[i].cores, cpu);

                                inside = inside || its;
                                outside = outside || !its;
                                first = its ? cpu : first;
                        }
                if (!inside || (outside && !v[i].apart) || is_excused(tid))
                        continue;
                if (v[i].n++ == 0 || tid < v[i].first)
                        v[i].first = tid, v[i].cpu = first;
        }
}

static void each_thread(struct holder *v, size_t n, const char *pid) {
        char path[64];
        DIR *d;

        (void) snprintf(path, sizeof(path), "/proc/%.20s/task", pid);
        d = opendir(path);
        for (struct dirent *e; d && (e = readdir(d)); )
                if (e->d_name[0] >= '0' && e->d_name[0] <= '9')
                        check_task(v, n, (pid_t) strtol(e->d_name, NULL, 10));
        if (d)
                (void) closedir(d);
}

static void say_task(struct check *c, const struct holder *h) {
        char path[64], others[48] = "";
        struct finding *f;

        (void) snprintf(path, sizeof(path), "/proc/%d/comm", (int) h->first);
        _cleanup_free_ char *comm = check_read(path);
        if (h->n > 1)
                (void) snprintf(others, sizeof(others), " (and %u others)", h->n - 1);
        f = check_find(c, CHECK_TASK, h->p->name, "", "process %d (%.32s)%s of the host %s CPU %u", (int) h->first, comm ? comm : "", others,
                       h->apart ? "may run on" : "is bound to", h->cpu);
        if (!f)
                return;
        if (h->apart)
                f->mend = MEND_ENFORCE;
        else
                (void) snprintf(f->try_, sizeof(f->try_), "taskset -apc 0-%ld %d, or systemctl status %d", sysconf(_SC_NPROCESSORS_CONF) - 1, (int) h->first, (int) h->first);
}

void check_tasks(struct check *c) {
        _cleanup_free_ struct holder *v = calloc(c->rows->n_parts + 1, sizeof(*v));
        size_t n = 0;
        DIR *d;

        for (size_t i = 0; v && i < c->rows->n_parts; i++) {
                const struct part *p = &c->rows->parts[i];
                const char *how = row_str(&p->op, "cpu-how");

                if (!is_core_holder(p) || !check_wants(c, p->name) || (!ulv_streq(how, "isolated") && !ulv_streq(how, "limit")))
                        continue;
                v[n] = (struct holder) { .p = p, .apart = ulv_streq(how, "isolated") };
                check_cores(c, p, &v[n++].cores);
        }
        d = n > 0 ? opendir("/proc") : NULL;
        for (struct dirent *e; d && (e = readdir(d)); )
                if (e->d_name[0] >= '0' && e->d_name[0] <= '9')
                        each_thread(v, n, e->d_name);
        if (d)
                (void) closedir(d);
        for (size_t i = 0; i < n; i++)
                if (v[i].n > 0)
                        say_task(c, &v[i]);
}

/* --- interrupts --------------------------------------------------------------------------------------------- */

/* What the monitors noted that the kernel moves for nobody. */
static bool is_fixed(const char *note, const char *number) {
        for (const char *line = note; line && *line; line += strcspn(line, "\n"), line += *line == '\n') {
                size_t n = strcspn(line, "\n");

                if (ulv_startswith(line, number) && line[strlen(number)] == ' ' && n > 6 && strncmp(line + n - 6, " fixed", 6) == 0)
                        return true;
        }
        return false;
}

static void check_interrupt(struct check *c, const struct part *p, const struct ulv_cpus *cores, const char *note, const char *number) {
        _cleanup_free_ char *text = NULL;
        char path[64], object[48];
        struct ulv_cpus at;

        (void) snprintf(path, sizeof(path), "/proc/irq/%.20s/smp_affinity_list", number);
        text = check_read(path);
        if (!text || ulv_cpus_parse(text, &at) < 0 || is_fixed(note, number))
                return;
        for (unsigned cpu = 0; cpu < ULV_CPU_MAX; cpu++)
                if (ulv_cpus_has(&at, cpu) && ulv_cpus_has(cores, cpu)) {
                        (void) snprintf(object, sizeof(object), "interrupt %.20s", number);
                        (void) check_find(c, CHECK_INTERRUPT, p->name, object, "%s may come to CPU %u, which is its own", object, cpu);
                        return;
                }
}

/* Scopes with cores alone have interrupts kept off them. */
void check_interrupts(struct check *c) {
        _cleanup_free_ char *note = check_read_all("/" ULV_RUN "/interrupts");

        for (size_t i = 0; ulv_streq(c->u->root, "/") && i < c->rows->n_parts; i++) {
                const struct part *p = &c->rows->parts[i];
                const char *how = row_str(&p->op, "cpu-how");
                struct ulv_cpus cores;
                DIR *d;

                if (!is_core_holder(p) || !check_wants(c, p->name) || (!ulv_streq(how, "limit") && !ulv_streq(how, "isolated")))
                        continue;
                check_cores(c, p, &cores);
                c->limits++;
                d = opendir("/proc/irq");
                for (struct dirent *e; d && (e = readdir(d)); )
                        if (e->d_name[0] >= '0' && e->d_name[0] <= '9')
                                check_interrupt(c, p, &cores, note, e->d_name);
                if (d)
                        (void) closedir(d);
        }
}

/* --- cgroups ------------------------------------------------------------------------------------------------ */

static bool is_populated(const char *dir) {
        _cleanup_free_ char *text = NULL;
        char path[1280];

        (void) snprintf(path, sizeof(path), "%s/cgroup.events", dir);
        text = check_read_all(path);
        return text && strstr(text, "populated 1");
}

static void check_stray(struct check *c, const char *tree, const char *entry) {
        char name[64] = "", dir[1024];
        const struct part *p;
        struct finding *f;

        if (sscanf(entry, "partition-%63s", name) != 1 && !ulv_scope_partition(entry, strlen(entry), name, sizeof(name)))
                return;
        p = rows_part(c->rows, name);
        /* One that is starting or stopping has a cgroup and no first process yet, or any more. */
        if (p && check_live(p))
                return;
        (void) snprintf(dir, sizeof(dir), "%s/%s", tree, entry);
        if (is_populated(dir)) {
                f = check_find(c, CHECK_STRAY, name, dir, "processes run in %s, and by the ledger %s", dir, p ? "it doesn't run" : "there is no such partition");
                if (f)
                        (void) snprintf(f->try_, sizeof(f->try_), "systemd-cgls %.180s; to kill them: echo 1 >.../cgroup.kill there", dir);
        } else {
                f = check_find(c, CHECK_LEFTOVER, name, dir, "an empty cgroup is left of it: %s", dir);
                /* A scope's is PID 1's to take away. */
                if (f && ulv_startswith(entry, "partition-"))
                        f->mend = MEND_CGROUP;
        }
}

/* Installed, our slices; else where the cgroup of uvd is. Others were found by the partitions that live in them. */
void check_trees(struct check *c) {
        const struct part *p = rows_part(c->rows, "ultravisor");
        _cleanup_free_ char *text = NULL;
        char path[64], below[sizeof(c->trees[0])];
        const char *at, *role;
        size_t len;

        if (!c->mount[0])
                return;
        if (ulv_streq(c->u->root, "/")) {
                check_add_tree(c, "/ultravisor.slice");
                check_add_tree(c, "/uvpool.slice");
                return;
        }
        (void) snprintf(path, sizeof(path), "/proc/%" PRIu64 "/cgroup", p ? p->leader : 0);
        text = check_read_all(path);
        at = text ? ulv_cgroup_path(text, &len) : NULL;
        role = at ? memmem(at, len, "/role-", strlen("/role-")) : NULL;
        if (!role)
                return;
        (void) snprintf(below, sizeof(below), "%.*s", (int) (role - at), at);
        check_add_tree(c, below);
}

void check_strays(struct check *c) {
        for (unsigned i = 0; i < c->n_trees; i++) {
                DIR *d = opendir(c->trees[i]);

                for (struct dirent *e; d && (e = readdir(d)); )
                        check_stray(c, c->trees[i], e->d_name);
                if (d)
                        (void) closedir(d);
        }
}

/* --- what carries a uid range ------------------------------------------------------------------------------ */

/* A name as plugins/lxc/network.c makes them, of a range that the ledger has and nobody owns; and the hardware address,
 * which has this host's number and the range in it. Both: it is ours. */
static void check_interface(struct check *c, const char *name, unsigned host) {
        unsigned range = 0, index = 0;
        _cleanup_free_ char *mac = NULL;
        char path[96], want[32], again[32];
        struct finding *f;

        if (sscanf(name, "uv%xn%u", &range, &index) != 2 || (size_t) snprintf(again, sizeof(again), "uv%xn%u", range, index) >= sizeof(again) || !ulv_streq(name, again))
                return;
        range -= ULV_UID_BASE >> 16;
        if (range == 0 || range > ULV_UID_RANGES || !c->idle[range])
                return;
        (void) snprintf(path, sizeof(path), "/sys/class/net/%.15s/address", name);
        mac = check_read(path);
        (void) snprintf(want, sizeof(want), "fe:%02x:%02x:%02x:%02x:%02x", host >> 8 & 0xff, host & 0xff, (range + (ULV_UID_BASE >> 16)) >> 8 & 0xff,
                        (range + (ULV_UID_BASE >> 16)) & 0xff, index & 0xff);
        f = check_find(c, CHECK_INTERFACE, "-", name, "interface %s is of user IDs that no partition has (range %u)", name, range);
        if (!f)
                return;
        f->range = range;
        if (mac && ulv_streq(mac, want))
                f->mend = MEND_INTERFACE;
        (void) snprintf(f->try_, sizeof(f->try_), "ip link del %.15s", name);
}

static unsigned host_number(void) {
        _cleanup_free_ char *id = check_read_all("/etc/machine-id");

        return id && *id ? ulv_crc32c(id, strlen(id)) & 0xffff : 0;
}

/* A zombie holds nothing, and its parent may take its time. */
static void check_uid(struct check *c, const char *pid) {
        char path[64], object[64], state = 0;
        _cleanup_free_ char *status = NULL;
        unsigned uid = 0, range;
        struct finding *f;
        const char *at;

        (void) snprintf(path, sizeof(path), "/proc/%.20s/status", pid);
        status = check_read_all(path);
        at = status ? strstr(status, "\nState:") : NULL;
        if (!at || sscanf(at, " State: %c", &state) != 1 || state == 'Z' || state == 'X' || !(at = strstr(at, "\nUid:")) || sscanf(at, " Uid: %u", &uid) != 1)
                return;
        range = uid < ULV_UID_BASE ? 0 : (uid - ULV_UID_BASE) / ULV_UID_RANGE;
        if (range == 0 || range > ULV_UID_RANGES || !c->idle[range] || is_in_partition((pid_t) strtol(pid, NULL, 10)))
                return;
        (void) snprintf(object, sizeof(object), "range %u", range);
        for (size_t i = 0; i < c->n_found; i++)
                if (c->found[i].kind == CHECK_UIDS && c->found[i].range == range)
                        return;
        f = check_find(c, CHECK_UIDS, "-", object, "process %.20s runs with user ID %u, of a range that no partition has (%u)", pid, uid, range);
        if (f) {
                f->range = range;
                (void) snprintf(f->try_, sizeof(f->try_), "ps -fp %.20s; cat /proc/%.20s/cgroup", pid, pid);
        }
}

void check_interfaces(struct check *c) {
        unsigned host = host_number();
        DIR *d = opendir("/sys/class/net");

        for (struct dirent *e; d && (e = readdir(d)); )
                check_interface(c, e->d_name, host);
        if (d)
                (void) closedir(d);
        d = opendir("/proc");
        for (struct dirent *e; d && (e = readdir(d)); )
                if (e->d_name[0] >= '0' && e->d_name[0] <= '9')
                        check_uid(c, e->d_name);
        if (d)
                (void) closedir(d);
}
