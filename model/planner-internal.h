/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Inside the planner (model/planner*.c).
 *
 * Theory of operation. A request is decided on a world: a copy of what the ledger says about the things
 * that are given out, small and free to change. Each decision changes the world and writes the operation
 * that makes the ledger do the same, so later decisions of one plan see earlier ones. What is short ends
 * the plan; then the planner looks for a command that helps by *trying*: it changes a fresh world as that
 * command would, decides the request again without writing anything (a trial), and offers only what
 * worked. So a try-line can't be wishful thinking.
 *
 *   planner.c           the frame: one request in, a plan out; lines and operations
 *   planner-world.c     the world, and what may be taken from whom
 *   planner-place.c     from which nodes, cores and amounts a need is met; what is given up
 *   planner-request.c   start, stop, remove
 *   planner-resize.c    set, move, and bringing a live partition to a definition
 *   planner-limits.c    [Limits] of a partition
 *   planner-attach.c    mounts and devices: claimed at a start, and while it runs
 *   planner-channel.c   channels: made when both definitions say so
 *   planner-apply.c     a whole bundle
 *   planner-policy.c    its host and pool
 *   planner-kept.c      what `uvctl set` has set otherwise than its definitions say
 *   planner-summary.c   what it takes, in one line
 *   planner-refuse.c    shortages told, commands that help found
 *   planner-isolation.c what the machine could enforce, and who requires it */

#include "model/config.h"
#include "model/planner.h"

struct world_core { unsigned id, node, threads; const char *owner, *to; bool missing; }; /* to: on its way there, "" if not */
/* A counted holding. keep: what the owner may use; out: on its way from it, and still its own until then;
 * more: on its way to it. Memory is in 2 MiB. */
struct world_amount { const char *id, *owner; unsigned node; const char *pages; uint64_t keep, out, more; };

struct world {
        struct world_core *cores; size_t n_cores;               /* by number */
        struct world_amount *memory; size_t n_memory, size_memory;
        struct world_amount *shares; size_t n_shares, size_shares;      /* without idle's */
        uint64_t given_elsewhere;                               /* shares of those that a narrow world leaves out */
        uint64_t uids[2048 / 64];                               /* taken ranges */
        unsigned uids_first, uids_last;
        bool pool_is_host;
        uint64_t overcommit;
        uint64_t host_cores, host_memory;                       /* what host must keep, 2 MiB */
        struct ulv_place host_cores_at, host_memory_at;         /* file "": built in */
        bool settled;   /* trials: what a live partition lets go is idle's at once */
};

/* Absolute amounts for one partition, as a request or a definition gives them. */
struct values { bool has_cores, has_share, has_memory; uint64_t cores, share, memory; /* bytes */ };

struct planner {
        const struct ulv_ledger *l;
        const struct ulv_bundle *b;
        const struct ulv_request *r;
        struct world w;
        struct ulv_plan *plan;
        bool trial;             /* decide only: write no operation, no line, no reason */
        const char *done_to;            /* a trial's: who was set (to done_values) or stopped (NULL) before; NULL: nobody */
        const struct values *done_values;
        const struct values *values;    /* a trial's: start with these instead of the definition's */
        struct ulv_plan_use use;
        struct ulv_strbuf lost; /* "batch loses 1 core. ": what live partitions give up */
        int error;              /* -ENOMEM of a line or a reason, told at the end */
};

/* --- planner-world.c ----------------------------------------------------------------------------- */
/* only: a narrow world, of infrastructure and this partition: all that a start looks at, however many others
 * there are. NULL: all of it. */
int ulv_world_init(struct world *w, const struct ulv_ledger *l, const struct ulv_policy *policy, const char *only) ULV_MUST_CHECK;
void ulv_world_done(struct world *w);
int ulv_world_copy(struct world *ret, const struct world *w) ULV_MUST_CHECK;
/* The row of (id, owner), made if it isn't there; NULL: no memory. */
struct world_amount *ulv_world_memory(struct world *w, const char *id, const char *owner);
struct world_amount *ulv_world_share(struct world *w, const char *owner);
/* Is this core owner's to use, and neither missing nor on its way elsewhere? */
bool ulv_world_has_core(const struct world_core *c, const char *owner);
/* What `owner` has and will have, when all is settled. */
uint64_t ulv_world_wanted_cores(const struct world *w, const char *owner);
uint64_t ulv_world_wanted_memory(const struct world *w, const char *owner);
uint64_t ulv_world_wanted_share(const struct world *w, const char *owner);
/* What `owner` keeps on a node (-1: any), of a page size for memory. */
uint64_t ulv_world_count_cores(const struct world *w, const char *owner, int node);
uint64_t ulv_world_count_memory(const struct world *w, const char *owner, int node, const char *pages);
/* What may be taken from the host: above its guarantee, and for cores, not out of a pool that is given out. */
uint64_t ulv_world_host_cores_spare(const struct world *w);
uint64_t ulv_world_host_memory_spare(const struct world *w, const char *pages);
uint64_t ulv_world_share_capacity(const struct world *w);
uint64_t ulv_world_share_given(const struct world *w);
unsigned ulv_world_nodes(const struct world *w);        /* one more than the highest */

/* --- planner-place.c ----------------------------------------------------------------------------- */
/* What a partition shall get on top of what it has. */
struct need {
        const char *owner;
        const struct ulv_definition *d;
        uint64_t cores, share, memory;  /* memory in 2 MiB */
        bool uids;
};
enum short_of { SHORT_OF_CORES, SHORT_OF_SHARE, SHORT_OF_MEMORY, SHORT_OF_UIDS };
struct shortage {
        enum short_of what;
        int node;                       /* -1: any */
        uint64_t idle, spare, needed;   /* there, of the host's, asked for */
        const char *pages;
        struct ulv_place at;            /* what bound it to the node */
        const char *why;                /* said instead, if it is no partition's need */
};
struct shortages { struct shortage v[4]; size_t n; };
/* 0; 1 = short of something (ret lists all of it; the world is spoilt); -ENOMEM. */
int ulv_place(struct planner *p, const struct need *need, struct shortages *ret) ULV_MUST_CHECK;
/* Takes cores, share or memory away from a live partition, to idle. */
int ulv_give_up_cores(struct planner *p, const char *owner, uint64_t n) ULV_MUST_CHECK;
int ulv_give_up_share(struct planner *p, const char *owner, uint64_t n) ULV_MUST_CHECK;
int ulv_move_share(struct planner *p, const char *from, const char *to, uint64_t n) ULV_MUST_CHECK;  /* 1: not so much there */
int ulv_give_up_memory(struct planner *p, const char *owner, uint64_t n) ULV_MUST_CHECK;
/* Moves a core or an amount in the world and writes the operation; from and to may be infrastructure. */
void ulv_take_core(struct planner *p, struct world_core *c, const char *to);
int ulv_take_memory(struct planner *p, const char *id, const char *from, const char *to, uint64_t n) ULV_MUST_CHECK;
/* The core that `owner` is to give first, of a node or (-1) any; NULL: none. */
struct world_core *ulv_core_to_give(struct world *w, const char *owner, int node);

/* --- planner-request.c --------------------------------------------------------------------------- */
int ulv_plan_start(struct planner *p) ULV_MUST_CHECK;
int ulv_plan_stop(struct planner *p) ULV_MUST_CHECK;
int ulv_plan_pause(struct planner *p, bool pause) ULV_MUST_CHECK;
int ulv_plan_set(struct planner *p) ULV_MUST_CHECK;
int ulv_plan_move(struct planner *p) ULV_MUST_CHECK;
int ulv_plan_remove(struct planner *p) ULV_MUST_CHECK;
int ulv_plan_apply(struct planner *p) ULV_MUST_CHECK;
int ulv_plan_policy(struct planner *p) ULV_MUST_CHECK;          /* the part of apply that is host and pool */
/* The ledger's row of a name that is asked about. *ret_known: is it in the ledger? 0; 1 refused. */
int ulv_plan_look_up(struct planner *p, const char *name, struct ulv_partition_info *ret, bool *ret_known) ULV_MUST_CHECK;
int ulv_plan_refuse_stopping(struct planner *p, const char *what, const char *name) ULV_MUST_CHECK;
/* The definition that the ledger has. 0; 1 = it is none that this version reads (ret untouched). */
int ulv_plan_old_definition(const struct ulv_partition_info *info, struct ulv_definition **ret) ULV_MUST_CHECK;
/* The definition that counts: the bundle's; the ledger's text where there is none, or where the partition
 * runs as something that the bundle's can't be (type, cores for a share). *ret_own is to be freed if set.
 * 0; 1 = there is none. */
int ulv_plan_definition(const struct planner *p, const char *name, const struct ulv_definition **ret, struct ulv_definition **ret_own) ULV_MUST_CHECK;
/* The same; none is a refusal. */
int ulv_plan_need_definition(struct planner *p, const char *name, const struct ulv_definition **ret, struct ulv_definition **ret_own) ULV_MUST_CHECK;
/* Writes a define operation if the ledger's text is another. *ret_changed may be NULL. */
int ulv_plan_define(struct planner *p, const struct ulv_definition *d, bool *ret_changed) ULV_MUST_CHECK;
/* Brings a live partition to these values, as far as they are given. 0; 1 = short (ret), or, with none
 * in ret, what is to be given up is still on its way to it; -ENOMEM. */
/* A VM was told its memory at its start, and can't be told another amount. */
bool ulv_plan_keeps_memory(const struct ulv_definition *d);
int ulv_plan_resize(struct planner *p, const struct ulv_definition *d, const struct values *v, struct shortages *ret) ULV_MUST_CHECK;
struct values ulv_plan_values(const struct ulv_definition *d);
/* What is wanted for a partition now. */
struct values ulv_plan_wanted(const struct planner *p, const struct ulv_definition *d);
/* "memory 2G -> 3G, cores 4 -> 5": what differs; empty if nothing does. */
void ulv_plan_add_difference(struct ulv_strbuf *b, const struct values *from, const struct values *to);
/* Lowers v to what s says is there, as far as the Min of d allow it. False: that is not enough. */
bool ulv_plan_lower(const struct ulv_definition *d, const struct values *has, const struct shortages *s, struct values *v);

/* --- planner-limits.c ---------------------------------------------------------------------------- */
/* Brings one limit of a partition in the ledger to this amount (0: none), or all of them to its definition. What
 * changes is added to text, which may be NULL. */
void ulv_plan_limit(struct planner *p, const char *name, const struct ulv_limit *l, struct ulv_strbuf *text);
void ulv_plan_limits(struct planner *p, const struct ulv_definition *d, struct ulv_strbuf *text);
bool ulv_plan_has_limits(const struct planner *p, const struct ulv_definition *d);      /* are they so already? */
void ulv_plan_add_limit_difference(struct ulv_strbuf *b, const struct ulv_definition *from, const struct ulv_definition *to);

/* --- planner-attach.c ---------------------------------------------------------------------------- */
int ulv_plan_attach_start(struct planner *p, const struct ulv_definition *d) ULV_MUST_CHECK;    /* 0; 1 refused */
/* Claims and releases what differs from what it holds. old: the definition that it runs by, NULL if it can't be read. */
int ulv_plan_attach_live(struct planner *p, const struct ulv_definition *d, const struct ulv_definition *old) ULV_MUST_CHECK;
int ulv_plan_attach(struct planner *p) ULV_MUST_CHECK;

/* --- planner-channel.c --------------------------------------------------------------------------- */
int ulv_plan_channels_start(struct planner *p, const struct ulv_definition *d) ULV_MUST_CHECK;
/* Claims and releases what differs from what it holds: 0. */
int ulv_plan_channels_live(struct planner *p, const struct ulv_definition *d) ULV_MUST_CHECK;

/* Is the image that it starts from missing? */
bool ulv_plan_lacks_image(const struct planner *p, const struct ulv_definition *d);

/* --- planner-kept.c ------------------------------------------------------------------------------ */
int ulv_plan_kept(struct planner *p, const struct ulv_definition *d) ULV_MUST_CHECK;

/* --- planner-refuse.c ---------------------------------------------------------------------------- */
/* Refuses: `what` is the first line, each shortage a reason, and the first gets a try. d: whose need it is. */
int ulv_plan_short(struct planner *p, const char *what, const struct ulv_definition *d, const struct shortages *s) ULV_MUST_CHECK;
/* Refuses in three lines; try_ may be "". Returns 1. */
int ulv_plan_refuse(struct planner *p, enum ulv_exit code, const char *what, const char *why, const char *try_);
/* One more line of text for refusals: like a printf into a buffer of its own. */
struct reason_text { char s[800]; };
struct reason_text ulv_reason_text(const char *fmt, ...) ULV_PRINTF(1, 2);
#define TEXT(...) (ulv_reason_text(__VA_ARGS__).s)
/* A buffer on the stack as a strbuf that never allocates: what doesn't fit is an error, and isn't there. So
 * texts of a plan can't be lost to want of memory. STACK_TEXT(b) declares one. */
#define ON_STACK(t) { .s = (t).s, .size = sizeof((t).s), .max = sizeof((t).s) - 1 }
#define STACK_TEXT(b) struct reason_text b##_storage = {}; struct ulv_strbuf b = ON_STACK(b##_storage)
/* Decides p->r on the world as it is. */
int ulv_plan_decide(struct planner *p) ULV_MUST_CHECK;

/* --- planner-isolation.c ------------------------------------------------------------------------- */
int ulv_plan_check_isolation(struct planner *p, const struct ulv_definition *d) ULV_MUST_CHECK; /* 0; 1 refused */

/* --- planner-summary.c --------------------------------------------------------------------------- */
/* What is idle now, before partitions take of it. */
void ulv_plan_remember_idle(struct planner *p);
/* Fills the summary from p->use and p->lost. fits: did all that was looked at fit? */
void ulv_plan_summary(struct planner *p, bool fits);

/* --- planner.c ----------------------------------------------------------------------------------- */
void ulv_plan_line(struct planner *p, const char *name, const char *action, const char *note, const char *fmt, ...) ULV_PRINTF(5, 6);
void ulv_plan_explain(struct planner *p, const char *fmt, ...) ULV_PRINTF(2, 3);
/* Where operations go: NULL in a trial. */
static inline struct ulv_strbuf *ulv_plan_ops(struct planner *p) { return p->trial ? NULL : &p->plan->operations; }
/* A place in the operations, and forgetting what was written behind it; restart() takes the world anew, too. */
size_t ulv_plan_mark(const struct planner *p);
void ulv_plan_back_to(struct planner *p, size_t mark);
int ulv_plan_restart(struct planner *p, size_t mark) ULV_MUST_CHECK;
void ulv_plan_op_state(struct planner *p, const char *name, enum ulv_state state, bool force);

/* Quantities for messages. */
struct quantity_text { char s[32]; };
struct quantity_text ulv_text_memory(uint64_t units);
struct quantity_text ulv_text_share(uint64_t milli);
#define MEMORY(units) (ulv_text_memory(units).s)
#define SHARE(milli) (ulv_text_share(milli).s)
