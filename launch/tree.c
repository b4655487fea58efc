/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The directories of ROOT, each with the owner that may write it. Made with the parent's fd and never
 * through a symbolic link: a role that owns a directory must not be able to have us chown another. */

#include "launch/launch.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lib/image.h"
#include "lib/protocol.h"
#include "model/inventory.h"

/* From the top down; gid = uid unless it says otherwise. */
static const struct { const char *path; uid_t uid; gid_t gid; mode_t mode; } directories[] = {
        { "etc", 0, 0, 0755 },
        { "etc/ultravisor", ULV_UID_OPERATIONS, ULV_UID_OPERATIONS, 0755 },
        { "etc/ultravisor/partitions", ULV_UID_OPERATIONS, ULV_UID_OPERATIONS, 0755 },
        { "etc/ultravisor/policies", ULV_UID_OPERATIONS, ULV_UID_OPERATIONS, 0755 },
        { "etc/ultravisor/templates", ULV_UID_OPERATIONS, ULV_UID_OPERATIONS, 0755 },
        { "var", 0, 0, 0755 },
        { "var/lib", 0, 0, 0755 },
        { "var/lib/ultravisor", 0, 0, 0755 },
        { "var/lib/ultravisor/uvd", ULV_UID_UVD, ULV_UID_UVD, 0700 },
        { "var/lib/ultravisor/operations", ULV_UID_OPERATIONS, ULV_UID_OPERATIONS, 0700 },
        { ULV_IMAGES, 0, ULV_UID_COMMAND, 0710 },
        { ULV_WRITABLE, 0, 0, 0700 },
        { "var/log", 0, 0, 0755 },
        { ULV_LOG_DIR, 0, ULV_UID_COMMAND, 0750 },
        { "run", 0, 0, 0755 },
        { ULV_RUN, 0, 0, 0755 },
        { ULV_RUN "/uvd", ULV_UID_UVD, ULV_GID_ROLES, 0750 },
        { ULV_RUN "/uvd/type", ULV_UID_UVD, ULV_UID_UVD, 0755 },
        { ULV_RUN "/operations", ULV_UID_OPERATIONS, ULV_GID_ROLES, 0750 },
        { ULV_RUN "/command", ULV_UID_COMMAND, ULV_UID_COMMAND, 0755 },
        { ULV_RUN_PARTITION, 0, 0, 0755 },
        { ULV_RUN "/port", 0, 0, 0755 },
};

/* Opens dir/path one component at a time, no component a link. Returns an fd or -errno. */
static int open_beneath(int dir, const char *path) {
        int at = fcntl(dir, F_DUPFD_CLOEXEC, 3);
        char name[256];

        while (at >= 0 && *path) {
                size_t n = strcspn(path, "/");
                int next;

                (void) snprintf(name, sizeof(name), "%.*s", (int) n, path);
                next = openat(at, name, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
                at = ulv_close(at);
                at = next;
                path += n + (path[n] == '/');
        }
        return at < 0 ? -errno : at;
}

static int make_one(int root, const char *path, uid_t uid, gid_t gid, mode_t mode) {
        const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
        _cleanup_close_ int parent = -1, fd = -1;
        char above[256];
        struct stat st;
        bool made;

        (void) snprintf(above, sizeof(above), "%.*s", slash ? (int) (slash - path) : 0, path);
        parent = open_beneath(root, above);
        if (parent < 0)
                return parent;
        made = mkdirat(parent, name, mode) >= 0;
        if (!made && errno != EEXIST)
                return -errno;
        fd = openat(parent, name, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        /* What was there and isn't ours in particular (etc, var, run of a whole system) stays as it is. */
        if (!made && uid == 0 && gid == 0)
                return 0;
        if ((st.st_uid != uid || st.st_gid != gid) && fchown(fd, uid, gid) < 0)
                return -errno;
        if (((st.st_mode & 07777) != mode || made) && fchmod(fd, mode) < 0)
                return -errno;
        return 0;
}

/* Roles are other users: every directory on the way to ROOT must let them pass. */
static int check_traversable(const struct launch *l) {
        char path[sizeof(l->root)], why[sizeof(l->root) + 64];
        struct stat st;

        for (const char *p = l->root; p; p = strchr(p + 1, '/')) {
                size_t n = p == l->root ? 1 : (size_t) (p - l->root);

                memcpy(path, l->root, n);
                path[n] = 0;
                if (stat(path, &st) >= 0 && (st.st_mode & 0001) == 0) {
                        (void) snprintf(why, sizeof(why), "%s (mode %03o) lets nobody but its owner pass", path, (unsigned) st.st_mode & 0777);
                        return refuse("the roles can't reach the root directory", why, "chmod o+x on it, or another --root");
                }
        }
        return 0;
}

int tree_make(struct launch *l) {
        struct stat st;

        if (mkdir(l->root, 0755) < 0 && errno != EEXIST)
                return refuse("can't make the root directory", strerror(errno), "another --root");
        l->root_fd = open(l->root, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        if (l->root_fd < 0 || fstat(l->root_fd, &st) < 0)
                return refuse("can't open the root directory", strerror(errno), "another --root");
        if ((st.st_mode & 0111) != 0111 && fchmod(l->root_fd, (st.st_mode & 07777) | 0111) < 0)
                return refuse("can't make the root directory passable for the roles", strerror(errno), "another --root");
        if (check_traversable(l) < 0)
                return -1;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(directories); i++) {
                int r = make_one(l->root_fd, directories[i].path, directories[i].uid, directories[i].gid, directories[i].mode);

                if (r < 0) {
                        char what[320];

                        (void) snprintf(what, sizeof(what), "can't make %s below the root directory", directories[i].path);
                        return refuse(what, strerror(-r), "a --root on a file system that can be written, without symbolic links in it");
                }
        }
        l->run_fd = open_beneath(l->root_fd, ULV_RUN);
        return l->run_fd < 0 ? refuse("can't open run/ultravisor", strerror(-l->run_fd), "another --root") : 0;
}

int tree_partition_dir(struct launch *l, const char *name) {
        char path[128];

        (void) snprintf(path, sizeof(path), "partition/%s", name);
        return make_one(l->run_fd, path, 0, 0, 0700);
}

/* Removes what is in dir, without following a link or crossing into another file system. */
static void remove_inside(int dir, dev_t dev, unsigned depth) {
        int fd = fcntl(dir, F_DUPFD_CLOEXEC, 3);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *e;
        struct stat st;

        if (!d) {
                (void) ulv_close(fd);
                return;
        }
        rewinddir(d);
        while ((e = readdir(d))) {
                if (ulv_streq(e->d_name, ".") || ulv_streq(e->d_name, ".."))
                        continue;
                if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != dev)
                        continue;
                if (S_ISDIR(st.st_mode) && depth > 0) {
                        int sub = openat(dir, e->d_name, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);

                        if (sub >= 0)
                                remove_inside(sub, dev, depth - 1);
                        (void) ulv_close(sub);
                }
                (void) unlinkat(dir, e->d_name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
        }
        (void) closedir(d);
}

static void remove_tree(int parent, const char *name) {
        _cleanup_close_ int fd = openat(parent, name, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return;
        remove_inside(fd, st.st_dev, 16);
        (void) unlinkat(parent, name, AT_REMOVEDIR);
}

void tree_partition_dir_remove(struct launch *l, const char *name) {
        _cleanup_close_ int dir = openat(l->run_fd, "partition", O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);

        if (dir >= 0)
                remove_tree(dir, name);
}

void tree_remove(struct launch *l) {
        _cleanup_close_ int run = open_beneath(l->root_fd, "run");

        if (run < 0)
                return;
        remove_tree(run, "ultravisor");
        (void) unlinkat(l->root_fd, "run", AT_REMOVEDIR);       /* stays where something else is in it */
}
