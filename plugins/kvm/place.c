/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ROOT/run/ultravisor/vm/NAME: what QEMU, under the VM's uid, finds of the host's files by a path.
 *
 *   kernel initrd   copies, root's until libvirt gives them to the VM; gone once QEMU has read them
 *   call            socket that the guest's virtio port of the call interface leads to
 *   channel-0 ...   sockets at which QEMU is given its ends of channels; gone once it has them
 *   vnc/            the VM's own directory, for QEMU's socket
 *   seed/           of Seed=: one file, seed.iso, which the VM may read (seed.c)
 *
 * Copies, for libvirt changes the owner of what it boots, and two VMs may boot the same file. The directory itself is
 * root's: what the VM's uid could replace by a link, libvirt would follow as root. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "lib/log.h"
#include "lib/protocol.h"
#include "lib/remove-tree.h"
#include "plugins/kvm/kvm.h"

#define ALL_VMS ULV_RUN "/vm"
#define FILE_MAX (UINT64_C(2) << 30)    /* of a kernel or an initrd: it is memory on most machines */

static int fail(struct ulv_diag *reterr, const struct ulv_definition *d, const char *key, const char *path, const char *why) {
        ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot start %s", d->name);
        ulv_diag_why(reterr, "%s=%s: %s", key, path, why);
        ulv_diag_try(reterr, "uvctl edit %s", d->name);
        return -EIO;
}

static int copy(int from, int to, uint64_t size) {
        for (uint64_t done = 0; done < size;) {
                ssize_t n = sendfile(to, from, NULL, size - done);

                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                done += (uint64_t) n;
        }
        return 0;
}

static int take(int dir, const char *name, const struct ulv_definition *d, const char *key, const char *path, struct ulv_diag *reterr) {
        _cleanup_close_ int from = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), to = -1;
        struct stat st;
        int r;

        if (from < 0 || fstat(from, &st) < 0)
                return fail(reterr, d, key, path, strerror(errno));
        if (!S_ISREG(st.st_mode))
                return fail(reterr, d, key, path, "not a regular file");
        if ((uint64_t) st.st_size > FILE_MAX)
                return fail(reterr, d, key, path, "larger than 2G");
        to = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
        if (to < 0)
                return fail(reterr, d, key, path, strerror(errno));
        r = copy(from, to, (uint64_t) st.st_size);
        return r < 0 ? fail(reterr, d, key, path, strerror(-r)) : 0;
}

static int open_all(const struct ulv_monitor *m) {
        char path[4096];
        int fd;

        (void) snprintf(path, sizeof(path), "%s/" ALL_VMS, ulv_monitor_root(m));
        if (mkdir(path, 0711) < 0 && errno != EEXIST)
                return -errno;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int make_directories(struct ulv_monitor *m, unsigned uid) {
        _cleanup_close_ int all = open_all(m), dir = -1;
        const char *name = ulv_monitor_name(m);

        if (all < 0)
                return all;
        if (fchmod(all, 0711) < 0 || mkdirat(all, name, 0710) < 0)
                return -errno;
        dir = openat(all, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (dir < 0 || fchown(dir, 0, uid) < 0 || fchmod(dir, 0710) < 0 || mkdirat(dir, "vnc", 0700) < 0 || fchownat(dir, "vnc", uid, uid, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        return ulv_steal_fd(&dir);
}

/* Nobody but the VM's uid can connect: the directory is closed to others, and a link is followed by nobody. */
static int listen_at(int fd, int dir, unsigned uid, const char *path) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        const char *name = strrchr(path, '/') + 1;

        (void) ulv_copy(a.sun_path, sizeof(a.sun_path), path);
        return fd < 0 || bind(fd, (const struct sockaddr *) &a, sizeof(a)) < 0 || fchmodat(dir, name, 0600, 0) < 0 ||
               fchownat(dir, name, uid, uid, AT_SYMLINK_NOFOLLOW) < 0 || listen(fd, 1) < 0 ? -errno : 0;
}

static int make_socket(struct ulv_monitor *m, int dir, unsigned uid, const struct kvm_channel *c) {
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int r = listen_at(fd, dir, uid, c->path);

        return r < 0 ? r : ulv_monitor_channel_door(m, c->label, fd);
}

static int make_channels(struct ulv_monitor *m, int dir, const char *root, unsigned uid, struct kvm_place *p) {
        const char *labels[ULV_CHANNELS_MAX];
        int r = 0;

        p->n_channels = ulv_monitor_channels(m, labels);
        for (unsigned i = 0; r == 0 && i < p->n_channels; i++) {
                struct kvm_channel *c = &p->channels[i];

                c->label = labels[i];
                if ((size_t) snprintf(c->path, sizeof(c->path), "%s/" ALL_VMS "/%s/channel-%u", root, ulv_monitor_name(m), i) >= sizeof(c->path))
                        return -ENAMETOOLONG;
                r = make_socket(m, dir, uid, c);
        }
        return r;
}

int kvm_place_make(struct ulv_monitor *m, const struct ulv_definition *d, unsigned uid, const struct ulv_link *links,
                   struct kvm_place *ret, struct ulv_diag *reterr) {
        const char *root = ulv_streq(ulv_monitor_root(m), "/") ? "" : ulv_monitor_root(m), *name = ulv_monitor_name(m);
        struct kvm_place p = { 0 };
        _cleanup_close_ int dir = -1;
        int r = kvm_place_remove(m);

        if (r == 0)
                r = dir = make_directories(m, uid);
        if (r < 0)
                return r;
        if (d->kernel[0] && (r = take(dir, "kernel", d, "Kernel", d->kernel, reterr)) < 0)
                return r;
        if (d->initrd[0] && (r = take(dir, "initrd", d, "Initrd", d->initrd, reterr)) < 0)
                return r;
        if (d->kernel[0] && (size_t) snprintf(p.kernel, sizeof(p.kernel), "%s/" ALL_VMS "/%s/kernel", root, name) >= sizeof(p.kernel))
                return -ENAMETOOLONG;
        if (d->initrd[0] && (size_t) snprintf(p.initrd, sizeof(p.initrd), "%s/" ALL_VMS "/%s/initrd", root, name) >= sizeof(p.initrd))
                return -ENAMETOOLONG;
        if (ulv_streq(d->graphics, "vnc") && (size_t) snprintf(p.vnc, sizeof(p.vnc), "%s/" ALL_VMS "/%s/vnc/socket", root, name) >= sizeof(p.vnc))
                return -ENAMETOOLONG;
        if (d->seed[0] && (r = kvm_seed_make(d, links, dir, uid, reterr)) < 0)
                return r;
        if (d->seed[0] && (size_t) snprintf(p.seed, sizeof(p.seed), "%s/" ALL_VMS "/%s/seed/seed.iso", root, name) >= sizeof(p.seed))
                return -ENAMETOOLONG;
        if ((size_t) snprintf(p.call, sizeof(p.call), "%s/" ALL_VMS "/%s/call", root, name) >= sizeof(p.call))
                return -ENAMETOOLONG;
        r = listen_at(ulv_monitor_call_fd(m), dir, uid, p.call);
        if (r == 0)
                r = make_channels(m, dir, root, uid, &p);
        if (r == 0)
                *ret = p;
        return r;
}

void kvm_place_booted(struct ulv_monitor *m) {
        _cleanup_close_ int all = open_all(m), dir = -1;
        const char *labels[ULV_CHANNELS_MAX];
        unsigned n = ulv_monitor_channels(m, labels);
        char name[16];

        for (unsigned i = 0; i < n; i++)
                (void) ulv_monitor_channel_door(m, labels[i], -1);

        if (all < 0 || (dir = openat(all, ulv_monitor_name(m), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
                return;
        (void) unlinkat(dir, "kernel", 0);
        (void) unlinkat(dir, "initrd", 0);
        for (unsigned i = 0; i < ULV_CHANNELS_MAX; i++) {
                (void) snprintf(name, sizeof(name), "channel-%u", i);
                (void) unlinkat(dir, name, 0);
        }
}

int kvm_place_remove(struct ulv_monitor *m) {
        _cleanup_close_ int all = open_all(m);

        return all < 0 ? all : ulv_remove_tree(all, ulv_monitor_name(m));
}
