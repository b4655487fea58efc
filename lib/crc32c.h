/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* CRC-32C (Castagnoli, as iSCSI and ext4 use it): tells a whole text from a cut or changed one. */

#include "lib/base.h"

uint32_t ulv_crc32c(const void *buf, size_t len);
