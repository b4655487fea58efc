/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/remove-tree.h"

/* Depth is the trap: a tree of 100,000 levels would take as many fds, or as much stack. So what lies deeper
 * than a few levels is moved up to the top directory, and removed from there in a later round. */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define DEPTH_MAX 32

struct removal {
        int top;
        dev_t dev;
        unsigned moved;         /* names given so far to what was moved up */
        bool again;             /* something was moved up in this round */
        int error;
};

static void failed(struct removal *r, int error) {
        if (r->error == 0 && error != -ENOENT)
                r->error = error;
}

/* A directory's fd; of one whose owner took his own rights away, too. */
static int open_sub(int dir, const char *name) {
        int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0 && errno == EACCES && fchmodat(dir, name, 0700, 0) == 0)
                fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static void move_up(struct removal *r, int dir, const char *name) {
        char up[32];

        do
                (void) snprintf(up, sizeof(up), ".deep-%u", r->moved++);
        while (faccessat(r->top, up, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
        if (renameat(dir, name, r->top, up) < 0)
                failed(r, -errno);
        else
                r->again = true;
}

static void empty(struct removal *r, int dir, unsigned depth);

static void remove_entry(struct removal *r, int dir, const char *name, unsigned depth) {
        struct stat st;

        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                failed(r, -errno);
                return;
        }
        if (S_ISDIR(st.st_mode) && st.st_dev != r->dev) {
                failed(r, -EXDEV);
                return;
        }
        if (S_ISDIR(st.st_mode) && depth >= DEPTH_MAX) {
                move_up(r, dir, name);
                return;
        }
        if (S_ISDIR(st.st_mode)) {
                int sub = open_sub(dir, name);

                if (sub < 0) {
                        failed(r, sub);
                        return;
                }
                empty(r, sub, depth + 1);
        }
        if (unlinkat(dir, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0 && errno != ENOENT)
                failed(r, -errno);
}

/* Takes dir over. */
static void empty(struct removal *r, int dir, unsigned depth) {
        const struct dirent *e;
        DIR *d = fdopendir(dir);

        if (!d) {
                failed(r, -errno);
                (void) ulv_close(dir);
                return;
        }
        while ((errno = 0, e = readdir(d)))
                if (!ulv_streq(e->d_name, ".") && !ulv_streq(e->d_name, ".."))
                        remove_entry(r, dirfd(d), e->d_name, depth);
        if (errno)
                failed(r, -errno);
        (void) closedir(d);
}

int ulv_remove_tree(int dirfd, const char *name) {
        _cleanup_close_ int top = open_sub(dirfd, name);
        struct removal r = { .top = top };
        struct stat st;

        if (top == -ENOENT)
                return 0;
        if (top == -ENOTDIR || top == -ELOOP)
                return unlinkat(dirfd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
        if (top < 0)
                return top;
        if (fstat(top, &st) < 0)
                return -errno;
        r.dev = st.st_dev;
        do {
                int again = open_sub(top, ".");

                if (again < 0)
                        return again;
                r.again = false;
                empty(&r, again, 0);
        } while (r.again && r.error == 0);
        if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
                failed(&r, -errno);
        return r.error;
}
