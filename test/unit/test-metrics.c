/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-metrics: the text that a snapshot becomes, what is read of the kernel's files, and the server's limits. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "metrics/exposition.c"
#include "metrics/serve.c"
#include "metrics/usage.c"

/* gather.c asks a planner; here is none. */
int snapshot_take(ULV_UNUSED struct source *s, struct snapshot *ret) {
        *ret = (struct snapshot) { 0 };
        return 0;
}

void snapshot_done(ULV_UNUSED struct snapshot *s) {
}

static void expose(const struct snapshot *s, struct ulv_strbuf *b) {
        exposition(s, b);
        assert_int_equal(ulv_strbuf_error(b), 0);
        assert_string_equal(b->s + b->len - 7, "\n# EOF\n");
}

static struct subject of_row(const char *line) {
        struct subject o = { 0 };

        assert_int_equal(ulv_op_parse(line, strlen(line), &o.row, NULL), 0);
        return o;
}

/* --- the text ------------------------------------------------------------------------------------------------- */

static void without_the_planner_nothing_is_claimed_of_others(void **state ULV_UNUSED) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct snapshot s = { .steal_known = true, .steal_usec = 1230000 };

        expose(&s, &b);
        assert_non_null(strstr(b.s, "\nultravisor_up 0\n"));
        assert_non_null(strstr(b.s, "\nultravisor_role_up{role=\"uv-command\"} 0\n"));
        assert_null(strstr(b.s, "role=\"uvd\""));
        assert_null(strstr(b.s, "ultravisor_ledger_generation"));
        assert_null(strstr(b.s, "ultravisor_partition"));
        assert_non_null(strstr(b.s, "# TYPE ultravisor_host_steal_seconds counter\n# UNIT ultravisor_host_steal_seconds seconds\n"));
        assert_non_null(strstr(b.s, "\nultravisor_host_steal_seconds_total 1.230000\n"));
}

static void a_value_that_is_not_known_has_no_sample(void **state ULV_UNUSED) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct subject o[] = {
                of_row("row partition web - state=running share-wanted=250 memory-wanted=1048576 incarnation=3"),
                of_row("row partition db - state=defined"),
        };
        struct snapshot s = { .up = true, .ledger = true, .generation = UINT64_MAX - 1, .subjects = o, .n_subjects = 2 };

        o[0].usage.known[USAGE_THROTTLED] = o[0].usage.known[USAGE_TASKS] = true;
        o[0].usage.value[USAGE_THROTTLED] = 5000007;
        o[0].usage.known[USAGE_MEMORY_LIMIT] = o[0].usage.known[USAGE_CPU_LIMIT] = true;
        o[0].usage.value[USAGE_MEMORY_LIMIT] = UNLIMITED;
        o[0].usage.value[USAGE_CPU_LIMIT] = 1500;
        expose(&s, &b);
        assert_non_null(strstr(b.s, "\nultravisor_ledger_generation 18446744073709551614\n"));
        assert_non_null(strstr(b.s, "\nultravisor_role_up{role=\"uvd\"} 1\nultravisor_role_up{role=\"uv-operations\"} 0\n"));
        assert_non_null(strstr(b.s, "\nultravisor_partition_state{partition=\"web\",state=\"running\"} 1\n"
                                    "ultravisor_partition_state{partition=\"db\",state=\"defined\"} 1\n"));
        assert_non_null(strstr(b.s, "\nultravisor_partition_share_wanted{partition=\"web\"} 0.250\n"));
        assert_non_null(strstr(b.s, "\nultravisor_partition_starts_total{partition=\"web\"} 3\n"));
        assert_non_null(strstr(b.s, "\nultravisor_partition_cpu_throttled_seconds_total{partition=\"web\"} 5.000007\n"));
        assert_non_null(strstr(b.s, "\nultravisor_partition_tasks{partition=\"web\"} 0\n"));
        assert_non_null(strstr(b.s, "\nultravisor_partition_memory_limit_bytes{partition=\"web\"} +Inf\n"));
        assert_non_null(strstr(b.s, "\nultravisor_partition_cpu_limit{partition=\"web\"} 1.500\n"));
        assert_null(strstr(b.s, "ultravisor_partition_tasks{partition=\"db\"}"));
        assert_null(strstr(b.s, "ultravisor_partition_memory_used_bytes{"));
        for (size_t i = 0; i < 2; i++)
                ulv_op_done(&o[i].row);
}

static void a_channel_is_connected_when_both_ends_hold_the_same_memory(void **state ULV_UNUSED) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct subject web = of_row("row channel feed@db web end=0 peer=db memory=7 epoch=3"), db = of_row("row channel feed@web db end=1 peer=web memory=7 epoch=3"),
                       old = of_row("row channel feeder@db web end=0 peer=db memory=8 epoch=1"), host = of_row("row channel admin@web web end=0 peer=host memory=9 epoch=1");
        struct ulv_op ends[] = { web.row, db.row, old.row, host.row };
        struct snapshot s = { .up = true, .channels = ends, .n_channels = 4 };

        expose(&s, &b);
        assert_non_null(strstr(b.s, "\nultravisor_channel_connected{partition=\"web\",channel=\"feed\",peer=\"db\"} 1\n"));
        assert_non_null(strstr(b.s, "\nultravisor_channel_connected{partition=\"db\",channel=\"feed\",peer=\"web\"} 1\n"));
        assert_non_null(strstr(b.s, "\nultravisor_channel_connected{partition=\"web\",channel=\"feeder\",peer=\"db\"} 0\n"));
        assert_non_null(strstr(b.s, "\nultravisor_channel_epoch{partition=\"web\",channel=\"feed\",peer=\"db\"} 3\n"));
        assert_null(strstr(b.s, "\nultravisor_channel_connected{partition=\"web\",channel=\"admin\""));
        for (size_t i = 0; i < 4; i++)
                ulv_op_done(&ends[i]);
}

static void a_label_is_escaped(void **state ULV_UNUSED) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

        label(&b, "a\\b\"c\nd\303\244}#");
        assert_string_equal(b.s, "a\\\\b\\\"c\\nd\303\244}#");
}

static void families_stand_together_and_are_named_by_the_standard(void **state ULV_UNUSED) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(series); i++) {
                const struct series *q = &series[i];

                assert_false(ends(q->name, "_total"));          /* the format's own ends */
                assert_false(ends(q->name, "_info"));
                assert_true((q->scale != MICRO) || ends(q->name, "_seconds"));
                for (size_t k = i + 2; k < ULV_ARRAY_SIZE(series); k++)
                        if (ulv_streq(series[k].name, q->name))
                                assert_string_equal(series[k - 1].name, q->name);
        }
}

/* --- the kernel's files ------------------------------------------------------------------------------------------ */

static void keys_are_whole_words_of_a_line(void **state ULV_UNUSED) {
        static const char text[] = "usage_usec_not 1\nusage_usec 25\nnr_periods 3\noom_kill 7\nlow 0\nlast 9";
        bool found = false;

        assert_int_equal(usage_key(text, "usage_usec", &found), 25);
        assert_true(found);
        assert_int_equal(usage_key(text, "last", &found), 9);
        found = false;
        assert_int_equal(usage_key(text, "oom", &found), 0);
        assert_int_equal(usage_key("", "oom", &found), 0);
        assert_false(found);
}

static void pressure_is_of_its_own_line(void **state ULV_UNUSED) {
        static const char text[] = "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 total=5\n";
        bool found = false;

        assert_int_equal(usage_pressure(text, "some", &found), 12);
        assert_int_equal(usage_pressure(text, "full", &found), 5);
        assert_true(found);
        found = false;
        assert_int_equal(usage_pressure("some avg10=0.00\nfull total=5\n", "some", &found), 0);
        assert_int_equal(usage_pressure("some", "full", &found), 0);
        assert_false(found);
}

static void bytes_are_summed_over_devices(void **state ULV_UNUSED) {
        bool found = false;

        assert_int_equal(usage_io("8:0 rbytes=10 wbytes=1 rios=1 dbytes=7\n8:16 rbytes=5 wbytes=2\n", "rbytes", &found), 15);
        assert_int_equal(usage_io("8:0 \n", "rbytes", &found), 0);
        assert_true(found);
}

static void no_limit_is_not_a_limit_of_nothing(void **state ULV_UNUSED) {
        bool found = false;

        assert_int_equal(usage_limit("67108864\n", &found), 67108864);
        assert_true(found);
        assert_true(usage_limit("max\n", &found) == UNLIMITED && found);
        assert_int_equal(usage_quota("25000 100000\n", &found), 250);
        assert_true(found);
        assert_true(usage_quota("max 100000\n", &found) == UNLIMITED && found);
        assert_int_equal(usage_quota("5 0\n", &found), 0);
        assert_false(found);
        assert_int_equal(usage_limit("", &found), 0);
        assert_false(found);
        assert_int_equal(usage_quota("", &found), 0);
        assert_false(found);
}

/* --- the server -------------------------------------------------------------------------------------------------- */

static const struct limits short_ones = { .request_ms = 300, .idle_ms = 800 };

static pid_t start_server(const char *path) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        struct source source = { .root = "/" };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        pid_t pid;

        (void) snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
        (void) unlink(path);
        assert_return_code(bind(fd, (struct sockaddr *) &a, sizeof(a)), errno);
        assert_return_code(listen(fd, 64), errno);
        pid = fork();
        if (pid == 0)
                _exit(serve_within(&source, fd, &short_ones) == 0 ? 0 : 1);
        (void) close(fd);
        return pid;
}

static int say(const char *path, const char *text) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void) snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
        assert_return_code(connect(fd, (struct sockaddr *) &a, sizeof(a)), errno);
        assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t) strlen(text));
        return fd;
}

/* All that comes, until the other end closes. */
static void answer(int fd, char *ret, size_t size) {
        size_t len = 0;
        ssize_t n;

        while (len < size - 1 && (n = read(fd, ret + len, size - 1 - len)) > 0)
                len += (size_t) n;
        ret[len] = 0;
        (void) close(fd);
}

/* Each of these sends a byte now and then, and so never looks idle. */
static void who_drips_is_cut_off_and_keeps_nobody_out(void **state ULV_UNUSED) {
        char path[] = "/tmp/test-metrics-XXXXXX", socket_path[64], text[8192];
        int drips[CONNECTIONS_MAX + 8], fd, status;
        pid_t pid;

        assert_non_null(mkdtemp(path));
        (void) snprintf(socket_path, sizeof(socket_path), "%s/s", path);
        pid = start_server(socket_path);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(drips); i++)
                drips[i] = say(socket_path, "GET /metrics HTTP/1.1\r\nHost: x\r\nX: ");
        fd = say(socket_path, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        for (unsigned cut = 0, turns = 0; cut < CONNECTIONS_MAX && turns < 400; turns++) {
                cut = 0;
                for (size_t i = 0; i < ULV_ARRAY_SIZE(drips); i++)
                        cut += send(drips[i], "y", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0;
                (void) usleep(20000);
                assert_true(turns < 399);
        }
        answer(fd, text, sizeof(text));
        assert_non_null(strstr(text, "200 OK"));
        assert_non_null(strstr(text, "# EOF\n"));
        for (size_t i = 0; i < ULV_ARRAY_SIZE(drips); i++)
                (void) close(drips[i]);
        /* And it ends by itself when nobody is there, in order. */
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        (void) unlink(socket_path);
        (void) rmdir(path);
}

static void what_is_not_a_request_for_metrics_is_refused(void **state ULV_UNUSED) {
        static const struct { const char *say, *status; } cases[] = {
                { "GET / HTTP/1.1\r\nHost: x\r\n\r\n", " 404 " },
                { "GET /metrics/../metrics HTTP/1.1\r\nHost: x\r\n\r\n", " 404 " },
                { "DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", " 405 " },
                { "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nx=1", " 405 " },
                { "GET /metrics HTTP/1.0\r\n\r\n", " 200 " },
                { "GET /metrics?name=x HTTP/1.1\r\nHost: x\r\n\r\n", " 200 " },
        };
        char path[] = "/tmp/test-metrics-XXXXXX", socket_path[64], text[8192];
        int status;
        pid_t pid;

        assert_non_null(mkdtemp(path));
        (void) snprintf(socket_path, sizeof(socket_path), "%s/s", path);
        pid = start_server(socket_path);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(cases); i++) {
                answer(say(socket_path, cases[i].say), text, sizeof(text));
                text[strcspn(text, "\r\n")] = 0;
                assert_non_null(strstr(text, cases[i].status));
        }
        /* No request at all, and headers without end: an error or an end, and the next one is served. */
        answer(say(socket_path, "\r\n\1\2\3 \r\n\r\n"), text, sizeof(text));
        assert_null(strstr(text, " 200 "));
        answer(say(socket_path, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), text, sizeof(text));
        assert_non_null(strstr(text, "\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        (void) unlink(socket_path);
        (void) rmdir(path);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(without_the_planner_nothing_is_claimed_of_others),
                cmocka_unit_test(a_value_that_is_not_known_has_no_sample),
                cmocka_unit_test(a_channel_is_connected_when_both_ends_hold_the_same_memory),
                cmocka_unit_test(a_label_is_escaped),
                cmocka_unit_test(families_stand_together_and_are_named_by_the_standard),
                cmocka_unit_test(keys_are_whole_words_of_a_line),
                cmocka_unit_test(pressure_is_of_its_own_line),
                cmocka_unit_test(bytes_are_summed_over_devices),
                cmocka_unit_test(no_limit_is_not_a_limit_of_nothing),
                cmocka_unit_test(who_drips_is_cut_off_and_keeps_nobody_out),
                cmocka_unit_test(what_is_not_a_request_for_metrics_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
