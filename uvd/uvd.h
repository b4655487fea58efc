/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* uvd's own header: the process, and what its rooms do for each other.
 *
 *   main.c      options, order of start-up          discover*.c  what the machine has
 *   settings.c  uvd.conf                            store*.c     the log on disk
 *   recover.c   from the log to a running ledger    transact.c   group commit: the only writer
 *   channel.c   org.ultravisor1.Ledger              publish.c    what others are told after a commit
 *   monitors.c  org.ultravisor1.Monitor             guests.c     what uvd knows of each partition's monitor
 *   identity.c  is this peer that monitor?          views.c      the memfd of each partition
 *   starter*.c  asks for monitors (starter.h)        backup.c     text form of the whole log
 *   join.c      channels made, and passed on
 *   rebuild.c   --rebuild, --restore                sandbox.c    no privilege, few system calls */

#include <systemd/sd-event.h>

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(key, len, hash) HASH_FNV(key, len, hash)
#include <uthash.h>

#include "lib/bus.h"
#include "lib/strbuf.h"
#include "model/ledger.h"
#include "model/name.h"
#include "uvd/store.h"

#define UVD_TOKEN_SIZE 33               /* 32 hex digits */
#define UVD_BATCH_MAX 256               /* requests that one commit takes */
#define UVD_HISTORY_MIN 1000            /* a repeated id must be known for a while */
#define UVD_HISTORY_MAX 10000000

/* What uvd knows of a partition's monitor. Made when the starter, a monitor or a commit names it. */
struct guest {
        struct uvd *uvd;
        char name[ULV_NAME_MAX + 1];
        char token[UVD_TOKEN_SIZE];     /* of its present monitor; "" if the starter keeps none */
        bool asked;                     /* "start" was sent and not answered yet */
        bool fresh;                     /* wanted by a commit of ours, and no monitor has been seen since */
        uint64_t incarnation;           /* the partition's, as last reviewed: a new one is a new start */
        unsigned failures;              /* starts in a row that came to nothing */
        sd_event_source *retry;
        struct ulv_bus_peer *peer;      /* the monitor's connection, NULL if there is none */
        struct link *held;              /* its Hello waits for the starter's word, or its Want for command's; NULL: none */
        bool stopped;                   /* its unit was stopped while it had no monitor: the next one is to see to it */
        bool wanting;                   /* held is a Want that command has been told of */
        int view_fd;                    /* read-only; -1 if there is no view */
        void *view;
        UT_hash_handle hh;
};

struct request;                         /* transact.c */
struct starter;                         /* starter.c */
struct link;                            /* monitors.c */

struct uvd {
        sd_event *event;
        char *root, *state_dir, *run_dir;
        int run_fd, lock_fd, host_lock_fd;
        const char *sysfs, *inventory_file;     /* sysfs: "/sys" if not said; inventory_file: NULL */
        uid_t uid_command;
        uint64_t history_keep;
        uint64_t epoch;                 /* of this life, random */

        struct ulv_ledger *ledger;
        struct store *store;

        struct request *first, **last;  /* what has arrived since the last commit */
        unsigned n_requests;
        sd_event_source *commit;
        uint64_t n_reports;             /* for the ids of reports */

        struct ulv_bus_listener *commands, *monitors;
        unsigned n_forwards;            /* calls passed on to monitors and not answered */
        struct guest *guests;
        struct starter *starter;
        bool rebuilding;                /* --rebuild: Hello collects views, nothing else is answered */
        int (*on_held_view)(struct uvd *u, struct guest *g, const char *view);
};

/* --- settings.c, recover.c, main.c */
int settings_read(struct uvd *u, struct ulv_diag *reterr) ULV_MUST_CHECK;
int uvd_open_dirs(struct uvd *u, uid_t uid, struct ulv_diag *reterr) ULV_MUST_CHECK;
int uvd_inventory(struct uvd *u, struct ulv_inventory **ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
int uvd_recover(struct uvd *u, struct ulv_diag *reterr) ULV_MUST_CHECK;
uint64_t uvd_now(void);                                         /* realtime, us: for people to read, nothing decides by it */



/* --- transact.c: everything that changes the ledger goes through here */
/* Takes m (a reference) with strings that live in it. reporter NULL: Submit, else Report of that partition. */
struct transact_call {
        sd_bus_message *m;
        const char *reporter;
        const char *id, *zone, *subject, *reason, *operations;
        uint64_t if_generation;         /* of a report: the generation of the view it was made under */
};
int transact_queue(struct uvd *u, const struct transact_call *c) ULV_MUST_CHECK;
/* uvd's own report about owner: operations are copied. */
int transact_report(struct uvd *u, const char *owner, const char *operations) ULV_MUST_CHECK;
/* Commits what is queued now. False: the commit failed, the process must end. */
bool transact_run(struct uvd *u);
void transact_done(struct uvd *u);

/* --- join.c */
int join_channel(struct uvd *u, const struct guest *g, sd_bus_message *m);

/* --- publish.c */
struct published { uint64_t generation; struct ulv_strbuf changes, settled; };
void publish_commit(struct uvd *u, const struct published *p);
void publish_replaced(struct uvd *u);          /* another ledger is in force: mirrors load it anew */
void publish_subscribe(struct uvd *u, sd_bus *bus);     /* this connection of command follows the changes from now on */

/* --- channel.c */
int channel_listen(struct uvd *u) ULV_MUST_CHECK;
void channel_report_self(struct uvd *u);        /* the row of partition `ultravisor` */
int reply_diag_simple(sd_bus_message *m, enum ulv_exit code, const char *what, const char *why, const char *try_);

/* --- guests.c */
struct guest *guest_find(struct uvd *u, const char *name);
struct guest *guest_get(struct uvd *u, const char *name);               /* makes it; NULL: out of memory */
void guest_free(struct uvd *u, struct guest *g);
/* Compares a partition's row with its monitor, and asks for one where it is missing. */
void guest_review(struct uvd *u, const char *name, bool committed);
void guests_review_all(struct uvd *u);
/* The starter's words. */
void guest_started(struct uvd *u, const char *name, const char *token);
void guest_failed(struct uvd *u, const char *name, int error);
void guest_exited(struct uvd *u, const char *name, int status);
void guest_connected(struct guest *g, struct ulv_bus_peer *p);
void guest_disconnected(struct uvd *u, struct guest *g);
void guests_forget_tokens(struct uvd *u);       /* the starter is gone: what it said counts no more */
void guest_forget_if_idle(struct uvd *u, struct guest *g);      /* frees it if there is nothing more to know about it */

/* --- monitors.c, identity.c */
int monitors_listen(struct uvd *u) ULV_MUST_CHECK;
/* The starter's answer is there, or won't come: answers the Hello that waits for it, if one does. */
void monitors_resume(struct guest *g);
/* Command won't have g start: the Want that waits is refused. */
void monitors_refuse(struct guest *g, const struct ulv_diag *d);
/* What they enforce may have been changed behind their backs. */
void monitors_recheck(struct uvd *u);
/* Command is told (again) of every Want that waits. */
void monitors_tell_wants(struct uvd *u);
/* Passes the rest of m on to the partition's monitor as MonitorControl.MEMBER and its answer back. */
/* Asks the monitor of a channel's other end for its fds, for the answer to m. */
int monitors_supply(struct uvd *u, sd_bus_message *m, const struct guest *other, const char *id);
int monitors_forward(struct uvd *u, sd_bus_message *m, const char *name, const char *member);
/* 0: p is the monitor of g. 1: it isn't, reterr says why. */
int identity_check(const struct guest *g, const struct ulv_bus_peer *p, const char *token, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* When a process started, in clock ticks since boot: with the pid it names one process for ever. */
int process_start_ticks(pid_t pid, uint64_t *ret) ULV_MUST_CHECK;
/* Does text (/proc/PID/cgroup) place a process in NAME's cgroup? 0 yes, 1 no, 2: there is no cgroup2 to tell by. */
int identity_cgroup(const char *text, const char *own, const char *name);

/* --- views.c */
int view_open(struct uvd *u, struct guest *g) ULV_MUST_CHECK;           /* makes it if there is none */
int view_update(struct uvd *u, struct guest *g) ULV_MUST_CHECK;         /* and signals ViewChanged */
void view_close(struct guest *g);

/* --- starter.c */
/* Connects and reads which monitors run. 0; 1: there is no starter (yet). */
int starter_connect(struct uvd *u) ULV_MUST_CHECK;
int starter_attach(struct uvd *u) ULV_MUST_CHECK;       /* from now on by the event loop, with retries */
int starter_start(struct uvd *u, const char *name) ULV_MUST_CHECK;
/* Is the program there that is the monitor of such partitions? Its name, at any rate. */
bool starter_has_monitor(const char *type, char *ret_program, size_t size);
/* A process says that it is g's monitor with this token. 1: the starter has been asked, or is about to tell:
 * monitors_resume() will come; 0: what we know is what there is to know. */
int starter_token(struct uvd *u, struct guest *g, const char *said) ULV_MUST_CHECK;
void starter_stop(struct uvd *u, const char *name);     /* its monitor isn't wanted any more, and can't be told so itself */
/* Which backend its monitor is to become, by its type. */
int starter_write_type(struct uvd *u, const char *name) ULV_MUST_CHECK;
void starter_forget_type(struct uvd *u, const char *name);
void starter_forget_old_types(struct uvd *u);           /* of partitions that were over before we lived: there is no guest */
void starter_free(struct uvd *u);

/* --- backup.c */
struct backup { uint64_t generation; const char *rows, *history; size_t rows_len, history_len; };
int backup_write(const struct ulv_ledger *l, struct store *s, struct ulv_strbuf *b) ULV_MUST_CHECK;
/* Checks form and sum; ret points into buf. 0, 1 (reterr). */
int backup_parse(const char *buf, size_t len, struct backup *ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* Puts a backup in force in a running uvd. 0, 1 (reterr), -errno; -ESTALE-like failures of the commit end uvd. */
int backup_restore(struct uvd *u, const char *buf, size_t len, struct ulv_diag *reterr) ULV_MUST_CHECK;
bool ledger_is_live(const struct ulv_ledger *l, char name[static ULV_NAME_MAX + 1]);    /* any guest partition; which */
#define UVD_BACKUP_MAX ((size_t) 1024 * 1024 * 1024)

/* --- rebuild.c */
int uvd_rebuild(struct uvd *u, struct ulv_diag *reterr) ULV_MUST_CHECK;
int uvd_restore_file(struct uvd *u, const char *buf, size_t len, struct ulv_diag *reterr) ULV_MUST_CHECK;

/* --- sandbox.c */
int sandbox_drop_root(uid_t uid, gid_t gid) ULV_MUST_CHECK;
int sandbox_enter(void) ULV_MUST_CHECK;
