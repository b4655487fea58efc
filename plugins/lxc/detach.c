/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Taking a mount or a device away from a container that runs, and proving it.
 *
 * Theory of operation. A service inside may have a mount namespace of its own, with a copy of the mount, and somebody may
 * have bound it to another place: all of them show in /proc/PID/mountinfo of the container's processes, as mounts of the
 * same file system and of the same directory (or node) in it. Each is unmounted where it is, by a child that enters the
 * container; umount without MNT_DETACH fails while a file below is open, which is the proof that none is. What may be
 * left then is a file of a mount that somebody inside has hidden before (umount -l): so the open files of all
 * its processes are looked through, too.
 *
 * What processes are called, and what their files are, is theirs to say: numbers are read here, and nothing else. */

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "plugins/lxc/detach.h"
#include "plugins/lxc/lxc.h"

#define SPOTS_MAX 1024          /* places where one thing is mounted */
#define NAMESPACES_MAX 256
#define LINE_MAX_ 16384

struct spot { unsigned ns; uint64_t id; char *path; };
struct pids { pid_t *v; size_t n; };
struct search {
        const struct lxc_detach *x;
        struct pids pids;
        struct { ino_t ino; int fd; } ns[NAMESPACES_MAX]; unsigned n_ns;
        struct spot spots[SPOTS_MAX]; unsigned n_spots;
        char *dev, *top;        /* of the mount, as mountinfo has them; NULL: it isn't in the leader's namespace any more */
};

static int because(struct ulv_diag *d, const char *try_, const char *fmt, ...) ULV_PRINTF(3, 4);
static int because(struct ulv_diag *d, const char *try_, const char *fmt, ...) {
        char text[400];
        va_list ap;

        va_start(ap, fmt);
        (void) vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        ulv_diag_why(d, "%s", text);
        ulv_diag_try(d, "%s", try_);
        return 1;
}

/* --- mountinfo -------------------------------------------------------------------------------------------- */

/* "36 35 98:0 /mnt1 /mnt2 rw,noatime ...": id, dev, top, point. */
struct line { uint64_t id; const char *dev, *top; char *point; };

static bool parse(char *text, struct line *ret) {
        char *field[5], *save = NULL;

        for (unsigned i = 0; i < 5; i++)
                if (!(field[i] = strtok_r(i == 0 ? text : NULL, " ", &save)))
                        return false;
        *ret = (struct line) { .id = strtoull(field[0], NULL, 10), .dev = field[2], .top = field[3], .point = field[4] };
        return true;
}

/* \040 and the like. */
static void unescape(char *s) {
        char *out = s;

        for (; *s; s++)
                if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
                        *out++ = (char) ((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
                        s += 3;
                } else
                        *out++ = *s;
        *out = 0;
}

/* Calls f for each line until it returns non-zero, which is returned; -errno. */
static int each_mount(pid_t pid, int (*f)(const struct line *l, void *userdata), void *userdata) {
        char path[64], *text = malloc(LINE_MAX_);
        struct line l;
        FILE *file;
        int r = 0;

        (void) snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int) pid);
        file = text ? fopen(path, "re") : NULL;
        if (!file)
                r = text ? -errno : -ENOMEM;
        while (r == 0 && fgets(text, LINE_MAX_, file)) {
                /* One that is longer than any path is none of ours. */
                if (!strchr(text, '\n') || !parse(text, &l))
                        continue;
                r = f(&l, userdata);
        }
        if (file)
                (void) fclose(file);
        free(text);
        return r;
}

static int is_it(const struct line *l, void *userdata) { return l->id == *(uint64_t *) userdata; }

bool lxc_detach_is_there(pid_t leader, uint64_t mount) { return each_mount(leader, is_it, &mount) == 1; }

static int take_dev(const struct line *l, void *userdata) {
        struct search *s = userdata;

        if (l->id != s->x->mount)
                return 0;
        s->dev = strdup(l->dev);
        s->top = strdup(l->top);
        return s->dev && s->top ? 1 : -ENOMEM;
}

static int take_spot(const struct line *l, void *userdata) {
        struct search *s = userdata;
        struct spot *p = &s->spots[s->n_spots];

        if (!ulv_streq(l->dev, s->dev) || !ulv_streq(l->top, s->top))
                return 0;
        /* The container's own root may be of the same directory: that is another mount, and not what was attached. */
        if (ulv_streq(l->point, "/"))
                return 0;
        if (s->n_spots == SPOTS_MAX)
                return -E2BIG;
        *p = (struct spot) { .ns = s->n_ns - 1, .id = l->id, .path = strdup(l->point) };
        if (!p->path)
                return -ENOMEM;
        unescape(p->path);
        s->n_spots++;
        return 0;
}

/* --- the container's processes -------------------------------------------------------------------------------- */

static int add_pid(struct pids *p, pid_t pid) {
        if ((p->n & (p->n - 1)) == 0) {
                pid_t *more = reallocarray(p->v, ULV_MAX(p->n * 2, (size_t) 1), sizeof(*more));
                if (!more)
                        return -ENOMEM;
                p->v = more;
        }
        p->v[p->n++] = pid;
        return 0;
}

static int add_cgroup(struct pids *p, int cgroup, unsigned depth) {
        int fd = openat(cgroup, "cgroup.procs", O_RDONLY | O_CLOEXEC), copy, r = 0, pid;
        FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
        struct dirent *e;

        if (!f)
                return fd < 0 ? -errno : -ENOMEM;
        while (r == 0 && fscanf(f, "%d", &pid) == 1)
                r = add_pid(p, pid);
        (void) fclose(f);
        copy = r == 0 && depth > 0 ? openat(cgroup, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
        while (d && r == 0 && (e = readdir(d))) {
                if (e->d_type != DT_DIR || e->d_name[0] == '.')
                        continue;
                _cleanup_close_ int sub = openat(cgroup, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
                r = sub >= 0 ? add_cgroup(p, sub, depth - 1) : 0;
                r = r == -ENOENT || r == -ENODEV ? 0 : r;
        }
        if (d)
                (void) closedir(d);
        return r;
}

/* All of them; without a cgroup, those of its pid namespace. */
static int collect_pids(struct search *s) {
        _cleanup_close_ int cgroup = ulv_cgroup_open(s->x->cgroup, false);
        struct stat own, st;
        char path[64];
        struct dirent *e;
        int r = 0;

        s->pids.n = 0;
        if (cgroup >= 0)
                return add_cgroup(&s->pids, cgroup, ULV_CGROUP_DEPTH);
        (void) snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int) s->x->leader);
        DIR *d = stat(path, &own) == 0 ? opendir("/proc") : NULL;
        if (!d)
                return -errno;
        while (r == 0 && (e = readdir(d))) {
                long pid = strtol(e->d_name, NULL, 10);
                if (pid <= 0)
                        continue;
                (void) snprintf(path, sizeof(path), "/proc/%ld/ns/pid", pid);
                if (stat(path, &st) == 0 && st.st_ino == own.st_ino)
                        r = add_pid(&s->pids, (pid_t) pid);
        }
        (void) closedir(d);
        return r;
}

static int search_namespace(struct search *s, pid_t pid) {
        char path[64];
        struct stat st;
        int r;

        (void) snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int) pid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return ulv_close(fd) == -1 && (errno == ENOENT || errno == ESRCH) ? 0 : -errno;
        for (unsigned i = 0; i < s->n_ns; i++)
                if (s->ns[i].ino == st.st_ino) {
                        (void) close(fd);
                        return 0;
                }
        if (s->n_ns == NAMESPACES_MAX) {
                (void) close(fd);
                return -E2BIG;
        }
        s->ns[s->n_ns].ino = st.st_ino;
        s->ns[s->n_ns++].fd = fd;
        r = each_mount(pid, take_spot, s);
        return r == -ENOENT || r == -EINVAL ? 0 : r;    /* it ended meanwhile */
}

static int search_all(struct search *s) {
        int r = each_mount(s->x->leader, take_dev, s);

        if (r < 0)
                return r;
        r = collect_pids(s);
        if (r == 0 && s->dev)
                r = search_namespace(s, s->x->leader);
        for (size_t i = 0; r == 0 && s->dev && i < s->pids.n; i++)
                r = search_namespace(s, s->pids.v[i]);
        return r;
}

/* --- who uses it ------------------------------------------------------------------------------------------------ */

static bool is_of(const struct search *s, int dir, const char *name) {
        _cleanup_close_ int fd = openat(dir, name, O_PATH | O_CLOEXEC);
        struct statx st;

        if (fd < 0 || statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_MNT_ID, &st) < 0)
                return false;
        if (s->x->node && (s->x->node->block ? S_ISBLK(st.stx_mode) : S_ISCHR(st.stx_mode)) && st.stx_rdev_major == s->x->node->major &&
            st.stx_rdev_minor == s->x->node->minor)
                return true;
        if (st.stx_mnt_id == s->x->mount)
                return true;
        for (unsigned i = 0; i < s->n_spots; i++)
                if (s->spots[i].id == st.stx_mnt_id)
                        return true;
        return false;
}

static bool uses(const struct search *s, pid_t pid) {
        char path[64];
        struct dirent *e;
        bool found;

        (void) snprintf(path, sizeof(path), "/proc/%d", (int) pid);
        _cleanup_close_ int proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (proc < 0)
                return false;
        found = is_of(s, proc, "cwd") || is_of(s, proc, "root") || is_of(s, proc, "exe");
        int fd = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
        while (d && !found && (e = readdir(d)))
                found = e->d_name[0] != '.' && is_of(s, fd, e->d_name);
        if (d)
                (void) closedir(d);
        else
                (void) ulv_close(fd);
        return found;
}

/* 0: nobody. */
static pid_t find_user(struct search *s) {
        if (collect_pids(s) < 0)
                return 0;
        for (size_t i = 0; i < s->pids.n; i++)
                if (uses(s, s->pids.v[i]))
                        return s->pids.v[i];
        return 0;
}

/* --- taking it away ----------------------------------------------------------------------------------------------- */

int lxc_detach_enter(int leader_pidfd, const int *keep, size_t n, struct ulv_diag *d) {
        int last = leader_pidfd;
        pid_t parent = getppid();

        for (size_t i = 0; i < n; i++)
                last = ULV_MAX(last, keep[i]);
        /* Nobody in there sees us, for we stay in our pid namespace; and if he did, there would be nothing to take. */
        for (int fd = 0; fd <= last; fd++) {
                bool kept = fd == leader_pidfd;
                for (size_t i = 0; i < n; i++)
                        kept |= fd == keep[i];
                if (!kept)
                        (void) close(fd);
        }
        (void) close_range((unsigned) last + 1, ~0U, 0);
        if (setns(leader_pidfd, CLONE_NEWUSER) < 0 || setns(leader_pidfd, CLONE_NEWNS) < 0 ||
            setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
                return because(d, "uvctl check", "entering the partition: %s", strerror(errno));
        (void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        /* Other credentials make the kernel forget it. Whoever comes after a killed monitor finds us done, or dead. */
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (getppid() != parent)
                _exit(1);
        return 0;
}

/* In a child: every place, that of the leader's namespace last, for the others may be copies that hang on it. */
static _Noreturn void umount_all(struct search *s) {
        int keep[NAMESPACES_MAX + 1], failed = 0;
        struct ulv_diag ignored;

        for (unsigned i = 0; i < s->n_ns; i++)
                keep[i] = s->ns[i].fd;
        if (lxc_detach_enter(s->x->leader_pidfd, keep, s->n_ns, &ignored) != 0)
                _exit(EPERM);
        for (unsigned i = s->n_ns; i-- > 0; ) {
                if (setns(s->ns[i].fd, CLONE_NEWNS) < 0) {
                        failed = errno;
                        continue;
                }
                for (unsigned k = s->n_spots; k-- > 0; ) {
                        struct spot *p = &s->spots[k];
                        struct stat st;

                        if (p->ns != i || umount2(p->path, UMOUNT_NOFOLLOW | (s->x->force ? MNT_DETACH : 0)) == 0 || errno == ENOENT) {
                                if (p->ns == i && s->x->node && lstat(p->path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0)
                                        (void) unlink(p->path);         /* the file that the node lay over */
                        } else if (errno != EINVAL || lxc_detach_is_there(s->x->leader, p->id))
                                failed = errno;
                }
        }
        _exit(failed);
}

static int run_umount(struct search *s) {
        int status;
        pid_t pid = fork();

        if (pid < 0)
                return -errno;
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
                umount_all(s);
        }
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

/* Is it still mounted anywhere? */
static bool is_left(struct search *s) {
        for (unsigned i = 0; i < s->n_ns; i++)
                (void) ulv_close(s->ns[i].fd);
        for (unsigned i = 0; i < s->n_spots; i++)
                free(s->spots[i].path);
        s->n_ns = s->n_spots = 0;
        if (collect_pids(s) < 0 || search_namespace(s, s->x->leader) < 0)
                return true;
        for (size_t i = 0; i < s->pids.n; i++)
                if (search_namespace(s, s->pids.v[i]) < 0)
                        return true;
        return s->n_spots > 0;
}

static int busy(struct search *s, int r, struct ulv_diag *d) {
        pid_t user = find_user(s);

        if (user > 0)
                return because(d, "uvctl detach --force, which takes it out of sight; or end that process",
                               "it is in use: process %d of this host, which runs in the partition, has it open or stands in it", (int) user);
        if (r == -EBUSY)
                return because(d, "uvctl detach --force, or again when what maps it has ended",
                               "it is in use: something in the partition maps a file of it, or has mounted something below it");
        return because(d, "uvctl stop, which takes it away with all the rest", "it can't be taken away from a mount namespace in the partition: %s", strerror(-r));
}

int lxc_detach_remove(const struct lxc_detach *x, struct ulv_diag *d) {
        struct search *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return because(d, "the same again", "%s", strerror(ENOMEM));
        s->x = x;
        r = search_all(s);
        if (r < 0)
                return because(d, "uvctl check", "looking for it in the partition: %s", strerror(-r));
        r = s->n_spots > 0 ? run_umount(s) : 0;
        /* Whose files are open is told to root of its own user namespace alone. */
        if (setns(x->leader_pidfd, CLONE_NEWUSER) < 0)
                return because(d, "uvctl check", "entering the partition: %s", strerror(errno));
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (r < 0 && !x->force)
                return busy(s, r, d);
        if (s->dev && find_user(s) == 0 && is_left(s))
                return busy(s, r < 0 ? r : -EINVAL, d);
        if (find_user(s) > 0)
                return x->force ? LXC_DETACH_LATER : busy(s, -EBUSY, d);
        return 0;
}
