/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A change is decided at once, by one transaction, and reached over time, as the partition monitors
 * report. The first call returns when it is decided; Wait() returns when it settled. On a terminal a
 * line on standard error follows the JobChanged signals once it takes longer than two seconds.
 *
 * Jobs end with the planner's process; transactions don't. A job that is gone is followed by its
 * transaction's id in the ledger. Of a start or stop of several the rest was never asked of the ledger:
 * that is asked for again, which leaves alone what is done. */

#include "uvctl/job.h"

#include <inttypes.h>
#include <time.h>

#include "uvctl/text.h"

#define PROGRESS_USEC ((uint64_t) 2 * 1000000)
#define TRANSACTION_LOOK_USEC 50000u

struct wait {
        struct uvctl *u;
        const char *job;
        bool answered, progress;
        bool lost;                              /* the connection ended before there was an answer */
        bool forgotten;                         /* the planner doesn't know the job: it isn't the one that made it */
        int code;
        char *state, *transaction, *text, *undo;        /* owned */
        char what[128];                         /* the latest JobChanged text */
};

static uint64_t monotonic_usec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}

uint64_t job_flags(const struct uvctl *u) {
        return (given(u, OPT_DRY_RUN) ? ULV_FLAG_DRY_RUN : 0) | (given(u, OPT_FORCE) ? ULV_FLAG_FORCE : 0) |
               (given(u, OPT_PRUNE) ? ULV_FLAG_PRUNE : 0) | (given(u, OPT_RUNTIME) ? ULV_FLAG_RUNTIME : 0) |
               (given(u, OPT_EXPLAIN) ? ULV_FLAG_EXPLAIN : 0);
}

int job_call(struct uvctl *u, sd_bus_message *m, char **ret_job, struct plan *ret) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_free_ char *copy = NULL;
        const char *job, *text, *transaction;
        int r;

        r = client_send(u, m, CLIENT_TIMEOUT, &reply);
        if (r == 0)
                r = client_read(u, reply, "sss", &job, &text, &transaction);
        if (r != 0)
                return r;
        copy = strdup(job);
        if (!copy || plan_parse(text, ret) < 0)
                return fail_errno(u, -ENOMEM, "read the plan");
        ret->transaction = strdup(transaction);
        if (!ret->transaction) {
                plan_done(ret);
                return fail_errno(u, -ENOMEM, "read the plan");
        }
        *ret_job = ulv_steal(copy);
        return 0;
}

/* The limit of --wait is over; the transaction isn't. */
static int late(struct uvctl *u, const char *what) {
        ulv_diag_what(&u->diag, ULV_EXIT_TIMEOUT, "%.64s is decided, but not reached yet", what);
        ulv_diag_why(&u->diag, "--wait is over; the change goes on");
        ulv_diag_try(&u->diag, "uvctl list, or uvctl history");
        return ULV_EXIT_TIMEOUT;
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *unused ULV_UNUSED) {
        struct wait *w = userdata;
        const char *state, *transaction, *text, *undo;

        w->answered = true;
        if (sd_bus_message_is_method_error(m, NULL)) {
                w->lost = client_lost(w->u, -sd_bus_message_get_errno(m));
                w->forgotten = sd_bus_message_is_method_error(m, ULV_ERROR_NOT_FOUND);
                w->code = client_error(w->u, sd_bus_message_get_error(m), -sd_bus_message_get_errno(m));
                if (w->code == ULV_EXIT_TIMEOUT)
                        w->code = late(w->u, w->job);
                return 0;
        }
        w->code = client_read(w->u, m, "ssss", &state, &transaction, &text, &undo);
        if (w->code != 0)
                return 0;
        w->state = strdup(state);
        w->transaction = strdup(transaction);
        w->text = strdup(text);
        w->undo = strdup(undo);
        if (!w->state || !w->transaction || !w->text || !w->undo)
                w->code = fail_errno(w->u, -ENOMEM, "read the outcome");
        return 0;
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *unused ULV_UNUSED) {
        struct wait *w = userdata;
        const char *job, *state, *text;

        if (sd_bus_message_read(m, "sss", &job, &state, &text) > 0 && ulv_streq(job, w->job))
                (void) snprintf(w->what, sizeof(w->what), "%s", *text ? text : state);
        return 0;
}

static void show_progress(struct wait *w, uint64_t begin) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        uint64_t elapsed = monotonic_usec() - begin;

        if (!w->u->tty_err || w->u->quiet || elapsed < PROGRESS_USEC)
                return;
        w->progress = true;
        text_safe(&b, w->what, strcspn(w->what, "\n"), false);
        fprintf(stderr, "\r\033[Kwaiting: %s (%" PRIu64 "s)", w->what[0] ? ulv_strbuf_str(&b) : w->job, elapsed / 1000000);
        fflush(stderr);
}

static int process(struct wait *w, uint64_t begin) {
        int r;

        while (!w->answered) {
                r = sd_bus_process(w->u->bus, NULL);
                if (r > 0)
                        continue;
                if (r == 0)
                        r = sd_bus_wait(w->u->bus, 1000000);
                if (r < 0 && r != -EINTR) {
                        w->lost = client_lost(w->u, r);
                        return client_error(w->u, NULL, r);
                }
                show_progress(w, begin);
        }
        return w->code;
}

/* Waits for the job's end. The time-out is the planner's to keep; ours is a second more. */
static int wait_once(struct uvctl *u, struct wait *w) {
        _cleanup_message_ sd_bus_message *m = NULL;
        ULV_CLEANUP(sd_bus_slot_unrefp) sd_bus_slot *call = NULL, *match = NULL;
        bool limited = u->wait_usec != UINT64_MAX;
        int r;

        r = client_new(u, "Wait", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "st", w->job, limited ? ULV_MAX(u->wait_usec, UINT64_C(1)) : UINT64_C(0));
        if (r >= 0 && u->tty_err)
                r = sd_bus_match_signal(u->bus, &match, u->service, ULV_PATH, ULV_IF_MANAGER, "JobChanged", on_changed, w);
        if (r >= 0)
                r = sd_bus_call_async(u->bus, &call, m, on_answer, w, limited ? u->wait_usec + 1000000 : UINT64_MAX);
        if (r < 0)
                return fail_errno(u, r, "wait");
        r = process(w, monotonic_usec());
        if (w->progress)
                fputs("\r\033[K", stderr);
        return r;
}

static int wait_for(struct uvctl *u, struct wait *w) {
        for (unsigned tries = 0;; tries++) {
                int r = wait_once(u, w);

                if (r == 0 || !w->lost || tries >= 20)
                        return r;
                r = client_reconnect(u);
                if (r != 0)
                        return r;
                w->answered = w->lost = false;
        }
}

/* Follows a transaction whose job is gone: the ledger knows how it ends. */
static int wait_for_transaction(struct uvctl *u, struct wait *w, const char *id) {
        uint64_t begin = monotonic_usec();

        u->diag = (struct ulv_diag) { 0 };
        for (;;) {
                _cleanup_message_ sd_bus_message *m = NULL;
                const char *state, *undo;
                uint64_t generation;
                int r;

                r = client_call(u, &m, "Transaction", "s", id);
                if (r == 0)
                        r = client_read(u, m, "sts", &state, &generation, &undo);
                if (r != 0)
                        return r;
                if (!ulv_streq(state, "reaching") || (u->wait_usec != UINT64_MAX && monotonic_usec() - begin > u->wait_usec)) {
                        w->state = strdup(state);
                        w->transaction = strdup(id);
                        w->text = strdup(ulv_streq(state, "undone") ? "it was decided, and taken back\n" : "");
                        w->undo = strdup(ulv_streq(state, "done") && *undo ? id : "");
                        return !w->state || !w->transaction || !w->text || !w->undo ? fail_errno(u, -ENOMEM, "read the outcome") : 0;
                }
                (void) usleep(TRANSACTION_LOOK_USEC);
        }
}

static int outcome_unknown(struct uvctl *u) {
        return fail(u, ULV_EXIT_UNREACHABLE, "what became of it isn't known",
                    "the planner was killed before all of it was decided", "uvctl list, and uvctl history; then again");
}

static void wait_done(struct wait *w) {
        free(w->state);
        free(w->transaction);
        free(w->text);
        free(w->undo);
}

/* Of several, the first that failed is the diagnosis, told last; before it, a line for each of the others. */
static void tell_others(const struct uvctl *u, const struct wait *w) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        const char *rest = w->text;

        for (unsigned i = 0; i < 3 && *rest; i++) {
                rest += strcspn(rest, "\n");
                rest += *rest == '\n';
        }
        text_safe(&b, rest, strlen(rest), true);
        if (*w->undo && !u->quiet)
                ulv_strbuf_addf(&b, "what was done goes back with: uvctl undo %s\n", w->undo);
        fputs(ulv_strbuf_str(&b), stderr);
}

/* "what\nwhy\ntry" of a job that did not come about. */
static int not_done(struct uvctl *u, const struct wait *w) {
        char text[1024], *rest = text, *part;

        if (ulv_streq(w->state, "reaching") || ulv_streq(w->state, "running"))
                return late(u, *w->transaction ? w->transaction : w->job);
        if (u->output != OUTPUT_JSON)
                tell_others(u, w);
        (void) snprintf(text, sizeof(text), "%s", w->text);
        part = strsep(&rest, "\n");
        ulv_diag_what(&u->diag, ULV_EXIT_FAILED, "%.200s", part && *part ? part : "it failed, and was taken back");
        part = strsep(&rest, "\n");
        ulv_diag_why(&u->diag, "%s", part ? part : "");
        part = strsep(&rest, "\n");
        if (part && *part)
                ulv_diag_try(&u->diag, "%.200s", part);
        else
                ulv_diag_try(&u->diag, "uvctl history");
        return ULV_EXIT_FAILED;
}

static void json_outcome(const struct uvctl *u, struct json *j, const char *job, const struct plan *p, const struct wait *w) {
        json_object(j, NULL);
        json_string(j, "Job", job);
        json_string(j, "State", w && w->state ? w->state : *job && !given(u, OPT_DRY_RUN) ? "decided" : "planned");
        json_string(j, "Transaction", w && w->transaction ? w->transaction : "");
        json_string(j, "Text", w && w->text ? w->text : "");
        json_array(j, "Plan");
        for (size_t i = 0; i < p->n_lines; i++) {
                json_object(j, NULL);
                json_string(j, "Name", p->lines[i].name);
                json_string(j, "Action", p->lines[i].action);
                json_string(j, "Text", p->lines[i].text);
                json_string(j, "Note", p->lines[i].note);
                json_end(j);
        }
        json_end(j);
        json_string(j, "Summary", p->summary);
        json_string(j, "Explanation", p->explanation);
        json_end(j);
}

static int put_json(struct uvctl *u, const char *job, const struct plan *p, const struct wait *w) {
        struct json j = { 0 };
        int r;

        json_outcome(u, &j, job, p, w);
        r = put(u, &j.b);
        ulv_strbuf_done(&j.b);
        return r;
}

static int tell_done(struct uvctl *u, const struct wait *w, uint64_t usec) {
        if (u->quiet)
                return 0;
        printf("done in %" PRIu64 ".%02us", usec / 1000000, (unsigned) (usec / 10000 % 100));
        if (*w->undo)
                printf("; back with: uvctl undo %s", w->undo);
        putchar('\n');
        return 0;
}

static bool is_transaction(const char *s) { return *s && !ulv_streq(s, "several"); }

static int job_finish(struct uvctl *u, const char *job, const struct plan *p) {
        struct wait w = { .u = u, .job = job };
        uint64_t begin = monotonic_usec();
        int r = 0;

        if (!*job || given(u, OPT_NO_BLOCK) || given(u, OPT_DRY_RUN)) {
                if (u->output == OUTPUT_JSON)
                        return put_json(u, job, p, NULL);
                if (*job && !u->quiet && !given(u, OPT_DRY_RUN))
                        printf("decided, not waited for: job %s\n", job);
                return 0;
        }
        r = wait_for(u, &w);
        if (w.forgotten && is_transaction(p->transaction))
                r = wait_for_transaction(u, &w, p->transaction);
        else if (w.forgotten && ulv_streq(p->transaction, "several"))
                r = JOB_AGAIN;
        else if (w.forgotten)
                r = outcome_unknown(u);
        if (r == 0 && u->output == OUTPUT_JSON)
                r = put_json(u, job, p, &w);
        if (r == 0 && !ulv_streq(w.state, "done"))
                r = not_done(u, &w);
        else if (r == 0 && u->output != OUTPUT_JSON)
                r = tell_done(u, &w, monotonic_usec() - begin);
        wait_done(&w);
        return r;
}

int job_show_and_finish(struct uvctl *u, const char *job, struct plan *p, bool show) {
        int r = 0;

        if (show && u->output != OUTPUT_JSON && (!u->quiet || given(u, OPT_DRY_RUN)))
                r = plan_show(u, p);
        if (r == 0)
                r = job_finish(u, job, p);
        plan_done(p);
        return r;
}

static int run_once(struct uvctl *u, sd_bus_message *m, bool show) {
        _cleanup_free_ char *job = NULL;
        struct plan p = { 0 };
        int r;

        r = job_call(u, m, &job, &p);
        return r != 0 ? r : job_show_and_finish(u, job, &p, show);
}

int job_run(struct uvctl *u, sd_bus_message *m) {
        int r = run_once(u, m, true);

        for (unsigned tries = 0; r == JOB_AGAIN && tries < 20; tries++) {
                _cleanup_message_ sd_bus_message *again = NULL;

                u->diag = (struct ulv_diag) { 0 };
                r = client_again(u, m, &again);
                if (r == 0)
                        r = run_once(u, again, false);
        }
        return r == JOB_AGAIN ? outcome_unknown(u) : r;
}
