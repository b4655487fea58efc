/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What people want to know about a partition, computed from the ledger and its definition, in one place:
 * the extra keys of partition rows and the bus properties both come from here. Pure. */

#include "model/definition.h"
#include "model/ledger.h"

struct summary {
        enum ulv_isolation isolation;           /* as enforced now; NONE if nothing runs */
        bool degraded;                          /* live, but less or weaker than wanted */
        char *cores;                            /* owned: numbers held, "1,3-4" */
        unsigned cores_wanted, cores_reached;
        uint64_t share_wanted, share_reached;   /* 1/1000 thread */
        uint64_t memory_wanted, memory_reached; /* bytes */
        char cpu_how[16], memory_how[16];       /* the weakest; "" if it holds none */
        char limits_how[16];                    /* the same of its limits */
        char *limits;                           /* owned: "ID WANTED REACHED HOW" of each, by spaces; HOW "-" if not reached yet */
        char *attached;                         /* owned: "mount:LABEL WANTED REACHED HOW", "device:NODE ..." in the same form */
        bool limits_reached, attached_reached;
        const char *description;                /* of the definition, "" if none */
};

/* d is the partition's definition, NULL where it has none. 0 or -ENOMEM. */
int summary_make(const struct ulv_ledger *l, const struct ulv_partition_info *p, const struct ulv_definition *d, struct summary *ret) ULV_MUST_CHECK;
void summary_done(struct summary *s);

/* Adds the computed keys to a row that was begun. name: of the partition, for unit=; NULL: has no unit. */
void summary_add_keys(struct ulv_strbuf *b, const struct summary *s, const char *name);
