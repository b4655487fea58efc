/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A stream of files as a hostile partition may send it, received beside something that must not change. The first
 * byte says what the top is called: t, or "." for the directory itself, in which symbolic links lead out. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <dirent.h>
#include <stdlib.h>

#include "lib/copy-path.c"
#include "lib/copy-receive.c"
#include "lib/remove-tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x) do { if (!(x)) { fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); abort(); } } while (0)

static char jail[] = "/tmp/uv-fuzz-copy-XXXXXX";

static void complain(struct copy *c, const char *path, int error, const char *text) {
        (void) c;
        MUST(strlen(path) < sizeof(c->path) && (error > 0 || text));
}

static void make_file(int dir, const char *name) {
        int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        MUST(fd >= 0 && write(fd, "secret", 6) == 6 && close(fd) == 0);
}

static int make_jail(void) {
        int fd, in, out;

        if (jail[sizeof(jail) - 2] == 'X')
                MUST(mkdtemp(jail));
        MUST((fd = open(jail, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
        MUST(mkdirat(fd, "in", 0700) == 0 && mkdirat(fd, "out", 0700) == 0);
        MUST((in = openat(fd, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0 && (out = openat(fd, "out", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
        make_file(out, "secret");
        MUST(symlinkat("../out", in, "a") == 0 && symlinkat("../out/secret", in, "b") == 0 && symlinkat("../out/new", in, "c") == 0);
        MUST(close(out) == 0 && close(in) == 0);
        return fd;
}

static unsigned count(int dir, const char *name, bool below) {
        DIR *d = fdopendir(openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
        struct dirent *e;
        unsigned n = 0;

        if (!d)
                return 0;
        while ((e = readdir(d)))
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
                        n++;
                        MUST(strncmp(e->d_name, ".uv-copy-", 9) != 0 || strlen(e->d_name) < 19);       /* none of ours is left */
                        if (below && e->d_type == DT_DIR)
                                n += count(dirfd(d), e->d_name, true);
                }
        closedir(d);
        return n;
}

static void check_jail(int fd) {
        struct stat st;
        char text[8] = "";
        int secret;

        MUST(count(fd, ".", false) == 2 && count(fd, "out", false) == 1);
        (void) count(fd, "in", true);
        MUST((secret = openat(fd, "out/secret", O_RDONLY | O_CLOEXEC)) >= 0 && read(secret, text, sizeof(text)) == 6 && memcmp(text, "secret", 6) == 0);
        MUST(fstat(secret, &st) == 0 && (st.st_mode & 07777) == 0600 && st.st_nlink == 1);
        MUST(fstatat(fd, "out", &st, AT_SYMLINK_NOFOLLOW) == 0 && (st.st_mode & 07777) == 0700);
        close(secret);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct copy c;
        int fd = make_jail(), in = openat(fd, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

        c = (struct copy) { .fd = memfd_create("stream", MFD_CLOEXEC), .modes = 0777, .complain = complain };
        MUST(c.fd >= 0 && in >= 0 && write(c.fd, COPY_MAGIC, 8) == 8);
        MUST(size < 2 || write(c.fd, data + 1, size - 1) == (ssize_t) size - 1);
        MUST(lseek(c.fd, 0, SEEK_SET) == 0);
        r = copy_receive(&c, in, size > 0 && data[0] & 1 ? "." : "t");
        MUST(r <= 0 && c.path[0] == 0 ? true : r < 0);
        close(c.fd);
        close(in);
        check_jail(fd);
        close(fd);
        /* Sparse files that claim terabytes cost nothing; their names do. */
        MUST(ulv_remove_tree(AT_FDCWD, jail) == 0);
        MUST(mkdir(jail, 0700) == 0);
        return 0;
}

__attribute__((destructor)) static void end(void) { (void) rmdir(jail); }
