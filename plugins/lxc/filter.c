/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The system call filter of each profile, as filter/generate.c made it when this was built. */

#include <linux/filter.h>

#include "plugins/lxc/filter.inc"
#include "plugins/lxc/lxc.h"

const void *lxc_filter(unsigned rights, unsigned *ret_len) {
        static const struct { const struct sock_filter *program; unsigned len; } filters[] = {
                [0] = { filter_0, ULV_ARRAY_SIZE(filter_0) },
                [LXC_INIT] = { filter_1, ULV_ARRAY_SIZE(filter_1) },
                [LXC_NESTING] = { filter_2, ULV_ARRAY_SIZE(filter_2) },
                [LXC_INIT | LXC_NESTING] = { filter_3, ULV_ARRAY_SIZE(filter_3) },
        };

        *ret_len = filters[rights].len;
        return filters[rights].program;
}
