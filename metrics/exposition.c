/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A snapshot as OpenMetrics 1.0 text. One table has every series of partitions; rows of the same name, which differ by
 * labels, stand together, as the format wants it. What isn't known of a partition has no sample: a 0 would be a claim. */

#include "metrics/metrics.h"

#include <inttypes.h>

#include "lib/build.h"
#include "model/name.h"

enum from { FROM_ROW, FROM_USAGE, FROM_STATE, FROM_INFO, FROM_DEGRADED, FROM_OLD };
enum scale { ONE, MILLI, MICRO };
static const struct series {
        const char *name, *labels;      /* without "_total"; labels behind partition="..." */
        bool counter;
        enum from from;
        const char *key; enum usage_field field;
        enum scale scale;
        const char *help;
} series[] = {
#define ROW(name, counter, key, scale, help) { "ultravisor_partition_" name, "", counter, FROM_ROW, key, 0, scale, help }
#define USAGE(name, labels, counter, field, scale, help) { "ultravisor_partition_" name, labels, counter, FROM_USAGE, NULL, field, scale, help }
        { "ultravisor_partition", "", false, FROM_INFO, NULL, 0, ONE, "What it is, by labels." },
        { "ultravisor_partition_state", "", false, FROM_STATE, NULL, 0, ONE, "1 for the state that it is in." },
        { "ultravisor_partition_degraded", "", false, FROM_DEGRADED, NULL, 0, ONE, "1: something that it shall have it hasn't, or isn't enforced." },
        { "ultravisor_partition_old_code", "", false, FROM_OLD, NULL, 0, ONE, "1: its monitor, or the role, runs other code than is installed." },
        ROW("starts", true, "incarnation", ONE, "How often it was started, restarts included."),
        ROW("start_time_seconds", false, "since", MICRO, "When it reached its state, in seconds since 1970."),
        ROW("cores_wanted", false, "cores-wanted", ONE, "Cores that it shall have for itself."),
        ROW("cores_reached", false, "cores-reached", ONE, "And has."),
        ROW("share_wanted", false, "share-wanted", MILLI, "Share of the pool that it shall have, in threads."),
        ROW("share_reached", false, "share-reached", MILLI, "And has."),
        ROW("memory_wanted_bytes", false, "memory-wanted", ONE, "Memory that it shall have."),
        ROW("memory_reached_bytes", false, "memory-reached", ONE, "And has: its limit."),
        USAGE("memory_used_bytes", "", false, USAGE_MEMORY, ONE, "Memory that it uses."),
        USAGE("memory_limit_bytes", "", false, USAGE_MEMORY_LIMIT, ONE, "The limit that the kernel holds it to, read from it: else than reached is drift."),
        USAGE("memory_oom_kills", "", true, USAGE_OOM_KILLS, ONE, "Processes killed because its memory was full."),
        USAGE("tasks", "", false, USAGE_TASKS, ONE, "Processes and threads."),
        USAGE("tasks_limit", "", false, USAGE_TASKS_LIMIT, ONE, "The limit that the kernel holds it to."),
        USAGE("cpu_limit", "", false, USAGE_CPU_LIMIT, MILLI, "The limit that the kernel holds it to, in threads: else than the share reached is drift."),
        USAGE("cpu_seconds", "", true, USAGE_CPU, MICRO, "CPU time used."),
        USAGE("cpu_periods", "", true, USAGE_PERIODS, ONE, "Periods of its CPU limit."),
        USAGE("cpu_throttled_periods", "", true, USAGE_THROTTLED_PERIODS, ONE, "Of these, in which it was held."),
        USAGE("cpu_throttled_seconds", "", true, USAGE_THROTTLED, MICRO, "Time that it was held by its CPU limit."),
        USAGE("io_read_bytes", "", true, USAGE_READ, ONE, "Read from block devices."),
        USAGE("io_written_bytes", "", true, USAGE_WRITTEN, ONE, "Written to block devices."),
#define STALL "Time in which some, or all, of its work waited for the resource (PSI)."
        USAGE("stalled_seconds", ",resource=\"cpu\",kind=\"some\"", true, USAGE_CPU_SOME, MICRO, STALL),
        USAGE("stalled_seconds", ",resource=\"cpu\",kind=\"full\"", true, USAGE_CPU_FULL, MICRO, STALL),
        USAGE("stalled_seconds", ",resource=\"memory\",kind=\"some\"", true, USAGE_MEMORY_SOME, MICRO, STALL),
        USAGE("stalled_seconds", ",resource=\"memory\",kind=\"full\"", true, USAGE_MEMORY_FULL, MICRO, STALL),
        USAGE("stalled_seconds", ",resource=\"io\",kind=\"some\"", true, USAGE_IO_SOME, MICRO, STALL),
        USAGE("stalled_seconds", ",resource=\"io\",kind=\"full\"", true, USAGE_IO_FULL, MICRO, STALL),
};

static bool ends(const char *s, const char *end) {
        size_t n = strlen(s), m = strlen(end);

        return n > m && ulv_streq(s + n - m, end);
}

static void header(struct ulv_strbuf *b, const char *name, const char *type, const char *help) {
        ulv_strbuf_addf(b, "# TYPE %s %s\n", name, type);
        if (ends(name, "_seconds") || ends(name, "_bytes"))
                ulv_strbuf_addf(b, "# UNIT %s %s\n", name, ends(name, "_seconds") ? "seconds" : "bytes");
        ulv_strbuf_addf(b, "# HELP %s %s\n", name, help);
}

static void label(struct ulv_strbuf *b, const char *value) {
        for (; *value; value++)
                if (*value == '\\' || *value == '"')
                        ulv_strbuf_addf(b, "\\%c", *value);
                else
                        ulv_strbuf_add(b, *value == '\n' ? "\\n" : (const char[]) { *value, 0 });
}

static void number(struct ulv_strbuf *b, uint64_t v, enum scale scale) {
        static const struct { uint64_t by; int digits; } scales[] = { { 1, 0 }, { 1000, 3 }, { 1000000, 6 } };
        uint64_t by = scales[scale].by;

        if (v == UNLIMITED) {
                ulv_strbuf_add(b, " +Inf\n");
                return;
        }
        ulv_strbuf_addf(b, " %" PRIu64, v / by);
        if (scale != ONE)
                ulv_strbuf_addf(b, ".%0*" PRIu64, scales[scale].digits, v % by);
        ulv_strbuf_addc(b, '\n');
}

static const char *word(const struct subject *o, const char *key) {
        const char *v = ulv_op_get(&o->row, key);

        return v ? v : "";
}

static bool value_of(const struct series *q, const struct subject *o, uint64_t *ret) {
        uint64_t leader = 0;

        switch (q->from) {
        case FROM_ROW:          /* a number that is 0 is left out of a row */
                *ret = 0;
                return ulv_op_get_u64(&o->row, q->key, ret) >= 0;
        case FROM_USAGE:
                *ret = o->usage.value[q->field];
                return o->usage.known[q->field];
        case FROM_DEGRADED:
                *ret = word(o, "degraded")[0] && !ulv_streq(word(o, "degraded"), "no");
                return true;
        case FROM_OLD:
                *ret = ulv_op_get_u64(&o->row, "leader", &leader) == 0 && leader > 0 && !ulv_streq(word(o, "build"), ulv_build);
                return true;
        case FROM_STATE:
        case FROM_INFO:
                *ret = 1;
                return true;
        }
        return false;
}

static void sample(struct ulv_strbuf *b, const struct series *q, const struct subject *o) {
        static const char *const info[] = { "type", "role", "zone", "isolation", "build" };
        uint64_t v;

        if (!value_of(q, o, &v))
                return;
        ulv_strbuf_addf(b, "%s%s{partition=\"", q->name, q->counter ? "_total" : q->from == FROM_INFO ? "_info" : "");
        label(b, o->row.id);
        ulv_strbuf_addf(b, "\"%s", q->labels);
        for (size_t i = 0; q->from == FROM_INFO && i < ULV_ARRAY_SIZE(info); i++) {
                ulv_strbuf_addf(b, ",%s=\"", info[i]);
                label(b, word(o, info[i]));
                ulv_strbuf_addc(b, '"');
        }
        if (q->from == FROM_STATE) {
                ulv_strbuf_add(b, ",state=\"");
                label(b, word(o, "state"));
                ulv_strbuf_addc(b, '"');
        }
        ulv_strbuf_addc(b, '}');
        number(b, v, q->scale);
}

/* One value of the host, or of the instance. */
static void single(struct ulv_strbuf *b, const char *name, bool counter, const char *help, uint64_t v, enum scale scale) {
        header(b, name, counter ? "counter" : "gauge", help);
        ulv_strbuf_addf(b, "%s%s", name, counter ? "_total" : "");
        number(b, v, scale);
}

static void roles(struct ulv_strbuf *b, const struct snapshot *s) {
        header(b, "ultravisor_role_up", "gauge", "1: the role is there; of the others the planner (uv-command) says it.");
        ulv_strbuf_addf(b, "ultravisor_role_up{role=\"uv-command\"} %d\n", s->up);
        if (!s->up)
                return;
        ulv_strbuf_addf(b, "ultravisor_role_up{role=\"uvd\"} %d\n", s->ledger);
        ulv_strbuf_addf(b, "ultravisor_role_up{role=\"uv-operations\"} %d\n", s->operations);
}

static void outcomes(struct ulv_strbuf *b, const struct snapshot *s) {
        header(b, "ultravisor_transactions", "counter", "Transactions by outcome, since the planner started.");
        ulv_strbuf_addf(b, "ultravisor_transactions_total{outcome=\"done\"} %" PRIu64 "\n", s->done);
        ulv_strbuf_addf(b, "ultravisor_transactions_total{outcome=\"undone\"} %" PRIu64 "\n", s->undone);
}

/* Rows of channels are ends, named LABEL@PEER: two that hold the same memory are connected. */
static bool is_connected(const struct snapshot *s, const struct ulv_op *end) {
        const char *memory = ulv_op_get(end, "memory"), *peer = ulv_op_get(end, "peer"), *other;
        size_t n = strcspn(end->id, "@") + 1;

        for (size_t i = 0; memory && memory[0] && peer && i < s->n_channels; i++)
                if (ulv_streq(s->channels[i].owner, peer) && strncmp(s->channels[i].id, end->id, n) == 0 &&
                    (other = ulv_op_get(&s->channels[i], "memory")) && ulv_streq(other, memory))
                        return true;
        return false;
}

static void channel_sample(struct ulv_strbuf *b, const char *name, const struct ulv_op *end, uint64_t v) {
        const char *peer = ulv_op_get(end, "peer");

        ulv_strbuf_addf(b, "%s{partition=\"", name);
        label(b, end->owner);
        ulv_strbuf_addf(b, "\",channel=\"%.*s\",peer=\"", (int) strcspn(end->id, "@"), end->id);
        label(b, peer ? peer : "");
        ulv_strbuf_add(b, "\"}");
        number(b, v, ONE);
}

static void channels(struct ulv_strbuf *b, const struct snapshot *s) {
        uint64_t epoch;

        /* The host's end is a person's, who comes and goes. */
        header(b, "ultravisor_channel_connected", "gauge", "1: both ends hold the same memory.");
        for (size_t i = 0; i < s->n_channels; i++)
                if (!ulv_streq0(ulv_op_get(&s->channels[i], "peer"), "host"))
                        channel_sample(b, "ultravisor_channel_connected", &s->channels[i], is_connected(s, &s->channels[i]));
        header(b, "ultravisor_channel_epoch", "gauge", "Rises when an end comes anew.");
        for (size_t i = 0; i < s->n_channels; i++)
                if (ulv_op_get_u64(&s->channels[i], "epoch", &epoch) == 0)
                        channel_sample(b, "ultravisor_channel_epoch", &s->channels[i], epoch);
}

void exposition(const struct snapshot *s, struct ulv_strbuf *b) {
        single(b, "ultravisor_up", false, "1: the planner (uv-command) answers; else there is nothing of partitions.", s->up, ONE);
        roles(b, s);
        if (s->steal_known)
                single(b, "ultravisor_host_steal_seconds", true, "CPU time that a hypervisor below this host gave to others.", s->steal_usec, MICRO);
        if (s->up)
                single(b, "ultravisor_ledger_generation", false, "Of the ledger: rises with each commit.", s->generation, ONE);
        if (s->up) {
                outcomes(b, s);
                channels(b, s);
        }
        for (size_t i = 0; s->up && i < ULV_ARRAY_SIZE(series); i++) {
                const struct series *q = &series[i];

                if (i == 0 || !ulv_streq(q->name, series[i - 1].name))
                        header(b, q->name, q->from == FROM_INFO ? "info" : q->counter ? "counter" : "gauge", q->help);
                for (size_t k = 0; k < s->n_subjects; k++)
                        sample(b, q, &s->subjects[k]);
        }
        ulv_strbuf_add(b, "# EOF\n");
}
