/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/base.h"

/* Has the slice of partitions with cores hold the cores of those that are there, and no other; a partition's own monitor
 * did, unless it died. Says in our unit's status what this machine can enforce, and what it lacks. 0; -errno, logged. */
int unit_slice(void);
