/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The cgroup that QEMU is in, and the limits on it.
 *
 * Theory of operation. Under systemd libvirt has machined make a scope in the slice that the domain's XML names
 * (<partition>), ours, and its limits are properties of it like a container's. Where libvirt makes none (it finds no
 * controllers, or was told to use none) QEMU is moved into a scope that we have PID 1 make; without systemd, into the
 * cgroup that the starter has for the partition. All before the guest runs. Then limits are set and read back by
 * monitor/enforce, which has the table of what is "limit", "isolated", "affinity" or "tracked".
 *
 * libvirt's own cgroups below its scope pin as the XML said at the start. They lose their cpusets, so that a grant that
 * changes need not be told to libvirtd: the scope bounds, and threads are pinned by affinity (process.c). */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include "lib/cgroup.h"
#include "lib/fd.h"
#include "plugins/kvm/kvm.h"

#define LIBVIRT_DEPTH 2         /* of cgroups in its scope: libvirt/vcpu0 */

/* Is QEMU in a scope of ours? Then the monitor knows from now on. 0; 1: it is elsewhere; -errno. */
int kvm_home_find(struct kvm *k, pid_t pid) {
        _cleanup_free_ char *text = NULL;
        char path[64], mount[2048], dir[4096], name[ULV_NAME_MAX + 2];
        const char *at, *scope;
        size_t len, parent, n;
        int r;

        (void) snprintf(path, sizeof(path), "/proc/%d/cgroup", (int) pid);
        if ((r = ulv_read_file_at(AT_FDCWD, path, 65536, &text, &len)) < 0 || (r = ulv_cgroup_mount(mount, sizeof(mount))) < 0)
                return r;
        at = ulv_cgroup_path(text, &len);
        n = at ? ulv_cgroup_of_partition(at, len, ulv_monitor_name(k->m), &parent) : 0;
        if (n == 0)
                return 1;
        if ((size_t) snprintf(dir, sizeof(dir), "%s%.*s", mount, (int) n, at) >= sizeof(dir))
                return -ENAMETOOLONG;
        scope = strrchr(dir, '/') + 1;
        if (!ulv_scope_partition(scope, strlen(scope), name, sizeof(name)))
                return ulv_monitor_scope(k->m) ? 1 : 0;
        return ulv_monitor_set_cgroup(k->m, scope, dir);
}

static int move(const char *dir, pid_t pid) {
        _cleanup_close_ int cgroup = ulv_cgroup_open(dir, true);
        char text[16];

        if (cgroup < 0)
                return cgroup == -ENOENT ? 0 : cgroup;
        (void) snprintf(text, sizeof(text), "%d", (int) pid);
        return ulv_cgroup_write(cgroup, "cgroup.procs", text);
}

static int settle(struct kvm *k, struct ulv_diag *reterr) {
        struct ulv_monitor *m = k->m;
        int r = kvm_home_find(k, k->pid);

        if (r <= 0 && r != -ENODEV)
                return r;
        if (ulv_monitor_scope(m))
                return ulv_scope_start(ulv_monitor_scope(m), ulv_monitor_slice(m), ulv_monitor_name(m), k->pid, NULL, 0, reterr);
        return move(ulv_monitor_cgroup(m), k->pid);
}

/* Takes the controller of CPUs away from all below. (With it there, the scope can't be a cpuset partition, either.) */
static void without_cpusets(int cgroup, unsigned depth) {
        int copy = openat(cgroup, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = copy < 0 ? NULL : fdopendir(copy);
        struct dirent *e;

        while (d && depth > 0 && (e = readdir(d))) {
                _cleanup_close_ int sub = -1;

                if (e->d_type == DT_DIR && e->d_name[0] != '.' && (sub = openat(cgroup, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)) >= 0)
                        without_cpusets(sub, depth - 1);
        }
        if (d)
                (void) closedir(d);
        else
                (void) ulv_close(copy);
        (void) ulv_cgroup_write(cgroup, "cgroup.subtree_control", "-cpuset");
}

/* Pages belong to the cgroup that they were first touched in: of a QEMU that was moved, to libvirtd's, where nothing of ours
 * bounds them. (Huge pages are counted nowhere in memory.current, and so aren't claimed either.) */
static bool counts(int cgroup, uint64_t bytes) {
        char text[32];

        return ulv_cgroup_read(cgroup, "memory.current", text, sizeof(text)) == 0 && strtoull(text, NULL, 10) >= bytes;
}

static int limit(struct kvm *k, pid_t pid, int cgroup, const struct ulv_grant *g, struct ulv_enforced *ret, bool started, struct ulv_diag *reterr) {
        const struct ulv_target t = { .cgroup = cgroup, .scope = ulv_monitor_scope(k->m), .leader = started ? ulv_monitor_leader(k->m) : -1 };
        struct ulv_grant *whole = malloc(sizeof(*whole));
        _cleanup_close_ int lock = -1;
        int r = whole ? ulv_slice_take(k->m, g, &lock) : -ENOMEM;

        if (r == 0) {
                *whole = *g;
                if (g->memory_bytes > 0)
                        whole->memory_bytes = ulv_vm_memory(g->memory_bytes, k->tcg);
                without_cpusets(cgroup, LIBVIRT_DEPTH);
                r = ulv_enforce(&t, whole, ret, reterr);
        }
        free(whole);
        if (r == 0)
                ulv_slice_reserved_stands(k->m);
        if (r == 0 && ulv_streq(ret->memory, "limit") && kvm_has_all(pid, g->memory_bytes) && counts(cgroup, g->memory_bytes))
                ret->memory = "preallocated";
        return r == 0 && lock >= 0 ? ulv_slice_release(k->m, lock) : r;
}

int kvm_home_enforce(struct kvm *k, pid_t pid, const struct ulv_grant *g, struct ulv_enforced *ret, bool started, struct ulv_diag *reterr) {
        _cleanup_close_ int cgroup = ulv_cgroup_open(ulv_monitor_cgroup(k->m), false);
        const struct ulv_cpus *cpus = ulv_grant_cpus(g);
        int r = 0;

        if (cgroup >= 0)
                r = limit(k, pid, cgroup, g, ret, started, reterr);
        else if (cgroup == -ENOENT) {
                *ret = (struct ulv_enforced) { .cpu = g->share > 0 ? "tracked" : "affinity", .memory = "tracked" };
                for (unsigned i = 0; i < g->n_limits; i++)
                        ret->limits[i] = "tracked";
        } else
                r = cgroup;
        if (r != 0 || ulv_cpus_count(cpus) == 0)
                return r;
        r = kvm_pin(pid, cpus, g->n_cores > 0);
        if (r != 0) {
                ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot keep %s on its CPUs", ulv_monitor_name(k->m));
                ulv_diag_why(reterr, "%s", r < 0 ? strerror(-r) : "a thread of its QEMU is on others still");
                return 1;
        }
        return 0;
}

int kvm_home_make(struct kvm *k, const struct ulv_grant *g, struct ulv_diag *reterr) {
        struct ulv_enforced how = { 0 };
        int r = settle(k, reterr);

        if (r < 0 && !reterr->why[0])
                ulv_diag_why(reterr, "its QEMU can't be put into its cgroup: %s", strerror(-r));
        return r < 0 ? r : kvm_home_enforce(k, k->pid, g, &how, false, reterr);
}

int kvm_home_leave(struct ulv_monitor *m, unsigned *looks) {
        if (!ulv_monitor_scope(m))
                return *ulv_monitor_cgroup(m) ? ulv_cgroup_remove(ulv_monitor_cgroup(m)) : 0;
        return ulv_scope_end(m, looks);
}
