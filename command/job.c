/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A job is what one call of a verb does: one or more transactions (items), each planned on the mirror at
 * the moment that it is submitted, each waiting for those of its job that it comes after. What the caller
 * of the verb is told, and when: a refusal as an error, while nothing has changed; else the plan and the
 * job's id as soon as uvd has taken the transaction (of several: when all of them are planned in order).
 * The end is told to whoever waits. Jobs live in memory only: should this process die, the transactions
 * go on, and the ledger tells how they ended. */

#include "command/public.h"

#include <stdio.h>
#include <sys/random.h>

#include "lib/log.h"
#include "lib/protocol.h"

struct wait {
        struct job *job;
        sd_bus_message *call;
        sd_event_source *timer;
        void *who;
        struct wait *next;
};

int jobs_start(struct manager *m) {
        uint32_t random;

        m->jobs = calloc(1, sizeof(*m->jobs));
        if (!m->jobs)
                return -ENOMEM;
        if (getrandom(&random, sizeof(random), 0) != sizeof(random))
                return -EIO;
        (void) snprintf(m->jobs->prefix, sizeof(m->jobs->prefix), "%08x", random);
        return submit_start(m);
}

static void wait_free(struct wait *w) {
        sd_bus_message_unref(w->call);
        sd_event_source_disable_unref(w->timer);
        free(w);
}

static void job_free(struct job *j) {
        struct jobs *s = j->m->jobs;
        struct manager *m = j->m;
        bool had_turn = j->turn == TURN_HAS && !j->state;

        job_object_tell(j, NEWS_REMOVED);
        if (j->previous)
                j->previous->next = j->next;
        else
                s->first = j->next;
        if (j->next)
                j->next->previous = j->previous;
        else
                s->last = j->previous;
        s->n--;
        s->n_ended -= j->state != NULL;
        for (struct wait *w = j->waits, *next; w; w = next) {
                next = w->next;
                wait_free(w);
        }
        for (size_t i = 0; i < j->n_items; i++) {
                free(j->items[i].operations);
                free(j->items[i].after);
        }
        sd_bus_message_unref(j->reply);
        sd_event_source_disable_unref(j->timer);
        ulv_strbuf_done(&j->plan);
        ulv_bundle_free(j->candidate);
        (void) ulv_close(j->given);
        (void) ulv_close(j->bundle);
        free(j->items);
        free(j->reason);
        free(j->subject);
        free(j->text);
        free(j->what);
        free(j);
        if (had_turn)
                turn_passed(m);
}

void jobs_done(struct manager *m) {
        if (!m->jobs)
                return;
        while (m->jobs->first)
                job_free(m->jobs->first);
        sd_event_source_disable_unref(m->jobs->timer);
        free(m->jobs);
        m->jobs = NULL;
}

size_t jobs_count(const struct manager *m) {
        size_t n = 0;

        for (const struct job *j = m->jobs->first; j; j = j->next)
                n += !j->state;
        return n;
}

/* Forgets the oldest that has ended. */
static bool forget_one(struct jobs *s) {
        for (struct job *j = s->first; j; j = j->next)
                if (j->state && j->busy == 0) {
                        job_free(j);
                        return true;
                }
        return false;
}

/* Who has not asked for a job's end when as many later ones have ended asks the ledger, by its transaction. */
static bool make_room(struct jobs *s) {
        while (s->n_ended > JOBS_ENDED_MAX && forget_one(s))
                ;
        return s->n < JOBS_MAX || forget_one(s);
}

static char *subject_of(uid_t uid) {
        char *subject;

        return asprintf(&subject, "uid %u", (unsigned) uid) < 0 ? NULL : subject;
}

/* How it ended, beside the line that says that it was allowed. */
static void audit_end(const struct job *j, const char *outcome, const char *why) {
        char text[320];

        if (j->q.access == ACCESS_OPEN)
                return;
        (void) snprintf(text, sizeof(text), "job %s%s%.256s", j->id, why && *why ? ": " : "", why ? why : "");
        access_audit(&j->q, j->uid, "", outcome, text);
}

struct job *job_new(struct manager *m, sd_bus_message *call, const char *verb, size_t n_items, uint32_t flags,
                    uint64_t if_generation, const char *reason) {
        struct jobs *s = m->jobs;
        struct job *j;

        if (!make_room(s)) {
                struct ulv_diag d;

                ulv_diag_what(&d, ULV_EXIT_FAILED, "%u jobs are under way, which is the most", JOBS_MAX);
                ulv_diag_try(&d, "again when some of them have ended");
                if (call)
                        (void) ulv_bus_reply_diag(call, &d);
                return NULL;
        }
        j = calloc(1, sizeof(*j));
        if (j)
                *j = (struct job) { .m = m, .verb = verb, .flags = flags, .if_generation = if_generation, .given = -1, .bundle = -1, .n_items = n_items, .files_of = "" };
        if (j && call) {
                access_question(call, &j->q);
                j->uid = public_uid(m, call);
        }
        if (!j || !(j->items = calloc(n_items + 1, sizeof(*j->items))) || !(j->reason = strdup(reason)) || !(j->subject = call ? subject_of(j->uid) : strdup("uv-command"))) {
                if (j) {
                        free(j->items);
                        free(j->reason);
                        free(j);
                }
                if (call)
                        (void) sd_bus_reply_method_errno(call, -ENOMEM, NULL);
                return NULL;
        }
        for (size_t i = 0; i < n_items; i++)
                j->items[i].job = j;
        (void) snprintf(j->id, sizeof(j->id), "%s-%llu", s->prefix, (unsigned long long) ++s->counter);
        j->reply = call ? sd_bus_message_ref(call) : NULL;
        j->previous = s->last;
        if (s->last)
                s->last->next = j;
        else
                s->first = j;
        s->last = j;
        s->n++;
        return j;
}

bool item_name(struct item *i, const char *name, const char *other) {
        struct ulv_diag d;

        i->request.name = i->name;
        i->request.other = i->other;
        /* Cut to fit, it might be the name of another one. */
        if (ulv_copy(i->name, sizeof(i->name), name) && ulv_copy(i->other, sizeof(i->other), other))
                return true;
        ulv_diag_what(&d, ULV_EXIT_NOT_FOUND, "there is nothing of the name %.70s...", strlen(name) >= sizeof(i->name) ? name : other);
        ulv_diag_why(&d, "a name has at most %u letters", ULV_NAME_MAX);
        ulv_diag_try(&d, "uvctl list");
        job_refuse(i->job, &d);
        return false;
}

struct job *job_find(struct manager *m, const char *id) {
        for (struct job *j = m->jobs->last; j; j = j->previous)
                if (ulv_streq(j->id, id))
                        return j;
        return NULL;
}

/* --- answers ------------------------------------------------------------------------------------------ */

static void answer(struct job *j, const char *id) {
        if (!j->reply)
                return;
        (void) sd_bus_reply_method_return(j->reply, "sss", id, ulv_strbuf_str(&j->plan),
                                          !*id ? "" : j->n_items > 1 ? "several" : j->n_items == 1 ? j->items[0].txn : "");
        j->reply = sd_bus_message_unref(j->reply);
}

void job_answer(struct job *j) {
        if (j->reply)
                job_object_tell(j, NEWS_ADDED);
        answer(j, j->id);
}

void job_answer_dry(struct job *j) {
        answer(j, "");
        audit_end(j, "planned", "a dry run");
        job_free(j);
}

static void add_id(struct ulv_strbuf *b, const char *id) { ulv_strbuf_addf(b, "%s%s", b->len > 0 ? " " : "", id); }

/* The transactions in their order; and the other way round those of our own that can be taken back now. */
static void wait_answer(struct wait *w) {
        _cleanup_strbuf_ struct ulv_strbuf all = { 0 }, undo = { 0 };
        const struct job *j = w->job;

        for (size_t i = 0; i < j->n_items; i++) {
                const struct item *last = &j->items[j->n_items - 1 - i];

                if (j->items[i].txn[0])
                        add_id(&all, j->items[i].txn);
                if (last->state == ITEM_DONE && last->undoable && !last->joined)
                        add_id(&undo, last->txn);
        }
        (void) sd_bus_reply_method_return(w->call, "ssss", j->state, ulv_strbuf_str(&all), j->text ? j->text : "", ulv_strbuf_str(&undo));
}

/* The last thing in a job's life that anybody hears of. */
static void finish(struct job *j, const char *state) {
        struct wait *w;

        j->state = state;
        if (j->turn == TURN_HAS)
                turn_passed(j->m);
        j->m->jobs->n_ended++;
        while ((w = j->waits)) {
                j->waits = w->next;
                wait_answer(w);
                wait_free(w);
        }
        job_object_tell(j, NEWS_CHANGED);
        public_tell_job(j->m, j->id, j->state, j->text ? j->text : "");
        ulv_bundle_free(ulv_steal(j->candidate));
        j->given = ulv_close(j->given);
        j->bundle = ulv_close(j->bundle);
}

static void conclude(struct job *j) {
        unsettled_settle(j);
        if (j->on_end)
                j->on_end(j, !j->end ? &j->refusal : ulv_streq(j->end, "done") ? NULL : &j->items[0].diag);
        if (j->end) {
                audit_end(j, j->end, ulv_streq(j->end, "done") ? "" : j->text);
                finish(j, j->end);
                return;
        }
        audit_end(j, "refused", j->refusal.what);
        if (j->reply)
                (void) ulv_bus_reply_diag(j->reply, &j->refusal);
        j->reply = sd_bus_message_unref(j->reply);
        if (j->busy > 0)        /* an answer that is still to come holds a pointer */
                finish(j, "failed");
        else
                job_free(j);
}

static int on_reverted(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct job *j = userdata;

        j->busy--;
        if (sd_bus_message_is_method_error(reply, NULL))
                ulv_log(ULV_LOG_WARNING, "the definitions keep a change of job %s: %s", j->id, sd_bus_message_get_error(reply)->message);
        conclude(j);
        return 0;
}

/* Files shall not say what the ledger refused, or took back: first they, then the end. */
static void take_back_files(struct job *j, uint64_t version) {
        struct link *l = &j->m->operations;
        sd_bus_message *call = NULL;
        int r = -ENOTCONN;

        if (l->bus && (r = sd_bus_message_new_method_call(l->bus, &call, NULL, ULV_PATH_OPERATIONS, ULV_IF_OPERATIONS, "Revert")) >= 0 &&
            (r = sd_bus_message_append(call, "ts", version, j->files_of)) >= 0)
                r = link_call(l, call, on_reverted, j);
        sd_bus_message_unref(call);
        j->installed = 0;
        if (r >= 0)
                j->busy++;
        else {
                (void) ulv_log_errno(r, "the definitions keep a change of job %s", j->id);
                conclude(j);
        }
}

void job_refuse(struct job *j, const struct ulv_diag *d) {
        j->refusal = *d;
        if (j->installed)
                take_back_files(j, j->installed);
        else
                conclude(j);
}

void job_refuse_errno(struct job *j, int r) {
        struct ulv_diag d;

        ulv_diag_what(&d, ULV_EXIT_FAILED, "cannot %s: %s", j->verb, strerror(-r));
        job_refuse(j, &d);
}

/* --- items -------------------------------------------------------------------------------------------- */

static bool ended(const struct item *i) {
        return i->state >= ITEM_DONE;
}

static bool may_go(const struct item *i) {
        for (size_t k = 0; k < i->n_after; k++)
                if (i->job->items[i->after[k]].state != ITEM_DONE)
                        return false;
        return true;
}

static const char *past(const struct job *j) {
        if (ulv_streq(j->verb, "restart"))
                return "running";
        if (ulv_streq(j->verb, "pause"))
                return "paused";
        return ulv_streq(j->verb, "resume") ? "running" : ulv_streq(j->verb, "stop") ? "stopped" : ulv_streq(j->verb, "start") ? "running" : "done";
}

static void add_end(struct ulv_strbuf *b, const struct item *i, bool first) {
        if (i->state == ITEM_DONE) {
                if (i->name[0] && !(ulv_streq(i->job->verb, "restart") && i->request.verb == ULV_REQUEST_STOP))
                        ulv_strbuf_addf(b, "%s: %s\n", i->name, past(i->job));
        } else if (first)
                ulv_strbuf_addf(b, "%s\n%s\n%s\n", i->diag.what, i->diag.why, i->diag.try_);
        else
                ulv_strbuf_addf(b, "%s: %s\n", i->diag.what, i->diag.why);
}

/* The version of the definitions that is to be taken back with this end; 0 if none. */
static uint64_t taken_back(const struct job *j, bool done, bool failed) {
        if (done)
                return 0;
        /* An apply that was taken back in part has its definitions in the ledger all the same. */
        for (size_t i = 0; i < j->n_items; i++)
                if (j->items[i].unsure)
                        return 0;       /* unsettled.c finds out, when uvd is back */
        return failed || !ulv_streq(j->verb, "apply") ? j->installed : 0;
}

/* All items have ended. */
static void job_end(struct job *j) {
        _cleanup_strbuf_ struct ulv_strbuf b = { .max = 1024 * 1024 };
        const struct item *first = NULL;
        bool failed = false;
        uint64_t version;

        for (size_t i = 0; i < j->n_items; i++)
                if (j->items[i].state != ITEM_DONE) {
                        first = first ? first : &j->items[i];
                        failed |= j->items[i].state == ITEM_FAILED;
                }
        if (first && j->reply) {
                struct ulv_diag d = first->diag;

                job_refuse(j, &d);
                return;
        }
        job_answer(j);
        if (first)
                add_end(&b, first, true);
        for (size_t i = 0; i < j->n_items; i++)
                if (&j->items[i] != first)
                        add_end(&b, &j->items[i], false);
        j->text = ulv_strbuf_steal(&b); /* NULL if there is no memory to say it */
        j->end = !first ? "done" : failed || ulv_streq(j->verb, "start") ? "failed" : "undone";
        version = taken_back(j, !first, failed);
        if (version)
                take_back_files(j, version);
        else
                conclude(j);
}

/* Ends, with i, what came after it. */
static void fail_dependants(struct job *j, size_t failed) {
        for (size_t n = 0; n < j->n_items; n++) {
                struct item *i = &j->items[n];
                bool depends = false;

                for (size_t k = 0; k < i->n_after; k++)
                        depends |= i->after[k] == failed;
                if (!depends || i->state != ITEM_WAITING)
                        continue;
                i->state = ITEM_FAILED;
                ulv_diag_what(&i->diag, ULV_EXIT_FAILED, "cannot %s %s", j->verb, i->name);
                if (ulv_streq(j->verb, "stop"))
                        ulv_diag_why(&i->diag, "%s, which comes after it, did not stop", j->items[failed].name);
                else
                        ulv_diag_why(&i->diag, "%s, which it comes after, is not running", j->items[failed].name);
                ulv_diag_try(&i->diag, "uvctl %s %s", j->verb, j->items[failed].name);
                fail_dependants(j, n);
        }
}

void item_end(struct item *i, enum item_state state, const struct ulv_diag *d) {
        struct job *j = i->job;
        bool all = true;

        i->state = state;
        if (d)
                i->diag = *d;
        if (state != ITEM_DONE)
                fail_dependants(j, (size_t) (i - j->items));
        for (size_t k = 0; k < j->n_items; k++)
                all &= ended(&j->items[k]);
        if (all)
                job_end(j);
        else if (state == ITEM_DONE)
                for (size_t k = 0; k < j->n_items; k++)
                        if (j->items[k].state == ITEM_WAITING && may_go(&j->items[k]))
                                submit_queue(j->m, &j->items[k], false);
}

void job_run(struct job *j) {
        struct manager *m = j->m;

        if (j->n_items != 1)
                job_answer(j);
        if (j->n_items == 0) {
                finish(j, "done");
                return;
        }
        for (size_t i = 0; i < j->n_items; i++)
                if (may_go(&j->items[i]))
                        submit_queue(m, &j->items[i], false);
        jobs_kick(m);   /* from here on j may be gone */
}

/* --- waiting ------------------------------------------------------------------------------------------ */

static void unlink_wait(struct wait *w) {
        struct wait **p = &w->job->waits;

        while (*p != w)
                p = &(*p)->next;
        *p = w->next;
}

static int on_timeout(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct wait *w = userdata;
        struct ulv_diag d;

        ulv_diag_what(&d, ULV_EXIT_TIMEOUT, "the %s goes on", w->job->verb);
        ulv_diag_why(&d, "the time to wait is over");
        ulv_diag_try(&d, "uvctl list");
        (void) ulv_bus_reply_diag(w->call, &d);
        unlink_wait(w);
        wait_free(w);
        return 0;
}

int job_wait(struct manager *m, sd_bus_message *call, const char *id, uint64_t timeout, void *who) {
        struct job *j = job_find(m, id);
        struct wait *w;

        if (!j) {
                struct ulv_diag d;

                ulv_diag_what(&d, ULV_EXIT_NOT_FOUND, "there is no job %.40s", id);
                ulv_diag_why(&d, "it ended long ago, or the planner was restarted since: what was submitted goes on");
                ulv_diag_try(&d, "uvctl history");
                return ulv_bus_reply_diag(call, &d);
        }
        w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        *w = (struct wait) { .job = j, .who = who, .call = sd_bus_message_ref(call) };
        if (j->state) {
                wait_answer(w);
                wait_free(w);
                return 1;
        }
        if (timeout > 0) {
                int r = sd_event_add_time_relative(m->role.event, &w->timer, CLOCK_MONOTONIC, timeout, 1000, on_timeout, w);

                if (r < 0) {
                        wait_free(w);
                        return r;
                }
        }
        w->next = j->waits;
        j->waits = w;
        return 1;
}

void jobs_forget_waits(struct manager *m, void *who) {
        for (struct job *j = m->jobs->first; j; j = j->next)
                for (struct wait *w = j->waits, *next; w; w = next) {
                        next = w->next;
                        if (w->who == who) {
                                unlink_wait(w);
                                wait_free(w);
                        }
                }
}

unsigned jobs_count_waits(const struct manager *m, const void *who) {
        unsigned n = 0;

        for (const struct job *j = m->jobs->first; j; j = j->next)
                for (const struct wait *w = j->waits; w; w = w->next)
                        n += w->who == who;
        return n;
}
