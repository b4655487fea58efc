/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Peer-to-peer sd-bus over unix sockets: the transport between roles, and for uvctl where there is no
 * system bus. One listener accepts, checks the peer by SO_PEERCRED before it reads a byte, and hands
 * over a started sd_bus. A connection that lets more than ULV_BUS_QUEUE_MAX messages queue is dropped. */

#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "lib/diag.h"

#define ULV_BUS_QUEUE_MAX 256
#define ULV_BUS_CONNECTIONS_MAX 8192    /* a listener's; per uid other than root: 128 */

struct ulv_bus_listener;
struct ulv_bus_peer {                   /* owned by the listener; lives as long as the connection */
        sd_bus *bus;
        struct ucred creds;             /* of the moment of connect() */
        int pidfd;                      /* of the peer, -1 if it was gone already */
        struct ulv_bus_listener *listener;
        void *userdata;                 /* the owner's */
};

struct ulv_bus_listener_ops {
        /* May this peer connect at all? Called before anything is read. */
        bool (*allow)(const struct ucred *creds, void *userdata);
        /* Add vtables to p->bus here; non-zero refuses. */
        int (*connected)(struct ulv_bus_peer *p, void *userdata);
        void (*disconnected)(struct ulv_bus_peer *p, void *userdata);
        unsigned per_uid;       /* most connections of one uid that isn't root; 0 = 128. Monitors of sim share a uid. */
        unsigned most;          /* connections of all; 0 = ULV_BUS_CONNECTIONS_MAX. Each is looked at in each turn of the loop. */
};

/* Binds path (replacing a stale socket), mode as given, owner unchanged. */
int ulv_bus_listen(sd_event *e, const char *path, mode_t mode, const struct ulv_bus_listener_ops *ops, void *userdata, struct ulv_bus_listener **ret) ULV_MUST_CHECK;
void ulv_bus_listener_free(struct ulv_bus_listener *l);
/* Walks the live connections; f's non-zero ends it. */
int ulv_bus_listener_each(struct ulv_bus_listener *l, int (*f)(struct ulv_bus_peer *p, void *userdata), void *userdata);
/* Call after queueing to a peer: drops it if its queue is too long (then p is gone; returns true). */
bool ulv_bus_peer_overdue(struct ulv_bus_peer *p);
void ulv_bus_peer_drop(struct ulv_bus_peer *p);

/* Connects to a socket path, negotiates fds, attaches to e (NULL: not attached). */
int ulv_bus_connect(sd_event *e, const char *path, sd_bus **ret) ULV_MUST_CHECK;

/* A typed error: name org.ultravisor1.Error.X by code, message "what\nwhy\ntry" (empty lines kept), and
 * back. Codes map to the names in lib/protocol.h. */
int ulv_bus_reply_diag(sd_bus_message *m, const struct ulv_diag *d);
void ulv_bus_error_to_diag(const sd_bus_error *e, int r, struct ulv_diag *ret);
