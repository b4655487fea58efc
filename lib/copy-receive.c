/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The receiving end (copy.h): a stack of open directories, the file that is being written, and nothing else that a
 * stream could speak about. What can't be made is told and left out with all that is in it; a full disk ends all. */

#include "lib/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

struct level { int fd; bool made; struct copy_record attributes; };     /* fd -1: left out, and so is what is in it */

struct receiver {
        struct copy *c;
        const char *top;                        /* what the first entry is called */
        struct level levels[COPY_DEPTH_MAX + 2];        /* [0] is the directory that all of it goes to */
        unsigned depth;
        bool open;                              /* a FILE, until its END */
        int file;                               /* -1: of one that is left out */
        struct copy_record attributes;          /* of it */
        uint64_t end;                           /* of the data so far */
        char name[COPY_NAME_MAX + 1], temporary[48];
        bool complete;                          /* the one thing is there; DONE is all that may come */
        unsigned number;
};

static int directory(const struct receiver *x) { return x->levels[x->depth].fd; }

/* Errors that the next file would have as well. */
static bool is_hopeless(int error) { return error == ENOSPC || error == EDQUOT || error == EIO || error == EROFS; }

/* 0: go on without it; -errno. */
static int leave_out(struct receiver *x, int error) {
        copy_left_out(x->c, error, NULL);
        return is_hopeless(error) ? -error : 0;
}

static int bad_stream(struct receiver *x, const char *text) {
        x->c->complain(x->c, "", 0, text);
        return -EBADMSG;
}

/* A name that nothing has that was there before; tried until it is so by who makes it. */
static void next_temporary(struct receiver *x) {
        uint32_t random = 0;

        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
                random = 0;
        (void) snprintf(x->temporary, sizeof(x->temporary), ".uv-copy-%08x-%u", random, x->number++);
}
#define TRIES 16

static void set_times(const struct copy_record *r, struct timespec times[2]) {
        times[0] = (struct timespec) { .tv_nsec = UTIME_OMIT };
        times[1] = (struct timespec) { .tv_sec = r->time, .tv_nsec = r->nsec < 1000000000 ? (long) r->nsec : 0 };
}

/* --- files ---------------------------------------------------------------------------------------------- */

static int begin_file(struct receiver *x, const struct copy_record *r) {
        x->open = true;
        x->file = -1;
        x->attributes = *r;
        x->end = 0;
        if (r->size > INT64_MAX)
                return bad_stream(x, "the partition sent a file that is larger than any");
        if (directory(x) < 0)
                return 0;
        for (int i = 0; i < TRIES && x->file < 0; i++) {
                next_temporary(x);
                x->file = openat(directory(x), x->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
                if (x->file < 0 && errno != EEXIST)
                        break;
        }
        return x->file < 0 ? leave_out(x, errno) : 0;
}

static void drop_file(struct receiver *x) {
        if (x->file < 0)
                return;
        (void) close(x->file);
        x->file = -1;
        (void) unlinkat(directory(x), x->temporary, 0);
}

static int take_data(struct receiver *x, const struct copy_record *r) {
        struct copy *c = x->c;
        int k;

        if (!x->open || r->length == 0 || r->length > COPY_CHUNK || r->size < x->end || r->size > x->attributes.size ||
            r->length > x->attributes.size - r->size)
                return bad_stream(x, "data where none can be in the stream of files");
        k = copy_read(c, c->buf, r->length);
        if (k < 0)
                return k;
        x->end = r->size + r->length;
        for (size_t at = 0; x->file >= 0 && at < r->length;) {
                ssize_t n = pwrite(x->file, c->buf + at, r->length - at, (off_t) (r->size + at));

                if (n < 0 && errno != EINTR) {
                        int error = errno;
                        drop_file(x);
                        return leave_out(x, error);
                }
                at += n > 0 ? (size_t) n : 0;
        }
        c->bytes += r->length;
        if (c->tick)
                c->tick(c);
        return 0;
}

/* Under its name when all of it is there. */
static int end_file(struct receiver *x, bool torn) {
        struct timespec times[2];
        int error = 0;

        x->open = false;
        if (torn) {
                x->c->left_out = true;          /* who sent it has said why */
                drop_file(x);
        }
        if (x->file < 0)
                return 0;
        set_times(&x->attributes, times);
        if (ftruncate(x->file, (off_t) x->attributes.size) < 0 || fchmod(x->file, x->attributes.mode & x->c->modes) < 0 ||
            futimens(x->file, times) < 0 || renameat(directory(x), x->temporary, directory(x), x->name) < 0)
                error = errno;
        if (error != 0) {
                drop_file(x);
                return leave_out(x, error);
        }
        (void) close(x->file);
        x->file = -1;
        x->c->files++;
        return 0;
}

static int take_link(struct receiver *x, const struct copy_record *r) {
        char target[COPY_TARGET_MAX + 1];
        struct timespec times[2];
        int k;

        if (r->size == 0 || r->size > COPY_TARGET_MAX)
                return bad_stream(x, "a symbolic link without a possible target in the stream of files");
        k = copy_read(x->c, target, (size_t) r->size);
        if (k < 0)
                return k;
        target[r->size] = 0;
        if (strlen(target) != r->size)
                return bad_stream(x, "a symbolic link without a possible target in the stream of files");
        if (directory(x) < 0)
                return 0;
        k = -1;
        for (int i = 0; i < TRIES && k < 0; i++) {
                next_temporary(x);
                k = symlinkat(target, directory(x), x->temporary);
                if (k < 0 && errno != EEXIST)
                        break;
        }
        if (k < 0)
                return leave_out(x, errno);
        set_times(r, times);
        (void) utimensat(directory(x), x->temporary, times, AT_SYMLINK_NOFOLLOW);
        if (renameat(directory(x), x->temporary, directory(x), x->name) < 0) {
                int error = errno;
                (void) unlinkat(directory(x), x->temporary, 0);
                return leave_out(x, error);
        }
        x->c->files++;
        return 0;
}

/* --- directories ------------------------------------------------------------------------------------------ */

/* One that is there is gone into, and stays as it is otherwise; a symbolic link is none. */
static int begin_directory(struct receiver *x, const struct copy_record *r) {
        struct level *l = &x->levels[x->depth + 1];
        int dir = directory(x), error;

        if (x->depth >= COPY_DEPTH_MAX)
                return bad_stream(x, "directories too deep in each other in the stream of files");
        *l = (struct level) { .fd = -1, .attributes = *r };
        x->depth++;
        if (dir < 0)
                return 0;
        l->made = mkdirat(dir, x->name, 0700) == 0;
        error = l->made || errno == EEXIST ? 0 : errno;
        if (error == 0 && (l->fd = openat(dir, x->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
                error = errno;
        return error ? leave_out(x, error) : 0;
}

static void end_directory(struct receiver *x) {
        struct level *l = &x->levels[x->depth--];
        struct timespec times[2];

        if (l->fd < 0)
                return;
        set_times(&l->attributes, times);
        if (l->made && (fchmod(l->fd, l->attributes.mode & x->c->modes) < 0 || futimens(l->fd, times) < 0))
                copy_left_out(x->c, errno, NULL);
        (void) close(l->fd);
}

/* --- the stream --------------------------------------------------------------------------------------------- */

static bool is_name(const char *s, size_t len) {
        return len > 0 && strlen(s) == len && !memchr(s, '/', len) && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

/* Reads a name; the first one is known better. */
static int take_name(struct receiver *x, const struct copy_record *r) {
        int k;

        if (x->open || x->complete || r->length > COPY_NAME_MAX)
                return bad_stream(x, "an entry where none can be in the stream of files");
        k = copy_read(x->c, x->name, r->length);
        if (k < 0)
                return k;
        x->name[r->length] = 0;
        if (!is_name(x->name, r->length))
                return bad_stream(x, "a name in the stream of files that is none (with / in it, . or ..): nothing of it is taken");
        if (x->depth == 0)
                (void) snprintf(x->name, sizeof(x->name), "%s", x->top);
        else
                copy_enter(x->c, x->name);
        return 0;
}

static void entry_over(struct receiver *x) {
        if (x->depth > 0)
                copy_leave(x->c);
        x->complete = x->depth == 0;
}

static int take_end(struct receiver *x, const struct copy_record *r) {
        int k = 0;

        if (!x->open && x->depth == 0)
                return bad_stream(x, "an end without a beginning in the stream of files");
        if (x->open)
                k = end_file(x, r->mode & COPY_TORN);
        else
                end_directory(x);
        entry_over(x);
        return k;
}

/* 0: go on; 1: all of it is there; -errno. */
static int take_record(struct receiver *x) {
        struct copy_record r;
        int k = copy_read(x->c, &r, sizeof(r));

        if (k < 0)
                return k;
        switch (r.kind) {
        case COPY_DATA: return take_data(x, &r);
        case COPY_END: return take_end(x, &r);
        case COPY_DONE: return x->complete ? 1 : bad_stream(x, "the stream of files ends in the middle");
        case COPY_DIRECTORY:
                k = take_name(x, &r);
                return k < 0 ? k : begin_directory(x, &r);
        case COPY_FILE:
                k = take_name(x, &r);
                return k < 0 ? k : begin_file(x, &r);
        case COPY_LINK:
                k = take_name(x, &r);
                if (k == 0 && (k = take_link(x, &r)) == 0)
                        entry_over(x);
                return k;
        default: return bad_stream(x, "what comes is no stream of files");
        }
}

int copy_receive(struct copy *c, int dir, const char *name) {
        struct receiver x = { .c = c, .top = name, .file = -1, .levels = { { .fd = dir } } };
        char magic[sizeof(COPY_MAGIC) - 1];
        int r = copy_read(c, magic, sizeof(magic));

        if (r == 0 && memcmp(magic, COPY_MAGIC, sizeof(magic)) != 0)
                r = bad_stream(&x, "what comes is no stream of files");
        if (r < 0)
                return r;
        while (r == 0)
                r = take_record(&x);
        if (r == -EPIPE)
                (void) bad_stream(&x, "the stream of files ended early");
        /* Of what isn't whole nothing is left but the directories that were made. */
        drop_file(&x);
        while (x.depth > 0)
                end_directory(&x);
        return r < 0 ? r : 0;
}
