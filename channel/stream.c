/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A stream is messages whose borders don't show: a write is cut to what fits, a read takes from one record. */

#include <errno.h>
#include <string.h>

#include "channel/channel.h"

/* So that the reader begins while a long write goes on. */
#define PIECES 8

int ulv_channel_write(struct ulv_channel *c, const void *data, size_t len, size_t *ret_written) {
        size_t done = 0, piece;
        int r = 0;

        if (c->kind != ULV_KIND_STREAM)
                return -EOPNOTSUPP;
        if (len == 0)
                return -EINVAL;
        while (done < len) {
                piece = len - done;
                if (piece > c->message_max / PIECES)
                        piece = c->message_max / PIECES;
                r = ulv_channel_send(c, (const unsigned char *) data + done, piece, ULV_MORE);
                if (r != 0)
                        break;
                done += piece;
        }
        if (done == 0)
                return r;
        r = channel_wake_reader(c);
        if (r == 0)
                *ret_written = done;
        return r;
}

int ulv_channel_read(struct ulv_channel *c, void *buffer, size_t size, size_t *ret_read) {
        const void *data;
        size_t len, n;
        int r;

        if (c->kind != ULV_KIND_STREAM)
                return -EOPNOTSUPP;
        if (size == 0)
                return -EINVAL;
        r = ulv_channel_peek(c, &data, &len);
        if (r != 0)
                return r;
        /* The length is loaded anew from shared memory at each call: it may have shrunk. */
        if (len <= c->in.taken)
                return channel_bad(c);
        n = len - c->in.taken;
        if (n > size)
                n = size;
        memcpy(buffer, (const unsigned char *) data + c->in.taken, n);
        c->in.taken += n;
        *ret_read = n;
        return c->in.taken == len ? ulv_channel_release(c) : 0;
}
