/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Starts that PID 1 wants: see wanted.c. */

#include "command/manager.h"

int wanted_start(struct manager *m) ULV_MUST_CHECK;
void wanted_done(struct manager *m);
/* uvd: the unit of this partition was started by itself. */
void wanted_add(struct manager *m, const char *name);
void wanted_forget(struct manager *m);          /* uvd is gone, and will say it again */
/* Starts what can be started now; after every change. */
void wanted_review(struct manager *m);
