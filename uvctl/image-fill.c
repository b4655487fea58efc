/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From a directory, an archive, a file system image or a program into an image's tree.
 *
 * Theory of operation. Whatever it is becomes a tar archive, and one extractor unpacks it:
 *
 *   producer (tar -c, zstd -dc, mmdebstrap, a file) --> uvctl: counts, shows progress --> tar -x
 *
 * All but mmdebstrap run in a cage (cage.c). A file system image is mounted read-only, detached, for the time
 * of the copy: so every image at rest is a tree on the host's own file system, whose ids every kernel
 * from 6.1 on can map (squashfs and erofs it can't, or not everywhere). Device nodes can't be made in the cage:
 * those below /dev are left out, for a container gets a /dev of its own; any other is an error. */

#include "uvctl/image.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "model/quantity.h"
#include "uvctl/cage.h"
#include "uvctl/text.h"

#define FILL_MAX (UINT64_C(1) << 40)    /* an archive of a terabyte is a mistake */
#define TICK_MS 200
#define CHUNK (1 << 20)

struct pump {
        struct fill *f;
        pid_t producer, extractor;
        int from, to;                   /* what comes from the one and goes to the other */
        int words, extractor_words;     /* memfds: what they say on standard error */
        struct timespec began;
        bool shown;
        bool refused;                   /* the extractor ended before the archive did */
};

static volatile sig_atomic_t interrupted;
static void on_interrupt(int signo) { interrupted = signo; }

/* --- what they say --------------------------------------------------------------------------------------- */

/* The last lines of a memfd, at most `lines`, in buf. */
static void last_words(int fd, unsigned lines, char *buf, size_t size) {
        struct stat st;
        ssize_t n = 0;
        off_t from;

        *buf = 0;
        if (fd < 0 || fstat(fd, &st) < 0)
                return;
        from = st.st_size > (off_t) size - 1 ? st.st_size - (off_t) size + 1 : 0;
        n = pread(fd, buf, size - 1, from);
        if (n <= 0)
                return;
        while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == '\r'))
                n--;
        buf[n] = 0;
        for (char *p = buf + n; p > buf; p--)
                if ((p[-1] == '\n' || p[-1] == '\r') && --lines == 0) {
                        memmove(buf, p, strlen(p) + 1);
                        break;
                }
}

static double seconds_since(const struct timespec *t) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (double) (now.tv_sec - t->tv_sec) + (double) (now.tv_nsec - t->tv_nsec) / 1e9;
}

/* On a terminal, one line that is written over: what, how much, how long, and the producer's last word. */
static void show_progress(struct pump *p) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        char words[256];

        if (!p->f->u->tty_err || p->f->u->quiet)
                return;
        last_words(p->words, 1, words, sizeof(words));
        words[strcspn(words, "\r\n")] = 0;
        words[ULV_MIN(strlen(words), (size_t) 40)] = 0;
        ulv_strbuf_addf(&b, "\r\033[K%s: ", p->f->doing);
        ulv_size_format(&b, p->f->bytes >> 20 << 20);
        ulv_strbuf_addf(&b, ", %.0f s  ", seconds_since(&p->began));
        text_safe(&b, words, strlen(words), false);
        fputs(ulv_strbuf_str(&b), stderr);
        p->shown = true;
}

static void end_progress(struct pump *p) {
        if (p->shown)
                fputs("\r\033[K", stderr);
        p->shown = false;
}

/* --- the pump -------------------------------------------------------------------------------------------- */

static int too_large(struct pump *p) {
        return fail(p->f->u, ULV_EXIT_CAPACITY, "cannot fill the image: the archive is larger than 1T", "that is taken for a mistake", "");
}

/* Moves what is there. 1: the end; 0: go on; -errno. */
static int move_some(struct pump *p) {
        struct pollfd pfd = { .fd = p->from, .events = POLLIN };
        int r = poll(&pfd, 1, TICK_MS);

        if (r <= 0)
                return r == 0 || errno == EINTR ? 0 : -errno;
        ssize_t n = splice(p->from, NULL, p->to, NULL, CHUNK, SPLICE_F_MOVE);
        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        p->f->bytes += (uint64_t) n;
        return n == 0;
}

static int pump(struct pump *p) {
        double next = 0.5;
        int r;

        for (;;) {
                r = move_some(p);
                if (interrupted) {
                        end_progress(p);
                        return fail(p->f->u, ULV_EXIT_FAILED, "interrupted: nothing was changed", "", "");
                }
                if (r > 0)
                        return 0;
                if (r == -EPIPE) {
                        p->refused = true;
                        return 0;
                }
                if (r < 0)
                        return fail_errno(p->f->u, r, "copy the archive");
                if (p->f->bytes > FILL_MAX)
                        return too_large(p);
                if (seconds_since(&p->began) >= next) {
                        show_progress(p);
                        next = seconds_since(&p->began) + (double) TICK_MS / 1000;
                }
        }
}

/* --- processes ------------------------------------------------------------------------------------------- */

static int wait_for(pid_t pid) {
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int told(struct pump *p, int words, const char *who, int status) {
        char text[480];

        end_progress(p);
        last_words(words, 3, text, sizeof(text));
        for (char *c = text; *c; c++)
                if (*c == '\n' || *c == '\r')
                        *c = ';';
        ulv_diag_what(&p->f->u->diag, ULV_EXIT_FAILED, "failed while %s; nothing was changed", p->f->doing);
        ulv_diag_why(&p->f->u->diag, "%s ended with status %d%s%s", who, status, *text ? ": " : "", text);
        return ULV_EXIT_FAILED;
}

static int spawn_extractor(struct pump *p, int archive) {
        static const char *const argv[] = {
                "/usr/bin/tar", "-x", "-f", "-", "-C", "/out", "--numeric-owner", "--same-owner", "--same-permissions", "--delay-directory-restore",
                "--xattrs", "--xattrs-include=security.capability", "--anchored", "--exclude=./dev/*", "--exclude=dev/*", "--exclude=/dev/*", NULL,
        };
        int out = cage_clone(p->f->tree);

        if (out < 0)
                return out;
        p->extractor = cage_spawn(-1, out, argv, archive, STDERR_FILENO, p->extractor_words);
        (void) ulv_close(out);
        return p->extractor < 0 ? p->extractor : 0;
}

/* What is left is ended: the producer by the signal that its own clean-up knows. Who failed first is told: the
 * other's failure follows from it. */
static int end_pump(struct pump *p, int r) {
        int produced = 0, extracted = 0;

        p->from = ulv_close(p->from);
        p->to = ulv_close(p->to);
        if (r != 0 && p->producer > 0)
                (void) kill(p->producer, SIGTERM);
        if (p->extractor > 0)
                extracted = wait_for(p->extractor);
        if (p->producer > 0)
                produced = wait_for(p->producer);
        end_progress(p);
        if (r != 0)
                return r;
        if (produced != 0 && !p->refused)
                return told(p, p->words, "what makes the archive", produced);
        return extracted != 0 ? told(p, p->extractor_words, "tar", extracted) : 0;
}

/* from: the producer's end of a pipe, or a file; taken over. */
static int run_pump(struct pump *p) {
        struct sigaction act = { .sa_handler = on_interrupt }, old[3];
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
        int ends[2], r;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return end_pump(p, fail_errno(p->f->u, -errno, "copy the archive"));
        p->to = ends[1];
        for (size_t i = 0; i < ULV_ARRAY_SIZE(signals); i++)
                (void) sigaction(signals[i], &act, &old[i]);
        p->extractor_words = memfd_create("words", MFD_CLOEXEC);
        r = p->extractor_words < 0 ? -errno : spawn_extractor(p, ends[0]);
        (void) close(ends[0]);
        r = r < 0 ? fail_errno(p->f->u, r, "start tar") : pump(p);
        r = end_pump(p, r);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(signals); i++)
                (void) sigaction(signals[i], &old[i], NULL);
        p->extractor_words = ulv_close(p->extractor_words);
        p->words = ulv_close(p->words);
        return r;
}

static void pump_init(struct pump *p, struct fill *f) {
        *p = (struct pump) { .f = f, .from = -1, .to = -1, .words = memfd_create("words", MFD_CLOEXEC), .extractor_words = -1 };
        (void) clock_gettime(CLOCK_MONOTONIC, &p->began);
}

/* --- sources --------------------------------------------------------------------------------------------- */

static pid_t spawn_plain(const char *const argv[], int out, int words) {
        pid_t pid = fork();

        if (pid != 0)
                return pid < 0 ? -errno : pid;
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(words, STDERR_FILENO) < 0)
                _exit(126);
        (void) signal(SIGPIPE, SIG_DFL);
        (void) execvp(argv[0], (char *const *) argv);
        dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
}

int fill_from_program(struct fill *f, const char *const argv[]) {
        struct pump p;
        int ends[2];

        pump_init(&p, f);
        if (pipe2(ends, O_CLOEXEC) < 0)
                return fail_errno(f->u, -errno, "make a pipe");
        p.producer = spawn_plain(argv, ends[1], p.words);
        (void) close(ends[1]);
        p.from = ends[0];
        return p.producer < 0 ? fail_errno(f->u, p.producer, "start a program") : run_pump(&p);
}

/* A caged program that reads `in` or standard input and writes an archive. */
static int fill_from_cage(struct fill *f, int in, const char *const argv[], int stdin_fd) {
        _cleanup_close_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        struct pump p;
        int ends[2];

        pump_init(&p, f);
        if (pipe2(ends, O_CLOEXEC) < 0)
                return fail_errno(f->u, -errno, "make a pipe");
        p.producer = cage_spawn(in, -1, argv, stdin_fd >= 0 ? stdin_fd : null, ends[1], p.words);
        (void) close(ends[1]);
        p.from = ends[0];
        return p.producer < 0 ? fail_errno(f->u, p.producer, "start a program") : run_pump(&p);
}

static int fill_from_mount(struct fill *f, int mount, const char *const names[]) {
        static const char *const head[] = {
                "/usr/bin/tar", "-c", "-f", "-", "-C", "/in", "--one-file-system", "--sparse", "--numeric-owner", "--xattrs",
                "--xattrs-include=security.capability", "--anchored", "--exclude=./dev/*",
        };
        static const char *const all[] = { ".", NULL };
        const char *argv[ULV_ARRAY_SIZE(head) + 64];
        size_t n = ULV_ARRAY_SIZE(head);

        memcpy(argv, head, sizeof(head));
        for (const char *const *name = names ? names : all; *name && n < ULV_ARRAY_SIZE(argv) - 1; name++)
                argv[n++] = *name;
        argv[n] = NULL;
        return fill_from_cage(f, mount, argv, -1);
}

int fill_from_directory(struct fill *f, int fd, const char *const names[]) {
        _cleanup_close_ int clone = -1;
        int r = cage_clone(fd);

        if (r < 0)
                return fail_errno(f->u, r, "clone the mount of the directory");
        clone = r;
        return fill_from_mount(f, clone, names);
}

static const struct format { const char *magic; size_t len, at; const char *program, *device; } formats[] = {
        { "\x1f\x8b", 2, 0, "/usr/bin/gzip", NULL }, { "BZh", 3, 0, "/usr/bin/bzip2", NULL },
        { "\xfd" "7zXZ\0", 6, 0, "/usr/bin/xz", NULL }, { "\x28\xb5\x2f\xfd", 4, 0, "/usr/bin/zstd", NULL },
        { "ustar", 5, 257, NULL, NULL }, { "hsqs", 4, 0, NULL, "squashfs" },
        { "\x53\xef", 2, 1080, NULL, "ext4" }, { "\xe2\xe1\xf5\xe0", 4, 1024, NULL, "erofs" },
};

static const struct format *detect(int fd) {
        char head[1088] = { 0 };

        if (pread(fd, head, sizeof(head), 0) <= 0)
                return NULL;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(formats); i++)
                if (memcmp(head + formats[i].at, formats[i].magic, formats[i].len) == 0)
                        return &formats[i];
        return NULL;
}

static int fill_from_file(struct fill *f, int fd, const char *path) {
        const struct format *format = detect(fd);
        struct pump p;
        int r;

        if (!format) {
                ulv_diag_what(&f->u->diag, ULV_EXIT_USAGE, "%.180s is of no form that can be imported", path);
                ulv_diag_why(&f->u->diag, "it is none of: a directory, a tar archive (plain, gz, bz2, xz, zst), an ext4, erofs or squashfs image");
                return ULV_EXIT_USAGE;
        }
        if (format->device) {
                _cleanup_close_ int mount = -1;

                r = device_mount(f->u, fd, path, format->device, &mount);
                return r != 0 ? r : fill_from_mount(f, mount, NULL);
        }
        if (format->program) {
                const char *const argv[] = { format->program, "-dc", NULL };

                return fill_from_cage(f, -1, argv, fd);
        }
        pump_init(&p, f);
        p.from = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return p.from < 0 ? fail_errno(f->u, -errno, "read the archive") : run_pump(&p);
}

int fill_from_path(struct fill *f, const char *path) {
        _cleanup_close_ int fd = -1;
        struct stat st;
        struct pump p;

        if (ulv_streq(path, "-")) {
                pump_init(&p, f);
                p.from = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
                return p.from < 0 ? fail_errno(f->u, -errno, "read standard input") : run_pump(&p);
        }
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 || fstat(fd, &st) < 0) {
                ulv_diag_what(&f->u->diag, errno == ENOENT ? ULV_EXIT_NOT_FOUND : ULV_EXIT_FAILED, "cannot read %.200s", path);
                ulv_diag_why(&f->u->diag, "%s", strerror(errno));
                return (int) f->u->diag.code;
        }
        if (S_ISDIR(st.st_mode))
                return fill_from_directory(f, fd, NULL);
        if (S_ISREG(st.st_mode))
                return fill_from_file(f, fd, path);
        ulv_diag_what(&f->u->diag, ULV_EXIT_USAGE, "%.200s is neither a directory nor a regular file", path);
        return ULV_EXIT_USAGE;
}

/* --- what came of it ------------------------------------------------------------------------------------- */

static int no_root(struct uvctl *u, int tree) {
        if (faccessat(tree, "manifest.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0 || faccessat(tree, "oci-layout", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return fail(u, ULV_EXIT_FAILED, "cannot import this: it is a saved container image, in layers", "its root file system isn't in it as such",
                            "docker export CONTAINER | uvctl image import NAME -");
        return fail(u, ULV_EXIT_FAILED, "cannot import this: it doesn't look like a root file system", "it has none of /bin, /sbin, /usr",
                    "the directory that holds bin, etc, usr itself");
}

int fill_check(struct uvctl *u, int tree) {
        static const struct { const char *name; mode_t mode; } points[] = {
                { "proc", 0555 }, { "sys", 0555 }, { "dev", 0755 }, { "run", 0755 }, { "tmp", 01777 },
        };
        static const char *const signs[] = { "bin", "sbin", "usr" };
        struct stat st;
        bool root = false;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(signs); i++)
                root = root || faccessat(tree, signs[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        if (!root)
                return no_root(u, tree);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(points); i++) {
                if (mkdirat(tree, points[i].name, points[i].mode) == 0 && fchmodat(tree, points[i].name, points[i].mode, 0) == 0)
                        continue;
                if (errno != EEXIST || fstatat(tree, points[i].name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return fail_errno(u, -errno, "make the mount points of the image");
                if (S_ISDIR(st.st_mode))
                        continue;
                ulv_diag_what(&u->diag, ULV_EXIT_FAILED, "cannot use this as an image: its /%s is %s", points[i].name, S_ISLNK(st.st_mode) ? "a symbolic link" : "no directory");
                ulv_diag_why(&u->diag, "a container gets a file system of its own there");
                return ULV_EXIT_FAILED;
        }
        return fchown(tree, 0, 0) < 0 || fchmod(tree, 0755) < 0 ? fail_errno(u, -errno, "give the image's root its owner") : 0;
}
