/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Drives one uvd alone: this program is its starter, its command and its monitors, so that every answer and
 * every death can be ordered exactly. `drive-uvd CASE` runs one case against $ULV_BIN/uvd (build/bin) in a
 * root of its own below /tmp and prints one line of TAP; `drive-uvd --list` names the cases. Needs root. */

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/bus.h"
#include "lib/fd.h"
#include "lib/protocol.h"
#include "model/inventory.h"
#include "model/view.h"

#define MACHINE "[Machine]\nName=drive\nKind=imagined\nUIDRanges=1-100\n[Node \"0\"]\nCPUs=0-15\nMemory=16G\n"
#define FAIL(...) fail(__LINE__, __VA_ARGS__)
#define CHECK(e) do { if (!(e)) FAIL("not so: %s", #e); } while (0)
#define TOKEN "0123456789abcdef0123456789abcdef"

static char root[64];
static pid_t uvd_pid;
static int listener = -1, starter = -1;        /* the starter's socket, and its connection to uvd */

_Noreturn static void fail(int line, const char *fmt, ...) ULV_PRINTF(2, 3);
_Noreturn static void fail(int line, const char *fmt, ...) {
        va_list ap;

        printf("not ok 1 - drive-uvd.c:%d: ", line);
        va_start(ap, fmt);
        vprintf(fmt, ap);
        va_end(ap);
        printf("\n");
        exit(1);
}

static void msleep(unsigned ms) { (void) nanosleep(&(struct timespec) { ms / 1000, (long) (ms % 1000) * 1000000 }, NULL); }

static void put_file(const char *path, const char *text, size_t len) {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        CHECK(fd >= 0 && ulv_write_all(fd, text, len) == 0);
        (void) close(fd);
}

/* --- the starter ------------------------------------------------------------------------------------- */

static void starter_listen(void) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        char dir[128];

        (void) snprintf(dir, sizeof(dir), "%s/run", root);
        (void) mkdir(dir, 0755);
        (void) snprintf(dir, sizeof(dir), "%s/run/ultravisor", root);
        (void) mkdir(dir, 0755);
        (void) snprintf(sa.sun_path, sizeof(sa.sun_path), "%.90s/launch", dir);
        listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (listener < 0 || bind(listener, (struct sockaddr *) &sa, sizeof(sa)) < 0 || chmod(sa.sun_path, 0666) < 0 || listen(listener, 4) < 0)
                FAIL("%s: %m", sa.sun_path);
}

static void say(const char *fmt, ...) ULV_PRINTF(1, 2);
static void say(const char *fmt, ...) {
        char text[256];
        va_list ap;

        va_start(ap, fmt);
        (void) vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        CHECK(send(starter, text, strlen(text), MSG_NOSIGNAL) == (ssize_t) strlen(text));
}

/* The next word of uvd; "" if none comes within ms. */
static const char *hear(int ms) {
        static char text[257];
        struct pollfd p = { .fd = starter, .events = POLLIN };
        ssize_t n = poll(&p, 1, ms) > 0 ? recv(starter, text, sizeof(text) - 1, 0) : 0;

        text[n > 0 ? n : 0] = 0;
        return text;
}

static void end_with_us(void) {
        if (uvd_pid > 0)
                (void) kill(uvd_pid, SIGKILL);  /* it changed its uid, so a death signal is lost */
}

/* --- uvd --------------------------------------------------------------------------------------------- */

static void spawn_uvd(const char *option, const char *argument, int err, rlim_t files) {
        const char *bin = getenv("ULV_BIN");
        char path[512], inventory[128];

        (void) snprintf(path, sizeof(path), "%s/uvd", bin ? bin : "build/bin");
        (void) snprintf(inventory, sizeof(inventory), "%s/machine", root);
        uvd_pid = fork();
        if (uvd_pid == 0) {
                if (files > 0)
                        (void) setrlimit(RLIMIT_NOFILE, &(struct rlimit) { files, files });
                if (err >= 0)
                        (void) dup2(err, 2);
                execl(path, "uvd", "--root", root, "--inventory", inventory, option, argument, NULL);
                _exit(127);
        }
}

/* Accepts uvd's connection and lists the monitors: NULL-terminated names, each with TOKEN. */
static void greet(const char *const *running) {
        struct pollfd p = { .fd = listener, .events = POLLIN };

        starter = ulv_close(starter);
        CHECK(poll(&p, 1, 10000) > 0);
        starter = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        CHECK(starter >= 0);
        for (; running && *running; running++)
                say("running %s " TOKEN, *running);
        say("end");
}

static int end_of_uvd(void) {
        int status;

        CHECK(waitpid(uvd_pid, &status, 0) == uvd_pid);
        uvd_pid = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static int stop_uvd(int signo) {
        CHECK(kill(uvd_pid, signo) == 0);
        return end_of_uvd();
}

static sd_bus *connect_to(const char *socket, uid_t uid) {
        char path[128];
        sd_bus *bus = NULL;
        int r = -1;

        (void) snprintf(path, sizeof(path), "%s/run/ultravisor/%s", root, socket);
        for (int i = 0; r < 0 && i < 1000; i++) {
                CHECK(seteuid(uid) == 0);
                r = ulv_bus_connect(NULL, path, &bus);
                CHECK(seteuid(0) == 0);
                if (r < 0)
                        msleep(10);
        }
        CHECK(r >= 0);
        return bus;
}

static sd_bus *command(void) { return connect_to(ULV_SOCKET_LEDGER, ULV_UID_COMMAND); }

static sd_bus *start_uvd(const char *const *running) {
        spawn_uvd(NULL, NULL, -1, 0);
        greet(running);
        return command();
}

/* --- requests: "" and the answer in out, or the name of the error ------------------------------------- */

static const char *error_of(int r, sd_bus_error *e) {
        static char name[128];

        (void) snprintf(name, sizeof(name), "%s", r >= 0 ? "" : e->name ? strrchr(e->name, '.') + 1 : strerror(-r));
        sd_bus_error_free(e);
        return name;
}

static const char *submit(sd_bus *bus, const char *id, const char *operations, char *out, size_t size) {
        sd_bus_error e = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        const char *state, *undo, *name;
        uint64_t generation;
        uint32_t result;
        int r;

        r = sd_bus_call_method(bus, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Submit", &e, &m, "sstsss", id, "default", UINT64_C(0), "test", "drive", operations);
        if (r < 0 && e.message && getenv("DRIVE_VERBOSE"))
                printf("# %s: %s\n", e.name, e.message);
        name = error_of(r, &e);
        if (r >= 0) {
                CHECK(sd_bus_message_read(m, "utss", &result, &generation, &state, &undo) >= 0);
                (void) snprintf(out, size, "%llu %s %s", (unsigned long long) generation, state, undo);
                sd_bus_message_unref(m);
        }
        return name;
}

static void must(sd_bus *bus, const char *id, const char *operations) {
        char out[4096];
        const char *e = submit(bus, id, operations, out, sizeof(out));

        if (*e)
                FAIL("%s was refused: %s", operations, e);
}

static char *rows(sd_bus *bus, const char *kind) {
        sd_bus_error e = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        const char *text, *epoch;
        uint64_t generation;
        char *copy;

        CHECK(sd_bus_call_method(bus, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Rows", &e, &m, "s", kind) >= 0);
        CHECK(sd_bus_message_read(m, "tss", &generation, &epoch, &text) >= 0);
        copy = strdup(text);
        sd_bus_message_unref(m);
        return copy;
}

static bool rows_have(sd_bus *bus, const char *kind, const char *word) {
        _cleanup_free_ char *text = rows(bus, kind);

        return strstr(text, word) != NULL;
}

/* "" and the fd of the view, or the error. */
static const char *hello(sd_bus *bus, const char *name, const char *token, const char *type, const char *held, int *ret_view) {
        sd_bus_error e = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        uint64_t epoch;
        int fd, r;

        r = sd_bus_call_method(bus, NULL, ULV_PATH_MONITOR, ULV_IF_MONITOR, "Hello", &e, &m, "ssss", name, token, type, held);
        if (r >= 0) {
                CHECK(sd_bus_message_read(m, "th", &epoch, &fd) >= 0);
                if (ret_view)
                        *ret_view = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                sd_bus_message_unref(m);
        }
        return error_of(r, &e);
}

static const char *report(sd_bus *bus, const char *operations) {
        sd_bus_error e = SD_BUS_ERROR_NULL;
        int r = sd_bus_call_method(bus, NULL, ULV_PATH_MONITOR, ULV_IF_MONITOR, "Report", &e, NULL, "ts", UINT64_C(0), operations);

        if (r < 0 && e.message && getenv("DRIVE_VERBOSE"))
                printf("# %s: %s\n", e.name, e.message);
        return error_of(r, &e);
}

static char *view_text(int fd) {
        struct ulv_strbuf b = {};
        uint64_t generation, epoch;
        void *mem = mmap(NULL, ULV_VIEW_SIZE, PROT_READ, MAP_SHARED, fd, 0);
        int r;

        CHECK(mem != MAP_FAILED);
        r = ulv_view_read(mem, ULV_VIEW_SIZE, &b, &generation, &epoch);
        if (r < 0)
                FAIL("the view cannot be read: %s", strerror(-r));
        (void) munmap(mem, ULV_VIEW_SIZE);
        return ulv_strbuf_steal(&b);
}

/* The view follows the answer: waits until it says so. */
static char *view_that_says(int fd, const char *word) {
        for (int i = 0; i < 500; i++) {
                char *text = view_text(fd);

                if (strstr(text, word))
                        return text;
                free(text);
                msleep(5);
        }
        FAIL("the view never says %s", word);
}

static void define(sd_bus *bus, const char *name) {
        char id[80], operations[256];

        (void) snprintf(id, sizeof(id), "define-%s", name);
        (void) snprintf(operations, sizeof(operations), "define partition %s - zone=default type=sim role=guest text=[Partition]\n", name);
        must(bus, id, operations);
}

/* Defined, given a core and memory, wanted; the starter started it, and its monitor says that it runs. */
static sd_bus *bring_up(sd_bus *bus, const char *name, unsigned core, int *ret_view) {
        char id[80], operations[512];
        sd_bus *monitor;

        define(bus, name);
        (void) snprintf(id, sizeof(id), "start-%s", name);
        (void) snprintf(operations, sizeof(operations), "claim core %u %s from=host\nclaim memory 0/4K %s amount=10 from=host\nstate partition %s - state=starting\n", core, name, name, name);
        must(bus, id, operations);
        (void) snprintf(operations, sizeof(operations), "start %s", name);
        CHECK(ulv_streq(hear(5000), operations));
        say("started %s " TOKEN, name);
        monitor = connect_to(ULV_SOCKET_MONITOR, 0);
        msleep(20);     /* two sockets have no order between them; a real monitor takes longer to come up */
        CHECK(ulv_streq(hello(monitor, name, TOKEN, "sim", "", ret_view), ""));
        (void) snprintf(operations, sizeof(operations), "state partition %s - state=running leader=%u start=5 contain=simulated\nreached core %u %s amount=1 how=tracked\nreached memory 0/4K %s amount=10 how=tracked\n",
                        name, 1000 + core, core, name, name);
        CHECK(ulv_streq(report(monitor, operations), ""));
        return monitor;
}

/* --- cases ------------------------------------------------------------------------------------------- */

static int on_hello(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        *(int *) userdata = sd_bus_message_is_method_error(m, NULL) ? -1 : 1;
        return 0;
}

/* 1: taken, -1: refused, 0: not answered within ms. */
static int answer_within(sd_bus *bus, const int *answer, unsigned ms) {
        for (unsigned t = 0; t < ms && *answer == 0; t += 5) {
                while (sd_bus_process(bus, NULL) > 0)
                        ;
                msleep(5);
        }
        return *answer;
}

static void early_hello(sd_bus *bus, const char *name, const char *token, int expected) {
        sd_bus *monitor = connect_to(ULV_SOCKET_MONITOR, 0);
        char id[80], operations[256];
        int answer = 0;

        define(bus, name);
        (void) snprintf(id, sizeof(id), "start-%s", name);
        (void) snprintf(operations, sizeof(operations), "state partition %s - state=starting\n", name);
        must(bus, id, operations);
        (void) snprintf(operations, sizeof(operations), "start %s", name);
        CHECK(ulv_streq(hear(5000), operations));
        CHECK(sd_bus_call_method_async(monitor, NULL, NULL, ULV_PATH_MONITOR, ULV_IF_MONITOR, "Hello", on_hello, &answer,
                                       "ssss", name, token, "sim", "") >= 0);
        CHECK(answer_within(monitor, &answer, 200) == 0);
        say("started %s " TOKEN, name);
        CHECK(answer_within(monitor, &answer, 5000) == expected);
        sd_bus_close_unref(monitor);
}

static void case_early(void) {
        sd_bus *bus = start_uvd(NULL), *monitor;
        int answer = 0;

        early_hello(bus, "quick", TOKEN, 1);
        early_hello(bus, "false", "ffffffffffffffffffffffffffffffff", -1);
        /* one that waits and goes away leaves nothing behind */
        define(bus, "gone");
        must(bus, "start-gone", "state partition gone - state=starting\n");
        CHECK(ulv_streq(hear(5000), "start gone"));
        monitor = connect_to(ULV_SOCKET_MONITOR, 0);
        CHECK(sd_bus_call_method_async(monitor, NULL, NULL, ULV_PATH_MONITOR, ULV_IF_MONITOR, "Hello", on_hello, &answer,
                                       "ssss", "gone", TOKEN, "sim", "") >= 0);
        CHECK(answer_within(monitor, &answer, 100) == 0);
        sd_bus_close_unref(monitor);
        msleep(50);
        say("started gone " TOKEN);
        monitor = connect_to(ULV_SOCKET_MONITOR, 0);
        msleep(20);
        CHECK(ulv_streq(hello(monitor, "gone", TOKEN, "sim", "", NULL), ""));
        sd_bus_close_unref(monitor);
}

static void case_life(void) {
        sd_bus *bus = start_uvd(NULL), *monitor, *stranger;
        char first[4096], again[4096], path[128];
        _cleanup_free_ char *text = NULL;
        size_t len;
        int view;

        monitor = bring_up(bus, "web", 3, &view);
        CHECK(rows_have(bus, "partition", "row partition web - zone=default type=sim role=guest state=running"));
        CHECK(rows_have(bus, "core", "row core 3 web "));
        (void) snprintf(path, sizeof(path), "%s/run/ultravisor/uvd/type/web", root);
        CHECK(ulv_read_file_at(AT_FDCWD, path, 64, &text, &len) == 0 && ulv_streq(text, "sim\n"));
        /* a repeated id, of a transaction that would be refused now, and one that is refused */
        CHECK(ulv_streq(submit(bus, "start-web", "state partition web - state=starting\n", first, sizeof(first)), ""));
        CHECK(ulv_streq(submit(bus, "start-web", "nonsense", again, sizeof(again)), "") && ulv_streq(first, again));
        CHECK(*submit(bus, "other", "state partition web - state=starting\n", again, sizeof(again)));
        CHECK(ulv_streq(submit(bus, "not an id", "", again, sizeof(again)), "InvalidArgument"));
        /* identity: token, bound once, its own partition only */
        stranger = connect_to(ULV_SOCKET_MONITOR, 0);
        CHECK(ulv_streq(report(stranger, "ended partition web - result=x\n"), "Denied"));
        CHECK(ulv_streq(hello(stranger, "web", "ffffffffffffffffffffffffffffffff", "sim", "", NULL), "Denied"));
        CHECK(ulv_streq(hello(stranger, "nobody", TOKEN, "sim", "", NULL), "Denied"));
        CHECK(ulv_streq(hello(monitor, "web", TOKEN, "sim", "", NULL), "Denied"));
        define(bus, "other");
        CHECK(*report(monitor, "ended partition other - result=x\n"));
        /* the end: all goes back, the view says so, and a clean exit of the monitor needs no other */
        must(bus, "stop", "state partition web - state=stopping\n");
        CHECK(ulv_streq(report(monitor, "ended partition web - result=exited\n"), ""));
        free(ulv_steal(text));
        text = view_that_says(view, "state=defined");
        CHECK(!strstr(text, "other") && !strstr(text, "row core"));
        sd_bus_close_unref(monitor);
        say("exited web 0");
        CHECK(ulv_streq(hear(300), ""));
        CHECK(stop_uvd(SIGTERM) == 0);
        sd_bus_close_unref(bus);
        sd_bus_close_unref(stranger);
}

static void case_overtaken(void) {
        sd_bus *bus = start_uvd(NULL), *monitor = bring_up(bus, "web", 3, NULL);

        must(bus, "stop", "state partition web - state=stopping\n");
        CHECK(ulv_streq(report(monitor, "ended partition web - result=exited\n"), ""));
        /* The starter's word on its end is read before its connection's end, and a start comes in between. */
        say("exited web 0");
        msleep(50);
        must(bus, "again", "claim core 3 web from=idle\nstate partition web - state=starting\n");
        CHECK(ulv_streq(hear(100), ""));
        sd_bus_close_unref(monitor);
        CHECK(ulv_streq(hear(5000), "start web"));
        CHECK(stop_uvd(SIGTERM) == 0);
        sd_bus_close_unref(bus);
}

static void case_starter(void) {
        static const char *const running[] = { "a", NULL };
        sd_bus *bus = start_uvd(NULL), *a, *b;

        a = bring_up(bus, "a", 1, NULL);
        b = bring_up(bus, "b", 2, NULL);
        sd_bus_close_unref(a);
        sd_bus_close_unref(b);
        /* A monitor that ended while its partition is live is wanted again. */
        say("exited a 0");
        CHECK(ulv_streq(hear(5000), "start a"));
        say("started a " TOKEN);
        /* After a restart only what the starter doesn't keep is started. */
        (void) stop_uvd(SIGKILL);
        sd_bus_close_unref(bus);
        bus = start_uvd(running);
        CHECK(ulv_streq(hear(5000), "start b"));
        CHECK(ulv_streq(hear(300), ""));
        say("started b " TOKEN);
        CHECK(rows_have(bus, "partition", "row partition b - zone=default type=sim role=guest state=running"));
        /* A starting partition whose monitor can't be started has failed and holds nothing. */
        define(bus, "c");
        must(bus, "start-c", "claim core 5 c from=host\nstate partition c - state=starting\n");
        CHECK(ulv_streq(hear(5000), "start c"));
        say("failed c 2");
        msleep(200);
        CHECK(rows_have(bus, "partition", "row partition c - zone=default type=sim role=guest state=failed"));
        CHECK(!rows_have(bus, "core", "row core 5 c"));
        CHECK(ulv_streq(hear(1500), ""));
        /* The starter goes and comes back with the same monitors: nothing is started twice. */
        starter = ulv_close(starter);
        greet((const char *const[]) { "a", "b", NULL });
        CHECK(ulv_streq(hear(500), ""));
        CHECK(stop_uvd(SIGTERM) == 0);
        sd_bus_close_unref(bus);
}

/* Eight clients submit as fast as they can; what was acknowledged is written to a pipe by each. */
static void client(unsigned c, unsigned round, int out) {
        sd_bus *bus = command();

        for (unsigned n = 0;; n++) {
                char id[64], operations[128], answer[4096];
                const char *e;

                (void) snprintf(id, sizeof(id), "k-%u-%u-%u", round, c, n);
                (void) snprintf(operations, sizeof(operations), "set parameter k.%u-%u - value=%u\n", round, c, n);
                e = submit(bus, id, operations, answer, sizeof(answer));
                if (*e)
                        _exit(0);       /* uvd is gone */
                if (write(out, &(unsigned[2]) { c, n }, 8) != 8)
                        _exit(0);
        }
}

enum { CLIENTS = 8 };

static unsigned long kill_round(unsigned round, unsigned wait_ms) {
        unsigned last[CLIENTS], pair[2];
        unsigned long acknowledged = 0;
        pid_t pids[CLIENTS];
        sd_bus *bus;
        int fds[2];

        memset(last, 0xff, sizeof(last));
        CHECK(pipe2(fds, O_CLOEXEC) == 0);
        spawn_uvd(NULL, NULL, -1, 0);
        greet(NULL);
        sd_bus_close_unref(command());  /* it is up */
        for (unsigned c = 0; c < CLIENTS; c++)
                if ((pids[c] = fork()) == 0)
                        client(c, round, fds[1]);
        (void) close(fds[1]);
        msleep(wait_ms);
        (void) stop_uvd(SIGKILL);
        while (read(fds[0], pair, sizeof(pair)) == sizeof(pair)) {
                last[pair[0]] = pair[1];
                acknowledged++;
        }
        (void) close(fds[0]);
        for (unsigned c = 0; c < CLIENTS; c++)
                (void) waitpid(pids[c], NULL, 0);
        bus = start_uvd(NULL);
        for (unsigned c = 0; c < CLIENTS; c++) {
                char word[96], next[96], id[64], answer[4096];

                if (last[c] == UINT32_MAX)
                        continue;
                /* The last acknowledged one is in force, or one more that was committed but not answered. */
                (void) snprintf(word, sizeof(word), "row parameter k.%u-%u - value=%u\n", round, c, last[c]);
                (void) snprintf(next, sizeof(next), "row parameter k.%u-%u - value=%u\n", round, c, last[c] + 1);
                CHECK(rows_have(bus, "parameter", word) || rows_have(bus, "parameter", next));
                (void) snprintf(id, sizeof(id), "k-%u-%u-%u", round, c, last[c]);
                CHECK(ulv_streq(submit(bus, id, "nonsense", answer, sizeof(answer)), ""));      /* known by its id */
        }
        CHECK(stop_uvd(SIGTERM) == 0);
        sd_bus_close_unref(bus);
        return acknowledged;
}

static void case_kill(void) {
        const char *cycles = getenv("DRIVE_CYCLES");
        unsigned n = cycles ? (unsigned) atoi(cycles) : 10;
        unsigned long total = 0;

        for (unsigned i = 0; i < n; i++)
                total += kill_round(i, 40 + i * 97 % 160);
        printf("# %u kills, %lu acknowledged transactions\n", n, total);
        CHECK(total > n * 10);
}

/* The state directory on a tmpfs that fills up. */
static void case_disk(void) {
        _cleanup_free_ char *value = malloc(60001);
        char dir[128], operations[61000], answer[4096], id[32];
        const char *e = "";
        unsigned n = 0;
        sd_bus *bus;

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
                printf("ok 1 - disk # SKIP no mount namespace here\n");
                exit(0);
        }
        (void) snprintf(dir, sizeof(dir), "%s/var", root);
        CHECK(mkdir(dir, 0755) == 0 && mount("uv", dir, "tmpfs", 0, "size=2m,mode=755") == 0);
        bus = start_uvd(NULL);
        memset(value, 'x', 60000);
        value[60000] = 0;
        for (; n < 1000 && !*e; n++) {
                (void) snprintf(id, sizeof(id), "disk-%u", n);
                (void) snprintf(operations, sizeof(operations), "define partition p%u - zone=default type=sim role=guest text=%s\n", n, value);
                e = submit(bus, id, operations, answer, sizeof(answer));
        }
        printf("# %u were acknowledged, then: %s\n", n - 1, e);
        CHECK(ulv_streq(e, "OutcomeUnknown"));
        CHECK(end_of_uvd() != 0);
        sd_bus_close_unref(bus);
        CHECK(mount("uv", dir, "tmpfs", MS_REMOUNT, "size=64m,mode=755") == 0);
        bus = start_uvd(NULL);
        for (unsigned i = 0; i + 1 < n; i++) {
                (void) snprintf(operations, sizeof(operations), "row partition p%u ", i);
                CHECK(rows_have(bus, "partition", operations));
        }
        must(bus, id, operations[0] ? "set parameter pool.overcommit - value=1000\n" : "");  /* the id is free, or known */
        CHECK(stop_uvd(SIGTERM) == 0);
        sd_bus_close_unref(bus);
        CHECK(umount(dir) == 0);
}

/* Starts uvd so that it fails, and compares its exit and what it says with `word`. */
static void refuses(const char *option, const char *argument, const char *const *running, const char *word) {
        char text[4096] = "";
        int fds[2], status;
        ssize_t n = 0, k;

        CHECK(pipe2(fds, O_CLOEXEC) == 0);
        spawn_uvd(option, argument, fds[1], 0);
        (void) close(fds[1]);
        if (running)
                greet(running);
        while ((k = read(fds[0], text + n, sizeof(text) - 1 - (size_t) n)) > 0)
                n += k;
        text[n] = 0;
        (void) close(fds[0]);
        status = end_of_uvd();
        if (status <= 0 || status >= 127 || !strstr(text, word) || !strstr(text, "try: "))
                FAIL("ended with %d and said: %s", status, text);
}

static void ledger_path(char *buf, size_t size, const char *name) { (void) snprintf(buf, size, "%s/var/lib/ultravisor/uvd/%s", root, name); }

static void case_rebuild(void) {
        static const char *const names[] = { "p0", "p1", "p2", "p3", NULL };
        static const char *const none[] = { NULL };
        _cleanup_free_ char *before = NULL, *after = NULL;
        char *held[4], path[128];
        sd_bus *bus = start_uvd(NULL), *monitors[4];
        pid_t pids[4];

        for (unsigned i = 0; i < 4; i++) {
                int view;

                monitors[i] = bring_up(bus, names[i], i + 1, &view);
                held[i] = view_that_says(view, "state=running");
                (void) close(view);
        }
        before = rows(bus, "core");
        (void) stop_uvd(SIGKILL);
        for (unsigned i = 0; i < 4; i++)
                sd_bus_close_unref(monitors[i]);
        sd_bus_close_unref(bus);
        ledger_path(path, sizeof(path), "ledger.db");
        CHECK(unlink(path) == 0);
        ledger_path(path, sizeof(path), "ledger.db-wal");
        (void) unlink(path);
        refuses(NULL, NULL, names, "is gone, and partitions run");
        spawn_uvd("--rebuild", NULL, -1, 0);
        greet(names);
        for (unsigned i = 0; i < 4; i++)
                if ((pids[i] = fork()) == 0) {
                        bus = connect_to(ULV_SOCKET_MONITOR, 0);
                        (void) hello(bus, names[i], TOKEN, "sim", held[i], NULL);       /* not answered */
                        _exit(0);
                }
        CHECK(end_of_uvd() == 0);
        for (unsigned i = 0; i < 4; i++)
                (void) waitpid(pids[i], NULL, 0);
        bus = start_uvd(names);
        after = rows(bus, "core");
        if (!ulv_streq(before, after))
                FAIL("before:\n%safter:\n%s", before, after);
        CHECK(rows_have(bus, "partition", "row partition p3 - zone=default type=sim role=guest state=running"));
        CHECK(ulv_streq(hear(300), ""));        /* nothing is started again */
        CHECK(stop_uvd(SIGTERM) == 0);
        sd_bus_close_unref(bus);
        refuses("--restore", "/etc/hostname", none, "not a whole backup");
}

static bool heard_signal(sd_bus *bus, const char *member) {
        sd_bus_message *m;
        bool heard = false;

        while (!heard && sd_bus_process(bus, &m) > 0) {
                heard = m && sd_bus_message_is_signal(m, ULV_IF_LEDGER, member) > 0;
                sd_bus_message_unref(m);
        }
        return heard;
}

static void case_backup(void) {
        sd_bus_error e = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *text = NULL, *again = NULL, *want = NULL, *got = NULL;
        sd_bus *bus = start_uvd(NULL);
        sd_bus_message *m = NULL;
        char file[128], bad[128];
        uint64_t generation;
        size_t len;
        int fd;

        define(bus, "web");
        must(bus, "t1", "release memory 0/4K host amount=5\n");
        want = rows(bus, "");
        CHECK(sd_bus_call_method(bus, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Backup", &e, &m, "") >= 0);
        CHECK(sd_bus_message_read(m, "th", &generation, &fd) >= 0 && ulv_memfd_is_sealed(fd));
        CHECK(ulv_read_fd(fd, 1 << 24, &text, &len) == 0);
        define(bus, "later");
        CHECK(sd_bus_call_method(bus, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Restore", &e, NULL, "h", fd) >= 0);
        sd_bus_message_unref(m);
        m = NULL;
        CHECK(heard_signal(bus, "Replaced"));
        got = rows(bus, "");
        CHECK(ulv_streq(want, got));
        CHECK(sd_bus_call_method(bus, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Backup", &e, &m, "") >= 0);
        CHECK(sd_bus_message_read(m, "th", &generation, &fd) >= 0 && ulv_read_fd(fd, 1 << 24, &again, &len) == 0);
        CHECK(ulv_streq(text, again));
        sd_bus_message_unref(m);
        CHECK(stop_uvd(SIGTERM) == 0);
        sd_bus_close_unref(bus);
        /* offline, and a file with one bit changed */
        (void) snprintf(file, sizeof(file), "%s/backup", root);
        (void) snprintf(bad, sizeof(bad), "%s/bad", root);
        put_file(file, text, len);
        text[len / 2] ^= 1;
        put_file(bad, text, len);
        refuses("--restore", bad, (const char *const[]) { NULL }, "not a whole backup");
        spawn_uvd("--restore", file, -1, 0);
        greet(NULL);
        CHECK(end_of_uvd() == 0);
        bus = start_uvd(NULL);
        CHECK(rows_have(bus, "partition", "row partition web ") && !rows_have(bus, "partition", "later"));
        CHECK(stop_uvd(SIGTERM) == 0);
        sd_bus_close_unref(bus);
}

static void case_wall(void) {
        sd_bus *bus = start_uvd(NULL);
        _cleanup_free_ char *text = NULL;
        char path[64], want[64];
        size_t len;

        (void) snprintf(path, sizeof(path), "/proc/%d/status", (int) uvd_pid);
        CHECK(ulv_read_file_at(AT_FDCWD, path, 65536, &text, &len) == 0);
        (void) snprintf(want, sizeof(want), "Uid:\t%u\t%u\t%u\t%u\n", ULV_UID_UVD, ULV_UID_UVD, ULV_UID_UVD, ULV_UID_UVD);
        CHECK(strstr(text, want));
        CHECK(strstr(text, "CapPrm:\t0000000000000000\n") && strstr(text, "CapEff:\t0000000000000000\n") && strstr(text, "CapAmb:\t0000000000000000\n"));
        CHECK(strstr(text, "NoNewPrivs:\t1\n") && strstr(text, "Seccomp:\t2\n") && strstr(text, "Groups:\t \n"));
        /* Nobody but command gets a word on the command channel, root neither. */
        sd_bus_close_unref(bus);
        bus = connect_to(ULV_SOCKET_LEDGER, 0);
        CHECK(sd_bus_call_method(bus, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Rows", NULL, NULL, "s", "") < 0);
        sd_bus_close_unref(bus);
        CHECK(stop_uvd(SIGTERM) == 0);
}

static void case_found(void) {
        sd_bus *bus = start_uvd(NULL);
        pid_t first = uvd_pid;

        refuses(NULL, NULL, NULL, "another uvd keeps the ledger");
        refuses("--rebuild", NULL, NULL, "another uvd keeps the ledger");
        uvd_pid = first;
        define(bus, "web");     /* the first one never noticed */
        CHECK(stop_uvd(SIGTERM) == 0);
        sd_bus_close_unref(bus);
}

/* With 24 fds uvd takes what it can and refuses the rest by name; it serves on, and the ledger is whole. */
static void case_files(void) {
        sd_bus *bus, *many[40];
        unsigned refused = 0;

        spawn_uvd(NULL, NULL, -1, 24);
        greet(NULL);
        bus = command();
        define(bus, "web");
        for (unsigned i = 0; i < 40; i++) {
                many[i] = connect_to(ULV_SOCKET_LEDGER, ULV_UID_COMMAND);
                refused += sd_bus_call_method(many[i], NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Rows", NULL, NULL, "s", "ledger") < 0;
        }
        CHECK(refused > 0);
        must(bus, "t1", "set parameter pool.overcommit - value=1000\n");
        for (unsigned i = 0; i < 40; i++)
                sd_bus_close_unref(many[i]);
        sd_bus_close_unref(bus);
        msleep(500);            /* it takes notice of the ends one by one */
        bus = command();
        CHECK(rows_have(bus, "partition", "row partition web "));
        CHECK(stop_uvd(SIGTERM) == 0);
        sd_bus_close_unref(bus);
}

static const struct { const char *name; void (*run)(void); const char *what; } cases[] = {
        { "life", case_life, "a partition is started, observed and released; repeated ids; identity" },
        { "early", case_early, "a monitor that is quicker than the starter's word on it waits for that, and is judged then" },
        { "overtaken", case_overtaken, "a start between the starter's word on a monitor's end and that of its connection gets a monitor" },
        { "starter", case_starter, "monitors are asked for when they are missing, and only then" },
        { "kill", case_kill, "kill -9 under load loses nothing acknowledged" },
        { "disk", case_disk, "a full disk: outcome unknown, nothing lost, goes on with room" },
        { "rebuild", case_rebuild, "a deleted ledger is refused, and rebuilt from what runs" },
        { "backup", case_backup, "a backup restores to the same text" },
        { "wall", case_wall, "no privilege, seccomp on, one peer only" },
        { "found", case_found, "a second uvd is refused" },
        { "files", case_files, "out of fds: refuses connections, serves on" },
};

int main(int argc, char **argv) {
        if (argc == 2 && ulv_streq(argv[1], "--list")) {
                for (size_t i = 0; i < ULV_ARRAY_SIZE(cases); i++)
                        printf("%s\n", cases[i].name);
                return 0;
        }
        for (size_t i = 0; argc == 2 && i < ULV_ARRAY_SIZE(cases); i++) {
                char file[96], command_line[128];

                if (!ulv_streq(argv[1], cases[i].name))
                        continue;
                (void) signal(SIGPIPE, SIG_IGN);
                (void) snprintf(root, sizeof(root), "/tmp/uv-drive-XXXXXX");
                if (!mkdtemp(root) || chmod(root, 0755) < 0)
                        FAIL("%s: %m", root);
                (void) snprintf(file, sizeof(file), "%s/machine", root);
                put_file(file, MACHINE, strlen(MACHINE));
                starter_listen();
                (void) atexit(end_with_us);
                cases[i].run();
                printf("ok 1 - uvd: %s\n", cases[i].what);
                (void) fflush(stdout);
                (void) snprintf(command_line, sizeof(command_line), "rm -rf --one-file-system %s", root);
                return system(command_line) == 0 ? 0 : 1;
        }
        fprintf(stderr, "drive-uvd CASE; drive-uvd --list names them\n");
        return 2;
}
