/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The connection to uvd: kept up for ever, needed never. While it is down the payload is contained as
 * before; each time it is up again, Hello brings a new view and the whole truth is reported anew. */

#include "monitor/monitor.h"

#include <fcntl.h>
#include <stdio.h>

#include "lib/bus.h"
#include "lib/event.h"
#include "lib/protocol.h"

#define DELAY_MIN_USEC (20 * 1000u)
#define DELAY_MAX_USEC (200 * 1000u)

static int on_connect_timer(sd_event_source *s, uint64_t usec, void *userdata);

static void connect_later(struct ulv_monitor *m) {
        int r = monitor_arm(m, &m->connect_timer, m->connect_delay, on_connect_timer);

        if (r < 0)
                (void) sd_event_exit(m->event, EXIT_FAILURE);
        m->connect_delay = ULV_MIN(m->connect_delay * 2, (uint64_t) DELAY_MAX_USEC);
}

/* Not from within a callback of the bus itself but through it: sd-bus allows closing there. */
static void link_lost(struct ulv_monitor *m) {
        bool had = m->greeted;

        m->greeted = m->report_pending = false;
        m->hello_slot = sd_bus_slot_unref(m->hello_slot);
        m->report_slot = sd_bus_slot_unref(m->report_slot);
        port_forget_execs(m);
        renew_forget(m);
        selftest_forget(m);
        channels_unask(m);
        ulv_strbuf_reset(&m->report);
        m->bus = sd_bus_close_unref(m->bus);
        if (had) {
                ulv_log(ULV_LOG_INFO, "uvd is gone; %s goes on (%s)", m->name, payload_text(m->payload));
                m->connect_delay = DELAY_MIN_USEC;
        }
        connect_later(m);
        monitor_turn(m);
}

static int on_disconnected(ULV_UNUSED sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        link_lost(userdata);
        return 1;
}

static int on_view_changed(ULV_UNUSED sd_bus_message *message, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct ulv_monitor *m = userdata;
        int r;

        if (!m->greeted)
                return 0;
        r = view_take(m);
        if (r < 0) {
                ulv_log_errno(r, "the view can't be read; asking for a new one");
                link_lost(m);
                return 1;
        }
        monitor_turn(m);
        return 0;
}

static void enforce_again(struct ulv_monitor *m) {
        if (m->payload == PAYLOAD_RUNNING)
                m->enforcement = ENFORCED_NOT;
        monitor_turn(m);
}

static int on_recheck(ULV_UNUSED sd_bus_message *message, void *userdata, ULV_UNUSED sd_bus_error *error) {
        enforce_again(userdata);
        return 0;
}

/* We come back five times a second, and say the same thing once. */
static void say_once(struct ulv_monitor *m, const char *what, const char *why) {
        if (strncmp(m->hello_error, why, sizeof(m->hello_error) - 1) != 0)
                ulv_log(ULV_LOG_WARNING, "%s: %s", what, why);
        (void) snprintf(m->hello_error, sizeof(m->hello_error), "%s", why);
}

/* Refused for now or for good, what runs is contained. But a monitor of nothing, for a partition that
 * isn't there, has nothing to wait for. */
static void hello_refused(struct ulv_monitor *m, const sd_bus_error *e) {
        say_once(m, "uvd doesn't accept the monitor", e->message ? e->message : e->name);
        if (ulv_streq(e->name, ULV_ERROR_NOT_FOUND) && m->leader_pidfd < 0 && store_find(m, ulv_plugin.leader_fd_name) < 0)
                m->stop = true;
}

static int on_hello(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct ulv_monitor *m = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        uint64_t epoch;
        int fd, r;

        if (e) {
                hello_refused(m, e);
                link_lost(m);
                return 1;
        }
        r = sd_bus_message_read(reply, "th", &epoch, &fd);      /* the fd is the message's: mapped, not kept */
        if (r >= 0)
                r = view_map(m, fd);
        if (r >= 0)
                r = view_take(m);
        if (r < 0) {
                say_once(m, "uvd gave a view that can't be read", strerror(-r));
                link_lost(m);
                return 1;
        }
        m->hello_slot = sd_bus_slot_unref(m->hello_slot);
        m->greeted = true;
        m->hello_error[0] = 0;
        m->connect_delay = DELAY_MIN_USEC;
        monitor_turn(m);
        return 0;
}

/* --- what uvd may ask -------------------------------------------------------------------------------- */

static int on_exec(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct ulv_monitor *m = userdata;
        int r;

        if (m->payload != PAYLOAD_RUNNING)
                return sd_bus_error_setf(error, ULV_ERROR_NOT_ACTIVE, "%s isn't running\nits state is: %s\nuvctl start %s", m->name, payload_text(m->payload), m->name);
        if (m->frozen == FROZEN_YES)
                return sd_bus_error_setf(error, ULV_ERROR_NOT_ACTIVE, "cannot run a program in %s\nit is paused\nuvctl resume %s", m->name, m->name);
        r = ulv_plugin.no_port || ulv_plugin.no_init ? -EOPNOTSUPP : port_exec(m, call);
        if (r == -EOPNOTSUPP)
                return sd_bus_error_setf(error, ULV_ERROR_USAGE, "cannot run a program in %s\na partition of type %s has %s\n%s%s", m->name, ulv_plugin.type,
                                         ulv_plugin.no_init ? "nothing of ours inside that would" : "no inside",
                                         ulv_plugin.no_init ? "uvctl console " : "", ulv_plugin.no_init ? m->name : "");
        if (r < 0)
                return sd_bus_error_setf(error, ULV_ERROR_FAILED, "cannot run a program in %s\n%s\n", m->name, strerror(-r));
        return 1;       /* answered when it has ended */
}

static int on_console(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct ulv_monitor *m = userdata;
        int r;

        if (m->payload != PAYLOAD_RUNNING && m->payload != PAYLOAD_STARTING && m->payload != PAYLOAD_ENDING)
                return sd_bus_error_setf(error, ULV_ERROR_NOT_ACTIVE, "%s isn't running\nits state is: %s\nuvctl start %s", m->name, payload_text(m->payload), m->name);
        if (ulv_plugin.no_port)
                return sd_bus_error_setf(error, ULV_ERROR_USAGE, "cannot type into the console of %s\na partition of type %s has none\n", m->name, ulv_plugin.type);
        r = port_console(m, call);
        if (r < 0)
                return sd_bus_error_setf(error, r == -ENOTCONN || r == -EPIPE ? ULV_ERROR_UNREACHABLE : ULV_ERROR_FAILED, "cannot type into the console of %s\n%s\n", m->name, strerror(-r));
        return 1;       /* answered when it has ended */
}

static int on_usage(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct ulv_monitor *m = userdata;
        struct ulv_usage u;
        int r = ulv_plugin.usage && m->payload == PAYLOAD_RUNNING ? ulv_plugin.usage(m, &u) : -EOPNOTSUPP;

        if (r < 0)
                return sd_bus_error_setf(error, ULV_ERROR_FAILED, "what %s uses isn't known\n%s\n", m->name, strerror(-r));
        return sd_bus_reply_method_return(call, "tttb", u.cpu_usec, u.memory, u.tasks, (int) u.summed);
}

static int on_signal(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct ulv_monitor *m = userdata;
        int signo, r;

        r = sd_bus_message_read(call, "i", &signo);
        if (r < 0)
                return r;
        if (signo < 1 || signo > 64)
                return sd_bus_error_setf(error, ULV_ERROR_USAGE, "%d is not a signal\n\n", signo);
        if (m->payload != PAYLOAD_RUNNING)
                return sd_bus_error_setf(error, ULV_ERROR_NOT_ACTIVE, "%s isn't running\nits state is: %s\nuvctl start %s", m->name, payload_text(m->payload), m->name);
        /* A signal is for the partition's program, which uv-init knows; SIGKILL doesn't ask anybody. */
        r = signo != SIGKILL && !ulv_plugin.no_port && !ulv_plugin.no_init ? port_signal(m, signo) : ulv_plugin.signal ? ulv_plugin.signal(m, signo) : -EOPNOTSUPP;
        if (r == -EOPNOTSUPP)
                return sd_bus_error_setf(error, ULV_ERROR_USAGE, "cannot send signal %d to %s\na partition of type %s takes no signal but KILL\nuvctl stop %s",
                                         signo, m->name, ulv_plugin.type, m->name);
        if (r < 0)
                return sd_bus_error_setf(error, ULV_ERROR_FAILED, "cannot send signal %d to %s\n%s\n", signo, m->name, strerror(-r));
        return sd_bus_reply_method_return(call, NULL);
}

static int on_rotate(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct ulv_monitor *m = userdata;
        int r;

        if (m->payload != PAYLOAD_RUNNING)
                return sd_bus_error_setf(error, ULV_ERROR_NOT_ACTIVE, "%s isn't running\nits state is: %s\nuvctl start %s", m->name, payload_text(m->payload), m->name);
        r = credential_rotate(m, call);
        if (r < 0)
                return sd_bus_error_setf(error, r == -EBUSY ? ULV_ERROR_CONFLICT : ULV_ERROR_FAILED, "cannot rotate credentials of %s\n%s\n%s", m->name,
                                         r == -EBUSY ? "they are being rotated right now" : r == -EOPNOTSUPP ? "a partition of its type has none" : strerror(-r),
                                         r == -EBUSY ? "again in a moment" : "");
        return 1;       /* answered when it is done */
}

static int on_renew(sd_bus_message *call, void *userdata, sd_bus_error *error) { return renew_begin(userdata, call, error); }

/* What a person asked for: the same as a Recheck, and how it ended. */
static int on_enforce(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct ulv_monitor *m = userdata;

        if (m->payload != PAYLOAD_RUNNING)
                return sd_bus_error_setf(error, ULV_ERROR_NOT_ACTIVE, "%s isn't running\nits state is: %s\nuvctl start %s", m->name, payload_text(m->payload), m->name);
        enforce_again(m);
        if (m->enforcement == ENFORCED_DONE)
                return sd_bus_reply_method_return(call, NULL);
        return sd_bus_error_setf(error, ULV_ERROR_FAILED, "what %s was given can't be enforced\n%s\nuvctl restart %s", m->name, m->refusal, m->name);
}

static int on_selftest(sd_bus_message *call, void *userdata, sd_bus_error *error) { return call_selftest(userdata, call, error); }

static int on_channel(sd_bus_message *call, void *userdata, sd_bus_error *error) { return channel_supply(userdata, call, error); }

static int on_channel_open(sd_bus_message *call, void *userdata, sd_bus_error *error) { return channel_host(userdata, call, true, error); }
static int on_channel_state(sd_bus_message *call, void *userdata, sd_bus_error *error) { return channel_host(userdata, call, false, error); }

static const sd_bus_vtable control_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Exec", "asasssah", "i", on_exec, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Console", "uqqh", "", on_console, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Usage", "", "tttb", on_usage, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Signal", "i", "", on_signal, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Enforce", "", "", on_enforce, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RotateCredential", "s", "", on_rotate, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("SelfTest", "", "uuu", on_selftest, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Renew", "u", "", on_renew, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Channel", "s", "shhh", on_channel, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ChannelOpen", "s", "h", on_channel_open, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ChannelState", "s", "h", on_channel_state, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

/* --- connecting -------------------------------------------------------------------------------------- */

static int greet(struct ulv_monitor *m) {
        _cleanup_strbuf_ struct ulv_strbuf held = { 0 };
        int r;

        if ((r = sd_bus_match_signal(m->bus, NULL, NULL, "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, m)) < 0 ||
            (r = sd_bus_match_signal(m->bus, NULL, NULL, ULV_PATH_MONITOR, ULV_IF_MONITOR, "ViewChanged", on_view_changed, m)) < 0 ||
            (r = sd_bus_match_signal(m->bus, NULL, NULL, ULV_PATH_MONITOR, ULV_IF_MONITOR, "Recheck", on_recheck, m)) < 0 ||
            (r = sd_bus_add_object_vtable(m->bus, NULL, ULV_PATH_CONTROL, ULV_IF_CONTROL, control_vtable, m)) < 0)
                return r;
        return sd_bus_call_method_async(m->bus, &m->hello_slot, NULL, ULV_PATH_MONITOR, ULV_IF_MONITOR, "Hello", on_hello, m, "ssss",
                                        m->name, m->token, ulv_plugin.type, view_held_text(m, &held));
}

static int on_connect_timer(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct ulv_monitor *m = userdata;
        char path[MONITOR_ROOT_MAX + 64];
        int r;

        (void) snprintf(path, sizeof(path), "%s/" ULV_RUN "/" ULV_SOCKET_MONITOR, ulv_streq(m->root, "/") ? "" : m->root);
        r = ulv_bus_connect(m->event, path, &m->bus);
        if (r >= 0 && (r = greet(m)) < 0)
                m->bus = sd_bus_close_unref(m->bus);
        if (r < 0)
                connect_later(m);
        return 0;
}

int link_begin(struct ulv_monitor *m) {
        m->connect_delay = DELAY_MIN_USEC;
        return monitor_arm(m, &m->connect_timer, 0, on_connect_timer);
}

void link_done(struct ulv_monitor *m) {
        (void) sd_bus_flush(m->bus);
        m->bus = sd_bus_close_unref(m->bus);
}
