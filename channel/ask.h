/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a program of a container, or of a VM, is given its end of a channel: it connects to ASK_PATH (SEQPACKET), sends one struct
 * ask, and gets one struct answer, with three fds where error is 0: the memory, its own doorbell, the other end's.
 * It keeps the connection for as long as it uses the end: whose connection ends is gone, and the other end hears that. */

#include <stdint.h>

#define ASK_DIRECTORY "/run/ultravisor"
#define ASK_SOCKET "channels"
#define ASK_PATH ASK_DIRECTORY "/" ASK_SOCKET
#define ASK_MAGIC 0x31515655u   /* "UVQ1" */
#define ASK_NAME_MAX 64

struct ask {
        uint32_t magic, reserved;
        char name[ASK_NAME_MAX];        /* the label of [Channel], NUL-terminated and padded */
};

struct answer {
        uint32_t magic;
        uint32_t error;                 /* errno; 0: the fds are with it */
        uint32_t end, device;           /* device 1: in a VM; the fds are those of struct ulv_channel_fds */
        uint64_t epoch;
};
