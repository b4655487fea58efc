/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The files of a partition that doesn't run: Root=, or an image with the kept layer over it. They have the ids that
 * they have inside, and are root's to reach alone. What is in them is the partition's work all the same, symbolic
 * links that lead to the host's files not least: so they are gone into only by a child that has them as its root
 * directory (cage.c), and no other.
 *
 * Nothing may write to a layer twice: the images' lock keeps a start away, and the state is asked for under it. */

#include "uvctl/copy-stopped.h"

#include <fcntl.h>
#include <sys/mount.h>

#include "uvctl/defined.h"

static int refuse(struct uvctl *u, const char *name, const char *why) {
        ulv_diag_what(&u->diag, ULV_EXIT_NOT_ACTIVE, "%s is not running", name);
        ulv_diag_why(&u->diag, "%s", why);
        ulv_diag_try(&u->diag, "uvctl start %s, then again", name);
        return ULV_EXIT_NOT_ACTIVE;
}

/* Whether it is at rest: what starts or stops is neither. */
static int ask_state(struct uvctl *u, const char *name, bool *ret_stopped) {
        const struct part *p;
        struct rows rows;
        int r = rows_get(u, ROWS_PARTITIONS, &rows);

        if (r != 0)
                return r;
        p = rows_part(&rows, name);
        if (p)
                *ret_stopped = ulv_streq(p->state, "defined") || ulv_streq(p->state, "failed");
        else
                r = no_such_partition(u, name);
        rows_done(&rows);
        return r;
}

static bool read_target(int layer, char target[static sizeof(ULV_IMAGE_STORE) + ULV_IMAGE_ID]) {
        ssize_t n = readlinkat(layer, "image", target, sizeof(ULV_IMAGE_STORE) + ULV_IMAGE_ID);

        if (n <= 0 || n >= (ssize_t) sizeof(ULV_IMAGE_STORE) + ULV_IMAGE_ID)
                return false;
        target[n] = 0;
        return ulv_image_target_is_valid(target);
}

/* As its monitor lays them (plugins/lxc/layers.c), but by the host's root: the same marks, user.overlay.*. */
static int mount_layers(int lower, int upper, int work) {
        const struct { const char *key; int fd; } dirs[] = { { "lowerdir", lower }, { "upperdir", upper }, { "workdir", work } };
        _cleanup_close_ int fs = fsopen("overlay", FSOPEN_CLOEXEC);
        char path[32];
        int mnt;

        if (fs < 0 || fsconfig(fs, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) < 0)
                return -errno;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(dirs); i++) {
                (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", dirs[i].fd);
                if (fsconfig(fs, FSCONFIG_SET_STRING, dirs[i].key, path, 0) < 0)
                        return -errno;
        }
        if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return -errno;
        mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID);
        return mnt < 0 ? -errno : mnt;
}

static int open_dir(int dir, const char *name) { return openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }

static int open_layers(struct uvctl *u, const char *name, struct stopped *s) {
        char target[sizeof(ULV_IMAGE_STORE) + ULV_IMAGE_ID], path[sizeof(target) + 16];
        _cleanup_close_ int layer = openat(s->store.writable, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), lower = -1, upper = -1, work = -1;

        if (layer < 0)
                return refuse(u, name, "it has never been started, and has no files of its own yet");
        if (!read_target(layer, target))
                return refuse(u, name, "its writable layer doesn't say over which image it was made");
        (void) snprintf(path, sizeof(path), "%s/host-usr", target);
        if (faccessat(s->store.images, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return refuse(u, name, "its /usr is the host's, and is there only while it runs");
        (void) snprintf(path, sizeof(path), "%s/tree", target);
        lower = openat(s->store.images, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        upper = open_dir(layer, "upper");
        work = open_dir(layer, "work");
        if (lower < 0 || upper < 0 || work < 0)
                return fail_errno(u, -errno, "open what it wrote");
        s->tree = mount_layers(lower, upper, work);
        return s->tree < 0 ? fail_errno(u, s->tree, "lay what it wrote over its image") : 0;
}

static int open_files(struct uvctl *u, const char *name, const struct ulv_definition *d, struct stopped *s) {
        bool still = false;
        int r;

        if (d->root[0]) {
                s->tree = open_tree(AT_FDCWD, d->root, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
                return s->tree < 0 ? fail_errno(u, -errno, "open its root directory") : 0;
        }
        if (!ulv_streq(d->writable, "kept"))
                return refuse(u, name, "what it writes ends with it (Writable=ephemeral)");
        r = store_open(u, &s->store, false);
        if (r != 0)
                return r;
        if (s->store.images < 0)
                return refuse(u, name, "it has never been started, and has no files of its own yet");
        r = store_lock(&s->store);
        if (r < 0)
                return fail_errno(u, r, "lock the images");
        r = ask_state(u, name, &still);
        if (r == 0 && !still)
                r = fail(u, ULV_EXIT_CONFLICT, "it is being started just now", "its files are its own then", "the same again, when it runs");
        return r != 0 ? r : open_layers(u, name, s);
}

int stopped_open(struct uvctl *u, const char *name, struct stopped *s) {
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *d = NULL;
        _cleanup_message_ sd_bus_message *m = NULL;
        const char *text, *files;
        int r;

        *s = (struct stopped) { .tree = -1, .store = { -1, -1, -1 } };
        r = ask_state(u, name, &s->is);
        if (r != 0 || !s->is)
                return r;
        if (geteuid() != 0)
                return refuse(u, name, "the files of one that doesn't run are root's to reach");
        if (given(u, OPT_USER))
                return refuse(u, name, "--user is looked up by its own uv-init");
        r = client_call(u, &m, "Definition", "s", name);
        if (r == 0)
                r = client_read(u, m, "ss", &text, &files);
        if (r == 0 && defined_parse(name, text, &d) < 0)
                r = fail_errno(u, -ENOMEM, "read the definition");
        if (r != 0)
                return r;
        if (!d || !ulv_streq(d->type, "container"))
                return refuse(u, name, "only a container has files");
        return open_files(u, name, d, s);
}

void stopped_done(struct stopped *s) {
        s->tree = s->tree < 0 ? -1 : ulv_close(s->tree);
        store_done(&s->store);
}
