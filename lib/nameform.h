/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The form of a partition's name, [a-z0-9][a-z0-9-]{0,62}, for the programs that link nothing but libc
 * (launch/, monitor/dispatch/) and yet must not put an unchecked name into a path. model/name.h has
 * the same rule for all others. */

#include "lib/base.h"

static inline bool ulv_name_form_ok(const char *s) {
        size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");

        return n > 0 && n <= 63 && s[n] == 0 && s[0] != '-';
}
