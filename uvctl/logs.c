/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A partition's console is kept by its uv-port in files that the planner hands out, read-only
 * (log-source.h). What stands in them is the partition's word: on a terminal it is shown with its control
 * characters spelled out, unless --raw; into a file or a pipe it goes as it is.
 *
 * Following needs nobody: inotify tells that a file grew, and the files stay the same for ever, over restarts
 * of the partition and of every process of ours. Only where there are none yet the planner is asked anew. */

#include "uvctl/logs.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>

#include "uvctl/log-source.h"
#include "uvctl/text.h"

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
        struct log_source l;
        uint64_t at;
        int r;

        r = log_open(u, name, &l);
        if (r != 0)
                return r;
        r = log_last(&l, n, &b, &at);
        log_close(&l);
        if (r < 0)
                return fail_errno(u, r, "read the log");
        r = put_text(u, ulv_strbuf_str(&b), b.len);
        if (r == 0 && b.len > 0 && b.s[b.len - 1] != '\n')
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

/* Sleeps until a file grew, or for a second. */
static void wait_growth(int inotify, const struct log_source *l) {
        struct pollfd p = { .fd = inotify, .events = POLLIN };
        char path[64], events[4096];

        for (size_t i = 0; inotify >= 0 && i < ULV_ARRAY_SIZE(l->fds); i++) {
                (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", l->fds[i]);
                (void) inotify_add_watch(inotify, path, IN_MODIFY);     /* the same watch, once it is there */
        }
        (void) poll(&p, inotify >= 0 ? 1 : 0, 1000);
        if (p.revents & POLLIN)
                (void) !read(inotify, events, sizeof(events));
}

/* Shows all that is behind *at, a chunk at a time. */
static int put_rest(struct uvctl *u, const struct log_source *l, uint64_t *at, struct ulv_strbuf *b) {
        int r, shown = 0;

        do {
                r = log_next(l, b, at);
                if (r >= 0)
                        shown = put_complete(u, b, false);
        } while (r > 0 && shown == 0);
        return r < 0 ? fail_errno(u, r, "read the log") : shown;
}

/* Files of another partition of that name, or the first ones: from their beginning. */
static int open_again(struct uvctl *u, const char *name, struct log_source *l, uint64_t *at, struct ulv_strbuf *b) {
        struct log_source next;
        int r;

        r = log_open(u, name, &next);
        if (r != 0)
                return r;
        log_close(l);
        *l = next;
        r = log_begin(l, b, at);
        return r < 0 ? fail_errno(u, r, "read the log") : 0;
}

/* Goes on from *at; for ever, or until somebody has read enough. */
static int follow(struct uvctl *u, const char *name, struct log_source *l, uint64_t *at, struct ulv_strbuf *b) {
        _cleanup_close_ int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        int r;

        for (;;) {
                r = put_rest(u, l, at, b);
                if (r != 0)
                        return r;
                wait_growth(inotify, l);
                if (log_stale(l) && (r = open_again(u, name, l, at, b)) != 0)
                        return r;
        }
}

/* The last lines, or all of it: into b where it has to be known as a whole, else shown as it is read. */
static int show(struct uvctl *u, const char *name, struct log_source *l) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        bool whole = given(u, OPT_LINES) || (u->output == OUTPUT_JSON && !given(u, OPT_FOLLOW));
        uint64_t at;
        int r;

        r = given(u, OPT_LINES) ? log_last(l, u->lines, &b, &at) : whole ? log_all(l, &b, &at) : log_begin(l, &b, &at);
        if (r < 0)
                return fail_errno(u, r, "read the log");
        if (given(u, OPT_FOLLOW))
                return follow(u, name, l, &at, &b);
        if (u->output == OUTPUT_JSON)
                return put_json(u, ulv_strbuf_str(&b), b.len, true);
        r = whole ? 0 : put_rest(u, l, &at, &b);
        return r == 0 ? put_complete(u, &b, true) : r;
}

int verb_logs(struct uvctl *u, int argc ULV_UNUSED, char **argv) {
        struct log_source l;
        int r;

        r = log_open(u, argv[0], &l);
        if (r != 0)
                return r;
        r = show(u, argv[0], &l);
        log_close(&l);
        return r;
}
