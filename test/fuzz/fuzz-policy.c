/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The text is cut in two files at a byte of its own choice, so that the set's rules are met, too. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        ULV_CLEANUP(ulv_policy_freep) struct ulv_policy *p = NULL;
        size_t cut = size > 0 ? ULV_MIN((size_t) data[size - 1] * 4, size) : 0;
        const struct ulv_source files[] = {
                { .file = "policies/10-a.policy", .buf = (const char *) data, .len = cut },
                { .file = "policies/50-b.policy", .buf = (const char *) data + cut, .len = size - cut },
        };
        struct ulv_definition d = { .name = "web", .zone = "default", .type = "container" };
        struct ulv_diag diag = {};
        int r;

        r = ulv_policy_parse(files, 2, &p, &diag);
        if (r < 0 || (r > 0 && (!diag.what[0] || diag.line == 0)))
                abort();
        for (size_t i = 0; r == 0 && i < p->n_require; i++) {
                if (p->require[i].isolation == ULV_ISOLATION_NONE || !p->require[i].match)
                        abort();
                (void) ulv_policy_matches(p->require[i].match, &d);
        }
        return 0;
}
