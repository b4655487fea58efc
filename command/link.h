/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A connection to another role that comes back by itself: either side may be killed at any time. */

#include "lib/bus.h"

struct link {
        sd_event *event;
        char *path;                     /* owned */
        sd_bus *bus;                    /* NULL while there is none */
        sd_event_source *timer;
        uint64_t delay;                 /* us until the next try */
        uint64_t since;                 /* monotonic us of the last connection */
        bool waiting;                   /* the timer runs */
        /* up: connected, matches may be added and calls made; non-zero gives the connection up. down: every
         * call that was on its way has been answered with an error before. */
        int (*up)(struct link *l, void *userdata);
        void (*down)(struct link *l, void *userdata);
        void *userdata;
};

/* Takes path. Tries at once, then every 20 to 200 ms, for ever. */
int link_start(struct link *l, sd_event *e, char *path) ULV_MUST_CHECK;
void link_done(struct link *l);
/* Gives a connection up that makes no sense any more: down() and another try follow. */
void link_drop(struct link *l);
/* A call to the far side whose answer comes to `reply`; it may come during this call's link_down too.
 * -ENOTCONN while there is no connection. */
int link_call(struct link *l, sd_bus_message *call, sd_bus_message_handler_t reply, void *userdata) ULV_MUST_CHECK;
