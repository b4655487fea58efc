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

        if (!public_may(pp, call, ACCESS_MANAGE) || !public_has(pp->m, call, true))
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

        if (!public_may(pp, call, ACCESS_MANAGE) || !public_has(pp->m, call, true))
                return 1;
        r = sd_bus_message_read_strv(call, &given);
        if (r >= 0)
                r = sd_bus_message_read(call, "uts", &flags, &if_generation, &reason);
        if (r >= 0 && !public_too_long(call, reason))
                restart_names(pp->m, call, given, flags, if_generation, reason);
        ulv_strv_free(given);
        return r < 0 ? r : 1;
}

/* --- wait, why ---------------------------------------------------------------------------------------- */

int method_wait(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        const char *id;
        uint64_t timeout;
        int r;

        if (!public_may(pp, call, ACCESS_READ))
                return 1;
        if (jobs_count_waits(pp->m, pp) >= WAITS_MAX) {
                struct ulv_diag d;

                ulv_diag_what(&d, ULV_EXIT_FAILED, "this connection waits for %u jobs, which is the most", WAITS_MAX);
                return ulv_bus_reply_diag(call, &d);
        }
        r = sd_bus_message_read(call, "st", &id, &timeout);
        return r < 0 ? r : job_wait(pp->m, call, id, timeout, pp);
}

static const struct { const char *name; enum ulv_request_verb verb; } why_verbs[] = {
        { "start", ULV_REQUEST_START }, { "stop", ULV_REQUEST_STOP }, { "set", ULV_REQUEST_SET },
        { "pause", ULV_REQUEST_PAUSE }, { "resume", ULV_REQUEST_RESUME },
        { "move", ULV_REQUEST_MOVE }, { "apply", ULV_REQUEST_APPLY }, { "remove", ULV_REQUEST_REMOVE },
};

/* The request of Why(verb, name, values). Texts point into the message. 0; 1 (reterr); -errno. */
static int read_why(sd_bus_message *call, struct ulv_request *ret, struct ulv_diag *reterr) {
        const char *verb, *name, *key, *value;
        size_t i = 0;
        int r;

        r = sd_bus_message_read(call, "ss", &verb, &name);
        if (r < 0)
                return r;
        while (i < ULV_ARRAY_SIZE(why_verbs) && !ulv_streq(why_verbs[i].name, verb))
                i++;
        if (i == ULV_ARRAY_SIZE(why_verbs)) {
                ulv_diag_what(reterr, ULV_EXIT_USAGE, "uvctl why doesn't know the verb %.32s", verb);
                ulv_diag_why(reterr, "it knows start, stop, pause, resume, set, move, remove and apply");
                ulv_diag_try(reterr, "uvctl why start NAME");
                return 1;
        }
        *ret = (struct ulv_request) { .verb = why_verbs[i].verb, .name = name };
        r = sd_bus_message_enter_container(call, 'a', "{ss}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(call, "{ss}", &key, &value)) > 0) {
                if (ulv_streq(key, "to"))
                        ret->other = value;
                else if (ulv_streq(key, "what"))
                        r = verb_what(ret, value, reterr);
                else
                        r = verb_value(ret, key, value, reterr);
                if (r == 1 && !ulv_streq(key, "to"))
                        return 1;
        }
        if (ret->verb == ULV_REQUEST_MOVE && !ret->other)
                ret->other = "";
        return r;
}

static void add_reasons(struct ulv_strbuf *b, const struct ulv_plan *p) {
        for (size_t i = 0; i < p->n_reasons; i++) {
                const struct ulv_diag *d = &p->reasons[i];

                ulv_strbuf_addf(b, "%s\n", d->what);
                if (d->why[0])
                        ulv_strbuf_addf(b, "%s\n", d->why);
                if (d->try_[0])
                        ulv_strbuf_addf(b, "try: %s\n", d->try_);
        }
}

/* What it would do, in lines for people. */
static void add_plan(struct ulv_strbuf *b, const struct ulv_plan *p) {
        for (size_t i = 0; i < p->n_lines; i++) {
                const char *const cells[] = { p->lines[i].action, p->lines[i].text, p->lines[i].note };

                ulv_strbuf_add(b, p->lines[i].name);
                for (size_t k = 0; k < ULV_ARRAY_SIZE(cells); k++)
                        if (cells[k] && cells[k][0])
                                ulv_strbuf_addf(b, "  %s", cells[k]);
                ulv_strbuf_addc(b, '\n');
        }
        if (p->summary[0])
                ulv_strbuf_addf(b, "%s\n", p->summary);
}

int method_why(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        _cleanup_strbuf_ struct ulv_strbuf b = { .max = 4 * 1024 * 1024 };
        struct ulv_plan *p = NULL;
        struct ulv_request request;
        struct ulv_diag d = { 0 };
        uint32_t code = 0;
        int r;

        if (!public_may(pp, call, ACCESS_READ) || !public_has(pp->m, call, true))
                return 1;
        r = read_why(call, &request, &d);
        if (r > 0)
                return ulv_bus_reply_diag(call, &d);
        if (r < 0)
                return r;
        r = ulv_plan_make(pp->m->ledger, pp->m->bundle, &request, &p);
        if (r < 0)
                return public_reply_errno(call, r);
        if (r > 0) {
                code = p->reasons[0].code;
                add_reasons(&b, p);
        } else {
                ulv_strbuf_add(&b, "nothing refuses it\n");
                add_plan(&b, p);
        }
        ulv_strbuf_addf(&b, "%s", ulv_strbuf_str(&p->explain));
        ulv_plan_free(p);
        if (b.error)
                return public_reply_errno(call, b.error);
        return sd_bus_reply_method_return(call, "us", code, ulv_strbuf_str(&b));
}
