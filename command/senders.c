/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who is on the other side of the system bus: each sender, by its name there, which is never given twice, and the person
 * whose it is, by uid, as the bus says. A person who was denied is remembered as long as that limits the lines about it. */

#include "command/door.h"

static struct person *person_of(struct system *s, uid_t uid) {
        struct person *p;

        HASH_FIND(hh, s->persons, &uid, sizeof(uid), p);
        if (p || !(p = calloc(1, sizeof(*p))))
                return p;
        p->uid = uid;
        HASH_ADD(hh, s->persons, uid, sizeof(p->uid), p);
        if (p->hh.tbl)
                return p;
        free(p);
        return NULL;
}

static void person_unref(struct system *s, struct person *p) {
        /* Who was denied is remembered as long as that limits the lines about it. */
        if (p && --p->clients == 0 && (p->denials == 0 || HASH_COUNT(s->persons) > CLIENTS_MAX)) {
                HASH_DEL(s->persons, p);
                free(p);
        }
}

struct client *client_find(const struct system *s, const char *name) {
        struct client *c = NULL;

        if (name)
                HASH_FIND_STR(s->clients, name, c);
        return c;
}

uid_t client_uid(const struct client *c) { return c && c->person ? c->person->uid : (uid_t) -1; }

/* What a sender waits for ends with it. */
void client_forget(struct client *c) {
        struct system *s = c->s;

        checks_drop(c);
        jobs_forget_waits(s->m, c);
        sd_bus_slot_unref(c->slot);
        HASH_DEL(s->clients, c);
        if (c->person) {
                checks_ask_next(s, c->person);
                person_unref(s, c->person);
        }
        free(c);
}

void clients_mistrust(struct system *s) {
        for (struct client *c = s->clients; c; c = c->hh.next)
                c->views_until = 0;
}

/* --- the bus's answer --------------------------------------------------------------------------------- */

static int read_credentials(sd_bus_message *reply, gid_t group, uid_t *ret_uid, bool *ret_in_group) {
        bool found = false;
        int r;

        r = sd_bus_message_enter_container(reply, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                const char *key;
                const uint32_t *groups;
                uint32_t uid;
                size_t size;

                if ((r = sd_bus_message_read_basic(reply, 's', &key)) < 0)
                        break;
                if (ulv_streq(key, "UnixUserID")) {
                        if ((r = sd_bus_message_read(reply, "v", "u", &uid)) >= 0) {
                                *ret_uid = uid;
                                found = true;
                        }
                } else if (ulv_streq(key, "UnixGroupIDs")) {
                        if ((r = sd_bus_message_enter_container(reply, 'v', "au")) >= 0 &&
                            (r = sd_bus_message_read_array(reply, 'u', (const void **) &groups, &size)) >= 0) {
                                for (size_t i = 0; i < size / sizeof(*groups); i++)
                                        *ret_in_group |= groups[i] == group;
                                r = sd_bus_message_exit_container(reply);
                        }
                } else
                        r = sd_bus_message_skip(reply, "v");
                if (r < 0 || (r = sd_bus_message_exit_container(reply)) < 0)
                        break;
        }
        return r < 0 ? r : found ? 0 : -ENODATA;
}

static int on_credentials(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct client *c = userdata;
        struct system *s = c->s;
        uid_t uid = (uid_t) -1;

        c->slot = sd_bus_slot_unref(c->slot);
        if (sd_bus_message_is_method_error(reply, NULL) || read_credentials(reply, s->m->group, &uid, &c->in_group) < 0 ||
            !(c->person = person_of(s, uid))) {
                client_forget(c);      /* it is gone; or nobody can say who it is, and it isn't answered */
                return 0;
        }
        c->person->clients++;
        c->person->waiting += c->waiting;
        checks_ask(c);
        return 0;
}

static int client_alloc(struct system *s, const char *name, struct client **ret) {
        struct client *c;

        if (HASH_COUNT(s->clients) >= CLIENTS_MAX)
                return -ENOBUFS;
        if (!(c = calloc(1, sizeof(*c))))
                return -ENOMEM;
        c->s = s;
        if (ulv_copy(c->name, sizeof(c->name), name))
                HASH_ADD_STR(s->clients, name, c);
        if (c->name[0] && c->hh.tbl) {
                *ret = c;
                return 0;
        }
        free(c);
        return -ENOMEM;
}

int client_new(struct system *s, const char *name, struct client **ret) {
        struct client *c;
        int r = client_alloc(s, name, &c);

        if (r < 0)
                return r;
        r = sd_bus_call_method_async(s->peer.bus, &c->slot, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                     "GetConnectionCredentials", on_credentials, c, "s", c->name);
        if (r < 0) {
                client_forget(c);
                return r;
        }
        *ret = c;
        return 0;
}
