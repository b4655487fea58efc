/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* System calls that Debian 12's C libraries have no function for. */

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

#ifndef __GLIBC__       /* uv-attach: musl's <sys/mount.h> ends where the old interface did */
#include <linux/mount.h>
static inline int open_tree(int dir, const char *path, unsigned flags) { return (int) syscall(SYS_open_tree, dir, path, flags); }
static inline int mount_setattr(int dir, const char *path, unsigned flags, struct mount_attr *a, size_t size) {
        return (int) syscall(SYS_mount_setattr, dir, path, flags, a, size);
}
static inline int move_mount(int from, const char *from_path, int to, const char *to_path, unsigned flags) {
        return (int) syscall(SYS_move_mount, from, from_path, to, to_path, flags);
}
static inline int fsopen(const char *type, unsigned flags) { return (int) syscall(SYS_fsopen, type, flags); }
static inline int fsconfig(int fs, unsigned command, const char *key, const void *value, int aux) {
        return (int) syscall(SYS_fsconfig, fs, command, key, value, aux);
}
static inline int fsmount(int fs, unsigned flags, unsigned attrs) { return (int) syscall(SYS_fsmount, fs, flags, attrs); }
#endif
