/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The plain region, what is known of a channel, and what its maker does. */

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "channel/channel.h"

void *ulv_channel_region(struct ulv_channel *c, size_t *ret_size) {
        if (c->kind == ULV_KIND_MEMORY)
                *ret_size = c->region_size;
        return c->region;
}

int ulv_channel_ring(struct ulv_channel *c) {
        int r;

        if (c->kind != ULV_KIND_MEMORY)
                return -EOPNOTSUPP;
        r = channel_check(c);
        if (r != 0)
                return r;
        /* Here `sent` counts rings: the other end compares. */
        atomic_store_explicit(&c->own->sent, ++c->sent, memory_order_release);
        return channel_wake_reader(c);
}

void ulv_channel_get_info(struct ulv_channel *c, struct ulv_channel_info *ret) {
        *ret = (struct ulv_channel_info) {
                .kind = c->kind, .size = c->size, .epoch = c->epoch, .message_max = c->message_max,
                .connected = c->stands == OWN_OPEN && channel_check(c) == 0, .bell_may_block = bell_may_block(&c->bell),
                .sent = c->sent, .received = c->received, .bells = c->bells,
        };
        memcpy(ret->zone, c->zone, sizeof(ret->zone));
        memcpy(ret->type, c->type, sizeof(ret->type));
}

int ulv_channel_format(int memory, const struct ulv_channel_spec *spec) {
        struct channel_header h = { .magic = CHANNEL_MAGIC, .version = CHANNEL_VERSION, .header_size = sizeof(h), .kind = (uint32_t) spec->kind };
        struct stat st;
        uint64_t half;

        if (fstat(memory, &st) < 0)
                return -errno;
        if (st.st_size < CHANNEL_SIZE_MIN || (uint64_t) st.st_size > CHANNEL_SIZE_MAX || st.st_size % CHANNEL_PAGE != 0 ||
            spec->kind < ULV_KIND_MESSAGE || spec->kind > ULV_KIND_MEMORY || strlen(spec->zone) >= sizeof(h.zone))
                return -EINVAL;
        h.size = (uint64_t) st.st_size;
        if (spec->kind == ULV_KIND_MEMORY)
                h.region = (struct channel_place) { CHANNEL_PAGE, h.size - CHANNEL_PAGE };
        else {
                half = channel_ring_size(h.size);
                h.ring[0] = (struct channel_place) { CHANNEL_PAGE, half };
                h.ring[1] = (struct channel_place) { CHANNEL_PAGE + half, half };
        }
        memcpy(h.zone, spec->zone, strlen(spec->zone));
        if (spec->type)
                memcpy(h.type, spec->type, sizeof(h.type));
        return pwrite(memory, &h, sizeof(h), 0) == sizeof(h) ? 0 : -EIO;
}

int ulv_channel_mark_gone(int memory, unsigned end, int peer_bell) {
        struct bell b = { .memory = memory, .own = -1, .peer = peer_bell, .alive = -1 };
        struct channel_page *page;
        uint64_t life;

        if (end > 1)
                return -EINVAL;
        page = mmap(NULL, CHANNEL_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
        if (page == MAP_FAILED)
                return -errno;
        life = atomic_load(&page->end[end].life);
        atomic_store(&page->end[end].life, life_make(life_epoch(life), CHANNEL_GONE));
        (void) munmap(page, CHANNEL_PAGE);
        return bell_ring(&b);
}
