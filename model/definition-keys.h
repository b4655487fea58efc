/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The table of a definition's keys: one row says how a key is read, written and where it is kept, and
 * both the parser and the canonical writer go by it. Private to model/definition*.c. */

#include "model/config.h"

enum definition_key_id {
        KEY_TEMPLATE, KEY_DESCRIPTION, KEY_TYPE, KEY_ZONE, KEY_PRIORITY, KEY_ISOLATION, KEY_AFTER, KEY_READY, KEY_START_TIMEOUT, KEY_STOP_TIMEOUT, KEY_LOG_MAX,
        KEY_RESTART, KEY_RESTART_SEC, KEY_START_LIMIT,
        KEY_CORES, KEY_CORES_MIN, KEY_CORES_MAX, KEY_SHARE, KEY_SHARE_MIN, KEY_SHARE_MAX, KEY_CPU_NODE,
        KEY_SIZE, KEY_SIZE_MIN, KEY_SIZE_MAX, KEY_MEMORY_NODE, KEY_PAGES,
        KEY_TASKS, KEY_IO_READ, KEY_IO_WRITE, KEY_IOPS_READ, KEY_IOPS_WRITE,    /* as enum ulv_limit_what */
        KEY_IMAGE, KEY_WRITABLE, KEY_ROOT, KEY_EXEC, KEY_INIT, KEY_NESTING, KEY_USER, KEY_ENVIRONMENT, KEY_CWD, KEY_HOSTNAME,
        KEY_TIME_ZONE,
        KEY_KERNEL, KEY_INITRD, KEY_COMMAND_LINE, KEY_FIRMWARE, KEY_ACCEL, KEY_GRAPHICS, KEY_SEED, KEY_AGENT,
        KEY_FAULT, KEY_DELAY,
        KEY_MAX_,
};

/* How values of one form are read and written. `field` points into d. */
struct definition_kind {
        const char *expected;   /* "a number of hardware threads (like 2 or 0.25)" */
        /* 0; -EINVAL, -ERANGE: not of that form; -E2BIG: one too many of a list; -ENOMEM. */
        int (*parse)(const char *value, struct ulv_definition *d, void *field);
        void (*format)(struct ulv_strbuf *b, const struct ulv_definition *d, const void *field);
        size_t size;            /* of a plain field; 0: reset() frees it */
        void (*reset)(struct ulv_definition *d, void *field);
        bool repeatable;        /* several lines add up; format() writes all of them, whole */
};

struct definition_key {
        const char *section, *name;
        const struct definition_kind *kind;
        size_t offset;
};
extern const struct definition_key ulv_definition_keys[KEY_MAX_];

static inline void *ulv_definition_field(struct ulv_definition *d, enum definition_key_id k) {
        return (char *) d + ulv_definition_keys[k].offset;
}
/* What a definition is before a line of it was read: plain fields only. */
extern const struct ulv_definition ulv_definition_defaults;
/* Appends the names of keys that differ, "Exec=, User=", but for the amounts (Cores= Share= Size= and [Limits]). */
int ulv_definition_add_changed(const struct ulv_definition *a, const struct ulv_definition *b, struct ulv_strbuf *text) ULV_MUST_CHECK;
