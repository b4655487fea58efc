/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Calls that wait for polkit's word, oldest first. On yes a call is put back into the queue of what arrived, and at its
 * second turn the filter (system.c) lets it pass; on no it is answered with the reason.
 *
 * polkit asks the bus three times before it answers, and beside a flood that takes a while: so it isn't asked again
 * within five seconds whether a sender may look, unless it says that its rules or sessions have changed. */

#include "command/door.h"

#include <stdio.h>

#include "lib/log.h"

#define WAITING_CLIENT_MAX 256  /* calls of one sender that wait for an answer of bus or polkit */
#define WAITING_PERSON_MAX 512
#define WAITING_MAX 4096
#define ASKED_MAX 4             /* questions about one person that polkit has at a time */
#define DENIALS_MAX 10          /* lines about one person's denials within a minute */
#define DENIALS_USEC 60000000u
#define VIEWS_USEC 5000000u

void list_add(struct check **first, struct check **last, struct check *k) {
        k->next = NULL;
        k->previous = *last;
        *(k->previous ? &k->previous->next : first) = k;
        *last = k;
}

void list_remove(struct check **first, struct check **last, struct check *k) {
        *(k->previous ? &k->previous->next : first) = k->next;
        *(k->next ? &k->next->previous : last) = k->previous;
}

void check_free(struct check *k) {
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

void refuse(sd_bus_message *call, struct client *c, const char *what, const char *why, const char *try_) {
        struct ulv_diag d;

        c->refused++;
        ulv_diag_what(&d, ULV_EXIT_DENIED, "%s", what);
        ulv_diag_why(&d, "%s", why);
        ulv_diag_try(&d, "%s", try_);
        (void) ulv_bus_reply_diag(call, &d);
        if (c->refused == IGNORED_AFTER)
                ulv_log(ULV_LOG_WARNING, "%s (uid %u) was refused %u times in a row, and isn't answered any more", c->name, (unsigned) client_uid(c), IGNORED_AFTER);
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

        access_refused(&k->q, client_uid(c), what, sizeof(what));
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
                        (void) snprintf(why, sizeof(why), "polkit says no to %s, for %.64s; as shipped, %s may", action, k->q.verb,
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
                access_audit(&k->q, client_uid(k->client), k->client->name, "allowed", "");
        list_add(&s->passed, &s->passed_last, k);
}

static void decided(struct check *k, enum verdict v) {
        uid_t uid = client_uid(k->client);

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

static int on_polkit(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct check *k = userdata, *next;
        struct client *c = k->client;
        struct system *s = c->s;
        enum verdict v = group_verdict(c, polkit_verdict(reply));

        if (sd_bus_message_is_method_error(reply, SD_BUS_ERROR_NO_REPLY) || sd_bus_message_is_method_error(reply, SD_BUS_ERROR_TIMEOUT))
                polkit_cancel(s->peer.bus, k->id);
        if (k->q.access == ACCESS_VIEW) {
                if (v == VERDICT_YES)
                        c->views_until = manager_now(s->m, CLOCK_MONOTONIC) + VIEWS_USEC;
                /* Who looks, looks at everything: all of the sender's questions that wait are this one. */
                for (struct check *other = s->checks; other; other = next) {
                        next = other->next;
                        if (other != k && other->client == c && other->q.access == ACCESS_VIEW && !other->slot)
                                decided(other, v);
                }
        }
        decided(k, v);
        checks_ask_next(s, c->person);
        return 0;
}

static void ask(struct check *k) {
        struct client *c = k->client;
        bool interactive = !k->f && sd_bus_message_get_allow_interactive_authorization(k->call) > 0;

        if (c->person->uid == 0 || (k->q.access == ACCESS_VIEW && manager_now(c->s->m, CLOCK_MONOTONIC) < c->views_until))
                decided(k, VERDICT_YES);
        else if (c->person->asked < ASKED_MAX) {
                if (polkit_ask(c->s->peer.bus, c->name, &k->q, interactive, on_polkit, k, &k->slot, &k->id) < 0)
                        decided(k, VERDICT_UNKNOWN);
                else
                        c->person->asked++;
        }
}

/* Those of a person that polkit wasn't asked for yet; of them one look per sender is enough. */
void checks_ask_next(struct system *s, const struct person *p) {
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

/* What was allowed already, and waits for its second turn, goes nowhere. */
void checks_drop(struct client *c) {
        struct check *next;

        for (struct check *k = c->s->checks; k && c->waiting > 0; k = next) {
                next = k->next;
                if (k->client == c)
                        drop_check(k);
        }
        for (struct check *k = c->s->passed; k; k = k->next)
                if (k->client == c)
                        k->client = NULL;
}

void checks_ask(struct client *c) {
        struct check *next;

        for (struct check *k = c->s->checks; k; k = next) {
                next = k->next;
                if (k->client == c && !k->slot)
                        ask(k);
        }
}

bool checks_full(const struct client *c) {
        return c->waiting >= WAITING_CLIENT_MAX || c->s->waiting >= WAITING_MAX ||
               (c->person && c->person->uid != 0 && c->person->waiting >= WAITING_PERSON_MAX);
}

int check_new(struct client *c, sd_bus_message *call, const struct question *q,
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
