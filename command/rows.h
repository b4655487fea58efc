/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Answers made from the mirror, kept until it changes: 1,000 partitions are listed often, and change
 * seldom. */

#include "command/manager.h"

int rows_start(struct manager *m) ULV_MUST_CHECK;
void rows_done(struct manager *m);

/* The mirror was replaced; some rows of it changed; it is no longer fresh. */
void rows_all_changed(struct manager *m);
void rows_changed(struct manager *m, const char *changes);
void rows_stale(struct manager *m);

/* The rows of a kind ("" = all) with the computed keys; valid until the mirror changes. 0 or -errno. */
int rows_get(struct manager *m, const char *kind, const char **ret) ULV_MUST_CHECK;
/* One partition's summary and definition (NULL if it has none), valid likewise. 0; 1 = none; -errno. */
int rows_summary(struct manager *m, const char *name, struct ulv_partition_info *ret_info, const struct summary **ret,
                 const struct ulv_definition **ret_definition) ULV_MUST_CHECK;
