/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* SMBIOS: structures of a type, a length and a handle, with a formatted area; strings behind it, each with its NUL, and
 * another NUL. Type 11 is OEM strings: of these, ours are org.ultravisor1.channel=LABEL@DOMAIN:BUS:SLOT.FUNCTION. */

#include <stdbool.h>
#include <string.h>

#include "guest/vm.h"

#define OEM_STRINGS 11
#define HEAD 4
#define PREFIX "org.ultravisor1.channel="

static bool is_label(const char *s, size_t len) {
        return len > 0 && len < VM_LABEL_SIZE && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") >= len;
}

/* It becomes part of a path. */
static bool is_address(const char *s) {
        static const char form[] = "xxxx:xx:xx.x";

        for (size_t i = 0; i < sizeof(form); i++)
                if (form[i] == 'x' ? !s[i] || !strchr("0123456789abcdef", s[i]) : s[i] != form[i])
                        return false;
        return true;
}

static bool take(const char *s, struct vm_name *ret) {
        const char *at;

        if (strncmp(s, PREFIX, sizeof(PREFIX) - 1) != 0)
                return false;
        s += sizeof(PREFIX) - 1;
        at = strchr(s, '@');
        if (!at || !is_label(s, (size_t) (at - s)) || !is_address(at + 1))
                return false;
        *ret = (struct vm_name) { 0 };
        memcpy(ret->label, s, (size_t) (at - s));
        memcpy(ret->address, at + 1, strlen(at + 1));
        return true;
}

size_t vm_names(const void *table, size_t len, struct vm_name *ret, size_t max) {
        const unsigned char *p = table, *end = p + len;
        size_t n = 0;

        while (n < max && end - p >= HEAD && p[1] >= HEAD && p[1] <= end - p) {
                const char *s = (const char *) p + p[1], *last = (const char *) end, *nul;
                bool ours = p[0] == OEM_STRINGS;

                while (s < last && *s && (nul = memchr(s, 0, (size_t) (last - s)))) {
                        if (ours && n < max && take(s, &ret[n]))
                                n++;
                        s = nul + 1;
                }
                if (s >= last || *s)
                        break;
                /* Without any string there are two NULs all the same. */
                s += s == (const char *) p + p[1] ? 2 : 1;
                p = (const unsigned char *) s;
                if (s > last)
                        break;
        }
        return n;
}
