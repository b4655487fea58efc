/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Credentials: secrets that a partition's program reads as files, [Credential "tls.key"].
 *
 * Theory of operation. The plaintext is in no memory of ours at any time: it goes from file to file inside
 * the kernel (Source=), or from systemd-creds, which decrypts, straight into the file (Encrypted=). The files are on a
 * memory file system that is never swapped: tmpfs with noswap where the kernel has that (6.4), else ramfs, whose pages
 * have nowhere to go. Only paths are in definition, ledger, view and history.
 *
 * There are two mounts of that file system. The container's is read-only and, like all its mounts, locked. The
 * other is attached nowhere; its fd is in the starter's store, and through it `uvctl credential rotate` replaces
 * each file by rename: a reader sees the old content or the new. The files belong to User=, mode 0400. They are
 * written under its uid (setfsuid), for which CAP_SETUID is enough, which the monitor keeps anyway.
 *
 * What number a name has the partition's own /etc/passwd says, which we don't read: uv-init does, as the container's root
 * and with its tree as root directory, before the files are given to that number. The directory's owner remembers it. */

#include <fcntl.h>
#include <grp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lib/log.h"
#include "lib/protocol.h"
#include "model/inventory.h"
#include "plugins/lxc/lxc.h"

#define CREDENTIAL_MAX (1024 * 1024)    /* bytes of one, as systemd has it */
#define PROGRAM "systemd-creds"

/* Whose files, and where decrypting finds its key. */
struct writer { int dir; uid_t id; const char *root; };

static int refuse(struct ulv_diag *d, const char *label, int r, const char *try_, const char *why) {
        ulv_diag_what(d, ULV_EXIT_FAILED, "cannot read the credential %s", label);
        if (r < 0)
                ulv_diag_why(d, "%s: %s", why, strerror(-r));
        else
                ulv_diag_why(d, "%s", why);
        ulv_diag_try(d, "%s", try_);
        return 1;
}

/* --- Source= ---------------------------------------------------------------------------------------------- */

static int copy_source(const struct ulv_credential *c, int to, struct ulv_diag *reterr) {
        static const char how[] = "a regular file of root's with mode 0600 or 0400, at most 1M; chown root: FILE; chmod 600 FILE";
        _cleanup_close_ int from = open(c->source, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        struct stat st;

        if (from < 0 || fstat(from, &st) < 0)
                return refuse(reterr, c->label, -errno, how, c->source);
        if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & 077) != 0 || st.st_size > CREDENTIAL_MAX)
                return refuse(reterr, c->label, 0, how, S_ISREG(st.st_mode) ? "its Source= isn't root's alone, or larger than 1M" : "its Source= isn't a regular file");
        for (off_t left = st.st_size; left > 0; ) {
                ssize_t n = sendfile(to, from, NULL, (size_t) left);
                if (n <= 0)
                        return refuse(reterr, c->label, n < 0 ? -errno : -EIO, "again", c->source);
                left -= n;
        }
        return 0;
}

/* --- Encrypted= ------------------------------------------------------------------------------------------- */

/* A standalone instance has a key of its own, below its root; the host's, or its TPM's, is for what is installed. */
static void exec_decrypt(const struct writer *w, const struct ulv_credential *c, int to, int errors) {
        static const char *const dirs[] = { "/usr/bin", "/bin", "/usr/local/bin" };
        const struct rlimit size = { CREDENTIAL_MAX, CREDENTIAL_MAX }, core = { 0, 0 };
        char name[ULV_NAME_MAX + 16], key[4096 + 64], program[64];
        char *argv[] = { (char *) PROGRAM, (char *) "decrypt", name, c->encrypted, (char *) "-", NULL };
        char *env[] = { (char *) "PATH=/usr/bin:/bin", (char *) "LC_ALL=C", (char *) "SYSTEMD_LOG_TARGET=console", (char *) "SYSTEMD_COLORS=0", key, NULL };
        sigset_t none;

        (void) snprintf(name, sizeof(name), "--name=%s", c->label);
        (void) snprintf(key, sizeof(key), "SYSTEMD_CREDENTIAL_SECRET=%s/" ULV_CREDENTIAL_KEY, w->root);
        if (ulv_streq(w->root, "/"))
                env[4] = NULL;
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) signal(SIGPIPE, SIG_DFL);
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (setrlimit(RLIMIT_FSIZE, &size) < 0 || setrlimit(RLIMIT_CORE, &core) < 0 || null < 0 ||
            dup2(null, 0) < 0 || dup2(to, 1) < 0 || dup2(errors, 2) < 0)
                return;
        (void) close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(dirs); i++) {
                (void) snprintf(program, sizeof(program), "%s/" PROGRAM, dirs[i]);
                (void) execve(program, argv, env);
                if (errno != ENOENT)
                        break;
        }
}

/* The last line that it said, as far as it is plain text. */
static void read_words(int fd, char *text, size_t size) {
        char buf[2048];
        ssize_t n = read(fd, buf, sizeof(buf) - 1);
        size_t at = 0;

        buf[n > 0 ? n : 0] = 0;
        for (char *end = buf + strlen(buf); end > buf && end[-1] == '\n'; )
                *--end = 0;
        char *line = strrchr(buf, '\n');
        for (line = line ? line + 1 : buf; *line && at + 1 < size; line++)
                text[at++] = *line >= ' ' && *line < 127 ? *line : '?';
        text[at] = 0;
}

static int decrypt(const struct writer *w, const struct ulv_credential *c, int to, struct ulv_diag *reterr) {
        char words[256], why[512], try_[192];
        int errors[2], status;

        if (access(c->encrypted, F_OK) < 0)
                return refuse(reterr, c->label, -errno, "uvctl credential encrypt NAME FILE OUT", c->encrypted);
        if (pipe2(errors, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        pid_t pid = fork();
        if (pid == 0) {
                exec_decrypt(w, c, to, errors[1]);
                _exit(errno == ENOENT ? 127 : 126);
        }
        int r = pid < 0 ? -errno : 0;
        (void) close(errors[1]);
        while (r == 0 && waitpid(pid, &status, 0) < 0)
                r = errno == EINTR ? 0 : -errno;
        read_words(errors[0], words, sizeof(words));
        (void) close(errors[0]);
        if (r < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
                return r;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
                return refuse(reterr, c->label, 0, "apt install systemd; or Source=FILE, a plain file of root's", PROGRAM ", which decrypts Encrypted=, is not installed");
        (void) snprintf(why, sizeof(why), "%.200s can't be decrypted on this host: %s", c->encrypted, words[0] ? words : PROGRAM " failed");
        (void) snprintf(try_, sizeof(try_), "uvctl credential encrypt %s FILE OUT, on this host", c->label);
        return refuse(reterr, c->label, 0, try_, why);
}

/* --- the files -------------------------------------------------------------------------------------------- */

/* What this process makes from here on belongs to that id; 0 takes it back. */
static int act_as(uid_t id) {
        (void) setfsgid(id);
        (void) setfsuid(id);
        return (uid_t) setfsuid((uid_t) -1) == id ? 0 : -EPERM;
}

static int open_new(const struct writer *w, const char *name) {
        int fd, r = act_as(w->id);

        if (r == 0) {
                (void) unlinkat(w->dir, name, 0);
                fd = openat(w->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
                r = fd < 0 ? -errno : fd;
        }
        (void) act_as(0);
        return r;
}

static int put_in_place(const struct writer *w, const char *name, const char *label, bool good) {
        int r = act_as(w->id);

        if (r == 0 && (good ? renameat(w->dir, name, w->dir, label) : unlinkat(w->dir, name, 0)) < 0)
                r = -errno;
        (void) act_as(0);
        return r;
}

/* 0; 1: reterr; -errno. Whatever fails, the old content stays. */
static int write_one(const struct writer *w, const struct ulv_credential *c, struct ulv_diag *reterr) {
        char name[ULV_NAME_MAX + 8];

        (void) snprintf(name, sizeof(name), ".new-%s", c->label);
        _cleanup_close_ int fd = open_new(w, name);
        if (fd < 0)
                return fd;
        int r = c->source ? copy_source(c, fd, reterr) : decrypt(w, c, fd, reterr);
        int k = put_in_place(w, name, c->label, r == 0);
        return r != 0 ? r : k;
}

int lxc_credentials_rotate(const struct ulv_definition *d, uid_t uid_base, const char *root, int dir, const char *label, struct ulv_diag *reterr) {
        bool found = false;
        struct stat st;
        int r = 0;

        if (fstat(dir, &st) < 0)
                return -errno;
        if (st.st_uid < uid_base || st.st_uid - uid_base >= ULV_UID_RANGE)
                return -EPERM;
        const struct writer w = { dir, st.st_uid, root };
        for (size_t i = 0; r == 0 && i < d->n_credentials; i++) {
                if (*label && !ulv_streq(label, d->credentials[i].label))
                        continue;
                found = true;
                r = write_one(&w, &d->credentials[i], reterr);
        }
        return r == 0 && !found ? -ENOENT : r;
}

/* --- at the start ----------------------------------------------------------------------------------------- */

/* Made by the host's root, and given to the files' owner once it stands. */
static int make_memory(const char *type, bool noswap) {
        _cleanup_close_ int fs = fsopen(type, FSOPEN_CLOEXEC);

        if (fs < 0 || (noswap && (fsconfig(fs, FSCONFIG_SET_FLAG, "noswap", NULL, 0) < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "33m", 0) < 0)) ||
            fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0700", 0) < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return -1;
        return fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

void lxc_credentials_open(struct lxc_build *b) {
        const struct ulv_definition *d = b->definition;
        struct ulv_diag diag = { 0 };

        b->credentials = -1;
        if (d->n_credentials == 0)
                return;
        b->credentials = make_memory("tmpfs", true);
        if (b->credentials < 0)
                b->credentials = make_memory("ramfs", false);
        if (b->credentials < 0 || fchownat(b->credentials, "", b->uid_base, b->uid_base, AT_EMPTY_PATH) < 0)
                lxc_build_fail(b, -errno, "a file system in memory for its credentials", "dmesg: the kernel may say more");
        int r = lxc_credentials_rotate(d, b->uid_base, b->instance_root, b->credentials, "", &diag);
        if (r < 0)
                lxc_build_fail(b, r, "writing its credentials", "dmesg: the kernel may say more");
        if (r > 0) {
                char why[1024];
                (void) snprintf(why, sizeof(why), "%.200s: %.500s", diag.what + strlen("cannot read the "), diag.why);
                lxc_build_fail(b, 0, why, diag.try_);
        }
}

/* Root inside without a capability, and nothing of the host's to see. */
static _Noreturn void exec_find(struct lxc_build *b, int out) {
        char *argv[] = { (char *) "uv-init", (char *) "--find", b->definition->user, NULL }, *env[] = { NULL };

        if (setns(b->leader_pidfd, CLONE_NEWUSER) < 0 || setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0 ||
            fchdir(b->tree) < 0 || chroot(".") < 0 || prctl(PR_SET_SECUREBITS, SECBIT_NOROOT, 0, 0, 0) < 0 || dup2(out, 1) < 0 ||
            close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
                _exit(1);
        (void) fexecve(b->init_exe, argv, env);
        _exit(1);
}

/* A number of the container's, whatever the image says: one that isn't there fails the start. */
static uid_t find_owner(struct lxc_build *b) {
        char text[16] = "", why[320];
        int out[2], status;

        if (pipe2(out, O_CLOEXEC) < 0)
                lxc_build_fail(b, -errno, "looking up User=", "dmesg: the kernel may say more");
        pid_t pid = fork();
        if (pid == 0)
                exec_find(b, out[1]);
        (void) close(out[1]);
        ssize_t n = pid < 0 ? -1 : read(out[0], text, sizeof(text) - 1);
        (void) close(out[0]);
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        char *end = text;
        unsigned long id = n > 0 && text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;
        if (end == text || *end != '\n' || id >= ULV_UID_RANGE) {
                (void) snprintf(why, sizeof(why), "User=%.200s isn't in its /etc/passwd, so nobody can be given its credentials", b->definition->user);
                lxc_build_fail(b, 0, why, "a user that the image has, or a number");
        }
        return b->uid_base + (uid_t) id;
}

/* Root's they are since they were written; the directory last. */
void lxc_credentials_give(struct lxc_build *b) {
        const struct ulv_definition *d = b->definition;
        uid_t id;

        if (!d->user || !*d->user || ulv_streq(d->user, "root"))
                return;
        id = find_owner(b);
        for (size_t i = 0; i < d->n_credentials; i++)
                if (fchownat(b->credentials, d->credentials[i].label, id, id, AT_SYMLINK_NOFOLLOW) < 0)
                        lxc_build_fail(b, -errno, "giving its credentials to User=", "dmesg: the kernel may say more");
        if (fchownat(b->credentials, "", id, id, AT_EMPTY_PATH) < 0)
                lxc_build_fail(b, -errno, "giving its credentials to User=", "dmesg: the kernel may say more");
}

/* The mount is attached: another one of the same file system is cloned for the monitor, this one made read-only. */
int lxc_credentials_share(struct lxc_build *b) {
        struct mount_attr a = { .attr_set = MOUNT_ATTR_RDONLY };
        int writable = open_tree(b->credentials, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

        if (writable < 0 || mount_setattr(b->credentials, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0)
                lxc_build_fail(b, -errno, "sharing its credentials", "dmesg: the kernel may say more");
        return writable;
}
