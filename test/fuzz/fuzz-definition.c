/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/definition.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The canonical text of what parses must parse again, to the same canonical text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *d = NULL, *again = NULL;
        _cleanup_strbuf_ struct ulv_strbuf text = {}, text_again = {};
        struct ulv_source source = { .file = "web.partition", .buf = (const char *) data, .len = size };
        struct ulv_diag diag = {};
        int r;

        r = ulv_definition_parse(&source, 1, &d, &diag);
        if (r != 0) {
                if (r < 0 || !diag.what[0] || diag.line == 0 || diag.column == 0)
                        abort();
                return 0;
        }
        if (ulv_definition_format(d, &text) != 0)
                abort();
        source.buf = text.s;
        source.len = text.len;
        if (ulv_definition_parse(&source, 1, &again, &diag) != 0 || ulv_definition_format(again, &text_again) != 0 ||
            !ulv_streq(text.s, text_again.s))
                abort();
        return 0;
}
