/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The one parser of port records. Everything here may come from a partition: lengths are compared before
 * they are used, the header is copied out once, and a record with a byte too many is as wrong as one
 * with a byte too few. */

#include <string.h>

#include "channel/call.h"
#include "monitor/port/record.h"

/* What a record of each kind may look like. A kind with no row from a side is refused from that side. */
static const struct rule {
        enum ulv_port_kind kind;
        bool from[3];           /* by enum ulv_port_from */
        unsigned fds;
        bool text;
        int64_t value_min, value_max;
} rules[] = {
        { ULV_PORT_CONFIGURE, { true, false, false }, 7, false, 4096, INT64_C(1) << 40 },
        { ULV_PORT_EXEC,      { true, false, true },  3, true,  0, 0 },
        { ULV_PORT_SIGNAL,    { true, false, true },  0, false, 0, 0 },
        { ULV_PORT_CONSOLE,   { true, false, false }, 1, false, 0, 1 },
        { ULV_PORT_END,       { true, false, false }, 0, false, 0, 0 },
        { ULV_PORT_CHANNEL,   { true, false, false }, 3, true,  0, 0 },
        { ULV_PORT_DOOR,      { true, false, false }, 1, true,  0, 0 },
        { ULV_PORT_HOST,      { true, false, false }, 1, true,  0, 0 },
        { ULV_PORT_NO_CHANNEL, { true, false, false }, 0, true, 0, 0 },
        { ULV_PORT_PEER_GONE, { true, false, false }, 0, true,  0, 0 },
        { ULV_PORT_VIEW,      { true, false, false }, 0, true,  0, INT64_MAX },
        { ULV_PORT_CALL,      { true, false, false }, 0, true,  0, 0 },
        { ULV_PORT_EXITED,    { false, true, false }, 0, false, 0, 256 + 64 },
        { ULV_PORT_READY,     { false, true, false }, 0, false, 0, 0 },
        { ULV_PORT_FAILED,    { false, true, false }, 0, false, 1, 4095 },
};

bool ulv_port_record_valid(const void *buf, size_t len, unsigned n_fds, enum ulv_port_from from) {
        struct ulv_port_record r;

        if (len < sizeof(r) || len > ULV_PORT_RECORD_MAX)
                return false;
        memcpy(&r, buf, sizeof(r));
        if (r.magic != ULV_PORT_MAGIC || r.text_len != len - sizeof(r))
                return false;
        for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
                const struct rule *rule = &rules[i];
                if (rule->kind != r.kind)
                        continue;
                if (!rule->from[from] || n_fds != rule->fds || (r.text_len > 0) != rule->text)
                        return false;
                if (r.value < rule->value_min || r.value > rule->value_max)
                        return false;
                /* Number: a request, 0 only for the partition's own Exec=; of SIGNAL, a signal; of CONFIGURE, a life. */
                if (r.kind == ULV_PORT_EXEC || r.kind == ULV_PORT_CONSOLE)
                        return r.number != 0;
                if (r.kind == ULV_PORT_CHANNEL || r.kind == ULV_PORT_HOST)
                        return r.number <= 1 && r.text_len < ULV_PORT_LABEL_SIZE;
                if (r.kind == ULV_PORT_DOOR || r.kind == ULV_PORT_NO_CHANNEL || r.kind == ULV_PORT_PEER_GONE)
                        return r.text_len < ULV_PORT_LABEL_SIZE;
                if (r.kind == ULV_PORT_CALL)
                        return r.text_len == sizeof(struct ulv_call);
                if (r.kind == ULV_PORT_SIGNAL)
                        return r.number >= 1 && r.number <= 64;
                if (r.kind == ULV_PORT_READY || r.kind == ULV_PORT_END)
                        return r.number == 0;
                return true;
        }
        return false;
}

/* Takes one NUL-terminated string off the front of what is left; NULL if there is none. */
static const char *next_string(const char **p, size_t *left) {
        const char *s = *p, *end = *left > 0 ? memchr(s, 0, *left) : NULL;

        if (!end)
                return NULL;
        *left -= (size_t) (end - s) + 1;
        *p = end + 1;
        return s;
}

bool ulv_port_exec_parse(const void *buf, size_t len, struct ulv_port_exec *ret) {
        const char *p = (const char *) buf + sizeof(struct ulv_port_record);
        uint16_t count[2];
        size_t left;

        if (len < sizeof(struct ulv_port_record) + sizeof(count))
                return false;
        left = len - sizeof(struct ulv_port_record) - sizeof(count);
        memcpy(count, p, sizeof(count));
        p += sizeof(count);
        if (count[0] == 0 || (unsigned) count[0] + count[1] > ULV_PORT_WORDS_MAX)
                return false;
        ret->argc = count[0];
        ret->envc = count[1];
        if (!(ret->user = next_string(&p, &left)) || !(ret->cwd = next_string(&p, &left)))
                return false;
        for (unsigned i = 0; i < ret->argc; i++)
                if (!(ret->argv[i] = next_string(&p, &left)))
                        return false;
        for (unsigned i = 0; i < ret->envc; i++) {
                if (!(ret->env[i] = next_string(&p, &left)))
                        return false;
                const char *eq = strchr(ret->env[i], '=');
                if (!eq || eq == ret->env[i])
                        return false;
        }
        ret->argv[ret->argc] = ret->env[ret->envc] = NULL;
        return left == 0 && ret->argv[0][0] != 0;
}
