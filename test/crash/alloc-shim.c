/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Memory that runs out, as a library to preload: the Nth allocation ($ULV_FAIL_ALLOC) of the process fails, or,
 * with ULV_FAIL_ALLOC_ON=1, that one and every later one. glibc's own allocator does the rest. */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

static bool fails(void) {
        static unsigned long count, nth;
        static bool ready, on;

        if (!ready) {
                const char *e = getenv("ULV_FAIL_ALLOC");

                ready = true;
                nth = e ? strtoul(e, NULL, 10) : 0;
                on = getenv("ULV_FAIL_ALLOC_ON") != NULL;
        }
        count++;
        if (nth == 0 || count < nth || (count > nth && !on))
                return false;
        errno = ENOMEM;
        return true;
}

void *malloc(size_t n) { return fails() ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return fails() ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return fails() ? NULL : __libc_realloc(p, n); }
