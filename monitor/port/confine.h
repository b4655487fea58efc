/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

/* Gives everything up but uid's own empty rights and a dozen system calls, and proves it. Call once, with
 * all the process will ever need already open. 0, or -errno: then the process must end. */
int port_confine(uid_t uid);
