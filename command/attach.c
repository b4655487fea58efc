/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Attach and detach: as set, but what is written is a section, and planned on is the whole set as it will be with it.
 * So a bad path is refused by the parser of definitions, before anything is changed. */

#include <stdio.h>

#include "command/change.h"
#include "command/dropin.h"
#include "command/public.h"
#include "lib/protocol.h"
#include "model/attachment.h"

#define WHAT_MAX 9000           /* two paths and a name */

/* "mount=LABEL:SOURCE:TARGET[:ro]", "device=[LABEL:]/dev/NODE[:ro]", "disk=LABEL:FILE:FORMAT[:WRITABLE]" */
struct wanted { char label[ULV_NAME_MAX + 1]; const char *section; char lines[WHAT_MAX + 64]; };

static int bad_what(struct ulv_diag *d, const char *why) {
        ulv_diag_what(d, ULV_EXIT_USAGE, "it isn't clear what to attach");
        ulv_diag_why(d, "%s", why);
        ulv_diag_try(d, "uvctl attach NAME mount=LABEL:/srv/data:/data:ro, device=/dev/fuse, or disk=LABEL:/srv/data.img:raw");
        return 1;
}

static bool take_suffix(char *s, const char *suffix) {
        size_t n = strlen(s), m = strlen(suffix);

        if (n <= m || !ulv_streq(s + n - m, suffix))
                return false;
        s[n - m] = 0;
        return true;
}

/* A device's label is its node's name, as far as a label can be. */
static void label_of(const char *path, char *label, size_t size) {
        size_t n = 0;

        for (const char *p = path + strlen("/dev/"); *p && n + 1 < size; p++) {
                char c = *p >= 'A' && *p <= 'Z' ? (char) (*p - 'A' + 'a') : *p;

                label[n++] = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '-';
        }
        label[n] = 0;
}

/* LABEL:FILE:FORMAT[:WRITABLE] */
static int read_disk(char *text, struct wanted *w, struct ulv_diag *d) {
        char *file = strchr(text, ':'), *format = file ? strchr(file + 1, ':') : NULL, *writable = format ? strchr(format + 1, ':') : NULL;

        if (!format)
                return bad_what(d, "a disk is LABEL:FILE:FORMAT, its format raw or qcow2, and :ephemeral, :direct or :no behind it (else what it writes is kept)");
        *file++ = *format++ = 0;
        if (writable)
                *writable++ = 0;
        if (!ulv_copy(w->label, sizeof(w->label), text))
                return bad_what(d, "a label has at most 63 of a-z 0-9 -");
        (void) snprintf(w->lines, sizeof(w->lines), "File=%s\nFormat=%s\n%s%s%s", file, format, writable ? "Writable=" : "", writable ? writable : "", writable ? "\n" : "");
        return 0;
}

static int read_device(char *text, struct wanted *w, struct ulv_diag *d) {
        char *source = strchr(text, ':');

        if (text[0] == '/') {
                if (!ulv_startswith(text, "/dev/") || source)
                        return bad_what(d, "a device is a node of this host, /dev/NODE (with a colon in its name: uvctl edit)");
                label_of(text, w->label, sizeof(w->label));
                source = text;
        } else if (!source)
                return bad_what(d, "a device is /dev/NODE, or LABEL:/dev/NODE");
        else {
                *source++ = 0;
                if (!ulv_copy(w->label, sizeof(w->label), text))
                        return bad_what(d, "a label has at most 63 of a-z 0-9 -");
        }
        (void) snprintf(w->lines, sizeof(w->lines), "Path=%s\n", source);
        return 0;
}

static int read_mount(char *text, struct wanted *w, struct ulv_diag *d) {
        char *source = strchr(text, ':'), *target = source ? strchr(source + 1, ':') : NULL;

        if (!source)
                return bad_what(d, "a mount is LABEL:SOURCE:TARGET, and :ro behind it where it is to be read-only");
        if (!target || strchr(target + 1, ':'))
                return bad_what(d, "a mount is LABEL:SOURCE:TARGET (paths with a colon: uvctl edit)");
        *source++ = *target++ = 0;
        if (!ulv_copy(w->label, sizeof(w->label), text))
                return bad_what(d, "a label has at most 63 of a-z 0-9 -");
        (void) snprintf(w->lines, sizeof(w->lines), "Source=%s\nTarget=%s\n", source, target);
        return 0;
}

static int read_what(const char *what, struct wanted *w, struct ulv_diag *d) {
        static const struct { const char *key, *section; int (*read)(char *text, struct wanted *w, struct ulv_diag *d); } keys[] = {
                { "mount=", "Mount", read_mount }, { "device=", "Device", read_device }, { "disk=", "Block", read_disk },
        };
        char text[WHAT_MAX];
        bool read_only;
        size_t k = 0;
        int r;

        while (k < ULV_ARRAY_SIZE(keys) && !ulv_startswith(what, keys[k].key))
                k++;
        if (k == ULV_ARRAY_SIZE(keys) || !ulv_copy(text, sizeof(text), what + strlen(keys[k].key)))
                return bad_what(d, "the keys are mount=, device= and disk=");
        if (strchr(text, '\n'))
                return bad_what(d, "a path has no line break");
        w->section = keys[k].section;
        read_only = keys[k].read != read_disk && take_suffix(text, ":ro");
        (void) (!read_only && keys[k].read != read_disk && take_suffix(text, ":rw"));
        r = keys[k].read(text, w, d);
        if (r != 0)
                return r;
        if (!ulv_name_is_valid(w->label))
                return bad_what(d, "a label has 1 to 63 of a-z 0-9 -, and doesn't begin with -");
        if (read_only)
                (void) snprintf(w->lines + strlen(w->lines), sizeof(w->lines) - strlen(w->lines), "ReadOnly=yes\n");
        return 0;
}

/* --- the set as it will be -------------------------------------------------------------------------------- */

static void first_problem(const struct ulv_diag *e, void *userdata) {
        struct ulv_diag *d = userdata;

        if (d->what[0])
                return;
        ulv_diag_what(d, ULV_EXIT_USAGE, "%s", e->what);
}

/* *ret_defined: does it say something of that label all the same, in another file? */
static int make_candidate(struct job *j, const char *label, const struct dropin_part *part, bool *ret_defined, struct ulv_diag *d) {
        const struct ulv_bundle *b = j->m->bundle;
        _cleanup_strbuf_ struct ulv_strbuf text = { .max = ULV_BUNDLE_MAX };
        _cleanup_free_ struct ulv_source *v = calloc(b->n_files + 1, sizeof(*v));
        _cleanup_free_ char *file = NULL;
        const struct ulv_definition *definition;
        char path[ULV_NAME_MAX + 64];
        struct ulv_diag problem = { 0 };
        size_t n = 0;
        int r;

        if (!v)
                return -ENOMEM;
        r = dropin_with_part(b, j->items[0].name, part, &file, d);
        if (r != 0)
                return r;
        (void) snprintf(path, sizeof(path), "partitions/%s.partition.d/50-set.conf", j->items[0].name);
        for (size_t i = 0; i < b->n_files; i++)
                if (!ulv_streq(b->files[i].file, path))
                        v[n++] = b->files[i];
        v[n++] = (struct ulv_source) { .file = path, .buf = file, .len = strlen(file) };
        r = ulv_bundle_build(b->version, v, n, &text);
        if (r < 0)
                return r;
        ulv_bundle_free(ulv_steal(j->candidate));
        r = ulv_bundle_parse(ulv_strbuf_str(&text), text.len, &j->candidate, first_problem, &problem);
        if (r > 0) {
                ulv_diag_what(d, ULV_EXIT_USAGE, "cannot %s %s %s %s", j->verb, label, ulv_streq(j->verb, "attach") ? "to" : "from", j->items[0].name);
                ulv_diag_why(d, "%s", problem.what);
                ulv_diag_try(d, "uvctl show %s", j->items[0].name);
        }
        if (r != 0)
                return r;
        definition = ulv_bundle_definition(j->candidate, j->items[0].name);
        for (size_t i = 0; definition && i < definition->n_attachments; i++)
                *ret_defined |= ulv_streq(definition->attachments[i].label, label);
        return 0;
}

/* A file of a bundle has no NUL behind it. */
static char *copy_dropin(const struct job *j) {
        char path[ULV_NAME_MAX + 64];

        (void) snprintf(path, sizeof(path), "partitions/%s.partition.d/50-set.conf", j->items[0].name);
        for (size_t i = 0; j->candidate && i < j->candidate->n_files; i++)
                if (ulv_streq(j->candidate->files[i].file, path))
                        return strndup(j->candidate->files[i].buf, j->candidate->files[i].len);
        return NULL;
}

static void attach_go(struct job *j) {
        _cleanup_free_ char *text = NULL;

        if (j->flags & ULV_FLAG_RUNTIME)
                job_run(j);
        else if ((text = copy_dropin(j)))
                change_write_dropin(j, text, attach_go);
        else
                job_refuse_errno(j, -ENOMEM);
}

static struct job *begin(struct public_peer *pp, sd_bus_message *call, enum ulv_request_verb verb, const char *name, const char *label,
                         uint32_t flags, uint64_t if_generation, const char *reason) {
        struct job *j = job_new(pp->m, call, ulv_request_verb_name(verb), 1, flags, if_generation, reason);

        if (!j)
                return NULL;
        j->items[0].request = (struct ulv_request) { .verb = verb, .runtime = flags & ULV_FLAG_RUNTIME, .force = flags & ULV_FLAG_FORCE };
        return item_name(&j->items[0], name, label) ? j : NULL;
}

static void go(struct job *j, int r, const struct ulv_diag *d) {
        if (r > 0)
                job_refuse(j, d);
        else if (r < 0)
                job_refuse_errno(j, r);
        else if (change_plan(j))
                attach_go(j);
}

/* The set with what is wanted. */
static int with(struct job *j, const struct wanted *w, struct ulv_diag *d) {
        const struct ulv_definition *now = ulv_bundle_definition(j->m->bundle, j->items[0].name);
        const struct dropin_part part = { w->section, w->label, w->lines };
        bool defined = false;

        for (size_t i = 0; now && i < now->n_attachments; i++)
                defined |= ulv_streq(now->attachments[i].label, w->label);
        if (defined) {
                ulv_diag_what(d, ULV_EXIT_CONFLICT, "cannot attach %s to %s", w->label, j->items[0].name);
                ulv_diag_why(d, "it has a mount, device or disk of this label");
                ulv_diag_try(d, "another label, or uvctl detach %s %s first", j->items[0].name, w->label);
                return 1;
        }
        return now ? make_candidate(j, w->label, &part, &defined, d) : 0;
}

static void attach_begin(struct job *j) {
        struct ulv_diag d = { 0 };
        struct wanted w = { 0 };
        int r = read_what(j->what, &w, &d);

        go(j, r == 0 ? with(j, &w, &d) : r, &d);
}

int method_attach(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        const char *name, *what, *reason;
        uint64_t if_generation;
        struct ulv_diag d = { 0 };
        struct wanted w = { 0 };
        uint32_t flags;
        struct job *j;
        int r;

        if (!public_has(pp->m, call, true))
                return 1;
        r = sd_bus_message_read(call, "ssuts", &name, &what, &flags, &if_generation, &reason);
        if (r < 0)
                return r;
        if (public_too_long(call, reason))
                return 1;
        if (read_what(what, &w, &d) != 0)
                return ulv_bus_reply_diag(call, &d);
        j = begin(pp, call, ULV_REQUEST_ATTACH, name, w.label, flags, if_generation, reason);
        if (j && !(j->what = strdup(what)))
                job_refuse_errno(j, -ENOMEM);
        else if (j && turn_take(j, attach_begin))
                attach_begin(j);
        return 1;
}

/* Away from the drop-in; where another file defines it, the drop-in unsets it. */
static int without(struct job *j, const char *label, struct ulv_diag *d) {
        const struct ulv_definition *now = ulv_bundle_definition(j->m->bundle, j->items[0].name);
        const char *section = NULL, *unset = NULL;
        bool defined = false;
        int r;

        for (size_t i = 0; now && i < now->n_attachments; i++)
                if (ulv_streq(now->attachments[i].label, label)) {
                        const struct ulv_attachment *a = &now->attachments[i];

                        section = a->disk ? "Block" : a->device ? "Device" : "Mount";
                        unset = a->disk ? "File=\n" : a->device ? "Path=\n" : "Source=\nTarget=\n";
                        if (a->device && ulv_copy(j->items[0].node, sizeof(j->items[0].node), ulv_attachment_node(a)))
                                j->items[0].request.node = j->items[0].node;
                        defined = true;
                }
        if (!defined) {         /* attached for this run only, or not at all: the planner knows */
                j->items[0].request.runtime = true;
                j->flags |= ULV_FLAG_RUNTIME;
                return 0;
        }
        defined = false;
        r = make_candidate(j, label, &(struct dropin_part) { section, label, "" }, &defined, d);
        if (r != 0 || !defined)
                return r;
        return make_candidate(j, label, &(struct dropin_part) { section, label, unset }, &defined, d);
}

static void detach_begin(struct job *j) {
        struct ulv_diag d = { 0 };

        go(j, without(j, j->items[0].other, &d), &d);
}

int method_detach(sd_bus_message *call, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        const char *name, *label, *reason;
        uint64_t if_generation;
        uint32_t flags;
        struct job *j;
        int r;

        if (!public_has(pp->m, call, true))
                return 1;
        r = sd_bus_message_read(call, "ssuts", &name, &label, &flags, &if_generation, &reason);
        if (r < 0)
                return r;
        if (public_too_long(call, reason))
                return 1;
        j = begin(pp, call, ULV_REQUEST_DETACH, name, label, flags, if_generation, reason);
        if (j && turn_take(j, detach_begin))
                detach_begin(j);
        return 1;
}

/* Why() plans as the verb would: on the set as it would be. */
int attach_why(struct manager *m, struct item *i, struct ulv_request *q, struct ulv_bundle **ret, struct ulv_diag *d) {
        struct job j = { .m = m, .verb = ulv_request_verb_name(q->verb), .items = i, .n_items = 1 };
        struct wanted w = { 0 };
        int r = q->verb == ULV_REQUEST_ATTACH ? read_what(q->other, &w, d) : 0;

        if (r != 0)
                return r;
        *i = (struct item) { .request = *q };
        if (!ulv_copy(i->name, sizeof(i->name), q->name) || !ulv_copy(i->other, sizeof(i->other), q->verb == ULV_REQUEST_ATTACH ? w.label : q->other))
                return bad_what(d, "there is nothing of a name that long");
        i->request.name = i->name;
        i->request.other = i->other;
        r = q->verb == ULV_REQUEST_ATTACH ? with(&j, &w, d) : without(&j, i->other, d);
        if (r != 0) {
                ulv_bundle_free(j.candidate);
                return r;
        }
        *q = i->request;
        *ret = j.candidate;
        return 0;
}
