/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Processes: how they are born, and what happens when they die.
 *
 * A child is forked and waits for one byte. Only when the state file (state.c) names it does it get
 * that byte and execute its program; if we die before, it reads end of file and exits. So there is no
 * moment in which a monitor runs that the next uv-launch on this root wouldn't know.
 *
 * Roles die with us (PDEATHSIG): everything they know is on disk or in the monitors, and the next
 * uv-launch must not meet a second uvd on the same ledger. Monitors don't: partitions outlive us. */

#include "launch/launch.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/protocol.h"
#include "model/inventory.h"

#define QUICK_USEC (100 * 1000u)
#define QUICK_FREE 3                    /* quick deaths that cost no delay */
#define DELAY_MAX_USEC (1000 * 1000u)
#define STOP_TRIES 5                    /* monitors that die while they stop are started again to go on */
#define ROLE_STOP_USEC (5 * 1000 * 1000u)
#define ENV_MAX 64
#define LAST_CAPABILITY 63

struct service *service_find(struct launch *l, const char *name, bool monitor) {
        for (struct service *s = l->services; s; s = s->next)
                if (!s->role == monitor && ulv_streq(s->name, name))
                        return s;
        return NULL;
}

struct service *service_by_pid(struct launch *l, pid_t pid) {
        for (struct service *s = l->services; s; s = s->next)
                if (s->pid == pid)
                        return s;
        return NULL;
}

int service_new(struct launch *l, const struct role *role, const char *name, struct service **ret) {
        struct service *s, **end = &l->services;

        if (l->n_services >= SERVICES_MAX)
                return -E2BIG;
        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->watch = WATCH_PIDFD;
        s->role = role;
        s->pidfd = -1;
        memcpy(s->name, name, strnlen(name, NAME_SIZE - 1));
        while (*end)
                end = &(*end)->next;
        *end = s;
        l->n_services++;
        *ret = s;
        return 0;
}

void service_free(struct launch *l, struct service *s) {
        struct service **at = &l->services;

        while (*at != s)
                at = &(*at)->next;
        *at = s->next;
        l->n_services--;
        store_empty(l, s);
        (void) ulv_close(s->pidfd);
        free(s);
}

/* Field 22 of /proc/PID/stat; the name in field 2 may hold anything, so count from its closing bracket. */
uint64_t process_start_ticks(pid_t pid) {
        _cleanup_close_ int fd = -1;
        char path[64], buf[2048], *p;
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
        if (n <= 0)
                return 0;
        buf[n] = 0;
        p = strrchr(buf, ')');
        for (unsigned field = 2; p && field < 22; field++)
                p = strchr(p + 1, ' ');
        return p ? strtoull(p + 1, NULL, 10) : 0;
}

static int new_token(char token[TOKEN_SIZE]) {
        unsigned char raw[16];

        if (getrandom(raw, sizeof(raw), 0) != (ssize_t) sizeof(raw))
                return -EIO;
        for (size_t i = 0; i < sizeof(raw); i++)
                (void) snprintf(token + 2 * i, 3, "%02x", raw[i]);
        return 0;
}

/* --- in the child ------------------------------------------------------------------------------------ */

/* The stored fds become 3, 4, ...; first copied out of the way, since one of them may sit at 3 itself. */
static int pass_fds(const struct service *s) {
        int copies[STORE_MAX];
        unsigned n = 0;

        for (const struct stored *d = s->store; d; d = d->next) {
                copies[n] = fcntl(d->fd, F_DUPFD_CLOEXEC, 3 + (int) s->n_store);
                if (copies[n] < 0)
                        return -errno;
                n++;
        }
        for (unsigned i = 0; i < n; i++)
                if (dup2(copies[i], 3 + (int) i) < 0)
                        return -errno;
        return 0;
}

/* Besides its own group each of ours has the one that reaches our sockets. */
static int join_roles(void) { return setgroups(1, &(gid_t) { ULV_GID_ROLES }) < 0 ? -errno : 0; }

static int drop_to(uid_t uid) {
        for (unsigned cap = 0; cap <= LAST_CAPABILITY; cap++)
                if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL)
                        return -errno;
        if (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0 ||
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        /* Drop, then prove it. */
        return setuid(0) == 0 || setgid(0) == 0 ? -EPERM : 0;
}

static char *joined(const char *a, const char *b) {
        char *s = NULL;

        return asprintf(&s, "%s%s", a, b) < 0 ? NULL : s;
}

/* A clean environment: ours, and what a developer gave us on purpose. */
static int make_environment(const struct launch *l, const struct service *s, char *env[ENV_MAX]) {
        static const char *const kept[] = { "ULTRAVISOR_LOG_LEVEL=", "ULTRAVISOR_TEST_", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LD_PRELOAD=", "ULV_POWER_" };
        char number[64], *names = NULL;
        unsigned n = 0;

        env[n++] = joined("PATH=", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        env[n++] = joined("ULTRAVISOR_ROOT=", l->root);
        env[n++] = joined("ULTRAVISOR_CGROUP=", l->cgroup);
        if (asprintf(&env[n++], "NOTIFY_SOCKET=%s%s" ULV_RUN_NOTIFY, l->root, ulv_streq(l->root, "/") ? "" : "/") < 0)
                return -ENOMEM;
        if (s->role) {
                (void) snprintf(number, sizeof(number), "%u", WATCHDOG_USEC);
                env[n++] = joined("WATCHDOG_USEC=", number);
        } else
                env[n++] = joined("ULTRAVISOR_TOKEN=", s->token);
        if (s->role && s->role->inventory && l->inventory[0])
                env[n++] = joined("ULTRAVISOR_INVENTORY=", l->inventory);
        if (s->n_store > 0) {
                (void) snprintf(number, sizeof(number), "%d", (int) getpid());
                env[n++] = joined("LISTEN_PID=", number);
                (void) snprintf(number, sizeof(number), "%u", s->n_store);
                env[n++] = joined("LISTEN_FDS=", number);
                names = joined("LISTEN_FDNAMES=", s->store->name);
                for (const struct stored *d = s->store->next; d && names; d = d->next) {
                        char *more = NULL;

                        if (asprintf(&more, "%s:%s", names, d->name) < 0)
                                return -ENOMEM;
                        names = more;
                }
                env[n++] = names;
        }
        for (char **e = environ; *e && n < ENV_MAX - 1; e++)
                for (size_t i = 0; i < ULV_ARRAY_SIZE(kept); i++)
                        if (ulv_startswith(*e, kept[i]) && n < ENV_MAX - 1)
                                env[n++] = *e;
        for (unsigned i = 0; i < n; i++)
                if (!env[i])
                        return -ENOMEM;
        env[n] = NULL;
        return 0;
}

static int become(struct launch *l, const struct service *s, pid_t parent) {
        char *env[ENV_MAX], path[sizeof(l->bin) + 64];
        const char *argv[8];
        unsigned n = 0;
        sigset_t none, term;
        int r;

        /* A session of its own: Ctrl-C in a terminal is for uv-launch alone. */
        if (setsid() < 0)
                return -errno;
        if (!s->inside && (r = cgroup_enter(l, s)) < 0)
                say(4, "%s: can't enter its cgroup: %s; it stays in ours", s->name, strerror(-r));
        if ((r = make_environment(l, s, env)) < 0 || (r = pass_fds(s)) < 0)
                return r;
        (void) snprintf(path, sizeof(path), "%s/%s", l->bin, s->role ? s->role->program : "uv-monitor");
        argv[n++] = s->role ? s->role->program : "uv-monitor";
        if (s->role) {
                argv[n++] = "--root";
                argv[n++] = l->root;
                if (s->role->inventory && l->inventory[0]) {
                        argv[n++] = "--inventory";
                        argv[n++] = l->inventory;
                }
        } else
                argv[n++] = s->name;
        argv[n] = NULL;
        r = join_roles();
        if (r < 0)
                return r;
        if (s->role) {
                r = drop_to(s->role->uid);
                if (r < 0)
                        return r;
                if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
                        return -errno;
                if (getppid() != parent)
                        return -ESRCH;
        }
        /* Roles keep connections and fds of thousands of partitions; a monitor has a handful. */
        (void) setrlimit(RLIMIT_NOFILE, s->role ? &(struct rlimit) { FILES_MAX, FILES_MAX } : &(struct rlimit) { 1024, FILES_MAX });
        /* A monitor gets SIGTERM blocked: told to stop right after its birth, it must not die of that. */
        sigemptyset(&none);
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        (void) sigprocmask(SIG_SETMASK, s->role ? &none : &term, NULL);
        (void) execve(path, (char **) (uintptr_t) argv, env);
        return -errno;
}

/* Waits for the byte, becomes the program, or sends the errno back. */
static void child(struct launch *l, const struct service *s, int go, int error, pid_t parent) {
        char byte;
        int r;

        if (read(go, &byte, 1) != 1)
                _exit(1);
        r = become(l, s, parent);
        (void) !write(error, &r, sizeof(r));
        _exit(127);
}

/* --- in the parent ----------------------------------------------------------------------------------- */

static void spawned(struct service *s, pid_t pid, int pidfd) {
        s->pid = pid;
        s->pidfd = pidfd;
        s->child = true;
        s->start_ticks = process_start_ticks(pid);
        s->ready = s->stopping = s->again = false;
        s->started_at = now_usec();
        s->restart_at = s->watchdog_at = s->kill_at = 0;
}

/* Lets the child go once it is in the state file; 0 when it runs its program, else -errno. */
static int let_go(struct launch *l, const struct service *s, int go, int error) {
        int r, e = 0;
        ssize_t n;

        r = state_started(l, s);
        if (r < 0)
                return r;
        if (write(go, "", 1) != 1)
                return -EPIPE;
        while ((n = read(error, &e, sizeof(e))) < 0 && errno == EINTR)
                ;
        return n == (ssize_t) sizeof(e) ? e : 0;
}

int service_start(struct launch *l, struct service *s) {
        _cleanup_close_ int go_read = -1, go_write = -1, error_read = -1, error_write = -1;
        int r, p[2], pidfd;
        pid_t pid, self = getpid();

        if (!s->role && ((r = new_token(s->token)) < 0 || (r = tree_partition_dir(l, s->name)) < 0))
                return r;
        (void) cgroup_leaf(l, s);
        if (pipe2(p, O_CLOEXEC) < 0)
                return -errno;
        go_read = p[0], go_write = p[1];
        if (pipe2(p, O_CLOEXEC) < 0)
                return -errno;
        error_read = p[0], error_write = p[1];

        pid = cgroup_fork(l, s, &s->inside);
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                go_write = ulv_close(go_write);
                error_read = ulv_close(error_read);
                child(l, s, go_read, error_write, self);
        }
        go_read = ulv_close(go_read);
        error_write = ulv_close(error_write);
        pidfd = (int) syscall(SYS_pidfd_open, pid, 0);
        if (pidfd < 0) {
                r = -errno;
                go_write = ulv_close(go_write);
                (void) waitpid(pid, NULL, 0);
                return r;
        }
        spawned(s, pid, pidfd);
        r = let_go(l, s, go_write, error_read);
        if (r < 0) {
                go_write = ulv_close(go_write);
                (void) waitpid(pid, NULL, 0);
                s->pid = 0;
                s->pidfd = ulv_close(s->pidfd);
                (void) state_write(l);
        }
        return r;
}

void service_signal(const struct service *s, int signo) {
        if (s->pid > 0)
                (void) syscall(SYS_pidfd_send_signal, s->pidfd, signo, NULL, 0);
}

/* A monitor that just waits for its restart is restarted to stop its payload: nobody else can. */
void service_stop(struct launch *l, struct service *s) {
        s->unwanted = true;
        s->again = false;
        service_signal(s, l->hurry ? SIGKILL : SIGTERM);
        if (s->role && s->pid > 0)
                s->kill_at = now_usec() + ROLE_STOP_USEC;
        else if (s->role)
                s->restart_at = 0;
        else if (s->pid == 0)
                s->restart_at = now_usec();
}

static const char *exit_text(int status, char buf[64]) {
        if (status < 0)
                return "is gone";
        if (WIFSIGNALED(status))
                (void) snprintf(buf, 64, "died of signal %d (%s)", WTERMSIG(status), sigabbrev_np(WTERMSIG(status)));
        else
                (void) snprintf(buf, 64, "exited with status %d", WEXITSTATUS(status));
        return buf;
}

/* The number that uvd hears: 0..255, 256 + signal; -1 for one that wasn't ours to reap. */
static int exit_number(int status) {
        return status < 0 ? -1 : WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void plan_restart(struct service *s) {
        uint64_t now = now_usec(), delay = 0;

        /* A role that fails before it was ready fails again. */
        s->quick = now - s->started_at < QUICK_USEC || (s->role && !s->ready) ? s->quick + 1 : 0;
        if (s->quick > QUICK_FREE)
                delay = ULV_MIN((uint64_t) 10000 << ULV_MIN(s->quick - QUICK_FREE, 10u), (uint64_t) DELAY_MAX_USEC);
        s->restart_at = now + delay;
        s->watchdog_at = s->kill_at = 0;
}

static void role_ended(struct launch *l, struct service *s) {
        if (l->phase == PHASE_RUN)
                say(4, "%s ended by itself and stays down", s->role->program);
        s->unwanted = true;
        s->restart_at = s->watchdog_at = s->kill_at = 0;
        (void) state_write(l);
}

static void monitor_ended(struct launch *l, struct service *s, int number) {
        control_tell(l, "exited %s %d", s->name, number);
        cgroup_leaf_remove(l, s);
        tree_partition_dir_remove(l, s->name);
        state_ended(l, s->name);
        service_free(l, s);
}

/* A monitor's end that is no accident: see ULV_MONITOR_FAILED. */
static bool is_final(const struct service *s, int status) {
        return status == 0 || (!s->role && WIFEXITED(status) && WEXITSTATUS(status) >= 2 && WEXITSTATUS(status) <= 10);
}

/* Its process is dead. Decides whether it comes again. */
void service_exited(struct launch *l, struct service *s, int status) {
        /* Of one that we couldn't reap we know only what it said before. */
        bool clean = is_final(s, status) || (status < 0 && s->stopping);
        char text[64];

        s->pid = 0;
        s->pidfd = ulv_close(s->pidfd);
        if (!clean && !s->role && WIFEXITED(status) && WEXITSTATUS(status) == ULV_MONITOR_RENEWED)
                say(6, "monitor of %s makes room for a new one", s->name);
        else if (!clean)
                say(s->unwanted && s->role ? 6 : 4, "%s%s %s", s->role ? "" : "monitor of ", s->name, exit_text(status, text));
        if (s->role && (clean || s->unwanted))
                return role_ended(l, s);
        if (!s->role && l->hurry)
                return monitor_ended(l, s, exit_number(status));
        if (!s->role && clean && s->again && l->phase == PHASE_RUN) {
                store_empty(l, s);
                s->unwanted = s->again = false;
                s->restart_at = now_usec();
                return;
        }
        if (!s->role && (clean || (s->unwanted && ++s->stop_tries > STOP_TRIES)))
                return monitor_ended(l, s, clean ? 0 : exit_number(status));
        plan_restart(s);
}

static void restart(struct launch *l, struct service *s) {
        int r = service_start(l, s);

        if (r < 0) {
                say(3, "can't restart %s: %s", s->name, strerror(-r));
                s->started_at = now_usec();     /* counts as a quick death */
                plan_restart(s);
                return;
        }
        if (s->role)
                return;
        control_tell(l, "restarted %s %s", s->name, s->token);
        if (s->unwanted || l->phase != PHASE_RUN)
                service_stop(l, s);
}

void services_tick(struct launch *l) {
        uint64_t now = now_usec();
        struct service *next;

        for (struct service *s = l->services; s; s = next) {
                next = s->next;
                if (s->pid > 0 && s->watchdog_at > 0 && s->watchdog_at <= now) {
                        say(3, "%s didn't answer for %u s (watchdog): killed", s->name, WATCHDOG_USEC / 1000000);
                        s->watchdog_at = 0;
                        service_signal(s, SIGKILL);
                }
                if (s->pid > 0 && s->kill_at > 0 && s->kill_at <= now) {
                        say(4, "%s didn't stop within %u s: killed", s->name, ROLE_STOP_USEC / 1000000);
                        s->kill_at = 0;
                        service_signal(s, SIGKILL);
                }
                if (s->pid == 0 && s->restart_at > 0 && s->restart_at <= now)
                        restart(l, s);
        }
}

int services_timeout(const struct launch *l) {
        uint64_t first = 0, now = now_usec();

        for (const struct service *s = l->services; s; s = s->next) {
                const uint64_t at[] = { s->pid > 0 ? s->watchdog_at : 0, s->pid > 0 ? s->kill_at : 0, s->pid == 0 ? s->restart_at : 0 };

                for (size_t i = 0; i < ULV_ARRAY_SIZE(at); i++)
                        if (at[i] > 0 && (first == 0 || at[i] < first))
                                first = at[i];
        }
        if (first == 0)
                return -1;
        return first <= now ? 0 : (int) ULV_MIN((first - now + 999) / 1000, (uint64_t) 60000);
}
