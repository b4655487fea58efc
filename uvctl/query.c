/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Questions and housekeeping: why backup restore reload version. */

#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/build.h"
#include "uvctl/rows.h"
#include "uvctl/text.h"

#define BACKUP_MAX ((off_t) 1024 * 1024 * 1024)

static int put_json(struct uvctl *u, struct json *j) {
        int r = put(u, &j->b);

        ulv_strbuf_done(&j->b);
        return r;
}

/* --- why -------------------------------------------------------------------------------------------- */

/* `why move cores=1 FROM TO` is written as the verb is; on the bus it is why(move, FROM, {cores: 1, to: TO}). */
static int append_why(struct uvctl *u, sd_bus_message *m, int argc, char **argv) {
        char to[80], *values[2];
        int r;

        if (argc == 1 && !ulv_streq(argv[0], "apply")) {
                ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "uvctl why %.32s needs more words", argv[0]);
                ulv_diag_why(&u->diag, "they are the verb's own; only apply has none");
                ulv_diag_try(&u->diag, "uvctl why start NAME");
                return ULV_EXIT_USAGE;
        }
        if (ulv_streq(argv[0], "attach") || ulv_streq(argv[0], "detach")) {
                if (argc != 3)
                        return fail(u, ULV_EXIT_USAGE, "uvctl why attach needs whom and what", "it is: uvctl why attach NAME WHAT, or uvctl why detach NAME LABEL",
                                    "uvctl why attach web device=/dev/fuse");
                r = sd_bus_message_append(m, "ssa{ss}", argv[0], argv[1], 1, "what", argv[2]);
                return r < 0 ? fail_errno(u, r, "make a call") : 0;
        }
        if (!ulv_streq(argv[0], "move")) {
                r = sd_bus_message_append(m, "ss", argv[0], argc > 1 ? argv[1] : "");
                return r < 0 ? fail_errno(u, r, "make a call") : append_values(u, m, ULV_MAX(argc - 2, 0), argv + 2);
        }
        if (argc != 4)
                return fail(u, ULV_EXIT_USAGE, "uvctl why move needs what, from and to", "it is: uvctl why move KEY=AMOUNT FROM TO", "uvctl why move cores=1 batch db");
        (void) snprintf(to, sizeof(to), "to=%.70s", argv[3]);
        values[0] = argv[1];
        values[1] = to;
        r = sd_bus_message_append(m, "ss", argv[0], argv[2]);
        return r < 0 ? fail_errno(u, r, "make a call") : append_values(u, m, 2, values);
}

int verb_why(struct uvctl *u, int argc, char **argv) {
        _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct json j = { 0 };
        const char *text;
        uint32_t code;
        int r;

        r = client_new(u, "Why", &m);
        if (r == 0)
                r = append_why(u, m, argc, argv);
        if (r == 0)
                r = client_send(u, m, CLIENT_TIMEOUT, &reply);
        if (r == 0)
                r = client_read(u, reply, "us", &code, &text);
        if (r != 0)
                return r;
        if (u->output == OUTPUT_JSON) {
                json_object(&j, NULL);
                json_u64(&j, "Code", code);
                json_string(&j, "Text", text);
                json_end(&j);
                r = put_json(u, &j);
        } else {
                text_safe(&b, text, strlen(text), true);
                if (b.len > 0 && b.s[b.len - 1] != '\n')
                        ulv_strbuf_addc(&b, '\n');
                r = put(u, &b);
        }
        return r != 0 ? r : (int) ULV_MIN(code, 125u);
}

/* --- backup, restore -------------------------------------------------------------------------------- */

static int copy_fd(int from, int to, off_t max) {
        char buf[65536];
        off_t total = 0;
        ssize_t n;

        while ((n = read(from, buf, sizeof(buf))) != 0) {
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                total += n;
                if (total > max)
                        return -EFBIG;
                for (ssize_t done = 0, w; done < n; done += w) {
                        w = write(to, buf + done, (size_t) (n - done));
                        if (w < 0)
                                return -errno;
                }
        }
        return 0;
}

/* "-", a pipe or a device is written into as it is. 0; 1: path is none of these; -errno. */
static int pour(const char *path, int from) {
        _cleanup_close_ int fd = -1;
        struct stat st;

        if (ulv_streq(path, "-"))
                return copy_fd(from, STDOUT_FILENO, BACKUP_MAX);
        if (stat(path, &st) < 0 || S_ISREG(st.st_mode))
                return 1;
        fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        return fd < 0 ? -errno : copy_fd(from, fd, BACKUP_MAX);
}

static int cannot_write(struct uvctl *u, int r, const char *path) {
        const char *slash = strrchr(path, '/');

        ulv_diag_what(&u->diag, ULV_EXIT_FAILED, "cannot write the backup to %.200s", path);
        ulv_diag_why(&u->diag, "%s", strerror(-r));
        if (slash && r == -ENOENT)
                ulv_diag_try(&u->diag, "mkdir -p %.*s", slash == path ? 1 : (int) ULV_MIN(slash - path, 200), path);
        else if (slash)
                ulv_diag_try(&u->diag, "df %.*s", slash == path ? 1 : (int) ULV_MIN(slash - path, 200), path);
        else
                ulv_diag_try(&u->diag, "df .");
        return ULV_EXIT_FAILED;
}

/* The file appears whole or not at all: written beside its name, synced, then linked to it. */
static int save(struct uvctl *u, int from, const char *path) {
        _cleanup_free_ char *temporary = NULL;
        _cleanup_close_ int fd = -1;
        int r;

        if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
                temporary = NULL;
                return fail_errno(u, -ENOMEM, "write the backup");
        }
        fd = mkostemp(temporary, O_CLOEXEC);
        if (fd < 0)
                return cannot_write(u, -errno, path);
        r = copy_fd(from, fd, BACKUP_MAX);
        if (r == 0 && fsync(fd) < 0)
                r = -errno;
        if (r == 0 && given(u, OPT_FORCE) ? rename(temporary, path) < 0 : r == 0 && link(temporary, path) < 0)
                r = -errno;
        if (r < 0 || !given(u, OPT_FORCE))
                (void) unlink(temporary);
        if (r == -EEXIST) {
                ulv_diag_what(&u->diag, ULV_EXIT_CONFLICT, "%.200s is there already", path);
                ulv_diag_why(&u->diag, "a backup doesn't replace a file unless told to");
                ulv_diag_try(&u->diag, "uvctl backup --force %.200s", path);
                return ULV_EXIT_CONFLICT;
        }
        return r < 0 ? cannot_write(u, r, path) : 0;
}

int verb_backup(struct uvctl *u, int argc ULV_UNUSED, char **argv) {
        _cleanup_message_ sd_bus_message *m = NULL;
        struct json j = { 0 };
        uint64_t generation;
        int fd, r;

        r = client_call(u, &m, "Backup", "");
        if (r == 0)
                r = client_read(u, m, "th", &generation, &fd);
        if (r != 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0)
                return fail_errno(u, -errno, "read the backup");
        r = pour(argv[0], fd);
        if (r <= 0)
                return r < 0 ? cannot_write(u, r, argv[0]) : 0;
        r = save(u, fd, argv[0]);
        if (r != 0)
                return r;
        if (u->output == OUTPUT_JSON) {
                json_object(&j, NULL);
                json_u64(&j, "Generation", generation);
                json_string(&j, "File", argv[0]);
                json_end(&j);
                return put_json(u, &j);
        }
        if (!u->quiet)
                printf("generation %" PRIu64 " of the ledger is in %s; back with: uvctl restore %s\n", generation, argv[0], argv[0]);
        return 0;
}

/* The file in a sealed memfd: what is checked is what is restored, whatever happens to the file. */
static int seal_file(const char *path, int *ret) {
        _cleanup_close_ int from = -1, to = -1;
        int r;

        from = ulv_streq(path, "-") ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        to = memfd_create("ultravisor-backup", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (from < 0 || to < 0)
                return -errno;
        r = copy_fd(from, to, BACKUP_MAX);
        if (r < 0)
                return r;
        if (fcntl(to, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0 || lseek(to, 0, SEEK_SET) < 0)
                return -errno;
        *ret = ulv_steal_fd(&to);
        return 0;
}

int verb_restore(struct uvctl *u, int argc ULV_UNUSED, char **argv) {
        _cleanup_message_ sd_bus_message *m = NULL;
        _cleanup_close_ int fd = -1;
        struct json j = { 0 };
        uint64_t generation;
        int r;

        r = seal_file(argv[0], &fd);
        if (r < 0) {
                ulv_diag_what(&u->diag, ULV_EXIT_FAILED, "cannot read %.200s", argv[0]);
                ulv_diag_why(&u->diag, "%s", strerror(-r));
                ulv_diag_try(&u->diag, "ls -l %.200s", argv[0]);
                return ULV_EXIT_FAILED;
        }
        r = client_call(u, &m, "Restore", "h", fd);
        if (r == 0)
                r = client_read(u, m, "t", &generation);
        if (r != 0)
                return r;
        if (u->output == OUTPUT_JSON) {
                json_object(&j, NULL);
                json_u64(&j, "Generation", generation);
                json_end(&j);
                return put_json(u, &j);
        }
        if (!u->quiet)
                printf("restored; the ledger is at generation %" PRIu64 "\n", generation);
        return 0;
}

/* --- reload, version -------------------------------------------------------------------------------- */

int verb_reload(struct uvctl *u, int argc ULV_UNUSED, char **argv ULV_UNUSED) {
        _cleanup_message_ sd_bus_message *m = NULL;
        struct json j = { 0 };
        uint64_t version;
        int r;

        r = client_call(u, &m, "Reload", "");
        if (r == 0)
                r = client_read(u, m, "t", &version);
        if (r != 0)
                return r;
        if (u->output == OUTPUT_JSON) {
                json_object(&j, NULL);
                json_u64(&j, "Version", version);
                json_end(&j);
                return put_json(u, &j);
        }
        if (!u->quiet)
                printf("files in force: version %" PRIu64 "; running partitions follow with: uvctl apply\n", version);
        return 0;
}

/* Of uvctl always; of the planner where it can be reached: `version` is what one asks when they can't. */
int verb_version(struct uvctl *u, int argc ULV_UNUSED, char **argv ULV_UNUSED) {
        _cleanup_message_ sd_bus_message *m = NULL;
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct json j = { 0 };
        const char *key, *value;
        int r;

        json_object(&j, NULL);
        json_string(&j, "uvctl", ULV_VERSION);
        json_string(&j, "Build", ulv_build);
        ulv_strbuf_addf(&b, "uvctl " ULV_VERSION ", build %s\n", ulv_build);
        if (client_call(u, &m, "Status", "") == 0) {
                r = sd_bus_message_enter_container(m, 'a', "{ss}");
                while (r >= 0 && sd_bus_message_read(m, "{ss}", &key, &value) > 0) {
                        if (!ulv_streq(key, "Version"))
                                continue;
                        json_string(&j, "uv-command", value);
                        ulv_strbuf_add(&b, "uv-command ");
                        text_safe(&b, value, strlen(value), false);
                        ulv_strbuf_addc(&b, '\n');
                }
        } else
                ulv_strbuf_add(&b, "the planner can't be reached\n");
        u->diag = (struct ulv_diag) { 0 };
        json_end(&j);
        if (u->output == OUTPUT_JSON)
                return put_json(u, &j);
        ulv_strbuf_done(&j.b);
        return put(u, &b);
}
