/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Opening and closing: the memory's geometry is checked once and copied, never read again; rings are mapped twice in
 * a row. Then the ends find each other by the table of state.h. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "channel/channel.h"

static bool place_is_good(const struct channel_place *p, uint64_t size) {
        return p->offset >= CHANNEL_PAGE && p->offset % CHANNEL_PAGE == 0 && p->size >= CHANNEL_PAGE && p->size % CHANNEL_PAGE == 0 &&
               p->offset <= size && p->size <= size - p->offset;
}

static bool is_empty(const struct channel_place *p) { return p->offset == 0 && p->size == 0; }

static bool header_is_good(const struct channel_header *h, uint64_t size) {
        bool rings = place_is_good(&h->ring[0], size) && place_is_good(&h->ring[1], size) && is_empty(&h->region) &&
                     (h->ring[0].offset + h->ring[0].size <= h->ring[1].offset || h->ring[1].offset + h->ring[1].size <= h->ring[0].offset);
        bool region = place_is_good(&h->region, size) && is_empty(&h->ring[0]) && is_empty(&h->ring[1]);

        return h->magic == CHANNEL_MAGIC && h->version == CHANNEL_VERSION && h->header_size >= sizeof(*h) && h->size == size &&
               memchr(h->zone, 0, sizeof(h->zone)) &&
               (h->kind == ULV_KIND_MEMORY ? region : (h->kind == ULV_KIND_MESSAGE || h->kind == ULV_KIND_STREAM) && rings);
}

/* The size that nobody can change any more: sealed, or that of a device. */
static int fixed_size(const struct ulv_channel_fds *fds, uint64_t *ret) {
        struct stat st;
        int seals = fds->device ? 0 : fcntl(fds->memory, F_GET_SEALS);

        if (!fds->device && (seals < 0 || !(seals & F_SEAL_SHRINK) || !(seals & F_SEAL_GROW)))
                return -EPERM;
        if (fstat(fds->memory, &st) < 0)
                return -errno;
        if (st.st_size < CHANNEL_SIZE_MIN || (uint64_t) st.st_size > CHANNEL_SIZE_MAX || st.st_size % CHANNEL_PAGE != 0)
                return -EBADMSG;
        *ret = (uint64_t) st.st_size;
        return 0;
}

/* Maps a part of the memory `times` times in a row. */
static int map(int memory, const struct channel_place *p, unsigned times, unsigned char **ret) {
        unsigned char *base = mmap(NULL, p->size * times, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (base == MAP_FAILED)
                return -errno;
        for (unsigned i = 0; i < times; i++)
                if (mmap(base + i * p->size, p->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory, (off_t) p->offset) == MAP_FAILED) {
                        int r = -errno;

                        (void) munmap(base, p->size * times);
                        return r;
                }
        *ret = base;
        return 0;
}

static void unmap(struct ulv_channel *c) {
        if (c->out.base)
                (void) munmap(c->out.base, c->out.size * 2);
        if (c->in.base)
                (void) munmap(c->in.base, c->in.size * 2);
        if (c->region)
                (void) munmap(c->region, c->region_size);
        if (c->page)
                (void) munmap(c->page, CHANNEL_PAGE);
}

static int map_all(struct ulv_channel *c, const struct ulv_channel_fds *fds) {
        static const struct channel_place first = { 0, CHANNEL_PAGE };
        struct channel_header h;
        unsigned char *page = NULL;
        int r;

        r = fixed_size(fds, &c->size);
        if (r == 0)
                r = map(fds->memory, &first, 1, &page);
        if (r < 0)
                return r;
        c->page = (struct channel_page *) (void *) page;
        memcpy(&h, &c->page->header, sizeof(h));
        /* The copy is checked, and used. A compiler must not look at the shared one again. */
        atomic_signal_fence(memory_order_seq_cst);
        if (!header_is_good(&h, c->size))
                return -EBADMSG;
        c->kind = (enum ulv_kind) h.kind;
        memcpy(c->zone, h.zone, sizeof(c->zone));
        memcpy(c->type, h.type, sizeof(c->type));
        if (c->kind == ULV_KIND_MEMORY) {
                c->region_size = h.region.size;
                return map(fds->memory, &h.region, 1, &c->region);
        }
        c->out.size = h.ring[fds->end].size;
        c->in.size = h.ring[!fds->end].size;
        c->message_max = ring_message_max(c->out.size);
        r = map(fds->memory, &h.ring[fds->end], 2, &c->out.base);
        return r < 0 ? r : map(fds->memory, &h.ring[!fds->end], 2, &c->in.base);
}

static int open_inside(struct ulv_channel *c, const struct ulv_channel_fds *fds) {
        uint64_t life;
        int r;

        if (fds->end > 1 || fds->epoch == 0 || fds->epoch > EPOCH_MAX)
                return -EINVAL;
        r = map_all(c, fds);
        if (r < 0)
                return r;
        c->own = &c->page->end[fds->end];
        c->peer = &c->page->end[!fds->end];
        life = atomic_load_explicit(&c->own->life, memory_order_acquire);
        if (life_epoch(life) >= fds->epoch)
                return -ESTALE;
        c->epoch = fds->epoch;
        c->stands = OWN_ATTACHING;
        c->out.reserved = UINT64_MAX;
        atomic_store_explicit(&c->own->life, life_make(c->epoch, CHANNEL_ATTACHING), memory_order_seq_cst);
        /* The other end may sleep: it has news. */
        r = bell_ring(&c->bell);
        if (r == 0)
                (void) channel_review(c);
        return r;
}

int ulv_channel_open(const struct ulv_channel_fds *fds, struct ulv_channel **ret) {
        struct ulv_channel *c = calloc(1, sizeof(*c));
        int r;

        if (!c) {
                (void) close(fds->memory);
                (void) close(fds->bell);
                (void) close(fds->peer_bell);
                return -ENOMEM;
        }
        c->link = -1;
        r = fds->device ? bell_open_device(&c->bell, fds->memory, fds->bell, fds->peer_bell, fds->end)
                        : bell_open(&c->bell, fds->memory, fds->bell, fds->peer_bell);
        if (r == 0)
                r = open_inside(c, fds);
        if (r < 0) {
                unmap(c);
                bell_close(&c->bell);
                free(c);
                return r;
        }
        *ret = c;
        return 0;
}

struct ulv_channel *ulv_channel_close(struct ulv_channel *c) {
        uint64_t life;

        if (!c)
                return NULL;
        channel_publish_counters(c);
        life = atomic_load_explicit(&c->own->life, memory_order_acquire);
        /* Not where a new life of this end has attached. */
        if (life_epoch(life) == c->epoch) {
                (void) atomic_compare_exchange_strong(&c->own->life, &life, life_make(c->epoch, CHANNEL_CLOSED));
                (void) bell_ring(&c->bell);
        }
        if (c->link >= 0)
                (void) close(c->link);
        unmap(c);
        bell_close(&c->bell);
        free(c);
        return NULL;
}
