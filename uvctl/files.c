/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uvctl/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "lib/fd.h"
#include "uvctl/text.h"

void files_done(struct file_set *f) {
        for (size_t i = 0; i < f->n; i++) {
                free((char *) f->v[i].file);
                free((char *) f->v[i].buf);
        }
        free(f->v);
        free((char *) f->template.file);
        free((char *) f->template.buf);
        free(f->base);
        *f = (struct file_set) { 0 };
}

int files_add(struct file_set *f, const char *path, const char *text, size_t len) {
        struct ulv_source *v;
        char *name, *copy;

        if (f->n >= ULV_BUNDLE_FILES_MAX)
                return -E2BIG;
        if (f->n == f->size) {
                v = reallocarray(f->v, f->size * 2 + 16, sizeof(*v));
                if (!v)
                        return -ENOMEM;
                f->v = v;
                f->size = f->size * 2 + 16;
        }
        name = strdup(path);
        copy = malloc(len + 1);
        if (!name || !copy) {
                free(name);
                free(copy);
                return -ENOMEM;
        }
        memcpy(copy, text, len);
        copy[len] = 0;
        f->v[f->n++] = (struct ulv_source) { name, copy, len };
        return 0;
}

static bool ends_with(const char *s, const char *suffix) {
        size_t n = strlen(s), m = strlen(suffix);

        return n > m && ulv_streq(s + n - m, suffix);
}

static int cannot_read(struct uvctl *u, const char *base, const char *path, int r) {
        ulv_diag_what(&u->diag, r == -ENOENT ? ULV_EXIT_NOT_FOUND : ULV_EXIT_FAILED, "cannot read %.100s%.150s", base, path);
        ulv_diag_why(&u->diag, "%s", r == -EFBIG ? "a definition or policy has at most 64K" : r == -EISDIR ? "it is no regular file" : strerror(-r));
        ulv_diag_try(&u->diag, r == -EACCES ? "the same as root" : "ls -l %.100s%.150s", base, path);
        return (int) u->diag.code;
}

/* Reads the file at dir/name and adds it under `path`. */
static int add_file(struct uvctl *u, struct file_set *f, int dir, const char *name, const char *path) {
        _cleanup_free_ char *buf = malloc(ULV_INI_FILE_MAX + 1);
        _cleanup_close_ int fd = -1;
        struct stat st;
        size_t len = 0;
        ssize_t n;
        int r;

        if (!buf)
                return fail_errno(u, -ENOMEM, "read files");
        fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 || fstat(fd, &st) < 0)
                return cannot_read(u, f->base, name, -errno);
        if (!S_ISREG(st.st_mode))
                return cannot_read(u, f->base, name, -EISDIR);
        while (len <= ULV_INI_FILE_MAX && (n = read(fd, buf + len, ULV_INI_FILE_MAX + 1 - len)) != 0) {
                if (n < 0)
                        return cannot_read(u, f->base, name, -errno);
                len += (size_t) n;
        }
        if (len > ULV_INI_FILE_MAX)
                return cannot_read(u, f->base, name, -EFBIG);
        if (!ulv_bundle_path_is_valid(path)) {
                ulv_diag_what(&u->diag, ULV_EXIT_FAILED, "%.64s%.128s is not a name for a definition or policy", f->base, path);
                ulv_diag_why(&u->diag, "a partition's name is of a-z, 0-9 and -, a policy's of letters, digits and ._-");
                ulv_diag_try(&u->diag, "rename it, as in web.partition or 50-site.policy");
                return ULV_EXIT_FAILED;
        }
        r = files_add(f, path, buf, len);
        return r < 0 ? fail_errno(u, r, "read files") : 0;
}

/* Adds the files below dir/folder that end in suffix, as `folder`/NAME. A folder that isn't there has none. */
static int add_folder(struct uvctl *u, struct file_set *f, int dir, const char *folder, const char *path, const char *suffix) {
        struct dirent *e;
        DIR *d;
        int fd, r = 0;

        fd = openat(dir, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : cannot_read(u, f->base, folder, -errno);
        d = fdopendir(fd);
        if (!d) {
                r = -errno;
                (void) ulv_close(fd);
                return cannot_read(u, f->base, folder, r);
        }
        while (r == 0 && (errno = 0, e = readdir(d))) {
                char full[600];

                if (e->d_name[0] == '.' || !ends_with(e->d_name, suffix))
                        continue;
                (void) snprintf(full, sizeof(full), "%s/%s", path, e->d_name);
                r = add_file(u, f, dirfd(d), e->d_name, full);
                if (r == 0 && ulv_streq(folder, "partitions")) {
                        char drop_ins[300];

                        (void) snprintf(full, sizeof(full), "%s/%s.d", path, e->d_name);
                        (void) snprintf(drop_ins, sizeof(drop_ins), "%s.d", e->d_name);
                        r = add_folder(u, f, dirfd(d), drop_ins, full, ".conf");
                }
        }
        (void) closedir(d);
        return r;
}

static int load_directory(struct uvctl *u, const char *path, struct file_set *f) {
        _cleanup_close_ int dir = -1;
        int r;

        f->directory = true;
        dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                return cannot_read(u, "", path, -errno);
        r = add_folder(u, f, dir, "partitions", "partitions", ".partition");
        if (r == 0)
                r = add_folder(u, f, dir, "policies", "policies", ".policy");
        if (r == 0)
                r = add_folder(u, f, dir, "templates", "templates", ".partition");
        if (r == 0 && f->n == 0 && faccessat(dir, "partitions", F_OK, 0) < 0 && faccessat(dir, "policies", F_OK, 0) < 0) {
                ulv_diag_what(&u->diag, ULV_EXIT_NOT_FOUND, "%.200s holds no definitions and no policies", path);
                ulv_diag_why(&u->diag, "they are looked for in its folders partitions and policies");
                ulv_diag_try(&u->diag, "uvctl verify FILE, for single files");
                return ULV_EXIT_NOT_FOUND;
        }
        return r;
}

/* A definition comes with the drop-ins beside it; a policy comes alone. */
static int load_file(struct uvctl *u, const char *path, struct file_set *f) {
        const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
        char full[600], folder[300];
        _cleanup_close_ int dir = -1;
        int r;

        if (!ends_with(name, ".partition") && !ends_with(name, ".policy")) {
                ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "%.200s is neither a definition nor a policy by its name", path);
                ulv_diag_why(&u->diag, "definitions end in .partition, policies in .policy; a drop-in is read with its definition");
                ulv_diag_try(&u->diag, "uvctl verify NAME.partition");
                return ULV_EXIT_USAGE;
        }
        dir = open(f->base[0] ? f->base : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                return cannot_read(u, "", path, -errno);
        (void) snprintf(full, sizeof(full), "%s/%s", ends_with(name, ".policy") ? "policies" : "partitions", name);
        r = add_file(u, f, dir, name, full);
        if (r != 0 || ends_with(name, ".policy"))
                return r;
        (void) snprintf(folder, sizeof(folder), "%.250s.d", name);
        (void) snprintf(full, sizeof(full), "partitions/%.250s.d", name);
        return add_folder(u, f, dir, folder, full, ".conf");
}

int files_find_template(struct uvctl *u, struct file_set *f, const char *base) {
        _cleanup_free_ char *etc = files_configuration(u), *buf = NULL;
        char name[ULV_NAME_MAX + 1] = "", path[sizeof(ULV_TEMPLATES) + ULV_NAME_MAX + 16];
        size_t len = 0;
        int r = etc ? 0 : -ENOMEM;

        free((char *) f->template.file);
        free((char *) f->template.buf);
        f->template = (struct ulv_source) { 0 };
        if (f->n == 0 || !ulv_startswith(f->v[0].file, "partitions/"))
                return 0;
        if (r == 0)
                r = ulv_definition_template(&f->v[0], name);
        if (r < 0)
                return fail_errno(u, r, "read files");
        if (!name[0])
                return 0;
        (void) snprintf(path, sizeof(path), ULV_TEMPLATES "%s.partition", name);
        const char *const places[] = { base, etc };
        for (size_t i = 0; i < ULV_ARRAY_SIZE(places) && !buf; i++) {
                _cleanup_close_ int dir = places[i] ? open(places[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

                if (dir >= 0 && (r = ulv_read_file_at(dir, path, ULV_INI_FILE_MAX, &buf, &len)) < 0 && r != -ENOENT)
                        return cannot_read(u, places[i], path, r);
        }
        if (!buf)
                return 0;
        f->template = (struct ulv_source) { .file = strdup(path), .buf = ulv_steal(buf), .len = len };
        return f->template.file ? 0 : fail_errno(u, -ENOMEM, "read files");
}

static int by_path(const void *a, const void *b) {
        return strcmp(((const struct ulv_source *) a)->file, ((const struct ulv_source *) b)->file);
}

int files_load(struct uvctl *u, const char *path, struct file_set *ret) {
        struct file_set f = { 0 };
        const char *slash = strrchr(path, '/');
        struct stat st;
        int r;

        if (stat(path, &st) < 0)
                return cannot_read(u, "", path, -errno);
        if (S_ISDIR(st.st_mode)) {
                if (asprintf(&f.base, "%s%s", path, ends_with(path, "/") ? "" : "/") < 0)
                        f.base = NULL;
        } else
                f.base = slash ? strndup(path, (size_t) (slash + 1 - path)) : strdup("");
        if (!f.base)
                return fail_errno(u, -ENOMEM, "read files");
        r = S_ISDIR(st.st_mode) ? load_directory(u, path, &f) : load_file(u, path, &f);
        if (r != 0) {
                files_done(&f);
                return r;
        }
        if (f.n > 0)
                qsort(f.v, f.n, sizeof(*f.v), by_path);         /* drop-ins in the order of their names */
        if (!f.directory) {
                _cleanup_free_ char *beside = NULL;

                if (asprintf(&beside, "%s../", f.base) < 0)
                        beside = NULL;
                r = beside ? files_find_template(u, &f, beside) : fail_errno(u, -ENOMEM, "read files");
                if (r != 0) {
                        files_done(&f);
                        return r;
                }
        }
        *ret = f;
        return 0;
}

struct problems { const struct file_set *f; struct json *json; unsigned n; };

/* The place as the administrator named it: of a single file, without the folder that it has in a bundle. */
static const char *shown_path(const struct file_set *f, const char *path) {
        const char *slash = strchr(path, '/');

        return f->directory || !slash ? path : slash + 1;
}

static void add_problem(const struct ulv_diag *d, void *userdata) {
        struct problems *p = userdata;
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        char file[600];

        p->n++;
        (void) snprintf(file, sizeof(file), "%.300s%s", p->f->base, shown_path(p->f, d->file));
        if (p->json) {
                json_object(p->json, NULL);
                json_string(p->json, "File", file);
                json_u64(p->json, "Line", d->line);
                json_u64(p->json, "Column", d->column);
                json_string(p->json, "What", d->what);
                json_end(p->json);
                return;
        }
        if (d->file[0]) {
                text_safe(&b, file, strlen(file), false);
                ulv_strbuf_addf(&b, ":%u:%u: ", ULV_MAX(d->line, 1u), ULV_MAX(d->column, 1u));
        }
        text_safe(&b, d->what, strlen(d->what), false);
        puts(ulv_strbuf_str(&b));
}

/* A single file is judged alone: names in After= may be defined elsewhere. */
static int check_single(const struct file_set *f, struct problems *p) {
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *definition = NULL;
        ULV_CLEANUP(ulv_policy_freep) struct ulv_policy *policy = NULL;
        struct ulv_diag d = { 0 };
        int r;

        if (ulv_startswith(f->v[0].file, "policies/"))
                r = ulv_policy_parse(f->v, f->n, &policy, &d);
        else
                r = ulv_definition_parse_with(f->template.file ? &f->template : NULL, f->v, f->n, &definition, &d);
        if (r > 0)
                add_problem(&d, p);
        return r < 0 ? r : 0;
}

static int check_directory(const struct file_set *f, struct problems *p) {
        ULV_CLEANUP(ulv_bundle_freep) struct ulv_bundle *bundle = NULL;
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        int r;

        r = ulv_bundle_build(0, f->v, f->n, &b);
        if (r == 0)
                r = ulv_bundle_parse(ulv_strbuf_str(&b), b.len, &bundle, add_problem, p);
        return r < 0 ? r : 0;
}

int files_check(struct uvctl *u, const struct file_set *f, struct json *json, unsigned *ret_n) {
        struct problems p = { .f = f, .json = json };
        int r;

        r = f->directory ? check_directory(f, &p) : check_single(f, &p);
        if (r < 0)
                return fail_errno(u, r, "check the files");
        *ret_n = p.n;
        return 0;
}
