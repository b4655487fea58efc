/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The ledger: who owns what. One master in uvd's memory, mirrors of it in command; pure.
 *
 * Resource kinds:
 *   kind    id           form      amount              total
 *   core    lowest CPU   unit      1                   inventory
 *   memory  NODE/PAGES   counted   2 MiB               inventory ("0/4K", "1/2M")
 *   uids    range        unit      1                   inventory; a range without a row is idle's
 *   pci block net  id    unit      1                   inventory
 *   limit   tasks, io-read:/dev/vda ...   counted   model/limits.h   none: what idle has of it has no end
 *   mount   LABEL@OWNER  unit      1                   one without a row is idle's (model/attachment.h)
 *   device  NAME         unit      1                   the same; with @OWNER only ever that one's
 *   disk    LABEL@OWNER, or a path  unit  1           the same
 *   share   pool         counted   1/1000 thread       derived: 1000 x threads of the cores of the pool
 * The pool is the cores that `pool` owns, or, while parameter pool.source is "host" (the default), the
 * host's. Shares given may not exceed it x parameter pool.overcommit / 1000 (default 1000: none).
 *
 * A holding is (kind, id, owner) with amount: what the owner has, all of it counted to it alone. For
 * each kind and id the amounts over all owners sum to the total, always; a unit has one owner.
 *
 * A resource leaves a live partition in two steps. The transaction makes a transfer (from, to, amount):
 * the units still count to `from`, which is told through its view to let go. When its monitor reports
 * letgo, the transfer settles and they are `to`'s; when it reports refused, the transfer is dropped and
 * `from` keeps them. So   keep = amount - outgoing transfers   is what a monitor may use,
 * wanted = keep + incoming transfers, and reached is what the monitor has reported in use (<= amount).
 * Resources of an owner that isn't live (defined, failed, host, idle, pool) move at once.
 *
 * A transaction is `reaching` while something that it began is unsettled: a transfer, a holding not yet
 * reached, a partition in starting, pausing or stopping; then it is `done`, or `undone` where a part of
 * it was taken back (refused, ended while starting).
 *
 * Rows (model/op.h) are the ledger's only serial form; recovery, mirrors, backup and views read them:
 *   row ledger - - generation=N incarnation=N boot=..      the counters
 *   row inventory - - kind=real|part|imagined name= prefix= controllers=cpu+memory kvm=yes uids=1-2047
 *   row partition NAME - zone= type= role= state= wanted= incarnation= since=USEC leader= start= build= ready=yes
 *        contain= result= txn=ID (while reaching) text=DEFINITION (one key each only where it has a value)
 *        and the extra keys of the last `state` operation (force=yes ...)
 *   row core ID OWNER node= threads=0,8 [reached=1 how=WORD txn=ID]
 *   row memory NODE/PAGES OWNER amount= reached= how= [txn=ID]      (amount 0: no row, but idle's)
 *   row share pool OWNER amount= reached= how= [txn=ID]             (idle's share is derived, not a row)
 *   row uids N OWNER            row pci|net ID OWNER attrs...
 *   row block ID OWNER attrs... [reached=1 how=WORD txn=ID]         row mount|device|disk ID OWNER [reached=1 how=WORD txn=ID]
 *   row channel LABEL@OWNER OWNER peer= end=0|1 kind= size= [reached=1 how=waiting|shared memory=ID epoch= txn=ID]
 *   row limit ID OWNER amount= reached= how= [txn=ID]       (of partitions only)
 *   row transfer SEQ FROM to=OWNER kind= id= amount= made=GENERATION txn=ID
 *   row transaction ID - subject=    (only while reaching)
 *   row parameter KEY - value=
 * txn= is a list with commas where several transactions wait for one thing (at most ULV_WAITS_MAX).
 * Infrastructure owners host idle pool ultravisor command operations are partition rows of role
 * `infrastructure`, made by ulv_ledger_new(), never removed. */

#include "lib/diag.h"
#include "lib/strbuf.h"
#include "model/inventory.h"
#include "model/limits.h"
#include "model/name.h"
#include "model/op.h"
#include "model/partition.h"

struct ulv_ledger;

/* A request to step. Strings belong to the caller. */
struct ulv_txn {
        const char *id;                 /* client-chosen, [A-Za-z0-9._:-]{1,64}; unique for ever */
        const char *zone;               /* of the connection: "default" is the host's own and may act on any */
        const char *subject, *reason;   /* who and why, for people */
        uint64_t if_generation;         /* 0 = any. Of a report: the generation of the view it was made under;
                                         * a letgo settles no transfer that is younger than that */
        uint64_t now;                   /* realtime in us, for since= only; nothing decides by it */
        const char *operations; size_t operations_len;  /* lines of model/op.h */
        const char *reporter;           /* NULL: a transaction; else a report of this partition's monitor
                                         * (uvd's own reports about infrastructure: that owner) */
};

#define ULV_TXN_OPERATIONS_MAX 4096
#define ULV_TXN_BYTES_MAX (16 * 1024 * 1024)
#define ULV_WAITS_MAX 4

/* Why a step was refused: > 0, documented. The diag tells who and what. */
enum ulv_refusal {
        ULV_REFUSED_INVALID = 1,        /* not an operation, or not one for this caller */
        ULV_REFUSED_UNKNOWN,            /* no such partition, resource, owner */
        ULV_REFUSED_EXISTS,
        ULV_REFUSED_CONFLICT,           /* somebody else owns it, or it is on its way to somebody else */
        ULV_REFUSED_GENERATION,         /* if_generation is not the current one */
        ULV_REFUSED_STATE,              /* no such edge in the state graph */
        ULV_REFUSED_CAPACITY,           /* not that much there */
        ULV_REFUSED_ZONE,
        ULV_REFUSED_LIMIT,              /* too many operations, partitions (ULV_PARTITIONS_MAX), bytes */
};
#define ULV_PARTITIONS_MAX 4096

struct ulv_outcome {
        uint64_t generation;            /* after the step */
        char *undo;                     /* owned: operations that take this transaction back; "" if none. What it both
                                         * defined and started is stopped by them, and stays defined */
        bool reaching;                  /* the transaction isn't settled yet */
};
void ulv_outcome_done(struct ulv_outcome *o);

int ulv_ledger_new(const struct ulv_inventory *inv, struct ulv_ledger **ret) ULV_MUST_CHECK;  /* all belongs to host */
void ulv_ledger_free(struct ulv_ledger *l);
ULV_DEFINE_CLEANUP(struct ulv_ledger, ulv_ledger_free)

/* 0 = applied whole; > 0 = ulv_refusal and nothing changed; < 0 = -errno and nothing changed (the Nth
 * allocation may fail anywhere). reterr may be NULL. */
int ulv_ledger_step(struct ulv_ledger *l, const struct ulv_txn *t, struct ulv_outcome *ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* The same answer, and the ledger is as before in any case. */
int ulv_ledger_try(struct ulv_ledger *l, const struct ulv_txn *t, struct ulv_diag *reterr) ULV_MUST_CHECK;

/* All rows, sorted by kind then id (numbers by value) then owner; kinds NULL = all, or one kind. */
int ulv_ledger_dump(const struct ulv_ledger *l, const char *kind, struct ulv_strbuf *b) ULV_MUST_CHECK;
/* A ledger from rows (in any order); verifies form and invariants. 0, 1 (bad: reterr), -errno. */
int ulv_ledger_load(const char *rows, size_t len, struct ulv_ledger **ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* Applies `row` and `gone` lines of the event stream to a mirror. 0, 1, -errno; after > 0 or < 0 the
 * mirror is to be thrown away and loaded anew. */
int ulv_ledger_apply(struct ulv_ledger *l, const char *changes, size_t len, struct ulv_diag *reterr) ULV_MUST_CHECK;

/* What the steps since the last call changed, as `row` and `gone` lines (for log and event stream). */
int ulv_ledger_drain_changes(struct ulv_ledger *l, struct ulv_strbuf *b) ULV_MUST_CHECK;
/* Transactions that settled since the last call: lines "done ID\n" or "undone ID\n". */
int ulv_ledger_drain_settled(struct ulv_ledger *l, struct ulv_strbuf *b) ULV_MUST_CHECK;
/* The next live partition whose view changed since it was last asked; NULL when there is none. */
const char *ulv_ledger_next_changed_view(struct ulv_ledger *l);

/* Every invariant, from scratch: owners unique, totals constant, transfers within holdings, states and
 * holdings agree (defined and failed hold nothing), shares within the pool. 0, 1 (reterr), -ENOMEM. */
int ulv_ledger_check(const struct ulv_ledger *l, struct ulv_diag *reterr) ULV_MUST_CHECK;

/* Brings the inventory of a loaded ledger up to what the machine has now. New units are host's; units
 * that are gone stay with their owner, marked missing=yes. Appends a line per difference for people.
 * Counts as a step: rows change, the generation rises if anything differed. */
int ulv_ledger_set_inventory(struct ulv_ledger *l, const struct ulv_inventory *inv, struct ulv_strbuf *differences) ULV_MUST_CHECK;

/* The rows of one partition's view: itself, what it holds (amount, keep, reached), never another's name.
 *   row ledger - - generation=N
 *   row inventory - - kind= name= prefix= controllers=cpu+memory kvm=yes uids=1-2047     as in the ledger
 *   row partition NAME - ...                    as in the ledger
 *   row core ID NAME node= threads=0,8 amount=1 keep=0|1 reached= how=
 *   row memory NODE/PAGES NAME amount= keep= reached= how=
 *   row share pool NAME amount= keep= reached= how= cpus=CPUS-OF-THE-POOL source=host|pool overcommit=1000
 *   row uids N NAME           row pci|net ID NAME attrs...
 *   row block|mount|device ID NAME [attrs...] amount=1 keep=0|1 reached= how=
 *   row channel ID NAME end= kind= size= memory= [other=here|MEMORY] amount=1 keep=0|1 reached= how=
 * A partition that stops may be asked to let go of things (keep < amount): `ended` answers that too. */
int ulv_ledger_view(const struct ulv_ledger *l, const char *name, struct ulv_strbuf *b) ULV_MUST_CHECK;

/* For --rebuild: takes the view of a running partition (as its monitor kept it) into a new ledger.
 * 0; 1 = refused (somebody else already has one of its units; nothing changed); -errno. */
int ulv_ledger_adopt(struct ulv_ledger *l, const char *view, size_t len, struct ulv_diag *reterr) ULV_MUST_CHECK;

/* --- reading -------------------------------------------------------------------------------------- */

uint64_t ulv_ledger_generation(const struct ulv_ledger *l);
const char *ulv_ledger_parameter(const struct ulv_ledger *l, const char *key);   /* NULL if unset */

/* Pointers in these live until the next change of the ledger. */
struct ulv_partition_info {
        const char *name, *zone, *type, *role, *contain, *result, *build, *text, *txn;  /* "" where unset */
        const char *extra;              /* keys that the last `state` operation brought along, " KEY=VALUE..." */
        enum ulv_state state, wanted;
        uint64_t incarnation, since, leader, leader_start;
        bool ready;                     /* it said so itself */
};
int ulv_ledger_partition(const struct ulv_ledger *l, const char *name, struct ulv_partition_info *ret);   /* 0, or 1: none */
/* In name order, infrastructure first; f's non-zero return ends the walk and is returned. */
int ulv_ledger_each_partition(const struct ulv_ledger *l, int (*f)(const struct ulv_partition_info *p, void *userdata), void *userdata);

struct ulv_holding_info {
        const char *kind, *id, *owner, *how, *txn;      /* txn: the newest that waits for it */
        unsigned node;                  /* of cores and memory */
        unsigned threads;               /* of a core */
        const char *threads_list;       /* "0,8"; "" if not a core */
        uint64_t amount, keep, wanted, reached;         /* amount 0, wanted > 0: not its own yet, on its way to it */
        const char *moving_to;          /* of an outgoing transfer of a unit; "" if none */
        char node_name[32];             /* of a block device: name=, that of its node; "" if not */
        bool missing;
};
/* kind, owner: NULL = any. Ordered as the dump. idle's share is included, derived. */
int ulv_ledger_each_holding(const struct ulv_ledger *l, const char *kind, const char *owner,
                            int (*f)(const struct ulv_holding_info *h, void *userdata), void *userdata);
int ulv_ledger_holding(const struct ulv_ledger *l, const char *kind, const char *id, const char *owner, struct ulv_holding_info *ret); /* 0 or 1: none */
/* One end of a channel that somebody has, and what is known of the other. Connected: both have the same memory. */
struct ulv_joint_info {
        const char *owner, *how, *memory;
        const char *other_id, *other_how, *other_memory;        /* id: "" if the other end isn't there; how: "" nothing is reported of it */
        char peer[ULV_NAME_MAX + 1], kind[8];
        unsigned end;                   /* 0 owns the memory */
        uint64_t size, epoch;
};
int ulv_ledger_channel(const struct ulv_ledger *l, const char *id, struct ulv_joint_info *ret);       /* 0, or 1: none */
/* 1000 x threads in the pool x overcommit / 1000: what shares may sum to. */
uint64_t ulv_ledger_pool_capacity(const struct ulv_ledger *l);

struct ulv_inventory_info { enum ulv_inventory_kind kind; const char *name, *prefix, *controllers; bool kvm; unsigned uids_first, uids_last; };
void ulv_ledger_inventory(const struct ulv_ledger *l, struct ulv_inventory_info *ret);
