/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files and memfds, by fd and with limits. All return 0 or -errno; every fd is O_CLOEXEC. */

#include <sys/types.h>

#include "lib/base.h"

/* A read-only memfd with these bytes: sealed SHRINK|GROW|WRITE|SEAL. */
int ulv_memfd_sealed(const char *name, const char *buf, size_t len, int *ret_fd) ULV_MUST_CHECK;
/* True if fd is a memfd that nobody can change any more (SHRINK|GROW|WRITE sealed). */
bool ulv_memfd_is_sealed(int fd);
/* Reads all of fd from offset 0 if it can seek, else from where it is; NUL-terminated, len without the
 * NUL. -EFBIG if there are more than max bytes. */
int ulv_read_fd(int fd, size_t max, char **ret_buf, size_t *ret_len) ULV_MUST_CHECK;
/* Opens dirfd/name without following a link at the end, regular files only (-EINVAL), and reads it. */
int ulv_read_file_at(int dirfd, const char *name, size_t max, char **ret_buf, size_t *ret_len) ULV_MUST_CHECK;
/* Writes dirfd/name so that after a crash either the old or the new content is there, whole: temporary
 * file, fsync, rename, fsync of the directory. */
int ulv_write_file_atomic(int dirfd, const char *name, const char *buf, size_t len, mode_t mode) ULV_MUST_CHECK;
int ulv_write_all(int fd, const char *buf, size_t len) ULV_MUST_CHECK;
