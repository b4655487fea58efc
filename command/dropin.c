/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command/dropin.h"

#include <stdio.h>

#include "lib/ini.h"

struct writer {
        struct ulv_strbuf b;
        const struct dropin_value *v;
        size_t n;
        bool written[DROPIN_VALUES_MAX];
        char section[64];       /* the one that b is in, "" before the first */
        const struct dropin_part *part; /* NULL: none */
};

static void enter(struct writer *w, const char *section, const char *label) {
        if (ulv_streq(w->section, section) && !label[0])
                return;
        if (label[0])
                ulv_strbuf_addf(&w->b, "\n[%s \"%s\"]\n", section, label);
        else
                ulv_strbuf_addf(&w->b, "\n[%s]\n", section);
        (void) snprintf(w->section, sizeof(w->section), "%s", label[0] ? "" : section);
}

/* Writes what is to be set in the current section and wasn't written yet. */
static void write_values(struct writer *w, const char *section) {
        for (size_t i = 0; i < w->n; i++)
                if (!w->written[i] && ulv_streq(w->v[i].section, section)) {
                        enter(w, section, "");
                        ulv_strbuf_addf(&w->b, "%s=%s\n", w->v[i].key, w->v[i].value);
                        w->written[i] = true;
                }
}

static bool is_about_the_same(const char *a, const char *b) {
        size_t n = strcspn(a, " \t");

        return n == strcspn(b, " \t") && strncmp(a, b, n) == 0;
}

static int copy_item(const struct ulv_ini_item *item, void *userdata, ULV_UNUSED struct ulv_diag *reterr) {
        struct writer *w = userdata;

        if (w->part && ulv_streq(item->section, w->part->section) && ulv_streq(item->label, w->part->label)) {
                w->section[0] = 0;      /* what comes behind it begins anew */
                return 0;
        }
        if (item->type == ULV_INI_SECTION)
                enter(w, item->section, item->label);
        if (item->type != ULV_INI_KEY)
                return 0;
        for (size_t i = 0; i < w->n; i++)
                if (!item->label[0] && ulv_streq(w->v[i].section, item->section) && ulv_streq(w->v[i].key, item->key) &&
                    (!w->v[i].list || is_about_the_same(w->v[i].value, item->value))) {
                        /* Of a list, the lines behind this one may count on what it says (an empty one unsets). */
                        if (!w->v[i].list)
                                write_values(w, item->section);
                        return 0;
                }
        ulv_strbuf_addf(&w->b, "%s=%s\n", item->key, item->value);
        return 0;
}

static int make(const struct ulv_bundle *b, const char *partition, struct writer w, char **ret, struct ulv_diag *reterr) {
        char path[ULV_NAME_MAX + 64];
        int r = 0;

        assert(w.n <= ULV_ARRAY_SIZE(w.written));
        w.b.max = ULV_INI_FILE_MAX;
        (void) snprintf(path, sizeof(path), "partitions/%s.partition.d/50-set.conf", partition);
        ulv_strbuf_add(&w.b, "# Written by 'uvctl set'. A hand edit is kept, but for comments.\n");
        for (size_t i = 0; i < b->n_files && r == 0; i++)
                if (ulv_streq(b->files[i].file, path))
                        r = ulv_ini_scan(path, b->files[i].buf, b->files[i].len, NULL, copy_item, &w, reterr);
        for (size_t i = 0; i < w.n; i++)
                write_values(&w, w.v[i].section);
        if (w.part && w.part->lines[0])
                ulv_strbuf_addf(&w.b, "\n[%s \"%s\"]\n%s", w.part->section, w.part->label, w.part->lines);
        if (r == 0)
                r = ulv_strbuf_error(&w.b);
        if (r == -E2BIG) {
                ulv_diag_what(reterr, ULV_EXIT_FAILED, "%s would be longer than 64K", path);
                r = 1;
        }
        if (r == 0) {
                *ret = ulv_strbuf_steal(&w.b);
                r = *ret ? 0 : -ENOMEM;
        }
        ulv_strbuf_done(&w.b);
        return r;
}

int dropin_text(const struct ulv_bundle *b, const char *partition, const struct dropin_value *v, size_t n, char **ret, struct ulv_diag *reterr) {
        return make(b, partition, (struct writer) { .v = v, .n = n }, ret, reterr);
}

int dropin_with_part(const struct ulv_bundle *b, const char *partition, const struct dropin_part *part, char **ret, struct ulv_diag *reterr) {
        return make(b, partition, (struct writer) { .part = part }, ret, reterr);
}
