/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The monitor's inside, shared by the files of monitor/; backends see monitor/plugin.h only. */

#include <systemd/sd-bus.h>

#include "lib/build.h"
#include "lib/strbuf.h"
#include "model/partition.h"
#include "channel/call.h"
#include "monitor/plugin.h"

#define MONITOR_FDS_MAX 128             /* fds kept in the starter's store */
#define MONITOR_HOLDINGS_MAX 16384
#define MONITOR_EXECS_MAX 64            /* exec requests under way */
#define MONITOR_RESULT_MAX 512
#define MONITOR_ROOT_MAX 4096

/* What is known of the payload. */
enum payload {
        PAYLOAD_UNKNOWN,        /* just born: something may run from an earlier life of this monitor */
        PAYLOAD_NONE,           /* proved: nothing runs, nothing is left */
        PAYLOAD_STARTING,       /* the backend builds it, or its init hasn't said READY yet */
        PAYLOAD_RUNNING,
        PAYLOAD_ENDING,         /* asked to stop, killed or dead; not proved gone yet */
        PAYLOAD_ENDED,          /* proved gone and cleaned up; uvd is to be told */
};

#define CHANNEL_MEMORY_SIZE 17          /* 16 hexadecimal digits: the number of a memory */

struct holding {
        char kind[16], id[128], how[32], node[32];     /* node: of a block device, that of its node */
        uint64_t amount, keep, reached;
        uint64_t size;                  /* of a channel: its memory, */
        char word[8];                   /* its kind, */
        unsigned end;                   /* which end it is, */
        char memory[CHANNEL_MEMORY_SIZE], other[CHANNEL_MEMORY_SIZE];   /* what it shares, and what the other end does ("here": nothing yet) */
        bool force;                     /* on its way out, whoever uses it */
};

/* The last view, taken apart. */
struct seen {
        bool valid;
        uint64_t generation;
        char *text;             /* as it came */
        enum ulv_state state, wanted;
        bool force;             /* stopping: kill at once */
        uint64_t leader, start; /* 0: none recorded */
        char build[ULV_BUILD_LEN + 1];  /* of the monitor that reported last */
        bool ready;                     /* and that its partition said READY */
        char contain[128];              /* its words */
        uint64_t incarnation;   /* which life of the partition this is */
        struct ulv_definition *definition;      /* NULL: the row has none that parses */
        char *definition_text;  /* that it was parsed from; NULL: there was none */
        struct holding *holdings;
        size_t n_holdings;
        struct ulv_grant grant;
};

struct kept { char name[64]; int fd; };

#define ATTACH_KEY_MAX 160
struct refused { char key[ATTACH_KEY_MAX]; bool keep; char why[MONITOR_RESULT_MAX + 16]; };       /* keep: attaching it */

struct exec_request { uint32_t number; sd_bus_message *call; bool console; };  /* console: Console, else Exec */

struct ulv_monitor {
        char name[ULV_NAME_MAX + 1], token[64];
        char *root, *cgroup;            /* owned; cgroup "" if there is none */
        char scope[4 * ULV_NAME_MAX + 64];      /* PID 1's unit of the payload, "": its cgroup is ours to make */
        const char *slice;              /* that the scope is in, or will be */
        char *cgroup_root;              /* owned: of PID 1 */
        int run_dir;
        sd_event *event;
        sd_event_source *turn, *gone_timer, *start_timer, *stop_timer, *give_up_timer, *enforce_timer, *report_timer;
        void *data;

        /* view.c */
        struct seen seen;
        const void *map;                /* uvd's view; NULL when there is none */
        size_t map_size;
        void *held;                     /* our own copy, in the fd store as "view" */

        /* uvd-link.c */
        sd_bus *bus;
        sd_event_source *connect_timer;
        sd_bus_slot *hello_slot, *report_slot;
        uint64_t connect_delay;
        char hello_error[256];          /* the last one said, so that it is said once */
        bool greeted;                   /* Hello was answered on this connection */
        struct ulv_strbuf report;       /* the last one sent */
        char *report_view;              /* the view it was made from */
        bool report_pending;
        uint64_t report_at;

        /* fd-store.c */
        unsigned n_kept;                /* of kept[], below */
        sd_event_source *starter_watch, *starter_timer;
        uint64_t starter_socket;        /* inode of the notification socket that knows our fds */

        /* monitor.c */
        enum payload payload;
        int leader_pidfd;
        pid_t leader;
        uint64_t leader_start;
        uint64_t incarnation;           /* of the payload, 0 = not known */
        sd_event_source *leader_watch;
        sd_event_source *oom; uint64_t oom_kills;
        bool stop;                      /* SIGTERM: stop the payload, uvd or not */
        bool end_only;                  /* started to end what is left, and to tell uvd */
        bool past_only;                 /* started to see a life to its end that was stopped without uvd; a new one is another's */
        bool stop_asked, killed;
        bool stop_wanted;               /* somebody wanted this end: no failure */
        bool found_nothing;             /* ENDING leads to NONE, not to ENDED */
        bool narrowed;
        char result[MONITOR_RESULT_MAX];        /* "" = not known yet */
        bool failed;
        bool giving_up;                 /* SIGTERM was obeyed; waiting for uvd to hear of it, but not long */
        uint64_t gone_delay, gone_since;
        unsigned cleanup_tries;

        /* Enforcement: what was last asked of the backend, and what came of it. */
        struct ulv_grant enforced;
        enum { ENFORCED_NOT, ENFORCED_DONE, ENFORCED_REFUSED, ENFORCED_FAILED } enforcement;
        const char *how_limits[ULV_LIMITS_MAX];         /* of enforced.limits */
        char how_cpu[32], how_memory[32], refusal[MONITOR_RESULT_MAX];

        /* pause.c */
        enum { FROZEN_UNKNOWN, FROZEN_NO, FROZEN_YES } frozen;  /* UNKNOWN: of a life of this monitor before */
        bool may_freeze, freeze_failed; /* failed: and that was said */
        uint64_t freeze_delay;
        sd_event_source *freeze_timer;

        /* attach.c */
        char attaching[ATTACH_KEY_MAX]; /* what the backend is at, "" nothing */
        bool attaching_keep, attach_later;
        struct refused refused[8];
        size_t n_refused;
        sd_event_source *attach_timer;

        struct channel *channels;       /* channel.c: ULV_CHANNELS_MAX places; owned; NULL: not needed yet */
        bool start_waits;               /* STARTING, and waits for the memory of its channels (fixed_channels) */
        bool channels_adopted;          /* what an earlier life kept has been looked through */

        /* port-link.c */
        int port_pidfd, port_fd, console_slave, init_far;
        sd_event_source *port_watch, *port_timer;
        bool init_used, init_ready, port_wanted;
        char exited[32];                /* what uv-init said of its child, "" if nothing */
        uint32_t next_exec;
        unsigned n_execs;               /* of execs[], below */

        struct rotation *rotation;      /* credential.c: the one under way */

        /* call.c */
        uint64_t listens;               /* what who listens inside may be asked (ULV_CALL_LISTENS()) */
        bool said_ready, stop_called;   /* stop_called: STOP isn't answered yet, and the signal waits */
        char *view_told;                /* owned; the view as uv-port has it */
        enum { RESIZE_NONE, RESIZE_ASKED, RESIZE_LATER, RESIZE_AGREED } resize;
        struct ulv_grant resizing;      /* the one that it was asked about */
        sd_bus_message *selftest;       /* the call, while it isn't answered */
        sd_event_source *call_timer, *selftest_timer, *clock;    /* of STOP or RESIZE; the host's clock, watched for TIME */

        /* renew.c */
        sd_bus_message *renewal;        /* the call, while uv-port writes down what it has read */
        sd_event_source *renew_timer;

        /* Last, for of these the first few are used: a page that is never written is no partition's memory. */
        struct kept kept[MONITOR_FDS_MAX];
        struct exec_request execs[MONITOR_EXECS_MAX];
};

/* monitor.c */
int monitor_begin(struct ulv_monitor *m);
void monitor_turn(struct ulv_monitor *m);               /* look at everything again, from the event loop */
void monitor_ready(struct ulv_monitor *m);              /* uv-init has started Exec= */
int monitor_arm(struct ulv_monitor *m, sd_event_source **s, uint64_t usec, sd_event_time_handler_t handler);
void monitor_said_ready(struct ulv_monitor *m);         /* the partition itself, by READY */
void monitor_refuse_grant(struct ulv_monitor *m, const char *why);      /* the view's stays as it was before */
void monitor_exit(struct ulv_monitor *m);
void monitor_ask_time(struct ulv_monitor *m);           /* of a starter that wants us to end */
const char *payload_text(enum payload p);

/* main.c: the slice of the scope that a start under this grant makes, and its cgroup */
int scope_place(struct ulv_monitor *m, bool cores);

/* pause.c */
void pause_follow(struct ulv_monitor *m);               /* RUNNING: hold it or let it go on, as the view wants */
void pause_thaw(struct ulv_monitor *m);                 /* it is to end: what is held hears no SIGTERM */

/* attach.c */
bool attach_is_kind(const char *kind);
void attach_follow(struct ulv_monitor *m);              /* RUNNING: mounts and devices as the view wants them */
const char *attach_how(struct ulv_monitor *m, const struct holding *h);         /* NULL: it isn't attached */
const char *attach_refusal(const struct ulv_monitor *m, const struct holding *h);       /* NULL: none */

/* channel.c */
void channels_follow(struct ulv_monitor *m);            /* RUNNING: the fds of each end, given to uv-port */
bool channels_are_there(const struct ulv_monitor *m);   /* the memory of each, in the ledger too; or it is refused */
void channels_unask(struct ulv_monitor *m);             /* the connection that was asked over is gone */
void channels_tell(struct ulv_monitor *m);              /* a new uv-port: all of them again */
void channels_end(struct ulv_monitor *m);               /* the payload is gone */
void channel_report(struct ulv_monitor *m, const struct holding *h, struct ulv_strbuf *b);
/* To one of the host's tools: a socket, on which uv-port gives it the host's end, or tells it the state. */
int channel_host(struct ulv_monitor *m, sd_bus_message *call, bool open, sd_bus_error *error);
int channel_supply(struct ulv_monitor *m, sd_bus_message *call, sd_bus_error *error);    /* to the other end's monitor */

void channels_paths(struct ulv_monitor *m);             /* who listens for PATH: what each one is now */

/* call.c */
enum call_time_why { CALL_TIME_RESUMED = 1, CALL_TIME_SET };
void call_follow(struct ulv_monitor *m);                /* the view, told if it isn't what was told */
void calls_tell(struct ulv_monitor *m);                 /* a new uv-port: all of it */
/* Ready=notify, and it hasn't said so. */
static inline bool call_awaits_ready(const struct ulv_monitor *m) {
        return m->seen.definition && ulv_streq(m->seen.definition->ready, "notify") && !m->said_ready && m->seen.state == ULV_STARTING;
}
bool call_stop(struct ulv_monitor *m, uint64_t timeout);        /* true: asked; the backend's ask_stop() follows */
bool call_resize(struct ulv_monitor *m);                /* true: not to be enforced before it has answered */
void resize_forget(struct ulv_monitor *m);
void call_path(struct ulv_monitor *m, const char *label, bool connected);
void call_time(struct ulv_monitor *m, enum call_time_why why);
int call_selftest(struct ulv_monitor *m, sd_bus_message *call, sd_bus_error *error);    /* the method; answers now or later */
void selftest_forget(struct ulv_monitor *m);            /* the connection that it was asked over is gone */
void call_said(struct ulv_monitor *m, uint32_t verb, uint64_t value);           /* from uv-port */
void call_answered(struct ulv_monitor *m, uint32_t verb, uint64_t value);
void calls_lost(struct ulv_monitor *m);                 /* uv-port is gone */
void calls_end(struct ulv_monitor *m);                  /* the payload is */

/* payload-end.c: the ways in which a payload ends, up to the proof that it is gone */
void end_begin(struct ulv_monitor *m, bool wanted, bool at_once);
void end_kill(struct ulv_monitor *m);
void end_prove(struct ulv_monitor *m);                  /* ENDING: ask the backend until it says gone */
void end_result(struct ulv_monitor *m, bool failed, const char *fmt, ...) ULV_PRINTF(3, 4);
void leader_status(struct ulv_monitor *m);              /* the leader is dead: how did it end? */
/* oom.c: from when it runs until it is gone */
void oom_watch(struct ulv_monitor *m);
void oom_done(struct ulv_monitor *m);
uint64_t leader_start_ticks(pid_t pid);

/* view.c */
int view_map(struct ulv_monitor *m, int fd);
int view_take(struct ulv_monitor *m);                   /* reads the mapped view into m->seen, keeps a copy */
int view_held_open(struct ulv_monitor *m);              /* the copy of an earlier life, or a new one */
const char *view_held_text(struct ulv_monitor *m, struct ulv_strbuf *b);
int seen_parse(struct seen *s, const char *name, const char *text, size_t len, uint64_t generation);
void seen_done(struct seen *s);
bool grant_same(const struct ulv_grant *a, const struct ulv_grant *b);

/* report.c */
int report_build(struct ulv_monitor *m, struct ulv_strbuf *b);
void report_send(struct ulv_monitor *m);

/* uvd-link.c */
int link_begin(struct ulv_monitor *m);
void link_done(struct ulv_monitor *m);

/* credential.c */
int credential_rotate(struct ulv_monitor *m, sd_bus_message *call);     /* as port_exec(); -EBUSY: one is under way */

/* renew.c */
int renew_begin(struct ulv_monitor *m, sd_bus_message *call, sd_bus_error *error);      /* the method; answers now or later */
bool renew_goes_on(struct ulv_monitor *m);              /* uv-port is gone: true if that was asked of it */
void renew_forget(struct ulv_monitor *m);               /* the connection that it was asked over is gone */

/* fd-store.c */
int store_begin(struct ulv_monitor *m);
void store_notify(const char *text);
int store_find(const struct ulv_monitor *m, const char *name);

/* port-link.c */
int port_open(struct ulv_monitor *m);                   /* console and socket to init: all that a backend needs to start */
int port_begin(struct ulv_monitor *m);                  /* console, socket to init, uv-port; idempotent */
void port_payload_started(struct ulv_monitor *m);       /* our copy of init's end can go */
int port_exec(struct ulv_monitor *m, sd_bus_message *call);     /* takes a reference; 0 or -errno */
int port_console(struct ulv_monitor *m, sd_bus_message *call);  /* as port_exec() */
int port_signal(struct ulv_monitor *m, int signo);
bool port_retire(struct ulv_monitor *m);                /* uv-port is to write down what it has read, and to end; true if there is one */
void port_close(struct ulv_monitor *m);                 /* it ends now */
int port_channel(struct ulv_monitor *m, uint32_t kind, const char *label, unsigned number, const int *fds, unsigned n_fds);
int port_view(struct ulv_monitor *m, const char *text, size_t len);
int port_call(struct ulv_monitor *m, const struct ulv_call *q);
void port_forget_execs(struct ulv_monitor *m);          /* the connection they came over is gone */
void port_done(struct ulv_monitor *m);
