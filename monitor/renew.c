/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `uvctl upgrade`: this process makes room for one of the program as it is on disk now.
 *
 * It is the death that a monitor may die at any moment, by another cause: the starter brings a new one, with the fds of
 * its store, and that adopts the payload, which notices nothing. What is better than a kill: uv-port is given the time
 * to write down what it has read of the console, and what it has to say is heard, before both end. The payload's own
 * end may be among that: then there is nothing to be adopted, and this monitor stays to see to it. */

#include "monitor/monitor.h"

#include <stdio.h>

#include "lib/event.h"
#include "lib/protocol.h"

#define PATIENCE_USEC (5 * UINT64_C(1000000))   /* with a uv-port that doesn't end: a flood on the console takes its time */

static int finish(struct ulv_monitor *m) {
        sd_bus_message *call = ulv_steal(m->renewal);
        int r = 0;

        (void) sd_event_source_set_enabled(m->renew_timer, SD_EVENT_OFF);
        if (m->payload == PAYLOAD_RUNNING && !m->exited[0]) {
                ulv_event(ULV_EVENT_UPGRADED, ULV_LOG_NOTICE, m->name, "a new monitor takes over %s", m->name);
                (void) sd_bus_reply_method_return(call, NULL);
                (void) unlinkat(m->run_dir, ULV_DEATHS_NOTE, 0);
                r = sd_event_exit(m->event, ULV_MONITOR_RENEWED);         /* main() sends the answer before it ends */
        } else {
                (void) sd_bus_reply_method_errorf(call, ULV_ERROR_NOT_ACTIVE, "%s doesn't run any more\nit ended meanwhile\nuvctl status %s", m->name, m->name);
                monitor_turn(m);
        }
        sd_bus_message_unref(call);
        return r;
}

static int on_late(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct ulv_monitor *m = userdata;

        if (!m->renewal)
                return 0;
        ulv_log(ULV_LOG_WARNING, "uv-port of %s doesn't end: killed", m->name);
        port_close(m);
        return finish(m);
}

bool renew_goes_on(struct ulv_monitor *m) {
        if (!m->renewal)
                return false;
        port_close(m);
        if (finish(m) < 0)
                (void) sd_event_exit(m->event, EXIT_FAILURE);
        return true;
}

void renew_forget(struct ulv_monitor *m) { m->renewal = sd_bus_message_unref(m->renewal); }

/* What a new monitor couldn't take over: its caller would lose it, or it would be left half done. */
static const char *at_work(const struct ulv_monitor *m, uint32_t flags) {
        if (m->n_execs > 0 && !(flags & ULV_FLAG_FORCE))
                return "uvctl exec, shell, copy or console is at work in it, and would lose its connection";
        if (m->rotation)
                return "its credentials are being rotated";
        if (m->attaching[0])
                return "something is being attached or detached";
        return m->renewal ? "that was asked before, and is under way" : NULL;
}

int renew_begin(struct ulv_monitor *m, sd_bus_message *call, sd_bus_error *error) {
        const char *why;
        uint32_t flags;
        int r = sd_bus_message_read(call, "u", &flags);

        if (r < 0)
                return r;
        if (m->payload != PAYLOAD_RUNNING || m->stop)
                return sd_bus_error_setf(error, ULV_ERROR_NOT_ACTIVE, "%s isn't running\nits state is: %s\nagain when it runs", m->name, payload_text(m->payload));
        why = at_work(m, flags);
        if (why)
                return sd_bus_error_setf(error, ULV_ERROR_CONFLICT, "the monitor of %s is in use\n%s\nagain when that has ended%s", m->name, why,
                                         m->n_execs > 0 ? ", or with --force" : "");
        m->renewal = sd_bus_message_ref(call);
        if (!port_retire(m))
                return finish(m) < 0 ? -EIO : 1;
        r = monitor_arm(m, &m->renew_timer, PATIENCE_USEC, on_late);
        if (r < 0)
                renew_forget(m);
        return r < 0 ? r : 1;
}
