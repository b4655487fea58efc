/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/planner-internal.h"

/* The last line of a plan: what it takes, of how much, and who loses by it. What the host gives is named,
 * since it isn't idle: "2 cores of 3 idle", "2 cores from host", "2 cores (1 of 1 idle, 1 from host)". */

static void add_count(struct ulv_strbuf *b, uint64_t n) { ulv_strbuf_addf(b, "%llu", (unsigned long long) n); }
static void add_size(struct ulv_strbuf *b, uint64_t units) { ulv_size_format(b, units * ULV_MEMORY_UNIT); }

struct taken { uint64_t taken, from_host, idle; };

/* One resource. unit is said behind the amount that is taken. */
static void add_taken(struct ulv_strbuf *b, struct taken t, void (*format)(struct ulv_strbuf *b, uint64_t v), const char *unit) {
        if (t.taken == 0)
                return;
        ulv_strbuf_add(b, b->len > 0 ? ", " : "");
        format(b, t.taken);
        ulv_strbuf_add(b, unit);
        if (t.from_host == t.taken) {
                ulv_strbuf_add(b, " from host");
                return;
        }
        ulv_strbuf_add(b, t.from_host > 0 ? " (" : " of ");
        if (t.from_host > 0) {
                format(b, t.taken - t.from_host);
                ulv_strbuf_add(b, " of ");
        }
        format(b, t.idle);
        ulv_strbuf_add(b, " idle");
        if (t.from_host > 0) {
                ulv_strbuf_add(b, ", ");
                format(b, t.from_host);
                ulv_strbuf_add(b, " from host)");
        }
}

/* Memory of all page sizes, as `uvctl list` counts it. */
void ulv_plan_remember_idle(struct planner *p) {
        uint64_t capacity = ulv_world_share_capacity(&p->w), given = ulv_world_share_given(&p->w);

        p->use.idle = (struct ulv_amounts) {
                .cores = ulv_world_count_cores(&p->w, "idle", -1),
                .share = capacity > given ? capacity - given : 0,
        };
        for (size_t i = 0; i < p->w.n_memory; i++)
                if (ulv_streq(p->w.memory[i].owner, "idle"))
                        p->use.idle.memory += p->w.memory[i].keep;
}

void ulv_plan_use_summary(const struct ulv_plan_use *use, const char *lost, char *ret, size_t size) {
        const struct ulv_amounts *t = &use->taken, *h = &use->from_host, *i = &use->idle;
        STACK_TEXT(b);

        add_taken(&b, (struct taken) { t->cores, h->cores, i->cores }, add_count, t->cores == 1 ? " core" : " cores");
        add_taken(&b, (struct taken) { t->share, 0, i->share }, ulv_share_format, " share");
        add_taken(&b, (struct taken) { t->memory, h->memory, i->memory }, add_size, "");
        lost = lost[0] ? lost : "Nobody loses anything.";
        ulv_cut(ret, size, b.len == 0 ? lost : TEXT("Fits: %s. %s", ulv_strbuf_str(&b), lost));
}

void ulv_plan_summary(struct planner *p, bool fits) {
        char *summary = p->plan->summary;
        const size_t size = sizeof(p->plan->summary);

        if (p->plan->operations.len == 0)
                ulv_cut(summary, size, "Nothing to do.");
        else if (!fits)
                ulv_cut(summary, size, TEXT("Not all of it can run at once now. %s", p->lost.len > 0 ? ulv_strbuf_str(&p->lost) : "Nobody loses anything."));
        else
                ulv_plan_use_summary(&p->use, p->lost.len > 0 ? ulv_strbuf_str(&p->lost) :
                                     p->r->verb == ULV_REQUEST_MOVE ? "Nobody else loses anything." : "", summary, size);
        for (size_t n = strlen(summary); n > 0 && summary[n - 1] == ' '; n--)
                summary[n - 1] = 0;
}
