/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Any bytes where a view should be: the reader takes them or says no, and reads nothing outside. The first
 * 8 KiB of the input lie over a good view, so that more than the magic is reached. */

#include "model/view.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x) do { if (!(x)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char *mem = calloc(1, ULV_VIEW_SIZE);
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        uint64_t generation, epoch;
        int r;

        MUST(mem);
        MUST(ulv_view_read(data, size, &b, &generation, &epoch) == -EBADMSG || size >= ULV_VIEW_SIZE);
        ulv_view_init(mem, 7);
        MUST(ulv_view_write(mem, 5, "row ledger - - generation=5\n", 28) == 0);
        /* Input: pairs of an offset (2 bytes, in words of 4 over the header and both slots' heads) and a word. */
        for (size_t i = 0; i + 6 <= size; i += 6) {
                size_t at = ((size_t) data[i] | (size_t) data[i + 1] << 8) * 4;

                if (at >= 128)
                        at = 64 + ULV_VIEW_SLOT_SIZE + (at - 128) % (ULV_VIEW_SLOT_SIZE - 4);
                memcpy(mem + at, data + i + 2, 4);
        }
        ulv_strbuf_reset(&b);
        r = ulv_view_read(mem, ULV_VIEW_SIZE, &b, &generation, &epoch);
        MUST(r == 0 || r == -EBADMSG || r == -EAGAIN);
        MUST(r < 0 || b.len <= ULV_VIEW_SLOT_SIZE);
        free(mem);
        return 0;
}
