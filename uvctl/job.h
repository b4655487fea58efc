/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The life of a change, the same for every verb that makes one: the planner answers with a job and a
 * plan; the plan is shown; the job is waited for; the outcome is told, and how to take it back. */

#include "uvctl/uvctl.h"

/* A plan as it comes over the bus (lib/protocol.h), cut into pieces that point into text. */
struct plan_line { const char *name, *action, *text, *note; };
struct plan {
        char *text;                             /* owned */
        struct plan_line *lines; size_t n_lines;        /* owned */
        const char *summary, *explanation;      /* "" if none */
        char *transaction;                      /* owned; as the call answered (lib/protocol.h); NULL after plan_parse() */
};
int plan_parse(const char *text, struct plan *ret) ULV_MUST_CHECK;      /* 0 or -ENOMEM; takes any text */
void plan_done(struct plan *p);
int plan_show(struct uvctl *u, const struct plan *p) ULV_MUST_CHECK;

uint64_t job_flags(const struct uvctl *u);      /* enum ulv_flags of the command line */
/* Sends a call that answers (s job, s plan, s transaction), shows the plan, and sees the job through as the options
 * say. m is what client_new() gave, arguments appended. */
int job_run(struct uvctl *u, sd_bus_message *m) ULV_MUST_CHECK;
/* The halves of it, for apply, which asks in between. */
int job_call(struct uvctl *u, sd_bus_message *m, char **ret_job, struct plan *ret) ULV_MUST_CHECK;
/* What follows a call, for all verbs: shows the plan (if show), finishes the job, frees the plan. */
int job_show_and_finish(struct uvctl *u, const char *job, struct plan *p, bool show) ULV_MUST_CHECK;
/* Of it: the planner died before each part of it was decided. Sent again, it would go on with the rest; of verbs
 * where that isn't so, the outcome is unknown. */
#define JOB_AGAIN 256
