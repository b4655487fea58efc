/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* image build, import, list, remove. Images are files of the host's root, so uvctl does this by itself, as root;
 * no daemon has a part in it. */

#include "uvctl/image.h"

#include <time.h>

#include "model/quantity.h"
#include "uvctl/files.h"

/* --- build, import ---------------------------------------------------------------------------------------- */

static int check_name(struct uvctl *u, const char *name) {
        if (ulv_name_is_valid(name) && !ulv_streq(name, "store"))
                return 0;
        ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "%.64s is no name for an image", name);
        ulv_diag_why(&u->diag, "a name is of a-z, 0-9 and -, at most %d", ULV_NAME_MAX);
        return ULV_EXIT_USAGE;
}

static int told_done(struct uvctl *u, const char *name, const char *word, uint64_t size, time_t began) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

        if (u->quiet)
                return 0;
        ulv_strbuf_addf(&b, "%s  %s", name, word);
        if (size > 0) {
                ulv_strbuf_add(&b, "  ");
                ulv_size_format(&b, (size >> 20) << 20 ? (size >> 20) << 20 : size);
        }
        ulv_strbuf_addf(&b, "  %llds\n", (long long) (time(NULL) - began));
        return put(u, &b);
}

/* What build and import have in common around the filling. */
struct making {
        const char *name, *word, *source;
        int (*fill)(struct fill *f, const void *how);
        const void *how;
        bool host_usr;
};

static int make_image(struct uvctl *u, struct image_store *s, const struct making *m, const char *doing) {
        struct fill f = { .u = u, .doing = doing };
        struct image_draft d;
        time_t began = time(NULL);
        int r = draft_begin(u, s, &d);

        if (r != 0)
                return r;
        f.tree = d.tree;
        r = m->fill(&f, m->how);
        if (r == 0)
                r = fill_check(u, d.tree);
        if (r != 0) {
                draft_abandon(s, &d);
                return r;
        }
        r = draft_commit(u, s, &d, m->name, m->source, f.bytes, m->host_usr);
        return r == 0 ? told_done(u, m->name, m->word, f.bytes, began) : r;
}

static int fill_recipe(struct fill *f, const void *how) {
        const struct recipe *r = how;

        return r->run(f, r->suite);
}

static int fill_path(struct fill *f, const void *how) { return fill_from_path(f, how); }

int image_build(struct uvctl *u, struct image_store *s, const struct recipe *r, const char *name) {
        const struct making m = { .name = name, .word = "built", .source = r->source, .fill = fill_recipe, .how = r, .host_usr = r->host_usr };
        char doing[128];

        (void) snprintf(doing, sizeof(doing), "building %s", name);
        return make_image(u, s, &m, doing);
}

static int do_build(struct uvctl *u, struct image_store *s, int argc, char **argv) {
        const struct recipe *r = recipe_find(argv[0]);
        const char *name = argc > 1 ? argv[1] : argv[0];
        int k;

        if (!r) {
                ulv_diag_what(&u->diag, ULV_EXIT_NOT_FOUND, "nobody knows how to build %.64s", argv[0]);
                ulv_diag_why(&u->diag, "what can be built: busybox, debian-12, debian-13, host");
                ulv_diag_try(&u->diag, "uvctl image build debian-12 NAME; uvctl image import NAME PATH");
                return ULV_EXIT_NOT_FOUND;
        }
        k = check_name(u, name);
        return k != 0 ? k : image_build(u, s, r, name);
}

static int do_import(struct uvctl *u, struct image_store *s, int argc ULV_UNUSED, char **argv) {
        const struct making m = { .name = argv[0], .word = "imported", .source = argv[1], .fill = fill_path, .how = argv[1] };
        char doing[128];
        int r = check_name(u, argv[0]);

        if (r == 0 && strpbrk(argv[1], "\n\r"))
                r = fail(u, ULV_EXIT_USAGE, "a path with a line end in it is not imported", "", "");
        (void) snprintf(doing, sizeof(doing), "importing %.64s", argv[0]);
        return r != 0 ? r : make_image(u, s, &m, doing);
}

/* --- list ------------------------------------------------------------------------------------------------- */

static void add_user(const char *partition, bool kept ULV_UNUSED, void *userdata) {
        struct ulv_strbuf *b = userdata;

        ulv_strbuf_addf(b, "%s%s", b->len > 0 ? " " : "", partition);
}

static int list_json(struct uvctl *u, const struct image_store *s, const struct image_info *v, size_t n) {
        struct json j = { 0 };
        int r = 0;

        json_array(&j, NULL);
        for (size_t i = 0; i < n && r == 0; i++) {
                _cleanup_strbuf_ struct ulv_strbuf users = { 0 };
                char *save = NULL;

                r = store_users(s, v[i].id, add_user, &users);
                json_object(&j, NULL);
                json_string(&j, "Name", v[i].name);
                json_string(&j, "Id", v[i].id);
                json_bool(&j, "Current", v[i].current);
                json_u64(&j, "Size", v[i].size);
                json_u64(&j, "Made", v[i].made);
                json_string(&j, "Source", v[i].source);
                json_array(&j, "UsedBy");
                for (char *name = users.s ? strtok_r(users.s, " ", &save) : NULL; name; name = strtok_r(NULL, " ", &save))
                        json_string(&j, NULL, name);
                json_end(&j);
                json_end(&j);
        }
        json_end(&j);
        r = r < 0 ? fail_errno(u, r, "list the images") : put(u, &j.b);
        ulv_strbuf_done(&j.b);
        return r;
}

static int add_row(struct table *t, const struct image_store *s, const struct image_info *i) {
        _cleanup_strbuf_ struct ulv_strbuf size = { 0 }, users = { 0 };
        char when[32] = "-";
        time_t made = (time_t) i->made;
        struct tm tm;
        int r = store_users(s, i->id, add_user, &users);

        if (r < 0)
                return r;
        ulv_size_format(&size, (i->size >> 20) << 20 ? (i->size >> 20) << 20 : i->size);
        if (i->made > 0 && localtime_r(&made, &tm))
                (void) strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
        /* What a name meant before, and a layer still stands on. */
        table_addf(t, "%s%s", i->name, i->current ? "" : " (replaced)");
        table_add(t, i->id);
        table_add_buffer(t, &size);
        table_add(t, when);
        table_add(t, i->source);
        table_add(t, users.len > 0 ? ulv_strbuf_str(&users) : NULL);
        return 0;
}

static int list_table(struct uvctl *u, const struct image_store *s, const struct image_info *v, size_t n) {
        static const struct table_column columns[] = {
                { "NAME", false }, { "ID", false }, { "SIZE", true }, { "MADE", false }, { "SOURCE", false }, { "USED BY", false },
        };
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct table t;
        int r = 0;

        table_init(&t, columns, ULV_ARRAY_SIZE(columns));
        for (size_t i = 0; i < n && r == 0; i++)
                if (u->output != OUTPUT_NAME)
                        r = add_row(&t, s, &v[i]);
                else if (v[i].current)
                        ulv_strbuf_addf(&b, "%s\n", v[i].name);
        if (r == 0 && u->output != OUTPUT_NAME && n > 0)
                r = table_write(&t, u->legend, u->colour, 0, &b);
        table_done(&t);
        if (n == 0 && u->legend && u->output != OUTPUT_NAME)
                ulv_strbuf_add(&b, "No images. uvctl image build busybox makes the smallest one.\n");
        return r < 0 ? fail_errno(u, r, "list the images") : put(u, &b);
}

static int do_list(struct uvctl *u, struct image_store *s, int argc ULV_UNUSED, char **argv ULV_UNUSED) {
        _cleanup_free_ struct image_info *v = NULL;
        size_t n = 0;
        int r = store_list(s, &v, &n);

        if (r < 0)
                return fail_errno(u, r, "list the images");
        return u->output == OUTPUT_JSON ? list_json(u, s, v, n) : list_table(u, s, v, n);
}

/* --- remove ----------------------------------------------------------------------------------------------- */

int image_no_such(struct uvctl *u, const char *name) {
        ulv_diag_what(&u->diag, ULV_EXIT_NOT_FOUND, "there is no image %.64s", name);
        ulv_diag_why(&u->diag, "uvctl image list shows what there is; busybox, debian-12, debian-13 and host can be built");
        ulv_diag_try(&u->diag, recipe_find(name) ? "uvctl image build %.64s" : "uvctl image import %.64s PATH", name);
        return ULV_EXIT_NOT_FOUND;
}

struct use { char by[ULV_NAME_MAX + 1]; bool kept; unsigned n; };

static void note_use(const char *partition, bool kept, void *userdata) {
        struct use *use = userdata;

        if (use->n++ == 0) {
                (void) ulv_copy(use->by, sizeof(use->by), partition);
                use->kept = kept;
        }
}

static int in_use(struct uvctl *u, const char *name, const struct use *use) {
        ulv_diag_what(&u->diag, ULV_EXIT_CONFLICT, "cannot remove image %s: %s%s", name, use->by, use->n > 1 ? " and others use it" : " uses it");
        if (use->kept) {
                ulv_diag_why(&u->diag, "what %s wrote is kept, and stands on this image (Writable=kept)", use->by);
                ulv_diag_try(&u->diag, "uvctl remove --purge %s, which deletes what it wrote", use->by);
        } else {
                ulv_diag_why(&u->diag, "%s runs from it", use->by);
                ulv_diag_try(&u->diag, "uvctl stop %s, then again", use->by);
        }
        return ULV_EXIT_CONFLICT;
}

/* A definition that names it would fail at its next start. The files are asked: they need no daemon. */
static int check_definitions(struct uvctl *u, const char *name) {
        ULV_CLEANUP(ulv_bundle_freep) struct ulv_bundle *bundle = NULL;
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        _cleanup_free_ char *path = files_configuration(u);
        struct file_set f;
        int r = path ? 0 : fail_errno(u, -ENOMEM, "read the definitions");

        if (r == 0)
                r = files_load(u, path, &f);
        if (r != 0)
                return r;
        r = ulv_bundle_build(0, f.v, f.n, &b);
        if (r == 0)
                r = ulv_bundle_parse(ulv_strbuf_str(&b), b.len, &bundle, NULL, NULL);
        files_done(&f);
        if (r < 0)
                return fail_errno(u, r, "read the definitions");
        if (r > 0)
                return fail(u, ULV_EXIT_FAILED, "cannot tell which definitions name the image", "they have errors", "uvctl verify");
        for (size_t i = 0; i < bundle->n_definitions; i++)
                if (ulv_streq(bundle->definitions[i]->image, name)) {
                        ulv_diag_what(&u->diag, ULV_EXIT_CONFLICT, "cannot remove image %s: %s is defined to start from it", name, bundle->definitions[i]->name);
                        ulv_diag_why(&u->diag, "%s.partition says Image=%s", bundle->definitions[i]->name, name);
                        ulv_diag_try(&u->diag, "uvctl remove %s, or another Image= in it: uvctl edit %s", bundle->definitions[i]->name, bundle->definitions[i]->name);
                        return ULV_EXIT_CONFLICT;
                }
        return 0;
}

static int remove_one(struct uvctl *u, struct image_store *s, const char *name) {
        char id[ULV_IMAGE_ID + 1];
        struct use use = { .n = 0 };
        int r;

        if (!store_find(s, name, id))
                return image_no_such(u, name);
        r = check_definitions(u, name);
        if (r != 0)
                return r;
        r = store_lock(s);      /* no start pins it between the look and the removal */
        if (r < 0)
                return fail_errno(u, r, "lock the images");
        if (store_find(s, name, id))
                r = store_users(s, id, note_use, &use);
        if (r == 0 && use.n == 0 && unlinkat(s->images, name, 0) < 0)
                r = -errno;
        store_unlock(s);
        if (r == 0 && use.n > 0)
                return in_use(u, name, &use);
        if (r == 0)
                r = store_sweep(s);
        return r < 0 ? fail_errno(u, r, "remove the image") : 0;
}

static int do_remove(struct uvctl *u, struct image_store *s, int argc, char **argv) {
        int r = 0;

        for (int i = 0; i < argc && r == 0; i++) {
                r = remove_one(u, s, argv[i]);
                if (r == 0 && !u->quiet)
                        printf("%s  removed\n", argv[i]);
        }
        return r;
}

/* --- the verb --------------------------------------------------------------------------------------------- */

static const struct image_verb {
        const char *name, *args;
        int min, max;
        bool make;              /* makes the directories where they are missing */
        int (*run)(struct uvctl *u, struct image_store *s, int argc, char **argv);
} image_verbs[] = {
        { "build", "busybox|debian-12|debian-13|host [NAME]", 1, 2, true, do_build },
        { "import", "NAME DIRECTORY|ARCHIVE|FILESYSTEM|-", 2, 2, true, do_import },
        { "list", "", 0, 0, false, do_list },
        { "remove", "NAME...", 1, INT32_MAX, false, do_remove },
};

int verb_image(struct uvctl *u, int argc, char **argv) {
        struct image_store s;
        int r;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(image_verbs); i++) {
                const struct image_verb *v = &image_verbs[i];

                if (!ulv_streq(argv[0], v->name))
                        continue;
                if (argc - 1 < v->min || argc - 1 > v->max) {
                        ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "uvctl image %s needs %s words", v->name, argc - 1 < v->min ? "more" : "fewer");
                        ulv_diag_try(&u->diag, "uvctl image %s %s", v->name, v->args);
                        return ULV_EXIT_USAGE;
                }
                r = store_open(u, &s, v->make);
                if (r == 0)
                        r = v->run(u, &s, argc - 1, argv + 1);
                store_done(&s);
                return r;
        }
        ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "uvctl image has no verb \"%.64s\"", argv[0]);
        ulv_diag_try(&u->diag, "uvctl image build|import|list|remove");
        return ULV_EXIT_USAGE;
}
