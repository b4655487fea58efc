/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How a call over the system bus gets in. A filter sees every call before sd-bus looks what it is for. It takes it
 * off, and asks, without waiting: the bus for the sender's uid (once per sender), then polkit whether that person
 * may. On yes the call is put back into the queue of what arrived, and at its second turn the filter lets it pass:
 * methods, properties, the object manager and introspection are all behind that one door. uid 0 needs no polkit;
 * without polkit the group of the private socket may what it may there.
 *
 * What a stranger can make us keep is bounded: calls that wait per sender and per person, questions that polkit
 * has of one person at a time (so that the others' come soon), and lines about denials. A sender who goes on and
 * on is not answered any more, for its answers would fill the bus, which takes no more from us then. */

#include "command/door.h"

#include <stdio.h>

#include "lib/log.h"
#include "lib/protocol.h"

#define AGAIN_USEC 1000000u     /* until the next try to get on the bus */
#define QUEUE_MAX 4096          /* of our answers that the bus hasn't taken */

/* --- the door ----------------------------------------------------------------------------------------- */

/* 1: taken; 0: goes on to what it is for; -errno: sd-bus answers. */
static int admit(struct system *s, sd_bus_message *call) {
        const char *sender = sd_bus_message_get_sender(call);
        struct client *c = client_find(s, sender);
        struct question q;
        uint64_t queued = 0;
        int r;

        access_question(call, &q);
        if (q.access == ACCESS_OPEN)
                return 0;
        if (!c) {
                r = sender ? client_new(s, sender, &c) : -ENOBUFS;
                if (r < 0)
                        return r;
        }
        if (client_uid(c) == 0) {
                if (q.access != ACCESS_VIEW)
                        access_audit(&q, 0, c->name, "allowed", "");
                return 0;
        }
        if (c->refused >= IGNORED_AFTER || (sd_bus_get_n_queued_write(s->peer.bus, &queued) >= 0 && queued > QUEUE_MAX))
                return 1;
        if (checks_full(c)) {
                refuse(call, c, "too many calls of yours wait for an answer", "each is answered when polkit has said who may", "fewer at a time");
                return 1;
        }
        r = check_new(c, call, &q, NULL, NULL);
        return r < 0 ? r : 1;
}

static int on_message(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct system *s = userdata;
        struct check *k = s->passed;
        uint8_t type;
        bool gone;

        if (sd_bus_message_get_type(m, &type) < 0 || type != SD_BUS_MESSAGE_METHOD_CALL)
                return 0;
        if (!k || k->call != m)
                return admit(s, m);
        list_remove(&s->passed, &s->passed_last, k);
        gone = !k->client;
        check_free(k);
        return gone;    /* who asked and went away at once gets nothing done */
}

/* --- the connection ----------------------------------------------------------------------------------- */

static int on_name_gone(sd_bus_message *signal, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct system *s = userdata;
        const char *name;
        struct client *c;

        if (sd_bus_message_read(signal, "s", &name) > 0 && (c = client_find(s, name)))
                client_forget(c);
        return 0;
}

static int on_rules_changed(ULV_UNUSED sd_bus_message *signal, void *userdata, ULV_UNUSED sd_bus_error *error) {
        clients_mistrust(userdata);
        return 0;
}

static void later(struct system *s) {
        (void) sd_event_source_set_time_relative(s->timer, AGAIN_USEC);
        (void) sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static void drop(struct system *s) {
        struct client *c, *next;
        struct check *k;

        HASH_ITER(hh, s->clients, c, next)
                client_forget(c);
        while ((k = s->passed)) {
                list_remove(&s->passed, &s->passed_last, k);
                check_free(k);
        }
        sd_bus_close_unref(s->peer.bus);
        s->peer.bus = NULL;
}

static void give_up(struct system *s, int r, const char *what) {
        if (!s->said)
                (void) ulv_log_errno(r, "%s; tried again every second", what);
        s->said = true;
        drop(s);
        later(s);
}

static int on_disconnected(ULV_UNUSED sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        give_up(userdata, -ECONNRESET, "the system bus is gone");
        return 1;
}

static int on_name(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct system *s = userdata;
        uint32_t result;

        if (sd_bus_message_is_method_error(reply, NULL))
                give_up(s, -sd_bus_message_get_errno(reply), "cannot own " ULV_SERVICE " on the system bus");
        else if (sd_bus_message_read(reply, "u", &result) < 0 || result != 1)
                give_up(s, -EEXIST, "cannot own " ULV_SERVICE " on the system bus");
        else {
                s->said = false;
                ulv_log(ULV_LOG_INFO, ULV_SERVICE " is on the system bus");
        }
        return 0;
}

static int open_bus(struct system *s) {
        static const char gone[] = "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                   "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg2=''";
        static const char changed[] = "type='signal',sender='org.freedesktop.PolicyKit1',path='/org/freedesktop/PolicyKit1/Authority',"
                                      "interface='org.freedesktop.PolicyKit1.Authority',member='Changed'";
        sd_bus *bus;
        int r;

        r = sd_bus_open_system(&bus);
        if (r < 0)
                return r;
        s->peer = (struct public_peer) { .m = s->m, .bus = bus, .may = true };
        if ((r = sd_bus_match_signal(bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
                                     "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, s)) < 0 ||
            (r = sd_bus_add_match_async(bus, NULL, gone, on_name_gone, NULL, s)) < 0 ||
            (r = sd_bus_add_match_async(bus, NULL, changed, on_rules_changed, NULL, s)) < 0 || (r = sd_bus_add_filter(bus, NULL, on_message, s)) < 0 ||
            (r = public_serve(&s->peer)) < 0 || (r = sd_bus_request_name_async(bus, NULL, ULV_SERVICE, 0, on_name, s)) < 0 ||
            (r = sd_bus_attach_event(bus, s->m->role.event, SD_EVENT_PRIORITY_NORMAL)) < 0)
                return r;
        return 0;
}

static int on_time(ULV_UNUSED sd_event_source *source, ULV_UNUSED uint64_t usec, void *userdata) {
        struct system *s = userdata;
        int r = open_bus(s);

        if (r < 0)
                give_up(s, r, "the system bus can't be had, and uvctl works by the private socket alone");
        return 0;
}

int system_start(struct manager *m) {
        struct system *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->m = m;
        m->system = s;
        return sd_event_add_time_relative(m->role.event, &s->timer, CLOCK_MONOTONIC, 0, 1000, on_time, s);
}

void system_done(struct manager *m) {
        struct person *p, *next;
        struct system *s = m->system;

        if (!s)
                return;
        drop(s);
        HASH_ITER(hh, s->persons, p, next) {
                HASH_DEL(s->persons, p);
                free(p);
        }
        sd_event_source_disable_unref(s->timer);
        free(s);
        m->system = NULL;
}

/* --- for the others ----------------------------------------------------------------------------------- */

struct public_peer *system_peer(const struct manager *m) { return m->system && m->system->peer.bus ? &m->system->peer : NULL; }

void *system_who(const struct manager *m, sd_bus_message *call) { return client_find(m->system, sd_bus_message_get_sender(call)); }

uid_t system_uid(const struct manager *m, sd_bus_message *call) { return client_uid(system_who(m, call)); }

void system_ask(struct manager *m, sd_bus_message *call, const struct question *q,
                void (*f)(void *userdata, enum verdict v, uid_t uid), void *userdata) {
        struct client *c = system_who(m, call);

        if (!c || !c->person || checks_full(c) || check_new(c, call, q, f, userdata) < 0)
                f(userdata, VERDICT_UNKNOWN, client_uid(c));
}
