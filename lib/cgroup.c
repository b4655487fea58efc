/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/cgroup.h"

#include <fcntl.h>
#include <stdio.h>

#include "lib/fd.h"

#define MOUNTINFO_MAX ((size_t) 4 * 1024 * 1024)
#define CGROUP_FILE_MAX ((size_t) 64 * 1024)

int ulv_cgroup_mount(char *ret, size_t size) {
        _cleanup_free_ char *text = NULL;
        char mount[4096];
        size_t len;
        int r = ulv_read_file_at(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, &len);

        if (r < 0)
                return r;
        for (const char *line = text; line && *line; line = (line = strchr(line, '\n')) ? line + 1 : NULL) {
                const char *type = strstr(line, " - "), *end = strchrnul(line, '\n');

                if (type && type < end && ulv_startswith(type + 3, "cgroup2 ") && sscanf(line, "%*u %*u %*s %*s %4095s", mount) == 1)
                        return ulv_copy(ret, size, mount) ? 0 : -ENAMETOOLONG;
        }
        return -ENODEV;
}

const char *ulv_cgroup_path(const char *text, size_t *ret_len) {
        for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
                if (ulv_startswith(line, "0::")) {
                        *ret_len = strcspn(line + 3, "\n");
                        return line + 3;
                }
        return NULL;
}

int ulv_cgroup_root(char *ret, size_t size) {
        _cleanup_free_ char *one = NULL;
        const char *path, *scope;
        char mount[4096];
        size_t len;
        int r;

        if ((r = ulv_cgroup_mount(mount, sizeof(mount))) < 0 || (r = ulv_read_file_at(AT_FDCWD, "/proc/1/cgroup", CGROUP_FILE_MAX, &one, &len)) < 0)
                return r;
        path = ulv_cgroup_path(one, &len);
        if (!path)
                return -ENODEV;
        scope = memrchr(path, '/', len);        /* init.scope */
        len = scope ? (size_t) (scope - path) : len;
        return (size_t) snprintf(ret, size, "%s%.*s", mount, (int) len, path) < size ? 0 : -ENAMETOOLONG;
}

size_t ulv_cgroup_of_partition(const char *path, size_t len, const char *name, size_t *ret_parent) {
        char part[96];

        for (unsigned i = 0; i < 2; i++) {
                size_t n = (size_t) snprintf(part, sizeof(part), i == 0 ? "/partition-%.63s" : "/ultravisor-%.63s.scope", name);

                for (size_t at = 0; at + n <= len; at++)
                        if (memcmp(path + at, part, n) == 0 && (at + n == len || path[at + n] == '/')) {
                                *ret_parent = at;
                                return at + n;
                        }
        }
        return 0;
}
