/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* org.ultravisor1.Operations, spoken to command only (lib/protocol.h). */

#include "lib/bus.h"
#include "operations/install.h"
#include "operations/written.h"

struct service {
        struct install in;
        struct written written;
        struct ulv_bus_listener *listener;
        uid_t command;                  /* the one uid that may connect */
        struct ulv_strbuf problems;     /* why the files on disk don't count; "" if they do */
};

/* Reads the configuration directory and makes it the set in force if it is good; what is wrong goes to
 * problems, and the last good set stays. 0 yes, 1 no, -errno. */
int service_reload(struct service *s) ULV_MUST_CHECK;
int service_listen(struct service *s, sd_event *e, const char *path) ULV_MUST_CHECK;
