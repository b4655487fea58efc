/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

int ulv_write_all(int fd, const char *buf, size_t len) {
        while (len > 0) {
                ssize_t n = write(fd, buf, len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                buf += n;
                len -= (size_t) n;
        }
        return 0;
}

int ulv_memfd_sealed(const char *name, const char *buf, size_t len, int *ret_fd) {
        _cleanup_close_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        if (fd < 0)
                return -errno;
        r = ulv_write_all(fd, buf, len);
        if (r < 0)
                return r;
        if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                return -errno;
        if (lseek(fd, 0, SEEK_SET) < 0)
                return -errno;
        *ret_fd = ulv_steal_fd(&fd);
        return 0;
}

bool ulv_memfd_is_sealed(int fd) {
        const int want = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
        int seals = fcntl(fd, F_GET_SEALS);

        return seals >= 0 && (seals & want) == want;
}

int ulv_read_fd(int fd, size_t max, char **ret_buf, size_t *ret_len) {
        _cleanup_free_ char *buf = NULL;
        size_t len = 0, size = 0;
        off_t offset = 0;
        bool seeks = lseek(fd, 0, SEEK_CUR) >= 0;
        struct stat st;

        /* Room for the whole file and one byte more, so that the end is seen without growing again. */
        if (fstat(fd, &st) >= 0 && S_ISREG(st.st_mode) && st.st_size > 0)
                size = ULV_MIN((size_t) st.st_size, max) + 2;
        for (;;) {
                ssize_t n;

                if (size < len + 2 || !buf) {
                        char *bigger;

                        size = ULV_MAX(size < len + 2 ? size * 2 : size, (size_t) 4096);
                        bigger = realloc(buf, size);
                        if (!bigger)
                                return -ENOMEM;
                        buf = bigger;
                }
                n = seeks ? pread(fd, buf + len, size - len - 1, offset) : read(fd, buf + len, size - len - 1);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                len += (size_t) n;
                offset += n;
                if (len > max)
                        return -EFBIG;
        }
        buf[len] = 0;
        *ret_buf = ulv_steal(buf);
        *ret_len = len;
        return 0;
}

int ulv_read_file_at(int dirfd, const char *name, size_t max, char **ret_buf, size_t *ret_len) {
        /* O_NONBLOCK: a fifo in the place of a file must not hang us; regular files ignore it. */
        _cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        struct stat st;

        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        return ulv_read_fd(fd, max, ret_buf, ret_len);
}

int ulv_write_file_atomic(int dirfd, const char *name, const char *buf, size_t len, mode_t mode) {
        _cleanup_free_ char *temp = NULL;
        _cleanup_close_ int fd = -1, dir = -1;
        int r;

        if (asprintf(&temp, ".%s.new", name) < 0) {
                temp = NULL;
                return -ENOMEM;
        }
        (void) unlinkat(dirfd, temp, 0);
        fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd < 0)
                return -errno;
        r = ulv_write_all(fd, buf, len);
        if (r >= 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0 || renameat(dirfd, temp, dirfd, name) < 0))
                r = -errno;
        if (r < 0) {
                (void) unlinkat(dirfd, temp, 0);
                return r;
        }
        /* dirfd may be AT_FDCWD or O_PATH, which fsync() doesn't take. */
        dir = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0 || fsync(dir) < 0)
                return -errno;
        return 0;
}
