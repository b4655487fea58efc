/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "uvctl/image.h"

/* The files of a partition that doesn't run, for copy. */
struct stopped {
        bool is;                        /* it doesn't run; else nothing here is of use */
        int tree;                       /* a detached mount: its root directory */
        struct image_store store;       /* locked, if it starts from an image: it can't start meanwhile */
};

/* Looks at its state, and if it doesn't run, opens its files. An exit code, with u->diag. */
int stopped_open(struct uvctl *u, const char *name, struct stopped *ret) ULV_MUST_CHECK;
void stopped_done(struct stopped *s);
