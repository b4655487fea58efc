/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Images on disk, for the verbs image, new and remove. lib/image.h has the layout. All functions return exit
 * codes, with u->diag filled, unless they say otherwise. */

#include "lib/image.h"
#include "model/name.h"
#include "uvctl/uvctl.h"

/* --- image-store.c: what there is ---------------------------------------------------------------------- */

struct image_store { int images, writable, disks; };      /* disks: -1 where no VM was ever started */

/* make: the directories, if they aren't there (else both fds may be -1 after a 0: there are no images). */
int store_open(struct uvctl *u, struct image_store *s, bool make) ULV_MUST_CHECK;
void store_done(struct image_store *s);
/* While it is held no start pins, and nobody else changes. 0; -errno. */
int store_lock(struct image_store *s) ULV_MUST_CHECK;
void store_unlock(struct image_store *s);
/* The id that a name means; false: no such image. */
bool store_find(const struct image_store *s, const char *name, char ret_id[static ULV_IMAGE_ID + 1]);
/* Calls f for each partition that has a layer over this image; 0 or -errno. */
int store_users(const struct image_store *s, const char *id, void (*f)(const char *partition, bool kept, void *userdata), void *userdata);

struct image_info {
        char name[ULV_NAME_MAX + 1], id[ULV_IMAGE_ID + 1], source[256];
        uint64_t made, size;    /* seconds since 1970; bytes */
        bool current;           /* the name means this one */
};
/* All of them, by name, the newest first; to be freed. 0 or -errno. */
int store_list(const struct image_store *s, struct image_info **ret, size_t *ret_n) ULV_MUST_CHECK;

/* A new image: begin, fill tree, then commit or abandon. */
struct image_draft { char id[ULV_IMAGE_ID + 1]; int dir, tree; };
int draft_begin(struct uvctl *u, struct image_store *s, struct image_draft *d) ULV_MUST_CHECK;
int draft_commit(struct uvctl *u, struct image_store *s, struct image_draft *d, const char *name, const char *source, uint64_t size, bool host_usr) ULV_MUST_CHECK;
void draft_abandon(struct image_store *s, struct image_draft *d);
/* Removes what nothing names: replaced images without a layer over them, interrupted builds, layers that are
 * gone. 0 or -errno. */
int store_sweep(struct image_store *s);
/* The kept layer of a partition goes. 1: there was none; 0; -errno. */
int store_purge(struct image_store *s, const char *partition);
bool store_has_layer(const struct image_store *s, const char *partition);

/* --- image-fill.c: from somewhere into a tree ----------------------------------------------------------- */

struct fill {
        struct uvctl *u;
        const char *doing;      /* "building debian-12" */
        int tree;
        uint64_t bytes;         /* of the archive that went by */
};
/* Runs a program that writes a tar archive to its standard output, outside of any cage. */
int fill_from_program(struct fill *f, const char *const argv[]) ULV_MUST_CHECK;
/* The names (of files below the root; NULL: all) of a directory; fd: of the directory. */
int fill_from_directory(struct fill *f, int fd, const char *const names[]) ULV_MUST_CHECK;
/* A directory, an archive, a file system image; "-": an archive from standard input. */
int fill_from_path(struct fill *f, const char *path) ULV_MUST_CHECK;
/* image-device.c: the file system in a regular file, as a detached read-only mount. type: "ext4", "erofs", "squashfs". */
int device_mount(struct uvctl *u, int file, const char *path, const char *type, int *ret_mount) ULV_MUST_CHECK;
/* Mount points are there, and are directories; it looks like a root. */
int fill_check(struct uvctl *u, int tree) ULV_MUST_CHECK;

/* --- image-recipe.c: what `image build` knows -------------------------------------------------------------- */

struct recipe { const char *name, *help; int (*run)(struct fill *f, const char *suite); const char *suite, *source; bool host_usr; };
extern const struct recipe image_recipes[];
const struct recipe *recipe_find(const char *name);

/* --- image.c ---------------------------------------------------------------------------------------------- */
int image_build(struct uvctl *u, struct image_store *s, const struct recipe *r, const char *name) ULV_MUST_CHECK;
int image_no_such(struct uvctl *u, const char *name);
