/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Questions that the mirror and the bundle answer, uvd or not. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "command/public.h"
#include "command/rows.h"
#include "lib/fd.h"
#include "lib/ini.h"
#include "lib/protocol.h"

int method_rows(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        const char *kind, *rows;
        int r;

        if (!public_has(pp->m, call, false))
                return 1;
        r = sd_bus_message_read(call, "s", &kind);
        if (r < 0)
                return r;
        r = rows_get(pp->m, kind, &rows);
        if (r < 0)
                return public_reply_errno(call, r);
        return sd_bus_reply_method_return(call, "ts", ulv_ledger_generation(pp->m->ledger), rows);
}

/* --- status ------------------------------------------------------------------------------------------- */

struct facts { sd_bus_message *m; int r; };

static void fact(struct facts *f, const char *key, const char *value) {
        if (f->r >= 0)
                f->r = sd_bus_message_append(f->m, "{ss}", key, value);
}

static void fact_number(struct facts *f, const char *key, uint64_t value) {
        char text[32];

        (void) snprintf(text, sizeof(text), "%llu", (unsigned long long) value);
        fact(f, key, text);
}

static bool has_word(const char *words, const char *word) {
        size_t n = strlen(word);

        for (const char *p = words; (p = strstr(p, word)); p += n)
                if ((p == words || p[-1] == '+' || p[-1] == ' ') && (p[n] == 0 || p[n] == '+' || p[n] == ' '))
                        return true;
        return false;
}

/* What this machine lacks, and what is done instead, a line each. */
static void facts_of_machine(struct facts *f, const struct ulv_ledger *l) {
        static const char *const kinds[] = { "real", "part", "imagined" };
        static const struct { const char *controller, *instead; } wanted[] = {
                { "cpuset", "no cpuset controller: cores by affinity only" },
                { "cpu", "no cpu controller: shares are tracked only" },
                { "memory", "no memory controller: memory is tracked only" },
                { "pids", "no pids controller: the number of processes isn't limited" },
                { "io", "no io controller: limits on reading and writing are tracked only" },
        };
        _cleanup_strbuf_ struct ulv_strbuf missing = { .max = 4096 };
        struct ulv_inventory_info inv;

        ulv_ledger_inventory(l, &inv);
        if (inv.kind == ULV_INVENTORY_IMAGINED)
                ulv_strbuf_add(&missing, "the machine is imagined: everything is tracked only\n");
        else
                for (size_t i = 0; i < ULV_ARRAY_SIZE(wanted); i++)
                        if (!has_word(inv.controllers, wanted[i].controller))
                                ulv_strbuf_addf(&missing, "%s\n", wanted[i].instead);
        fact(f, "Machine", inv.name);
        fact(f, "Inventory", kinds[inv.kind]);
        fact(f, "Controllers", inv.controllers);
        fact(f, "KVM", inv.kvm ? "yes" : "no");
        fact(f, "Missing", ulv_strbuf_str(&missing));
}

static void all_facts(struct facts *f, struct manager *m, bool known, bool differ, const char *problems) {
        fact(f, "Version", ULV_VERSION);
        fact(f, "Ledger", m->fresh ? "connected" : m->ledger ? "stale" : "unknown");
        fact(f, "Operations", m->operations.bus ? "connected" : "away");
        if (m->ledger) {
                fact_number(f, "Generation", ulv_ledger_generation(m->ledger));
                facts_of_machine(f, m->ledger);
        }
        if (m->bundle) {
                fact_number(f, "DefinitionsVersion", m->bundle->version);
                fact_number(f, "Definitions", m->bundle->n_definitions);
        }
        fact(f, "Problems", known ? problems : m->problems ? m->problems : "");
        if (known)
                fact(f, "FilesDiffer", differ ? "yes" : "no");
        fact_number(f, "Jobs", jobs_count(m));
        fact_number(f, "TransactionsDone", m->outcomes.done);
        fact_number(f, "TransactionsUndone", m->outcomes.undone);
}

/* The last step: operations said whether the files differ, or can't. */
static int answer_status(sd_bus_message *call, struct manager *m, sd_bus_message *operations) {
        struct facts f = { 0 };
        const char *problems = "";
        uint64_t version;
        int differ = 0;
        bool known = operations && !sd_bus_message_is_method_error(operations, NULL) &&
                     sd_bus_message_read(operations, "tbs", &version, &differ, &problems) >= 0;

        f.r = sd_bus_message_new_method_return(call, &f.m);
        if (f.r >= 0)
                f.r = sd_bus_message_open_container(f.m, 'a', "{ss}");
        all_facts(&f, m, known, differ, problems);
        if (f.r >= 0)
                f.r = sd_bus_message_close_container(f.m);
        if (f.r >= 0)
                f.r = sd_bus_send(NULL, f.m, NULL);
        sd_bus_message_unref(f.m);
        return f.r;
}

struct asked { struct manager *m; sd_bus_message *call; };

static int on_operations_status(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct asked *q = userdata;

        (void) answer_status(q->call, q->m, reply);
        sd_bus_message_unref(q->call);
        free(q);
        return 0;
}

int method_status(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        struct link *l = &pp->m->operations;
        sd_bus_message *ask = NULL;
        struct asked *q;
        int r = -ENOTCONN;

        q = malloc(sizeof(*q));
        if (!q)
                return -ENOMEM;
        *q = (struct asked) { pp->m, sd_bus_message_ref(call) };
        if (l->bus && (r = sd_bus_message_new_method_call(l->bus, &ask, NULL, ULV_PATH_OPERATIONS, ULV_IF_OPERATIONS, "Status")) >= 0)
                r = link_call(l, ask, on_operations_status, q);
        sd_bus_message_unref(ask);
        if (r >= 0)
                return 1;
        sd_bus_message_unref(q->call);
        free(q);
        return answer_status(call, pp->m, NULL);
}

/* --- one partition ------------------------------------------------------------------------------------ */

static void not_found(struct ulv_diag *d, const char *name) {
        ulv_diag_what(d, ULV_EXIT_NOT_FOUND, "no partition %.63s", name);
        ulv_diag_why(d, "no definition in force has this name, and the ledger doesn't know it");
        ulv_diag_try(d, "uvctl list");
}

/* Is the path one of NAME's files: partitions/NAME.partition and what is below NAME.partition.d? */
static bool is_file_of(const char *path, const char *name) {
        size_t n = strlen(name);

        return ulv_startswith(path, "partitions/") && strncmp(path + strlen("partitions/"), name, n) == 0 &&
               ulv_startswith(path + strlen("partitions/") + n, ".partition");
}

int method_definition(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        _cleanup_strbuf_ struct ulv_strbuf text = { 0 }, files = { 0 };
        const struct ulv_definition *d = NULL;
        struct ulv_partition_info p;
        const char *name;
        int r;

        r = sd_bus_message_read(call, "s", &name);
        if (r < 0)
                return r;
        if (pp->m->bundle)
                d = ulv_bundle_definition(pp->m->bundle, name);
        if (d) {
                r = ulv_definition_format(d, &text);
                if (r < 0)
                        return public_reply_errno(call, r);
                for (size_t i = 0; i < pp->m->bundle->n_files; i++)
                        if (is_file_of(pp->m->bundle->files[i].file, name))
                                ulv_strbuf_addf(&files, "%s%s", files.len > 0 ? " " : "", pp->m->bundle->files[i].file);
                if (d->template[0])
                        ulv_strbuf_addf(&files, " " ULV_TEMPLATES "%s.partition", d->template);
        } else if (pp->m->ledger && ulv_ledger_partition(pp->m->ledger, name, &p) == 0)
                ulv_strbuf_add(&text, p.text);
        else {
                struct ulv_diag e;

                not_found(&e, name);
                return ulv_bus_reply_diag(call, &e);
        }
        if (text.error || files.error)
                return public_reply_errno(call, -ENOMEM);
        return sd_bus_reply_method_return(call, "ss", ulv_strbuf_str(&text), ulv_strbuf_str(&files));
}

/* A log file read-only, or an empty memfd where there is none. */
static int open_log(const struct manager *m, const char *name, const char *which, int *ret_fd) {
        _cleanup_free_ char *path = NULL, *relative = NULL;
        struct stat st;
        int fd;

        if (asprintf(&relative, ULV_LOG_DIR "/%s.%s", name, which) < 0) {
                relative = NULL;
                return -ENOMEM;
        }
        path = ulv_role_path(&m->role, relative);
        if (!path)
                return -ENOMEM;
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 && errno != ENOENT)
                return -errno;
        if (fd < 0)
                return ulv_memfd_sealed("ultravisor-log", "", 0, ret_fd);
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
                (void) ulv_close(fd);
                return -EINVAL;
        }
        *ret_fd = fd;
        return 0;
}

/* Its uv-port wrote that, and may say anything: for people, and no more than a line of text. */
void query_said(const struct manager *m, const struct ulv_partition_info *p, char ret[SAID_STATUS_MAX]) {
        _cleanup_close_ int fd = -1;
        struct said s;

        ret[0] = 0;
        if (!ulv_state_is_live(p->state) || open_log(m, p->name, "said", &fd) < 0 || pread(fd, &s, sizeof(s), 0) != sizeof(s))
                return;
        s.status[sizeof(s.status) - 1] = 0;
        if (s.magic != SAID_MAGIC || s.life != (uint32_t) p->incarnation)
                return;
        for (size_t i = 0, n; s.status[i]; i += n ? n : 1)
                if ((n = ulv_utf8_length(s.status + i, strlen(s.status + i))) == 0)
                        s.status[i] = '?';      /* the bus wants UTF-8 */
        memcpy(ret, s.status, sizeof(s.status));
}

int method_logs(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        _cleanup_close_ int a = -1, b = -1, first = -1;
        struct ulv_partition_info p;
        const char *name;
        int r;

        if (!public_has(pp->m, call, false))
                return 1;
        r = sd_bus_message_read(call, "s", &name);
        if (r < 0)
                return r;
        if (!ulv_name_is_valid(name) || ulv_ledger_partition(pp->m->ledger, name, &p) != 0) {
                struct ulv_diag d;

                not_found(&d, name);
                return ulv_bus_reply_diag(call, &d);
        }
        r = open_log(pp->m, name, "log.0", &a);
        if (r == 0)
                r = open_log(pp->m, name, "log.1", &b);
        if (r == 0)
                r = open_log(pp->m, name, "log.first", &first);
        if (r < 0)
                return public_reply_errno(call, r);
        return sd_bus_reply_method_return(call, "hhh", a, b, first);
}
