/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Looking at definitions and policies without changing the ledger: reload, verify. */

#include <stdio.h>

#include "command/public.h"
#include "lib/fd.h"
#include "lib/protocol.h"

void public_problems(struct ulv_diag *d, const char *what, const char *problems) {
        size_t n = 0;

        for (const char *p = problems; *p; p++)
                n += *p == '\n';
        ulv_diag_what(d, ULV_EXIT_USAGE, "%s: %zu error%s in the definitions and policies", what, n, n == 1 ? "" : "s");
        ulv_diag_why(d, "%.*s", (int) strcspn(problems, "\n"), problems);
        ulv_diag_try(d, "uvctl verify");
}

void public_operations_away(struct ulv_diag *d, const char *verb) {
        ulv_diag_what(d, ULV_EXIT_UNREACHABLE, "cannot %s", verb);
        ulv_diag_why(d, "the keeper of definitions and policies (uv-operations) isn't there; nothing was changed");
        ulv_diag_try(d, "again in a moment");
}

static int on_reloaded(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        sd_bus_message *call = userdata;
        const char *problems;
        uint64_t version;
        struct ulv_diag d;
        int ok;

        if (sd_bus_message_is_method_error(reply, NULL) || sd_bus_message_read(reply, "bts", &ok, &version, &problems) < 0) {
                public_operations_away(&d, "reload");
                (void) ulv_bus_reply_diag(call, &d);
        } else if (!ok) {
                char what[64];

                (void) snprintf(what, sizeof(what), "version %llu stays in force", (unsigned long long) version);
                public_problems(&d, what, problems);
                (void) ulv_bus_reply_diag(call, &d);
        } else
                (void) sd_bus_reply_method_return(call, "t", version);
        sd_bus_message_unref(call);
        return 0;
}

int method_reload(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        struct link *l = &pp->m->operations;
        sd_bus_message *ask = NULL;
        struct ulv_diag d;
        int r = -ENOTCONN;

        if (l->bus && (r = sd_bus_message_new_method_call(l->bus, &ask, NULL, ULV_PATH_OPERATIONS, ULV_IF_OPERATIONS, "Reload")) >= 0)
                r = link_call(l, ask, on_reloaded, sd_bus_message_ref(call));
        sd_bus_message_unref(ask);
        if (r >= 0)
                return 1;
        public_operations_away(&d, "reload");
        return ulv_bus_reply_diag(call, &d);
}

static void collect(const struct ulv_diag *d, void *userdata) {
        struct ulv_strbuf *b = userdata;

        if (d->file[0])         /* a bundle that isn't one has no place */
                ulv_strbuf_addf(b, "%s:%u:%u: ", d->file, d->line, d->column);
        ulv_strbuf_addf(b, "%s%s%s\n", d->what, d->why[0] ? ": " : "", d->why);
}

int method_verify(sd_bus_message *call, ULV_UNUSED void *userdata, ULV_UNUSED sd_bus_error *error) {
        _cleanup_strbuf_ struct ulv_strbuf problems = { .max = 1024 * 1024 };
        _cleanup_free_ char *text = NULL;
        struct ulv_bundle *b = NULL;
        size_t len = 0;
        int fd, r;

        r = sd_bus_message_read(call, "h", &fd);
        if (r < 0)
                return r;
        r = ulv_memfd_is_sealed(fd) ? ulv_read_fd(fd, ULV_BUNDLE_MAX, &text, &len) : -EINVAL;
        if (r == 0)
                r = ulv_bundle_parse(text, len, &b, collect, &problems);
        ulv_bundle_free(b);
        if (r < 0)
                return public_reply_errno(call, r);
        return sd_bus_reply_method_return(call, "bs", r == 0, ulv_strbuf_str(&problems));
}
