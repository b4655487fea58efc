/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* The whole disk of a partition: only that one can be limited. */
static int whole_disk(dev_t dev, dev_t *ret) {
        char path[96], text[32];
        unsigned major, minor;
        int r;

        (void) snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/partition", major(dev), minor(dev));
        if (access(path, F_OK) < 0) {
                *ret = dev;
                return 0;
        }
        (void) snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../dev", major(dev), minor(dev));
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = (int) read(fd, text, sizeof(text) - 1);
        if (r < 0)
                return -errno;
        text[r] = 0;
        if (sscanf(text, "%u:%u", &major, &minor) != 2)
                return -EBADMSG;
        *ret = makedev(major, minor);
        return 0;
}

int ulv_disk_of(const char *path, dev_t *ret) {
        struct stat st;

        if (stat(path, &st) < 0)
                return errno == ENOENT || errno == ENOTDIR ? -ENODEV : -errno;
        /* A file system without a disk of its own (overlay, btrfs, tmpfs, a network) has a device number of major 0. */
        dev_t dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
        return major(dev) == 0 ? -ENODEV : whole_disk(dev, ret);
}
