/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What this machine has, read from sysfs as the kernel's Documentation/ABI describes it. The root of sysfs
 * is a parameter, so that a captured tree of a big machine is as good as the machine. Only what is there
 * and online counts. A core is all threads of one core, named by its lowest CPU; a machine without
 * topology files has one thread a core, one without node directories has node 0.
 *
 * This file: cores and facts. discover-memory.c: memory. discover-devices.c: devices. */

#include "uvd/discover.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "lib/fd.h"

const char *sysfs_read(int dirfd, const char *path, char *buf, size_t size) {
        _cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

        if (n < 0)
                n = 0;
        while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == ' '))
                n--;
        buf[n] = 0;
        return buf;
}

const char *sysfs_link(int dirfd, const char *path, char *buf, size_t size) {
        char target[4096];
        ssize_t n = readlinkat(dirfd, path, target, sizeof(target) - 1);
        const char *slash;

        target[n < 0 ? 0 : n] = 0;
        slash = strrchr(target, '/');
        (void) snprintf(buf, size, "%s", slash ? slash + 1 : target);
        return buf;
}

int sysfs_each(int dirfd, const char *path, int (*f)(int dirfd, const char *name, void *userdata), void *userdata) {
        int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
        struct dirent *e;
        DIR *d;

        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        d = fdopendir(fd);
        if (!d) {
                r = -errno;
                (void) ulv_close(fd);
                return r;
        }
        while (r == 0 && (errno = 0, e = readdir(d)))
                if (e->d_name[0] != '.')
                        r = f(fd, e->d_name, userdata);
        if (r == 0 && errno != 0)
                r = -errno;
        (void) closedir(d);
        return r;
}

/* --- cores ------------------------------------------------------------------------------------------- */

static int read_cpus(int dirfd, const char *path, struct ulv_cpus *ret) {
        char text[4096];

        return ulv_cpus_parse(sysfs_read(dirfd, path, text, sizeof(text)), ret);
}

/* CPUs that share a core with cpu, the online ones; cpu alone where nothing is said. */
static void read_threads(int sysfs, unsigned cpu, const struct ulv_cpus *online, struct ulv_cpus *ret) {
        static const char *const names[] = { "core_cpus_list", "thread_siblings_list" };  /* new, old */
        char path[128];

        for (size_t i = 0; i < ULV_ARRAY_SIZE(names); i++) {
                (void) snprintf(path, sizeof(path), "devices/system/cpu/cpu%u/topology/%s", cpu, names[i]);
                if (read_cpus(sysfs, path, ret) < 0 || !ulv_cpus_has(ret, cpu))
                        continue;
                for (size_t w = 0; w < ULV_ARRAY_SIZE(ret->bits); w++)
                        ret->bits[w] &= online->bits[w];
                return;
        }
        *ret = (struct ulv_cpus) {};
        ulv_cpus_set(ret, cpu);
}

struct nodes { unsigned short of[ULV_CPU_MAX]; };

static int read_node(int dirfd, const char *name, void *userdata) {
        struct nodes *nodes = userdata;
        struct ulv_cpus cpus;
        char path[300];
        unsigned node;
        int end = 0;

        if (sscanf(name, "node%u%n", &node, &end) != 1 || name[end] || node > UINT16_MAX)
                return 0;
        (void) snprintf(path, sizeof(path), "%s/cpulist", name);
        if (read_cpus(dirfd, path, &cpus) < 0)
                return 0;
        for (unsigned cpu = 0; cpu < ULV_CPU_MAX; cpu++)
                if (ulv_cpus_has(&cpus, cpu))
                        nodes->of[cpu] = (unsigned short) node;
        return 0;
}

static int add_core(struct ulv_inventory *inv, unsigned id, unsigned node, const struct ulv_cpus *threads) {
        struct ulv_inv_core *c = &inv->cores[inv->n_cores];

        c->threads = malloc(sizeof(*threads));
        if (!c->threads)
                return -ENOMEM;
        *c->threads = *threads;
        c->id = id;
        c->node = node;
        c->n_threads = ulv_cpus_count(threads);
        inv->n_cores++;
        return 0;
}

static int discover_cores(int sysfs, struct ulv_inventory *inv) {
        struct ulv_cpus online, seen = {}, threads;
        _cleanup_free_ struct nodes *nodes = calloc(1, sizeof(*nodes));
        unsigned n;
        int r;

        if (!nodes)
                return -ENOMEM;
        r = read_cpus(sysfs, "devices/system/cpu/online", &online);
        n = r < 0 ? 0 : ulv_cpus_count(&online);
        if (n == 0)
                return -ENODATA;
        inv->cores = calloc(n, sizeof(*inv->cores));
        if (!inv->cores)
                return -ENOMEM;
        r = sysfs_each(sysfs, "devices/system/node", read_node, nodes);
        for (unsigned cpu = 0; r >= 0 && cpu < ULV_CPU_MAX; cpu++) {
                if (!ulv_cpus_has(&online, cpu) || ulv_cpus_has(&seen, cpu))
                        continue;
                read_threads(sysfs, cpu, &online, &threads);
                for (size_t w = 0; w < ULV_ARRAY_SIZE(seen.bits); w++) {
                        threads.bits[w] &= ~seen.bits[w];       /* a CPU counts once, whatever the files say */
                        seen.bits[w] |= threads.bits[w];
                }
                r = add_core(inv, cpu, nodes->of[cpu], &threads);
        }
        return r;
}

/* --- facts ------------------------------------------------------------------------------------------- */

static void name_of(const char *sysfs, struct ulv_inventory *inv) {
        const char *slash = strrchr(sysfs, '/');
        struct utsname un;

        if (ulv_streq(sysfs, "/sys") && uname(&un) == 0)
                (void) snprintf(inv->name, sizeof(inv->name), "%.63s", un.nodename);
        else
                (void) snprintf(inv->name, sizeof(inv->name), "%.63s", slash ? slash + 1 : sysfs);
}

int discover(const char *sysfs, struct ulv_inventory **ret) {
        ULV_CLEANUP(ulv_inventory_freep) struct ulv_inventory *inv = NULL;
        _cleanup_close_ int fd = -1;
        struct stat st;
        int r;

        fd = open(sysfs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        inv = calloc(1, sizeof(*inv));
        if (!inv)
                return -ENOMEM;
        inv->kind = ulv_streq(sysfs, "/sys") ? ULV_INVENTORY_REAL : ULV_INVENTORY_IMAGINED;
        inv->uids_first = 1;
        inv->uids_last = ULV_UID_RANGES;
        name_of(sysfs, inv);
        if ((r = discover_cores(fd, inv)) < 0 || (r = discover_memory(fd, inv)) < 0 || (r = discover_devices(fd, inv)) < 0)
                return r;
        inv->kvm = fstatat(fd, "class/misc/kvm", &st, 0) >= 0 || fstatat(fd, "devices/virtual/misc/kvm", &st, 0) >= 0;
        if (inv->kind == ULV_INVENTORY_REAL)
                discover_controllers(inv);
        *ret = ulv_steal(inv);
        return 0;
}
