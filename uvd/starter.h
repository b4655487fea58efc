/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The starter: who starts monitors for uvd, by name, keeps their fds, and tells which run with which token. There are
 * two, and nobody but starter.c knows which it is: uv-launch (starter-launch.c), and PID 1 of an installed system
 * (starter-systemd.c). */

#include "uvd/uvd.h"

struct starter_ops {
        /* As starter_connect(), starter_attach(), starter_free(). */
        int (*connect)(struct uvd *u);
        int (*attach)(struct uvd *u);
        int (*start)(struct uvd *u, const char *name);  /* guest_started(), _failed() or _exited() will come */
        int (*token)(struct uvd *u, struct guest *g, const char *said);        /* as starter_token() */
        void (*stop)(struct uvd *u, const char *name);
        void (*free)(struct uvd *u);
};

extern const struct starter_ops starter_launch, starter_systemd;
