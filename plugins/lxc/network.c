/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A container's networks: [Network "lan"] Bridge=br0.
 *
 * Theory of operation. A network is a pair of virtual Ethernet devices. The builder, in the host's network
 * namespace, makes the pair with one end in the bridge and the other in the container's namespace already; the
 * furnisher, which stands in there with the host's rights, gives that end its addresses and routes before any
 * program of the partition runs. The pair goes with the namespace, whoever dies how: so there is no clean-up
 * but to wait for the kernel to do it, and CAP_NET_ADMIN isn't needed once the payload runs (narrow.c).
 *
 * Names and MAC addresses are those of monitor/link.c.
 * The host's end has fe: in front: a bridge takes the lowest of its ports' as its own, and would change it with
 * each partition that comes or goes. */

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/route.h>
#include <stdio.h>

#include "plugins/lxc/lxc.h"

#define METRIC 100      /* of the first network's default route; the next one's is higher */

/* r: of libnl, which has error numbers of its own. */
static _Noreturn void fail(struct lxc_build *b, int r, const struct ulv_network *n, const char *doing) {
        char text[256];

        (void) snprintf(text, sizeof(text), "[Network \"%s\"]: %s: %s", n->label, doing, nl_geterror(r));
        lxc_build_fail(b, 0, text, "ip link; ip -d link show type bridge");
}

/* --- the socket ---------------------------------------------------------------------------------------- */

/* Anybody may send to a netlink socket; only the kernel is number 0. */
static int receive(struct nl_sock *sk, struct sockaddr_nl *from, unsigned char **buf, struct ucred **creds) {
        int n;

        while ((n = nl_recv(sk, from, buf, creds)) > 0 && from->nl_pid != 0) {
                free(*buf);
                *buf = NULL;
        }
        return n;
}

static struct nl_sock *open_route(struct lxc_build *b, const struct ulv_network *n) {
        struct nl_sock *sk = nl_socket_alloc();
        int r = sk ? nl_connect(sk, NETLINK_ROUTE) : -NLE_NOMEM;

        if (r < 0)
                fail(b, r, n, "a netlink socket");
        struct nl_cb *cb = nl_socket_get_cb(sk);
        nl_cb_overwrite_recv(cb, receive);
        nl_cb_put(cb);
        return sk;
}

/* --- on the host ---------------------------------------------------------------------------------------- */

static struct rtnl_link *find_bridge(struct lxc_build *b, struct nl_sock *sk, const struct ulv_network *n) {
        struct rtnl_link *link = NULL;
        char text[192], try_[128];
        int r = rtnl_link_get_kernel(sk, 0, n->bridge, &link);
        const char *type = r < 0 ? NULL : rtnl_link_get_type(link);

        if (r == 0 && type && ulv_streq(type, "bridge"))
                return link;
        if (r < 0 && r != -NLE_OBJ_NOTFOUND && r != -NLE_NODEV)
                fail(b, r, n, n->bridge);
        (void) snprintf(text, sizeof(text), "Bridge=%s of [Network \"%s\"] is %s", n->bridge, n->label, r < 0 ? "not there" : "no bridge");
        (void) snprintf(try_, sizeof(try_), "%s", r < 0 ? "" : "another Bridge=; ip link show type bridge");
        if (r < 0)
                (void) snprintf(try_, sizeof(try_), "ip link add %s type bridge; ip link set %s up", n->bridge, n->bridge);
        lxc_build_fail(b, 0, text, try_);
}

/* What an earlier life left behind that the kernel hasn't taken away yet. The name is ours alone. */
static void remove_old(struct lxc_build *b, struct nl_sock *sk, const struct ulv_network *n, const char *name) {
        struct rtnl_link *old = NULL;

        if (rtnl_link_get_kernel(sk, 0, name, &old) < 0)
                return;
        int r = rtnl_link_delete(sk, old);
        rtnl_link_put(old);
        if (r < 0 && r != -NLE_NODEV && r != -NLE_OBJ_NOTFOUND)
                fail(b, r, n, "removing what is left of an earlier start");
}

static void set_mac(struct rtnl_link *link, const uint8_t mac[6]) {
        struct nl_addr *a = nl_addr_build(AF_LLC, mac, 6);

        if (a)
                rtnl_link_set_addr(link, a);
        nl_addr_put(a);
}

static void add_pair(struct lxc_build *b, struct nl_sock *sk, unsigned index, pid_t pid) {
        const struct ulv_network *n = &b->definition->networks[index];
        struct ulv_link outside = ulv_monitor_link((unsigned) b->uid_base, index, NULL), within = ulv_monitor_link((unsigned) b->uid_base, index, n);
        struct rtnl_link *bridge = find_bridge(b, sk, n), *pair = rtnl_link_veth_alloc();
        struct rtnl_link *inside = pair ? rtnl_link_veth_get_peer(pair) : NULL;

        if (!inside)
                fail(b, -NLE_NOMEM, n, "a pair of interfaces");
        remove_old(b, sk, n, outside.name);
        rtnl_link_set_name(pair, outside.name);
        rtnl_link_set_master(pair, rtnl_link_get_ifindex(bridge));
        rtnl_link_set_mtu(pair, rtnl_link_get_mtu(bridge));
        rtnl_link_set_flags(pair, IFF_UP);
        outside.mac[0] = 0xfe;
        set_mac(pair, outside.mac);
        rtnl_link_set_name(inside, n->name);
        rtnl_link_set_mtu(inside, rtnl_link_get_mtu(bridge));
        rtnl_link_set_ns_pid(inside, pid);
        set_mac(inside, within.mac);
        int r = rtnl_link_add(sk, pair, NLM_F_CREATE | NLM_F_EXCL);
        if (r < 0)
                fail(b, r, n, "making its pair of interfaces");
        rtnl_link_put(inside);
        rtnl_link_veth_release(pair);
        rtnl_link_put(bridge);
}

void lxc_network_connect(struct lxc_build *b, pid_t pid) {
        const struct ulv_definition *d = b->definition;

        if (d->n_networks == 0)
                return;
        struct nl_sock *sk = open_route(b, &d->networks[0]);
        for (unsigned i = 0; i < d->n_networks; i++)
                add_pair(b, sk, i, pid);
        nl_socket_free(sk);
}

bool lxc_network_left(uid_t uid_base) {
        for (unsigned i = 0; i < ULV_NETWORKS_MAX; i++)
                if (if_nametoindex(ulv_monitor_link((unsigned) uid_base, i, NULL).name) != 0)
                        return true;
        return false;
}

/* --- inside --------------------------------------------------------------------------------------------- */

static struct nl_addr *nl_address(const struct ulv_address *a) {
        bool six = a->family == 6;
        struct nl_addr *n = nl_addr_build(six ? AF_INET6 : AF_INET, a->bytes, six ? 16 : 4);

        if (n)
                nl_addr_set_prefixlen(n, a->prefix);
        return n;
}

/* At once usable: no wait for others to protest (IPv6's duplicate address detection). */
static void add_address(struct lxc_build *b, struct nl_sock *sk, const struct ulv_network *n, int ifindex, const struct ulv_address *a) {
        struct rtnl_addr *address = rtnl_addr_alloc();
        struct nl_addr *local = nl_address(a);
        int r = address && local ? 0 : -NLE_NOMEM;

        if (r == 0) {
                rtnl_addr_set_ifindex(address, ifindex);
                if (a->family == 6)
                        rtnl_addr_set_flags(address, IFA_F_NODAD);
                r = rtnl_addr_set_local(address, local);
        }
        if (r == 0)
                r = rtnl_addr_add(sk, address, 0);
        if (r < 0)
                fail(b, r, n, "giving it an Address=");
        nl_addr_put(local);
        rtnl_addr_put(address);
}

static void add_gateway(struct lxc_build *b, struct nl_sock *sk, unsigned index, int ifindex, const struct ulv_address *a) {
        const struct ulv_network *n = &b->definition->networks[index];
        const struct ulv_address everywhere = { .family = a->family };
        struct rtnl_route *route = rtnl_route_alloc();
        struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
        struct nl_addr *dst = nl_address(&everywhere), *via = nl_address(a);
        int r = route && hop && dst && via ? 0 : -NLE_NOMEM;

        if (r == 0) {
                rtnl_route_nh_set_ifindex(hop, ifindex);
                rtnl_route_nh_set_gateway(hop, via);
                rtnl_route_add_nexthop(route, hop);     /* the route's from here */
                rtnl_route_set_table(route, RT_TABLE_MAIN);
                rtnl_route_set_protocol(route, RTPROT_STATIC);
                rtnl_route_set_priority(route, METRIC + index);
                r = rtnl_route_set_dst(route, dst);
        }
        if (r == 0)
                r = rtnl_route_add(sk, route, NLM_F_CREATE | NLM_F_EXCL);
        if (r < 0)
                fail(b, r, n, "the route to its Gateway=");
        nl_addr_put(dst);
        nl_addr_put(via);
        rtnl_route_put(route);
}

static void configure(struct lxc_build *b, struct nl_sock *sk, unsigned index) {
        const struct ulv_network *n = &b->definition->networks[index];
        struct rtnl_link *link = NULL, *change = rtnl_link_alloc();
        int r = change ? rtnl_link_get_kernel(sk, 0, n->name, &link) : -NLE_NOMEM;

        if (r == 0) {
                rtnl_link_set_flags(change, IFF_UP);
                r = rtnl_link_change(sk, link, change, 0);
        }
        if (r < 0)
                fail(b, r, n, "its interface inside");
        int ifindex = rtnl_link_get_ifindex(link);
        for (unsigned i = 0; i < n->n_addresses; i++)
                add_address(b, sk, n, ifindex, &n->addresses[i]);
        for (unsigned i = 0; i < n->n_gateways; i++)
                add_gateway(b, sk, index, ifindex, &n->gateways[i]);
        rtnl_link_put(change);
        rtnl_link_put(link);
}

void lxc_network_configure(struct lxc_build *b) {
        const struct ulv_definition *d = b->definition;

        if (d->n_networks == 0)
                return;
        struct nl_sock *sk = open_route(b, &d->networks[0]);
        for (unsigned i = 0; i < d->n_networks; i++)
                configure(b, sk, i);
        nl_socket_free(sk);
}
