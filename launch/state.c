/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What lets a new uv-launch take over from one that was killed.
 *
 * run/ultravisor/launch.state (root only) names every process that we started: pid, its start time (a
 * reused pid has another, in the same boot), and a monitor's token. It is written before a child is let go:
 * a line more for a monitor, for there may be thousands, and what is said of one last counts; whole for a
 * role, or when half of it may be of monitors that ended. A line without its end is of a child that was
 * never let go. After a reboot it says nothing any more.
 * The new uv-launch opens a pidfd for each that is still the same process: an old role is killed (it was
 * dying anyway), a monitor is kept, watched by its pidfd, and its fd store fills when it sees the new
 * notification socket. Whether such a monitor ended well can't be reaped; it says STOPPING=1 before it
 * ends with status 0, and that is taken as its status. A monitor that died meanwhile is started again.
 *
 * Two locks: one on ROOT (one uv-launch each), and one on the host for instances that enforce, since
 * two ledgers must not give the same cores (an imagined machine takes none; a part of this machine locks
 * its prefix). The host's lock file names ROOT: while partitions of a killed uv-launch still run there,
 * nobody else gets it. */

#include "launch/launch.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/nameform.h"
#include "lib/protocol.h"

#define STATE "launch.state"
#define LINE_SIZE 4200
#define APPENDED_MIN 256        /* lines before the file is worth to be made anew */
#define ENDED "-"               /* the token of a monitor that isn't to come again */

/* The id of this boot; "-" where the kernel doesn't tell. */
static void boot_id(char id[40]) {
        FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

        if (!f || fscanf(f, "%39s", id) != 1)
                memcpy(id, "-", 2);
        if (f)
                (void) fclose(f);
}

/* Does a state file that is open at its start come from this boot? Its first line says. */
static bool of_this_boot(FILE *f) {
        char line[LINE_SIZE], id[40], now[40];

        boot_id(now);
        return fgets(line, sizeof(line), f) && sscanf(line, "boot %39s", id) == 1 && ulv_streq(id, now);
}

/* --- the state file ---------------------------------------------------------------------------------- */

static int print_service(FILE *f, const struct service *s) {
        return fprintf(f, "%s %s %d %llu %s\n", s->role ? "role" : "monitor", s->name, (int) s->pid, (unsigned long long) s->start_ticks,
                       s->token[0] ? s->token : "-");
}

static int write_whole(struct launch *l) {
        int fd = openat(l->run_fd, STATE ".new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
        char boot[40];
        bool bad;

        if (!f) {
                int r = -errno;

                (void) ulv_close(fd);
                return r;
        }
        boot_id(boot);
        (void) fprintf(f, "boot %s\ncgroup %s\n", boot, l->cgroup);
        for (const struct service *s = l->services; s; s = s->next)
                if (!s->role || s->pid > 0)
                        (void) print_service(f, s);
        bad = ferror(f);
        if (fclose(f) != 0 || bad)
                return -EIO;
        return renameat(l->run_fd, STATE ".new", l->run_fd, STATE) < 0 ? -errno : 0;
}

int state_write(struct launch *l) {
        int r = write_whole(l);

        l->state_appended = 0;
        l->state_whole = r >= 0;
        return r;
}

/* What can't be added whole would spoil the next line: the file is made anew. */
static int append(struct launch *l, const char *line, size_t n) {
        _cleanup_close_ int fd = -1;

        if (l->state_whole && l->state_appended < l->n_services + APPENDED_MIN)
                fd = openat(l->run_fd, STATE, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || write(fd, line, n) != (ssize_t) n)
                return state_write(l);
        l->state_appended++;
        return 0;
}

int state_started(struct launch *l, const struct service *s) {
        char line[NAME_SIZE + TOKEN_SIZE + 64];
        int n;

        if (s->role)
                return state_write(l);
        n = snprintf(line, sizeof(line), "monitor %s %d %llu %s\n", s->name, (int) s->pid, (unsigned long long) s->start_ticks, s->token);
        return append(l, line, (size_t) n);
}

void state_ended(struct launch *l, const char *monitor) {
        char line[NAME_SIZE + 64];
        int n = snprintf(line, sizeof(line), "monitor %s 0 0 " ENDED "\n", monitor);

        (void) append(l, line, (size_t) n);
}

/* A pidfd of the process that the line names, or -1 if that one is gone. */
static int same_process(pid_t pid, uint64_t ticks) {
        _cleanup_close_ int fd = pid > 0 ? (int) syscall(SYS_pidfd_open, pid, 0) : -1;

        /* First the fd, then the look: now the pid can't change its owner unseen. */
        return fd >= 0 && ticks > 0 && process_start_ticks(pid) == ticks ? ulv_steal_fd(&fd) : -1;
}

static void end_old_role(const char *name, int pidfd) {
        struct pollfd p = { .fd = pidfd, .events = POLLIN };

        (void) syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        if (poll(&p, 1, 5000) <= 0)
                say(3, "an old %s doesn't die", name);
        (void) ulv_close(pidfd);
}

static int adopt_monitor(struct launch *l, const char *name, const char *token, pid_t pid, uint64_t ticks) {
        struct service *s;
        int r = service_new(l, NULL, name, &s);

        if (r < 0)
                return r;
        (void) snprintf(s->token, sizeof(s->token), "%s", token);
        s->pidfd = same_process(pid, ticks);
        s->started_at = now_usec();
        if (s->pidfd < 0) {
                s->restart_at = s->started_at;
                say(4, "the monitor of %s died while there was no uv-launch: started again", name);
                return 0;
        }
        s->pid = pid;
        s->start_ticks = ticks;
        return watch(l, s->pidfd, EPOLLIN, s);
}

struct line { char kind[16], name[NAME_SIZE], token[TOKEN_SIZE]; int pid; unsigned long long ticks; };

/* Of lines about one process the last counts. */
static int collect(FILE *f, struct launch *l, struct line **ret, size_t *ret_n) {
        struct line *lines = NULL, one;
        char text[LINE_SIZE];
        size_t n = 0, i;

        while (fgets(text, sizeof(text), f)) {
                (void) sscanf(text, "cgroup %4095[^\n]", l->cgroup);
                if (!strchr(text, '\n') || sscanf(text, "%15s %63s %d %llu %32s", one.kind, one.name, &one.pid, &one.ticks, one.token) != 5 ||
                    !ulv_name_form_ok(one.name))
                        continue;
                for (i = 0; i < n && !(ulv_streq(lines[i].kind, one.kind) && ulv_streq(lines[i].name, one.name)); i++)
                        ;
                if (i == n) {
                        struct line *more = reallocarray(lines, n + 1, sizeof(*lines));

                        if (!more) {
                                free(lines);
                                return -ENOMEM;
                        }
                        lines = more;
                        n++;
                }
                lines[i] = one;
        }
        *ret = lines;
        *ret_n = n;
        return 0;
}

int state_adopt(struct launch *l) {
        int fd = openat(l->run_fd, STATE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), r = 0;
        FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
        _cleanup_free_ struct line *lines = NULL;
        size_t n = 0;
        unsigned adopted = 0;

        if (!f) {
                (void) ulv_close(fd);
                return 0;
        }
        if (of_this_boot(f))
                r = collect(f, l, &lines, &n);
        (void) fclose(f);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                const struct line *x = &lines[i];

                if (ulv_streq(x->kind, "monitor") && !ulv_streq(x->token, ENDED)) {
                        r = adopt_monitor(l, x->name, x->token, x->pid, x->ticks);
                        adopted++;
                } else if (!ulv_streq(x->kind, "monitor") && (fd = same_process(x->pid, x->ticks)) >= 0)
                        end_old_role(x->name, fd);
        }
        if (adopted > 0)
                say(5, "adopted %u monitor%s of an earlier uv-launch", adopted, adopted == 1 ? "" : "s");
        return r;
}

/* Does a monitor in another root's state file still run? */
static bool somebody_runs(const char *root) {
        char path[4096 + 64], line[LINE_SIZE], kind[16];
        unsigned long long ticks;
        bool runs = false, current = false;
        FILE *f;
        int pid;

        (void) snprintf(path, sizeof(path), "%s/" ULV_RUN "/" STATE, root);
        f = fopen(path, "re");
        while (f && !runs && (current || (current = of_this_boot(f))) && fgets(line, sizeof(line), f))
                if (sscanf(line, "%15s %*s %d %llu", kind, &pid, &ticks) == 3 && ulv_streq(kind, "monitor")) {
                        int fd = same_process(pid, ticks);

                        runs = fd >= 0;
                        (void) ulv_close(fd);
                }
        if (f)
                (void) fclose(f);
        return runs;
}

/* --- locks ------------------------------------------------------------------------------------------- */

int lock_root(struct launch *l) {
        l->root_lock = openat(l->run_fd, "launch.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (l->root_lock < 0)
                return refuse("can't make run/ultravisor/launch.lock", strerror(errno), "another --root");
        if (flock(l->root_lock, LOCK_EX | LOCK_NB) < 0)
                return refuse("another uv-launch serves this root directory", l->root, "stop that one (Ctrl-C, or SIGTERM), or another --root");
        return 0;
}

/* The two keys of [Machine] that matter here; the whole file is uvd's to judge. */
static int inventory_kind(const struct launch *l, char kind[32], char prefix[32]) {
        FILE *f = fopen(l->inventory, "re");
        char line[4096];

        if (!f)
                return -errno;
        while (fgets(line, sizeof(line), f)) {
                const char *p = line + strspn(line, " \t");

                (void) sscanf(p, "Kind = %31[a-z]", kind);
                (void) sscanf(p, "Prefix = %31[a-z0-9-]", prefix);
        }
        (void) fclose(f);
        return 0;
}

/* Opens and locks the file; again if it was removed under us by the one who had it. Others may not open it: who can
 * open a file can lock it. */
static int lock_file(const char *path) {
        for (;;) {
                _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
                struct stat a, b;

                if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &a) < 0)
                        return -errno;
                if (stat(path, &b) >= 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev)
                        return ulv_steal_fd(&fd);
        }
}

static void read_holder(const char *path, char *buf, size_t size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, buf, size - 1);

        buf[n > 0 ? n : 0] = 0;
        buf[strcspn(buf, "\n")] = 0;
}

/* An installed Ultravisor's uvd locks the file, too, and can't write its name there (uvd/recover.c): nobody's name is
 * its name. Its partitions run on without it, in these two slices. */
static bool installed_runs(void) {
        static const char *const events[] = { "/sys/fs/cgroup/ultravisor.slice/cgroup.events", "/sys/fs/cgroup/uvpool.slice/cgroup.events" };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(events); i++) {
                char text[128] = "";

                read_holder(events[i], text, sizeof(text));
                if (ulv_streq(text, "populated 1"))
                        return true;
        }
        return false;
}

static int refuse_host(const struct launch *l, const char *holder, bool locked) {
        char why[4400];

        if (holder[0])
                (void) snprintf(why, sizeof(why), "%s: the one in %s %s", l->host_lock_path, holder, locked ? "runs" : "was killed, and its partitions run on");
        else
                (void) snprintf(why, sizeof(why), "%s: the installed one (uvd.service) %s", l->host_lock_path, locked ? "runs" : "is stopped, and its partitions run on");
        return refuse("another Ultravisor gives this machine's cores and memory", why,
                      locked ? "stop that one, or --inventory FILE with Kind=part and a Prefix of its own" :
                      holder[0] ? "uv-launch --root on that directory, which adopts them" : "systemctl start ultravisor.target, which adopts them");
}

int lock_host(struct launch *l) {
        char kind[32] = "", prefix[32] = "", holder[4096];
        int fd;

        if (l->inventory[0]) {
                int r = inventory_kind(l, kind, prefix);

                if (r < 0)
                        return refuse("can't read the inventory file", strerror(-r), "a path that exists");
                if (!ulv_streq(kind, "part"))
                        return 0;       /* imagined: nothing on this host is given */
        }
        (void) mkdir("/run/lock", 0755);
        (void) snprintf(l->host_lock_path, sizeof(l->host_lock_path), "/run/lock/ultravisor%s%s.lock", prefix[0] ? "-" : "", prefix);
        fd = lock_file(l->host_lock_path);
        if (fd < 0 && fd != -EWOULDBLOCK)
                return refuse("can't take the host's lock", strerror(-fd), "mount a tmpfs on /run");
        read_holder(l->host_lock_path, holder, sizeof(holder));
        if (fd < 0 && ulv_streq(holder, l->root))
                return refuse("another uv-launch serves this root directory", l->root, "stop that one (Ctrl-C, or SIGTERM), or another --root");
        if (fd < 0 || (!prefix[0] && !holder[0] && installed_runs()) || (holder[0] == '/' && !ulv_streq(holder, l->root) && somebody_runs(holder))) {
                (void) ulv_close(fd);
                return refuse_host(l, holder, fd < 0);
        }
        if (ftruncate(fd, 0) < 0 || dprintf(fd, "%s\n", l->root) < 0)
                say(4, "can't write %s: %s", l->host_lock_path, strerror(errno));
        l->host_lock = fd;
        return 0;
}

/* A file that systemd-tmpfiles made, for an installed uvd's group, stays. */
void unlock(struct launch *l) {
        struct stat st;

        if (l->host_lock >= 0 && (ftruncate(l->host_lock, 0) < 0 || fstat(l->host_lock, &st) < 0 || st.st_gid == 0))
                (void) unlink(l->host_lock_path);
        l->host_lock = ulv_close(l->host_lock);
        l->root_lock = ulv_close(l->root_lock);
}
