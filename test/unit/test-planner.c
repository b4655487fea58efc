/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The planner's decisions and its words, on FACE.md's machine: kestrel, 16 cores with 2 threads each on
 * 2 nodes, 64G. Names of tests say what is promised. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "test/lib/planner-bed.h"
#include "test/lib/fail-alloc.inc"

static const char kestrel[] =
        "[Machine]\nName=kestrel\nKind=imagined\nUIDRanges=1-100\n"
        "[Node \"0\"]\nCPUs=0-7,16-23\nThreadStride=16\nMemory=32G\n"
        "[Node \"1\"]\nCPUs=8-15,24-31\nThreadStride=16\nMemory=32G\n"
        "[Device \"wwn-1\"]\nKind=block\nName=vdb\n";

static struct bed bed;

static void define(const char *name, const char *partition, const char *cpu, const char *memory) {
        char path[128], text[1024];

        snprintf(path, sizeof(path), "partitions/%s.partition", name);
        snprintf(text, sizeof(text), "[Partition]\nType=container\n%s\n[CPU]\n%s\n[Memory]\n%s\n[Container]\nRoot=/srv/%s\nExec=/sbin/init\n",
                 partition, cpu, memory, name);
        bed_file(&bed, path, text);
        assert_true(bed_reload(&bed, true));
}

static void policy(const char *text) {
        bed_file(&bed, "policies/50-prod.policy", text);
        assert_true(bed_reload(&bed, true));
}

static int setup(ULV_UNUSED void **state) {
        bed = (struct bed) {};
        bed_machine(&bed, kestrel);
        return bed_reload(&bed, true) ? 0 : -1;
}

static int teardown(ULV_UNUSED void **state) {
        bed_done(&bed);
        return 0;
}

/* --- asking ---------------------------------------------------------------------------------------------- */

static struct ulv_plan *plan;   /* of the last request */

static int ask(struct ulv_request r) {
        ulv_plan_free(plan);
        plan = NULL;
        return bed_do(&bed, &r, &plan);
}

static void done(struct ulv_request r) {
        int k = ask(r);

        for (size_t i = 0; k > 0 && i < plan->n_reasons; i++)
                print_error("%s\n%s\ntry: %s\n", plan->reasons[i].what, plan->reasons[i].why, plan->reasons[i].try_);
        assert_int_equal(k, 0);
        bed_settle(&bed);
}

static void start(const char *name) { done((struct ulv_request) { .verb = ULV_REQUEST_START, .name = name }); }

static void refused(struct ulv_request r, enum ulv_exit code, const char *what, const char *why, const char *try_) {
        assert_int_equal(ask(r), 1);
        assert_true(plan->n_reasons > 0);
        assert_string_equal(plan->reasons[0].what, what);
        assert_string_equal(plan->reasons[0].why, why);
        assert_string_equal(plan->reasons[0].try_, try_);
        assert_int_equal(plan->reasons[0].code, code);
        assert_int_equal(plan->operations.len, 0);
}

static void line_is(size_t i, const char *name, const char *action, const char *text, const char *note) {
        assert_true(i < plan->n_lines);
        assert_string_equal(plan->lines[i].name, name);
        assert_string_equal(plan->lines[i].action, action);
        assert_string_equal(plan->lines[i].text, text);
        assert_string_equal(plan->lines[i].note, note);
}

static int add_core(const struct ulv_holding_info *h, void *userdata) {
        uint64_t id;

        if (h->amount > 0 && ulv_uint_parse(h->id, 100, &id) == 0)
                ulv_cpus_set(userdata, (unsigned) id);
        return 0;
}

static void cores_are(const char *owner, const char *list) {
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        struct ulv_cpus c = {};

        (void) ulv_ledger_each_holding(bed.l, "core", owner, add_core, &c);
        ulv_cpus_format(&b, &c);
        assert_string_equal(ulv_strbuf_str(&b), list);
}

static uint64_t memory_of(const char *owner, const char *id) {
        struct ulv_holding_info h;

        return ulv_ledger_holding(bed.l, "memory", id, owner, &h) == 0 ? h.amount * 2 : 0;     /* MiB */
}

#define SET(n, ...) ((struct ulv_request) { .verb = ULV_REQUEST_SET, .name = n, __VA_ARGS__ })
#define MOVE(n, o, ...) ((struct ulv_request) { .verb = ULV_REQUEST_MOVE, .name = n, .other = o, __VA_ARGS__ })
#define START(n) ((struct ulv_request) { .verb = ULV_REQUEST_START, .name = n })
#define STOP(n) ((struct ulv_request) { .verb = ULV_REQUEST_STOP, .name = n })
#define G(n) ((uint64_t) (n) << 30)

/* --- placement ------------------------------------------------------------------------------------------- */

static void cores_come_from_the_host_highest_first_and_memory_beside_them(ULV_UNUSED void **state) {
        define("db", "", "Cores=2", "Size=4G");
        start("db");
        cores_are("db", "14-15");
        assert_int_equal(memory_of("db", "1/4K"), 4096);
        line_is(0, "db", "start", "2 cores on node 1, 4G on node 1", "");
        assert_string_equal(plan->summary, "Fits: 2 cores from host, 4G from host. Nobody loses anything.");
}

static void the_summary_tells_idle_from_the_hosts(ULV_UNUSED void **state) {
        static const struct { struct ulv_plan_use use; const char *lost, *text; } t[] = {
                { { .taken = { 1, 0, 0 }, .idle = { 4, 0, 0 } }, "", "Fits: 1 core of 4 idle. Nobody loses anything." },
                { { .taken = { 2, 0, 512 }, .from_host = { 1, 0, 512 }, .idle = { 1, 0, 0 } }, "",
                  "Fits: 2 cores (1 of 1 idle, 1 from host), 1G from host. Nobody loses anything." },
                { { .taken = { 0, 500, 544 }, .from_host = { 0, 0, 512 }, .idle = { 0, 2000, 32 } }, "batch loses 1 core.",
                  "Fits: 0.5 share of 2 idle, 1088M (64M of 64M idle, 1G from host). batch loses 1 core." },
                { { .idle = { 3, 0, 0 } }, "", "Nobody loses anything." },
        };
        char text[512];

        for (size_t i = 0; i < ULV_ARRAY_SIZE(t); i++) {
                ulv_plan_use_summary(&t[i].use, t[i].lost, text, sizeof(text));
                assert_string_equal(text, t[i].text);
        }
}

static void what_a_policy_sets_free_counts_as_idle(ULV_UNUSED void **state) {
        policy("[Host]\nCores=2\nMemory=4G\n");
        define("db", "", "Cores=2", "Size=4G");
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY });
        assert_string_equal(plan->summary, "Fits: 2 cores of 14 idle, 4G of 60G idle. Nobody loses anything.");
}

static void a_start_with_less_counts_the_host_once(ULV_UNUSED void **state) {
        define("big", "", "Cores=20\nCoresMin=1", "Size=1G");
        start("big");
        assert_int_equal(plan->use.taken.cores, plan->use.from_host.cores);
}

static void idle_cores_are_taken_before_the_hosts_from_the_fuller_node(ULV_UNUSED void **state) {
        policy("[Host]\nCores=2\nMemory=4G\n");
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY });
        cores_are("host", "0-1");
        cores_are("idle", "2-15");
        assert_int_equal(memory_of("host", "0/4K"), 4096);
        define("db", "", "Cores=6", "Size=4G");
        start("db");
        cores_are("db", "2-7");
        define("big", "", "Cores=8", "Size=4G");
        start("big");
        cores_are("big", "8-15");
}

static void a_wanted_node_is_kept_for_cores_and_memory(ULV_UNUSED void **state) {
        define("db", "", "Cores=2\nNode=0", "Size=4G\nNode=1");
        start("db");
        cores_are("db", "6-7");
        assert_int_equal(memory_of("db", "1/4K"), 4096);
}

static void the_host_keeps_a_core_and_2G(ULV_UNUSED void **state) {
        define("all", "", "Cores=15", "Size=62G");
        start("all");
        cores_are("host", "0");
        assert_int_equal(memory_of("host", "0/4K") + memory_of("host", "1/4K"), 2048);
        define("more", "", "Cores=1", "Size=1G");
        assert_int_equal(ask(START("more")), 1);
}

static void a_container_gets_the_lowest_idle_uid_range(ULV_UNUSED void **state) {
        struct ulv_holding_info h;

        define("a", "", "Share=1", "Size=1G");
        define("b", "", "Share=1", "Size=1G");
        start("a");
        start("b");
        assert_int_equal(ulv_ledger_holding(bed.l, "uids", "1", "a", &h), 0);
        assert_int_equal(ulv_ledger_holding(bed.l, "uids", "2", "b", &h), 0);
        done(STOP("a"));
        define("c", "", "Share=1", "Size=1G");
        start("c");
        assert_int_equal(ulv_ledger_holding(bed.l, "uids", "1", "c", &h), 0);
}

static void less_than_wanted_starts_down_to_the_minimum(ULV_UNUSED void **state) {
        define("all", "", "Cores=12", "Size=8G");
        start("all");
        define("db", "", "Cores=8\nCoresMin=2", "Size=1G");
        start("db");
        line_is(0, "db", "start", "3 cores on node 0, 1G on node 0", "less than wanted");
}

static void shares_count_against_the_hosts_cores(ULV_UNUSED void **state) {
        define("web", "", "Share=30", "Size=1G");
        start("web");
        define("db", "", "Cores=2", "Size=1G");
        refused(START("db"), ULV_EXIT_CAPACITY, "cannot start db",
                "0 cores are idle, the host can give 1 (it keeps 1), and 2 are needed",
                "uvctl set db cores=1, then again");
        define("mail", "", "Share=3", "Size=1G");
        refused(START("mail"), ULV_EXIT_CAPACITY, "cannot start mail",
                "the pool has 2 share left of 32 (the host's cores), and 3 are needed",
                "uvctl set mail share=2, then again");
}

/* --- start and stop ---------------------------------------------------------------------------------------- */

static void what_runs_already_is_no_error(ULV_UNUSED void **state) {
        define("web", "", "Share=1", "Size=1G");
        start("web");
        assert_int_equal(ask(START("web")), 0);
        assert_int_equal(plan->operations.len, 0);
        line_is(0, "web", "kept", "already running", "");
        assert_string_equal(plan->summary, "Nothing to do.");
        done(STOP("web"));
        assert_int_equal(ask(STOP("web")), 0);
        assert_int_equal(plan->operations.len, 0);
        line_is(0, "web", "kept", "not running", "");
}

static void a_start_is_one_transaction_with_the_definition(ULV_UNUSED void **state) {
        struct ulv_partition_info info;

        define("web", "", "Share=1", "Size=1G");
        start("web");
        assert_true(strstr(plan->operations.s, "define partition web ") == plan->operations.s);
        done(STOP("web"));
        start("web");
        assert_null(strstr(plan->operations.s, "define"));
        done(STOP("web"));
        define("web", "", "Share=2", "Size=1G");
        start("web");
        assert_non_null(strstr(plan->operations.s, "define"));
        assert_int_equal(ulv_ledger_partition(bed.l, "web", &info), 0);
        assert_non_null(strstr(info.text, "Share=2\n"));
}

static void a_stopping_partition_is_not_started(ULV_UNUSED void **state) {
        define("web", "", "Share=1", "Size=1G");
        start("web");
        assert_int_equal(ask(STOP("web")), 0);
        refused(START("web"), ULV_EXIT_CONFLICT, "cannot start web now", "web is stopping, and all that it has goes back to idle",
                "uvctl start web, when uvctl status web says that it is gone");
        assert_int_equal(ask(STOP("web")), 0);
        line_is(0, "web", "kept", "already stopping", "");
        assert_int_equal(ask((struct ulv_request) { .verb = ULV_REQUEST_STOP, .name = "web", .force = true }), 0);
        assert_string_equal(plan->operations.s, "state partition web - state=stopping force=yes\n");
}

static void runs_with(const char *name, const char *contain) {
        char report[256];

        (void) snprintf(report, sizeof(report), "state partition %s - state=running leader=7 start=8 contain=%s\n", name, contain);
        assert_int_equal(bed_step(&bed, name, report, strlen(report), NULL), 0);
}

static void a_pause_needs_something_to_hold_it_in(ULV_UNUSED void **state) {
        const struct ulv_request pause = { .verb = ULV_REQUEST_PAUSE, .name = "web" }, resume = { .verb = ULV_REQUEST_RESUME, .name = "web" };

        define("web", "", "Share=1", "Size=1G");
        refused(pause, ULV_EXIT_NOT_ACTIVE, "cannot pause web", "it is defined", "uvctl start web");
        assert_int_equal(ask(START("web")), 0);
        refused(pause, ULV_EXIT_CONFLICT, "cannot pause web", "it is starting", "uvctl status web, and again when it runs");
        runs_with("web", "userns");
        refused(pause, ULV_EXIT_FAILED, "cannot pause web", "there is no cgroup v2 here in which it could be held (cgroup.freeze)",
                "a kernel with cgroup v2 mounted, and uvctl restart; or uvctl stop");
        runs_with("web", "userns%20freezer");
        assert_int_equal(ask(resume), 0);
        line_is(0, "web", "kept", "already running", "");
        assert_int_equal(ask(pause), 0);
        assert_int_equal(ask(pause), 0);
        line_is(0, "web", "kept", "already pausing", "");
        assert_int_equal(ask(resume), 0);
}

static void unknown_names_get_the_nearest(ULV_UNUSED void **state) {
        define("web", "", "Share=1", "Size=1G");
        refused(START("wbe"), ULV_EXIT_NOT_FOUND, "no partition wbe", "no definition has this name, and the ledger doesn't know it", "uvctl start web");
        refused(STOP("postgres"), ULV_EXIT_NOT_FOUND, "no partition postgres", "no definition has this name, and the ledger doesn't know it", "uvctl list");
        refused(START("host"), ULV_EXIT_USAGE, "cannot start host", "it belongs to the ultravisor itself", "uvctl list, to see the partitions");
}

static void isolation_is_checked_against_the_machine(ULV_UNUSED void **state) {
        define("web", "Isolation=firm", "Share=1", "Size=1G");
        refused(START("web"), ULV_EXIT_DENIED, "cannot start web with isolation firm",
                "it would be soft: this machine is imagined (--inventory): nothing is enforced, all is tracked only (web.partition:3 Isolation=firm)",
                "uvctl edit web, and set Isolation=soft in [Partition]");
        define("web", "", "Share=1", "Size=1G");
        policy("[Require \"all\"]\nMatch=type:container w*\nIsolation=hard\n");
        refused(START("web"), ULV_EXIT_DENIED, "cannot start web with isolation hard",
                "it would be soft: this machine is imagined (--inventory): nothing is enforced, all is tracked only (50-prod.policy:1 [Require \"all\"])",
                "edit 50-prod.policy, so that [Require \"all\"] doesn't match web, then uvctl reload");
}

static void a_container_with_all_controllers_is_firm_and_not_hard(ULV_UNUSED void **state) {
        ULV_CLEANUP(ulv_inventory_freep) struct ulv_inventory *inv = NULL;
        struct ulv_diag d = {};

        assert_int_equal(ulv_inventory_parse("machine", kestrel, sizeof(kestrel) - 1, &inv, &d), 0);
        inv->kind = ULV_INVENTORY_REAL;
        snprintf(inv->controllers, sizeof(inv->controllers), "cpuset cpu memory pids");
        ulv_ledger_free(bed.l);
        bed.l = NULL;
        assert_int_equal(ulv_ledger_new(inv, &bed.l), 0);
        define("web", "Isolation=firm", "Share=1", "Size=1G");
        start("web");
        define("db", "Isolation=hard", "Cores=1", "Size=1G");
        refused(START("db"), ULV_EXIT_DENIED, "cannot start db with isolation hard",
                "it would be firm: a container shares the host's kernel; more takes a kernel of its own, a VM's (Type=vm) (db.partition:3 Isolation=hard)",
                "uvctl edit db, and set Isolation=firm in [Partition]");
}

/* --- set ------------------------------------------------------------------------------------------------------ */

/* The machine of FACE.md: db on node 1 with 16G, batch beside it with 9G. */
static void fill_node_1(void) {
        policy("[Host]\nCores=2\nMemory=4G\n");
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY });
        define("db", "Priority=90", "Cores=4\nCoresMin=2\nCoresMax=8\nNode=1", "Size=16G\nSizeMin=8G\nSizeMax=24G\nNode=1");
        define("batch", "Priority=10", "Cores=2\nNode=1", "Size=9G\nSizeMin=4G\nNode=1");
        start("db");
        start("batch");
}

static void the_refusal_of_the_face(ULV_UNUSED void **state) {
        fill_node_1();
        refused(SET("db", .has_memory = true, .memory = G(24)), ULV_EXIT_CAPACITY, "cannot raise memory of db from 16G to 24G",
                "node 1 has 7G idle and 8G are needed (db.partition:13 Node=1)",
                "uvctl set batch memory=8G, then again (the minimum of batch is 4G)");
        done(SET("batch", .has_memory = true, .memory = G(8)));
        assert_string_equal(plan->summary, "batch loses 1G.");
        done(SET("db", .has_memory = true, .memory = G(24)));
        line_is(0, "db", "change", "memory 16G -> 24G", "live");
        assert_int_equal(memory_of("db", "1/4K"), 24 * 1024);
}

static void bounds_are_kept(ULV_UNUSED void **state) {
        fill_node_1();
        refused(SET("db", .has_memory = true, .memory = G(25)), ULV_EXIT_USAGE, "cannot set memory of db to 25G", "its definition says SizeMax=24G",
                "uvctl set db memory=24G");
        refused(SET("db", .has_cores = true, .cores = 1), ULV_EXIT_USAGE, "cannot set cores of db to 1", "its definition says CoresMin=2",
                "uvctl set db cores=2");
        refused(SET("db", .has_cores = true, .cores = 0), ULV_EXIT_USAGE, "cannot set cores of db to 0", "a partition that runs has some",
                "uvctl stop db");
        refused(SET("db", .has_share = true, .share = 1000), ULV_EXIT_USAGE, "cannot set share of db",
                "it has Cores= (db.partition:5), and either whole cores or a share of the pool, not both", "uvctl set db cores=4");
}

static void a_set_writes_the_definition_too_unless_for_this_run(ULV_UNUSED void **state) {
        struct ulv_partition_info info;

        fill_node_1();
        done(SET("db", .has_cores = true, .cores = 5, .runtime = true));
        assert_null(strstr(plan->operations.s, "define"));
        done(SET("db", .has_cores = true, .cores = 6));
        assert_int_equal(ulv_ledger_partition(bed.l, "db", &info), 0);
        assert_non_null(strstr(info.text, "Cores=6\n"));
        line_is(0, "db", "change", "cores 5 -> 6", "live");
}

static uint64_t limit_of(const char *owner, const char *id) {
        struct ulv_holding_info h;

        return ulv_ledger_holding(bed.l, "limit", id, owner, &h) == 0 ? h.amount : 0;
}

#define LIMIT(w, p, n) .limits = { { w, p, n } }, .n_limits = 1

static void limits_are_claimed_set_and_brought_to_the_definition(ULV_UNUSED void **state) {
        define("web", "", "Share=1", "Size=1G\n[Limits]\nTasks=200\nIOReadMax=/dev/vda 10M");
        start("web");
        assert_int_equal(limit_of("web", "tasks"), 200);
        assert_int_equal(limit_of("web", "io-read:/dev/vda"), 10 << 20);
        done(SET("web", LIMIT(ULV_LIMIT_TASKS, "", 500)));
        line_is(0, "web", "change", "tasks 200 -> 500", "live");
        assert_int_equal(limit_of("web", "tasks"), 500);
        /* The definition in the ledger has it too; for this run alone, it has not. */
        assert_non_null(strstr(ulv_strbuf_str(&plan->operations), "define partition web"));
        done(SET("web", LIMIT(ULV_LIMIT_IO_READ, "/dev/vda", 0), .runtime = true));
        line_is(0, "web", "change", "io-read of /dev/vda 10M/s -> none", "live");
        assert_null(strstr(ulv_strbuf_str(&plan->operations), "define"));
        assert_int_equal(limit_of("web", "io-read:/dev/vda"), 0);
        done(SET("web", LIMIT(ULV_LIMIT_IO_READ, "/dev/vda", 0), .runtime = true));
        line_is(0, "web", "kept", "has it already", "live");
        /* apply brings all of it to what the files say, and has then nothing to do. */
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY });
        line_is(0, "web", "change", "tasks 500 -> 200, io-read of /dev/vda none -> 10M/s", "live");
        assert_int_equal(limit_of("web", "tasks"), 200);
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY });
        assert_int_equal(plan->operations.len, 0);
        define("web", "", "Share=1", "Size=1G\n[Limits]\nTasks=200");
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY });
        assert_int_equal(plan->n_lines, 1);             /* it has it now, not at the next start */
        line_is(0, "web", "change", "io-read of /dev/vda 10M/s -> none", "live");
        assert_int_equal(limit_of("web", "io-read:/dev/vda"), 0);
        done(STOP("web"));
        assert_int_equal(limit_of("web", "tasks"), 0);
        done(SET("web", LIMIT(ULV_LIMIT_TASKS, "", 0)));
        line_is(0, "web", "change", "tasks 200 -> 4096", "at next start");
}

static void more_limits_than_there_can_be_are_refused(ULV_UNUSED void **state) {
        char text[2000] = "[Partition]\nType=sim\n[CPU]\nShare=1\n[Memory]\nSize=1G\n[Limits]\n";

        for (int i = 0; i < ULV_LIMITS_MAX; i++)
                (void) snprintf(text + strlen(text), sizeof(text) - strlen(text), "IOReadMax=/dev/vd%d 1M\n", i);
        bed_file(&bed, "partitions/web.partition", text);
        assert_true(bed_reload(&bed, true));
        refused(SET("web", LIMIT(ULV_LIMIT_TASKS, "", 5)), ULV_EXIT_USAGE, "cannot set one more limit of web", "32 are the most",
                "uvctl set web io-read=DEVICE:infinity, of one that it has");
}

static void a_limit_that_can_not_be_enforced_lowers_the_grade(ULV_UNUSED void **state) {
        ULV_CLEANUP(ulv_inventory_freep) struct ulv_inventory *inv = NULL;
        struct ulv_diag d = {};

        assert_int_equal(ulv_inventory_parse("machine", kestrel, sizeof(kestrel) - 1, &inv, &d), 0);
        inv->kind = ULV_INVENTORY_REAL;
        snprintf(inv->controllers, sizeof(inv->controllers), "cpuset cpu memory pids");
        ulv_ledger_free(bed.l);
        bed.l = NULL;
        assert_int_equal(ulv_ledger_new(inv, &bed.l), 0);
        define("web", "Isolation=firm", "Share=1", "Size=1G\n[Limits]\nTasks=200");
        assert_int_equal(ask(START("web")), 0);
        define("db", "Isolation=firm", "Share=1", "Size=1G\n[Limits]\nIOReadMax=/ 1M");
        refused(START("db"), ULV_EXIT_DENIED, "cannot start db with isolation firm",
                "it would be soft: this machine has no io controller for cgroups: what it reads and writes can't be limited (db.partition:3 Isolation=firm)",
                "uvctl edit db, and set Isolation=soft in [Partition]");
}

static void a_set_of_what_does_not_run_waits_for_its_start(ULV_UNUSED void **state) {
        define("web", "", "Share=1", "Size=1G");
        done(SET("web", .has_share = true, .share = 2500));
        line_is(0, "web", "change", "share 1 -> 2.5", "at next start");
        refused(SET("web", .has_share = true, .share = 2500, .runtime = true), ULV_EXIT_NOT_ACTIVE, "cannot set anything of web for this run",
                "it is not running", "uvctl set web without --runtime, or uvctl start web");
}

static void a_shrink_frees_nothing_before_it_is_proved(ULV_UNUSED void **state) {
        fill_node_1();
        assert_int_equal(ask(SET("batch", .has_memory = true, .memory = G(8))), 0);
        assert_int_equal(ask(SET("db", .has_memory = true, .memory = G(24))), 1);
        bed_settle(&bed);
        assert_int_equal(ask(SET("db", .has_memory = true, .memory = G(24))), 0);
}

/* --- move ------------------------------------------------------------------------------------------------------ */

static void cores_move_in_one_transaction(ULV_UNUSED void **state) {
        fill_node_1();
        done(MOVE("batch", "db", .has_cores = true, .cores = 1));
        line_is(0, "batch", "change", "cores 2 -> 1", "live");
        line_is(1, "db", "change", "cores 4 -> 5", "live");
        assert_non_null(strstr(plan->operations.s, "move core "));
        cores_are("batch", "12");
        refused(MOVE("batch", "db", .has_cores = true, .cores = 1), ULV_EXIT_USAGE, "cannot set cores of batch to 0", "a partition that runs has some",
                "uvctl stop batch");
        define("web", "", "Share=1", "Size=1G");
        refused(MOVE("batch", "web", .has_memory = true, .memory = G(1)), ULV_EXIT_NOT_ACTIVE, "cannot move anything between batch and web",
                "web is not running: it holds nothing", "uvctl start web, then again");
}

/* --- apply ------------------------------------------------------------------------------------------------------ */

static void apply_tells_new_changed_kept_and_removed(ULV_UNUSED void **state) {
        policy("[Host]\nCores=2\nMemory=4G\n");
        define("web", "", "Share=1", "Size=2G");
        define("old", "", "Share=1", "Size=1G");
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY });
        start("web");
        bed_file(&bed, "partitions/old.partition", "");
        define("web", "Description=front", "Share=1", "Size=3G");
        define("cache", "", "Share=1", "Size=1G\nNode=0");
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY });
        assert_int_equal(plan->n_lines, 4);
        line_is(0, "web", "change", "memory 2G -> 3G", "live");
        line_is(1, "web", "change", "Description=", "at next start");
        line_is(2, "cache", "new", "container, 1 share, 1G on node 0", "");
        line_is(3, "old", "kept", "not in this directory (--prune removes it)", "");
        assert_string_equal(plan->summary, "Fits: 1 share of 3 idle, 2G of 58G idle. Nobody loses anything.");
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY, .prune = true });
        line_is(0, "old", "remove", "not in this directory", "");
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY, .prune = true });
        assert_string_equal(plan->summary, "Nothing to do.");
}

/* A VM's ends are devices, that it has from its start to its end. */
static void a_channel_of_a_vm_that_runs_is_made_and_taken_at_its_next_start(ULV_UNUSED void **state) {
#define VM "[Partition]\nType=vm\n[CPU]\nShare=1\n[Memory]\nSize=1G\n[VM]\nKernel=/k\n"
        static const char web[] = "[Partition]\nType=container\n[CPU]\nShare=1\n[Memory]\nSize=1G\n[Container]\nRoot=/srv/web\nExec=/sbin/init\n"
                                  "[Channel \"feed\"]\nPeer=v\nKind=message\nSize=64K\n";
        struct ulv_holding_info h;

        policy("[Host]\nCores=2\nMemory=4G\n");
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY });
        bed_file(&bed, "partitions/v.partition", VM);
        bed_file(&bed, "partitions/web.partition", web);
        assert_true(bed_reload(&bed, true));
        start("v");
        bed_file(&bed, "partitions/v.partition", VM "[Channel \"feed\"]\nPeer=web\n");
        assert_true(bed_reload(&bed, true));
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY });
        line_is(0, "v", "change", "channel feed added", "at next start");
        assert_int_equal(ulv_ledger_holding(bed.l, "channel", "feed@v", "v", &h), 1);
        start("web");
        line_is(0, "web", "change", "channel feed to v", "when the VM starts anew");
        assert_int_equal(ulv_ledger_holding(bed.l, "channel", "feed@web", "web", &h), 0);
        assert_int_equal(ulv_ledger_holding(bed.l, "channel", "feed@v", "v", &h), 1);
        done(STOP("v"));
        start("v");
        assert_int_equal(ulv_ledger_holding(bed.l, "channel", "feed@v", "v", &h), 0);
        bed_file(&bed, "partitions/v.partition", VM);
        assert_true(bed_reload(&bed, true));
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY });
        line_is(0, "v", "change", "channel feed removed", "at next start");
        assert_int_equal(ulv_ledger_holding(bed.l, "channel", "feed@v", "v", &h), 0);
        /* Whose memory it is doesn't matter: it becomes a PCI device's. */
        bed_file(&bed, "partitions/w.partition", VM "[Channel \"odd\"]\nPeer=x\n");
        bed_file(&bed, "partitions/x.partition", "[Partition]\nType=container\n[CPU]\nShare=1\n[Memory]\nSize=1G\n[Container]\nRoot=/srv/x\nExec=/sbin/init\n"
                                                 "[Channel \"odd\"]\nPeer=w\nKind=stream\nSize=12K\n");
        assert_true(bed_reload(&bed, true));
        start("x");
        line_is(0, "x", "kept", "without channel odd: w refuses, a VM's channel has a Size= that is a power of two", "");
#undef VM
}

static void policy_gives_the_pool_cores_apart_and_takes_them_back(ULV_UNUSED void **state) {
        policy("[Host]\nCores=2\n[Pool]\nCores=3\nOvercommit=1.5\n");
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY });
        cores_are("host", "0-1");
        cores_are("pool", "13-15");
        assert_int_equal(ulv_ledger_pool_capacity(bed.l), 9000);
        policy("[Host]\nCores=1\n");
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY });
        cores_are("host", "0");
        cores_are("pool", "");
        assert_int_equal(ulv_ledger_pool_capacity(bed.l), 2000);
}

static void a_pool_in_use_is_not_made_too_small(ULV_UNUSED void **state) {
        define("web", "Priority=20", "Share=5", "Size=1G");
        start("web");
        policy("[Pool]\nCores=2\n");
        refused((struct ulv_request) { .verb = ULV_REQUEST_APPLY }, ULV_EXIT_CAPACITY, "cannot make the pool that small",
                "5 share are given, and the pool would have 4 (50-prod.policy:2)",
                "uvctl stop web, then again (its priority is 20, that of pool is 101)");
}

static void a_running_partition_keeps_its_type(ULV_UNUSED void **state) {
        define("web", "", "Share=5", "Size=1G");
        start("web");
        bed_file(&bed, "partitions/web.partition", "[Partition]\nType=sim\n[CPU]\nShare=5\n[Memory]\nSize=1G\n");
        assert_true(bed_reload(&bed, true));
        refused((struct ulv_request) { .verb = ULV_REQUEST_APPLY }, ULV_EXIT_CONFLICT, "cannot change the type of web from container to sim",
                "web is running", "uvctl stop web, then again");
        refused((struct ulv_request) { .verb = ULV_REQUEST_REMOVE, .name = "web" }, ULV_EXIT_CONFLICT, "cannot remove web", "it is running",
                "uvctl stop web, then again");
}

/* --- order -------------------------------------------------------------------------------------------------------- */

static void order_follows_after_through_what_is_not_named(ULV_UNUSED void **state) {
        const char *const names[] = { "web", "db" };
        const char **order;
        struct ulv_diag d = {};
        size_t n;

        define("db", "", "Share=1", "Size=1G");
        define("cache", "After=db", "Share=1", "Size=1G");
        define("web", "After=cache", "Share=1", "Size=1G");
        define("aa", "After=web", "Share=1", "Size=1G");
        assert_int_equal(ulv_plan_order(bed.b, names, 2, false, &order, &n, &d), 0);
        assert_int_equal(n, 2);
        assert_string_equal(order[0], "db");
        assert_string_equal(order[1], "web");
        free(order);
        assert_int_equal(ulv_plan_order(bed.b, NULL, 0, true, &order, &n, &d), 0);
        assert_int_equal(n, 4);
        assert_string_equal(order[0], "db");
        assert_string_equal(order[3], "aa");
        free(order);
        assert_int_equal(ulv_plan_order(bed.b, (const char *const[]) { "nobody" }, 1, false, &order, &n, &d), 1);
        assert_string_equal(d.what, "no partition nobody");
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static void same_or_enomem(struct ulv_request r) {
        ULV_CLEANUP(ulv_plan_freep) struct ulv_plan *whole = NULL;
        int want = bed_plan(&bed, &r, &whole);

        for (unsigned long n = 1;; n++) {
                ULV_CLEANUP(ulv_plan_freep) struct ulv_plan *p = NULL;
                int k;

                alloc_failed = false;
                alloc_fail_at = n;
                k = bed_plan(&bed, &r, &p);
                alloc_fail_at = 0;
                assert_true(k == want || (k == -ENOMEM && alloc_failed));
                if (k == 0) {
                        assert_string_equal(ulv_strbuf_str(&p->operations), ulv_strbuf_str(&whole->operations));
                        assert_string_equal(p->summary, whole->summary);
                }
                for (size_t i = 0; k == 0 && i < whole->n_lines; i++)
                        assert_string_equal(p->lines[i].text, whole->lines[i].text);
                if (k == 1)
                        assert_string_equal(p->reasons[0].why, whole->reasons[0].why);
                if (!alloc_failed)
                        return;
        }
}

/* --- mounts and devices ------------------------------------------------------------------------------------- */

static void define_with(const char *name, const char *sections) {
        char path[128], text[1024];

        snprintf(path, sizeof(path), "partitions/%s.partition", name);
        snprintf(text, sizeof(text), "[Partition]\nType=container\n[CPU]\nShare=1\n[Memory]\nSize=1G\n[Container]\nRoot=/srv/%s\nExec=/sbin/init\n%s", name, sections);
        bed_file(&bed, path, text);
        assert_true(bed_reload(&bed, true));
}

static bool holds(const char *kind, const char *id, const char *owner) {
        struct ulv_holding_info h;

        return ulv_ledger_holding(bed.l, kind, id, owner, &h) == 0 && h.wanted == 1;
}

#define ATTACH(n, label) (struct ulv_request) { .verb = ULV_REQUEST_ATTACH, .name = n, .other = label }
#define DETACH(n, label) (struct ulv_request) { .verb = ULV_REQUEST_DETACH, .name = n, .other = label }
#define DISK "[Device \"disk\"]\nPath=/dev/vdb\n"

static void a_start_claims_mounts_disks_and_devices(ULV_UNUSED void **state) {
        define_with("web", "[Mount \"data\"]\nSource=/srv/d\nTarget=/d\n[Device \"fuse\"]\nPath=/dev/fuse\n[Device \"tty\"]\nPath=/dev/ttyS1\n" DISK);
        start("web");
        assert_true(holds("mount", "data@web", "web"));
        assert_true(holds("device", "fuse@web", "web"));
        assert_true(holds("device", "ttyS1", "web"));
        assert_true(holds("block", "wwn-1", "web"));
}

static void a_disk_has_one_owner_and_no_part_of_it_another(ULV_UNUSED void **state) {
        define_with("web", DISK);
        define_with("two", DISK);
        define_with("three", "[Device \"part\"]\nPath=/dev/vdb1\n");
        start("web");
        refused(START("two"), ULV_EXIT_CONFLICT, "cannot give /dev/vdb to two", "it is web's (running), and a device has one owner",
                "uvctl detach web DEVICE, or uvctl stop web, then again");
        refused(START("three"), ULV_EXIT_USAGE, "cannot give /dev/vdb1 to three", "it is a part of the disk vdb, and the ledger gives whole disks",
                "Path=/dev/vdb, or a logical volume");
}

static void define_vm(const char *name, const char *writable) {
        char path[128], text[1024];

        snprintf(path, sizeof(path), "partitions/%s.partition", name);
        snprintf(text, sizeof(text), "[Partition]\nType=vm\n[CPU]\nShare=0.5\n[Memory]\nSize=64M\n[VM]\nAccel=tcg\n"
                 "[Block \"root\"]\nFile=/srv/a.img\nFormat=raw\nWritable=%s\n", writable);
        bed_file(&bed, path, text);
        assert_true(bed_reload(&bed, true));
}

static void an_image_that_is_written_has_one_owner_and_others_may_be_shared(ULV_UNUSED void **state) {
        define_vm("one", "direct");
        define_vm("two", "direct");
        define_vm("three", "kept");
        start("one");
        assert_true(holds("disk", "srv/a.img", "one"));
        refused(START("two"), ULV_EXIT_CONFLICT, "cannot give /srv/a.img to two", "it is one's (running), and a disk that is written has one owner",
                "uvctl detach one DISK, or uvctl stop one, then again");
        start("three");
        assert_true(holds("disk", "root@three", "three"));
}

static void one_plan_gives_a_device_once(ULV_UNUSED void **state) {
        define_with("web", "");
        define_with("two", "");
        start("web");
        start("two");
        define_with("web", "[Device \"t\"]\nPath=/dev/ttyS1\n");
        define_with("two", "[Device \"t\"]\nPath=/dev/ttyS1\n");
        assert_int_equal(ask((struct ulv_request) { .verb = ULV_REQUEST_APPLY }), 1);
        assert_int_equal(plan->reasons[0].code, ULV_EXIT_CONFLICT);
}

static void attach_and_detach_touch_what_is_named_only(ULV_UNUSED void **state) {
        define_with("web", "");
        start("web");
        define_with("web", "[Mount \"a\"]\nSource=/srv/a\nTarget=/a\n[Mount \"b\"]\nSource=/srv/b\nTarget=/b\n");
        done(ATTACH("web", "a"));
        line_is(0, "web", "change", "mount a added", "live");
        assert_true(holds("mount", "a@web", "web"));
        assert_false(holds("mount", "b@web", "web"));
        done(ATTACH("web", "b"));
        define_with("web", "[Mount \"b\"]\nSource=/srv/b\nTarget=/b\n");
        done(DETACH("web", "a"));
        line_is(0, "web", "change", "mount a removed", "live");
        assert_false(holds("mount", "a@web", "web"));
        assert_true(holds("mount", "b@web", "web"));
        refused(DETACH("web", "a"), ULV_EXIT_NOT_FOUND, "cannot detach a from web", "it has nothing of that name, or only on its way out", "uvctl status web");
        define_with("web", "");
        done((struct ulv_request) { .verb = ULV_REQUEST_APPLY });
        assert_false(holds("mount", "b@web", "web"));
}

static void any_allocation_may_fail(ULV_UNUSED void **state) {
        fill_node_1();
        define("web", "After=db", "Share=1", "Size=1G");
        same_or_enomem(START("web"));
        same_or_enomem(START("nobody"));
        same_or_enomem(SET("db", .has_memory = true, .memory = G(20)));
        same_or_enomem(SET("db", .has_memory = true, .memory = G(24)));
        same_or_enomem(SET("db", .has_memory = true, .memory = G(25)));
        same_or_enomem(MOVE("batch", "db", .has_cores = true, .cores = 1));
        same_or_enomem(STOP("db"));
        define_with("two", "[Mount \"a\"]\nSource=/srv/a\nTarget=/a\n" DISK);
        same_or_enomem(START("two"));
        policy("[Host]\nCores=1\nMemory=3G\n[Pool]\nCores=2\n");
        same_or_enomem((struct ulv_request) { .verb = ULV_REQUEST_APPLY });
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(a_start_claims_mounts_disks_and_devices), TEST(a_disk_has_one_owner_and_no_part_of_it_another),
                TEST(an_image_that_is_written_has_one_owner_and_others_may_be_shared), TEST(one_plan_gives_a_device_once), TEST(attach_and_detach_touch_what_is_named_only),
                TEST(cores_come_from_the_host_highest_first_and_memory_beside_them),
                TEST(the_summary_tells_idle_from_the_hosts), TEST(what_a_policy_sets_free_counts_as_idle), TEST(a_start_with_less_counts_the_host_once),
                TEST(idle_cores_are_taken_before_the_hosts_from_the_fuller_node),
                TEST(a_wanted_node_is_kept_for_cores_and_memory),
                TEST(the_host_keeps_a_core_and_2G),
                TEST(a_container_gets_the_lowest_idle_uid_range),
                TEST(less_than_wanted_starts_down_to_the_minimum),
                TEST(shares_count_against_the_hosts_cores),
                TEST(what_runs_already_is_no_error),
                TEST(a_start_is_one_transaction_with_the_definition),
                TEST(a_stopping_partition_is_not_started),
                TEST(a_pause_needs_something_to_hold_it_in),
                TEST(unknown_names_get_the_nearest),
                TEST(isolation_is_checked_against_the_machine),
                TEST(a_container_with_all_controllers_is_firm_and_not_hard),
                TEST(the_refusal_of_the_face),
                TEST(bounds_are_kept),
                TEST(a_set_writes_the_definition_too_unless_for_this_run),
                TEST(limits_are_claimed_set_and_brought_to_the_definition),
                TEST(more_limits_than_there_can_be_are_refused),
                TEST(a_limit_that_can_not_be_enforced_lowers_the_grade),
                TEST(a_set_of_what_does_not_run_waits_for_its_start),
                TEST(a_shrink_frees_nothing_before_it_is_proved),
                TEST(cores_move_in_one_transaction),
                TEST(a_channel_of_a_vm_that_runs_is_made_and_taken_at_its_next_start),
                TEST(apply_tells_new_changed_kept_and_removed),
                TEST(policy_gives_the_pool_cores_apart_and_takes_them_back),
                TEST(a_pool_in_use_is_not_made_too_small),
                TEST(a_running_partition_keeps_its_type),
                TEST(order_follows_after_through_what_is_not_named),
                TEST(any_allocation_may_fail),
        };
        int r = cmocka_run_group_tests(tests, NULL, NULL);

        ulv_plan_free(plan);
        return r;
}
