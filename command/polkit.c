/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* polkit's answer to "may this person", asked without waiting. The subject is the sender's name on the bus, for
 * which polkit asks the bus: a pid may be another's by then, a name is never given twice. */

#include <inttypes.h>
#include <stdio.h>

#include "command/access.h"
#include "lib/protocol.h"

#define POLKIT "org.freedesktop.PolicyKit1"
#define POLKIT_PATH "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_IF "org.freedesktop.PolicyKit1.Authority"
#define PATIENCE 30000000u              /* us */
#define PATIENCE_TYPING 300000000u      /* us: somebody looks for a password */

const char *access_action(enum access a) {
        static const char *const actions[] = {
                [ACCESS_OPEN] = "", [ACCESS_VIEW] = ULV_SERVICE ".view", [ACCESS_MANAGE] = ULV_SERVICE ".manage-partitions",
                [ACCESS_CONFIGURE] = ULV_SERVICE ".configure", [ACCESS_CHANNEL] = ULV_SERVICE ".channel", [ACCESS_CONSOLE] = ULV_SERVICE ".console",
        };

        return actions[a];
}

void access_refused(const struct question *q, uid_t uid, char *buf, size_t size) {
        static const struct { const char *may_not, *all; } words[] = {
                [ACCESS_OPEN] = { "ask", "this" }, [ACCESS_VIEW] = { "look at", "partitions" }, [ACCESS_MANAGE] = { "start, stop or signal", "partitions" },
                [ACCESS_CONFIGURE] = { "change", "definitions and resources" }, [ACCESS_CONSOLE] = { "be root in", "partitions" },
        };

        (void) snprintf(buf, size, "uid %u may not %s %.128s", (unsigned) uid, words[q->access].may_not, q->object[0] ? q->object : words[q->access].all);
}

/* Details are what a rule can look up: action.lookup("partition") == "web". */
static int add_details(sd_bus_message *m, const struct question *q) {
        int r = sd_bus_message_open_container(m, 'a', "{ss}");

        if (r >= 0 && q->access != ACCESS_VIEW)
                r = sd_bus_message_append(m, "{ss}", "verb", q->verb);
        if (r >= 0 && q->access != ACCESS_VIEW && q->object[0])
                r = sd_bus_message_append(m, "{ss}", q->one ? "partition" : "objects", q->object);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int polkit_ask(sd_bus *bus, const char *sender, const struct question *q, bool interactive, sd_bus_message_handler_t f,
               void *userdata, sd_bus_slot **ret_slot, uint64_t *ret_id) {
        static uint64_t last;
        sd_bus_message *m = NULL;
        char id[24];
        int r;

        (void) snprintf(id, sizeof(id), "%" PRIu64, ++last);
        r = sd_bus_message_new_method_call(bus, &m, POLKIT, POLKIT_PATH, POLKIT_IF, "CheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(m, "(sa{sv})s", "system-bus-name", 1, "name", "s", sender, access_action(q->access));
        if (r >= 0)
                r = add_details(m, q);
        if (r >= 0)
                r = sd_bus_message_append(m, "us", (uint32_t) interactive, id);
        if (r >= 0)
                r = sd_bus_call_async(bus, ret_slot, m, f, userdata, interactive ? PATIENCE_TYPING : PATIENCE);
        sd_bus_message_unref(m);
        if (r < 0)
                return r;
        *ret_id = last;
        return 0;
}

void polkit_cancel(sd_bus *bus, uint64_t id) {
        sd_bus_message *m = NULL;
        char text[24];

        (void) snprintf(text, sizeof(text), "%" PRIu64, id);
        if (sd_bus_message_new_method_call(bus, &m, POLKIT, POLKIT_PATH, POLKIT_IF, "CancelCheckAuthorization") >= 0 &&
            sd_bus_message_append(m, "s", text) >= 0 && sd_bus_message_set_expect_reply(m, false) >= 0)
                (void) sd_bus_send(bus, m, NULL);
        sd_bus_message_unref(m);
}

enum verdict polkit_verdict(sd_bus_message *reply) {
        int yes, challenge;

        if (sd_bus_message_is_method_error(reply, SD_BUS_ERROR_SERVICE_UNKNOWN) || sd_bus_message_is_method_error(reply, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                return VERDICT_ABSENT;
        if (sd_bus_message_is_method_error(reply, NULL) || sd_bus_message_enter_container(reply, 'r', "bba{ss}") <= 0 ||
            sd_bus_message_read(reply, "bb", &yes, &challenge) <= 0)
                return VERDICT_UNKNOWN;
        return yes ? VERDICT_YES : challenge ? VERDICT_CHALLENGE : VERDICT_NO;
}
