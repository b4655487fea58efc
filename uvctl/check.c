/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* check: the ledger against the machine, by somebody else than who enforced it.
 *
 * Partitions start and stop while we look. So each look reads the rows before and after, and forgets what it found about
 * a partition whose row isn't the same; and what it found counts only if the next look, a moment later, finds it again.
 * What a partition leaves for a moment when it ends (a cgroup, a unit, an interface) has a longer moment. */

#include "uvctl/check.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <systemd/sd-journal.h>
#include <time.h>

#include "lib/cgroup.h"
#include "lib/event.h"
#include "lib/fd.h"
#include "model/inventory.h"

#define TRIES 10                /* until what is looked at holds still */
#define MOMENT_MS 300
#define LONG_MOMENT_MS 800
#define LEDGER_MS 5000                  /* how long uvd may be away, */
#define LEDGER_LOOK_MS 50               /* and how often it is looked for */
#define FOUND_MAX 10000
#define NOTED_MAX 20            /* lines in the journal */

struct finding *check_find(struct check *c, enum check_kind kind, const char *name, const char *object, const char *fmt, ...) {
        struct finding *f = c->n_found < FOUND_MAX ? reallocarray(c->found, c->n_found + 1, sizeof(*f)) : NULL;
        va_list ap;

        if (!f)
                return NULL;
        c->found = f;
        f += c->n_found++;
        *f = (struct finding) { .kind = kind };
        (void) snprintf(f->name, sizeof(f->name), "%.63s", name);
        (void) snprintf(f->object, sizeof(f->object), "%.511s", object);
        va_start(ap, fmt);
        (void) vsnprintf(f->text, sizeof(f->text), fmt, ap);
        va_end(ap);
        if (kind == CHECK_LIMIT || kind == CHECK_AFFINITY || kind == CHECK_INTERRUPT)
                f->mend = MEND_ENFORCE;
        return f;
}

void check_skip(struct check *c, const char *what) {
        size_t n = strlen(c->skipped);

        if (!strstr(c->skipped, what))
                (void) snprintf(c->skipped + n, sizeof(c->skipped) - n, "%s%s", n > 0 ? "; " : "", what);
}

char *check_read_all(const char *path) {
        char *text = NULL;
        size_t len;

        return ulv_read_file_at(AT_FDCWD, path, PROC_MAX, &text, &len) < 0 ? NULL : text;
}

char *check_read(const char *path) {
        char *text = check_read_all(path);

        if (text)
                text[strcspn(text, "\n")] = 0;
        return text;
}

/* The name before them may have any byte. */
char *check_stat(uint64_t pid) {
        char path[64], *text, *at;

        (void) snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
        text = check_read_all(path);
        at = text ? strrchr(text, ')') : NULL;
        if (at)
                memmove(text, at + 1, strlen(at));
        else
                free(ulv_steal(text));
        return text;
}

/* Field 22 of /proc/PID/stat; 0: no such process. */
uint64_t process_start_ticks(uint64_t pid) {
        _cleanup_free_ char *stat = check_stat(pid);
        unsigned long long ticks = 0;

        if (!stat || sscanf(stat, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &ticks) != 1)
                return 0;
        return ticks;
}

bool check_wants(const struct check *c, const char *name) {
        for (int i = 0; i < c->n_names; i++)
                if (ulv_streq(c->names[i], name))
                        return true;
        return c->n_names == 0;
}

bool check_live(const struct part *p) { return !ulv_streq(p->state, "defined") && !ulv_streq(p->state, "failed"); }

void check_cores(const struct check *c, const struct part *p, struct ulv_cpus *ret) {
        struct ulv_cpus one;

        *ret = (struct ulv_cpus) { 0 };
        for (size_t i = 0; i < c->rows->n_units; i++) {
                const struct ulv_op *op = &c->rows->units[i];

                if (ulv_streq(op->kind, "core") && ulv_streq(op->owner, p->name) && ulv_cpus_parse(row_str(op, "threads"), &one) == 0)
                        ulv_cpus_add(ret, &one);
        }
}

/* --- a look ----------------------------------------------------------------------------------------------- */

static int read_range(const char *line, size_t len, void *userdata) {
        _cleanup_op_ struct ulv_op op = { 0 };
        bool *idle = userdata;
        uint64_t n;

        if (ulv_op_parse(line, len, &op, NULL) == 0 && ulv_streq(op.kind, "uids") && ulv_uint_parse(op.id, ULV_UID_RANGES, &n) == 0)
                idle[n] = ulv_streq(op.owner, "idle");          /* a row is somebody's; the others are idle */
        return 0;
}

static int read_ranges(struct check *c, bool *idle) {
        _cleanup_message_ sd_bus_message *m = NULL;
        unsigned first = 0, last = 0;
        uint64_t generation;
        const char *text;
        int r = client_call(c->u, &m, "Rows", "s", "uids");

        for (size_t i = 0; i < c->rows->n_units; i++)
                if (ulv_streq(c->rows->units[i].kind, "inventory") && sscanf(row_str(&c->rows->units[i], "uids"), "%u-%u", &first, &last) == 2)
                        for (unsigned n = ULV_MAX(first, 1u); n <= ULV_MIN(last, ULV_UID_RANGES); n++)
                                idle[n] = true;

        if (r == 0)
                r = client_read(c->u, m, "ts", &generation, &text);
        return r != 0 ? r : ulv_op_each_line(text, strlen(text), read_range, idle) < 0 ? fail_errno(c->u, -ENOMEM, "read the ledger's rows") : 0;
}

static bool is_same(const struct part *a, const struct part *b) {
        if (!a || !b || a->op.n_kv != b->op.n_kv)
                return !a && !b;
        for (unsigned i = 0; i < a->op.n_kv; i++)
                if (!ulv_streq(a->op.kv[i].key, b->op.kv[i].key) || !ulv_streq(a->op.kv[i].value, b->op.kv[i].value))
                        return false;
        return true;
}

/* Forgets what was found about what has changed meanwhile. */
static int settle(struct check *c) {
        struct rows after;
        bool idle[sizeof(c->idle)] = { false };
        size_t n = 0;
        int r = rows_get(c->u, ROWS_PARTITIONS, &after);

        if (r != 0)
                return r;
        r = read_ranges(c, idle);
        for (size_t i = 0; r == 0 && i < c->n_found; i++) {
                struct finding *f = &c->found[i];

                if (is_same(rows_part(c->rows, f->name), rows_part(&after, f->name)) && (f->range == 0 || idle[f->range]))
                        c->found[n++] = *f;
        }
        for (size_t i = 0; i < c->rows->n_parts; i++)
                if (check_wants(c, c->rows->parts[i].name))
                        c->unsettled += !is_same(&c->rows->parts[i], rows_part(&after, c->rows->parts[i].name));
        c->n_found = n;
        rows_done(&after);
        return r;
}

/* As status says it of each. */
static void name_weaker(struct check *c) {
        size_t len = 0;

        for (const struct part_barrier *w = part_barriers; w->word; w++) {
                const char *first = NULL;
                unsigned n = 0;

                for (size_t i = 0; w->missing && i < c->rows->n_parts; i++) {
                        const struct part *p = &c->rows->parts[i];

                        if (p->running && check_wants(c, p->name) && strstr(row_str(&p->op, "contain"), w->word)) {
                                first = first ? first : p->name;
                                n++;
                        }
                }
                if (n > 0 && len < sizeof(c->weaker))
                        len += (size_t) snprintf(c->weaker + len, sizeof(c->weaker) - len, n > 1 ? "%s%s (%s and %u more)" : "%s%s (%s)", len > 0 ? ", " : "", w->text, first, n - 1);
        }
}

static void look_at_machine(struct check *c) {
        const struct rows *rows = c->rows;

        for (size_t i = 0; i < rows->n_parts; i++) {
                const struct part *p = &rows->parts[i];

                if (!p->infrastructure && p->running && p->leader > 0 && check_wants(c, p->name) && check_partition(c, p))
                        check_inside(c, p);
        }
        if (c->rows->imagined)
                return;
        check_interrupts(c);
        check_tasks(c);
        check_units(c);
        if (c->n_names > 0)
                return;
        check_trees(c);
        check_strays(c);
        check_interfaces(c);
        check_host_mounts(c);
}

static void wait_ms(long ms) {
        (void) nanosleep(&(struct timespec) { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

/* A uvd that was killed is back in a moment: its last words are nothing to compare a machine with. */
static int read_ledger(struct check *c, struct rows *ret) {
        int r = rows_get(c->u, ROWS_ALL, ret);

        for (long waited = 0; r == 0 && ret->stale && waited < LEDGER_MS; waited += LEDGER_LOOK_MS) {
                rows_done(ret);
                wait_ms(LEDGER_LOOK_MS);
                r = rows_get(c->u, ROWS_ALL, ret);
        }
        return r;
}

static int look(struct check *c) {
        struct rows rows = { 0 };
        int r = read_ledger(c, &rows);

        if (r != 0)
                return r;
        c->rows = &rows;
        for (int i = 0; i < c->n_names && r == 0; i++)
                if (!rows_part(&rows, c->names[i]))
                        r = no_such_partition(c->u, c->names[i]);
        if (r == 0 && rows.stale)
                r = fail(c->u, ULV_EXIT_UNREACHABLE, "there is no ledger to compare with", "uvd can't be reached", "uvctl list, in a moment");
        c->partitions = c->limits = c->unsettled = 0;
        c->skipped[0] = c->weaker[0] = 0;
        name_weaker(c);
        memset(c->idle, 0, sizeof(c->idle));
        if (r == 0)
                r = read_ranges(c, c->idle);
        if (r == 0) {
                look_at_machine(c);
                r = settle(c);
        }
        c->rows = NULL;
        free(ulv_steal(c->nets));
        c->n_nets = 0;
        rows_done(&rows);
        return r;
}

/* Until all that is asked about held still, if it ever does. */
static int look_until_still(struct check *c) {
        int r = look(c);

        for (unsigned i = 0; r == 0 && c->unsettled > 0 && i < TRIES; i++) {
                free(ulv_steal(c->found));
                c->n_found = 0;
                wait_ms(MOMENT_MS / TRIES);
                r = look(c);
        }
        return r;
}

/* What a second look finds again, after a moment. */
static int look_again(struct check *c, long ms) {
        struct finding *before = ulv_steal(c->found);
        size_t n_before = c->n_found, n = 0;
        int r;

        c->n_found = 0;
        wait_ms(ms);
        r = look_until_still(c);
        for (size_t i = 0; i < c->n_found; i++)
                for (size_t k = 0; k < n_before; k++)
                        if (c->found[i].kind == before[k].kind && ulv_streq(c->found[i].name, before[k].name) && ulv_streq(c->found[i].object, before[k].object)) {
                                c->found[n++] = c->found[i];
                                break;
                        }
        c->n_found = n;
        free(before);
        return r;
}

static bool may_go_by_itself(const struct finding *f) { return f->kind == CHECK_UNIT || f->kind >= CHECK_STRAY; }

static int look_thoroughly(struct check *c) {
        bool slow = false;
        int r = look_until_still(c);

        if (r == 0 && c->n_found > 0)
                r = look_again(c, MOMENT_MS);
        for (size_t i = 0; i < c->n_found; i++)
                slow = slow || may_go_by_itself(&c->found[i]);
        return r == 0 && slow ? look_again(c, LONG_MOMENT_MS) : r;
}

/* --- the verb --------------------------------------------------------------------------------------------- */

/* What a look after the mending doesn't find any more is mended, whatever was answered. */
static int repair(struct check *c) {
        struct finding *before, *after;
        size_t n_before = c->n_found, n = 0;
        int r;

        for (size_t i = 0; i < c->n_found; i++)
                check_mend(c, &c->found[i]);
        before = ulv_steal(c->found);
        c->n_found = 0;
        r = look_thoroughly(c);
        after = ulv_steal(c->found);
        n = c->n_found;
        c->found = before;
        c->n_found = n_before;
        for (size_t i = 0; i < n_before; i++) {
                bool there = false;

                for (size_t k = 0; k < n; k++)
                        there = there || (after[k].kind == before[i].kind && ulv_streq(after[k].name, before[i].name) && ulv_streq(after[k].object, before[i].object));
                if (!there)
                        before[i].outcome = MENDED;
                else if (before[i].outcome == MENDED)
                        before[i].outcome = LEFT;
        }
        free(after);
        return r;
}

/* The installed one's differences are in the journal, too, where root found them. */
static void note(const struct check *c) {
        for (size_t i = 0; c->root && ulv_streq(c->u->root, "/") && i < c->n_found && i < NOTED_MAX; i++)
                (void) sd_journal_send("%s", ulv_event_field(ULV_EVENT_DRIFT), "PRIORITY=4", "ULTRAVISOR_PARTITION=%s", c->found[i].name,
                                       "ULTRAVISOR_KIND=%s", check_word(c->found[i].kind), "MESSAGE=%s: %s: %s", c->found[i].name,
                                       check_word(c->found[i].kind), c->found[i].text, NULL);
}

int verb_check(struct uvctl *u, int argc, char **argv) {
        struct check c = { .u = u, .n_names = argc, .names = argv, .root = geteuid() == 0 };
        size_t left = 0;
        int r;

        if (given(u, OPT_DRY_RUN) && !given(u, OPT_REPAIR))
                return fail(u, ULV_EXIT_USAGE, "check changes nothing by itself", "--dry-run says what --repair would do", "uvctl check -n --repair");
        if (ulv_cgroup_mount(c.mount, sizeof(c.mount)) < 0)
                c.mount[0] = 0;
        r = look_thoroughly(&c);
        note(&c);
        for (size_t i = 0; i < c.n_found; i++)
                c.found[i].outcome = given(u, OPT_DRY_RUN) && c.found[i].mend != MEND_NOT ? WOULD : LEFT;
        if (r == 0 && c.n_found > 0 && given(u, OPT_REPAIR) && !given(u, OPT_DRY_RUN))
                r = repair(&c);
        for (size_t i = 0; i < c.n_found; i++)
                left += c.found[i].outcome != MENDED;
        if (u->output == OUTPUT_NAGIOS)
                r = check_nagios(&c, r);
        else if (r == 0 && (r = check_show(&c)) == 0 && left > 0)
                r = ULV_EXIT_DEGRADED;
        free(c.found);
        return r;
}
