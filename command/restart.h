/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "command/manager.h"

int restart_start(struct manager *m) ULV_MUST_CHECK;
void restart_done(struct manager *m);
/* The mirror or the definitions changed: starts what is due, and looks again when the next one is. */
void restart_review(struct manager *m);
