/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The XML of a domain, as `uvctl import` reads it. Whatever it is: each line of the definition is a section, a comment or
 * KEY=VALUE, without control characters; each line of what isn't kept begins with a line's number; the parser of
 * definitions takes the text or refuses it. */

#include <stdint.h>
#include <stdlib.h>

#include "model/definition.h"
#include "uvctl/import-domain.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x) do { if (!(x)) abort(); } while (0)

static void check_lines(const char *text, bool numbered) {
        for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
                MUST(strchr(line, '\n'));
                for (const char *p = line; *p != '\n'; p++)
                        MUST((unsigned char) *p >= ' ');
                if (numbered)
                        MUST((*line >= '1' && *line <= '9') || ulv_startswith(line, "and "));
                else
                        MUST(*line == '\n' || *line == '[' || *line == '#' || memchr(line, '=', strcspn(line, "\n")));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct ulv_strbuf definition = { 0 }, lost = { 0 };
        struct ulv_definition *d = NULL;
        struct ulv_diag diag = { 0 };

        if (size > 65536)
                return 0;
        if (import_domain((const char *) data, size, &definition, &lost, &diag) == 0) {
                struct ulv_source file = { .file = "db.partition", .buf = ulv_strbuf_str(&definition), .len = definition.len };

                check_lines(ulv_strbuf_str(&definition), false);
                check_lines(ulv_strbuf_str(&lost), true);
                if (ulv_definition_parse(&file, 1, &d, &diag) == 0)
                        ulv_definition_free(d);
        }
        ulv_strbuf_done(&definition);
        ulv_strbuf_done(&lost);
        return 0;
}
