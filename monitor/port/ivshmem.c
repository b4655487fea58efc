/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Messages are little-endian numbers of 8 bytes, some with a fd: the protocol's version, the client's id, -1 with the
 * memory; then for each peer's vector, of which ours have one, the peer's id with its eventfd, the client's own last. */

#include <endian.h>
#include <stdint.h>
#include <sys/socket.h>

#include "monitor/port/ivshmem.h"
#include "monitor/port/socket.h"

#define VERSION 0
#define MEMORY (-1)

static int say(int fd, int64_t number, const int *passed) {
        uint64_t wire = htole64((uint64_t) number);

        return ulv_port_send(fd, &wire, sizeof(wire), passed, passed ? 1 : 0, MSG_DONTWAIT);
}

int ivshmem_greet(int fd, unsigned end, int memory, const int bell[2]) {
        int r = say(fd, VERSION, NULL);

        if (r == 0)
                r = say(fd, end, NULL);
        if (r == 0)
                r = say(fd, MEMORY, &memory);
        if (r == 0)
                r = say(fd, !end, &bell[!end]);
        return r < 0 ? r : say(fd, end, &bell[end]);
}
