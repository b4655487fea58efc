/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* uv-port's part in channels: keeps the fds of the ends that the partition has, gives them to its programs
 * (OPEN, calls.h), or to a VM's QEMU (ivshmem.h), and writes into a channel's memory which end is gone. The connection
 * of a program, or of QEMU, is its sign of life. */

#include <poll.h>
#include <stdint.h>

#include "channel/call.h"

#define CHANNELS_MAX 32
#define CHANNEL_POLLS (3 * CHANNELS_MAX)

struct port_channel {
        char name[64];                  /* "": a free place */
        int memory, bell[2];            /* -1: none */
        unsigned end;
        /* By the end: the partition's, and, where the other is the host's, that one too. */
        int user[2];                    /* connection of the program, or the QEMU, that has it, -1: none */
        uint64_t epoch[2];              /* that it was given; 0: a VM's, whose programs count their epochs themselves */
        int door;                       /* a VM's: where QEMU comes, once; -1: none, or it has come */
};

struct channels {
        struct port_channel v[CHANNELS_MAX];
};

void channels_init(struct channels *c);
/* From the monitor, which knows what it says. fds[3] become ours on 0. */
int channels_add(struct channels *c, const char *name, unsigned end, const int fds[3]);
void channels_remove(struct channels *c, const char *name);
/* It is a VM's, whose QEMU comes to this listening socket. fd becomes ours on 0. */
int channels_door(struct channels *c, const char *name, int fd);
/* The other end's partition has ended. */
void channels_peer_gone(struct channels *c, const char *name);
/* Answers OPEN. 0: done, and the connection is now that of the end's user; else a code that hasn't been answered yet,
 * or -errno: the caller doesn't read. */
int channels_give(struct channels *c, int fd, const struct ulv_call *q);
/* Its other end is the host's: given to one of the host's tools, behind fd, as an answer to OPEN; fd becomes ours on 0. */
int channels_host(struct channels *c, const char *name, int fd);
/* What the ends have written of themselves, for one of the host's tools. */
int channels_account(struct channels *c, const char *name, int fd);
void channels_wishes(const struct channels *c, struct pollfd fds[CHANNEL_POLLS]);
void channels_serve(struct channels *c, const struct pollfd fds[CHANNEL_POLLS]);
