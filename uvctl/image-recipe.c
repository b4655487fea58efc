/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What `uvctl image build` knows how to make. */

#include "uvctl/image.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lib/fd.h"

#define BUSYBOX "/bin/busybox"
#define BUSYBOX_MAX (16 << 20)

/* --- small files ------------------------------------------------------------------------------------------ */

static int make_file(int dir, const char *path, const char *text, mode_t mode) {
        _cleanup_close_ int fd = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);

        if (fd < 0 || fchmod(fd, mode) < 0)
                return -errno;
        return ulv_write_all(fd, text, strlen(text));
}

static int make_directories(int dir, const char *const names[], size_t n) {
        for (size_t i = 0; i < n; i++)
                if (mkdirat(dir, names[i], ulv_streq(names[i], "root") ? 0700 : 0755) < 0)
                        return -errno;
        return 0;
}

/* Accounts of an image that isn't a distribution's. */
static int make_accounts(int dir, const char *shell) {
        char passwd[256];
        int r;

        (void) snprintf(passwd, sizeof(passwd), "root:x:0:0:root:/root:%s\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
                        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n", shell);
        r = make_file(dir, "etc/passwd", passwd, 0644);
        if (r == 0)
                r = make_file(dir, "etc/group", "root:x:0:\ntty:x:5:\nwww-data:x:33:\nnogroup:x:65534:\n", 0644);
        if (r == 0)
                r = make_file(dir, "etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n", 0644);
        return r == 0 ? make_file(dir, "etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n", 0644) : r;
}

/* --- busybox ---------------------------------------------------------------------------------------------- */

/* A dynamic one would find no libraries in the image. */
static bool is_static(const char *buf, size_t len) {
        Elf64_Ehdr e;
        Elf64_Phdr p;

        if (len < sizeof(e))
                return false;
        memcpy(&e, buf, sizeof(e));
        if (memcmp(e.e_ident, ELFMAG, SELFMAG) != 0 || e.e_ident[EI_CLASS] != ELFCLASS64 || e.e_phentsize != sizeof(p))
                return false;
        for (unsigned i = 0; i < e.e_phnum; i++) {
                if (e.e_phoff > len || len - e.e_phoff < (i + 1) * sizeof(p))
                        return false;
                memcpy(&p, buf + e.e_phoff + i * sizeof(p), sizeof(p));
                if (p.p_type == PT_INTERP)
                        return false;
        }
        return true;
}

static int read_busybox(struct uvctl *u, char **ret, size_t *ret_len) {
        _cleanup_close_ int fd = open(BUSYBOX, O_RDONLY | O_CLOEXEC);
        _cleanup_free_ char *buf = NULL;
        size_t len = 0;
        int r = fd < 0 ? -errno : ulv_read_fd(fd, BUSYBOX_MAX, &buf, &len);

        if (r == 0 && is_static(buf, len)) {
                *ret = ulv_steal(buf);
                *ret_len = len;
                return 0;
        }
        ulv_diag_what(&u->diag, ULV_EXIT_FAILED, "cannot build this image without a static " BUSYBOX);
        ulv_diag_why(&u->diag, "%s", r < 0 ? strerror(-r) : "the one that is there needs libraries");
        ulv_diag_try(&u->diag, "apt-get install busybox-static");
        return ULV_EXIT_FAILED;
}

/* The names of its applets, one a line. */
static int list_applets(struct ulv_strbuf *b) {
        char buf[4096];
        int ends[2], status;
        ssize_t n;
        pid_t pid;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        pid = fork();
        if (pid == 0) {
                if (dup2(ends[1], STDOUT_FILENO) >= 0)
                        (void) execl(BUSYBOX, BUSYBOX, "--list", (char *) NULL);
                _exit(127);
        }
        int r = pid < 0 ? -errno : 0;
        (void) close(ends[1]);
        while (r == 0 && (n = read(ends[0], buf, sizeof(buf))) != 0)
                if (n > 0)
                        ulv_strbuf_add_len(b, buf, (size_t) n);
                else if (errno != EINTR)
                        r = -errno;
        (void) close(ends[0]);
        if (pid > 0 && (waitpid(pid, &status, 0) < 0 || status != 0) && r == 0)
                r = -EIO;
        return r < 0 ? r : ulv_strbuf_error(b);
}

static int link_applets(int tree) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        char *save = NULL;
        int r = list_applets(&b);

        if (r < 0 || !b.s)
                return r < 0 ? r : -EIO;
        for (char *name = strtok_r(b.s, "\n", &save); name; name = strtok_r(NULL, "\n", &save)) {
                char path[80];

                if (strchr(name, '/') || ulv_streq(name, "busybox") || snprintf(path, sizeof(path), "bin/%s", name) >= (int) sizeof(path))
                        continue;
                if (symlinkat("busybox", tree, path) < 0 && errno != EEXIST)
                        return -errno;
        }
        return 0;
}

static int build_busybox(struct fill *f, const char *suite ULV_UNUSED) {
        static const char *const names[] = { "bin", "etc", "root", "srv", "var", "var/log", "var/tmp", "usr", "usr/bin", "usr/sbin", "home" };
        _cleanup_free_ char *program = NULL;
        size_t len;
        int r = read_busybox(f->u, &program, &len);

        if (r != 0)
                return r;
        r = make_directories(f->tree, names, ULV_ARRAY_SIZE(names));
        if (r == 0) {
                _cleanup_close_ int fd = openat(f->tree, "bin/busybox", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
                r = fd < 0 ? -errno : ulv_write_all(fd, program, len);
        }
        if (r == 0)
                r = symlinkat("bin", f->tree, "sbin") < 0 ? -errno : link_applets(f->tree);
        if (r == 0)
                r = make_accounts(f->tree, "/bin/sh");
        if (r == 0)
                r = make_file(f->tree, "etc/profile", "export PS1='\\u@\\h:\\w\\$ '\n", 0644);
        f->bytes = len;
        return r < 0 ? fail_errno(f->u, r, "build the image") : 0;
}

/* --- the host's own /usr ---------------------------------------------------------------------------------- */

/* Of /etc, what programs of /usr need to run at all, and nothing that is secret or about this host. */
static const char *const host_etc[] = {
        "etc/alternatives", "etc/ld.so.cache", "etc/ld.so.conf", "etc/ld.so.conf.d", "etc/ssl/certs", "etc/ca-certificates.conf",
        "etc/terminfo", "etc/os-release", "etc/debian_version", "etc/localtime", "etc/timezone", "etc/locale.alias", "etc/mime.types",
        "etc/profile", "etc/bash.bashrc", "etc/services", "etc/protocols", "etc/inputrc",
};

static int build_host_etc(struct fill *f) {
        const char *names[ULV_ARRAY_SIZE(host_etc) + 1];
        _cleanup_close_ int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        size_t n = 0;

        if (root < 0)
                return fail_errno(f->u, -errno, "read /etc");
        for (size_t i = 0; i < ULV_ARRAY_SIZE(host_etc); i++)
                if (faccessat(root, host_etc[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                        names[n++] = host_etc[i];
        names[n] = NULL;
        return n == 0 ? 0 : fill_from_directory(f, root, names);
}

static int build_host(struct fill *f, const char *suite ULV_UNUSED) {
        static const char *const links[] = { "bin", "sbin", "lib", "lib32", "lib64", "libx32" };
        static const char *const names[] = { "usr", "etc", "root", "srv", "home", "var", "var/log", "var/lib", "var/cache", "var/tmp" };
        char target[64];
        ssize_t n;
        int r = make_directories(f->tree, names, ULV_ARRAY_SIZE(names));

        for (size_t i = 0; r == 0 && i < ULV_ARRAY_SIZE(links); i++) {
                char path[16];

                (void) snprintf(path, sizeof(path), "/%s", links[i]);
                n = readlink(path, target, sizeof(target) - 1);
                if (n < 0 && errno == EINVAL)
                        return fail(f->u, ULV_EXIT_FAILED, "cannot make an image of this host's /usr",
                                    "its /bin or /lib are directories of their own: a merged /usr is needed", "apt-get install usrmerge");
                if (n > 0) {
                        target[n] = 0;
                        r = symlinkat(target, f->tree, links[i]) < 0 ? -errno : 0;
                }
        }
        if (r == 0)
                r = make_accounts(f->tree, "/bin/bash");
        return r < 0 ? fail_errno(f->u, r, "build the image") : build_host_etc(f);
}

/* --- Debian ------------------------------------------------------------------------------------------------ */

static int build_debian(struct fill *f, const char *suite) {
        const char *const argv[] = {
                "mmdebstrap", "--variant=minbase", "--format=tar", "--include=systemd-sysv,dbus,iproute2,procps", suite, "-", NULL,
        };

        if (access("/usr/bin/mmdebstrap", X_OK) < 0)
                return fail(f->u, ULV_EXIT_FAILED, "cannot build a Debian image without mmdebstrap", "it is not installed", "apt-get install mmdebstrap");
        return fill_from_program(f, argv);
}

const struct recipe image_recipes[] = {
        { "busybox", "one static program, a second", build_busybox, "", "busybox-static", false },
        { "debian-12", "Debian bookworm, half a minute", build_debian, "bookworm", "mmdebstrap bookworm", false },
        { "debian-13", "Debian trixie", build_debian, "trixie", "mmdebstrap trixie", false },
        { "host", "this host's /usr, read-only, with an /etc of its own", build_host, "", "the host's /usr", true },
        { 0 },
};

const struct recipe *recipe_find(const char *name) {
        for (const struct recipe *r = image_recipes; r->name; r++)
                if (ulv_streq(r->name, name))
                        return r;
        return NULL;
}
