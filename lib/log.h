/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Log lines on standard error, one write(2) each, with the "<N>" level prefix that journald and
 * uv-launch understand (sd-daemon(3)). Only main programs and functions that act log; libraries and
 * model/ return -errno and leave the text to their caller. */

#include "lib/base.h"

enum ulv_log_level { ULV_LOG_ERR = 3, ULV_LOG_WARNING = 4, ULV_LOG_NOTICE = 5, ULV_LOG_INFO = 6, ULV_LOG_DEBUG = 7 };

/* Sets the name before each line (kept, not copied) and reads ULTRAVISOR_LOG_LEVEL (err .. debug). */
void ulv_log_open(const char *name);
void ulv_log(enum ulv_log_level level, const char *fmt, ...) ULV_PRINTF(2, 3);
/* Logs at error level, with the text of r (-errno) behind ": ", and returns r. */
int ulv_log_errno(int r, const char *fmt, ...) ULV_PRINTF(2, 3);
