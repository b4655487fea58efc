/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The images directory: what is in it, and its few changes.
 *
 * Theory of operation. An image is filled under a name that nobody lists (.new-ID, locked by who fills it),
 * written to disk, renamed to store/ID, and only then does its NAME mean it, by the rename of a link. From
 * there on it never changes. So a kill at any point leaves a .new-ID without a lock, or an image without a
 * name: store_sweep(), at each change, removes these, and what replaced names left, unless a layer pins it.
 * Removing is the same: the name goes, sweeping does the rest. Under the lock things are only renamed. */

#include "uvctl/image.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/fd.h"
#include "lib/remove-tree.h"
#include "model/quantity.h"

#define TARGET_SIZE (sizeof(ULV_IMAGE_STORE) + ULV_IMAGE_ID)
#define NEW ".new-"
#define GONE ".gone-"
#define IMAGES_MAX 4096

/* --- opening --------------------------------------------------------------------------------------------- */

static int open_state(const char *root, const char *path, bool make) {
        char full[4096];
        int fd;

        if (snprintf(full, sizeof(full), "%s%s%s", root, ulv_streq(root, "/") ? "" : "/", path) >= (int) sizeof(full))
                return -ENAMETOOLONG;
        if (make && mkdir(full, 0700) < 0 && errno != EEXIST)
                return -errno;
        fd = open(full, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int store_open(struct uvctl *u, struct image_store *s, bool make) {
        *s = (struct image_store) { -1, -1, -1 };
        s->images = open_state(u->root, ULV_IMAGES, make);
        s->writable = s->images < 0 ? s->images : open_state(u->root, ULV_WRITABLE, make);
        if (s->images >= 0 && s->writable >= 0 && make && mkdirat(s->images, "store", 0700) < 0 && errno != EEXIST)
                s->writable = -errno;
        s->disks = open_state(u->root, ULV_DISKS, false);
        if (s->images >= 0 && s->writable >= 0)
                return 0;
        int r = s->images < 0 ? s->images : s->writable;
        store_done(s);
        if (r == -ENOENT && !make)
                return 0;
        if (r == -EACCES)
                return fail(u, ULV_EXIT_DENIED, "cannot look at the images", "their directory is root's alone", "the same as root");
        ulv_diag_what(&u->diag, ULV_EXIT_FAILED, "cannot open " ULV_IMAGES " below %.100s", u->root);
        ulv_diag_why(&u->diag, "%s", strerror(-r));
        ulv_diag_try(&u->diag, "--root of an instance that runs: uvctl --root DIR status");
        return ULV_EXIT_FAILED;
}

void store_done(struct image_store *s) {
        s->images = s->images < 0 ? -1 : ulv_close(s->images);
        s->writable = s->writable < 0 ? -1 : ulv_close(s->writable);
        s->disks = s->disks < 0 ? -1 : ulv_close(s->disks);
}

int store_lock(struct image_store *s) {
        while (flock(s->images, LOCK_EX) < 0)
                if (errno != EINTR)
                        return -errno;
        return 0;
}

void store_unlock(struct image_store *s) { (void) flock(s->images, LOCK_UN); }

/* --- reading --------------------------------------------------------------------------------------------- */

static bool read_link(int dir, const char *name, char *buf, size_t size) {
        ssize_t n = readlinkat(dir, name, buf, size);

        if (n < 0 || (size_t) n >= size)
                return false;
        buf[n] = 0;
        return true;
}

/* A link that says which image: its id. */
static bool read_id(int dir, const char *name, char *ret) {
        char target[TARGET_SIZE];

        if (!read_link(dir, name, target, sizeof(target)) || !ulv_image_target_is_valid(target))
                return false;
        memcpy(ret, target + strlen(ULV_IMAGE_STORE), ULV_IMAGE_ID + 1);
        return true;
}

bool store_find(const struct image_store *s, const char *name, char ret_id[static ULV_IMAGE_ID + 1]) {
        return s->images >= 0 && ulv_name_is_valid(name) && read_id(s->images, name, ret_id);
}

static DIR *open_dir(int parent, const char *name) {
        int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);

        if (!d)
                (void) ulv_close(fd);
        return d;
}

/* "web", "web.ephemeral": the partition; false for what is no layer. */
static bool layer_partition(const char *entry, char *name, bool *ret_kept) {
        size_t n = strcspn(entry, ".");

        if (n == 0 || n > ULV_NAME_MAX || (entry[n] && !ulv_streq(entry + n, ULV_EPHEMERAL)))
                return false;
        memcpy(name, entry, n);
        name[n] = 0;
        *ret_kept = !entry[n];
        return true;
}

int store_users(const struct image_store *s, const char *id, void (*f)(const char *partition, bool kept, void *userdata), void *userdata) {
        const struct dirent *e;
        DIR *d = s->writable < 0 ? NULL : open_dir(s->writable, ".");

        if (!d)
                return s->writable < 0 ? 0 : -errno;
        while ((e = readdir(d))) {
                char name[ULV_NAME_MAX + 1], link[NAME_MAX + 8], pinned[ULV_IMAGE_ID + 1];
                bool kept;

                (void) snprintf(link, sizeof(link), "%s/image", e->d_name);
                if (layer_partition(e->d_name, name, &kept) && read_id(s->writable, link, pinned) && ulv_streq(pinned, id))
                        f(name, kept, userdata);
        }
        (void) closedir(d);
        return 0;
}

/* Lines of Key=value; what a newer version wrote besides is left alone. */
static void read_info(int store, struct image_info *i) {
        _cleanup_free_ char *buf = NULL;
        char path[ULV_IMAGE_ID + 8];
        size_t len;
        char *save = NULL;

        (void) snprintf(path, sizeof(path), "%s/info", i->id);
        if (ulv_read_file_at(store, path, 4096, &buf, &len) < 0)
                return;
        for (char *line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                if (ulv_startswith(line, "Name="))
                        (void) ulv_copy(i->name, sizeof(i->name), line + 5);
                else if (ulv_startswith(line, "Source="))
                        (void) ulv_copy(i->source, sizeof(i->source), line + 7);
                else if (ulv_startswith(line, "Made=") && ulv_uint_parse(line + 5, UINT64_MAX, &i->made) < 0)
                        i->made = 0;
                else if (ulv_startswith(line, "Size=") && ulv_uint_parse(line + 5, UINT64_MAX, &i->size) < 0)
                        i->size = 0;
        }
}

static int by_name(const void *a, const void *b) {
        const struct image_info *x = a, *y = b;
        int r = strcmp(x->name, y->name);

        if (r == 0)
                r = (int) y->current - (int) x->current;
        return r != 0 ? r : x->made < y->made ? 1 : x->made > y->made ? -1 : 0;
}

static bool is_id(const char *s) {
        return strlen(s) == ULV_IMAGE_ID && strspn(s, "0123456789abcdef") == ULV_IMAGE_ID;
}

int store_list(const struct image_store *s, struct image_info **ret, size_t *ret_n) {
        struct image_info *v = NULL;
        const struct dirent *e;
        size_t n = 0;
        DIR *d = s->images < 0 ? NULL : open_dir(s->images, "store");

        while (d && n < IMAGES_MAX && (e = readdir(d))) {
                char id[ULV_IMAGE_ID + 1];

                if (!is_id(e->d_name))
                        continue;
                struct image_info *bigger = (n & (n - 1)) == 0 ? reallocarray(v, n == 0 ? 1 : n * 2, sizeof(*v)) : v;
                if (!bigger) {
                        (void) closedir(d);
                        free(v);
                        return -ENOMEM;
                }
                v = bigger;
                v[n] = (struct image_info) { 0 };
                (void) ulv_copy(v[n].id, sizeof(v[n].id), e->d_name);
                read_info(dirfd(d), &v[n]);
                v[n].current = store_find(s, v[n].name, id) && ulv_streq(id, v[n].id);
                n++;
        }
        if (d)
                (void) closedir(d);
        if (n > 0)
                qsort(v, n, sizeof(*v), by_name);
        *ret = v;
        *ret_n = n;
        return 0;
}

/* --- sweeping ------------------------------------------------------------------------------------------- */

static void mark_used(const char *partition ULV_UNUSED, bool kept ULV_UNUSED, void *userdata) { *(bool *) userdata = true; }

/* Out of sight under the lock; it is emptied later. */
static int put_away(int dir, const char *from) {
        char to[128];

        (void) snprintf(to, sizeof(to), GONE "%.64s", strrchr(from, '/') ? strrchr(from, '/') + 1 : from + strlen(NEW));
        return renameat(dir, from, dir, to) < 0 && errno != ENOENT ? -errno : 0;
}

static int put_away_unused(struct image_store *s) {
        _cleanup_free_ struct image_info *v = NULL;
        size_t n = 0;
        int r = store_list(s, &v, &n);

        for (size_t i = 0; r == 0 && i < n; i++) {
                char path[TARGET_SIZE];
                bool used = v[i].current;

                if (!used)
                        r = store_users(s, v[i].id, mark_used, &used);
                (void) snprintf(path, sizeof(path), ULV_IMAGE_STORE "%s", v[i].id);
                if (r == 0 && !used)
                        r = put_away(s->images, path);
        }
        return r;
}

/* A build that nobody holds the lock of was interrupted. */
static void put_away_interrupted(struct image_store *s, const char *name) {
        _cleanup_close_ int fd = openat(s->images, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
                (void) put_away(s->images, name);
}

static int remove_gone(int dir) {
        const struct dirent *e;
        DIR *d = open_dir(dir, ".");
        int r = 0;

        if (!d)
                return -errno;
        while ((e = readdir(d)))
                if (ulv_startswith(e->d_name, GONE)) {
                        int k = ulv_remove_tree(dir, e->d_name);
                        r = r < 0 ? r : k;
                }
        (void) closedir(d);
        return r;
}

int store_sweep(struct image_store *s) {
        const struct dirent *e;
        DIR *d;
        int r;

        if (s->images < 0)
                return 0;
        r = store_lock(s);
        if (r < 0)
                return r;
        d = open_dir(s->images, ".");
        while (d && (e = readdir(d)))
                if (ulv_startswith(e->d_name, NEW))
                        put_away_interrupted(s, e->d_name);
        if (d)
                (void) closedir(d);
        r = put_away_unused(s);
        store_unlock(s);
        int k = remove_gone(s->images), l = remove_gone(s->writable), m = s->disks < 0 ? 0 : remove_gone(s->disks);
        return r < 0 ? r : k < 0 ? k : l < 0 ? l : m;
}

static bool has(int dir, const char *partition) { return dir >= 0 && ulv_name_is_valid(partition) && faccessat(dir, partition, F_OK, AT_SYMLINK_NOFOLLOW) == 0; }

bool store_has_layer(const struct image_store *s, const char *partition) { return has(s->writable, partition) || has(s->disks, partition); }

int store_purge(struct image_store *s, const char *partition) {
        char gone[ULV_NAME_MAX + 32];
        int r;

        if (!store_has_layer(s, partition))
                return 1;
        (void) snprintf(gone, sizeof(gone), GONE "%s-%d", partition, (int) getpid());
        r = store_lock(s);
        if (r < 0)
                return r;
        r = has(s->writable, partition) && renameat(s->writable, partition, s->writable, gone) < 0 ? -errno : 0;
        if (r == 0 && has(s->disks, partition) && renameat(s->disks, partition, s->disks, gone) < 0)
                r = -errno;
        store_unlock(s);
        return r < 0 ? r : store_sweep(s);
}

/* --- a new one ------------------------------------------------------------------------------------------- */

static int begin(struct image_store *s, struct image_draft *d) {
        uint8_t random[ULV_IMAGE_ID / 2];
        char name[sizeof(NEW) + ULV_IMAGE_ID];

        if (getrandom(random, sizeof(random), 0) != sizeof(random))
                return -EIO;
        for (size_t i = 0; i < sizeof(random); i++)
                (void) snprintf(d->id + 2 * i, 3, "%02x", random[i]);
        (void) snprintf(name, sizeof(name), NEW "%s", d->id);
        if (mkdirat(s->images, name, 0700) < 0)
                return -errno;
        d->dir = openat(s->images, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (d->dir < 0 || flock(d->dir, LOCK_EX | LOCK_NB) < 0 || mkdirat(d->dir, "tree", 0755) < 0)
                return -errno;
        d->tree = openat(d->dir, "tree", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return d->tree < 0 ? -errno : 0;
}

int draft_begin(struct uvctl *u, struct image_store *s, struct image_draft *d) {
        int r = store_sweep(s);

        *d = (struct image_draft) { .dir = -1, .tree = -1 };
        if (r == 0)
                r = store_lock(s);
        if (r < 0)
                return fail_errno(u, r, "begin an image");
        r = begin(s, d);        /* under the lock, or a sweep could find it before its own is taken */
        store_unlock(s);
        if (r < 0) {
                draft_abandon(s, d);
                return fail_errno(u, r, "begin an image");
        }
        return 0;
}

void draft_abandon(struct image_store *s, struct image_draft *d) {
        char name[sizeof(NEW) + ULV_IMAGE_ID];

        d->tree = d->tree < 0 ? -1 : ulv_close(d->tree);
        d->dir = d->dir < 0 ? -1 : ulv_close(d->dir);
        if (!d->id[0])
                return;
        (void) snprintf(name, sizeof(name), NEW "%s", d->id);
        if (ulv_remove_tree(s->images, name) < 0)
                fprintf(stderr, "%s/%s is left over; the next uvctl image build tries again to remove it\n", ULV_IMAGES, name);
}

static int write_info(int dir, const char *name, const char *source, uint64_t size, bool host_usr) {
        char text[1024];
        int n = snprintf(text, sizeof(text), "Name=%s\nMade=%llu\nSource=%.255s\nSize=%llu\n", name,
                         (unsigned long long) time(NULL), source, (unsigned long long) size);
        int r = ulv_write_file_atomic(dir, "info", text, (size_t) n, 0600);

        if (r == 0 && host_usr)
                r = ulv_write_file_atomic(dir, "host-usr", "", 0, 0600);
        return r;
}

/* Under the lock. */
static int publish(struct image_store *s, const struct image_draft *d, const char *name) {
        char from[sizeof(NEW) + ULV_IMAGE_ID], to[TARGET_SIZE], link[] = ".link";

        (void) snprintf(from, sizeof(from), NEW "%s", d->id);
        (void) snprintf(to, sizeof(to), ULV_IMAGE_STORE "%s", d->id);
        if (renameat(s->images, from, s->images, to) < 0)
                return -errno;
        (void) unlinkat(s->images, link, 0);
        if (symlinkat(to, s->images, link) < 0 || renameat(s->images, link, s->images, name) < 0 || fsync(s->images) < 0)
                return -errno;
        return 0;
}

int draft_commit(struct uvctl *u, struct image_store *s, struct image_draft *d, const char *name, const char *source, uint64_t size, bool host_usr) {
        int r = write_info(d->dir, name, source, size, host_usr);

        /* All of it is on the disk before anybody is told that it is there. */
        if (r == 0 && syncfs(d->dir) < 0)
                r = -errno;
        if (r == 0)
                r = store_lock(s);
        if (r == 0) {
                r = publish(s, d, name);
                store_unlock(s);
        }
        if (r < 0) {
                draft_abandon(s, d);
                return fail_errno(u, r, "store the image");
        }
        d->tree = ulv_close(d->tree);
        d->dir = ulv_close(d->dir);
        (void) store_sweep(s);  /* what it replaces; if that fails, the next one does it */
        return 0;
}
