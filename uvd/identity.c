/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Is this peer the monitor of that partition? Two answers must agree: the token that the starter gave to
 * that monitor at its start and told us, and the cgroup that the starter put it in, which a process can't
 * choose. The cgroup is read from /proc/PID while the pidfd of the connection shows that PID is still that
 * process. A machine without cgroup2, or a starter that could make no cgroup (then the monitor is where we
 * are), leaves the token alone: that is said once, in the log. */

#include "uvd/uvd.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>

#include "lib/cgroup.h"
#include "lib/fd.h"
#include "lib/log.h"

#define PROC_FILE_MAX 16384

static int read_proc(const char *pid, const char *name, char **ret) {
        char path[64];
        _cleanup_close_ int fd = -1;
        size_t len;

        (void) snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : ulv_read_fd(fd, PROC_FILE_MAX, ret, &len);
}

static bool is_alive(int pidfd) {
        struct pollfd p = { .fd = pidfd, .events = POLLIN };

        return pidfd >= 0 && poll(&p, 1, 0) == 0;
}

static bool is_last(const char *path, size_t len, const char *prefix, const char *name, const char *suffix) {
        size_t n = strlen(prefix) + strlen(name) + strlen(suffix), at;

        if (len < n + 1 || path[len - n - 1] != '/')
                return false;
        at = len - n;
        return strncmp(path + at, prefix, strlen(prefix)) == 0 && strncmp(path + at + strlen(prefix), name, strlen(name)) == 0 &&
               strncmp(path + len - strlen(suffix), suffix, strlen(suffix)) == 0;
}

int identity_cgroup(const char *text, const char *own, const char *name) {
        size_t len, own_len;
        const char *path = ulv_cgroup_path(text, &len), *ours = ulv_cgroup_path(own, &own_len);

        if (!path || !ours)
                return 2;
        if (is_last(path, len, "monitor-", name, "") || is_last(path, len, "uv-partition@", name, ".service"))
                return 0;
        return len == own_len && memcmp(path, ours, len) == 0 ? 2 : 1;
}

static int refuse(struct ulv_diag *reterr, const struct guest *g, const char *why) {
        ulv_diag_what(reterr, ULV_EXIT_DENIED, "this process is not the monitor of %s", g->name);
        ulv_diag_why(reterr, "%s", why);
        ulv_diag_try(reterr, "monitors are started by the starter alone: uvctl start %s", g->name);
        return 1;
}

/* Compares in constant time: a guesser must learn nothing from how long it takes. */
static bool same_token(const char *a, const char *b) {
        unsigned char differ = 0;

        if (strlen(a) != UVD_TOKEN_SIZE - 1 || strlen(b) != UVD_TOKEN_SIZE - 1)
                return false;
        for (size_t i = 0; i < UVD_TOKEN_SIZE - 1; i++)
                differ = (unsigned char) (differ | (a[i] ^ b[i]));
        return differ == 0;
}

int identity_check(const struct guest *g, const struct ulv_bus_peer *p, const char *token, struct ulv_diag *reterr) {
        static bool said;
        _cleanup_free_ char *theirs = NULL, *ours = NULL;
        char pid[16];
        int r;

        if (!same_token(g->token, token))
                return refuse(reterr, g, "its token is not the one that the starter gave");
        (void) snprintf(pid, sizeof(pid), "%d", (int) p->creds.pid);
        r = read_proc(pid, "cgroup", &theirs);
        if (r >= 0)
                r = read_proc("self", "cgroup", &ours);
        if (r == -ENOENT || r == -ESRCH || !is_alive(p->pidfd))
                return refuse(reterr, g, "it ended meanwhile");
        if (r < 0)
                return r;
        switch (identity_cgroup(theirs, ours, g->name)) {
        case 0:
                return 0;
        case 1:
                return refuse(reterr, g, "it doesn't run in the cgroup of that monitor");
        default:
                if (!said)
                        ulv_log(ULV_LOG_NOTICE, "no cgroup tells monitors apart here: they are known by their token alone");
                said = true;
                return 0;
        }
}

int process_start_ticks(pid_t pid, uint64_t *ret) {
        _cleanup_free_ char *stat = NULL;
        unsigned long long ticks;
        char number[16];
        const char *at;
        int r;

        (void) snprintf(number, sizeof(number), "%d", (int) pid);
        r = read_proc(number, "stat", &stat);
        if (r < 0)
                return r;
        at = strrchr(stat, ')');        /* field 2 may hold anything; the 20th after it is field 22, starttime */
        if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &ticks) != 1)
                return -EBADMSG;
        *ret = ticks;
        return 0;
}
