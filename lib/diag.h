/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a user is told: three short lines, what, why, try; and for files the place. Filled by the one
 * function that knows, printed once, at the border. */

#include "lib/base.h"

/* Exit codes of uvctl (DESIGN.md section 8), used as the class of every refusal. */
enum ulv_exit {
        ULV_EXIT_OK = 0,
        ULV_EXIT_FAILED = 1,      /* failed and rolled back */
        ULV_EXIT_USAGE = 2,
        ULV_EXIT_NOT_ACTIVE = 3,
        ULV_EXIT_NOT_FOUND = 4,
        ULV_EXIT_DENIED = 5,
        ULV_EXIT_CONFLICT = 6,
        ULV_EXIT_CAPACITY = 7,
        ULV_EXIT_TIMEOUT = 8,
        ULV_EXIT_DEGRADED = 9,
        ULV_EXIT_UNREACHABLE = 10,
};

struct ulv_diag {
        enum ulv_exit code;
        unsigned line, column;    /* from 1; 0 means no place */
        char file[256];           /* "" means no place */
        char what[256];           /* "cannot raise memory of db from 16G to 24G" */
        char why[512];            /* "node 1 has 7G idle and 8G are needed (db.partition:23 Node=1)" */
        char try_[256];           /* "uvctl set batch memory=7G, then again" (printed behind "try: ") */
};

/* Each sets one text (cut to fit); d may be NULL. ulv_diag_what() clears the rest first. */
void ulv_diag_what(struct ulv_diag *d, enum ulv_exit code, const char *fmt, ...) ULV_PRINTF(3, 4);
void ulv_diag_why(struct ulv_diag *d, const char *fmt, ...) ULV_PRINTF(2, 3);
void ulv_diag_try(struct ulv_diag *d, const char *fmt, ...) ULV_PRINTF(2, 3);
void ulv_diag_at(struct ulv_diag *d, const char *file, unsigned line, unsigned column);
