/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Views in shared memory. The writer makes the idle slot's sequence 0, fills it, gives it a new sequence,
 * and only then lets the index name it. A writer killed between any two of these leaves the slot that the
 * index names whole. A reader that was overtaken sees another sequence than it began with, or text whose
 * checksum is wrong, and takes it again; it never waits.
 *
 * The reader trusts nothing but the size of the memory: index and length are read once and bounded. */

#include "model/view.h"

#include "lib/crc32c.h"

#define MAGIC "ULVVIEW1"
#define VERSION 1u
#define READ_TRIES 64

struct header {
        char magic[8];
        uint32_t version, slot_size;
        uint64_t epoch;
        uint32_t index, zero;
        char pad[32];
};
struct slot {
        uint64_t sequence, generation;
        uint32_t length, crc;
        char text[ULV_VIEW_SLOT_SIZE - 24];
};
static_assert(sizeof(struct header) == 64, "the layout of view.h");
static_assert(sizeof(struct slot) == ULV_VIEW_SLOT_SIZE, "the layout of view.h");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a view is little-endian");

static struct slot *slot_at(void *mem, uint32_t index) {
        return (struct slot *) ((char *) mem + sizeof(struct header) + (size_t) index * sizeof(struct slot));
}

void ulv_view_init(void *mem, uint64_t epoch) {
        struct header *h = mem;
        struct slot *s = slot_at(mem, 0);

        h->version = VERSION;
        h->slot_size = ULV_VIEW_SLOT_SIZE;
        h->epoch = epoch;
        h->index = 0;
        s->crc = ulv_crc32c("", 0);
        s->sequence = 1;
        memcpy(h->magic, MAGIC, sizeof(h->magic));
}

int ulv_view_write(void *mem, uint64_t generation, const char *text, size_t len) {
        struct header *h = mem;
        uint32_t index = __atomic_load_n(&h->index, __ATOMIC_RELAXED) & 1;
        struct slot *s = slot_at(mem, index ^ 1);
        uint64_t next = slot_at(mem, index)->sequence + 1;

        if (len > sizeof(s->text))
                return -E2BIG;
        __atomic_store_n(&s->sequence, 0, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);        /* 0 is seen before any of the new text */
        s->generation = generation;
        s->length = (uint32_t) len;
        s->crc = ulv_crc32c(text, len);
        memcpy(s->text, text, len);
        __atomic_store_n(&s->sequence, next, __ATOMIC_RELEASE);
        __atomic_store_n(&h->index, index ^ 1, __ATOMIC_RELEASE);
        return 0;
}

/* One try. 0; 1: overtaken; -errno. */
static int read_once(const void *mem, struct ulv_strbuf *b, uint64_t *ret_generation) {
        const struct header *h = mem;
        uint32_t index = __atomic_load_n(&h->index, __ATOMIC_ACQUIRE), length, crc;
        const struct slot *s;
        uint64_t sequence, generation;
        size_t before = b->len;

        if (index > 1)
                return -EBADMSG;
        s = slot_at((void *) mem, index);
        sequence = __atomic_load_n(&s->sequence, __ATOMIC_ACQUIRE);
        if (sequence == 0)
                return 1;
        generation = __atomic_load_n(&s->generation, __ATOMIC_RELAXED);
        length = __atomic_load_n(&s->length, __ATOMIC_RELAXED);
        crc = __atomic_load_n(&s->crc, __ATOMIC_RELAXED);
        if (length > sizeof(s->text))
                return 1;
        ulv_strbuf_add_len(b, s->text, length);
        if (ulv_strbuf_error(b) < 0)
                return ulv_strbuf_error(b);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);        /* the text is read before the sequence again */
        if (__atomic_load_n(&s->sequence, __ATOMIC_RELAXED) != sequence || ulv_crc32c(b->s ? b->s + before : "", length) != crc) {
                b->len = before;
                if (b->s)
                        b->s[before] = 0;
                return 1;
        }
        *ret_generation = generation;
        return 0;
}

int ulv_view_read(const void *mem, size_t size, struct ulv_strbuf *b, uint64_t *ret_generation, uint64_t *ret_epoch) {
        const struct header *h = mem;
        uint64_t generation;

        if (size < ULV_VIEW_SIZE || memcmp(h->magic, MAGIC, sizeof(h->magic)) != 0 || h->version != VERSION || h->slot_size != ULV_VIEW_SLOT_SIZE)
                return -EBADMSG;
        for (int i = 0; i < READ_TRIES; i++) {
                int r = read_once(mem, b, &generation);

                if (r < 0)
                        return r;
                if (r > 0)
                        continue;
                *ret_generation = generation;
                *ret_epoch = h->epoch;
                return 0;
        }
        return -EAGAIN;
}
