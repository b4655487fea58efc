/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Theory of operation. The limit is split in two halves, one a file. When the current file is full, the
 * other one, which holds the oldest text, is emptied and becomes current: so between one half and the
 * whole limit of the latest output is always there, and no byte is copied for it. No rename, no path:
 * uv-port has two fds and nothing else.
 *
 * A full disk must not stop the guest: what can't be written is dropped and counted, and the last
 * CONSOLE_TAIL bytes of it are kept in memory. The text before the gap is in the file already; when
 * there is room again, a line that says how much is missing is written, then that tail. So the first and
 * the last of what a full disk swallowed can be read. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/port/console.h"

/* Which file was written last? A full one is the older, whatever the clock says: file times are coarse. */
static unsigned find_current(const struct stat st[2], int64_t half) {
        bool full[2] = { st[0].st_size >= half, st[1].st_size >= half };

        if (full[0] != full[1])
                return full[0] ? 1 : 0;
        if ((st[0].st_size == 0) != (st[1].st_size == 0))
                return st[0].st_size == 0 ? 1 : 0;
        if (st[0].st_mtim.tv_sec != st[1].st_mtim.tv_sec)
                return st[0].st_mtim.tv_sec < st[1].st_mtim.tv_sec;
        return st[0].st_mtim.tv_nsec < st[1].st_mtim.tv_nsec;
}

int console_init(struct console *c, int fd0, int fd1, int64_t limit) {
        int fds[2] = { fd0, fd1 };
        struct stat st[2];

        for (unsigned i = 0; i < 2; i++) {
                if (fstat(fds[i], &st[i]) < 0)
                        return -errno;
                if (!S_ISREG(st[i].st_mode))
                        return -EBADF;
        }
        *c = (struct console) { .fds = { fd0, fd1 }, .half = limit / 2, .current = find_current(st, limit / 2) };
        c->used = st[c->current].st_size;
        return 0;
}

void console_done(struct console *c) {
        for (unsigned i = 0; i < 2; i++) {
                if (c->fds[i] >= 0)
                        (void) close(c->fds[i]);
                c->fds[i] = -1;
        }
}

/* Goes on in the other file. A truncation that fails leaves the turn where it is; the caller drops. */
static bool turn(struct console *c) {
        unsigned next = !c->current;

        if (ftruncate(c->fds[next], 0) < 0)
                return false;
        c->current = next;
        c->used = 0;
        return true;
}

/* Writes what fits; returns how much was written. */
static size_t put(struct console *c, const char *buf, size_t len) {
        size_t done = 0;

        while (done < len) {
                size_t n = len - done;
                if (c->used >= c->half && !turn(c))
                        break;
                if ((int64_t) n > c->half - c->used)
                        n = (size_t) (c->half - c->used);
                ssize_t w = pwrite(c->fds[c->current], buf + done, n, (off_t) c->used);
                if (w < 0 && errno == EINTR)
                        continue;
                if (w <= 0)
                        break;
                c->used += w;
                done += (size_t) w;
        }
        return done;
}

static void drop(struct console *c, const char *buf, size_t len) {
        c->dropped += len;
        if (len >= CONSOLE_TAIL) {
                memcpy(c->tail, buf + len - CONSOLE_TAIL, CONSOLE_TAIL);
                c->tail_len = CONSOLE_TAIL;
                return;
        }
        size_t keep = c->tail_len;
        if (keep + len > CONSOLE_TAIL)
                keep = CONSOLE_TAIL - len;
        memmove(c->tail, c->tail + c->tail_len - keep, keep);
        memcpy(c->tail + keep, buf, len);
        c->tail_len = keep + len;
}

/* Writes the gap's line and its tail. false: there is still no room. */
static bool tell_gap(struct console *c) {
        char line[96];
        int n = snprintf(line, sizeof(line), "\n[ultravisor: %llu bytes of output are missing here: the disk was full]\n",
                         (unsigned long long) (c->dropped - c->tail_len));
        int64_t before = c->used;
        unsigned file = c->current;

        if (put(c, line, (size_t) n) < (size_t) n) {
                /* Half a line is taken back, so that a disk that stays full doesn't collect halves. */
                if (file == c->current && ftruncate(c->fds[file], (off_t) before) == 0)
                        c->used = before;
                return false;
        }
        (void) put(c, c->tail, c->tail_len);
        c->dropped = 0;
        c->tail_len = 0;
        return true;
}

void console_write(struct console *c, const char *buf, size_t len) {
        size_t done = 0;

        if (c->dropped == 0 || tell_gap(c))
                done = put(c, buf, len);
        if (done < len)
                drop(c, buf + done, len - done);
}
