/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Records of channel/call.h, checked and exchanged: for uv-port and for our own programs inside a partition. */

#include "channel/call.h"

/* Is that a record? Copies it. 0; -EBADMSG. */
int ulv_call_parse(const void *buf, size_t len, struct ulv_call *ret);
enum ulv_call_side { ULV_CALL_FROM_PARTITION, ULV_CALL_FROM_MONITOR };
/* OK, UNKNOWN, WRONG_WAY or BAD_VALUE: may this side ask this? */
enum ulv_call_code ulv_call_check(const struct ulv_call *c, enum ulv_call_side from);
const char *ulv_call_verb_name(unsigned verb);         /* "RESIZE"; "?" if unknown */
const char *ulv_call_code_text(uint32_t code);         /* for people */

/* The programs' side, in a container and in a VM. A connection, or -errno. */
int ulv_call_connect(void);
int ulv_call_open_port(void);          /* the VM's, O_NONBLOCK; -errno */
/* Sends c and waits for its answer, which replaces it; fds: room for ULV_CALL_OPEN_FDS of them, for OPEN, or NULL. 0:
 * answered, look at c->code; -errno. Not for a connection that listens: what is asked there meanwhile is dropped. */
int ulv_call(int fd, struct ulv_call *c, int *fds);
/* The next record of the monitor. 0; -ECONNRESET: it is gone; -errno. */
int ulv_call_receive(int fd, struct ulv_call *ret, int *fds);
int ulv_call_send(int fd, const struct ulv_call *c);
