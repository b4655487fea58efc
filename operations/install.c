/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Theory of operation. The set in force is the highest numbered bundle in the state directory. To install
 * another one:
 *
 *   1  `kept`     the new version and the paths that already have the new text (a hand edit that this
 *                 installation makes count): whoever undoes it must leave them alone
 *   2  `install`  the candidate, as a bundle: the intent
 *   3  each file of the configuration directory that differs, atomically
 *   4  rename `install` to its number: the commit
 *
 * each durable before the next. A crash before 4 leaves `install` behind: the next start puts the old text
 * back where it finds the new one, and nowhere else, so that a later hand edit survives. Nobody was told of
 * success before 4, so undoing is right. A hand edit that doesn't count yet is never overwritten: a file on
 * disk must have the old text, or the new one. */

#include "operations/install.h"

#include <fcntl.h>
#include <stdio.h>

#include "lib/fd.h"
#include "lib/log.h"

#define INTENT "install"
#define KEPT "kept"
#define KEPT_MAX ((size_t) 8 * 1024 * 1024)

enum disk { DISK_OLD, DISK_NEW, DISK_OTHER };

/* 0 and what the file on disk is; -errno. */
static int look(int etc, const struct change *c, enum disk *ret) {
        _cleanup_free_ char *buf = NULL;
        size_t len = 0;
        int r;

        r = config_file_read(etc, c->path, &buf, &len);
        if (r == -ENOENT) {
                *ret = !c->new ? DISK_NEW : !c->old ? DISK_OLD : DISK_OTHER;
                return 0;
        }
        /* A link, a directory, something too big: not ours to overwrite. */
        if (r == -ELOOP || r == -EINVAL || r == -EFBIG || r == -EISDIR || r == -ENOTDIR) {
                *ret = DISK_OTHER;
                return 0;
        }
        if (r < 0)
                return r;
        if (c->new && c->new->len == len && memcmp(c->new->buf, buf, len) == 0)
                *ret = DISK_NEW;
        else if (c->old && c->old->len == len && memcmp(c->old->buf, buf, len) == 0)
                *ret = DISK_OLD;
        else
                *ret = DISK_OTHER;
        return 0;
}

static int put(int etc, const char *path, const struct ulv_source *s) {
        return config_file_write(etc, path, s ? s->buf : NULL, s ? s->len : 0);
}

static bool is_kept(const char *kept, const char *path) {
        size_t n = strlen(path);

        for (const char *p = kept; p; p = strchr(p, '\n')) {
                p += *p == '\n';
                if (strncmp(p, path, n) == 0 && p[n] == '\n')
                        return true;
        }
        return false;
}

/* The paths that the installation of `version` left alone; *ret is "" where nothing is known of it.
 * 0; 1 = the note is of another version; -errno. */
static int kept_load(const struct install *in, uint64_t version, char **ret) {
        _cleanup_free_ char *buf = NULL;
        char first[64];
        size_t len;
        int r;

        (void) snprintf(first, sizeof(first), "version %llu\n", (unsigned long long) version);
        r = ulv_read_file_at(in->state, KEPT, KEPT_MAX, &buf, &len);
        if (r == -ENOENT)
                return 1;
        if (r < 0)
                return r;
        if (!ulv_startswith(buf, first))
                return 1;
        *ret = ulv_steal(buf);
        return 0;
}

/* Puts the old text back wherever the new one is. Goes on after an error, and returns the first. */
static int put_back(const struct install *in, const struct change *v, size_t n, const char *kept) {
        int first = 0;

        for (size_t i = 0; i < n; i++) {
                enum disk d;
                int r;

                if (kept && is_kept(kept, v[i].path))
                        continue;
                r = look(in->etc, &v[i], &d);
                if (r == 0 && d == DISK_NEW)
                        r = put(in->etc, v[i].path, v[i].old);
                if (r < 0 && first == 0)
                        first = r;
        }
        return first;
}

static int forget_intent(const struct install *in) {
        if (unlinkat(in->state, INTENT, 0) < 0 && errno != ENOENT)
                return -errno;
        return fsync(in->state) < 0 ? -errno : 0;
}

/* After a crash between 2 and 4. */
static int recover(struct install *in) {
        _cleanup_free_ struct change *v = NULL;
        _cleanup_free_ char *buf = NULL, *kept = NULL;
        struct ulv_diag d = { 0 };
        struct set intent;
        size_t len, n;
        int r;

        r = ulv_read_file_at(in->state, INTENT, ULV_BUNDLE_MAX, &buf, &len);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        r = set_parse(buf, len, &intent, &d);
        if (r < 0)
                return r;
        if (r > 0) {
                /* It was renamed into place whole, so this is a disk that lies or a hand at work. */
                ulv_log(ULV_LOG_ERR, "the note of a half-done installation is damaged (%s), nothing is undone: look at 'uvctl status'", d.why);
                return forget_intent(in);
        }
        r = set_changes(&in->in_force, &intent, &v, &n);
        if (r == 0)
                r = kept_load(in, intent.files.version, &kept);
        if (r >= 0)
                r = put_back(in, v, n, kept);
        if (r >= 0) {
                ulv_log(ULV_LOG_NOTICE, "undid an installation of %zu files that a crash had left half done", n);
                r = forget_intent(in);
        }
        set_done(&intent);
        return r;
}

int install_open(struct install *in, int etc, int state) {
        struct ulv_diag d = { 0 };
        int r;

        *in = (struct install) { .etc = etc, .state = state };
        r = set_load(state, UINT64_MAX, &in->in_force, &in->newest);
        if (r > 0)
                r = set_build(0, NULL, 0, &in->in_force, &d);
        if (r != 0)
                return ulv_log_errno(r < 0 ? r : -EIO, "cannot load the last good set");
        r = recover(in);
        if (r < 0)
                return ulv_log_errno(r, "cannot undo a half-done installation");
        return 0;
}

void install_done(struct install *in) {
        set_done(&in->in_force);
}

int install_candidate(const struct install *in, const struct ulv_source *files, size_t n, struct set *ret, struct ulv_diag *reterr) {
        return set_build(in->newest + 1, files, n, ret, reterr);
}

static void take_over(struct install *in, struct set *candidate) {
        set_done(&in->in_force);
        in->in_force = *candidate;
        in->newest = candidate->files.version;
        *candidate = (struct set) { 0 };
}

static int failed(struct ulv_diag *d, int r, const char *path) {
        bool denied = r == -EACCES || r == -EPERM || r == -EROFS;

        ulv_diag_what(d, ULV_EXIT_FAILED, "cannot write %s", path);
        ulv_diag_why(d, "%s; nothing was changed", strerror(-r));
        if (denied)
                ulv_diag_try(d, "give the directory that it is in to the account of uv-operations (uid %u)", (unsigned) geteuid());
        else
                ulv_diag_try(d, "free some space, then again");
        return 1;
}

/* Step 0: no file may hold something that neither set knows, unless `lenient` leaves those alone. Fills
 * kept. 0; 1; -errno. */
static int examine(const struct install *in, const struct change *v, size_t n, bool lenient, struct ulv_strbuf *kept, struct ulv_diag *reterr) {
        for (size_t i = 0; i < n; i++) {
                enum disk d;
                int r;

                r = look(in->etc, &v[i], &d);
                if (r < 0)
                        return failed(reterr, r, v[i].path);
                if (d == DISK_OTHER && !lenient && !is_kept(ulv_strbuf_str(kept), v[i].path)) {
                        ulv_diag_what(reterr, ULV_EXIT_CONFLICT, "cannot write %s", v[i].path);
                        ulv_diag_why(reterr, "it was edited by hand, and the edit doesn't count yet: it would be lost");
                        ulv_diag_try(reterr, "uvctl reload, then again");
                        return 1;
                }
                if (d != DISK_OLD && !is_kept(ulv_strbuf_str(kept), v[i].path))
                        ulv_strbuf_addf(kept, "%s\n", v[i].path);
        }
        return kept->error;
}

/* Steps 1 to 4. kept holds its first line already. */
static int carry_out(struct install *in, const struct set *candidate, const struct change *v, size_t n,
                     const struct ulv_strbuf *kept, struct ulv_diag *reterr) {
        char name[SET_NAME_SIZE];
        const char *at = "the note of the installation";
        int r;

        r = ulv_write_file_atomic(in->state, KEPT, ulv_strbuf_str(kept), kept->len, 0600);
        if (r == 0)
                r = ulv_write_file_atomic(in->state, INTENT, candidate->text, candidate->len, 0600);
        if (r < 0) {
                (void) forget_intent(in);
                return failed(reterr, r, at);
        }
        for (size_t i = 0; i < n && r == 0; i++)
                if (!is_kept(ulv_strbuf_str(kept), v[i].path)) {
                        at = v[i].path;
                        r = put(in->etc, v[i].path, v[i].new);
                }
        if (r == 0) {
                at = "the set's number";
                if (renameat(in->state, INTENT, in->state, set_name(candidate->files.version, name)) < 0)
                        r = -errno;
        }
        if (r < 0) {
                int k = put_back(in, v, n, ulv_strbuf_str(kept));

                if (k == 0)
                        k = forget_intent(in);
                if (k < 0)      /* the note stays, so that the next start tries again */
                        (void) ulv_log_errno(k, "cannot put files back after %s", at);
                return failed(reterr, r, at);
        }
        if (fsync(in->state) < 0)       /* The rename is there; how durable, nobody can say: no reason to undo it. */
                (void) ulv_log_errno(-errno, "cannot sync the state directory");
        set_prune(in->state, candidate->files.version);
        return 0;
}

/* kept_before: paths that are to be left alone anyway. */
static int run(struct install *in, struct set *candidate, bool lenient, const char *kept_before, struct ulv_diag *reterr) {
        _cleanup_strbuf_ struct ulv_strbuf kept = { .max = KEPT_MAX };
        _cleanup_free_ struct change *v = NULL;
        size_t n;
        int r;

        r = set_changes(&in->in_force, candidate, &v, &n);
        if (r < 0)
                return failed(reterr, r, "a set");
        if (n == 0)
                return 0;
        ulv_strbuf_addf(&kept, "version %llu\n%s", (unsigned long long) candidate->files.version, kept_before);
        r = examine(in, v, n, lenient, &kept, reterr);
        if (r < 0)
                return failed(reterr, r, "a set");
        if (r == 0)
                r = carry_out(in, candidate, v, n, &kept, reterr);
        if (r == 0)
                take_over(in, candidate);
        return r;
}

int install_run(struct install *in, struct set *candidate, struct ulv_diag *reterr) {
        int r = run(in, candidate, false, "", reterr);

        set_done(candidate);
        return r;
}

static int by_path(const void *path, const void *file) {
        return strcmp(path, ((const struct ulv_source *) file)->file);
}

static const struct ulv_source *find_file(const struct set *s, const char *path) {
        return s->files.n_files == 0 ? NULL : bsearch(path, s->files.files, s->files.n_files, sizeof(struct ulv_source), by_path);
}

static bool same_file(const struct ulv_source *a, const struct ulv_source *b) {
        return (!a && !b) || (a && b && a->len == b->len && memcmp(a->buf, b->buf, a->len) == 0);
}

static int cannot_revert(struct ulv_diag *d, uint64_t version, const char *why, const char *try_) {
        ulv_diag_what(d, ULV_EXIT_CONFLICT, "cannot take back version %llu of the definitions", (unsigned long long) version);
        ulv_diag_why(d, "%s", why);
        ulv_diag_try(d, "%s", try_);
        return 1;
}

/* Is the path one of the partition's: partitions/NAME.partition, or below NAME.partition.d? */
static bool is_file_of(const char *path, const char *partition) {
        size_t n = strlen(partition);

        return ulv_startswith(path, "partitions/") && strncmp(path + strlen("partitions/"), partition, n) == 0 &&
               ulv_startswith(path + strlen("partitions/") + n, ".partition");
}

/* Leaves those of v that are to go back. 0; 1: one was changed again since. */
static int changes_to_revert(const struct install *in, const struct set *made, const char *partition, struct change *v, size_t *n, struct ulv_diag *reterr) {
        size_t kept = 0;

        for (size_t i = 0; i < *n; i++) {
                const struct ulv_source *now = find_file(&in->in_force, v[i].path);
                char why[sizeof(reterr->why)];

                if ((partition[0] && !is_file_of(v[i].path, partition)) || same_file(now, v[i].old))
                        continue;
                if (same_file(now, v[i].new)) {
                        v[kept++] = v[i];
                        continue;
                }
                (void) snprintf(why, sizeof(why), "%s was changed again since", v[i].path);
                return cannot_revert(reterr, made->files.version, why, "uvctl history, and take back the later change first");
        }
        *n = kept;
        return 0;
}

/* The set in force without what changed from `before` to `made`. 0; 1 (reterr); -ENOMEM. */
static int without_changes(const struct install *in, const struct set *before, const struct set *made, const char *partition, struct set *ret, struct ulv_diag *reterr) {
        const struct ulv_bundle_files *f = &in->in_force.files;
        _cleanup_free_ struct ulv_source *v = NULL;
        _cleanup_free_ struct change *c = NULL;
        size_t n_changes, n = 0;
        int r;

        r = set_changes(before, made, &c, &n_changes);
        if (r == 0)
                r = changes_to_revert(in, made, partition, c, &n_changes, reterr);
        if (r != 0)
                return r;
        v = calloc(f->n_files + n_changes + 1, sizeof(*v));
        if (!v)
                return -ENOMEM;
        for (size_t i = 0, k = 0; i < f->n_files; i++) {        /* both are in path order */
                while (k < n_changes && strcmp(c[k].path, f->files[i].file) < 0)
                        k++;
                if (k == n_changes || !ulv_streq(c[k].path, f->files[i].file))
                        v[n++] = f->files[i];
        }
        for (size_t i = 0; i < n_changes; i++)
                if (c[i].old)
                        v[n++] = *c[i].old;
        return install_candidate(in, v, n, ret, reterr);
}

int install_revert(struct install *in, uint64_t version, const char *partition, bool dry, struct ulv_diag *reterr) {
        _cleanup_free_ char *kept = NULL;
        struct set before = { 0 }, made = { 0 }, candidate = { 0 };
        _cleanup_strbuf_ struct ulv_strbuf problems = { .max = 64 * 1024 };
        const char *paths;
        int r;

        r = version == 0 || version > in->newest ? 1 : set_read_pair(in->state, version, &made, &before);
        if (r > 0)
                (void) cannot_revert(reterr, version, "it isn't kept any more", "uvctl set, or uvctl edit, for what is to be as it was");
        if (r == 0)
                r = without_changes(in, &before, &made, partition, &candidate, reterr);
        if (r == 0 && (r = set_validate(&candidate, &problems)) > 0)
                (void) cannot_revert(reterr, version, ulv_strbuf_str(&problems), "take back later changes first (uvctl history)");
        if (r == 0 && !dry && (r = kept_load(in, version, &kept)) > 0)
                r = 0;          /* an older one's note is gone: then all its files go back */
        if (r == 0 && !dry) {
                paths = kept ? strchr(kept, '\n') : NULL;
                r = run(in, &candidate, true, paths ? paths + 1 : "", reterr);
        } else if (r < 0)
                r = failed(reterr, r, "a set");
        set_done(&before);
        set_done(&made);
        set_done(&candidate);
        return r;
}

int install_adopt(struct install *in, struct set *candidate, struct ulv_diag *reterr) {
        _cleanup_free_ struct change *v = NULL;
        size_t n;
        int r;

        r = set_changes(&in->in_force, candidate, &v, &n);
        if (r == 0 && (n > 0 || in->in_force.files.version == 0))
                r = set_store(in->state, candidate);
        if (r < 0)
                r = failed(reterr, r, "the new set");
        else if (n > 0 || in->in_force.files.version == 0)
                take_over(in, candidate);
        set_done(candidate);
        return r;
}
