/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reading three files that uv-port fills while we look. A file's first line is read before and after its
 * text: the same line means that it wasn't emptied meanwhile, for positions only grow. What was overwritten
 * before we came to it is never passed over in silence. */

#include "uvctl/log-source.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "lib/logform.h"

#define CHUNK 65536
#define TRIES 100               /* of reading a file that is emptied under our eyes; each is a whole turn of it */

enum { FIRST = 2 };

static int take_fd(struct uvctl *u, sd_bus_message *m, int *ret) {
        int fd, r;

        r = client_read(u, m, "h", &fd);
        if (r != 0)
                return r;
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);     /* the message owns its own */
        if (fd < 0)
                return fail_errno(u, -errno, "open the log");
        *ret = fd;
        return 0;
}

int log_open(struct uvctl *u, const char *name, struct log_source *ret) {
        _cleanup_message_ sd_bus_message *m = NULL;
        struct log_source l = { .fds = { -1, -1, -1 } };
        int r;

        r = client_call(u, &m, "Logs", "s", name);
        for (size_t i = 0; r == 0 && i < ULV_ARRAY_SIZE(l.fds); i++)
                r = take_fd(u, m, &l.fds[i]);
        if (r != 0) {
                log_close(&l);
                return r;
        }
        *ret = l;
        return 0;
}

void log_close(struct log_source *l) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(l->fds); i++)
                l->fds[i] = ulv_close(l->fds[i]);
}

bool log_stale(const struct log_source *l) {
        struct stat st;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(l->fds); i++)
                if (fstat(l->fds[i], &st) < 0 || st.st_nlink == 0)
                        return true;
        return false;
}

static uint64_t text_end(int fd, const struct logform *f) {
        struct stat st;

        return fstat(fd, &st) < 0 || st.st_size < LOGFORM_HEADER ? f->start : f->start + (uint64_t) st.st_size - LOGFORM_HEADER;
}

/* Where the latest output ends. */
static uint64_t log_end(const struct log_source *l) {
        struct logform f;
        uint64_t end = 0;

        for (unsigned i = 0; i < FIRST; i++)
                if (logform_read(l->fds[i], &f))
                        end = ULV_MAX(end, text_end(l->fds[i], &f));
        return end;
}

/* The file that has the text at `at`, or the first text behind it. false: there is no file with text. */
static bool find(const struct log_source *l, uint64_t at, unsigned *ret, struct logform *ret_form) {
        struct logform f[FIRST];
        bool ok[FIRST];
        unsigned older, newer;

        for (unsigned i = 0; i < FIRST; i++)
                ok[i] = logform_read(l->fds[i], &f[i]);
        if (!ok[0] && !ok[1])
                return false;
        newer = !ok[0] || (ok[1] && f[1].start > f[0].start);
        older = ok[!newer] ? !newer : newer;
        *ret = at >= f[newer].start || text_end(l->fds[older], &f[older]) <= at ? newer : older;
        *ret_form = f[*ret];
        return true;
}

/* One text, as long as its file isn't emptied meanwhile. 1: it was; 0; -errno. */
static int read_text(int fd, const struct logform *f, uint64_t at, char *buf, size_t size, size_t *ret_n) {
        struct logform after;
        ssize_t n = pread(fd, buf, size, (off_t) (LOGFORM_HEADER + (at - f->start)));

        if (n < 0)
                return -errno;
        if (!logform_read(fd, &after) || after.start != f->start)
                return 1;
        *ret_n = (size_t) n;
        return 0;
}

static void add_missing(struct ulv_strbuf *b, uint64_t n) {
        ulv_strbuf_addf(b, "\n[ultravisor: %llu bytes of output are missing here: LogMax= has no room for them]\n", (unsigned long long) n);
}

int log_next(const struct log_source *l, struct ulv_strbuf *b, uint64_t *at) {
        char buf[CHUNK];
        struct logform f;
        unsigned file;
        size_t n;
        int r = 1;

        for (unsigned i = 0; r > 0 && i < TRIES; i++) {
                if (!find(l, *at, &file, &f))
                        return 0;
                r = read_text(l->fds[file], &f, ULV_MAX(*at, f.start), buf, sizeof(buf), &n);
        }
        if (r != 0)
                return r < 0 ? r : -EBUSY;
        if (*at < f.start && n > 0) {
                add_missing(b, f.start - *at);
                *at = f.start;
        }
        ulv_strbuf_add_len(b, buf, n);
        *at += n;
        return ulv_strbuf_error(b) < 0 ? ulv_strbuf_error(b) : n > 0;
}

int log_begin(const struct log_source *l, struct ulv_strbuf *b, uint64_t *ret_at) {
        char buf[LOGFORM_FIRST];
        struct logform first, latest;
        unsigned file;
        size_t n = 0;

        *ret_at = 0;
        if (!find(l, 0, &file, &latest))
                return 0;
        *ret_at = latest.start;
        if (!logform_read(l->fds[FIRST], &first) || first.start >= latest.start)
                return 0;
        int r = read_text(l->fds[FIRST], &first, first.start, buf, sizeof(buf), &n);
        if (r != 0)
                return r < 0 ? r : 0;           /* a new life began just now: the latest output has all of it */
        n = (size_t) ULV_MIN((uint64_t) n, latest.start - first.start);
        ulv_strbuf_add_len(b, buf, n);
        if (first.start + n < latest.start)
                add_missing(b, latest.start - first.start - n);
        return ulv_strbuf_error(b);
}

int log_all(const struct log_source *l, struct ulv_strbuf *b, uint64_t *ret_at) {
        uint64_t end = log_end(l);
        int r = log_begin(l, b, ret_at);

        if (r < 0)
                return r;
        if (end - ULV_MIN(*ret_at, end) > LOG_TAIL_MAX / 2)
                *ret_at = end - LOG_TAIL_MAX / 2;
        for (r = 1; r > 0 && b->len < LOG_TAIL_MAX;)
                r = log_next(l, b, ret_at);
        return r < 0 ? r : 0;
}

/* Start of the last n lines of s. */
static const char *last_lines(const char *s, size_t len, unsigned n) {
        size_t i = len;

        if (n == 0)
                return s + len;
        if (i > 0 && s[i - 1] == '\n')
                i--;
        while (i > 0)
                if (s[--i] == '\n' && --n == 0)
                        return s + i + 1;
        return s;
}

int log_last(const struct log_source *l, unsigned n, struct ulv_strbuf *b, uint64_t *ret_at) {
        int r = log_all(l, b, ret_at);

        if (r < 0 || b->len == 0)
                return r;
        size_t skip = (size_t) (last_lines(b->s, b->len, n) - b->s);
        memmove(b->s, b->s + skip, b->len - skip + 1);
        b->len -= skip;
        return 0;
}
