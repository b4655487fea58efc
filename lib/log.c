/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/log.h"

#include <stdarg.h>
#include <stdio.h>

static const char *log_name = "ultravisor";
static enum ulv_log_level log_max = ULV_LOG_INFO;

void ulv_log_open(const char *name) {
        static const struct { const char *name; enum ulv_log_level level; } levels[] = {
                { "err", ULV_LOG_ERR }, { "warning", ULV_LOG_WARNING }, { "notice", ULV_LOG_NOTICE },
                { "info", ULV_LOG_INFO }, { "debug", ULV_LOG_DEBUG },
        };
        const char *e = getenv("ULTRAVISOR_LOG_LEVEL");

        log_name = name;
        for (size_t i = 0; e && i < ULV_ARRAY_SIZE(levels); i++)
                if (ulv_streq(e, levels[i].name))
                        log_max = levels[i].level;
}

ULV_PRINTF(3, 0)
static void log_line(enum ulv_log_level level, int r, const char *fmt, va_list ap) {
        char line[2048];
        size_t n;
        int k;

        if (level > log_max)
                return;
        k = snprintf(line, sizeof(line), "<%d>%s: ", (int) level, log_name);
        n = k < 0 ? 0 : ULV_MIN((size_t) k, sizeof(line) - 1);
        k = vsnprintf(line + n, sizeof(line) - n, fmt, ap);
        n = k < 0 ? n : ULV_MIN(n + (size_t) k, sizeof(line) - 1);
        if (r < 0) {
                k = snprintf(line + n, sizeof(line) - n, ": %s", strerror(-r));
                n = k < 0 ? n : ULV_MIN(n + (size_t) k, sizeof(line) - 1);
        }
        /* A line is a record: control characters in a name or a message must not forge another one. */
        for (size_t i = 0; i < n; i++)
                if ((unsigned char) line[i] < 0x20 || line[i] == 0x7f)
                        line[i] = '?';
        line[ULV_MIN(n, sizeof(line) - 1)] = '\n';
        if (write(STDERR_FILENO, line, ULV_MIN(n + 1, sizeof(line))) < 0)
                return; /* There is nowhere left to say it. */
}

void ulv_log(enum ulv_log_level level, const char *fmt, ...) {
        va_list ap;

        va_start(ap, fmt);
        log_line(level, 0, fmt, ap);
        va_end(ap);
}

int ulv_log_errno(int r, const char *fmt, ...) {
        va_list ap;

        va_start(ap, fmt);
        log_line(ULV_LOG_ERR, r, fmt, ap);
        va_end(ap);
        return r;
}
