/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A power cut, as a library to preload (THREATS.md 1.4: kill -9 alone proves nothing about durability, for
 * the kernel still writes what the dead process left in the page cache).
 *
 * Files in $ULV_POWER_DIR are used as they are; beside them, $ULV_POWER_DISK holds what a disk would hold:
 * a file's bytes get there only by fsync/fdatasync of the file, a name only by fsync of the directory. The
 * test kills the process, puts what the disk held in the place of the directory (taking any subset of
 * the unsynced sectors over, as a disk may), and starts it again. With ULV_POWER_LIE=1 a sync returns
 * success and does nothing: the control, which must lose transactions.
 *
 * Only what SQLite and our own code call is interposed; a file written through mmap (the -shm file, which
 * is never durable) isn't seen. One thread. */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FDS 1024
#define RANGES 4096

struct file {
        char name[256];                 /* "" = not a watched file; "." = the directory itself */
        struct { off_t from, to; } dirty[RANGES];
        int n_dirty;
        bool truncated;
};
static struct file *files[FDS];
static char disk[PATH_MAX / 2], dir[PATH_MAX / 2];
static bool lie, ready;

#define REAL(name) ((__typeof__(&name)) real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static void begin(void) {
        const char *d = getenv("ULV_POWER_DIR"), *k = getenv("ULV_POWER_DISK");

        ready = true;
        if (d && k) {
                snprintf(dir, sizeof(dir), "%s", d);
                snprintf(disk, sizeof(disk), "%s", k);
        }
        lie = getenv("ULV_POWER_LIE") != NULL;
}

static void opened(int fd, ...) {
        char link[64], path[PATH_MAX];
        ssize_t n;
        size_t d;

        if (!ready)
                begin();
        if (fd < 0 || fd >= FDS || !dir[0])
                return;
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path) - 1);
        d = strlen(dir);
        free(files[fd]);
        files[fd] = NULL;
        if (n < (ssize_t) d || strncmp(path, dir, d) != 0)
                return;
        path[n] = 0;
        if (path[d] && (path[d] != '/' || strchr(path + d + 1, '/')))
                return;
        files[fd] = calloc(1, sizeof(struct file));
        if (files[fd])
                snprintf(files[fd]->name, sizeof(files[fd]->name), "%s", path[d] ? path + d + 1 : ".");
}

static struct file *of(int fd) { return fd >= 0 && fd < FDS ? files[fd] : NULL; }

static void written(int fd, off_t from, ssize_t n) {
        struct file *f = of(fd);

        if (!f || n <= 0)
                return;
        if (f->n_dirty == RANGES) {     /* One range over all of them: more is copied, never less. */
                for (int i = 1; i < RANGES; i++) {
                        if (f->dirty[i].from < f->dirty[0].from)
                                f->dirty[0].from = f->dirty[i].from;
                        if (f->dirty[i].to > f->dirty[0].to)
                                f->dirty[0].to = f->dirty[i].to;
                }
                f->n_dirty = 1;
        }
        f->dirty[f->n_dirty].from = from;
        f->dirty[f->n_dirty++].to = from + n;
}

/* The disk's place for a name: durable ("n-") or known by its content only ("p-"). */
static void place(char *buf, size_t size, char kind, const char *name) { snprintf(buf, size, "%s/%c-%s", disk, kind, name); }

static void sync_names(void) {
        char n[PATH_MAX], p[PATH_MAX], here[PATH_MAX];
        FILE *list;

        /* "unlinked" lists names whose removal is not on disk yet. */
        snprintf(n, sizeof(n), "%s/unlinked", disk);
        list = fopen(n, "re");
        if (list) {
                char name[256];

                while (fgets(name, sizeof(name), list)) {
                        name[strcspn(name, "\n")] = 0;
                        snprintf(here, sizeof(here), "%s/%s", dir, name);
                        place(p, sizeof(p), 'n', name);
                        if (access(here, F_OK) < 0)
                                (void) REAL(unlink)(p);
                }
                fclose(list);
                (void) REAL(unlink)(n);
        }
        for (int fd = 0; fd < FDS; fd++)
                if (files[fd]) {
                        place(p, sizeof(p), 'p', files[fd]->name);
                        place(n, sizeof(n), 'n', files[fd]->name);
                        if (access(n, F_OK) < 0)
                                (void) REAL(rename)(p, n);
                }
}

static int synced(int fd) {
        struct file *f = of(fd);
        char path[PATH_MAX], *buf;
        struct stat st;
        int out;

        if (!f || lie)
                return 0;
        if (strcmp(f->name, ".") == 0) {
                sync_names();
                return 0;
        }
        place(path, sizeof(path), 'n', f->name);
        if (access(path, F_OK) < 0)
                place(path, sizeof(path), 'p', f->name);
        out = REAL(open)(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (out < 0 || fstat(fd, &st) < 0)
                abort();
        for (int i = 0; i < f->n_dirty; i++) {
                size_t n = (size_t) (f->dirty[i].to - f->dirty[i].from);
                ssize_t got;

                buf = malloc(n);
                got = buf ? pread(fd, buf, n, f->dirty[i].from) : -1;
                if (got > 0 && REAL(pwrite)(out, buf, (size_t) got, f->dirty[i].from) != got)
                        abort();
                free(buf);
        }
        if (f->truncated && REAL(ftruncate)(out, st.st_size) < 0)
                abort();
        f->n_dirty = 0;
        f->truncated = false;
        (void) REAL(close)(out);
        return 0;
}

#define OPEN_BODY(call)                                                                            \
        mode_t mode = 0;                                                                           \
        int fd;                                                                                    \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                                     \
                va_list ap;                                                                        \
                va_start(ap, flags);                                                               \
                mode = va_arg(ap, mode_t);                                                         \
                va_end(ap);                                                                        \
        }                                                                                          \
        fd = call;                                                                                 \
        opened(fd);                                                                                \
        return fd;

int open(const char *p, int flags, ...) { OPEN_BODY(REAL(open)(p, flags, mode)) }
int open64(const char *p, int flags, ...) { OPEN_BODY(REAL(open64)(p, flags, mode)) }
int openat(int d, const char *p, int flags, ...) { OPEN_BODY(REAL(openat)(d, p, flags, mode)) }
int openat64(int d, const char *p, int flags, ...) { OPEN_BODY(REAL(openat64)(d, p, flags, mode)) }

int close(int fd) {
        if (fd >= 0 && fd < FDS) {
                /* Data that was never synced stays unsynced: the image on the disk simply lacks it. */
                free(files[fd]);
                files[fd] = NULL;
        }
        return REAL(close)(fd);
}

ssize_t write(int fd, const void *b, size_t n) {
        off_t at = of(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
        ssize_t r = REAL(write)(fd, b, n);

        written(fd, at, r);
        return r;
}
ssize_t pwrite(int fd, const void *b, size_t n, off_t at) {
        ssize_t r = REAL(pwrite)(fd, b, n, at);

        written(fd, at, r);
        return r;
}
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t at) {
        ssize_t r = REAL(pwrite64)(fd, b, n, at);

        written(fd, at, r);
        return r;
}
static void cut(int fd) {
        if (of(fd))
                of(fd)->truncated = true;
}
int ftruncate(int fd, off_t n) { cut(fd); return REAL(ftruncate)(fd, n); }
int ftruncate64(int fd, off64_t n) { cut(fd); return REAL(ftruncate64)(fd, n); }
int fsync(int fd) { return of(fd) ? synced(fd) : REAL(fsync)(fd); }
int fdatasync(int fd) { return of(fd) ? synced(fd) : REAL(fdatasync)(fd); }

static void unlinked(const char *path) {
        const char *slash = strrchr(path, '/');
        char list[PATH_MAX];
        int fd;

        if (!ready)
                begin();
        if (!dir[0] || strncmp(path, dir, strlen(dir)) != 0)
                return;
        snprintf(list, sizeof(list), "%s/unlinked", disk);
        fd = REAL(open)(list, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd >= 0) {
                (void) dprintf(fd, "%s\n", slash ? slash + 1 : path);
                (void) REAL(close)(fd);
        }
}
int unlink(const char *p) {
        int r = REAL(unlink)(p);

        if (r == 0)
                unlinked(p);
        return r;
}
