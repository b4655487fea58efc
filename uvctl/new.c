/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* new: writes a small definition, as an administrator would, and puts it into force; with --start, starts it.
 * What it writes is a file like any other: edit, set, remove and hand edits go on from there. */

#include "uvctl/files.h"
#include "uvctl/image.h"

#define DEFAULT_SHARE "0.5"
#define DEFAULT_MEMORY "256M"
#define VM_SHARE "1"
#define VM_MEMORY "1G"
#define DEFAULT_COMMAND "sleep infinity"        /* something to exec into */

/* --- the text --------------------------------------------------------------------------------------------- */

/* A word of Exec=, quoted where it would come apart. */
static void add_word(struct ulv_strbuf *b, const char *word) {
        if (*word && !strpbrk(word, " \t\"'\\")) {
                ulv_strbuf_add(b, word);
                return;
        }
        ulv_strbuf_addc(b, '"');
        for (const char *p = word; *p; p++) {
                if (*p == '"' || *p == '\\')
                        ulv_strbuf_addc(b, '\\');
                ulv_strbuf_addc(b, *p);
        }
        ulv_strbuf_addc(b, '"');
}

static void add_exec(struct ulv_strbuf *b, const struct fresh *n, int argc, char **argv) {
        if (argc == 0 && n->template)
                return;         /* the template's */
        ulv_strbuf_add(b, "Exec=");
        for (int i = 0; i < argc; i++) {
                if (i > 0)
                        ulv_strbuf_addc(b, ' ');
                add_word(b, argv[i]);
        }
        ulv_strbuf_add(b, argc == 0 ? DEFAULT_COMMAND "\n" : "\n");
}

static bool is_vm(const struct fresh *n) { return n->type ? ulv_streq(n->type, "vm") : n->disk || n->kernel; }

static void add_vm(struct ulv_strbuf *b, const struct fresh *n) {
        const char *format = n->disk ? strrchr(n->disk, ':') : NULL;

        if (n->kernel || n->accel)
                ulv_strbuf_add(b, "\n[VM]\n");
        if (n->kernel)
                ulv_strbuf_addf(b, "Kernel=%s\n", n->kernel);
        if (n->initrd)
                ulv_strbuf_addf(b, "Initrd=%s\n", n->initrd);
        if (n->kernel)
                ulv_strbuf_addf(b, "CommandLine=console=ttyS0%s\n", n->disk ? " root=/dev/vda" : "");
        if (n->accel)
                ulv_strbuf_addf(b, "Accel=%s\n", n->accel);
        if (!format)
                return;
        ulv_strbuf_add(b, "\n[Block \"root\"]\nFile=");
        ulv_strbuf_add_len(b, n->disk, (size_t) (format - n->disk));
        ulv_strbuf_addf(b, "\n# as qemu-img info says it; never guessed\nFormat=%s\n", format + 1);
        if (n->writable)
                ulv_strbuf_addf(b, "Writable=%s\n", n->writable);
}

static void add_text(struct ulv_strbuf *b, const struct fresh *n, int argc, char **argv) {
        bool vm = is_vm(n);

        ulv_strbuf_add(b, "# made by uvctl new; uv-partition(5) has all keys\n[Partition]\n");
        if (n->template)
                ulv_strbuf_addf(b, "# keys of templates/%s.partition come first, those here win\nTemplate=%s\n", n->template, n->template);
        else
                ulv_strbuf_addf(b, "Type=%s\n", vm ? "vm" : "container");
        if (n->cores)
                ulv_strbuf_addf(b, "\n[CPU]\n# whole cores, all their threads\nCores=%s\n", n->cores);
        else if (n->share || !n->template)
                ulv_strbuf_addf(b, "\n[CPU]\n# hardware threads of the shared pool\nShare=%s\n", n->share ? n->share : vm ? VM_SHARE : DEFAULT_SHARE);
        if (n->memory || !n->template)
                ulv_strbuf_addf(b, "\n[Memory]\nSize=%s\n", n->memory ? n->memory : vm ? VM_MEMORY : DEFAULT_MEMORY);
        if (vm) {
                add_vm(b, n);
                return;
        }
        if (n->image || n->writable || argc > 0)
                ulv_strbuf_add(b, "\n[Container]\n");
        if (n->image)
                ulv_strbuf_addf(b, "Image=%s\n", n->image);
        if (n->image || n->writable)
                ulv_strbuf_addf(b, "# kept: what it writes outlives it; ephemeral: it begins anew each time\nWritable=%s\n", n->writable ? n->writable : "kept");
        if (n->image || argc > 0)
                add_exec(b, n, argc, argv);
}

/* --- what it needs ---------------------------------------------------------------------------------------- */

static int check_words(struct uvctl *u, const char *name, int argc) {
        const struct fresh *n = &u->fresh;
        const char *const values[] = { n->image, n->template, n->share, n->cores, n->memory, n->writable, n->type, n->disk, n->kernel, n->initrd, n->accel };

        if (!ulv_name_is_valid(name) || ulv_name_is_reserved(name)) {
                ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "%.64s is no name for a partition", name);
                ulv_diag_why(&u->diag, "a name is of a-z, 0-9 and -, at most %d, and none of the ultravisor's own", ULV_NAME_MAX);
                return ULV_EXIT_USAGE;
        }
        if (n->type && !ulv_streq(n->type, "container") && !ulv_streq(n->type, "vm"))
                return fail(u, ULV_EXIT_USAGE, "--type is container or vm", "uvctl new makes no other", "uvctl new --help");
        if (is_vm(n) ? n->image || argc > 0 : n->disk || n->kernel || n->initrd || n->accel)
                return fail(u, ULV_EXIT_USAGE, "that is for another type of partition", "--image and a command are for containers; --disk, --kernel, --initrd and --accel for VMs",
                            "uvctl new --help");
        if (n->disk && !strrchr(n->disk, ':'))
                return fail(u, ULV_EXIT_USAGE, "--disk needs the format of the image", "it is never guessed from the file", "--disk=FILE:qcow2, or FILE:raw; qemu-img info FILE");
        if (is_vm(n) && !n->disk && !n->kernel && !n->template)
                return fail(u, ULV_EXIT_USAGE, "uvctl new needs --disk or --kernel", "a VM boots from a disk's image or a kernel", "uvctl new NAME --disk /srv/debian-12.qcow2:qcow2 --start");
        if (!is_vm(n) && !n->image && !n->template)
                return fail(u, ULV_EXIT_USAGE, "uvctl new needs --image or --template", "a container starts from an image",
                            "uvctl new NAME --image busybox --start");
        if (n->share && n->cores)
                return fail(u, ULV_EXIT_USAGE, "--share and --cores exclude each other", "a partition has whole cores or a share of the pool", "one of them");
        for (size_t i = 0; i < ULV_ARRAY_SIZE(values); i++)
                if (values[i] && strpbrk(values[i], "\n\r"))
                        return fail(u, ULV_EXIT_USAGE, "a value with a line end in it is no value of a definition", "", "");
        return 0;
}

static int check_unknown(struct uvctl *u, const char *base, const char *name) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/partitions/%s.partition", base, name) < 0) {
                path = NULL;
                return fail_errno(u, -ENOMEM, "make a definition");
        }
        if (access(path, F_OK) < 0)
                return 0;
        ulv_diag_what(&u->diag, ULV_EXIT_CONFLICT, "%s is defined already", name);
        ulv_diag_why(&u->diag, "%.400s is there", path);
        ulv_diag_try(&u->diag, "uvctl edit %s, or another name", name);
        return ULV_EXIT_CONFLICT;
}

/* The image is there, or can be built on the spot. Who isn't root can't look; the start will tell. */
static int need_image(struct uvctl *u, const char *name) {
        const struct recipe *recipe = recipe_find(name);
        struct image_store s;
        char id[ULV_IMAGE_ID + 1];
        int r;

        if (geteuid() != 0)
                return 0;
        r = store_open(u, &s, recipe && !given(u, OPT_DRY_RUN));
        if (r != 0)
                return r;
        if (store_find(&s, name, id) || (recipe && given(u, OPT_DRY_RUN)))
                r = 0;
        else if (!recipe)
                r = image_no_such(u, name);
        else
                r = image_build(u, &s, recipe, name);
        store_done(&s);
        return r;
}

/* --- the verb --------------------------------------------------------------------------------------------- */

static int make_files(struct uvctl *u, const char *name, int argc, char **argv, struct file_set *f) {
        _cleanup_strbuf_ struct ulv_strbuf text = { 0 };
        char path[ULV_NAME_MAX + 32];
        unsigned bad = 0;
        int r;

        add_text(&text, &u->fresh, argc, argv);
        (void) snprintf(path, sizeof(path), "partitions/%s.partition", name);
        f->base = strdup("");
        r = ulv_strbuf_error(&text);
        if (r == 0)
                r = f->base ? files_add(f, path, ulv_strbuf_str(&text), text.len) : -ENOMEM;
        if (r < 0)
                return fail_errno(u, r, "make a definition");
        r = files_find_template(u, f, NULL);
        if (r == 0)
                r = files_check(u, f, NULL, &bad);
        if (r == 0 && bad > 0)
                r = fail(u, ULV_EXIT_USAGE, "nothing was changed: what you asked for makes no definition", "the lines above say why", "uvctl new --help");
        return r;
}

int verb_new(struct uvctl *u, int argc, char **argv) {
        _cleanup_free_ char *base = files_configuration(u);
        struct file_set f = { 0 };
        char *names[] = { argv[0], NULL };
        int r;

        if (!base)
                return fail_errno(u, -ENOMEM, "make a definition");
        r = check_words(u, argv[0], argc - 1);
        if (r == 0)
                r = check_unknown(u, base, argv[0]);
        if (r == 0)
                r = make_files(u, argv[0], argc - 1, argv + 1, &f);
        if (r == 0 && u->fresh.image)
                r = need_image(u, u->fresh.image);
        if (r == 0) {
                u->given |= OPT_YES;    /* a definition takes nothing from anybody */
                r = files_apply(u, &f, false, "new");
        }
        files_done(&f);
        if (r == 0 && u->fresh.start && !given(u, OPT_DRY_RUN))
                r = verb_start(u, 1, names);
        else if (r == 0 && !u->quiet && u->output == OUTPUT_TABLE && !given(u, OPT_DRY_RUN))
                printf("start it with: uvctl start %s\n", argv[0]);
        return r;
}
