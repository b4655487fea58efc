/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Where tar and its like run while an image is made.
 *
 * Theory of operation. An archive from somewhere may hold members named ../../etc/passwd, links to / with
 * files "behind" them, device nodes. GNU tar knows these tricks; but that nothing outside is touched isn't
 * left to its care. The program sees a root of its own, a tmpfs with the host's programs and libraries
 * read-only, what is to be read (/in, read-only), what is to be filled (/out), and nothing else: no /dev,
 * /proc, /etc, no network. It is root, to give files to their owners, and has no right but these: no
 * device node is made, nothing mounted. It dies with its parent. */

#include "uvctl/cage.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define FAILED 126

/* Where programs and their libraries are; on a merged /usr most are links into it. */
static const char *const system_names[] = { "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32" };

static const unsigned kept[] = { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP };

int cage_clone(int fd) {
        int clone = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

        return clone < 0 ? -errno : clone;
}

static _Noreturn void fail(const char *what) {
        dprintf(STDERR_FILENO, "cannot make a place for it to run: %s: %s\n", what, strerror(errno));
        _exit(FAILED);
}

static int make_root(void) {
        int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), mnt;

        if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "64k", 0) < 0 ||
            fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 || (mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID)) < 0)
                fail("tmpfs");
        (void) close(fs);
        return mnt;
}

static void place(int root, const char *name, int mnt, uint64_t attrs) {
        struct mount_attr a = { .attr_set = attrs | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID, .propagation = MS_PRIVATE };

        if (mkdirat(root, name, 0755) < 0)
                fail(name);
        _cleanup_close_ int point = openat(root, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (point < 0 || mount_setattr(mnt, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0 ||
            move_mount(mnt, "", point, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                fail(name);
}

static void place_system(int root, const char *name) {
        char path[16], target[64];
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/%s", name);
        n = readlink(path, target, sizeof(target) - 1);
        if (n > 0) {
                target[n] = 0;
                if (symlinkat(target, root, name) < 0)
                        fail(name);
                return;
        }
        _cleanup_close_ int mnt = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (mnt >= 0)
                place(root, name, mnt, MOUNT_ATTR_RDONLY);
        else if (errno != ENOENT)
                fail(name);
}

static void enter(int in, int out) {
        if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                fail("namespaces");
        int root = make_root();
        if (move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
                fail("its root");
        for (size_t i = 0; i < ULV_ARRAY_SIZE(system_names); i++)
                place_system(root, system_names[i]);
        if (in >= 0)
                place(root, "in", in, MOUNT_ATTR_RDONLY);
        if (out >= 0)
                place(root, "out", out, 0);
        if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
                fail("its root");
}

/* Into a tree as it is. */
static void enter_tree(int tree) {
        struct mount_attr a = { .attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID, .propagation = MS_PRIVATE };

        if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                fail("namespaces");
        if (mount_setattr(tree, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0 || move_mount(tree, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
            fchdir(tree) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
                fail("its root");
}

static bool is_kept(unsigned cap) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(kept); i++)
                if (kept[i] == cap)
                        return true;
        return false;
}

/* What root may have after exec is the bounding set. */
static void drop_rights(void) {
        for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                if (!is_kept(cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        fail("dropping rights");
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                fail("dropping rights");
}

/* And what we have now, where there is no exec. */
static void drop_own_rights(void) {
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = { 0 };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(kept); i++)
                sets[kept[i] / 32].permitted |= 1u << kept[i] % 32;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(sets); i++)
                sets[i].effective = sets[i].permitted;
        if (syscall(SYS_capset, &head, sets) < 0)
                fail("dropping rights");
}

static void begin(const int stdio[3]) {
        int high[3];
        sigset_t none;

        for (int i = 1; i < NSIG; i++)
                (void) signal(i, SIG_DFL);
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        for (int i = 0; i < 3; i++)
                high[i] = fcntl(stdio[i], F_DUPFD_CLOEXEC, 10);
        for (int i = 0; i < 3; i++)
                if (high[i] < 0 || dup2(high[i], i) < 0)
                        _exit(FAILED);
}

static _Noreturn void run(int in, int out, const char *const argv[], const int stdio[3], pid_t parent) {
        static char *const env[] = { (char *) "PATH=/usr/bin:/bin", (char *) "LC_ALL=C", NULL };

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (getppid() != parent)
                _exit(FAILED);
        begin(stdio);
        enter(in, out);
        (void) umask(0);
        drop_rights();
        if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
                fail("closing descriptors");
        (void) execve(argv[0], (char *const *) argv, env);
        fail(argv[0]);
}

pid_t cage_spawn(int in, int out, const char *const argv[], int stdin_fd, int stdout_fd, int stderr_fd) {
        const int stdio[3] = { stdin_fd, stdout_fd, stderr_fd };
        pid_t parent = getpid(), pid = fork();

        if (pid == 0)
                run(in, out, argv, stdio, parent);
        return pid < 0 ? -errno : pid;
}

pid_t cage_call(int tree, int (*f)(const char *const *argv), const char *const argv[], const int stdio[3]) {
        pid_t pid = fork();

        if (pid != 0)
                return pid < 0 ? -errno : pid;
        begin(stdio);
        enter_tree(tree);
        (void) umask(0);
        drop_rights();
        drop_own_rights();
        if (close_range(3, ~0U, 0) < 0)
                fail("closing descriptors");
        _exit(f(argv));
}
