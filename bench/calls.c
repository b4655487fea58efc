/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PERF.md goal 7: a control call against a bare sd-bus peer-to-peer call of the same shape, and `uvctl list`
 * with 1,000 partitions, a whole process, against /bin/true, busctl and virsh. */

#include "bench/bench.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "lib/bus.h"
#include "lib/protocol.h"

#define PARTITIONS 1000
static struct instance inst;
static sd_bus *ours, *bare;

static int on_rows(sd_bus_message *m, ULV_UNUSED void *userdata, ULV_UNUSED sd_bus_error *error) {
        return sd_bus_reply_method_return(m, "ts", (uint64_t) 7, "row ledger - - generation=7 incarnation=1 boot=0\n");
}
static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0), SD_BUS_METHOD("Rows", "s", "ts", on_rows, SD_BUS_VTABLE_UNPRIVILEGED), SD_BUS_VTABLE_END };
/* Nothing but sd-bus: one connection, no event loop. */
static pid_t bare_server(int fd) {
        sd_bus *bus = NULL;
        sd_id128_t id;
        pid_t pid = fork();
        int r;

        if (pid != 0)
                return pid;
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) sd_id128_randomize(&id);
        if (sd_bus_new(&bus) < 0 || sd_bus_set_fd(bus, fd, fd) < 0 || sd_bus_set_server(bus, true, id) < 0 || sd_bus_negotiate_fds(bus, true) < 0 ||
            sd_bus_set_trusted(bus, true) < 0 || sd_bus_start(bus) < 0 ||
            sd_bus_add_object_vtable(bus, NULL, ULV_PATH, ULV_IF_MANAGER, vtable, NULL) < 0)
                _exit(1);
        while ((r = sd_bus_process(bus, NULL)) >= 0)
                if (r == 0 && sd_bus_wait(bus, UINT64_MAX) < 0)
                        break;
        _exit(0);
}

static int bare_client(int fd) {
        if (sd_bus_new(&bare) < 0 || sd_bus_set_fd(bare, fd, fd) < 0 || sd_bus_negotiate_fds(bare, true) < 0)
                return -1;
        return sd_bus_start(bare);
}

static double call(void *userdata) {
        sd_bus *bus = *(sd_bus **) userdata;
        uint64_t start = now_usec();

        for (int i = 0; i < 2000; i++) {
                sd_bus_message *m = NULL;
                const char *rows;
                uint64_t g;

                if (sd_bus_call_method(bus, NULL, ULV_PATH, ULV_IF_MANAGER, "Rows", NULL, &m, "s", "ledger") < 0 ||
                    sd_bus_message_read(m, "ts", &g, &rows) < 0)
                        return -1;
                sd_bus_message_unref(m);
        }
        return (double) (now_usec() - start) / 2000;
}

static double process(void *userdata) {
        uint64_t start = now_usec();

        for (int i = 0; i < 20; i++)
                if (bench_spawn(userdata) != 0)
                        return -1;
        return (double) (now_usec() - start) / 20 / 1000;
}

int main(void) {
        char uvctl[300], path[200];
        char *list[] = { uvctl, (char *) "--root", inst.root, (char *) "list", NULL };
        char *truth[] = { (char *) "/bin/true", NULL };
        char *busctl[] = { (char *) "busctl", (char *) "--version", NULL };
        char *virsh[] = { (char *) "virsh", (char *) "--version", NULL };
        struct contender calls[] = {
                { .name = "bare sd-bus peer to peer", .run = call, .userdata = &bare },
                { .name = "uv-command: Rows(ledger)", .run = call, .userdata = &ours },
        };
        struct contender lists[] = {
                { .name = "/bin/true", .run = process, .userdata = truth },
                { .name = "uvctl list, 1,000 partitions", .run = process, .userdata = list },
                { .name = "busctl --version (loads libsystemd)", .run = process, .userdata = busctl },
                { .name = "virsh --version", .run = process, .userdata = virsh, .missing = bench_has("virsh") ? NULL : "no virsh here" },
        };
        char *apply[] = { uvctl, (char *) "--root", inst.root, (char *) "-q", (char *) "apply", (char *) "-y", NULL };
        pid_t server;
        int ends[2];

        instance_make(&inst, "bench", "[Machine]\nName=bench\nKind=imagined\n[Node \"0\"]\nCPUs=0-255\nMemory=256G\n");
        for (int i = 0; i < PARTITIONS; i++) {
                snprintf(path, sizeof(path), "etc/ultravisor/partitions/p%04d.partition", i);
                instance_write(&inst, path, "[Partition]\nType=sim\n[CPU]\nShare=0.1\n[Memory]\nSize=64M\n");
        }
        instance_start(&inst);
        snprintf(uvctl, sizeof(uvctl), "%s/uvctl", inst.bin);
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
                FAIL("socketpair: %m");
        server = bare_server(ends[1]);
        close(ends[1]);
        ours = instance_manager(&inst);
        if (!ours || bench_spawn(apply) != 0)
                FAIL("cannot define %d partitions", PARTITIONS);
        if (bare_client(ends[0]) < 0)
                FAIL("cannot speak to the bare server");
        bench_run("Control call; goal: <= 1.20x bare", "us", calls, 2, 9, 0);
        bench_run("List, whole process; goal: <= 5x /bin/true", "ms", lists, 4, 9, 0);
        kill(server, SIGTERM);
        waitpid(server, NULL, 0);
        return instance_stop(&inst);
}
