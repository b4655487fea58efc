/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include "lib/base.h"

/* The disk that a path is, or that its file system is on: the whole one, for only that can be limited. 0; -ENODEV: none; -errno. */
int ulv_disk_of(const char *path, dev_t *ret) ULV_MUST_CHECK;
