/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Theory of operation. Of the limit (LogMax=) a part is for the first output of the partition's present
 * life, and the rest is split in two halves, one a file. When the current file is full, the other one, which
 * holds the oldest text, is emptied and becomes current: so between one half and both of the latest output
 * is always there, and no byte is copied for it. No rename, no path: uv-port has three fds and nothing else.
 * The first bytes of a life are written twice, so that a flood doesn't wash away why it began.
 *
 * Each file says in its first line where in the whole output its text begins (lib/logform.h). That is all
 * that is kept: which file is current is seen from these lines, by a new uv-port as by a reader.
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

#include "lib/logform.h"
#include "monitor/port/console.h"

/* Empties a file and begins it anew. What fails leaves a file without a whole line, which holds nothing. */
static bool begin_file(const struct console *c, unsigned file) {
        const struct logform f = { .life = c->life, .start = c->at };
        char line[LOGFORM_HEADER + 1];

        logform_write(line, &f);
        return ftruncate(c->fds[file], 0) == 0 && pwrite(c->fds[file], line, LOGFORM_HEADER, 0) == LOGFORM_HEADER;
}

/* Goes on in the other file. A failure leaves the turn where it is; the caller drops. */
static bool turn(struct console *c) {
        unsigned next = !c->current;

        if (!begin_file(c, next))
                return false;
        c->current = next;
        c->used = 0;
        return true;
}

/* The file that begins later is the current one; where there is none, the first write begins one. */
static void find_current(struct console *c, const struct stat st[CONSOLE_FILES]) {
        struct logform f;
        bool found = false;
        uint64_t newest = 0;

        c->current = 1;
        c->used = c->half;
        for (unsigned i = 0; i < CONSOLE_FIRST; i++) {
                if (!logform_read(c->fds[i], &f) || (found && f.start < newest))
                        continue;
                found = true;
                newest = f.start;
                c->current = i;
                c->used = st[i].st_size - LOGFORM_HEADER;
                c->at = f.start + (uint64_t) c->used;
        }
}

/* Goes on with the first output of this life, if it is still being taken and has no hole; or begins it. */
static void find_first(struct console *c, const struct stat *st, int64_t room) {
        struct logform f;

        c->first_room = c->first_used = 0;
        if (!logform_read(c->fds[CONSOLE_FIRST], &f) || f.life != c->life) {
                if (begin_file(c, CONSOLE_FIRST))
                        c->first_room = room;
                return;
        }
        c->first_used = st->st_size - LOGFORM_HEADER;
        if (f.start + (uint64_t) c->first_used == c->at && c->first_used < room)
                c->first_room = room - c->first_used;
}

int console_init(struct console *c, const int fds[CONSOLE_FILES], int64_t limit, uint32_t life) {
        int64_t first = limit / 4 < LOGFORM_FIRST ? limit / 4 : LOGFORM_FIRST;
        struct stat st[CONSOLE_FILES];

        for (unsigned i = 0; i < CONSOLE_FILES; i++) {
                if (fstat(fds[i], &st[i]) < 0)
                        return -errno;
                if (!S_ISREG(st[i].st_mode))
                        return -EBADF;
        }
        *c = (struct console) { .half = (limit - first) / 2 - LOGFORM_HEADER * 2, .life = life };
        memcpy(c->fds, fds, sizeof(c->fds));
        find_current(c, st);
        find_first(c, &st[CONSOLE_FIRST], first);
        return 0;
}

void console_done(struct console *c) {
        for (unsigned i = 0; i < CONSOLE_FILES; i++) {
                if (c->fds[i] >= 0)
                        (void) close(c->fds[i]);
                c->fds[i] = -1;
        }
}

/* The same bytes once more, while they are the first. A hole ends it: what follows isn't the beginning. */
static void put_first(struct console *c, const char *buf, size_t len) {
        size_t n = (int64_t) len < c->first_room ? len : (size_t) c->first_room;

        if (n == 0)
                return;
        ssize_t w = pwrite(c->fds[CONSOLE_FIRST], buf, n, (off_t) (LOGFORM_HEADER + c->first_used));
        c->first_used += w > 0 ? w : 0;
        c->first_room = w == (ssize_t) n ? c->first_room - w : 0;
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
                ssize_t w = pwrite(c->fds[c->current], buf + done, n, (off_t) (LOGFORM_HEADER + c->used));
                if (w < 0 && errno == EINTR)
                        continue;
                if (w <= 0)
                        break;
                put_first(c, buf + done, (size_t) w);
                c->used += w;
                c->at += (uint64_t) w;
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
                if (file == c->current && ftruncate(c->fds[file], (off_t) (LOGFORM_HEADER + before)) == 0) {
                        c->at -= (uint64_t) (c->used - before);
                        c->used = before;
                        c->first_room = 0;
                }
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
