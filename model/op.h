/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one text form: VERB KIND ID OWNER KEY=VALUE...   on one line, one space between tokens, "-" for
 * no id or no owner. It serves the bus, the ledger's log, history, views, traces and undo.
 *
 * Tokens may hold any byte but space, control characters and %, which are written %XX (two upper-case
 * hex digits; an empty value is the empty string after =). VERB, KIND and KEY are [a-z0-9.-]+.
 *
 * Transactions (from command):
 *   define partition NAME - zone=Z type=T role=R text=TEXT   create or replace a definition
 *   remove partition NAME -                                  its state must be defined or failed
 *   claim KIND ID OWNER [amount=N] [from=OWNER]              from defaults to idle
 *        of a channel's end also peer= end=0|1 kind= size=
 *   release KIND ID OWNER [amount=N] [to=OWNER] [force=yes]  to defaults to idle; force: of a mount or device, whoever uses it
 *   move KIND ID OWNER to=OWNER [amount=N]
 *   state partition NAME - state=STATE [force=yes] [restore=NAME] ...   extra keys are kept in the row
 *        starting, stopping (again, with force=yes), pausing, or running (of a paused one: it stays paused until
 *        its monitor reports it running)
 *   set parameter KEY - value=V     no value=: back to the default
 * Reports (from a monitor, about its own partition only; they give back, never claim):
 *   state partition NAME - state=running leader=PID start=TICKS ready=yes contain=WORDS   (also paused)
 *   reached KIND ID OWNER amount=N how=WORD     the partition now has N, enforced by WORD
 *        of a channel's end also memory=ID, when it shares one
 *   letgo KIND ID OWNER amount=N                proved: the partition doesn't use these N any more
 *   refused KIND ID OWNER reason=TEXT           a shrink failed: the transfer is taken back; a mount or device that
 *        was never reached: it can't be attached, and goes to idle
 *   ended partition NAME - result=WORD [failed=yes]   proved gone; all that it held goes to idle
 *   (state and ended may say incarnation=N: refused if the partition is in another one by now)
 * Rows (of the ledger and of views):
 *   row KIND ID OWNER KEY=VALUE...
 *   gone KIND ID OWNER                          (event stream only: the row was deleted)
 */

#include "lib/diag.h"
#include "lib/strbuf.h"

#define ULV_OP_LINE_MAX (256 * 1024)
#define ULV_OP_KEYS_MAX 48
#define ULV_DEFINITION_MAX (64 * 1024)

struct ulv_op {
        const char *verb, *kind, *id, *owner;           /* decoded; in storage */
        struct ulv_op_kv { const char *key, *value; } *kv;      /* in storage too */
        unsigned n_kv;
        void *storage;                                  /* owned: one block for all of it */
};
#define _cleanup_op_ ULV_CLEANUP(ulv_op_done)

/* No id or no owner reads as "-" after parsing too, and may be given to a writer as "-", "" or NULL.
 * Parses one line (len bytes, no newline). 0; 1 = bad (reterr: column and what); -ENOMEM. */
int ulv_op_parse(const char *line, size_t len, struct ulv_op *ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
void ulv_op_done(struct ulv_op *op);
const char *ulv_op_get(const struct ulv_op *op, const char *key);      /* NULL if absent */
/* 0 and *ret; 1 if absent (ret untouched); -EINVAL if not a number. */
int ulv_op_get_u64(const struct ulv_op *op, const char *key, uint64_t *ret) ULV_MUST_CHECK;

/* Writers. A line is begun, gets its keys, and is ended with a newline. */
void ulv_op_begin(struct ulv_strbuf *b, const char *verb, const char *kind, const char *id, const char *owner);
void ulv_op_add(struct ulv_strbuf *b, const char *key, const char *value);
void ulv_op_add_u64(struct ulv_strbuf *b, const char *key, uint64_t value);
void ulv_op_end(struct ulv_strbuf *b);

/* Calls f for each non-empty line of text; ends early on a non-zero return, which it returns. */
int ulv_op_each_line(const char *text, size_t len, int (*f)(const char *line, size_t len, void *userdata), void *userdata);
