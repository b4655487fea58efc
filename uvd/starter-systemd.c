/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PID 1 as the starter (starter.h): a partition's monitor is the unit uv-partition@NAME.service, and its token is the
 * unit's INVOCATION_ID. We have no privilege; a polkit rule lets us start and stop these units and no other.
 *
 * Theory of operation. StartUnit may be asked for at any time: of a unit that runs it is nothing, of one that is on its
 * way out it waits. So there is little to remember here. That a monitor can't be started, PID 1 says in the answer, or
 * by the job's result; that one is gone for good, by the unit's state, "inactive" or "failed", with no job (a monitor
 * that PID 1 is about to revive is "activating"). Was it a stop that came between an accident and the revival, nobody
 * has seen to the payload: the next monitor is stopped at once. A token is asked for when a monitor says Hello with one that we don't
 * know: PID 1 revives monitors without us. If the bus is lost, all is listed again, once a second until it is there. */

#include "uvd/starter.h"

#include <stdio.h>

#include "lib/log.h"

#define MANAGER "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
#define UNIT_PATH "/org/freedesktop/systemd1/unit"
#define UNIT_IF "org.freedesktop.systemd1.Unit"
#define PROPERTIES_IF "org.freedesktop.DBus.Properties"
#define PREFIX "uv-partition@"
#define SUFFIX ".service"
#define RETRY_USEC UINT64_C(1000000)
#define LIST_TIMEOUT_USEC UINT64_C(10000000)

struct starter {
        sd_bus *bus;                    /* NULL: not connected */
        sd_event_source *retry;
        unsigned n_tokens;              /* asked for and not told */
};

/* A question on its way to PID 1; its partition may be forgotten meanwhile. */
struct question { struct uvd *uvd; char name[ULV_NAME_MAX + 1]; };

static bool unit_name(char buf[static 128], const char *partition) {
        return snprintf(buf, 128, PREFIX "%s" SUFFIX, partition) < 128;
}

/* The partition of a unit's name; false: not one of ours. */
static bool partition_of(const char *unit, char name[static ULV_NAME_MAX + 1]) {
        size_t n = strlen(unit);

        if (!ulv_startswith(unit, PREFIX) || n < sizeof(PREFIX) + sizeof(SUFFIX) - 2 || !ulv_streq(unit + n - (sizeof(SUFFIX) - 1), SUFFIX))
                return false;
        n -= sizeof(PREFIX) + sizeof(SUFFIX) - 2;
        if (n > ULV_NAME_MAX)
                return false;
        memcpy(name, unit + sizeof(PREFIX) - 1, n);
        name[n] = 0;
        return ulv_name_is_valid(name);
}

static struct question *question_new(struct uvd *u, const char *name) {
        struct question *q = calloc(1, sizeof(*q));

        if (q) {
                q->uvd = u;
                (void) snprintf(q->name, sizeof(q->name), "%s", name);
        }
        return q;
}

/* Sends m with q, which on_answer() gets; q goes with the slot. */
static int ask(struct uvd *u, sd_bus_message *m, sd_bus_message_handler_t on_answer, struct question *q) {
        sd_bus_slot *slot = NULL;
        int r = sd_bus_call_async(u->starter->bus, &slot, m, on_answer, q, 0);

        if (r < 0) {
                free(q);
                return r;
        }
        (void) sd_bus_slot_set_destroy_callback(slot, free);
        (void) sd_bus_slot_set_floating(slot, 1);
        sd_bus_slot_unref(slot);
        return 0;
}

/* --- tokens ------------------------------------------------------------------------------------------- */

static int read_token(sd_bus_message *m, char token[static UVD_TOKEN_SIZE]) {
        const uint8_t *id;
        size_t n;
        int r;

        if (sd_bus_message_is_method_error(m, NULL))
                return -ENOENT;
        r = sd_bus_message_enter_container(m, 'v', "ay");
        if (r >= 0)
                r = sd_bus_message_read_array(m, 'y', (const void **) &id, &n);
        if (r < 0 || n != (UVD_TOKEN_SIZE - 1) / 2)
                return r < 0 ? r : -ENOENT;     /* It doesn't run. */
        for (size_t i = 0; i < n; i++)
                (void) snprintf(token + 2 * i, 3, "%02x", id[i]);
        return 0;
}

static int on_token(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct question *q = userdata;
        char token[UVD_TOKEN_SIZE];
        struct guest *g;

        q->uvd->starter->n_tokens--;
        if (read_token(m, token) == 0)
                guest_started(q->uvd, q->name, token);
        else if ((g = guest_find(q->uvd, q->name)))
                monitors_resume(g);     /* to be refused: it isn't the unit's process */
        return 0;
}

static int ask_token(struct uvd *u, const char *name) {
        struct question *q = question_new(u, name);
        _cleanup_free_ char *path = NULL;
        sd_bus_message *m = NULL;
        char unit[128];
        int r = q ? 0 : -ENOMEM;

        if (r == 0 && !unit_name(unit, name))
                r = -ENAMETOOLONG;
        if (r == 0)
                r = sd_bus_path_encode(UNIT_PATH, unit, &path);
        if (r >= 0)
                r = sd_bus_message_new_method_call(u->starter->bus, &m, "org.freedesktop.systemd1", path, PROPERTIES_IF, "Get");
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", UNIT_IF, "InvocationID");
        if (r >= 0)
                r = ask(u, m, on_token, ulv_steal(q));
        if (r >= 0)
                u->starter->n_tokens++;
        free(q);
        sd_bus_message_unref(m);
        return r;
}

static int token(struct uvd *u, struct guest *g, const char *said) {
        int r;

        if (ulv_streq(g->token, said) || !u->starter || !u->starter->bus)
                return 0;
        r = ask_token(u, g->name);
        return r < 0 ? r : 1;
}

/* --- starts ------------------------------------------------------------------------------------------- */

static int on_start(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct question *q = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(m);

        if (!e)
                return 0;       /* A job is queued: on_job_removed() will be told. */
        ulv_log(ULV_LOG_WARNING, "systemd: %s: %s", q->name, e->message ? e->message : e->name);
        guest_failed(q->uvd, q->name, ULV_MAX(sd_bus_message_get_errno(m), 1));
        return 0;
}

static int on_stop(ULV_UNUSED sd_bus_message *m, ULV_UNUSED void *userdata, ULV_UNUSED sd_bus_error *error) { return 0; }

static int call_unit(struct uvd *u, const char *name, const char *member, sd_bus_message_handler_t on_answer) {
        struct question *q = question_new(u, name);
        sd_bus_message *m = NULL;
        char unit[128];
        int r = !q ? -ENOMEM : unit_name(unit, name) ? 0 : -ENAMETOOLONG;

        if (r == 0)
                r = sd_bus_message_new_method_call(u->starter->bus, &m, MANAGER, member);
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", unit, "fail");       /* an administrator's job isn't replaced by ours */
        if (r >= 0)
                r = ask(u, m, on_answer, ulv_steal(q));
        free(q);
        sd_bus_message_unref(m);
        return r;
}

static int start(struct uvd *u, const char *name) {
        return u->starter && u->starter->bus ? call_unit(u, name, "StartUnit", on_start) : -ENOTCONN;
}

static void stop(struct uvd *u, const char *name) {
        if (u->starter && u->starter->bus)
                (void) call_unit(u, name, "StopUnit", on_stop);
}

/* A job that is done needs no word: its monitor says Hello. */
static int on_job_removed(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        const char *path, *unit, *result;
        struct uvd *u = userdata;
        char name[ULV_NAME_MAX + 1];
        struct guest *g;
        uint32_t id;

        if (sd_bus_message_read(m, "uoss", &id, &path, &unit, &result) < 0 || !partition_of(unit, name))
                return 0;
        g = guest_find(u, name);
        if (!g || !g->asked || g->peer)
                return 0;
        if (ulv_streq(result, "done"))
                g->asked = false;
        else {
                ulv_log(ULV_LOG_WARNING, "systemd: the start of %s: %s", unit, result);
                guest_exited(u, name, 1);
        }
        return 0;
}

/* --- ends --------------------------------------------------------------------------------------------- */

/* ActiveState and whether there is a job, of the a{sv} that m stands at. */
static int read_state(sd_bus_message *m, const char **ret_state, uint32_t *ret_job) {
        const char *key;
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");

        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &key);
                if (r >= 0 && ulv_streq(key, "ActiveState"))
                        r = sd_bus_message_read(m, "v", "s", ret_state);
                else if (r >= 0 && ulv_streq(key, "Job"))
                        r = sd_bus_message_read(m, "v", "(uo)", ret_job, NULL);
                else if (r >= 0)
                        r = sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r;
}

/* Of one unit, in the form of a list. */
static int on_state(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct question *q = userdata;
        struct guest *g = guest_find(q->uvd, q->name);
        const char *state;
        uint32_t job;

        if (!g || g->asked || sd_bus_message_is_method_error(m, NULL) || sd_bus_message_enter_container(m, 'a', "(ssssssouso)") < 0 ||
            sd_bus_message_read(m, "(ssssssouso)", NULL, NULL, NULL, &state, NULL, NULL, NULL, &job, NULL, NULL) <= 0)
                return 0;
        /* A job will tell of itself. */
        if (job != 0 || (!ulv_streq(state, "inactive") && !ulv_streq(state, "failed")))
                return 0;
        /* After an accident it would be revived, and an end in order is reported: so it was a stop. */
        g->stopped = !g->fresh;
        guest_exited(q->uvd, q->name, g->fresh && ulv_streq(state, "failed"));
        return 0;
}

static int ask_state(struct uvd *u, const char *name) {
        struct question *q = question_new(u, name);
        sd_bus_message *m = NULL;
        char unit[128];
        int r = !q ? -ENOMEM : unit_name(unit, name) ? 0 : -ENAMETOOLONG;

        if (r == 0)
                r = sd_bus_message_new_method_call(u->starter->bus, &m, MANAGER, "ListUnitsByNames");
        if (r >= 0)
                r = sd_bus_message_append(m, "as", 1, unit);
        if (r >= 0)
                r = ask(u, m, on_state, ulv_steal(q));
        free(q);
        sd_bus_message_unref(m);
        return r;
}

static int on_changed(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        _cleanup_free_ char *unit = NULL;
        const char *interface, *state = "";
        char name[ULV_NAME_MAX + 1];
        struct uvd *u = userdata;
        uint32_t job = 0;
        struct guest *g;

        if (sd_bus_path_decode(sd_bus_message_get_path(m), UNIT_PATH, &unit) <= 0 || !partition_of(unit, name) ||
            !(g = guest_find(u, name)) || sd_bus_message_read(m, "s", &interface) < 0 || read_state(m, &state, &job) < 0)
                return 0;
        /* On its way to be revived it may pass through "inactive", too: asked, PID 1 says how it ended up. */
        if (job == 0 && !g->asked && (ulv_streq(state, "inactive") || ulv_streq(state, "failed")))
                (void) ask_state(u, name);
        return 0;
}

/* After it has read its files again, PID 1 may have other ideas about scopes: each monitor looks at its own. */
static int on_reloading(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        int active;

        if (sd_bus_message_read(m, "b", &active) >= 0 && !active)
                monitors_recheck(userdata);
        return 0;
}

/* --- the connection ----------------------------------------------------------------------------------- */

static void disconnect(struct uvd *u) {
        sd_bus *bus = ulv_steal(u->starter->bus);

        sd_bus_close_unref(bus);
        u->starter->n_tokens = 0;
        guests_forget_tokens(u);
}

static int attach(struct uvd *u);

static int on_disconnected(ULV_UNUSED sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct uvd *u = userdata;
        int r;

        ulv_log(ULV_LOG_NOTICE, "the system bus is gone; monitors and partitions run on");
        disconnect(u);
        r = attach(u);
        if (r < 0)
                (void) ulv_log_errno(r, "cannot wait for the system bus");
        return 1;
}

static int read_units(struct uvd *u, sd_bus_message *m) {
        const char *unit, *state;
        char name[ULV_NAME_MAX + 1];
        int r = sd_bus_message_enter_container(m, 'a', "(ssssssouso)");

        while (r >= 0 && (r = sd_bus_message_read(m, "(ssssssouso)", &unit, NULL, NULL, &state, NULL, NULL, NULL, NULL, NULL, NULL)) > 0)
                if (!ulv_streq(state, "inactive") && !ulv_streq(state, "failed") && partition_of(unit, name))
                        r = ask_token(u, name);
        return r;
}

/* Which monitors PID 1 keeps, with the token of each. */
static int list(struct uvd *u) {
        sd_bus_message *m = NULL, *reply = NULL;
        sd_bus *bus = u->starter->bus;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, MANAGER, "ListUnitsByPatterns");
        if (r >= 0)
                r = sd_bus_message_append(m, "asas", 0, 1, PREFIX "*" SUFFIX);
        if (r >= 0)
                r = sd_bus_call(bus, m, LIST_TIMEOUT_USEC, NULL, &reply);
        if (r >= 0)
                r = read_units(u, reply);
        sd_bus_message_unref(reply);
        sd_bus_message_unref(m);
        while (r >= 0 && u->starter->n_tokens > 0) {
                r = sd_bus_process(bus, NULL);
                if (r == 0 && (r = sd_bus_wait(bus, LIST_TIMEOUT_USEC)) == 0)
                        r = -ETIMEDOUT;
        }
        return r < 0 ? r : 0;
}

static int watch(struct uvd *u) {
        sd_bus *bus = u->starter->bus;
        int r;

        if ((r = sd_bus_add_match(bus, NULL, "type='signal',sender='org.freedesktop.systemd1',interface='" PROPERTIES_IF "',"
                                  "member='PropertiesChanged',path_namespace='" UNIT_PATH "',arg0='" UNIT_IF "'", on_changed, u)) < 0 ||
            (r = sd_bus_match_signal(bus, NULL, MANAGER, "JobRemoved", on_job_removed, u)) < 0 ||
            (r = sd_bus_match_signal(bus, NULL, MANAGER, "Reloading", on_reloading, u)) < 0 ||
            (r = sd_bus_match_signal(bus, NULL, NULL, "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, u)) < 0)
                return r;
        return sd_bus_call_method(bus, MANAGER, "Subscribe", NULL, NULL, "");
}

static int connect_bus(struct uvd *u) {
        int r;

        if (!u->starter && !(u->starter = calloc(1, sizeof(*u->starter))))
                return -ENOMEM;
        r = sd_bus_open_system(&u->starter->bus);
        if (r >= 0 && (r = watch(u)) >= 0)
                r = list(u);
        if (r < 0)
                disconnect(u);
        return r == -ENOENT || r == -ECONNREFUSED ? 1 : r;
}

static int on_retry(ULV_UNUSED sd_event_source *source, ULV_UNUSED uint64_t usec, void *userdata) {
        struct uvd *u = userdata;
        int r = connect_bus(u);

        if (r == 0)
                ulv_log(ULV_LOG_NOTICE, "connected to systemd again");
        r = attach(u);
        if (r < 0)
                (void) ulv_log_errno(r, "cannot watch the system bus");
        if (u->starter->bus)
                guests_review_all(u);
        return 0;
}

static int attach(struct uvd *u) {
        struct starter *s = u->starter;

        s->retry = sd_event_source_disable_unref(s->retry);
        if (s->bus)
                return ULV_MIN(sd_bus_attach_event(s->bus, u->event, SD_EVENT_PRIORITY_NORMAL), 0);
        return ULV_MIN(sd_event_add_time_relative(u->event, &s->retry, CLOCK_MONOTONIC, RETRY_USEC, 0, on_retry, u), 0);
}

static void free_systemd(struct uvd *u) {
        sd_event_source_disable_unref(u->starter->retry);
        sd_bus_flush_close_unref(u->starter->bus);
        free(u->starter);
        u->starter = NULL;
}

const struct starter_ops starter_systemd = { connect_bus, attach, start, token, stop, free_systemd };
