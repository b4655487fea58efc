/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/event.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>

static const char *const fields[] = {
#define ULV_EVENT_(name, id) [ULV_EVENT_##name] = "MESSAGE_ID=" id,
        ULV_EVENTS(ULV_EVENT_)
#undef ULV_EVENT_
};

const char *ulv_event_field(enum ulv_event event) { return fields[event]; }

/* systemd.exec(5): "DEVICE:INODE" of what it made our standard error, if that is the journal and still what it was. */
static bool stderr_is_journal(void) {
        const char *s = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        return s && sscanf(s, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void ulv_event(enum ulv_event event, enum ulv_log_level level, const char *partition, const char *fmt, ...) {
        char text[1024], priority[16], about[96];
        va_list ap;
        int r = -ENOENT;

        va_start(ap, fmt);
        (void) vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        (void) snprintf(priority, sizeof(priority), "PRIORITY=%d", (int) level);
        (void) snprintf(about, sizeof(about), "ULTRAVISOR_PARTITION=%.63s", partition ? partition : "");
        if (stderr_is_journal())
                r = sd_journal_send("MESSAGE=%s", text, "%s", fields[event], "%s", priority, partition ? "%s" : NULL, about, NULL);
        if (r < 0)
                ulv_log(level, "%s", text);
}
