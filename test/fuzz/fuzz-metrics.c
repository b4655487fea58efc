/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "metrics/usage.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Files of a cgroup, as usage.c reads them: text that ends with a NUL. Of what isn't there nothing may be said. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char *text = malloc(size + 1);
        bool key = false, pressure = false, io = false;

        if (!text)
                abort();
        if (size > 0)
                memcpy(text, data, size);
        text[size] = 0;
        if (usage_key(text, "throttled_usec", &key) > 0 && !key)
                abort();
        if (key && !strstr(text, "throttled_usec "))
                abort();
        if (usage_pressure(text, "some", &pressure) > 0 && !pressure)
                abort();
        if (pressure && !strstr(text, " total="))
                abort();
        if (usage_io(text, "rbytes", &io) > 0 && !strstr(text, " rbytes="))
                abort();
        key = false;
        if (usage_limit(text, &key) > 0 && !key)
                abort();
        if (usage_quota(text, &key) > 0 && !key)
                abort();
        free(text);
        return 0;
}
