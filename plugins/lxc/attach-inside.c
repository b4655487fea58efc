/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* In the container's mount namespace, as its root. Every path is walked below the root that we stand in, without the
 * magic links of /proc, and what is found is used by fd. Whoever is root inside may race us; all that he can reach
 * by it is his own. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "plugins/lxc/attach.h"
#include "plugins/lxc/sys.h"

#define RESOLVE_INSIDE (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

static int because(struct ulv_diag *d, int r, const char *target, const char *what, const char *try_) {
        if (r < 0)
                ulv_diag_why(d, "%s %s inside: %s", what, target, strerror(-r));
        else
                ulv_diag_why(d, "%s inside %s", target, what);
        ulv_diag_try(d, "%s", try_);
        return 1;
}

/* The directory at the first n bytes of path, made where it isn't there. */
static int open_directory(int root, const char *path, size_t n) {
        char text[4096];
        int fd = -1;

        if (n >= sizeof(text))
                return -ENAMETOOLONG;
        for (size_t end = 1; end <= n; end++) {
                if (end < n && path[end] != '/')
                        continue;
                memcpy(text, path, end);
                text[end] = 0;
                int next = sys_openat2(root, text, O_PATH | O_DIRECTORY | O_CLOEXEC, RESOLVE_INSIDE);
                if (next < 0 && errno == ENOENT) {
                        const char *name = strrchr(text, '/') + 1;
                        if (mkdirat(fd >= 0 ? fd : root, name, 0755) < 0 && errno != EEXIST) {
                                int r = -errno;
                                (void) ulv_close(fd);
                                return r;
                        }
                        next = sys_openat2(root, text, O_PATH | O_DIRECTORY | O_CLOEXEC, RESOLVE_INSIDE);
                }
                int r = next < 0 ? -errno : 0;
                (void) ulv_close(fd);
                if (r < 0)
                        return r;
                fd = next;
        }
        return fd >= 0 ? fd : -ENOENT;
}

static int attach(const char *target, int mnt, int point, struct ulv_diag *d) {
        if (move_mount(mnt, "", point, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return because(d, -errno, target, "attaching it at", "dmesg: the kernel may say more");
        return 0;
}

/* Over an empty file, as the other nodes of /dev; one that a killed monitor left may be there. */
static int place_node(int root, const char *target, int mnt, struct ulv_diag *d) {
        const char *name = strrchr(target, '/') + 1;
        struct stat st;
        int dir = open_directory(root, target, (size_t) (name - 1 - target)), r;

        if (dir < 0)
                return because(d, dir, target, "making a place for", "uvctl exec NAME -- ls -l /dev");
        int point = openat(dir, name, O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
        if (point < 0 || fstat(point, &st) < 0)
                r = because(d, -errno, target, "making a place for", "uvctl exec NAME -- ls -l /dev");
        else if (!S_ISREG(st.st_mode) || st.st_size > 0)
                r = because(d, 0, target, "is there already, and something else", "uvctl exec NAME -- rm it");
        else
                r = attach(target, mnt, point, d);
        (void) ulv_close(point);
        (void) ulv_close(dir);
        return r;
}

int lxc_attach_place(const char *target, bool device, int mnt, struct ulv_diag *d) {
        _cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        int point, r;

        if (root < 0)
                return because(d, -errno, target, "opening the root for", "dmesg: the kernel may say more");
        (void) umask(022);
        if (device)
                return place_node(root, target, mnt, d);
        point = open_directory(root, target, strlen(target));
        if (point < 0)
                return because(d, point, target, "making the directory", "another Target=");
        r = attach(target, mnt, point, d);
        (void) ulv_close(point);
        return r;
}
