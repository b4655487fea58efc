/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A seeded simulation of the ledger: random transactions and reports, duplicated, late, refused, in error,
 * and with allocations that fail; after each step everything that must hold is looked at from outside
 * (ledger-oracle.inc). A failure is shrunk to a short trace, which is printed so that --replay runs it.
 *
 *   sim-ledger [--steps N] [--seed S]       exit status 0, or 1 and a trace
 *   sim-ledger --replay FILE
 *   sim-ledger --sabotage NAME              plants a bug: must end with status 1
 *   sim-ledger --controls                   every planted bug must be found */

#include <stdarg.h>
#include <stdio.h>

#include "model/ledger-internal.h"

#define MUST(x) do { if (!(x)) { fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); abort(); } } while (0)

#include "test/lib/fail-alloc.inc"
#include "test/sim/ledger-trace.inc"
#include "test/sim/ledger-oracle.inc"
#include "test/sim/ledger-generate.inc"

/* --- planted bugs --------------------------------------------------------------------------------------- */

static const char *const sabotages[] = { "settled-twice", "ended-loses", "settled-early", "change-missed", "undo-forgets", "view-stale", "half-undone", "ends-differ" };

static struct holding *find_cell(struct ulv_ledger *l, const char *kind, const char *id, const char *owner) {
        struct resource *r = ulv_find_resource(l, (enum kind) ulv_kind_from_name(kind), id);
        struct partition *p = ulv_find_partition(l, owner);

        return r && p ? ulv_find_holding(l, r, p) : NULL;
}

/* Behind a successful step, as if the step had done it. */
static void sabotage_step(struct world *w, const struct event *e) {
        struct holding *h;

        if (is_sabotage(w, "settled-twice") && e->reporter && strstr(e->ops, "letgo memory 0/4K") &&
            (h = find_cell(w->l, "memory", "0/4K", "idle"))) {
                ulv_touch(w->l, &h->o);
                h->b.amount++;
                h->key.r->b.total++;
                ulv_commit(w->l);
        }
        if (is_sabotage(w, "ended-loses") && e->reporter && strstr(e->ops, "ended") &&
            (h = find_cell(w->l, "memory", "0/4K", "idle")) && h->b.amount > 0) {
                ulv_touch(w->l, &h->o);
                h->b.amount--;
                h->key.r->b.total--;
                ulv_commit(w->l);
        }
        if (is_sabotage(w, "settled-early") && !e->reporter)
                for (struct transfer *t = w->l->transfers, *next; t; t = next) {
                        next = t->hh.next;
                        MUST(ulv_settle(w->l, t, t->b.amount) == 0);
                        ulv_commit(w->l);
                }
        if (is_sabotage(w, "ends-differ") && !e->reporter)
                for (int i = 0; i < PARTITIONS; i++) {
                        char owner[4] = { 'p', (char) ('0' + i), 0 }, id[8] = { 'c', '0', '@', 'p', (char) ('0' + i), 0 };
                        char *end = (h = find_cell(w->l, "channel", id, owner)) && h->b.amount ? strstr(h->key.r->b.attrs, " size=65536") : NULL;

                        if (end)
                                end[7] = '9';
                }
        if (is_sabotage(w, "view-stale") && e->reporter && strstr(e->ops, "reached core") && (h = find_cell(w->l, "core", "1", e->reporter)) && h->b.amount)
                h->key.p->holdings = NULL;
}

/* --- a run ------------------------------------------------------------------------------------------------ */

static struct ulv_ledger *new_ledger(void) {
        static struct ulv_cpus threads[4];
        static struct ulv_inv_core cores[4];
        static struct ulv_inv_memory memory[] = { { 0, "2M", 16 }, { 0, "4K", 200 }, { 1, "4K", 200 } };
        static struct ulv_inv_device devices[] = { { "pci", "0000:18:00.0", "group=12 description=a%20b" }, { "net", "eth0", "" } };
        struct ulv_inventory inv = { .kind = ULV_INVENTORY_IMAGINED, .name = "sim", .uids_first = 1, .uids_last = 8, .cores = cores, .n_cores = 4,
                                     .memory = memory, .n_memory = 3, .devices = devices, .n_devices = 2, .controllers = "cpu memory" };
        struct ulv_ledger *l;

        for (unsigned i = 0; i < 4; i++) {
                ulv_cpus_set(&threads[i], i);
                ulv_cpus_set(&threads[i], i + 4);
                cores[i] = (struct ulv_inv_core) { .id = i, .node = i / 2, .threads = &threads[i], .n_threads = 2 };
        }
        MUST(ulv_ledger_new(&inv, &l) == 0);
        return l;
}

static void world_init(struct world *w, const char *sabotage) {
        static const char first[] = "release core 2 host\nrelease core 3 host\nrelease memory 0/4K host amount=150\nrelease memory 1/4K host amount=150\n";
        struct ulv_txn t = { .id = "first", .zone = "default", .operations = first, .operations_len = sizeof(first) - 1 };
        struct ulv_outcome o = {};

        *w = (struct world) { .sabotage = sabotage };
        w->l = new_ledger();
        MUST(ulv_ledger_step(w->l, &t, &o, NULL) == 0);
        ulv_outcome_done(&o);
        MUST(ulv_ledger_drain_changes(w->l, &w->changes) == 0);
        MUST(ulv_ledger_dump(w->l, NULL, &w->dump) == 0);
        w->mirror = reload(w);
        MUST(w->mirror);
        snapshot_take(w->l, &w->start);
}

static void world_done(struct world *w) {
        ulv_ledger_free(w->l);
        ulv_ledger_free(w->mirror);
        ulv_strbuf_done(&w->dump);
        ulv_strbuf_done(&w->last_dump);
        ulv_strbuf_done(&w->other);
        ulv_strbuf_done(&w->changes);
        while (w->open) {
                struct open_txn *t = w->open;

                w->open = t->next;
                free(t);
        }
}

/* A step that said no must have changed nothing. */
static bool check_unchanged(struct world *w, int r) {
        ulv_strbuf_reset(&w->other);
        MUST(ulv_ledger_dump(w->l, NULL, &w->other) == 0);
        if (!ulv_streq(ulv_strbuf_str(&w->other), ulv_strbuf_str(&w->dump)))
                return fail(w, "a step returned %d and changed the ledger", r);
        ulv_strbuf_reset(&w->other);
        MUST(ulv_ledger_drain_changes(w->l, &w->other) == 0);
        return w->other.len == 0 || fail(w, "a step returned %d and told changes", r);
}

static bool after_success(struct world *w, const struct event *e, struct ulv_ledger *copy, bool reaching) {
        if (reaching)
                open_add(w, e->id);
        sabotage_step(w, e);
        ulv_strbuf_reset(&w->dump);
        MUST(ulv_ledger_dump(w->l, NULL, &w->dump) == 0);
        ulv_strbuf_reset(&w->changes);
        MUST(ulv_ledger_drain_changes(w->l, &w->changes) == 0);
        if (is_sabotage(w, "change-missed") && e->reporter && w->changes.len > 0) {
                drop_last_line(w->changes.s);
                w->changes.len = strlen(w->changes.s);
        }
        if (!check_all(w, e->reporter))
                return false;
        return !copy || check_undo(w, copy, e);
}

static bool run_event(struct world *w, const struct event *e) {
        struct ulv_txn t = { .id = e->id ? e->id : "", .zone = e->zone, .subject = "sim", .if_generation = e->if_generation, .now = w->steps,
                             .operations = e->ops, .operations_len = strlen(e->ops), .reporter = e->reporter };
        /* Undo is tried on a copy, of every eighth transaction: by its name, so that shrinking doesn't change that. */
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *copy = e->id && !e->fail && strtoul(e->id + 1, NULL, 10) % 8 == 0 ? reload(w) : NULL;
        struct ulv_outcome o = {};
        struct ulv_diag d = {};
        bool ok;
        int r;

        w->steps++;
        snapshot_take(w->l, &w->before);
        alloc_failed = false;
        alloc_fail_at = e->fail;
        r = ulv_ledger_step(w->l, &t, &o, &d);
        alloc_fail_at = 0;
        if (r < 0 && (r != -ENOMEM || !alloc_failed))
                return fail(w, "a step returned %d", r);
        if (r > 0 && !d.what[0])
                return fail(w, "refusal %d without a text", r);
        if (r == 0) {
                w->applied++;
                ok = after_success(w, e, copy, o.reaching);
        } else {
                *(r > 0 ? &w->refused : &w->failed) += 1;
                if (is_sabotage(w, "half-undone") && r > 0 && w->l->holdings)
                        w->l->holdings->b.reached ^= 1;
                ok = check_unchanged(w, r);
        }
        ulv_outcome_done(&o);
        return ok;
}

/* At the end everybody ends: then nothing may be left that waits. */
static bool run_end(struct world *w) {
        for (int i = 0; i < PARTITIONS; i++) {
                char name[4] = { 'p', (char) ('0' + i), 0 }, ops[64];
                struct event e = { .reporter = name, .ops = ops };

                snprintf(ops, sizeof(ops), "ended partition %s - result=end\n", name);
                if (!run_event(w, &e))
                        return false;
        }
        return !w->open || fail(w, "%s never settled", w->open->id);
}

/* Runs a trace; true if all held. */
static bool run_trace(const struct event *const *v, size_t n, const char *sabotage, char failure[1024]) {
        static struct world w;
        bool ok = true;

        world_init(&w, sabotage);
        for (size_t i = 0; i < n && ok; i++)
                ok = run_event(&w, v[i]);
        if (ok)
                ok = run_end(&w);
        memcpy(failure, w.failure, sizeof(w.failure));
        world_done(&w);
        return ok;
}

/* --- shrinking --------------------------------------------------------------------------------------------- */

/* Takes chunks away as long as it still fails, chunks half as large each time (ddmin). `budget` is in events. */
static size_t shrink(const struct event **v, size_t n, const char *sabotage, uint64_t budget) {
        const struct event **try = calloc(n + 1, sizeof(*try));
        char failure[1024];

        MUST(try);
        for (size_t chunk = n / 2; chunk > 0; chunk = chunk > 1 && chunk < 3 ? 1 : chunk / 2) {
                for (size_t at = 0; at < n && budget > n; ) {
                        size_t part = ULV_MIN(chunk, n - at);

                        memcpy(try, v, at * sizeof(*v));
                        memcpy(try + at, v + at + part, (n - at - part) * sizeof(*v));
                        budget -= n;
                        if (run_trace(try, n - part, sabotage, failure))
                                at += part;
                        else {
                                n -= part;
                                memcpy(v, try, n * sizeof(*v));
                        }
                }
        }
        free(try);
        return n;
}

static void report_failure(struct trace *t, const char *sabotage, bool quiet) {
        const struct event **v = calloc(t->n + 1, sizeof(*v));
        char failure[1024];
        size_t n = t->n;

        MUST(v);
        for (size_t i = 0; i < n; i++)
                v[i] = &t->v[i];
        n = shrink(v, n, sabotage, quiet ? 100000 : 2000000);
        (void) run_trace(v, n, sabotage, failure);
        if (!quiet) {
                printf("# shrunk to %zu events: %s\n", n, failure);
                for (size_t i = 0; i < n; i++)
                        trace_write(v[i], stdout);
        } else
                printf("# found in %zu events, shrunk to %zu: %s\n", t->n, n, failure);
        free(v);
}

/* --- main ---------------------------------------------------------------------------------------------------- */

static bool simulate(uint64_t steps, uint64_t seed, const char *sabotage, bool quiet) {
        static struct world w;
        struct rng r = { seed * UINT64_C(0x9E3779B97F4A7C15) + 1 };
        struct trace t = {};
        bool ok = true;

        world_init(&w, sabotage);
        for (uint64_t i = 0; i < steps && ok; i++) {
                snapshot_take(w.l, &w.before);
                ok = run_event(&w, generate(&r, &w, &t));
        }
        if (ok)
                ok = run_end(&w);
        printf("# seed %llu: %llu steps: %llu applied, %llu refused, %llu without memory, %llu settled, %llu undone (%llu can't)\n",
               (unsigned long long) seed, (unsigned long long) w.steps, (unsigned long long) w.applied, (unsigned long long) w.refused,
               (unsigned long long) w.failed, (unsigned long long) w.settled, (unsigned long long) w.undone, (unsigned long long) w.undo_refused);
        if (!ok) {
                printf("# step %llu: %s\n", (unsigned long long) w.steps, w.failure);
                report_failure(&t, sabotage, quiet);
        }
        world_done(&w);
        trace_done(&t);
        return ok;
}

static bool replay(const char *path, const char *sabotage) {
        FILE *f = fopen(path, "re");
        const struct event **v;
        char failure[1024];
        struct trace t = {};
        bool ok;

        if (!f) {
                fprintf(stderr, "cannot read %s\n", path);
                return false;
        }
        trace_read(&t, f);
        fclose(f);
        v = calloc(t.n + 1, sizeof(*v));
        MUST(v);
        for (size_t i = 0; i < t.n; i++)
                v[i] = &t.v[i];
        ok = run_trace(v, t.n, sabotage, failure);
        printf("%s 1 - replay of %zu events from %s\n", ok ? "ok" : "not ok", t.n, path);
        if (!ok)
                printf("# %s\n", failure);
        free(v);
        trace_done(&t);
        return ok;
}

static bool controls(uint64_t seed) {
        bool all = true;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(sabotages); i++) {
                bool found = !simulate(20000, seed, sabotages[i], true);

                printf("%s %zu - the simulation finds a planted bug: %s\n", found ? "ok" : "not ok", i + 1, sabotages[i]);
                all &= found;
        }
        return all;
}

static int usage(void) {
        fprintf(stderr, "usage: sim-ledger [--steps N] [--seed S] [--sabotage NAME] | --replay FILE | --controls\nplanted bugs:");
        for (size_t i = 0; i < ULV_ARRAY_SIZE(sabotages); i++)
                fprintf(stderr, " %s", sabotages[i]);
        fprintf(stderr, "\n");
        return 2;
}

int main(int argc, char **argv) {
        const char *sabotage = NULL, *file = NULL;
        uint64_t steps = 100000, seed = 1;
        bool run_controls = false, ok;

        setvbuf(stdout, NULL, _IOLBF, 0);
        for (int i = 1; i < argc; i++) {
                bool last = i + 1 == argc;

                if (ulv_streq(argv[i], "--controls"))
                        run_controls = true;
                else if (last)
                        return usage();
                else if (ulv_streq(argv[i], "--steps"))
                        steps = strtoull(argv[++i], NULL, 10);
                else if (ulv_streq(argv[i], "--seed"))
                        seed = strtoull(argv[++i], NULL, 10);
                else if (ulv_streq(argv[i], "--sabotage"))
                        sabotage = argv[++i];
                else if (ulv_streq(argv[i], "--replay"))
                        file = argv[++i];
                else
                        return usage();
        }
        if (run_controls)
                return controls(seed) ? 0 : 1;
        if (file)
                return replay(file, sabotage) ? 0 : 1;
        ok = simulate(steps, seed, sabotage, false);
        printf("%s 1 - the ledger holds over %llu random steps\n", ok ? "ok" : "not ok", (unsigned long long) steps);
        return ok ? 0 : 1;
}
