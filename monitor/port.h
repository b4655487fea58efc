/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Fixed records between uv-monitor, uv-port and uv-init over SEQPACKET socket pairs, fds by SCM_RIGHTS.
 * A record of another size, an unknown kind or unexpected fds end the connection. uv-monitor never
 * reads what a partition wrote: uv-init speaks to uv-port only, which passes on numbers.
 *
 *   monitor -> port   CONFIGURE  fds: pty master, init socket, log file older, log file current; value = log limit
 *                     EXEC       number = request; text = argv, env, user, cwd, packed; fds: stdin, stdout, stderr
 *                     SIGNAL     number = signal, for uv-init's child
 *   port -> monitor   EXITED     number = request (0: the partition's own Exec=), value = status (0..255, 256 + signal)
 *                     READY      uv-init has started Exec=
 *                     FAILED     number = request, value = errno (could not exec)
 *   port <-> init     the same kinds, without CONFIGURE */

#include <stdint.h>

#define ULV_PORT_TEXT_MAX 32768
enum ulv_port_kind { ULV_PORT_CONFIGURE = 1, ULV_PORT_EXEC, ULV_PORT_SIGNAL, ULV_PORT_EXITED, ULV_PORT_READY, ULV_PORT_FAILED };

struct ulv_port_record {
        uint32_t magic;         /* ULV_PORT_MAGIC */
        uint32_t kind;          /* enum ulv_port_kind */
        uint32_t number;
        uint32_t text_len;      /* bytes used of text; 0 for all but EXEC */
        int64_t value;
        /* EXEC only, after the header: u16 argc, u16 envc, then user, cwd, argv..., env... each NUL-terminated */
};
#define ULV_PORT_MAGIC 0x50565531u
