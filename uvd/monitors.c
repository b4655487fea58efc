/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Connections of monitors: org.ultravisor1.Monitor (lib/protocol.h). A connection is bound to one partition
 * by Hello, once; before that nothing else is answered, and after it the monitor can speak about that
 * partition only. A monitor may be quicker than the starter's word on it: its Hello waits for that word
 * while a start was asked for and isn't answered. A monitor that the starter started by itself (systemctl start) asks
 * first whether its partition is to run: Want waits for command's transaction or refusal. In the other direction, calls of command that concern
 * what runs (exec, signal) are passed on over the same connection, fds and all, and their answers back. */

#include "uvd/uvd.h"

#include <stdio.h>

#include "lib/log.h"
#include "lib/protocol.h"

#define FORWARDS_MAX 1024u
#define REPORT_MAX ((size_t) 1024 * 1024)
#define HELD_VIEW_MAX ((size_t) 256 * 1024)

/* What a connection is to us; userdata of its vtable and of its peer. */
struct link {
        struct uvd *uvd;
        struct ulv_bus_peer *peer;
        struct guest *guest;            /* NULL until Hello */
        sd_bus_message *hello;          /* owned: a Hello or Want that waits, */
        struct guest *waits_for;        /* whose `held` we are; NULL: none does */
        bool told;                      /* the starter's word on its token has been waited for */
};

static int hello_checks(struct uvd *u, const struct ulv_bus_peer *p, struct guest *g, const char *token, const char *type, struct ulv_diag *reterr) {
        struct ulv_partition_info info;
        int r = identity_check(g, p, token, reterr);

        if (r != 0 || u->rebuilding)
                return r;
        if (ulv_ledger_partition(u->ledger, g->name, &info) != 0) {
                ulv_diag_what(reterr, ULV_EXIT_NOT_FOUND, "no partition %s in the ledger", g->name);
                ulv_diag_why(reterr, "it was removed, or the ledger is another one");
                ulv_diag_try(reterr, "uvd --rebuild makes a ledger from what runs");
                return 1;
        }
        if (!ulv_streq(info.type, type)) {
                ulv_diag_what(reterr, ULV_EXIT_CONFLICT, "this monitor serves partitions of type %s", type);
                ulv_diag_why(reterr, "%s is of type %s", g->name, info.type);
                ulv_diag_try(reterr, "uvctl stop %s, then uvctl start %s", g->name, g->name);
                return 1;
        }
        return 0;
}

static int reply_hello(struct uvd *u, sd_bus_message *m, struct guest *g) {
        int r = view_open(u, g);

        if (r < 0)
                return reply_diag_simple(m, ULV_EXIT_FAILED, "cannot make a view", strerror(-r), "raise the limit of fds or memory of uvd");
        return sd_bus_reply_method_return(m, "th", u->epoch, g->view_fd);
}

/* The token is that of its present monitor, so an older connection is of a dead one. */
static void drop_older(struct ulv_bus_peer *p) {
        struct link *l = p->userdata;

        l->guest->peer = NULL;
        l->guest = NULL;
        ulv_bus_peer_drop(p);
}

static void let_go(struct link *l) {
        if (l->waits_for) {
                l->waits_for->held = NULL;
                l->waits_for->wanting = false;
        }
        l->waits_for = NULL;
        l->hello = sd_bus_message_unref(l->hello);
}

static int refuse_hello(struct link *l, sd_bus_message *m, const char *name, const struct ulv_diag *d) {
        ulv_log(ULV_LOG_WARNING, "refused process %d as monitor of %s: %s", (int) l->peer->creds.pid, name, d->why);
        return ulv_bus_reply_diag(m, d);
}

/* One waits for a partition's start: of two, the later one more likely has the token. */
static int hold(struct link *l, sd_bus_message *m, struct guest *g) {
        if (l->hello || g->held == l)
                return reply_diag_simple(m, ULV_EXIT_DENIED, "Hello was said before", "it waits for the starter", "");
        if (g->held) {
                struct link *earlier = g->held;

                (void) reply_diag_simple(earlier->hello, ULV_EXIT_DENIED, "this process is not the monitor", "another one came", "");
                let_go(earlier);
        }
        g->held = l;
        l->waits_for = g;
        l->hello = sd_bus_message_ref(m);
        return 1;
}

/* What this monitor says it is may be news to us, of which the starter knows. 0; 1: it waits; -errno. */
static int wait_for_token(struct link *l, sd_bus_message *m, struct guest *g, const char *token) {
        int r = l->told ? 0 : starter_token(l->uvd, g, token);

        return r > 0 ? hold(l, m, g) : r;
}

static int hello(struct link *l, sd_bus_message *m) {
        struct uvd *u = l->uvd;
        const char *name, *token, *type, *held;
        struct ulv_diag d = {};
        struct guest *g;
        int r;

        r = sd_bus_message_read(m, "ssss", &name, &token, &type, &held);
        if (r < 0)
                return r;
        if (l->guest)
                return reply_diag_simple(m, ULV_EXIT_DENIED, "this connection is bound already", "it said Hello before", "");
        g = guest_find(u, name);
        if (!g)         /* The starter named every monitor that it keeps, before this one could connect. */
                return reply_diag_simple(m, ULV_EXIT_DENIED, "this process is not a monitor", "the starter keeps no monitor of that name", "");
        r = wait_for_token(l, m, g, token);
        if (r != 0)
                return r;
        r = hello_checks(u, l->peer, g, token, type, &d);
        if (r != 0)
                return r < 0 ? r : refuse_hello(l, m, name, &d);
        if (u->rebuilding) {
                if (strlen(held) > HELD_VIEW_MAX)
                        return -E2BIG;
                l->guest = g;
                g->peer = l->peer;
                return u->on_held_view(u, g, held);     /* not answered: the monitor asks the next uvd again */
        }
        if (g->peer)
                drop_older(g->peer);
        l->guest = g;
        guest_connected(g, l->peer);
        return reply_hello(u, m, g);
}

/* --- a start that wasn't ours ------------------------------------------------------------------------- */

static int tell_want(struct ulv_bus_peer *p, void *userdata) {
        const struct guest *g = userdata;

        if (p->userdata)        /* It follows the changes (publish.c). */
                (void) sd_bus_emit_signal(p->bus, ULV_PATH_LEDGER, ULV_IF_LEDGER, "StartWanted", "s", g->name);
        return 0;
}

void monitors_tell_wants(struct uvd *u) {
        for (struct guest *g = u->guests; g; g = g->hh.next)
                if (g->wanting)
                        (void) ulv_bus_listener_each(u->commands, tell_want, g);
}

static int want(struct link *l, sd_bus_message *m) {
        struct uvd *u = l->uvd;
        struct ulv_partition_info p;
        const char *name, *token;
        struct ulv_diag d = {};
        struct guest *g;
        int r;

        r = sd_bus_message_read(m, "ss", &name, &token);
        if (r < 0)
                return r;
        if (l->guest || u->rebuilding)
                return reply_diag_simple(m, ULV_EXIT_DENIED, "nothing can be started now", u->rebuilding ? "a new ledger is being made" : "this connection is bound already", "");
        g = guest_get(u, name);
        if (!g)
                return reply_diag_simple(m, ULV_EXIT_USAGE, "not the name of a partition", "it is of a-z, 0-9 and -", "uvctl list");
        r = wait_for_token(l, m, g, token);
        if (r != 0)
                return r;
        r = identity_check(g, l->peer, token, &d);
        if (r != 0) {
                guest_forget_if_idle(u, g);
                return r < 0 ? r : refuse_hello(l, m, name, &d);
        }
        if (ulv_ledger_partition(u->ledger, name, &p) == 0 && ulv_state_is_live(p.state)) {
                r = starter_write_type(u, name);
                return r < 0 ? r : sd_bus_reply_method_return(m, "");
        }
        r = hold(l, m, g);
        if (g->held == l) {
                g->wanting = true;
                (void) ulv_bus_listener_each(u->commands, tell_want, g);
        }
        return r;
}

static int method_want(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) { return want(userdata, m); }

void monitors_refuse(struct guest *g, const struct ulv_diag *d) {
        struct link *l = g->held;

        if (!l || !g->wanting)
                return;
        (void) ulv_bus_reply_diag(l->hello, d);
        let_go(l);
        guest_forget_if_idle(l->uvd, g);
}

static int method_hello(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) { return hello(userdata, m); }

void monitors_resume(struct guest *g) {
        struct link *l = g->held;
        sd_bus_message *m;
        int r;

        if (!l)
                return;
        m = sd_bus_message_ref(l->hello);
        let_go(l);
        l->told = true;
        r = sd_bus_message_rewind(m, true);
        if (r >= 0)
                r = sd_bus_message_is_method_call(m, NULL, "Want") > 0 ? want(l, m) : hello(l, m);
        l->told = false;
        if (r < 0)
                (void) sd_bus_reply_method_errno(m, r, NULL);
        sd_bus_message_unref(m);
}

static int method_report(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct link *l = userdata;
        struct guest *g = l->guest;
        struct uvd *u = l->uvd;
        struct transact_call c = { .m = m };
        int r;

        r = sd_bus_message_read(m, "ts", &c.if_generation, &c.operations);
        if (r < 0)
                return r;
        if (!g || u->rebuilding)
                return reply_diag_simple(m, ULV_EXIT_DENIED, "this connection is not bound to a partition", "Hello comes first", "");
        if (strlen(c.operations) > REPORT_MAX || c.if_generation > ulv_ledger_generation(u->ledger))
                return reply_diag_simple(m, ULV_EXIT_USAGE, "not a report", "it is longer than 1M, or of a view of another ledger", "");
        g->fresh = false;
        c.reporter = g->name;
        r = transact_queue(u, &c);
        return r < 0 ? r : 1;
}

static int method_channel(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct link *l = userdata;

        if (!l->guest || l->uvd->rebuilding)
                return reply_diag_simple(m, ULV_EXIT_DENIED, "this connection is not bound to a partition", "Hello comes first", "");
        return join_channel(l->uvd, l->guest, m);
}

static const sd_bus_vtable monitor_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Hello", "ssss", "th", method_hello, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Want", "ss", "", method_want, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Report", "ts", "t", method_report, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Channel", "s", "shhh", method_channel, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL("ViewChanged", "t", 0),
        SD_BUS_SIGNAL("Recheck", "", 0),
        SD_BUS_VTABLE_END
};

/* --- calls passed on ---------------------------------------------------------------------------------- */

#define ANSWER_USEC 120000000u  /* as long as uv-command waits at most */

struct forward { struct uvd *uvd; sd_bus_message *asked; };

static void forward_free(void *userdata) {
        struct forward *f = userdata;

        f->uvd->n_forwards--;
        sd_bus_message_unref(f->asked);
        free(f);
}

static int on_answer(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct forward *f = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(m);
        sd_bus_message *reply = NULL;
        int r;

        if (e && ulv_streq0(e->name, SD_BUS_ERROR_UNKNOWN_METHOD))
                return reply_diag_simple(f->asked, ULV_EXIT_FAILED, "its monitor doesn't know how to do that", "it is of an older version",
                                         "systemctl kill -s KILL --kill-whom=main uv-partition@NAME: a new monitor takes over");
        if (e) {
                (void) sd_bus_reply_method_error(f->asked, e);
                return 1;
        }
        r = sd_bus_message_new_method_return(f->asked, &reply);
        if (r >= 0)
                r = sd_bus_message_copy(reply, m, true);
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        if (r < 0)
                (void) sd_bus_reply_method_errno(f->asked, r, NULL);
        sd_bus_message_unref(reply);
        return 1;
}

/* id NULL: with the rest of m. */
static int forward_call(struct uvd *u, sd_bus_message *m, const struct guest *g, const char *member, const char *id) {
        sd_bus_message *call = NULL;
        sd_bus_slot *slot = NULL;
        struct forward *f;
        int r;

        r = sd_bus_message_new_method_call(g->peer->bus, &call, NULL, ULV_PATH_CONTROL, ULV_IF_CONTROL, member);
        if (r < 0)
                return r;
        r = id ? sd_bus_message_append(call, "s", id) : sd_bus_message_copy(call, m, true);
        f = r < 0 ? NULL : calloc(1, sizeof(*f));
        if (!f) {
                sd_bus_message_unref(call);
                return r < 0 ? r : -ENOMEM;
        }
        *f = (struct forward) { .uvd = u, .asked = sd_bus_message_ref(m) };
        u->n_forwards++;
        /* What runs may run for ever; the end of either connection ends the wait. All else a monitor that is held
         * (SIGSTOP) must not pile up here. */
        r = sd_bus_call_async(g->peer->bus, &slot, call, on_answer, f, ulv_streq(member, "Exec") || ulv_streq(member, "Console") ? UINT64_MAX : ANSWER_USEC);
        sd_bus_message_unref(call);
        if (r < 0) {
                forward_free(f);
                return r;
        }
        (void) sd_bus_slot_set_destroy_callback(slot, forward_free);
        (void) sd_bus_slot_set_floating(slot, 1);
        sd_bus_slot_unref(slot);
        return 1;
}

static int reply_unknown(sd_bus_message *m, const char *name) {
        struct ulv_diag d;

        ulv_diag_what(&d, ULV_EXIT_NOT_FOUND, "no partition %.64s", name);
        ulv_diag_why(&d, "the ledger has no row for it");
        ulv_diag_try(&d, "uvctl list");
        return ulv_bus_reply_diag(m, &d);
}

int monitors_forward(struct uvd *u, sd_bus_message *m, const char *name, const char *member) {
        struct ulv_partition_info info;
        struct guest *g = guest_find(u, name);

        if (ulv_ledger_partition(u->ledger, name, &info) != 0)
                return reply_unknown(m, name);
        if (!ulv_state_is_live(info.state))
                return reply_diag_simple(m, ULV_EXIT_NOT_ACTIVE, "the partition is not running", ulv_state_name(info.state), "uvctl start it first");
        if (!g || !g->peer)
                return reply_diag_simple(m, ULV_EXIT_UNREACHABLE, "the partition's monitor is not connected", "it is being started again", "again, in a second");
        if (u->n_forwards >= FORWARDS_MAX)
                return reply_diag_simple(m, ULV_EXIT_CAPACITY, "too many commands run in partitions", "1024 are under way", "end some of them");
        return forward_call(u, m, g, member, NULL);
}

int monitors_supply(struct uvd *u, sd_bus_message *m, const struct guest *other, const char *id) {
        return u->n_forwards < FORWARDS_MAX ? forward_call(u, m, other, "Channel", id) : -EBUSY;
}

static int recheck(struct ulv_bus_peer *p, ULV_UNUSED void *userdata) {
        const struct link *l = p->userdata;

        if (l->guest)
                (void) sd_bus_emit_signal(p->bus, ULV_PATH_MONITOR, ULV_IF_MONITOR, "Recheck", "");
        return 0;
}

void monitors_recheck(struct uvd *u) { (void) ulv_bus_listener_each(u->monitors, recheck, NULL); }

/* --- the socket --------------------------------------------------------------------------------------- */

static bool may_connect(const struct ucred *creds, ULV_UNUSED void *userdata) {
        return creds->uid == 0 || creds->uid == ULV_UID_SIM;
}

static int on_connected(struct ulv_bus_peer *p, void *userdata) {
        struct link *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return -ENOMEM;
        *l = (struct link) { .uvd = userdata, .peer = p };
        r = sd_bus_add_object_vtable(p->bus, NULL, ULV_PATH_MONITOR, ULV_IF_MONITOR, monitor_vtable, l);
        if (r < 0) {
                free(l);
                return r;
        }
        p->userdata = l;
        return 0;
}

static void on_disconnected(struct ulv_bus_peer *p, void *userdata) {
        struct link *l = p->userdata;
        struct guest *waited = l->waits_for;

        let_go(l);
        if (l->guest)
                guest_disconnected(userdata, l->guest);
        else if (waited)
                guest_forget_if_idle(userdata, waited);
        free(l);
}

int monitors_listen(struct uvd *u) {
        static const struct ulv_bus_listener_ops ops = { .allow = may_connect, .connected = on_connected, .disconnected = on_disconnected,
                                                         .per_uid = ULV_PARTITIONS_MAX + 64 };
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/" ULV_SOCKET_MONITOR, u->run_dir) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        return ulv_bus_listen(u->event, path, 0666, &ops, u, &u->monitors);
}
