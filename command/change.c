/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Verbs that change definitions and the ledger: set, remove, apply. In this order: plan; let operations
 * write the files, which makes them count; submit. If the ledger refuses in the end, or the change is
 * taken back, operations takes the files back (job.c). Nothing is written for a plan that doesn't fit. */

#include <fcntl.h>
#include <stdio.h>

#include "command/dropin.h"
#include "command/preview.h"
#include "command/public.h"
#include "lib/fd.h"
#include "lib/protocol.h"

/* --- operations writes -------------------------------------------------------------------------------- */

static void away(struct ulv_diag *d, const char *verb) {
        ulv_diag_what(d, ULV_EXIT_UNREACHABLE, "cannot %s", verb);
        ulv_diag_why(d, "the keeper of definitions and policies (uv-operations) isn't there; nothing was changed");
        ulv_diag_try(d, "again in a moment");
}

static int on_written(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct job *j = userdata;
        struct manager *m = j->m;
        uint64_t version = 0;
        struct ulv_diag d;

        j->busy--;
        if (sd_bus_message_is_method_error(reply, NULL) || sd_bus_message_read(reply, "t", &version) < 0) {
                const sd_bus_error *e = sd_bus_message_get_error(reply);

                if (e && ulv_startswith(e->name, ULV_ERROR_PREFIX))
                        ulv_bus_error_to_diag(e, 0, &d);
                else
                        away(&d, j->verb);
                job_refuse(j, &d);
                return 0;
        }
        /* A version that was known before wasn't made by this call: there was nothing to write. */
        if (version != m->version)
                j->installed = version;
        m->version = ULV_MAX(m->version, version);
        job_run(j);
        return 0;
}

/* Sends a call that was made by the caller (r: how that went) and goes on when it is answered. */
static void write_and_go(struct job *j, sd_bus_message *write, int r) {
        if (r >= 0)
                r = link_call(&j->m->operations, write, on_written, j);
        sd_bus_message_unref(write);
        if (r >= 0)
                j->busy++;
        else
                job_refuse_errno(j, r);
}

/* A call to operations, or NULL: the job was refused. */
static sd_bus_message *operations_call(struct job *j, const char *member) {
        struct link *l = &j->m->operations;
        sd_bus_message *call = NULL;
        struct ulv_diag d;

        if (!l->bus || sd_bus_message_new_method_call(l->bus, &call, NULL, ULV_PATH_OPERATIONS, ULV_IF_OPERATIONS, member) < 0) {
                away(&d, j->verb);
                job_refuse(j, &d);
                return NULL;
        }
        return call;
}

/* false: the job has ended, as a dry run or refused. */
static bool plan(struct job *j) {
        struct ulv_diag d = { 0 };
        int r = preview(j, &d);

        if (r > 0)
                job_refuse(j, &d);
        else if (r < 0)
                job_refuse_errno(j, r);
        else if (j->flags & ULV_FLAG_DRY_RUN)
                job_answer_dry(j);
        else
                return true;
        return false;
}

/* --- set ---------------------------------------------------------------------------------------------- */

static int set_dropin(struct job *j, char **ret, struct ulv_diag *d) {
        const struct ulv_request *q = &j->items[0].request;
        const struct ulv_definition *def = ulv_bundle_definition(j->m->bundle, q->name);
        struct ulv_strbuf cores = { 0 }, share = { 0 }, memory = { 0 };
        struct dropin_value v[4];
        size_t n = 0;
        int r;

        if (q->has_cores) {
                ulv_strbuf_addu(&cores, q->cores);
                v[n++] = (struct dropin_value) { "CPU", "Cores", ulv_strbuf_str(&cores) };
                if (def && !def->whole_cores)
                        v[n++] = (struct dropin_value) { "CPU", "Share", "" };
        }
        if (q->has_share) {
                ulv_share_format(&share, q->share);
                v[n++] = (struct dropin_value) { "CPU", "Share", ulv_strbuf_str(&share) };
                if (def && def->whole_cores)
                        v[n++] = (struct dropin_value) { "CPU", "Cores", "" };
        }
        if (q->has_memory) {
                ulv_size_format(&memory, q->memory);
                v[n++] = (struct dropin_value) { "Memory", "Size", ulv_strbuf_str(&memory) };
        }
        r = cores.error ? cores.error : share.error ? share.error : memory.error;
        if (r == 0)
                r = dropin_text(j->m->bundle, q->name, v, n, ret, d);
        ulv_strbuf_done(&cores);
        ulv_strbuf_done(&share);
        ulv_strbuf_done(&memory);
        return r;
}

static void set_go(struct job *j) {
        _cleanup_free_ char *text = NULL;
        struct ulv_diag d = { 0 };
        sd_bus_message *write;
        int r;

        if (j->flags & ULV_FLAG_RUNTIME) {
                job_run(j);
                return;
        }
        r = set_dropin(j, &text, &d);
        if (r > 0)
                job_refuse(j, &d);
        else if (r < 0)
                job_refuse_errno(j, r);
        else if ((write = operations_call(j, "SetDropIn")))
                write_and_go(j, write, sd_bus_message_append(write, "ssb", j->items[0].name, text, false));
}

/* 0; 1 (reterr); -errno. */
static int read_values(sd_bus_message *call, struct ulv_request *q, struct ulv_diag *reterr) {
        const char *key, *value;
        int r = sd_bus_message_enter_container(call, 'a', "{ss}");

        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(call, "{ss}", &key, &value)) > 0)
                if (verb_value(q, key, value, reterr) != 0)
                        return 1;
        if (r < 0)
                return r;
        if (!q->has_cores && !q->has_share && !q->has_memory) {
                ulv_diag_what(reterr, ULV_EXIT_USAGE, "nothing to set");
                ulv_diag_try(reterr, "uvctl set NAME memory=2G");
                return 1;
        }
        if (q->has_cores && q->has_share) {
                ulv_diag_what(reterr, ULV_EXIT_USAGE, "cores= and share= exclude each other");
                return 1;
        }
        return sd_bus_message_exit_container(call);
}

int method_set(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        struct ulv_request q = { .verb = ULV_REQUEST_SET };
        struct ulv_diag d = { 0 };
        const char *name, *reason;
        uint64_t if_generation;
        uint32_t flags;
        struct job *j;
        int r;

        if (!public_may(pp, call, ACCESS_MANAGE) || !public_has(pp->m, call, true))
                return 1;
        r = sd_bus_message_read(call, "s", &name);
        if (r >= 0)
                r = read_values(call, &q, &d);
        if (r == 1 && d.what[0])
                return ulv_bus_reply_diag(call, &d);
        if (r >= 0)
                r = sd_bus_message_read(call, "uts", &flags, &if_generation, &reason);
        if (r < 0)
                return r;
        if (public_too_long(call, reason))
                return 1;
        j = job_new(pp->m, call, "set", 1, flags, if_generation, reason);
        if (!j)
                return 1;
        j->items[0].request = q;
        item_name(&j->items[0], name, "");
        if (plan(j))
                set_go(j);
        return 1;
}

/* --- remove ------------------------------------------------------------------------------------------- */

/* Does the path belong to the definition of a partition of this job? */
static bool is_of(const struct job *j, const char *path) {
        const char *name = path + strlen("partitions/"), *dot;

        if (!ulv_startswith(path, "partitions/") || !(dot = strchr(name, '.')))
                return false;
        for (size_t i = 0; i < j->n_items; i++)
                if (strlen(j->items[i].name) == (size_t) (dot - name) && strncmp(j->items[i].name, name, (size_t) (dot - name)) == 0)
                        return true;
        return false;
}

static int bundle_without(const struct job *j, int *ret_fd, bool *ret_same) {
        const struct ulv_bundle *b = j->m->bundle;
        _cleanup_strbuf_ struct ulv_strbuf text = { .max = ULV_BUNDLE_MAX };
        _cleanup_free_ struct ulv_source *v = calloc(b->n_files + 1, sizeof(*v));
        size_t n = 0;
        int r;

        if (!v)
                return -ENOMEM;
        for (size_t i = 0; i < b->n_files; i++)
                if (!is_of(j, b->files[i].file))
                        v[n++] = b->files[i];
        *ret_same = n == b->n_files;
        r = ulv_bundle_build(b->version, v, n, &text);
        return r < 0 ? r : ulv_memfd_sealed("ultravisor-bundle", ulv_strbuf_str(&text), text.len, ret_fd);
}

static void remove_go(struct job *j) {
        sd_bus_message *write;
        bool same;
        int r;

        r = bundle_without(j, &j->bundle, &same);
        if (r < 0)
                job_refuse_errno(j, r);
        else if (same)          /* in the ledger only: its files went before */
                job_run(j);
        else if ((write = operations_call(j, "Install")))
                write_and_go(j, write, sd_bus_message_append(write, "h", j->bundle));
}

int method_remove(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        uint64_t if_generation;
        char **names = NULL;
        const char *reason;
        struct job *j;
        uint32_t flags;
        size_t n = 0;
        int r;

        if (!public_may(pp, call, ACCESS_MANAGE) || !public_has(pp->m, call, true))
                return 1;
        r = sd_bus_message_read_strv(call, &names);
        if (r >= 0)
                r = sd_bus_message_read(call, "uts", &flags, &if_generation, &reason);
        while (r >= 0 && names && names[n])
                n++;
        if (r >= 0 && (n == 0 || n > NAMES_MAX)) {
                struct ulv_diag d;

                ulv_diag_what(&d, ULV_EXIT_USAGE, "remove takes 1 to %u names", NAMES_MAX);
                (void) ulv_bus_reply_diag(call, &d);
        } else if (r >= 0 && !public_too_long(call, reason) && (j = job_new(pp->m, call, "remove", n, flags, if_generation, reason))) {
                for (size_t i = 0; i < n; i++) {
                        item_name(&j->items[i], names[i], "");
                        j->items[i].request.verb = ULV_REQUEST_REMOVE;
                }
                if (plan(j))
                        remove_go(j);
        }
        ulv_strv_free(names);
        return r < 0 ? r : 1;
}

/* --- apply -------------------------------------------------------------------------------------------- */

static void first_problem(struct ulv_diag *d, const char *what, const char *problems) {
        size_t n = 0;

        for (const char *p = problems; *p; p++)
                n += *p == '\n';
        ulv_diag_what(d, ULV_EXIT_USAGE, "%s: %zu error%s in the definitions and policies", what, n, n == 1 ? "" : "s");
        ulv_diag_why(d, "%.*s", (int) strcspn(problems, "\n"), problems);
        ulv_diag_try(d, "uvctl verify");
}

/* Keeps the set that operations merged, and parses it. 0; -errno. */
static int take_candidate(struct job *j, int fd) {
        _cleanup_free_ char *text = NULL;
        size_t len;
        int r;

        j->bundle = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (j->bundle < 0)
                return -errno;
        r = ulv_read_fd(fd, ULV_BUNDLE_MAX, &text, &len);
        if (r == 0)
                r = ulv_bundle_parse(text, len, &j->candidate, NULL, NULL);
        return r > 0 ? -EBADMSG : r;
}

static int on_checked(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct job *j = userdata;
        const char *problems = "";
        sd_bus_message *write;
        struct ulv_diag d;
        int ok, fd, r;

        j->busy--;
        if (sd_bus_message_is_method_error(reply, NULL)) {
                if (ulv_startswith(sd_bus_message_get_error(reply)->name, ULV_ERROR_PREFIX))
                        ulv_bus_error_to_diag(sd_bus_message_get_error(reply), 0, &d);
                else
                        away(&d, "apply");
                job_refuse(j, &d);
                return 0;
        }
        r = sd_bus_message_read(reply, "bhs", &ok, &fd, &problems);
        if (r >= 0 && !ok) {
                first_problem(&d, "nothing was applied", problems);
                job_refuse(j, &d);
                return 0;
        }
        if (r >= 0)
                r = take_candidate(j, fd);
        if (r < 0)
                job_refuse_errno(j, r);
        else if (plan(j) && (write = operations_call(j, "Install")))
                write_and_go(j, write, sd_bus_message_append(write, "h", j->bundle));
        return 0;
}

int method_apply(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        sd_bus_message *check;
        uint64_t if_generation;
        const char *reason;
        int fd, replace, r;
        uint32_t flags;
        struct job *j;

        if (!public_may(pp, call, ACCESS_MANAGE) || !public_has(pp->m, call, false))
                return 1;
        r = sd_bus_message_read(call, "hbuts", &fd, &replace, &flags, &if_generation, &reason);
        if (r < 0)
                return r;
        if (public_too_long(call, reason))
                return 1;
        j = job_new(pp->m, call, "apply", 1, flags, if_generation, reason);
        if (!j)
                return 1;
        item_name(&j->items[0], "", "");
        j->items[0].request.verb = ULV_REQUEST_APPLY;
        j->items[0].request.prune = flags & ULV_FLAG_PRUNE;
        check = operations_call(j, "Check");
        if (!check)
                return 1;
        r = sd_bus_message_append(check, "hb", fd, !replace);
        if (r >= 0)
                r = link_call(&pp->m->operations, check, on_checked, j);
        sd_bus_message_unref(check);
        if (r < 0)
                job_refuse_errno(j, r);
        else
                j->busy++;
        return 1;
}

/* --- reload, verify ----------------------------------------------------------------------------------- */

static int on_reloaded(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        sd_bus_message *call = userdata;
        const char *problems;
        uint64_t version;
        struct ulv_diag d;
        int ok;

        if (sd_bus_message_is_method_error(reply, NULL) || sd_bus_message_read(reply, "bts", &ok, &version, &problems) < 0) {
                away(&d, "reload");
                (void) ulv_bus_reply_diag(call, &d);
        } else if (!ok) {
                char what[64];

                (void) snprintf(what, sizeof(what), "version %llu stays in force", (unsigned long long) version);
                first_problem(&d, what, problems);
                (void) ulv_bus_reply_diag(call, &d);
        } else
                (void) sd_bus_reply_method_return(call, "t", version);
        sd_bus_message_unref(call);
        return 0;
}

int method_reload(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        struct link *l = &pp->m->operations;
        sd_bus_message *ask = NULL;
        struct ulv_diag d;
        int r = -ENOTCONN;

        if (!public_may(pp, call, ACCESS_MANAGE))
                return 1;
        if (l->bus && (r = sd_bus_message_new_method_call(l->bus, &ask, NULL, ULV_PATH_OPERATIONS, ULV_IF_OPERATIONS, "Reload")) >= 0)
                r = link_call(l, ask, on_reloaded, sd_bus_message_ref(call));
        sd_bus_message_unref(ask);
        if (r >= 0)
                return 1;
        away(&d, "reload");
        return ulv_bus_reply_diag(call, &d);
}

static void collect(const struct ulv_diag *d, void *userdata) {
        ulv_strbuf_addf(userdata, "%s:%u:%u: %s%s%s\n", d->file, d->line, d->column, d->what, d->why[0] ? ": " : "", d->why);
}

int method_verify(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        _cleanup_strbuf_ struct ulv_strbuf problems = { .max = 1024 * 1024 };
        _cleanup_free_ char *text = NULL;
        struct ulv_bundle *b = NULL;
        size_t len = 0;
        int fd, r;

        if (!public_may(userdata, call, ACCESS_READ))
                return 1;
        r = sd_bus_message_read(call, "h", &fd);
        if (r < 0)
                return r;
        r = ulv_memfd_is_sealed(fd) ? ulv_read_fd(fd, ULV_BUNDLE_MAX, &text, &len) : -EINVAL;
        if (r == 0)
                r = ulv_bundle_parse(text, len, &b, collect, &problems);
        ulv_bundle_free(b);
        if (r < 0)
                return public_reply_errno(call, r);
        return sd_bus_reply_method_return(call, "bs", r == 0, ulv_strbuf_str(&problems));
}
