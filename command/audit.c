/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a call asks for, and the line about it that stays. */

#include <stdio.h>
#include <systemd/sd-journal.h>

#include "command/access.h"
#include "lib/event.h"
#include "lib/protocol.h"

static bool add_name(struct question *q, const char *name) {
        size_t n = strlen(q->object);
        int k = snprintf(q->object + n, sizeof(q->object) - n, "%s%s", n > 0 ? " " : "", name);

        return k >= 0 && (size_t) k < sizeof(q->object) - n;
}

/* The names at a call's start, cut to fit. sd-bus has compared the message with its signature. */
static void read_about(sd_bus_message *call, enum about about, struct question *q) {
        const char *name, *from, *to;
        size_t n = 0;

        if (about == ABOUT_PARTITIONS && sd_bus_message_enter_container(call, 'a', "s") > 0) {
                while (sd_bus_message_read_basic(call, 's', &name) > 0 && add_name(q, name))
                        n++;
                q->one = n == 1 && sd_bus_message_at_end(call, false) > 0;
        } else if (about == ABOUT_MOVE && sd_bus_message_read(call, "sss", &name, &from, &to) > 0)
                (void) (add_name(q, from) && add_name(q, to));
        else if ((about == ABOUT_PARTITION || about == ABOUT_TRANSACTION) && sd_bus_message_read_basic(call, 's', &name) > 0)
                q->one = add_name(q, name) && about == ABOUT_PARTITION;
}

void access_question(sd_bus_message *call, struct question *ret) {
        const char *interface = sd_bus_message_get_interface(call), *member = sd_bus_message_get_member(call);
        const struct method *m = public_method(member ? member : "");

        *ret = (struct question) { .access = ACCESS_VIEW, .verb = member ? member : "" };
        if (interface && ulv_streq(interface, "org.freedesktop.DBus.Peer")) {
                ret->access = ACCESS_OPEN;
                return;
        }
        /* By the name alone: no interface, or another one, is no way round. */
        if (!m)
                return;
        ret->access = m->access;
        ret->verb = m->name;
        if (m->access != ACCESS_VIEW && sd_bus_message_has_signature(call, m->in) && sd_bus_message_rewind(call, true) >= 0) {
                read_about(call, m->about, ret);
                (void) sd_bus_message_rewind(call, true);
        }
}

/* A line is a record: what a caller typed must not forge another one. */
static void one_line(char *buf, size_t size, const char *text) {
        (void) snprintf(buf, size, "%.*s", (int) strcspn(text, "\n"), text);
        for (char *p = buf; *p; p++)
                if ((unsigned char) *p < 0x20 || *p == 0x7f)
                        *p = '?';
}

void access_audit(const struct question *q, uid_t uid, const char *sender, const char *outcome, const char *text) {
        char object[sizeof(q->object)], line[1024], why[256];
        int r = -ENOENT;

        one_line(object, sizeof(object), q->object);
        one_line(why, sizeof(why), text);
        (void) snprintf(line, sizeof(line), "uid %u: %s%s%s: %s%s%s", (unsigned) uid, q->verb, object[0] ? " " : "", object, outcome,
                        why[0] ? ": " : "", why);
        if (access("/run/systemd/journal/socket", F_OK) == 0)
                r = sd_journal_send("%s", ulv_event_field(ulv_streq(outcome, "refused") ? ULV_EVENT_REFUSED : ULV_EVENT_AUDIT), "PRIORITY=5", "ULTRAVISOR_UID=%u", (unsigned) uid, "ULTRAVISOR_SENDER=%s", sender,
                                    "ULTRAVISOR_VERB=%s", q->verb, "ULTRAVISOR_OBJECT=%s", object, "ULTRAVISOR_OUTCOME=%s", outcome,
                                    "MESSAGE=%s", line, NULL);
        if (r < 0)
                ulv_log(ULV_LOG_NOTICE, "%s", line);
}
