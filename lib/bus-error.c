/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Refusals as D-Bus errors and back: the name carries the class, the message the three lines. */

#include <stdio.h>

#include "lib/bus.h"
#include "lib/protocol.h"

static const struct { enum ulv_exit code; const char *name; } errors[] = {
        { ULV_EXIT_FAILED, ULV_ERROR_FAILED },
        { ULV_EXIT_USAGE, ULV_ERROR_USAGE },
        { ULV_EXIT_NOT_ACTIVE, ULV_ERROR_NOT_ACTIVE },
        { ULV_EXIT_NOT_FOUND, ULV_ERROR_NOT_FOUND },
        { ULV_EXIT_DENIED, ULV_ERROR_DENIED },
        { ULV_EXIT_CONFLICT, ULV_ERROR_CONFLICT },
        { ULV_EXIT_CAPACITY, ULV_ERROR_CAPACITY },
        { ULV_EXIT_TIMEOUT, ULV_ERROR_TIMEOUT },
        { ULV_EXIT_DEGRADED, ULV_ERROR_DEGRADED },
        { ULV_EXIT_UNREACHABLE, ULV_ERROR_UNREACHABLE },
        { ULV_EXIT_FAILED, ULV_ERROR_OUTCOME_UNKNOWN },
        { ULV_EXIT_TIMEOUT, SD_BUS_ERROR_TIMEOUT },
        { ULV_EXIT_TIMEOUT, SD_BUS_ERROR_NO_REPLY },
        { ULV_EXIT_UNREACHABLE, SD_BUS_ERROR_DISCONNECTED },
        { ULV_EXIT_DENIED, SD_BUS_ERROR_ACCESS_DENIED },
        { ULV_EXIT_DENIED, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED },
        { ULV_EXIT_UNREACHABLE, SD_BUS_ERROR_SERVICE_UNKNOWN },
        { ULV_EXIT_UNREACHABLE, SD_BUS_ERROR_NAME_HAS_NO_OWNER },
        { ULV_EXIT_USAGE, SD_BUS_ERROR_INVALID_ARGS },
        { ULV_EXIT_USAGE, SD_BUS_ERROR_UNKNOWN_METHOD },
};

int ulv_bus_reply_diag(sd_bus_message *m, const struct ulv_diag *d) {
        const char *name = ULV_ERROR_FAILED;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(errors); i++)
                if (errors[i].code == d->code) {
                        name = errors[i].name;
                        break;
                }
        if (d->file[0])
                return sd_bus_reply_method_errorf(m, name, "%s:%u:%u: %s\n%s\n%s", d->file, d->line, d->column, d->what, d->why, d->try_);
        return sd_bus_reply_method_errorf(m, name, "%s\n%s\n%s", d->what, d->why, d->try_);
}

/* Copies the line that *s stands at into field, cut to fit, and moves *s behind it. */
static void take_line(const char **s, char *field, size_t size) {
        size_t n = strcspn(*s, "\n");

        (void) snprintf(field, size, "%.*s", (int) ULV_MIN(n, size - 1), *s);
        *s += n + ((*s)[n] == '\n');
}

void ulv_bus_error_to_diag(const sd_bus_error *e, int r, struct ulv_diag *ret) {
        const char *s;

        if (!e || !e->name) {
                bool gone = r == -ECONNRESET || r == -ENOTCONN || r == -ECONNREFUSED || r == -ENOENT || r == -EPIPE;

                ulv_diag_what(ret, gone ? ULV_EXIT_UNREACHABLE : r == -ETIMEDOUT ? ULV_EXIT_TIMEOUT : ULV_EXIT_FAILED, "%s", strerror(-r));
                return;
        }
        *ret = (struct ulv_diag) { .code = ULV_EXIT_FAILED };
        for (size_t i = 0; i < ULV_ARRAY_SIZE(errors); i++)
                if (ulv_streq(errors[i].name, e->name)) {
                        ret->code = errors[i].code;
                        break;
                }
        s = e->message ? e->message : e->name;
        take_line(&s, ret->what, sizeof(ret->what));
        if (!ret->what[0])      /* whoever it comes from: no error is without a word */
                (void) snprintf(ret->what, sizeof(ret->what), "%s", e->name);
        take_line(&s, ret->why, sizeof(ret->why));
        take_line(&s, ret->try_, sizeof(ret->try_));
}
