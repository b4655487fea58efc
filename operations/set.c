/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "operations/set.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include "lib/fd.h"
#include "lib/log.h"

#define PREFIX "bundle-"
#define DIGITS 20       /* of a 64-bit number, so that names sort as numbers */

void set_done(struct set *s) {
        ulv_bundle_files_done(&s->files);
        free(s->text);
        *s = (struct set) { 0 };
}

static bool same_text(const struct ulv_source *a, const struct ulv_source *b) {
        return a->len == b->len && memcmp(a->buf, b->buf, a->len) == 0;
}

int set_changes(const struct set *old, const struct set *new, struct change **ret, size_t *ret_n) {
        const struct ulv_bundle_files *a = &old->files, *b = &new->files;
        struct change *v = calloc(a->n_files + b->n_files + 1, sizeof(*v));
        size_t i = 0, j = 0, n = 0;

        if (!v)
                return -ENOMEM;
        while (i < a->n_files || j < b->n_files) {
                int c = i == a->n_files ? 1 : j == b->n_files ? -1 : strcmp(a->files[i].file, b->files[j].file);
                const struct ulv_source *o = c <= 0 ? &a->files[i++] : NULL, *w = c >= 0 ? &b->files[j++] : NULL;

                if (!o || !w || !same_text(o, w))
                        v[n++] = (struct change) { .path = o ? o->file : w->file, .old = o, .new = w };
        }
        *ret = v;
        *ret_n = n;
        return 0;
}

int set_parse(const char *text, size_t len, struct set *ret, struct ulv_diag *reterr) {
        struct set s = { .len = len };
        int r;

        r = ulv_bundle_split(text, len, &s.files, reterr);
        if (r != 0)
                return r;
        s.text = malloc(len + 1);
        if (!s.text) {
                set_done(&s);
                return -ENOMEM;
        }
        memcpy(s.text, text, len);
        s.text[len] = 0;
        *ret = s;
        return 0;
}

int set_build(uint64_t version, const struct ulv_source *files, size_t n, struct set *ret, struct ulv_diag *reterr) {
        _cleanup_strbuf_ struct ulv_strbuf b = { .max = ULV_BUNDLE_MAX };
        int r;

        r = ulv_bundle_build(version, files, n, &b);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                ulv_diag_what(reterr, ULV_EXIT_USAGE, "these definitions and policies are too much for one set");
                ulv_diag_why(reterr, "16384 files, 64M in all, 64K each are the most");
                return 1;
        }
        return set_parse(ulv_strbuf_str(&b), b.len, ret, reterr);
}

static void collect(const struct ulv_diag *d, void *userdata) {
        struct ulv_strbuf *b = userdata;

        if (d->file[0])         /* a bundle that isn't one has no place */
                ulv_strbuf_addf(b, "%s:%u:%u: ", d->file, d->line, d->column);
        ulv_strbuf_addf(b, "%s%s%s\n", d->what, d->why[0] ? ": " : "", d->why);
}

int set_validate(const struct set *s, struct ulv_strbuf *problems) {
        struct ulv_bundle *parsed = NULL;
        int r;

        r = ulv_bundle_parse(s->text, s->len, &parsed, collect, problems);
        ulv_bundle_free(parsed);
        return r == 0 && problems->error ? problems->error : r;
}

const char *set_name(uint64_t version, char buf[SET_NAME_SIZE]) {
        (void) snprintf(buf, SET_NAME_SIZE, PREFIX "%0*llu", DIGITS, (unsigned long long) version);
        return buf;
}

/* The version in a file's name; 0 if it isn't one of ours. */
static uint64_t version_of(const char *name) {
        uint64_t v = 0;

        if (!ulv_startswith(name, PREFIX) || strlen(name) != strlen(PREFIX) + DIGITS)
                return 0;
        for (const char *p = name + strlen(PREFIX); *p; p++) {
                if (*p < '0' || *p > '9' || v > UINT64_MAX / 10 - 1)
                        return 0;
                v = v * 10 + (uint64_t) (*p - '0');
        }
        return v;
}

/* The highest version in the directory that is below `below`; 0 if none. */
static int highest(int state, uint64_t below, uint64_t *ret) {
        int fd = openat(state, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *e;

        if (!d) {
                int r = -errno;

                (void) ulv_close(fd);
                return r;
        }
        *ret = 0;
        while ((e = readdir(d))) {
                uint64_t v = version_of(e->d_name);

                if (v < below && v > *ret)
                        *ret = v;
        }
        (void) closedir(d);
        return 0;
}

/* 0; 1 = damaged (told in the log); -errno. */
static int read_kept(int state, uint64_t version, struct set *ret) {
        _cleanup_free_ char *buf = NULL;
        char name[SET_NAME_SIZE];
        struct ulv_diag d = { 0 };
        struct set s;
        size_t len;
        int r;

        r = ulv_read_file_at(state, set_name(version, name), ULV_BUNDLE_MAX, &buf, &len);
        if (r < 0)
                return r;
        r = set_parse(buf, len, &s, &d);
        if (r < 0)
                return r;
        if (r > 0 || s.files.version != version) {
                ulv_log(ULV_LOG_ERR, "%s is damaged and doesn't count: %s", name, r > 0 ? d.why : "its version is another one");
                if (r == 0)
                        set_done(&s);
                return 1;
        }
        *ret = s;
        return 0;
}

/* The same; 1: or no longer valid. */
static int load_one(int state, uint64_t version, struct set *ret) {
        _cleanup_strbuf_ struct ulv_strbuf problems = { .max = 64 * 1024 };
        char name[SET_NAME_SIZE];
        struct set s;
        int r = read_kept(state, version, &s);

        if (r != 0)
                return r;
        r = set_validate(&s, &problems);
        if (r != 0) {
                ulv_log(ULV_LOG_ERR, "%s isn't valid for this version of the program: %s", set_name(version, name), ulv_strbuf_str(&problems));
                set_done(&s);
                return r;
        }
        *ret = s;
        return 0;
}

int set_read_pair(int state, uint64_t version, struct set *ret, struct set *ret_before) {
        uint64_t before;
        int r = read_kept(state, version, ret);

        if (r != 0)
                return r == -ENOENT ? 1 : r;
        r = highest(state, version, &before);
        if (r == 0)
                r = before > 0 ? read_kept(state, before, ret_before) : 1;
        if (r != 0)
                set_done(ret);
        return r == -ENOENT ? 1 : r;
}

int set_load(int state, uint64_t below, struct set *ret, uint64_t *ret_newest) {
        uint64_t v = 0;
        int r;

        r = highest(state, below, &v);
        if (r < 0)
                return r;
        *ret_newest = v;
        while (v > 0) {
                r = load_one(state, v, ret);
                if (r <= 0)
                        return r;
                r = highest(state, v, &v);
                if (r < 0)
                        return r;
        }
        return 1;
}

void set_prune(int state, uint64_t newest) {
        uint64_t v = newest <= SET_KEEP ? 0 : newest - SET_KEEP + 1;
        char name[SET_NAME_SIZE];

        /* What can't be removed now is in nobody's way, and is tried again after the next set. */
        while (v > 0 && highest(state, v, &v) == 0 && v > 0)
                if (unlinkat(state, set_name(v, name), 0) < 0)
                        return;
}

int set_store(int state, const struct set *s) {
        char name[SET_NAME_SIZE];
        int r;

        r = ulv_write_file_atomic(state, set_name(s->files.version, name), s->text, s->len, 0600);
        if (r == 0)
                set_prune(state, s->files.version);
        return r;
}
