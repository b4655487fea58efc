/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-port's parts that need no partition: the record table, and the console's log, whose two files must
 * keep the newest half of the limit whatever happens to the process that fills them. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "monitor/port/console.c"
#include "monitor/port/record.c"

static int temp_file(void) {
        char path[] = "/tmp/uv-test-port-XXXXXX";
        int fd = mkstemp(path);

        assert_true(fd >= 0);
        (void) unlink(path);
        return fd;
}

static void open_console(struct console *c, int fds[2], int64_t limit) {
        fds[0] = temp_file();
        fds[1] = temp_file();
        assert_int_equal(console_init(c, fds[0], fds[1], limit), 0);
}

/* The text of both files, the older first. */
static size_t read_back(const struct console *c, char *buf, size_t size) {
        size_t len = 0;

        for (int i = 0; i < 2; i++) {
                ssize_t n = pread(c->fds[i == 0 ? !c->current : c->current], buf + len, size - len, 0);
                assert_true(n >= 0);
                len += (size_t) n;
        }
        return len;
}

static void a_full_file_makes_way_for_the_other(void **state) {
        (void) state;
        static char all[20000], back[20000];
        struct console c;
        int fds[2];

        open_console(&c, fds, 8192);
        for (size_t i = 0; i < sizeof(all); i++)
                all[i] = (char) ('a' + i % 23);
        for (size_t done = 0; done < sizeof(all); done += 1000)
                console_write(&c, all + done, 1000);
        size_t n = read_back(&c, back, sizeof(back));
        assert_in_range(n, 4096, 8192);
        assert_memory_equal(back, all + sizeof(all) - n, n);
        console_done(&c);
}

/* kill -9 of uv-port at any byte: a new one, given the same files in whatever order, goes on. */
static void a_new_port_goes_on_where_the_old_one_was(void **state) {
        (void) state;
        static char all[9000], back[9000];

        for (size_t i = 0; i < sizeof(all); i++)
                all[i] = (char) ('a' + i % 23);
        for (size_t cut = 1; cut < sizeof(all); cut += 61) {
                struct console c, next;
                int fds[2];
                open_console(&c, fds, 2048);
                console_write(&c, all, cut);
                int swap = cut & 1;
                assert_int_equal(console_init(&next, fds[swap], fds[!swap], 2048), 0);
                assert_int_equal(next.fds[next.current], c.fds[c.current]);
                console_write(&next, all + cut, sizeof(all) - cut);
                size_t n = read_back(&next, back, sizeof(back));
                assert_memory_equal(back, all + sizeof(all) - n, n);
                console_done(&next);
        }
}

/* Dropping keeps the last bytes and the count, without a disk. */
static void what_cannot_be_written_is_counted_and_its_end_kept(void **state) {
        (void) state;
        struct console c;
        int fds[2];
        char back[16384], big[6000];

        open_console(&c, fds, 65536);
        console_write(&c, "first\n", 6);
        int real = c.fds[c.current], broken = open("/dev/full", O_RDWR | O_CLOEXEC);
        assert_true(broken >= 0);
        c.fds[c.current] = broken;
        memset(big, 'x', sizeof(big));
        console_write(&c, big, sizeof(big));
        console_write(&c, "the end", 7);
        assert_int_equal(c.dropped, sizeof(big) + 7);
        assert_int_equal(c.tail_len, CONSOLE_TAIL);
        assert_memory_equal(c.tail + CONSOLE_TAIL - 7, "the end", 7);
        c.fds[c.current] = real;
        (void) close(broken);
        console_write(&c, "\nafter\n", 7);
        size_t n = read_back(&c, back, sizeof(back) - 1);
        back[n] = 0;
        assert_true(strncmp(back, "first\n\n[ultravisor: 1911 bytes of output are missing", 52) == 0);
        assert_non_null(strstr(back, "xxthe end\nafter\n"));
        assert_int_equal(c.dropped, 0);
        console_done(&c);
}

static void only_regular_files_are_logs(void **state) {
        (void) state;
        struct console c;
        int p[2];

        assert_int_equal(pipe(p), 0);
        assert_int_equal(console_init(&c, p[0], p[1], 8192), -EBADF);
        (void) close(p[0]);
        (void) close(p[1]);
}

static void a_partition_may_send_three_kinds_and_no_fd(void **state) {
        (void) state;

        for (uint32_t kind = 0; kind < 9; kind++)
                for (unsigned fds = 0; fds <= ULV_PORT_FDS_MAX; fds++) {
                        struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = kind, .value = kind == ULV_PORT_READY ? 0 : 1 };
                        bool may = fds == 0 && (kind == ULV_PORT_EXITED || kind == ULV_PORT_READY || kind == ULV_PORT_FAILED);
                        assert_int_equal(ulv_port_record_valid(&r, sizeof(r), fds, ULV_PORT_FROM_INIT), may);
                }
}

static void every_length_but_the_right_one_is_refused(void **state) {
        (void) state;
        char buf[sizeof(struct ulv_port_record) + 32] = { 0 };
        const struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_EXITED, .number = 1 };

        memcpy(buf, &r, sizeof(r));
        for (size_t len = 0; len <= sizeof(buf); len++)
                assert_int_equal(ulv_port_record_valid(buf, len, 0, ULV_PORT_FROM_INIT), len == sizeof(r));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_full_file_makes_way_for_the_other),
                cmocka_unit_test(a_new_port_goes_on_where_the_old_one_was),
                cmocka_unit_test(what_cannot_be_written_is_counted_and_its_end_kept),
                cmocka_unit_test(only_regular_files_are_logs),
                cmocka_unit_test(a_partition_may_send_three_kinds_and_no_fd),
                cmocka_unit_test(every_length_but_the_right_one_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
