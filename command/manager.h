/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* uv-command's state, all of it rebuilt from uvd and operations after a restart but the jobs, which end
 * with it: what they submitted goes on, and the ledger tells how it ended. */

#include "command/link.h"
#include "command/summary.h"
#include "lib/build.h"
#include "lib/bus-role.h"
#include "model/planner.h"

struct jobs;
struct cache;
struct objects;
struct system;

struct manager {
        struct ulv_role role;

        /* mirror.c */
        struct link uvd;
        struct ulv_ledger *ledger;      /* the mirror; NULL before the first load */
        bool fresh;                     /* it follows uvd now; else it is what uvd last said */
        bool loading;
        uint64_t lost_at;               /* monotonic us since when it isn't fresh */
        struct ulv_strbuf settled;      /* "done ID" lines that are ahead of the mirror */
        uint64_t settled_generation;
        struct { uint64_t done, undone; } outcomes;     /* of transactions, in this process's life */

        /* definitions.c */
        struct link operations;
        struct ulv_bundle *bundle;      /* in force; NULL before the first one came */
        uint64_t version;               /* highest version that operations told of: the bundle may be behind */
        char operations_build[ULV_BUILD_LEN + 1];       /* lib/build.h; "" until it told */
        bool reviewed;                  /* unsettled.c has asked once: verbs may come */
        char *problems;                 /* owned; of the files on disk, "" if none; NULL unknown */

        struct cache *cache;            /* rows.c */
        struct restarts *restarts;      /* restart.c */
        struct all_wanted *wanted;      /* wanted.c */
        struct jobs *jobs;              /* job.c */

        /* public.c */
        struct ulv_bus_listener *listener;
        sd_event_source *patience;      /* opens the public socket though a role is missing */
        gid_t group;                    /* of the public socket */
        struct objects *objects;        /* objects.c */
        struct system *system;          /* system.c; NULL: not of this instance */
};

uint64_t manager_now(const struct manager *m, clockid_t clock);

/* images.c: ulv_plan_make(), with what the planner has to know of the machine. */
int manager_plan(const struct manager *m, const struct ulv_ledger *l, const struct ulv_bundle *b, const struct ulv_request *request, struct ulv_plan **ret) ULV_MUST_CHECK;

/* mirror.c */
int mirror_start(struct manager *m) ULV_MUST_CHECK;
void mirror_done(struct manager *m);
/* Loads it anew, after something that the event stream doesn't tell of. */
void mirror_reload(struct manager *m);
/* As if uvd had told at this generation that a transaction is done: jobs hear of it once the mirror shows it. */
void mirror_settle_at(struct manager *m, uint64_t generation, const char *txn);
/* A second ledger with the same rows, to try things on. 0 or -errno. */
int mirror_copy(const struct manager *m, struct ulv_ledger **ret) ULV_MUST_CHECK;

/* definitions.c */
int definitions_start(struct manager *m) ULV_MUST_CHECK;
void definitions_done(struct manager *m);
/* Tells uvd, which never meets it, who operations is: for its row in the ledger. */
void definitions_tell_who(struct manager *m);

/* public.c */
int public_start(struct manager *m) ULV_MUST_CHECK;
void public_done(struct manager *m);
/* Opens the public socket if all that answers need is there. */
void public_ready(struct manager *m, bool anyway);
void public_tell_changed(struct manager *m, uint64_t generation, const char *changes);
void public_tell_job(struct manager *m, const char *job, const char *state, const char *text);
