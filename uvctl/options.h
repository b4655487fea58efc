/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "uvctl/uvctl.h"

/* Reads the command line into u, and its words (the verb first, NULL behind the last) into words, which
 * has room for argc + 2. 0, or an exit code with u->diag filled. --help and --version are answered here:
 * *ret_verb is NULL then. */
int options_read(struct uvctl *u, int argc, char **argv, char **words, const struct verb **ret_verb, int *ret_n) ULV_MUST_CHECK;
