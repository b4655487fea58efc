/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PERF.md goal 6: durable transactions a second. One client: uvd against SQLite alone (WAL, synchronous=FULL)
 * and against the limit, pwrite + fdatasync into a preallocated file. 64 clients: uvd's group commit against
 * etcd with 64 connections, and against 64 inserts in one SQLite commit. Ours goes the whole way: sd-bus call,
 * ledger step, commit, reply; the clients share the machine's cores with it. */

#include "bench/bench.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lib/protocol.h"

#define ROUND_USEC 200000
#define CLIENTS 64

static struct instance inst;
static sd_bus *one;

static double raw(ULV_UNUSED void *userdata) {
        char path[256], buf[512] = "x";
        uint64_t end, n = 0, start;
        int fd;

        snprintf(path, sizeof(path), "%s/raw", inst.root);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || posix_fallocate(fd, 0, 8 << 20) != 0)
                return -1;
        for (off_t o = 0; o < 8 << 20; o += 4096)
                if (pwrite(fd, buf, sizeof(buf), o) < 0)
                        return -1;
        (void) fsync(fd);
        start = now_usec();
        end = start + ROUND_USEC;
        while (now_usec() < end) {
                if (pwrite(fd, buf, sizeof(buf), (off_t) (n * 512 % (8 << 20))) < 0 || fdatasync(fd) < 0)
                        return -1;
                n++;
        }
        close(fd);
        return (double) n * 1e6 / (double) (now_usec() - start);
}

static double sqlite_group(void *userdata) {
        int group = *(int *) userdata;
        static sqlite3 *db;
        static sqlite3_stmt *insert;
        static uint64_t id;
        uint64_t start = now_usec(), n = 0;

        if (!db) {
                char path[256];

                snprintf(path, sizeof(path), "%s/peer.db", inst.root);
                if (sqlite3_open(path, &db) || sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                    "CREATE TABLE h(id TEXT PRIMARY KEY, who TEXT, ops TEXT)", NULL, NULL, NULL) ||
                    sqlite3_prepare_v2(db, "INSERT INTO h VALUES(?1, 'bench', 'set parameter bench - value=1')", -1, &insert, NULL))
                        return -1;
        }
        while (now_usec() < start + ROUND_USEC) {
                if (sqlite3_exec(db, "BEGIN", NULL, NULL, NULL))
                        return -1;
                for (int i = 0; i < group; i++, n++) {
                        char key[32];

                        snprintf(key, sizeof(key), "txn-%llu", (unsigned long long) ++id);
                        sqlite3_bind_text(insert, 1, key, -1, SQLITE_TRANSIENT);
                        if (sqlite3_step(insert) != SQLITE_DONE)
                                return -1;
                        sqlite3_reset(insert);
                }
                if (sqlite3_exec(db, "COMMIT", NULL, NULL, NULL))
                        return -1;
        }
        return (double) n * 1e6 / (double) (now_usec() - start);
}

static double ours_one(ULV_UNUSED void *userdata) {
        static uint64_t id;
        uint64_t start = now_usec(), n = 0;

        while (now_usec() < start + ROUND_USEC) {
                char key[32], ops[64];

                snprintf(key, sizeof(key), "one-%llu", (unsigned long long) ++id);
                snprintf(ops, sizeof(ops), "set parameter bench - value=%llu\n", (unsigned long long) id);
                if (sd_bus_call_method(one, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Submit", NULL, NULL, "sstsss", key, "default",
                                       (uint64_t) 0, "bench", "", ops) < 0)
                        return -1;
                n++;
        }
        return (double) n * 1e6 / (double) (now_usec() - start);
}

/* One process that polls 64 connections, as etcd's clients below: sd-event would ask each of them for its
 * wishes in every turn, and measure that. */
static struct { sd_bus *bus; unsigned number; } clients[CLIENTS];
static uint64_t many_id, many_done;
static bool many_stop;

static int submit(unsigned k);
static int on_reply(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        if (sd_bus_message_is_method_error(m, NULL))
                FAIL("a transaction was refused: %s", sd_bus_message_get_error(m)->message);
        many_done++;
        return many_stop ? 0 : submit(*(unsigned *) userdata);
}
static int submit(unsigned k) {
        char key[32], ops[64];

        snprintf(key, sizeof(key), "many-%llu", (unsigned long long) ++many_id);
        snprintf(ops, sizeof(ops), "set parameter bench.%u - value=%llu\n", k, (unsigned long long) many_id);
        return sd_bus_call_method_async(clients[k].bus, NULL, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Submit", on_reply, &clients[k].number,
                                        "sstsss", key, "default", (uint64_t) 0, "bench", "", ops);
}

static int turn(struct pollfd *p) {
        int r = poll(p, CLIENTS, 1000);

        for (unsigned k = 0; r > 0 && k < CLIENTS; k++)
                if (p[k].revents)
                        while ((r = sd_bus_process(clients[k].bus, NULL)) > 0)
                                ;
        return r;
}

static double ours_many(ULV_UNUSED void *userdata) {
        static struct pollfd p[CLIENTS];
        uint64_t start, before;

        many_stop = false;
        for (unsigned k = 0; k < CLIENTS; k++) {
                clients[k].number = k;
                if (!clients[k].bus && !(clients[k].bus = instance_ledger(&inst)))
                        return -1;
                p[k] = (struct pollfd) { .fd = sd_bus_get_fd(clients[k].bus), .events = POLLIN };
                if (submit(k) < 0 || sd_bus_flush(clients[k].bus) < 0)
                        return -1;
        }
        start = now_usec();
        before = many_done;
        while (now_usec() < start + ROUND_USEC)
                if (turn(p) < 0)
                        return -1;
        before = many_done - before;
        start = now_usec() - start;
        many_stop = true;
        while (many_done < many_id)
                if (turn(p) < 0)
                        return -1;
        return (double) before * 1e6 / (double) start;
}

/* --- etcd, by its JSON gateway over kept connections --------------------------------------------------- */
static pid_t etcd_pid;
static int etcd_connect(void) {
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(23790), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0) {
                close(fd);
                return -1;
        }
        return fd;
}
static const char PUT[] = "POST /v3/kv/put HTTP/1.1\r\nHost: l\r\nContent-Length: 37\r\n\r\n{\"key\":\"YmVuY2g=\",\"value\":\"MTIzNDU=\"}";

static double etcd_many(ULV_UNUSED void *userdata) {
        static struct pollfd p[CLIENTS];
        uint64_t start, n = 0;
        char buf[4096];

        for (int k = 0; k < CLIENTS; k++) {
                if (p[k].fd <= 0)
                        p[k] = (struct pollfd) { .fd = etcd_connect(), .events = POLLIN };
                if (p[k].fd < 0 || write(p[k].fd, PUT, sizeof(PUT) - 1) < 0)
                        return -1;
        }
        start = now_usec();
        while (now_usec() < start + ROUND_USEC) {
                if (poll(p, CLIENTS, 1000) <= 0)
                        return -1;
                for (int k = 0; k < CLIENTS; k++)
                        if (p[k].revents) {
                                /* An answer is small and comes whole on loopback. */
                                if (read(p[k].fd, buf, sizeof(buf)) <= 0 || write(p[k].fd, PUT, sizeof(PUT) - 1) < 0)
                                        return -1;
                                n++;
                        }
        }
        start = now_usec() - start;
        for (int k = 0; k < CLIENTS; k++)
                if (read(p[k].fd, buf, sizeof(buf)) <= 0)
                        return -1;
        return (double) n * 1e6 / (double) start;
}

static void etcd_begin(void) {
        char dir[256];
        int fd;

        etcd_pid = fork();
        if (etcd_pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                snprintf(dir, sizeof(dir), "%s/etcd", inst.root);
                fd = open("/dev/null", O_RDWR);
                (void) dup2(fd, 1);
                (void) dup2(fd, 2);
                execlp("etcd", "etcd", "--data-dir", dir, "--listen-client-urls", "http://127.0.0.1:23790", "--advertise-client-urls",
                       "http://127.0.0.1:23790", "--listen-peer-urls", "http://127.0.0.1:23800", "--initial-advertise-peer-urls",
                       "http://127.0.0.1:23800", "--initial-cluster", "default=http://127.0.0.1:23800", NULL);
                _exit(127);
        }
        for (int i = 0; i < 100; i++) {
                msleep(100);
                fd = etcd_connect();
                if (fd >= 0) {
                        close(fd);
                        msleep(1000);
                        return;
                }
        }
}

int main(void) {
        static int groups[] = { 1, 64 };
        int status;
        pid_t pid;
        struct contender single[] = {
                { .name = "SQLite alone, one at a time", .run = sqlite_group, .userdata = &groups[0] },
                { .name = "uvd, one client", .run = ours_one },
                { .name = "limit: pwrite + fdatasync", .run = raw },
        };
        struct contender many[] = {
                { .name = "etcd, 64 connections", .run = etcd_many },
                { .name = "uvd, 64 clients", .run = ours_many },
                { .name = "SQLite alone, 64 in a commit", .run = sqlite_group, .userdata = &groups[1] },
        };

        instance_make(&inst, "bench", "[Machine]\nName=bench\nKind=imagined\n[Node \"0\"]\nCPUs=0-7\nMemory=8G\n");
        if (chmod(inst.root, 0777) < 0)
                FAIL("chmod: %m");
        instance_start(&inst);
        if (bench_has("etcd"))
                etcd_begin();
        else
                many[0].missing = "no etcd here: apt-get install etcd-server";
        pid = fork();
        if (pid == 0) {
                become_command();
                one = instance_ledger(&inst);
                bench_run("Durable transactions, one client; goal: >= 0.80x SQLite", "a second", single, 3, 21, 0);
                bench_run("Durable transactions, 64 clients; goal: >= 4x etcd", "a second", many, 3, 21, 0);
                exit(0);
        }
        waitpid(pid, &status, 0);
        if (etcd_pid > 0) {
                kill(etcd_pid, SIGTERM);
                waitpid(etcd_pid, NULL, 0);
        }
        return instance_stop(&inst) || status != 0;
}
