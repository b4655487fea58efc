/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a job would do, without doing it: the answer to a dry run, and what the real run tells first. */

#include "command/job.h"

/* Plans the items of j in order, each on what those before it would leave, and fills j->plan. 0; 1 =
 * refused (reterr); -errno. */
int preview(struct job *j, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* Can these operations be stepped on the ledger as it is now? Tells so. 0; 1 (reterr); -errno. */
int preview_operations(struct manager *m, const char *operations, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* undo.c: may the ledger take a transaction back now, which is in this state and has these operations for it? 0; 1 (reterr); -errno. */
int undo_check(struct manager *m, const char *txn, const char *state, const char *undo, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* Text of a plan's lines, as lib/protocol.h has it. */
void preview_lines(struct ulv_strbuf *b, const struct ulv_plan *p);
