/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which transaction each version of the definitions was written for, as long as the version is kept. The note is on
 * disk before the files are. While nobody has told how the transaction ended it is unsettled: whoever comes after a
 * planner that was killed between file and ledger finds what it has to ask uvd about (command/unsettled.c). Later it
 * tells which files go back when the transaction is undone. */

#include "lib/base.h"
#include "model/name.h"

#define WRITTEN_MAX 8192        /* a remove of all partitions has a transaction for each, and a change may be under way for each */

/* partition "": all files of the version were written for txn, else those of the partition. */
struct written_note { uint64_t version; bool settled; char partition[ULV_NAME_MAX + 1], txn[65]; };
struct written { struct written_note *v; size_t n; };

/* Notes of versions above `newest` are of installations that a crash undid: those are forgotten. 0 or -errno. */
int written_load(int state, uint64_t newest, struct written *ret) ULV_MUST_CHECK;
void written_done(struct written *w);
/* The note of a transaction; NULL if there is none. */
const struct written_note *written_find(const struct written *w, const char *txn);
/* Durable with the next written_store(). What is settled of versions before `oldest` goes. 0; -EINVAL: no such names can be; -E2BIG: there are too many; -errno. */
int written_add(struct written *w, uint64_t version, uint64_t oldest, const char *partition, const char *txn) ULV_MUST_CHECK;
int written_store(int state, const struct written *w);
/* Both may fail to reach the disk: one that comes back after a crash is asked about again, and found settled. */
void written_settle(int state, struct written *w, uint64_t version);
void written_drop(int state, struct written *w, uint64_t version, const char *partition);        /* "": of all of them */
