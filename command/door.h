/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Inside of the door on the system bus (system.c): who calls (senders.c), and what waits until polkit said whether they
 * may (checks.c). */

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION HASH_FNV  /* the default one falls through cases in a way that clang warns of */

#include "command/system.h"

#include <uthash.h>

#define CLIENTS_MAX 8192
#define IGNORED_AFTER 4096      /* refusals in a row of one sender */

struct person { uid_t uid; unsigned clients, waiting, asked, denials; uint64_t since; UT_hash_handle hh; };

struct client {
        struct system *s;
        char name[64];                  /* ":1.42" */
        struct person *person;          /* NULL until the bus told */
        bool in_group;
        unsigned waiting, refused;
        uint64_t views_until;           /* monotonic us: may look, as polkit said a moment ago */
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

/* senders.c */
struct client *client_find(const struct system *s, const char *name);   /* NULL: unknown */
int client_new(struct system *s, const char *name, struct client **ret) ULV_MUST_CHECK; /* the bus is asked whose it is */
void client_forget(struct client *c);                                   /* it is gone, and nobody waits for its calls */
uid_t client_uid(const struct client *c);                               /* -1: not known (yet), or NULL */
void clients_mistrust(struct system *s);                                /* what polkit said a moment ago is void */

/* checks.c */
void list_add(struct check **first, struct check **last, struct check *k);
void list_remove(struct check **first, struct check **last, struct check *k);
void check_free(struct check *k);
/* 0: it waits, or is decided. */
int check_new(struct client *c, sd_bus_message *call, const struct question *q,
              void (*f)(void *userdata, enum verdict v, uid_t uid), void *userdata) ULV_MUST_CHECK;
bool checks_full(const struct client *c);               /* no more calls of this sender can wait */
void checks_ask(struct client *c);                      /* the bus has told whose they are */
void checks_ask_next(struct system *s, const struct person *p);
void checks_drop(struct client *c);                     /* nobody waits for them any more */
void refuse(sd_bus_message *call, struct client *c, const char *what, const char *why, const char *try_);
