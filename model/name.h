/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of partitions, zones and networks: [a-z0-9][a-z0-9-]{0,62}, so that %i of a systemd unit, a
 * cgroup and a file name carry them without escaping. */

#include "lib/base.h"

#define ULV_NAME_MAX 63

bool ulv_name_is_valid(const char *s);
/* host idle pool ultravisor command operations: owners that the ultravisor itself keeps. */
bool ulv_name_is_reserved(const char *s);
/* Shell glob with * and ? only, as policy's Match= writes it. */
bool ulv_name_matches(const char *pattern, const char *name);
