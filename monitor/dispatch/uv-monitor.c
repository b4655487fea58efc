/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-monitor NAME: becomes the monitor program of the backend that uvd named for this partition. If it named none, it
 * was PID 1 that started us (systemctl start): uv-unit asks uvd whether the partition is to run, and if so it is named.
 * Named it may be from a life before, which was stopped while uvd was away: then a child becomes the monitor, for as long
 * as it takes to have that end proved and recorded, and what this start is about comes after.
 *
 * Where monitors die at once in a row, the next one waits here.
 *
 * Started as root, and gone after one read and one exec. What it reads was written by uvd, which has no
 * privilege, so the word chosen there is only looked up in the table below; anything else ends here. The
 * simulated backend needs no right at all: it gets its own uid before its first instruction runs. */

#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/nameform.h"
#include "lib/protocol.h"
#include "model/inventory.h"

#define LAST_CAPABILITY 63

static const struct backend { const char *name, *program; uid_t uid; } backends[] = {
        { "lxc", "uv-monitor-lxc", 0 },
        { "kvm", "uv-monitor-kvm", 0 },
        { "sim", "uv-monitor-sim", ULV_UID_SIM },
};

static int fail(const char *name, const char *why, const char *try_) {
        (void) dprintf(STDERR_FILENO, "<3>uv-monitor: can't start the monitor of %s\n<3>%s\n<3>try: %s\n", name, why, try_);
        return 1;
}

/* ROOT/run/ultravisor/uvd/type/NAME: the backend, and why uvd itself wants a monitor, if it doesn't for a start: "stop", to
 * end what is left; "look", whether it still runs. No link is followed at the end; a FIFO can't hold us. */
static int read_backend(const char *root, const char *name, char word[16], bool *ret_uvds) {
        char path[4096 + 128], *space;
        struct stat st;
        ssize_t n = -1;
        int fd;

        (void) snprintf(path, sizeof(path), "%s/" ULV_RUN_TYPE "/%s", root, name);
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && fstat(fd, &st) >= 0 && S_ISREG(st.st_mode))
                n = read(fd, word, 15);
        (void) ulv_close(fd);
        word[n > 0 ? n : 0] = 0;
        word[strcspn(word, "\n")] = 0;
        space = strchr(word, ' ');
        *ret_uvds = space != NULL;
        if (space) {
                *space = 0;
                if (ulv_streq(space + 1, "stop"))
                        (void) setenv("ULTRAVISOR_STOP", "yes", 1);
        }
        return n > 0 ? 0 : -ENOENT;
}

/* A stop that uvd doesn't know of yet. */
static bool stop_is_noted(const char *root, const char *name) {
        char path[4096 + 128];

        (void) snprintf(path, sizeof(path), "%s/" ULV_RUN_PARTITION "/%s/" ULV_STOP_NOTE, root, name);
        return faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int own_run_dir(const char *root, const char *name, uid_t uid) {
        char path[4096 + 128];
        _cleanup_close_ int fd = -1;

        (void) snprintf(path, sizeof(path), "%s/" ULV_RUN_PARTITION "/%s", root, name);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 || fchown(fd, uid, uid) < 0 ? -errno : 0;
}

/* The starter gave us one supplementary group, which reaches the roles' sockets: it stays. */
static int drop_to(uid_t uid) {
        for (unsigned cap = 0; cap <= LAST_CAPABILITY; cap++)
                if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL)
                        return -errno;
        if (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0 ||
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        return setuid(0) == 0 || setgid(0) == 0 ? -EPERM : 0;   /* Drop, then prove it. */
}

/* Beside our own file. */
static int program_path(char path[4096], const char *program) {
        ssize_t n = readlink("/proc/self/exe", path, 4096 - 32);

        if (n <= 0)
                return -errno;
        path[n] = 0;
        (void) snprintf(strrchr(path, '/') + 1, 32, "%s", program);
        return 0;
}

static void tell_status(const char *text) {
        const char *to = getenv("NOTIFY_SOCKET");
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -1;
        char status[600];
        int n = snprintf(status, sizeof(status), "STATUS=%.*s", (int) strcspn(text, "\n"), text);

        if (!to || strlen(to) >= sizeof(sa.sun_path) || (fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0)
                return;
        memcpy(sa.sun_path, to, strlen(to) + 1);
        if (to[0] == '@')
                sa.sun_path[0] = 0;
        (void) sendto(fd, status, (size_t) n, MSG_NOSIGNAL, (const struct sockaddr *) &sa, (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(to)));
}

/* --- deaths in a row ------------------------------------------------------------------------------------ */

#define QUICK_MS 1000           /* a monitor that lived for less died at once */
#define DEATHS_FREE 5           /* in a row that cost no delay */
#define DELAY_MAX_MS 10000

static int64_t now_ms(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_BOOTTIME, &t);
        return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* PID 1 revives a monitor at once, as often as it dies: right for accidents, and for one that can't live a busy loop. So
 * each life is noted before it begins, and taken back by an end in order (monitor_exit()); after some that were short in a
 * row the next one waits, ever longer, as under uv-launch. Who stops the unit meanwhile only has to end us. */
static void wait_after_deaths(const char *root, const char *name) {
        char path[4096 + 128], text[64] = "", status[128];
        int64_t last = 0, now = now_ms(), delay = 0;
        unsigned n = 0;
        ssize_t len;
        int fd;

        (void) snprintf(path, sizeof(path), "%s/" ULV_RUN_PARTITION "/%s/" ULV_DEATHS_NOTE, root, name);
        fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return;
        len = pread(fd, text, sizeof(text) - 1, 0);
        text[len > 0 ? len : 0] = 0;
        if (sscanf(text, "%u %" SCNd64, &n, &last) == 2 && last <= now && now - last < QUICK_MS)
                n++;
        else
                n = 0;
        if (n >= DEATHS_FREE)
                delay = n - DEATHS_FREE < 10 ? (int64_t) 10 << (n - DEATHS_FREE) : DELAY_MAX_MS;
        if (delay > 0) {
                (void) snprintf(status, sizeof(status), "%u monitors died at once in a row: the next in %" PRId64 " ms", n, delay);
                tell_status(status);
                (void) poll(NULL, 0, (int) delay);
        }
        len = snprintf(text, sizeof(text), "%u %" PRId64 "\n", n, now_ms());
        if (pwrite(fd, text, (size_t) len, 0) == len)
                (void) !ftruncate(fd, len);
        (void) ulv_close(fd);
}

/* --- a start that wasn't uvd's ---------------------------------------------------------------------------- */

/* In the child: its standard output is text, of which the first line becomes our status. */
static int ask(const char *name, int text, pid_t parent) {
        const char *argv[] = { "uv-unit", "want", name, NULL };
        char path[4096];
        int r;

        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent || dup2(text, STDOUT_FILENO) < 0)
                return -errno;
        if ((r = program_path(path, argv[0])) < 0 || (r = drop_to(ULV_UID_SIM)) < 0)
                return r;
        (void) execv(path, (char **) (uintptr_t) argv);
        return -errno;
}

/* 0: it is to run; > 0: our exit status; -errno. */
static int want(const char *name) {
        char text[512] = "";
        pid_t parent = getpid(), pid;
        int p[2], status;
        ssize_t n;

        if (pipe2(p, O_CLOEXEC) < 0)
                return -errno;
        pid = fork();
        if (pid == 0) {
                int r = ask(name, p[1], parent);
                _exit(fail(name, strerror(-r), "make, so that all programs stand beside uv-monitor"));
        }
        (void) close(p[1]);
        n = pid < 0 ? -1 : read(p[0], text, sizeof(text) - 1);
        text[n > 0 ? n : 0] = 0;
        (void) close(p[0]);
        if (pid < 0 || waitpid(pid, &status, 0) < 0)
                return -errno;
        if (text[0])
                tell_status(text);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int become(const struct backend *b, const char *root, const char *name) {
        const char *argv[] = { b->program, name, NULL };
        char path[4096];
        int r = program_path(path, b->program);

        if (r < 0)
                return r;
        if (b->uid != 0 && ((r = own_run_dir(root, name, b->uid)) < 0 || (r = drop_to(b->uid)) < 0))
                return r;
        (void) execv(path, (char **) (uintptr_t) argv);
        return -errno;
}

static int become_named(const char *root, const char *name, const char *word) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(backends); i++)
                if (ulv_streq(backends[i].name, word)) {
                        int r = become(&backends[i], root, name);
                        if (r == -ENOENT && ulv_streq(word, "kvm"))
                                return fail(name, "uv-monitor-kvm isn't installed", "apt install ultravisor-kvm");
                        return fail(name, strerror(-r), "make, so that all programs stand beside uv-monitor");
                }
        return fail(name, "uvd named a backend that this version doesn't have", "the same version of all programs");
}

/* The life before is seen to its end, by a monitor that PID 1 doesn't take for ours. 0; > 0: our exit status; -errno. */
static int settle(const char *root, const char *name, const char *word) {
        pid_t parent = getpid(), pid = fork();
        int status;

        if (pid == 0) {
                if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent || setenv("ULTRAVISOR_STOP", "past", 1) < 0)
                        _exit(1);
                _exit(become_named(root, name, word));
        }
        if (pid < 0 || waitpid(pid, &status, 0) < 0)
                return -errno;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char *argv[]) {
        const char *root = getenv("ULTRAVISOR_ROOT"), *name = argv[1];
        bool named, uvds;
        char word[16];
        int r = 0;

        if (argc == 2 && ulv_streq(argv[1], "--version")) {
                (void) printf("uv-monitor %s\n", ULV_VERSION);
                return 0;
        }
        if (argc != 2 || !ulv_name_form_ok(name) || !root || root[0] != '/' || strlen(root) > 4000)
                return fail("a partition", "it wants a partition's name and ULTRAVISOR_ROOT, from uv-launch or systemd", "uvctl start NAME");
        root = ulv_streq(root, "/") ? "" : root;
        if (getenv("ULTRAVISOR_SCOPES"))
                wait_after_deaths(root, name);
        named = read_backend(root, name, word, &uvds) >= 0;
        if (named && !uvds && getenv("ULTRAVISOR_SCOPES") && stop_is_noted(root, name)) {
                r = settle(root, name, word);
                named = false;
        }
        if (r == 0 && !named && (r = want(name)) == 0)
                r = read_backend(root, name, word, &uvds);
        if (r != 0)
                return r > 0 ? r : fail(name, "uvd hasn't said of which kind it is (run/ultravisor/uvd/type)", "uvctl start NAME, which has uvd say it");
        return become_named(root, name, word);
}
