/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Verbs that change the ledger only. Each: authorise, read the call, plan, and go. */


#include "command/change.h"
#include "command/public.h"
#include "command/rows.h"
#include "lib/protocol.h"

/* --- start, stop -------------------------------------------------------------------------------------- */

static int find_item(const struct job *j, const char *name) {
        for (size_t i = 0; i < j->n_items; i++)
                if (ulv_streq(j->items[i].name, name))
                        return (int) i;
        return -1;
}

static int add_after(struct item *i, size_t other) {
        size_t *bigger = realloc(i->after, (i->n_after + 1) * sizeof(*bigger));

        if (!bigger)
                return -ENOMEM;
        i->after = bigger;
        i->after[i->n_after++] = other;
        return 0;
}

/* Start: an item waits for those that its definition comes after. Stop: those wait for it. */
static int add_order(struct job *j, bool stop) {
        for (size_t n = 0; n < j->n_items; n++) {
                const struct ulv_definition *d = ulv_bundle_definition(j->m->bundle, j->items[n].name);

                for (size_t k = 0; d && k < d->n_after; k++) {
                        int other = find_item(j, d->after[k]), r;

                        if (other < 0 || (size_t) other == n)
                                continue;
                        r = stop ? add_after(&j->items[other], n) : add_after(&j->items[n], (size_t) other);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static void run_names(struct manager *m, sd_bus_message *call, const char *const *names, size_t n, enum ulv_request_verb verb,
                      uint32_t flags, uint64_t if_generation, const char *reason) {
        struct job *j = job_new(m, call, ulv_request_verb_name(verb), n, flags, if_generation, reason);
        bool stop = verb == ULV_REQUEST_STOP;
        int r;

        if (!j)
                return;
        for (size_t i = 0; i < n; i++) {
                /* Stopping turns the order round, so that what comes first is first in the plan too. */
                if (!item_name(&j->items[i], names[stop ? n - 1 - i : i], ""))
                        return;
                j->items[i].request.verb = verb;
                j->items[i].request.force = stop && (flags & ULV_FLAG_FORCE);
        }
        r = n > 1 && (stop || verb == ULV_REQUEST_START) ? add_order(j, stop) : 0;
        if (r < 0)
                job_refuse_errno(j, r);
        else if (change_plan(j))
                job_run(j);
}

struct live { const char **names; size_t n; };

static int add_live(const struct ulv_partition_info *p, void *userdata) {
        struct live *l = userdata;

        if (ulv_state_is_live(p->state) && !ulv_streq(p->role, "infrastructure") && l->n < NAMES_MAX)
                l->names[l->n++] = p->name;
        return 0;
}

static int by_name(const void *a, const void *b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* Names that are to be stopped, in start order where they have one. Whether they are there is the
 * planner's to say: what runs can be stopped though its definition is gone. */
static int stop_names(struct manager *m, const char **given, size_t n_given, const char ***ret, size_t *ret_n) {
        const char **v = calloc(NAMES_MAX + n_given + 1, sizeof(*v)), **ordered = NULL;
        struct live live = { .names = v };
        size_t n = 0, n_ordered = 0;

        if (!v)
                return -ENOMEM;
        if (n_given == 0)
                (void) ulv_ledger_each_partition(m->ledger, add_live, &live);
        else {
                memcpy(v, given, n_given * sizeof(*v));
                live.n = n_given;
                qsort(v, live.n, sizeof(*v), by_name);
                for (size_t i = 0; i < live.n; i++)     /* a name given twice is one stop */
                        if (i == 0 || !ulv_streq(v[i], v[n - 1]))
                                v[n++] = v[i];
                live.n = n;
        }
        if (live.n > 1 && ulv_plan_order(m->bundle, v, live.n, false, &ordered, &n_ordered, NULL) == 0 && n_ordered == live.n)
                memcpy(v, ordered, n_ordered * sizeof(*v));
        free(ordered);
        *ret = v;
        *ret_n = live.n;
        return 0;
}

static void run_verb(struct manager *m, sd_bus_message *call, const char **given, size_t n_given, enum ulv_request_verb verb, uint32_t flags,
                     uint64_t if_generation, const char *reason) {
        _cleanup_free_ const char **names = NULL;
        struct ulv_diag d = { 0 };
        size_t n = 0;
        int r;

        /* What runs may have no definition any more, and can be stopped or paused all the same. */
        if (verb != ULV_REQUEST_START)
                r = stop_names(m, given, n_given, &names, &n);
        else
                r = ulv_plan_order(m->bundle, given, n_given, n_given == 0, &names, &n, &d);
        if (r > 0)
                (void) ulv_bus_reply_diag(call, &d);
        else if (r < 0)
                (void) public_reply_errno(call, r);
        else
                run_names(m, call, names, n, verb, flags, if_generation, reason);
}

static int read_and_run(sd_bus_message *call, struct public_peer *pp, enum ulv_request_verb verb) {
        _cleanup_free_ const char **given = NULL;
        uint64_t if_generation;
        const char *reason;
        size_t n_given;
        uint32_t flags;
        int r;

        if (!public_has(pp->m, call, true))
                return 1;
        r = public_read_names(call, &given, &n_given);
        if (r == 0)
                r = sd_bus_message_read(call, "uts", &flags, &if_generation, &reason);
        else if (r > 0)
                return 1;
        if (r >= 0 && !public_too_long(call, reason))
                run_verb(pp->m, call, given, n_given, verb, flags, if_generation, reason);
        return r < 0 ? r : 1;
}

int method_start(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return read_and_run(call, userdata, ULV_REQUEST_START);
}

int method_stop(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return read_and_run(call, userdata, ULV_REQUEST_STOP);
}

int method_pause(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return read_and_run(call, userdata, ULV_REQUEST_PAUSE);
}

int method_resume(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return read_and_run(call, userdata, ULV_REQUEST_RESUME);
}

/* --- restart ------------------------------------------------------------------------------------------ */

/* A stop of each, then a start of each: item n + i starts names[i]. Each comes after the one before it:
 * simple, and After= holds both ways; and what one gives back another may get. 1: refused already. */
static int restart_items(struct job *j, const char *const *names, size_t n) {
        int r = 0;

        for (size_t i = 0; i < n; i++)
                if (!item_name(&j->items[i], names[n - 1 - i], ""))
                        return 1;
        for (size_t i = 0; i < n; i++)
                if (!item_name(&j->items[n + i], names[i], ""))
                        return 1;
        for (size_t i = 0; i < n * 2 && r >= 0; i++) {
                j->items[i].request.verb = i < n ? ULV_REQUEST_STOP : ULV_REQUEST_START;
                j->items[i].request.force = i < n && (j->flags & ULV_FLAG_FORCE);
                r = i > 0 ? add_after(&j->items[i], i - 1) : 0;
        }
        return r;
}

static void restart_names(struct manager *m, sd_bus_message *call, char **given, uint32_t flags, uint64_t if_generation, const char *reason) {
        _cleanup_free_ const char **names = NULL;
        struct ulv_diag d = { 0 };
        size_t n = 0, n_given = 0;
        struct job *j;
        int r;

        while (given && given[n_given])
                n_given++;
        r = n_given > NAMES_MAX ? -E2BIG : ulv_plan_order(m->bundle, (const char *const *) given, n_given, n_given == 0, &names, &n, &d);
        if (r > 0)
                (void) ulv_bus_reply_diag(call, &d);
        else if (r < 0)
                (void) public_reply_errno(call, r);
        if (r != 0 || !(j = job_new(m, call, "restart", n * 2, flags, if_generation, reason)))
                return;
        r = restart_items(j, names, n);
        if (r < 0)
                job_refuse_errno(j, r);
        else if (r == 0 && change_plan(j))
                job_run(j);
}

int method_restart(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        uint64_t if_generation;
        char **given = NULL;
        const char *reason;
        uint32_t flags;
        int r;

        if (!public_has(pp->m, call, true))
                return 1;
        r = sd_bus_message_read_strv(call, &given);
        if (r >= 0)
                r = sd_bus_message_read(call, "uts", &flags, &if_generation, &reason);
        if (r >= 0 && !public_too_long(call, reason))
                restart_names(pp->m, call, given, flags, if_generation, reason);
        ulv_strv_free(given);
        return r < 0 ? r : 1;
}

/* --- wait --------------------------------------------------------------------------------------------- */

int method_wait(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        const char *id;
        uint64_t timeout;
        int r;

        if (jobs_count_waits(pp->m, public_who(pp, call)) >= WAITS_MAX) {
                struct ulv_diag d;

                ulv_diag_what(&d, ULV_EXIT_FAILED, "this connection waits for %u jobs, which is the most", WAITS_MAX);
                return ulv_bus_reply_diag(call, &d);
        }
        r = sd_bus_message_read(call, "st", &id, &timeout);
        return r < 0 ? r : job_wait(pp->m, call, id, timeout, public_who(pp, call));
}
