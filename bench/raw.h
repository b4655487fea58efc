/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bench/bench.h"

/* N containers up by the kernel alone, over this tree; milliseconds until the last runs its program, < 0 if it can't
 * be had. They are gone when it returns. */
double raw_up(const char *tree, unsigned n, unsigned *ret_started);
/* One clone with what a container gets, and a program in it: what the kernel alone takes, in ms. */
double raw_clone(void *userdata);
