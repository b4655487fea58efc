/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ROOT/var/lib/ultravisor/disks/NAME: what a VM writes over the images of its [Block]s.
 *
 *   LABEL.qcow2              Writable=kept: the layer over the image, the VM's
 *   LABEL.base               which image that is: "FORMAT SIZE MTIME PATH". The layer fits no other, and not this one changed
 *   life/LABEL.qcow2         Writable=ephemeral: of one life
 *   nvram.fd                 Firmware=uefi: its variables; libvirt makes it
 *   .new                     being made
 *
 * The directory is root's, and the VM's group may pass: what is in it the VM may write, but it can put nothing else there,
 * for root to follow. Images below stay whose they are; the VM's uid must be able to read them, which is tried out first. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lib/fd.h"
#include "lib/image.h"
#include "lib/log.h"
#include "lib/remove-tree.h"
#include "plugins/kvm/kvm.h"

#define NEW ".new"
#define LIFE "life"
#define BASE_LINE_MAX 4400

/* --- as the VM's uid: is the image what it is said to be? ------------------------------------------------------------ */

struct image { const struct ulv_attachment *a; int fd; const char *path; };      /* fd: opened already; path: make a layer there */

static uint64_t big_endian(const uint8_t *p, unsigned n) {
        uint64_t v = 0;

        while (n-- > 0)
                v = v << 8 | *p++;
        return v;
}

/* An image that names another file to read would have QEMU read it. Such a chain isn't followed. */
static void look_into(const struct image *i, int fd) {
        uint8_t h[104] = { 0 };
        ssize_t n = pread(fd, h, sizeof(h), 0);
        bool qcow2 = n >= 72 && big_endian(h, 4) == 0x514649fb;
        const struct ulv_attachment *a = i->a;

        if (n < 0)
                kvm_run_fail("", "File=%s: %s", a->source, strerror(errno));
        if (ulv_streq(a->format, "qcow2") && !qcow2)
                kvm_run_fail("Format= as qemu-img info says it", "File=%s: Format=qcow2, and it has no qcow2 header", a->source);
        if (!ulv_streq(a->format, "qcow2") && qcow2 && !ulv_streq(a->writable, "direct"))
                kvm_run_fail("Format=qcow2", "File=%s: Format=%s, and it has a qcow2 header", a->source, a->format);
        if (ulv_streq(a->format, "qcow2") && (big_endian(h + 8, 8) != 0 || (big_endian(h + 4, 4) >= 3 && big_endian(h + 72, 8) & 4)))
                kvm_run_fail("qemu-img convert -O qcow2 makes one file of it", "File=%s goes on in another file (a backing or data file), which isn't followed", a->source);
}

static void try_image(const void *arg) {
        const struct image *i = arg;
        const struct ulv_attachment *a = i->a;
        int fd = i->fd >= 0 ? i->fd : open(a->source, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                kvm_run_fail(errno == EACCES ? "let others read it, and pass each directory above (chmod o+r, o+x)" : "", "File=%s: %s%s", a->source,
                             strerror(errno), errno == EACCES ? " for the uid that the VM has of its own" : "");
        if (!S_ISREG(st.st_mode))
                kvm_run_fail("", "File=%s: not a regular file", a->source);
        look_into(i, fd);
        if (!i->path)
                return;
        (void) execlp("qemu-img", "qemu-img", "create", "-q", "-f", "qcow2", "-F", a->format, "-b", a->source, i->path, NULL);
        kvm_run_fail("the package qemu-utils", "qemu-img: %s", strerror(errno));
}

/* --- root's directory ------------------------------------------------------------------------------------------------ */

static int refuse(struct ulv_diag *reterr, const char *what, const struct ulv_attachment *a, const char *why, const char *try_) {
        ulv_diag_what(reterr, ULV_EXIT_FAILED, "%s", what);
        ulv_diag_why(reterr, "[%s \"%s\"]: %s", a->device ? "Device" : "Block", a->label, why);
        ulv_diag_try(reterr, "%s", try_);
        return -EIO;
}

/* Of the file below, now. */
static int base_line(const struct ulv_attachment *a, char line[static BASE_LINE_MAX]) {
        struct stat st;

        if (stat(a->source, &st) < 0)
                return -errno;
        (void) snprintf(line, BASE_LINE_MAX, "%s %lld %lld.%09ld %s\n", a->format, (long long) st.st_size, (long long) st.st_mtim.tv_sec, st.st_mtim.tv_nsec, a->source);
        return 0;
}

static int same_base(int dir, const char *name, const char *line) {
        _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        _cleanup_free_ char *was = NULL;
        size_t len;
        int r = fd < 0 ? -errno : ulv_read_fd(fd, BASE_LINE_MAX, &was, &len);

        return r < 0 ? r : len == strlen(line) && memcmp(was, line, len) == 0;
}

/* A layer has the range of uids that the partition has now. */
static int give(int dir, const char *file, unsigned uid) {
        _cleanup_close_ int fd = openat(dir, file, O_PATH | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 || fchownat(fd, "", uid, uid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int make_layer(int dir, const char *path, const struct ulv_attachment *a, const char *file, const char *base, const char *line, unsigned uid,
                      const char *what, struct ulv_diag *reterr) {
        _cleanup_close_ int fd = -1;
        char new[600];
        int r;

        if (unlinkat(dir, NEW, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(dir, NEW, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 || fchown(fd, uid, uid) < 0)
                return -errno;
        (void) snprintf(new, sizeof(new), "%s/" NEW, path);
        r = kvm_run(uid, try_image, &(struct image) { a, -1, new }, what, "uvctl edit, or df: is there room?", reterr);
        if (r != 0)
                return r < 0 ? r : -EIO;
        if (base && (r = ulv_write_file_atomic(dir, base, line, strlen(line), 0600)) < 0)
                return r;
        if (fsync(fd) < 0 || renameat(dir, NEW, dir, file) < 0 || fsync(dir) < 0)
                return -errno;
        return 0;
}

/* One that is there goes on, if what is below it is what it was. */
static int make_kept(int dir, const char *path, const struct ulv_attachment *a, unsigned uid, const char *what, struct ulv_diag *reterr) {
        char file[ULV_NAME_MAX + 32], base[ULV_NAME_MAX + 32], line[BASE_LINE_MAX];
        int r;

        (void) snprintf(file, sizeof(file), "%s.qcow2", a->label);
        (void) snprintf(base, sizeof(base), "%s.base", a->label);
        r = base_line(a, line);
        if (r < 0 || faccessat(dir, file, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return make_layer(dir, path, a, file, base, line, uid, what, reterr);
        r = same_base(dir, base, line);
        if (r == 0)
                return refuse(reterr, what, a, "the image that it was written over was another, or has changed since", "the image as it was, or uvctl remove --purge: what it wrote is lost");
        if (r < 0)
                return r;
        r = kvm_run(uid, try_image, &(struct image) { a, -1, NULL }, what, "uvctl edit", reterr);
        return r > 0 ? -EIO : r < 0 ? r : give(dir, file, uid);
}

static int open_dir(const struct ulv_monitor *m, char path[static 512], bool make) {
        const char *root = ulv_streq(ulv_monitor_root(m), "/") ? "" : ulv_monitor_root(m);
        _cleanup_close_ int all = -1;
        int fd;

        if ((size_t) snprintf(path, 512, "%s/" ULV_DISKS, root) + ULV_NAME_MAX + 64 >= 512)
                return -ENAMETOOLONG;
        if (make && mkdir(path, 0711) < 0 && errno != EEXIST)
                return -errno;
        all = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (all < 0 || (make && fchmod(all, 0711) < 0) || (make && mkdirat(all, ulv_monitor_name(m), 0710) < 0 && errno != EEXIST))
                return -errno;
        (void) snprintf(path + strlen(path), 512 - strlen(path), "/%s", ulv_monitor_name(m));
        fd = openat(all, ulv_monitor_name(m), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* A disk of the host: by the kernel's name, as the ledger knows it, and nobody's on the host. */
static int look_at_device(const struct ulv_attachment *a, const char *what, struct ulv_diag *reterr) {
        _cleanup_close_ int fd = -1;
        struct stat st;

        if (lstat(a->source, &st) < 0)
                return refuse(reterr, what, a, strerror(errno), "lsblk, for what this host has");
        if (S_ISLNK(st.st_mode))
                return refuse(reterr, what, a, "Path= is a link, and the ledger knows a device by the kernel's name", "readlink -f it, and give that");
        if (!S_ISBLK(st.st_mode))
                return refuse(reterr, what, a, "Path= is no disk (block device), and a VM is given no other devices by this version", "lsblk, for what this host has");
        fd = open(a->source, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return refuse(reterr, what, a, errno == EBUSY ? "the host itself uses it (mounted, swap, LVM, md)" : strerror(errno), "lsblk; another device");
        return 0;
}

static int make_one(struct ulv_monitor *m, int dir, const char *path, const struct ulv_attachment *a, unsigned uid, struct ulv_diag *reterr) {
        char what[2 * ULV_NAME_MAX + 64], file[ULV_NAME_MAX + 32];
        struct image i = { a, -1, NULL };
        _cleanup_close_ int fd = -1;
        int r;

        (void) snprintf(what, sizeof(what), "cannot give disk %s to %s", a->label, ulv_monitor_name(m));
        if (a->device)
                return look_at_device(a, what, reterr);
        if (ulv_streq(a->writable, "kept"))
                return make_kept(dir, path, a, uid, what, reterr);
        if (ulv_streq(a->writable, "ephemeral")) {
                if (mkdirat(dir, LIFE, 0711) < 0 && errno != EEXIST)
                        return -errno;
                (void) snprintf(file, sizeof(file), LIFE "/%s.qcow2", a->label);
                return make_layer(dir, path, a, file, NULL, NULL, uid, what, reterr);
        }
        /* One that it is to write itself becomes its own for the time, by libvirt: it needn't be readable for it before. */
        if (ulv_streq(a->writable, "direct") && (i.fd = fd = open(a->source, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) < 0)
                return refuse(reterr, what, a, strerror(errno), "uvctl edit");
        r = kvm_run(uid, try_image, &i, what, "uvctl edit", reterr);
        return r > 0 ? -EIO : r;
}

void kvm_disks_forget(struct ulv_monitor *m) {
        char path[512];
        _cleanup_close_ int dir = open_dir(m, path, false);

        if (dir >= 0 && ulv_remove_tree(dir, LIFE) < 0)
                ulv_log(ULV_LOG_WARNING, "cannot remove %s/" LIFE ", which no life needs any more", path);
}

void kvm_disk_forget(struct ulv_monitor *m, const char *label) {
        char path[512], file[ULV_NAME_MAX + 32];
        _cleanup_close_ int dir = open_dir(m, path, false);

        (void) snprintf(file, sizeof(file), LIFE "/%s.qcow2", label);
        if (dir >= 0)
                (void) unlinkat(dir, file, 0);
}

static int open_for(const struct ulv_monitor *m, unsigned uid, char path[static 512]) {
        _cleanup_close_ int dir = open_dir(m, path, true);

        if (dir < 0)
                return dir;
        return fchown(dir, 0, uid) < 0 || fchmod(dir, 0710) < 0 ? -errno : ulv_steal_fd(&dir);
}

int kvm_disk_make(struct ulv_monitor *m, const struct ulv_attachment *a, unsigned uid, char path[static 512], struct ulv_diag *reterr) {
        _cleanup_close_ int dir = open_for(m, uid, path);

        return dir < 0 ? dir : make_one(m, dir, path, a, uid, reterr);
}

int kvm_disks_make(struct ulv_monitor *m, const struct ulv_definition *d, unsigned uid, char path[static 512], struct ulv_diag *reterr) {
        _cleanup_close_ int dir = -1;
        int r;

        kvm_disks_forget(m);
        if (d->n_attachments == 0 && ulv_streq(d->firmware, "bios"))
                return 0;
        r = dir = open_for(m, uid, path);
        if (r < 0)
                return r;
        for (size_t i = 0; i < d->n_attachments; i++)
                if ((r = make_one(m, dir, path, &d->attachments[i], uid, reterr)) < 0)
                        return r;
        return 0;
}
