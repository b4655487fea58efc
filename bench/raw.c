/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the kernel alone takes for a container, and for N at a time: what ours has of the kernel, by the shortest way to
 * it. The same namespaces, a mapped user namespace, a cgroup to be born in, as many mounts, a program in it; no ledger, no
 * monitor, no console, no log, no limits, no filter, nobody's rights given up. One worker a CPU starts its part of N. */

#include "bench/raw.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/cgroup.h"
#include "lib/fd.h"

#define WORKERS_MAX 64
#define MASKS 32                /* files and directories of /proc, /sys and /etc that a container of ours has covered */
#define FLAGS (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

static bool write_map(pid_t pid, const char *file) {
        char path[64];
        int fd;
        bool done;

        snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        done = fd >= 0 && write(fd, "0 1879048192 65536\n", 19) == 19;
        (void) ulv_close(fd);
        return done;
}

static void hang_in(const char *source, const char *target, const char *type, unsigned long flags) {
        if (mount(source, target, type, flags, NULL) < 0)
                _exit(1);
}

static void make_dev(void) {
        static const char *const nodes[] = { "null", "zero", "full", "random", "urandom", "tty", "console" };
        char path[32], device[32];

        hang_in("dev", "dev", "tmpfs", MS_NOSUID);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(nodes); i++) {
                snprintf(path, sizeof(path), "dev/%s", nodes[i]);
                snprintf(device, sizeof(device), "/dev/%s", i < 6 ? nodes[i] : "null");
                int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
                if (fd < 0)
                        _exit(1);
                (void) close(fd);
                hang_in(device, path, NULL, MS_BIND);
        }
        if (mkdir("dev/pts", 0755) < 0 || mkdir("dev/shm", 0755) < 0)
                _exit(1);
        hang_in("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC);
        hang_in("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV);
}

/* In the container: waits for its map, makes its root, executes. */
static void inside(const char *tree, int go) {
        char c;

        if (read(go, &c, 1) != 1 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount(tree, tree, NULL, MS_BIND, NULL) < 0 || chdir(tree) < 0)
                _exit(1);
        make_dev();
        hang_in("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC);
        hang_in("sys", "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY);
        hang_in("run", "run", "tmpfs", MS_NOSUID | MS_NODEV);
        hang_in("tmp", "tmp", "tmpfs", MS_NOSUID | MS_NODEV);
        for (unsigned i = 0; i < MASKS; i++)
                hang_in("dev/null", "proc/keys", NULL, MS_BIND);
        if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
                _exit(1);
        execl("/bin/busybox", "sleep", "3600", NULL);
        _exit(1);
}

/* This process's own cgroup, to make others in; -1: none here, and then they are born in ours. */
static int own_cgroup(void) {
        _cleanup_free_ char *text = NULL;
        char mount_[4096], path[8192];
        size_t len;
        const char *own;

        if (ulv_cgroup_mount(mount_, sizeof(mount_)) < 0 || ulv_read_file_at(AT_FDCWD, "/proc/self/cgroup", 65536, &text, &len) < 0 ||
            !(own = ulv_cgroup_path(text, &len)))
                return -1;
        snprintf(path, sizeof(path), "%s%.*s", mount_, (int) len, own);
        return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

struct raw { int cgroups; char name[32]; pid_t pid; };

/* Returns once the program is executed: then the last end of the pipe is closed. */
static bool start_one(struct raw *x, const char *tree) {
        struct clone_args a = { .flags = FLAGS, .exit_signal = SIGCHLD };
        _cleanup_close_ int cgroup = -1;
        int go[2], done[2];
        bool r = false;
        char c;

        if (x->cgroups >= 0 && mkdirat(x->cgroups, x->name, 0755) == 0)
                cgroup = openat(x->cgroups, x->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (cgroup >= 0) {
                a.flags |= CLONE_INTO_CGROUP;
                a.cgroup = (uint64_t) cgroup;
        }
        if (pipe2(go, O_CLOEXEC) < 0)
                return false;
        if (pipe2(done, O_CLOEXEC) < 0)
                return false;
        x->pid = (pid_t) syscall(SYS_clone3, &a, sizeof(a));
        if (x->pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
                (void) close(go[1]);
                inside(tree, go[0]);
        }
        (void) close(go[0]);
        (void) close(done[1]);
        if (x->pid > 0 && write_map(x->pid, "uid_map") && write_map(x->pid, "gid_map") && write(go[1], "", 1) == 1)
                r = read(done[0], &c, 1) == 0 && waitpid(x->pid, NULL, WNOHANG) == 0;
        (void) close(go[1]);
        (void) close(done[0]);
        return r;
}

static void end_one(const struct raw *x) {
        if (x->pid > 0 && kill(x->pid, SIGKILL) == 0)
                (void) waitpid(x->pid, NULL, 0);
        if (x->cgroups >= 0)
                (void) unlinkat(x->cgroups, x->name, AT_REMOVEDIR);
}

double raw_start(void *userdata) {
        struct raw x = { .cgroups = own_cgroup() };
        uint64_t start;
        bool up;

        snprintf(x.name, sizeof(x.name), "raw-%d", getpid());
        start = now_usec();
        up = start_one(&x, userdata);
        start = now_usec() - start;
        end_one(&x);
        (void) ulv_close(x.cgroups);
        return up ? (double) start / 1000 : -1;
}

/* Tells how many it started, and keeps them until it is told to go. */
static void worker(const char *tree, unsigned n, int tell, int stay) {
        struct raw *all = calloc(n, sizeof(*all));
        int cgroups = own_cgroup();
        unsigned i;
        char c;

        for (i = 0; all && i < n; i++) {
                all[i].cgroups = cgroups;
                snprintf(all[i].name, sizeof(all[i].name), "raw-%d-%u", getpid(), i);
                if (!start_one(&all[i], tree))
                        break;
        }
        if (write(tell, &i, sizeof(i)) < 0)
                _exit(1);
        while (read(stay, &c, 1) > 0)
                ;
        for (unsigned k = 0; all && k < n && k <= i; k++)
                if (all[k].pid > 0)
                        end_one(&all[k]);
        _exit(0);
}

double raw_up(const char *tree, unsigned n, unsigned *ret_started) {
        unsigned cpus = (unsigned) ULV_MIN(ULV_MAX(sysconf(_SC_NPROCESSORS_ONLN), 1L), (long) WORKERS_MAX), part;
        pid_t workers[WORKERS_MAX];
        uint64_t start = now_usec();
        int tell[2], stay[2];
        double t;

        *ret_started = 0;
        if (pipe2(tell, O_CLOEXEC) < 0 || pipe2(stay, O_CLOEXEC) < 0)
                return -1;
        for (unsigned i = 0; i < cpus; i++)
                if ((workers[i] = fork()) == 0) {
                        (void) close(stay[1]);
                        worker(tree, n / cpus + (i < n % cpus), tell[1], stay[0]);
                }
        (void) close(tell[1]);
        for (unsigned i = 0; i < cpus && read(tell[0], &part, sizeof(part)) == sizeof(part); i++)
                *ret_started += part;
        t = (double) (now_usec() - start);
        (void) close(stay[1]);
        (void) close(stay[0]);
        (void) close(tell[0]);
        for (unsigned i = 0; i < cpus; i++)
                (void) waitpid(workers[i], NULL, 0);
        return t / 1000;
}

double raw_clone(ULV_UNUSED void *userdata) {
        uint64_t start = now_usec();
        long pid = syscall(SYS_clone, FLAGS | SIGCHLD, NULL, NULL, NULL, NULL);
        int status;

        if (pid == 0) {
                execl("/bin/true", "true", NULL);
                _exit(1);
        }
        if (pid < 0 || waitpid((pid_t) pid, &status, 0) < 0 || status != 0)
                return -1;
        return (double) (now_usec() - start) / 1000;
}
