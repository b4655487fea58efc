/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* System calls that Debian 12's C library has no function for. */

#include <linux/openat2.h>
#include <linux/sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static inline pid_t sys_clone3(struct clone_args *a) { return (pid_t) syscall(SYS_clone3, a, sizeof(*a)); }
static inline int sys_openat2(int dir, const char *path, uint64_t flags, uint64_t resolve) {
        struct open_how how = { .flags = flags, .resolve = resolve };
        return (int) syscall(SYS_openat2, dir, path, &how, sizeof(how));
}
static inline int sys_pivot_root(const char *new_root, const char *put_old) {
        return (int) syscall(SYS_pivot_root, new_root, put_old);
}
