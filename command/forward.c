/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Calls that uvd (or a monitor behind it) answers: passed on as they are, with their fds, and the answer
 * passed back when it comes. An exec may take for ever; nobody else waits for it. */

#include "command/public.h"
#include "lib/protocol.h"

struct forward {
        struct manager *m;
        sd_bus_message *call;
        bool reload;            /* the answer makes the mirror out of date */
};

static void forward_free(struct forward *f) {
        sd_bus_message_unref(f->call);
        free(f);
}

void public_uvd_away(struct ulv_diag *d) {
        ulv_diag_what(d, ULV_EXIT_UNREACHABLE, "uvd, which keeps the ledger, isn't there");
        ulv_diag_why(d, "it was stopped, or is being started again; partitions run on");
        ulv_diag_try(d, "again in a moment");
}

static int pass_back(sd_bus_message *call, sd_bus_message *reply) {
        sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_return(call, &m);
        if (r >= 0)
                r = sd_bus_message_copy(m, reply, true);
        if (r >= 0)
                r = sd_bus_send(NULL, m, NULL);
        sd_bus_message_unref(m);
        return r;
}

static int on_answer(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct forward *f = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        int r;

        if (e && ulv_startswith(e->name, ULV_ERROR_PREFIX))
                (void) sd_bus_reply_method_error(f->call, e);
        else if (e) {
                struct ulv_diag d;

                public_uvd_away(&d);
                (void) ulv_bus_reply_diag(f->call, &d);
        } else {
                r = pass_back(f->call, reply);
                if (r < 0)
                        (void) public_reply_errno(f->call, r);
                if (f->reload)
                        mirror_reload(f->m);
        }
        forward_free(f);
        return 0;
}

static int send_on(struct forward *f, const char *member, uint64_t timeout) {
        sd_bus *bus = f->m->uvd.bus;
        sd_bus_message *m = NULL;
        int r;

        if (!bus)
                return -ENOTCONN;
        r = sd_bus_message_new_method_call(bus, &m, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, member);
        if (r >= 0)
                r = sd_bus_message_copy(m, f->call, true);
        if (r >= 0)
                r = sd_bus_call_async(bus, NULL, m, on_answer, f, timeout);
        sd_bus_message_unref(m);
        return r;
}

static int forward(struct public_peer *pp, sd_bus_message *call, const char *member, uint64_t timeout, bool reload) {
        struct ulv_diag d;
        struct forward *f;
        int r;

        f = malloc(sizeof(*f));
        if (!f)
                return -ENOMEM;
        *f = (struct forward) { .m = pp->m, .call = sd_bus_message_ref(call), .reload = reload };
        r = send_on(f, member, timeout);
        if (r >= 0)
                return 1;
        forward_free(f);
        if (r != -ENOTCONN)
                return public_reply_errno(call, r);
        public_uvd_away(&d);
        return ulv_bus_reply_diag(call, &d);
}

#define MINUTE 60000000u

int method_transaction(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return forward(userdata, call, "Transaction", MINUTE, false);
}

int method_backup(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return forward(userdata, call, "Backup", MINUTE, false);
}

int method_restore(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return forward(userdata, call, "Restore", MINUTE, true);
}

int method_exec(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return forward(userdata, call, "Exec", UINT64_MAX, false);
}

int method_console(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return forward(userdata, call, "Console", UINT64_MAX, false);
}

int method_channel_open(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return forward(userdata, call, "ChannelOpen", MINUTE, false);
}

int method_channel_state(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return forward(userdata, call, "ChannelState", MINUTE, false);
}

int method_usage(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return forward(userdata, call, "Usage", MINUTE, false);
}

int method_selftest(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return forward(userdata, call, "SelfTest", MINUTE, false);
}

int method_signal(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return forward(userdata, call, "Signal", MINUTE, false);
}

int method_renew(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return forward(userdata, call, "Renew", MINUTE, false);
}

int method_enforce(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return forward(userdata, call, "Enforce", MINUTE, false);
}

int method_rotate_credential(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        return forward(userdata, call, "RotateCredential", 2 * MINUTE, false);
}
