/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Questions and housekeeping: history why backup restore reload version. */

#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "uvctl/rows.h"
#include "uvctl/text.h"

#define BACKUP_MAX ((off_t) 1024 * 1024 * 1024)
#define HISTORY_PAGE 100

static int put_json(struct uvctl *u, struct json *j) {
        int r = put(u, &j->b);

        ulv_strbuf_done(&j->b);
        return r;
}

/* --- history ---------------------------------------------------------------------------------------- */

struct history {
        struct ulv_op *ops; size_t n;
        bool reports;           /* also what partition monitors reported; people ask for what people did */
        uint64_t last;          /* sequence of the oldest entry read */
};

static void history_done(struct history *h) {
        for (size_t i = 0; i < h->n; i++)
                ulv_op_done(&h->ops[i]);
        free(h->ops);
}

static int history_line(const char *line, size_t len, void *userdata) {
        struct history *h = userdata;
        _cleanup_op_ struct ulv_op op = { 0 };
        struct ulv_op *ops;
        int r;

        r = ulv_op_parse(line, len, &op, NULL);
        if (r != 0)
                return r < 0 ? r : -EBADMSG;
        h->last = strtoull(op.id, NULL, 10);
        if (!h->reports && ulv_startswith(row_str(&op, "id"), "report-"))
                return 0;
        ops = reallocarray(h->ops, h->n + 1, sizeof(*ops));
        if (!ops)
                return -ENOMEM;
        h->ops = ops;
        ops[h->n++] = op;
        op = (struct ulv_op) { 0 };
        return 0;
}

/* Newest first, page by page, until there are `limit`. */
static int get_history(struct uvctl *u, const char *owner, size_t limit, struct history *h) {
        uint64_t before = 0;
        int r;

        while (h->n < limit) {
                _cleanup_message_ sd_bus_message *m = NULL;
                const char *lines;

                r = client_call(u, &m, "History", "stu", owner, before, (uint32_t) HISTORY_PAGE);
                if (r == 0)
                        r = client_read(u, m, "s", &lines);
                if (r != 0)
                        return r;
                r = ulv_op_each_line(lines, strlen(lines), history_line, h);
                if (r < 0)
                        return fail_errno(u, r, "read the history");
                if (h->last <= 1 || h->last == before || !*lines)
                        break;
                before = h->last;
        }
        while (h->n > limit)
                ulv_op_done(&h->ops[--h->n]);
        return 0;
}

struct summary { struct ulv_strbuf *b; unsigned n; };

static int add_operation(const char *line, size_t len, void *userdata) {
        struct summary *s = userdata;
        _cleanup_op_ struct ulv_op op = { 0 };

        if (s->n++ >= 3)
                return 0;
        int r = ulv_op_parse(line, len, &op, NULL);

        if (r < 0)
                s->b->error = r;
        if (r != 0)
                return 0;       /* > 0: an operation of a later version; the others tell enough */
        const char *const words[] = { op.verb, op.kind, op.id, op.owner, ulv_op_get(&op, "state") };

        ulv_strbuf_add(s->b, s->n > 1 ? ";" : "");
        for (size_t i = 0; i < ULV_ARRAY_SIZE(words); i++)
                if (words[i] && *words[i] && !ulv_streq(words[i], "-") && (i == 0 || !ulv_streq(words[i], words[i - 1])))
                        ulv_strbuf_addf(s->b, "%s%s", i == 0 && s->n == 1 ? "" : " ", words[i]);
        return 0;
}

/* What a transaction did, short: its operations without their keys, at most three. */
static void add_operations(struct ulv_strbuf *b, const char *operations) {
        struct summary s = { .b = b };

        (void) ulv_op_each_line(operations, strlen(operations), add_operation, &s);
        if (s.n > 3)
                ulv_strbuf_addf(b, "; %u more", s.n - 3);
}

static void add_history_row(struct table *t, const struct ulv_op *op) {
        _cleanup_strbuf_ struct ulv_strbuf what = { 0 };
        time_t seconds = (time_t) (row_u64(op, "time") / 1000000);
        char when[32] = "-";
        struct tm tm;

        if (localtime_r(&seconds, &tm))
                (void) strftime(when, sizeof(when), "%F %T", &tm);
        if (row_str(op, "reason")[0])
                ulv_strbuf_add(&what, row_str(op, "reason"));
        else
                add_operations(&what, row_str(op, "operations"));
        table_add(t, row_str(op, "id"));
        table_add(t, when);
        table_add(t, row_str(op, "subject")[0] ? row_str(op, "subject") : NULL);
        table_add(t, row_str(op, "state")[0] ? row_str(op, "state") : NULL);
        table_add(t, row_str(op, "undo")[0] ? "yes" : "no");
        table_add_buffer(t, &what);
}

static int history_table(struct uvctl *u, const struct history *h) {
        static const struct table_column columns[] = {
                { "TRANSACTION", false }, { "WHEN", false }, { "WHO", false }, { "STATE", false }, { "UNDO", false }, { "WHAT", false },
        };
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct table t;
        int r = 0;

        table_init(&t, columns, ULV_ARRAY_SIZE(columns));
        for (size_t i = 0; i < h->n; i++)
                if (u->output == OUTPUT_NAME)
                        ulv_strbuf_addf(&b, "%s\n", row_str(&h->ops[i], "id"));
                else
                        add_history_row(&t, &h->ops[i]);
        if (u->output != OUTPUT_NAME)
                r = table_write(&t, u->legend, u->colour, 0, &b);
        table_done(&t);
        return r < 0 ? fail_errno(u, r, "show the table") : put(u, &b);
}

static int history_json(struct uvctl *u, const struct history *h) {
        static const struct { const char *name, *key; bool number; } keys[] = {
                { "Time", "time", true }, { "Generation", "generation", true }, { "Id", "id", false },
                { "Subject", "subject", false }, { "Reason", "reason", false }, { "State", "state", false },
                { "Operations", "operations", false }, { "Undo", "undo", false }, { "After", "after", false },
        };
        struct json j = { 0 };

        json_array(&j, NULL);
        for (size_t i = 0; i < h->n; i++) {
                json_object(&j, NULL);
                json_u64(&j, "Sequence", strtoull(h->ops[i].id, NULL, 10));
                for (size_t k = 0; k < ULV_ARRAY_SIZE(keys); k++)
                        if (keys[k].number)
                                json_u64(&j, keys[k].name, row_u64(&h->ops[i], keys[k].key));
                        else
                                json_string(&j, keys[k].name, row_str(&h->ops[i], keys[k].key));
                json_end(&j);
        }
        json_end(&j);
        return put_json(u, &j);
}

int verb_history(struct uvctl *u, int argc, char **argv) {
        struct history h = { .reports = given(u, OPT_ALL) };
        size_t limit = given(u, OPT_ALL) ? SIZE_MAX : given(u, OPT_LINES) ? u->lines : 20;
        int r;

        r = get_history(u, argc > 0 ? argv[0] : "", limit, &h);
        if (r == 0)
                r = u->output == OUTPUT_JSON ? history_json(u, &h) : history_table(u, &h);
        history_done(&h);
        return r;
}

/* --- why -------------------------------------------------------------------------------------------- */

/* `why move cores=1 FROM TO` is written as the verb is; on the bus it is why(move, FROM, {cores: 1, to: TO}). */
static int append_why(struct uvctl *u, sd_bus_message *m, int argc, char **argv) {
        char to[80], *values[2];
        int r;

        if (!ulv_streq(argv[0], "move")) {
                r = sd_bus_message_append(m, "ss", argv[0], argc > 1 ? argv[1] : "");
                return r < 0 ? fail_errno(u, r, "make a call") : append_values(u, m, ULV_MAX(argc - 2, 0), argv + 2);
        }
        if (argc != 4)
                return fail(u, ULV_EXIT_USAGE, "uvctl why move needs what, from and to", "", "uvctl why move cores=1 batch db");
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
                return fail_errno(u, -errno, "write the backup");
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
        return r < 0 ? fail_errno(u, r, "write the backup") : 0;
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
                return r < 0 ? fail_errno(u, r, "write the backup") : 0;
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

/* Of uvctl always; of the roles where they can be reached: `version` is what one asks when they can't. */
int verb_version(struct uvctl *u, int argc ULV_UNUSED, char **argv ULV_UNUSED) {
        _cleanup_message_ sd_bus_message *m = NULL;
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct json j = { 0 };
        const char *key, *value;
        int r;

        json_object(&j, NULL);
        json_string(&j, "uvctl", ULV_VERSION);
        ulv_strbuf_add(&b, "uvctl " ULV_VERSION "\n");
        if (client_call(u, &m, "Status", "") == 0) {
                r = sd_bus_message_enter_container(m, 'a', "{ss}");
                while (r >= 0 && sd_bus_message_read(m, "{ss}", &key, &value) > 0) {
                        if (!strstr(key, "version"))
                                continue;
                        json_string(&j, key, value);
                        text_safe(&b, key, strlen(key), false);
                        ulv_strbuf_addc(&b, ' ');
                        text_safe(&b, value, strlen(value), false);
                        ulv_strbuf_addc(&b, '\n');
                }
        } else
                ulv_strbuf_add(&b, "the roles can't be reached\n");
        u->diag = (struct ulv_diag) { 0 };
        json_end(&j);
        if (u->output == OUTPUT_JSON)
                return put_json(u, &j);
        ulv_strbuf_done(&j.b);
        return put(u, &b);
}
