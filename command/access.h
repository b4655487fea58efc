/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* May this person? (May this partition is the planner's question.) A call is judged by what it asks for, before it
 * is parsed: all that is looked at is its name, and the partition that it is about, for polkit's rules and the
 * audit. systemd/org.ultravisor1.policy has the actions. */

#include <systemd/sd-bus.h>

#include "lib/diag.h"

enum access {
        ACCESS_OPEN,            /* org.freedesktop.DBus.Peer: nothing of ours */
        ACCESS_VIEW,            /* looks */
        ACCESS_MANAGE,          /* what runs */
        ACCESS_CONFIGURE,       /* what is written */
        ACCESS_CHANNEL,         /* the host's end of a channel */
        ACCESS_CONSOLE,         /* being root inside a partition */
};
/* What a call begins with. */
enum about { ABOUT_NOTHING, ABOUT_PARTITION, ABOUT_PARTITIONS, ABOUT_MOVE, ABOUT_TRANSACTION };

struct method { const char *name, *in; enum access access; enum about about; };

struct question {
        enum access access;
        const char *verb;       /* the call's name; of an unknown one, valid as long as the call */
        char object[256];       /* "web", "db web", a transaction; "" = none, or all of them */
        bool one;               /* object is one partition: rules can be about it */
};

/* What a call asks for; the method of a name that nobody knows is looked for by who may look. The call is read from its
 * start, and stands there afterwards. */
void access_question(sd_bus_message *call, struct question *ret);
const char *access_action(enum access a);
/* "uid 1000 may not start, stop or signal web": what a person is told, who typed no method's name. */
void access_refused(const struct question *q, uid_t uid, char *buf, size_t size);
/* The table of org.ultravisor1.Manager; NULL: no such method. (public.c) */
const struct method *public_method(const char *name);

/* What became of a call that changes something, or was refused: in the journal with fields, else a log line. */
void access_audit(const struct question *q, uid_t uid, const char *sender, const char *outcome, const char *text);

/* polkit.c. Asks, without waiting; the answer comes to f, unless *ret_slot is unreferenced before. Then
 * polkit_cancel(id), so that nobody is asked for a password in vain. */
int polkit_ask(sd_bus *bus, const char *sender, const struct question *q, bool interactive, sd_bus_message_handler_t f,
               void *userdata, sd_bus_slot **ret_slot, uint64_t *ret_id) ULV_MUST_CHECK;
void polkit_cancel(sd_bus *bus, uint64_t id);
enum verdict {
        VERDICT_YES,
        VERDICT_NO,
        VERDICT_CHALLENGE,      /* if somebody types a password, and the call doesn't allow to ask */
        VERDICT_ABSENT,         /* there is no polkit on this system */
        VERDICT_UNKNOWN,        /* it didn't answer: no */
};
enum verdict polkit_verdict(sd_bus_message *reply);
