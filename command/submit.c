/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Submitting: one transaction is under way at a time, so that each is planned on the state that the last
 * one made. It is planned here, at the last moment, and submitted under the condition that the ledger is
 * still the one that was planned on; if not (a monitor reported meanwhile), it is planned anew, at most
 * JOB_TRIES_MAX times. If uvd goes away before it answers, the transaction is asked for by its id when uvd
 * is back: committed, or never heard of and then submitted again. */

#include "command/job.h"

#include <stdio.h>
#include <sys/random.h>

#include "lib/log.h"
#include "lib/protocol.h"

#define PATIENCE 5000000u       /* us that work waits for uvd to come back, */
#define GRACE 1000000u          /* and what is asked for later than that: it may just have been started again */
#define TICK 20000u             /* us until a plan is tried again though no change was seen */

static int on_tick(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct manager *m = userdata;

        if (m->jobs->queue)
                m->jobs->queue->planned = 0;
        jobs_kick(m);
        return 0;
}

int submit_start(struct manager *m) {
        int r = sd_event_add_time_relative(m->role.event, &m->jobs->timer, CLOCK_MONOTONIC, 0, 1000, on_tick, m);

        return r < 0 ? r : sd_event_source_set_enabled(m->jobs->timer, SD_EVENT_OFF);
}

static void tick(struct manager *m) {
        (void) sd_event_source_set_time_relative(m->jobs->timer, TICK);
        (void) sd_event_source_set_enabled(m->jobs->timer, SD_EVENT_ONESHOT);
}

void submit_queue(struct manager *m, struct item *i, bool first) {
        struct jobs *s = m->jobs;

        i->state = ITEM_QUEUED;
        i->queued_at = manager_now(m, CLOCK_MONOTONIC);
        i->queue_next = first ? s->queue : NULL;
        if (first)
                s->queue = i;
        else if (s->queue_end)
                s->queue_end->queue_next = i;
        else
                s->queue = i;
        if (!first || !i->queue_next)
                s->queue_end = i;
}

static struct item *take_first(struct jobs *s) {
        struct item *i = s->queue;

        s->queue = i->queue_next;
        if (!s->queue)
                s->queue_end = NULL;
        i->queue_next = NULL;
        return i;
}

/* --- ends --------------------------------------------------------------------------------------------- */

static void end_errno(struct item *i, int r) {
        struct ulv_diag d;

        ulv_diag_what(&d, ULV_EXIT_FAILED, "cannot %s %s", i->job->verb, i->name);
        ulv_diag_why(&d, "%s", strerror(-r));
        item_end(i, ITEM_FAILED, &d);
}

/* A monitor's result: "exit:1", "signal:9", "unknown", or words, which may begin with our first line. */
static void start_result(struct ulv_diag *d, const char *result) {
        size_t n = strlen(d->what);

        if (ulv_startswith(result, "exit:"))
                ulv_diag_why(d, "it ended with status %s before it was up", result + strlen("exit:"));
        else if (ulv_startswith(result, "signal:"))
                ulv_diag_why(d, "it was killed by signal %s before it was up", result + strlen("signal:"));
        else if (ulv_streq(result, "unknown"))
                ulv_diag_why(d, "it ended before it was up, and how isn't known");
        else if (ulv_startswith(result, d->what) && ulv_startswith(result + n, ": "))
                ulv_diag_why(d, "%s", result + n + 2);
        else
                ulv_diag_why(d, "%s", result[0] ? result : "it was stopped before it was up");
}

#define NO_IMAGE "there is no image "  /* plugins/lxc/image.c */

static bool names_key(const char *result) {
        size_t n = strspn(result, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

        return n > 0 && result[n] == '=';
}

/* What couldn't be attached, detached or taken away: its monitor said why, and what helps. */
static bool refusal_reason(struct manager *m, const struct item *i, struct ulv_diag *d) {
        enum ulv_request_verb verb = i->request.verb;
        struct ulv_partition_info p;
        const char *end;

        if ((verb != ULV_REQUEST_ATTACH && verb != ULV_REQUEST_DETACH && verb != ULV_REQUEST_SET && verb != ULV_REQUEST_MOVE) ||
            ulv_ledger_partition(m->ledger, i->name, &p) != 0 || !p.result[0])
                return false;
        end = p.result + strcspn(p.result, "\n");
        if (verb == ULV_REQUEST_ATTACH || verb == ULV_REQUEST_DETACH)
                ulv_diag_what(d, ULV_EXIT_CONFLICT, verb == ULV_REQUEST_ATTACH ? "cannot attach %s to %s" : "cannot detach %s from %s", i->other, i->name);
        else
                ulv_diag_what(d, ULV_EXIT_FAILED, verb == ULV_REQUEST_SET ? "cannot set %s" : "cannot move that from %s", i->name);
        ulv_diag_why(d, "%.*s", (int) (end - p.result), p.result);
        ulv_diag_try(d, *end ? "%s" : "uvctl status %s", *end ? end + 1 : i->name);
        return true;
}

/* The transaction was taken back: why, as far as the ledger tells. */
static void end_undone(struct manager *m, struct item *i) {
        struct ulv_partition_info p;
        struct ulv_diag d;

        ulv_diag_what(&d, ULV_EXIT_FAILED, "cannot %s %s", i->job->verb, i->name[0] ? i->name : "this");
        if (i->request.verb == ULV_REQUEST_START && ulv_ledger_partition(m->ledger, i->name, &p) == 0) {
                start_result(&d, p.result);
                /* "Root=/srv/x: No such file ...": nothing has run that could have written a log. */
                if (ulv_startswith(p.result, NO_IMAGE))         /* "there is no image NAME: ..." */
                        ulv_diag_try(&d, "uvctl image build %.*s, or: uvctl image import", (int) strcspn(p.result + strlen(NO_IMAGE), ":\n"), p.result + strlen(NO_IMAGE));
                else
                        ulv_diag_try(&d, names_key(p.result) ? "uvctl edit %s, or make it so, then again" : "uvctl logs %s", i->name);
        } else if (refusal_reason(m, i, &d)) {
                ;
        } else {
                ulv_diag_why(&d, "a partition could not let go of what was to be taken; all of that is as before");
                ulv_diag_try(&d, "uvctl status %s", i->other[0] ? i->other : i->name);
        }
        item_end(i, ITEM_UNDONE, &d);
}

static void end_settled(struct manager *m, struct item *i, bool undone) {
        if (undone)
                end_undone(m, i);
        else
                item_end(i, ITEM_DONE, NULL);
}

/* uvd has it: state is "done", "reaching" or "undone". */
static void accepted(struct manager *m, struct item *i, uint64_t generation, const char *state, const char *undo) {
        i->undoable = undo[0];
        job_answer(i->job);
        i->state = ITEM_REACHING;
        if (ulv_streq(state, "done"))
                mirror_settle_at(m, generation, i->txn);        /* shows in the mirror before it is told */
        else if (ulv_streq(state, "undone"))
                end_undone(m, i);
        else if (i->settled)
                end_settled(m, i, i->settled_undone);
}

/* --- submission --------------------------------------------------------------------------------------- */

static void retry(struct manager *m, struct item *i) {
        i->tries++;
        i->txn[0] = 0;
        i->settled = false;
        submit_queue(m, i, true);
}

/* Is this an answer of uvd's, or did the connection end, or the time, or the commit in the middle? */
static bool is_answer(const sd_bus_error *e) {
        return ulv_startswith(e->name, ULV_ERROR_PREFIX) && !ulv_streq(e->name, ULV_ERROR_OUTCOME_UNKNOWN);
}

static void refused(struct manager *m, struct item *i, const sd_bus_error *e) {
        struct ulv_diag d;

        if (!is_answer(e)) {
                i->state = ITEM_UNKNOWN;
                if (m->fresh)   /* else jobs_resume() does it */
                        submit_resolve(m, i);
                return;
        }
        ulv_bus_error_to_diag(e, 0, &d);
        if (d.code == ULV_EXIT_CONFLICT && !i->operations && i->job->if_generation == 0 && i->tries < JOB_TRIES_MAX) {
                retry(m, i);
                return;
        }
        i->txn[0] = 0;          /* it never was one */
        item_end(i, ITEM_FAILED, &d);
}

static int on_submitted(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct item *i = userdata;
        struct manager *m = i->job->m;
        const char *state, *undo;
        uint64_t generation;
        uint32_t result;

        m->jobs->in_flight = NULL;
        i->job->busy--;
        if (sd_bus_message_is_method_error(reply, NULL))
                refused(m, i, sd_bus_message_get_error(reply));
        else if (sd_bus_message_read(reply, "utss", &result, &generation, &state, &undo) < 0) {
                i->state = ITEM_UNKNOWN;
                mirror_reload(m);       /* something odd: resolved with the rest when that is done */
        } else
                accepted(m, i, generation, state, undo);
        jobs_kick(m);
        return 0;
}

/* "4712-k3x7ab": the generation that it would make, for people, and enough chance never to meet again. */
int submit_new_id(const struct manager *m, char ret[static 65]) {
        static const char digits[] = "abcdefghijkmnpqrstuvwxyz23456789";
        uint8_t random[8];
        int n;

        if (getrandom(random, sizeof(random), 0) != sizeof(random))
                return -EIO;
        n = snprintf(ret, 65, "%llu-", (unsigned long long) ulv_ledger_generation(m->ledger) + 1);
        for (size_t k = 0; k < sizeof(random); k++)
                ret[n + (int) k] = digits[random[k] % 32];
        ret[n + (int) sizeof(random)] = 0;
        return 0;
}

static int submit_operations(struct manager *m, struct item *i, uint64_t if_generation, const char *operations) {
        const struct job *j = i->job;
        sd_bus_message *call = NULL;
        int r;

        /* One that was refused never was, so a promised id may be used again. */
        r = i->intent[0] ? !ulv_copy(i->txn, sizeof(i->txn), i->intent) : submit_new_id(m, i->txn);
        if (r >= 0)
                r = sd_bus_message_new_method_call(m->uvd.bus, &call, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Submit");
        if (r >= 0)
                r = sd_bus_message_append(call, "sstsss", i->txn, "default", if_generation, j->subject, j->reason, operations);
        if (r >= 0)
                r = link_call(&m->uvd, call, on_submitted, i);
        sd_bus_message_unref(call);
        if (r < 0)
                return r;
        i->state = ITEM_SUBMITTED;
        i->job->busy++;
        m->jobs->in_flight = i;
        return 0;
}

/* It couldn't be sent. If the connection just broke, the next one will take it. */
static void not_sent(struct manager *m, struct item *i, int r) {
        if (r != -ENOTCONN && r != -ECONNRESET && r != -EPIPE) {
                end_errno(i, r);
                return;
        }
        i->txn[0] = 0;
        submit_queue(m, i, true);
        i->planned = ulv_ledger_generation(m->ledger);  /* not at once */
}

static void join(struct item *i, const char *txn) {
        (void) snprintf(i->txn, sizeof(i->txn), "%s", txn);
        i->joined = true;
        i->state = ITEM_REACHING;
        job_answer(i->job);
}

/* There is nothing to submit. If what was asked for is under way already (somebody else's start, or our own that was asked for again), it ends
 * with that one's transaction; else it is as it was asked for. */
static void nothing_to_do(struct manager *m, struct item *i) {
        bool starts = i->request.verb == ULV_REQUEST_START, stops = i->request.verb == ULV_REQUEST_STOP;
        bool sets = i->request.verb == ULV_REQUEST_SET;
        bool pauses = i->request.verb == ULV_REQUEST_PAUSE, resumes = i->request.verb == ULV_REQUEST_RESUME;
        struct ulv_partition_info p;

        if ((pauses || resumes) && ulv_ledger_partition(m->ledger, i->name, &p) == 0 && p.txn[0] && p.state != p.wanted)
                join(i, p.txn);
        else if ((starts || stops || sets) && ulv_ledger_partition(m->ledger, i->name, &p) == 0 && p.txn[0] &&
            (sets || p.state == (starts ? ULV_STARTING : ULV_STOPPING)))
                join(i, p.txn);
        else
                item_end(i, ITEM_DONE, NULL);
}

static void submit(struct manager *m, struct item *i) {
        const struct job *j = i->job;
        struct ulv_plan *plan = NULL;
        int r;

        if (i->operations) {
                r = submit_operations(m, i, j->if_generation, i->operations);
                if (r < 0)
                        not_sent(m, i, r);
                return;
        }
        r = manager_plan(m, m->ledger, j->candidate ? j->candidate : m->bundle, &i->request, &plan);
        if (r < 0)
                end_errno(i, r);
        else if (r > 0)
                item_end(i, ITEM_FAILED, &plan->reasons[0]);
        else if (plan->operations.len == 0)
                nothing_to_do(m, i);
        else {
                i->planned = plan->generation;
                r = submit_operations(m, i, j->if_generation ? j->if_generation : plan->generation, ulv_strbuf_str(&plan->operations));
                if (r < 0)
                        not_sent(m, i, r);
        }
        ulv_plan_free(plan);
}

/* --- uvd away ----------------------------------------------------------------------------------------- */

static struct item *find_item(struct manager *m, bool (*f)(const struct item *i, const void *arg), const void *arg) {
        for (struct job *j = m->jobs->first; j; j = j->next)
                for (size_t k = 0; !j->state && k < j->n_items; k++)
                        if (f(&j->items[k], arg))
                                return &j->items[k];
        return NULL;
}

static bool waits_for_uvd(const struct item *i, ULV_UNUSED const void *arg) {
        return i->state == ITEM_UNKNOWN || i->state == ITEM_REACHING;
}

static void give_up(struct manager *m) {
        struct ulv_diag d;
        struct item *i;

        while (m->jobs->queue) {
                i = take_first(m->jobs);
                ulv_diag_what(&d, ULV_EXIT_UNREACHABLE, "cannot %s %s", i->job->verb, i->name);
                ulv_diag_why(&d, "uvd, which keeps the ledger, isn't there; partitions run on, nothing was changed");
                ulv_diag_try(&d, "again when 'uvctl list' no longer says stale");
                item_end(i, ITEM_FAILED, &d);
        }
        while ((i = find_item(m, waits_for_uvd, NULL))) {
                if (i->state == ITEM_UNKNOWN) {
                        ulv_diag_what(&d, ULV_EXIT_UNREACHABLE, "the outcome of transaction %s is unknown", i->txn);
                        ulv_diag_why(&d, "uvd went away before it answered, and isn't back");
                } else {
                        ulv_diag_what(&d, ULV_EXIT_UNREACHABLE, "transaction %s is recorded, and its end isn't seen", i->txn);
                        ulv_diag_why(&d, "uvd, which would record it, isn't there; it is finished when uvd is back");
                }
                ulv_diag_try(&d, "uvctl history, when it is back");
                i->unsure = true;
                item_end(i, ITEM_FAILED, &d);
        }
}

static int on_resolved(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct item *i = userdata;
        struct manager *m = i->job->m;
        const char *state, *undo;
        uint64_t generation;

        i->job->busy--;
        if (i->state != ITEM_UNKNOWN && i->state != ITEM_REACHING)
                return 0;       /* told by other means meanwhile */
        if (sd_bus_message_is_method_error(reply, ULV_ERROR_NOT_FOUND)) {
                if (i->state == ITEM_UNKNOWN && i->tries < JOB_TRIES_MAX)
                        retry(m, i);
                else
                        end_errno(i, -ENODATA);
        } else if (!sd_bus_message_is_method_error(reply, NULL) && sd_bus_message_read(reply, "sts", &state, &generation, &undo) >= 0) {
                if (i->state == ITEM_UNKNOWN || !ulv_streq(state, "reaching"))
                        accepted(m, i, ULV_MIN(generation, ulv_ledger_generation(m->ledger)), state, undo);
        }                       /* else the connection ended again: the next one asks again */
        jobs_kick(m);
        return 0;
}

/* Asks for a transaction by its id. */
void submit_resolve(struct manager *m, struct item *i) {
        sd_bus_message *call = NULL;
        int r = -ENOTCONN;

        if (m->uvd.bus && (r = sd_bus_message_new_method_call(m->uvd.bus, &call, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Transaction")) >= 0 &&
            (r = sd_bus_message_append(call, "s", i->txn)) >= 0)
                r = link_call(&m->uvd, call, on_resolved, i);
        sd_bus_message_unref(call);
        if (r >= 0)
                i->job->busy++;
        else if (r == -ENOMEM)  /* else the connection broke again: the next one asks */
                (void) ulv_log_errno(r, "cannot ask for transaction %s", i->txn);
}

void jobs_resume(struct manager *m) {
        for (struct job *j = m->jobs->first; j; j = j->next)
                for (size_t k = 0; !j->state && k < j->n_items; k++)
                        if (j->items[k].state == ITEM_UNKNOWN || j->items[k].state == ITEM_REACHING)
                                submit_resolve(m, &j->items[k]);
        unsettled_review(m);
        jobs_kick(m);
}

/* --- going on ----------------------------------------------------------------------------------------- */

static bool patience_is_over(const struct manager *m) {
        uint64_t now = manager_now(m, CLOCK_MONOTONIC);

        return now - m->lost_at > PATIENCE && (!m->jobs->queue || now - m->jobs->queue->queued_at > GRACE);
}

void jobs_kick(struct manager *m) {
        struct jobs *s = m->jobs;

        if (!m->fresh) {
                if (s->queue || find_item(m, waits_for_uvd, NULL)) {
                        if (patience_is_over(m))
                                give_up(m);
                        else
                                tick(m);
                }
                return;
        }
        while (s->queue && !s->in_flight && m->fresh) {
                struct item *i = s->queue;

                /* In conflict with a state that the mirror doesn't have yet: it comes with the next change. */
                if (i->planned != 0 && i->planned == ulv_ledger_generation(m->ledger)) {
                        tick(m);
                        return;
                }
                submit(m, take_first(s));
        }
}

struct settled { const char *id; size_t len; };

static bool has_txn(const struct item *i, const void *arg) {
        const struct settled *s = arg;

        return (i->state == ITEM_SUBMITTED || i->state == ITEM_REACHING || i->state == ITEM_UNKNOWN) && !i->settled &&
               strncmp(i->txn, s->id, s->len) == 0 && i->txn[s->len] == 0;
}

static int settle_line(const char *line, size_t len, void *userdata) {
        struct manager *m = userdata;
        const char *space = memchr(line, ' ', len);
        bool undone = ulv_startswith(line, "undone ");
        struct settled s;
        struct item *i;

        if (!space)
                return 0;
        if (undone)
                m->outcomes.undone++;
        else
                m->outcomes.done++;
        s.id = space + 1;
        s.len = (size_t) (line + len - s.id);
        while ((i = find_item(m, has_txn, &s)))         /* several may have joined one transaction */
                if (i->state == ITEM_REACHING)
                        end_settled(m, i, undone);
                else {
                        i->settled = true;
                        i->settled_undone = undone;
                }
        return 0;
}

void jobs_settled(struct manager *m, const char *lines) {
        (void) ulv_op_each_line(lines, strlen(lines), settle_line, m);
        jobs_kick(m);
}
