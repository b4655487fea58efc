/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Why, with both of its answers: may this partition (policy, by the planner that a real run asks), and may this
 * person (polkit). */

#include <stdio.h>

#include "command/public.h"
#include "command/rows.h"
#include "command/system.h"
#include "lib/protocol.h"

static const struct { const char *name; enum ulv_request_verb verb; } why_verbs[] = {
        { "start", ULV_REQUEST_START }, { "stop", ULV_REQUEST_STOP }, { "set", ULV_REQUEST_SET },
        { "pause", ULV_REQUEST_PAUSE }, { "resume", ULV_REQUEST_RESUME },
        { "move", ULV_REQUEST_MOVE }, { "apply", ULV_REQUEST_APPLY }, { "remove", ULV_REQUEST_REMOVE },
        { "attach", ULV_REQUEST_ATTACH }, { "detach", ULV_REQUEST_DETACH },
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
                ulv_diag_why(reterr, "it knows start, stop, pause, resume, set, move, attach, detach, remove and apply");
                ulv_diag_try(reterr, "uvctl why start NAME");
                return 1;
        }
        *ret = (struct ulv_request) { .verb = why_verbs[i].verb, .name = name };
        r = sd_bus_message_enter_container(call, 'a', "{ss}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(call, "{ss}", &key, &value)) > 0) {
                bool attaches = ret->verb == ULV_REQUEST_ATTACH || ret->verb == ULV_REQUEST_DETACH;

                if (ulv_streq(key, "to") || (attaches && ulv_streq(key, "what")))
                        ret->other = value;
                else if (ulv_streq(key, "what"))
                        r = verb_what(ret, value, reterr);
                else
                        r = verb_value(ret, key, value, reterr);
                if (r == 1 && !ulv_streq(key, "to") && !(attaches && ulv_streq(key, "what")))
                        return 1;
        }
        if (!ret->other)
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

/* Policy answers for the partition at once; for the person polkit may take its time. */
struct why { sd_bus_message *call; struct question q; bool private; uint32_t code; struct ulv_strbuf text; };

static void add_person(struct why *w, enum verdict v, uid_t uid) {
        static const char *const words[] = {
                [VERDICT_YES] = "may", [VERDICT_NO] = "may not", [VERDICT_CHALLENGE] = "may, with a password",
                [VERDICT_ABSENT] = "may not", [VERDICT_UNKNOWN] = "can't be said to",
        };

        ulv_strbuf_addf(&w->text, "\nthis person (uid %u) %s do it: %s\n", (unsigned) uid, words[v],
                        w->private ? "root and the group of the private socket may all" : uid == 0 ? "root may all" : v == VERDICT_UNKNOWN ? "polkit gave no answer" : v == VERDICT_ABSENT ?
                        "there is no polkit here, and the private socket's group isn't the caller's" : access_action(w->q.access));
        if (v != VERDICT_YES && w->code == 0)
                w->code = ULV_EXIT_DENIED;
}

static void on_person(void *userdata, enum verdict v, uid_t uid) {
        struct why *w = userdata;

        add_person(w, v, uid);
        if (w->text.error)
                (void) public_reply_errno(w->call, w->text.error);
        else
                (void) sd_bus_reply_method_return(w->call, "us", w->code, ulv_strbuf_str(&w->text));
        sd_bus_message_unref(w->call);
        ulv_strbuf_done(&w->text);
        free(w);
}

/* The verb as the method that does it. */
static struct question question_of(const struct ulv_request *r) {
        static const struct { enum ulv_request_verb verb; const char *method; } methods[] = {
                { ULV_REQUEST_START, "Start" }, { ULV_REQUEST_STOP, "Stop" }, { ULV_REQUEST_SET, "Set" }, { ULV_REQUEST_PAUSE, "Pause" },
                { ULV_REQUEST_RESUME, "Resume" }, { ULV_REQUEST_MOVE, "Move" }, { ULV_REQUEST_APPLY, "Apply" }, { ULV_REQUEST_REMOVE, "Remove" },
                { ULV_REQUEST_ATTACH, "Attach" }, { ULV_REQUEST_DETACH, "Detach" },
        };
        struct question q = { .access = ACCESS_CONFIGURE, .verb = "" };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(methods); i++)
                if (methods[i].verb == r->verb) {
                        q.verb = methods[i].method;
                        q.access = public_method(q.verb)->access;
                }
        q.one = r->verb != ULV_REQUEST_MOVE && ulv_copy(q.object, sizeof(q.object), r->name);
        return q;
}

static int why_reasons(struct manager *m, const struct ulv_bundle *b, const struct ulv_request *request, struct why *w) {
        struct ulv_plan *p = NULL;
        int r = manager_plan(m, m->ledger, b, request, &p);

        if (r < 0)
                return r;
        if (r > 0) {
                w->code = p->reasons[0].code;
                add_reasons(&w->text, p);
        } else {
                ulv_strbuf_add(&w->text, "nothing refuses it\n");
                add_plan(&w->text, p);
        }
        ulv_strbuf_addf(&w->text, "%s", ulv_strbuf_str(&p->explain));
        ulv_plan_free(p);
        return 0;
}

int method_why(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        ULV_CLEANUP(ulv_bundle_freep) struct ulv_bundle *candidate = NULL;
        struct ulv_request request;
        struct item item;
        struct ulv_diag d = { 0 };
        struct why *w;
        int r;

        if (!public_has(pp->m, call, true))
                return 1;
        r = read_why(call, &request, &d);
        if (r == 0 && (request.verb == ULV_REQUEST_ATTACH || request.verb == ULV_REQUEST_DETACH))
                r = attach_why(pp->m, &item, &request, &candidate, &d);
        if (r > 0)
                return ulv_bus_reply_diag(call, &d);
        if (r < 0)
                return r;
        w = malloc(sizeof(*w));
        if (!w)
                return -ENOMEM;
        *w = (struct why) { .call = sd_bus_message_ref(call), .q = question_of(&request), .private = pp->peer, .text.max = 4 * 1024 * 1024 };
        r = why_reasons(pp->m, candidate ? candidate : pp->m->bundle, &request, w);
        if (r < 0)
                w->text.error = r;
        if (pp->peer)
                on_person(w, VERDICT_YES, pp->peer->creds.uid);
        else
                system_ask(pp->m, call, &w->q, on_person, w);
        return 1;
}
