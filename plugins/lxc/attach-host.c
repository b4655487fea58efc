/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#include "plugins/lxc/attach.h"
#include "plugins/lxc/sys.h"

/* The three lines' second and third; the first is said by who knows the partition's name. */
static int because(struct ulv_diag *d, int r, const char *what, const char *try_) {
        if (r < 0)
                ulv_diag_why(d, "%s: %s", what, strerror(-r));
        else
                ulv_diag_why(d, "%s", what);
        ulv_diag_try(d, "%s", try_);
        return 1;
}

/* --- devices ---------------------------------------------------------------------------------------------- */

/* The kernel's own name of a device, below /dev: what DEVNAME= of its uevent says. 0; -errno. */
static int kernel_name(const struct stat *st, char *ret, size_t size) {
        char path[64], text[1024], *name;
        _cleanup_close_ int fd = -1;
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/sys/dev/%s/%u:%u/uevent", S_ISBLK(st->st_mode) ? "block" : "char", major(st->st_rdev), minor(st->st_rdev));
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (n < 0)
                return -errno;
        text[n] = 0;
        name = strstr(text, "DEVNAME=");
        if (!name)
                return -ENODATA;
        name += strlen("DEVNAME=");
        name[strcspn(name, "\n")] = 0;
        (void) snprintf(ret, size, "%.200s", name);
        return 0;
}

/* A disk that the host uses (mounted, swap, a part of LVM or md) can't be opened with O_EXCL, which asks just that. */
static int look_for_use(const char *path, struct ulv_diag *d) {
        char text[512];
        _cleanup_close_ int fd = open(path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);

        if (fd >= 0 || errno == ENOMEDIUM)
                return 0;
        if (errno != EBUSY)     /* then it can't be known */
                return because(d, -errno, path, "a disk that this host can open");
        (void) snprintf(text, sizeof(text), "the host itself uses %.300s (mounted, swap, or a part of LVM or md)", path);
        return because(d, 0, text, "umount it on the host first (findmnt, lsblk)");
}

int lxc_attach_look(const char *path, bool read_only, struct lxc_node *ret, struct ulv_diag *d) {
        char text[512], name[256];
        struct stat st;
        int r;

        if (lstat(path, &st) < 0)
                return because(d, -errno, path, "ls -l /dev, for what this host has");
        if (S_ISLNK(st.st_mode)) {
                (void) snprintf(text, sizeof(text), "%.300s is a link, and the ledger knows a device by the kernel's name", path);
                return because(d, 0, text, "readlink -f it, and give that");
        }
        if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)) {
                (void) snprintf(text, sizeof(text), "%.300s is not a device node", path);
                return because(d, 0, text, "ls -l /dev, for what this host has");
        }
        r = kernel_name(&st, name, sizeof(name));
        if (r < 0) {
                (void) snprintf(text, sizeof(text), "the kernel has no device %u:%u, of which %.300s is the node", major(st.st_rdev), minor(st.st_rdev), path);
                return because(d, 0, text, "modprobe its driver; or another device");
        }
        if (strcmp(path + strlen("/dev/"), name) != 0) {
                (void) snprintf(text, sizeof(text), "%.300s is the node of the device that the kernel calls /dev/%.60s", path, name);
                return because(d, 0, text, "that name: by it the ledger knows the device");
        }
        if (S_ISBLK(st.st_mode) && (r = look_for_use(path, d)) != 0)
                return r;
        *ret = (struct lxc_node) { .block = S_ISBLK(st.st_mode), .read_only = read_only, .major = major(st.st_rdev), .minor = minor(st.st_rdev) };
        return 0;
}

/* --- mounts ------------------------------------------------------------------------------------------------- */

static int open_directory(const char *source, struct ulv_diag *d) {
        struct stat st;
        int mnt = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);     /* not recursive: one mount */

        if (mnt < 0) {
                (void) because(d, -errno, source, "mkdir it, or another Source=");
                return -1;
        }
        if (fstat(mnt, &st) < 0 || !S_ISDIR(st.st_mode)) {
                (void) because(d, -ENOTDIR, source, "a directory of the host");
                return ulv_close(mnt);
        }
        return mnt;
}

static int map_ids(int mnt, const char *source, bool read_only, int user_ns, struct ulv_diag *d) {
        struct mount_attr a = {
                .attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | (read_only ? MOUNT_ATTR_RDONLY : 0),
                .propagation = MS_PRIVATE, .userns_fd = (uint64_t) user_ns,
        };
        struct utsname u = { 0 };
        struct statfs fs = { 0 };
        char text[512];

        if (mount_setattr(mnt, "", AT_EMPTY_PATH, &a, sizeof(a)) == 0)
                return 0;
        if (errno != EINVAL || uname(&u) < 0 || fstatfs(mnt, &fs) < 0)
                return because(d, -errno, "mapping its ids", "dmesg: the kernel may say more");
        (void) snprintf(text, sizeof(text), "the file system of %.300s (type 0x%lx) can't show its files under other ids on kernel %.60s",
                        source, (unsigned long) fs.f_type, u.release);
        return because(d, 0, text, "a directory on ext4, xfs or btrfs");
}

/* A new tmpfs, hung over the root of our own mount namespace; we stand in it. */
static int enter_scratch(struct ulv_diag *d) {
        _cleanup_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
        int r = fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "64k", 0) < 0 ||
                fsconfig(fs, FSCONFIG_SET_STRING, "source", "ultravisor", 0) < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ? -1 : 0;
        _cleanup_close_ int mnt = r < 0 ? -1 : fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);

        if (mnt < 0 || move_mount(mnt, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 || fchdir(mnt) < 0)
                return because(d, -errno, "a place to lock it", "dmesg: the kernel may say more");
        return 0;
}

/* The container's root owns what it may write; what it may only read it can't make writable for others either. */
static int make_node(const struct lxc_node *n, uid_t uid_base, struct ulv_diag *d) {
        mode_t mode = (n->block ? S_IFBLK : S_IFCHR) | (n->read_only ? 0440 : 0660);

        (void) umask(0);
        if (mknod("it", mode, makedev(n->major, n->minor)) < 0 || lchown("it", n->read_only ? 0 : uid_base, uid_base) < 0)
                return because(d, -errno, "a node of it", "dmesg: the kernel may say more");
        return 0;
}

static int hang_in(int mnt, struct ulv_diag *d) {
        if (mkdir("it", 0700) < 0 || move_mount(mnt, "", AT_FDCWD, "it", MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return because(d, -errno, "hanging it up to lock it", "dmesg: the kernel may say more");
        return 0;
}

/* The copy of our mount namespace that belongs to the container's user namespace has all flags locked. */
static int clone_locked(int user_ns, struct ulv_diag *d) {
        int mnt = -1;

        if (setns(user_ns, CLONE_NEWUSER) == 0 && setgroups(0, NULL) == 0 && setresgid(0, 0, 0) == 0 && setresuid(0, 0, 0) == 0 &&
            unshare(CLONE_NEWNS) == 0)
                mnt = open_tree(AT_FDCWD, "it", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (mnt < 0)
                (void) because(d, -errno, "locking it", "dmesg: the kernel may say more");
        return mnt;
}

int lxc_attach_prepare(const char *source, const struct lxc_node *node, bool read_only, int user_ns, uid_t uid_base, struct ulv_diag *d) {
        _cleanup_close_ int mnt = -1;

        if (unshare(CLONE_NEWNS) < 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
                (void) because(d, -errno, "a mount namespace", "dmesg: the kernel may say more");
                return -1;
        }
        if (!node && ((mnt = open_directory(source, d)) < 0 || map_ids(mnt, source, read_only, user_ns, d) != 0))
                return -1;
        if (enter_scratch(d) != 0 || (node ? make_node(node, uid_base, d) : hang_in(mnt, d)) != 0)
                return -1;
        return clone_locked(user_ns, d);
}
