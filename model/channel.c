/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/channel.h"
#include "model/attachment.h"

bool ulv_channel_id_is_valid(const char *id) { return ulv_attachment_id_is_valid("mount", id); }

void ulv_channel_id(const char *label, const char *owner, char ret[static ULV_CHANNEL_ID_MAX]) {
        struct ulv_strbuf b = { .s = ret, .size = ULV_CHANNEL_ID_MAX, .max = ULV_CHANNEL_ID_MAX - 1 };

        ret[0] = 0;
        ulv_strbuf_addf(&b, "%s@%s", label, owner);
}

bool ulv_channel_peer_is_valid(const char *peer, const char *owner) {
        return ulv_name_is_valid(peer) && (!ulv_name_is_reserved(peer) || ulv_streq(peer, ULV_CHANNEL_HOST)) && !ulv_streq(peer, owner);
}

bool ulv_channel_kind_is_valid(const char *kind) {
        return ulv_streq(kind, "message") || ulv_streq(kind, "stream") || ulv_streq(kind, "memory");
}

bool ulv_channel_size_is_valid(uint64_t size) {
        return size >= ULV_CHANNEL_SIZE_MIN && size <= ULV_CHANNEL_SIZE_MAX && size % ULV_CHANNEL_SIZE_STEP == 0;
}

bool ulv_channel_size_fits_vm(uint64_t size) { return (size & (size - 1)) == 0; }

const struct ulv_channel_end *ulv_channel_find(const struct ulv_definition *d, const char *label) {
        for (size_t i = 0; i < d->n_channels; i++)
                if (ulv_streq(d->channels[i].label, label))
                        return &d->channels[i];
        return NULL;
}

/* --- keys -------------------------------------------------------------------------------------------------- */

enum { KEY_PEER, KEY_KIND, KEY_SIZE, KEY_MAX_ };
_Static_assert(KEY_MAX_ <= PART_KEYS_MAX, "a place for each key");

#define KEY(in, word) word
static const char *const keys[KEY_MAX_] = {
        [KEY_PEER] = KEY("Channel", "Peer"),
        [KEY_KIND] = KEY("Channel", "Kind"),
        [KEY_SIZE] = KEY("Channel", "Size"),
};
static const char *const expected[KEY_MAX_] = {
        [KEY_PEER] = "the name of another partition, or host",
        [KEY_KIND] = "message, stream or memory",
        [KEY_SIZE] = "a size from 12K to 1G, a multiple of 4K",
};

static int begin(struct ulv_parts_parser *p, struct ulv_definition *d, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        if (!ulv_name_is_valid(item->label))
                return ulv_ini_error(item, false, reterr, "[Channel] needs a label of a-z, 0-9 and -, like [Channel \"feed\"]");
        for (p->channel = 0; p->channel < d->n_channels; p->channel++)
                if (ulv_streq(d->channels[p->channel].label, item->label))
                        return 0;
        if (d->n_channels == ULV_CHANNELS_MAX)
                return ulv_ini_error(item, false, reterr, "more than %d channels", ULV_CHANNELS_MAX);
        p->channel_at[d->n_channels] = (struct ulv_key_place) { .file = item->file, .line = item->line, .column = item->column };
        return ulv_part_append((void **) &d->channels, &d->n_channels, sizeof(*d->channels), item->label);
}

static bool take_value(const struct ulv_definition *d, struct ulv_channel_end *c, unsigned key, const char *value) {
        switch (key) {
        case KEY_PEER:
                return ulv_channel_peer_is_valid(value, d->name) && ulv_copy(c->peer, sizeof(c->peer), value);
        case KEY_KIND:
                return ulv_channel_kind_is_valid(value) && ulv_copy(c->kind, sizeof(c->kind), value);
        default:
                return ulv_size_parse(value, &c->size) == 0 && ulv_channel_size_is_valid(c->size);
        }
}

static void reset(struct ulv_channel_end *c, unsigned key) {
        if (key == KEY_PEER)
                c->peer[0] = 0;
        else if (key == KEY_KIND)
                c->kind[0] = 0;
        else
                c->size = 0;
}

int ulv_channels_take(struct ulv_parts_parser *p, struct ulv_definition *d, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        struct ulv_channel_end *c;
        struct ulv_key_place *at;
        unsigned key = 0;

        if (item->type == ULV_INI_SECTION)
                return begin(p, d, item, reterr);
        while (key < KEY_MAX_ && !ulv_streq(keys[key], item->key))
                key++;
        if (key == KEY_MAX_)
                return ulv_config_unknown(item, "", item->key, "=", " in [Channel]", keys, KEY_MAX_, reterr);
        c = &d->channels[p->channel];
        at = &p->channels[p->channel][key];
        if (at->line > 0 && at->file == item->file)
                return ulv_ini_error(item, false, reterr, "%s= is given twice (first in line %u)", item->key, at->line);
        *at = (struct ulv_key_place) { .file = item->file, .line = item->line, .column = item->column, .value_column = item->value_column };
        reset(c, key);
        if (!item->value[0] || take_value(d, c, key, item->value))
                return 0;
        return ulv_config_bad_value(item, expected[key], reterr);
}

/* --- the whole ---------------------------------------------------------------------------------------------- */

#define FAIL_AT(place, ...) ulv_ini_error(&(struct ulv_ini_item) { \
                .file = (place)->file, .line = (place)->line, .column = (place)->column }, false, reterr, __VA_ARGS__)

/* One whose peer was given and then unset, by a drop-in, is none. */
static void remove_unset(struct ulv_parts_parser *p, struct ulv_definition *d) {
        size_t kept = 0;

        for (size_t i = 0; i < d->n_channels; i++) {
                if (!d->channels[i].peer[0] && p->channels[i][KEY_PEER].line > 0)
                        continue;
                p->channel_at[kept] = p->channel_at[i];
                d->channels[kept++] = d->channels[i];
        }
        d->n_channels = kept;
}

/* All of them are in the partition's own memory, and something must be left for its programs. */
static int check_memory(const struct ulv_parts_parser *p, const struct ulv_definition *d, struct ulv_diag *reterr) {
        uint64_t sum = 0;

        for (size_t i = 0; i < d->n_channels; i++)
                sum += d->channels[i].size;
        if (sum == 0 || sum <= d->memory / 2)
                return 0;
        return FAIL_AT(&p->channel_at[0], "the channels that it owns take more than half of its memory, Size= of [Memory]");
}

int ulv_channels_check(struct ulv_parts_parser *p, struct ulv_definition *d, struct ulv_diag *reterr) {
        remove_unset(p, d);
        if (d->n_channels > 0 && ulv_streq(d->type, "sim"))
                return FAIL_AT(&p->channel_at[0], "[Channel] is for Type=container and Type=vm, and this is a %s", d->type);
        for (size_t i = 0; i < d->n_channels; i++) {
                const struct ulv_channel_end *c = &d->channels[i];

                if (!c->peer[0])
                        return FAIL_AT(&p->channel_at[i], "[Channel \"%s\"] has no Peer= (the partition at the other end)", c->label);
                if (!c->kind[0] && c->size == 0 && ulv_streq(c->peer, ULV_CHANNEL_HOST))
                        return FAIL_AT(&p->channels[i][KEY_PEER], "[Channel \"%s\"] with Peer=host owns the memory: it has Kind= and Size=", c->label);
                if ((c->kind[0] != 0) != (c->size > 0))
                        return FAIL_AT(&p->channel_at[i], "[Channel \"%s\"] has Kind= or Size=, and the end that owns the memory has both", c->label);
                if (ulv_streq(d->type, "vm") && !ulv_channel_size_fits_vm(c->size))
                        return FAIL_AT(&p->channels[i][KEY_SIZE], "Size= of a VM's channel is a power of two, for its guest sees the memory as a device");
        }
        return check_memory(p, d, reterr);
}

void ulv_channels_format(struct ulv_strbuf *b, const struct ulv_definition *d) {
        for (size_t i = 0; i < d->n_channels; i++) {
                const struct ulv_channel_end *c = &d->channels[i];

                ulv_strbuf_addf(b, "%s[Channel \"%s\"]\nPeer=%s\n", b->len > 0 ? "\n" : "", c->label, c->peer);
                if (!c->kind[0])
                        continue;
                ulv_strbuf_addf(b, "Kind=%s\nSize=", c->kind);
                ulv_size_format(b, c->size);
                ulv_strbuf_addc(b, '\n');
        }
}
