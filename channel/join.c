/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An end by its name, from inside a container: OPEN of the call interface (call.h). */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "channel/caller.h"
#include "channel/channel.h"

#define TRIES 4         /* of our own programs that open the same end at the same moment, one gets the epoch */

static int open_error(uint32_t code) {
        switch (code) {
        case ULV_CALL_NOT_THERE: return -ENOENT;
        case ULV_CALL_TOO_MANY: return -EAGAIN;
        case ULV_CALL_NO_FDS: return -EOPNOTSUPP;
        case ULV_CALL_BROKEN: return -EBADMSG;
        default: return -EPROTO;
        }
}

/* All three fds or none. */
static int take(const struct ulv_call *c, const int fds[ULV_CALL_OPEN_FDS], struct ulv_channel **ret) {
        struct ulv_channel_fds given = {
                .memory = fds[0], .bell = fds[1], .peer_bell = fds[2], .end = (unsigned) c->value[0], .epoch = c->value[1], .device = c->value[2] == 1,
        };

        if (fds[0] >= 0)
                return ulv_channel_open(&given, ret);
        return -EPROTO;
}

static int join(const char *name, struct ulv_channel **ret) {
        struct ulv_call c = { .verb = ULV_CALL_OPEN };
        int link = ulv_call_connect(), fds[ULV_CALL_OPEN_FDS], r;

        if (link < 0)
                return link;
        memcpy(c.text, name, strlen(name));
        r = ulv_call(link, &c, fds);
        if (r == 0)
                r = c.code == ULV_CALL_OK ? take(&c, fds, ret) : open_error(c.code);
        if (r == 0) {
                (*ret)->link = link;    /* for as long as it lives we do: the other end is told when it ends */
                (*ret)->bell.alive = c.value[2] == 1 ? link : -1;
        } else
                (void) close(link);
        return r;
}

int ulv_channel_join(const char *name, struct ulv_channel **ret) {
        int r = -ESTALE;

        if (strlen(name) >= ULV_CALL_TEXT_SIZE)
                return -ENOENT;
        for (unsigned i = 0; r == -ESTALE && i < TRIES; i++)
                r = join(name, ret);
        return r;
}
