/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Names and MAC addresses of a partition's links. They come from its uid range, which the ledger gives to no second one:
 * uvRRRRnI on the host, 02:HH:HH:RR:RR:0I inside, R the range, I the network's number, H of the host's machine-id, so that
 * two hosts on one link differ. Who needs one that stays over all restarts says MAC=. */

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/crc32c.h"
#include "monitor/plugin.h"

/* A number of this host; 0 where it has none. */
static unsigned host_number(void) {
        char id[64];
        _cleanup_close_ int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, id, sizeof(id));

        return n > 0 ? ulv_crc32c(id, (size_t) n) & 0xffff : 0;
}

struct ulv_link ulv_monitor_link(unsigned uid_base, unsigned index, const struct ulv_network *n) {
        unsigned host = host_number(), range = uid_base >> 16;
        struct ulv_link l = { .mac = { 0x02, (uint8_t) (host >> 8), (uint8_t) host, (uint8_t) (range >> 8), (uint8_t) range, (uint8_t) index } };

        (void) snprintf(l.name, sizeof(l.name), "uv%xn%u", range, index);
        if (n && n->has_mac)
                memcpy(l.mac, n->mac, sizeof(l.mac));
        return l;
}
