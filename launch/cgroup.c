/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The cgroup tree of the instance: OWN/ultravisor-HASH with leaves role-NAME and monitor-NAME (by which
 * uvd knows its peers), and partition-NAME, made by the backends. cgroup2 is found in mountinfo, our
 * own cgroup in /proc/self/cgroup; neither is assumed. Controllers can be handed down only by a cgroup
 * without processes (but the root of the hierarchy): if OWN holds nobody but us, we move into a leaf of
 * our own tree. Whatever is missing is said once, with what would help; partitions then run with less,
 * and each resource says how it is enforced. */

#include "launch/launch.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <linux/magic.h>

#define PATH_SIZE (4096 + 512)       /* a cgroup of ours, and a name in it */
#define WANTED "cpuset cpu memory pids io"

static int write_file(const char *dir, const char *name, const char *text) {
        char path[PATH_SIZE];
        _cleanup_close_ int fd = -1;

        if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int) sizeof(path))
                return -ENAMETOOLONG;
        fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int read_file(const char *path, char *buf, size_t size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        size_t len = 0;
        ssize_t n;

        if (fd < 0)
                return -errno;
        while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
                len += (size_t) n;
        buf[len] = 0;
        return 0;
}

static int read_in(const char *dir, const char *name, char *buf, size_t size) {
        char path[PATH_SIZE];

        return snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int) sizeof(path) ? -ENAMETOOLONG : read_file(path, buf, size);
}

/* Where the first cgroup2 is mounted: the line of mountinfo whose type, behind " - ", is cgroup2. */
static bool find_mount(char *ret, size_t size) {
        FILE *f = fopen("/proc/self/mountinfo", "re");
        char line[8192];
        bool found = false;

        while (f && !found && fgets(line, sizeof(line), f)) {
                const char *type = strstr(line, " - ");

                found = type && ulv_startswith(type + 3, "cgroup2 ") && sscanf(line, "%*u %*u %*s %*s %4095s", ret) == 1 && strlen(ret) < size;
        }
        if (f)
                (void) fclose(f);
        return found;
}

static bool find_own(char *ret, size_t size) {
        char mount[4096], buf[8192], *p;

        if (!find_mount(mount, sizeof(mount)) || read_file("/proc/self/cgroup", buf, sizeof(buf)) < 0)
                return false;
        p = ulv_startswith(buf, "0::") ? buf + 3 : strstr(buf, "\n0::");
        if (!p)
                return false;
        p += *p == '\n' ? 4 : 0;
        p[strcspn(p, "\n")] = 0;
        return (size_t) snprintf(ret, size, "%s%s", mount, ulv_streq(p, "/") ? "" : p) < size;
}

static unsigned hash(const char *s) {
        unsigned h = 2166136261u;       /* FNV-1a: a name, not a secret */

        for (; *s; s++)
                h = (h ^ (unsigned char) *s) * 16777619u;
        return h;
}

/* Does the cgroup hold this process and no other? */
static bool only_us(const char *own) {
        char buf[4096], us[32];

        (void) snprintf(us, sizeof(us), "%d\n", (int) getpid());
        return read_in(own, "cgroup.procs", buf, sizeof(buf)) >= 0 && ulv_streq(buf, us);
}

static bool is_hierarchy_root(const char *own) {
        char path[PATH_SIZE];

        /* Every cgroup but the root has this file. */
        (void) snprintf(path, sizeof(path), "%s/cgroup.type", own);
        return access(path, F_OK) < 0;
}

static bool has_word(const char *list, const char *word) {
        size_t n = strlen(word);

        for (const char *p = strstr(list, word); p; p = strstr(p + 1, word))
                if ((p == list || p[-1] == ' ') && (p[n] == 0 || p[n] == ' ' || p[n] == '\n'))
                        return true;
        return false;
}

/* Hands each wanted controller down to the tree; collects the names of those that can't be. Returns
 * whether all of them were at least offered to us. Where others live in our cgroup (alone is false) none is
 * tried: the kernel would take the threaded ones (cpu, cpuset, pids) and make the tree below a "domain
 * invalid" one that no process may enter (cgroup-v2, "Threads"). */
static bool enable(const char *own, const char *tree, bool alone, char *missing, size_t size) {
        char words[] = WANTED, have[1024] = "", text[64];
        bool offered = true;

        (void) read_in(own, "cgroup.controllers", have, sizeof(have));
        missing[0] = 0;
        for (char *save = NULL, *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
                (void) snprintf(text, sizeof(text), "+%s", w);
                offered = offered && has_word(have, w);
                if (alone && has_word(have, w) && write_file(own, "cgroup.subtree_control", text) >= 0 && write_file(tree, "cgroup.subtree_control", text) >= 0)
                        continue;
                (void) snprintf(missing + strlen(missing), size - strlen(missing), "%s%s", missing[0] ? " " : "", w);
        }
        return offered;
}

static void say_missing(const char *own, const char *missing, bool offered) {
        say(4, "cgroup v2 controllers missing here: %s; what they would enforce is affinity at best, else tracked only", missing);
        if (!offered)
                say(4, "why: %s doesn't offer them (cgroup v1 holds them, or they weren't handed down to us)", own);
        else
                say(4, "why: other processes than uv-launch are in %s, so it can't hand them down", own);
        say(4, "try: systemd-run --scope -p Delegate=yes uv-launch ..., or boot with systemd.unified_cgroup_hierarchy=1");
}

void cgroup_make(struct launch *l) {
        char own[2048], tree[sizeof(l->cgroup)], missing[128], leaf[PATH_SIZE];
        bool moved = false, offered;

        /* Adopted monitors know the tree of the uv-launch before us: it goes on. */
        if (l->cgroup[0] && access(l->cgroup, F_OK) >= 0)
                return;
        l->cgroup[0] = 0;
        if (!find_own(own, sizeof(own))) {
                say(4, "no cgroup2 is mounted: nothing is limited by cgroups here. try: mount -t cgroup2 none /sys/fs/cgroup");
                return;
        }
        (void) snprintf(tree, sizeof(tree), "%s/ultravisor-%08x", own, hash(l->root));
        if (mkdir(tree, 0755) < 0 && errno != EEXIST) {
                say(4, "can't make the cgroup %s: %s; nothing is limited by cgroups here", tree, strerror(errno));
                return;
        }
        if (!is_hierarchy_root(own) && only_us(own)) {
                (void) snprintf(leaf, sizeof(leaf), "%s/launch", tree);
                moved = (mkdir(leaf, 0755) >= 0 || errno == EEXIST) && write_file(leaf, "cgroup.procs", "0") >= 0;
        }
        if (moved)
                memcpy(l->moved_from, own, strlen(own) + 1);
        offered = enable(own, tree, moved || is_hierarchy_root(own), missing, sizeof(missing));
        if (missing[0])
                say_missing(own, missing, offered);
        memcpy(l->cgroup, tree, strlen(tree) + 1);
}

static void leaf_path(const struct launch *l, const struct service *s, char *path, size_t size) {
        (void) snprintf(path, size, "%s/%s-%s", l->cgroup, s->role ? "role" : "monitor", s->name);
}

/* Ours weigh ten times what a partition does: when partitions take all of the CPUs, who answers and who stops them
 * comes first. (Without the controller there is no such file.) */
int cgroup_leaf(const struct launch *l, const struct service *s) {
        char path[PATH_SIZE];

        if (!l->cgroup[0])
                return 0;
        leaf_path(l, s, path, sizeof(path));
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
                return -errno;
        (void) write_file(path, "cpu.weight", "1000");
        return 0;
}

int cgroup_enter(const struct launch *l, const struct service *s) {
        char path[PATH_SIZE];

        if (!l->cgroup[0])
                return 0;
        leaf_path(l, s, path, sizeof(path));
        return write_file(path, "cgroup.procs", "0");
}

/* A child born in its cgroup costs nothing; one that moves there makes the kernel wait for all CPUs, some
 * 10 ms on a machine that was idle. 0 in the child. Where it can't be (no cgroup, an old kernel), it is an
 * ordinary fork, and *ret_inside is false: the child enters by itself. */
pid_t cgroup_fork(const struct launch *l, const struct service *s, bool *ret_inside) {
        struct clone_args a = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD };
        char path[PATH_SIZE];
        pid_t pid = -1;
        int fd = -1;

        *ret_inside = true;
        if (l->cgroup[0]) {
                leaf_path(l, s, path, sizeof(path));
                fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        }
        if (fd >= 0) {
                a.cgroup = (uint64_t) fd;
                pid = (pid_t) syscall(SYS_clone3, &a, sizeof(a));
                (void) ulv_close(fd);
        }
        if (pid < 0) {
                *ret_inside = false;
                pid = fork();
        }
        return pid;
}

void cgroup_leaf_remove(const struct launch *l, const struct service *s) {
        char path[PATH_SIZE];

        if (!l->cgroup[0])
                return;
        leaf_path(l, s, path, sizeof(path));
        (void) rmdir(path);
}

void cgroup_kill_all(const struct launch *l) {
        DIR *d = l->cgroup[0] ? opendir(l->cgroup) : NULL;
        const struct dirent *e;
        char path[PATH_SIZE];

        while (d && (e = readdir(d)))
                if (ulv_startswith(e->d_name, "partition-") || ulv_startswith(e->d_name, "monitor-")) {
                        (void) snprintf(path, sizeof(path), "%s/%s", l->cgroup, e->d_name);
                        (void) write_file(path, "cgroup.kill", "1");
                }
        if (d)
                (void) closedir(d);
}

/* A payload may have made cgroups of its own below. */
static void remove_dir(const char *path, unsigned depth) {
        DIR *d = depth > 0 ? opendir(path) : NULL;
        const struct dirent *e;
        char sub[PATH_SIZE];

        while (d && (e = readdir(d)))
                if (e->d_type == DT_DIR && !ulv_streq(e->d_name, ".") && !ulv_streq(e->d_name, "..") &&
                    snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name) < (int) sizeof(sub))
                        remove_dir(sub, depth - 1);
        if (d)
                (void) closedir(d);
        (void) rmdir(path);
}

void cgroup_remove(struct launch *l) {
        char words[] = WANTED, text[64];

        if (!l->cgroup[0])
                return;
        /* We can go back only into a cgroup that hands nothing down. */
        for (char *save = NULL, *w = strtok_r(words, " ", &save); l->moved_from[0] && w; w = strtok_r(NULL, " ", &save)) {
                (void) snprintf(text, sizeof(text), "-%s", w);
                (void) write_file(l->cgroup, "cgroup.subtree_control", text);
                (void) write_file(l->moved_from, "cgroup.subtree_control", text);
        }
        if (l->moved_from[0] && write_file(l->moved_from, "cgroup.procs", "0") < 0)
                say(4, "can't go back to the cgroup %s", l->moved_from);
        remove_dir(l->cgroup, 16);
        if (access(l->cgroup, F_OK) >= 0)
                say(4, "the cgroup %s isn't empty and stays", l->cgroup);
}
