/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The container backend. plugin.c: the life of one container as monitor/plugin.h wants it; start.c: its
 * beginning. (Limits: monitor/enforce.) devices.c: the device filter; hooks.c: the kernel's security hooks.
 * build.c: the processes that build it; tree.c: its
 * mounts; image.c, layers.c: a root of an image and a writable layer; etc.c, network.c, credential.c: what the definition
 * puts in; attach*.c, attach/: mounts and devices that come and go (attach.h); enter.c: the last steps inside; rights.c, filter.c: capabilities and system calls of each profile. narrow.c:
 * what the monitor gives up. */

#include <sys/capability.h>
#include <sys/types.h>

#include "monitor/enforce/enforce.h"
#include "monitor/plugin.h"
#include "plugins/lxc/attach.h"

#define LXC_ARGV_EXTRA 6        /* uv-init --user U --cwd D -- */
#define LXC_STOP_SIGNAL (SIGRTMIN + 3)  /* of Init=yes: systemd halts */

/* --- plugin.c ---------------------------------------------------------------------------------------- */

struct lxc {
        struct ulv_monitor *m;
        sd_event_source *source;        /* of the builder's socket; then of its pidfd, until it is reaped */
        int status, builder;            /* its socket, -1 when nothing is being built; its pidfd, -1 once it is reaped */
        int leader;                     /* pidfd, until the monitor has it */
        pid_t leader_pid;
        bool failed, killed;
        unsigned scope_looks;           /* at a scope that is empty and stands */
        bool built;                     /* the builder's word that it did all its work */
        unsigned rights;                /* of lxc_rights(), of what runs or is being started */
        bool devices;                   /* the device filter is on its cgroup */
        bool hooks;                     /* so are our programs on the kernel's security hooks, and it has been refused something */
        bool apparmor;
        char contain[80];               /* words for contain= */
        uid_t uid_base;                 /* of this life, 0 = not known yet */
        struct ulv_diag diag;           /* the first failure told */
        struct lxc_attached *attached;  /* attach.c */
        size_t n_attached;
        struct lxc_attaching *attaching;
        int init;                       /* uv-init's own mount, kept until nobody waits any more: whose end of it is the last to go
                                         * waits for a grace period of the kernel's, and it shall not be uv-init in its exec */
        int helper;                     /* the socket to uv-attach, -1 if there is none */
        sd_event_source *helper_source, *helper_child;
};

/* The plugin's data of this monitor, made at the first call; NULL: out of memory. */
struct lxc *lxc_get(struct ulv_monitor *m);
int lxc_pidfd_signal(int pidfd, int signo);
/* Readable when the process, all its threads, has ended; of a PID 1: when its namespace has. */
bool lxc_pidfd_dead(int pidfd, int timeout_ms);
void lxc_end_builder(struct lxc *c);
void lxc_leave_builder(struct lxc *c);
/* Kills what is left, waits, cleans up: 0; -EBUSY: the kernel holds on to a process. */
int lxc_undo(struct ulv_monitor *m);

/* --- start.c ----------------------------------------------------------------------------------------- */

/* Takes one word off the builder's socket. 1: one was there; 0: none now; <0: all ends are closed. */
int lxc_take_word(struct lxc *c);
/* As ulv_plugin.start. */
int lxc_start(struct ulv_monitor *m, const struct ulv_definition *d, const struct ulv_grant *g, struct ulv_diag *reterr);

/* --- devices.c --------------------------------------------------------------------------------------- */

/* Puts the device filter on a cgroup, or another one in its place, that lets these through besides the usual ones: 0; -errno,
 * if this kernel or a manager above doesn't let us. */
int lxc_devices_filter(int cgroup, const struct lxc_node *nodes, size_t n) ULV_MUST_CHECK;
bool lxc_devices_filtered(int cgroup);

/* --- hooks.c ----------------------------------------------------------------------------------------- */

/* Puts our programs on the kernel's security hooks, for those in a cgroup that have a container's user ids. 0; -errno, if
 * this kernel has no such hooks or doesn't let us. root: ULTRAVISOR_ROOT. */
int lxc_hooks_put(int cgroup, const char *root, unsigned rights) ULV_MUST_CHECK;
void lxc_hooks_remove(int cgroup);
bool lxc_hooks_there(int cgroup);
/* Tries what they refuse; true: it was refused, with their error. */
bool lxc_hooks_refuse(void);

/* --- attach.c: what is attached, on the monitor's side ------------------------------------------------- */

#define LXC_KEY_MAX 96
struct lxc_attached {
        char key[LXC_KEY_MAX];          /* as in monitor/plugin.h */
        bool read_only, device;
        uint64_t mount;                 /* its id */
        struct lxc_node node;           /* device */
};

/* At a start: looks at the devices of d, and takes down what will be attached. 0; 1: reterr; -ENOMEM. */
int lxc_attach_expect(struct lxc *c, const struct ulv_definition *d, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* The index-th of the definition is the mount of this id. */
void lxc_attach_made(struct lxc *c, size_t index, uint64_t mount);
/* Devices that are attached, at most ULV_ATTACHMENTS_MAX. */
size_t lxc_attach_nodes(const struct lxc *c, struct lxc_node *ret);
int lxc_attach_save(struct lxc *c);             /* for who comes after us */
void lxc_attach_load(struct lxc *c);            /* at adoption */
void lxc_attach_forget(struct lxc *c);          /* the container is gone */
/* Starts uv-attach: before the last rights are given up. 0; -errno. */
int lxc_attach_begin(struct lxc *c);
/* As in ulv_plugin. */
const char *lxc_attach_how(struct ulv_monitor *m, const char *key);
int lxc_attach(struct ulv_monitor *m, const char *key, const struct ulv_attachment *a);
int lxc_detach(struct ulv_monitor *m, const char *key, bool force);

/* --- build.c, tree.c, enter.c: between fork and exec ------------------------------------------------- */

/* All that the builder needs, prepared by the monitor; the builder has it by fork. */
#define LXC_CALL "ultravisor/call"       /* below /run: the socket of channel/call.h */

struct lxc_build {
        int call;                       /* the socket of channel/call.h, -1 none */
        const char *name;               /* of the partition */
        const char *hostname, *root;    /* root: as Root= says; "Image=NAME" for messages where that is given */
        const char *image;              /* NULL: Root= */
        const char *instance_root;      /* ULTRAVISOR_ROOT */
        bool kept;                      /* the writable layer outlives the container */
        const struct ulv_grant *grant;
        uid_t uid_base;
        unsigned rights;                /* LXC_INIT, LXC_NESTING */
        bool apparmor;                  /* the host has our profile loaded */
        bool in_cgroup;                 /* the builder is, or will be before it begins, in the payload's own */
        char **argv, **env;             /* of PID 1: uv-init's, or with LXC_INIT the image's own */
        char **helper_argv, **helper_env;       /* LXC_INIT: of the uv-init beside it */
        int cgroup, console, init_socket, init_exe;     /* -1 if none (not init_exe) */
        const void *filter; unsigned filter_len;        /* struct sock_filter[] */
        const struct ulv_definition *definition;
        const struct lxc_attached *attached;            /* one for each of its attachments */
        pid_t monitor;                  /* our parent */
        int status;                     /* to the monitor: struct lxc_word */
        int hold;                       /* from the monitor: a byte when it is in its cgroup, and one when that is ready for the payload;
                                         * end of file if it won't be */
        int go;                         /* enter.c: the mounts of attachments, then a word; end of file without = the builder failed */

        int source, tree;               /* the root's tree as it is on the host; its clone, to be the root */
        int layer, layer_tree, usr;     /* the writable layer, its clone; a clone of the host's /usr; -1 if none */
        int devices[8];                 /* clones of host device nodes, by tree.c's table */
        int console_tree;
        int nothing;                    /* an empty read-only directory, once attached; -1 before */
        int leader_pidfd, user_ns;
        int sysctl;                     /* /proc/sys of the container, before it is masked */
        int credentials;                /* their mount, -1 if it has none */
        int zone;                       /* the host's file of TimeZone=, -1 if none */
        char machine_id[34];            /* with a newline */
};

/* What the builder and the container's first process tell the monitor. When all their ends are closed, the
 * one by exit, the other by exec, and nothing failed, the container runs. */
struct lxc_word {
        enum { LXC_CLONED = 1, LXC_CREDENTIALS, LXC_ATTACHED, LXC_HOOKED, LXC_BUILT, LXC_FAILED } kind;
                                        /* CREDENTIALS: with their writable mount; HOOKED: the security hooks refuse */
        pid_t pid;                      /* CLONED: with a pidfd */
        size_t index; uint64_t mount;   /* ATTACHED: of the definition's; its id */
        struct ulv_diag diag;           /* FAILED */
};

/* In the monitor: forks the builder, which waits for two bytes in *ret_go (hold). 0: *ret_builder is its pidfd, *ret_status the
 * words' socket. */
int lxc_build_start(struct lxc_build *b, pid_t *ret_pid, int *ret_builder, int *ret_status, int *ret_go) ULV_MUST_CHECK;
/* Fills the three lines of a failed start and sends them; never returns. r: -errno. */
void lxc_build_tell(struct lxc_build *b, const struct lxc_word *w, int fd);
_Noreturn void lxc_build_refuse(struct lxc_build *b, const struct ulv_diag *d);        /* why and try of d */
_Noreturn void lxc_build_fail(struct lxc_build *b, int r, const char *what_failed, const char *try_);

/* tree.c. Each fails by lxc_build_fail(). */
void lxc_tree_open(struct lxc_build *b);        /* in the host's mount namespace */
void lxc_tree_map(struct lxc_build *b);         /* root's files appear with the container's ids */
void lxc_tree_furnish(struct lxc_build *b);     /* in the container's pid, net and ipc namespaces */

/* A small new tmpfs of the host's root. It is attached, for older kernels clone nothing else, over the host's /dev as
 * the builder sees it, and goes with the rest of that: to take a mount away costs a grace period of the kernel's each time. */
int lxc_make_scratch(struct lxc_build *b);
/* Attaches over a directory of the tree. */
void lxc_tree_attach(struct lxc_build *b, int mnt, const char *name);

/* etc.c. machine-id, resolv.conf, localtime: in the host's mount namespace, and as lxc_tree_furnish(), before /tmp. */
void lxc_etc_open(struct lxc_build *b);
void lxc_etc_furnish(struct lxc_build *b);

/* network.c. On the host, with the first process's pid; and inside. */
void lxc_network_connect(struct lxc_build *b, pid_t pid);
void lxc_network_configure(struct lxc_build *b);
/* Is an interface of that uid range still on the host? */
bool lxc_network_left(uid_t uid_base);

/* credential.c. In the host's mount namespace; when the tree stands; once attached: returns the writable mount. */
#define LXC_CREDENTIALS_FD "credentials"        /* its name in the fd store */
#define LXC_CREDENTIALS_DIR "/run/credentials/partition"
void lxc_credentials_open(struct lxc_build *b);
void lxc_credentials_give(struct lxc_build *b);
int lxc_credentials_share(struct lxc_build *b);
/* Reads one again, or all (label ""), and replaces the files in dir. 0; 1: reterr; -ENOENT: no such; -errno. */
int lxc_credentials_rotate(const struct ulv_definition *d, uid_t uid_base, const char *root, int dir, const char *label, struct ulv_diag *reterr);

/* image.c. In the host's mount namespace: source, tree and layer of Image=. */
void lxc_image_open(struct lxc_build *b);
/* In the monitor: removes the partition's ephemeral layer, if there is one. 0; -errno. */
int lxc_image_end(const char *root, const char *partition);
/* layers.c. As lxc_tree_furnish(), before it: image and layer become one tree. */
void lxc_layers_join(struct lxc_build *b);

/* enter.c. The container's first process, until it is uv-init. */
_Noreturn void lxc_enter(struct lxc_build *b);

/* --- filter.c ---------------------------------------------------------------------------------------- */

/* The seccomp program of these rights (struct sock_filter[]), and its length in instructions. */
const void *lxc_filter(unsigned rights, unsigned *ret_len);

/* --- rights.c ---------------------------------------------------------------------------------------- */

enum lxc_right {
        LXC_INIT = 1,           /* profile `system`; without it, `app` */
        LXC_NESTING = 2,        /* a container runtime may run inside */
};
unsigned lxc_rights(const struct ulv_definition *d);
/* May PID 1 keep this capability, in its own user namespace? */
bool lxc_keeps_capability(unsigned rights, int capability);
/* Those that uv-init needs as PID 1 of `app`. */
const cap_value_t *lxc_uv_init_capabilities(size_t *ret_n);
/* Is our AppArmor profile loaded on this host? */
bool lxc_apparmor_loaded(void);
/* Does this process run under it? */
bool lxc_apparmor_confines(pid_t pid);

/* Tests switch one layer off, to see that the others hold. That takes a build of its own (test/test.mk); in
 * the product this is a constant. */
#ifdef ULV_TEST_BARRIERS
bool lxc_barrier(const char *name);
#else
static inline bool lxc_barrier(const char *name ULV_UNUSED) { return true; }
#endif

/* --- narrow.c ---------------------------------------------------------------------------------------- */
int lxc_narrow(struct ulv_monitor *m, enum ulv_stage stage);
bool lxc_may_build(void);       /* has it still what a start needs? */
