/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-port's parts that need no partition: the record table, and the console's log, whose two files must
 * keep the newest half of the limit, and the first output of a life, whatever happens to who fills them. */

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

static void open_console(struct console *c, int fds[CONSOLE_FILES], int64_t limit) {
        for (unsigned i = 0; i < CONSOLE_FILES; i++)
                fds[i] = temp_file();
        assert_int_equal(console_init(c, fds, limit, 1), 0);
}

static size_t read_text(int fd, char *buf, size_t size, struct logform *ret) {
        *ret = (struct logform) { 0 };
        if (!logform_read(fd, ret))
                return 0;
        ssize_t n = pread(fd, buf, size, LOGFORM_HEADER);
        assert_true(n >= 0);
        return (size_t) n;
}

/* The text of both files, the older first; positions meet. */
static size_t read_back(const struct console *c, char *buf, size_t size) {
        struct logform older, newer;
        size_t len = read_text(c->fds[!c->current], buf, size, &older);
        bool two = len > 0;

        len += read_text(c->fds[c->current], buf + len, size - len, &newer);
        assert_int_equal(newer.start + (uint64_t) c->used, c->at);
        if (two)
                assert_int_equal(older.start + (len - (size_t) c->used), newer.start);
        return len;
}

static void fill(char *buf, size_t n) {
        for (size_t i = 0; i < n; i++)
                buf[i] = (char) ('a' + i % 23);
}

static int64_t size_of(int fd) {
        struct stat st;

        assert_int_equal(fstat(fd, &st), 0);
        return st.st_size;
}

static void a_full_file_makes_way_for_the_other(void **state) {
        (void) state;
        static char all[20000], back[20000];
        struct console c;
        int fds[CONSOLE_FILES];

        open_console(&c, fds, 8192);
        fill(all, sizeof(all));
        for (size_t done = 0; done < sizeof(all); done += 1000) {
                console_write(&c, all + done, 1000);
                assert_true(size_of(fds[0]) + size_of(fds[1]) + size_of(fds[2]) <= 8192);
        }
        size_t n = read_back(&c, back, sizeof(back));
        assert_in_range(n, 2900, 8192);
        assert_memory_equal(back, all + sizeof(all) - n, n);
        console_done(&c);
}

/* kill -9 of uv-port at any byte: a new one, given the same files in whatever order, goes on. */
static void a_new_port_goes_on_where_the_old_one_was(void **state) {
        (void) state;
        static char all[9000], back[9000];

        fill(all, sizeof(all));
        for (size_t cut = 1; cut < sizeof(all); cut += 61) {
                struct console c, next;
                struct logform f;
                int fds[CONSOLE_FILES];
                open_console(&c, fds, 2048);
                console_write(&c, all, cut);
                int swap = cut & 1;
                const int again[CONSOLE_FILES] = { fds[swap], fds[!swap], fds[CONSOLE_FIRST] };
                assert_int_equal(console_init(&next, again, 2048, 1), 0);
                assert_int_equal(next.fds[next.current], c.fds[c.current]);
                assert_int_equal(next.at, c.at);
                console_write(&next, all + cut, sizeof(all) - cut);
                size_t n = read_back(&next, back, sizeof(back));
                assert_memory_equal(back, all + sizeof(all) - n, n);
                assert_int_equal(read_text(fds[CONSOLE_FIRST], back, sizeof(back), &f), 512);
                assert_memory_equal(back, all, 512);
                console_done(&next);
        }
}

/* It died between emptying a file and writing its first line. */
static void a_file_without_its_first_line_holds_nothing(void **state) {
        (void) state;
        char all[500], back[9000];
        struct console c, next;
        int fds[CONSOLE_FILES];

        open_console(&c, fds, 2048);
        fill(all, sizeof(all));
        console_write(&c, all, sizeof(all));
        assert_int_equal(ftruncate(fds[!c.current], 17), 0);
        assert_int_equal(console_init(&next, fds, 2048, 1), 0);
        assert_int_equal(next.current, c.current);
        assert_int_equal(read_back(&next, back, sizeof(back)), sizeof(all));
        console_done(&next);
}

static void each_life_has_a_first_output_of_its_own(void **state) {
        (void) state;
        static char flood[50000], back[60000];
        struct console c, next;
        struct logform f;
        int fds[CONSOLE_FILES];

        memset(flood, 'x', sizeof(flood));
        open_console(&c, fds, 8192);
        console_write(&c, "one", 3);
        console_write(&c, flood, sizeof(flood));
        assert_int_equal(read_text(fds[CONSOLE_FIRST], back, sizeof(back), &f), 2048);
        assert_memory_equal(back, "onexxx", 6);
        assert_int_equal(console_init(&next, fds, 8192, 2), 0);
        console_write(&next, "two", 3);
        console_write(&next, flood, sizeof(flood));
        assert_int_equal(read_text(fds[CONSOLE_FIRST], back, sizeof(back), &f), 2048);
        assert_memory_equal(back, "twoxxx", 6);
        assert_int_equal(f.start, 3 + sizeof(flood));
        assert_int_equal(f.life, 2);
        console_done(&next);
}

/* Dropping keeps the last bytes and the count, without a disk. */
static void what_cannot_be_written_is_counted_and_its_end_kept(void **state) {
        (void) state;
        struct console c;
        int fds[CONSOLE_FILES];
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
        const int fds[CONSOLE_FILES] = { p[0], p[1], p[1] };
        assert_int_equal(console_init(&c, fds, 8192, 1), -EBADF);
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
                cmocka_unit_test(a_file_without_its_first_line_holds_nothing),
                cmocka_unit_test(each_life_has_a_first_output_of_its_own),
                cmocka_unit_test(what_cannot_be_written_is_counted_and_its_end_kept),
                cmocka_unit_test(only_regular_files_are_logs),
                cmocka_unit_test(a_partition_may_send_three_kinds_and_no_fd),
                cmocka_unit_test(every_length_but_the_right_one_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
