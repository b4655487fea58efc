/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A kernel's description of its types, however made: nothing outside the buffer is read, and a number that is given for a
 * name isn't larger than the buffer could have types. */

#include <stdint.h>
#include <stdlib.h>

#include "plugins/lxc/btf.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char *const names[] = { "bpf_lsm_socket_create", "bpf_lsm_file_ioctl", "a", "" };
        uint32_t ids[ULV_ARRAY_SIZE(names)] = { 0 };
        int r = lxc_btf_functions(data, size, names, ULV_ARRAY_SIZE(names), ids);

        if (r != 0 && r != -EBADMSG)
                abort();
        for (size_t i = 0; i < ULV_ARRAY_SIZE(names); i++)
                if (ids[i] > size / sizeof(struct btf_type))
                        abort();
        return 0;
}
