/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/channel.h"
#include "model/planner-internal.h"

/* Channels. One is made when two definitions name each other, by the same label, in one zone, and one of them gives
 * Kind= and Size=: then each end is claimed when its partition starts, or, if that runs already, at once. Who refuses
 * is said; a partition starts without a channel that its peer doesn't want. A VM has its channels as devices, from its
 * start to its end: what isn't so yet becomes so at its next. The host's end (Peer=host) is nobody's row. */

#define SIZE_OF_VM "a VM's channel has a Size= that is a power of two"

/* With the host there is no other, and no peer. */
struct joint { const struct ulv_channel_end *own, *other; const struct ulv_definition *peer; bool owner; };

static bool is_vm(const struct ulv_definition *d) { return ulv_streq(d->type, "vm"); }

/* NULL, or why there is to be no channel. */
static const char *find_joint(const struct planner *p, const struct ulv_definition *d, const struct ulv_channel_end *c, struct joint *ret) {
        *ret = (struct joint) { .own = c, .peer = ulv_bundle_definition(p->b, c->peer), .owner = c->kind[0] != 0 };
        if (ulv_streq(c->peer, ULV_CHANNEL_HOST))      /* The parser has seen to it that this end owns the memory. */
                return is_vm(d) && !ulv_channel_size_fits_vm(c->size) ? SIZE_OF_VM : NULL;
        if (!ret->peer)
                return "no file defines it";
        ret->other = ulv_channel_find(ret->peer, c->label);
        if (!ret->other)
                return "its definition has no [Channel] of that label";
        if (!ulv_streq(ret->other->peer, d->name))
                return "its [Channel] of that label names another Peer=";
        if (!ulv_streq(ret->peer->zone, d->zone))
                return "it is in another zone";
        if ((ret->other->kind[0] != 0) == ret->owner)
                return ret->owner ? "both ends give Kind= and Size=, and one owns the memory" : "neither end gives Kind= and Size=";
        if ((is_vm(d) || is_vm(ret->peer)) && !ulv_channel_size_fits_vm(ret->owner ? c->size : ret->other->size))
                return SIZE_OF_VM;
        return NULL;
}

static bool facts_differ(const struct ulv_joint_info *i, const struct joint *j) {
        const struct ulv_channel_end *owner = j->owner ? j->own : j->other;

        return i->end != !j->owner || i->size != owner->size || !ulv_streq(i->kind, owner->kind) || !ulv_streq(i->peer, j->own->peer);
}

static bool is_held(const struct planner *p, const char *id, const char *owner) {
        struct ulv_holding_info h;

        return ulv_ledger_holding(p->l, "channel", id, owner, &h) == 0 && h.wanted > 0;
}

static bool has_end(const struct planner *p, const struct ulv_definition *d, const char *label) {
        char id[ULV_CHANNEL_ID_MAX];

        ulv_channel_id(label, d->name, id);
        return is_held(p, id, d->name);
}

static void claim(struct planner *p, const struct ulv_definition *d, const struct joint *j) {
        const struct ulv_channel_end *owner = j->owner ? j->own : j->other;
        struct ulv_strbuf *b = ulv_plan_ops(p);
        char id[ULV_CHANNEL_ID_MAX];

        if (!b)
                return;
        ulv_channel_id(j->own->label, d->name, id);
        ulv_op_begin(b, "claim", "channel", id, d->name);
        ulv_op_add(b, "peer", j->own->peer);
        ulv_op_add_u64(b, "end", j->owner ? 0 : 1);
        ulv_op_add(b, "kind", owner->kind);
        ulv_op_add_u64(b, "size", owner->size);
        ulv_op_end(b);
}

/* Does the other end stand in the ledger as something else, which ours could not be joined to? */
static bool clashes(const struct planner *p, const struct joint *j) {
        struct joint back = { .own = j->other, .other = j->own, .owner = !j->owner };
        char id[ULV_CHANNEL_ID_MAX];
        struct ulv_joint_info i;

        ulv_channel_id(j->own->label, j->own->peer, id);
        return j->other && ulv_ledger_channel(p->l, id, &i) == 0 && facts_differ(&i, &back);
}

/* The end of d, if it hasn't got it. 1: claimed. */
static int claim_end(struct planner *p, const struct ulv_definition *d, const struct joint *j) {
        if (has_end(p, d, j->own->label))
                return 0;
        if (clashes(p, j)) {
                ulv_plan_line(p, d->name, "change", "when both start anew", "channel %s as it is defined now", j->own->label);
                return 0;
        }
        claim(p, d, j);
        return 1;
}

static bool peer_lives(const struct planner *p, const char *name) {
        struct ulv_partition_info info;

        return ulv_ledger_partition(p->l, name, &info) == 0 && ulv_state_is_live(info.state) && info.state != ULV_STOPPING;
}

int ulv_plan_channels_start(struct planner *p, const struct ulv_definition *d) {
        for (size_t i = 0; i < d->n_channels; i++) {
                const struct ulv_channel_end *c = &d->channels[i];
                struct joint j;
                const char *why = find_joint(p, d, c, &j);

                if (why) {
                        ulv_plan_line(p, d->name, "kept", "", "without channel %s: %s refuses, %s", c->label, c->peer, why);
                        continue;
                }
                /* The peer may run since before this one was defined. */
                if (claim_end(p, d, &j) > 0 && j.other && peer_lives(p, c->peer)) {
                        struct joint back = { .own = j.other, .other = j.own, .peer = d, .owner = !j.owner };

                        if (!is_vm(j.peer))
                                (void) claim_end(p, j.peer, &back);
                        else if (!has_end(p, j.peer, c->label))
                                ulv_plan_line(p, d->name, "change", "when the VM starts anew", "channel %s to %s", c->label, c->peer);
                }
        }
        return 0;
}

/* --- a partition that runs ------------------------------------------------------------------------------------ */

struct release_walk { struct planner *p; const struct ulv_definition *d; struct ulv_strbuf *text; };

static int release_one(const struct ulv_holding_info *h, void *userdata) {
        struct release_walk *w = userdata;
        struct ulv_strbuf *b = ulv_plan_ops(w->p);
        const struct ulv_channel_end *c;
        struct ulv_joint_info info;
        char label[ULV_NAME_MAX + 1];
        size_t n = strcspn(h->id, "@");
        struct joint j;

        if (h->keep == 0 || n >= sizeof(label) || ulv_ledger_channel(w->p->l, h->id, &info) != 0)
                return 0;
        memcpy(label, h->id, n);
        label[n] = 0;
        c = ulv_channel_find(w->d, label);
        if (c && !find_joint(w->p, w->d, c, &j) && !facts_differ(&info, &j))
                return 0;
        ulv_strbuf_addf(w->text, "%schannel %s removed", w->text->len > 0 ? ", " : "", label);
        if (b && !is_vm(w->d)) {
                ulv_op_begin(b, "release", "channel", h->id, w->d->name);
                ulv_op_end(b);
        }
        return 0;
}

int ulv_plan_channels_live(struct planner *p, const struct ulv_definition *d) {
        STACK_TEXT(text);
        struct release_walk w = { .p = p, .d = d, .text = &text };
        int r;

        r = ulv_ledger_each_holding(p->l, "channel", d->name, release_one, &w);
        for (size_t i = 0; r == 0 && i < d->n_channels; i++) {
                const struct ulv_channel_end *c = &d->channels[i];
                struct joint j;
                const char *why = find_joint(p, d, c, &j);

                if (why)
                        ulv_plan_line(p, d->name, "kept", "", "without channel %s: %s refuses, %s", c->label, c->peer, why);
                else if (is_vm(d) ? !has_end(p, d, c->label) : claim_end(p, d, &j) > 0)
                        ulv_strbuf_addf(&text, "%schannel %s added", text.len > 0 ? ", " : "", c->label);
        }
        if (r == 0 && text.len > 0)
                ulv_plan_line(p, d->name, "change", is_vm(d) ? "at next start" : "live", "%s", ulv_strbuf_str(&text));
        return r;
}
