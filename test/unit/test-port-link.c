/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The monitor's side of uv-port: which socket pair to uv-init may be used again, and which numbers
 * requests get, after a monitor that isn't there any more. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "monitor/port-link.c"

const struct ulv_plugin ulv_plugin = { .name = "test" };

static int stored = -1;         /* the near end that the starter keeps */

int store_find(ULV_UNUSED const struct ulv_monitor *m, const char *name) { return ulv_streq(name, "init") ? stored : -1; }

int ulv_monitor_store_fd(ULV_UNUSED struct ulv_monitor *m, ULV_UNUSED const char *name, int fd) {
        stored = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return stored < 0 ? -errno : 0;
}

int ulv_monitor_forget_fd(ULV_UNUSED struct ulv_monitor *m, const char *name) {
        if (ulv_streq(name, "init"))
                stored = ulv_close(stored);
        return 0;
}

bool renew_goes_on(ULV_UNUSED struct ulv_monitor *m) { return false; }
void channels_tell(ULV_UNUSED struct ulv_monitor *m) { }
void calls_tell(ULV_UNUSED struct ulv_monitor *m) { }
void calls_lost(ULV_UNUSED struct ulv_monitor *m) { }
void calls_end(ULV_UNUSED struct ulv_monitor *m) { }
void call_said(ULV_UNUSED struct ulv_monitor *m, ULV_UNUSED uint32_t verb, ULV_UNUSED uint64_t value) { }
void call_answered(ULV_UNUSED struct ulv_monitor *m, ULV_UNUSED uint32_t verb, ULV_UNUSED uint64_t value) { }
void channels_end(ULV_UNUSED struct ulv_monitor *m) { }
void monitor_ready(ULV_UNUSED struct ulv_monitor *m) { }
void monitor_turn(ULV_UNUSED struct ulv_monitor *m) { }
void ulv_monitor_start_failed(ULV_UNUSED struct ulv_monitor *m, ULV_UNUSED const struct ulv_diag *d) { }
int monitor_arm(ULV_UNUSED struct ulv_monitor *m, ULV_UNUSED sd_event_source **s, ULV_UNUSED uint64_t usec, ULV_UNUSED sd_event_time_handler_t h) { return 0; }

static struct ulv_monitor fresh(void) {
        return (struct ulv_monitor) { .leader_pidfd = -1, .port_fd = -1, .port_pidfd = -1, .console_slave = -1, .init_far = -1 };
}

static bool reaches(int near, int far) {
        char c = 0;

        return send(near, "x", 1, MSG_NOSIGNAL) == 1 && recv(far, &c, 1, MSG_DONTWAIT) == 1 && c == 'x';
}

static void a_far_end_lost_with_a_monitor_is_made_anew(ULV_UNUSED void **state) {
        struct ulv_monitor m = fresh();

        assert_int_equal(init_open(&m), 0);
        assert_true(reaches(stored, m.init_far));
        /* That monitor dies before it has started anything; the next one gets the near end only. */
        (void) ulv_close(m.init_far);
        m = fresh();
        assert_int_equal(init_open(&m), 0);
        assert_true(m.init_far >= 0);
        assert_true(reaches(stored, m.init_far));
        (void) ulv_close(m.init_far);
        stored = ulv_close(stored);
}

static void a_pair_whose_far_end_a_payload_has_is_kept(ULV_UNUSED void **state) {
        struct ulv_monitor m = fresh();
        int far;

        assert_int_equal(init_open(&m), 0);
        far = m.init_far;
        m = fresh();
        m.leader_pidfd = 0;     /* adopted: the far end is uv-init's */
        assert_int_equal(init_open(&m), 0);
        assert_int_equal(m.init_far, -1);
        assert_true(reaches(stored, far));
        (void) ulv_close(far);
        stored = ulv_close(stored);
}

static void requests_of_two_lives_have_numbers_of_their_own(ULV_UNUSED void **state) {
        struct ulv_monitor a = fresh(), b = fresh();
        uint32_t first = exec_number(&a);

        assert_int_equal(exec_number(&a), first + 1);
        /* One in 2^32 that this is wrong, and one in 2^22 that they come near each other. */
        assert_int_not_equal(exec_number(&b), first);
        a.next_exec = UINT32_MAX;
        assert_int_equal(exec_number(&a), 1);   /* 0 is the partition's own */
}

static void failures_have_words_and_a_class(ULV_UNUSED void **state) {
        assert_string_equal(exec_error(ENOENT), ULV_ERROR_NO_PROGRAM);
        assert_string_equal(exec_error(EACCES), ULV_ERROR_NOT_EXECUTABLE);
        assert_string_equal(exec_error(ENOEXEC), ULV_ERROR_NOT_EXECUTABLE);
        assert_string_equal(exec_error(ESRCH), ULV_ERROR_FAILED);
        assert_string_equal(ulv_port_failure(ESRCH), "no such user in the partition's /etc/passwd");
        assert_string_equal(ulv_port_failure(-5), strerror(EIO));       /* whatever uv-port sends */
        assert_string_equal(ulv_port_failure(INT64_MAX), strerror(EIO));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_far_end_lost_with_a_monitor_is_made_anew), cmocka_unit_test(a_pair_whose_far_end_a_payload_has_is_kept),
                cmocka_unit_test(requests_of_two_lives_have_numbers_of_their_own), cmocka_unit_test(failures_have_words_and_a_class),
        };

        return cmocka_run_group_tests_name("port-link", tests, NULL, NULL);
}
