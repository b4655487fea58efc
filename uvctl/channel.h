/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Channels as the ledger has them: its rows are ends, and one channel is a pair of them. Named LABEL, or
 * LABEL@PARTITION where several have that label. */

#include "channel/account.h"
#include "uvctl/rows.h"

struct pair { const struct ulv_op *end[2]; };   /* NULL: that end's partition isn't running, or doesn't want it; or it is the host's */

/* The pair that a row tells of; one whose both ends are there is told by its owner's. */
bool pair_of(const struct rows *r, const struct ulv_op *op, struct pair *ret);
const struct ulv_op *pair_row(const struct pair *p);                    /* one of its ends that is there */
const char *pair_owner(const struct pair *p, unsigned end);             /* "host" too */
const char *pair_label(const struct pair *p, char buf[static 64]);
const char *pair_state(const struct pair *p);
uint64_t pair_epoch(const struct pair *p);
const char *pair_memory(const struct pair *p);                          /* "booked", "unbooked"; NULL: not known */
/* The one of that name. 0; an exit code, with u->diag. */
int pair_find(struct uvctl *u, const struct rows *r, const char *name, struct pair *ret) ULV_MUST_CHECK;

/* channel-stat.c */
/* What the ends have written of themselves; false: nobody can tell now. */
bool pair_ask(struct uvctl *u, const struct pair *p, struct channel_account *ret);
void end_state(const struct channel_account_end *e, struct ulv_strbuf *b);          /* "attached, epoch 3" */
int channel_stat(struct uvctl *u, int argc, char **argv);

/* channel-cat.c: the host's end */
int channel_cat(struct uvctl *u, int argc, char **argv);
int channel_perf(struct uvctl *u, int argc, char **argv);
