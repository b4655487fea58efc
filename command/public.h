/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* org.ultravisor1.Manager and .Partition for people (lib/protocol.h): one connection's state, and the
 * methods, which live in verb.c, undo.c, change.c, query.c and forward.c. Whoever gets to a method may call it:
 * that was decided before, by public.c for the private socket, by system.c for the system bus. */

#include "command/access.h"
#include "command/job.h"
#include "lib/saidform.h"

#define WAITS_MAX 64            /* pending Wait() calls of one connection */
#define NAMES_MAX ULV_PARTITIONS_MAX
#define TEXT_MAX 1024           /* of a reason and the like */

struct public_peer {            /* the userdata of every method */
        struct manager *m;
        sd_bus *bus;
        struct ulv_bus_peer *peer;      /* of the private socket; NULL: this is the system bus, with many senders */
        bool may;
        bool uses_objects;      /* has looked at partition objects: is told of their changes */
};

/* Puts the objects on a connection. */
int public_serve(struct public_peer *pp) ULV_MUST_CHECK;
/* Who sent a call, for as long as the connection (on the system bus: the sender) lives: a pointer and a uid. */
void *public_who(const struct public_peer *pp, sd_bus_message *call);
uid_t public_uid(const struct manager *m, sd_bus_message *call);
/* Answers the call, and says false, while there is no ledger (and no bundle, if that is needed). */
bool public_has(struct manager *m, sd_bus_message *call, bool bundle);
/* Answers the call, and says true, if a text of it is longer than TEXT_MAX. */
bool public_too_long(sd_bus_message *call, const char *text);
/* The names that come next in a call, which own them; *ret is the caller's. sd_bus_message_read_strv() takes time
 * with the square of their number, and any number. 0; 1: refused and answered; -errno. */
int public_read_names(sd_bus_message *call, const char ***ret, size_t *ret_n) ULV_MUST_CHECK;
int public_reply_errno(sd_bus_message *call, int r);
/* The refusal for files with errors ("file:line:column: what" lines); that operations isn't there. */
void public_problems(struct ulv_diag *d, const char *what, const char *problems);
void public_uvd_away(struct ulv_diag *d);
void public_operations_away(struct ulv_diag *d, const char *verb);

/* verb.c */
int method_start(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_stop(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_pause(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_resume(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_restart(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_move(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_wait(sd_bus_message *call, void *userdata, sd_bus_error *error);

/* Reads {cores, share, memory} values into a request. 0; 1 (reterr). */
int verb_check_disks(const struct ulv_request *r, struct ulv_diag *reterr);     /* are those of its limits here? 0; 1 (reterr) */
int verb_value(struct ulv_request *r, const char *key, const char *value, struct ulv_diag *reterr);
int verb_what(struct ulv_request *r, const char *what, struct ulv_diag *reterr);     /* "cores=1" */

/* attach.c */
int method_attach(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_detach(sd_bus_message *call, void *userdata, sd_bus_error *error);
/* other of q is what is to be attached, or a label. *ret: what to plan on (NULL: the set in force), to be freed; q: how, in i. 0; 1 (reterr); -errno. */
struct item;
int attach_why(struct manager *m, struct item *i, struct ulv_request *q, struct ulv_bundle **ret, struct ulv_diag *reterr);

/* why.c */
int method_why(sd_bus_message *call, void *userdata, sd_bus_error *error);

/* undo.c */
int method_undo(sd_bus_message *call, void *userdata, sd_bus_error *error);

/* change.c: verbs that write definitions */
int method_set(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_revert(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_remove(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_apply(sd_bus_message *call, void *userdata, sd_bus_error *error);

/* verify.c */
int method_reload(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_verify(sd_bus_message *call, void *userdata, sd_bus_error *error);

/* query.c */
int method_rows(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_status(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_definition(sd_bus_message *call, void *userdata, sd_bus_error *error);
/* STATUS of the call interface, cut to UTF-8; "" none. */
void query_said(const struct manager *m, const struct ulv_partition_info *p, char ret[SAID_STATUS_MAX]);
int method_logs(sd_bus_message *call, void *userdata, sd_bus_error *error);

/* history.c */
int method_history(sd_bus_message *call, void *userdata, sd_bus_error *error);

/* forward.c: uvd's answers, passed on */
int method_transaction(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_backup(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_restore(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_exec(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_console(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_channel_open(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_channel_state(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_usage(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_enforce(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_selftest(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_rotate_credential(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_renew(sd_bus_message *call, void *userdata, sd_bus_error *error);
int method_signal(sd_bus_message *call, void *userdata, sd_bus_error *error);

/* objects.c */
int objects_add(struct public_peer *pp) ULV_MUST_CHECK;
enum news { NEWS_ADDED, NEWS_CHANGED, NEWS_REMOVED };
/* To all who are told of objects; changing: the properties that may have changed. */
void objects_emit(struct manager *m, const char *path, const char *interface, char **changing, enum news what);
/* job-objects.c */
struct job;
int job_objects_add(struct public_peer *pp) ULV_MUST_CHECK;
void job_object_tell(struct job *j, enum news what);
/* Tells every connection that looks at objects what a change of the mirror did to them; changes "" = anything. */
void objects_tell(struct manager *m, const char *changes);
void objects_done(struct manager *m);
