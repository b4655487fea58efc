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

/* What systemd makes of a "-" in a machine's name. */
static const char dash[] = "\\x2d";

bool ulv_scope_partition(const char *scope, size_t len, char *ret, size_t size) {
        static const char ours[] = "ultravisor-", libvirts[] = "machine-qemu\\x2d", tail[] = ".scope";
        const char *end = scope + len - (sizeof(tail) - 1), *at = scope;
        size_t n = 0;

        if (len < sizeof(ours) + sizeof(tail) - 1 || memcmp(end, tail, sizeof(tail) - 1) != 0)
                return false;
        if (len > sizeof(libvirts) && memcmp(at, libvirts, sizeof(libvirts) - 1) == 0) {
                for (at += sizeof(libvirts) - 1; at < end && *at >= '0' && *at <= '9'; at++)
                        ;
                if (end - at < 19 || memcmp(at, "\\x2dultravisor\\x2d", 18) != 0)
                        return false;
                for (at += 18; at < end && n + 1 < size; n++) {
                        bool escaped = end - at >= 4 && memcmp(at, dash, 4) == 0;

                        ret[n] = *(escaped ? "-" : at);
                        at += escaped ? 4 : 1;
                }
        } else if (memcmp(at, ours, sizeof(ours) - 1) == 0)
                for (at += sizeof(ours) - 1; at < end && n + 1 < size; n++)
                        ret[n] = *at++;
        ret[n] = 0;
        return n > 0 && at == end;
}

size_t ulv_cgroup_of_partition(const char *path, size_t len, const char *name, size_t *ret_parent) {
        for (size_t at = 0; at < len; ) {
                const char *part = path + at + 1, *end = memchr(part, '/', len - at - 1);
                size_t n = end ? (size_t) (end - part) : len - at - 1;
                char found[96];

                if ((n == strlen(name) + 10 && memcmp(part, "partition-", 10) == 0 && memcmp(part + 10, name, n - 10) == 0) ||
                    (ulv_scope_partition(part, n, found, sizeof(found)) && ulv_streq(found, name))) {
                        *ret_parent = at;
                        return at + 1 + n;
                }
                at += 1 + n;
        }
        return 0;
}
