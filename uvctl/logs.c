/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A partition's console is kept by its uv-port in two files, the older and the current one; the planner
 * hands out both, read-only. What stands in them is the partition's word: on a terminal it is shown with
 * its control characters spelled out, unless --raw; into a file or a pipe it goes as it is.
 *
 * Following: the current file is looked at whenever inotify says that it grew; after a second without
 * growth it is asked for anew, because at its limit it becomes the older one and an empty one takes its
 * place. */

#include "uvctl/logs.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "uvctl/text.h"

#define TAIL_MAX ((size_t) 64 * 1024 * 1024)    /* most that is read to find the last lines */

struct log { int fd; dev_t dev; ino_t ino; };

static int take_fd(struct uvctl *u, sd_bus_message *m, struct log *ret) {
        struct stat st;
        int fd, r;

        r = client_read(u, m, "h", &fd);
        if (r != 0)
                return r;
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);     /* the message owns its own */
        if (fd < 0 || fstat(fd, &st) < 0) {
                r = -errno;
                (void) ulv_close(fd);
                return fail_errno(u, r, "open the log");
        }
        *ret = (struct log) { fd, st.st_dev, st.st_ino };
        return 0;
}

static int get_logs(struct uvctl *u, const char *name, struct log *ret_older, struct log *ret_current) {
        _cleanup_message_ sd_bus_message *m = NULL;
        struct log older;
        int r;

        r = client_call(u, &m, "Logs", "s", name);
        if (r == 0)
                r = take_fd(u, m, &older);
        if (r != 0)
                return r;
        r = take_fd(u, m, ret_current);
        if (r != 0) {
                (void) ulv_close(older.fd);
                return r;
        }
        *ret_older = older;
        return 0;
}

/* Appends what is behind *at in the file, and moves *at. */
static int read_more(int fd, off_t *at, struct ulv_strbuf *b) {
        char buf[16384];
        ssize_t n;

        while (b->len < TAIL_MAX && (n = pread(fd, buf, sizeof(buf), *at)) != 0) {
                if (n < 0)
                        return -errno;
                ulv_strbuf_add_len(b, buf, (size_t) n);
                *at += n;
        }
        return ulv_strbuf_error(b);
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

static int put_text(struct uvctl *u, const char *s, size_t len) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

        if (u->tty_out && !given(u, OPT_RAW))
                text_safe(&b, s, len, true);
        else
                ulv_strbuf_add_len(&b, s, len);
        return put(u, &b);
}

/* JSON: an array of lines, or a stream of strings, one a line, while following. */
static int put_json(struct uvctl *u, const char *s, size_t len, bool array) {
        struct json j = { .compact = !array };
        int r;

        if (array)
                json_array(&j, NULL);
        for (size_t i = 0; i < len;) {
                size_t n = strcspn(s + i, "\n");
                _cleanup_free_ char *line = strndup(s + i, n > 0 && s[i + n - 1] == '\r' ? n - 1 : n);

                if (!line) {
                        ulv_strbuf_done(&j.b);
                        return fail_errno(u, -ENOMEM, "show the log");
                }
                json_string(&j, NULL, line);
                if (!array)
                        ulv_strbuf_addc(&j.b, '\n');
                i += n + 1;
        }
        if (array)
                json_end(&j);
        r = put(u, &j.b);
        ulv_strbuf_done(&j.b);
        return r;
}

int logs_last(struct uvctl *u, const char *name, unsigned n) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct log older, current;
        const char *from;
        off_t at = 0, from_older = 0;
        int r;

        r = get_logs(u, name, &older, &current);
        if (r != 0)
                return r;
        r = read_more(older.fd, &from_older, &b);
        if (r >= 0)
                r = read_more(current.fd, &at, &b);
        (void) ulv_close(older.fd);
        (void) ulv_close(current.fd);
        if (r < 0)
                return fail_errno(u, r, "read the log");
        from = last_lines(ulv_strbuf_str(&b), b.len, n);
        r = put_text(u, from, b.len - (size_t) (from - ulv_strbuf_str(&b)));
        if (r == 0 && b.len > 0 && *from && b.s[b.len - 1] != '\n')
                putchar('\n');
        return r;
}

/* Shows what is complete of b and keeps the rest in it. */
static int put_complete(struct uvctl *u, struct ulv_strbuf *b, bool all) {
        const char *s = ulv_strbuf_str(b), *newline;
        size_t n = all ? b->len : text_complete(s, b->len);
        int r;

        if (u->output == OUTPUT_JSON && !all) {
                newline = memrchr(s, '\n', b->len);
                n = newline ? (size_t) (newline - s) + 1 : 0;
        }
        if (n == 0)
                return 0;
        r = u->output == OUTPUT_JSON ? put_json(u, s, n, false) : put_text(u, s, n);
        memmove(b->s, b->s + n, b->len - n + 1);
        b->len -= n;
        if (r == 0 && fflush(stdout) != 0)
                r = fail_errno(u, -errno, "write to standard output");
        return r;
}

/* Sleeps until the file grew, or for a second. */
static void wait_growth(int inotify, int fd) {
        struct pollfd p = { .fd = inotify, .events = POLLIN };
        char path[64], events[4096];

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (inotify >= 0)
                (void) inotify_add_watch(inotify, path, IN_MODIFY);     /* the same watch, once it is there */
        (void) poll(&p, inotify >= 0 ? 1 : 0, 1000);
        if (p.revents & POLLIN)
                (void) !read(inotify, events, sizeof(events));
}

/* Goes on with `current` from *at; for ever, or until the planner is gone. */
static int follow(struct uvctl *u, const char *name, struct log *current, off_t at, struct ulv_strbuf *b) {
        _cleanup_close_ int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        struct log older, next;
        off_t before;
        int r;

        for (;;) {
                r = put_complete(u, b, false);
                if (r != 0)
                        return r;
                wait_growth(inotify, current->fd);
                before = at;
                r = read_more(current->fd, &at, b);
                if (r < 0)
                        return fail_errno(u, r, "read the log");
                if (at != before)
                        continue;
                r = get_logs(u, name, &older, &next);
                if (r != 0)
                        return r;
                (void) ulv_close(older.fd);
                if (next.ino == current->ino && next.dev == current->dev) {
                        (void) ulv_close(next.fd);
                        continue;
                }
                /* Turned over: the rest of the old one first. What was turned over twice within a second is lost here. */
                r = read_more(current->fd, &at, b);
                (void) ulv_close(current->fd);
                *current = next;
                at = 0;
                if (r >= 0)
                        r = read_more(current->fd, &at, b);
                if (r < 0)
                        return fail_errno(u, r, "read the log");
        }
}

int verb_logs(struct uvctl *u, int argc ULV_UNUSED, char **argv) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct log older, current;
        off_t at = 0, from_older = 0;
        const char *from;
        size_t skip;
        int r;

        r = get_logs(u, argv[0], &older, &current);
        if (r != 0)
                return r;
        r = read_more(older.fd, &from_older, &b);
        if (r >= 0)
                r = read_more(current.fd, &at, &b);
        (void) ulv_close(older.fd);
        if (r < 0) {
                (void) ulv_close(current.fd);
                return fail_errno(u, r, "read the log");
        }
        if (b.len > 0) {
                from = given(u, OPT_LINES) ? last_lines(b.s, b.len, u->lines) : b.s;
                skip = (size_t) (from - b.s);
                memmove(b.s, b.s + skip, b.len - skip + 1);
                b.len -= skip;
        }
        if (given(u, OPT_FOLLOW))
                r = follow(u, argv[0], &current, at, &b);
        else if (u->output == OUTPUT_JSON)
                r = put_json(u, ulv_strbuf_str(&b), b.len, true);
        else
                r = put_complete(u, &b, true);
        (void) ulv_close(current.fd);
        return r;
}
