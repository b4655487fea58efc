/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Any line: what parses is written back and parses to the same. */

#include "model/op.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x) do { if (!(x)) abort(); } while (0)

static int one_line(const char *line, size_t len, void *userdata) {
        _cleanup_op_ struct ulv_op op = {}, again = {};
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        struct ulv_diag d = {};
        uint64_t n;
        int r;

        (void) userdata;
        r = ulv_op_parse(line, len, &op, &d);
        if (r != 0) {
                MUST(r == 1 && d.what[0] && d.column >= 1);
                return 0;
        }
        ulv_op_begin(&b, op.verb, op.kind, op.id, op.owner);
        for (unsigned i = 0; i < op.n_kv; i++) {
                MUST(ulv_op_get(&op, op.kv[i].key) == op.kv[i].value);
                (void) !ulv_op_get_u64(&op, op.kv[i].key, &n);
                ulv_op_add(&b, op.kv[i].key, op.kv[i].value);
        }
        MUST(ulv_op_parse(b.s, b.len, &again, &d) == 0);
        MUST(ulv_streq(op.verb, again.verb) && ulv_streq(op.kind, again.kind) && ulv_streq(op.id, again.id) && ulv_streq(op.owner, again.owner));
        MUST(op.n_kv == again.n_kv);
        for (unsigned i = 0; i < op.n_kv; i++)
                MUST(ulv_streq(op.kv[i].key, again.kv[i].key) && ulv_streq(op.kv[i].value, again.kv[i].value));
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        return ulv_op_each_line((const char *) data, size, one_line, NULL);
}
