/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Verbs that change definitions and the ledger: set, remove, apply (and move, in move.c). In this order: plan; let operations
 * write the files, which makes them count; submit. If the ledger refuses in the end, or the change is
 * taken back, operations takes the files back (job.c). Nothing is written for a plan that doesn't fit. */

#include <fcntl.h>
#include <stdio.h>

#include "command/change.h"
#include "command/dropin.h"
#include "command/preview.h"
#include "command/public.h"
#include "lib/fd.h"
#include "lib/protocol.h"

#define PATIENCE 5000000u       /* us that a job waits for operations to come back */
#define TICK 30000u
#define TICK_SET 1000u         /* us between looks whether what was written has come */

/* --- operations writes -------------------------------------------------------------------------------- */

static int on_again(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct job *j = userdata;

        j->timer = sd_event_source_disable_unref(j->timer);
        j->again(j);
        return 0;
}

/* operations isn't there, or went away before it answered (then it undoes what it had begun when it is
 * back): the step is done again, until patience ends. */
static void again(struct job *j, void (*step)(struct job *j)) {
        uint64_t now = manager_now(j->m, CLOCK_MONOTONIC);
        struct ulv_diag d;

        if (j->give_up_at == 0)
                j->give_up_at = now + PATIENCE;
        j->again = step;
        if (now < j->give_up_at &&
            sd_event_add_time_relative(j->m->role.event, &j->timer, CLOCK_MONOTONIC, TICK, 1000, on_again, j) >= 0)
                return;
        public_operations_away(&d, j->verb);
        job_refuse(j, &d);
}

/* Is this answer a refusal of operations' own, or did the connection end? */
static bool is_refusal(const sd_bus_error *e) {
        return ulv_startswith(e->name, ULV_ERROR_PREFIX);
}

static void refuse_as(struct job *j, const sd_bus_error *e) {
        struct ulv_diag d;

        ulv_bus_error_to_diag(e, 0, &d);
        job_refuse(j, &d);
}

/* What comes next is planned on what was just written, and so is the caller's next call: the job goes on when
 * the new set has come. If operations died meanwhile, it comes with its return. */
static void run_in_force(struct job *j) {
        const struct manager *m = j->m;
        uint64_t now = manager_now(m, CLOCK_MONOTONIC);

        if (j->give_up_at == 0)
                j->give_up_at = now + PATIENCE;
        j->again = run_in_force;
        if ((m->bundle && m->bundle->version >= m->version) || now >= j->give_up_at ||
            sd_event_add_time_relative(m->role.event, &j->timer, CLOCK_MONOTONIC, TICK_SET, 100, on_again, j) < 0)
                job_run(j);
}

static int on_written(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct job *j = userdata;
        struct manager *m = j->m;
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        uint64_t version;
        int r;

        j->busy--;
        if (e) {
                if (is_refusal(e))
                        refuse_as(j, e);
                else
                        again(j, j->again);
                return 0;
        }
        r = sd_bus_message_read(reply, "t", &version);
        if (r < 0 || (j->flags & ULV_FLAG_DRY_RUN)) {
                if (r < 0)
                        job_refuse_errno(j, r);
                else
                        job_answer_dry(j);
                return 0;
        }
        if (version == UINT64_MAX) {    /* the definitions have changed since what was planned on */
                ulv_strbuf_reset(&j->plan);
                ulv_bundle_free(ulv_steal(j->candidate));
                again(j, j->begin);
                return 0;
        }
        /* A version that was known before wasn't made by this call: there was nothing to write. */
        if (version != m->version)
                j->installed = version;
        j->noted = j->installed && j->items[0].intent[0];
        m->version = ULV_MAX(m->version, version);
        j->give_up_at = 0;
        run_in_force(j);
        return 0;
}

/* A call to operations, or NULL: `step`, the caller, will be called again, or the job was refused. */
static sd_bus_message *operations_call(struct job *j, const char *member, void (*step)(struct job *j)) {
        struct link *l = &j->m->operations;
        sd_bus_message *call = NULL;

        j->again = step;
        if (!l->bus || sd_bus_message_new_method_call(l->bus, &call, NULL, ULV_PATH_OPERATIONS, ULV_IF_OPERATIONS, member) < 0) {
                again(j, step);
                return NULL;
        }
        return call;
}

/* Sends a call that was made by the caller (r: how that went); it goes on in `answer`. */
static void send_call(struct job *j, sd_bus_message *call, int r, sd_bus_message_handler_t answer) {
        int sent = r < 0 ? r : link_call(&j->m->operations, call, answer, j);

        sd_bus_message_unref(call);
        if (sent >= 0)
                j->busy++;
        else if (r >= 0 && sent != -ENOMEM)
                again(j, j->again);     /* the connection just broke */
        else
                job_refuse_errno(j, sent);
}

bool change_plan(struct job *j) {
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

int change_dropin(const struct manager *m, const struct ulv_request *q, char **ret, struct ulv_diag *d) {
        const struct ulv_definition *def = ulv_bundle_definition(m->bundle, q->name);
        struct ulv_strbuf cores = { 0 }, share = { 0 }, memory = { 0 }, limits[ULV_REQUEST_LIMITS_MAX] = { 0 };
        struct dropin_value v[DROPIN_VALUES_MAX];
        size_t n = 0;
        int r;

        if (q->has_cores) {
                ulv_strbuf_addu(&cores, q->cores);
                v[n++] = (struct dropin_value) { "CPU", "Cores", ulv_strbuf_str(&cores), false };
                if (def && !def->whole_cores)
                        v[n++] = (struct dropin_value) { "CPU", "Share", "", false };
        }
        if (q->has_share) {
                ulv_share_format(&share, q->share);
                v[n++] = (struct dropin_value) { "CPU", "Share", ulv_strbuf_str(&share), false };
                if (def && def->whole_cores)
                        v[n++] = (struct dropin_value) { "CPU", "Cores", "", false };
        }
        if (q->has_memory) {
                ulv_size_format(&memory, q->memory);
                v[n++] = (struct dropin_value) { "Memory", "Size", ulv_strbuf_str(&memory), false };
        }
        r = cores.error ? cores.error : share.error ? share.error : memory.error;
        for (size_t i = 0; i < q->n_limits && r == 0; i++) {
                const struct ulv_limit *l = &q->limits[i];
                bool list = l->what != ULV_LIMIT_TASKS;

                if (list || l->amount > 0)      /* tasks= alone unsets */
                        ulv_limit_format(&limits[i], l, ' ');
                v[n++] = (struct dropin_value) { "Limits", ulv_limit_key(l->what), ulv_strbuf_str(&limits[i]), list };
                r = limits[i].error;
        }
        if (r == 0)
                r = dropin_text(m->bundle, q->name, v, n, ret, d);
        ulv_strbuf_done(&cores);
        ulv_strbuf_done(&share);
        ulv_strbuf_done(&memory);
        for (size_t i = 0; i < q->n_limits; i++)
                ulv_strbuf_done(&limits[i]);
        return r;
}

void change_write_dropin(struct job *j, const char *text, void (*step)(struct job *j)) {
        struct item *i = &j->items[0];
        const struct ulv_source *before = ulv_bundle_set_drop_in(j->m->bundle, i->name);
        int r = unsettled_intend(j);
        sd_bus_message *write = r < 0 ? NULL : operations_call(j, "SetDropIn", step);

        if (write)
                send_call(j, write, sd_bus_message_append(write, "stss", i->name, ulv_source_sum(before), text, i->intent), on_written);
        else if (r < 0)
                job_refuse_errno(j, r);
}

static void set_go(struct job *j) {
        _cleanup_free_ char *text = NULL;
        struct ulv_diag d = { 0 };
        int r;

        if (j->flags & ULV_FLAG_RUNTIME) {
                job_run(j);
                return;
        }
        r = change_dropin(j->m, &j->items[0].request, &text, &d);
        if (r > 0)
                job_refuse(j, &d);
        else if (r < 0)
                job_refuse_errno(j, r);
        else
                change_write_dropin(j, text, set_go);
}

static void set_begin(struct job *j) {
        if (change_plan(j))
                set_go(j);
}

/* Of a partition that is really run here; what is simulated or imagined has imagined disks. */
static int check_disks(const struct manager *m, const char *name, const struct ulv_request *q, struct ulv_diag *reterr) {
        const struct ulv_definition *d = m->bundle ? ulv_bundle_definition(m->bundle, name) : NULL;

        return d && !ulv_streq(d->type, "sim") ? verb_check_disks(q, reterr) : 0;
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
        if (!q->has_cores && !q->has_share && !q->has_memory && q->n_limits == 0) {
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

        if (!public_has(pp->m, call, true))
                return 1;
        r = sd_bus_message_read(call, "s", &name);
        if (r >= 0)
                r = read_values(call, &q, &d);
        if (r >= 0 && !d.what[0] && check_disks(pp->m, name, &q, &d) != 0)
                return ulv_bus_reply_diag(call, &d);
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
        q.runtime = flags & ULV_FLAG_RUNTIME;
        j->items[0].request = q;
        if (item_name(&j->items[0], name, "") && turn_take(j, set_begin))
                set_begin(j);
        return 1;
}

/* --- revert ------------------------------------------------------------------------------------------- */

static void revert_go(struct job *j) { change_write_dropin(j, "", revert_go); }

/* Into text: the set in force without the files that are left out. */
static int bundle_without(const struct job *j, bool (*is_out)(const struct job *j, const struct ulv_source *file), struct ulv_strbuf *text, bool *ret_same) {
        const struct ulv_bundle *b = j->m->bundle;
        _cleanup_free_ struct ulv_source *v = calloc(b->n_files + 1, sizeof(*v));
        size_t n = 0;
        int r;

        if (!v)
                return -ENOMEM;
        for (size_t i = 0; i < b->n_files; i++)
                if (!is_out(j, &b->files[i]))
                        v[n++] = b->files[i];
        r = ulv_bundle_build(b->version, v, n, text);
        if (r >= 0)
                *ret_same = n == b->n_files;
        return r;
}

static bool is_its_drop_in(const struct job *j, const struct ulv_source *file) {
        return file == ulv_bundle_set_drop_in(j->m->bundle, j->items[0].name);
}

/* What is left is planned on, and of it only this definition counts. */
static int revert_candidate(struct job *j) {
        _cleanup_strbuf_ struct ulv_strbuf text = { .max = ULV_BUNDLE_MAX };
        bool same;
        int r = bundle_without(j, is_its_drop_in, &text, &same);

        if (r == 0)
                r = ulv_bundle_parse(ulv_strbuf_str(&text), text.len, &j->candidate, NULL, NULL);
        return r > 0 ? -EBADMSG : r;
}

static void revert_begin(struct job *j) {
        const char *name = j->items[0].name;
        struct ulv_diag d;
        int r;

        if (!ulv_bundle_definition(j->m->bundle, name)) {
                ulv_diag_what(&d, ULV_EXIT_NOT_FOUND, "no partition %s", name);
                ulv_diag_why(&d, "no definition in force has this name");
                ulv_diag_try(&d, "uvctl list");
                job_refuse(j, &d);
                return;
        }
        if (!ulv_bundle_set_drop_in(j->m->bundle, name)) {
                ulv_diag_what(&d, ULV_EXIT_CONFLICT, "%s has nothing to revert", name);
                ulv_diag_why(&d, "it has no drop-in " ULV_SET_DROP_IN ", which set, move and attach write");
                ulv_diag_try(&d, "uvctl show %s", name);
                job_refuse(j, &d);
                return;
        }
        r = revert_candidate(j);
        if (r == -EBADMSG) {
                ulv_diag_what(&d, ULV_EXIT_CONFLICT, "cannot revert %s", name);
                ulv_diag_why(&d, "its files aren't a definition without " ULV_SET_DROP_IN);
                ulv_diag_try(&d, "uvctl edit %s", name);
                job_refuse(j, &d);
        } else if (r < 0)
                job_refuse_errno(j, r);
        else if (change_plan(j))
                revert_go(j);
}

int method_revert(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        const char *name, *reason;
        uint64_t if_generation;
        uint32_t flags;
        struct job *j;
        int r;

        if (!public_has(pp->m, call, true))
                return 1;
        r = sd_bus_message_read(call, "suts", &name, &flags, &if_generation, &reason);
        if (r < 0)
                return r;
        if (public_too_long(call, reason) || !(j = job_new(pp->m, call, "revert", 1, flags & ~(uint32_t) ULV_FLAG_RUNTIME, if_generation, reason)))
                return 1;
        j->items[0].request.verb = ULV_REQUEST_APPLY;
        if (item_name(&j->items[0], name, "") && turn_take(j, revert_begin))
                revert_begin(j);
        return 1;
}

/* --- remove ------------------------------------------------------------------------------------------- */

/* Is it of the definition of a partition of this job? */
static bool is_of(const struct job *j, const struct ulv_source *file) {
        const char *name = file->file + strlen("partitions/"), *dot;

        if (!ulv_startswith(file->file, "partitions/") || !(dot = strchr(name, '.')))
                return false;
        for (size_t i = 0; i < j->n_items; i++)
                if (strlen(j->items[i].name) == (size_t) (dot - name) && strncmp(j->items[i].name, name, (size_t) (dot - name)) == 0)
                        return true;
        return false;
}

static int bundle_without_files(const struct job *j, int *ret_fd, bool *ret_same) {
        _cleanup_strbuf_ struct ulv_strbuf text = { .max = ULV_BUNDLE_MAX };
        int r = bundle_without(j, is_of, &text, ret_same);

        return r < 0 ? r : ulv_memfd_sealed("ultravisor-bundle", ulv_strbuf_str(&text), text.len, ret_fd);
}

/* The bundle, and for which transactions: one that removes takes back its partition's files, another one all of them. */
static int append_install(sd_bus_message *write, const struct job *j) {
        int r = sd_bus_message_append(write, "h", j->bundle);

        if (r >= 0)
                r = sd_bus_message_open_container(write, 'a', "(ss)");
        for (size_t i = 0; i < j->n_items && r >= 0; i++)
                r = sd_bus_message_append(write, "(ss)", ulv_streq(j->verb, "remove") ? j->items[i].name : "", j->items[i].intent);
        return r < 0 ? r : sd_bus_message_close_container(write);
}

void change_install(struct job *j) {
        int r = unsettled_intend(j);
        sd_bus_message *write = r < 0 ? NULL : operations_call(j, "Install", change_install);

        if (write)
                send_call(j, write, append_install(write, j), on_written);
        else if (r < 0)
                job_refuse_errno(j, r);
}

void change_take_back(struct job *j) {
        bool dry = j->flags & ULV_FLAG_DRY_RUN;
        int r = dry ? 0 : unsettled_intend(j);
        sd_bus_message *write = r < 0 ? NULL : operations_call(j, "TakeBack", change_take_back);

        if (write)
                send_call(j, write, sd_bus_message_append(write, "ss", j->items[0].name, dry ? "" : j->items[0].intent), on_written);
        else if (r < 0)
                job_refuse_errno(j, r);
}

static void remove_go(struct job *j) {
        bool same;
        int r;

        j->bundle = ulv_close(j->bundle);
        r = bundle_without_files(j, &j->bundle, &same);
        if (r < 0)
                job_refuse_errno(j, r);
        else if (same)          /* in the ledger only: its files went before */
                job_run(j);
        else
                change_install(j);
}

static void remove_begin(struct job *j) {
        if (change_plan(j))
                remove_go(j);
}

static bool name_all(struct job *j, const char *const *names) {
        for (size_t i = 0; i < j->n_items; i++) {
                j->items[i].request.verb = ULV_REQUEST_REMOVE;
                if (!item_name(&j->items[i], names[i], ""))
                        return false;
        }
        return true;
}

int method_remove(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        _cleanup_free_ const char **names = NULL;
        struct public_peer *pp = userdata;
        uint64_t if_generation;
        const char *reason;
        struct job *j;
        uint32_t flags;
        size_t n = 0;
        int r;

        if (!public_has(pp->m, call, true))
                return 1;
        r = public_read_names(call, &names, &n);
        if (r != 0)
                return r;
        r = sd_bus_message_read(call, "uts", &flags, &if_generation, &reason);
        if (r < 0)
                return r;
        if (n == 0) {
                struct ulv_diag d;

                ulv_diag_what(&d, ULV_EXIT_USAGE, "remove takes 1 to %u names", NAMES_MAX);
                return ulv_bus_reply_diag(call, &d);
        }
        if (public_too_long(call, reason) || !(j = job_new(pp->m, call, "remove", n, flags, if_generation, reason)))
                return 1;
        if (name_all(j, names) && turn_take(j, remove_begin))
                remove_begin(j);
        return 1;
}

/* --- apply -------------------------------------------------------------------------------------------- */

/* Keeps the set that operations merged, and parses it. 0; -errno. */
static int take_candidate(struct job *j, int fd) {
        _cleanup_free_ char *text = NULL;
        size_t len;
        int r;

        j->bundle = ulv_close(j->bundle);
        j->bundle = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (j->bundle < 0)
                return -errno;
        r = ulv_memfd_is_sealed(fd) ? ulv_read_fd(fd, ULV_BUNDLE_MAX, &text, &len) : -EINVAL;
        if (r == 0)
                r = ulv_bundle_parse(text, len, &j->candidate, NULL, NULL);
        return r > 0 ? -EBADMSG : r;
}

static void check(struct job *j);

static int on_checked(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct job *j = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        const char *problems = "";
        struct ulv_diag d;
        int ok, fd, r;

        j->busy--;
        if (e) {
                if (is_refusal(e))
                        refuse_as(j, e);
                else
                        again(j, check);
                return 0;
        }
        r = sd_bus_message_read(reply, "bhs", &ok, &fd, &problems);
        if (r >= 0 && !ok) {
                public_problems(&d, "nothing was applied", problems);
                job_refuse(j, &d);
                return 0;
        }
        if (r >= 0)
                r = take_candidate(j, fd);
        if (r < 0)
                job_refuse_errno(j, r);
        else if (change_plan(j))
                change_install(j);
        return 0;
}

static void check(struct job *j) {
        sd_bus_message *ask = operations_call(j, "Check", check);

        if (ask)
                send_call(j, ask, sd_bus_message_append(ask, "hb", j->given, (int) j->merge), on_checked);
}

int method_apply(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        uint64_t if_generation;
        const char *reason;
        int fd, replace, r;
        uint32_t flags;
        struct job *j;

        if (!public_has(pp->m, call, false))
                return 1;
        r = sd_bus_message_read(call, "hbuts", &fd, &replace, &flags, &if_generation, &reason);
        if (r < 0)
                return r;
        if (public_too_long(call, reason))
                return 1;
        j = job_new(pp->m, call, "apply", 1, flags, if_generation, reason);
        if (!j)
                return 1;
        j->items[0].request = (struct ulv_request) { .verb = ULV_REQUEST_APPLY, .name = j->items[0].name, .other = j->items[0].other };
        j->items[0].request.prune = flags & ULV_FLAG_PRUNE;
        j->merge = !replace;
        j->given = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (j->given < 0)
                job_refuse_errno(j, -errno);
        else if (turn_take(j, check))
                check(j);
        return 1;
}
