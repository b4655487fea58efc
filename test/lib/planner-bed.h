/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A bed for the planner's tests: a ledger of an imagined machine, definitions and policy that can be
 * edited, and monitors that do at once what the ledger wants of them. All of it aborts on errors that a
 * test can't be about. */

#include <stdio.h>

#include "model/planner.h"

#define BED_FILES_MAX 64

struct bed {
        struct ulv_ledger *l;
        struct ulv_bundle *b;
        struct { char path[200]; char text[2048]; } files[BED_FILES_MAX];
        size_t n_files;
        unsigned n_txns;
};

#define BED_CHECK(x) do { if (!(x)) { fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); abort(); } } while (0)

static inline void bed_done(struct bed *bed) {
        ulv_ledger_free(bed->l);
        ulv_bundle_free(bed->b);
        bed->l = NULL;
        bed->b = NULL;
}

static inline void bed_print_diag(const struct ulv_diag *d, ULV_UNUSED void *userdata) {
        fprintf(stderr, "%s:%u:%u: %s\n%s\n", d->file, d->line, d->column, d->what, d->why);
}

static inline void bed_machine(struct bed *bed, const char *inventory) {
        ULV_CLEANUP(ulv_inventory_freep) struct ulv_inventory *inv = NULL;
        struct ulv_diag d = {};

        if (ulv_inventory_parse("machine", inventory, strlen(inventory), &inv, &d) != 0)
                bed_print_diag(&d, NULL);
        BED_CHECK(inv);
        ulv_ledger_free(bed->l);
        bed->l = NULL;
        BED_CHECK(ulv_ledger_new(inv, &bed->l) == 0);
}

/* The set of files becomes the bundle. False: it is not valid, the old one stays. */
static inline bool bed_reload(struct bed *bed, bool print) {
        _cleanup_strbuf_ struct ulv_strbuf text = {};
        struct ulv_source sources[BED_FILES_MAX];
        struct ulv_bundle *b = NULL;

        for (size_t i = 0; i < bed->n_files; i++)
                sources[i] = (struct ulv_source) { .file = bed->files[i].path, .buf = bed->files[i].text, .len = strlen(bed->files[i].text) };
        BED_CHECK(ulv_bundle_build(1, sources, bed->n_files, &text) == 0);
        if (ulv_bundle_parse(text.s, text.len, &b, print ? bed_print_diag : NULL, NULL) != 0)
                return false;
        ulv_bundle_free(bed->b);
        bed->b = b;
        return true;
}

/* Adds or replaces a file ("" removes it); call bed_reload() after. */
static inline void bed_file(struct bed *bed, const char *path, const char *text) {
        size_t i = 0;

        while (i < bed->n_files && !ulv_streq(bed->files[i].path, path))
                i++;
        if (!text[0]) {
                if (i < bed->n_files)
                        bed->files[i] = bed->files[--bed->n_files];
                return;
        }
        BED_CHECK(i < BED_FILES_MAX);
        snprintf(bed->files[i].path, sizeof(bed->files[i].path), "%s", path);
        BED_CHECK((size_t) snprintf(bed->files[i].text, sizeof(bed->files[i].text), "%s", text) < sizeof(bed->files[i].text));
        if (i == bed->n_files)
                bed->n_files++;
}

static inline int bed_step(struct bed *bed, const char *reporter, const char *ops, size_t len, struct ulv_diag *d) {
        char id[32];
        struct ulv_txn t = { .id = id, .zone = "default", .subject = "test", .reason = "", .operations = ops, .operations_len = len, .reporter = reporter };
        struct ulv_outcome o = {};
        int r;

        snprintf(id, sizeof(id), "t%u", ++bed->n_txns);
        r = ulv_ledger_step(bed->l, &t, &o, d);
        if (r == 0)
                ulv_outcome_done(&o);
        return r;
}

/* --- monitors ------------------------------------------------------------------------------------------ */

struct bed_reports { const struct ulv_ledger *l; struct ulv_strbuf b; char name[ULV_NAME_MAX + 1]; };

static inline int bed_report_holding(const struct ulv_holding_info *h, void *userdata) {
        struct bed_reports *m = userdata;

        if (h->amount == 0 || ulv_streq(h->kind, "uids"))
                return 0;
        if (h->keep < h->amount) {
                ulv_op_begin(&m->b, "letgo", h->kind, h->id, h->owner);
                ulv_op_add_u64(&m->b, "amount", h->amount - h->keep);
                ulv_op_end(&m->b);
        }
        if (h->reached != h->keep && h->keep > 0) {
                ulv_op_begin(&m->b, "reached", h->kind, h->id, h->owner);
                ulv_op_add_u64(&m->b, "amount", h->keep);
                ulv_op_add(&m->b, "how", "limit");
                ulv_op_end(&m->b);
        }
        return 0;
}

/* The first partition that has something to report, and what. */
static inline int bed_report_partition(const struct ulv_partition_info *p, void *userdata) {
        struct bed_reports *m = userdata;

        if (ulv_streq(p->role, "infrastructure") || !ulv_state_is_live(p->state))
                return 0;
        if (p->state == ULV_STOPPING) {
                ulv_op_begin(&m->b, "ended", "partition", p->name, NULL);
                ulv_op_add(&m->b, "result", "exited-0");
                ulv_op_end(&m->b);
        } else if (p->state == ULV_STARTING) {
                ulv_op_begin(&m->b, "state", "partition", p->name, NULL);
                ulv_op_add(&m->b, "state", "running");
                ulv_op_add_u64(&m->b, "leader", 4242);
                ulv_op_add(&m->b, "contain", "userns");
                ulv_op_end(&m->b);
        }
        if (p->state != ULV_STOPPING)
                (void) ulv_ledger_each_holding(m->l, NULL, p->name, bed_report_holding, m);
        if (m->b.len == 0)
                return 0;
        snprintf(m->name, sizeof(m->name), "%s", p->name);
        return 1;
}

/* One monitor reports all that it has to. False: none has anything. */
static inline bool bed_report(struct bed *bed) {
        _cleanup_free_ char *text = NULL;
        struct bed_reports m = { .l = bed->l };
        struct ulv_diag d = {};
        int r;

        if (ulv_ledger_each_partition(bed->l, bed_report_partition, &m) == 0)
                return false;
        text = ulv_strbuf_steal(&m.b);
        r = bed_step(bed, m.name, text, strlen(text), &d);
        if (r != 0)
                fprintf(stderr, "report of %s refused: %s: %s\n%s", m.name, d.what, d.why, text);
        BED_CHECK(r == 0);
        return true;
}

static inline void bed_settle(struct bed *bed) {
        for (unsigned i = 0; bed_report(bed); i++)
                BED_CHECK(i < 100000);
}

/* --- requests ------------------------------------------------------------------------------------------- */

static inline int bed_plan(struct bed *bed, const struct ulv_request *r, struct ulv_plan **ret) { return ulv_plan_make(bed->l, bed->b, r, ret); }

/* Plans and submits; 0 and all of it is in the ledger, or the refusal's 1. */
static inline int bed_do(struct bed *bed, const struct ulv_request *r, struct ulv_plan **ret) {
        struct ulv_diag d = {};
        int k;

        k = bed_plan(bed, r, ret);
        if (k != 0 || (*ret)->operations.len == 0)
                return k;
        k = bed_step(bed, NULL, (*ret)->operations.s, (*ret)->operations.len, &d);
        if (k != 0) {
                fprintf(stderr, "a plan was refused by the ledger: %s: %s\n%s", d.what, d.why, (*ret)->operations.s);
                return -EPROTO;
        }
        if (ulv_ledger_check(bed->l, &d) != 0) {
                fprintf(stderr, "the ledger is broken: %s: %s\n", d.what, d.why);
                return -EPROTO;
        }
        return 0;
}
