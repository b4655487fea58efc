/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Drop-ins that were written for a transaction whose end nobody told yet. The note is on disk before the drop-in
 * is, and goes when the change is settled or taken back: so whoever comes after a planner that was killed between
 * file and ledger finds what it has to ask uvd about (command/unsettled.c). */

#include "lib/base.h"
#include "model/name.h"

#define UNSETTLED_MAX 4096      /* as many as there can be jobs */

struct unsettled_note { uint64_t version; char partition[ULV_NAME_MAX + 1], txn[ULV_NAME_MAX + 1]; };
struct unsettled { struct unsettled_note *v; size_t n; };

/* Notes of versions above `newest` are of installations that a crash undid: those are forgotten. 0 or -errno. */
int unsettled_load(int state, uint64_t newest, struct unsettled *ret) ULV_MUST_CHECK;
void unsettled_done(struct unsettled *u);
/* The note of a transaction; NULL if there is none. */
const struct unsettled_note *unsettled_find(const struct unsettled *u, const char *txn);
/* Durable when it returns. 0; -EINVAL: no such names can be; -E2BIG: there are too many; -errno. */
int unsettled_add(int state, struct unsettled *u, uint64_t version, const char *partition, const char *txn) ULV_MUST_CHECK;
/* Not durable: one that comes back after a crash is asked about again, and found settled. */
void unsettled_drop(int state, struct unsettled *u, uint64_t version);
