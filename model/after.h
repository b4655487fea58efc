/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The graph that After= makes: an edge from a partition to each that it comes after. */

#include "model/definition.h"

/* The index of a name in definitions sorted by name, or -1. */
ptrdiff_t ulv_after_find(struct ulv_definition *const *defs, size_t n, const char *name);

/* Visits all, depth first in name order: left() sees a partition when all that it comes after were left.
 * cycle() sees each cycle that is met as a path of indexes, the first of which comes after the last
 * again. Names that don't exist are passed over. A non-zero return ends the walk and is returned; both
 * functions may be NULL. 0 or -ENOMEM otherwise. */
int ulv_after_walk(struct ulv_definition *const *defs, size_t n,
                   int (*left)(size_t i, void *userdata),
                   int (*cycle)(const size_t *path, size_t n_path, void *userdata), void *userdata) ULV_MUST_CHECK;
