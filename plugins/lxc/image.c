/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which image a container starts from, and where it writes.
 *
 * Theory of operation. An image's name is a link to what it means now (lib/image.h). A start makes a layer,
 * a directory of its own in which a link pins the image, under the lock that whoever replaces or removes
 * images takes exclusively: from then on the image stays, whatever its name comes to mean. A layer is made
 * under another name and renamed, so that there is none without its pin.
 *
 * A kept layer holds files that were written over one particular image (package data bases, for one), so it
 * keeps that image: a newer one under the same name is for layers that begin after it. An ephemeral layer
 * is new at each start and removed when the container is proved gone.
 *
 * Files in a layer have the container's ids as they are inside, 0 to 65535: which range of the host's the
 * container has may differ each time. To remove them takes rights that the monitor has given up by then, so
 * that is done by a child in a user namespace of those 64K ids: it has rights over these files and no others. */

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lib/image.h"
#include "lib/remove-tree.h"
#include "model/inventory.h"
#include "plugins/lxc/lxc.h"
#include "plugins/lxc/sys.h"

#define TARGET_SIZE (sizeof(ULV_IMAGE_STORE) + ULV_IMAGE_ID)

static _Noreturn void fail(struct lxc_build *b, int r, const char *what) {
        char text[256];

        (void) snprintf(text, sizeof(text), "%s of Image=%.63s", what, b->image);
        lxc_build_fail(b, r, text, "uvctl image list");
}

/* ROOT/path, made if wanted. */
static int open_state(const char *root, const char *path, bool make) {
        char full[4096 + 64];
        int fd;

        (void) snprintf(full, sizeof(full), "%s%s%s", root, ulv_streq(root, "/") ? "" : "/", path);
        fd = open(full, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT && make && mkdir(full, 0700) == 0)
                fd = open(full, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* The text of a link, in buf; false if there is none or it is too long. */
static bool read_link(int dir, const char *name, char *buf, size_t size) {
        ssize_t n = readlinkat(dir, name, buf, size);

        if (n < 0 || (size_t) n >= size)
                return false;
        buf[n] = 0;
        return true;
}

/* --- the layer ----------------------------------------------------------------------------------------- */

static void layer_name(char *buf, size_t size, const char *partition, bool kept) {
        (void) snprintf(buf, size, "%s%s", partition, kept ? "" : ULV_EPHEMERAL);
}

static int fill_layer(int dir, const char *target, const char *image) {
        if (symlinkat(target, dir, "image") < 0 || symlinkat(image, dir, "name") < 0 ||
            mkdirat(dir, "upper", 0755) < 0 || mkdirat(dir, "work", 0700) < 0)
                return -errno;
        return 0;
}

static int make_layer(int writable, const char *name, const char *target, const char *image) {
        char making[ULV_NAME_MAX + 64];

        (void) snprintf(making, sizeof(making), ".new-%s", name);
        int r = ulv_remove_tree(writable, making);
        if (r < 0)
                return r;
        if (mkdirat(writable, making, 0755) < 0)
                return -errno;
        _cleanup_close_ int dir = openat(writable, making, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        r = dir < 0 ? -errno : fill_layer(dir, target, image);
        if (r == 0 && renameat(writable, making, writable, name) < 0)
                r = -errno;
        return r;
}

/* A kept layer stays on the image that it was made over; target is what it pins then. */
static void check_kept(struct lxc_build *b, int layer, char *target) {
        char name[ULV_NAME_MAX + 1], text[256];

        if (!read_link(layer, "image", target, TARGET_SIZE) || !ulv_image_target_is_valid(target) || !read_link(layer, "name", name, sizeof(name)))
                lxc_build_fail(b, 0, "its writable layer doesn't say over which image it was made", "uvctl remove --purge, then again: what it wrote is lost");
        if (ulv_streq(name, b->image))
                return;
        (void) snprintf(text, sizeof(text), "what it wrote stands on Image=%s, and its definition says Image=%s; uvctl remove --purge deletes it", name, b->image);
        lxc_build_fail(b, 0, text, "Image= as before, or uvctl remove --purge, which deletes what it wrote");
}

/* Opens the layer, made if there is none. target: in, the image that is wanted ("" = there is none of this
 * name); out, the one that is pinned. */
static void open_layer(struct lxc_build *b, int writable, char *target) {
        char name[ULV_NAME_MAX + 32], text[256];
        int r;

        layer_name(name, sizeof(name), b->name, b->kept);
        b->layer = openat(writable, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (b->layer >= 0) {
                check_kept(b, b->layer, target);
                return;
        }
        if (!*target) {
                (void) snprintf(text, sizeof(text), "there is no image %s: uvctl image list shows what there is", b->image);
                lxc_build_fail(b, 0, text, "uvctl image build NAME; uvctl image import NAME PATH");
        }
        r = make_layer(writable, name, target, b->image);
        if (r < 0)
                fail(b, r, "making a writable layer");
        b->layer = openat(writable, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (b->layer < 0)
                fail(b, -errno, "the writable layer");
}

static int clone_mount(int fd) {
        return open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
}

void lxc_image_open(struct lxc_build *b) {
        char target[TARGET_SIZE] = "", path[TARGET_SIZE + 16];
        _cleanup_close_ int images = open_state(b->instance_root, ULV_IMAGES, false);
        _cleanup_close_ int writable = open_state(b->instance_root, ULV_WRITABLE, true);

        if (images == -ENOENT)
                lxc_build_fail(b, 0, "this instance has no images yet", "uvctl image build busybox; uvctl image build debian-12");
        if (images < 0 || writable < 0)
                fail(b, images < 0 ? images : writable, "the directory");
        if (flock(images, LOCK_SH) < 0)
                fail(b, -errno, "the lock");
        if (!read_link(images, b->image, target, sizeof(target)) || !ulv_image_target_is_valid(target))
                *target = 0;
        open_layer(b, writable, target);
        (void) snprintf(path, sizeof(path), "%s/tree", target);
        b->source = sys_openat2(images, path, O_PATH | O_DIRECTORY | O_CLOEXEC, RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH);
        if (b->source < 0)
                fail(b, -errno, "the tree");
        b->tree = clone_mount(b->source);
        b->layer_tree = clone_mount(b->layer);
        if (b->tree < 0 || b->layer_tree < 0)
                fail(b, -errno, "cloning the mount");
        (void) snprintf(path, sizeof(path), "%s/host-usr", target);
        if (faccessat(images, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
            (b->usr = open_tree(AT_FDCWD, "/usr", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)) < 0)
                fail(b, -errno, "the host's /usr");
}

/* --- its end ------------------------------------------------------------------------------------------- */

/* Waits for the map, then removes; uid 0 in there is nobody, and removes root's files as their owner. */
static _Noreturn void remove_as_container(int writable, const char *name, int go) {
        char byte;

        if (read(go, &byte, 1) != 1)
                _exit(1);
        _exit(ulv_remove_tree(writable, name) < 0 ? 1 : 0);
}

static int write_map(pid_t pid, const char *file, unsigned first) {
        char path[64], text[32];
        int n = snprintf(text, sizeof(text), "%u %u %u\n", first, first, ULV_UID_RANGE - first);

        (void) snprintf(path, sizeof(path), "/proc/%d/%s", (int) pid, file);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
        return fd < 0 || write(fd, text, (size_t) n) != n ? -errno : 0;
}

/* To map uid 0 would take a right that the monitor doesn't have, and root's files are ours anyway. */
static int map_ids(pid_t pid) {
        int r = write_map(pid, "uid_map", 1);

        return r < 0 ? r : write_map(pid, "gid_map", 0);
}

static int remove_layer(int writable, const char *name) {
        int go[2], status = 0;
        struct clone_args a = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };

        if (pipe2(go, O_CLOEXEC) < 0)
                return -errno;
        (void) prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);      /* as in build.c: our child's maps are root's to write */
        pid_t pid = sys_clone3(&a);
        if (pid == 0) {
                (void) close(go[1]);
                remove_as_container(writable, name, go[0]);
        }
        int r = pid < 0 ? -errno : 0;
        if (r == 0)
                r = map_ids(pid);
        (void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        if (r == 0 && write(go[1], "", 1) != 1)
                r = -errno;
        (void) close(go[0]);
        (void) close(go[1]);
        if (pid > 0 && waitpid(pid, &status, 0) < 0 && r == 0)
                r = -errno;
        return r == 0 && status != 0 ? -EIO : r;
}

/* The rename ends the pin at once; should the rest fail or be killed, `uvctl image` sweeps .gone-*. */
int lxc_image_end(const char *root, const char *partition) {
        char name[ULV_NAME_MAX + 32], gone[ULV_NAME_MAX + 64];
        _cleanup_close_ int writable = open_state(root, ULV_WRITABLE, false);

        if (writable < 0)
                return writable == -ENOENT ? 0 : writable;
        layer_name(name, sizeof(name), partition, false);
        (void) snprintf(gone, sizeof(gone), ".gone-%s-%d", partition, (int) getpid());
        if (renameat(writable, name, writable, gone) < 0)
                return errno == ENOENT ? 0 : -errno;
        return remove_layer(writable, gone);
}
