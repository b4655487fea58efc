/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "uvctl/uvctl.h"

/* Takes the option, which is argv[from] to argv[to - 1]. 0 or an exit code. */
int host_take(struct uvctl *u, const char *host, char **argv, int from, int to) ULV_MUST_CHECK;
/* Runs the command line there; the exit status is the one there. */
int host_run(struct uvctl *u, const struct verb *v, int argc, char **argv);
/* The text for the login shell there: all of argv but [from, to). 0; -ENOMEM. */
int host_command(struct ulv_strbuf *b, int argc, char **argv, int from, int to) ULV_MUST_CHECK;
