/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* uv-launch's own header: one struct for the instance, one for each process that it keeps. */

#include <sys/types.h>

#include "lib/base.h"

#define NAME_SIZE 64                    /* of a partition or role, with the NUL */
#define TOKEN_SIZE 33
#define STORE_MAX 256                   /* fds a process may leave with us */
#define FDNAME_SIZE 256
#define SERVICES_MAX (4096 + 16)        /* ULV_PARTITIONS_MAX, and the roles */
#define FILES_MAX 65536                 /* ours and the roles': a few fds for each partition */
#define CLIENTS_MAX 8
#define WATCHDOG_USEC (20 * 1000 * 1000u)   /* given to roles */

/* What an epoll event belongs to: the first member of each struct that is registered. */
enum watch { WATCH_SIGNALS, WATCH_NOTIFY, WATCH_LISTEN, WATCH_CLIENT, WATCH_PIDFD, WATCH_STORED };

struct role {
        const char *name, *program;
        uid_t uid;
        bool inventory;                 /* wants --inventory */
        bool face;                      /* stops first, before the monitors; the others last */
};

struct stored {
        enum watch watch;               /* WATCH_STORED */
        struct service *service;
        struct stored *next;
        int fd;
        char name[FDNAME_SIZE];
};

struct service {
        enum watch watch;               /* WATCH_PIDFD */
        struct service *next;
        const struct role *role;        /* NULL: the monitor of partition `name` */
        char name[NAME_SIZE], token[TOKEN_SIZE];

        pid_t pid;                      /* 0: not running, restart_at says when it will */
        int pidfd;
        bool inside;                    /* in the child: it was born in its cgroup */
        bool child;                     /* ours to reap; false: adopted from an earlier uv-launch */
        uint64_t start_ticks;           /* with pid: which process that is, for the state file */

        bool ready, stopping;           /* READY=1, STOPPING=1 were said */
        bool unwanted;                  /* told to stop: don't restart */
        bool again;                     /* wanted anew while it still stops */
        uint64_t started_at, restart_at, watchdog_at, kill_at;  /* monotonic us; 0 = not set */
        unsigned stop_tries;
        unsigned quick;                 /* deaths in a row within QUICK_USEC of their start */
        struct stored *store;
        unsigned n_store;
};

enum phase { PHASE_RUN, PHASE_STOP_FACE, PHASE_STOP_MONITORS, PHASE_STOP_UVD, PHASE_DONE };

struct client { enum watch watch; int fd; };

struct launch {
        char root[4096], bin[4096], inventory[4096];
        char cgroup[4096];              /* of this instance; "" = none */
        int root_fd, run_fd;            /* run_fd: ROOT/run/ultravisor */
        int epoll, signals, notify, listener;
        int host_lock, root_lock;       /* -1: none */
        char host_lock_path[128];
        struct service *services;
        unsigned n_services, state_appended;    /* lines of launch.state since it was made */
        bool state_whole;
        struct client clients[CLIENTS_MAX];
        enum phase phase;
        bool hurry;                     /* second SIGINT: kill */
        char moved_from[4096];          /* the cgroup that we left to make it empty; "" */
};

/* uv-launch.c */
void say(int level, const char *fmt, ...) ULV_PRINTF(2, 3);
/* The three lines of an error: what, why, try. Returns -1. */
int refuse(const char *what, const char *why, const char *try_);
uint64_t now_usec(void);
int watch(struct launch *l, int fd, uint32_t events, void *what);

/* service.c */
struct service *service_find(struct launch *l, const char *name, bool monitor);
struct service *service_by_pid(struct launch *l, pid_t pid);
int service_new(struct launch *l, const struct role *role, const char *name, struct service **ret);
void service_free(struct launch *l, struct service *s);
int service_start(struct launch *l, struct service *s);         /* 0 or -errno */
void service_stop(struct launch *l, struct service *s);         /* SIGTERM, no restart */
void service_signal(const struct service *s, int signo);
void service_exited(struct launch *l, struct service *s, int status);  /* status as of waitpid(), -1 unknown */
void services_tick(struct launch *l);                           /* restarts, watchdogs, kills that are due */
int services_timeout(const struct launch *l);                   /* ms to the next tick, -1 none */
uint64_t process_start_ticks(pid_t pid);                        /* 0: no such process */

/* notify.c */
int notify_open(struct launch *l);
void notify_drain(struct launch *l);
void stored_drop(struct launch *l, struct stored *d);
void store_empty(struct launch *l, struct service *s);

/* control.c */
int control_open(struct launch *l);
void control_accept(struct launch *l);
void control_input(struct launch *l, struct client *c);
void control_tell(struct launch *l, const char *fmt, ...) ULV_PRINTF(2, 3);     /* all clients */

/* tree.c */
int tree_make(struct launch *l);
void tree_remove(struct launch *l);     /* what lives only as long as the instance */
int tree_partition_dir(struct launch *l, const char *name);
void tree_partition_dir_remove(struct launch *l, const char *name);

/* cgroup.c */
void cgroup_make(struct launch *l);
int cgroup_leaf(const struct launch *l, const struct service *s);       /* makes it; 0 or -errno */
int cgroup_enter(const struct launch *l, const struct service *s);      /* in the child */
pid_t cgroup_fork(const struct launch *l, const struct service *s, bool *ret_inside);
void cgroup_leaf_remove(const struct launch *l, const struct service *s);
void cgroup_kill_all(const struct launch *l);
void cgroup_remove(struct launch *l);

/* state.c */
int lock_root(struct launch *l);
int lock_host(struct launch *l);
void unlock(struct launch *l);
int state_write(struct launch *l);      /* whole; 0 or -errno */
int state_started(struct launch *l, const struct service *s);
void state_ended(struct launch *l, const char *monitor);
int state_adopt(struct launch *l);
