/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Packing and checking of the records of monitor/port.h: pure over (buffer, length), libc's memory and
 * string functions only. uv-port, uv-init and the fuzz target share it; uv-init by including record.c. */

#include <stdbool.h>
#include <stddef.h>

#include "monitor/port.h"

#define ULV_PORT_WORDS_MAX 512          /* argv and env together; the text is the real limit */
#define ULV_PORT_RECORD_MAX (sizeof(struct ulv_port_record) + ULV_PORT_TEXT_MAX)
#define ULV_PORT_FDS_MAX 7

/* Who sent a record decides which kinds it may have. */
enum ulv_port_from { ULV_PORT_FROM_MONITOR, ULV_PORT_FROM_INIT, ULV_PORT_TO_INIT };

/* An EXEC record's text, taken apart; the strings point into the record. */
struct ulv_port_exec {
        const char *user, *cwd;
        unsigned argc, envc;
        const char *argv[ULV_PORT_WORDS_MAX + 1];       /* NULL-terminated, argc >= 1 */
        const char *env[ULV_PORT_WORDS_MAX + 1];        /* each has a '=' that isn't its first byte */
};

/* Is buf[0..len) with n_fds fds a whole, allowed record from that side? Checks everything that can be
 * checked without knowing what happened before. EXEC's text is looked at by ulv_port_exec_parse(). */
bool ulv_port_record_valid(const void *buf, size_t len, unsigned n_fds, enum ulv_port_from from);
/* Takes an EXEC record's text apart. false: not of the form. */
bool ulv_port_exec_parse(const void *buf, size_t len, struct ulv_port_exec *ret);
