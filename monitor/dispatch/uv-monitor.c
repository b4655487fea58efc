/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-monitor NAME: becomes the monitor program of the backend that uvd named for this partition.
 *
 * Started as root, and gone after one read and one exec. What it reads was written by uvd, which has no
 * privilege, so the word chosen there is only looked up in the table below; anything else ends here. The
 * simulated backend needs no right at all: it gets its own uid before its first instruction runs. */

#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "lib/nameform.h"
#include "lib/protocol.h"
#include "model/inventory.h"

#define LAST_CAPABILITY 63

static const struct backend { const char *name, *program; uid_t uid; } backends[] = {
        { "lxc", "uv-monitor-lxc", 0 },
        { "sim", "uv-monitor-sim", ULV_UID_SIM },
};

static int fail(const char *name, const char *why, const char *try_) {
        (void) dprintf(STDERR_FILENO, "<3>uv-monitor: can't start the monitor of %s\n<3>%s\n<3>try: %s\n", name, why, try_);
        return 1;
}

/* The first word of ROOT/run/ultravisor/uvd/type/NAME. No link is followed at the end; a FIFO can't hold us. */
static int read_backend(const char *root, const char *name, char word[16]) {
        char path[4096 + 128];
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
        return n > 0 ? 0 : -ENOENT;
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

static int become(const struct backend *b, const char *root, const char *name) {
        char path[4096];
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);
        const char *argv[] = { b->program, name, NULL };
        int r;

        if (n <= 0)
                return -errno;
        path[n] = 0;
        (void) snprintf(strrchr(path, '/') + 1, 32, "%s", b->program);
        if (b->uid != 0 && ((r = own_run_dir(root, name, b->uid)) < 0 || (r = drop_to(b->uid)) < 0))
                return r;
        (void) execv(path, (char **) (uintptr_t) argv);
        return -errno;
}

int main(int argc, char *argv[]) {
        const char *root = getenv("ULTRAVISOR_ROOT");
        char word[16];
        int r;

        if (argc == 2 && ulv_streq(argv[1], "--version")) {
                (void) printf("uv-monitor %s\n", ULV_VERSION);
                return 0;
        }
        if (argc != 2 || !ulv_name_form_ok(argv[1]) || !root || root[0] != '/' || strlen(root) > 4000)
                return fail("a partition", "it wants a partition's name and ULTRAVISOR_ROOT, from uv-launch or systemd", "uvctl start NAME");
        if (read_backend(ulv_streq(root, "/") ? "" : root, argv[1], word) < 0)
                return fail(argv[1], "uvd hasn't said of which kind it is (run/ultravisor/uvd/type)", "uvctl start NAME, which has uvd say it");
        for (size_t i = 0; i < ULV_ARRAY_SIZE(backends); i++)
                if (ulv_streq(backends[i].name, word)) {
                        r = become(&backends[i], ulv_streq(root, "/") ? "" : root, argv[1]);
                        return fail(argv[1], strerror(-r), "make, so that all programs stand beside uv-monitor");
                }
        return fail(argv[1], "uvd named a backend that this version doesn't have", "the same version of all programs");
}
