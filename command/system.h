/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* org.ultravisor1 on the system bus, of an installed Ultravisor (root /). See system.c. */

#include "command/public.h"

int system_start(struct manager *m) ULV_MUST_CHECK;
void system_done(struct manager *m);
/* The connection, as a peer that may be told of changes; NULL while there is none. */
struct public_peer *system_peer(const struct manager *m);
/* Of a call that came over it: the sender; NULL, and uid -1, if it is gone. */
void *system_who(const struct manager *m, sd_bus_message *call);
uid_t system_uid(const struct manager *m, sd_bus_message *call);
/* May the sender of `call` do what q asks for? f is told, once, now or later, with what decided in words.
 * It may be told when the sender is gone. */
void system_ask(struct manager *m, sd_bus_message *call, const struct question *q,
                void (*f)(void *userdata, enum verdict v, uid_t uid), void *userdata);
