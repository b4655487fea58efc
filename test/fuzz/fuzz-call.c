/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Records of channel/call.h, as a partition (or a monitor) may send them: what is taken for one holds to the letter. */

#include <stdlib.h>
#include <string.h>

#include "channel/call.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x) do { if (!(x)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char *record = malloc(size ? size : 1);
        struct ulv_call c = { .number = 77 };

        MUST(record);
        memcpy(record, data, size);     /* of just this size, so that a read beyond it is seen */
        if (ulv_call_parse(record, size, &c) < 0)
                MUST(c.number == 77);
        else {
                enum ulv_call_code up = ulv_call_check(&c, ULV_CALL_FROM_PARTITION), down = ulv_call_check(&c, ULV_CALL_FROM_MONITOR);

                MUST(size == sizeof(c) && memcmp(&c, data, size) == 0 && memchr(c.text, 0, sizeof(c.text)));
                MUST(up != ULV_CALL_OK || down != ULV_CALL_OK);         /* a verb has one direction */
                MUST((up == ULV_CALL_UNKNOWN) == (down == ULV_CALL_UNKNOWN));
                MUST(ulv_call_verb_name(c.verb) && ulv_call_code_text(c.code));
        }
        free(record);
        return 0;
}
