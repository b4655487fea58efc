/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of `uvctl check` share. Each look reads the rows, then what lies open of the machine (/proc, /sys, the
 * cgroup tree, PID 1's list of units, each monitor's own answer), and adds a finding for each difference. */

#include "model/definition.h"
#include "uvctl/part.h"

#define TREES_MAX 4             /* one, standalone; a slice for those with cores and one for shares */
#define CGROUP_DEPTH 8
#define PROC_MAX (4 * 1024 * 1024)

/* The stable words, and what is to be said of each: check.c has the table. */
enum check_kind {
        CHECK_PROCESS, CHECK_CGROUP, CHECK_MONITOR, CHECK_LIMIT, CHECK_AFFINITY, CHECK_TASK, CHECK_INTERRUPT, CHECK_GUEST, CHECK_UNIT,
        CHECK_NETNS, CHECK_NETWORK, CHECK_MOUNT, CHECK_STRAY, CHECK_LEFTOVER, CHECK_INTERFACE, CHECK_UIDS,
};
enum mend { MEND_NOT, MEND_ENFORCE, MEND_CGROUP, MEND_INTERFACE };

struct finding {
        enum check_kind kind;
        enum mend mend;                 /* what --repair dares */
        char name[64];                  /* the partition that it is about */
        char object[512];               /* what of it: with name and kind, who it is from one look to the next */
        char text[512], try_[256];
        unsigned range;                 /* of uids; else 0: counts only if it is nobody's afterwards, too */
        bool seen;                      /* in the look before, too */
        enum { LEFT, WOULD, MENDED, REFUSED } outcome;
        char refusal[256];
};

struct check {
        struct uvctl *u;
        const struct rows *rows;
        int n_names; char **names;
        bool root;                      /* we are: what only root may see is compared */
        bool idle[2048];                /* uid ranges that are in the ledger and nobody's */
        char mount[256];                /* where cgroup2 is mounted; "" if nowhere */
        char trees[TREES_MAX][512];     /* below it: the directories in which partitions have their cgroups */
        unsigned n_trees;
        struct { uint64_t inode; const char *name; } *nets; size_t n_nets;      /* network namespaces of those looked at */
        struct finding *found; size_t n_found;
        unsigned partitions, limits, unsettled;
        char weaker[512];               /* barriers that this machine hasn't: no difference, but said */
        char skipped[128];              /* what could not be compared, for only root may see it */
};

/* check.c */
struct finding *check_find(struct check *c, enum check_kind kind, const char *name, const char *object, const char *fmt, ...) ULV_PRINTF(5, 6);
void check_skip(struct check *c, const char *what);     /* it can't be compared: only root may see it */
char *check_read(const char *path);                     /* its first line; NULL: can't be read */
char *check_read_all(const char *path);
char *check_stat(uint64_t pid);                         /* /proc/PID/stat behind the name: " R 1 ..."; NULL: it is gone */
bool check_wants(const struct check *c, const char *name);
bool check_live(const struct part *p);                  /* it may have processes, by the ledger */
/* The CPUs of its cores; of all partitions whose cores are set apart from the host ("isolated" alone, or "limit" as well). */
void check_cores(const struct check *c, const struct part *p, struct ulv_cpus *ret);
void check_add_tree(struct check *c, const char *below);
/* check-limits.c: of one live partition. false: its first process isn't there, nothing of it can be looked at. */
bool check_partition(struct check *c, const struct part *p);
/* check-inside.c: its namespaces and mounts, which only root may look at. */
void check_inside(struct check *c, const struct part *p);
void check_host_mounts(struct check *c);
/* check-network.c: interfaces, addresses and routes in its network namespace, which only root may enter, and their ends here. */
void check_networks(struct check *c, const struct part *p, const struct ulv_definition *d);
/* check-machine.c: of the whole machine */
void check_tasks(struct check *c);
void check_interrupts(struct check *c);
void check_trees(struct check *c);                      /* adds the directories that are known without a live partition */
void check_strays(struct check *c);
void check_interfaces(struct check *c);
/* check-units.c */
void check_units(struct check *c);
/* check-mend.c */
void check_mend(struct check *c, struct finding *f);
const char *check_mend_text(const struct finding *f);
/* check-show.c */
int check_show(struct check *c);
int check_nagios(struct check *c, int r);               /* r: exit code until now; the plugin's instead */
const char *check_word(enum check_kind kind);
