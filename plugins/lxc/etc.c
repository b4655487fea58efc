/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Three files of /etc that are the partition's rather than its image's: machine-id, resolv.conf (DNS=, Search=)
 * and localtime (TimeZone=).
 *
 * Theory of operation. They are made on a small file system in memory and mounted, read-only and one by one, over the
 * names in the tree: by fd, so that a link there is covered, not followed. Where the tree has no such name, an
 * empty file is made for it, in the ids of the container's root. What the tree says is never read, but for
 * the zone's file where the host has none, which goes to nobody but the tree's own programs.
 *
 * Nothing is cloned from a mount that isn't attached (older kernels can't), so the little file system stands at
 * /tmp for that moment, before the partition's /tmp is put there. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "lib/protocol.h"
#include "lib/strbuf.h"
#include "plugins/lxc/lxc.h"
#include "plugins/lxc/sys.h"

#define ZONE_MAX (256 * 1024)
#define ZONES "usr/share/zoneinfo/"
#define FILE_ATTRS (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

static _Noreturn void fail(struct lxc_build *b, const char *doing, const char *what, const char *try_) {
        char text[256];
        int r = -errno;

        (void) snprintf(text, sizeof(text), "%s %s", doing, what);
        lxc_build_fail(b, r, text, try_);
}

/* --- machine-id ------------------------------------------------------------------------------------------- */

static bool read_id(int dir, const char *name, char id[static 34]) {
        _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0 || read(fd, id, 34) != 33 || id[32] != '\n')
                return false;
        id[33] = 0;
        return strspn(id, "0123456789abcdef") == 32;
}

/* A random one, as systemd makes them: a UUID of version 4. */
static int make_id(int dir, const char *name, char id[static 34]) {
        uint8_t raw[16];
        char making[ULV_NAME_MAX + 8];

        if (getrandom(raw, sizeof(raw), 0) != sizeof(raw))
                return -EIO;
        raw[6] = (raw[6] & 0x0f) | 0x40;
        raw[8] = (raw[8] & 0x3f) | 0x80;
        for (unsigned i = 0; i < sizeof(raw); i++)
                (void) snprintf(id + 2 * i, 3, "%02x", raw[i]);
        memcpy(id + 32, "\n", 2);
        (void) snprintf(making, sizeof(making), ".new-%s", name);
        (void) unlinkat(dir, making, 0);
        _cleanup_close_ int fd = openat(dir, making, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
        if (fd < 0 || write(fd, id, 33) != 33 || fsync(fd) < 0 || renameat(dir, making, dir, name) < 0)
                return errno ? -errno : -EIO;
        return 0;
}

/* Kept by name, for as long as nobody removes the file: systemd's journals and leases go by it. */
static void find_id(struct lxc_build *b) {
        char path[4096 + 64];

        (void) snprintf(path, sizeof(path), "%s/" ULV_MACHINE_IDS, b->instance_root);
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
                fail(b, "making the directory", path, "dmesg: the kernel may say more");
        _cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int r = dir < 0 ? -errno : read_id(dir, b->name, b->machine_id) ? 0 : make_id(dir, b->name, b->machine_id);
        if (r < 0)
                lxc_build_fail(b, r, "its machine-id", "dmesg: the kernel may say more");
}

/* --- in the host's mount namespace ------------------------------------------------------------------------ */

void lxc_etc_open(struct lxc_build *b) {
        const char *zone = b->definition->time_zone;
        char path[128];

        find_id(b);
        b->zone = -1;
        if (!zone || !*zone)
                return;
        (void) snprintf(path, sizeof(path), "/" ZONES "%s", zone);
        b->zone = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

/* --- while the tree is furnished -------------------------------------------------------------------------- */

/* The host has no such zone: the image may. Below its root whatever links it has. */
static int open_zone_inside(struct lxc_build *b) {
        char path[128], text[192];

        (void) snprintf(path, sizeof(path), ZONES "%s", b->definition->time_zone);
        int fd = sys_openat2(b->tree, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
        if (fd < 0) {
                (void) snprintf(text, sizeof(text), "TimeZone=%s is neither in the host's nor in the image's /" ZONES, b->definition->time_zone);
                lxc_build_fail(b, 0, text, "apt install tzdata; or another TimeZone=");
        }
        return fd;
}

static int make_file(struct lxc_build *b, int scratch, const char *name) {
        int fd = openat(scratch, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);

        if (fd < 0 || fchown(fd, b->uid_base, b->uid_base) < 0)
                fail(b, "making /etc/", name, "dmesg: the kernel may say more");
        return fd;
}

static void write_zone(struct lxc_build *b, int to) {
        struct stat st;

        if (b->zone < 0)
                b->zone = open_zone_inside(b);
        if (fstat(b->zone, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > ZONE_MAX)
                lxc_build_fail(b, 0, "TimeZone= names what is no time zone's file", "TimeZone=Europe/Berlin; ls /" ZONES);
        for (off_t left = st.st_size; left > 0; ) {
                ssize_t n = sendfile(to, b->zone, NULL, (size_t) left);
                if (n <= 0)
                        fail(b, "copying the time zone", b->definition->time_zone, "dmesg: the kernel may say more");
                left -= n;
        }
}

static void add_resolver(const struct ulv_definition *d, struct ulv_strbuf *text) {
        unsigned n = 0;

        for (size_t i = 0; i < d->n_networks; i++)
                for (unsigned k = 0; k < d->networks[i].n_dns && n < ULV_DNS_MAX; k++, n++) {
                        ulv_strbuf_add(text, "nameserver ");
                        ulv_address_format(text, &d->networks[i].dns[k], false);
                        ulv_strbuf_addc(text, '\n');
                }
        for (size_t i = 0, said = 0; i < d->n_networks; i++)
                if (d->networks[i].search[0])
                        ulv_strbuf_addf(text, "%s%s", said++ ? " " : "search ", d->networks[i].search);
        if (text->len > 0 && text->s[text->len - 1] != '\n')
                ulv_strbuf_addc(text, '\n');
}

static void write_text(struct lxc_build *b, int scratch, const char *name, const char *text) {
        _cleanup_close_ int fd = make_file(b, scratch, name);

        if (write(fd, text, strlen(text)) != (ssize_t) strlen(text))
                fail(b, "writing, for /etc:", name, "dmesg: the kernel may say more");
}

/* The name in the tree's /etc, a link itself if it is one; made if it isn't there, by us or at the same moment by the
 * start of another partition from this tree. */
static int open_point(struct lxc_build *b, int etc, const char *name) {
        static const uint64_t resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | RESOLVE_NO_XDEV;
        int fd = sys_openat2(etc, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, resolve);

        if (fd >= 0 || errno != ENOENT)
                return fd;
        (void) setfsgid(b->uid_base);
        (void) setfsuid(b->uid_base);
        _cleanup_close_ int made = openat(etc, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
        int saved = errno;
        (void) setfsuid(0);
        (void) setfsgid(0);
        errno = saved;
        return made < 0 && errno != EEXIST ? -1 : sys_openat2(etc, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, resolve);
}

static void cover(struct lxc_build *b, int etc, int scratch, const char *name) {
        struct mount_attr a = { .attr_set = FILE_ATTRS };
        struct stat st;
        _cleanup_close_ int point = open_point(b, etc, name);

        if (point < 0 || fstat(point, &st) < 0)
                fail(b, "in the root's /etc:", name, "a root with an /etc that is a directory");
        if (S_ISDIR(st.st_mode)) {
                errno = EISDIR;
                fail(b, "in the root's /etc:", name, "rmdir it: it is a file everywhere");
        }
        _cleanup_close_ int mnt = open_tree(scratch, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
        if (mnt < 0 || mount_setattr(mnt, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0 ||
            move_mount(mnt, "", point, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                fail(b, "mounting in /etc:", name, "dmesg: the kernel may say more");
}

/* A root without an /etc, or with a link for it, is a program's and not a system's: it gets what it asks for, or
 * is told that it can't; unasked, it gets nothing. */
static int open_etc(struct lxc_build *b, bool asked) {
        int fd = sys_openat2(b->tree, "etc", O_PATH | O_DIRECTORY | O_CLOEXEC, RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | RESOLVE_NO_XDEV);

        if (fd < 0 && asked)
                fail(b, "DNS=, Search= and TimeZone= need a directory", "/etc in the root", "mkdir it there");
        return fd;
}

void lxc_etc_furnish(struct lxc_build *b) {
        _cleanup_strbuf_ struct ulv_strbuf resolver = { 0 };
        const char *zone = b->definition->time_zone;
        bool has_zone = zone && *zone;

        add_resolver(b->definition, &resolver);
        _cleanup_close_ int etc = open_etc(b, has_zone || resolver.len > 0);
        if (etc < 0)
                return;
        _cleanup_close_ int scratch = lxc_make_scratch(b);
        write_text(b, scratch, "machine-id", b->machine_id);
        cover(b, etc, scratch, "machine-id");
        if (resolver.len > 0) {
                write_text(b, scratch, "resolv.conf", ulv_strbuf_str(&resolver));
                cover(b, etc, scratch, "resolv.conf");
        }
        if (has_zone) {
                _cleanup_close_ int fd = make_file(b, scratch, "localtime");
                write_zone(b, fd);
                cover(b, etc, scratch, "localtime");
        }
}
