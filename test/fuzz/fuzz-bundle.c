/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count(const struct ulv_diag *d, void *userdata) {
        if (!d->what[0])
                abort();
        ++*(unsigned *) userdata;
}

/* A bundle that is taken and built again from its files is taken again, and is the same from then on (the
 * first may have written a number as 007). */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        ULV_CLEANUP(ulv_bundle_freep) struct ulv_bundle *b = NULL, *again = NULL;
        _cleanup_strbuf_ struct ulv_strbuf text = {}, text_again = {};
        unsigned errors = 0;
        int r;

        r = ulv_bundle_parse((const char *) data, size, &b, count, &errors);
        if (r < 0 || (r == 1) != (errors > 0))
                abort();
        if (r != 0)
                return 0;
        if (ulv_bundle_build(b->version, b->files, b->n_files, &text) != 0 || text.len > size ||
            ulv_bundle_parse(text.s, text.len, &again, NULL, NULL) != 0 ||
            ulv_bundle_build(again->version, again->files, again->n_files, &text_again) != 0 || !ulv_streq(text.s, text_again.s))
                abort();
        return 0;
}
