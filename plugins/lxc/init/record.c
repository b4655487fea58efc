/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-init reads the same records as uv-port, with the same code; it is one static program, so the two
 * files are compiled in here rather than linked. */

#include "monitor/port/record.c"
#include "monitor/port/socket.c"
