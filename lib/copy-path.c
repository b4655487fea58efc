/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What sending and receiving share: where one is, and the stream's bytes. */

#include "lib/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* There is room for as many of the longest names as may be in each other. */
void copy_enter(struct copy *c, const char *name) {
        size_t at = strlen(c->path);

        c->path[at] = '/';
        memcpy(c->path + at + 1, name, strlen(name) + 1);
}

void copy_leave(struct copy *c) {
        char *slash = strrchr(c->path, '/');

        if (slash)
                *slash = 0;
}

void copy_left_out(struct copy *c, int error, const char *text) {
        c->left_out = true;
        c->complain(c, c->path, error, text);
}

static bool stopped(const struct copy *c) { return c->stop && *c->stop; }

int copy_read(struct copy *c, void *buf, size_t n) {
        for (size_t at = 0; at < n;) {
                ssize_t k = stopped(c) ? -1 : read(c->fd, (char *) buf + at, n - at);

                if (k < 0 && stopped(c))
                        return -EINTR;
                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0)
                        return k < 0 ? -errno : -EPIPE;
                at += (size_t) k;
        }
        return 0;
}

int copy_write(struct copy *c, const void *buf, size_t n) {
        for (size_t at = 0; at < n;) {
                ssize_t k = stopped(c) ? -1 : write(c->fd, (const char *) buf + at, n - at);

                if (k < 0 && stopped(c))
                        return -EINTR;
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                at += (size_t) k;
        }
        return 0;
}

void copy_set_top(struct copy *c, const char *path, bool into, const char *name) {
        size_t n = strnlen(path, 4096), m = into && strcmp(name, ".") != 0 ? strlen(name) : 0;

        while (m > 0 && n > 0 && path[n - 1] == '/')
                n--;
        memcpy(c->top, path, n);
        if (m > 0)
                c->top[n++] = '/';
        memcpy(c->top + n, name, m);
        c->top[n + m] = 0;
}

bool copy_name_of(const char *path, char ret[COPY_NAME_MAX + 1]) {
        size_t end = strlen(path), begin;

        while (end > 0 && path[end - 1] == '/')
                end--;
        for (begin = end; begin > 0 && path[begin - 1] != '/';)
                begin--;
        if (end - begin > COPY_NAME_MAX || (end - begin == 2 && memcmp(path + begin, "..", 2) == 0))
                return false;
        memcpy(ret, end > begin ? path + begin : ".", end > begin ? end - begin : 1);
        ret[end > begin ? end - begin : 1] = 0;
        return true;
}

int copy_target(const char *path, const char *name, int *ret_dir, char ret_name[COPY_NAME_MAX + 1]) {
        char last[COPY_NAME_MAX + 1], parent[4096];
        size_t n = strlen(path);
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd >= 0) {
                memcpy(ret_name, name, strlen(name) + 1);
                *ret_dir = fd;
                return 1;
        }
        if (errno != ENOENT && errno != ENOTDIR)
                return -errno;
        if (n == 0 || n >= sizeof(parent) || !copy_name_of(path, last) || strcmp(last, ".") == 0)
                return -ENOENT;
        if (path[n - 1] == '/')
                return -ENOTDIR;        /* DIR/ says that it is there */
        n -= strlen(last);
        memcpy(parent, n > 0 ? path : ".", n > 0 ? n : 1);
        parent[n > 0 ? n : 1] = 0;
        fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        memcpy(ret_name, last, strlen(last) + 1);
        *ret_dir = fd;
        return 0;
}
