/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Memory per node and page size, and the cgroup controllers that can enforce it. A node's MemTotal counts
 * its huge pages too: what is set aside as 2M or 1G pages is given as such and not again as 4K pages. All
 * is counted in 2 MiB, rounded down, so a node never promises what it doesn't have. */

#include "uvd/discover.h"

#include <fcntl.h>
#include <stdio.h>

#include "lib/fd.h"

#define NODES_MAX 1024u

static int add(struct ulv_inventory *inv, unsigned node, const char *pages, uint64_t amount) {
        struct ulv_inv_memory *m;

        if (amount == 0)
                return 0;
        if (inv->n_memory >= NODES_MAX * 3)
                return -E2BIG;
        m = reallocarray(inv->memory, inv->n_memory + 1, sizeof(*m));
        if (!m)
                return -ENOMEM;
        inv->memory = m;
        m += inv->n_memory++;
        *m = (struct ulv_inv_memory) { .node = node, .amount = amount };
        (void) snprintf(m->pages, sizeof(m->pages), "%s", pages);
        return 0;
}

/* "...MemTotal:   65806152 kB" -> bytes */
static uint64_t mem_total(const char *meminfo) {
        const char *at = strstr(meminfo, "MemTotal:");
        unsigned long long kb;

        return at && sscanf(at, "MemTotal: %llu kB", &kb) == 1 ? (uint64_t) kb * 1024 : 0;
}

/* Pages of that size set aside on a node, in units of 2 MiB. */
static uint64_t huge_units(int dirfd, const char *node, unsigned kb) {
        char path[128], text[32];
        uint64_t n;

        (void) snprintf(path, sizeof(path), "%.32s/hugepages/hugepages-%ukB/nr_hugepages", node, kb);
        return ulv_uint_parse(sysfs_read(dirfd, path, text, sizeof(text)), UINT32_MAX, &n) < 0 ? 0 : n * (kb / 2048);
}

static int add_node(int dirfd, const char *name, void *userdata) {
        struct ulv_inventory *inv = userdata;
        uint64_t total, two, one;
        char path[300], text[4096];
        unsigned node;
        int end = 0, r;

        if (sscanf(name, "node%u%n", &node, &end) != 1 || name[end] || node >= NODES_MAX)
                return 0;
        (void) snprintf(path, sizeof(path), "%s/meminfo", name);
        total = mem_total(sysfs_read(dirfd, path, text, sizeof(text))) / ULV_MEMORY_UNIT;
        two = huge_units(dirfd, name, 2048);
        one = huge_units(dirfd, name, 1048576);
        if ((r = add(inv, node, "4K", total > two + one ? total - two - one : 0)) < 0 ||
            (r = add(inv, node, "2M", two)) < 0 || (r = add(inv, node, "1G", one)) < 0)
                return r;
        return 0;
}

/* A kernel without NUMA has no node directories: node 0 has it all, huge pages under mm. */
static int add_whole(int sysfs, struct ulv_inventory *inv) {
        char text[4096];
        uint64_t total, two, one;
        int r;

        total = mem_total(sysfs_read(AT_FDCWD, "/proc/meminfo", text, sizeof(text))) / ULV_MEMORY_UNIT;
        two = huge_units(sysfs, "kernel/mm", 2048);
        one = huge_units(sysfs, "kernel/mm", 1048576);
        if ((r = add(inv, 0, "4K", total > two + one ? total - two - one : 0)) < 0 ||
            (r = add(inv, 0, "2M", two)) < 0 || (r = add(inv, 0, "1G", one)) < 0)
                return r;
        return 0;
}

/* By node, then page size by name, as the inventory wants it. */
static int compare_memory(const void *a, const void *b) {
        const struct ulv_inv_memory *x = a, *y = b;

        if (x->node != y->node)
                return x->node < y->node ? -1 : 1;
        return strcmp(x->pages, y->pages);
}

int discover_memory(int sysfs, struct ulv_inventory *inv) {
        int r = sysfs_each(sysfs, "devices/system/node", add_node, inv);

        if (r >= 0 && inv->n_memory == 0 && inv->kind == ULV_INVENTORY_REAL)
                r = add_whole(sysfs, inv);
        if (r >= 0 && inv->n_memory == 0)
                r = -ENODATA;
        if (r >= 0)
                qsort(inv->memory, inv->n_memory, sizeof(*inv->memory), compare_memory);
        return r;
}

/* --- controllers -------------------------------------------------------------------------------------- */

/* Where cgroup2 is mounted, from mountinfo: "... MOUNTPOINT ... - cgroup2 ...". */
static bool find_cgroup2(const char *mountinfo, char *buf, size_t size) {
        for (const char *line = mountinfo; *line; line += strcspn(line, "\n"), line += *line == '\n') {
                size_t len = strcspn(line, "\n");
                const char *type = memmem(line, len, " - cgroup2 ", 11);
                char point[3072];

                if (!type || sscanf(line, "%*s %*s %*s %*s %3071s", point) != 1)
                        continue;
                (void) snprintf(buf, size, "%s", point);
                return true;
        }
        return false;
}

/* The tree of this instance: the starter says where, else where we are ourselves. */
static bool tree_path(char *buf, size_t size) {
        const char *told = getenv("ULTRAVISOR_CGROUP");
        _cleanup_free_ char *mountinfo = NULL;
        char own[4096], point[3072];
        const char *line;
        size_t len;

        if (told) {
                (void) snprintf(buf, size, "%s", told);
                return told[0];
        }
        if (ulv_read_file_at(AT_FDCWD, "/proc/self/mountinfo", 4 * 1024 * 1024, &mountinfo, &len) < 0 ||
            !find_cgroup2(mountinfo, point, sizeof(point)))
                return false;
        line = strstr(sysfs_read(AT_FDCWD, "/proc/self/cgroup", own, sizeof(own)), "0::/");
        if (!line)
                return false;
        (void) snprintf(buf, size, "%s%.*s", point, (int) strcspn(line + 3, "\n"), line + 3);
        return true;
}

void discover_controllers(struct ulv_inventory *inv) {
        char path[8192], tree[8000];

        inv->controllers[0] = 0;
        if (!tree_path(tree, sizeof(tree)))
                return;
        (void) snprintf(path, sizeof(path), "%s/cgroup.controllers", tree);
        (void) sysfs_read(AT_FDCWD, path, inv->controllers, sizeof(inv->controllers));
}
