/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Records of call.h, pure over (buffer, length): uv-port and the partition's programs share it. */

#include <errno.h>
#include <string.h>

#include "channel/caller.h"

static const struct verb { uint16_t verb; enum ulv_call_side from; const char *name; unsigned values; int text; } verbs[] = {
        { ULV_CALL_HELLO, ULV_CALL_FROM_PARTITION, "HELLO", 2, 0 },
        { ULV_CALL_VIEW, ULV_CALL_FROM_PARTITION, "VIEW", 1, 0 },
        { ULV_CALL_READY, ULV_CALL_FROM_PARTITION, "READY", 0, 0 },
        { ULV_CALL_STATUS, ULV_CALL_FROM_PARTITION, "STATUS", 0, 1 },
        { ULV_CALL_OPEN, ULV_CALL_FROM_PARTITION, "OPEN", 0, 1 },
        { ULV_CALL_RELEASE, ULV_CALL_FROM_PARTITION, "RELEASE", 0, 0 },
        { ULV_CALL_STOP, ULV_CALL_FROM_MONITOR, "STOP", 1, 0 },
        { ULV_CALL_RESIZE, ULV_CALL_FROM_MONITOR, "RESIZE", 2, 0 },
        { ULV_CALL_PATH, ULV_CALL_FROM_MONITOR, "PATH", 1, 1 },
        { ULV_CALL_TIME, ULV_CALL_FROM_MONITOR, "TIME", 2, 0 },
        { ULV_CALL_SELFTEST, ULV_CALL_FROM_MONITOR, "SELFTEST", 0, 0 },
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static const struct verb *find(unsigned verb) {
        for (size_t i = 0; i < VERBS; i++)
                if (verbs[i].verb == verb)
                        return &verbs[i];
        return NULL;
}

int ulv_call_parse(const void *buf, size_t len, struct ulv_call *ret) {
        struct ulv_call c;
        const char *end;

        if (len != sizeof(c))
                return -EBADMSG;
        memcpy(&c, buf, sizeof(c));
        end = memchr(c.text, 0, sizeof(c.text));
        if (c.magic != ULV_CALL_MAGIC || c.answer > 1 || (!c.answer && c.code != 0) || !end)
                return -EBADMSG;
        for (const char *p = end; p < c.text + sizeof(c.text); p++)
                if (*p)
                        return -EBADMSG;
        *ret = c;
        return 0;
}

enum ulv_call_code ulv_call_check(const struct ulv_call *c, enum ulv_call_side from) {
        const struct verb *v = find(c->verb);

        if (!v)
                return ULV_CALL_UNKNOWN;
        if (v->from != from)
                return ULV_CALL_WRONG_WAY;
        if (c->text[0] && !v->text)
                return ULV_CALL_BAD_VALUE;
        for (unsigned i = v->values; i < sizeof(c->value) / sizeof(c->value[0]); i++)
                if (c->value[i] != 0)
                        return ULV_CALL_BAD_VALUE;
        return ULV_CALL_OK;
}

const char *ulv_call_verb_name(unsigned verb) {
        const struct verb *v = find(verb);

        return v ? v->name : "?";
}

const char *ulv_call_code_text(uint32_t code) {
        static const char *const text[ULV_CALL_CODES] = {
                [ULV_CALL_OK] = "done", [ULV_CALL_LATER] = "not yet", [ULV_CALL_REFUSED] = "refused", [ULV_CALL_FAILED] = "failed",
                [ULV_CALL_BAD_RECORD] = "that isn't a record", [ULV_CALL_UNKNOWN] = "no such verb",
                [ULV_CALL_WRONG_WAY] = "a verb of the other direction", [ULV_CALL_BAD_VALUE] = "a value that it can't have",
                [ULV_CALL_BAD_FDS] = "file descriptors that nobody asked for", [ULV_CALL_NOT_THERE] = "there is no such thing",
                [ULV_CALL_BUSY] = "another program listens already", [ULV_CALL_TOO_MANY] = "too many calls at once",
                [ULV_CALL_NO_FDS] = "a VM's programs can't be given file descriptors", [ULV_CALL_BROKEN] = "the other end has ended it",
        };

        return code < ULV_CALL_CODES ? text[code] : "an answer of another version";
}
