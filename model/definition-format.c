/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The canonical text of a definition, by the table of its keys, and what of it differs between two. */

#include "model/definition-keys.h"
#include "model/definition-parts.h"

/* Writes a key unless it has its default, and its section's header before the first of them. */
static void format_key(struct ulv_strbuf *b, const struct ulv_definition *d, const struct definition_key *k,
                       const char **section, struct ulv_strbuf *value, struct ulv_strbuf *standard) {
        ulv_strbuf_reset(value);
        ulv_strbuf_reset(standard);
        k->kind->format(value, d, (const char *) d + k->offset);
        k->kind->format(standard, &ulv_definition_defaults, (const char *) &ulv_definition_defaults + k->offset);
        if (ulv_strbuf_error(value) < 0 || ulv_streq(ulv_strbuf_str(value), ulv_strbuf_str(standard)))
                return;
        if (!*section || !ulv_streq(*section, k->section)) {
                ulv_strbuf_addf(b, "%s[%s]\n", *section ? "\n" : "", k->section);
                *section = k->section;
        }
        if (!k->kind->repeatable)
                ulv_strbuf_addf(b, "%s=", k->name);
        ulv_strbuf_addf(b, "%s\n", ulv_strbuf_str(value));
}

int ulv_definition_format(const struct ulv_definition *d, struct ulv_strbuf *b) {
        _cleanup_strbuf_ struct ulv_strbuf value = {}, standard = {};
        const char *section = NULL;

        for (size_t i = 0; i < KEY_MAX_; i++) {
                format_key(b, d, &ulv_definition_keys[i], &section, &value, &standard);
                if (ulv_strbuf_error(&value) < 0)
                        return ulv_strbuf_error(&value);
                if (ulv_strbuf_error(&standard) < 0)
                        return ulv_strbuf_error(&standard);
        }
        ulv_parts_format(b, d);
        return ulv_strbuf_error(b);
}

int ulv_definition_add_changed(const struct ulv_definition *a, const struct ulv_definition *b, struct ulv_strbuf *text) {
        _cleanup_strbuf_ struct ulv_strbuf x = {}, y = {};

        for (size_t i = 0; i < KEY_MAX_; i++) {
                const struct definition_key *k = &ulv_definition_keys[i];

                if (i == KEY_CORES || i == KEY_SHARE || i == KEY_SIZE || (i >= KEY_TASKS && i <= KEY_IOPS_WRITE))
                        continue;
                ulv_strbuf_reset(&x);
                ulv_strbuf_reset(&y);
                k->kind->format(&x, a, (const char *) a + k->offset);
                k->kind->format(&y, b, (const char *) b + k->offset);
                if (ulv_strbuf_error(&x) < 0 || ulv_strbuf_error(&y) < 0)
                        return -ENOMEM;
                if (!ulv_streq(ulv_strbuf_str(&x), ulv_strbuf_str(&y)))
                        ulv_strbuf_addf(text, "%s%s=", text->len > 0 ? ", " : "", k->name);
        }
        ulv_strbuf_reset(&x);
        ulv_strbuf_reset(&y);
        /* Mounts and devices come and go live, and are told one by one. */
        ulv_parts_format(&x, &(struct ulv_definition) { .networks = a->networks, .n_networks = a->n_networks,
                                                        .credentials = a->credentials, .n_credentials = a->n_credentials });
        ulv_parts_format(&y, &(struct ulv_definition) { .networks = b->networks, .n_networks = b->n_networks,
                                                        .credentials = b->credentials, .n_credentials = b->n_credentials });
        if (ulv_strbuf_error(&x) < 0 || ulv_strbuf_error(&y) < 0)
                return -ENOMEM;
        if (!ulv_streq(ulv_strbuf_str(&x), ulv_strbuf_str(&y)))
                ulv_strbuf_addf(text, "%snetworks or credentials", text->len > 0 ? ", " : "");
        return ulv_strbuf_error(text);
}
