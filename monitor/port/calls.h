/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The call interface (channel/call.h, uv-call(7)): what a partition's programs ask of their monitor, and what the
 * monitor asks of the one that listens. */

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "channel/caller.h"
#include "lib/saidform.h"
#include "monitor/port.h"
#include "monitor/port/channels.h"

#define CALLERS_MAX 8           /* connections without a channel: the oldest goes first, but for who listens */
#define CALL_POLLS (1 + CALLERS_MAX)
#define CALLS_A_SECOND 300      /* records and connections; then one is refused, and the rest waits for the next second */

struct caller {
        int fd;                 /* -1: none */
        uint64_t listens;       /* mask; 0: it asks only */
        size_t have;            /* of a stream: bytes of a record that isn't whole yet */
        char buf[sizeof(struct ulv_call)];
};

struct calls {
        const char *name;       /* the partition's */
        void (*tell)(uint32_t kind, uint32_t number, int64_t value);    /* the monitor */
        struct channels *channels;
        int listening;          /* -1: the partition has no such socket */
        int64_t deaf_ms, deaf_for_ms;   /* it doesn't listen yet: when to look again, and after how long */
        bool stream;            /* a VM's: no records, no fds */
        struct caller callers[CALLERS_MAX];
        unsigned next;
        uint32_t pending[ULV_CALL_ASKED_VERBS];         /* numbers of questions that haven't been answered; 0 none */
        uint32_t number;
        bool releasable;        /* a RESIZE was answered LATER */
        int64_t window_ms;
        unsigned in_window;
        uint64_t generation;    /* of the view */
        size_t view_len;
        char view[ULV_PORT_TEXT_MAX];
        int said_fd;            /* what the partition said of itself, for people and for a new uv-port */
        struct said said;
};

void calls_init(struct calls *c);
/* fds become ours. READY that an earlier uv-port was told, in this life of the partition, is told again. */
void calls_configure(struct calls *c, int listening, int said_fd, uint32_t life);
void calls_view(struct calls *c, uint64_t generation, const char *text, size_t len);
/* From the monitor: one of each verb at a time; is answered by CALLED, sooner or later. */
void calls_ask(struct calls *c, const struct ulv_call *q);
/* timeout: shortened to when to look again. */
void calls_wishes(struct calls *c, struct pollfd fds[CALL_POLLS], int64_t now_ms, int *timeout);
void calls_serve(struct calls *c, const struct pollfd fds[CALL_POLLS], int64_t now_ms);
