/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* check: the ledger against the machine, by somebody else than who enforced it. What is compared lies open in /proc
 * and the cgroup tree: of each live partition its first process, and each limit that the ledger says is enforced; and
 * what runs in a partition's cgroup though the ledger knows no such partition.
 *
 * The ledger may change while we look: differences count only if its generation is the same afterwards; else anew. */

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>

#include "lib/fd.h"
#include "uvctl/part.h"

#define FILE_MAX (64 * 1024)
#define TRIES 10
#define TREES_MAX 4             /* one, standalone; a slice for those with cores and one for shares */
#define PERIOD_USEC 100000      /* of cpu.max: 1/1000 thread is 100 us of it */

struct finding { char name[64], kind[16]; struct ulv_strbuf text; };

struct check {
        struct uvctl *u;
        const struct rows *rows;
        char mount[256];                /* where cgroup2 is mounted; "" if nowhere */
        char trees[TREES_MAX][512];     /* below it: the directories in which partitions have their cgroups */
        unsigned n_trees;
        struct finding *found; size_t n_found;
        unsigned partitions, limits;
};

static void find(struct check *c, const char *name, const char *kind, const char *fmt, ...) ULV_PRINTF(4, 5);
static void find(struct check *c, const char *name, const char *kind, const char *fmt, ...) {
        struct finding *f = realloc(c->found, (c->n_found + 1) * sizeof(*f));
        char text[512];
        va_list ap;

        if (!f)
                return;
        c->found = f;
        f += c->n_found++;
        *f = (struct finding) { 0 };
        (void) snprintf(f->name, sizeof(f->name), "%.63s", name);
        (void) snprintf(f->kind, sizeof(f->kind), "%s", kind);
        va_start(ap, fmt);
        (void) vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        ulv_strbuf_add(&f->text, text);
}

static void forget(struct check *c) {
        for (size_t i = 0; i < c->n_found; i++)
                ulv_strbuf_done(&c->found[i].text);
        free(c->found);
        c->found = NULL;
        c->n_found = c->partitions = c->limits = 0;
}

/* --- what the kernel says ----------------------------------------------------------------------------------- */

static char *read_text(const char *path) {
        char *text = NULL;
        size_t len;

        if (ulv_read_file_at(AT_FDCWD, path, FILE_MAX, &text, &len) < 0)
                return NULL;
        text[strcspn(text, "\n")] = 0;
        return text;
}

static void find_mount(struct check *c) {
        _cleanup_free_ char *text = NULL;
        size_t len;

        if (ulv_read_file_at(AT_FDCWD, "/proc/self/mountinfo", 4 * 1024 * 1024, &text, &len) < 0)
                return;
        for (char *line = text, *next; line && *line && !c->mount[0]; line = next) {
                char point[256];

                next = strchr(line, '\n');
                if (next)
                        *next++ = 0;
                if (strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s %*s %255s", point) == 1)
                        (void) snprintf(c->mount, sizeof(c->mount), "%s", point);
        }
}

/* Field 22 of /proc/PID/stat; 0: no such process. */
uint64_t process_start_ticks(uint64_t pid) {
        _cleanup_free_ char *text = NULL;
        char path[64];
        unsigned long long ticks = 0;
        const char *at;

        (void) snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
        text = read_text(path);
        at = text ? strrchr(text, ')') : NULL;
        if (!at || sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &ticks) != 1)
                return 0;
        return ticks;
}

static void add_tree(struct check *c, const char *below) {
        char tree[sizeof(c->trees[0])];

        (void) snprintf(tree, sizeof(tree), "%s%s", c->mount, below);
        for (unsigned i = 0; i < c->n_trees; i++)
                if (ulv_streq(c->trees[i], tree))
                        return;
        if (c->n_trees < TREES_MAX)
                memcpy(c->trees[c->n_trees++], tree, sizeof(tree));
}

/* The cgroup of a partition by that of its first process, and below what it lies. false: it has none of its own. */
static bool find_cgroup(struct check *c, const struct part *p, char *ret, size_t size) {
        _cleanup_free_ char *text = NULL;
        char path[64], word[2][96];
        size_t len;

        (void) snprintf(path, sizeof(path), "/proc/%" PRIu64 "/cgroup", p->leader);
        if (!c->mount[0] || ulv_read_file_at(AT_FDCWD, path, FILE_MAX, &text, &len) < 0)
                return false;
        (void) snprintf(word[0], sizeof(word[0]), "/partition-%.63s", p->name);
        (void) snprintf(word[1], sizeof(word[1]), "/ultravisor-%.63s.scope", p->name);
        for (char *line = text, *next; line && *line; line = next) {
                next = strchr(line, '\n');
                if (next)
                        *next++ = 0;
                for (unsigned i = 0; i < 2 && ulv_startswith(line, "0::"); i++) {
                        char *at = strstr(line, word[i]);

                        if (!at || (at[strlen(word[i])] != 0 && at[strlen(word[i])] != '/'))
                                continue;
                        *at = 0;
                        add_tree(c, line + 3);
                        return (size_t) snprintf(ret, size, "%s%s%s", c->mount, line + 3, word[i]) < size;
                }
        }
        return false;
}

/* --- one partition ---------------------------------------------------------------------------------------------- */

static void compare(struct check *c, const struct part *p, const char *cgroup, const char *file, const char *want) {
        _cleanup_free_ char *have = NULL;
        char path[1024];

        (void) snprintf(path, sizeof(path), "%s/%s", cgroup, file);
        have = read_text(path);
        c->limits++;
        if (!have)
                find(c, p->name, "limit", "%s can't be read; the ledger says that it holds", path);
        else if (!ulv_streq(have, want))
                find(c, p->name, "limit", "%s is %s, and by the ledger %s", file, have, want);
}

/* All threads of the cores that it has. */
static void cores_of(const struct check *c, const struct part *p, struct ulv_cpus *ret) {
        struct ulv_cpus one;

        *ret = (struct ulv_cpus) { 0 };
        for (size_t i = 0; i < c->rows->n_units; i++) {
                const struct ulv_op *op = &c->rows->units[i];

                if (ulv_streq(op->kind, "core") && ulv_streq(op->owner, p->name) && ulv_cpus_parse(row_str(op, "threads"), &one) == 0)
                        for (unsigned cpu = 0; cpu < ULV_CPU_MAX; cpu++)
                                if (ulv_cpus_has(&one, cpu))
                                        ulv_cpus_set(ret, cpu);
        }
}

static void check_affinity(struct check *c, const struct part *p, const struct ulv_cpus *cores) {
        cpu_set_t set;

        c->limits++;
        CPU_ZERO(&set);
        if (sched_getaffinity((pid_t) p->leader, sizeof(set), &set) < 0)
                return;
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
                if (CPU_ISSET(cpu, &set) && !ulv_cpus_has(cores, cpu)) {
                        find(c, p->name, "affinity", "process %" PRIu64 " may run on CPU %u, which isn't of its cores", p->leader, cpu);
                        return;
                }
}

static void check_cpu(struct check *c, const struct part *p, const char *cgroup) {
        const char *how = row_str(&p->op, "cpu-how");
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct ulv_cpus cores;
        char text[64];

        if (p->has_share && ulv_streq(how, "limit") && p->share_wanted == p->share_reached) {
                (void) snprintf(text, sizeof(text), "%" PRIu64 " %d", p->share_reached * (PERIOD_USEC / 1000), PERIOD_USEC);
                compare(c, p, cgroup, "cpu.max", text);
        }
        if (!p->has_cores || p->cores_wanted != p->cores_reached)
                return;
        cores_of(c, p, &cores);
        if (ulv_streq(how, "affinity"))
                check_affinity(c, p, &cores);
        else if (ulv_streq(how, "limit") || ulv_streq(how, "isolated")) {
                ulv_cpus_format(&b, &cores);
                compare(c, p, cgroup, "cpuset.cpus.effective", ulv_strbuf_str(&b));
        }
        if (ulv_streq(how, "isolated"))         /* the ledger's word for the kernel's cpuset partition */
                compare(c, p, cgroup, "cpuset.cpus.partition", "root");
}

static void check_limits(struct check *c, const struct part *p, const char *cgroup) {
        const char *at = row_str(&p->op, "limits");
        struct part_limit l;
        char text[32];

        if (ulv_streq(row_str(&p->op, "memory-how"), "limit") && p->memory_wanted == p->memory_reached) {
                (void) snprintf(text, sizeof(text), "%" PRIu64, p->memory_reached);
                compare(c, p, cgroup, "memory.max", text);
        }
        while (part_next_limit(&at, &l))
                if (l.limit.what == ULV_LIMIT_TASKS && ulv_streq(l.how, "limit") && l.limit.amount == l.reached) {
                        (void) snprintf(text, sizeof(text), "%" PRIu64, l.reached);
                        compare(c, p, cgroup, "pids.max", text);
                }
}

static void check_partition(struct check *c, const struct part *p) {
        uint64_t recorded = row_u64(&p->op, "start"), ticks = process_start_ticks(p->leader);
        char cgroup[768] = "";

        c->partitions++;
        if (ticks == 0 || (recorded != 0 && ticks != recorded)) {
                find(c, p->name, "process", ticks == 0 ? "its first process, %" PRIu64 ", isn't there" :
                     "process %" PRIu64 " is another one than the ledger's: its number was given again", p->leader);
                return;
        }
        if (ulv_streq(p->type, "sim"))
                return;
        if (!find_cgroup(c, p, cgroup, sizeof(cgroup)) && c->mount[0])
                find(c, p->name, "cgroup", "process %" PRIu64 " isn't in a cgroup of the partition", p->leader);
        if (c->rows->imagined)
                return;
        check_cpu(c, p, cgroup);
        if (cgroup[0])
                check_limits(c, p, cgroup);
}

/* --- what the ledger doesn't know --------------------------------------------------------------------------------- */

static bool is_populated(const char *tree, const char *dir) {
        _cleanup_free_ char *text = NULL;
        char path[1024];
        size_t len;

        (void) snprintf(path, sizeof(path), "%s/%s/cgroup.events", tree, dir);
        return ulv_read_file_at(AT_FDCWD, path, FILE_MAX, &text, &len) >= 0 && strstr(text, "populated 1");
}

/* In a directory where another partition's cgroup was found: so one live partition is needed to find the place. */
static void check_strays(struct check *c, const char *tree) {
        DIR *d = opendir(tree);

        for (struct dirent *e; d && (e = readdir(d)); ) {
                char name[64] = "";
                const struct part *p;

                if (sscanf(e->d_name, "partition-%63s", name) != 1 && sscanf(e->d_name, "ultravisor-%63[^.].scope", name) != 1)
                        continue;
                p = rows_part(c->rows, name);
                /* One that is starting or stopping has a cgroup and no first process yet, or any more. */
                if ((!p || ulv_streq(p->state, "defined") || ulv_streq(p->state, "failed")) && is_populated(tree, e->d_name))
                        find(c, name, "stray", "processes run in %s/%s, and by the ledger %s", tree, e->d_name, p ? "it doesn't run" : "there is no such partition");
        }
        if (d)
                (void) closedir(d);
}

/* --- the verb --------------------------------------------------------------------------------------------------------- */

static bool is_wanted(int argc, char **argv, const char *name) {
        for (int i = 0; i < argc; i++)
                if (ulv_streq(argv[i], name))
                        return true;
        return argc == 0;
}

static int look(struct check *c, struct rows *rows, int argc, char **argv) {
        int r = rows_get(c->u, ROWS_ALL, rows);

        if (r != 0)
                return r;
        c->rows = rows;
        for (int i = 0; i < argc; i++)
                if (!rows_part(rows, argv[i]))
                        return no_such_partition(c->u, argv[i]);
        if (rows->stale)
                return fail(c->u, ULV_EXIT_UNREACHABLE, "there is no ledger to compare with", "uvd can't be reached", "uvctl list, in a moment");
        for (size_t i = 0; i < rows->n_parts; i++)
                if (!rows->parts[i].infrastructure && rows->parts[i].running && rows->parts[i].leader > 0 && is_wanted(argc, argv, rows->parts[i].name))
                        check_partition(c, &rows->parts[i]);
        for (unsigned i = 0; argc == 0 && i < c->n_trees; i++)
                check_strays(c, c->trees[i]);
        return 0;
}

/* Differences that stay while the ledger does. */
static int look_until_still(struct check *c, struct rows *rows, int argc, char **argv) {
        for (unsigned i = 0; i < TRIES; i++) {
                struct rows after;
                uint64_t generation;
                int r = look(c, rows, argc, argv);

                if (r != 0 || c->n_found == 0)
                        return r;
                r = rows_get(c->u, ROWS_PARTITIONS, &after);
                if (r != 0)
                        return r;
                generation = after.generation;
                rows_done(&after);
                if (generation == rows->generation)
                        return 0;
                forget(c);
                rows_done(rows);
                *rows = (struct rows) { 0 };
        }
        return fail(c->u, ULV_EXIT_FAILED, "the ledger changes faster than it can be compared", "each look met another generation of it", "uvctl check NAME");
}

static int show(struct check *c) {
        static const struct table_column columns[] = { { "NAME", false }, { "KIND", false }, { "DIFFERENCE", false } };
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct json j = { 0 };
        struct table t;
        int r;

        json_array(&j, NULL);
        table_init(&t, columns, ULV_ARRAY_SIZE(columns));
        for (size_t i = 0; i < c->n_found; i++) {
                const struct finding *f = &c->found[i];

                json_object(&j, NULL);
                json_string(&j, "Name", f->name);
                json_string(&j, "Kind", f->kind);
                json_string(&j, "Difference", ulv_strbuf_str(&f->text));
                json_end(&j);
                table_add(&t, f->name);
                table_add(&t, f->kind);
                table_add_buffer(&t, &f->text);
        }
        json_end(&j);
        r = c->n_found > 0 ? table_write(&t, c->u->legend, c->u->colour, 0, &b) : 0;
        if (c->u->legend && !c->u->quiet)
                ulv_strbuf_addf(&b, "%zu difference%s; %u partition%s and %u limit%s compared\n", c->n_found, c->n_found == 1 ? "" : "s",
                                c->partitions, c->partitions == 1 ? "" : "s", c->limits, c->limits == 1 ? "" : "s");
        table_done(&t);
        if (r < 0)
                r = fail_errno(c->u, r, "show the table");
        else
                r = put(c->u, c->u->output == OUTPUT_JSON ? &j.b : &b);
        ulv_strbuf_done(&j.b);
        return r;
}

int verb_check(struct uvctl *u, int argc, char **argv) {
        struct check c = { .u = u };
        struct rows rows = { 0 };
        int r;

        find_mount(&c);
        r = look_until_still(&c, &rows, argc, argv);
        if (r == 0)
                r = show(&c);
        if (r == 0 && c.n_found > 0)
                r = ULV_EXIT_DEGRADED;
        forget(&c);
        rows_done(&rows);
        return r;
}
