/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a monitor takes from a view, and what it then reports: the difference to what is, nothing else. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "monitor/report.c"
#include "monitor/view.c"

void channel_report(ULV_UNUSED struct ulv_monitor *m, ULV_UNUSED const struct holding *h, ULV_UNUSED struct ulv_strbuf *b) { }

#define PARTITION(state) "row partition a - state=" state " incarnation=3 text=[Partition]%0AType=sim%0A[CPU]%0AShare=1%0A[Memory]%0ASize=64M%0A\n"
const char ulv_build[] = "0123456789abcdef";

#define RUNNING "row partition a - state=running incarnation=3 leader=77 start=1234 build=0123456789abcdef\n"

static const char *contain(struct ulv_monitor *m ULV_UNUSED) { return "simulated"; }
const struct ulv_plugin ulv_plugin = { .version = ULV_PLUGIN_VERSION, .name = "test", .type = "sim", .contain = contain };

void monitor_turn(ULV_UNUSED struct ulv_monitor *m) { }
void monitor_exit(ULV_UNUSED struct ulv_monitor *m) { }
int monitor_arm(ULV_UNUSED struct ulv_monitor *m, ULV_UNUSED sd_event_source **s, ULV_UNUSED uint64_t usec, ULV_UNUSED sd_event_time_handler_t h) { return 0; }
int store_find(ULV_UNUSED const struct ulv_monitor *m, ULV_UNUSED const char *name) { return -1; }
int ulv_monitor_store_fd(ULV_UNUSED struct ulv_monitor *m, ULV_UNUSED const char *name, ULV_UNUSED int fd) { return 0; }

static struct ulv_monitor m;

static int see(const char *text) { return seen_parse(&m.seen, "a", text, strlen(text), 9); }

static void fresh(enum payload payload, const char *view) {
        seen_done(&m.seen);
        m = (struct ulv_monitor) { .name = "a", .payload = payload, .leader = 77, .leader_start = 1234, .incarnation = 3 };
        assert_int_equal(see(view), 0);
        m.enforced = m.seen.grant;
        m.enforcement = ENFORCED_DONE;
        memcpy(m.how_cpu, "affinity", 9);
        memcpy(m.how_memory, "limit", 6);
}

static void expect(const char *report) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

        assert_int_equal(report_build(&m, &b), 0);
        assert_string_equal(ulv_strbuf_str(&b), report);
}

static void a_view_is_taken_apart(ULV_UNUSED void **state) {
        fresh(PAYLOAD_NONE, PARTITION("starting")
              "row core 1 a node=0 threads=1,9 amount=1 keep=1\nrow core 2 a node=0 threads=2,10 amount=1 keep=0 reached=1\n"
              "row memory 0/4K a amount=32 keep=16\nrow memory 1/2M a amount=8 keep=8\nrow uids 12 a\n"
              "row share pool a amount=500 keep=500 cpus=0,4-5 source=host\n");
        assert_int_equal(m.seen.state, ULV_STARTING);
        assert_non_null(m.seen.definition);
        assert_int_equal(m.seen.grant.n_cores, 1);      /* core 2 is on its way to somebody else */
        assert_true(ulv_cpus_has(&m.seen.grant.cpus, 9));
        assert_false(ulv_cpus_has(&m.seen.grant.cpus, 2));
        assert_int_equal(m.seen.grant.memory_bytes, (16 + 8) * ULV_MEMORY_UNIT);
        assert_int_equal(m.seen.grant.uids, 12);
        assert_int_equal(m.seen.grant.share, 500);
        assert_int_equal(ulv_cpus_count(&m.seen.grant.pool), 3);
}

static void a_definition_is_parsed_anew_only_when_its_text_is_another(ULV_UNUSED void **state) {
        static const char other[] = "row partition a - state=running text=[Partition]%0AType=sim%0A[CPU]%0AShare=1%0A[Memory]%0ASize=4M%0A\n";
        const struct ulv_definition *first;

        fresh(PAYLOAD_NONE, PARTITION("starting"));
        first = m.seen.definition;
        assert_non_null(first);
        assert_int_equal(see(PARTITION("running")), 0);
        assert_ptr_equal(m.seen.definition, first);
        assert_int_equal(see("row partition a - state=nonsense\n"), -EBADMSG);
        assert_ptr_equal(m.seen.definition, first);
        assert_int_equal(see(other), 0);
        assert_non_null(m.seen.definition);
        assert_string_equal(m.seen.definition->type, "sim");
        assert_int_equal(m.seen.definition->memory, 4 * 1024 * 1024);
        assert_int_equal(see("row partition a - state=running\n"), 0);
        assert_null(m.seen.definition);
}

static void a_bad_view_changes_nothing(ULV_UNUSED void **state) {
        static const char *const bad[] = {
                "", "row\n", "nonsense\n", "row partition b - state=running\n", "row partition a - state=flying\n", "row partition a -\n",
                RUNNING "row core 1 a amount=1\n", RUNNING "row core 1 a threads=x\n", RUNNING "row memory 0 a amount=1\n",
                RUNNING "row memory 0/4K a amount=x\n", RUNNING "row memory 0/4K a amount=-1\n", RUNNING "gone core 1 a\n",
                RUNNING "row limit tasks:/x a amount=1\n", RUNNING "row limit io-read:/a/../b a amount=1\n",
                RUNNING "row core 1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111 a threads=1\n",
        };

        fresh(PAYLOAD_RUNNING, RUNNING);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(bad); i++) {
                assert_true(see(bad[i]) < 0);
                assert_string_equal(m.seen.text, RUNNING);
        }
}

static void a_start_is_one_report(ULV_UNUSED void **state) {
        fresh(PAYLOAD_RUNNING, PARTITION("starting") "row core 1 a threads=1 amount=1 keep=1\nrow memory 0/4K a amount=32 keep=32\nrow uids 12 a\n");
        expect("state partition a - state=running leader=77 start=1234 build=0123456789abcdef contain=simulated incarnation=3\n"
               "reached core 1 a amount=1 how=affinity\nreached memory 0/4K a amount=32 how=limit\n");
        m.enforcement = ENFORCED_NOT;
        expect("");
}

static void who_is_to_say_ready_runs_for_nobody_before_and_what_it_said_is_told(ULV_UNUSED void **state) {
        fresh(PAYLOAD_RUNNING, "row partition a - state=starting incarnation=3 text=[Partition]%0AType=container%0AReady=notify%0A"
                               "[CPU]%0AShare=1%0A[Memory]%0ASize=64M%0A[Container]%0ARoot=/srv/a%0AExec=true%0A\nrow core 1 a threads=1 amount=1 keep=1\n");
        assert_non_null(m.seen.definition);
        expect("reached core 1 a amount=1 how=affinity\n");
        m.said_ready = true;
        expect("state partition a - state=running leader=77 start=1234 build=0123456789abcdef ready=yes contain=simulated incarnation=3\n"
               "reached core 1 a amount=1 how=affinity\n");
        fresh(PAYLOAD_RUNNING, RUNNING);
        m.said_ready = true;
        expect("state partition a - state=running leader=77 start=1234 build=0123456789abcdef ready=yes contain=simulated incarnation=3\n");
        fresh(PAYLOAD_RUNNING, "row partition a - state=running incarnation=3 leader=77 start=1234 build=0123456789abcdef ready=yes\n");
        expect("");     /* a monitor that hasn't heard it itself */
}

static void what_the_view_knows_is_not_said(ULV_UNUSED void **state) {
        fresh(PAYLOAD_RUNNING, RUNNING "row core 1 a threads=1 amount=1 keep=1 reached=1 how=affinity\n");
        expect("");
        m.leader = 78;
        expect("state partition a - state=running leader=78 start=1234 build=0123456789abcdef contain=simulated incarnation=3\n");
}

static void a_paused_partition_is_paused_to_a_monitor_of_another_build(ULV_UNUSED void **state) {
        fresh(PAYLOAD_RUNNING, "row partition a - state=paused wanted=paused incarnation=3 leader=77 start=1234 build=ffffffffffffffff\n");
        expect("");             /* it doesn't know yet whether it is held */
        m.frozen = FROZEN_YES;
        expect("state partition a - state=paused build=0123456789abcdef incarnation=3\n");
}

static void a_monitor_of_another_build_says_so(ULV_UNUSED void **state) {
        fresh(PAYLOAD_RUNNING, "row partition a - state=running incarnation=3 leader=77 start=1234 build=ffffffffffffffff\n");
        expect("state partition a - state=running leader=77 start=1234 build=0123456789abcdef contain=simulated incarnation=3\n");
}

static void limits_are_granted_and_each_is_reported_by_its_own_how(ULV_UNUSED void **state) {
        fresh(PAYLOAD_RUNNING, RUNNING "row limit tasks a amount=500 keep=200 reached=500 how=limit\nrow limit io-read:/dev/vda a amount=1024 keep=1024\n"
              "row limit io-write:/gone a amount=9 keep=9\nrow limit iops-read:/dev/vda a amount=7 keep=0 reached=7 how=limit\n");
        assert_int_equal(m.seen.grant.n_limits, 3);     /* one is being taken back */
        assert_int_equal(m.seen.grant.tasks, 200);
        assert_string_equal(m.seen.grant.limits[1].path, "/dev/vda");
        assert_int_equal(m.seen.grant.limits[1].amount, 1024);
        m.how_limits[0] = "limit";
        m.how_limits[1] = "tracked";
        m.how_limits[2] = "nodevice";
        expect("letgo limit tasks a amount=300\nreached limit tasks a amount=200 how=limit\nreached limit io-read:/dev/vda a amount=1024 how=tracked\n"
               "reached limit io-write:/gone a amount=9 how=nodevice\nletgo limit iops-read:/dev/vda a amount=7\n");
        m.seen.grant.limits[1].amount++;                /* another than is enforced: nothing to say yet */
        expect("");
        fresh(PAYLOAD_RUNNING, RUNNING);
        assert_int_equal(m.seen.grant.tasks, ULV_LIMIT_TASKS_STANDARD);
}

static void a_shrink_is_let_go_when_enforced_and_refused_when_not(ULV_UNUSED void **state) {
        fresh(PAYLOAD_RUNNING, RUNNING "row core 1 a threads=1 amount=1 keep=0 reached=1 how=affinity\nrow memory 0/4K a amount=32 keep=16 reached=32 how=limit\n");
        expect("letgo core 1 a amount=1\nletgo memory 0/4K a amount=16\nreached memory 0/4K a amount=16 how=limit\n");
        m.enforcement = ENFORCED_REFUSED;
        memcpy(m.refusal, "it is in use", 13);
        expect("refused core 1 a reason=it%20is%20in%20use\nrefused memory 0/4K a reason=it%20is%20in%20use\n");
        m.enforcement = ENFORCED_FAILED;
        expect("");
}

static void nothing_is_said_of_a_grant_that_is_not_enforced_yet(ULV_UNUSED void **state) {
        fresh(PAYLOAD_RUNNING, RUNNING "row memory 0/4K a amount=32 keep=32 reached=16 how=limit\n");
        m.enforced.memory_bytes /= 2;
        expect("");
}

static void the_end_is_said_alone_and_once(ULV_UNUSED void **state) {
        fresh(PAYLOAD_ENDED, RUNNING "row core 1 a threads=1 amount=1 keep=0\n");
        memcpy(m.result, "exit:3", 7);
        m.failed = true;
        expect("ended partition a - result=exit:3 failed=yes incarnation=3\n");
        fresh(PAYLOAD_ENDED, "row partition a - state=defined\n");
        expect("");
        fresh(PAYLOAD_ENDED, "row partition a - state=stopping incarnation=3\n");
        expect("ended partition a - result=unknown incarnation=3\n");
}

static void a_stopping_partition_is_not_reported_as_running(ULV_UNUSED void **state) {
        fresh(PAYLOAD_RUNNING, "row partition a - state=stopping incarnation=3 force=yes\nrow core 1 a threads=1 amount=1 keep=1\n");
        assert_true(m.seen.force);
        expect("");
}

static void a_pause_is_said_when_proved_and_a_resume_too(ULV_UNUSED void **state) {
        fresh(PAYLOAD_RUNNING, "row partition a - state=pausing wanted=paused incarnation=3 leader=77 start=1234 build=0123456789abcdef\n");
        m.may_freeze = true;
        m.frozen = FROZEN_UNKNOWN;
        expect("");
        m.frozen = FROZEN_YES;
        expect("state partition a - state=paused build=0123456789abcdef incarnation=3\n");
        fresh(PAYLOAD_RUNNING, "row partition a - state=paused wanted=paused incarnation=3 leader=77 start=1234 build=0123456789abcdef\n");
        m.frozen = FROZEN_YES;
        expect("");
        fresh(PAYLOAD_RUNNING, "row partition a - state=paused wanted=running incarnation=3 leader=77 start=1234 build=0123456789abcdef\n");
        m.may_freeze = true;
        m.frozen = FROZEN_YES;
        expect("");
        m.frozen = FROZEN_NO;
        expect("state partition a - state=running leader=77 start=1234 build=0123456789abcdef contain=simulated%20freezer incarnation=3\n");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_view_is_taken_apart),
                cmocka_unit_test(a_definition_is_parsed_anew_only_when_its_text_is_another),
                cmocka_unit_test(a_bad_view_changes_nothing),
                cmocka_unit_test(a_start_is_one_report),
                cmocka_unit_test(who_is_to_say_ready_runs_for_nobody_before_and_what_it_said_is_told),
                cmocka_unit_test(what_the_view_knows_is_not_said),
                cmocka_unit_test(a_monitor_of_another_build_says_so), cmocka_unit_test(a_paused_partition_is_paused_to_a_monitor_of_another_build),
                cmocka_unit_test(limits_are_granted_and_each_is_reported_by_its_own_how),
                cmocka_unit_test(a_shrink_is_let_go_when_enforced_and_refused_when_not),
                cmocka_unit_test(nothing_is_said_of_a_grant_that_is_not_enforced_yet),
                cmocka_unit_test(the_end_is_said_alone_and_once),
                cmocka_unit_test(a_stopping_partition_is_not_reported_as_running),
                cmocka_unit_test(a_pause_is_said_when_proved_and_a_resume_too),
        };
        int r = cmocka_run_group_tests(tests, NULL, NULL);

        seen_done(&m.seen);
        return r;
}
