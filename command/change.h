/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* change.c, attach.c, move.c and undo.c only: the steps of verbs that write files before they submit. */

#include "command/job.h"

/* Previews. false: the job has ended, as a dry run or refused. */
bool change_plan(struct job *j);
/* Has operations install j->bundle, then goes on with the job. */
void change_install(struct job *j);
/* Has operations take back what it wrote for the transaction that the job's only item names, or (a dry run) tell whether
 * it could, then goes on with the job. */
void change_take_back(struct job *j);
/* Has operations write the drop-in of the job's only partition, then goes on with the job. step: the caller, to be called again. */
void change_write_dropin(struct job *j, const char *text, void (*step)(struct job *j));
/* The text of the drop-in of q->name that has q's values. 0; 1 (reterr); -errno. */
int change_dropin(const struct manager *m, const struct ulv_request *q, char **ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
