/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* top: what the partitions use now, beside what they have. The kernel counts it, each partition monitor
 * reads it, and the calls to all of them are under way at once. CPU is the time used between two looks: so
 * the first answer takes as long as one interval; on a terminal it goes on until Ctrl-C or --wait=T. */

#include <poll.h>
#include <time.h>

#include "uvctl/part.h"

#define INTERVAL_MS 2000
#define ONE_SHOT_MS 500
#define REPLY_USEC 2000000u

struct usage {
        char name[64];
        bool known;
        uint64_t cpu, memory, tasks;
        int64_t at;                     /* us, of the answer */
};

struct look { struct usage *v; size_t n; unsigned open; };

struct call { struct look *look; size_t i; sd_bus_slot *slot; };

static int64_t now_monotonic(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *unused ULV_UNUSED) {
        struct call *c = userdata;
        struct usage *u = &c->look->v[c->i];
        int summed;

        c->look->open--;
        u->at = now_monotonic();
        /* One that can't tell (it ended just now, or is simulated) is shown without numbers. */
        u->known = !sd_bus_message_is_method_error(m, NULL) && sd_bus_message_read(m, "tttb", &u->cpu, &u->memory, &u->tasks, &summed) > 0;
        return 0;
}

static int ask_all(struct uvctl *u, struct look *l, struct call *calls) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < l->n; i++) {
                _cleanup_message_ sd_bus_message *m = NULL;

                calls[i] = (struct call) { .look = l, .i = i };
                r = client_new(u, "Usage", &m);
                if (r != 0)
                        return r;
                r = sd_bus_message_append(m, "s", l->v[i].name);
                if (r >= 0)
                        r = sd_bus_call_async(u->bus, &calls[i].slot, m, on_answer, &calls[i], REPLY_USEC);
                if (r >= 0)
                        l->open++;
        }
        while (r >= 0 && l->open > 0)
                if ((r = sd_bus_process(u->bus, NULL)) == 0)
                        r = sd_bus_wait(u->bus, UINT64_MAX);
        return r < 0 ? client_error(u, NULL, r) : 0;
}

/* What each of the running ones uses now, in the order of rows. */
static int look(struct uvctl *u, const struct rows *rows, struct look *ret) {
        struct look l = { .v = calloc(rows->n_parts + 1, sizeof(*l.v)) };
        struct call *calls = calloc(rows->n_parts + 1, sizeof(*calls));
        int r = l.v && calls ? 0 : fail_errno(u, -ENOMEM, "ask for what is used");

        for (size_t i = 0; r == 0 && i < rows->n_parts; i++)
                if (rows->parts[i].leader > 0 && !rows->parts[i].infrastructure)
                        (void) snprintf(l.v[l.n++].name, sizeof(l.v->name), "%.63s", rows->parts[i].name);
        if (r == 0)
                r = ask_all(u, &l, calls);
        for (size_t i = 0; calls && i < l.n; i++)
                sd_bus_slot_unref(calls[i].slot);
        free(calls);
        if (r != 0)
                free(l.v);
        else
                *ret = l;
        return r;
}

static const struct usage *find(const struct look *l, const char *name) {
        for (size_t i = 0; i < l->n; i++)
                if (ulv_streq(l->v[i].name, name) && l->v[i].known)
                        return &l->v[i];
        return NULL;
}

/* Hardware threads in use between two looks, in 1/1000. false: not known. */
static bool cpu_between(const struct look *before, const struct usage *now, uint64_t *ret) {
        const struct usage *was = find(before, now->name);

        if (!was || now->at <= was->at || now->cpu < was->cpu)
                return false;
        *ret = (now->cpu - was->cpu) * 1000 / (uint64_t) (now->at - was->at);
        return true;
}

static void add_row(struct table *t, const struct part *p, const struct look *before, const struct look *l) {
        _cleanup_strbuf_ struct ulv_strbuf cpu = { 0 }, has = { 0 }, memory = { 0 }, has_memory = { 0 };
        const struct usage *now = find(l, p->name);
        uint64_t milli;

        part_add_cpu(&has, p);
        part_add_memory(&has_memory, p);
        if (now && cpu_between(before, now, &milli))
                ulv_share_format(&cpu, milli);
        if (now)
                ulv_size_format(&memory, now->memory >> 20 << 20 ? now->memory >> 20 << 20 : now->memory);
        table_add(t, p->name);
        table_add(t, p->state);
        table_colour(t, state_colour(p));
        table_add(t, cpu.len > 0 ? cpu.s : NULL);
        table_add_buffer(t, &has);
        table_add(t, memory.len > 0 ? memory.s : NULL);
        table_add_buffer(t, &has_memory);
        if (now)
                table_addf(t, "%llu", (unsigned long long) now->tasks);
        else
                table_add(t, NULL);
}

static int show_table(struct uvctl *u, const struct rows *rows, const struct look *before, const struct look *l, bool clear) {
        static const struct table_column columns[] = {
                { "NAME", false }, { "STATE", false }, { "CPU", true }, { "HAS", true }, { "MEMORY", true }, { "HAS", true }, { "TASKS", true },
        };
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct table t;
        int r;

        table_init(&t, columns, ULV_ARRAY_SIZE(columns));
        for (size_t i = 0; i < rows->n_parts; i++)
                if (rows->parts[i].leader > 0 && !rows->parts[i].infrastructure)
                        add_row(&t, &rows->parts[i], before, l);
        if (clear)
                ulv_strbuf_add(&b, "\033[H\033[J");
        r = table_write(&t, u->legend, u->colour, 0, &b);
        table_done(&t);
        if (r < 0)
                return fail_errno(u, r, "show the table");
        r = put(u, &b);
        return r == 0 && fflush(stdout) != 0 ? fail_errno(u, -errno, "write to standard output") : r;
}

static int show_json(struct uvctl *u, const struct look *before, const struct look *l) {
        struct json j = { 0 };
        uint64_t milli;
        int r;

        json_array(&j, NULL);
        for (size_t i = 0; i < l->n; i++) {
                if (!l->v[i].known)
                        continue;
                json_object(&j, NULL);
                json_string(&j, "Name", l->v[i].name);
                if (cpu_between(before, &l->v[i], &milli))
                        json_milli(&j, "CPUUsed", milli);
                json_u64(&j, "CPUTimeUSec", l->v[i].cpu);
                json_u64(&j, "MemoryUsed", l->v[i].memory);
                json_u64(&j, "Tasks", l->v[i].tasks);
                json_end(&j);
        }
        json_end(&j);
        r = put(u, &j.b);
        ulv_strbuf_done(&j.b);
        return r;
}

/* One look, shown against the one before, which it replaces. first: there is none yet, and nothing is shown. */
static int round_of(struct uvctl *u, struct look *before, bool first, bool clear) {
        struct rows rows;
        struct look l;
        int r;

        r = rows_get(u, ROWS_PARTITIONS, &rows);
        if (r != 0)
                return r;
        r = look(u, &rows, &l);
        if (r == 0) {
                if (!first)
                        r = u->output == OUTPUT_JSON ? show_json(u, before, &l) : show_table(u, &rows, before, &l, clear);
                free(before->v);
                *before = l;
        }
        rows_done(&rows);
        return r;
}

int verb_top(struct uvctl *u, int argc ULV_UNUSED, char **argv ULV_UNUSED) {
        bool live = u->tty_out && u->output != OUTPUT_JSON;
        int64_t end = u->wait_usec == UINT64_MAX ? INT64_MAX : now_monotonic() + (int64_t) ULV_MIN(u->wait_usec, (uint64_t) INT64_MAX / 2);
        struct look before = { 0 };
        int r;

        r = round_of(u, &before, true, false);
        for (bool again = false; r == 0; again = true) {
                (void) poll(NULL, 0, again ? INTERVAL_MS : ONE_SHOT_MS);
                r = round_of(u, &before, false, live);
                if (!live || now_monotonic() >= end)
                        break;
        }
        free(before.v);
        return r;
}
