/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Files as a stream: a tree that is sent and received is the same tree; what can't be sent or made is told and
 * left out; and what was interrupted leaves nothing half. (What a hostile stream can't do: test/fuzz/fuzz-copy.c.) */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "lib/base.h"
#include "lib/copy-path.c"
#include "lib/copy-receive.c"
#include "lib/copy-send.c"
#include "lib/remove-tree.h"

static char top[64], complaints[8192];

static int setup(ULV_UNUSED void **state) {
        (void) snprintf(top, sizeof(top), "/tmp/uv-test-copy-XXXXXX");
        complaints[0] = 0;
        (void) signal(SIGPIPE, SIG_IGN);
        return mkdtemp(top) && chdir(top) == 0 ? 0 : -1;
}

static int teardown(ULV_UNUSED void **state) { return chdir("/") < 0 ? -1 : ulv_remove_tree(AT_FDCWD, top); }

static void complain(ULV_UNUSED struct copy *c, const char *path, int error, const char *text) {
        size_t n = strlen(complaints);

        (void) snprintf(complaints + n, sizeof(complaints) - n, "%s: %s\n", path, error ? strerror(error) : text);
}

static void run(const char *command) {
        if (system(command) != 0)
                fail_msg("%s", command);
}

static struct copy sender, receiver;
static const char *source;
static int sent;

static void *send_all(ULV_UNUSED void *unused) {
        sent = copy_send(&sender, source);
        (void) close(sender.fd);
        return NULL;
}

/* From one path to another, as both ends of uvctl do it. */
static int copy(const char *from, const char *to) {
        char name[COPY_NAME_MAX + 1], as[COPY_NAME_MAX + 1];
        int p[2], dir, r;
        pthread_t thread;

        assert_true(copy_name_of(from, name));
        r = copy_target(to, name, &dir, as);
        if (r < 0)
                return r;
        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        sender = (struct copy) { .fd = p[1], .complain = complain };
        receiver = (struct copy) { .fd = p[0], .complain = complain, .modes = 0777 };
        source = from;
        assert_int_equal(pthread_create(&thread, NULL, send_all, NULL), 0);
        r = copy_receive(&receiver, dir, as);
        (void) close(p[0]);
        assert_int_equal(pthread_join(thread, NULL), 0);
        (void) close(dir);
        return r;
}

static void a_tree_is_the_same_tree(ULV_UNUSED void **state) {
        run("mkdir -p src/d/e; echo hello >src/a; chmod 640 src/a; touch -d 2020-01-02T03:04:05.678 src/a; ln -s a src/l; ln -s /no src/d/x;"
            "head -c 300000 /dev/urandom >src/d/e/big; touch 'src/d/with space'; chmod 4755 src/d/e/big; chmod 1750 src/d; touch -d 2019-01-01 src/d");
        assert_int_equal(copy("src", "new"), 0);
        assert_false(sender.left_out || receiver.left_out);
        assert_string_equal(complaints, "");
        assert_int_equal(sender.files, 5);
        assert_int_equal(receiver.files, 5);
        assert_int_equal(receiver.bytes, 300006);
        run("diff -r --no-dereference src new");
        /* Times to the nanosecond; modes without set-uid and sticky, which weren't asked for. */
        run("[ \"$(cd src && find . -printf '%p %y %T@ %l\\n' | sort)\" = \"$(cd new && find . -printf '%p %y %T@ %l\\n' | sort)\" ]");
        run("[ \"$(stat -c %a new/a new/d new/d/e/big | tr '\\n' ' ')\" = '640 750 755 ' ]");
        run("[ -z \"$(find . -name '.uv-copy-*')\" ]");
}

static void where_it_goes_is_as_with_cp(ULV_UNUSED void **state) {
        run("mkdir -p src there; echo 1 >src/a; echo old >there/b; ln -s src link");
        assert_int_equal(copy("src", "there"), 0);
        run("[ -f there/src/a ]");
        assert_int_equal(copy("src/.", "there"), 0);
        run("[ -f there/a ]");
        assert_int_equal(copy("src/a", "there/b"), 0);
        run("[ \"$(cat there/b)\" = 1 ]");
        assert_int_equal(copy("link", "there"), 0);             /* as what it is called, with what it leads to */
        run("[ -f there/link/a ] && [ ! -L there/link ]");
        assert_int_equal(copy("src/a", "nowhere/a"), -ENOENT);
        assert_int_equal(copy("src/a", "there/no/"), -ENOTDIR);
        assert_int_equal(copy("src/a", "there/b/"), -ENOTDIR);
        char name[COPY_NAME_MAX + 1];
        assert_false(copy_name_of("a/..", name));
        assert_true(copy_name_of("/", name));
        assert_string_equal(name, ".");
        assert_true(copy_name_of("/a/b//", name));
        assert_string_equal(name, "b");
}

static void what_was_there_is_replaced_and_links_are_not_followed(ULV_UNUSED void **state) {
        run("mkdir -p src/d to/src outside; echo new >src/f; echo new >src/d/g; echo old >outside/old; ln -s ../../outside to/src/d;"
            "ln -s ../../outside/old to/src/f; echo x >to/src/kept; chmod 700 to/src");
        assert_int_equal(copy("src", "to"), 0);
        assert_true(receiver.left_out);
        assert_string_equal(complaints, "/d: Not a directory\n");
        run("[ \"$(ls outside)\" = old ] && [ \"$(cat outside/old)\" = old ]");
        run("[ ! -L to/src/f ] && [ \"$(cat to/src/f)\" = new ] && [ -f to/src/kept ] && [ \"$(stat -c %a to/src)\" = 700 ]");
}

static void holes_stay_holes(ULV_UNUSED void **state) {
        run("truncate -s 4G big; printf middle | dd of=big bs=1 seek=2000000000 conv=notrunc status=none; printf end | dd of=big bs=1 seek=4294967293 conv=notrunc status=none;"
            "truncate -s 1G all-hole; : >nothing");
        assert_int_equal(copy("big", "to"), 0);
        assert_true(receiver.bytes < 1 << 20);
        run("cmp big to && [ $(stat -c %b to) -lt 1000 ]");
        assert_int_equal(copy("all-hole", "to2"), 0);
        assert_int_equal(receiver.bytes, 0);
        run("[ $(stat -c %s to2) = 1073741824 ]");
        assert_int_equal(copy("nothing", "to3"), 0);
        run("[ -f to3 ] && [ ! -s to3 ]");
}

static void what_can_not_be_sent_is_told_and_left_out(ULV_UNUSED void **state) {
        run("mkdir -p src/d; mkfifo src/fifo; echo 1 >src/d/a");
        assert_int_equal(copy("src", "to"), 0);
        assert_true(sender.left_out);
        assert_false(receiver.left_out);
        assert_string_equal(complaints, "/fifo: no file, directory or symbolic link\n");
        run("[ -f to/d/a ] && [ ! -e to/fifo ]");
        complaints[0] = 0;
        assert_int_equal(copy("src/none", "to"), -EPIPE);
        assert_int_equal(sent, -ENOENT);
        assert_string_equal(complaints, ": No such file or directory\n");
        complaints[0] = 0;
        (void) copy("/dev/null", "to");
        assert_int_equal(sent, -EINVAL);
        assert_string_equal(complaints, ": no file, and no directory\n");
}

static void too_deep_is_told_and_not_followed(ULV_UNUSED void **state) {
        run("d=src; for i in $(seq 140); do d=$d/d; done; mkdir -p $d; echo 1 >src/a");
        assert_int_equal(copy("src", "to"), 0);
        assert_true(sender.left_out);
        assert_non_null(strstr(complaints, ": directories too deep in each other\n"));
        run("[ -f to/a ] && [ $(find to -type d | wc -l) = 128 ]");
}

/* The file as it was, nothing half, and what had been made before stays. */
static void a_stream_that_ends_early_leaves_nothing_half(ULV_UNUSED void **state) {
        struct copy_record file = { .kind = COPY_FILE, .mode = 0644, .size = 100, .length = 1 }, data = { .kind = COPY_DATA, .length = 50 };
        char bytes[50] = "new";
        int p[2], dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        run("echo old >f");
        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        assert_int_equal(write(p[1], COPY_MAGIC, 8) + write(p[1], &file, sizeof(file)) + write(p[1], "-", 1) + write(p[1], &data, sizeof(data)) +
                         write(p[1], bytes, 50), 8 + 32 + 1 + 32 + 50);
        (void) close(p[1]);
        receiver = (struct copy) { .fd = p[0], .complain = complain, .modes = 0777 };
        assert_int_equal(copy_receive(&receiver, dir, "f"), -EPIPE);
        assert_string_equal(complaints, ": the stream of files ended early\n");
        run("[ \"$(cat f)\" = old ] && [ \"$(ls -A)\" = f ]");
        (void) close(p[0]);
        (void) close(dir);
}

static void a_stop_is_an_end_with_nothing_half(ULV_UNUSED void **state) {
        static const int stop = 1;
        int dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        receiver = (struct copy) { .fd = dir, .complain = complain, .stop = &stop };
        assert_int_equal(copy_receive(&receiver, dir, "f"), -EINTR);
        assert_string_equal(complaints, "");
        (void) close(dir);
}

static void a_full_disk_ends_it_and_leaves_nothing_half(ULV_UNUSED void **state) {
        run("mkdir small src; head -c 3000000 /dev/zero | tr '\\0' x >src/a");
        if (mount("none", "small", "tmpfs", 0, "size=1m") < 0)
                skip();
        assert_int_equal(copy("src", "small"), -ENOSPC);
        assert_string_equal(complaints, "/a: No space left on device\n");
        assert_int_equal(sent, -EPIPE);
        run("[ -z \"$(ls -A small/src)\" ]; umount small");
}

static void a_file_that_shrinks_is_not_made(ULV_UNUSED void **state) {
        struct stat st;
        int p[2], dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;

        run("printf 0123456789 >f");
        fd = open("f", O_RDONLY | O_CLOEXEC);
        assert_int_equal(fstat(fd, &st), 0);
        st.st_size = 20;                /* as it was when it was looked at */
        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        sender = (struct copy) { .fd = p[1], .complain = complain };
        assert_int_equal(write(p[1], COPY_MAGIC, 8), 8);
        assert_int_equal(send_file(&sender, fd, &st, "-"), 0);
        assert_int_equal(copy_write(&sender, &(struct copy_record) { .kind = COPY_DONE }, sizeof(struct copy_record)), 0);
        receiver = (struct copy) { .fd = p[0], .complain = complain, .modes = 0777 };
        assert_int_equal(copy_receive(&receiver, dir, "g"), 0);
        assert_true(sender.left_out && receiver.left_out);
        assert_string_equal(complaints, ": it became shorter while it was read\n");
        run("[ \"$(ls -A)\" = f ]");
        (void) close(fd);
        (void) close(p[0]);
        (void) close(p[1]);
        (void) close(dir);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(a_tree_is_the_same_tree), TEST(where_it_goes_is_as_with_cp), TEST(what_was_there_is_replaced_and_links_are_not_followed),
                TEST(holes_stay_holes), TEST(what_can_not_be_sent_is_told_and_left_out), TEST(too_deep_is_told_and_not_followed),
                TEST(a_stream_that_ends_early_leaves_nothing_half), TEST(a_stop_is_an_end_with_nothing_half),
                TEST(a_full_disk_ends_it_and_leaves_nothing_half), TEST(a_file_that_shrinks_is_not_made),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
