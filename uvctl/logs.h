/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "uvctl/uvctl.h"

/* The last n lines of a partition's console, after a status block. */
int logs_last(struct uvctl *u, const char *name, unsigned n) ULV_MUST_CHECK;
