/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A kernel's description of its types, as far as numbers of functions go.
 *
 * Theory of operation. A header; then types without their numbers, which is their place, each of a length that its kind
 * tells; then all names. So a kind that isn't known ends it: what follows couldn't be counted. Some 150,000 types are
 * gone through in a millisecond, none is kept. Nothing is believed to be aligned. */

#include <errno.h>
#include <linux/btf.h>
#include <string.h>

#include "plugins/lxc/btf.h"

/* What follows a type's head, in bytes; SIZE_MAX: a kind that we don't know. */
static size_t tail_of(uint32_t info) {
        size_t n = BTF_INFO_VLEN(info);

        switch (BTF_INFO_KIND(info)) {
        case BTF_KIND_PTR: case BTF_KIND_FWD: case BTF_KIND_TYPEDEF: case BTF_KIND_VOLATILE: case BTF_KIND_CONST:
        case BTF_KIND_RESTRICT: case BTF_KIND_FUNC: case BTF_KIND_FLOAT: case BTF_KIND_TYPE_TAG:
                return 0;
        case BTF_KIND_INT: case BTF_KIND_VAR: case BTF_KIND_DECL_TAG:
                return 4;
        case BTF_KIND_ARRAY:
                return sizeof(struct btf_array);
        case BTF_KIND_ENUM: case BTF_KIND_FUNC_PROTO:
                return n * 8;
        case BTF_KIND_STRUCT: case BTF_KIND_UNION: case BTF_KIND_DATASEC: case BTF_KIND_ENUM64:
                return n * 12;
        }
        return SIZE_MAX;
}

/* name: what is left of the names from its beginning on. */
static void note(const char *name, size_t left, uint32_t id, const char *const *names, size_t n, uint32_t *ids) {
        for (size_t i = 0; i < n; i++) {
                size_t len = strlen(names[i]) + 1;
                if (len <= left && memcmp(name, names[i], len) == 0)
                        ids[i] = id;
        }
}

/* A part of it: where it says, behind the header, and as long. */
static bool part_fits(uint32_t off, uint32_t len, size_t left) { return off <= left && len <= left - off; }

int lxc_btf_functions(const void *data, size_t size, const char *const *names, size_t n, uint32_t *ret) {
        uint32_t ids[LXC_BTF_NAMES_MAX] = { 0 };
        struct btf_header h;
        struct btf_type t;
        uint32_t id = 1;

        if (n > LXC_BTF_NAMES_MAX)
                return -EINVAL;
        if (size < sizeof(h))
                return -EBADMSG;
        memcpy(&h, data, sizeof(h));
        if (h.magic != BTF_MAGIC || h.hdr_len < sizeof(h) || h.hdr_len > size || !part_fits(h.type_off, h.type_len, size - h.hdr_len) ||
            !part_fits(h.str_off, h.str_len, size - h.hdr_len))
                return -EBADMSG;
        const char *parts = (const char *) data + h.hdr_len, *strings = parts + h.str_off;
        const char *at = parts + h.type_off, *end = at + h.type_len;
        for (; at < end; id++) {
                if ((size_t) (end - at) < sizeof(t))
                        return -EBADMSG;
                memcpy(&t, at, sizeof(t));
                at += sizeof(t);
                size_t tail = tail_of(t.info);
                if (tail > (size_t) (end - at) || t.name_off > h.str_len)
                        return -EBADMSG;
                if (BTF_INFO_KIND(t.info) == BTF_KIND_FUNC)
                        note(strings + t.name_off, h.str_len - t.name_off, id, names, n, ids);
                at += tail;
        }
        memcpy(ret, ids, n * sizeof(*ids));
        return 0;
}
