/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>

#include "lib/crc32c.h"
#include "model/view.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cmocka.h>

static void *new_view(void) {
        void *mem = mmap(NULL, ULV_VIEW_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        assert_true(mem != MAP_FAILED);
        ulv_view_init(mem, 99);
        return mem;
}

static void what_is_written_is_read(void **state) {
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        uint64_t generation = 1, epoch = 0;
        void *mem = new_view();
        (void) state;

        assert_int_equal(ulv_view_read(mem, ULV_VIEW_SIZE, &b, &generation, &epoch), 0);
        assert_int_equal(generation, 0);
        assert_int_equal(epoch, 99);
        assert_int_equal(b.len, 0);
        for (uint64_t i = 1; i < 5; i++) {
                char text[] = "text 0";

                text[5] = (char) ('0' + i);
                assert_int_equal(ulv_view_write(mem, i * 10, text, 6), 0);
                ulv_strbuf_reset(&b);
                assert_int_equal(ulv_view_read(mem, ULV_VIEW_SIZE, &b, &generation, &epoch), 0);
                assert_string_equal(b.s, text);
                assert_int_equal(generation, i * 10);
        }
        munmap(mem, ULV_VIEW_SIZE);
}

static void limits_and_strangers(void **state) {
        _cleanup_free_ char *big = calloc(1, ULV_VIEW_SLOT_SIZE);
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        uint64_t generation, epoch;
        char *mem = new_view();
        (void) state;

        assert_int_equal(ulv_view_write(mem, 1, big, ULV_VIEW_SLOT_SIZE - 24), 0);
        assert_int_equal(ulv_view_write(mem, 2, big, ULV_VIEW_SLOT_SIZE - 23), -E2BIG);
        assert_int_equal(ulv_view_read(mem, ULV_VIEW_SIZE, &b, &generation, &epoch), 0);
        assert_int_equal(generation, 1);
        assert_int_equal(ulv_view_read(mem, ULV_VIEW_SIZE - 1, &b, &generation, &epoch), -EBADMSG);
        ulv_strbuf_reset(&b);
        mem[24] ^= 1;   /* the index names the older slot: that is whole too */
        assert_int_equal(ulv_view_read(mem, ULV_VIEW_SIZE, &b, &generation, &epoch), 0);
        assert_int_equal(generation, 0);
        mem[24] = 2;
        assert_int_equal(ulv_view_read(mem, ULV_VIEW_SIZE, &b, &generation, &epoch), -EBADMSG);
        mem[24] = 1;
        mem[64 + ULV_VIEW_SLOT_SIZE + 24] = 'x';        /* text that doesn't fit its checksum */
        assert_int_equal(ulv_view_read(mem, ULV_VIEW_SIZE, &b, &generation, &epoch), -EAGAIN);
        assert_int_equal(b.len, 0);
        memset(mem + 64 + ULV_VIEW_SLOT_SIZE + 16, 0xff, 4);    /* a length beyond the slot */
        assert_int_equal(ulv_view_read(mem, ULV_VIEW_SIZE, &b, &generation, &epoch), -EAGAIN);
        mem[0] = 'x';
        assert_int_equal(ulv_view_read(mem, ULV_VIEW_SIZE, &b, &generation, &epoch), -EBADMSG);
        munmap(mem, ULV_VIEW_SIZE);
}

/* A writer that is killed at any moment leaves a whole view behind; a reader beside it never sees half a text. */
static void readers_see_whole_texts_beside_a_writer(void **state) {
        void *mem = new_view();
        uint64_t reads = 0, last = 0;
        (void) state;

        for (int round = 0; round < 20; round++) {
                pid_t pid = fork();

                assert_true(pid >= 0);
                if (pid == 0) {
                        static char text[4000];

                        for (uint64_t i = last + 1;; i++) {
                                memset(text, 'a' + (char) (i % 26), sizeof(text));
                                if (ulv_view_write(mem, i, text, 100 + i * 37 % 3900) != 0)
                                        _exit(1);
                        }
                }
                /* On a busy machine the writer runs when it is let. */
                for (int i = 0; i < 5000; i++) {
                        _cleanup_strbuf_ struct ulv_strbuf b = {};
                        uint64_t generation = 0, epoch;

                        if (ulv_view_read(mem, ULV_VIEW_SIZE, &b, &generation, &epoch) == 0 && generation > last)
                                break;
                        usleep(1000);
                }
                for (int i = 0; i < 2000; i++) {
                        _cleanup_strbuf_ struct ulv_strbuf b = {};
                        uint64_t generation, epoch;
                        int r;

                        if (i == 1999) {        /* killed wherever it is, then read */
                                kill(pid, SIGKILL);
                                assert_int_equal(waitpid(pid, NULL, 0), pid);
                        }
                        r = ulv_view_read(mem, ULV_VIEW_SIZE, &b, &generation, &epoch);
                        assert_true(r == 0 || (r == -EAGAIN && i < 1999));
                        if (r < 0 || generation == 0)
                                continue;
                        reads++;
                        assert_int_equal(b.len, 100 + generation * 37 % 3900);
                        for (size_t k = 0; k < b.len; k++)
                                assert_int_equal(b.s[k], 'a' + (char) (generation % 26));
                        assert_true(generation >= last);
                        last = generation;
                }
        }
        assert_true(reads > 0);
        munmap(mem, ULV_VIEW_SIZE);
}

static void the_checksum_is_crc32c(void **state) {
        (void) state;
        assert_int_equal(ulv_crc32c("123456789", 9), 0xE3069283u);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_written_is_read), cmocka_unit_test(limits_and_strangers),
                cmocka_unit_test(readers_see_whole_texts_beside_a_writer), cmocka_unit_test(the_checksum_is_crc32c),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
