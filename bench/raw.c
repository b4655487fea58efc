/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the kernel alone takes for N containers at a time: the same namespaces, a mapped user namespace, a root with
 * /proc and a /dev, a program in it; no ledger, no monitor, no console, no log, no limits, no filter. One worker a CPU
 * starts its part of them, as fast as it can. */

#include "bench/raw.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define WORKERS_MAX 64
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

/* In the container: waits for its map, makes its root, executes. */
static void inside(const char *tree, int go) {
        char c;

        if (read(go, &c, 1) != 1 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount(tree, tree, NULL, MS_BIND, NULL) < 0 ||
            chdir(tree) < 0 || mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ||
            mount("dev", "dev", "tmpfs", MS_NOSUID, NULL) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
                _exit(1);
        execl("/bin/busybox", "sleep", "3600", NULL);
        _exit(1);
}

/* Returns once the program is executed: then the last end of the pipe is closed. */
static bool start_one(const char *tree) {
        int go[2], done[2];
        bool r = false;
        char c;
        long pid;

        if (pipe2(go, O_CLOEXEC) < 0)
                return false;
        if (pipe2(done, O_CLOEXEC) < 0)
                return false;
        pid = syscall(SYS_clone, FLAGS | SIGCHLD, NULL, NULL, NULL, NULL);
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
                (void) close(go[1]);
                inside(tree, go[0]);
        }
        (void) close(go[0]);
        (void) close(done[1]);
        if (pid > 0 && write_map((pid_t) pid, "uid_map") && write_map((pid_t) pid, "gid_map") && write(go[1], "", 1) == 1)
                r = read(done[0], &c, 1) == 0 && waitpid((pid_t) pid, NULL, WNOHANG) == 0;
        (void) close(go[1]);
        (void) close(done[0]);
        return r;
}

/* Tells how many it started, and keeps them until it is told to go. */
static void worker(const char *tree, unsigned n, int tell, int stay) {
        unsigned i;
        char c;

        for (i = 0; i < n && start_one(tree); i++)
                ;
        if (write(tell, &i, sizeof(i)) < 0)
                _exit(1);
        while (read(stay, &c, 1) > 0)
                ;
        _exit(0);       /* PDEATHSIG ends them */
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
