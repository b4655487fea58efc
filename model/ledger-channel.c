/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Channels in the ledger. Each end is a unit of its own, `channel LABEL@OWNER`, claimed with what it is:
 *
 *   claim channel feed@web web peer=db end=0 kind=message size=1048576
 *
 * end=0 owns the memory. The ends find each other by peer= and the label; where both are there they must agree. A
 * monitor reports its end reached how=waiting, or how=shared memory=ID: which memory, uvd has given it its number. Two
 * ends with the same memory are connected. In a view there is instead of peer= only what the other end has: other=here
 * (its partition is live), or other=ID (it shares that memory); none: it isn't there. With peer=host there is but one such
 * unit, of end 0, and other=host. */

#include "model/attachment.h"
#include "model/channel.h"
#include "model/ledger-internal.h"

struct facts { char peer[ULV_NAME_MAX + 1], kind[8]; unsigned end; uint64_t size; };

/* Of the attributes; none of these values needs an encoding. */
static bool attr(const struct resource *r, const char *key, char *ret, size_t size) {
        const char *s = r->b.attrs ? strstr(r->b.attrs, key) : NULL;
        size_t n = s ? strcspn(s + strlen(key), " ") : 0;

        if (n == 0 || n >= size)
                return false;
        memcpy(ret, s + strlen(key), n);
        ret[n] = 0;
        return true;
}

static bool read_facts(const struct resource *r, struct facts *ret) {
        char end[4], size[24];
        uint64_t n;

        if (!attr(r, " peer=", ret->peer, sizeof(ret->peer)) || !attr(r, " kind=", ret->kind, sizeof(ret->kind)) ||
            !attr(r, " end=", end, sizeof(end)) || !attr(r, " size=", size, sizeof(size)) || ulv_uint_parse(end, 1, &n) < 0 ||
            ulv_uint_parse(size, ULV_CHANNEL_SIZE_MAX, &ret->size) < 0)
                return false;
        ret->end = (unsigned) n;
        return ulv_channel_peer_is_valid(ret->peer, ulv_attachment_owner(r->id)) && (ret->end == 0 || !ulv_streq(ret->peer, ULV_CHANNEL_HOST)) &&
               ulv_channel_kind_is_valid(ret->kind) && ulv_channel_size_is_valid(ret->size);
}

/* The end that names this one, too: one that has turned to somebody else is none. */
static struct holding *find_other(const struct ulv_ledger *l, const struct resource *r, const char *peer) {
        char id[ULV_CHANNEL_ID_MAX], label[ULV_NAME_MAX + 1], back[ULV_NAME_MAX + 1];
        const struct partition *p = ulv_find_partition(l, peer);
        const struct resource *other;
        size_t n = strcspn(r->id, "@");
        struct holding *h;

        if (!p || n >= sizeof(label))
                return NULL;
        memcpy(label, r->id, n);
        label[n] = 0;
        ulv_channel_id(label, peer, id);
        other = ulv_find_resource(l, KIND_CHANNEL, id);
        h = other ? ulv_find_holding(l, other, p) : NULL;
        return h && h->b.amount > 0 && attr(other, " peer=", back, sizeof(back)) && ulv_streq(back, ulv_attachment_owner(r->id)) ? h : NULL;
}

struct holding *ulv_channel_other(const struct ulv_ledger *l, const struct resource *r) {
        char peer[ULV_NAME_MAX + 1];

        return attr(r, " peer=", peer, sizeof(peer)) ? find_other(l, r, peer) : NULL;
}

static bool agree(const struct facts *a, const struct facts *b) { return a->end != b->end && a->size == b->size && ulv_streq(a->kind, b->kind); }

bool ulv_channel_is_good(const struct ulv_ledger *l, const struct resource *r) {
        struct facts own, other;
        const struct holding *h;

        if (!read_facts(r, &own))
                return false;
        h = find_other(l, r, own.peer);
        return !h || (read_facts(h->key.r, &other) && agree(&own, &other));
}

static int refuse(struct step *s, enum ulv_refusal refusal, const struct resource *r, const char *why) {
        ulv_refuse(s, refusal, "cannot claim channel %s", r->id);
        ulv_diag_why(s->reterr, "%s", why);
        return (int) refusal;
}

static bool is_known(const char *key) { return ulv_streq(key, "from") || ulv_streq(key, "amount"); }

int ulv_channel_claim(struct step *s, const struct ulv_op *op, struct resource *r, const struct partition *from, const struct partition *to) {
        _cleanup_strbuf_ struct ulv_strbuf attrs = { .max = 256 };
        struct partition *idle = s->l->infra[INFRA_IDLE];
        struct facts f;
        unsigned n = 0;
        int q;

        if (from != idle && to != idle)
                return refuse(s, ULV_REFUSED_INVALID, r, "a channel's end is its partition's, or nobody's");
        if (to == idle)
                return 0;
        if (!ulv_streq(to->name, ulv_attachment_owner(r->id)))
                return refuse(s, ULV_REFUSED_INVALID, r, "what its name has behind the @ is the only one who may have it");
        q = ulv_extra_keys(op, is_known, &attrs);
        if (q < 0)
                return q == -E2BIG ? refuse(s, ULV_REFUSED_INVALID, r, "its keys are too long") : q;
        ulv_touch(s->l, &r->o);
        q = ulv_set_string(&r->b.attrs, r->old.attrs, ulv_strbuf_str(&attrs));
        if (q < 0)
                return q;
        for (unsigned i = 0; i < op->n_kv; i++)
                n += !is_known(op->kv[i].key);
        if (n != 4 || !read_facts(r, &f))
                return refuse(s, ULV_REFUSED_INVALID, r, "its keys are peer= end=0|1 kind=message|stream|memory size=");
        if (!ulv_channel_is_good(s->l, r))
                return refuse(s, ULV_REFUSED_CONFLICT, r, "its other end is there already, and another kind or size");
        return 0;
}

int ulv_channel_reached(struct step *s, const struct ulv_op *op, struct holding *h) {
        const char *memory = ulv_op_get(op, "memory");
        struct holding *other = ulv_channel_other(s->l, h->key.r);

        memory = memory ? memory : "";
        if (strspn(memory, "0123456789abcdef") != strlen(memory) || (*memory && strlen(memory) != sizeof(h->b.memory) - 1)) {
                ulv_refuse(s, ULV_REFUSED_INVALID, "not a report of a channel");
                ulv_diag_why(s->reterr, "memory= has 16 hexadecimal digits");
                return ULV_REFUSED_INVALID;
        }
        if (*memory && !ulv_streq(memory, h->b.memory)) {
                h->b.epoch = ULV_MAX(h->b.epoch, other ? other->b.epoch : 0) + 1;
                /* Who stays knows it for both: the one that came goes again. */
                if (other && ulv_streq(memory, other->b.memory)) {
                        ulv_touch(s->l, &other->o);
                        other->b.epoch = h->b.epoch;
                }
        }
        (void) ulv_copy(h->b.memory, sizeof(h->b.memory), memory);
        return 0;
}

void ulv_channel_view(const struct ulv_ledger *l, const struct holding *h, struct ulv_strbuf *b) {
        const struct holding *other;
        struct facts f;

        if (!read_facts(h->key.r, &f))
                return;
        ulv_op_add_u64(b, "end", f.end);
        ulv_op_add(b, "kind", f.kind);
        ulv_op_add_u64(b, "size", f.size);
        if (h->b.memory[0])
                ulv_op_add(b, "memory", h->b.memory);
        other = find_other(l, h->key.r, f.peer);
        if (ulv_streq(f.peer, ULV_CHANNEL_HOST))
                ulv_op_add(b, "other", ULV_CHANNEL_HOST);
        else if (other)
                ulv_op_add(b, "other", other->b.memory[0] ? other->b.memory : "here");
}

int ulv_ledger_channel(const struct ulv_ledger *l, const char *id, struct ulv_joint_info *ret) {
        const struct resource *r = ulv_find_resource(l, KIND_CHANNEL, id);
        const struct holding *h = NULL, *other;
        struct facts f;

        for (h = r ? r->holdings : NULL; h && h->b.amount == 0; )
                h = h->r_next;
        if (!h || !read_facts(r, &f))
                return 1;
        other = find_other(l, r, f.peer);
        *ret = (struct ulv_joint_info) {
                .owner = h->key.p->name, .how = h->b.how, .memory = h->b.memory, .other_id = other ? other->key.r->id : "",
                .other_how = other ? other->b.how : "", .other_memory = other ? other->b.memory : "", .end = f.end, .size = f.size, .epoch = ULV_MAX(h->b.epoch, other ? other->b.epoch : 0),
        };
        memcpy(ret->peer, f.peer, sizeof(ret->peer));
        memcpy(ret->kind, f.kind, sizeof(ret->kind));
        return 0;
}
