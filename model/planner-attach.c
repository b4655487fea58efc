/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/attachment.h"
#include "model/planner-internal.h"

/* Mounts and devices. What a partition is to have follows from its definition alone; they are claimed at its start,
 * and while it runs the difference is claimed and released. A disk of the inventory is known by its id, and found by the
 * name of its node. */

struct unit { char kind[8], id[ULV_ATTACHMENT_ID_MAX]; };

/* --- which unit of the ledger it is -------------------------------------------------------------------------- */

struct node_search { const char *node; struct unit *ret; char owner[ULV_NAME_MAX + 1], part_of[ULV_NAME_MAX + 1]; bool found; };

static bool is_part(const char *node, const char *disk) {
        size_t n = strlen(disk);

        if (n == 0 || strncmp(node, disk, n) != 0)
                return false;
        node += n;
        if (*node == 'p' && disk[n - 1] >= '0' && disk[n - 1] <= '9')
                node++;
        return *node >= '1' && *node <= '9' && strspn(node, "0123456789") == strlen(node);
}

static int match_block(const struct ulv_holding_info *h, void *userdata) {
        struct node_search *s = userdata;

        if (h->amount == 0)
                return 0;
        if (is_part(s->node, h->node_name))
                ulv_cut(s->part_of, sizeof(s->part_of), h->node_name);
        if (!ulv_streq(h->node_name, s->node))
                return 0;
        s->found = true;
        ulv_cut(s->ret->kind, sizeof(s->ret->kind), "block");
        ulv_cut(s->ret->id, sizeof(s->ret->id), h->id);
        ulv_cut(s->owner, sizeof(s->owner), h->owner);
        return 0;
}

static int owner_of(const struct ulv_holding_info *h, void *userdata) {
        struct node_search *s = userdata;

        if (h->amount > 0 && ulv_streq(h->id, s->ret->id))
                ulv_cut(s->owner, sizeof(s->owner), h->owner);
        return 0;
}

/* The unit that stands for a, and who has it. */
static void find_unit(const struct planner *p, const struct ulv_attachment *a, const char *owner, struct unit *ret, struct node_search *s) {
        *s = (struct node_search) { .node = ulv_attachment_node(a), .ret = ret, .owner = "idle" };
        if (s->node)
                (void) ulv_ledger_each_holding(p->l, "block", NULL, match_block, s);
        if (s->found)
                return;
        ulv_cut(ret->kind, sizeof(ret->kind), ulv_attachment_kind(a));
        ulv_attachment_id(a, owner, ret->id);
        (void) ulv_ledger_each_holding(p->l, ret->kind, NULL, owner_of, s);
}

/* --- claims ---------------------------------------------------------------------------------------------------- */

static int refuse_owned(struct planner *p, const char *name, const struct ulv_attachment *a, const char *owner) {
        struct ulv_partition_info info;
        bool known = ulv_ledger_partition(p->l, owner, &info) == 0;

        return ulv_plan_refuse(p, ULV_EXIT_CONFLICT, TEXT("cannot give %s to %s", a->source, name),
                               TEXT("it is %s's (%s), and a %s has one owner", owner, known ? ulv_state_name(info.state) : "?", a->disk ? "disk that is written" : "device"),
                               TEXT("uvctl detach %s %s, or uvctl stop %s, then again", owner, a->disk ? "DISK" : "DEVICE", owner));
}

/* Was the same unit given to somebody by this very plan? */
static bool is_claimed(const struct planner *p, const struct unit *u) {
        STACK_TEXT(b);

        if (p->trial)
                return false;
        ulv_op_begin(&b, "claim", u->kind, u->id, "");
        for (size_t n = b.len; n > 0 && b.s[n - 1] != ' '; n--)         /* not the owner */
                b.s[b.len = n - 1] = 0;
        return strstr(ulv_strbuf_str(&p->plan->operations), ulv_strbuf_str(&b));
}

static int claim(struct planner *p, const char *name, const struct ulv_attachment *a, const struct unit *u, const struct node_search *s) {
        struct ulv_strbuf *b = ulv_plan_ops(p);

        if (s->part_of[0])
                return ulv_plan_refuse(p, ULV_EXIT_USAGE, TEXT("cannot give %s to %s", a->source, name),
                                       TEXT("it is a part of the disk %s, and the ledger gives whole disks", s->part_of),
                                       TEXT("Path=/dev/%s, or a logical volume", s->part_of));
        if (!ulv_streq(s->owner, "idle") && !ulv_streq(s->owner, "host"))
                return refuse_owned(p, name, a, s->owner);
        if (is_claimed(p, u))
                return ulv_plan_refuse(p, ULV_EXIT_CONFLICT, TEXT("cannot give %s to %s", a->source, name),
                                       "the same plan gives it to another partition, and it has one owner", "one of them without it");
        if (!b)
                return 0;
        ulv_op_begin(b, "claim", u->kind, u->id, name);
        if (ulv_streq(s->owner, "host"))
                ulv_op_add(b, "from", "host");
        ulv_op_end(b);
        return 0;
}

int ulv_plan_attach_start(struct planner *p, const struct ulv_definition *d) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < d->n_attachments; i++) {
                struct node_search s;
                struct unit u;

                find_unit(p, &d->attachments[i], d->name, &u, &s);
                r = claim(p, d->name, &d->attachments[i], &u, &s);
        }
        return r;
}

/* --- a partition that runs ------------------------------------------------------------------------------------ */

/* label: of the only one that is meant; NULL: all that d doesn't have. */
struct release_walk { struct planner *p; const struct ulv_definition *d, *old; const char *label; struct ulv_strbuf *text; };

/* "mount data removed"; the label, where the definition that it runs by still knows it. */
static void add_text(struct ulv_strbuf *b, const struct ulv_attachment *a, const char *kind, const char *id, const char *what) {
        ulv_strbuf_addf(b, "%s%s ", b->len > 0 ? ", " : "", a ? ulv_attachment_kind(a) : kind);
        if (a)
                ulv_strbuf_add(b, a->label);
        else
                ulv_strbuf_add_len(b, id, strcspn(id, "@"));
        ulv_strbuf_addf(b, " %s", what);
}

/* What no definition knows any more (it was attached for this run) goes by its id: a mount's begins with its label. */
static bool is_meant(const struct ulv_holding_info *h, const struct ulv_attachment *a, const char *label, const char *node) {
        size_t n = strcspn(h->id, "@");
        const char *id = node && !ulv_streq(h->kind, "mount") ? node : label;

        if (a)
                return ulv_streq(a->label, label);
        return ulv_streq(h->node_name, id) || (strlen(id) == n && strncmp(h->id, id, n) == 0);
}

static int release_one(const struct ulv_holding_info *h, void *userdata) {
        struct release_walk *w = userdata;
        struct ulv_strbuf *b = ulv_plan_ops(w->p);
        const struct ulv_attachment *a = w->old ? ulv_attachment_find(w->old, h->kind, h->id, h->node_name) : NULL;

        if (!ulv_attachment_is_kind(h->kind) || h->keep == 0)
                return 0;
        if (w->label ? !is_meant(h, a, w->label, w->p->r->node) : ulv_attachment_find(w->d, h->kind, h->id, h->node_name) != NULL)
                return 0;
        add_text(w->text, a, h->kind, h->id, "removed");
        if (b) {
                ulv_op_begin(b, "release", h->kind, h->id, w->d->name);
                if (w->p->r->force && w->label)
                        ulv_op_add(b, "force", "yes");
                ulv_op_end(b);
        }
        return 0;
}

static const struct ulv_attachment *by_label(const struct ulv_definition *d, const char *label) {
        for (size_t i = 0; d && i < d->n_attachments; i++)
                if (ulv_streq(d->attachments[i].label, label))
                        return &d->attachments[i];
        return NULL;
}

/* Claims a, if it isn't there. One that is, but not as it is defined now, stays as it is until the next start. */
static int claim_live(struct planner *p, const struct ulv_definition *d, const struct ulv_definition *old, const struct ulv_attachment *a,
                      struct ulv_strbuf *text) {
        const struct ulv_attachment *was = by_label(old, a->label);
        struct ulv_holding_info h;
        struct node_search s;
        struct unit u;
        int r;

        find_unit(p, a, d->name, &u, &s);
        if (ulv_ledger_holding(p->l, u.kind, u.id, d->name, &h) == 0 && h.wanted > 0) {
                if (was && !ulv_attachment_same(was, a))
                        ulv_plan_line(p, d->name, "change", "at next start", "%s %s as it is defined now", ulv_attachment_kind(a), a->label);
                return 0;
        }
        /* On its way out still: it stays. */
        if (ulv_streq(s.owner, d->name))
                ulv_cut(s.owner, sizeof(s.owner), "idle");
        r = claim(p, d->name, a, &u, &s);
        if (r == 0)
                add_text(text, a, NULL, NULL, "added");
        return r;
}

int ulv_plan_attach_live(struct planner *p, const struct ulv_definition *d, const struct ulv_definition *old) {
        STACK_TEXT(text);
        struct release_walk w = { .p = p, .d = d, .old = old, .text = &text };
        int r;

        r = ulv_ledger_each_holding(p->l, NULL, d->name, release_one, &w);
        for (size_t i = 0; r == 0 && i < d->n_attachments; i++)
                r = claim_live(p, d, old, &d->attachments[i], &text);
        if (r == 0 && text.len > 0)
                ulv_plan_line(p, d->name, "change", "live", "%s", ulv_strbuf_str(&text));
        return r;
}

/* --- attach, detach --------------------------------------------------------------------------------------------- */

static int refuse_attach(struct planner *p, enum ulv_exit code, const char *why, const char *try_) {
        bool attach = p->r->verb == ULV_REQUEST_ATTACH;

        return ulv_plan_refuse(p, code, TEXT("cannot %s %s %s %s", attach ? "attach" : "detach", ULV_Q(p->r->other), attach ? "to" : "from", p->r->name), why, try_);
}

/* The one that is named, and nothing else: what is attached for this run only stays. */
static int attach_one(struct planner *p, const struct ulv_definition *d, const struct ulv_definition *old) {
        STACK_TEXT(text);
        struct release_walk w = { .p = p, .d = d, .old = old, .label = p->r->other, .text = &text };
        const struct ulv_attachment *a = by_label(d, p->r->other);
        int r = 0;

        if (p->r->verb == ULV_REQUEST_DETACH)
                r = ulv_ledger_each_holding(p->l, NULL, d->name, release_one, &w);
        else if (a)
                r = claim_live(p, d, old, a, &text);
        if (r == 0 && text.len == 0 && p->r->verb == ULV_REQUEST_DETACH)
                return refuse_attach(p, ULV_EXIT_NOT_FOUND, "it has nothing of that name, or only on its way out", TEXT("uvctl status %s", d->name));
        if (r == 0)
                ulv_plan_line(p, d->name, text.len > 0 ? "change" : "kept", "live", "%s", text.len > 0 ? ulv_strbuf_str(&text) : "has it already");
        return r;
}

/* The definition goes on with what old has for this run, as far as it is still held. 0, -ENOMEM. */
static int define_with(struct planner *p, const struct ulv_definition *d, const struct ulv_definition *old, bool *ret_changed) {
        _cleanup_free_ struct ulv_attachment *v = calloc(ULV_ATTACHMENTS_MAX, sizeof(*v));
        struct ulv_definition merged = *d;
        size_t n = d->n_attachments;

        if (!v)
                return -ENOMEM;
        if (n > 0)
                memcpy(v, d->attachments, n * sizeof(*v));
        for (size_t i = 0; old && i < old->n_attachments && n < ULV_ATTACHMENTS_MAX; i++) {
                const struct ulv_attachment *a = &old->attachments[i];
                struct ulv_holding_info h;
                struct node_search s;
                struct unit u;

                find_unit(p, a, d->name, &u, &s);
                if (!by_label(d, a->label) && !ulv_streq(a->label, p->r->other) && ulv_ledger_holding(p->l, u.kind, u.id, d->name, &h) == 0 && h.keep > 0)
                        v[n++] = *a;
        }
        merged.attachments = v;
        merged.n_attachments = n;
        return ulv_plan_define(p, &merged, ret_changed);
}

/* The bundle says already what it is to be: command plans with the definition as it will be written. */
int ulv_plan_attach(struct planner *p) {
        const char *name = p->r->name;
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *old = NULL;
        const struct ulv_definition *d = ulv_bundle_definition(p->b, name);
        struct ulv_partition_info info;
        bool known, live, changed;
        int r;

        r = ulv_plan_look_up(p, name, &info, &known);
        if (r != 0)
                return r;
        live = ulv_state_is_live(info.state);
        if (!d)
                return refuse_attach(p, ULV_EXIT_NOT_FOUND, "no file defines it any more", TEXT("write %s.partition, then uvctl apply", name));
        if (info.state == ULV_STOPPING)
                return ulv_plan_refuse_stopping(p, TEXT("cannot %s anything now", ulv_request_verb_name(p->r->verb)), name);
        if (!live && p->r->runtime && p->r->verb == ULV_REQUEST_DETACH)
                return refuse_attach(p, ULV_EXIT_NOT_FOUND, "its definition has nothing of that name, and it is not running", TEXT("uvctl show %s", name));
        if (!live && p->r->runtime)
                return refuse_attach(p, ULV_EXIT_NOT_ACTIVE, "it is not running", TEXT("the same without --runtime, or uvctl start %s", name));
        if (known && info.text[0] && (r = ulv_plan_old_definition(&info, &old)) < 0)
                return r;
        if (live && old && (!ulv_streq(old->type, d->type) || !ulv_streq(old->zone, d->zone)))
                return refuse_attach(p, ULV_EXIT_CONFLICT, TEXT("%s.partition is another now than what it runs by, in type or zone", name),
                                     TEXT("uvctl stop %s, then uvctl start %s", name, name));
        r = live ? define_with(p, d, old, &changed) : ulv_plan_define(p, d, &changed);
        if (r == 0 && live)
                return attach_one(p, d, old);
        if (r == 0)
                ulv_plan_line(p, name, changed ? "change" : "kept", "at next start", "%s", changed ? "its mounts, devices and disks" : "says so already");
        return r;
}
