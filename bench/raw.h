/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bench/bench.h"

/* N containers up by the kernel alone, over this tree; milliseconds until the last runs its program, < 0 if it can't
 * be had. They are gone when it returns. */
double raw_up(const char *tree, unsigned n, unsigned *ret_started);
/* One of them, in ms, over the tree that userdata names. */
double raw_start(void *userdata);
/* A clone with the namespaces and nothing in them, and a program to its end, in ms. */
double raw_clone(void *userdata);
