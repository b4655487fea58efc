/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command/link.h"

#define DELAY_MIN 20000u
#define DELAY_MAX 200000u
#define STABLE 1000000u         /* after a connection that lasted, the first try is at once again */
/* A commit on a slow disk takes its time; a far side that hangs for longer is killed by its watchdog. */
#define CALL_TIMEOUT 60000000u

static void attempt(struct link *l);

static int on_timer(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct link *l = userdata;

        l->waiting = false;
        attempt(l);
        return 0;
}

static void later(struct link *l) {
        if (l->waiting)
                return;
        /* The timer was made at the start, so that this needs no memory and can't fail. */
        (void) sd_event_source_set_time_relative(l->timer, l->delay);
        (void) sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
        l->waiting = true;
        l->delay = ULV_MIN(l->delay * 2, DELAY_MAX);
}

static uint64_t now(const struct link *l) {
        uint64_t t = 0;

        (void) sd_event_now(l->event, CLOCK_MONOTONIC, &t);
        return t;
}

static int on_disconnected(ULV_UNUSED sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct link *l = userdata;
        sd_bus *bus = ulv_steal(l->bus);

        l->down(l, l->userdata);
        sd_bus_close_unref(bus);
        if (now(l) - l->since > STABLE)
                l->delay = DELAY_MIN;
        later(l);
        return 1;
}

void link_drop(struct link *l) {
        /* Not closed at once: sd-bus shall see the end, and answer every call that is on its way. */
        if (l->bus)
                (void) shutdown(sd_bus_get_fd(l->bus), SHUT_RDWR);
}

static void attempt(struct link *l) {
        sd_bus *bus;

        if (ulv_bus_connect(l->event, l->path, &bus) < 0) {
                later(l);
                return;
        }
        if (sd_bus_match_signal(bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
                                "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, l) < 0) {
                sd_bus_close_unref(bus);
                later(l);
                return;
        }
        l->bus = bus;
        if (l->up(l, l->userdata) != 0) {
                l->bus = NULL;
                sd_bus_close_unref(bus);
                later(l);
                return;
        }
        l->since = now(l);
}

int link_start(struct link *l, sd_event *e, char *path) {
        int r;

        l->event = e;
        l->path = path;
        l->delay = DELAY_MIN;
        r = sd_event_add_time_relative(e, &l->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, l);
        if (r < 0)
                return r;
        l->waiting = true;
        return 0;
}

void link_done(struct link *l) {
        sd_bus_close_unref(l->bus);
        sd_event_source_disable_unref(l->timer);
        free(l->path);
        *l = (struct link) { 0 };
}

int link_call(struct link *l, sd_bus_message *call, sd_bus_message_handler_t reply, void *userdata) {
        if (!l->bus)
                return -ENOTCONN;
        return sd_bus_call_async(l->bus, NULL, call, reply, userdata, CALL_TIMEOUT);
}
