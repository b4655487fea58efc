/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/ini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a handler may rely on, whatever the text: non-NULL strings, places inside the text. */
static int look(const struct ulv_ini_item *item, void *userdata, ULV_UNUSED struct ulv_diag *reterr) {
        size_t *bytes = userdata;

        if (!item->section || !item->label || item->line == 0 || item->column == 0)
                abort();
        if (item->type == ULV_INI_KEY && (!item->key || !item->key[0] || !item->value || item->value_column <= item->column))
                abort();
        if (item->type == ULV_INI_LINE && (item->key || !item->value[0]))
                abort();
        *bytes += strlen(item->section) + strlen(item->label) + (item->value ? strlen(item->value) : 0);
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char *const free_sections[] = { "Rules", NULL };
        struct ulv_diag d = {};
        size_t bytes = 0;
        int r;

        r = ulv_ini_scan("fuzz", (const char *) data, size, free_sections, look, &bytes, &d);
        if (r < 0 || (r == 1) != (d.what[0] != 0) || (r == 1 && (d.line == 0 || d.column == 0)))
                abort();
        return 0;
}
