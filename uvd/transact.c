/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Group commit, the only writer of the ledger.
 *
 * Requests (transactions of command, reports of monitors and of uvd itself) are queued as they arrive. A
 * deferred source of the lowest priority runs when nothing else is pending, or at once when UVD_BATCH_MAX
 * have come together: it steps each request on the ledger in memory, writes what changed in ONE commit,
 * and only then answers and publishes. So a lone client waits for one sync, and 64 share one.
 *
 * Memory runs ahead of the disk only inside transact_run(). If the commit fails, memory is worth nothing
 * any more and neither is an answer from it: every request of the batch, refused ones too, is told
 * "outcome unknown", and the process ends. The next one reads what the disk kept; clients ask by id.
 *
 * A repeated id gets the first outcome: of the same batch, or of history. A refusal is not an outcome: it
 * changed nothing, is recorded nowhere, and the same id may be tried again. */

#include "uvd/uvd.h"

#include <stdio.h>
#include <time.h>

#include "lib/event.h"
#include "lib/protocol.h"

struct request {
        struct request *next;
        sd_bus_message *m;              /* owned; NULL: uvd's own report */
        char *own;                      /* owned: operations of uvd's own report */
        char reporter[ULV_NAME_MAX + 1];        /* "" for a transaction */
        char own_id[48], own_subject[ULV_NAME_MAX + 16];
        const char *id, *zone, *subject, *reason, *operations;
        uint64_t if_generation;

        enum { PENDING, DONE, REPEATED, REFUSED, ERROR } result;
        const struct request *first;    /* REPEATED within this batch */
        uint64_t generation;
        struct ulv_strbuf state, undo;
        int error;                      /* of ERROR */
        struct ulv_diag diag;           /* of REFUSED */
};

static void request_free(struct request *q) {
        sd_bus_message_unref(q->m);
        free(q->own);
        ulv_strbuf_done(&q->state);
        ulv_strbuf_done(&q->undo);
        free(q);
}

uint64_t uvd_now(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_REALTIME, &ts);
        return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

static int on_commit(ULV_UNUSED sd_event_source *s, void *userdata) {
        struct uvd *u = userdata;

        if (!transact_run(u))
                return sd_event_exit(u->event, ULV_EXIT_FAILED);
        return 0;
}

static int schedule(struct uvd *u, bool at_once) {
        int r = 0;

        if (!u->commit)
                r = sd_event_add_defer(u->event, &u->commit, on_commit, u);
        if (r >= 0)
                r = sd_event_source_set_priority(u->commit, at_once ? SD_EVENT_PRIORITY_IMPORTANT : SD_EVENT_PRIORITY_IDLE);
        if (r >= 0)
                r = sd_event_source_set_enabled(u->commit, SD_EVENT_ONESHOT);
        return r < 0 ? r : 0;
}

static int enqueue(struct uvd *u, struct request *q) {
        if (!u->last)
                u->last = &u->first;
        *u->last = q;
        u->last = &q->next;
        u->n_requests++;
        /* Queued in any case: if this fails, the next request's attempt will run it too. */
        return schedule(u, u->n_requests >= UVD_BATCH_MAX);
}

static struct request *report_new(struct uvd *u, const char *reporter) {
        struct request *q = calloc(1, sizeof(*q));

        if (!q)
                return NULL;
        (void) snprintf(q->reporter, sizeof(q->reporter), "%s", reporter);
        (void) snprintf(q->own_id, sizeof(q->own_id), "report-%016llx-%llu", (unsigned long long) u->epoch,
                        (unsigned long long) ++u->n_reports);
        (void) snprintf(q->own_subject, sizeof(q->own_subject), "monitor of %s", reporter);
        q->id = q->own_id;
        q->subject = q->own_subject;
        q->zone = "default";
        q->reason = "";
        return q;
}

int transact_queue(struct uvd *u, const struct transact_call *c) {
        struct request *q = c->reporter ? report_new(u, c->reporter) : calloc(1, sizeof(*q));

        if (!q)
                return -ENOMEM;
        q->m = sd_bus_message_ref(c->m);
        q->operations = c->operations;
        q->if_generation = c->if_generation;
        if (!c->reporter) {
                q->id = c->id;
                q->zone = c->zone;
                q->subject = c->subject;
                q->reason = c->reason;
        }
        return enqueue(u, q);
}

int transact_report(struct uvd *u, const char *owner, const char *operations) {
        struct request *q = report_new(u, owner);

        if (!q)
                return -ENOMEM;
        q->own = strdup(operations);
        if (!q->own) {
                request_free(q);
                return -ENOMEM;
        }
        (void) snprintf(q->own_subject, sizeof(q->own_subject), "uvd");
        q->operations = q->own;
        return enqueue(u, q);
}

/* --- one batch -------------------------------------------------------------------------------------- */

struct batch {
        struct request *requests;
        bool begun;             /* the store's transaction is open */
        struct published out;
};

/* Was this id committed before, in this batch or ever? 1: yes, q has its outcome. */
static int find_first(struct uvd *u, const struct batch *b, struct request *q) {
        int r;

        for (const struct request *p = b->requests; p != q; p = p->next)
                if (p->result == DONE && ulv_streq(p->id, q->id)) {
                        q->first = p;
                        q->result = REPEATED;
                        return 1;
                }
        r = store_find(u->store, q->id, &q->generation, &q->state, &q->undo);
        if (r != 0)
                return r < 0 ? r : 0;
        q->result = REPEATED;
        return 1;
}

/* The step is in memory: writes it. Failures here are failures of the whole batch. */
static int record(struct uvd *u, struct batch *b, struct request *q, const struct ulv_outcome *outcome, uint64_t now) {
        _cleanup_strbuf_ struct ulv_strbuf changes = {};
        struct store_entry e = { .time = now, .generation = outcome->generation, .id = q->id, .subject = q->subject,
                                 .reason = q->reason, .state = outcome->reaching ? "reaching" : "done", .operations = q->operations,
                                 .undo = outcome->undo ? outcome->undo : "" };
        int r;

        ulv_strbuf_add(&q->state, e.state);
        ulv_strbuf_add(&q->undo, e.undo);
        r = ulv_ledger_drain_changes(u->ledger, &changes);
        if (r < 0)
                return r;
        /* A report that told nothing new leaves no trace; a transaction always does, for its id. */
        if (q->reporter[0] && changes.len == 0)
                return 0;
        if (!b->begun) {
                r = store_begin(u->store);
                if (r < 0)
                        return r;
                b->begun = true;
        }
        e.after = ulv_strbuf_str(&changes);
        if ((r = store_apply(u->store, e.after, changes.len)) < 0 || (r = store_add(u->store, &e)) < 0)
                return r;
        ulv_strbuf_add_len(&b->out.changes, e.after, changes.len);
        return ulv_strbuf_error(&b->out.changes);
}

/* 0; < 0: the batch has failed. */
static int step(struct uvd *u, struct batch *b, struct request *q) {
        struct ulv_outcome outcome = {};
        struct ulv_txn t = {
                .id = q->id, .zone = q->zone, .subject = q->subject, .reason = q->reason, .if_generation = q->if_generation,
                .now = uvd_now(), .operations = q->operations, .operations_len = strlen(q->operations),
                .reporter = q->reporter[0] ? q->reporter : NULL,
        };
        int r;

        r = q->reporter[0] ? 0 : find_first(u, b, q);
        if (r != 0)
                return r < 0 ? r : 0;
        r = ulv_ledger_step(u->ledger, &t, &outcome, &q->diag);
        if (r != 0) {
                q->result = r > 0 ? REFUSED : ERROR;
                q->error = r;
                return 0;
        }
        q->result = DONE;
        q->generation = outcome.generation;
        r = record(u, b, q, &outcome, t.now);
        ulv_outcome_done(&outcome);
        return r;
}

static int settle_line(const char *line, size_t len, void *userdata) {
        struct uvd *u = userdata;
        const char *space = memchr(line, ' ', len);
        char state[16], id[72];

        if (!space)
                return -EBADMSG;
        (void) snprintf(state, sizeof(state), "%.*s", (int) (space - line), line);
        (void) snprintf(id, sizeof(id), "%.*s", (int) (line + len - space - 1), space + 1);
        return store_settle(u->store, id, state);
}

static int commit(struct uvd *u, struct batch *b) {
        int r;

        for (struct request *q = b->requests; q; q = q->next) {
                r = step(u, b, q);
                if (r < 0)
                        return r;
        }
        r = ulv_ledger_drain_settled(u->ledger, &b->out.settled);
        if (r < 0 || !b->begun)
                return r;
        r = ulv_op_each_line(ulv_strbuf_str(&b->out.settled), b->out.settled.len, settle_line, u);
        return r < 0 ? r : store_commit(u->store, u->history_keep);
}

/* A peer that went away meanwhile isn't our trouble: what it asked for is committed. */
static void answer(struct request *q) {
        const struct request *o = q->first ? q->first : q;

        if (!q->m) {
                if (q->result == REFUSED)
                        ulv_log(ULV_LOG_DEBUG, "own report about %s was refused: %s; %s", q->reporter, q->diag.what, q->diag.why);
                return;
        }
        if (q->result == REFUSED)
                (void) ulv_bus_reply_diag(q->m, &q->diag);
        else if (q->result == ERROR)
                (void) reply_diag_simple(q->m, ULV_EXIT_FAILED, "the ledger could not take this; nothing was changed",
                                         strerror(-q->error), "free memory on this host, then again");
        else if (q->reporter[0])
                (void) sd_bus_reply_method_return(q->m, "t", o->generation);
        else
                (void) sd_bus_reply_method_return(q->m, "utss", 0u, o->generation, ulv_strbuf_str(&o->state), ulv_strbuf_str(&o->undo));
}

static void answer_unknown(const struct request *q) {
        if (q->m)
                (void) sd_bus_reply_method_errorf(q->m, ULV_ERROR_OUTCOME_UNKNOWN, "%s\n%s\n%s",
                                                  "whether this was recorded is not known",
                                                  "writing the ledger's log failed, and uvd starts anew from what is on the disk",
                                                  "ask for the transaction by its id");
}

static void say_failed(struct uvd *u, int r) {
        const char *text = store_error_text(u->store);

        ulv_event(ULV_EVENT_LEDGER, ULV_LOG_ERR, NULL, "cannot write the ledger's log in %s: %s (%s)", u->state_dir, text, strerror(-r));
        ulv_log(ULV_LOG_ERR, "changes of this moment were answered \"outcome unknown\"; partitions run on, nothing acknowledged is lost");
        ulv_log(ULV_LOG_ERR, "try: df %s; uvd reads the log again at its next start", u->state_dir);
}

bool transact_run(struct uvd *u) {
        struct batch b = { .requests = ulv_steal(u->first) };
        struct request *next;
        int r;

        u->last = &u->first;
        u->n_requests = 0;
        r = commit(u, &b);
        if (r < 0) {
                say_failed(u, r);
                store_rollback(u->store);
        }
        b.out.generation = ulv_ledger_generation(u->ledger);
        for (struct request *q = b.requests; q; q = q->next) {
                if (r < 0)
                        answer_unknown(q);
                else
                        answer(q);
        }
        if (r >= 0)
                publish_commit(u, &b.out);
        for (struct request *q = b.requests; q; q = next) {
                next = q->next;
                request_free(q);
        }
        ulv_strbuf_done(&b.out.changes);
        ulv_strbuf_done(&b.out.settled);
        return r >= 0;
}

void transact_done(struct uvd *u) {
        struct request *next;

        for (struct request *q = u->first; q; q = next) {
                next = q->next;
                request_free(q);
        }
        u->first = NULL;
        u->last = &u->first;
        u->n_requests = 0;
        u->commit = sd_event_source_disable_unref(u->commit);
}
