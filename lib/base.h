/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What every file may use: ownership helpers and small macros.
 *
 * Errors in this project are of two kinds. A negative return is -errno: unexpected here, passed up
 * untouched. A positive return is a documented result of that one function and must be handled by
 * its caller. Outputs are named ret_*, and are not touched on failure. */

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ULV_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define ULV_MIN(a, b) ((a) < (b) ? (a) : (b))
#define ULV_MAX(a, b) ((a) > (b) ? (a) : (b))
#define ULV_UNUSED __attribute__((unused))
#define ULV_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define ULV_MUST_CHECK __attribute__((warn_unused_result))
#define ULV_CLEANUP(f) __attribute__((cleanup(f)))

/* Defines ulv_cleanup_NAME(T **p) for use with ULV_CLEANUP: frees what *p points to. */
#define ULV_DEFINE_CLEANUP(type, free_func)                                                        \
        static inline ULV_UNUSED void free_func##p(type **p) { if (*p) free_func(*p); }

static inline void ulv_freep(void *p) { free(*(void **) p); }
/* `_cleanup_free_ char *s = NULL;` frees s when it leaves its scope. */
#define _cleanup_free_ ULV_CLEANUP(ulv_freep)

/* Closes fd if it is one, and keeps errno. Returns -1, so that `fd = ulv_close(fd);` forgets it. */
static inline int ulv_close(int fd) {
        if (fd >= 0) {
                int saved = errno;
                (void) close(fd);
                errno = saved;
        }
        return -1;
}
static inline void ulv_closep(int *fd) { *fd = ulv_close(*fd); }
#define _cleanup_close_ ULV_CLEANUP(ulv_closep)

/* Hands over what p holds: returns it, and leaves NULL (-1 for an fd) behind. */
#define ulv_steal(p) ({ __typeof__(p) _v = (p); (p) = NULL; _v; })
static inline int ulv_steal_fd(int *fd) { int v = *fd; *fd = -1; return v; }

/* Most strings that differ do so in their first byte: no call for those. */
static inline bool ulv_streq(const char *a, const char *b) { return *a == *b && strcmp(a, b) == 0; }
static inline bool ulv_streq0(const char *a, const char *b) {
        return (!a && !b) || (a && b && strcmp(a, b) == 0);
}
/* Copies s and its NUL into a field of `size` bytes; false, and the field as it was, if it doesn't fit. */
static inline bool ulv_copy(char *field, size_t size, const char *s) {
        size_t n = strlen(s);

        if (n >= size)
                return false;
        memcpy(field, s, n + 1);
        return true;
}
static inline bool ulv_startswith(const char *s, const char *prefix) {
        return strncmp(s, prefix, strlen(prefix)) == 0;
}
