/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Everything is opened relative to a directory's fd, without following a link, and judged by fstat() on
 * the fd that is then read: what was looked at is what counts. Names that aren't of the form of a
 * definition, a drop-in or a policy (editors' copies, README) are no business of ours. */

#include "operations/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lib/fd.h"

void config_files_done(struct config_files *f) {
        for (size_t i = 0; i < f->n; i++) {
                free((char *) f->v[i].file);
                free((char *) f->v[i].buf);
        }
        free(f->v);
        *f = (struct config_files) { 0 };
}

/* A problem is one line, whatever the name of the file is. */
static void problem(struct ulv_strbuf *b, const char *path, const char *what) {
        for (const char *p = path; *p; p++)
                if ((unsigned char) *p < ' ' || *p == 0x7f)
                        ulv_strbuf_addf(b, "\\x%02x", (unsigned) *p);
                else
                        ulv_strbuf_add_len(b, p, 1);
        ulv_strbuf_addf(b, ":1:1: %s\n", what);
}

/* NULL if it may count. */
static const char *untrusted(const struct stat *st) {
        if (st->st_uid != 0 && st->st_uid != geteuid())
                return "belongs to neither root nor the account of definitions and policies, so it doesn't count (chown root)";
        if (st->st_mode & S_IWOTH)
                return "can be written by everybody, so it doesn't count (chmod o-w)";
        return NULL;
}

static int add(struct config_files *f, const char *path, char *buf, size_t len) {
        char *copy;

        if ((f->n & (f->n - 1)) == 0) { /* full: the array's size is a power of two */
                struct ulv_source *bigger = realloc(f->v, (f->n == 0 ? 1 : f->n * 2) * sizeof(*bigger));

                if (!bigger)
                        return -ENOMEM;
                f->v = bigger;
        }
        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        f->v[f->n++] = (struct ulv_source) { .file = copy, .buf = buf, .len = len };
        f->size += len;
        return 0;
}

/* One file that has the form; a problem with it is told, not returned. */
static int read_one(int dir, const char *name, const char *path, struct config_files *f, struct ulv_strbuf *problems) {
        _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        _cleanup_free_ char *buf = NULL;
        struct stat st;
        size_t len;
        int r;

        if (fd < 0 && errno == ENOENT)
                return 0;       /* removed since the directory was read */
        if (fd < 0) {
                problem(problems, path, errno == ELOOP ? "is a symbolic link, so it doesn't count" :
                        errno == EACCES ? "uv-operations, which has an account of its own, can't read it: chmod a+r" : strerror(errno));
                return 0;
        }
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode)) {
                problem(problems, path, "isn't a regular file");
                return 0;
        }
        if (untrusted(&st)) {
                problem(problems, path, untrusted(&st));
                return 0;
        }
        r = ulv_read_fd(fd, ULV_INI_FILE_MAX, &buf, &len);
        if (r == -EFBIG)
                problem(problems, path, "is longer than 64K");
        else if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
                return r;
        else if (r < 0)
                problem(problems, path, strerror(-r));
        if (r < 0)
                return 0;
        if (f->n >= ULV_BUNDLE_FILES_MAX || f->size + len > ULV_BUNDLE_MAX / 2) {
                problem(problems, path, "is one file too many: 16384 files or 32M are the most");
                return 0;
        }
        r = add(f, path, buf, len);
        if (r == 0)
                buf = NULL;
        return r;
}

static int read_directory(int parent, const char *name, const char *prefix, struct config_files *f, struct ulv_strbuf *problems);

/* prefix: path of the directory, "partitions/"; name: an entry of it. */
static int read_entry(int dir, const char *name, const char *prefix, struct config_files *f, struct ulv_strbuf *problems) {
        static const char suffix[] = ".partition.d";
        _cleanup_free_ char *path = NULL;
        size_t n = strlen(name);

        if (name[0] == '.')
                return 0;
        if (asprintf(&path, "%s%s", prefix, name) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        if (ulv_streq(prefix, "partitions/") && n >= sizeof(suffix) && ulv_streq(name + n - strlen(suffix), suffix)) {
                _cleanup_free_ char *below = NULL;

                if (asprintf(&below, "%s/", path) < 0) {
                        below = NULL;
                        return -ENOMEM;
                }
                return read_directory(dir, name, below, f, problems);
        }
        if (ulv_bundle_path_is_valid(path))
                return read_one(dir, name, path, f, problems);
        n = strlen(path);
        if (n > 10 && (ulv_streq(path + n - 10, ".partition") || ulv_streq(path + n - 7, ".policy")))
                problem(problems, path, "its name can't be one: a to z, 0 to 9 and - (at most 63), then .partition or .policy");
        return 0;
}

static int read_directory(int parent, const char *name, const char *prefix, struct config_files *f, struct ulv_strbuf *problems) {
        int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
        struct stat st;
        DIR *d;

        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0) {
                problem(problems, prefix, errno == ENOTDIR || errno == ELOOP ? "isn't a directory" : strerror(errno));
                return 0;
        }
        if (fstat(fd, &st) < 0 || untrusted(&st)) {
                problem(problems, prefix, untrusted(&st));
                (void) ulv_close(fd);
                return 0;
        }
        d = fdopendir(fd);
        if (!d) {
                (void) ulv_close(fd);
                return -ENOMEM;
        }
        while (r == 0) {
                const struct dirent *e;

                errno = 0;
                e = readdir(d);
                if (!e) {
                        r = -errno;
                        break;
                }
                r = read_entry(dirfd(d), e->d_name, prefix, f, problems);
        }
        (void) closedir(d);
        return r;
}

static int by_line(const void *a, const void *b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* Directories come in no order; people and tests get the same text for the same files. */
static int sort_lines(struct ulv_strbuf *b) {
        _cleanup_free_ char *text = ulv_strbuf_steal(b);
        _cleanup_free_ char **lines = NULL;
        size_t n = 0;

        if (!text)
                return b->error;
        for (const char *p = text; *p; p++)
                n += *p == '\n';
        lines = calloc(n + 1, sizeof(*lines));
        if (!lines)
                return -ENOMEM;
        n = 0;
        for (char *p = text, *nl; (nl = strchr(p, '\n')); p = nl + 1) {
                *nl = 0;
                lines[n++] = p;
        }
        qsort(lines, n, sizeof(*lines), by_line);
        for (size_t i = 0; i < n; i++)
                ulv_strbuf_addf(b, "%s\n", lines[i]);
        return b->error;
}

int config_files_read(int etc, struct config_files *ret, struct ulv_strbuf *problems) {
        struct config_files f = { 0 };
        int r;

        r = read_directory(etc, "partitions", "partitions/", &f, problems);
        if (r == 0)
                r = read_directory(etc, "policies", "policies/", &f, problems);
        if (r == 0)
                r = read_directory(etc, "templates", ULV_TEMPLATES, &f, problems);
        if (r == 0 && problems->len > 0)
                r = sort_lines(problems);
        if (r == 0)
                r = problems->error;
        if (r < 0) {
                config_files_done(&f);
                return r;
        }
        *ret = f;
        return 0;
}

/* Opens the directory that path's last part is in, by steps that follow no link; -1 and errno. */
static int open_parent(int etc, const char *path, bool make, const char **ret_name) {
        int dir = fcntl(etc, F_DUPFD_CLOEXEC, 0);

        for (const char *slash; dir >= 0 && (slash = strchr(path, '/')); path = slash + 1) {
                _cleanup_free_ char *part = strndup(path, (size_t) (slash - path));
                int next;

                if (!part) {
                        (void) ulv_close(dir);
                        errno = ENOMEM;
                        return -1;
                }
                if (make)
                        (void) mkdirat(dir, part, 0755);
                next = openat(dir, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                (void) ulv_close(dir);
                dir = next;
        }
        *ret_name = path;
        return dir;
}

int config_file_read(int etc, const char *path, char **ret_buf, size_t *ret_len) {
        const char *name;
        _cleanup_close_ int dir = open_parent(etc, path, false, &name);

        if (dir < 0)
                return -errno;
        return ulv_read_file_at(dir, name, ULV_INI_FILE_MAX, ret_buf, ret_len);
}

int config_file_write(int etc, const char *path, const char *buf, size_t len) {
        const char *name;
        _cleanup_close_ int dir = open_parent(etc, path, buf != NULL, &name);
        const char *d = strstr(path, ".partition.d/");

        if (dir < 0)
                return !buf && errno == ENOENT ? 0 : -errno;
        if (buf)
                return ulv_write_file_atomic(dir, name, buf, len, 0644);
        if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
                return -errno;
        if (fsync(dir) < 0)
                return -errno;
        if (d) {
                _cleanup_free_ char *below = strndup(path, (size_t) (d - path) + strlen(".partition.d"));

                /* Others' drop-ins may still be in it. */
                if (below && unlinkat(etc, below, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY && errno != EEXIST && errno != EACCES && errno != EPERM)
                        return -errno;
        }
        return 0;
}
