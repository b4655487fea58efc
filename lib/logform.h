/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The form of a partition's console log, for uv-port, which writes it and links nothing, and uvctl, which
 * reads it. Three files (monitor/port/console.c tells how they are filled):
 *
 *   NAME.log.0, NAME.log.1   the latest output, in turns
 *   NAME.log.first           the first output of the partition's present life, once more
 *
 * Each begins with one line of LOGFORM_HEADER bytes that says where in all that the partition ever printed
 * its text begins. A file is emptied before its line changes, and positions only grow: so who finds the
 * same line before and after reading has read what stands there, and two readers of one position read the
 * same byte. A file without a whole line holds nothing. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOGFORM_HEADER 62
#define LOGFORM_FIRST 65536             /* most text in NAME.log.first */

struct logform { uint32_t life; uint64_t start; };

static inline void logform_write(char buf[LOGFORM_HEADER + 1], const struct logform *f) {
        (void) snprintf(buf, LOGFORM_HEADER + 1, "[ultravisor: life %010u, from byte %020llu]\n", f->life, (unsigned long long) f->start);
}

/* Digits at s, exactly n of them. */
static inline bool logform_number(const char *s, unsigned n, uint64_t *ret) {
        uint64_t v = 0;

        for (unsigned i = 0; i < n; i++) {
                if (s[i] < '0' || s[i] > '9' || v > UINT64_MAX / 10 - 1)
                        return false;
                v = v * 10 + (uint64_t) (s[i] - '0');
        }
        *ret = v;
        return true;
}

static inline bool logform_parse(const char buf[LOGFORM_HEADER], struct logform *ret) {
        char again[LOGFORM_HEADER + 1];
        struct logform f;
        uint64_t life;

        if (!logform_number(buf + 18, 10, &life) || life > UINT32_MAX || !logform_number(buf + 40, 20, &f.start))
                return false;
        f.life = (uint32_t) life;
        logform_write(again, &f);
        if (memcmp(again, buf, LOGFORM_HEADER) != 0)
                return false;
        *ret = f;
        return true;
}

/* false: no whole line, so no text. */
static inline bool logform_read(int fd, struct logform *ret) {
        char buf[LOGFORM_HEADER];

        return pread(fd, buf, sizeof(buf), 0) == (ssize_t) sizeof(buf) && logform_parse(buf, ret);
}
