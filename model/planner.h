/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The planner: (ledger, bundle, request, now) -> a transaction, or reasons. Pure. The real run, -n,
 * plan and why are this one function, so a dry run can't lie.
 *
 * Placement of whole cores: all on one node if that fits (the wanted node first, else the node with the
 * least idle cores that still suffices), from idle first, then from host, lowest numbers last from host
 * (CPU 0 leaves the host last). Without [Host] the host keeps at least one core and 2G, or half of
 * the memory if that is less; with [Host] exactly what it says. Memory: node of the cores, then idle
 * before host. A uid range: the lowest idle one (containers only). */

#include "model/bundle.h"
#include "model/ledger.h"

enum ulv_request_verb {
        ULV_REQUEST_START,      /* name; claims everything, state=starting */
        ULV_REQUEST_STOP,       /* name; state=stopping; force: kill at once */
        ULV_REQUEST_PAUSE,      /* name; state=pausing: nothing of it runs, it keeps what it has */
        ULV_REQUEST_RESUME,     /* name; state=running */
        ULV_REQUEST_SET,        /* name, cores/share/memory/limits: change a live partition */
        ULV_REQUEST_MOVE,       /* name -> other: cores or memory or share from one to the other, one transaction */
        ULV_REQUEST_ATTACH,     /* name, other (a label): claim this mount or device, as the bundle defines it */
        ULV_REQUEST_DETACH,     /* name, other: release it; the bundle doesn't define it any more; force: whoever uses it */
        ULV_REQUEST_APPLY,      /* bring ledger to bundle: define, redefine, resize live ones to the definition, host and
                                   pool to the policy; prune: remove what has no definition (only if not live). name not "" or NULL:
                                   only this definition */
        ULV_REQUEST_REMOVE,     /* name: remove its definition from the ledger */
};

#define ULV_REQUEST_LIMITS_MAX 8

const char *ulv_request_verb_name(enum ulv_request_verb v);      /* "start" */

struct ulv_request {
        enum ulv_request_verb verb;
        const char *name, *other;
        bool has_cores, has_share, has_memory;
        uint64_t cores, share, memory;          /* SET: absolute; MOVE: the amount; memory in bytes */
        struct ulv_limit limits[ULV_REQUEST_LIMITS_MAX]; size_t n_limits;       /* SET; an amount of 0 takes one back */
        const char *node;                       /* DETACH: name of the device's node, as the files had it; NULL: not known */
        bool force, prune;
        unsigned restarts;                      /* START by Restart=: the number of it in a row, kept in the row; 0: a person's */
        uint64_t restarted;                     /* when, realtime us */
        const char *const *missing;             /* START, APPLY: images that are named and aren't there, the last NULL; NULL: none */
        bool runtime;                           /* SET, MOVE, ATTACH, DETACH: until the next start only, the files stay as they are */
};

/* One line of the answer for people: "web  change  memory 2G -> 3G  live". */
struct ulv_plan_line { char name[ULV_NAME_MAX + 1]; char action[16]; char *text; char note[32]; };

/* What a plan takes for partitions: of it from the host, which isn't idle, and what was idle before. Memory in
 * ULV_MEMORY_UNITs, share in 1/1000. */
struct ulv_amounts { uint64_t cores, share, memory; };
static inline void ulv_amounts_add(struct ulv_amounts *to, const struct ulv_amounts *a) {
        to->cores += a->cores;
        to->share += a->share;
        to->memory += a->memory;
}
struct ulv_plan_use { struct ulv_amounts taken, from_host, idle; };

struct ulv_plan {
        struct ulv_strbuf operations;           /* lines of model/op.h; empty: nothing to do */
        uint64_t generation;                    /* of the ledger that was planned on: give it as if_generation */
        struct ulv_plan_line *lines; size_t n_lines;
        char summary[512];                      /* "Fits: 1 share of 4 idle, 2G of 32G idle. Nobody loses anything." */
        struct ulv_plan_use use;
        struct ulv_diag *reasons; size_t n_reasons;     /* of a refusal: the first is the answer, others more of it */
        struct ulv_strbuf explain;              /* --explain: each constraint looked at, one line each, with places */
};

/* 0: a plan; 1: refused, reasons tell (code = uvctl's exit code); -ENOMEM. ret is set in both of 0 and 1.
 * A plan that is returned steps on the given ledger without refusal (tested by the simulation). */
int ulv_plan_make(const struct ulv_ledger *l, const struct ulv_bundle *b, const struct ulv_request *r, struct ulv_plan **ret) ULV_MUST_CHECK;
void ulv_plan_free(struct ulv_plan *p);
ULV_DEFINE_CLEANUP(struct ulv_plan, ulv_plan_free)

/* The summary of a plan, or of several whose uses were added up. lost: who loses what, "" nobody. */
void ulv_plan_use_summary(const struct ulv_plan_use *use, const char *lost, char *ret, size_t size);

/* Names in start order by After= (names first that others come after). all = every definition. 0; 1 =
 * unknown name (reterr); -ENOMEM. The array holds pointers into b and is freed with free(). */
int ulv_plan_order(const struct ulv_bundle *b, const char *const *names, size_t n_names, bool all,
                   const char ***ret, size_t *ret_n, struct ulv_diag *reterr) ULV_MUST_CHECK;
