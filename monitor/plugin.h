/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a backend implements. monitor/ does the rest: connection to uvd, view, reports, fd store, the
 * uv-port child, stop with time-outs, adoption. One executable per backend: monitor/ linked with one
 * `const struct ulv_plugin ulv_plugin`. All calls come from the monitor's event loop; long work is done
 * in children and told back through the monitor_* functions below. Sources: DESIGN.md section 2. */

#include <systemd/sd-event.h>

#include "lib/base.h"
#include "lib/diag.h"
#include "model/definition.h"

#define ULV_PLUGIN_VERSION 1

struct ulv_monitor;     /* monitor/monitor.h; opaque here */

/* What the view grants now (keep of each holding), ready to enforce. */
struct ulv_grant {
        uint64_t generation;
        struct ulv_cpus cpus;           /* all threads of the cores kept; empty if by share */
        unsigned n_cores;
        uint64_t share;                 /* 1/1000 thread; 0 if by cores */
        struct ulv_cpus pool;           /* CPUs that a share may run on; empty = any */
        struct { unsigned node; char pages[8]; uint64_t bytes; } memory[64]; unsigned n_memory;
        uint64_t memory_bytes;          /* the sum */
        unsigned uids;                  /* uid range, 0 if none */
        struct ulv_limit limits[ULV_LIMITS_MAX]; unsigned n_limits;
        uint64_t tasks;                 /* the bound for tasks, ULV_LIMIT_TASKS_STANDARD if none is given */
};

/* Stages of a monitor, each with less than the one before. */
enum ulv_stage {
        ULV_STAGE_BORN,         /* nothing has been read yet; fds from the store, directories opened */
        ULV_STAGE_STARTED,      /* the payload runs (or was adopted): what only starting needs can go */
};

/* A capability that a backend keeps in the stages up to `until`, and why. (narrow.c) */
struct ulv_kept_right { int cap; enum ulv_stage until; const char *reason; };
/* Gives up all others for good, and proves it. 0; -EPERM: one could be got back; -errno. */
int ulv_monitor_narrow(const struct ulv_kept_right *kept, size_t n, enum ulv_stage stage) ULV_MUST_CHECK;

/* The slices of scopes: those with cores of their own, and those that share the pool (monitor/enforce/slice.c). */
#define ULV_SLICE_CORES "ultravisor.slice"
#define ULV_SLICE_POOL "uvpool.slice"

/* How each thing came to be enforced, for `reached ... how=`. limits: by the grant's limits; "nodevice": there is
 * no block device of that path (of a start that is a refusal, while it runs it may have been unplugged). */
struct ulv_enforced { const char *cpu, *memory, *limits[ULV_LIMITS_MAX]; };

/* summed: not (all) of it counted by the kernel for the whole; added up over its processes. */
struct ulv_usage { uint64_t cpu_usec, memory, tasks; bool summed; };

struct ulv_plugin {
        unsigned version;               /* ULV_PLUGIN_VERSION */
        const char *name;               /* "lxc": program uv-monitor-lxc */
        const char *type;               /* "container": Type= it serves */
        const char *leader_fd_name;     /* name of the payload's pidfd in the fd store */

        /* Builds and starts the payload under `grant`. 0: started, or going on (ulv_monitor_started() or
         * ulv_monitor_start_failed() will be called); -errno: failed, nothing left behind, reterr says why. */
        int (*start)(struct ulv_monitor *m, const struct ulv_definition *d, const struct ulv_grant *grant, struct ulv_diag *reterr);
        /* After a restart of the monitor: fds came back from the store by name (-1 if not), the payload's
         * pidfd is checked. 0: adopted (leader pidfd taken over); 1: nothing runs; -errno. */
        int (*adopt)(struct ulv_monitor *m, const struct ulv_definition *d, int leader_pidfd);
        /* Applies a changed grant to the running payload; called at start too, before the payload runs.
         * 0: done and read back; 1: refused or could not let go (reterr); -errno. */
        int (*enforce)(struct ulv_monitor *m, const struct ulv_grant *grant, struct ulv_enforced *ret, struct ulv_diag *reterr);
        /* Asks the payload to end (SIGTERM to its init, ...). Time-out and kill are the monitor's business. */
        int (*ask_stop)(struct ulv_monitor *m);
        /* Kills all of it, at once. */
        int (*kill)(struct ulv_monitor *m);
        /* Is there provably nothing of it left (cgroup empty, pidfd dead, namespaces gone)? 0 yes, 1 not yet. */
        int (*gone)(struct ulv_monitor *m);
        /* Removes what it left: cgroup, mounts, directories. Idempotent; called after gone, and at adoption of nothing. */
        int (*cleanup)(struct ulv_monitor *m);
        int (*signal)(struct ulv_monitor *m, int signo);
        /* Optional; called in a child of the monitor, whose memory is its own. Reads a credential of the definition again,
         * or all of them (label ""), and replaces what the payload sees. 0; 1: reterr; -ENOENT: no such; -ENODATA: it
         * was started without any; -errno. */
        int (*rotate)(struct ulv_monitor *m, const struct ulv_definition *d, const char *label, struct ulv_diag *reterr);
        /* Optional. Holds every task of the payload, or lets them go on. Idempotent. 0: proved; 1: not yet, ask again;
         * -errno. may_freeze: is there the means for it (then contain= says "freezer")? */
        int (*freeze)(struct ulv_monitor *m, bool frozen);
        bool (*may_freeze)(struct ulv_monitor *m);
        /* Optional. What it uses now. */
        int (*usage)(struct ulv_monitor *m, struct ulv_usage *ret);
        /* Optional. Mounts and devices, by key: "mount LABEL", "device NODE". attached: how it is ("rw", "ro"; device:
         * "unfiltered" where only its node is given, and nothing keeps others away); NULL: it isn't. attach and detach: one at
         * a time. 0: going on, ulv_monitor_attach_done() will be called; -EPERM: this process has no means for it any
         * more, and the next one has; -errno. force: takes it out of sight at once, whoever uses it. */
        const char *(*attached)(struct ulv_monitor *m, const char *key);
        int (*attach)(struct ulv_monitor *m, const char *key, const struct ulv_attachment *a);
        int (*detach)(struct ulv_monitor *m, const char *key, bool force);
        /* Optional; called in a child of the monitor. Goes where the memory that the child touches next is counted to the
         * payload's. 0; -errno. NULL: there is no such place. */
        int (*join)(struct ulv_monitor *m);
        /* Words for contain= (model/partition.h): what contains the payload that runs. */
        const char *(*contain)(struct ulv_monitor *m);
        /* The backend has no console and no guest side: uv-port isn't started, exec and logs are refused. */
        bool no_port;
        /* The payload gets its ends of channels when it starts, and keeps them to its end: the start waits until each has its
         * memory, and that stands in the ledger. */
        bool fixed_channels;
        /* A guest with a console and nothing of ours inside: no uv-init to answer, so exec and signals are refused. */
        bool no_init;
        /* Optional. Gives up what the monitor doesn't need from this stage on; called once each, in order.
         * A failure ends the monitor before anything runs. NULL: the backend is unprivileged already.
         * After ULV_STAGE_STARTED this process can't start() again: for a new life of the partition the monitor
         * ends with an error status, so that its starter brings one with all rights. (And a start needs a new
         * socket pair to uv-init: of one that an earlier life kept, the far end is gone.) */
        int (*narrow)(struct ulv_monitor *m, enum ulv_stage stage);
};

extern const struct ulv_plugin ulv_plugin;

/* The name of a network's link on the host, and the MAC address of its other end; n: NULL: as without MAC=. (link.c) */
struct ulv_link { char name[16]; uint8_t mac[6]; };
struct ulv_link ulv_monitor_link(unsigned uid_base, unsigned index, const struct ulv_network *n) ULV_MUST_CHECK;

/* --- what a plugin may ask of the monitor (monitor/monitor.c) ---------------------------------------- */
const char *ulv_monitor_name(const struct ulv_monitor *m);              /* of the partition */
const char *ulv_monitor_root(const struct ulv_monitor *m);              /* ULTRAVISOR_ROOT */
const char *ulv_monitor_cgroup(const struct ulv_monitor *m);            /* payload's cgroup directory, "" if none */
const char *ulv_monitor_scope(const struct ulv_monitor *m);             /* PID 1's unit that this cgroup is to be, NULL if none, */
const char *ulv_monitor_slice(const struct ulv_monitor *m);             /* in this slice */
/* A backend whose payload somebody else puts into a cgroup says where it is. scope: NULL outside of PID 1's scopes. 0; -ENOMEM. */
int ulv_monitor_set_cgroup(struct ulv_monitor *m, const char *scope, const char *dir) ULV_MUST_CHECK;
int ulv_monitor_run_dir(const struct ulv_monitor *m);                   /* fd of ROOT/run/ultravisor/partition/NAME, root's, 0700 */
sd_event *ulv_monitor_event(struct ulv_monitor *m);
bool ulv_monitor_pidfd_dead(int pidfd);                                 /* -1 is, too */
pid_t ulv_monitor_pidfd_pid(int pidfd);                                 /* 0: dead */
void ulv_monitor_look(struct ulv_monitor *m);                           /* something has changed: words of contain, frozen or not */
void *ulv_monitor_data(struct ulv_monitor *m);                          /* the plugin's own, */
void ulv_monitor_set_data(struct ulv_monitor *m, void *data);
/* Console: what the payload's stdin/stdout/stderr are to be (pty slave, O_CLOEXEC; -1 if none). */
int ulv_monitor_console_fd(struct ulv_monitor *m);
/* The far end of the socket to uv-init, to be inherited by the payload (see monitor/port.h); -1 if none. */
int ulv_monitor_init_fd(struct ulv_monitor *m);
/* The socket of channel/call.h, to be bound and to listen inside; -1 if none. */
int ulv_monitor_call_fd(struct ulv_monitor *m);
/* fixed_channels: the labels of the payload's ends, in an order that stays. Their number. */
unsigned ulv_monitor_channels(const struct ulv_monitor *m, const char *labels[ULV_CHANNELS_MAX]);
/* A listening socket at which the payload comes for its end, copied: uv-port answers, once. -1: it has come. */
int ulv_monitor_channel_door(struct ulv_monitor *m, const char *label, int fd);
/* Payload started: pidfd (taken over), leader's pid in our pid namespace. Monitor stores and watches it. */
void ulv_monitor_started(struct ulv_monitor *m, int leader_pidfd, pid_t leader);
void ulv_monitor_start_failed(struct ulv_monitor *m, const struct ulv_diag *d);
/* An attach or detach has ended. d: NULL if it did what it should, else why not. later: not yet, ask again. */
void ulv_monitor_attach_done(struct ulv_monitor *m, const struct ulv_diag *d, bool later);
int ulv_monitor_leader_pidfd(const struct ulv_monitor *m);              /* -1 if none; stays the monitor's */
pid_t ulv_monitor_leader(const struct ulv_monitor *m);
/* Keeps / forgets an fd in the starter's fd store (FDPOLL=0). */
int ulv_monitor_store_fd(struct ulv_monitor *m, const char *name, int fd);
int ulv_monitor_forget_fd(struct ulv_monitor *m, const char *name);
int ulv_monitor_stored_fd(const struct ulv_monitor *m, const char *name);       /* at adoption; -1 */
