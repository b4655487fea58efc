/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A file system in a regular file, mounted for the time of a copy: read-only, detached, on a loop device that
 * goes with the mount. The kernel reads what is in the file, so it is for images that one trusts (uvctl(1)). */

#include "uvctl/image.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#define LOOP_TRIES 16   /* between asking for a free one and taking it, another may be quicker */

static int take_loop(int file, char *ret_path, size_t size) {
        _cleanup_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        const struct loop_config config = { .fd = (unsigned) file, .info = { .lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR } };

        if (control < 0)
                return -errno;
        for (unsigned i = 0; i < LOOP_TRIES; i++) {
                int n = ioctl(control, LOOP_CTL_GET_FREE);

                if (n < 0)
                        return -errno;
                (void) snprintf(ret_path, size, "/dev/loop%d", n);
                int loop = open(ret_path, O_RDONLY | O_CLOEXEC);
                if (loop < 0)
                        return -errno;
                if (ioctl(loop, LOOP_CONFIGURE, &config) == 0)
                        return loop;
                int r = -errno;
                (void) close(loop);
                if (r != -EBUSY)
                        return r;
        }
        return -EBUSY;
}

static int mount_loop(const char *device, const char *type) {
        int fs = fsopen(type, FSOPEN_CLOEXEC), r = fs < 0 ? -1 : 0, mnt = -1;

        if (r == 0)
                r = fsconfig(fs, FSCONFIG_SET_STRING, "source", device, 0);
        if (r == 0)
                r = fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0);
        if (r == 0 && ulv_streq(type, "ext4"))
                r = fsconfig(fs, FSCONFIG_SET_FLAG, "noload", NULL, 0);         /* a journal can't be played back read-only */
        if (r == 0)
                r = fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
        if (r == 0)
                mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        if (mnt < 0)
                mnt = -errno;
        (void) ulv_close(fs);
        return mnt;
}

int device_mount(struct uvctl *u, int file, const char *path, const char *type, int *ret_mount) {
        char device[32];
        int loop = take_loop(file, device, sizeof(device)), mnt = loop;

        if (loop >= 0)
                mnt = mount_loop(device, type);
        if (loop >= 0)
                (void) close(loop);
        if (mnt >= 0) {
                *ret_mount = mnt;
                return 0;
        }
        ulv_diag_what(&u->diag, ULV_EXIT_FAILED, "cannot mount %.150s as %s", path, type);
        ulv_diag_why(&u->diag, "%s", mnt == -ENODEV ? "this kernel doesn't know that file system" : mnt == -ENOENT && loop < 0 ? "this machine has no loop devices" : strerror(-mnt));
        ulv_diag_try(&u->diag, "unpack it elsewhere (unsquashfs, fsck.erofs --extract), and import the directory");
        return ULV_EXIT_FAILED;
}
