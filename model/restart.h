/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Restart=: what becomes of a partition that ended by itself. Pure: the answer stands in the ledger's row.
 *
 * A row whose partition isn't live but is wanted otherwise is one that nobody stopped. Starts by this policy
 * carry restarts=N restarted=TIME in their `state` operation; the ledger keeps these in the row over such an
 * end, and drops them at a stop and at a person's start. So who decides may die at any time. */

#include "model/definition.h"
#include "model/ledger.h"

#define ULV_RESTART_STABLE_USEC (60 * UINT64_C(1000000))        /* ran that long: its next end is the first again */
#define ULV_RESTART_DELAY_MAX_USEC (300 * UINT64_C(1000000))

struct ulv_restart {
        enum { ULV_RESTART_NO, ULV_RESTART_AT, ULV_RESTART_GIVEN_UP } what;
        uint64_t at;            /* realtime us */
        unsigned number;        /* AT: of this start, from 1; GIVEN_UP: starts that there were */
};

/* d: NULL if no file defines it. */
struct ulv_restart ulv_restart_decide(const struct ulv_partition_info *p, const struct ulv_definition *d);
static inline bool ulv_restart_is_due(const struct ulv_partition_info *p, const struct ulv_definition *d) {
        return ulv_restart_decide(p, d).what == ULV_RESTART_AT;
}
