/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One directory of a cgroup2 tree, by fd. */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

#include "monitor/enforce/enforce.h"

int ulv_cgroup_write(int fd, const char *file, const char *text) {
        _cleanup_close_ int f = openat(fd, file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        size_t n = strlen(text);

        if (f < 0)
                return -errno;
        ssize_t w = write(f, text, n);
        return w < 0 ? -errno : (size_t) w == n ? 0 : -EIO;
}

int ulv_cgroup_read(int fd, const char *file, char *buf, size_t size) {
        _cleanup_close_ int f = openat(fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        size_t len = 0;
        ssize_t n;

        if (f < 0)
                return -errno;
        while ((n = read(f, buf + len, size - len)) > 0 && (len += (size_t) n) < size)
                ;
        if (n < 0)
                return -errno;
        if (len == size)
                return -E2BIG;
        if (len > 0 && buf[len - 1] == '\n')
                len--;
        buf[len] = 0;
        return 0;
}

bool ulv_cgroup_has(int fd, const char *file) {
        return fd >= 0 && faccessat(fd, file, F_OK, 0) == 0;
}

static bool lists(const char *words, const char *word) {
        size_t n = strlen(word);

        for (const char *at = words; (at = strstr(at, word)); at += n)
                if ((at == words || at[-1] == ' ') && (at[n] == ' ' || !at[n]))
                        return true;
        return false;
}

/* Each controller by itself, for one that can't be handed down must not keep the others back. The starter
 * has usually done this for the whole tree; what fails shows in what files the cgroup then has. Nothing is written
 * that is so already or can't be: for each write the kernel looks at every cgroup below, with all others waiting. */
static void hand_down(const char *dir) {
        static const char *const controllers[] = { "+cpu", "+cpuset", "+memory", "+pids", "+io" };
        const char *slash = strrchr(dir, '/');
        char parent[512], has[256], given[256];

        if (!slash || slash == dir || (size_t) (slash - dir) >= sizeof(parent))
                return;
        snprintf(parent, sizeof(parent), "%.*s", (int) (slash - dir), dir);
        _cleanup_close_ int fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || ulv_cgroup_read(fd, "cgroup.controllers", has, sizeof(has)) < 0 ||
            ulv_cgroup_read(fd, "cgroup.subtree_control", given, sizeof(given)) < 0)
                return;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(controllers); i++)
                if (lists(has, controllers[i] + 1) && !lists(given, controllers[i] + 1))
                        (void) ulv_cgroup_write(fd, "cgroup.subtree_control", controllers[i]);
}

int ulv_cgroup_open(const char *dir, bool create) {
        if (!*dir)
                return -ENOENT;
        if (create) {
                hand_down(dir);
                if (mkdir(dir, 0755) < 0 && errno != EEXIST)
                        return errno == ENOENT ? -ENODEV : -errno;      /* wanted and impossible isn't "none" */
        }
        int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        return fd < 0 ? -errno : fd;
}

int ulv_cgroup_populated(int fd) {
        char text[256];
        int r;

        if (fd < 0)
                return 0;
        r = ulv_cgroup_read(fd, "cgroup.events", text, sizeof(text));
        if (r == -ENOENT || r == -ENODEV)       /* removed since we opened it: nothing can be in it */
                return 0;
        if (r < 0)
                return r;
        return strstr(text, "populated 0") == NULL;
}

int ulv_cgroup_kill(int fd) {
        int r = ulv_cgroup_write(fd, "cgroup.kill", "1");
        return r == -ENODEV ? -ENOENT : r;
}

/* In a directory that was handed to a container, root without CAP_DAC_OVERRIDE removes nothing; its owner does. */
static int remove_directory(int fd, const char *name) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        (void) setfsuid(st.st_uid);
        int r = unlinkat(fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
        (void) setfsuid(geteuid());
        return r;
}

/* A payload with a cgroup2 mount of its own may have made cgroups below. Only directories can be removed
 * in a cgroup tree, and it has no symbolic links: there is nothing here to be led away by. */
static int remove_below(int fd, unsigned depth) {
        int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
        struct dirent *e;
        int r = 0;

        if (!d) {
                r = -errno;
                (void) ulv_close(copy);
                return r;
        }
        while (r == 0 && (e = readdir(d))) {
                if (e->d_type != DT_DIR || ulv_streq(e->d_name, ".") || ulv_streq(e->d_name, ".."))
                        continue;
                _cleanup_close_ int sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
                if (sub < 0)
                        continue;
                r = depth < ULV_CGROUP_DEPTH ? remove_below(sub, depth + 1) : -ELOOP;
                if (r == 0)
                        r = remove_directory(fd, e->d_name);
        }
        (void) closedir(d);
        return r;
}

int ulv_cgroup_remove_below(const char *dir) {
        _cleanup_close_ int fd = ulv_cgroup_open(dir, false);
        int r = fd < 0 ? fd : remove_below(fd, 0);

        return r == -ENOENT || r == -ENODEV ? 0 : r;
}

int ulv_cgroup_remove(const char *dir) {
        int r = ulv_cgroup_remove_below(dir);

        if (r < 0)
                return r;
        return rmdir(dir) < 0 && errno != ENOENT ? -errno : 0;
}

/* --- delegation --------------------------------------------------------------------------------------- */

/* As the kernel's documentation has it: the directory and three files. What limits it stays ours, and so
 * do the number and the depth of the cgroups that it may make. */
int ulv_cgroup_delegate(int fd, uid_t uid) {
        static const char *const files[] = { "", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control" };
        char depth[16];
        int r = ulv_cgroup_write(fd, "cgroup.max.descendants", "4096");

        (void) snprintf(depth, sizeof(depth), "%d", ULV_CGROUP_DEPTH);
        if (r == 0)
                r = ulv_cgroup_write(fd, "cgroup.max.depth", depth);
        for (size_t i = 0; r == 0 && i < ULV_ARRAY_SIZE(files); i++)
                if (fchownat(fd, files[i], uid, uid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
                        r = -errno;
        return r;
}
