/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "operations/service.h"

#include <stdio.h>

#include "lib/build.h"
#include "lib/fd.h"
#include "lib/log.h"
#include "lib/protocol.h"

#define PROBLEMS_MAX ((size_t) 1024 * 1024)
#define DROPIN "50-set.conf"

/* --- candidates --------------------------------------------------------------------------------------- */

/* The files on disk as a set; what is wrong with them, as files or as a whole, goes to problems. 0 good;
 * 1 not good (*ret unset); -errno. */
static int read_disk(struct service *s, struct set *ret, struct ulv_strbuf *problems) {
        struct config_files files;
        struct ulv_diag d = { 0 };
        struct set candidate;
        int r;

        r = config_files_read(s->in.etc, &files, problems);
        if (r < 0)
                return r;
        r = install_candidate(&s->in, files.v, files.n, &candidate, &d);
        config_files_done(&files);
        if (r > 0)
                ulv_strbuf_addf(problems, "partitions/:1:1: %s: %s\n", d.what, d.why);
        if (r != 0)
                return r;
        r = set_validate(&candidate, problems);
        if (r == 0 && problems->len > 0)
                r = 1;
        if (r != 0) {
                set_done(&candidate);
                return r;
        }
        *ret = candidate;
        return 0;
}

static int announce(struct ulv_bus_peer *p, void *userdata) {
        const struct service *s = userdata;

        if (sd_bus_emit_signal(p->bus, ULV_PATH_OPERATIONS, ULV_IF_OPERATIONS, "Changed", "t", s->in.in_force.files.version) < 0)
                ulv_bus_peer_drop(p);   /* it connects again and asks */
        else
                (void) ulv_bus_peer_overdue(p);
        return 0;
}

static void changed(struct service *s, uint64_t before) {
        if (s->listener && s->in.in_force.files.version != before)
                (void) ulv_bus_listener_each(s->listener, announce, s);
}

int service_reload(struct service *s) {
        uint64_t before = s->in.in_force.files.version;
        struct ulv_diag d = { 0 };
        struct set candidate;
        int r;

        ulv_strbuf_reset(&s->problems);
        s->problems.max = PROBLEMS_MAX;
        r = read_disk(s, &candidate, &s->problems);
        if (r == 0) {
                r = install_adopt(&s->in, &candidate, &d);
                if (r > 0)
                        ulv_strbuf_addf(&s->problems, "partitions/:1:1: %s: %s\n", d.what, d.why);
        }
        if (r == -E2BIG)        /* more errors than there is room for: still only errors */
                r = 1;
        if (r < 0)
                return r;
        if (r > 0)
                ulv_log(ULV_LOG_WARNING, "the files have errors, version %llu stays in force", (unsigned long long) before);
        else if (s->in.in_force.files.version != before)
                ulv_log(ULV_LOG_INFO, "version %llu is in force: %zu files", (unsigned long long) s->in.in_force.files.version,
                        s->in.in_force.files.n_files);
        changed(s, before);
        return r;
}

/* --- methods ------------------------------------------------------------------------------------------ */

static int reply_errno(sd_bus_message *m, int r) {
        struct ulv_diag d;

        ulv_diag_what(&d, ULV_EXIT_FAILED, "the keeper of definitions failed: %s", strerror(-r));
        return ulv_bus_reply_diag(m, &d);
}

/* Reads a bundle from the fd of a call. An empty one gives *ret_len 0. 0; 1 = refused (d); -errno. */
static int take_bundle(int fd, char **ret, size_t *ret_len, struct ulv_diag *d) {
        int r;

        if (!ulv_memfd_is_sealed(fd)) {
                ulv_diag_what(d, ULV_EXIT_USAGE, "the bundle isn't a sealed memfd");
                return 1;
        }
        r = ulv_read_fd(fd, ULV_BUNDLE_MAX, ret, ret_len);
        if (r == -EFBIG) {
                ulv_diag_what(d, ULV_EXIT_USAGE, "the bundle is longer than 64M");
                return 1;
        }
        return r;
}

static int method_bundle(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct service *s = userdata;
        _cleanup_close_ int fd = -1;
        int r;

        r = ulv_memfd_sealed("ultravisor-bundle", s->in.in_force.text, s->in.in_force.len, &fd);
        if (r < 0)
                return reply_errno(m, r);
        return sd_bus_reply_method_return(m, "thss", s->in.in_force.files.version, fd, ulv_strbuf_str(&s->problems), ulv_build);
}

static int method_reload(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct service *s = userdata;
        int r = service_reload(s);

        if (r < 0)
                return reply_errno(m, r);
        return sd_bus_reply_method_return(m, "bts", r == 0, s->in.in_force.files.version, ulv_strbuf_str(&s->problems));
}

static int method_status(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct service *s = userdata;
        _cleanup_strbuf_ struct ulv_strbuf problems = { .max = PROBLEMS_MAX };
        _cleanup_free_ struct change *v = NULL;
        struct set disk = { 0 };
        size_t n = 1;           /* files that aren't even valid aren't the set in force */
        int r;

        r = read_disk(s, &disk, &problems);
        if (r == 0)
                r = set_changes(&s->in.in_force, &disk, &v, &n);
        set_done(&disk);
        if (r < 0 && r != -E2BIG)
                return reply_errno(m, r);
        return sd_bus_reply_method_return(m, "tbs", s->in.in_force.files.version, n > 0, ulv_strbuf_str(&problems));
}

static int find_path(const struct ulv_bundle_files *f, const char *path) {
        for (size_t i = 0; i < f->n_files; i++)
                if (ulv_streq(f->files[i].file, path))
                        return (int) i;
        return -1;
}

/* The files of `over` on top of those of `base`, as a candidate. */
static int merge(struct service *s, const struct ulv_bundle_files *base, const struct ulv_bundle_files *over, struct set *ret, struct ulv_diag *d) {
        _cleanup_free_ struct ulv_source *v = calloc(base->n_files + over->n_files + 1, sizeof(*v));
        size_t n = 0, i = 0, j = 0;

        if (!v)
                return -ENOMEM;
        while (i < base->n_files || j < over->n_files) {
                int c = i == base->n_files ? 1 : j == over->n_files ? -1 : strcmp(base->files[i].file, over->files[j].file);

                v[n++] = c < 0 ? base->files[i] : over->files[j];
                i += c <= 0;
                j += c >= 0;
        }
        return install_candidate(&s->in, v, n, ret, d);
}

/* What Check() is about: the disk (no text), or the given files over or instead of those in force. */
static int checked_set(struct service *s, const char *text, size_t len, bool over, struct set *ret, struct ulv_strbuf *problems, struct ulv_diag *d) {
        static const struct ulv_bundle_files nothing;
        struct set given, candidate;
        int r;

        if (len == 0)
                return read_disk(s, ret, problems);
        r = set_parse(text, len, &given, d);
        if (r != 0)
                return r;
        r = merge(s, over ? &s->in.in_force.files : &nothing, &given.files, &candidate, d);
        set_done(&given);
        if (r != 0)
                return r;
        r = set_validate(&candidate, problems);
        if (r != 0) {
                set_done(&candidate);
                return r;
        }
        *ret = candidate;
        return 0;
}

static int method_check(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct service *s = userdata;
        _cleanup_strbuf_ struct ulv_strbuf problems = { .max = PROBLEMS_MAX }, text_on = { .max = ULV_BUNDLE_MAX };
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int merged = -1;
        struct ulv_diag d = { 0 };
        struct set candidate = { 0 };
        size_t len = 0;
        int fd, over, r;

        r = sd_bus_message_read(m, "hb", &fd, &over);
        if (r < 0)
                return r;
        r = take_bundle(fd, &text, &len, &d);
        if (r == 0)
                r = checked_set(s, text, len, over, &candidate, &problems, &d);
        if (r > 0 && d.what[0])
                return ulv_bus_reply_diag(m, &d);
        if (r < 0 && r != -E2BIG)
                return reply_errno(m, r);
        if (r == 0)
                r = ulv_bundle_build(s->in.in_force.files.version, candidate.files.files, candidate.files.n_files, &text_on);
        if (r < 0 && r != -E2BIG)
                return reply_errno(m, r);
        r = r == 0 ? 0 : 1;
        set_done(&candidate);
        if (ulv_memfd_sealed("ultravisor-bundle", ulv_strbuf_str(&text_on), text_on.len, &merged) < 0)
                return reply_errno(m, -ENOMEM);
        return sd_bus_reply_method_return(m, "bhs", r == 0, merged, ulv_strbuf_str(&problems));
}

/* For which transaction, and files of which partition ("" = all). */
struct purpose { const char *partition, *txn; };

static int note_purposes(struct service *s, uint64_t version, const struct purpose *v, size_t n) {
        uint64_t oldest = version <= SET_KEEP ? 0 : version - SET_KEEP;
        int r = 0;

        for (size_t i = 0; i < n && r == 0; i++)
                r = written_add(&s->written, version, oldest, v[i].partition, v[i].txn);
        if (r == 0 && n > 0)
                r = written_store(s->in.state, &s->written);
        if (r < 0)
                written_drop(s->in.state, &s->written, version, "");
        return r;
}

/* The end of each call that may have written: what r says of it, and which version is in force now. */
static int reply_written(struct service *s, sd_bus_message *m, uint64_t before, int r, const struct ulv_diag *d) {
        if (r > 0)
                return ulv_bus_reply_diag(m, d);
        if (r < 0)
                return reply_errno(m, r);
        r = sd_bus_reply_method_return(m, "t", s->in.in_force.files.version);
        changed(s, before);
        return r;
}

/* Validates, installs (takes the candidate's content), answers. */
static int install_and_reply(sd_bus_message *m, struct service *s, struct set *candidate, const struct purpose *purposes, size_t n) {
        _cleanup_strbuf_ struct ulv_strbuf problems = { .max = PROBLEMS_MAX };
        uint64_t before = s->in.in_force.files.version, version = candidate->files.version;
        struct ulv_diag d = { 0 };
        int r;

        r = set_validate(candidate, &problems);
        if (r == 0)
                r = note_purposes(s, version, purposes, n);
        if (r != 0)
                set_done(candidate);
        if (r < 0)
                return reply_errno(m, r);
        if (r > 0) {
                ulv_diag_what(&d, ULV_EXIT_USAGE, "the definitions would have an error");
                ulv_diag_why(&d, "%.*s", (int) strcspn(ulv_strbuf_str(&problems), "\n"), ulv_strbuf_str(&problems));
                ulv_diag_try(&d, "change that first; nothing was written");
                return ulv_bus_reply_diag(m, &d);
        }
        r = install_run(&s->in, candidate, &d);
        if (s->in.in_force.files.version == before)     /* refused, or there was nothing to write */
                written_drop(s->in.state, &s->written, version, "");
        return reply_written(s, m, before, r, &d);
}

/* a(ss). *ret, which is the caller's, points into the message. */
static int read_purposes(sd_bus_message *m, struct purpose **ret, size_t *ret_n) {
        _cleanup_free_ struct purpose *v = calloc(WRITTEN_MAX, sizeof(*v));
        size_t n = 0;
        int r;

        if (!v)
                return -ENOMEM;
        r = sd_bus_message_enter_container(m, 'a', "(ss)");
        while (r >= 0 && n < WRITTEN_MAX && (r = sd_bus_message_read(m, "(ss)", &v[n].partition, &v[n].txn)) > 0)
                n++;
        if (r >= 0)
                r = n < WRITTEN_MAX ? sd_bus_message_exit_container(m) : -E2BIG;
        if (r < 0)
                return r;
        *ret = ulv_steal(v);
        *ret_n = n;
        return 0;
}

static int method_install(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct service *s = userdata;
        _cleanup_free_ struct purpose *purposes = NULL;
        _cleanup_free_ char *text = NULL;
        const struct written_note *note;
        struct ulv_diag d = { 0 };
        struct set given, candidate = { 0 };
        size_t len = 0, n = 0;
        int fd, r;

        r = sd_bus_message_read(m, "h", &fd);
        if (r >= 0)
                r = read_purposes(m, &purposes, &n);
        if (r < 0)
                return r;
        note = n > 0 ? written_find(&s->written, purposes[0].txn) : NULL;
        if (note)       /* asked for again: the answer was lost */
                return sd_bus_reply_method_return(m, "t", note->version);
        r = take_bundle(fd, &text, &len, &d);
        if (r == 0)
                r = set_parse(text, len, &given, &d);
        if (r == 0 && given.files.version != s->in.in_force.files.version) {
                set_done(&given);
                return sd_bus_reply_method_return(m, "t", UINT64_MAX);
        }
        if (r == 0) {
                r = install_candidate(&s->in, given.files.files, given.files.n_files, &candidate, &d);
                set_done(&given);
        }
        if (r > 0)
                return ulv_bus_reply_diag(m, &d);
        if (r < 0)
                return reply_errno(m, r);
        return install_and_reply(m, s, &candidate, purposes, n);
}

/* The set in force with one file changed: text "" removes it. */
static int with_file(struct service *s, const char *path, const char *text, struct set *ret, struct ulv_diag *d) {
        const struct ulv_bundle_files *f = &s->in.in_force.files;
        _cleanup_free_ struct ulv_source *v = calloc(f->n_files + 1, sizeof(*v));
        size_t n = 0;

        if (!v)
                return -ENOMEM;
        for (size_t i = 0; i < f->n_files; i++)
                if (!ulv_streq(f->files[i].file, path))
                        v[n++] = f->files[i];
        if (text[0])
                v[n++] = (struct ulv_source) { .file = path, .buf = text, .len = strlen(text) };
        return install_candidate(&s->in, v, n, ret, d);
}

static int method_set_drop_in(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct service *s = userdata;
        char path[ULV_NAME_MAX + 64];
        const struct written_note *note;
        const char *name, *text, *txn;
        struct ulv_diag d = { 0 };
        struct set candidate;
        uint64_t before;
        int r, at;

        r = sd_bus_message_read(m, "stss", &name, &before, &text, &txn);
        if (r < 0)
                return r;
        note = written_find(&s->written, txn);
        if (note)       /* asked for again: the answer was lost */
                return sd_bus_reply_method_return(m, "t", note->version);
        if (!ulv_name_is_valid(name) || strlen(text) > ULV_INI_FILE_MAX) {
                ulv_diag_what(&d, ULV_EXIT_USAGE, "not a partition's name, or a drop-in longer than 64K");
                return ulv_bus_reply_diag(m, &d);
        }
        (void) snprintf(path, sizeof(path), "partitions/%s.partition", name);
        if (find_path(&s->in.in_force.files, path) < 0) {
                ulv_diag_what(&d, ULV_EXIT_NOT_FOUND, "%s has no definition that could be changed", name);
                ulv_diag_why(&d, "%s isn't in force", path);
                ulv_diag_try(&d, "uvctl set --runtime, which writes no definition");
                return ulv_bus_reply_diag(m, &d);
        }
        (void) snprintf(path, sizeof(path), "partitions/%s.partition.d/" DROPIN, name);
        at = find_path(&s->in.in_force.files, path);
        if (before != ulv_source_sum(at < 0 ? NULL : &s->in.in_force.files.files[at]))
                return sd_bus_reply_method_return(m, "t", UINT64_MAX);
        r = with_file(s, path, text, &candidate, &d);
        if (r > 0)
                return ulv_bus_reply_diag(m, &d);
        if (r < 0)
                return reply_errno(m, r);
        return install_and_reply(m, s, &candidate, &(struct purpose) { name, txn }, 1);
}

static int method_revert(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct service *s = userdata;
        uint64_t version, before = s->in.in_force.files.version;
        struct ulv_diag d = { 0 };
        const char *partition;
        int r;

        r = sd_bus_message_read(m, "ts", &version, &partition);
        if (r < 0)
                return r;
        r = install_revert(&s->in, version, partition, false, &d);
        if (r >= 0)     /* what was changed again since can't go back later either */
                written_drop(s->in.state, &s->written, version, partition);
        return reply_written(s, m, before, r, &d);
}

/* What was written for one transaction goes back for another one, whose note it gets. */
static int take_back(struct service *s, const struct written_note *note, const char *txn, struct ulv_diag *d) {
        const struct written_note of = *note;   /* adding one may move it */
        uint64_t version = s->in.newest + 1;
        int r;

        if (!txn[0])
                return install_revert(&s->in, of.version, of.partition, true, d);
        r = note_purposes(s, version, &(struct purpose) { of.partition, txn }, 1);
        if (r == 0)
                r = install_revert(&s->in, of.version, of.partition, false, d);
        if (s->in.in_force.files.version != version)    /* refused, or it was back already */
                written_drop(s->in.state, &s->written, version, "");
        return r;
}

static int method_take_back(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct service *s = userdata;
        uint64_t before = s->in.in_force.files.version;
        const struct written_note *note, *again;
        const char *txn, *by;
        struct ulv_diag d = { 0 };
        int r;

        r = sd_bus_message_read(m, "ss", &txn, &by);
        if (r < 0)
                return r;
        again = by[0] ? written_find(&s->written, by) : NULL;
        if (again)      /* asked for again: the answer was lost */
                return sd_bus_reply_method_return(m, "t", again->version);
        note = written_find(&s->written, txn);
        r = note ? take_back(s, note, by, &d) : 0;
        return reply_written(s, m, before, r, &d);
}

/* Of some transactions those of which nothing can go back, by the function that would take it back. */
static int method_stuck(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct service *s = userdata;
        ULV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *txn;
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "s");
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "s");
        while (r >= 0 && (r = sd_bus_message_read(m, "s", &txn)) > 0) {
                const struct written_note *note = written_find(&s->written, txn);
                struct ulv_diag d;

                if (note && take_back(s, note, "", &d) != 0)
                        r = sd_bus_message_append(reply, "s", txn);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int method_settle(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct service *s = userdata;
        uint64_t version;
        int r;

        r = sd_bus_message_read(m, "t", &version);
        if (r < 0)
                return r;
        written_settle(s->in.state, &s->written, version);
        return sd_bus_reply_method_return(m, "");
}

static int method_unsettled(sd_bus_message *m, void *userdata, ULV_UNUSED sd_bus_error *error) {
        const struct service *s = userdata;
        ULV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(tss)");
        for (size_t i = 0; r >= 0 && i < s->written.n; i++)
                if (!s->written.v[i].settled)
                        r = sd_bus_message_append(reply, "(tss)", s->written.v[i].version, s->written.v[i].partition, s->written.v[i].txn);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Bundle", "", "thss", method_bundle, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Reload", "", "bts", method_reload, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Status", "", "tbs", method_status, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Check", "hb", "bhs", method_check, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Install", "ha(ss)", "t", method_install, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("SetDropIn", "stss", "t", method_set_drop_in, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Revert", "ts", "t", method_revert, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("TakeBack", "ss", "t", method_take_back, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Stuck", "as", "as", method_stuck, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Settle", "t", "", method_settle, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Unsettled", "", "a(tss)", method_unsettled, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL("Changed", "t", 0),
        SD_BUS_VTABLE_END,
};

/* --- connections -------------------------------------------------------------------------------------- */

static bool allow(const struct ucred *creds, void *userdata) {
        const struct service *s = userdata;

        return creds->uid == s->command;
}

static int connected(struct ulv_bus_peer *p, void *userdata) {
        return sd_bus_add_object_vtable(p->bus, NULL, ULV_PATH_OPERATIONS, ULV_IF_OPERATIONS, vtable, userdata) < 0;
}

int service_listen(struct service *s, sd_event *e, const char *path) {
        static const struct ulv_bus_listener_ops ops = { .allow = allow, .connected = connected };

        /* Command has an account of its own, in no group of ours: the mode lets all knock, allow() opens. */
        return ulv_bus_listen(e, path, 0666, &ops, s, &s->listener);
}
