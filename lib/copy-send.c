/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The sending end (copy.h). Directories are walked by fd; what changes its sort meanwhile is opened as nothing else
 * than it was seen as, and what isn't to be opened (a device, a FIFO) is looked at without being opened. */

#include "lib/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int put_record(struct copy *c, enum copy_kind kind, const struct stat *st, uint64_t size, const char *name) {
        struct copy_record r = { .kind = kind, .size = size, .length = name ? (uint32_t) strlen(name) : 0 };
        int k;

        if (st) {
                r.mode = st->st_mode & 07777;
                r.time = st->st_mtim.tv_sec;
                r.nsec = (uint32_t) st->st_mtim.tv_nsec;
        }
        k = copy_write(c, &r, sizeof(r));
        return k == 0 && name ? copy_write(c, name, strlen(name)) : k;
}

static int put_end(struct copy *c, bool torn) {
        struct copy_record r = { .kind = COPY_END, .mode = torn ? COPY_TORN : 0 };

        return copy_write(c, &r, sizeof(r));
}

static const char shorter[] = "it became shorter while it was read";

/* One piece of at most a chunk. 0; 1: the file can't be read on (told); -errno of the stream. */
static int put_data(struct copy *c, int fd, uint64_t offset, uint64_t n) {
        struct copy_record r = { .kind = COPY_DATA, .size = offset };
        ssize_t k;

        do
                k = pread(fd, c->buf, n < COPY_CHUNK ? n : COPY_CHUNK, (off_t) offset);
        while (k < 0 && errno == EINTR && !(c->stop && *c->stop));
        if (k <= 0) {
                copy_left_out(c, k < 0 ? errno : 0, shorter);
                return 1;
        }
        r.length = (uint32_t) k;
        int e = copy_write(c, &r, sizeof(r));
        if (e == 0)
                e = copy_write(c, c->buf, (size_t) k);
        c->bytes += (uint64_t) k;
        if (e == 0 && c->tick)
                c->tick(c);
        return e;
}

/* No data any more: a hole up to the end, or is the end not where it was? */
static int end_of_data(struct copy *c, int fd, uint64_t size) {
        struct stat st;

        if (fstat(fd, &st) == 0 && (uint64_t) st.st_size >= size)
                return 0;
        copy_left_out(c, 0, shorter);
        return 1;
}

/* What lies between holes, up to the size that was told. */
static int put_contents(struct copy *c, int fd, uint64_t size) {
        uint64_t at = 0;

        while (at < size) {
                off_t data = lseek(fd, (off_t) at, SEEK_DATA), hole;

                if (data < 0 && errno == ENXIO)
                        return end_of_data(c, fd, size);
                hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
                uint64_t end = hole < 0 || (uint64_t) hole > size ? size : (uint64_t) hole;     /* no such calls: all of it is data */

                for (at = data < 0 ? at : (uint64_t) data; at < end;) {
                        uint64_t before = c->bytes;
                        int r = put_data(c, fd, at, end - at);

                        if (r != 0)
                                return r;
                        at += c->bytes - before;
                }
        }
        return 0;
}

static int send_file(struct copy *c, int fd, const struct stat *st, const char *name) {
        int r = put_record(c, COPY_FILE, st, (uint64_t) st->st_size, name);

        if (r == 0)
                r = put_contents(c, fd, (uint64_t) st->st_size);
        if (r < 0)
                return r;
        c->files += r == 0;
        return put_end(c, r > 0);
}

static int send_link(struct copy *c, int dir, const struct stat *st, const char *name) {
        char target[COPY_TARGET_MAX + 1];
        ssize_t n = readlinkat(dir, name, target, sizeof(target));
        int r;

        if (n <= 0 || n == sizeof(target)) {
                copy_left_out(c, n < 0 ? errno : ENAMETOOLONG, NULL);
                return 0;
        }
        r = put_record(c, COPY_LINK, st, (uint64_t) n, name);
        c->files += r == 0;
        return r == 0 ? copy_write(c, target, (size_t) n) : r;
}

static int send_entry(struct copy *c, int dir, dev_t dev, const char *name, unsigned depth);

/* fd becomes the DIR's. */
static int send_directory(struct copy *c, int fd, const struct stat *st, const char *name, unsigned depth) {
        struct dirent *e;
        DIR *d = NULL;
        int r;

        if (depth >= COPY_DEPTH_MAX || !(d = fdopendir(fd))) {
                copy_left_out(c, depth >= COPY_DEPTH_MAX ? 0 : errno, "directories too deep in each other");
                (void) close(fd);
                return 0;
        }
        r = put_record(c, COPY_DIRECTORY, st, 0, name);
        while (r == 0 && (errno = 0, e = readdir(d)))
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                        r = send_entry(c, dirfd(d), st->st_dev, e->d_name, depth + 1);
        if (r == 0 && errno != 0)
                copy_left_out(c, errno, NULL);
        (void) closedir(d);
        return r == 0 ? put_end(c, false) : r;
}

static int send_opened(struct copy *c, int fd, const struct stat *st, const char *name, unsigned depth) {
        int r;

        if (S_ISDIR(st->st_mode))
                return send_directory(c, fd, st, name, depth);
        r = send_file(c, fd, st, name);
        (void) close(fd);
        return r;
}

static int open_as(int dir, const char *name, const struct stat *seen, int flags, struct stat *ret) {
        int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags | (S_ISDIR(seen->st_mode) ? O_DIRECTORY : 0));

        if (fd < 0 || (fstat(fd, ret) == 0 && (ret->st_mode & S_IFMT) == (seen->st_mode & S_IFMT)))
                return fd;
        (void) close(fd);
        errno = ESTALE;
        return -1;
}

static int send_found(struct copy *c, int dir, dev_t dev, const char *name, unsigned depth) {
        struct stat seen, st;
        int fd;

        if (fstatat(dir, name, &seen, AT_SYMLINK_NOFOLLOW) < 0) {
                copy_left_out(c, errno, NULL);
                return 0;
        }
        if (S_ISLNK(seen.st_mode))
                return send_link(c, dir, &seen, name);
        if (!S_ISREG(seen.st_mode) && !S_ISDIR(seen.st_mode)) {
                copy_left_out(c, 0, "no file, directory or symbolic link");
                return 0;
        }
        if (seen.st_dev != dev) {
                copy_left_out(c, 0, "another file system is mounted there");
                return 0;
        }
        fd = open_as(dir, name, &seen, O_NOFOLLOW, &st);
        if (fd < 0) {
                copy_left_out(c, errno, NULL);
                return 0;
        }
        return send_opened(c, fd, &st, name, depth);
}

static int send_entry(struct copy *c, int dir, dev_t dev, const char *name, unsigned depth) {
        int r;

        copy_enter(c, name);
        r = send_found(c, dir, dev, name, depth);
        copy_leave(c);
        return r;
}

int copy_send(struct copy *c, const char *path) {
        struct copy_record done = { .kind = COPY_DONE };
        struct stat seen, st;
        int fd = -1, r;

        if (stat(path, &seen) < 0)
                r = -errno;
        else if (!S_ISREG(seen.st_mode) && !S_ISDIR(seen.st_mode))
                r = -EINVAL;
        else
                r = (fd = open_as(AT_FDCWD, path, &seen, 0, &st)) < 0 ? -errno : 0;
        if (r < 0) {
                c->complain(c, "", r == -EINVAL ? 0 : -r, "no file, and no directory");
                return r;
        }
        r = copy_write(c, COPY_MAGIC, sizeof(COPY_MAGIC) - 1);
        if (r == 0)
                r = send_opened(c, fd, &st, "-", 0);    /* who receives it knows what to call it */
        else
                (void) close(fd);
        if (r == 0)
                r = copy_write(c, &done, sizeof(done));
        if (r < 0 && r != -EPIPE && r != -EINTR)
                c->complain(c, "", -r, NULL);
        return r;
}
