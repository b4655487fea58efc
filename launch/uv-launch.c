/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-launch: what PID 1 does for an installed Ultravisor, for one that lives in a directory.
 *
 * It starts the roles and, told by uvd, the monitors; restarts what dies; keeps fds for them as
 * sd_notify(3) describes; and nothing else. It parses `start NAME` and `stop NAME` and sd_notify lines.
 * One loop over epoll: signals (signalfd), the notification socket, the launch socket, and the pidfds of
 * adopted monitors (children are reaped by SIGCHLD). It is a subreaper, so that whatever a killed
 * monitor leaves is its child and not lost.
 *
 * The end (SIGTERM, SIGINT) goes by phases: uv-command and uv-operations first, so that nothing new is
 * decided; then every monitor gets SIGTERM, which stops its payload within its StopTimeout and reports
 * it, needing nobody; then uvd, which has recorded it all; then cgroups, sockets, run/ultravisor.
 * A second SIGINT kills everything at once.
 *
 * kill -9 on uv-launch ends the roles with it (PDEATHSIG), not the partitions: see state.c for how the
 * next one on the same root adopts their monitors. */

#include "launch/launch.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/protocol.h"
#include "model/inventory.h"

static const struct role roles[] = {
        { "uvd", "uvd", ULV_UID_UVD, .inventory = true },
        { "operations", "uv-operations", ULV_UID_OPERATIONS, .face = true },
        { "command", "uv-command", ULV_UID_COMMAND, .face = true },
};

void say(int level, const char *fmt, ...) {
        char line[1024];
        va_list ap;
        int n, k;

        if (level > 6)
                return;
        n = snprintf(line, sizeof(line), "<%d>uv-launch: ", level);
        va_start(ap, fmt);
        k = vsnprintf(line + n, sizeof(line) - (size_t) n - 1, fmt, ap);
        va_end(ap);
        n = k < 0 ? n : ULV_MIN(n + k, (int) sizeof(line) - 2);
        line[n++] = '\n';
        (void) !write(STDERR_FILENO, line, (size_t) n);
}

int refuse(const char *what, const char *why, const char *try_) {
        (void) dprintf(STDERR_FILENO, "%s\n%s\ntry: %s\n", what, why, try_);
        return -1;
}

uint64_t now_usec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}

int watch(struct launch *l, int fd, uint32_t events, void *what) {
        struct epoll_event e = { .events = events, .data.ptr = what };

        return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

/* --- the end ----------------------------------------------------------------------------------------- */

static bool stops_in(const struct service *s, enum phase phase) {
        switch (phase) {
        case PHASE_STOP_FACE:
                return s->role && s->role->face;
        case PHASE_STOP_MONITORS:
                return !s->role;
        case PHASE_STOP_UVD:
                return s->role && !s->role->face;
        default:
                return false;
        }
}

/* Is this phase's work done? Monitors are freed when they have ended; roles just have no process. */
static bool phase_over(const struct launch *l) {
        if (l->phase == PHASE_RUN)
                return false;
        for (const struct service *s = l->services; s; s = s->next)
                if (stops_in(s, l->phase) && (!s->role || s->pid > 0))
                        return false;
        return true;
}

static void next_phase(struct launch *l) {
        struct service *next;

        do {
                l->phase++;
                for (struct service *s = l->services; s; s = next) {
                        next = s->next;
                        if (stops_in(s, l->phase))
                                service_stop(l, s);
                }
        } while (l->phase < PHASE_DONE && phase_over(l));
}

static void kill_everything(struct launch *l) {
        say(4, "killing everything");
        l->hurry = true;
        cgroup_kill_all(l);
        for (struct service *s = l->services; s; s = s->next) {
                s->unwanted = true;
                s->restart_at = 0;
                service_signal(s, SIGKILL);
        }
}

static void end_signal(struct launch *l, unsigned signo) {
        if (l->phase == PHASE_RUN) {
                say(5, "stopping: partitions first, each within its StopTimeout%s", signo == SIGINT ? " (Ctrl-C again kills them)" : "");
                next_phase(l);
        } else if (signo == SIGINT && !l->hurry)
                kill_everything(l);
}

/* Whatever else became our child (we are a subreaper) is left over from a partition. */
static void kill_orphans(void) {
        char path[64], line[64];

        (void) snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int) getpid());
        for (unsigned round = 0; round < 200; round++) {
                FILE *f = fopen(path, "re");
                bool any = false;
                int pid;

                while (f && fscanf(f, "%d", &pid) == 1) {
                        any = true;
                        if (round > 0)
                                continue;
                        (void) snprintf(line, sizeof(line), "/proc/%d", pid);
                        say(4, "process %d was left over: killed", pid);
                }
                if (f)
                        (void) fclose(f);
                if (!any && waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
                        return;
                f = fopen(path, "re");
                while (f && fscanf(f, "%d", &pid) == 1)
                        (void) kill(pid, SIGKILL);      /* our child, not reaped: the pid is its own */
                if (f)
                        (void) fclose(f);
                while (waitpid(-1, NULL, WNOHANG) > 0)
                        ;
                (void) usleep(10000);
        }
}

/* --- the loop ---------------------------------------------------------------------------------------- */

/* First seen dead (but not reaped, so that its pid stays its own), then all that it said read, then reaped:
 * an fd that it pushed with its last breath is kept. */
static void reap(struct launch *l) {
        siginfo_t si;
        int status;

        for (;;) {
                struct service *s;

                si.si_pid = 0;
                if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == 0)
                        return;
                notify_drain(l);
                s = service_by_pid(l, si.si_pid);
                if (waitpid(si.si_pid, &status, 0) == si.si_pid && s)
                        service_exited(l, s, status);
        }
}

static void on_signals(struct launch *l) {
        struct signalfd_siginfo si;

        while (read(l->signals, &si, sizeof(si)) == (ssize_t) sizeof(si)) {
                if (si.ssi_signo == SIGTERM || si.ssi_signo == SIGINT)
                        end_signal(l, si.ssi_signo);
        }
        reap(l);
}

/* One event a turn: its handler may free what a later one of the same batch would point to. */
static void dispatch(struct launch *l, enum watch *what) {
        switch (*what) {
        case WATCH_SIGNALS:
                return on_signals(l);
        case WATCH_NOTIFY:
                return notify_drain(l);
        case WATCH_LISTEN:
                return control_accept(l);
        case WATCH_CLIENT:
                return control_input(l, (struct client *) what);
        case WATCH_PIDFD: {
                struct service *s = (struct service *) what;

                notify_drain(l);
                return service_exited(l, s, -1);
        }
        case WATCH_STORED:
                return stored_drop(l, (struct stored *) what);
        }
}

static void loop(struct launch *l) {
        while (l->phase != PHASE_DONE) {
                struct epoll_event e;
                int n = epoll_wait(l->epoll, &e, 1, services_timeout(l));

                if (n > 0)
                        dispatch(l, e.data.ptr);
                services_tick(l);
                if (phase_over(l))
                        next_phase(l);
        }
}

/* --- the beginning ----------------------------------------------------------------------------------- */

static int open_signals(struct launch *l) {
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
                return -errno;
        (void) signal(SIGPIPE, SIG_IGN);
        (void) signal(SIGHUP, SIG_IGN);
        l->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        l->epoll = epoll_create1(EPOLL_CLOEXEC);
        return l->signals < 0 || l->epoll < 0 ? -errno : 0;
}

static int watch_all(struct launch *l) {
        static enum watch signals = WATCH_SIGNALS, notify = WATCH_NOTIFY, listener = WATCH_LISTEN;
        int r;

        if ((r = watch(l, l->signals, EPOLLIN, &signals)) < 0 || (r = watch(l, l->notify, EPOLLIN, &notify)) < 0 ||
            (r = watch(l, l->listener, EPOLLIN, &listener)) < 0)
                return r;
        return 0;
}

static int open_sockets(struct launch *l) {
        int r;

        if ((r = notify_open(l)) < 0)
                return refuse("can't open the notification socket", strerror(-r), "another --root");
        if ((r = control_open(l)) < 0)
                return refuse("can't open the launch socket", strerror(-r), "another --root");
        if ((r = watch_all(l)) < 0)
                return refuse("can't watch the sockets", strerror(-r), "a higher limit of open files");
        return 0;
}

static int start_roles(struct launch *l) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(roles); i++) {
                struct service *s;
                int r = service_new(l, &roles[i], roles[i].name, &s);
                char what[128];

                if (r == 0)
                        r = service_start(l, s);
                if (r < 0) {
                        (void) snprintf(what, sizeof(what), "can't start %s", roles[i].program);
                        return refuse(what, strerror(-r), "make, so that all programs stand beside uv-launch, in a directory that every user can reach");
                }
        }
        return 0;
}

static int take_arguments(struct launch *l, int argc, char *argv[], const char **ret_log) {
        static const struct option options[] = {
                { "root", required_argument, NULL, 'r' }, { "inventory", required_argument, NULL, 'i' }, { "log", required_argument, NULL, 'l' },
                { "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'v' }, { NULL, 0, NULL, 0 },
        };
        const char *root = getenv("ULTRAVISOR_ROOT"), *inventory = NULL;
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (c == 'r')
                        root = optarg;
                else if (c == 'i')
                        inventory = optarg;
                else if (c == 'l')
                        *ret_log = optarg;
                else if (c == 'v')
                        return (void) printf("uv-launch %s\n", ULV_VERSION), 1;
                else if (c == 'h')
                        return (void) printf("uv-launch --root DIR [--inventory FILE] [--log FILE]\n"
                                             "Starts a whole Ultravisor that lives under DIR, where there is no systemd, and keeps it running.\n"
                                             "Ctrl-C stops its partitions and leaves nothing behind; a second one kills them.\n"), 1;
                else
                        return refuse("uv-launch doesn't know that option", "it takes --root, --inventory, --log", "uv-launch --help");
        }
        if (!root || !root[0] || optind < argc)
                return refuse("uv-launch needs one thing, its root directory", "--root DIR isn't given, or more words are", "uv-launch --root /srv/ultravisor");
        if (mkdir(root, 0755) < 0 && errno != EEXIST)
                return refuse("can't make the root directory", strerror(errno), "another --root");
        if (!realpath(root, l->root))
                return refuse("can't find the root directory", strerror(errno), "another --root");
        if (strlen(l->root) + sizeof("/" ULV_RUN_NOTIFY) > 108)
                return refuse("the path of the root directory is too long", "a socket below it must fit in 107 bytes", "a shorter --root");
        if (inventory && !realpath(inventory, l->inventory))
                return refuse("can't find the inventory file", strerror(errno), "a path that exists");
        return 0;
}

static int find_bin(struct launch *l) {
        ssize_t n = readlink("/proc/self/exe", l->bin, sizeof(l->bin) - 1);
        char *slash;

        if (n <= 0)
                return refuse("can't find the programs of Ultravisor", "/proc isn't mounted", "mount -t proc proc /proc");
        l->bin[n] = 0;
        slash = strrchr(l->bin, '/');
        *slash = 0;
        return 0;
}

/* stderr is where all of ours log; a pipe that nobody reads any more must not be the end of a partition. */
static int open_log(const char *path) {
        int fd;

        if (!path)
                return 0;
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        if (fd < 0 || dup2(fd, STDERR_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
                return refuse("can't open the log file", strerror(errno), "another --log");
        (void) ulv_close(fd);
        return 0;
}

int main(int argc, char *argv[]) {
        static struct launch l = { .root_fd = -1, .run_fd = -1, .epoll = -1, .signals = -1, .notify = -1, .listener = -1, .host_lock = -1, .root_lock = -1 };
        const char *log = NULL;
        bool failed;
        int r;

        for (size_t i = 0; i < CLIENTS_MAX; i++)
                l.clients[i].fd = -1;
        r = take_arguments(&l, argc, argv, &log);
        if (r != 0)
                return r < 0 ? 2 : 0;
        if (geteuid() != 0)
                return -refuse("uv-launch must be root", "it gives each role and partition a user of its own", "sudo uv-launch --root DIR");
        (void) umask(0022);
        (void) setrlimit(RLIMIT_NOFILE, &(struct rlimit) { FILES_MAX, FILES_MAX });
        if (open_log(log) < 0 || find_bin(&l) < 0)
                return 1;
        if ((r = open_signals(&l)) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
                return -refuse("can't set up signals", strerror(r < 0 ? -r : errno), "a higher limit of open files");
        if (lock_host(&l) < 0 || tree_make(&l) < 0 || lock_root(&l) < 0)
                return 1;
        if (state_adopt(&l) < 0)
                say(3, "not all monitors of an earlier uv-launch could be adopted");
        cgroup_make(&l);
        if (open_sockets(&l) < 0)
                return 1;
        failed = start_roles(&l) < 0;
        if (failed)
                next_phase(&l);
        else
                say(5, "started in %s", l.root);
        loop(&l);
        kill_orphans();
        cgroup_remove(&l);
        tree_remove(&l);
        unlock(&l);
        say(5, "stopped, nothing left behind");
        return failed;
}
