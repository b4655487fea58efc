/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ULTRAVISOR_CALL_H
#define ULTRAVISOR_CALL_H

/* The call interface between a partition and its monitor, both ways: uv-call(7) says what each verb is for.
 *
 * One fixed record, the same for a question and for its answer. A container's programs connect to ULV_CALL_SOCKET_PATH, a
 * SEQPACKET socket; in a VM it is the virtio-serial port of the name ULV_CALL_PORT, a stream of such records. Who
 * listens (HELLO with a mask) is asked over the same connection; each question is answered once, with its verb and number.
 * A version may grow by verbs, values and codes: what isn't known is answered so, and zero is "none". */

#include <stddef.h>
#include <stdint.h>

#define ULV_CALL_DIRECTORY "/run/ultravisor"
#define ULV_CALL_SOCKET "call"
#define ULV_CALL_SOCKET_PATH ULV_CALL_DIRECTORY "/" ULV_CALL_SOCKET
#define ULV_CALL_PORT "org.ultravisor1.call"
#define ULV_CALL_MAGIC 0x31435655u      /* "UVC1" */
#define ULV_CALL_VERSION 1
#define ULV_CALL_TEXT_SIZE 464          /* with its NUL */

enum ulv_call_verb {
        /* From the partition to its monitor. */
        ULV_CALL_HELLO = 1,     /* value: version, mask of what it listens for; answer: version, mask understood; text: its name */
        ULV_CALL_VIEW,          /* value: offset; answer: offset, length of the whole, generation; text: a piece of the view */
        ULV_CALL_READY,         /* it has started */
        ULV_CALL_STATUS,        /* text: what it is doing, a line for people */
        ULV_CALL_OPEN,          /* text: a channel's label; answer: end, epoch, 1 in a VM; and the three fds of struct ulv_channel_fds */
        ULV_CALL_RELEASE,       /* what a RESIZE asked for, and was answered LATER, can be taken now */
        /* From the monitor to who listens. */
        ULV_CALL_STOP = 33,     /* value: microseconds until it is killed */
        ULV_CALL_RESIZE,        /* value: CPU from now on in 1/1000 hardware threads, bytes of memory */
        ULV_CALL_PATH,          /* text: a channel's label; value: 1 its other end is there, 0 it is gone */
        ULV_CALL_TIME,          /* value: 1 it was held and goes on, 2 the host's clock was set; that clock in microseconds */
        ULV_CALL_SELFTEST,      /* answer: checks made, checks failed */
};
#define ULV_CALL_FIRST_ASKED ULV_CALL_STOP
#define ULV_CALL_LAST_ASKED ULV_CALL_SELFTEST
#define ULV_CALL_ASKED_VERBS (ULV_CALL_LAST_ASKED - ULV_CALL_FIRST_ASKED + 1)
#define ULV_CALL_LISTENS(verb) (UINT64_C(1) << ((verb) - ULV_CALL_FIRST_ASKED))
#define ULV_CALL_LISTENS_ALL (ULV_CALL_LISTENS(ULV_CALL_LAST_ASKED + 1) - 1)
#define ULV_CALL_OPEN_FDS 3

enum ulv_call_code {
        ULV_CALL_OK = 0,
        ULV_CALL_LATER,         /* of RESIZE: not yet; RELEASE will follow */
        ULV_CALL_REFUSED,       /* who was asked will not do it */
        ULV_CALL_FAILED,        /* who was asked tried, and could not */
        ULV_CALL_BAD_RECORD,    /* not a record of this size and form; the connection is closed */
        ULV_CALL_UNKNOWN,       /* no such verb in this version */
        ULV_CALL_WRONG_WAY,     /* a verb of the other direction */
        ULV_CALL_BAD_VALUE,     /* a value or text that this verb can't have */
        ULV_CALL_BAD_FDS,       /* file descriptors came with it: closed */
        ULV_CALL_NOT_THERE,     /* no channel of that label; nothing that a RELEASE could be about; no view yet */
        ULV_CALL_BUSY,          /* another connection listens already */
        ULV_CALL_TOO_MANY,      /* more calls than are served in a second: again in a moment */
        ULV_CALL_NO_FDS,        /* this connection carries none (a VM's) */
        ULV_CALL_BROKEN,        /* the other end has ended that channel */
        ULV_CALL_CODES,
};

struct ulv_call {
        uint32_t magic;         /* ULV_CALL_MAGIC */
        uint16_t verb;          /* enum ulv_call_verb */
        uint16_t answer;        /* 0 a question, 1 an answer */
        uint32_t number;        /* of the question, chosen by who asks */
        uint32_t code;          /* of an answer, enum ulv_call_code; of a question 0 */
        uint64_t value[4];      /* by verb; else 0 */
        char text[ULV_CALL_TEXT_SIZE];  /* by verb; ends with a NUL, and nothing but NULs stands behind that */
};
_Static_assert(sizeof(struct ulv_call) == 512, "the record's size is part of the interface");

#endif
