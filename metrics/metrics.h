/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of uv-metrics share. One scrape is a snapshot, gathered anew (gather.c, usage.c), and its text
 * (exposition.c). */

#include <systemd/sd-bus.h>

#include "lib/strbuf.h"
#include "model/op.h"

/* What the kernel counts for a partition, from the files of its cgroup. Times in us. */
enum usage_field {
        USAGE_CPU, USAGE_PERIODS, USAGE_THROTTLED_PERIODS, USAGE_THROTTLED, USAGE_MEMORY, USAGE_OOM_KILLS, USAGE_TASKS, USAGE_READ, USAGE_WRITTEN,
        USAGE_MEMORY_LIMIT, USAGE_TASKS_LIMIT, USAGE_CPU_LIMIT,
        USAGE_CPU_SOME, USAGE_CPU_FULL, USAGE_MEMORY_SOME, USAGE_MEMORY_FULL, USAGE_IO_SOME, USAGE_IO_FULL, USAGE_FIELDS,
};

#define UNLIMITED UINT64_MAX

struct usage { uint64_t value[USAGE_FIELDS]; bool known[USAGE_FIELDS]; };       /* unknown: this machine doesn't count it */

struct subject { struct ulv_op row; struct usage usage; };

struct snapshot {
        bool up;                        /* the planner answered; else all that follows is empty */
        bool ledger, operations;        /* uvd and uv-operations are there, as the planner says */
        char cgroups[256];              /* where they are mounted; "" nowhere */
        uint64_t generation;
        uint64_t done, undone;          /* transactions, since the planner started */
        struct subject *subjects; size_t n_subjects, size_subjects;
        struct ulv_op *channels; size_t n_channels, size_channels;      /* rows: of each channel the ends that are there */
        uint64_t steal_usec; bool steal_known;
};

struct source { const char *root; sd_bus *bus; const char *service; };  /* bus: NULL until the first scrape; service: on the system bus */

/* gather.c. A planner that can't be reached is a snapshot, too (up = false). 0 or -ENOMEM. */
int snapshot_take(struct source *s, struct snapshot *ret) ULV_MUST_CHECK;
void snapshot_done(struct snapshot *s);

/* usage.c. What can't be read is unknown. */
void usage_read(const char *mount, const char *partition, uint64_t leader, struct usage *ret);
uint64_t usage_key(const char *text, const char *key, bool *ret_found);         /* of "KEY VALUE" lines */
uint64_t usage_pressure(const char *text, const char *kind, bool *ret_found);   /* total= of the line of "some" or "full" */
uint64_t usage_limit(const char *text, bool *ret_found);        /* "AMOUNT" or "max": UNLIMITED */
uint64_t usage_quota(const char *text, bool *ret_found);        /* "AMOUNT PERIOD" in 1/1000, or "max PERIOD": UNLIMITED */
uint64_t usage_io(const char *text, const char *key, bool *ret_found);          /* KEY= summed over devices */
void steal_read(struct snapshot *s);

/* exposition.c: OpenMetrics 1.0 text. */
void exposition(const struct snapshot *s, struct ulv_strbuf *b);

/* serve.c: answers on this listening socket until nobody has asked for a while. 0 or -errno. */
int serve(struct source *s, int listener) ULV_MUST_CHECK;
