/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of uvctl share: the command line as read, the connection, and how a verb ends.
 *
 * A verb returns an exit code (enum ulv_exit). If it has something to say about it, it has filled
 * u->diag (fail() and the functions of client.c do so), and main() prints that, once. */

#include <stdio.h>
#include <systemd/sd-bus.h>

#include "lib/diag.h"
#include "lib/protocol.h"
#include "uvctl/json.h"
#include "uvctl/table.h"

enum output { OUTPUT_TABLE, OUTPUT_WIDE, OUTPUT_JSON, OUTPUT_NAME, OUTPUT_NAGIOS };

/* Options, as bits: a verb says which of them mean something to it. */
enum option_bit {
        OPT_DRY_RUN = 1 << 0, OPT_EXPLAIN = 1 << 1, OPT_WAIT = 1 << 2, OPT_NO_BLOCK = 1 << 3,
        OPT_IF_GENERATION = 1 << 4, OPT_REASON = 1 << 5, OPT_ALL = 1 << 6, OPT_YES = 1 << 7,
        OPT_FORCE = 1 << 8, OPT_PRUNE = 1 << 9, OPT_RUNTIME = 1 << 10, OPT_FOLLOW = 1 << 11,
        OPT_RAW = 1 << 12, OPT_LINES = 1 << 13, OPT_SIGNAL = 1 << 14, OPT_USER = 1 << 15,
        OPT_ENV = 1 << 16, OPT_CHDIR = 1 << 17, OPT_OUTPUT = 1 << 18, OPT_WATCH = 1 << 19,
        OPT_FRESH = 1 << 24, OPT_PURGE = 1 << 25, OPT_REPAIR = 1 << 26,
        /* no options, but traits of a verb: it knows -o name, -o nagios; its exit status may be an answer, not a failure */
        OPT_NAGIOS = 1 << 27, OPT_NAMES = 1 << 28, OPT_STATUS_SAYS_IT = 1 << 29,
        OPT_TOLD_ABOVE = 1 << 30,       /* --help of all says it in the line of the verb before */
        /* what every verb that changes something takes */
        OPT_CHANGE = OPT_DRY_RUN | OPT_EXPLAIN | OPT_WAIT | OPT_NO_BLOCK | OPT_REASON | OPT_OUTPUT,
};

/* Of `new`: values as typed, NULL if not given. */
struct fresh { const char *image, *template, *share, *cores, *memory, *writable, *type, *disk, *kernel, *initrd, *accel; bool start; };

struct uvctl {
        const char *root;               /* "/" or the directory of a standalone instance */
        const char *host; int host_from, host_to;       /* NULL: here; where in argv it is said */
        enum output output;
        unsigned given;                 /* enum option_bit bits seen on the command line */
        bool legend, quiet;
        uint64_t wait_usec;             /* of --wait=T; UINT64_MAX: as long as it takes */
        uint64_t if_generation;
        const char *reason;
        unsigned lines;
        int signal;
        const char *user, *chdir;
        const char **env; unsigned n_env;
        struct fresh fresh;
        bool tty_out, tty_err, colour;  /* colour: of standard output */

        sd_bus *bus;                    /* NULL until client_connect() */
        char *service;                  /* on the system bus: the planner's unique name there; NULL: the private socket */
        struct ulv_diag diag;
};

static inline bool given(const struct uvctl *u, enum option_bit o) { return u->given & o; }

struct verb {
        const char *name;
        int (*run)(struct uvctl *u, int argc, char **argv);     /* argv: what is behind the verb */
        const char *args;               /* for the usage line */
        const char *help;
        int min, max;                   /* words behind the verb; max -1: any number */
        unsigned options;               /* enum option_bit bits that it takes */
};
extern const struct verb uvctl_verbs[];

/* --- main.c ---------------------------------------------------------------------------------------- */
/* Fills u->diag and returns code. why and try_ may be "". */
int fail(struct uvctl *u, enum ulv_exit code, const char *what, const char *why, const char *try_);
/* The same for a -errno: "cannot WHAT", and the text of r. */
int fail_errno(struct uvctl *u, int r, const char *what);
void print_diag(const struct uvctl *u, const struct ulv_diag *d);
/* Writes the buffer to standard output; what can't be written is a failure of the verb. */
int put(struct uvctl *u, const struct ulv_strbuf *b) ULV_MUST_CHECK;
/* Asks on the terminal; true only for y or yes. Without a terminal nobody can be asked: see confirm(). */
bool ask(const char *question);
/* True if the change may go on: -y, or a yes. Fills u->diag otherwise. */
bool confirm(struct uvctl *u, const char *question, const char *command);

/* --- client.c -------------------------------------------------------------------------------------- */
int client_connect(struct uvctl *u) ULV_MUST_CHECK;
/* Did the connection end (r: what a call or process() returned), and with it what was on its way? */
bool client_lost(const struct uvctl *u, int r);
/* Both: slots of the old one must be gone. */
void client_disconnect(struct uvctl *u);
int client_reconnect(struct uvctl *u) ULV_MUST_CHECK;
/* A call of org.ultravisor1.Manager: client_new(), append, client_send(). All return exit codes. */
int client_new(struct uvctl *u, const char *method, sd_bus_message **ret) ULV_MUST_CHECK;
int client_send(struct uvctl *u, sd_bus_message *m, uint64_t timeout_usec, sd_bus_message **ret) ULV_MUST_CHECK;
/* All in one for arguments that sd_bus_message_append() takes. */
int client_call(struct uvctl *u, sd_bus_message **ret, const char *method, const char *types, ...) ULV_MUST_CHECK;
/* The same call once more; an error if doing it twice isn't doing it once. */
int client_again(struct uvctl *u, sd_bus_message *m, sd_bus_message **ret) ULV_MUST_CHECK;
int client_read(struct uvctl *u, sd_bus_message *m, const char *types, ...) ULV_MUST_CHECK;
/* An error that came back from a call, into u->diag; returns the exit code. */
int client_error(struct uvctl *u, const sd_bus_error *e, int r);
/* Appends KEY=VALUE words as a{ss}. (change.c) */
int append_values(struct uvctl *u, sd_bus_message *m, int argc, char **argv) ULV_MUST_CHECK;
#define CLIENT_TIMEOUT ((uint64_t) 90 * 1000000)
#define _cleanup_message_ ULV_CLEANUP(sd_bus_message_unrefp)

/* --- verbs ------------------------------------------------------------------------------------------ */
int verb_list(struct uvctl *u, int argc, char **argv);          /* list.c */
int verb_show(struct uvctl *u, int argc, char **argv);          /* status.c */
int verb_status(struct uvctl *u, int argc, char **argv);
int verb_resources(struct uvctl *u, int argc, char **argv);     /* resources.c */
int verb_check(struct uvctl *u, int argc, char **argv);         /* check.c */
uint64_t process_start_ticks(uint64_t pid);                     /* 0: no such process */
int verb_graph(struct uvctl *u, int argc, char **argv);         /* graph.c */
int verb_start(struct uvctl *u, int argc, char **argv);         /* change.c */
int verb_stop(struct uvctl *u, int argc, char **argv);
int verb_restart(struct uvctl *u, int argc, char **argv);
int verb_pause(struct uvctl *u, int argc, char **argv);
int verb_resume(struct uvctl *u, int argc, char **argv);
int verb_enable(struct uvctl *u, int argc, char **argv);        /* enable.c */
int verb_disable(struct uvctl *u, int argc, char **argv);
void disable_removed(const struct uvctl *u, const char *name);
int systemctl(const char *verb, const char *unit, bool quiet);  /* waits for it; quiet: asks nobody, says nothing. 0 or -errno */
int verb_kill(struct uvctl *u, int argc, char **argv);
int verb_set(struct uvctl *u, int argc, char **argv);
int verb_revert(struct uvctl *u, int argc, char **argv);
int verb_attach(struct uvctl *u, int argc, char **argv);
int verb_detach(struct uvctl *u, int argc, char **argv);
int verb_move(struct uvctl *u, int argc, char **argv);
int verb_remove(struct uvctl *u, int argc, char **argv);
int verb_undo(struct uvctl *u, int argc, char **argv);
int verb_apply(struct uvctl *u, int argc, char **argv);         /* files.c */
int verb_plan(struct uvctl *u, int argc, char **argv);
int verb_verify(struct uvctl *u, int argc, char **argv);
int verb_edit(struct uvctl *u, int argc, char **argv);          /* edit.c */
int verb_new(struct uvctl *u, int argc, char **argv);           /* new.c */
int verb_import(struct uvctl *u, int argc, char **argv);        /* import.c */
int verb_image(struct uvctl *u, int argc, char **argv);         /* image.c */
int verb_exec(struct uvctl *u, int argc, char **argv);          /* exec.c */
int verb_copy(struct uvctl *u, int argc, char **argv);          /* copy.c */
int verb_shell(struct uvctl *u, int argc, char **argv);
int verb_console(struct uvctl *u, int argc, char **argv);       /* console.c */
int verb_top(struct uvctl *u, int argc, char **argv);           /* top.c */
int verb_channel(struct uvctl *u, int argc, char **argv);       /* channel.c */
int verb_credential(struct uvctl *u, int argc, char **argv);    /* credential.c */
int verb_logs(struct uvctl *u, int argc, char **argv);          /* logs.c */
int verb_events(struct uvctl *u, int argc, char **argv);        /* events.c */
int verb_history(struct uvctl *u, int argc, char **argv);       /* history.c */
int verb_why(struct uvctl *u, int argc, char **argv);           /* query.c */
int verb_backup(struct uvctl *u, int argc, char **argv);
int verb_restore(struct uvctl *u, int argc, char **argv);
int verb_reload(struct uvctl *u, int argc, char **argv);
int verb_upgrade(struct uvctl *u, int argc, char **argv);       /* upgrade.c */
int verb_version(struct uvctl *u, int argc, char **argv);
