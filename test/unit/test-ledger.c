/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include "model/ledger.h"

#include <cmocka.h>

#include "test/lib/fail-alloc.inc"

static const char rows[] =
        "row ledger - - generation=9\n"
        "row inventory - - kind=imagined name=t prefix= controllers= kvm=no uids=1-8\n"
        "row core 0 host node=0 threads=0,4\nrow core 1 host node=0 threads=1,5\nrow core 2 idle node=0 threads=2,6\nrow core 3 idle node=0 threads=3,7\n"
        "row memory 0/4K host amount=100\nrow memory 0/4K idle amount=100\nrow pci 0:1 idle group=1\n"
        "row partition web - zone=default type=sim role=guest state=defined wanted=defined text=x\n"
        "row partition db - zone=default type=sim role=guest state=defined wanted=defined\n"
        "row partition blue - zone=blue type=sim role=guest state=defined wanted=defined\n";

static const char start_web[] = "claim core 2 web\nclaim memory 0/4K web amount=50\nclaim share pool web amount=1000\nclaim uids 3 web\nclaim pci 0:1 web\nstate partition web - state=starting\n";
static const char web_runs[] = "state partition web - state=running leader=7 start=8 contain=userns\nreached core 2 web amount=1 how=limit\n"
                               "reached memory 0/4K web amount=50 how=limit\nreached share pool web amount=1000 how=limit\n";
static const char start_db[] = "claim core 3 db\nclaim memory 0/4K db amount=20\nstate partition db - state=starting\n";
static const char db_runs[] = "state partition db - state=running leader=9\nreached core 3 db amount=1 how=limit\nreached memory 0/4K db amount=20 how=limit\n";

static struct ulv_ledger *load(const char *text) {
        struct ulv_ledger *l = NULL;
        struct ulv_diag d = {};

        if (ulv_ledger_load(text, strlen(text), &l, &d) != 0)
                fail_msg("%s: %s", d.what, d.why);
        return l;
}

static struct ulv_diag diag;
static struct ulv_outcome outcome;

static int step_as(struct ulv_ledger *l, struct ulv_txn t) {
        struct ulv_diag d;
        int r;

        t.operations_len = strlen(t.operations);
        ulv_outcome_done(&outcome);
        memset(&diag, 0, sizeof(diag));
        r = ulv_ledger_step(l, &t, &outcome, &diag);
        if (ulv_ledger_check(l, &d) != 0)
                fail_msg("%s: %s", d.what, d.why);
        return r;
}

static int txn(struct ulv_ledger *l, const char *id, const char *ops) {
        return step_as(l, (struct ulv_txn) { .id = id, .zone = "default", .subject = "tester", .operations = ops });
}

static int report(struct ulv_ledger *l, const char *who, const char *ops) {
        return step_as(l, (struct ulv_txn) { .id = "r", .zone = "default", .operations = ops, .reporter = who });
}

static void settled_is(struct ulv_ledger *l, const char *text) {
        _cleanup_strbuf_ struct ulv_strbuf b = {};

        assert_int_equal(ulv_ledger_drain_settled(l, &b), 0);
        assert_string_equal(ulv_strbuf_str(&b), text);
}

static struct ulv_holding_info holding(struct ulv_ledger *l, const char *kind, const char *id, const char *owner) {
        struct ulv_holding_info h = {};

        (void) !ulv_ledger_holding(l, kind, id, owner, &h);
        return h;
}

static enum ulv_state state_of(struct ulv_ledger *l, const char *name) {
        struct ulv_partition_info p;

        assert_int_equal(ulv_ledger_partition(l, name, &p), 0);
        return p.state;
}

/* web and db run. */
static struct ulv_ledger *two_running(void) {
        struct ulv_ledger *l = load(rows);

        assert_int_equal(txn(l, "web", start_web), 0);
        assert_int_equal(report(l, "web", web_runs), 0);
        assert_int_equal(txn(l, "db", start_db), 0);
        assert_int_equal(report(l, "db", db_runs), 0);
        settled_is(l, "done web\ndone db\n");
        return l;
}

/* --- mounts and devices -------------------------------------------------------------------------------------- */

static void tell(struct ulv_ledger *l, struct ulv_ledger *mirror) {
        _cleanup_strbuf_ struct ulv_strbuf changes = {}, a = {}, b = {};
        struct ulv_diag d = {};

        assert_int_equal(ulv_ledger_drain_changes(l, &changes), 0);
        if (ulv_ledger_apply(mirror, ulv_strbuf_str(&changes), changes.len, &d) != 0)
                fail_msg("%s: %s", d.what, d.why);
        assert_int_equal(ulv_ledger_dump(l, NULL, &a), 0);
        assert_int_equal(ulv_ledger_dump(mirror, NULL, &b), 0);
        assert_string_equal(ulv_strbuf_str(&a), ulv_strbuf_str(&b));
}

/* db's end may still be on its way out, when web's is one with somebody else already. */
static void an_end_whose_peer_has_turned_to_another_waits_for_nobody(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *copy = NULL;
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        struct ulv_joint_info i;
        struct ulv_diag d = {};
        (void) state;

        assert_int_equal(txn(l, "a", "claim channel feed@db db peer=web end=1 kind=message size=65536\n"), 0);
        assert_int_equal(txn(l, "b", "release channel feed@db db\nclaim channel feed@web web peer=host end=0 kind=stream size=131072\n"), 0);
        assert_int_equal(ulv_ledger_check(l, &d), 0);
        assert_int_equal(ulv_ledger_dump(l, NULL, &b), 0);
        copy = load(ulv_strbuf_str(&b));
        assert_int_equal(ulv_ledger_channel(l, "feed@db", &i), 0);
        assert_string_equal(i.other_id, "");
}

static void a_channel_with_the_host_is_one_end_and_its_view_says_so(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        struct ulv_joint_info i;
        (void) state;

        assert_int_equal(txn(l, "a", "claim channel admin@web web peer=host end=0 kind=stream size=65536\n"), 0);
        assert_int_equal(ulv_ledger_view(l, "web", &b), 0);
        assert_non_null(strstr(ulv_strbuf_str(&b), "row channel admin@web web end=0 kind=stream size=65536 other=host "));
        assert_int_equal(report(l, "web", "reached channel admin@web web amount=1 how=shared memory=0123456789abcdef\n"), 0);
        assert_int_equal(ulv_ledger_channel(l, "admin@web", &i), 0);
        assert_true(i.end == 0 && !*i.other_id && !*i.other_memory && ulv_streq(i.peer, "host"));
        assert_int_equal(report(l, "web", "ended partition web - result=0\n"), 0);
        assert_int_equal(ulv_ledger_channel(l, "admin@web", &i), 1);
}

static void both_ends_of_a_channel_agree_and_no_view_names_the_other(void **state) {
        static const char claim_web[] = "claim channel feed@web web peer=db end=0 kind=message size=65536\n";
        static const char claim_db[] = "claim channel feed@db db peer=web end=1 kind=message size=65536\n";
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *mirror = NULL;
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        struct ulv_joint_info i;
        (void) state;

        assert_int_equal(ulv_ledger_drain_changes(l, &b), 0);
        ulv_strbuf_reset(&b);
        assert_int_equal(ulv_ledger_dump(l, NULL, &b), 0);
        mirror = load(ulv_strbuf_str(&b));
        assert_int_equal(txn(l, "x", "claim channel feed@web db peer=web end=0 kind=message size=65536\n"), ULV_REFUSED_INVALID);
        assert_int_equal(txn(l, "x", "claim channel feed@web web peer=web end=0 kind=message size=65536\n"), ULV_REFUSED_INVALID);
        assert_int_equal(txn(l, "x", "claim channel feed@web web peer=db end=2 kind=message size=65536\n"), ULV_REFUSED_INVALID);
        assert_int_equal(txn(l, "x", "claim channel feed@web web peer=db end=0 kind=pigeon size=65536\n"), ULV_REFUSED_INVALID);
        assert_int_equal(txn(l, "x", "claim channel feed@web web peer=db end=0 kind=message size=65537\n"), ULV_REFUSED_INVALID);
        assert_int_equal(txn(l, "x", "claim channel feed@web web peer=db end=0 kind=message size=65536 more=1\n"), ULV_REFUSED_INVALID);
        assert_int_equal(txn(l, "x", "claim channel feed@web web\n"), ULV_REFUSED_INVALID);
        assert_int_equal(txn(l, "x", "claim channel feed@web web peer=host end=1 kind=message size=65536\n"), ULV_REFUSED_INVALID);
        assert_int_equal(txn(l, "x", "claim channel feed@web web peer=idle end=0 kind=message size=65536\n"), ULV_REFUSED_INVALID);
        assert_int_equal(txn(l, "x", "claim channel feed@host host peer=web end=1 kind=message size=65536\n"), ULV_REFUSED_UNKNOWN);
        assert_int_equal(txn(l, "a", claim_web), 0);
        tell(l, mirror);
        assert_int_equal(txn(l, "x", "claim channel feed@db db peer=web end=0 kind=message size=65536\n"), ULV_REFUSED_CONFLICT);
        assert_int_equal(txn(l, "x", "claim channel feed@db db peer=web end=1 kind=stream size=65536\n"), ULV_REFUSED_CONFLICT);
        assert_int_equal(txn(l, "x", "claim channel feed@db db peer=web end=1 kind=message size=131072\n"), ULV_REFUSED_CONFLICT);
        while (ulv_ledger_next_changed_view(l))
                ;
        assert_int_equal(txn(l, "b", claim_db), 0);
        tell(l, mirror);
        assert_int_equal(report(l, "db", "reached channel feed@db db amount=1 how=waiting\n"), 0);
        assert_int_equal(report(l, "web", "reached channel feed@web web amount=1 how=shared memory=12\n"), ULV_REFUSED_INVALID);
        while (ulv_ledger_next_changed_view(l))
                ;
        assert_int_equal(report(l, "web", "reached channel feed@web web amount=1 how=shared memory=0123456789abcdef\n"), 0);
        tell(l, mirror);
        /* What one end reached stands in the view of the other. */
        assert_string_equal(ulv_ledger_next_changed_view(l), "web");
        assert_string_equal(ulv_ledger_next_changed_view(l), "db");
        ulv_strbuf_reset(&b);
        assert_int_equal(ulv_ledger_view(l, "db", &b), 0);
        assert_non_null(strstr(ulv_strbuf_str(&b), "row channel feed@db db end=1 kind=message size=65536 other=0123456789abcdef amount=1 keep=1 reached=1 how=waiting\n"));
        assert_null(strstr(ulv_strbuf_str(&b), "web"));
        assert_int_equal(report(l, "db", "reached channel feed@db db amount=1 how=shared memory=0123456789abcdef\n"), 0);
        tell(l, mirror);
        assert_int_equal(ulv_ledger_channel(l, "feed@web", &i), 0);
        assert_true(i.epoch == 2 && i.end == 0 && ulv_streq(i.other_memory, i.memory) && ulv_streq(i.other_id, "feed@db"));
        settled_is(l, "done b\ndone a\n");
        /* Each time that one of them goes and comes back is another epoch. */
        for (uint64_t epoch = 3; epoch < 5; epoch++) {
                assert_int_equal(txn(l, epoch == 3 ? "c" : "e", "release channel feed@db db\n"), 0);
                assert_int_equal(report(l, "db", "letgo channel feed@db db amount=1\n"), 0);
                assert_int_equal(txn(l, epoch == 3 ? "d" : "f", claim_db), 0);
                assert_int_equal(report(l, "db", "reached channel feed@db db amount=1 how=shared memory=0123456789abcdef\n"), 0);
                tell(l, mirror);
                assert_int_equal(ulv_ledger_channel(l, "feed@web", &i), 0);
                assert_int_equal(i.epoch, epoch);
        }
        settled_is(l, "done c\ndone d\ndone e\ndone f\n");
        /* An end that ends gives back its own; the undo of a release says all that there is to say. */
        assert_int_equal(report(l, "web", "ended partition web - result=0\n"), 0);
        tell(l, mirror);
        assert_int_equal(ulv_ledger_channel(l, "feed@web", &i), 1);
        assert_int_equal(ulv_ledger_channel(l, "feed@db", &i), 0);
        assert_string_equal(i.other_id, "");
        assert_int_equal(txn(l, "r", "release channel feed@db db\n"), 0);
        assert_int_equal(report(l, "db", "letgo channel feed@db db amount=1\n"), 0);
        tell(l, mirror);
        ulv_strbuf_reset(&b);
        assert_int_equal(ulv_ledger_dump(l, NULL, &b), 0);
        assert_null(strstr(ulv_strbuf_str(&b), "channel"));
        settled_is(l, "done r\n");
}

static void a_mount_comes_and_goes_and_leaves_no_trace(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *mirror = NULL;
        _cleanup_strbuf_ struct ulv_strbuf all = {};
        (void) state;

        assert_int_equal(ulv_ledger_drain_changes(l, &all), 0);
        ulv_strbuf_reset(&all);
        assert_int_equal(ulv_ledger_dump(l, NULL, &all), 0);
        mirror = load(ulv_strbuf_str(&all));
        for (int i = 0; i < 3; i++) {
                char a[16], b[16];

                snprintf(a, sizeof(a), "a%d", i);
                snprintf(b, sizeof(b), "b%d", i);
                assert_int_equal(txn(l, a, "claim mount data@web web\nclaim device ttyUSB0 web\n"), 0);
                tell(l, mirror);
                assert_int_equal(holding(l, "mount", "data@web", "web").wanted, 1);
                assert_int_equal(txn(l, "c", "claim device ttyUSB0 db\n"), ULV_REFUSED_CONFLICT);
                assert_int_equal(txn(l, "c", "claim mount data@web db\n"), ULV_REFUSED_INVALID);
                assert_int_equal(txn(l, "c", "claim mount data db\n"), ULV_REFUSED_UNKNOWN);
                assert_int_equal(txn(l, "c", "claim device ../x db\n"), ULV_REFUSED_UNKNOWN);
                assert_int_equal(report(l, "web", "reached mount data@web web amount=1 how=ro\nreached device ttyUSB0 web amount=1 how=rw\n"), 0);
                tell(l, mirror);
                ulv_strbuf_reset(&all);
                assert_int_equal(ulv_ledger_dump(l, NULL, &all), 0);
                assert_non_null(strstr(ulv_strbuf_str(&all), "row mount data@web web reached=1 how=ro\n"));
                assert_non_null(strstr(ulv_strbuf_str(&all), "row device ttyUSB0 web reached=1 how=rw\n"));
                assert_int_equal(txn(l, b, "release mount data@web web force=yes\nrelease device ttyUSB0 web\n"), 0);
                tell(l, mirror);
                assert_int_equal(holding(l, "mount", "data@web", "web").amount, 1);
                assert_int_equal(holding(l, "mount", "data@web", "web").keep, 0);
                assert_int_equal(report(l, "web", "letgo mount data@web web amount=1\nletgo device ttyUSB0 web amount=1\n"), 0);
                tell(l, mirror);
                assert_int_equal(holding(l, "mount", "data@web", "web").amount, 0);
        }
        settled_is(l, "done a0\ndone b0\ndone a1\ndone b1\ndone a2\ndone b2\n");
}

static void what_cannot_be_attached_goes_back_and_says_why(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        struct ulv_partition_info p;
        (void) state;

        assert_int_equal(txn(l, "a", "claim mount data@web web\n"), 0);
        assert_int_equal(report(l, "web", "refused mount data@web web reason=gone\n"), 0);
        settled_is(l, "undone a\n");
        assert_int_equal(holding(l, "mount", "data@web", "web").amount, 0);
        assert_int_equal(ulv_ledger_partition(l, "web", &p), 0);
        assert_string_equal(p.result, "gone");
        assert_int_equal(txn(l, "b", "claim mount data@web web\n"), 0);
        assert_int_equal(report(l, "web", "reached mount data@web web amount=1 how=rw\n"), 0);
        assert_int_equal(txn(l, "c", "release mount data@web web\n"), 0);
        assert_int_equal(report(l, "web", "refused mount data@web web reason=busy\n"), 0);
        settled_is(l, "done b\nundone c\n");
        assert_int_equal(holding(l, "mount", "data@web", "web").keep, 1);
}

/* --- limits -------------------------------------------------------------------------------------------------- */

static void what_is_tried_leaves_no_trace(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        static const char *const tries[] = { "release memory 0/4K web amount=10\n", "claim core 2 db\n", "define partition new - zone=default type=sim\n",
                                             "remove partition blue -\n", "state partition web - state=stopping\n", "rubbish\n" };
        struct ulv_strbuf before = {}, after = {};
        (void) state;

        assert_int_equal(ulv_ledger_dump(l, NULL, &before), 0);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(tries); i++) {
                const struct ulv_txn t = { .id = "t", .zone = "default", .subject = "tester", .operations = tries[i], .operations_len = strlen(tries[i]) };
                int r = ulv_ledger_try(l, &t, NULL);

                ulv_strbuf_reset(&after);
                assert_int_equal(ulv_ledger_dump(l, NULL, &after), 0);
                assert_string_equal(ulv_strbuf_str(&after), ulv_strbuf_str(&before));
                assert_int_equal(ulv_ledger_check(l, NULL), 0);
                settled_is(l, "");
                assert_int_equal(txn(l, "t", tries[i]), r);     /* the same answer */
                ulv_ledger_free(l);
                l = two_running();
        }
        ulv_strbuf_done(&before);
        ulv_strbuf_done(&after);
}

static void a_limit_has_no_sum_and_is_reached_like_anything_else(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        char *undo;
        (void) state;

        assert_int_equal(txn(l, "a", "claim limit tasks web amount=500\nclaim limit io-read:/dev/vda web amount=1048576\n"
                                "claim limit tasks db amount=4194304\n"), 0);
        assert_true(outcome.reaching);
        assert_int_equal(holding(l, "limit", "tasks", "web").wanted, 500);
        assert_int_equal(holding(l, "limit", "tasks", "web").reached, 0);
        assert_int_equal(report(l, "web", "reached limit tasks web amount=500 how=limit\nreached limit io-read:/dev/vda web amount=1048576 how=tracked\n"), 0);
        settled_is(l, "");
        assert_int_equal(report(l, "db", "reached limit tasks db amount=4194304 how=limit\n"), 0);
        settled_is(l, "done a\n");
        /* Less is let go, as of anything that is held. */
        assert_int_equal(txn(l, "b", "release limit tasks web amount=300\n"), 0);
        undo = outcome.undo;
        outcome.undo = NULL;
        assert_string_equal(undo, "claim limit tasks web amount=300\n");
        free(undo);
        assert_int_equal(holding(l, "limit", "tasks", "web").keep, 200);
        assert_int_equal(report(l, "web", "letgo limit tasks web amount=300\nreached limit tasks web amount=200 how=limit\n"), 0);
        settled_is(l, "done b\n");
        assert_int_equal(txn(l, "c", "state partition web - state=stopping\n"), 0);
        assert_int_equal(report(l, "web", "ended partition web - result=exit:0\n"), 0);
        assert_int_equal(holding(l, "limit", "tasks", "web").amount, 0);
        assert_int_equal(holding(l, "limit", "tasks", "db").amount, 4194304);
}

static void what_is_no_limit_is_refused(void **state) {
        static const char *const bad[] = {
                "claim limit tasks host amount=5\n", "claim limit tasks web amount=5 from=host\n", "claim limit tasks web\n",
                "claim limit tasks:/x web amount=5\n", "claim limit io-read web amount=5\n", "claim limit io-read: web amount=5\n",
                "claim limit io-read:dev web amount=5\n", "claim limit io-read:/a/../b web amount=5\n", "claim limit io-read:/a//b web amount=5\n",
                "claim limit io-read:/a/ web amount=5\n", "claim limit sockets web amount=5\n", "claim limit tasks web amount=281474976710657\n",
                "move limit tasks web to=db amount=5\n", "release limit tasks web amount=5\n", "claim limit io-read:/a%20b web amount=5\n",
        };
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        (void) state;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(bad); i++)
                if (txn(l, "x", bad[i]) <= 0)
                        fail_msg("taken: %s", bad[i]);
        assert_int_equal(txn(l, "a", "claim limit tasks web amount=281474976710656\n"), 0);
        assert_true(txn(l, "b", "claim limit tasks web amount=1\n") > 0);
        assert_true(report(l, "web", "reached limit io-read:/dev/vda web amount=1 how=limit\n") > 0);
}

static void limits_are_rows_that_load_again_and_rebuild(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running(), *copy = NULL, *fresh = load(rows);
        _cleanup_strbuf_ struct ulv_strbuf b = {}, again = {}, view = {};
        struct ulv_diag d = {};
        (void) state;

        assert_int_equal(txn(l, "a", "claim limit iops-write:/dev/vda web amount=70\n"), 0);
        assert_int_equal(report(l, "web", "reached limit iops-write:/dev/vda web amount=70 how=limit\n"), 0);
        assert_int_equal(ulv_ledger_dump(l, "limit", &b), 0);
        assert_string_equal(ulv_strbuf_str(&b), "row limit iops-write:/dev/vda web amount=70 reached=70 how=limit\n");
        ulv_strbuf_reset(&b);
        assert_int_equal(ulv_ledger_dump(l, NULL, &b), 0);
        copy = load(b.s);
        assert_int_equal(ulv_ledger_dump(copy, NULL, &again), 0);
        assert_string_equal(ulv_strbuf_str(&again), b.s);
        assert_int_equal(ulv_ledger_view(l, "web", &view), 0);
        assert_non_null(strstr(view.s, "row limit iops-write:/dev/vda web amount=70 keep=70 reached=70 how=limit\n"));
        if (ulv_ledger_adopt(fresh, view.s, view.len, &d) != 0)
                fail_msg("%s: %s", d.what, d.why);
        assert_int_equal(holding(fresh, "limit", "iops-write:/dev/vda", "web").reached, 70);
        assert_int_equal(ulv_ledger_check(fresh, &d), 0);
        assert_int_equal(ulv_ledger_load("row limit tasks host amount=5\n", 30, &(struct ulv_ledger *) { NULL }, &d), 1);
}

/* --- the life of a partition ------------------------------------------------------------------------------- */

static void a_start_claims_at_once_and_is_reached_by_reports(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = load(rows);
        struct ulv_partition_info p;
        (void) state;

        assert_int_equal(txn(l, "a", start_web), 0);
        assert_true(outcome.reaching);
        assert_int_equal(outcome.generation, 10);
        assert_string_equal(outcome.undo, "state partition web - state=stopping\nrelease pci 0:1 web\nrelease uids 3 web\nrelease share pool web amount=1000\n"
                                          "release memory 0/4K web amount=50\nrelease core 2 web\n");
        assert_int_equal(state_of(l, "web"), ULV_STARTING);
        assert_int_equal(holding(l, "memory", "0/4K", "idle").amount, 50);
        assert_int_equal(holding(l, "share", "pool", "idle").amount, 3000);
        assert_int_equal(report(l, "web", "state partition web - state=running leader=7 start=8\n"), 0);
        settled_is(l, "");              /* what it claimed isn't reached yet */
        assert_int_equal(report(l, "web", web_runs), 0);
        settled_is(l, "done a\n");
        assert_int_equal(ulv_ledger_partition(l, "web", &p), 0);
        assert_int_equal(p.leader, 7);
        assert_int_equal(p.leader_start, 8);
        assert_string_equal(p.contain, "userns");
        assert_int_equal(p.wanted, ULV_RUNNING);
        assert_int_equal(p.incarnation, 1);
}

static void the_end_gives_everything_back(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        struct ulv_partition_info p;
        (void) state;

        assert_int_equal(txn(l, "stop", "state partition web - state=stopping\n"), 0);
        assert_true(outcome.reaching);
        assert_string_equal(outcome.undo, "");
        assert_int_equal(txn(l, "kill", "state partition web - state=stopping force=yes\n"), 0);
        assert_int_equal(holding(l, "core", "2", "web").amount, 1);     /* stopping drops nothing */
        assert_int_equal(report(l, "web", "ended partition web - result=exited\n"), 0);
        settled_is(l, "done stop\ndone kill\n");
        assert_int_equal(holding(l, "core", "2", "idle").amount, 1);
        assert_int_equal(holding(l, "pci", "0:1", "idle").amount, 1);
        assert_int_equal(holding(l, "share", "pool", "idle").amount, 4000);
        assert_int_equal(ulv_ledger_partition(l, "web", &p), 0);
        assert_int_equal(p.state, ULV_DEFINED);
        assert_string_equal(p.result, "exited");
        assert_int_equal(report(l, "web", "ended partition web - result=exited\n"), ULV_REFUSED_STATE);
        assert_int_equal(report(l, "db", "ended partition db - result=signal failed=yes\n"), 0);
        assert_int_equal(state_of(l, "db"), ULV_FAILED);
        assert_int_equal(txn(l, "remove", "remove partition db -\n"), 0);
        assert_string_equal(outcome.undo, "define partition db - zone=default type=sim role=guest text=\n");
}

static void a_start_that_ends_is_undone(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = load(rows);
        (void) state;

        assert_int_equal(txn(l, "a", start_web), 0);
        assert_int_equal(report(l, "web", "ended partition web - result=no-root failed=yes\n"), 0);
        settled_is(l, "undone a\n");
        assert_int_equal(txn(l, "b", start_web), 0);
        assert_int_equal(txn(l, "c", "state partition web - state=stopping\n"), 0);
        assert_int_equal(report(l, "web", "state partition web - state=running leader=4\n"), 0);        /* late: noted, not followed */
        assert_int_equal(state_of(l, "web"), ULV_STOPPING);
        assert_int_equal(report(l, "web", "ended partition web - result=stopped\n"), 0);
        settled_is(l, "undone b\ndone c\n");
}

static void pausing_is_wanted_then_reached(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        (void) state;

        assert_int_equal(txn(l, "p", "state partition web - state=pausing\n"), 0);
        assert_string_equal(outcome.undo, "state partition web - state=running\n");
        assert_int_equal(report(l, "web", "state partition web - state=running leader=7\n"), 0);
        assert_int_equal(state_of(l, "web"), ULV_PAUSING);
        assert_int_equal(report(l, "web", "state partition web - state=paused\n"), 0);
        settled_is(l, "done p\n");
        assert_int_equal(txn(l, "q", "state partition web - state=running\n"), 0);
        assert_int_equal(state_of(l, "web"), ULV_PAUSED);
        assert_string_equal(outcome.undo, "state partition web - state=pausing\n");
        assert_int_equal(report(l, "web", "state partition web - state=running leader=7\n"), 0);
        assert_int_equal(state_of(l, "web"), ULV_RUNNING);
        settled_is(l, "done q\n");
}

/* --- transfers ----------------------------------------------------------------------------------------------- */

static void a_unit_leaves_a_live_partition_in_two_steps(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        _cleanup_strbuf_ struct ulv_strbuf view = {};
        (void) state;

        assert_int_equal(txn(l, "m", "move core 2 web to=db\n"), 0);
        assert_string_equal(outcome.undo, "move core 2 db to=web\n");
        assert_int_equal(holding(l, "core", "2", "web").amount, 1);
        assert_int_equal(holding(l, "core", "2", "web").keep, 0);
        assert_string_equal(holding(l, "core", "2", "web").moving_to, "db");
        assert_int_equal(holding(l, "core", "2", "db").wanted, 1);
        assert_int_equal(ulv_ledger_view(l, "web", &view), 0);
        assert_non_null(strstr(view.s, "row core 2 web node=0 threads=2,6 amount=1 keep=0 reached=1 how=limit\n"));
        assert_null(strstr(view.s, "db"));
        assert_int_equal(txn(l, "n", "move core 2 web to=idle\n"), ULV_REFUSED_CONFLICT);
        assert_string_equal(diag.why, "it is web's, on its way to db (transaction m)");
        assert_int_equal(diag.code, ULV_EXIT_CONFLICT);
        assert_int_equal(report(l, "web", "letgo core 2 web amount=1\n"), 0);
        assert_int_equal(holding(l, "core", "2", "db").amount, 1);
        settled_is(l, "");
        assert_int_equal(report(l, "db", "reached core 2 db amount=1 how=limit\n"), 0);
        settled_is(l, "done m\n");
        assert_int_equal(report(l, "web", "letgo core 2 web amount=1\n"), ULV_REFUSED_CONFLICT);
}

static void a_refused_shrink_is_taken_back(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        struct ulv_partition_info p;
        (void) state;

        assert_int_equal(txn(l, "m", "move memory 0/4K web to=db amount=10\nrelease memory 0/4K web amount=5\n"), 0);
        assert_int_equal(holding(l, "memory", "0/4K", "web").keep, 35);
        assert_int_equal(report(l, "web", "refused memory 0/4K web reason=in-use\n"), 0);
        settled_is(l, "undone m\n");
        assert_int_equal(holding(l, "memory", "0/4K", "web").keep, 50);
        assert_int_equal(holding(l, "memory", "0/4K", "db").wanted, 20);
        assert_int_equal(report(l, "web", "refused memory 0/4K web reason=in-use\n"), ULV_REFUSED_INVALID);
        assert_int_equal(ulv_ledger_partition(l, "web", &p), 0);
        assert_string_equal(p.result, "in-use");        /* for who asked */
}

static void that_it_said_ready_is_a_fact_of_one_life(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        struct ulv_partition_info p;
        (void) state;

        assert_int_equal(ulv_ledger_partition(l, "web", &p), 0);
        assert_false(p.ready);
        assert_int_equal(report(l, "web", "state partition web - state=running ready=no\n"), ULV_REFUSED_INVALID);
        assert_int_equal(report(l, "web", "state partition web - state=running ready=yes\n"), 0);
        assert_int_equal(report(l, "web", "state partition web - state=running leader=9\n"), 0);
        assert_int_equal(ulv_ledger_partition(l, "web", &p), 0);
        assert_true(p.ready);
        assert_int_equal(report(l, "web", "ended partition web - result=exit:0\n"), 0);
        assert_int_equal(ulv_ledger_partition(l, "web", &p), 0);
        assert_false(p.ready);
}

static void what_is_let_go_in_parts_arrives_in_parts(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        (void) state;

        assert_int_equal(txn(l, "m", "move memory 0/4K web to=db amount=10\n"), 0);
        assert_int_equal(report(l, "web", "letgo memory 0/4K web amount=4\n"), 0);
        assert_int_equal(holding(l, "memory", "0/4K", "db").amount, 24);
        assert_int_equal(report(l, "web", "letgo memory 0/4K web amount=7\n"), ULV_REFUSED_INVALID);
        assert_int_equal(report(l, "web", "letgo memory 0/4K web amount=6\n"), 0);
        assert_int_equal(holding(l, "memory", "0/4K", "db").amount, 30);
        assert_int_equal(holding(l, "memory", "0/4K", "web").reached, 40);
        settled_is(l, "");
        assert_int_equal(report(l, "db", "reached memory 0/4K db amount=30 how=limit\n"), 0);
        settled_is(l, "done m\n");
}

static void undo_of_a_pending_shrink_cancels_it(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        char *undo;
        (void) state;

        assert_int_equal(txn(l, "m", "move memory 0/4K web to=db amount=10\n"), 0);
        undo = ulv_steal(outcome.undo);
        assert_int_equal(txn(l, "u", undo), 0);
        free(undo);
        assert_int_equal(holding(l, "memory", "0/4K", "web").keep, 50);
        assert_int_equal(holding(l, "memory", "0/4K", "web").reached, 40);      /* it may have let go already */
        settled_is(l, "undone m\n");
        assert_int_equal(report(l, "web", "reached memory 0/4K web amount=50 how=limit\n"), 0);
        settled_is(l, "done u\n");
}

static void a_transfer_to_who_ended_goes_to_idle(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        (void) state;

        assert_int_equal(txn(l, "m", "move core 2 web to=db\n"), 0);
        assert_int_equal(report(l, "db", "ended partition db - result=exited\n"), 0);
        assert_string_equal(holding(l, "core", "2", "web").moving_to, "idle");
        assert_int_equal(report(l, "web", "letgo core 2 web amount=1\n"), 0);
        assert_int_equal(holding(l, "core", "2", "idle").amount, 1);
        settled_is(l, "undone m\n");
}

static void the_end_of_the_giver_settles_for_the_taker(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        (void) state;

        assert_int_equal(txn(l, "m", "move core 2 web to=db\n"), 0);
        assert_int_equal(report(l, "web", "ended partition web - result=exited\n"), 0);
        assert_int_equal(holding(l, "core", "2", "db").amount, 1);
        assert_int_equal(holding(l, "memory", "0/4K", "idle").amount, 80);
}

/* A letgo under a view older than the transfer may be about a unit that is in use again. */
static void an_old_letgo_settles_no_younger_transfer(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        struct ulv_txn late = { .id = "r", .zone = "default", .operations = "letgo core 2 web amount=1\n", .reporter = "web" };
        (void) state;

        assert_int_equal(txn(l, "m", "release core 2 web\n"), 0);
        late.if_generation = outcome.generation;
        assert_int_equal(txn(l, "u", "claim core 2 web\n"), 0);
        assert_int_equal(txn(l, "n", "release core 2 web\n"), 0);
        assert_int_equal(step_as(l, late), ULV_REFUSED_GENERATION);
        assert_int_equal(holding(l, "core", "2", "web").amount, 1);
        late.if_generation = ulv_ledger_generation(l);
        assert_int_equal(step_as(l, late), 0);
}

/* --- refusals -------------------------------------------------------------------------------------------------- */

static void refusals_say_what_and_why(void **state) {
        static const struct { const char *ops; int refusal; enum ulv_exit code; const char *what, *why; } t[] = {
                { "claim core 2 db\nstate partition db - state=starting", ULV_REFUSED_CONFLICT, ULV_EXIT_CONFLICT, "cannot give core 2 from idle to db", "it is web's (running)" },
                { "claim core 9 db", ULV_REFUSED_UNKNOWN, ULV_EXIT_NOT_FOUND, "no core 9", "the ledger has no such row" },
                { "claim core 2 nobody", ULV_REFUSED_UNKNOWN, ULV_EXIT_NOT_FOUND, "no partition nobody", "the ledger has no such row" },
                { "claim memory 0/4K db amount=1000", ULV_REFUSED_CAPACITY, ULV_EXIT_CAPACITY, "cannot give 2000M of memory 0/4K from idle to db", "idle has 60M of it" },
                { "claim share pool db amount=3001", ULV_REFUSED_CAPACITY, ULV_EXIT_CAPACITY, "the pool is too small", "it has 4 threads to give (cores of host), and 4.001 would be given" },
                { "move core 0 host to=idle\nmove core 1 host to=idle", ULV_REFUSED_CAPACITY, ULV_EXIT_CAPACITY, "the pool is too small", "it has 0 threads to give (cores of host), and 1 would be given" },
                { "set parameter pool.overcommit - value=200", ULV_REFUSED_INVALID, ULV_EXIT_USAGE, NULL, "its value is a number from 1000 (none) to 1000000" },
                { "claim core 0 blue from=host", ULV_REFUSED_STATE, ULV_EXIT_NOT_ACTIVE, "cannot give core 0 to blue", "blue is defined, and holds nothing then" },
                { "state partition web - state=starting", ULV_REFUSED_STATE, ULV_EXIT_CONFLICT, "cannot bring web to starting", "it is running already" },
                { "state partition blue - state=stopping", ULV_REFUSED_STATE, ULV_EXIT_NOT_ACTIVE, "cannot bring blue to stopping", "it is defined" },
                { "state partition web - state=failed", ULV_REFUSED_INVALID, ULV_EXIT_USAGE, NULL, NULL },
                { "remove partition web -", ULV_REFUSED_STATE, ULV_EXIT_NOT_ACTIVE, "cannot remove web", "it is running" },
                { "remove partition host -", ULV_REFUSED_INVALID, ULV_EXIT_USAGE, NULL, NULL },
                { "define partition idle - type=sim", ULV_REFUSED_INVALID, ULV_EXIT_USAGE, NULL, "the name is the ultravisor's own" },
                { "define partition A - type=sim", ULV_REFUSED_INVALID, ULV_EXIT_USAGE, NULL, NULL },
                { "define partition web - type=vm", ULV_REFUSED_STATE, ULV_EXIT_NOT_ACTIVE, "cannot change zone, type or role of web", NULL },
                { "claim uids 9 db", ULV_REFUSED_UNKNOWN, ULV_EXIT_NOT_FOUND, "no uid range 9", NULL },
                { "claim uids 3 db", ULV_REFUSED_CONFLICT, ULV_EXIT_CONFLICT, NULL, "it is web's (running)" },
                { "claim uids 03 db", ULV_REFUSED_UNKNOWN, ULV_EXIT_NOT_FOUND, NULL, NULL },
                { "claim core 0 db amount=2", ULV_REFUSED_INVALID, ULV_EXIT_USAGE, NULL, "the amount of a unit is 1" },
                { "claim memory 0/4K db", ULV_REFUSED_INVALID, ULV_EXIT_USAGE, NULL, NULL },
                { "claim memory 0/4K db amount=0", ULV_REFUSED_INVALID, ULV_EXIT_USAGE, NULL, NULL },
                { "claim memory 0/4K db amount=18446744073709551615", ULV_REFUSED_CAPACITY, ULV_EXIT_CAPACITY, NULL, NULL },
                { "move core 0 host", ULV_REFUSED_INVALID, ULV_EXIT_USAGE, NULL, "it needs to=OWNER" },
                { "claim share pool host amount=5", ULV_REFUSED_INVALID, ULV_EXIT_USAGE, NULL, NULL },
                { "letgo core 2 web amount=1", ULV_REFUSED_INVALID, ULV_EXIT_USAGE, NULL, "not an operation of a transaction" },
                { "set parameter a - value=1\nnonsense", ULV_REFUSED_INVALID, ULV_EXIT_USAGE, NULL, "operation 2 of the transaction" },
        };
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        _cleanup_strbuf_ struct ulv_strbuf before = {}, after = {};
        (void) state;

        assert_int_equal(ulv_ledger_dump(l, NULL, &before), 0);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(t); i++) {
                int r = txn(l, "x", t[i].ops);

                if (r != t[i].refusal || diag.code != t[i].code || !diag.what[0] || (t[i].what && !ulv_streq(diag.what, t[i].what)) || (t[i].why && !ulv_streq(diag.why, t[i].why)))
                        fail_msg("%s: %d %d %s: %s (%s)", t[i].ops, r, diag.code, diag.what, diag.why, diag.try_);
        }
        assert_int_equal(ulv_ledger_dump(l, NULL, &after), 0);
        assert_string_equal(before.s, after.s);
}

static void frames_are_checked(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = load(rows);
        _cleanup_strbuf_ struct ulv_strbuf many = {};
        struct ulv_txn t = { .id = "a", .zone = "default", .operations = "set parameter a - value=1\n" };
        (void) state;

        t.if_generation = 8;
        assert_int_equal(step_as(l, t), ULV_REFUSED_GENERATION);
        assert_string_equal(diag.why, "it is at generation 9, and 8 was planned on");
        t.if_generation = 9;
        assert_int_equal(step_as(l, t), 0);
        assert_int_equal(txn(l, "", "set parameter a - value=1\n"), ULV_REFUSED_INVALID);
        assert_int_equal(txn(l, "a b", "set parameter a - value=1\n"), ULV_REFUSED_INVALID);
        assert_int_equal(txn(l, "a", start_web), 0);
        assert_int_equal(txn(l, "a", start_db), ULV_REFUSED_EXISTS);
        for (int i = 0; i < ULV_TXN_OPERATIONS_MAX; i++)
                ulv_strbuf_add(&many, "set parameter a - value=1\n");
        assert_int_equal(txn(l, "m", many.s), 0);
        ulv_strbuf_add(&many, "set parameter a - value=1\n");
        assert_int_equal(txn(l, "n", many.s), ULV_REFUSED_LIMIT);
}

static void a_zone_stays_in_its_own(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        struct ulv_txn t = { .id = "z", .zone = "blue" };
        (void) state;

        for (const char *const *s = (const char *const[]) { "state partition web - state=stopping", "claim core 2 blue from=web", "claim core 0 blue from=host",
                     "set parameter a - value=1", "define partition new - type=sim zone=red", "define partition new - type=sim", "remove partition db -", NULL }; *s; s++) {
                t.operations = *s;
                assert_int_equal(step_as(l, t), ULV_REFUSED_ZONE);
                assert_int_equal(diag.code, ULV_EXIT_DENIED);
        }
        t.operations = "claim memory 0/4K blue amount=5\nstate partition blue - state=starting\n";
        assert_int_equal(step_as(l, t), 0);
        assert_int_equal(txn(l, "h", "state partition blue - state=stopping"), 0);
}

static void a_report_is_about_its_own_partition(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        (void) state;

        for (const char *const *s = (const char *const[]) { "ended partition db - result=x", "state partition db - state=running", "reached core 3 db amount=1 how=limit",
                     "letgo core 3 db amount=1", "claim core 0 web from=host", "set parameter a - value=1", "reached core 2 web amount=2 how=limit", "reached uids 3 web amount=1 how=limit",
                     "state partition web - state=stopping", "letgo memory 0/4K web amount=1", NULL }; *s; s++)
                assert_int_equal(report(l, "web", *s), ULV_REFUSED_INVALID);
        assert_int_equal(report(l, "web", "ended partition web - result=x incarnation=7"), ULV_REFUSED_STATE);
        assert_int_equal(report(l, "nobody", "ended partition nobody - result=x"), ULV_REFUSED_UNKNOWN);
        assert_int_equal(report(l, "ultravisor", "state partition ultravisor - state=running leader=5 start=6"), 0);
        assert_int_equal(state_of(l, "ultravisor"), ULV_RUNNING);
        assert_int_equal(report(l, "host", "ended partition host - result=x"), ULV_REFUSED_INVALID);
}

static void too_many_that_wait_are_refused(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        (void) state;

        for (int i = 0; i < ULV_WAITS_MAX; i++)
                assert_int_equal(txn(l, (char[]) { 'w', (char) ('0' + i), 0 }, "claim memory 0/4K web amount=1\n"), 0);
        assert_int_equal(txn(l, "w9", "claim memory 0/4K web amount=1\n"), ULV_REFUSED_CONFLICT);
        assert_int_equal(report(l, "web", "reached memory 0/4K web amount=53 how=limit\n"), 0);
        settled_is(l, "");
        assert_int_equal(report(l, "web", "reached memory 0/4K web amount=54 how=limit\n"), 0);
        settled_is(l, "done w0\ndone w1\ndone w2\ndone w3\n");
}

static void definitions_and_undo(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = load(rows);
        (void) state;

        assert_int_equal(txn(l, "a", "define partition new - type=sim text=one\nset parameter pool.source - value=pool\n"), 0);
        assert_string_equal(outcome.undo, "remove partition new -\nset parameter pool.source -\n");
        assert_int_equal(txn(l, "b", "define partition new - type=sim text=two%0A\nset parameter pool.source - value=host\n"), 0);
        assert_string_equal(outcome.undo, "set parameter pool.source - value=pool\ndefine partition new - zone=default type=sim role=guest text=one\n");
        assert_int_equal(txn(l, "c", "remove partition new -\ndefine partition new - type=other text=three\n"), 0);
        assert_string_equal(outcome.undo, "define partition new - zone=default type=sim role=guest text=two%0A\n");
        assert_int_equal(txn(l, "d", "define partition x - type=sim\nstate partition x - state=starting extra=a%20b\n"), 0);
        assert_string_equal(outcome.undo, "state partition x - state=stopping\n");
        assert_int_equal(txn(l, "e", "state partition x - state=stopping leader=4\n"), ULV_REFUSED_INVALID);
}

/* --- serial form ------------------------------------------------------------------------------------------------ */

static void rows_are_sorted_and_load_again(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running(), *copy = NULL;
        _cleanup_strbuf_ struct ulv_strbuf b = {}, again = {}, one = {};
        (void) state;

        assert_int_equal(txn(l, "m", "move memory 0/4K web to=db amount=10\nset parameter b - value=\n"), 0);
        assert_int_equal(ulv_ledger_dump(l, NULL, &b), 0);
        copy = load(b.s);
        assert_int_equal(ulv_ledger_dump(copy, NULL, &again), 0);
        assert_string_equal(b.s, again.s);
        assert_int_equal(ulv_ledger_dump(l, "memory", &one), 0);
        assert_string_equal(one.s, "row memory 0/4K db amount=20 reached=20 how=limit\nrow memory 0/4K host amount=100\nrow memory 0/4K idle amount=30\n"
                                   "row memory 0/4K web amount=50 reached=50 how=limit\n");
        ulv_strbuf_reset(&one);
        assert_int_equal(ulv_ledger_dump(l, "transfer", &one), 0);
        assert_string_equal(one.s, "row transfer 1 web to=db kind=memory id=0/4K amount=10 made=14 txn=m\n");
        /* The copy goes on where the ledger was. */
        assert_int_equal(report(copy, "web", "letgo memory 0/4K web amount=10\n"), 0);
        assert_int_equal(report(copy, "db", "reached memory 0/4K db amount=30 how=limit\n"), 0);
        settled_is(copy, "done m\n");
}

static void bad_rows_are_refused(void **state) {
        static const char *const more[] = {
                "row core 0 web node=0 threads=0\n", "row core 2 db node=0 threads=2,6\n", "row core x host node=0 threads=1\n", "row core 5 host node=0\n",
                "row share pool idle amount=5\n", "row share pool host amount=5\n", "row share other db amount=5\n", "row memory 0 host amount=5\n", "row memory 0/4K nobody amount=5\n",
                "row uids 9 host\n", "row uids 3 idle\n", "row transfer 1 web to=db kind=core id=2 amount=1 txn=x\n", "row partition X - state=defined wanted=defined\n",
                "row partition new - zone=default state=nothing wanted=defined\n", "row partition host - zone=default role=guest state=running wanted=running\n",
                "row partition new - zone=default role=infrastructure state=running wanted=running\n", "gone core 0 host\n", "claim core 0 web\n", "row nothing 0 host\n", "row core 0\n",
                "row ledger - - generation=x\n", "row memory 0/4K web amount=5 txn=nobody\n",
        };
        (void) state;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(more); i++) {
                _cleanup_strbuf_ struct ulv_strbuf b = {};
                struct ulv_ledger *l = NULL;
                struct ulv_diag d = {};

                ulv_strbuf_add(&b, rows);
                ulv_strbuf_add(&b, more[i]);
                if (ulv_ledger_load(b.s, b.len, &l, &d) != 1 || !d.what[0])
                        fail_msg("loaded: %s", more[i]);
                assert_null(l);
        }
        for (const char *const *s = (const char *const[]) { "", "x", "row core 0 host node=0 threads=0\n", NULL }; *s; s++) {
                struct ulv_ledger *l = NULL;

                assert_int_equal(ulv_ledger_load(*s, strlen(*s), &l, NULL), 1);
        }
}

static void views_that_changed_are_told_once(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        (void) state;

        while (ulv_ledger_next_changed_view(l))
                ;
        assert_int_equal(txn(l, "a", "move core 2 web to=db\n"), 0);
        assert_string_equal(ulv_ledger_next_changed_view(l), "db");
        assert_string_equal(ulv_ledger_next_changed_view(l), "web");
        assert_null(ulv_ledger_next_changed_view(l));
        assert_int_equal(txn(l, "b", "release core 1 host\n"), 0);      /* the pool shrinks: who has a share is told */
        assert_string_equal(ulv_ledger_next_changed_view(l), "web");
        assert_null(ulv_ledger_next_changed_view(l));
}

/* --- adoption ------------------------------------------------------------------------------------------------------ */

static void views_rebuild_the_ledger(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running(), *new = load(rows);
        _cleanup_strbuf_ struct ulv_strbuf web = {}, db = {}, old_rows = {}, new_rows = {};
        (void) state;

        assert_int_equal(txn(l, "p", "move core 0 host to=pool\nset parameter pool.source - value=pool\nset parameter pool.overcommit - value=1500\n"), 0);
        assert_int_equal(ulv_ledger_view(l, "web", &web), 0);
        assert_int_equal(ulv_ledger_view(l, "db", &db), 0);
        assert_int_equal(ulv_ledger_adopt(new, web.s, web.len, &diag), 0);
        assert_int_equal(ulv_ledger_adopt(new, db.s, db.len, &diag), 0);
        assert_int_equal(ulv_ledger_check(new, &diag), 0);
        for (const char *const *kind = (const char *const[]) { "core", "memory", "share", "uids", "pci", "parameter", "partition", NULL }; *kind; kind++) {
                assert_int_equal(ulv_ledger_dump(l, *kind, &old_rows), 0);
                assert_int_equal(ulv_ledger_dump(new, *kind, &new_rows), 0);
        }
        assert_string_equal(old_rows.s, new_rows.s);
        assert_int_equal(ulv_ledger_adopt(new, web.s, web.len, &diag), 1);      /* twice */
        assert_string_equal(diag.why, "partition web: it is in the ledger already, and live");
}

static void adoption_takes_nothing_from_others(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = two_running();
        _cleanup_strbuf_ struct ulv_strbuf before = {}, after = {};
        static const char *const views[] = {
                "row partition new - zone=default state=running wanted=running\nrow core 2 new amount=1\n", "row partition new - zone=default state=running wanted=running\nrow memory 0/4K new amount=131\n",
                "row partition new - zone=default state=running wanted=running\nrow uids 3 new\n", "row partition new - zone=default state=running wanted=running\nrow share pool new amount=3001\n",
                "row partition new - zone=default state=defined wanted=defined\n", "row core 0 new amount=1\n", "", "row partition host - zone=default state=running wanted=running\n",
                "row partition new - zone=default state=running wanted=running\nrow core 0 new amount=1\nrow core 0 new amount=1\n",
        };
        (void) state;

        assert_int_equal(ulv_ledger_dump(l, NULL, &before), 0);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(views); i++)
                if (ulv_ledger_adopt(l, views[i], strlen(views[i]), &diag) != 1 || !diag.what[0])
                        fail_msg("adopted: %s", views[i]);
        assert_int_equal(ulv_ledger_dump(l, NULL, &after), 0);
        assert_string_equal(before.s, after.s);
}

/* --- memory -------------------------------------------------------------------------------------------------------- */

/* Fails the 1st, 2nd, ... allocation of `f` until it runs clean. */
static void each_allocation_may_fail(int (*f)(struct ulv_ledger *l), struct ulv_ledger *(*make)(void)) {
        for (unsigned long n = 1;; n++) {
                ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = make();
                _cleanup_strbuf_ struct ulv_strbuf before = {}, after = {};
                struct ulv_diag d = {};
                int r;

                assert_int_equal(ulv_ledger_dump(l, NULL, &before), 0);
                alloc_failed = false;
                alloc_fail_at = n;
                r = f(l);
                alloc_fail_at = 0;
                if (ulv_ledger_check(l, &d) != 0)
                        fail_msg("allocation %lu: %s: %s", n, d.what, d.why);
                if (!alloc_failed) {
                        assert_int_equal(r, 0);
                        assert_true(n > 1);
                        return;
                }
                /* A failed allocation that isn't needed may be lived with; else nothing changed. */
                if (r == 0)
                        continue;
                assert_int_equal(r, -ENOMEM);
                assert_int_equal(ulv_ledger_dump(l, NULL, &after), 0);
                assert_string_equal(before.s, after.s);
                assert_int_equal(f(l), 0);      /* and it works when there is memory again */
        }
}

static int step_raw(struct ulv_ledger *l, const char *ops, const char *reporter) {
        struct ulv_txn t = { .id = "oom", .zone = "default", .subject = "x", .operations = ops, .operations_len = strlen(ops), .reporter = reporter };
        struct ulv_outcome o = {};
        int r = ulv_ledger_step(l, &t, &o, NULL);

        ulv_outcome_done(&o);
        return r;
}

static struct ulv_ledger *make_idle(void) { return load(rows); }
static struct ulv_ledger *make_moving(void) {
        struct ulv_ledger *l = two_running();

        assert_int_equal(txn(l, "m", "move core 2 web to=db\nmove memory 0/4K web to=db amount=5\nrelease share pool web amount=100\n"), 0);
        return l;
}
static int oom_start(struct ulv_ledger *l) { return step_raw(l, start_web, NULL); }
static int oom_define(struct ulv_ledger *l) {
        return step_raw(l, "define partition new - type=sim text=abc\ndefine partition web - type=sim text=new\nremove partition blue -\ndefine partition blue - type=other\n"
                           "set parameter pool.source - value=pool\nset parameter b - value=c\nset parameter b - value=d\n", NULL);
}
static int oom_move(struct ulv_ledger *l) { return step_raw(l, "move core 3 db to=web\nclaim memory 0/4K web amount=9\nstate partition db - state=stopping force=yes\nrelease uids 3 web\n", NULL); }
static int oom_ended(struct ulv_ledger *l) { return step_raw(l, "ended partition web - result=x\n", "web"); }
static int oom_taker_ended(struct ulv_ledger *l) { return step_raw(l, "ended partition db - result=x failed=yes\n", "db"); }
static int oom_letgo(struct ulv_ledger *l) { return step_raw(l, "letgo core 2 web amount=1\nletgo memory 0/4K web amount=3\nrefused share pool web\n", "web"); }
static int oom_adopt(struct ulv_ledger *l) {
        static const char view[] = "row partition new - zone=default type=sim role=guest state=running wanted=running text=abc x=y\nrow core 2 new amount=1 keep=1 reached=1 how=limit\n"
                                   "row memory 0/4K new amount=30 reached=30 how=limit\nrow share pool new amount=100 cpus=0,4 source=pool overcommit=2000\nrow uids 7 new\n";

        return ulv_ledger_adopt(l, view, sizeof(view) - 1, NULL);
}
static int oom_inventory(struct ulv_ledger *l) {
        static struct ulv_cpus cpus;
        static struct ulv_inv_core core = { .id = 9, .node = 1, .threads = &cpus, .n_threads = 1 };
        static struct ulv_inv_memory memory[] = { { 0, "4K", 150 }, { 1, "2M", 10 } };
        static struct ulv_inv_device device = { "pci", "0:1", "group=7" };
        struct ulv_inventory inv = { .name = "new", .uids_first = 1, .uids_last = 8, .cores = &core, .n_cores = 1, .memory = memory, .n_memory = 2, .devices = &device, .n_devices = 1 };

        ulv_cpus_set(&cpus, 9);
        return ulv_ledger_set_inventory(l, &inv, NULL);
}

static void no_failed_allocation_leaves_half_a_step(void **state) {
        (void) state;
        each_allocation_may_fail(oom_start, make_idle);
        each_allocation_may_fail(oom_define, make_idle);
        each_allocation_may_fail(oom_move, two_running);
        each_allocation_may_fail(oom_ended, make_moving);
        each_allocation_may_fail(oom_taker_ended, make_moving);
        each_allocation_may_fail(oom_letgo, make_moving);
        each_allocation_may_fail(oom_adopt, make_idle);
        each_allocation_may_fail(oom_inventory, make_idle);
}

static void reading_and_loading_survive_failed_allocations(void **state) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = make_moving();
        _cleanup_strbuf_ struct ulv_strbuf dump = {}, told = {};
        bool clean = false;
        (void) state;

        assert_int_equal(ulv_ledger_dump(l, NULL, &dump), 0);
        for (unsigned long n = 1; !clean; n++) {
                struct ulv_ledger *copy = NULL;
                int r;

                alloc_failed = false;
                alloc_fail_at = n;
                r = ulv_ledger_load(dump.s, dump.len, &copy, NULL);
                alloc_fail_at = 0;
                clean = !alloc_failed;
                assert_true(r == 0 || (r == -ENOMEM && alloc_failed));
                ulv_ledger_free(copy);
        }
        /* Changes that couldn't be told are told by the next call. */
        for (unsigned long n = 1; told.len == 0; n++) {
                _cleanup_strbuf_ struct ulv_strbuf b = {};

                int r;

                alloc_fail_at = n;
                r = ulv_ledger_drain_changes(l, &b);
                alloc_fail_at = 0;
                assert_true(r == 0 || r == -ENOMEM);
                if (r == 0)
                        ulv_strbuf_add(&told, ulv_strbuf_str(&b));
        }
        assert_non_null(strstr(told.s, "row transfer 1 web"));
        assert_non_null(strstr(told.s, "row partition db"));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_end_whose_peer_has_turned_to_another_waits_for_nobody),
                cmocka_unit_test(a_channel_with_the_host_is_one_end_and_its_view_says_so),
                cmocka_unit_test(both_ends_of_a_channel_agree_and_no_view_names_the_other),
                cmocka_unit_test(a_mount_comes_and_goes_and_leaves_no_trace), cmocka_unit_test(what_cannot_be_attached_goes_back_and_says_why),
                cmocka_unit_test(that_it_said_ready_is_a_fact_of_one_life),
                cmocka_unit_test(a_limit_has_no_sum_and_is_reached_like_anything_else), cmocka_unit_test(what_is_no_limit_is_refused),
                cmocka_unit_test(limits_are_rows_that_load_again_and_rebuild),
                cmocka_unit_test(a_start_claims_at_once_and_is_reached_by_reports), cmocka_unit_test(the_end_gives_everything_back),
                cmocka_unit_test(a_start_that_ends_is_undone), cmocka_unit_test(pausing_is_wanted_then_reached),
                cmocka_unit_test(a_unit_leaves_a_live_partition_in_two_steps), cmocka_unit_test(a_refused_shrink_is_taken_back),
                cmocka_unit_test(what_is_let_go_in_parts_arrives_in_parts), cmocka_unit_test(undo_of_a_pending_shrink_cancels_it),
                cmocka_unit_test(a_transfer_to_who_ended_goes_to_idle), cmocka_unit_test(the_end_of_the_giver_settles_for_the_taker),
                cmocka_unit_test(an_old_letgo_settles_no_younger_transfer), cmocka_unit_test(refusals_say_what_and_why),
                cmocka_unit_test(frames_are_checked), cmocka_unit_test(a_zone_stays_in_its_own), cmocka_unit_test(a_report_is_about_its_own_partition),
                cmocka_unit_test(too_many_that_wait_are_refused), cmocka_unit_test(definitions_and_undo), cmocka_unit_test(rows_are_sorted_and_load_again),
                cmocka_unit_test(bad_rows_are_refused), cmocka_unit_test(views_that_changed_are_told_once), cmocka_unit_test(views_rebuild_the_ledger),
                cmocka_unit_test(adoption_takes_nothing_from_others), cmocka_unit_test(what_is_tried_leaves_no_trace), cmocka_unit_test(no_failed_allocation_leaves_half_a_step),
                cmocka_unit_test(reading_and_loading_survive_failed_allocations),
        };
        int r = cmocka_run_group_tests(tests, NULL, NULL);

        ulv_outcome_done(&outcome);
        return r;
}
