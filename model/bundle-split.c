/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A bundle's outer form, without a look at what its files say. Pure. */

#include "model/bundle.h"

#define PATH_MAX_ 320u  /* two names, ".partition.d/" and ".conf" with room */

static bool stem_is_valid(const char *s, size_t len) {
        if (len == 0 || s[0] == '.')
                return false;
        for (size_t i = 0; i < len; i++)
                if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= '0' && s[i] <= '9') ||
                      s[i] == '.' || s[i] == '_' || s[i] == '-'))
                        return false;
        return true;
}

/* Is s of the form STEM SUFFIX? */
static bool has_form(const char *s, const char *suffix) {
        size_t len = strlen(s), n = strlen(suffix);

        return len > n && ulv_streq(s + len - n, suffix) && stem_is_valid(s, len - n);
}

static bool partition_path_is_valid(const char *s, bool drop_ins) {
        const char *end = strstr(s, ".partition");
        char name[ULV_NAME_MAX + 1];

        if (!end || (size_t) (end - s) > ULV_NAME_MAX)
                return false;
        memcpy(name, s, (size_t) (end - s));
        name[end - s] = 0;
        if (!ulv_name_is_valid(name))
                return false;
        end += strlen(".partition");
        return *end == 0 || (drop_ins && ulv_startswith(end, ".d/") && has_form(end + strlen(".d/"), ".conf"));
}

bool ulv_bundle_path_is_valid(const char *path) {
        if (strlen(path) > PATH_MAX_)
                return false;
        if (ulv_startswith(path, "partitions/"))
                return partition_path_is_valid(path + strlen("partitions/"), true);
        if (ulv_startswith(path, ULV_TEMPLATES))
                return partition_path_is_valid(path + strlen(ULV_TEMPLATES), false);
        if (ulv_startswith(path, "policies/"))
                return has_form(path + strlen("policies/"), ".policy");
        return false;
}

struct reader { char *p, *end; };

/* Cuts the next line off, NUL-terminated; NULL if there is none or it is longer than any line of the form. */
static char *next_line(struct reader *r) {
        size_t left = (size_t) (r->end - r->p);
        char *line = r->p, *nl = memchr(r->p, '\n', ULV_MIN(left, (size_t) PATH_MAX_ + 64));

        if (!nl || memchr(line, 0, (size_t) (nl - line)))
                return NULL;
        *nl = 0;
        r->p = nl + 1;
        return line;
}

static int bad(struct ulv_diag *d, const char *why) {
        ulv_diag_what(d, ULV_EXIT_USAGE, "not a bundle of definitions and policies");
        ulv_diag_why(d, "%s", why);
        return 1;
}

/* line: what stands behind "file ". */
static int take_file(struct reader *r, char *line, struct ulv_bundle_files *f, struct ulv_diag *reterr) {
        char *path = strchr(line, ' ');
        uint64_t len;

        if (!path)
                return bad(reterr, "a file line is LENGTH PATH");
        *path++ = 0;
        if (ulv_uint_parse(line, ULV_INI_FILE_MAX, &len) < 0)
                return bad(reterr, "a file is longer than 64K, or its length isn't a number");
        if (!ulv_bundle_path_is_valid(path))
                return bad(reterr, "a path is none of a definition, a drop-in, a template or a policy");
        if (f->n_files > 0 && strcmp(f->files[f->n_files - 1].file, path) >= 0)
                return bad(reterr, "the files aren't sorted by path, or one is there twice");
        if ((uint64_t) (r->end - r->p) <= len || r->p[len] != '\n')
                return bad(reterr, "a file ends too early");
        if ((f->n_files & (f->n_files - 1)) == 0) {     /* the array is full: its size is a power of two */
                size_t size = f->n_files == 0 ? 1 : f->n_files * 2;
                struct ulv_source *bigger = realloc(f->files, size * sizeof(*bigger));

                if (!bigger)
                        return -ENOMEM;
                f->files = bigger;
        }
        f->files[f->n_files++] = (struct ulv_source) { .file = path, .buf = r->p, .len = (size_t) len };
        r->p += len + 1;
        return 0;
}

static int split(struct ulv_bundle_files *f, size_t len, struct ulv_diag *reterr) {
        struct reader r = { f->text, f->text + len };
        char *line;
        int k;

        line = next_line(&r);
        if (!line || !ulv_streq(line, "ultravisor-bundle 1"))
                return bad(reterr, "the first line isn't \"ultravisor-bundle 1\"");
        line = next_line(&r);
        if (!line || !ulv_startswith(line, "version ") || ulv_uint_parse(line + strlen("version "), UINT64_MAX, &f->version) < 0)
                return bad(reterr, "the second line isn't a version");
        for (;;) {
                line = next_line(&r);
                if (!line)
                        return bad(reterr, "there is no \"end\" line");
                if (ulv_streq(line, "end"))
                        return r.p == r.end ? 0 : bad(reterr, "something stands behind \"end\"");
                if (!ulv_startswith(line, "file "))
                        return bad(reterr, "a line is neither \"file\" nor \"end\"");
                if (f->n_files >= ULV_BUNDLE_FILES_MAX)
                        return bad(reterr, "there are more than 16384 files");
                k = take_file(&r, line + strlen("file "), f, reterr);
                if (k != 0)
                        return k;
        }
}

void ulv_bundle_files_done(struct ulv_bundle_files *f) {
        free(f->files);
        free(f->text);
        *f = (struct ulv_bundle_files) { 0 };
}

int ulv_bundle_split(const char *buf, size_t len, struct ulv_bundle_files *ret, struct ulv_diag *reterr) {
        struct ulv_bundle_files f = { 0 };
        int r;

        if (len > ULV_BUNDLE_MAX)
                return bad(reterr, "it is longer than 64M");
        f.text = malloc(len + 1);
        if (!f.text)
                return -ENOMEM;
        memcpy(f.text, buf, len);
        f.text[len] = 0;
        r = split(&f, len, reterr);
        if (r != 0) {
                ulv_bundle_files_done(&f);
                return r;
        }
        *ret = f;
        return 0;
}
