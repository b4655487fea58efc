/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command/summary.h"

#include <stdio.h>

#include "model/attachment.h"

/* Weaker is lower. A holding that its monitor hasn't reported yet counts as tracked: nothing is known to
 * enforce it. */
static int strength(const char *how) {
        static const char *const order[] = { "tracked", "affinity", "limit", "isolated", "preallocated" };

        for (size_t i = 1; i < ULV_ARRAY_SIZE(order); i++)
                if (ulv_streq(how, order[i]))
                        return (int) i;
        return 0;
}

static void weaken(char *field, size_t size, const char *how) {
        if (!how[0])
                how = "tracked";
        if (!field[0] || strength(how) < strength(field))
                (void) snprintf(field, size, "%s", how);
}

struct sums { struct summary *s; struct ulv_cpus cores; struct ulv_strbuf limits, attached; };

static void add_limit(struct sums *sums, const struct ulv_holding_info *h) {
        struct summary *s = sums->s;

        /* The last of one that was taken back is on its way out: it isn't wanted. */
        ulv_strbuf_addf(&sums->limits, "%s%s %llu %llu %s", sums->limits.len > 0 ? " " : "", h->id, (unsigned long long) h->wanted,
                        (unsigned long long) h->reached, h->how[0] ? h->how : "-");
        s->limits_reached = s->limits_reached && h->wanted == h->reached;
        weaken(s->limits_how, sizeof(s->limits_how), h->how);
}

static void add_attached(struct sums *sums, const struct ulv_holding_info *h) {
        bool block = ulv_streq(h->kind, "block");
        const char *name = block && h->node_name[0] ? h->node_name : h->id;

        if (ulv_name_is_reserved(h->owner))
                return;         /* the host attaches nothing */
        ulv_strbuf_addf(&sums->attached, "%s%s:%.*s %llu %llu %s", sums->attached.len > 0 ? " " : "", block ? "device" : h->kind,
                        (int) strcspn(name, "@"), name, (unsigned long long) h->wanted, (unsigned long long) h->reached, h->how[0] ? h->how : "-");
        sums->s->attached_reached = sums->s->attached_reached && h->wanted == h->reached;
}

static int add_holding(const struct ulv_holding_info *h, void *userdata) {
        struct sums *sums = userdata;
        struct summary *s = sums->s;
        uint64_t core;

        if (ulv_streq(h->kind, "core")) {
                s->cores_wanted += (unsigned) h->wanted;
                s->cores_reached += (unsigned) h->reached;
                if (h->amount > 0 && ulv_uint_parse(h->id, ULV_CPU_MAX - 1, &core) == 0)
                        ulv_cpus_set(&sums->cores, (unsigned) core);
        } else if (ulv_streq(h->kind, "share")) {
                s->share_wanted += h->wanted;
                s->share_reached += h->reached;
        } else if (ulv_streq(h->kind, "memory")) {
                s->memory_wanted += h->wanted * ULV_MEMORY_UNIT;
                s->memory_reached += h->reached * ULV_MEMORY_UNIT;
                if (h->amount > 0)
                        weaken(s->memory_how, sizeof(s->memory_how), h->how);
                return 0;
        } else {
                if (ulv_streq(h->kind, "limit"))
                        add_limit(sums, h);
                else if (ulv_attachment_is_kind(h->kind))
                        add_attached(sums, h);
                return 0;
        }
        if (h->amount > 0)
                weaken(s->cpu_how, sizeof(s->cpu_how), h->how);
        return 0;
}

/* Starting and stopping it is on its way, not degraded. */
static bool is_settled(enum ulv_state s) {
        return s == ULV_RUNNING || s == ULV_PAUSED;
}

int summary_make(const struct ulv_ledger *l, const struct ulv_partition_info *p, const struct ulv_definition *d, struct summary *ret) {
        struct summary s = { .description = d && d->description ? d->description : "", .limits_reached = true, .attached_reached = true };
        struct sums sums = { .s = &s };
        _cleanup_strbuf_ struct ulv_strbuf cores = { 0 };

        (void) ulv_ledger_each_holding(l, NULL, p->name, add_holding, &sums);
        ulv_cpus_format(&cores, &sums.cores);
        s.cores = cores.error ? NULL : cores.s ? ulv_strbuf_steal(&cores) : strdup("");
        s.limits = sums.limits.error ? NULL : sums.limits.s ? ulv_strbuf_steal(&sums.limits) : strdup("");
        ulv_strbuf_done(&sums.limits);
        s.attached = sums.attached.error ? NULL : sums.attached.s ? ulv_strbuf_steal(&sums.attached) : strdup("");
        ulv_strbuf_done(&sums.attached);
        if (!s.cores || !s.limits || !s.attached) {
                summary_done(&s);
                return -ENOMEM;
        }
        if (ulv_state_is_live(p->state) && !ulv_streq(p->role, "infrastructure")) {
                s.isolation = ulv_isolation_grade(p->type, p->contain, s.cpu_how, s.memory_how, s.limits_how, s.cores_wanted > 0);
                s.degraded = is_settled(p->state) &&
                             (s.cores_wanted != s.cores_reached || s.share_wanted != s.share_reached ||
                              s.memory_wanted != s.memory_reached || !s.limits_reached || !s.attached_reached || (d && s.isolation < d->isolation));
        }
        *ret = s;
        return 0;
}

void summary_done(struct summary *s) {
        free(s->cores);
        free(s->limits);
        free(s->attached);
        *s = (struct summary) { 0 };
}

static void add_amount(struct ulv_strbuf *b, const char *key, uint64_t v) {
        if (v > 0)
                ulv_op_add_u64(b, key, v);
}

void summary_add_keys(struct ulv_strbuf *b, const struct summary *s, const char *name) {
        ulv_op_add(b, "isolation", ulv_isolation_name(s->isolation));
        if (s->cores[0])
                ulv_op_add(b, "cores", s->cores);
        add_amount(b, "cores-wanted", s->cores_wanted);
        add_amount(b, "cores-reached", s->cores_reached);
        add_amount(b, "share-wanted", s->share_wanted);
        add_amount(b, "share-reached", s->share_reached);
        add_amount(b, "memory-wanted", s->memory_wanted);
        add_amount(b, "memory-reached", s->memory_reached);
        if (s->cpu_how[0])
                ulv_op_add(b, "cpu-how", s->cpu_how);
        if (s->memory_how[0])
                ulv_op_add(b, "memory-how", s->memory_how);
        if (s->limits[0])
                ulv_op_add(b, "limits", s->limits);
        if (s->attached[0])
                ulv_op_add(b, "attached", s->attached);
        if (s->degraded)
                ulv_op_add(b, "degraded", "yes");
        if (s->description[0])
                ulv_op_add(b, "description", s->description);
        if (name) {
                char unit[ULV_NAME_MAX + 32];

                (void) snprintf(unit, sizeof(unit), "uv-partition@%s.service", name);
                ulv_op_add(b, "unit", unit);
        }
}
