/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What one of the host's tools is told of a channel by a partition's uv-port, in one record: as the ends wrote it into
 * the channel's memory (layout.h), where they may have lied. */

#include <stdint.h>

#define ACCOUNT_MAGIC 0x31415655u       /* "UVA1" */
enum { COUNT_SENT, COUNT_RECEIVED, COUNT_BELLS, COUNT_BYTES, COUNT_FULL, ACCOUNT_COUNTERS };

struct channel_account {
        uint32_t magic, reserved;
        struct channel_account_end {
                uint64_t life;                  /* epoch << 8 | enum channel_state */
                uint64_t count[ACCOUNT_COUNTERS];
        } end[2];
};
