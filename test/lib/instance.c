/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test/lib/instance.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/bus.h"
#include "lib/protocol.h"
#include "model/inventory.h"

void fail_(const char *file, int line, const char *fmt, ...) {
        va_list ap;

        fprintf(stderr, "%s:%d: ", file, line);
        va_start(ap, fmt);
        vfprintf(stderr, fmt, ap);
        va_end(ap);
        fprintf(stderr, "\n");
        exit(1);
}

void msleep(unsigned ms) { (void) nanosleep(&(struct timespec) { ms / 1000, (long) (ms % 1000) * 1000000 }, NULL); }

uint64_t now_usec(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}

/* xorshift64*: the same seed gives the same run. */
unsigned random_below(uint64_t *state, unsigned n) {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        return (unsigned) ((*state * UINT64_C(2685821657736338717)) >> 33) % n;
}

void instance_write(const struct instance *i, const char *path, const char *fmt, ...) {
        char full[512], *slash;
        va_list ap;
        FILE *f;

        snprintf(full, sizeof(full), "%s/%s", i->root, path);
        for (slash = strchr(full + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = 0;
                (void) mkdir(full, 0755);
                *slash = '/';
        }
        f = fopen(full, "we");
        if (!f)
                FAIL("%s: %m", full);
        va_start(ap, fmt);
        vfprintf(f, fmt, ap);
        va_end(ap);
        fclose(f);
}

void instance_make(struct instance *i, const char *name, const char *inventory) {
        const char *bin = getenv("ULV_BIN");

        /* A reader of our output that leaves early (grep -q) must not leave an instance behind. */
        (void) signal(SIGPIPE, SIG_IGN);
        *i = (struct instance) { .launch = -1 };
        snprintf(i->bin, sizeof(i->bin), "%s", bin ? bin : "build/bin");
        snprintf(i->root, sizeof(i->root), "/tmp/uv-%s-XXXXXX", name);
        if (!mkdtemp(i->root) || chmod(i->root, 0755) < 0)
                FAIL("%s: %m", i->root);
        snprintf(i->inventory, sizeof(i->inventory), "%s/machine.inventory", i->root);
        instance_write(i, "machine.inventory", "%s", inventory);
}

void instance_busybox(const struct instance *i) {
        char command[1024];

        snprintf(command, sizeof(command), "set -e; cd %s; mkdir -p tree/bin tree/etc tree/proc tree/sys tree/dev tree/tmp tree/run; "
                 "cp /bin/busybox tree/bin/; for a in sh sleep true cat echo; do ln -sf busybox tree/bin/$a; done; "
                 "echo root:x:0:0::/:/bin/sh >tree/etc/passwd", i->root);
        if (system(command) != 0)
                FAIL("cannot make a root file system (is busybox-static installed?)");
}

sd_bus *instance_manager(const struct instance *i) {
        char path[256];
        sd_bus *bus = NULL;

        snprintf(path, sizeof(path), "%s/run/ultravisor/" ULV_SOCKET_PUBLIC, i->root);
        return ulv_bus_connect(NULL, path, &bus) < 0 ? NULL : bus;
}

sd_bus *instance_ledger(const struct instance *i) {
        char path[256];
        sd_bus *bus = NULL;

        snprintf(path, sizeof(path), "%s/run/ultravisor/" ULV_SOCKET_LEDGER, i->root);
        return ulv_bus_connect(NULL, path, &bus) < 0 ? NULL : bus;
}

void become_command(void) {
        if (setgroups(1, &(gid_t) { ULV_GID_ROLES }) < 0 || setresgid(ULV_UID_COMMAND, ULV_UID_COMMAND, ULV_UID_COMMAND) < 0 ||
            setresuid(ULV_UID_COMMAND, ULV_UID_COMMAND, ULV_UID_COMMAND) < 0)
                FAIL("cannot become uv-command: %m");
}

char *instance_rows(sd_bus *manager, const char *kind, uint64_t *ret_generation) {
        sd_bus_message *m = NULL;
        const char *rows;
        char *copy = NULL;
        uint64_t generation;

        if (!manager || sd_bus_call_method(manager, NULL, ULV_PATH, ULV_IF_MANAGER, "Rows", NULL, &m, "s", kind) < 0)
                return NULL;
        if (sd_bus_message_read(m, "ts", &generation, &rows) >= 0) {
                copy = strdup(rows);
                if (ret_generation)
                        *ret_generation = generation;
        }
        sd_bus_message_unref(m);
        return copy;
}

void instance_start(struct instance *i) {
        uint64_t end = now_usec() + 15000000;

        i->launch = fork();
        if (i->launch < 0)
                FAIL("fork: %m");
        if (i->launch == 0) {
                char uvd[300], log[200];
                int fd;

                snprintf(log, sizeof(log), "%s/log", i->root);
                fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
                if (fd < 0 || dup2(fd, 2) < 0 || dup2(fd, 1) < 0)
                        _exit(127);
                setsid();
                snprintf(uvd, sizeof(uvd), "%s/uvd", i->bin);
                execl(uvd, uvd, "--standalone", "--root", i->root, "--inventory", i->inventory, NULL);
                _exit(127);
        }
        while (now_usec() < end) {
                sd_bus *bus = instance_manager(i);
                char *rows = instance_rows(bus, "ledger", NULL);
                bool up = rows != NULL && rows[0];

                free(rows);
                if (bus)
                        sd_bus_close_unref(bus);
                if (up)
                        return;
                if (waitpid(i->launch, NULL, WNOHANG) == i->launch)
                        FAIL("uv-launch ended; see %s/log", i->root);
                msleep(20);
        }
        FAIL("the instance didn't come up in 15 s; see %s/log", i->root);
}

static int wait_job(sd_bus *manager, const char *job, char *text, size_t size) {
        sd_bus_message *m = NULL;
        const char *state, *txn, *t;
        int r;

        r = sd_bus_call_method(manager, NULL, ULV_PATH, ULV_IF_MANAGER, "Wait", NULL, &m, "st", job, (uint64_t) 0);
        if (r < 0)
                return r;
        r = sd_bus_message_read(m, "sss", &state, &txn, &t);
        if (r >= 0) {
                r = ulv_streq(state, "done") ? 0 : 1;
                snprintf(text, size, "%s: %s", state, t);
        }
        sd_bus_message_unref(m);
        return r;
}

int instance_do(sd_bus *manager, const char *verb, const char *name, unsigned flags, char *text, size_t size) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        const char *job, *plan;
        struct ulv_diag d;
        int r;

        text[0] = 0;
        r = sd_bus_call_method(manager, NULL, ULV_PATH, ULV_IF_MANAGER, verb, &error, &m, "asuts", 1, name, flags, (uint64_t) 0, "test");
        if (r < 0) {
                ulv_bus_error_to_diag(&error, r, &d);
                snprintf(text, size, "%s / %s", d.what, d.why);
                if (sd_bus_error_is_set(&error) && d.code != ULV_EXIT_UNREACHABLE && d.code != ULV_EXIT_TIMEOUT &&
                    !sd_bus_error_has_name(&error, ULV_ERROR_OUTCOME_UNKNOWN))
                        r = 1;
                sd_bus_error_free(&error);
                return r;
        }
        r = sd_bus_message_read(m, "ss", &job, &plan);
        if (r >= 0)
                r = job[0] ? wait_job(manager, job, text, size) : 0;
        sd_bus_message_unref(m);
        return r;
}

uint64_t process_start_time(pid_t pid) {
        char path[64], buf[1024], *p;
        uint64_t start = 0;
        ssize_t n;
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return 0;
        n = read(fd, buf, sizeof(buf) - 1);
        close(fd);
        if (n <= 0)
                return 0;
        buf[n] = 0;
        p = strrchr(buf, ')');
        /* The state is field 3, the start time field 22 (proc_pid_stat(5)). A zombie isn't there any more. */
        if (!p || p[2] == 'Z' || p[2] == 'X')
                return 0;
        p += 2;
        for (int f = 3; f < 22 && p; f++) {
                p = strchr(p, ' ');
                if (p)
                        p++;
        }
        if (p)
                start = strtoull(p, NULL, 10);
        return start;
}

static pid_t parent_of(pid_t pid, char *comm, size_t size) {
        char path[64], buf[1024], *open_, *close_;
        ssize_t n;
        int fd, ppid;

        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -1;
        n = read(fd, buf, sizeof(buf) - 1);
        close(fd);
        if (n <= 0)
                return -1;
        buf[n] = 0;
        open_ = strchr(buf, '(');
        close_ = strrchr(buf, ')');
        if (!open_ || !close_ || close_[2] == 'Z')
                return -1;
        *close_ = 0;
        snprintf(comm, size, "%s", open_ + 1);
        ppid = (int) strtol(close_ + 4, NULL, 10);
        return ppid;
}

static bool is_below(pid_t pid, pid_t ancestor) {
        char comm[64];

        for (int depth = 0; pid > 1 && depth < 16; depth++) {
                pid = parent_of(pid, comm, sizeof(comm));
                if (pid == ancestor)
                        return true;
        }
        return false;
}

void each_process(const struct instance *i, int (*f)(pid_t pid, const char *exe, const char *comm, void *userdata), void *userdata) {
        DIR *d = opendir("/proc");
        struct dirent *e;

        if (!d)
                FAIL("/proc: %m");
        while ((e = readdir(d))) {
                pid_t pid = (pid_t) strtol(e->d_name, NULL, 10);
                char link[64], exe[512], comm[64], *slash;
                ssize_t n;

                if (pid <= 1 || parent_of(pid, comm, sizeof(comm)) < 0 || !is_below(pid, i->launch))
                        continue;
                snprintf(link, sizeof(link), "/proc/%d/exe", pid);
                n = readlink(link, exe, sizeof(exe) - 1);
                exe[n > 0 ? n : 0] = 0;
                slash = strrchr(exe, '/');
                if (f(pid, slash ? slash + 1 : exe, comm, userdata) != 0)
                        break;
        }
        closedir(d);
}

/* Anything whose command line or mounts name the root was left behind. */
static int left_behind(const struct instance *i) {
        DIR *d = opendir("/proc");
        struct dirent *e;
        int n = 0;

        while (d && (e = readdir(d))) {
                pid_t pid = (pid_t) strtol(e->d_name, NULL, 10);
                char path[64], buf[4096];
                ssize_t got;
                int fd;

                if (pid <= 1 || pid == getpid())
                        continue;
                snprintf(path, sizeof(path), "/proc/%d/environ", pid);
                fd = open(path, O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        continue;
                got = read(fd, buf, sizeof(buf) - 1);
                close(fd);
                if (got > 0 && memmem(buf, (size_t) got, i->root, strlen(i->root))) {
                        fprintf(stderr, "left behind: process %d\n", pid);
                        n++;
                }
        }
        if (d)
                closedir(d);
        return n;
}

int instance_stop(struct instance *i) {
        char *const rm[] = { (char *) "rm", (char *) "-rf", (char *) "--one-file-system", i->root, NULL };
        uint64_t end = now_usec() + 30000000;
        pid_t pid;
        int left;

        if (i->launch > 0) {
                kill(i->launch, SIGTERM);
                while (waitpid(i->launch, NULL, WNOHANG) == 0) {
                        if (now_usec() > end) {
                                fprintf(stderr, "uv-launch didn't end in 30 s\n");
                                kill(i->launch, SIGKILL);
                                waitpid(i->launch, NULL, 0);
                                return 1;
                        }
                        msleep(10);
                }
        }
        left = left_behind(i);
        if (left == 0 && !getenv("ULV_KEEP")) {
                pid = fork();
                if (pid == 0) {
                        execvp("rm", rm);
                        _exit(127);
                }
                waitpid(pid, NULL, 0);
        }
        return left;
}
