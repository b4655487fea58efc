/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Inside a partition: answers each message of a channel by the same in capitals, asleep while there is none.
 *   cc answer.c $(pkg-config --cflags --libs ultravisor) -o answer && ./answer CHANNEL */

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <ultravisor.h>

static int answer(struct ulv_channel *c) {
        static char buffer[64 * 1024];
        size_t n;
        int r = ulv_channel_receive(c, buffer, sizeof(buffer), &n);

        if (r == ULV_AGAIN)
                return ulv_channel_wait(c, ULV_READABLE, -1);
        if (r != 0)
                return r;
        for (size_t i = 0; i < n; i++)
                buffer[i] = (char) toupper((unsigned char) buffer[i]);
        while ((r = ulv_channel_send(c, buffer, n, 0)) == ULV_AGAIN && (r = ulv_channel_wait(c, ULV_WRITABLE, -1)) == 0)
                ;
        return r;
}

int main(int argc, char **argv) {
        struct ulv_channel *c;
        int r = argc == 2 ? ulv_channel_join(argv[1], &c) : -1;

        if (r < 0) {
                fprintf(stderr, "usage: answer CHANNEL, in a partition that has it: %s\n", argc == 2 ? strerror(-r) : "no channel named");
                return 1;
        }
        /* Who dies may come back; until then there is nothing to do but to wait. */
        while (r == 0 || r == ULV_PEER_RESTARTED || r == ULV_PEER_GONE || r == ULV_PEER_CLOSED) {
                r = answer(c);
                if (r == ULV_PEER_GONE || r == ULV_PEER_CLOSED)
                        (void) ulv_channel_wait(c, ULV_READABLE, 100 * 1000);
        }
        ulv_channel_close(c);
        return 1;
}
