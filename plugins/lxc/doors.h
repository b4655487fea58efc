/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What two layers judge by one table: the system call filter (filter/generate.c) and the security hooks (hooks.c). */

#include <asm/ioctls.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

#include "plugins/lxc/lxc.h"

/* The sockets that there are. rights: 0, for everybody, or one of these must be there. */
#define DOOR_ANY -1
struct door_socket { int family, type, protocol; unsigned rights; };
/* What an application speaks; sequenced packets on INET are SCTP, raw ones everybody's. */
static const struct door_socket door_sockets[] = {
        { AF_UNIX, DOOR_ANY, DOOR_ANY, 0 },
        { AF_INET, SOCK_STREAM, 0, 0 }, { AF_INET, SOCK_STREAM, IPPROTO_TCP, 0 }, { AF_INET, SOCK_DGRAM, 0, 0 },
        { AF_INET, SOCK_DGRAM, IPPROTO_UDP, 0 }, { AF_INET, SOCK_DGRAM, IPPROTO_ICMP, 0 },
        { AF_INET6, SOCK_STREAM, 0, 0 }, { AF_INET6, SOCK_STREAM, IPPROTO_TCP, 0 }, { AF_INET6, SOCK_DGRAM, 0, 0 },
        { AF_INET6, SOCK_DGRAM, IPPROTO_UDP, 0 }, { AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6, 0 },
        { AF_NETLINK, DOOR_ANY, NETLINK_ROUTE, 0 }, { AF_NETLINK, DOOR_ANY, NETLINK_KOBJECT_UEVENT, LXC_INIT | LXC_NESTING },
        { AF_NETLINK, DOOR_ANY, NETLINK_NETFILTER, LXC_NESTING },
};

/* Terminal commands that nobody has. TIOCSTI types for who looks at the same terminal, TIOCLINUX pastes, TIOCSETD loads
 * line disciplines. */
static const uint32_t door_ioctls[] = { TIOCSTI, TIOCLINUX, TIOCSETD };
