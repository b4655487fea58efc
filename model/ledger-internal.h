/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Inside the ledger: for model/ledger*.c and for the simulation's planted faults, for nobody else.
 *
 * Theory of operation. A ledger is objects (resources, partitions, holdings, transfers, transactions,
 * parameters) in hash tables and lists. What a step may change in an object stands in its `b` (body). Before the first
 * change in a step, ulv_touch() copies b to `old` and chains the object to l->touched. So a step can be
 * taken back without any allocation: ulv_rollback() copies old to b and removes what was created. An
 * object that goes away is only marked, and unlinked at commit. All allocation happens before
 * ulv_commit(), which can't fail.
 *
 * Committed changes chain objects to l->dirty (rows to be told) or, if their row was told before, park
 * them in l->gone until ulv_ledger_drain_changes() has written the `gone` line. A settled transaction is
 * kept in l->settled the same way. Nothing here costs more than the number of changed objects. */

#include "model/ledger.h"
#include "model/name.h"

/* FNV-1a. uthash's own function doesn't compile without warnings everywhere. */
static inline unsigned ulv_hash(const void *key, size_t len) {
        unsigned h = 2166136261u;

        for (const unsigned char *s = key; len > 0; s++, len--)
                h = (h ^ *s) * 16777619u;
        return h;
}

/* uthash tells by `unhashed` that it had no memory. */
#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = ulv_hash((keyptr), (keylen)))
#define uthash_nonfatal_oom(elt) ((void) ((elt)->o.unhashed = true))
#include <uthash.h>
#include <utlist.h>

/* In the order of the dump. */
enum kind { KIND_BLOCK, KIND_CHANNEL, KIND_CORE, KIND_DEVICE, KIND_DISK, KIND_LIMIT, KIND_MEMORY, KIND_MOUNT, KIND_NET, KIND_PCI, KIND_SHARE, KIND_UIDS, KIND_MAX_ };

struct kind_info {
        const char *name;
        bool unit;              /* one owner, amount 1; else counted */
        bool reached;           /* monitors report it reached; transactions wait for that */
        bool idle_implied;      /* what idle has isn't stored but derived */
        bool device;
        const char *noun;       /* for people */
};
extern const struct kind_info ulv_kinds[KIND_MAX_];
/* Those of model/attachment.h that no inventory has. */
static inline bool ulv_is_attachment(enum kind k) { return k == KIND_MOUNT || k == KIND_DEVICE || k == KIND_DISK; }
int ulv_kind_from_name(const char *s);  /* or -EINVAL */

enum object_type { OBJECT_RESOURCE, OBJECT_PARTITION, OBJECT_HOLDING, OBJECT_TRANSFER, OBJECT_TRANSACTION, OBJECT_PARAMETER };

struct object {
        enum object_type type;
        bool touched, created;          /* in the current step */
        bool dirty;                     /* in l->dirty */
        bool told;                      /* its row was written to the event stream, or came from there */
        bool parked;                    /* in l->gone */
        bool unhashed;                  /* uthash had no memory for it */
        struct object *touched_next;
        struct object *prev, *next;     /* l->dirty or l->gone */
};

struct transaction;
struct partition;
struct holding;

/* The transactions that wait for one thing, oldest first. */
struct waits { struct transaction *t[ULV_WAITS_MAX]; };

struct resource {
        struct object o;                /* has no row of its own: its holdings have */
        enum kind kind;
        char *id;                       /* owned */
        char *key;                      /* owned: "KIND ID" */
        struct resource_body {
                unsigned node, n_threads;
                char *threads;          /* owned: "0,8"; NULL but for cores */
                char *attrs;            /* owned: " key=value..." of devices, encoded; NULL = "" */
                bool missing;
                uint64_t total;         /* of memory: what the holdings sum to, always */
        } b, old;
        struct holding *holdings;       /* of any owner, by name */
        struct transfer *transfers;
        UT_hash_handle hh;
};

struct holding {
        struct object o;
        struct { struct resource *r; struct partition *p; } key;
        struct holding_body {
                uint64_t amount, out, in, reached;      /* out, in: sums of the transfers */
                char how[24];
                char memory[17];                        /* of a channel's end: which memory it shares; "" none (yet) */
                uint64_t epoch;                         /* and when it came to it: each end that comes raises it */
                struct waits waits;
        } b, old;
        UT_hash_handle hh;
        struct holding *p_prev, *p_next;        /* of the owner, in the order of resources */
        struct holding *r_prev, *r_next;        /* of the resource */
};

struct transfer {
        struct object o;
        uint64_t seq;
        struct resource *r;
        struct partition *from;
        struct transfer_body { struct partition *to; uint64_t amount, made; bool force; struct transaction *txn; } b, old;
        UT_hash_handle hh;
        struct transfer *p_prev, *p_next;       /* out of `from`, by seq */
        struct transfer *r_prev, *r_next;
};

struct partition {
        struct object o;
        char name[ULV_NAME_MAX + 1];
        bool infra;
        struct partition_body {
                bool gone;
                char zone[ULV_NAME_MAX + 1], type[16], role[16];
                enum ulv_state state, wanted;
                uint64_t incarnation, since, leader, start;
                char contain[256], result[256], build[24], ready[4];
                struct waits waits;
                char *text, *extra;             /* owned; NULL = "". extra: " key=value...", encoded */
        } b, old;
        UT_hash_handle hh;
        struct holding *holdings;
        struct transfer *out;
        bool view_changed;
        struct partition *view_prev, *view_next;
};

struct transaction {
        struct object o;
        char id[65];
        char *subject;                          /* owned */
        struct transaction_body { uint64_t waits; bool undone; } b, old;
        UT_hash_handle hh;
        bool settled;                           /* in l->settled */
        struct transaction *s_prev, *s_next;
};

struct parameter {
        struct object o;
        char *key;                              /* owned */
        struct parameter_body { bool gone; char *value; } b, old;
        UT_hash_handle hh;
};
#define ULV_PARAMETERS_MAX 256
#define ULV_LIMIT_IDS_MAX 8192          /* different ones in one life of a ledger: they are kept when nobody has them */
#define ULV_PARAMETER_VALUE_MAX 4096

enum infra { INFRA_COMMAND, INFRA_HOST, INFRA_IDLE, INFRA_OPERATIONS, INFRA_POOL, INFRA_ULTRAVISOR, INFRA_MAX_ };

struct ledger_counters {
        uint64_t generation, incarnation, seq;
        uint64_t share_given, pool_capacity;    /* in 1/1000 thread */
        uint64_t n_partitions, n_parameters;
};

struct ulv_ledger {
        struct ledger_counters c, old;
        bool ledger_dirty, inventory_dirty;
        bool pool_stale;                        /* in this step: pool_capacity must be counted again */
        bool unused;                            /* a mount or device may have lost its last owner */
        bool pool_told;                         /* in this step: the views of all who have a share change */
        char boot[64];
        struct { enum ulv_inventory_kind kind; bool kvm; unsigned uids_first, uids_last; char name[64], prefix[32], controllers[128]; } inventory;

        struct resource *resources;             /* by key */
        struct { struct resource **v; size_t n, size; } sorted[KIND_MAX_];
        struct partition *partitions;           /* by name */
        struct { struct partition **v; size_t n, size; } by_name;       /* sorted */
        struct partition *infra[INFRA_MAX_];
        struct holding *holdings;               /* by resource and owner */
        struct transfer *transfers;             /* by seq */
        struct transaction *transactions;       /* by id: those that are reaching */
        struct parameter *parameters;           /* by key */

        struct object *touched, *touched_last;
        struct object *dirty, *gone;
        struct transaction *settled;
        struct partition *view_changed;
};

/* --- ledger.c: tables; ledger-object.c: objects in a step ------------------------------------------------ */
int ulv_ledger_new_empty(struct ulv_ledger **ret);      /* infrastructure rows, the pool's share, nothing else */
void ulv_touch(struct ulv_ledger *l, struct object *o);
void ulv_touch_new(struct ulv_ledger *l, struct object *o);
void ulv_object_free(struct object *o);
void ulv_commit(struct ulv_ledger *l);
void ulv_rollback(struct ulv_ledger *l);
/* What was written to the event stream is news no more; what only waited for that is freed. */
void ulv_changes_told(struct ulv_ledger *l);
void ulv_settled_told(struct ulv_ledger *l);
void ulv_forget_changes(struct ulv_ledger *l);          /* both, and the changed views: after everything was loaded */

struct partition *ulv_find_partition(const struct ulv_ledger *l, const char *name);     /* NULL, also if marked gone */
size_t ulv_partition_place(const struct ulv_ledger *l, const char *name);        /* in by_name */
struct resource *ulv_find_resource(const struct ulv_ledger *l, enum kind kind, const char *id);
struct holding *ulv_find_holding(const struct ulv_ledger *l, const struct resource *r, const struct partition *p);
struct transfer *ulv_find_transfer(const struct ulv_ledger *l, uint64_t seq);
struct transaction *ulv_find_transaction(const struct ulv_ledger *l, const char *id);
struct parameter *ulv_find_parameter(const struct ulv_ledger *l, const char *key);

/* Makers; the object is touched and created. NULL: no memory. */
struct partition *ulv_add_partition(struct ulv_ledger *l, const char *name);
struct resource *ulv_add_resource(struct ulv_ledger *l, enum kind kind, const char *id);
struct holding *ulv_need_holding(struct ulv_ledger *l, struct resource *r, struct partition *p);        /* finds or makes */
struct transfer *ulv_add_transfer(struct ulv_ledger *l, uint64_t seq, struct resource *r, struct partition *from);
struct transaction *ulv_add_transaction(struct ulv_ledger *l, const char *id, const char *subject);
struct parameter *ulv_need_parameter(struct ulv_ledger *l, const char *key);

/* Sets an owned string of a touched body (old: the same field there). */
int ulv_set_string(char **field, const char *old, const char *value);

bool ulv_is_uid_range(const struct ulv_ledger *l, const char *id);       /* of the inventory */
/* Is there such a thing, though it has no object yet, since nobody has it? A uid range, a limit, a mount, a device. */
bool ulv_may_be_made(const struct ulv_ledger *l, int kind, const char *id);
bool ulv_holding_is_empty(const struct holding *h);     /* no object needed */
bool ulv_holding_has_row(const struct holding *h);
static inline bool ulv_is_live(const struct partition *p) { return !p->infra && ulv_state_is_live(p->b.state); }
/* Does what idle has of r stand nowhere? */
static inline bool ulv_is_implied(const struct ulv_ledger *l, const struct resource *r, const struct partition *p) {
        return ulv_kinds[r->kind].idle_implied && p == l->infra[INFRA_IDLE];
}

bool ulv_waits_any(const struct waits *w);
bool ulv_waits_full(const struct waits *w);
/* The owner of w is touched already. Adding twice is once; false: full. */
bool ulv_waits_add(struct ulv_ledger *l, struct waits *w, struct transaction *t);
void ulv_waits_release(struct ulv_ledger *l, struct waits *w, bool undone);
void ulv_transaction_hold(struct ulv_ledger *l, struct transaction *t);
void ulv_transaction_release(struct ulv_ledger *l, struct transaction *t, bool undone);

struct partition *ulv_pool_owner(const struct ulv_ledger *l);
uint64_t ulv_overcommit(const struct ulv_ledger *l);
void ulv_count_pool(struct ulv_ledger *l);              /* refreshes c.pool_capacity */
void ulv_pool_cpus(const struct ulv_ledger *l, struct ulv_cpus *ret);
int ulv_natural_compare(const char *a, const char *b);  /* runs of digits by value */

/* --- one step: ledger-step.c (frame), ledger-ops.c (transactions), ledger-reports.c, ledger-transfer.c -- */
struct step {
        struct ulv_ledger *l;
        const struct ulv_txn *t;
        struct transaction *txn;        /* NULL for a report */
        struct partition *reporter;     /* NULL for a transaction */
        struct ulv_strbuf undo;         /* inverse operations, one a line, in the order of the operations */
        bool no_undo;
        unsigned n_operations;
        struct ulv_diag *reterr;
};
/* Begins the text of a refusal; the exit code follows from it. */
enum ulv_exit ulv_refusal_exit(enum ulv_refusal refusal);
#define ulv_refuse(s, refusal, ...) ulv_diag_what((s)->reterr, ulv_refusal_exit(refusal), __VA_ARGS__)
void ulv_set_state(struct step *s, struct partition *p, enum ulv_state to);       /* and since */
int ulv_run_transaction_op(struct step *s, const struct ulv_op *op);
int ulv_run_report_op(struct step *s, const struct ulv_op *op);

/* Finds kind and id of an operation; makes the row of a uid range that idle has. */
int ulv_op_resource(struct step *s, const struct ulv_op *op, struct resource **ret);
int ulv_op_amount(struct step *s, const struct ulv_op *op, const struct resource *r, uint64_t *ret);

/* Gives n of r from one owner to another: at once, or as a transfer where `from` is live. */
int ulv_shift(struct step *s, struct resource *r, struct partition *from, struct partition *to, uint64_t n);
int ulv_settle(struct ulv_ledger *l, struct transfer *t, uint64_t n);           /* 0, -ENOMEM */
void ulv_drop_transfer(struct ulv_ledger *l, struct transfer *t, uint64_t n);   /* n of it stays with `from`; undone */
int ulv_give_back(struct ulv_ledger *l, struct partition *p);                   /* all of it: it ended */
int ulv_move_now(struct ulv_ledger *l, struct resource *r, struct partition *from, struct partition *to, uint64_t n);

/* --- ledger-channel.c ----------------------------------------------------------------------------------- */
/* What a claim says of a channel's end: peer= end= kind= size=, which its rows repeat. 0; > 0 refused; -ENOMEM. */
int ulv_channel_claim(struct step *s, const struct ulv_op *op, struct resource *r, const struct partition *from, const struct partition *to);
/* memory= of a report that it is reached. */
int ulv_channel_reached(struct step *s, const struct ulv_op *op, struct holding *h);
/* The other end, if it has an owner; NULL: it hasn't. */
struct holding *ulv_channel_other(const struct ulv_ledger *l, const struct resource *r);
bool ulv_channel_is_good(const struct ulv_ledger *l, const struct resource *r); /* its attributes, and those of the other end */
void ulv_channel_view(const struct ulv_ledger *l, const struct holding *h, struct ulv_strbuf *b);

/* --- serial form: ledger-rows.c ------------------------------------------------------------------------ */
void ulv_row_of(struct ulv_strbuf *b, const struct object *o);
void ulv_row_partition(struct ulv_strbuf *b, const struct partition *p, bool with_waits);
void ulv_row_ledger(const struct ulv_ledger *l, struct ulv_strbuf *b);
void ulv_row_inventory(const struct ulv_ledger *l, struct ulv_strbuf *b);
void ulv_row_attrs(struct ulv_strbuf *b, const struct resource *r);
bool ulv_is_partition_key(const char *key);             /* a key of its row that isn't an extra */
int ulv_extra_keys(const struct ulv_op *op, bool (*known)(const char *key), struct ulv_strbuf *b);

/* --- rows read: ledger-load.c, ledger-load-holdings.c, ledger-adopt.c ------------------------------------------------------------ */
struct loader {
        struct ulv_ledger *l;
        struct ulv_diag *reterr;
        int pass;
        bool may_be_gone;               /* an event stream: `gone` lines are known */
        bool has_ledger;
        unsigned line;
};
/* Fills reterr and returns 1. */
int ulv_bad_row(struct loader *ld, const struct ulv_op *op, const char *why);
/* All of a partition's row but txn=; p is touched. */
int ulv_read_partition_body(struct loader *ld, const struct ulv_op *op, struct partition *p);
/* An optional number or word of a row: false if it can't be that. */
bool ulv_row_number(const struct ulv_op *op, const char *key, uint64_t *v);
bool ulv_row_word(const struct ulv_op *op, const char *key, char *field, size_t size);
int ulv_read_waits(struct loader *ld, const struct ulv_op *op, struct waits *w);
int ulv_read_holding(struct loader *ld, const struct ulv_op *op);
int ulv_read_transfer(struct loader *ld, const struct ulv_op *op);
int ulv_gone_transfer(struct loader *ld, const struct ulv_op *op);
int ulv_gone_holding(struct loader *ld, const struct ulv_op *op);
