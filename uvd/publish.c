/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What others are told after a commit, in this order: the views of the partitions that it changed, then
 * command's mirrors (Changed, Settled), then the starter, if a partition needs a monitor. */

#include "uvd/uvd.h"

#include <stdio.h>

#include "lib/log.h"
#include "lib/protocol.h"

static void publish_views(struct uvd *u) {
        const char *name;

        while ((name = ulv_ledger_next_changed_view(u->ledger))) {
                struct guest *g = guest_find(u, name);
                int r;

                if (!g || !g->view)
                        continue;       /* Made when its monitor says Hello. */
                r = view_update(u, g);
                if (r < 0)
                        (void) ulv_log_errno(r, "cannot update the view of %s", name);
        }
}

static int subscribe_peer(struct ulv_bus_peer *p, void *userdata) {
        if (p->bus == userdata)
                p->userdata = p;        /* anything: whoever has it follows the changes */
        return 0;
}

void publish_subscribe(struct uvd *u, sd_bus *bus) { (void) ulv_bus_listener_each(u->commands, subscribe_peer, bus); }

static int signal_peer(struct ulv_bus_peer *p, void *userdata) {
        const struct published *c = userdata;

        if (!p->userdata)
                return 0;
        if (c->changes.len > 0)
                (void) sd_bus_emit_signal(p->bus, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Changed", "ts", c->generation, ulv_strbuf_str(&c->changes));
        if (c->settled.len > 0)
                (void) sd_bus_emit_signal(p->bus, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Settled", "ts", c->generation, ulv_strbuf_str(&c->settled));
        if (ulv_bus_peer_overdue(p))
                ulv_log(ULV_LOG_WARNING, "dropped a connection of command that doesn't read; it may connect again");
        return 0;
}

/* A partition's row changed: its view may have lost its partition (next_changed_view names live ones only),
 * and it may want a monitor now. */
static int review_line(const char *line, size_t len, void *userdata) {
        static const char prefix[] = "partition ";
        struct uvd *u = userdata;
        const char *at = memchr(line, ' ', len), *end;
        char name[ULV_NAME_MAX + 1];
        size_t left;

        if (!at)
                return 0;
        at++;
        left = (size_t) (line + len - at);
        if (left < sizeof(prefix) - 1 || memcmp(at, prefix, sizeof(prefix) - 1) != 0)
                return 0;
        at += sizeof(prefix) - 1;
        left -= sizeof(prefix) - 1;
        end = memchr(at, ' ', left);
        if (!end || (size_t) (end - at) >= sizeof(name))
                return 0;
        memcpy(name, at, (size_t) (end - at));
        name[end - at] = 0;
        guest_review(u, name, true);
        return 0;
}

void publish_commit(struct uvd *u, const struct published *p) {
        if (p->changes.len == 0 && p->settled.len == 0)
                return;
        publish_views(u);
        if (u->commands)
                (void) ulv_bus_listener_each(u->commands, signal_peer, (void *) p);
        (void) ulv_op_each_line(ulv_strbuf_str(&p->changes), p->changes.len, review_line, u);
}

static int signal_replaced(struct ulv_bus_peer *p, void *userdata) {
        const struct uvd *u = userdata;

        (void) sd_bus_emit_signal(p->bus, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Replaced", "t", ulv_ledger_generation(u->ledger));
        return 0;
}

void publish_replaced(struct uvd *u) { (void) ulv_bus_listener_each(u->commands, signal_replaced, u); }
