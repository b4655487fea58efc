/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An SMBIOS table, however made: nothing outside the buffer is read, and each name is of the form, for it becomes a path. */

#include <stdlib.h>

#include "guest/names.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct vm_name names[4];
        size_t n = vm_names(data, size, names, sizeof(names) / sizeof(names[0]));

        if (n > sizeof(names) / sizeof(names[0]))
                abort();
        for (size_t i = 0; i < n; i++)
                if (!is_label(names[i].label, strnlen(names[i].label, VM_LABEL_SIZE)) || strlen(names[i].address) != 12 || strchr(names[i].address, '/'))
                        abort();
        return 0;
}
