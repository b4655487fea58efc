/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* uvprobe: what a partition must not be able to do, each thing tried. uvprobe.c runs the acts; the families are
 * in acts-*.c. Static, libc only: it is copied into roots that may have nothing. */

#include <errno.h>
#include <stddef.h>

/* An act does it, and returns 0: it could, or the errno that refused it. It runs in a child of its own. */
struct act {
        const char *family, *name;
        int (*run)(void);
};
extern const struct act mount_acts[], namespace_acts[], process_acts[], kernel_acts[], socket_acts[], file_acts[], right_acts[];

#define ACTS_END { NULL, NULL, NULL }
/* The value of a system call as an act's. */
#define TRIED(call) ((call) < 0 ? errno : 0)

/* For calls that look at rights before arguments, given arguments that can't work: whatever else they say,
 * the right was there. So the act does no harm where it is allowed. */
static inline int past_rights(long r) {
        return r < 0 && (errno == EPERM || errno == EACCES || errno == ENOSYS) ? errno : 0;
}
