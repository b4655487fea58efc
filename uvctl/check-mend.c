/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* check --repair. Limits, affinities and interrupts are the business of the partition's monitor, which is asked to
 * enforce all of them again. What is left of who is gone is taken away only where it can't be anybody else's: an empty
 * cgroup in our own tree, which the kernel removes only if it is empty, and an interface that has our name and our
 * hardware address. Whatever runs is left alone. */

#include "uvctl/check.h"

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/socket.h>

/* Once for each partition. */
static bool was_asked(const struct check *c, const struct finding *f) {
        for (const struct finding *g = c->found; g < f; g++)
                if (g->mend == MEND_ENFORCE && ulv_streq(g->name, f->name))
                        return true;
        return false;
}

static int enforce(struct check *c, struct finding *f) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r = was_asked(c, f) ? 0 : client_call(c->u, &m, "Enforce", "s", f->name);

        if (r != 0)
                (void) snprintf(f->refusal, sizeof(f->refusal), "%.120s: %.130s", c->u->diag.what, c->u->diag.why);
        c->u->diag = (struct ulv_diag) { 0 };
        return r;
}

static int remove_interface(const char *name) {
        struct { struct nlmsghdr h; struct ifinfomsg i; } q = {
                .h = { .nlmsg_len = sizeof(q), .nlmsg_type = RTM_DELLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
                .i = { .ifi_family = AF_UNSPEC, .ifi_index = (int) if_nametoindex(name) },
        };
        struct { struct nlmsghdr h; struct nlmsgerr e; char more[1024]; } a = { 0 };
        struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
        _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

        if (fd < 0 || q.i.ifi_index == 0 || sendto(fd, &q, sizeof(q), 0, (struct sockaddr *) &kernel, sizeof(kernel)) < 0)
                return q.i.ifi_index == 0 ? -ENODEV : -errno;
        if (recv(fd, &a, sizeof(a), 0) < (ssize_t) (sizeof(a.h) + sizeof(a.e)) || a.h.nlmsg_type != NLMSG_ERROR)
                return -EBADMSG;
        return a.e.error;
}

void check_mend(struct check *c, struct finding *f) {
        int r = 0;

        switch (f->mend) {
        case MEND_NOT: return;
        case MEND_ENFORCE: r = enforce(c, f); break;
        case MEND_CGROUP: r = rmdir(f->object) < 0 ? -errno : 0; break;
        case MEND_INTERFACE: r = remove_interface(f->object); break;
        }
        f->outcome = r == 0 ? MENDED : REFUSED;
        if (r < 0)
                (void) snprintf(f->refusal, sizeof(f->refusal), "%s", strerror(-r));
}

const char *check_mend_text(const struct finding *f) {
        switch (f->mend) {
        case MEND_ENFORCE: return "its monitor enforces all of its limits again";
        case MEND_CGROUP: return "the empty cgroup is removed";
        case MEND_INTERFACE: return "the interface is removed: name and hardware address are ours";
        default: return "not by --repair: it might end what somebody uses";
        }
}
