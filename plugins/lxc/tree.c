/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The container's mounts.
 *
 * Theory of operation. A directory tree is written by whoever filled it, so nothing in it is believed:
 * not that /dev is a directory, nor that /proc isn't a link to somewhere. All work is by fd. Mount points
 * are opened with openat2(NO_SYMLINKS, BENEATH, NO_XDEV) below the root's own mount, file systems are made
 * detached (fsopen) and attached from fd to fd (move_mount); no path that the tree could bend is ever
 * given to mount(2). /dev is a tmpfs filled before it is attached, each of its nodes a clone of the
 * host's, checked to be the device that it should be.
 *
 * What is missing is made on the tree itself, as root's: the empty mount points, here and in etc.c, nothing else. Masks
 * lie over our own /proc and /sys, which the tree has no part in. Root= is clone of one mount: what is
 * mounted below it on the host isn't seen inside. */

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#include "lib/log.h"
#include "model/inventory.h"
#include "plugins/lxc/lxc.h"
#include "plugins/lxc/sys.h"

#define ATTR_PLAIN (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define ATTR_DATA (ATTR_PLAIN | MOUNT_ATTR_NOEXEC)
#define TTY_GID 5               /* "tty" of every Linux distribution's base files */

static const struct { const char *name; unsigned major, minor; } devices[] = {
        { "null", 1, 3 }, { "zero", 1, 5 }, { "full", 1, 7 }, { "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 },
};
#define DEVICE_NULL 0
_Static_assert(ULV_ARRAY_SIZE(devices) <= ULV_ARRAY_SIZE(((struct lxc_build *) 0)->devices), "one clone each");

static const char *const mount_points[] = { "proc", "sys", "dev", "run", "tmp" };

/* Read-only inside: settings of the host's kernel that its own check may not guard well enough. */
static const char *const proc_read_only[] = { "sys", "sysrq-trigger", "irq", "bus" };
/* Not readable either: they tell of the host, or of other partitions. */
static const char *const proc_hidden[] = {
        "kcore", "keys", "key-users", "timer_list", "latency_stats", "sched_debug", "kallsyms", "kmsg", "slabinfo",
        "pagetypeinfo", "kpagecount", "kpageflags", "kpagecgroup", "fs", "acpi", "scsi", "asound", "driver", "mtrr", "interrupts",
};
static const char *const sys_hidden[] = {
        "firmware", "kernel/debug", "kernel/tracing", "kernel/security", "kernel/vmcoreinfo", "kernel/notes", "fs/bpf",
        "fs/pstore", "module", "power",
};

static const char try_tree[] = "look at the tree; a fresh one: mmdebstrap --variant=minbase bookworm DIR";

static _Noreturn void fail_at(struct lxc_build *b, int r, const char *doing, const char *name) {
        char text[256];

        snprintf(text, sizeof(text), "%s %s", doing, name);
        lxc_build_fail(b, r, text, "dmesg: the kernel may say more");
}

/* --- in the host's mount namespace ------------------------------------------------------------------- */

/* Container root is root on disk. A set-user-id file that it makes is harmless inside (no_new_privs), but
 * not to a host user who can reach it. */
static void warn_of_reach(const char *root) {
        char path[4096];
        struct stat st;

        snprintf(path, sizeof(path), "%s", root);
        for (;;) {
                if (stat(path, &st) == 0 && !(st.st_mode & S_IXOTH))
                        return;
                char *slash = strrchr(path, '/');
                if (!slash || slash == path)
                        break;
                *slash = 0;
        }
        ulv_log(ULV_LOG_WARNING, "every user of this host can reach into Root=%s", root);
        ulv_log(ULV_LOG_WARNING, "a set-user-id program that the container's root makes there is root's for them, outside");
        ulv_log(ULV_LOG_WARNING, "try: keep it below a directory of root's with mode 0700");
}

static void open_source(struct lxc_build *b) {
        char text[512];

        b->source = open(b->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (b->source < 0) {
                snprintf(text, sizeof(text), "Root=%.400s", b->root);
                lxc_build_fail(b, -errno, text, "mmdebstrap --variant=minbase bookworm DIR, and Root=DIR");
        }
        /* Without AT_RECURSIVE: one mount. */
        b->tree = open_tree(b->source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        if (b->tree < 0)
                fail_at(b, -errno, "cloning the mount of", b->root);
        warn_of_reach(b->root);
}

/* Makes what is missing. A name that is there as anything but a directory is found out when it is opened. */
static void make_mount_points(struct lxc_build *b) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(mount_points); i++)
                if (mkdirat(b->source, mount_points[i], 0755) < 0 && errno != EEXIST) {
                        char text[64];
                        snprintf(text, sizeof(text), "cannot make the directory /%s in the root", mount_points[i]);
                        lxc_build_fail(b, -errno, text, try_tree);
                }
}

static int clone_file(int fd, const char *path) {
        return open_tree(fd, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (*path ? 0 : AT_EMPTY_PATH));
}

static void open_devices(struct lxc_build *b) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(devices); i++) {
                char path[32];
                struct stat st;
                snprintf(path, sizeof(path), "/dev/%s", devices[i].name);
                int fd = clone_file(AT_FDCWD, path);
                if (fd < 0 || fstat(fd, &st) < 0)
                        fail_at(b, -errno, "the host's", path);
                if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(devices[i].major, devices[i].minor))
                        fail_at(b, 0, "the host has another device at", path);
                b->devices[i] = fd;
        }
}

/* The console becomes the container's: its root may chown it, a login does. */
static void open_console(struct lxc_build *b) {
        char path[64];

        b->console_tree = -1;
        if (b->console < 0)
                return;
        /* In this order: what has been given away can't be changed without CAP_FOWNER. */
        if (fchmod(b->console, 0620) < 0 || fchown(b->console, b->uid_base, b->uid_base + TTY_GID) < 0)
                fail_at(b, -errno, "giving away", "the console");
        snprintf(path, sizeof(path), "/proc/self/fd/%d", b->console);
        b->console_tree = clone_file(AT_FDCWD, path);
        if (b->console_tree < 0)
                fail_at(b, -errno, "cloning", "the console");
}

void lxc_tree_open(struct lxc_build *b) {
        if (b->image)
                lxc_image_open(b);      /* it came with its mount points */
        else {
                open_source(b);
                make_mount_points(b);
        }
        open_devices(b);
        open_console(b);
}

/* Files of root on disk are files of root inside, and so on up. The host's root owns the tree, the
 * container's root has it as its own; neither needs a chown. */
static void map_ids(struct lxc_build *b, int mnt, uint64_t attrs) {
        struct mount_attr a = {
                .attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NODEV | attrs, .propagation = MS_PRIVATE, .userns_fd = (uint64_t) b->user_ns,
        };
        struct utsname u;
        struct statfs fs;
        char text[512];

        if (mount_setattr(mnt, "", AT_EMPTY_PATH, &a, sizeof(a)) == 0)
                return;
        int r = -errno;
        if (r != -EINVAL || uname(&u) < 0 || fstatfs(mnt, &fs) < 0)
                fail_at(b, r, "mapping the ids of", b->root);
        snprintf(text, sizeof(text), "the file system of %s%.300s (type 0x%lx) can't show its files under other ids on kernel %.60s",
                 b->image ? "" : "Root=", b->root, (unsigned long) fs.f_type, u.release);
        lxc_build_fail(b, 0, text, "a directory on ext4, xfs or btrfs");
}

/* The host's /usr, to be seen by a container: never written. Where its file system can't map ids, files belong to
 * nobody inside; they can be read all the same. */
static void map_usr(struct lxc_build *b) {
        struct mount_attr a = {
                .attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY, .propagation = MS_PRIVATE, .userns_fd = (uint64_t) b->user_ns,
        };

        if (mount_setattr(b->usr, "", AT_EMPTY_PATH, &a, sizeof(a)) == 0)
                return;
        a.attr_set &= ~(uint64_t) MOUNT_ATTR_IDMAP;
        a.userns_fd = 0;
        if (errno != EINVAL || mount_setattr(b->usr, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0)
                fail_at(b, -errno, "making read-only", "the host's /usr");
}

void lxc_tree_map(struct lxc_build *b) {
        map_ids(b, b->tree, b->image ? MOUNT_ATTR_RDONLY : 0);
        if (b->layer_tree >= 0)
                map_ids(b, b->layer_tree, 0);
        if (b->usr >= 0)
                map_usr(b);
}

/* --- in the container's pid, net and ipc namespaces ---------------------------------------------------- */

struct option { const char *key, *value; };

/* A new instance of a file system, as a detached mount. */
static int make_fs(struct lxc_build *b, const char *type, const struct option *options, unsigned attrs) {
        int fs = fsopen(type, FSOPEN_CLOEXEC), r = fs < 0 ? -1 : 0;

        for (; r == 0 && options && options->key; options++)
                r = fsconfig(fs, FSCONFIG_SET_STRING, options->key, options->value, 0);
        if (r == 0)
                r = fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
        int mnt = r == 0 ? fsmount(fs, FSMOUNT_CLOEXEC, attrs) : -1;
        if (mnt < 0)
                fail_at(b, -errno, "mounting", type);
        (void) ulv_close(fs);
        return mnt;
}

/* A tmpfs that belongs to the container's root, with limits of its own on bytes and files. */
static int make_tmpfs(struct lxc_build *b, const char *mode, uint64_t bytes, unsigned files, unsigned attrs) {
        char id[16], size[32], inodes[16];
        const struct option options[] = {
                { "mode", mode }, { "uid", id }, { "gid", id }, { "size", size }, { "nr_inodes", inodes }, { "source", "tmpfs" }, { 0 },
        };

        snprintf(id, sizeof(id), "%u", (unsigned) b->uid_base);
        snprintf(size, sizeof(size), "%llu", (unsigned long long) bytes);
        snprintf(inodes, sizeof(inodes), "%u", files);
        return make_fs(b, "tmpfs", options, attrs);
}

int lxc_make_scratch(struct lxc_build *b) {
        static const struct option options[] = { { "mode", "0755" }, { "size", "64k" }, { "nr_inodes", "16" }, { "source", "tmpfs" }, { 0 } };

        int mnt = make_fs(b, "tmpfs", options, ATTR_DATA);
        if (move_mount(mnt, "", AT_FDCWD, "/dev", MOVE_MOUNT_F_EMPTY_PATH) < 0)
                fail_at(b, -errno, "attaching", "a place for what is built");
        return mnt;
}

/* A name in one of our own mounts, or in the tree's: never through a link, never out of that mount. */
static int open_point(int dir, const char *name) {
        return sys_openat2(dir, name, O_PATH | O_CLOEXEC, RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | RESOLVE_NO_XDEV);
}

static int attach_fd(int mnt, int point) {
        return move_mount(mnt, "", point, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

void lxc_tree_attach(struct lxc_build *b, int mnt, const char *name) {
        char text[128];
        struct stat st;
        _cleanup_close_ int point = open_point(b->tree, name);
        int r = point < 0 || fstat(point, &st) < 0 ? -errno : 0;

        if (r == -ELOOP || (r == 0 && !S_ISDIR(st.st_mode))) {
                snprintf(text, sizeof(text), "/%s in the root is %s, not a directory", name, r < 0 ? "a symbolic link" : "a file");
                lxc_build_fail(b, 0, text, try_tree);
        }
        if (r < 0) {
                snprintf(text, sizeof(text), "/%s in the root can't be opened", name);
                lxc_build_fail(b, r, text, try_tree);
        }
        if (attach_fd(mnt, point) < 0)
                fail_at(b, -errno, "attaching /", name);
}

/* Puts a clone over a name in a mount of ours; what the kernel doesn't have needs no mask. */
static void cover(struct lxc_build *b, int dir, const char *name, int mnt) {
        _cleanup_close_ int point = open_point(dir, name);

        if (point < 0 && (errno == ENOENT || errno == EACCES))
                return;
        if (point < 0 || mnt < 0 || attach_fd(mnt, point) < 0)
                fail_at(b, -errno, "masking", name);
}

static void make_read_only(struct lxc_build *b, int dir, const char *name) {
        struct mount_attr a = { .attr_set = MOUNT_ATTR_RDONLY | ATTR_DATA };
        _cleanup_close_ int mnt = clone_file(dir, name);

        if (mnt < 0 && errno == ENOENT)
                return;
        if (mnt < 0 || mount_setattr(mnt, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0)
                fail_at(b, -errno, "making read-only", name);
        cover(b, dir, name, mnt);
}

/* A clone that may be attached, of a mount that is attached already (older kernels clone no others). */
static int clone_read_only(int mnt, uint64_t attrs) {
        struct mount_attr a = { .attr_set = MOUNT_ATTR_RDONLY | attrs };
        int clone = clone_file(mnt, "");

        if (clone >= 0 && mount_setattr(clone, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0)
                clone = ulv_close(clone);
        return clone;
}

/* A directory is covered by an empty one, a file by /dev/null. */
static void hide(struct lxc_build *b, int dir, const char *name) {
        struct stat st;

        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return;
        if (!S_ISDIR(st.st_mode)) {
                /* Not NODEV: reading it is to give nothing, not an error. */
                _cleanup_close_ int null = clone_read_only(b->devices[DEVICE_NULL], MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
                cover(b, dir, name, null);
        } else if (b->nothing < 0) {
                b->nothing = make_tmpfs(b, "0555", 4096, 1, ATTR_DATA | MOUNT_ATTR_RDONLY);
                cover(b, dir, name, b->nothing);
        } else {
                _cleanup_close_ int empty = clone_read_only(b->nothing, ATTR_DATA);
                cover(b, dir, name, empty);
        }
}

/* Root without CAP_NET_BIND_SERVICE and CAP_NET_RAW serves port 80 and pings all the same, in a network of
 * its own. What a kernel doesn't have isn't set. */
static void set_network(struct lxc_build *b, int proc) {
        char gids[32];

        snprintf(gids, sizeof(gids), "%u %u", (unsigned) b->uid_base, (unsigned) (b->uid_base + ULV_UID_RANGE - 1));    /* in our ids */
        const struct { const char *file, *text; } settings[] = {
                { "sys/net/ipv4/ip_unprivileged_port_start", "0" }, { "sys/net/ipv4/ping_group_range", gids },
        };
        for (size_t i = 0; i < ULV_ARRAY_SIZE(settings); i++) {
                _cleanup_close_ int fd = openat(proc, settings[i].file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
                if (fd >= 0 && write(fd, settings[i].text, strlen(settings[i].text)) < 0)
                        fail_at(b, -errno, "writing /proc/", settings[i].file);
        }
}

static void furnish_proc(struct lxc_build *b) {
        _cleanup_close_ int proc = make_fs(b, "proc", NULL, ATTR_DATA);

        lxc_tree_attach(b, proc, "proc");
        set_network(b, proc);
        b->sysctl = openat(proc, "sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if ((b->rights & LXC_NESTING) || !lxc_barrier("masks"))
                return;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(proc_read_only); i++)
                make_read_only(b, proc, proc_read_only[i]);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(proc_hidden); i++)
                hide(b, proc, proc_hidden[i]);
}

static void furnish_sys(struct lxc_build *b) {
        _cleanup_close_ int sys = make_fs(b, "sysfs", NULL, ATTR_DATA | MOUNT_ATTR_RDONLY);

        lxc_tree_attach(b, sys, "sys");
        if ((b->rights & LXC_INIT) && b->in_cgroup) {
                _cleanup_close_ int cgroup = make_fs(b, "cgroup2", NULL, ATTR_DATA);
                cover(b, sys, "fs/cgroup", cgroup);     /* its own only: we stand in its cgroup namespace */
        }
        if (!lxc_barrier("masks"))
                return;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(sys_hidden); i++)
                hide(b, sys, sys_hidden[i]);
}

/* Puts a clone of a host's file over a new empty one in /dev. */
static void place_device(struct lxc_build *b, int dev, const char *name, int clone) {
        _cleanup_close_ int made = openat(dev, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        if (made < 0)
                fail_at(b, -errno, "making /dev/", name);
        cover(b, dev, name, clone);
}

static void place_directory(struct lxc_build *b, int dev, const char *name, int mnt) {
        if (mkdirat(dev, name, 0755) < 0)
                fail_at(b, -errno, "making /dev/", name);
        cover(b, dev, name, mnt);
}

static void link_names(struct lxc_build *b, int dev) {
        static const struct { const char *target, *name; } links[] = {
                { "pts/ptmx", "ptmx" }, { "/proc/self/fd", "fd" }, { "/proc/self/fd/0", "stdin" },
                { "/proc/self/fd/1", "stdout" }, { "/proc/self/fd/2", "stderr" },
        };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(links); i++)
                if (symlinkat(links[i].target, dev, links[i].name) < 0)
                        fail_at(b, -errno, "making /dev/", links[i].name);
}

/* /dev is root's while it is filled, for root without CAP_DAC_OVERRIDE is nobody in another's directory;
 * then it is handed over. */
static void furnish_dev(struct lxc_build *b, uint64_t memory) {
        char gid[16];
        const struct option pts[] = { { "ptmxmode", "0666" }, { "mode", "0620" }, { "gid", gid }, { "max", "1024" }, { 0 } };
        const struct option dev_options[] = { { "mode", "0755" }, { "size", "256k" }, { "nr_inodes", "256" }, { "source", "tmpfs" }, { 0 } };
        _cleanup_close_ int dev = make_fs(b, "tmpfs", dev_options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);

        lxc_tree_attach(b, dev, "dev");
        for (size_t i = 0; i < ULV_ARRAY_SIZE(devices); i++)
                place_device(b, dev, devices[i].name, b->devices[i]);
        if (b->console_tree >= 0)
                place_device(b, dev, "console", b->console_tree);
        snprintf(gid, sizeof(gid), "%u", (unsigned) b->uid_base + TTY_GID);
        _cleanup_close_ int pts_mnt = make_fs(b, "devpts", pts, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
        place_directory(b, dev, "pts", pts_mnt);
        _cleanup_close_ int shm = make_tmpfs(b, "1777", memory / 2, 65536, ATTR_DATA);
        place_directory(b, dev, "shm", shm);
        link_names(b, dev);
        if (fchownat(dev, "", b->uid_base, b->uid_base, AT_EMPTY_PATH) < 0)
                fail_at(b, -errno, "giving away", "/dev");
}

/* /run is the container's root's, and so are these: without CAP_DAC_OVERRIDE only that id makes them. The place is
 * a directory of our own: systemd, if it is inside, puts those of units beside it. */
static void make_credentials_point(struct lxc_build *b, int run) {
        (void) setfsgid(b->uid_base);
        (void) setfsuid(b->uid_base);
        int r = mkdirat(run, "credentials", 0755) < 0 || mkdirat(run, "credentials/partition", 0755) < 0 ? -errno : 0;
        (void) setfsuid(0);
        (void) setfsgid(0);
        if (r < 0)
                fail_at(b, r, "making", LXC_CREDENTIALS_DIR);
}

static void furnish_credentials(struct lxc_build *b, int run) {
        struct lxc_word w = { .kind = LXC_CREDENTIALS };

        if (b->credentials < 0)
                return;
        lxc_credentials_give(b);
        make_credentials_point(b, run);
        cover(b, run, "credentials/partition", b->credentials);
        _cleanup_close_ int writable = lxc_credentials_share(b);
        lxc_build_tell(b, &w, writable);
}

/* systemd would move its machine-id, which is a mount (etc.c), to the disk, is refused, and calls itself degraded. Masked
 * where systemd looks first; /run/systemd/system itself would tell programs that another init is systemd. */
static void mask_unit(struct lxc_build *b, int run) {
        (void) setfsgid(b->uid_base);
        (void) setfsuid(b->uid_base);
        int r = mkdirat(run, "systemd", 0755) < 0 || mkdirat(run, "systemd/system.control", 0755) < 0 ||
                symlinkat("/dev/null", run, "systemd/system.control/systemd-machine-id-commit.service") < 0 ? -errno : 0;
        (void) setfsuid(0);
        (void) setfsgid(0);
        if (r < 0)
                fail_at(b, r, "making", "/run/systemd");
}

/* Where programs call the monitor: the socket is uv-port's, the place in the container's /run its root's. bind()
 * wants a path that is short, so it is bound from within. */
static void place_call(struct lxc_build *b, int run) {
        struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = LXC_CALL };
        _cleanup_close_ int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (b->call < 0)
                return;
        (void) setfsgid(b->uid_base);
        (void) setfsuid(b->uid_base);
        int r = mkdirat(run, "ultravisor", 0755) < 0 || fchdir(run) < 0 || bind(b->call, (struct sockaddr *) &a, sizeof(a)) < 0 ||
                chmod(LXC_CALL, 0600) < 0 || listen(b->call, 16) < 0 ? -errno : 0;
        (void) setfsuid(0);
        (void) setfsgid(0);
        if (r == 0 && fchdir(here) < 0)
                r = -errno;
        if (r < 0)
                fail_at(b, r, "making", "/run/" LXC_CALL);
}

static void furnish_tmp(struct lxc_build *b, uint64_t memory) {
        _cleanup_close_ int run = make_tmpfs(b, "0755", memory / 4, 65536, ATTR_PLAIN);
        _cleanup_close_ int tmp = make_tmpfs(b, "1777", memory / 2, 65536, ATTR_PLAIN);

        lxc_tree_attach(b, run, "run");
        if (b->rights & LXC_INIT)
                mask_unit(b, run);
        furnish_credentials(b, run);
        place_call(b, run);
        lxc_tree_attach(b, tmp, "tmp");
}

/* Would the host's root still lie over ours, ".." would lead to it. */
static void prove_root(struct lxc_build *b) {
        struct statx root, above;

        if (statx(b->tree, "", AT_EMPTY_PATH, STATX_MNT_ID, &root) < 0 || statx(AT_FDCWD, "/dev/..", 0, STATX_MNT_ID, &above) < 0)
                fail_at(b, -errno, "looking at", b->root);
        if (root.stx_mnt_id != above.stx_mnt_id)
                fail_at(b, 0, "the host's root can't be taken away from over", b->root);
}

/* The tree becomes /, the host's goes. */
static void pivot(struct lxc_build *b) {
        if (fchdir(b->tree) < 0 || sys_pivot_root(".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
                fail_at(b, -errno, "making a root of", b->root);
        prove_root(b);
}

/* What the filter refuses everybody, and the kernel counts per user namespace: where the filter might not hold, there
 * are none to have. The setting is that of the user namespace of whoever looks it up, so it is our last act: we enter
 * it, and then only open the files, through a /proc/sys that we kept from before its mask. (Looked up earlier, it would
 * be the host's.) */
static void allow_none(struct lxc_build *b, const char *setting) {
        _cleanup_close_ int fd = openat(b->sysctl, setting, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

        if (fd < 0 && errno == ENOENT)
                return;         /* a kernel without the setting */
        if (fd < 0 || write(fd, "0", 1) != 1)
                fail_at(b, -errno, "writing", setting);
}

static void limit_user_namespace(struct lxc_build *b) {
        if (setns(b->leader_pidfd, CLONE_NEWUSER) < 0)
                fail_at(b, -errno, "entering", "the container's user namespace");
        allow_none(b, "user/max_fanotify_groups");
        if (!(b->rights & LXC_NESTING))
                allow_none(b, "user/max_user_namespaces");
}

void lxc_tree_furnish(struct lxc_build *b) {
        uint64_t memory = b->grant->memory_bytes > 0 ? b->grant->memory_bytes : UINT64_C(64) << 20;

        (void) umask(0);
        if (b->layer_tree >= 0)
                lxc_layers_join(b);
        if (move_mount(b->tree, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
                fail_at(b, -errno, "attaching", b->root);
        if (b->usr >= 0)
                lxc_tree_attach(b, b->usr, "usr");
        furnish_dev(b, memory);         /* first: its null is the mask of files */
        furnish_proc(b);
        furnish_sys(b);
        lxc_etc_furnish(b);
        furnish_tmp(b, memory);
        pivot(b);
        limit_user_namespace(b);
}
