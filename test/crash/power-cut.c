/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Durability of the ledger's log under a power cut (test/crash/power-shim.c is the disk): a worker commits and
 * acknowledges through a pipe; it is killed at a random moment; what it had not synced is dropped, or, every
 * second time, a random half of the unsynced sectors stays, as a disk may do it; the store is opened again and
 * must hold every acknowledged commit, whole. --lie makes every sync a lie: the control, which must lose. */

#include "test/lib/instance.h"

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lib/fd.h"
#include "uvd/store.h"

static char base[64], live[96], disk[96];

static int worker(const char *dir, uint64_t first, int out) {
        struct ulv_diag d = { 0 };
        struct store *s = NULL;

        if (store_open(dir, &s, &d) != 0)
                return 3;
        for (uint64_t v = first;; v++) {
                char rows[256], id[64];
                struct store_entry e = { .time = v, .generation = v, .id = id, .subject = "power-cut", .reason = "", .state = "done",
                                         .operations = "", .undo = "", .after = "" };

                snprintf(id, sizeof(id), "cut-%llu", (unsigned long long) v);
                snprintf(rows, sizeof(rows), "row parameter cut.a - value=%llu\nrow parameter cut.b - value=%llu\n",
                         (unsigned long long) v, (unsigned long long) v);
                if (store_begin(s) < 0 || store_apply(s, rows, strlen(rows)) < 0 || store_add(s, &e) < 0 || store_commit(s, 1000) < 0)
                        return 4;
                if (write(out, &v, sizeof(v)) != sizeof(v))
                        return 0;
        }
}

static void each_file(const char *dir, void (*f)(const char *name, void *userdata), void *userdata) {
        DIR *d = opendir(dir);
        struct dirent *e;

        if (!d)
                FAIL("%s: %m", dir);
        while ((e = readdir(d)))
                if (e->d_type == DT_REG)
                        f(e->d_name, userdata);
        closedir(d);
}

static void slurp(const char *dir, const char *name, char **ret, size_t *len) {
        char path[512];
        int fd;

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || ulv_read_fd(fd, 256 << 20, ret, len) < 0)
                FAIL("%s: %m", path);
        close(fd);
}

static void spit(const char *dir, const char *name, const char *buf, size_t len) {
        char path[512];
        int fd;

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || ulv_write_all(fd, buf, len) < 0)
                FAIL("%s: %m", path);
        close(fd);
}

static void remove_in(const char *name, void *dir) {
        char path[512];

        snprintf(path, sizeof(path), "%s/%s", (char *) dir, name);
        if (unlink(path) < 0)
                FAIL("%s: %m", path);
}

/* The disk holds exactly what the directory holds: power was off in peace. */
static void settle_one(const char *name, ULV_UNUSED void *userdata) {
        char *buf, durable[300];
        size_t len;

        if (strstr(name, "-shm") || strstr(name, "lock"))
                return;
        slurp(live, name, &buf, &len);
        snprintf(durable, sizeof(durable), "n-%s", name);
        spit(disk, durable, buf, len);
        free(buf);
}

struct cut { bool some; uint64_t *state; };
/* One file after the cut: the durable image, with some unsynced sectors of the live one if asked. */
static void cut_one(const char *durable, void *userdata) {
        struct cut *c = userdata;
        char *image, *now = NULL, path[512];
        size_t len, now_len = 0;

        if (!ulv_startswith(durable, "n-"))
                return;
        slurp(disk, durable, &image, &len);
        snprintf(path, sizeof(path), "%s/%s", live, durable + 2);
        if (c->some && access(path, F_OK) == 0) {
                slurp(live, durable + 2, &now, &now_len);
                if (now_len > len && random_below(c->state, 2)) {
                        image = realloc(image, now_len + 1);
                        memset(image + len, 0, now_len - len);
                        len = now_len;
                }
                for (size_t at = 0; at < ULV_MIN(len, now_len); at += 512)
                        if (random_below(c->state, 2))
                                memcpy(image + at, now + at, ULV_MIN((size_t) 512, ULV_MIN(len, now_len) - at));
                free(now);
        }
        snprintf(path, sizeof(path), "%s/after", base);
        spit(path, durable + 2, image, len);
        free(image);
}

static void move_back(const char *name, ULV_UNUSED void *userdata) {
        char from[512], to[512];

        snprintf(from, sizeof(from), "%s/after/%s", base, name);
        snprintf(to, sizeof(to), "%s/%s", live, name);
        if (rename(from, to) < 0)
                FAIL("%s: %m", from);
}

static uint64_t value_of(const char *rows, const char *key) {
        const char *at = strstr(rows, key);

        at = at ? strstr(at, "value=") : NULL;
        return at ? strtoull(at + 6, NULL, 10) : 0;
}

/* One life of the worker, cut short; returns what was acknowledged last (0: nothing). */
static uint64_t one_life(uint64_t first, bool lie, uint64_t *state, const char *self) {
        uint64_t acked = 0, v;
        int p[2];
        pid_t pid;

        if (pipe2(p, O_CLOEXEC) < 0)
                FAIL("pipe: %m");
        pid = fork();
        if (pid == 0) {
                char number[32], shim[512], out[16], *slash;

                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                snprintf(shim, sizeof(shim), "%s", self);
                slash = strrchr(shim, '/');
                snprintf(slash ? slash : shim, 32, "/power-shim.so");
                setenv("LD_PRELOAD", shim, 1);
                setenv("ULV_POWER_DIR", live, 1);
                setenv("ULV_POWER_DISK", disk, 1);
                if (lie)
                        setenv("ULV_POWER_LIE", "1", 1);
                snprintf(number, sizeof(number), "%llu", (unsigned long long) first);
                (void) fcntl(p[1], F_SETFD, 0);
                snprintf(out, sizeof(out), "%d", p[1]);
                execl(self, self, "--worker", live, number, out, NULL);
                _exit(127);
        }
        close(p[1]);
        for (unsigned n = random_below(state, 120) + 1; n > 0 && read(p[0], &v, sizeof(v)) == sizeof(v); n--)
                acked = v;
        msleep(random_below(state, 4));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        while (read(p[0], &v, sizeof(v)) == sizeof(v))
                acked = v;      /* acknowledged before it died */
        close(p[0]);
        return acked;
}

int main(int argc, char **argv) {
        static const struct option options[] = { { "cycles", 1, NULL, 'c' }, { "seed", 1, NULL, 's' }, { "lie", 0, NULL, 'l' }, { 0 } };
        unsigned cycles = 60, lost = 0, halves = 0, corrupt = 0, done = 0;
        uint64_t state = 42, acked = 0, total = 0;
        char self[512] = "", after[96];
        bool lie = false;
        int c;

        if (argc == 5 && ulv_streq(argv[1], "--worker"))
                return worker(argv[2], strtoull(argv[3], NULL, 10), atoi(argv[4]));
        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'c': cycles = (unsigned) strtoul(optarg, NULL, 10); break;
                case 's': state = strtoull(optarg, NULL, 10) * 2 + 1; break;
                case 'l': lie = true; break;
                default: return 2;
                }
        if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
                FAIL("/proc/self/exe: %m");
        snprintf(base, sizeof(base), "/tmp/uv-power-XXXXXX");
        if (!mkdtemp(base))
                FAIL("%s: %m", base);
        snprintf(live, sizeof(live), "%s/live", base);
        snprintf(disk, sizeof(disk), "%s/disk", base);
        snprintf(after, sizeof(after), "%s/after", base);
        if (mkdir(live, 0700) < 0 || mkdir(disk, 0700) < 0 || mkdir(after, 0700) < 0)
                FAIL("%s: %m", base);
        if (store_install(live, "", 0, "", 0, NULL) != 0)
                FAIL("cannot make a ledger in %s", live);

        for (; done < cycles && !lost && !halves && !corrupt; done++) {
                struct cut cut = { .some = done % 2, .state = &state };
                struct ulv_strbuf rows = { 0 };
                struct ulv_diag d = { 0 };
                struct store *s = NULL;
                uint64_t before = acked, got;

                each_file(disk, remove_in, disk);
                each_file(live, settle_one, NULL);
                got = one_life(acked + 1, lie, &state, self);
                acked = ULV_MAX(acked, got);
                total += acked - before;
                each_file(disk, cut_one, &cut);
                each_file(live, remove_in, live);
                each_file(after, move_back, NULL);
                if (store_open(live, &s, &d) != 0 || store_rows(s, &rows) < 0) {
                        printf("# cycle %u: the ledger can't be read: %s %s\n", done, d.what, d.why);
                        corrupt++;
                } else {
                        uint64_t a = value_of(ulv_strbuf_str(&rows), "cut.a"), b = value_of(ulv_strbuf_str(&rows), "cut.b");

                        halves += a != b;
                        lost += a < acked;
                        if (a != b || a < acked)
                                printf("# cycle %u: acknowledged %llu, recorded %llu and %llu\n", done, (unsigned long long) acked,
                                       (unsigned long long) a, (unsigned long long) b);
                        acked = a; /* One more may have got to the disk than was acknowledged. */
                }
                ulv_strbuf_done(&rows);
                store_close(s);
        }
        printf("%s 1 - %u power cuts: %llu acknowledged commits, none lost, half done or unreadable\n1..1\n",
               lost || halves || corrupt ? "not ok" : "ok", done, (unsigned long long) total);
        if (fork() == 0)
                execlp("rm", "rm", "-rf", base, NULL);
        (void) wait(NULL);
        return lost || halves || corrupt;
}
