/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* ROOT/var/log/ultravisor/NAME.said: what a partition says of itself (READY and STATUS of uv-call(7)). Written by its
 * uv-port, whole, by one pwrite(); read by the next uv-port and by uv-command, which trust nothing in it. */

#include <stdint.h>

#define SAID_MAGIC 0x44494153u          /* "SAID" */
#define SAID_STATUS_MAX 256             /* with its NUL */

struct said {
        uint32_t magic;
        uint32_t life;                  /* of the partition that this is about; another one has said nothing yet */
        uint32_t ready;                 /* 0, 1 */
        uint32_t reserved;
        char status[SAID_STATUS_MAX];   /* printable UTF-8 or ASCII, ends with a NUL */
};
