/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mounts, old calls and new; namespaces. */

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/probe/probe.h"

/* linux/mount.h and sys/mount.h exclude each other here. */
extern int mount(const char *, const char *, const char *, unsigned long, const void *);
extern int umount2(const char *, int);
#define MNT_DETACH 2

#define TARGET "/tmp"

/* Where we may, in a mount namespace of the child's own: what is allowed mustn't be in the way of the next. */
static void aside(void) { (void) unshare(CLONE_NEWNS); }
static int try_mount(const char *type, const char *data) {
        aside();
        return TRIED(mount("none", TARGET, type, 0, data));
}
static int mount_tmpfs(void) { return try_mount("tmpfs", NULL); }
static int mount_proc(void) { return try_mount("proc", NULL); }
static int mount_sysfs(void) { return try_mount("sysfs", NULL); }
static int mount_debugfs(void) { return try_mount("debugfs", NULL); }
static int mount_tracefs(void) { return try_mount("tracefs", NULL); }
static int mount_devtmpfs(void) { return try_mount("devtmpfs", NULL); }
static int mount_securityfs(void) { return try_mount("securityfs", NULL); }
static int mount_bpf(void) { return try_mount("bpf", NULL); }
static int mount_cgroup1(void) { return try_mount("cgroup", "none,name=uvprobe"); }
static int mount_cgroup2(void) { return try_mount("cgroup2", NULL); }
static int mount_bind(void) { aside(); return TRIED(mount("/", TARGET, NULL, MS_BIND, NULL)); }
static int mount_shared(void) { aside(); return TRIED(mount("none", "/", NULL, MS_REC | MS_SHARED, NULL)); }
static int mount_move(void) { aside(); return TRIED(mount("/proc", TARGET, NULL, MS_MOVE, NULL)); }
static int sys_writable(void) { aside(); return TRIED(mount("none", "/sys", NULL, MS_REMOUNT | MS_BIND, NULL)); }
static int proc_sys_writable(void) { aside(); return TRIED(mount("none", "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL)); }
static int root_with_devices(void) { aside(); return TRIED(mount("none", "/", NULL, MS_REMOUNT | MS_BIND, NULL)); }
static int unmask_kcore(void) { aside(); return TRIED(umount2("/proc/kcore", MNT_DETACH)); }
static int unmask_proc_sys(void) { aside(); return TRIED(umount2("/proc/sys", MNT_DETACH)); }
static int unmask_firmware(void) { aside(); return TRIED(umount2("/sys/firmware", MNT_DETACH)); }
static int unmount_proc(void) { aside(); return TRIED(umount2("/proc", MNT_DETACH)); }
static int unmount_dev(void) { aside(); return TRIED(umount2("/dev", MNT_DETACH)); }
static int do_pivot_root(void) { aside(); return past_rights(syscall(SYS_pivot_root, TARGET, TARGET)); }
static int do_chroot(void) { return TRIED(chroot(TARGET)); }
static int do_fsopen(void) { return TRIED(syscall(SYS_fsopen, "tmpfs", 0)); }
static int fsopen_proc(void) { return TRIED(syscall(SYS_fsopen, "proc", 0)); }
static int do_fspick(void) { return TRIED(syscall(SYS_fspick, AT_FDCWD, "/", 0)); }
static int do_fsmount(void) { return past_rights(syscall(SYS_fsmount, -1, 0, 0)); }
static int do_open_tree(void) { return TRIED(syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE)); }
static int do_move_mount(void) { return past_rights(syscall(SYS_move_mount, -1, "x", -1, "y", 0)); }
static int do_mount_setattr(void) {
        struct mount_attr a = { .attr_clr = MOUNT_ATTR_RDONLY };
        aside();
        return TRIED(syscall(SYS_mount_setattr, AT_FDCWD, "/sys", 0, &a, sizeof(a)));
}
static int idmap_again(void) {
        struct mount_attr a = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t) open("/proc/self/ns/user", O_RDONLY) };
        aside();
        return TRIED(syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &a, sizeof(a)));
}
static int do_open_tree_attr(void) {
        struct mount_attr a = { .attr_clr = MOUNT_ATTR_RDONLY };
        return TRIED(syscall(467, AT_FDCWD, "/", OPEN_TREE_CLONE, &a, sizeof(a)));
}

const struct act mount_acts[] = {
        { "mount", "tmpfs", mount_tmpfs }, { "mount", "proc", mount_proc }, { "mount", "sysfs", mount_sysfs },
        { "mount", "debugfs", mount_debugfs }, { "mount", "tracefs", mount_tracefs }, { "mount", "devtmpfs", mount_devtmpfs },
        { "mount", "securityfs", mount_securityfs }, { "mount", "bpf-fs", mount_bpf }, { "mount", "cgroup1", mount_cgroup1 },
        { "mount", "cgroup2", mount_cgroup2 }, { "mount", "bind", mount_bind }, { "mount", "shared", mount_shared },
        { "mount", "move", mount_move }, { "mount", "sys-writable", sys_writable }, { "mount", "proc-sys-writable", proc_sys_writable },
        { "mount", "root-with-devices", root_with_devices }, { "mount", "unmask-kcore", unmask_kcore },
        { "mount", "unmask-proc-sys", unmask_proc_sys }, { "mount", "unmask-firmware", unmask_firmware },
        { "mount", "unmount-proc", unmount_proc }, { "mount", "unmount-dev", unmount_dev }, { "mount", "pivot_root", do_pivot_root },
        { "mount", "chroot", do_chroot }, { "mount-api", "fsopen", do_fsopen }, { "mount-api", "fsopen-proc", fsopen_proc },
        { "mount-api", "fspick", do_fspick }, { "mount-api", "fsmount", do_fsmount }, { "mount-api", "open_tree", do_open_tree },
        { "mount-api", "move_mount", do_move_mount }, { "mount-api", "mount_setattr", do_mount_setattr },
        { "mount-api", "idmap", idmap_again }, { "mount-api", "open_tree_attr", do_open_tree_attr }, ACTS_END,
};

/* --- namespaces --------------------------------------------------------------------------------------- */

static int new_user(void) { return TRIED(unshare(CLONE_NEWUSER)); }
static int new_mount(void) { return TRIED(unshare(CLONE_NEWNS)); }
static int new_pid(void) { return TRIED(unshare(CLONE_NEWPID)); }
static int new_net(void) { return TRIED(unshare(CLONE_NEWNET)); }
static int new_ipc(void) { return TRIED(unshare(CLONE_NEWIPC)); }
static int new_uts(void) { return TRIED(unshare(CLONE_NEWUTS)); }
static int new_cgroup(void) { return TRIED(unshare(CLONE_NEWCGROUP)); }
static int new_time(void) { return TRIED(unshare(CLONE_NEWTIME)); }
static int by_clone(unsigned long flags) {
        long pid = syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
        if (pid == 0)
                _exit(0);
        return TRIED(pid);
}
static int clone_user(void) { return by_clone(CLONE_NEWUSER); }
static int clone_mount(void) { return by_clone(CLONE_NEWNS); }
static int clone_net(void) { return by_clone(CLONE_NEWNET | CLONE_NEWPID); }
static int by_clone3(uint64_t flags) {
        struct clone_args a = { .flags = flags, .exit_signal = SIGCHLD };
        long pid = syscall(SYS_clone3, &a, sizeof(a));
        if (pid == 0)
                _exit(0);
        return TRIED(pid);
}
static int clone3_user(void) { return by_clone3(CLONE_NEWUSER); }
static int clone3_mount(void) { return by_clone3(CLONE_NEWNS); }
static int clone3_set_tid(void) {
        pid_t tid = 4000;
        struct clone_args a = { .exit_signal = SIGCHLD, .set_tid = (uint64_t) (uintptr_t) &tid, .set_tid_size = 1 };
        long pid = syscall(SYS_clone3, &a, sizeof(a));
        if (pid == 0)
                _exit(0);
        return TRIED(pid);
}
static int enter(const char *path) {
        int fd = open(path, O_RDONLY);
        return fd < 0 ? errno : TRIED(setns(fd, 0));
}
static int enter_mount(void) { return enter("/proc/1/ns/mnt"); }
static int enter_pid(void) { return enter("/proc/self/ns/pid"); }
static int enter_net(void) { return enter("/proc/self/ns/net"); }
static int enter_uts(void) { return enter("/proc/1/ns/uts"); }
static int enter_by_pidfd(void) {
        int fd = (int) syscall(SYS_pidfd_open, 1, 0);
        return fd < 0 ? errno : TRIED(setns(fd, CLONE_NEWNS));
}
static int do_sethostname(void) { return TRIED(sethostname("probe", 5)); }
static int do_setdomainname(void) { return TRIED(setdomainname("probe", 5)); }

const struct act namespace_acts[] = {
        { "namespace", "user", new_user }, { "namespace", "mount", new_mount }, { "namespace", "pid", new_pid },
        { "namespace", "net", new_net }, { "namespace", "ipc", new_ipc }, { "namespace", "uts", new_uts },
        { "namespace", "cgroup", new_cgroup }, { "namespace", "time", new_time }, { "namespace", "clone-user", clone_user },
        { "namespace", "clone-mount", clone_mount }, { "namespace", "clone-net-pid", clone_net },
        { "namespace", "clone3-user", clone3_user }, { "namespace", "clone3-mount", clone3_mount },
        { "namespace", "clone3-set-tid", clone3_set_tid }, { "setns", "mount-of-1", enter_mount }, { "setns", "own-pid", enter_pid },
        { "setns", "own-net", enter_net }, { "setns", "uts-of-1", enter_uts }, { "setns", "pidfd-of-1", enter_by_pidfd },
        { "uts", "sethostname", do_sethostname }, { "uts", "setdomainname", do_setdomainname }, ACTS_END,
};
