/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* check, of a container's networks: what its monitor makes of the definition at a start, against what the kernel has now in
 * its network namespace, and at the end of each pair on the host.
 *
 * A child of ours enters that namespace, no other, and lists interfaces and addresses; routes are in /proc. What is there
 * besides, the partition's own root may have added, or its neighbours told it (IPv6): it is no difference. */

#include "uvctl/check.h"

#include <fcntl.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "lib/fd.h"
#include "model/address.h"

#define FACTS_MAX (256u * 1024)         /* who has more addresses than fit is told that they can't be compared */
#define CHILD_MEMORY (256u * 1024 * 1024)

/* --- what there is: lines "up eth0", "down eth0", "address eth0 10.0.0.2/24", "gateway eth0 10.0.0.1" --------- */

static unsigned prefix_of(const uint8_t *mask, size_t n) {
        unsigned bits = 0;

        for (size_t i = 0; i < n; i++)
                bits += (unsigned) __builtin_popcount(mask[i]);
        return bits;
}

static void add_fact(struct ulv_strbuf *b, const char *what, const char *name, int family, const void *bytes, unsigned prefix) {
        struct ulv_address a = { .family = family == AF_INET6 ? 6 : 4, .prefix = (uint8_t) prefix };

        memcpy(a.bytes, bytes, family == AF_INET6 ? 16 : 4);
        ulv_strbuf_addf(b, "%s %s ", what, name);
        ulv_address_format(b, &a, ulv_streq(what, "address"));
        ulv_strbuf_addc(b, '\n');
}

static void add_interface(struct ulv_strbuf *b, const struct ifaddrs *i) {
        const struct sockaddr_in *four = (const void *) i->ifa_addr, *mask4 = (const void *) i->ifa_netmask;
        const struct sockaddr_in6 *six = (const void *) i->ifa_addr, *mask6 = (const void *) i->ifa_netmask;

        if (!i->ifa_addr)
                return;
        if (i->ifa_addr->sa_family == AF_PACKET)
                ulv_strbuf_addf(b, "%s %s\n", i->ifa_flags & IFF_UP ? "up" : "down", i->ifa_name);
        else if (i->ifa_addr->sa_family == AF_INET && mask4)
                add_fact(b, "address", i->ifa_name, AF_INET, &four->sin_addr, prefix_of((const uint8_t *) &mask4->sin_addr, 4));
        else if (i->ifa_addr->sa_family == AF_INET6 && mask6)
                add_fact(b, "address", i->ifa_name, AF_INET6, &six->sin6_addr, prefix_of((const uint8_t *) &mask6->sin6_addr, 16));
}

/* In the child. A namespace with a million addresses is its partition's doing: our memory is bounded. */
static _Noreturn void list_interfaces(int ns, int to) {
        struct ulv_strbuf b = { .max = FACTS_MAX };
        struct ifaddrs *all = NULL;

        if (setrlimit(RLIMIT_AS, &(struct rlimit) { CHILD_MEMORY, CHILD_MEMORY }) < 0 || setns(ns, CLONE_NEWNET) < 0 || getifaddrs(&all) < 0)
                _exit(1);
        for (struct ifaddrs *i = all; i; i = i->ifa_next)
                add_interface(&b, i);
        _exit(ulv_strbuf_error(&b) < 0 || ulv_write_all(to, ulv_strbuf_str(&b), b.len) < 0);
}

static bool interfaces(int ns, struct ulv_strbuf *b) {
        int fds[2], status = -1;
        char buf[4096];
        ssize_t n;
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return false;
        pid = fork();
        if (pid == 0)
                list_interfaces(ns, fds[1]);
        (void) close(fds[1]);
        while (pid > 0 && (n = read(fds[0], buf, sizeof(buf))) > 0)
                ulv_strbuf_add_len(b, buf, (size_t) n);
        (void) close(fds[0]);
        return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void gateways(uint64_t pid, struct ulv_strbuf *b) {
        char path[64], name[32], hex[33];
        unsigned via;

        (void) snprintf(path, sizeof(path), "/proc/%" PRIu64 "/net/route", pid);
        _cleanup_free_ char *four = check_read_all(path);
        (void) snprintf(path, sizeof(path), "/proc/%" PRIu64 "/net/ipv6_route", pid);
        _cleanup_free_ char *six = check_read_all(path);

        for (const char *s = four; s && *s; s += strcspn(s, "\n"), s += *s == '\n')
                if (sscanf(s, "%31s 00000000 %8x", name, &via) == 2 && via != 0)
                        add_fact(b, "gateway", name, AF_INET, &(uint32_t) { via }, 32);
        for (const char *s = six; s && *s; s += strcspn(s, "\n"), s += *s == '\n') {
                uint8_t bytes[16];
                bool good = sscanf(s, "00000000000000000000000000000000 00 %*32s %*2s %32s %*s %*s %*s %*s %31s", hex, name) == 2 && strlen(hex) == 32;

                for (size_t i = 0; good && i < sizeof(bytes); i++)
                        good = sscanf(hex + 2 * i, "%2hhx", &bytes[i]) == 1;
                if (good)
                        add_fact(b, "gateway", name, AF_INET6, bytes, 128);
        }
}

static bool is_fact(const struct ulv_strbuf *b, const char *what, const char *name, const char *value) {
        char line[160];
        int n = snprintf(line, sizeof(line), "%s %s%s%s\n", what, name, value[0] ? " " : "", value);

        for (const char *s = ulv_strbuf_str(b); n < (int) sizeof(line) && (s = strstr(s, line)); s++)
                if (s == ulv_strbuf_str(b) || s[-1] == '\n')
                        return true;
        return false;
}

/* --- the host's end ------------------------------------------------------------------------------------------- */

/* The bridge that an interface of ours is a port of; "" for none. false: there is no such interface. */
static bool bridge_of(const char *interface, char ret[static IFNAMSIZ], bool *ret_up) {
        _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        struct { struct nlmsghdr h; struct ifinfomsg i; } ask = {
                { .nlmsg_len = sizeof(ask), .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST }, { .ifi_index = (int) if_nametoindex(interface) },
        };
        union { struct nlmsghdr h; char bytes[16384]; } got;
        ssize_t n;

        ret[0] = 0;
        if (fd < 0 || ask.i.ifi_index == 0 || send(fd, &ask, sizeof(ask), 0) < 0 || (n = recv(fd, &got, sizeof(got), 0)) < 0 ||
            !NLMSG_OK(&got.h, (size_t) n) || got.h.nlmsg_type != RTM_NEWLINK)
                return false;
        const struct ifinfomsg *i = NLMSG_DATA(&got.h);
        int left = (int) IFLA_PAYLOAD(&got.h);
        *ret_up = i->ifi_flags & IFF_UP;
        for (const struct rtattr *a = IFLA_RTA(i); RTA_OK(a, left); a = RTA_NEXT(a, left))
                if (a->rta_type == IFLA_MASTER && !if_indextoname(*(const unsigned *) RTA_DATA(a), ret))
                        ret[0] = 0;
        return true;
}

/* The first of its 64K user IDs, by the kernel's word; 0: none of ours. */
static unsigned first_uid(uint64_t pid) {
        char path[64];
        unsigned base = 0;

        (void) snprintf(path, sizeof(path), "/proc/%" PRIu64 "/uid_map", pid);
        _cleanup_free_ char *map = check_read(path);
        return map && sscanf(map, " 0 %u", &base) == 1 ? base : 0;
}

static void check_end(struct check *c, const struct part *p, unsigned index, const char *label, const char *bridge) {
        char end[IFNAMSIZ], have[IFNAMSIZ];
        struct finding *f = NULL;
        bool up = false;

        (void) snprintf(end, sizeof(end), "uv%xn%u", first_uid(p->leader) >> 16, index);
        if (!bridge_of(end, have, &up))
                (void) check_find(c, CHECK_NETWORK, p->name, label, "the host's end of [Network \"%s\"], %s, is gone", label, end);
        else if (!ulv_streq(have, bridge)) {
                f = check_find(c, CHECK_NETWORK, p->name, label, "the host's end of [Network \"%s\"], %s, is in %s%s, not in %s", label, end,
                               *have ? "bridge " : "no bridge", have, bridge);
                if (f)
                        (void) snprintf(f->try_, sizeof(f->try_), "ip link set %s master %.15s", end, bridge);
        } else if (!up) {
                f = check_find(c, CHECK_NETWORK, p->name, label, "the host's end of [Network \"%s\"], %s, is down", label, end);
                if (f)
                        (void) snprintf(f->try_, sizeof(f->try_), "ip link set %s up", end);
        }
}

/* --- comparing ------------------------------------------------------------------------------------------------ */

static void check_address(struct check *c, const struct part *p, const struct ulv_strbuf *facts, const char *name, const struct ulv_address *a, bool gateway) {
        _cleanup_strbuf_ struct ulv_strbuf text = { 0 };
        char object[128];

        ulv_address_format(&text, a, !gateway);
        (void) snprintf(object, sizeof(object), "%.32s %.64s", name, ulv_strbuf_str(&text));
        if (!is_fact(facts, gateway ? "gateway" : "address", name, ulv_strbuf_str(&text)))
                (void) check_find(c, CHECK_NETWORK, p->name, object, gateway ? "its %s has no route by %s" : "its %s hasn't the address %s", name, ulv_strbuf_str(&text));
}

static void check_inside_end(struct check *c, const struct part *p, const struct ulv_strbuf *facts, const struct ulv_network *n) {
        bool up = is_fact(facts, "up", n->name, ""), there = up || is_fact(facts, "down", n->name, "");

        if (!up)
                (void) check_find(c, CHECK_NETWORK, p->name, n->name, "its %s %s", n->name, there ? "is down" : "isn't there");
        for (unsigned i = 0; there && i < n->n_addresses; i++)
                check_address(c, p, facts, n->name, &n->addresses[i], false);
        for (unsigned i = 0; up && i < n->n_gateways; i++)
                check_address(c, p, facts, n->name, &n->gateways[i], true);
}

void check_networks(struct check *c, const struct part *p, const struct ulv_definition *d) {
        _cleanup_strbuf_ struct ulv_strbuf facts = { .max = 2 * FACTS_MAX };
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%" PRIu64 "/ns/net", p->leader);
        _cleanup_close_ int ns = d->n_networks > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        if (ns < 0)
                return;         /* none, or it ended meanwhile */
        if (!interfaces(ns, &facts)) {
                (void) check_find(c, CHECK_NETWORK, p->name, "", "what is in its network namespace can't be listed");
                return;
        }
        gateways(p->leader, &facts);
        for (unsigned i = 0; i < d->n_networks; i++) {
                check_end(c, p, i, d->networks[i].label, d->networks[i].bridge);
                check_inside_end(c, p, &facts, &d->networks[i]);
        }
}
