/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Jobs: what a verb started, from the plan to the end that the monitors report. See job.c. */

#include "command/access.h"
#include "command/manager.h"

#define JOBS_MAX 4096
#define JOBS_ENDED_MAX 256      /* remembered after their end */
#define JOB_ITEMS_MAX ULV_PARTITIONS_MAX
#define JOB_TRIES_MAX 16

enum item_state {
        ITEM_WAITING,           /* for others of its job */
        ITEM_QUEUED,            /* to be planned and submitted */
        ITEM_SUBMITTED,         /* uvd has it, and hasn't answered */
        ITEM_UNKNOWN,           /* uvd went away before it answered */
        ITEM_REACHING,          /* committed; monitors are at work */
        ITEM_DONE,
        ITEM_FAILED,            /* refused: nothing changed */
        ITEM_UNDONE,            /* committed, and taken back */
};

/* One transaction of a job. */
struct item {
        struct job *job;
        struct ulv_request request;             /* name and other point to the two below */
        char name[65], other[65];                /* undo: the transaction */
        char node[64];                          /* detach: of the device */
        char *operations;                       /* owned: submitted as they are, nothing is planned; else NULL */
        size_t *after; size_t n_after;          /* owned: items of the job that must be DONE before */
        enum item_state state;
        bool settled, settled_undone;           /* told before the answer to the submission */
        unsigned tries;
        uint64_t planned;                       /* generation of the last plan */
        uint64_t queued_at;                     /* monotonic us */
        char txn[65];
        char intent[65];                        /* the id that it will be submitted under, if one was promised to operations; else "" */
        bool unsure;                            /* FAILED, for uvd went away: it may be done all the same */
        bool joined;                            /* txn is somebody else's, with which this ends */
        bool undoable;                          /* the ledger can take txn back */
        struct ulv_diag diag;                   /* FAILED, UNDONE: why */
        struct item *queue_next;
};

struct wait;
struct job {
        struct manager *m;
        char id[32];
        const char *verb;                       /* "start", for messages */
        char *reason, *subject;                 /* owned */
        struct question q; uid_t uid;           /* for the audit: the call, ACCESS_OPEN if it is our own job */
        uint32_t flags;
        uint64_t if_generation;
        struct item *items; size_t n_items;
        sd_bus_message *reply;                  /* the call that is to be answered; NULL: it was */
        struct ulv_strbuf plan;                 /* as told to the caller */
        struct ulv_bundle *candidate;           /* apply: what is planned on instead of the set in force */
        int given, bundle;                      /* memfds; apply: what it came with; what is to be installed; -1 */
        bool merge;                             /* apply: over those in force */
        void (*begin)(struct job *j);           /* the step to begin anew with, should the definitions change meanwhile */
        void (*again)(struct job *j);           /* the step to do again when operations is back */
        sd_event_source *timer;                 /* for that */
        uint64_t give_up_at;                    /* monotonic us, 0: operations wasn't missed yet */
        uint64_t installed;                     /* version of the definitions that this job made, 0 if none */
        const char *files_of;                   /* the partition whose files of that version are its own; "": all of them */
        bool noted;                             /* operations waits to hear how it ends (unsettled.c) */
        enum { TURN_NONE, TURN_WAITS, TURN_HAS } turn;  /* turn.c */
        char *what;                             /* attach: owned, as it was asked for */
        const char *end;                        /* state that it will have once the files are taken back; NULL: refused, */
        struct ulv_diag refusal;                /* for this reason */
        char *text;                             /* of the end */
        const char *state;                      /* NULL while it runs */
        bool shown;                             /* it is on the bus (job-objects.c) */
        unsigned busy;                          /* calls under way that hold a pointer to it */
        struct wait *waits;
        void (*on_end)(struct job *j, const struct ulv_diag *why);      /* of our own; why: NULL, it is done */
        struct job *next, *previous;            /* oldest first */
};

struct jobs {
        struct job *first, *last;               /* oldest first; finished ones stay until there is no room */
        size_t n, n_ended;
        uint64_t counter;
        char prefix[9];                         /* of this life of the process: ids of another one aren't ours */
        struct item *queue, *queue_end;
        struct item *in_flight;                 /* one submission at a time: each is planned on the state after the last */
        sd_event_source *timer;
};

int jobs_start(struct manager *m) ULV_MUST_CHECK;
void jobs_done(struct manager *m);

/* A job with n items for a call, whose message it keeps to answer; call NULL: our own. NULL: the call was refused already. */
struct job *job_new(struct manager *m, sd_bus_message *call, const char *verb, size_t n_items, uint32_t flags,
                    uint64_t if_generation, const char *reason);
/* false: there can't be such a name, and the job was refused. */
bool item_name(struct item *i, const char *name, const char *other) ULV_MUST_CHECK;
/* Answers the call with the refusal (if it wasn't answered), and ends the job. */
void job_refuse(struct job *j, const struct ulv_diag *d);
void job_refuse_errno(struct job *j, int r);
/* Answers the call with the plan and no job (a dry run), and ends the job. */
void job_answer_dry(struct job *j);
/* Queues the items that wait for nothing. A job of several items is answered now, one of a single item
 * when uvd took or refused it. */
void job_run(struct job *j);
struct job *job_find(struct manager *m, const char *id);
size_t jobs_count(const struct manager *m);

/* method Wait: blocks the caller, not us. `who` is any pointer that stands for the caller. */
int job_wait(struct manager *m, sd_bus_message *call, const char *id, uint64_t timeout, void *who);
void jobs_forget_waits(struct manager *m, void *who);
unsigned jobs_count_waits(const struct manager *m, const void *who);

/* mirror.c tells: */
void jobs_kick(struct manager *m);                      /* something changed: go on */
void jobs_resume(struct manager *m);                    /* uvd is back */
void jobs_settled(struct manager *m, const char *lines);

/* turn.c: one change of a partition's files and its holdings at a time. true: the job may go on now; false: `step`
 * will be called when it may, or the job was refused. It has its turn until it ends. */
bool turn_take(struct job *j, void (*step)(struct job *j)) ULV_MUST_CHECK;
void turn_passed(struct manager *m);

/* unsettled.c: both roles may have been away, or this one: what was written for a transaction whose end is not known. */
void unsettled_review(struct manager *m);
/* Promises transactions to the note that is written with the files of a job. 0 or -errno. */
int unsettled_intend(struct job *j) ULV_MUST_CHECK;
void unsettled_settle(struct job *j);

/* job.c, submit.c and unsettled.c only: */
int submit_new_id(const struct manager *m, char ret[static 65]) ULV_MUST_CHECK;
void submit_resolve(struct manager *m, struct item *i);
int submit_start(struct manager *m) ULV_MUST_CHECK;
void submit_queue(struct manager *m, struct item *i, bool first);
void item_end(struct item *i, enum item_state state, const struct ulv_diag *d);
void job_answer(struct job *j);
