/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uvctl/part.h"

#include <inttypes.h>
#include <time.h>

#include "uvctl/files.h"
#include "uvctl/text.h"

enum colour state_colour(const struct part *p) {
        if (ulv_streq(p->state, "failed"))
                return COLOUR_BAD;
        if (p->degraded)
                return COLOUR_WARN;
        if (p->running)
                return COLOUR_GOOD;
        return ulv_streq(p->state, "defined") ? COLOUR_DIM : COLOUR_WARN;
}

void format_age(char *buf, size_t size, uint64_t usec) {
        uint64_t s = usec / 1000000;

        if (s < 60)
                (void) snprintf(buf, size, "%" PRIu64 "s", s);
        else if (s < 3600)
                (void) snprintf(buf, size, "%" PRIu64 "min", s / 60);
        else if (s < 2 * 86400)
                (void) snprintf(buf, size, "%" PRIu64 "h", s / 3600);
        else
                (void) snprintf(buf, size, "%" PRIu64 "d", s / 86400);
}

uint64_t now_usec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_REALTIME, &t);
        return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}

/* Time since it is running; "-" for what isn't. A clock set back must not show 584,000 years. */
void part_up(const struct part *p, char *buf, size_t size) {
        uint64_t now = now_usec();

        bool held = ulv_streq(p->state, "paused") || ulv_streq(p->state, "pausing");

        if ((!p->running && !held) || p->since == 0)
                (void) snprintf(buf, size, "-");
        else
                format_age(buf, size, now > p->since ? now - p->since : 0);
}

int no_such_partition(struct uvctl *u, const char *name) {
        ulv_diag_what(&u->diag, ULV_EXIT_NOT_FOUND, "no partition %.64s", name);
        ulv_diag_why(&u->diag, "no definition in force has that name");
        ulv_diag_try(&u->diag, "uvctl list");
        tell_unapplied(u, name);
        return ULV_EXIT_NOT_FOUND;
}

/* The properties of a partition, by the names that D-Bus has for them. One table serves JSON and
 * NAME=VALUE; numbers come first parsed from the row. */
enum form { FORM_WORD, FORM_NUMBER, FORM_MILLI, FORM_DEGRADED, FORM_OLD, FORM_YES, FORM_CORES, FORM_LIMITS, FORM_ATTACHED };
static const struct property { const char *name, *key; enum form form; } properties[] = {
        { "Name", NULL, FORM_WORD },
        { "Description", "description", FORM_WORD },
        { "Type", "type", FORM_WORD },
        { "Role", "role", FORM_WORD },
        { "State", "state", FORM_WORD },
        { "Wanted", "wanted", FORM_WORD },
        { "Degraded", NULL, FORM_DEGRADED },
        { "Isolation", "isolation", FORM_WORD },
        { "Zone", "zone", FORM_WORD },
        { "Leader", "leader", FORM_NUMBER },
        { "Since", "since", FORM_NUMBER },
        { "Incarnation", "incarnation", FORM_NUMBER },
        { "Cores", "cores", FORM_CORES },
        { "CoresWanted", "cores-wanted", FORM_NUMBER },
        { "CoresReached", "cores-reached", FORM_NUMBER },
        { "ShareWanted", "share-wanted", FORM_MILLI },
        { "ShareReached", "share-reached", FORM_MILLI },
        { "CPUHow", "cpu-how", FORM_WORD },
        { "MemoryWanted", "memory-wanted", FORM_NUMBER },
        { "MemoryReached", "memory-reached", FORM_NUMBER },
        { "MemoryHow", "memory-how", FORM_WORD },
        { "Limits", "limits", FORM_LIMITS },
        { "Attached", "attached", FORM_ATTACHED },
        { "Contain", "contain", FORM_WORD },
        { "Result", "result", FORM_WORD },
        { "Transaction", "txn", FORM_WORD },
        { "Unit", "unit", FORM_WORD },
        { "Build", "build", FORM_WORD },
        { "OldCode", NULL, FORM_OLD },
        { "Ready", "ready", FORM_YES },
};

/* A core list as numbers: "1,3-4" is [1, 3, 4]. */
static void json_cores(struct json *j, const char *key, const char *list) {
        struct ulv_cpus cpus;

        json_array(j, key);
        if (*list && ulv_cpus_parse(list, &cpus) == 0)
                for (unsigned i = 0; i < ULV_CPU_MAX; i++)
                        if (ulv_cpus_has(&cpus, i))
                                json_u64(j, NULL, i);
        json_end(j);
}

static const char *word(const struct part *p, const struct property *q) { return q->key ? row_str(&p->op, q->key) : p->name; }

void part_json(struct json *j, const struct part *p) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(properties); i++) {
                const struct property *q = &properties[i];

                switch (q->form) {
                case FORM_WORD: json_string(j, q->name, word(p, q)); break;
                case FORM_NUMBER: json_u64(j, q->name, row_u64(&p->op, q->key)); break;
                case FORM_MILLI: json_milli(j, q->name, row_u64(&p->op, q->key)); break;
                case FORM_DEGRADED: json_bool(j, q->name, p->degraded); break;
                case FORM_OLD: json_bool(j, q->name, p->old_code); break;
                case FORM_YES: json_bool(j, q->name, ulv_streq(word(p, q), "yes")); break;
                case FORM_CORES: json_cores(j, q->name, word(p, q)); break;
                case FORM_LIMITS: limits_json(j, q->name, word(p, q)); break;
                case FORM_ATTACHED: attached_json(j, q->name, word(p, q)); break;
                }
        }
}

void part_properties(struct ulv_strbuf *b, const struct part *p) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(properties); i++) {
                const struct property *q = &properties[i];

                ulv_strbuf_add(b, q->name);
                ulv_strbuf_addc(b, '=');
                switch (q->form) {
                case FORM_WORD:
                case FORM_LIMITS:
                case FORM_ATTACHED:
                case FORM_CORES: text_safe(b, word(p, q), strlen(word(p, q)), false); break;
                case FORM_NUMBER: ulv_strbuf_addu(b, row_u64(&p->op, q->key)); break;
                case FORM_MILLI: ulv_share_format(b, row_u64(&p->op, q->key)); break;
                case FORM_DEGRADED: ulv_strbuf_add(b, p->degraded ? "yes" : "no"); break;
                case FORM_YES: ulv_strbuf_add(b, ulv_streq(word(p, q), "yes") ? "yes" : "no"); break;
                case FORM_OLD: ulv_strbuf_add(b, p->old_code ? "yes" : "no"); break;
                }
                ulv_strbuf_addc(b, '\n');
        }
}

const struct part_barrier part_barriers[] = {
        { "simulated", "nothing runs, simulated", false }, { "kvm", "own kernel", false }, { "tcg", "emulated, not KVM", true },
        { "userns", "own user ids", false }, { "seccomp", "system calls filtered", false },
        { "nocaps", "no capability outside", false }, { "anydevice", "no device filter", true }, { "devices", "devices filtered", false },
        { "hooked", "security hooks", false }, { "nohook", "no security hooks", true },
        { "apparmor", "AppArmor", false }, { "nesting", "nesting allowed", false }, { "confined", "confined", false },
        { "preallocated", "memory preallocated", false }, { NULL, NULL, false },
};
