/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Any inventory file: what parses makes a ledger that holds. */

#include "model/inventory.h"
#include "model/ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x) do { if (!(x)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        ULV_CLEANUP(ulv_inventory_freep) struct ulv_inventory *inv = NULL;
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = NULL, *copy = NULL;
        _cleanup_strbuf_ struct ulv_strbuf b = {}, differences = {};
        struct ulv_diag d = {};
        int r;

        r = ulv_inventory_parse("fuzz.inventory", (const char *) data, size, &inv, &d);
        if (r != 0) {
                MUST(r == 1 && d.what[0]);
                return 0;
        }
        MUST(inv->n_cores > 0);
        MUST(ulv_ledger_new(inv, &l) == 0);
        MUST(ulv_ledger_check(l, &d) == 0);
        MUST(ulv_ledger_dump(l, NULL, &b) == 0);
        MUST(ulv_ledger_load(b.s, b.len, &copy, &d) == 0);
        MUST(ulv_ledger_set_inventory(copy, inv, &differences) == 0);
        MUST(differences.len == 0);
        return 0;
}
