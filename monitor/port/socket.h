/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Records over SEQPACKET sockets with their fds. */

#include <sys/types.h>

#include "monitor/port/record.h"

/* One received record, whole or not: `len` bytes and fds (O_CLOEXEC), closed by ulv_port_message_done(). */
struct ulv_port_message {
        _Alignas(struct ulv_port_record) char buf[ULV_PORT_RECORD_MAX];
        size_t len;
        int fds[ULV_PORT_FDS_MAX];
        unsigned n_fds;
};

/* >0: bytes received; 0: end of file; -EAGAIN; -EBADMSG: cut off, or more fds than any record has
 * (the message is dropped, its fds are closed); another -errno. */
ssize_t ulv_port_receive(int fd, struct ulv_port_message *m);
void ulv_port_message_done(struct ulv_port_message *m);
/* Sends a record as it stands. 0; -EAGAIN (the other side doesn't read); another -errno. */
int ulv_port_send(int fd, const void *buf, size_t len, const int *fds, unsigned n_fds, int flags);
