/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The real uv-port between a monitor and a hostile uv-init, both played here. Needs root, to see it drop. */

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "channel/account.h"
#include "channel/call.h"
#include "channel/state.h"
#include "lib/logform.h"
#include "lib/saidform.h"
#include "monitor/port/record.c"
#include "monitor/port/socket.c"

#define TEST_UID "1879048300"

struct bed { pid_t pid; int monitor, init, slave, logs[3], said, calls; };

static void uv_port_path(char *path, size_t size) {
        ssize_t n = readlink("/proc/self/exe", path, size - 32);

        assert_true(n > 0);
        path[n] = 0;
        for (int i = 0; i < 2; i++)             /* BUILD/test/test-port-process */
                *strrchr(path, '/') = 0;
        strcat(path, "/bin/uv-port");
}

static pid_t run_port(int far) {
        char path[512];
        pid_t pid;

        uv_port_path(path, sizeof(path));
        pid = fork();
        if (pid == 0) {
                int null = open("/dev/null", O_RDWR);
                if (dup2(null, 0) < 0 || dup2(null, 2) < 0 || dup2(far, ULV_PORT_FD) < 0 || close_range(4, ~0u, 0) < 0)
                        _exit(125);
                execl(path, "uv-port", "test", "--uid", TEST_UID, NULL);
                _exit(126);
        }
        return pid;
}

/* Bound by autobind, to a name that nobody needs to know. */
static int call_socket(void) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        assert_int_equal(bind(fd, (struct sockaddr *) &a, sizeof(a.sun_family)), 0);
        assert_int_equal(listen(fd, 16), 0);
        return fd;
}

static int log_file(void) {
        char path[] = "/tmp/uv-test-port-XXXXXX";
        int fd = mkostemp(path, O_CLOEXEC);

        assert_true(fd >= 0);
        (void) unlink(path);
        return fd;
}

static int pair(int *ret_far, int flags) {
        int p[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0, p), 0);
        *ret_far = p[1];
        return p[0];
}

static int set_up(void **state) {
        struct bed *b = calloc(1, sizeof(*b));
        const struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_CONFIGURE, .value = 65536 };
        int far, near, master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

        if (geteuid() != 0) {
                *state = NULL;
                free(b);
                return 0;
        }
        b->monitor = pair(&far, 0);
        b->pid = run_port(far);
        (void) close(far);
        b->init = pair(&near, 0);
        assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
        b->calls = call_socket();
        b->slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
        for (int i = 0; i < 3; i++)
                b->logs[i] = log_file();
        b->said = log_file();
        const int fds[7] = { master, near, b->logs[0], b->logs[1], b->logs[2], b->calls, b->said };
        assert_int_equal(ulv_port_send(b->monitor, &r, sizeof(r), fds, 7, 0), 0);
        (void) close(near);
        (void) close(master);
        *state = b;
        return 0;
}

static int tear_down(void **state) {
        struct bed *b = *state;

        if (!b)
                return 0;
        (void) close(b->monitor);
        (void) kill(b->pid, SIGKILL);
        (void) waitpid(b->pid, NULL, 0);
        for (int i = 0; i < 3; i++)
                (void) close(b->logs[i]);
        (void) close(b->slave);
        (void) close(b->init);
        (void) close(b->calls);
        free(b);
        return 0;
}

static struct bed *bed(void **state) {
        if (!*state)
                skip();
        return *state;
}

static void say(struct bed *b, uint32_t kind, uint32_t number, int64_t value) {
        const struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = kind, .number = number, .value = value };

        assert_int_equal(ulv_port_send(b->init, &r, sizeof(r), NULL, 0, 0), 0);
}

/* What the monitor hears within ms; kind 0: nothing. */
static struct ulv_port_record hear(const struct bed *b, int ms) {
        struct pollfd p = { .fd = b->monitor, .events = POLLIN };
        struct ulv_port_record r = { 0 };

        if (poll(&p, 1, ms) == 1)
                assert_int_equal(recv(b->monitor, &r, sizeof(r), 0), sizeof(r));
        return r;
}

static void ask_exec(const struct bed *b, uint32_t number) {
        struct { struct ulv_port_record r; char text[9]; } __attribute__((packed)) m = {
                { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_EXEC, .number = number, .text_len = 9 }, { 1, 0, 0, 0, 0, 0, 's', 'h', 0 },
        };
        const int fds[3] = { b->slave, b->slave, b->slave };

        assert_int_equal(ulv_port_send(b->monitor, &m, sizeof(m), fds, 3, 0), 0);
}

/* Is uv-init's socket closed by the other side? */
static bool cut_off(const struct bed *b) {
        struct pollfd p = { .fd = b->init };

        return poll(&p, 1, 10000) == 1 && (p.revents & POLLHUP);
}

static void assert_alive(const struct bed *b) { assert_int_equal(waitpid(b->pid, NULL, WNOHANG), 0); }

static void it_has_given_up_every_right(void **state) {
        struct bed *b = bed(state);
        static const char *const wanted[] = {
                "Uid:\t" TEST_UID "\t" TEST_UID "\t" TEST_UID "\t" TEST_UID "\n", "Gid:\t" TEST_UID "\t" TEST_UID "\t" TEST_UID "\t" TEST_UID "\n",
                "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n", "NoNewPrivs:\t1\n",
#ifndef __SANITIZE_ADDRESS__
                "Seccomp:\t2\n",
#endif
        };
        char path[64], text[8192];

        say(b, ULV_PORT_READY, 0, 0);           /* heard: it is through with confining itself */
        assert_int_equal(hear(b, 10000).kind, ULV_PORT_READY);
        snprintf(path, sizeof(path), "/proc/%d/status", (int) b->pid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = read(fd, text, sizeof(text) - 1);
        assert_true(n > 0);
        text[n] = 0;
        (void) close(fd);
        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
                if (!strstr(text, wanted[i]))
                        fail_msg("not in its status: %s", wanted[i]);
}

static void a_malformed_record_ends_the_connection_not_the_port(void **state) {
        struct bed *b = bed(state);
        const struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_EXITED, .number = 1 };

        assert_int_equal(ulv_port_send(b->init, &r, sizeof(r) - 1, NULL, 0, 0), 0);
        assert_true(cut_off(b));
        assert_alive(b);
        assert_int_equal(hear(b, 50).kind, 0);
}

static void fds_from_a_partition_end_the_connection(void **state) {
        struct bed *b = bed(state);
        const struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_EXITED, .number = 1 };

        assert_int_equal(ulv_port_send(b->init, &r, sizeof(r), &b->slave, 1, 0), 0);
        assert_true(cut_off(b));
        assert_alive(b);
}

static void only_answers_that_were_asked_for_pass_and_once(void **state) {
        struct bed *b = bed(state);

        ask_exec(b, 9);
        struct pollfd p = { .fd = b->init, .events = POLLIN };
        assert_int_equal(poll(&p, 1, 10000), 1);
        say(b, ULV_PORT_EXITED, 8, 1);
        assert_int_equal(hear(b, 50).kind, 0);
        say(b, ULV_PORT_EXITED, 9, 3);
        struct ulv_port_record r = hear(b, 10000);
        assert_int_equal(r.kind, ULV_PORT_EXITED);
        assert_int_equal(r.number, 9);
        assert_int_equal(r.value, 3);
        say(b, ULV_PORT_EXITED, 9, 3);
        assert_int_equal(hear(b, 50).kind, 0);
        say(b, ULV_PORT_EXITED, 0, 256 + 9);
        assert_int_equal(hear(b, 10000).value, 256 + 9);
        say(b, ULV_PORT_EXITED, 0, 0);
        assert_int_equal(hear(b, 50).kind, 0);
}

static void a_flood_is_cut_off(void **state) {
        struct bed *b = bed(state);
        const struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_FAILED, .number = 7, .value = 1 };

        for (int i = 0; i < 5000 && ulv_port_send(b->init, &r, sizeof(r), NULL, 0, 0) == 0; i++)
                ;
        assert_true(cut_off(b));
        assert_int_equal(hear(b, 50).kind, 0);
        assert_alive(b);
}

static void a_deaf_partition_delays_nobody_and_its_end_answers_all(void **state) {
        struct bed *b = bed(state);
        unsigned failed = 0;

        for (uint32_t i = 1; i <= 200; i++) {
                ask_exec(b, i);
                while (hear(b, 0).kind == ULV_PORT_FAILED)
                        failed++;
        }
        while (hear(b, 200).kind == ULV_PORT_FAILED)
                failed++;
        assert_in_range(failed, 200 - 64, 199);         /* what fits into its socket may wait there */
        (void) close(b->init);
        b->init = open("/dev/null", O_RDONLY | O_CLOEXEC);
        while (hear(b, 200).kind == ULV_PORT_FAILED)
                failed++;
        assert_int_equal(failed, 200);
        assert_alive(b);
}

static void last_words_are_kept_when_the_monitor_goes(void **state) {
        struct bed *b = bed(state);
        char text[64] = "";
        int status;

        assert_int_equal(write(b->slave, "last words", 10), 10);
        assert_int_equal(shutdown(b->monitor, SHUT_WR), 0);
        assert_int_equal(waitpid(b->pid, &status, 0), b->pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        assert_true(pread(b->logs[0], text, sizeof(text) - 1, LOGFORM_HEADER) >= 0);
        assert_string_equal(text, "last words");
}

/* --- channels ---------------------------------------------------------------------------------------------- */

static int ask(const struct bed *b, const char *name, struct ulv_port_message *ret) {
        struct sockaddr_un a;
        socklen_t len = sizeof(a);
        struct ulv_call q = { .magic = ULV_CALL_MAGIC, .verb = ULV_CALL_OPEN, .number = 5 };
        struct pollfd p = { .events = POLLIN };
        int fd = p.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        assert_int_equal(getsockname(b->calls, (struct sockaddr *) &a, &len), 0);
        assert_int_equal(connect(fd, (struct sockaddr *) &a, len), 0);
        memcpy(q.text, name, strlen(name));
        assert_int_equal(send(fd, &q, sizeof(q), 0), sizeof(q));
        assert_int_equal(poll(&p, 1, 5000), 1);
        assert_int_equal(ulv_port_receive(fd, ret), sizeof(struct ulv_call));
        return fd;
}

static void tell_channel(const struct bed *b, uint32_t kind, uint32_t end, const int *fds) {
        struct { struct ulv_port_record r; char text[4]; } __attribute__((packed)) m = {
                { .magic = ULV_PORT_MAGIC, .kind = kind, .number = end, .text_len = 4 }, { 'f', 'e', 'e', 'd' },
        };

        assert_int_equal(ulv_port_send(b->monitor, &m, sizeof(m), fds, fds ? 3 : 0, 0), 0);
}

static void tell_host(const struct bed *b, uint32_t number, int fd) {
        struct { struct ulv_port_record r; char text[4]; } __attribute__((packed)) m = {
                { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_HOST, .number = number, .text_len = 4 }, { 'f', 'e', 'e', 'd' },
        };

        assert_int_equal(ulv_port_send(b->monitor, &m, sizeof(m), &fd, 1, 0), 0);
}

static uint64_t life(int memory, unsigned end) {
        uint64_t v = 0;

        assert_int_equal(pread(memory, &v, sizeof(v), 1024 + 512 * end), sizeof(v));
        return v;
}

static void set_life(int memory, unsigned end, uint64_t v) { assert_int_equal(pwrite(memory, &v, sizeof(v), 1024 + 512 * end), sizeof(v)); }

/* Within five seconds, for uv-port does it when it comes to it. */
static void life_becomes(int memory, unsigned end, uint64_t v) {
        for (unsigned i = 0; i < 500 && life(memory, end) != v; i++)
                (void) usleep(10000);
        assert_int_equal(life(memory, end), v);
}

static void a_program_is_given_its_end_with_an_epoch_that_rises_and_its_death_is_written_down(void **state) {
        static struct ulv_port_message m;
        struct bed *b = bed(state);
        struct ulv_call a;
        int memory = memfd_create("channel", MFD_CLOEXEC), bell[2] = { eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK) };
        const int fds[3] = { memory, bell[0], bell[1] };
        uint64_t rang;
        int first, second;

        assert_int_equal(ftruncate(memory, 65536), 0);
        first = ask(b, "feed", &m);
        memcpy(&a, m.buf, sizeof(a));
        assert_int_equal(a.code, ULV_CALL_NOT_THERE);
        (void) close(first);
        tell_channel(b, ULV_PORT_CHANNEL, 1, fds);
        set_life(memory, 0, life_make(7, CHANNEL_ATTACHING));
        first = ask(b, "feed", &m);
        memcpy(&a, m.buf, sizeof(a));
        assert_true(a.code == ULV_CALL_OK && a.value[0] == 1 && a.value[1] == 7 && m.n_fds == 3);
        ulv_port_message_done(&m);
        set_life(memory, 1, life_make(7, CHANNEL_ATTACHED));
        /* Another program takes over: the first one's end is no death. */
        second = ask(b, "feed", &m);
        memcpy(&a, m.buf, sizeof(a));
        assert_true(a.code == ULV_CALL_OK && a.value[1] == 8);
        ulv_port_message_done(&m);
        (void) close(first);
        /* It follows its peer, who has come back, to a later epoch: there too its death is one. */
        set_life(memory, 1, life_make(9, CHANNEL_ATTACHED));
        (void) close(second);
        life_becomes(memory, 1, life_make(9, CHANNEL_GONE));
        for (unsigned i = 0; i < 500 && read(bell[0], &rang, sizeof(rang)) < 0; i++)
                (void) usleep(10000);
        assert_true(rang >= 1);
        /* The other partition ends; who said goodbye isn't called dead. */
        tell_channel(b, ULV_PORT_PEER_GONE, 0, NULL);
        life_becomes(memory, 0, life_make(7, CHANNEL_GONE));
        set_life(memory, 0, life_make(9, CHANNEL_CLOSED));
        tell_channel(b, ULV_PORT_PEER_GONE, 0, NULL);
        /* A peer that wrote the last epoch has ended the channel; uv-port lives on, and says so. */
        set_life(memory, 0, UINT64_MAX);
        second = ask(b, "feed", &m);
        memcpy(&a, m.buf, sizeof(a));
        assert_true(a.code == ULV_CALL_OK);
        ulv_port_message_done(&m);
        (void) close(second);
        second = ask(b, "feed", &m);
        memcpy(&a, m.buf, sizeof(a));
        assert_int_equal(a.code, ULV_CALL_BROKEN);
        (void) close(second);
        assert_int_equal(life(memory, 0), UINT64_MAX);
        tell_channel(b, ULV_PORT_NO_CHANNEL, 0, NULL);
        second = ask(b, "feed", &m);
        memcpy(&a, m.buf, sizeof(a));
        assert_int_equal(a.code, ULV_CALL_NOT_THERE);
        (void) close(second);
        (void) close(memory);
        (void) close(bell[0]);
        (void) close(bell[1]);
}

static ssize_t within(int fd, struct ulv_port_message *ret) {
        assert_int_equal(poll(&(struct pollfd) { .fd = fd, .events = POLLIN }, 1, 5000), 1);
        return ulv_port_receive(fd, ret);
}

static void one_of_the_hosts_tools_has_the_other_end_and_who_takes_it_over_is_told(void **state) {
        static struct ulv_port_message m;
        struct bed *b = bed(state);
        struct channel_account s;
        struct ulv_call a;
        int memory = memfd_create("channel", MFD_CLOEXEC), bell[2] = { eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK) };
        const int fds[3] = { memory, bell[0], bell[1] };
        const uint64_t counters[5] = { 11, 12, 13, 14, 15 };
        int first[2], second[2], look[2];

        assert_int_equal(ftruncate(memory, 65536), 0);
        assert_int_equal(pwrite(memory, counters, sizeof(counters), 1024 + 256), sizeof(counters));
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, first), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, second), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, look), 0);
        tell_channel(b, ULV_PORT_CHANNEL, 0, fds);
        tell_host(b, 0, first[1]);
        assert_int_equal(within(first[0], &m), sizeof(a));
        memcpy(&a, m.buf, sizeof(a));
        assert_true(a.code == ULV_CALL_OK && a.value[0] == 1 && a.value[1] == 1 && m.n_fds == 3);
        ulv_port_message_done(&m);
        set_life(memory, 1, life_make(1, CHANNEL_ATTACHED));
        /* The next one has a new epoch, and the first one is told. */
        tell_host(b, 0, second[1]);
        assert_int_equal(within(second[0], &m), sizeof(a));
        memcpy(&a, m.buf, sizeof(a));
        assert_true(a.code == ULV_CALL_OK && a.value[0] == 1 && a.value[1] == 2 && m.n_fds == 3);
        ulv_port_message_done(&m);
        assert_int_equal(within(first[0], &m), sizeof(a));
        memcpy(&a, m.buf, sizeof(a));
        assert_int_equal(a.code, ULV_CALL_BUSY);
        set_life(memory, 1, life_make(2, CHANNEL_ATTACHED));
        (void) close(first[1]);
        assert_int_equal(within(first[0], &m), 0);
        tell_host(b, 1, look[1]);
        assert_int_equal(recv(look[0], &s, sizeof(s), 0), sizeof(s));
        assert_true(s.magic == ACCOUNT_MAGIC && s.end[1].life == life_make(2, CHANNEL_ATTACHED) && s.end[0].count[0] == 11 && s.end[0].count[4] == 15);
        /* Killed: the partition's end hears that, and not of a goodbye. */
        (void) close(second[1]);
        (void) close(second[0]);
        life_becomes(memory, 1, life_make(2, CHANNEL_GONE));
        for (unsigned i = 0; i < 2; i++)
                (void) close(bell[i]);
        (void) close(first[0]);
        (void) close(look[0]);
        (void) close(look[1]);
        (void) close(memory);
}

/* --- a VM's end: this test is QEMU ------------------------------------------------------------------------- */

static int stream_socket(struct sockaddr_un *ret, socklen_t *ret_len) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        *ret = (struct sockaddr_un) { .sun_family = AF_UNIX };
        assert_int_equal(bind(fd, (struct sockaddr *) ret, sizeof(ret->sun_family)), 0);
        assert_int_equal(listen(fd, 4), 0);
        *ret_len = sizeof(*ret);
        assert_int_equal(getsockname(fd, (struct sockaddr *) ret, ret_len), 0);
        return fd;
}

static int come(const struct sockaddr_un *a, socklen_t len) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(connect(fd, (const struct sockaddr *) a, len), 0);
        return fd;
}

/* As QEMU reads: 8 bytes, and a fd with them or none. */
static int64_t server_says(int fd, int *ret_passed) {
        union { struct cmsghdr align; char bytes[CMSG_SPACE(sizeof(int))]; } control;
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int64_t number = 0;
        struct iovec iov = { &number, sizeof(number) };
        struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };

        assert_int_equal(poll(&p, 1, 5000), 1);
        assert_int_equal(recvmsg(fd, &h, 0), sizeof(number));
        *ret_passed = -1;
        if (CMSG_FIRSTHDR(&h))
                memcpy(ret_passed, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(int));
        return number;
}

static bool is_same_file(int a, int b) {
        struct stat s, t;

        assert_true(fstat(a, &s) == 0 && fstat(b, &t) == 0);
        return s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

/* What is written to one arrives at the other: of eventfds there is no better proof. */
static bool is_same_bell(int a, int b) {
        uint64_t n;

        while (read(b, &n, sizeof(n)) > 0)
                ;               /* what uv-port rang before */
        n = 3;
        assert_int_equal(write(a, &n, sizeof(n)), sizeof(n));
        return read(b, &n, sizeof(n)) == sizeof(n) && n == 3;
}

static void tell_door(const struct bed *b, int fd) {
        struct { struct ulv_port_record r; char text[4]; } __attribute__((packed)) m = {
                { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_DOOR, .text_len = 4 }, { 'f', 'e', 'e', 'd' },
        };

        assert_int_equal(ulv_port_send(b->monitor, &m, sizeof(m), &fd, 1, 0), 0);
}

static void greeted(int qemu, int memory, const int bell[2]) {
        int passed[5];

        assert_int_equal(server_says(qemu, &passed[0]), 0);
        assert_int_equal(server_says(qemu, &passed[1]), 1);
        assert_int_equal(server_says(qemu, &passed[2]), -1);
        assert_int_equal(server_says(qemu, &passed[3]), 0);
        assert_int_equal(server_says(qemu, &passed[4]), 1);
        assert_true(passed[0] == -1 && passed[1] == -1);
        assert_true(is_same_file(passed[2], memory));
        assert_true(is_same_bell(passed[3], bell[0]));
        assert_true(is_same_bell(passed[4], bell[1]));
        for (int i = 2; i < 5; i++)
                (void) close(passed[i]);
}

static void a_qemu_is_told_all_of_its_channel_once_and_its_death_is_written_down(void **state) {
        struct bed *b = bed(state);
        int memory = memfd_create("channel", MFD_CLOEXEC), bell[2] = { eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK) };
        const int fds[3] = { memory, bell[0], bell[1] };
        struct sockaddr_un a;
        socklen_t len;
        int door = stream_socket(&a, &len), qemu, second;
        struct pollfd p = { .events = POLLIN };
        uint64_t rang;

        assert_int_equal(ftruncate(memory, 65536), 0);
        qemu = come(&a, len);           /* before uv-port knows of the channel: it waits */
        tell_channel(b, ULV_PORT_CHANNEL, 1, fds);
        tell_door(b, door);
        greeted(qemu, memory, bell);
        p.fd = second = come(&a, len);
        assert_int_equal(poll(&p, 1, 100), 0);
        set_life(memory, 1, life_make(3, CHANNEL_ATTACHED));
        (void) close(qemu);
        life_becomes(memory, 1, life_make(3, CHANNEL_GONE));
        for (unsigned i = 0; i < 500 && read(bell[0], &rang, sizeof(rang)) < 0; i++)
                (void) usleep(10000);
        assert_true(rang >= 1);
        (void) close(second);
        (void) close(door);
        (void) close(memory);
}

/* It may write what it likes, and read nothing: uv-port reads nothing of it, and waits for nothing. */
static void a_qemu_that_floods_or_never_reads_costs_its_own_end_only(void **state) {
        struct bed *b = bed(state);
        int memory = memfd_create("channel", MFD_CLOEXEC), bell[2] = { eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK) };
        const int fds[3] = { memory, bell[0], bell[1] };
        static char junk[65536];
        struct sockaddr_un a;
        socklen_t len;
        int door = stream_socket(&a, &len), qemu;

        assert_int_equal(ftruncate(memory, 65536), 0);
        tell_channel(b, ULV_PORT_CHANNEL, 1, fds);
        tell_door(b, door);
        qemu = come(&a, len);
        set_life(memory, 1, life_make(1, CHANNEL_ATTACHED));
        for (unsigned i = 0; i < 100 && send(qemu, junk, sizeof(junk), MSG_DONTWAIT | MSG_NOSIGNAL) > 0; i++)
                (void) usleep(1000);
        life_becomes(memory, 1, life_make(1, CHANNEL_GONE));
        /* All else goes on: the other end's death is written, and a new door for the same label is opened. */
        set_life(memory, 0, life_make(1, CHANNEL_ATTACHED));
        tell_channel(b, ULV_PORT_PEER_GONE, 0, NULL);
        life_becomes(memory, 0, life_make(1, CHANNEL_GONE));
        (void) close(qemu);
        tell_channel(b, ULV_PORT_CHANNEL, 1, fds);
        tell_door(b, door);
        qemu = come(&a, len);
        greeted(qemu, memory, bell);
        (void) close(qemu);
        (void) close(door);
        (void) close(memory);
}

/* --- calls -------------------------------------------------------------------------------------------------- */

static int caller(const struct bed *b) {
        struct sockaddr_un a;
        socklen_t len = sizeof(a);
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        assert_int_equal(getsockname(b->calls, (struct sockaddr *) &a, &len), 0);
        assert_int_equal(connect(fd, (struct sockaddr *) &a, len), 0);
        return fd;
}

static struct ulv_call next_record(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        struct ulv_call a;

        assert_int_equal(poll(&p, 1, 5000), 1);
        assert_int_equal(recv(fd, &a, sizeof(a), 0), sizeof(a));
        return a;
}

static struct ulv_call call(int fd, uint16_t verb, uint64_t a, uint64_t b, const char *text) {
        struct ulv_call q = { .magic = ULV_CALL_MAGIC, .verb = verb, .number = 42 + verb, .value = { a, b } };

        memcpy(q.text, text, strlen(text));
        assert_int_equal(send(fd, &q, sizeof(q), 0), sizeof(q));
        q = next_record(fd);
        assert_true(q.answer && q.verb == verb && q.number == 42u + verb);
        return q;
}

static bool is_closed(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        char byte;

        return poll(&p, 1, 5000) == 1 && recv(fd, &byte, 1, 0) <= 0;
}

static void what_is_no_call_is_refused_by_a_code_and_costs_no_other_connection(void **state) {
        struct bed *b = bed(state);
        struct ulv_call q = { .magic = ULV_CALL_MAGIC, .verb = ULV_CALL_READY }, junk = { .magic = 1 };
        const int fds[1] = { 0 };
        int other = caller(b), fd = caller(b);

        assert_int_equal(call(fd, 99, 0, 0, "").code, ULV_CALL_UNKNOWN);
        assert_int_equal(call(fd, ULV_CALL_STOP, 0, 0, "").code, ULV_CALL_WRONG_WAY);
        assert_int_equal(call(fd, ULV_CALL_READY, 1, 0, "").code, ULV_CALL_BAD_VALUE);
        assert_int_equal(call(fd, ULV_CALL_READY, 0, 0, "x").code, ULV_CALL_BAD_VALUE);
        assert_int_equal(call(fd, ULV_CALL_HELLO, 0, 0, "").code, ULV_CALL_BAD_VALUE);
        assert_int_equal(call(fd, ULV_CALL_RELEASE, 0, 0, "").code, ULV_CALL_NOT_THERE);
        assert_int_equal(call(fd, ULV_CALL_VIEW, 0, 0, "").code, ULV_CALL_NOT_THERE);
        assert_int_equal(call(fd, ULV_CALL_OPEN, 0, 0, "nothing").code, ULV_CALL_NOT_THERE);
        assert_int_equal(ulv_port_send(fd, &q, sizeof(q), fds, 1, 0), 0);
        assert_int_equal(next_record(fd).code, ULV_CALL_BAD_FDS);
        for (size_t len = 1; len <= sizeof(junk); len += sizeof(junk) - 1) {
                fd = len == 1 ? fd : caller(b);
                assert_int_equal(send(fd, &junk, len, 0), len);
                assert_int_equal(next_record(fd).code, ULV_CALL_BAD_RECORD);
                assert_true(is_closed(fd));
                (void) close(fd);
        }
        assert_int_equal(call(other, ULV_CALL_HELLO, 1, 0, "").code, ULV_CALL_OK);
        (void) close(other);
        assert_alive(b);
}

static void a_flood_of_calls_is_refused_and_the_next_second_serves_again(void **state) {
        struct bed *b = bed(state);
        unsigned refused = 0, n = 0;
        int fd = caller(b);

        for (; !refused && n < 400; n++)
                refused += call(fd, ULV_CALL_HELLO, 1, 0, "").code == ULV_CALL_TOO_MANY;
        assert_true(refused == 1 && n >= 299);
        assert_int_equal(call(fd, ULV_CALL_HELLO, 1, 0, "").code, ULV_CALL_OK);
        for (unsigned i = 0; i < 20; i++)       /* more than there are places: the oldest goes */
                (void) caller(b);
        assert_true(is_closed(fd));
        (void) close(fd);
        assert_alive(b);
}

static void one_listens_and_is_asked_and_its_death_is_an_answer(void **state) {
        struct { struct ulv_port_record r; struct ulv_call q; } m = {
                { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_CALL, .text_len = sizeof(m.q) }, { .magic = ULV_CALL_MAGIC, .verb = ULV_CALL_RESIZE, .value = { 500, 4096 } },
        };
        struct bed *b = bed(state);
        struct ulv_port_record heard;
        struct ulv_call q;
        int fd = caller(b), other = caller(b);

        /* Nobody listens. */
        assert_int_equal(ulv_port_send(b->monitor, &m, sizeof(m), NULL, 0, 0), 0);
        heard = hear(b, 5000);
        assert_true(heard.kind == ULV_PORT_CALLED && heard.number == ULV_CALL_RESIZE && heard.value == ULV_CALL_NOT_THERE);
        assert_int_equal(call(fd, ULV_CALL_HELLO, 1, ULV_CALL_LISTENS(ULV_CALL_RESIZE), "").code, ULV_CALL_OK);
        heard = hear(b, 5000);
        assert_true(heard.kind == ULV_PORT_SAID && heard.number == ULV_CALL_HELLO && heard.value == ULV_CALL_LISTENS(ULV_CALL_RESIZE));
        assert_int_equal(call(other, ULV_CALL_HELLO, 1, 1, "").code, ULV_CALL_BUSY);
        assert_int_equal(ulv_port_send(b->monitor, &m, sizeof(m), NULL, 0, 0), 0);
        q = next_record(fd);
        assert_true(!q.answer && q.verb == ULV_CALL_RESIZE && q.value[0] == 500 && q.value[1] == 4096 && q.number != 0);
        /* An answer to nothing, then one that says later, then what it announced; from anybody of the partition. */
        q.answer = 1;
        q.number++;
        assert_int_equal(send(fd, &q, sizeof(q), 0), sizeof(q));
        q.number--;
        q.code = ULV_CALL_LATER;
        assert_int_equal(send(fd, &q, sizeof(q), 0), sizeof(q));
        heard = hear(b, 5000);
        assert_true(heard.kind == ULV_PORT_CALLED && heard.number == ULV_CALL_RESIZE && heard.value == ULV_CALL_LATER);
        assert_int_equal(call(other, ULV_CALL_RELEASE, 0, 0, "").code, ULV_CALL_OK);
        heard = hear(b, 5000);
        assert_true(heard.kind == ULV_PORT_SAID && heard.number == ULV_CALL_RELEASE);
        /* Asked again, it dies. */
        assert_int_equal(ulv_port_send(b->monitor, &m, sizeof(m), NULL, 0, 0), 0);
        (void) next_record(fd);
        (void) close(fd);
        heard = hear(b, 5000);
        assert_true(heard.kind == ULV_PORT_SAID && heard.number == ULV_CALL_HELLO && heard.value == 0);
        heard = hear(b, 5000);
        assert_true(heard.kind == ULV_PORT_CALLED && heard.value == ULV_CALL_NOT_THERE);
        (void) close(other);
        assert_alive(b);
}

static void ready_is_told_once_and_written_down_with_what_it_says(void **state) {
        struct bed *b = bed(state);
        struct ulv_port_record heard;
        struct said said;
        int fd = caller(b);

        assert_int_equal(call(fd, ULV_CALL_STATUS, 0, 0, "all\nis \033[1mwell").code, ULV_CALL_OK);
        assert_int_equal(call(fd, ULV_CALL_READY, 0, 0, "").code, ULV_CALL_OK);
        heard = hear(b, 5000);
        assert_true(heard.kind == ULV_PORT_SAID && heard.number == ULV_CALL_READY && heard.value == 1);
        assert_int_equal(call(fd, ULV_CALL_READY, 0, 0, "").code, ULV_CALL_OK);
        assert_int_equal(hear(b, 200).kind, 0);
        assert_int_equal(pread(b->said, &said, sizeof(said), 0), sizeof(said));
        assert_true(said.magic == SAID_MAGIC && said.ready == 1);
        assert_string_equal(said.status, "all?is ?[1mwell");
        (void) close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(it_has_given_up_every_right),
                TEST(a_malformed_record_ends_the_connection_not_the_port),
                TEST(fds_from_a_partition_end_the_connection),
                TEST(only_answers_that_were_asked_for_pass_and_once),
                TEST(a_flood_is_cut_off),
                TEST(a_deaf_partition_delays_nobody_and_its_end_answers_all),
                TEST(a_program_is_given_its_end_with_an_epoch_that_rises_and_its_death_is_written_down),
                TEST(one_of_the_hosts_tools_has_the_other_end_and_who_takes_it_over_is_told),
                TEST(a_qemu_is_told_all_of_its_channel_once_and_its_death_is_written_down),
                TEST(a_qemu_that_floods_or_never_reads_costs_its_own_end_only),
                TEST(what_is_no_call_is_refused_by_a_code_and_costs_no_other_connection),
                TEST(a_flood_of_calls_is_refused_and_the_next_second_serves_again),
                TEST(one_listens_and_is_asked_and_its_death_is_an_answer),
                TEST(ready_is_told_once_and_written_down_with_what_it_says),
                TEST(last_words_are_kept_when_the_monitor_goes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
