/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A grant as the kernel keeps it, for each backend whose payload is processes of this host: enforce.c, limits.c: limits, set
 * and read back, and which way was the strongest; cgroup.c: the directory; payload.c: the payload's; scope.c, slice.c: where PID 1 is systemd; irq.c:
 * interrupts; usage.c: what is used. */

#include <sys/types.h>

#include "monitor/plugin.h"

#define ULV_CGROUP_DEPTH 16     /* of cgroups that a payload may make in its own */

/* --- cgroup.c: one directory of a cgroup2 tree ------------------------------------------------------- */

/* Makes the directory if wanted, tries to have the parent hand down the controllers that we use. Returns
 * an fd; -ENOENT if dir is "" or it isn't there. */
int ulv_cgroup_open(const char *dir, bool create);
bool ulv_cgroup_has(int fd, const char *file);
/* What is written counts only once it is read back; so callers may ignore this. 0; -errno. */
int ulv_cgroup_write(int fd, const char *file, const char *text);
/* Reads a file whole, without its last newline. 0; -errno. */
int ulv_cgroup_read(int fd, const char *file, char *buf, size_t size) ULV_MUST_CHECK;
/* Is anything alive in it or below? fd < 0: no cgroup, so no. -errno: can't tell. */
int ulv_cgroup_populated(int fd);
/* Kills all in it. 0; -ENOENT: it is gone already. */
int ulv_cgroup_kill(int fd);
/* Removes it and the empty cgroups that the payload made below. 0 also if it is gone; -EBUSY. */
int ulv_cgroup_remove(const char *dir);
/* Only those below: the directory is somebody else's. */
int ulv_cgroup_remove_below(const char *dir);

/* Hands a container's own init the directory, not its limits. */
int ulv_cgroup_delegate(int fd, uid_t uid) ULV_MUST_CHECK;

/* --- scope.c: a cgroup that PID 1 keeps ---------------------------------------------------------------- */

/* A limit as a file of the kernel's and its text. */
struct ulv_limit_file { const char *file; char text[4096]; };
/* Makes the scope with this process in it, and with these limits from its beginning, in one call: 0 when it is there. A child
 * of ours that waits. What the machine made of the limits is enforce.c's to read back. */
int ulv_scope_start(const char *scope, const char *slice, const char *partition, pid_t pid, const struct ulv_limit_file *limits,
                    size_t n_limits, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* The limit that `text` in `file` of its cgroup would be, as a property; -EOPNOTSUPP: there is none for that file. */
int ulv_scope_set(const char *scope, const char *file, const char *text) ULV_MUST_CHECK;
/* Has PID 1 make that slice, if it isn't there. */
int ulv_slice_start(const char *slice) ULV_MUST_CHECK;
/* Nothing more is asked of PID 1 for now. */
void ulv_scope_done(void);
void ulv_scope_stop(const char *scope);

/* --- slice.c ----------------------------------------------------------------------------------------- */

/* An fd, to be held while the slice is looked at and changed; -errno. */
int ulv_slice_lock(void) ULV_MUST_CHECK;
/* Has ultravisor.slice, whose directory is path, hold the CPUs of its scopes and `more` (or NULL), and be a partition if it
 * can; interrupts follow. 0 also where there is no such slice. */
int ulv_slice_fit(const char *path, const struct ulv_cpus *more) ULV_MUST_CHECK;

/* --- payload.c --------------------------------------------------------------------------------------- */

/* Makes room in the scopes' slice for this grant's cores. *ret_lock (an fd, untouched where there is no such slice) is
 * held until they stand in the scope. */
int ulv_slice_take(struct ulv_monitor *m, const struct ulv_grant *g, int *ret_lock) ULV_MUST_CHECK;
/* Gives back what no scope has. lock: of ulv_slice_take(), or -1. */
int ulv_slice_release(struct ulv_monitor *m, int lock) ULV_MUST_CHECK;
/* Has PID 1 make the payload's scope, with the child pid in it, and with the grant's limits. */
int ulv_payload_scope(struct ulv_monitor *m, const struct ulv_grant *g, pid_t pid, struct ulv_diag *reterr) ULV_MUST_CHECK;
int ulv_cgroup_join(struct ulv_monitor *m) ULV_MUST_CHECK;       /* this process goes into the payload's cgroup */
#define ULV_SLICE_RESERVED "cores"       /* in ULV_RUN_PARTITION/NAME */
/* As ulv_slice_take(), for a scope that somebody else is to make: nothing is held. Until they stand there, or it came to nothing. */
int ulv_slice_reserve(struct ulv_monitor *m, const struct ulv_grant *g) ULV_MUST_CHECK;
void ulv_slice_reserved_stands(struct ulv_monitor *m);
/* Once nothing runs: PID 1 removes an empty scope when it hears of it; then its cores go back. -EBUSY: not yet. looks: a
 * number of the caller's, 0 at first. */
int ulv_scope_end(struct ulv_monitor *m, unsigned *looks) ULV_MUST_CHECK;
/* Interrupts leave these CPUs, and may go where they could before to all others. (irq.c) */
void ulv_irq_fit(const struct ulv_cpus *taken);
/* 0: it is a valid cpuset partition; 1: it can't be; -errno. */
int ulv_cpuset_partition(int cgroup) ULV_MUST_CHECK;

/* --- enforce.c --------------------------------------------------------------------------------------- */

/* Where a limit is set: a cgroup (-1: none), PID 1's scope that it is (NULL: nobody's but ours), and the payload's first
 * process (-1 before it runs). */
struct ulv_target { int cgroup; const char *scope; pid_t leader; };
/* limits.c: how many tasks, how much I/O. Fills the hows of the grant's limits. */
int ulv_enforce_limits(const struct ulv_target *t, const struct ulv_grant *g, struct ulv_enforced *ret, struct ulv_diag *reterr);
/* Writes a limit, or has PID 1 write it: the one way to set any. It counts only once it is read back. 0; -errno. */
int ulv_target_write(const struct ulv_target *t, const char *file, const char *text);
/* Writes text and compares what `read_file` then says with it. 0; 1 with reterr. */
int ulv_target_set(const struct ulv_target *t, const char *file, const char *read_file, const char *text, struct ulv_diag *reterr);
int ulv_target_refused(struct ulv_diag *d, const char *file, const char *wanted, const char *found, int r);
/* As ulv_plugin.enforce. */
int ulv_enforce(const struct ulv_target *t, const struct ulv_grant *g, struct ulv_enforced *ret, struct ulv_diag *reterr);
/* What enforce.c and limits.c write where there are all controllers, but for disks. The number of them. */
#define ULV_LIMIT_FILES_MAX 8
size_t ulv_grant_files(const struct ulv_grant *g, struct ulv_limit_file ret[static ULV_LIMIT_FILES_MAX]);
/* The CPUs that the payload may use under this grant; empty: any. */
const struct ulv_cpus *ulv_grant_cpus(const struct ulv_grant *g);
/* plugin.h's freeze and may_freeze, by cgroup.freeze. (payload.c) */
int ulv_cgroup_freeze(struct ulv_monitor *m, bool frozen);
bool ulv_cgroup_may_freeze(struct ulv_monitor *m);
/* As ulv_plugin.usage. (usage.c) */
int ulv_cgroup_usage(struct ulv_monitor *m, struct ulv_usage *ret);
int ulv_set_affinity(pid_t tid, const struct ulv_cpus *cpus);
