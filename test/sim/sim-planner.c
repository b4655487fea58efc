/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The planner on random machines, with random definitions, policies and requests. What must hold:
 *
 *   - a plan that is returned steps on the ledger without refusal, and all its invariants hold after;
 *   - the same inputs give the same text;
 *   - a refusal says what, why and what to try;
 *   - the command of a refusal for capacity works: done, and settled, it makes the request plannable;
 *   - the host never falls below its guarantee.
 *
 *   sim-planner [--steps N] [--seed S] [--sabotage NAME] [--verbose] | --controls
 *
 * --sabotage is a control: it breaks one rule behind the planner's back, and the simulation must notice.
 *   host      a core of the host is given away after a step, below the guarantee
 *   try       the command of a refusal is done for another partition
 *   double    an operation of a plan is submitted twice */

#include <inttypes.h>
#include <stdarg.h>

#include "test/lib/planner-bed.h"

static uint64_t state;
static bool verbose, quiet_failures;
static const char *sabotage = "";

static uint64_t draw(void) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
}
static unsigned below(unsigned n) { return (unsigned) (draw() >> 11) % n; }
static bool chance(unsigned percent) { return below(100) < percent; }

struct counts { unsigned plans, refusals, tries, tries_general, machines, empty; } counts;

static const char *const names[] = { "web", "db", "cache", "batch", "mail", "build", "proxy", "queue", "log", "test" };
#define N_NAMES ((unsigned) ULV_ARRAY_SIZE(names))

/* --- machines, definitions, policies ---------------------------------------------------------------------- */

static void ULV_PRINTF(3, 4) add(char *s, size_t size, const char *fmt, ...) {
        size_t n = strlen(s);
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(s + n, size - n, fmt, ap);
        va_end(ap);
}

struct machine { unsigned cores, nodes, threads, memory; /* G in all */ };

static struct machine random_machine(struct bed *bed) {
        static const unsigned sizes[] = { 1, 2, 2, 3, 4, 4, 6, 8, 8, 12, 16, 16, 24, 32, 64, 128, 256 };
        struct machine m = { .cores = sizes[below(ULV_ARRAY_SIZE(sizes))], .threads = 1 + below(2) };
        char text[2048] = "";

        m.nodes = 1 + below(4);
        m.nodes = ULV_MIN(m.nodes, m.cores);
        m.memory = m.nodes * (1 + below(16));
        add(text, sizeof(text), "[Machine]\nName=sim\nKind=%s\nUIDRanges=1-%u\n", chance(50) ? "imagined" : "part\nPrefix=x", 2 + below(20));
        for (unsigned i = 0, first = 0; i < m.nodes; i++) {
                unsigned n = (m.cores - first) / (m.nodes - i);

                add(text, sizeof(text), "[Node \"%u\"]\n", i);
                if (m.threads == 1)
                        add(text, sizeof(text), "CPUs=%u-%u\n", first, first + n - 1);
                else
                        add(text, sizeof(text), "CPUs=%u-%u,%u-%u\nThreadStride=%u\n", first, first + n - 1, m.cores + first, m.cores + first + n - 1, m.cores);
                add(text, sizeof(text), "Memory=%uG\n", m.memory / m.nodes);
                if (chance(20))
                        add(text, sizeof(text), "HugePages2M=%u\n", below(512));
                first += n;
        }
        bed_machine(bed, text);
        counts.machines++;
        return m;
}

static void random_definition(struct bed *bed, const struct machine *m, const char *name) {
        char path[128], text[2048] = "";
        bool container = chance(60);

        snprintf(path, sizeof(path), "partitions/%s.partition", name);
        add(text, sizeof(text), "[Partition]\nType=%s\nPriority=%u\n", container ? "container" : "sim", below(5) * 25);
        if (chance(5))
                add(text, sizeof(text), "Isolation=%s\n", chance(50) ? "soft" : "firm");
        if (chance(50)) {
                unsigned n = 1 + below(ULV_MAX(m->cores / 2, 1u));

                add(text, sizeof(text), "[CPU]\nCores=%u\n", n);
                if (chance(50))
                        add(text, sizeof(text), "CoresMin=%u\n", 1 + below(n));
                if (chance(20))
                        add(text, sizeof(text), "CoresMax=%u\n", n + below(4));
                if (chance(20))
                        add(text, sizeof(text), "Node=%u\n", below(m->nodes));
        } else {
                unsigned n = 100 + below(4000);

                add(text, sizeof(text), "[CPU]\nShare=%u.%03u\n", n / 1000, n % 1000);
                if (chance(50))
                        add(text, sizeof(text), "ShareMin=0.%03u\n", 1 + below(100));
        }
        unsigned mb = 64 + below(m->memory * 1024 / 3);
        add(text, sizeof(text), "[Memory]\nSize=%uM\n", mb);
        if (chance(50))
                add(text, sizeof(text), "SizeMin=%uM\n", 1 + below(mb));
        if (chance(20))
                add(text, sizeof(text), "SizeMax=%uM\n", mb + below(1024));
        if (chance(20))
                add(text, sizeof(text), "Node=%u\n", below(m->nodes));
        if (chance(5))
                add(text, sizeof(text), "Pages=2M\n");
        if (container)
                add(text, sizeof(text), "[Container]\nRoot=/srv/%s\nExec=/sbin/init\n", name);
        bed_file(bed, path, text);
}

static void random_policy(struct bed *bed, const struct machine *m) {
        char text[2048] = "";

        if (chance(50)) {
                add(text, sizeof(text), "[Host]\n");
                if (chance(70))
                        add(text, sizeof(text), "Cores=%u\n", 1 + below(ULV_MAX(m->cores / 2, 1u)));
                if (chance(70))
                        add(text, sizeof(text), "Memory=%uM\n", 64 + below(m->memory * 512));
        }
        if (chance(50)) {
                add(text, sizeof(text), "[Pool]\n");
                if (chance(70))
                        add(text, sizeof(text), "Cores=%u\n", 1 + below(ULV_MAX(m->cores / 2, 1u)));
                if (chance(30))
                        add(text, sizeof(text), "Overcommit=%u.%u\n", 1 + below(3), below(10));
        }
        if (chance(10))
                add(text, sizeof(text), "[Require \"x\"]\nMatch=%s\nIsolation=soft\n", chance(50) ? "db*" : "type:sim");
        if (chance(10))
                add(text, sizeof(text), "# nothing\n");
        bed_file(bed, "policies/50-sim.policy", text);
}

/* A random change of the files; what isn't valid is taken back. */
static void edit_files(struct bed *bed, const struct machine *m) {
        struct bed *copy = malloc(sizeof(*copy));

        BED_CHECK(copy);
        *copy = *bed;
        if (chance(20))
                random_policy(bed, m);
        else if (chance(15)) {
                char path[128];

                snprintf(path, sizeof(path), "partitions/%s.partition", names[below(N_NAMES)]);
                bed_file(bed, path, "");
        } else
                random_definition(bed, m, names[below(N_NAMES)]);
        if (!bed_reload(bed, false)) {
                memcpy(bed->files, copy->files, sizeof(bed->files));
                bed->n_files = copy->n_files;
        }
        free(copy);
}

/* --- requests ------------------------------------------------------------------------------------------------ */

static void random_set(struct ulv_request *r, const struct machine *m) {
        r->has_cores = chance(40);
        r->has_share = !r->has_cores && chance(50);
        r->has_memory = chance(60) || (!r->has_cores && !r->has_share);
        r->cores = below(m->cores + 1);
        r->share = below(6000);
        r->memory = (uint64_t) below(m->memory * 1024) << 20;
        r->runtime = chance(50);
}

static struct ulv_request random_request(const struct machine *m) {
        struct ulv_request r = { .name = names[below(N_NAMES)], .other = names[below(N_NAMES)] };
        unsigned n = below(100);

        r.verb = n < 40 ? ULV_REQUEST_START : n < 52 ? ULV_REQUEST_STOP : n < 75 ? ULV_REQUEST_SET : n < 85 ? ULV_REQUEST_MOVE :
                 n < 95 ? ULV_REQUEST_APPLY : ULV_REQUEST_REMOVE;
        if (chance(1))
                r.name = chance(50) ? "host" : "wbe";
        r.force = chance(20);
        r.prune = chance(30);
        if (r.verb == ULV_REQUEST_SET)
                random_set(&r, m);
        if (r.verb == ULV_REQUEST_MOVE) {
                random_set(&r, m);
                r.cores = below(3);
                r.share = below(500);
                r.memory = (uint64_t) below(512) << 20;
        }
        return r;
}

/* Failures are told, but for those that a control provokes. */
static void ULV_PRINTF(1, 2) say(const char *fmt, ...) {
        va_list ap;

        if (quiet_failures)
                return;
        va_start(ap, fmt);
        vfprintf(stderr, fmt, ap);
        va_end(ap);
}

static void print_request(const struct ulv_request *r) {
        static const char *const verbs[] = { "start", "stop", "set", "move", "apply", "remove" };

        say("request: %s %s %s", verbs[r->verb], r->name, r->verb == ULV_REQUEST_MOVE ? r->other : "");
        if (r->has_cores)
                say(" cores=%" PRIu64, r->cores);
        if (r->has_share)
                say(" share=%" PRIu64, r->share);
        if (r->has_memory)
                say(" memory=%" PRIu64 "M", r->memory >> 20);
        say("%s%s%s\n", r->runtime ? " runtime" : "", r->prune ? " prune" : "", r->force ? " force" : "");
}

static int fail(struct bed *bed, const struct ulv_request *r, const struct ulv_plan *p, const char *what) {
        _cleanup_strbuf_ struct ulv_strbuf dump = {};

        say("FAILED: %s\n", what);
        print_request(r);
        for (size_t i = 0; p && i < p->n_reasons; i++)
                say("  %s\n  %s\n  try: %s\n", p->reasons[i].what, p->reasons[i].why, p->reasons[i].try_);
        if (p)
                say("operations:\n%sexplain:\n%s", ulv_strbuf_str(&p->operations), ulv_strbuf_str(&p->explain));
        for (size_t i = 0; i < bed->n_files; i++)
                say("--- %s\n%s", bed->files[i].path, bed->files[i].text);
        if (ulv_ledger_dump(bed->l, NULL, &dump) == 0)
                say("--- ledger\n%s", ulv_strbuf_str(&dump));
        return 1;
}

/* --- properties ------------------------------------------------------------------------------------------------ */

static int sum_host(const struct ulv_holding_info *h, void *userdata) {
        *(uint64_t *) userdata += h->keep;
        return 0;
}

struct host { uint64_t cores, memory; };

static int sum_4k(const struct ulv_holding_info *h, void *userdata) {
        if (strstr(h->id, "/4K"))
                *(uint64_t *) userdata += h->amount;
        return 0;
}

static struct host host_has(const struct bed *bed) {
        struct host h = {};

        (void) ulv_ledger_each_holding(bed->l, "core", "host", sum_host, &h.cores);
        (void) ulv_ledger_each_holding(bed->l, "memory", "host", sum_4k, &h.memory);
        return h;
}

/* Its guarantee, said here a second time on purpose. */
static struct host host_guarantee(const struct bed *bed) {
        struct host h = { .cores = 1 };
        uint64_t all = 0;

        (void) ulv_ledger_each_holding(bed->l, "memory", NULL, sum_4k, &all);
        h.memory = ULV_MIN((uint64_t) 1024, all / 2);
        if (bed->b->policy->host_has_cores)
                h.cores = bed->b->policy->host_cores;
        if (bed->b->policy->host_has_memory)
                h.memory = bed->b->policy->host_memory / ULV_MEMORY_UNIT;
        return h;
}

static bool same_plan(const struct ulv_plan *a, const struct ulv_plan *b) {
        bool same = ulv_streq(ulv_strbuf_str(&a->operations), ulv_strbuf_str(&b->operations)) &&
                ulv_streq(ulv_strbuf_str(&a->explain), ulv_strbuf_str(&b->explain)) && ulv_streq(a->summary, b->summary) &&
                a->n_lines == b->n_lines && a->n_reasons == b->n_reasons;

        for (size_t i = 0; same && i < a->n_lines; i++)
                same = ulv_streq(a->lines[i].name, b->lines[i].name) && ulv_streq(a->lines[i].text, b->lines[i].text) && ulv_streq(a->lines[i].note, b->lines[i].note);
        for (size_t i = 0; same && i < a->n_reasons; i++)
                same = ulv_streq(a->reasons[i].what, b->reasons[i].what) && ulv_streq(a->reasons[i].why, b->reasons[i].why) && ulv_streq(a->reasons[i].try_, b->reasons[i].try_);
        return same;
}

static void clone(struct bed *to, const struct bed *from) {
        _cleanup_strbuf_ struct ulv_strbuf dump = {};
        struct ulv_diag d = {};

        *to = *from;
        to->l = NULL;
        to->b = NULL;
        BED_CHECK(ulv_ledger_dump(from->l, NULL, &dump) == 0);
        if (ulv_ledger_load(dump.s, dump.len, &to->l, &d) != 0)
                bed_print_diag(&d, NULL);
        BED_CHECK(to->l);
        BED_CHECK(bed_reload(to, true));
}

/* "uvctl set NAME k=v k=v" or "uvctl stop NAME", with words behind. 0 = taken apart. */
static int parse_try(const char *s, char *name, size_t size, struct ulv_request *ret, bool *ret_again) {
        char line[512], *word, *save = NULL;

        snprintf(line, sizeof(line), "%s", s);
        *ret_again = strstr(s, ", then again") != NULL;
        if (strchr(line, ','))
                *strchr(line, ',') = 0;
        word = strtok_r(line, " ", &save);
        if (!word || !ulv_streq(word, "uvctl") || !(word = strtok_r(NULL, " ", &save)))
                return 1;
        *ret = (struct ulv_request) { .verb = ulv_streq(word, "set") ? ULV_REQUEST_SET : ULV_REQUEST_STOP, .name = name };
        if (!ulv_streq(word, "set") && !ulv_streq(word, "stop"))
                return 1;
        word = strtok_r(NULL, " ", &save);
        if (!word)
                return 1;
        snprintf(name, size, "%s", word);
        while ((word = strtok_r(NULL, " ", &save))) {
                if (ulv_startswith(word, "cores="))
                        ret->has_cores = ulv_uint_parse(word + 6, 10000, &ret->cores) == 0;
                else if (ulv_startswith(word, "share="))
                        ret->has_share = ulv_share_parse(word + 6, &ret->share) == 0;
                else if (ulv_startswith(word, "memory="))
                        ret->has_memory = ulv_size_parse(word + 7, &ret->memory) == 0;
                else if (ulv_streq(word, "--runtime"))
                        ret->runtime = true;
                else
                        return 1;
        }
        return 0;
}

/* What `uvctl set` does beside the ledger: the drop-in. */
static void write_drop_in(struct bed *bed, const struct ulv_request *r) {
        char path[200], text[512] = "";
        _cleanup_strbuf_ struct ulv_strbuf b = {};

        snprintf(path, sizeof(path), "partitions/%s.partition.d/50-set.conf", r->name);
        if (r->has_cores)
                add(text, sizeof(text), "[CPU]\nCores=%" PRIu64 "\n", r->cores);
        if (r->has_share) {
                ulv_share_format(&b, r->share);
                add(text, sizeof(text), "[CPU]\nShare=%s\n", ulv_strbuf_str(&b));
        }
        if (r->has_memory)
                add(text, sizeof(text), "[Memory]\nSize=%" PRIu64 "\n", r->memory);
        bed_file(bed, path, text);
        BED_CHECK(bed_reload(bed, true));
}

/* Does the command that a refusal offers make the request plannable? */
static int check_try(struct bed *bed, const struct ulv_request *r, const struct ulv_plan *refused) {
        _cleanup_free_ struct bed *copy = malloc(sizeof(*copy));
        ULV_CLEANUP(ulv_plan_freep) struct ulv_plan *first = NULL, *second = NULL;
        struct ulv_request help;
        char name[ULV_NAME_MAX + 1];
        bool again;
        int k;

        if (parse_try(refused->reasons[0].try_, name, sizeof(name), &help, &again) != 0) {
                counts.tries_general++;
                return 0;
        }
        counts.tries++;
        if (ulv_streq(sabotage, "try"))
                snprintf(name, sizeof(name), "%s", names[below(N_NAMES)]);
        BED_CHECK(copy);
        clone(copy, bed);
        k = bed_do(copy, &help, &first);
        if (k == 0 && help.verb == ULV_REQUEST_SET && !help.runtime && ulv_bundle_definition(copy->b, help.name))
                write_drop_in(copy, &help);
        if (k == 0) {
                bed_settle(copy);
                if (again)
                        k = bed_plan(copy, r, &second);
        }
        if (k != 0)
                fail(copy, r, refused, first && first->n_reasons > 0 ? "the command to try was refused" : "the request is refused after the command to try, too");
        if (k != 0 && second && second->n_reasons > 0)
                say("again: %s: %s\n", second->reasons[0].what, second->reasons[0].why);
        if (k != 0 && first && first->n_reasons > 0)
                say("the command: %s: %s\n", first->reasons[0].what, first->reasons[0].why);
        bed_done(copy);
        return k != 0;
}

static int check_refusal(struct bed *bed, const struct ulv_request *r, const struct ulv_plan *p, bool quiet) {
        counts.refusals++;
        if (verbose)
                fprintf(stderr, "%s\n%s\ntry: %s\n\n", p->reasons[0].what, p->reasons[0].why, p->reasons[0].try_);
        if (p->n_reasons == 0 || !p->reasons[0].what[0] || !p->reasons[0].why[0] || !p->reasons[0].try_[0] || p->reasons[0].code == 0)
                return fail(bed, r, p, "a refusal without what, why or try");
        return p->reasons[0].code == ULV_EXIT_CAPACITY && quiet ? check_try(bed, r, p) : 0;
}

/* Non-zero: the ledger refused what the control did. */
static int sabotage_after(struct bed *bed, const struct ulv_plan *p) {
        static const char give[] = "move core 0 host to=idle\n";
        struct ulv_diag d;

        if (ulv_streq(sabotage, "host"))
                (void) bed_step(bed, NULL, give, strlen(give), &d);
        if (ulv_streq(sabotage, "double") && p->operations.len > 0)
                return bed_step(bed, NULL, p->operations.s, p->operations.len, &d);
        return 0;
}

static int one_request(struct bed *bed, const struct machine *m) {
        ULV_CLEANUP(ulv_plan_freep) struct ulv_plan *plan = NULL, *again = NULL;
        struct ulv_request r = random_request(m);
        struct host before = host_has(bed), least = host_guarantee(bed), after;
        bool quiet = chance(70);
        int k, k2;

        if (quiet)
                bed_settle(bed);
        k2 = bed_plan(bed, &r, &again);
        k = bed_do(bed, &r, &plan);
        if (k == 0 && sabotage_after(bed, plan) != 0)
                k = -EPROTO;
        if (k < 0)
                return fail(bed, &r, again, "a plan was not what the ledger takes");
        if (k != k2 || !same_plan(plan, again))
                return fail(bed, &r, plan, "the same inputs gave another plan");
        if (k > 0)
                return check_refusal(bed, &r, plan, quiet);
        counts.plans++;
        counts.empty += plan->operations.len == 0;
        after = host_has(bed);
        if (after.cores < ULV_MIN(before.cores, least.cores) || after.memory < ULV_MIN(before.memory, least.memory))
                return fail(bed, &r, plan, "the host fell below its guarantee");
        return 0;
}

static int one_machine(unsigned steps) {
        _cleanup_free_ struct bed *bed = calloc(1, sizeof(*bed));
        struct machine m;
        int r = 0;

        BED_CHECK(bed);
        m = random_machine(bed);
        BED_CHECK(bed_reload(bed, true));
        for (unsigned i = 0; i < 4; i++)
                edit_files(bed, &m);
        for (unsigned i = 0; r == 0 && i < steps; i++) {
                if (chance(15))
                        edit_files(bed, &m);
                if (chance(30))
                        bed_report(bed);
                r = one_request(bed, &m);
        }
        bed_done(bed);
        return r;
}

static bool simulate(unsigned long steps, unsigned long seed) {
        state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
        counts = (struct counts) {};
        for (unsigned long n = 0; n < steps; n += 100)
                if (one_machine((unsigned) ULV_MIN(steps - n, 100ul)) != 0) {
                        say("machine %u of --seed %lu\n", counts.machines, seed);
                        return false;
                }
        return true;
}

/* Every planted bug must be found. */
static int controls(unsigned long seed) {
        static const char *const planted[] = { "host", "try", "double" };
        int failed = 0;

        quiet_failures = true;
        for (unsigned i = 0; i < ULV_ARRAY_SIZE(planted); i++) {
                bool found;

                sabotage = planted[i];
                found = !simulate(20000, seed);
                failed += !found;
                printf("%s %u - a planted bug is found: %s\n", found ? "ok" : "not ok", i + 1, planted[i]);
        }
        return failed > 0;
}

static int usage(void) {
        fprintf(stderr, "usage: sim-planner [--steps N] [--seed S] [--sabotage host|try|double] [--verbose] | --controls\n");
        return 2;
}

int main(int argc, char **argv) {
        unsigned long steps = 20000, seed = 1;
        bool run_controls = false, ok;

        for (int i = 1; i < argc; i++)
                if (ulv_streq(argv[i], "--verbose"))
                        verbose = true;
                else if (ulv_streq(argv[i], "--controls"))
                        run_controls = true;
                else if (i + 1 == argc)
                        return usage();
                else if (ulv_streq(argv[i], "--steps"))
                        steps = strtoul(argv[++i], NULL, 10);
                else if (ulv_streq(argv[i], "--seed"))
                        seed = strtoul(argv[++i], NULL, 10);
                else if (ulv_streq(argv[i], "--sabotage"))
                        sabotage = argv[++i];
                else
                        return usage();
        if (run_controls)
                return controls(seed);
        ok = simulate(steps, seed);
        printf("# %u plans (%u of nothing), %u refusals, %u commands tried, %u general, %u machines, seed %lu\n", counts.plans, counts.empty,
               counts.refusals, counts.tries, counts.tries_general, counts.machines, seed);
        printf("%s 1 - the planner keeps its promises over %lu random requests\n", ok ? "ok" : "not ok", steps);
        return ok ? 0 : 1;
}
