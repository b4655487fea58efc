/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* For $(B)/test/barriers/uv-monitor-lxc alone: ULTRAVISOR_TEST_BARRIER_OFF names the one layer that isn't put on. */

#include <stdlib.h>

#include "plugins/lxc/lxc.h"

bool lxc_barrier(const char *name) {
        const char *off = getenv("ULTRAVISOR_TEST_BARRIER_OFF");

        return !off || !ulv_streq(off, name);
}
