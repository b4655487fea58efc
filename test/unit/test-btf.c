/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A kernel's description of its types: functions are found by their names and by nothing like them, types of every kind
 * are counted, and what is cut off, lies about its lengths or has an unknown kind is refused without a step outside. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/btf.h>
#include <unistd.h>

#include "lib/fd.h"
#include "plugins/lxc/btf.c"

static struct { struct btf_header h; char rest[4096]; } b;
static char names[512];
static size_t n_types, n_names;

static void begin(void) {
        memset(&b, 0, sizeof(b));
        memset(names, 0, sizeof(names));
        n_types = 0;
        n_names = 1;
}

static void add_type(unsigned kind, unsigned vlen, const char *name, size_t tail) {
        struct btf_type t = { .name_off = (uint32_t) n_names, .info = kind << 24 | vlen };

        memcpy(b.rest + n_types, &t, sizeof(t));
        memset(b.rest + n_types + sizeof(t), 0xee, tail);
        n_types += sizeof(t) + tail;
        strcpy(names + n_names, name);
        n_names += strlen(name) + 1;
}

static size_t end(void) {
        b.h = (struct btf_header) { .magic = BTF_MAGIC, .version = 1, .hdr_len = sizeof(b.h), .type_len = (uint32_t) n_types,
                                    .str_off = (uint32_t) n_types, .str_len = (uint32_t) n_names };
        memcpy(b.rest + n_types, names, n_names);
        return sizeof(b.h) + n_types + n_names;
}

/* In memory of exactly that size: the sanitizer sees a byte too many. */
static int find(size_t size, const char *name, uint32_t *ret) {
        char *copy = malloc(size ? size : 1);

        assert_non_null(copy);
        memcpy(copy, &b, size);
        int r = lxc_btf_functions(copy, size, &name, 1, ret);
        free(copy);
        return r;
}

static size_t one_of_each(void) {
        static const struct { unsigned kind, vlen; size_t tail; } all[] = {
                { BTF_KIND_INT, 0, 4 }, { BTF_KIND_PTR, 0, 0 }, { BTF_KIND_ARRAY, 0, 12 }, { BTF_KIND_STRUCT, 2, 24 }, { BTF_KIND_UNION, 1, 12 },
                { BTF_KIND_ENUM, 3, 24 }, { BTF_KIND_FWD, 0, 0 }, { BTF_KIND_TYPEDEF, 0, 0 }, { BTF_KIND_VOLATILE, 0, 0 }, { BTF_KIND_CONST, 0, 0 },
                { BTF_KIND_RESTRICT, 0, 0 }, { BTF_KIND_FUNC_PROTO, 2, 16 }, { BTF_KIND_VAR, 0, 4 }, { BTF_KIND_DATASEC, 1, 12 },
                { BTF_KIND_FLOAT, 0, 0 }, { BTF_KIND_DECL_TAG, 0, 4 }, { BTF_KIND_TYPE_TAG, 0, 0 }, { BTF_KIND_ENUM64, 2, 24 },
        };

        begin();
        for (size_t i = 0; i < ULV_ARRAY_SIZE(all); i++)
                add_type(all[i].kind, all[i].vlen, "thing", all[i].tail);
        add_type(BTF_KIND_FUNC, 1, "thing", 0);         /* the 19th */
        return end();
}

static void types_of_every_kind_are_counted(ULV_UNUSED void **state) {
        uint32_t id = 0;

        assert_int_equal(find(one_of_each(), "thing", &id), 0);
        assert_int_equal(id, 19);
}

static void a_function_is_found_by_its_whole_name(ULV_UNUSED void **state) {
        uint32_t id = 77;

        begin();
        add_type(BTF_KIND_FUNC, 1, "hook_more", 0);
        add_type(BTF_KIND_TYPEDEF, 0, "hook", 0);       /* no function */
        assert_int_equal(find(end(), "hook", &id), 0);
        assert_int_equal(id, 0);
        add_type(BTF_KIND_FUNC, 1, "hook", 0);
        size_t size = end();
        assert_int_equal(find(size, "hook", &id), 0);
        assert_int_equal(id, 3);
        /* The last name without its end isn't a name. */
        b.h.str_len--;
        assert_int_equal(find(size - 1, "hook", &id), 0);
        assert_int_equal(id, 0);
}

static void a_description_cut_off_anywhere_is_refused(ULV_UNUSED void **state) {
        size_t size = one_of_each();
        uint32_t id = 0;

        for (size_t n = 0; n < size; n++)
                assert_int_equal(find(n, "thing", &id), -EBADMSG);
        assert_int_equal(id, 0);
}

static void lies_about_lengths_are_refused(ULV_UNUSED void **state) {
        static const uint32_t lies[] = { 1, 0x10000, 0x7fffffff, 0x80000000, 0xfffff000 };
        size_t size = one_of_each();
        struct btf_header good = b.h;
        uint32_t id = 0;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(lies); i++) {
                b.h = good; b.h.hdr_len += lies[i]; assert_int_equal(find(size, "thing", &id), -EBADMSG);
                b.h = good; b.h.type_len += lies[i]; assert_int_equal(find(size, "thing", &id), -EBADMSG);
                b.h = good; b.h.str_off += lies[i]; assert_int_equal(find(size, "thing", &id), -EBADMSG);
                b.h = good; b.h.str_len += lies[i]; assert_int_equal(find(size, "thing", &id), -EBADMSG);
        }
        b.h = good;
        b.h.magic = 0x9feb;     /* of another byte order */
        assert_int_equal(find(size, "thing", &id), -EBADMSG);
        assert_int_equal(id, 0);
}

static void an_unknown_kind_is_refused(ULV_UNUSED void **state) {
        uint32_t id = 0;

        begin();
        add_type(31, 0, "news", 0);
        add_type(BTF_KIND_FUNC, 1, "hook", 0);
        assert_int_equal(find(end(), "hook", &id), -EBADMSG);
        begin();
        add_type(BTF_KIND_STRUCT, 0xffff, "huge", 12);
        assert_int_equal(find(end(), "hook", &id), -EBADMSG);
}

/* The kernel that runs: where its description is there, the functions of its security hooks are in it, each once. */
static void this_kernel_is_understood(ULV_UNUSED void **state) {
        const char *const wanted[] = { "bpf_lsm_socket_create", "bpf_lsm_file_ioctl", "bpf_lsm_key_alloc", "no_such_function_of_any_kernel" };
        _cleanup_free_ char *data = NULL;
        uint32_t ids[4] = { 0 };
        size_t size;
        int fd = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                skip();
        assert_int_equal(ulv_read_fd(fd, 64u << 20, &data, &size), 0);
        (void) close(fd);
        assert_int_equal(lxc_btf_functions(data, size, wanted, 4, ids), 0);
        assert_true(ids[0] > 0 && ids[1] > 0 && ids[2] > 0 && ids[0] != ids[1] && ids[1] != ids[2]);
        assert_int_equal(ids[3], 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(types_of_every_kind_are_counted),
                cmocka_unit_test(a_function_is_found_by_its_whole_name),
                cmocka_unit_test(a_description_cut_off_anywhere_is_refused),
                cmocka_unit_test(lies_about_lengths_are_refused),
                cmocka_unit_test(an_unknown_kind_is_refused),
                cmocka_unit_test(this_kernel_is_understood),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
