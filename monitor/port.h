/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Fixed records between uv-monitor, uv-port and uv-init over SEQPACKET socket pairs, fds by SCM_RIGHTS.
 * A record of another size, an unknown kind or unexpected fds end the connection. uv-monitor never
 * reads what a partition wrote: uv-init speaks to uv-port only, which passes on numbers.
 *
 * uv-port is executed by the monitor as `uv-port NAME --uid UID` (UID: ULV_UID_BASE + the partition's uid range), as
 * root, with fd 3 its end of the socket to the monitor and nothing else open but 0 (/dev/null), 1 and 2 (the log). It
 * drops to UID itself and proves it. CONFIGURE is the first record. End of file on fd 3: the monitor is gone; exit
 * at once, for the next monitor's uv-port is about to read the same console.
 *
 *   monitor -> port   CONFIGURE  fds: pty master, init socket, log NAME.log.0, .1, .first, the socket
 *                                of channel/call.h, NAME.said (lib/saidform.h); number = the partition's life,
 *                                value = most bytes in the three files together
 *                     EXEC       number = request; text = argv, env, user, cwd, packed; fds: stdin, stdout, stderr
 *                     SIGNAL     number = signal, for uv-init's child
 *                     CHANNEL    number = the partition's end, text = its label; fds: memory, doorbell of end 0, of end 1
 *                     DOOR       text = label of a channel, fd: listening socket, where a VM's QEMU comes for it
 *                     HOST       text = label, fd: socket of one of the host's tools; number 0: it is given the other
 *                                end, which is the host's (answer to an OPEN); 1: it is told of both (channel/account.h)
 *                     NO_CHANNEL, PEER_GONE   text = label: the partition has it no more; its other end's partition ended
 *                     VIEW       value = generation, text = the view as its partition may see it
 *                     CALL       text = a question (channel/call.h) to who listens inside; one of each verb at a time
 *                     CONSOLE    number = request, value = 1: from whoever types now; fd: what is read from it is typed
 *                     END        the partition's life is over: write its last words into the log, exit
 *   port -> monitor   EXITED     number = request (0: the partition's own Exec=), value = status (0..255, 256 + signal);
 *                                of CONSOLE: its fd ended
 *                     READY      uv-init has started Exec=
 *                     FAILED     number = request, value = errno of what could not be executed: ENOENT no such program,
 *                                EACCES not executable, ENOEXEC not a program, ESRCH no such user in the root's
 *                                /etc/passwd, ENOTDIR no such working directory, EAGAIN too many at once;
 *                                of CONSOLE: EBUSY somebody else types, ECANCELED somebody else does from now on
 *                     SAID       number = HELLO, value = mask of what who listens inside may be asked; READY, RELEASE: value = 1
 *                     CALLED     number = verb of a CALL, value = code of the answer, and 65536 times what SELFTEST counted (made,
 *                                and 65536 times failed); ULV_CALL_NOT_THERE: nobody listens for that, or not any more
 *   port <-> init     the same kinds, without CONFIGURE, CONSOLE, END and those of channels and calls
 *
 * The log: NAME.log.0 and .1 take turns, NAME.log.first has the first output of this life (lib/logform.h). uv-port
 * finds out by itself at each CONFIGURE how far they are, so it may be killed and configured again with the same
 * fds. They must be open for reading and writing without O_APPEND. */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#define ULV_PORT_TEXT_MAX 32768
/* As argv[0] of EXEC: no program, but uv-init's own end of a copy (lib/copy.h): "send" PATH, from standard output, or
 * "receive" PATH NAME, to standard input: into the directory PATH as NAME, or as PATH. */
#define ULV_PORT_COPY "--copy"
#define ULV_PORT_SHELL "-"             /* as argv[0] of EXEC: the user's shell, as at a login */
enum ulv_port_kind { ULV_PORT_CONFIGURE = 1, ULV_PORT_EXEC, ULV_PORT_SIGNAL, ULV_PORT_EXITED, ULV_PORT_READY, ULV_PORT_FAILED,
                     ULV_PORT_CONSOLE, ULV_PORT_END, ULV_PORT_CHANNEL, ULV_PORT_NO_CHANNEL, ULV_PORT_PEER_GONE, ULV_PORT_DOOR,
                     ULV_PORT_VIEW, ULV_PORT_CALL, ULV_PORT_SAID, ULV_PORT_CALLED, ULV_PORT_HOST };
#define ULV_PORT_LABEL_SIZE 64          /* of a channel, with its NUL, which no record has */

struct ulv_port_record {
        uint32_t magic;         /* ULV_PORT_MAGIC */
        uint32_t kind;          /* enum ulv_port_kind */
        uint32_t number;
        uint32_t text_len;      /* bytes used of text; 0 for all but EXEC, VIEW, CALL and those of channels */
        int64_t value;
        /* EXEC only, after the header: u16 argc, u16 envc, then user, cwd, argv..., env... each NUL-terminated */
};
#define ULV_PORT_FD 3
#define ULV_PORT_MAGIC 0x50565531u

/* What FAILED's value means to who asked. */
static inline const char *ulv_port_failure(int64_t value) {
        switch (value) {
        case ENOENT: return "no such program in the partition";
        case EACCES: return "it isn't executable";
        case ENOEXEC: return "it isn't a program that this machine can execute";
        case ESRCH: return "no such user in the partition's /etc/passwd";
        case ENOTDIR: return "no such working directory in the partition";
        case EAGAIN: return "too many programs at once in the partition";
        case EBUSY: return "somebody else types into it";
        case ECANCELED: return "somebody else has taken it over";
        case EPIPE: return "the partition can't be asked now";
        default: return strerror(value > 0 && value < 4096 ? (int) value : EIO);
        }
}
