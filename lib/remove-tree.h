/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/base.h"

/* Removes dirfd/name and all below it, following no link and crossing into no other file system. What is
 * below may be anybody's work: of any depth, without permissions. 0 also if it isn't there; -errno of the
 * first failure, after all else was removed. */
int ulv_remove_tree(int dirfd, const char *name) ULV_MUST_CHECK;
