/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/name.h"

bool ulv_name_is_valid(const char *s) {
        size_t n;

        if (!s || s[0] == '-')
                return false;
        for (n = 0; s[n]; n++)
                if (n >= ULV_NAME_MAX ||
                    !((s[n] >= 'a' && s[n] <= 'z') || (s[n] >= '0' && s[n] <= '9') || s[n] == '-'))
                        return false;
        return n > 0;
}

bool ulv_name_is_reserved(const char *s) {
        static const char *const reserved[] = { "host", "idle", "pool", "ultravisor", "command", "operations" };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(reserved); i++)
                if (ulv_streq(s, reserved[i]))
                        return true;
        return false;
}

/* One star is remembered at a time: when the text behind it doesn't fit, the star takes one byte more.
 * An earlier star never has to be tried again, so the time is at most pattern x name. */
bool ulv_name_matches(const char *pattern, const char *name) {
        const char *star = NULL, *taken = NULL;

        while (*name) {
                if (*pattern == '*') {
                        star = pattern++;
                        taken = name;
                } else if (*pattern == '?' || (*pattern && *pattern == *name)) {
                        pattern++;
                        name++;
                } else if (star) {
                        pattern = star + 1;
                        name = ++taken;
                } else
                        return false;
        }
        while (*pattern == '*')
                pattern++;
        return *pattern == 0;
}
