/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Records of monitor/port.h, as a hostile partition may send them. Input: one byte that picks the side,
 * one the number of fds, then the record. What is accepted must hold to the letter: every string
 * inside the record, every number in its range. */

#include <stdlib.h>
#include <string.h>

#include "monitor/port/record.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x) do { if (!(x)) abort(); } while (0)

static void check_string(const char *s, const char *record, size_t len) {
        MUST(s >= record && s < record + len);
        MUST(memchr(s, 0, (size_t) (record + len - s)));
}

static void check_exec(const char *record, size_t len) {
        static struct ulv_port_exec e;

        if (!ulv_port_exec_parse(record, len, &e))
                return;
        MUST(e.argc >= 1 && e.argc + e.envc <= ULV_PORT_WORDS_MAX);
        MUST(!e.argv[e.argc] && !e.env[e.envc]);
        check_string(e.user, record, len);
        check_string(e.cwd, record, len);
        for (unsigned i = 0; i < e.argc; i++)
                check_string(e.argv[i], record, len);
        for (unsigned i = 0; i < e.envc; i++) {
                check_string(e.env[i], record, len);
                MUST(strchr(e.env[i], '=') > e.env[i]);
        }
}

static void check_record(const char *record, size_t len, unsigned n_fds, enum ulv_port_from from) {
        struct ulv_port_record r;

        if (!ulv_port_record_valid(record, len, n_fds, from))
                return;
        memcpy(&r, record, sizeof(r));
        MUST(len == sizeof(r) + r.text_len && len <= ULV_PORT_RECORD_MAX && n_fds <= ULV_PORT_FDS_MAX);
        if (from == ULV_PORT_FROM_INIT) {
                MUST(n_fds == 0 && r.text_len == 0);
                MUST(r.kind == ULV_PORT_EXITED || r.kind == ULV_PORT_READY || r.kind == ULV_PORT_FAILED);
                MUST(r.value >= 0 && r.value <= 4095);
        }
        if (r.kind == ULV_PORT_EXEC)
                check_exec(record, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size < 2 || size > ULV_PORT_RECORD_MAX + 64)
                return 0;
        /* A copy of just this size, so that a read beyond it is seen. */
        size_t len = size - 2;
        char *record = malloc(len ? len : 1);
        MUST(record);
        memcpy(record, data + 2, len);
        check_record(record, len, data[1] % 8, (enum ulv_port_from) (data[0] % 3));
        check_exec(record, len);        /* without the check before it, too */
        free(record);
        return 0;
}
