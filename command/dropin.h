/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The drop-in that `uvctl set` writes, NAME.partition.d/50-set.conf. Pure. */

#include "lib/diag.h"
#include "model/bundle.h"

/* list: a key of several lines, each about what its first word names. */
struct dropin_value { const char *section, *key, *value; bool list; };
#define DROPIN_VALUES_MAX 12

/* A section with a label: its lines; "" = without it. */
struct dropin_part { const char *section, *label, *lines; };
int dropin_with_part(const struct ulv_bundle *b, const char *partition, const struct dropin_part *part, char **ret, struct ulv_diag *reterr) ULV_MUST_CHECK;

/* What the drop-in of b's partition has now, with these values set; other keys stay as they are.
 * 0; 1 (reterr); -ENOMEM. *ret is to be freed. */
int dropin_text(const struct ulv_bundle *b, const char *partition, const struct dropin_value *v, size_t n, char **ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
