/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Channels: the memory and the two doorbells of each. A monitor asks for the fds of an end of its partition. If the
 * other end's monitor has them, it is asked for them, and its answer is passed on; else they are made, if the one
 * that asks is the owner's. Either way they are on their way out: uvd keeps none, so its death costs no channel.
 *
 * Each memory has a number of its own, which the monitors report: two who asked at the same moment, or over a death,
 * may have got different ones, and then the ledger says so, and who doesn't own it asks again.
 *
 * A VM keeps the memory that it started with, and isn't started without one: so it is given new memory as the owner is,
 * if the other end isn't there; and who asks while a VM hasn't said which it has, is told to ask again. */

#include "uvd/uvd.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "channel/ultravisor.h"
#include "lib/protocol.h"

/* Not against future writes: a VM's end is mapped by who wants to write. */
#define CHANNEL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static enum ulv_kind kind_of(const char *s) {
        return ulv_streq(s, "message") ? ULV_KIND_MESSAGE : ulv_streq(s, "stream") ? ULV_KIND_STREAM : ULV_KIND_MEMORY;
}

static int make_memory(const struct ulv_joint_info *i, const char *zone, int *ret) {
        struct ulv_channel_spec spec = { .kind = kind_of(i->kind), .zone = zone };
        _cleanup_close_ int fd = memfd_create("uv-channel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        if (fd < 0 || ftruncate(fd, (off_t) i->size) < 0)
                return -errno;
        r = ulv_channel_format(fd, &spec);
        if (r < 0)
                return r;
        if (fcntl(fd, F_ADD_SEALS, CHANNEL_SEALS) < 0)
                return -errno;
        *ret = ulv_steal_fd(&fd);
        return 0;
}

static int make(sd_bus_message *m, const struct ulv_joint_info *i, const char *zone) {
        _cleanup_close_ int memory = -1, bell0 = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), bell1 = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        unsigned long long number;
        char text[17];
        int r = bell0 < 0 || bell1 < 0 || getrandom(&number, sizeof(number), 0) != sizeof(number) ? -errno : make_memory(i, zone, &memory);

        if (r < 0)
                return reply_diag_simple(m, ULV_EXIT_FAILED, "cannot make a channel", r == -EPERM || r == -EINVAL ? "this kernel's memory files can't be sealed" : strerror(-r),
                                         "raise the limit of fds or memory of uvd");
        (void) snprintf(text, sizeof(text), "%016llx", number);
        return sd_bus_reply_method_return(m, "shhh", text, memory, bell0, bell1);
}

static bool may_make(const struct uvd *u, const struct ulv_joint_info *i, const struct ulv_partition_info *own) {
        struct ulv_partition_info other;
        bool is_there = i->other_id[0] && ulv_ledger_partition(u->ledger, i->peer, &other) == 0;

        if (is_there && ulv_streq(other.type, "vm") && !i->other_how[0])
                return false;
        return i->end == 0 || (ulv_streq(own->type, "vm") && !is_there);
}

int join_channel(struct uvd *u, const struct guest *g, sd_bus_message *m) {
        struct ulv_partition_info p;
        struct ulv_joint_info i;
        const struct guest *other;
        const char *id;
        int r;

        r = sd_bus_message_read(m, "s", &id);
        if (r < 0)
                return r;
        if (ulv_ledger_channel(u->ledger, id, &i) != 0 || !ulv_streq(i.owner, g->name) || ulv_ledger_partition(u->ledger, g->name, &p) != 0)
                return reply_diag_simple(m, ULV_EXIT_NOT_FOUND, "no such channel", "the ledger has none of that name for this partition", "");
        if (!i.other_memory[0])
                return may_make(u, &i, &p) ? make(m, &i, p.zone)
                                           : reply_diag_simple(m, ULV_EXIT_NOT_ACTIVE, "the channel isn't there yet", "its other end has no memory yet", "");
        other = guest_find(u, i.peer);
        if (!other || !other->peer)
                return reply_diag_simple(m, ULV_EXIT_UNREACHABLE, "the channel can't be joined now", "the monitor at its other end is not connected", "");
        return monitors_supply(u, m, other, i.other_id);
}
