/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Rows, changes, views and operations as anybody may send them. The first byte picks what the rest is. What
 * is refused changes nothing; what is taken leaves a ledger that holds, and whose dump loads again. */

#include <stdio.h>

#include "model/ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x) do { if (!(x)) { fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); abort(); } } while (0)

static const char rows[] =
        "row ledger - - generation=9 incarnation=2 seq=3\n"
        "row inventory - - kind=imagined name=f prefix= controllers= kvm=no uids=1-8\n"
        "row core 0 host node=0 threads=0,4\nrow core 1 idle node=0 threads=1,5\nrow core 2 web node=1 threads=2 reached=1 how=limit\n"
        "row memory 0/4K host amount=100\nrow memory 0/4K idle amount=50\nrow memory 0/4K web amount=20 reached=20 how=limit txn=a\n"
        "row share pool web amount=500 reached=500 how=limit\nrow uids 3 web\nrow pci 0:1 host group=1\n"
        "row partition web - zone=default type=sim role=guest state=running wanted=running incarnation=2 leader=5 text=x\n"
        "row partition db - zone=blue type=sim role=guest state=defined wanted=defined\n"
        "row transaction a - subject=me\nrow transfer 3 web to=idle kind=memory id=0/4K amount=5 made=8 txn=a\n";

static struct ulv_ledger *load(const char *text, size_t len) {
        struct ulv_ledger *l = NULL;
        struct ulv_diag d = {};
        int r = ulv_ledger_load(text, len, &l, &d);

        MUST(r == 0 || (r == 1 && d.what[0]));
        return l;
}

static void check(struct ulv_ledger *l) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *copy = NULL;
        _cleanup_strbuf_ struct ulv_strbuf b = {}, again = {};
        struct ulv_diag d = {};

        MUST(ulv_ledger_check(l, &d) == 0);
        MUST(ulv_ledger_dump(l, NULL, &b) == 0);
        copy = load(b.s, b.len);
        MUST(copy);
        MUST(ulv_ledger_dump(copy, NULL, &again) == 0);
        MUST(ulv_streq(b.s, again.s));
}

static void step(struct ulv_ledger *l, const char *ops, size_t len, const char *reporter) {
        struct ulv_txn t = { .id = "f", .zone = "default", .subject = "fuzz", .operations = ops, .operations_len = len, .reporter = reporter };
        _cleanup_strbuf_ struct ulv_strbuf before = {}, after = {};
        struct ulv_outcome o = {};
        struct ulv_diag d = {};
        int r, tried;

        MUST(ulv_ledger_dump(l, NULL, &before) == 0);
        tried = ulv_ledger_try(l, &t, NULL);
        MUST(ulv_ledger_dump(l, NULL, &after) == 0);
        MUST(ulv_streq(before.s, after.s));
        ulv_strbuf_reset(&after);
        r = ulv_ledger_step(l, &t, &o, &d);
        MUST(r == tried);
        MUST(r >= 0 && (r == 0 || d.what[0]));
        if (r > 0) {
                MUST(ulv_ledger_dump(l, NULL, &after) == 0);
                MUST(ulv_streq(before.s, after.s));
        }
        ulv_outcome_done(&o);
        check(l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *text = (const char *) data + 1;
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = NULL;
        struct ulv_diag d = {};
        int r;

        if (size < 1 || size > 65536)
                return 0;
        size--;
        l = data[0] % 5 == 0 ? load(text, size) : load(rows, sizeof(rows) - 1);
        if (!l)
                return 0;
        switch (data[0] % 5) {
        case 1:
                r = ulv_ledger_apply(l, text, size, &d);
                MUST(r == 0 || (r == 1 && d.what[0]));
                return 0;       /* a mirror believes its master; it must only not break */
        case 2:
                step(l, text, size, NULL);
                return 0;
        case 3:
                step(l, text, size, "web");
                return 0;
        case 4:
                r = ulv_ledger_adopt(l, text, size, &d);
                MUST(r == 0 || (r == 1 && d.what[0]));
        }
        check(l);
        return 0;
}
