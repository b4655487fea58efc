/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An image below, a writable layer above: one tree, by overlayfs.
 *
 * Theory of operation. An overlay can't be id-mapped (no kernel yet), but its layers can (5.19), and it
 * works on them with the rights of who mounted it. So both layers are mapped first, and the overlay is mounted by
 * a process of the container's own user namespace: what it writes to the layer is written by the
 * container's root, and no right of the host's is ever used on the container's behalf. Mounting takes a
 * mount namespace that belongs to that user namespace, and layers are named by path in it:
 *
 *   furnisher: a small tmpfs, on it lower/ = the image's tree, layer/ = the partition's directory;
 *              it is the current directory, so that the paths are short and nothing of the host's is walked
 *   child:     enters the user namespace, becomes its root, takes a copy of the mounts (the current directory
 *              comes along), makes the overlay detached, puts it in the place of the tree's fd, and ends
 *
 * The two share their fd table, so the furnisher goes on with the overlay as it would with a plain tree.
 * userxattr: overlayfs's marks in user.overlay.*, which the container's root may write. */

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "plugins/lxc/lxc.h"
#include "plugins/lxc/sys.h"

static _Noreturn void fail(struct lxc_build *b, const char *what) {
        lxc_build_fail(b, -errno, what, "a kernel from 5.19 on with overlayfs, and images on ext4, xfs or btrfs; dmesg has more");
}

static void place(struct lxc_build *b, int scratch, const char *name, int mnt) {
        if (mkdirat(scratch, name, 0755) < 0)
                fail(b, "a place for a layer");
        _cleanup_close_ int point = openat(scratch, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (point < 0 || move_mount(mnt, "", point, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                fail(b, "attaching a layer");
}

static void become_container(struct lxc_build *b) {
        if (setns(b->user_ns, CLONE_NEWUSER) < 0)
                fail(b, "entering the container's user namespace");
        if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
                fail(b, "becoming the container's root");
        if (unshare(CLONE_NEWNS) < 0)
                fail(b, "a mount namespace of the container's");
}

static _Noreturn void make_overlay(struct lxc_build *b) {
        static const char *const options[][2] = {
                { "source", "ultravisor" }, { "lowerdir", "lower" }, { "upperdir", "layer/upper" }, { "workdir", "layer/work" },
        };
        int r = 0;

        become_container(b);
        int fs = fsopen("overlay", FSOPEN_CLOEXEC);
        if (fs < 0)
                fail(b, "overlayfs");
        for (size_t i = 0; r == 0 && i < ULV_ARRAY_SIZE(options); i++)
                r = fsconfig(fs, FSCONFIG_SET_STRING, options[i][0], options[i][1], 0);
        if (r == 0)
                r = fsconfig(fs, FSCONFIG_SET_FLAG, "userxattr", NULL, 0);
        /* What doesn't outlive the container needn't be on the disk when it says fsync. */
        if (r == 0 && !b->kept)
                r = fsconfig(fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0);
        if (r == 0)
                r = fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
        int mnt = r == 0 ? fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV) : -1;
        if (mnt < 0 || dup3(mnt, b->tree, O_CLOEXEC) < 0)
                fail(b, "laying the writable layer over the image");
        _exit(0);
}

void lxc_layers_join(struct lxc_build *b) {
        struct clone_args a = { .flags = CLONE_FILES, .exit_signal = SIGCHLD };
        _cleanup_close_ int scratch = lxc_make_scratch(b);
        int status;

        place(b, scratch, "lower", b->tree);
        place(b, scratch, "layer", b->layer_tree);
        if (fchdir(scratch) < 0)
                fail(b, "entering the place for the layers");
        pid_t pid = sys_clone3(&a);
        if (pid < 0)
                fail(b, "a process to lay the layers");
        if (pid == 0)
                make_overlay(b);
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        fail(b, "waiting for the layers");
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
                if (chdir("/") < 0)
                        fail(b, "leaving the place for the layers");
                return;
        }
        if (WIFEXITED(status))
                _exit(1);       /* it told the monitor why */
        lxc_build_fail(b, 0, "the process that lays the layers was killed", "more memory: uvctl set NAME memory=SIZE");
}
