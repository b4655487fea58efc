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

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION HASH_FNV  /* the default one falls through cases in a way that clang warns of */

#include "command/system.h"

#include <stdio.h>
#include <uthash.h>

#include "lib/log.h"
#include "lib/protocol.h"

#define AGAIN_USEC 1000000u     /* until the next try to get on the bus */
#define CLIENTS_MAX 8192
#define WAITING_CLIENT_MAX 256  /* calls of one sender that wait for an answer of bus or polkit */
#define WAITING_PERSON_MAX 512
#define WAITING_MAX 4096
#define ASKED_MAX 4             /* questions about one person that polkit has at a time */
#define IGNORED_AFTER 4096      /* refusals in a row of one sender */
#define QUEUE_MAX 4096          /* of our answers that the bus hasn't taken */
#define DENIALS_MAX 10          /* lines about one person's denials within a minute */
#define DENIALS_USEC 60000000u

struct person { uid_t uid; unsigned clients, waiting, asked, denials; uint64_t since; UT_hash_handle hh; };

struct client {
        struct system *s;
        char name[64];                  /* ":1.42" */
        struct person *person;          /* NULL until the bus told */
        bool in_group;
        unsigned waiting, refused;
        sd_bus_slot *slot;              /* of the question to the bus */
        UT_hash_handle hh;
};

/* A call that waits, or (f) a question about its sender. */
struct check {
        struct client *client;
        sd_bus_message *call;
        struct question q;
        void (*f)(void *userdata, enum verdict v, uid_t uid); void *userdata;
        sd_bus_slot *slot;              /* polkit has the question */
        uint64_t id;
        struct check *next, *previous;
};

struct system {
        struct manager *m;
        struct public_peer peer;        /* peer.bus: NULL while there is none */
        struct person *persons;
        struct client *clients;
        struct check *checks, *last;    /* oldest first */
        struct check *passed, *passed_last;     /* allowed, and on their second way, in this order */
        unsigned waiting;
        sd_event_source *timer;
        bool said;                      /* that the bus can't be had */
};

/* --- who ---------------------------------------------------------------------------------------------- */

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

static struct client *client_find(const struct system *s, const char *name) {
        struct client *c = NULL;

        if (name)
                HASH_FIND_STR(s->clients, name, c);
        return c;
}

static struct client *client_new(struct system *s, const char *name) {
        struct client *c;

        if (HASH_COUNT(s->clients) >= CLIENTS_MAX || !(c = calloc(1, sizeof(*c))))
                return NULL;
        c->s = s;
        if (ulv_copy(c->name, sizeof(c->name), name))
                HASH_ADD_STR(s->clients, name, c);
        if (c->name[0] && c->hh.tbl)
                return c;
        free(c);
        return NULL;
}

static uid_t uid_of(const struct client *c) { return c && c->person ? c->person->uid : (uid_t) -1; }

/* --- calls that wait ---------------------------------------------------------------------------------- */

static void list_add(struct check **first, struct check **last, struct check *k) {
        k->next = NULL;
        k->previous = *last;
        *(k->previous ? &k->previous->next : first) = k;
        *last = k;
}

static void list_remove(struct check **first, struct check **last, struct check *k) {
        *(k->previous ? &k->previous->next : first) = k->next;
        *(k->next ? &k->next->previous : last) = k->previous;
}

static void check_free(struct check *k) {
        sd_bus_message_unref(k->call);
        free(k);
}

/* It waits no more. */
static void take_off(struct check *k) {
        struct client *c = k->client;
        struct system *s = c->s;

        list_remove(&s->checks, &s->last, k);
        s->waiting--;
        c->waiting--;
        if (c->person)
                c->person->waiting--;
        if (k->slot && c->person)
                c->person->asked--;
        k->slot = sd_bus_slot_unref(k->slot);
}

static void refuse(sd_bus_message *call, struct client *c, const char *what, const char *why, const char *try_) {
        struct ulv_diag d;

        c->refused++;
        ulv_diag_what(&d, ULV_EXIT_DENIED, "%s", what);
        ulv_diag_why(&d, "%s", why);
        ulv_diag_try(&d, "%s", try_);
        (void) ulv_bus_reply_diag(call, &d);
        if (c->refused == IGNORED_AFTER)
                ulv_log(ULV_LOG_WARNING, "%s (uid %u) was refused %u times in a row, and isn't answered any more", c->name, (unsigned) uid_of(c), IGNORED_AFTER);
}

/* Not more lines about one person than a minute has room for: a flood of denials is no flood of the journal. */
static void audit_denial(struct client *c, const struct question *q, const char *why) {
        uint64_t now = manager_now(c->s->m, CLOCK_MONOTONIC);
        struct person *p = c->person;

        if (!p)
                return;
        if (now - p->since > DENIALS_USEC) {
                p->since = now;
                p->denials = 0;
        }
        if (p->denials++ < DENIALS_MAX)
                access_audit(q, p->uid, c->name, "denied", p->denials == DENIALS_MAX ? "further ones within this minute aren't told" : why);
}

static void deny(struct check *k, enum verdict v) {
        struct client *c = k->client;
        const char *action = access_action(k->q.access);
        char what[256], why[256];

        (void) snprintf(what, sizeof(what), "uid %u may not call %.64s%s%.128s", (unsigned) uid_of(c), k->q.verb, k->q.object[0] ? " for " : "", k->q.object);
        if (v == VERDICT_CHALLENGE) {
                c->refused++;
                (void) sd_bus_reply_method_errorf(k->call, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, "%s\n%s wants a password, and nobody can be asked for it\nsudo",
                                                  what, action);
        } else if (v == VERDICT_UNKNOWN)
                refuse(k->call, c, what, "polkit, which decides that, gave no answer", "again; systemctl status polkit");
        else {
                if (v == VERDICT_ABSENT)
                        (void) snprintf(why, sizeof(why), "there is no polkit here: root and gid %u, the group of the private socket, may", (unsigned) c->s->m->group);
                else
                        (void) snprintf(why, sizeof(why), "polkit says no to %s; as shipped, %s may", action,
                                        k->q.access == ACCESS_VIEW ? "the groups ultravisor-view and ultravisor-admin" : "the group ultravisor-admin");
                refuse(k->call, c, what, why, "sudo, or a rule of polkit: man org.ultravisor1");
        }
        audit_denial(c, &k->q, v == VERDICT_CHALLENGE ? "a password is wanted" : v == VERDICT_UNKNOWN ? "no answer from polkit" : "");
}

/* Back into the queue of what arrived: next time the filter lets it through. */
static void pass(struct check *k) {
        struct system *s = k->client->s;

        k->client->refused = 0;
        if (sd_bus_enqueue_for_read(s->peer.bus, k->call) < 0) {
                (void) public_reply_errno(k->call, -ENOMEM);
                check_free(k);
                return;
        }
        if (k->q.access != ACCESS_VIEW)
                access_audit(&k->q, uid_of(k->client), k->client->name, "allowed", "");
        list_add(&s->passed, &s->passed_last, k);
}

static void decided(struct check *k, enum verdict v) {
        uid_t uid = uid_of(k->client);

        take_off(k);
        if (k->f) {
                k->f(k->userdata, v, uid);
                check_free(k);
        } else if (v == VERDICT_YES)
                pass(k);
        else {
                deny(k, v);
                check_free(k);
        }
}

static enum verdict group_verdict(const struct client *c, enum verdict v) {
        return v == VERDICT_ABSENT && c->in_group ? VERDICT_YES : v;
}

static void ask_next(struct system *s, const struct person *p);

static int on_polkit(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct check *k = userdata, *next;
        struct client *c = k->client;
        struct system *s = c->s;
        enum verdict v = group_verdict(c, polkit_verdict(reply));

        if (sd_bus_message_is_method_error(reply, SD_BUS_ERROR_NO_REPLY) || sd_bus_message_is_method_error(reply, SD_BUS_ERROR_TIMEOUT))
                polkit_cancel(s->peer.bus, k->id);
        if (k->q.access == ACCESS_VIEW) {
                /* Who looks, looks at everything: all of the sender's questions that wait are this one. */
                for (struct check *other = s->checks; other; other = next) {
                        next = other->next;
                        if (other != k && other->client == c && other->q.access == ACCESS_VIEW && !other->slot)
                                decided(other, v);
                }
        }
        decided(k, v);
        ask_next(s, c->person);
        return 0;
}

static void ask(struct check *k) {
        struct client *c = k->client;
        bool interactive = !k->f && sd_bus_message_get_allow_interactive_authorization(k->call) > 0;

        if (c->person->uid == 0)
                decided(k, VERDICT_YES);
        else if (c->person->asked < ASKED_MAX) {
                if (polkit_ask(c->s->peer.bus, c->name, &k->q, interactive, on_polkit, k, &k->slot, &k->id) < 0)
                        decided(k, VERDICT_UNKNOWN);
                else
                        c->person->asked++;
        }
}

/* Those of a person that polkit wasn't asked for yet; of them one look per sender is enough. */
static void ask_next(struct system *s, const struct person *p) {
        struct check *next;

        for (struct check *k = s->checks; k && p->asked < ASKED_MAX; k = next) {
                next = k->next;
                if (k->client->person == p && !k->slot)
                        ask(k);
        }
}

/* Nobody waits for it any more. */
static void drop_check(struct check *k) {
        struct system *s = k->client->s;
        bool asked = k->slot;

        take_off(k);
        if (asked)
                polkit_cancel(s->peer.bus, k->id);
        if (k->f)
                k->f(k->userdata, VERDICT_UNKNOWN, (uid_t) -1);
        check_free(k);
}

/* A sender is gone. */
static void forget(struct client *c) {
        struct system *s = c->s;
        struct check *next;

        for (struct check *k = s->checks; k && c->waiting > 0; k = next) {
                next = k->next;
                if (k->client == c)
                        drop_check(k);
        }
        for (struct check *k = s->passed; k; k = k->next)
                if (k->client == c)
                        k->client = NULL;
        jobs_forget_waits(s->m, c);
        sd_bus_slot_unref(c->slot);
        HASH_DEL(s->clients, c);
        if (c->person) {
                ask_next(s, c->person);
                person_unref(s, c->person);
        }
        free(c);
}

/* --- the bus's own answers ---------------------------------------------------------------------------- */

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
        struct check *next;

        c->slot = sd_bus_slot_unref(c->slot);
        if (sd_bus_message_is_method_error(reply, NULL) || read_credentials(reply, s->m->group, &uid, &c->in_group) < 0 ||
            !(c->person = person_of(s, uid))) {
                forget(c);      /* it is gone; or nobody can say who it is, and it isn't answered */
                return 0;
        }
        c->person->clients++;
        c->person->waiting += c->waiting;
        for (struct check *k = s->checks; k; k = next) {
                next = k->next;
                if (k->client == c && !k->slot)
                        ask(k);
        }
        return 0;
}

static int ask_credentials(struct client *c) {
        return sd_bus_call_method_async(c->s->peer.bus, &c->slot, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                        "GetConnectionCredentials", on_credentials, c, "s", c->name);
}

static int on_name_gone(sd_bus_message *signal, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct system *s = userdata;
        const char *name;
        struct client *c;

        if (sd_bus_message_read(signal, "s", &name) > 0 && (c = client_find(s, name)))
                forget(c);
        return 0;
}

/* --- the door ----------------------------------------------------------------------------------------- */

static bool too_many(const struct client *c) {
        return c->waiting >= WAITING_CLIENT_MAX || c->s->waiting >= WAITING_MAX ||
               (c->person && c->person->uid != 0 && c->person->waiting >= WAITING_PERSON_MAX);
}

/* 0: it waits, or is decided. */
static int check_new(struct client *c, sd_bus_message *call, const struct question *q,
                     void (*f)(void *userdata, enum verdict v, uid_t uid), void *userdata) {
        struct check *k = calloc(1, sizeof(*k));

        if (!k)
                return -ENOMEM;
        *k = (struct check) { .client = c, .call = sd_bus_message_ref(call), .q = *q, .f = f, .userdata = userdata };
        list_add(&c->s->checks, &c->s->last, k);
        c->s->waiting++;
        c->waiting++;
        if (c->person) {
                c->person->waiting++;
                ask(k);
        }
        return 0;
}

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
                if (!sender || !(c = client_new(s, sender)))
                        return -ENOBUFS;
                if (ask_credentials(c) < 0) {
                        forget(c);
                        return -ENOMEM;
                }
        }
        if (uid_of(c) == 0) {
                if (q.access != ACCESS_VIEW)
                        access_audit(&q, 0, c->name, "allowed", "");
                return 0;
        }
        if (c->refused >= IGNORED_AFTER || (sd_bus_get_n_queued_write(s->peer.bus, &queued) >= 0 && queued > QUEUE_MAX))
                return 1;
        if (too_many(c)) {
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

static void later(struct system *s) {
        (void) sd_event_source_set_time_relative(s->timer, AGAIN_USEC);
        (void) sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static void drop(struct system *s) {
        struct client *c, *next;
        struct check *k;

        while (s->checks)
                drop_check(s->checks);
        HASH_ITER(hh, s->clients, c, next)
                forget(c);
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
        sd_bus *bus;
        int r;

        r = sd_bus_open_system(&bus);
        if (r < 0)
                return r;
        s->peer = (struct public_peer) { .m = s->m, .bus = bus, .may = true };
        if ((r = sd_bus_match_signal(bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
                                     "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, s)) < 0 ||
            (r = sd_bus_add_match_async(bus, NULL, gone, on_name_gone, NULL, s)) < 0 || (r = sd_bus_add_filter(bus, NULL, on_message, s)) < 0 ||
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

uid_t system_uid(const struct manager *m, sd_bus_message *call) { return uid_of(system_who(m, call)); }

void system_ask(struct manager *m, sd_bus_message *call, const struct question *q,
                void (*f)(void *userdata, enum verdict v, uid_t uid), void *userdata) {
        struct client *c = system_who(m, call);

        if (!c || !c->person || too_many(c) || check_new(c, call, q, f, userdata) < 0)
                f(userdata, VERDICT_UNKNOWN, uid_of(c));
}
