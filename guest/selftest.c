/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Is what this partition has what it was given, and does its monitor speak as uv-call(7) says? Takes nobody's channel. */

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest/guest.h"

static char text[VIEW_MAX];

static bool hello(void) {
        struct ulv_call c = { .verb = ULV_CALL_HELLO, .value = { ULV_CALL_VERSION } };

        return guest_ask(&c, NULL) == 0 && c.value[0] >= 1;
}

/* A verb that there isn't is refused, and is no harm. */
static bool unknown(void) {
        struct ulv_call c = { .verb = 9999 };

        return guest_ask(&c, NULL) != 0 && c.answer && c.code == ULV_CALL_UNKNOWN;
}

static bool view(void) {
        char name[128];

        return guest_view(text, sizeof(text)) == 0 && guest_view_get(text, "Partition", "Name", name, sizeof(name));
}

static bool listed(const char *list, unsigned cpu) {
        for (char *end; *list; list = end + (*end == ',')) {
                unsigned long first = strtoul(list, &end, 10), last = *end == '-' ? strtoul(end + 1, &end, 10) : first;

                if (cpu >= first && cpu <= last)
                        return true;
                if (end == list || (*end && *end != ','))
                        return false;
        }
        return false;
}

/* A container runs on CPUs of its view; a VM has as many as it was given. */
static bool cpus(void) {
        char list[4096], type[32] = "";
        cpu_set_t set;

        if (!guest_view_get(text, "CPU", "CPUs", list, sizeof(list)))
                return true;    /* any */
        (void) guest_view_get(text, "Partition", "Type", type, sizeof(type));
        if (strcmp(type, "container") != 0)
                return true;
        if (sched_getaffinity(0, sizeof(set), &set) < 0)
                return false;
        for (unsigned i = 0; i < CPU_SETSIZE; i++)
                if (CPU_ISSET(i, &set) && !listed(list, i))
                        return false;
        return true;
}

void guest_checks(FILE *f, unsigned *ret_made, unsigned *ret_failed) {
        static const struct { const char *what; bool (*f)(void); } checks[] = {
                { "the monitor answers HELLO", hello }, { "it refuses a verb that there isn't", unknown },
                { "it gives the view", view }, { "this runs on CPUs of the view alone", cpus },
        };

        *ret_made = *ret_failed = 0;
        for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
                bool ok = checks[i].f();

                ++*ret_made;
                *ret_failed += !ok;
                if (f)
                        fprintf(f, "%s: %s\n", ok ? "ok" : "not ok", checks[i].what);
        }
}
