/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* For $(B)/test/barriers/uv-monitor-lxc alone: ULTRAVISOR_TEST_BARRIER_OFF names the layers that aren't put on, one or
 * with '+' between them several. */

#include <stdlib.h>

#include "plugins/lxc/lxc.h"

bool lxc_barrier(const char *name) {
        const char *off = getenv("ULTRAVISOR_TEST_BARRIER_OFF");
        size_t n = strlen(name);

        for (; off; off = strchr(off, '+') ? strchr(off, '+') + 1 : NULL)
                if (strncmp(off, name, n) == 0 && (off[n] == 0 || off[n] == '+'))
                        return false;
        return true;
}
