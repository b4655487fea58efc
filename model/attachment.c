/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/attachment.h"

#define NODE_NAME_MAX 60
#define DIRECT_MAX 120          /* of the path of an image that is written itself */

/* --- ids --------------------------------------------------------------------------------------------------- */

/* Each open makes an instance of its own, so that many may have the node. */
static const char *const shared_nodes[] = { "fuse", "kvm", "net/tun", "vhost-net", "vhost-vsock", "userfaultfd", "hwrng" };
/* With one of these a container is the host. */
static const char *const host_nodes[] = { "mem", "kmem", "port", "kmsg", "nvram" };
/* In every container's /dev. */
static const char *const usual_nodes[] = { "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "stdin", "stdout", "stderr" };

static bool is_in(const char *s, const char *const *words, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (ulv_streq(words[i], s))
                        return true;
        return false;
}

/* "ttyUSB0", "net/tun", "disk/by-id/..." would be too: it is the monitor that finds out what the node is. */
static bool is_node_name(const char *s, size_t n, size_t max) {
        if (n == 0 || n > max || s[n - 1] == '/')
                return false;
        for (size_t i = 0; i < n; i++) {
                bool first = i == 0 || s[i - 1] == '/';

                if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= '0' && s[i] <= '9') ||
                      (!first && strchr("/._:-", s[i]))))
                        return false;
        }
        return true;
}

const char *ulv_attachment_owner(const char *id) {
        const char *at = strrchr(id, '@');

        return at ? at + 1 : NULL;
}

static bool is_direct(const struct ulv_attachment *a) { return a->disk && ulv_streq(a->writable, "direct"); }

bool ulv_attachment_is_kind(const char *kind) {
        static const char *const kinds[] = { "mount", "device", "block", "disk" };

        return is_in(kind, kinds, ULV_ARRAY_SIZE(kinds));
}

const char *ulv_attachment_kind(const struct ulv_attachment *a) { return a->disk ? "disk" : a->device ? "device" : "mount"; }

const char *ulv_attachment_name(const struct ulv_attachment *a) {
        const char *node = ulv_attachment_node(a);

        return node ? node : is_direct(a) && a->source ? a->source + 1 : a->label;
}

bool ulv_attachment_id_is_valid(const char *kind, const char *id) {
        const char *owner = ulv_attachment_owner(id);
        char label[ULV_NAME_MAX + 1];
        size_t n = owner ? (size_t) (owner - 1 - id) : strlen(id);

        if (owner && (!ulv_name_is_valid(owner) || ulv_name_is_reserved(owner)))
                return false;
        if (ulv_streq(kind, "device") || (ulv_streq(kind, "disk") && !owner))
                return is_node_name(id, n, ulv_streq(kind, "disk") ? DIRECT_MAX : NODE_NAME_MAX);
        if (!owner || n >= sizeof(label))
                return false;
        memcpy(label, id, n);
        label[n] = 0;
        return ulv_name_is_valid(label);
}

const char *ulv_attachment_node(const struct ulv_attachment *a) {
        return a->device && a->source ? a->source + strlen("/dev/") : NULL;
}

void ulv_attachment_id(const struct ulv_attachment *a, const char *owner, char ret[static ULV_ATTACHMENT_ID_MAX]) {
        struct ulv_strbuf b = { .s = ret, .size = ULV_ATTACHMENT_ID_MAX, .max = ULV_ATTACHMENT_ID_MAX - 1 };
        const char *node = ulv_attachment_node(a);

        ret[0] = 0;
        ulv_strbuf_add(&b, ulv_attachment_name(a));
        if (is_direct(a))
                return;
        if (!node || is_in(node, shared_nodes, ULV_ARRAY_SIZE(shared_nodes)))
                ulv_strbuf_addf(&b, "@%s", owner);
}

const struct ulv_attachment *ulv_attachment_find(const struct ulv_definition *d, const char *kind, const char *id, const char *node) {
        for (size_t i = 0; i < d->n_attachments; i++) {
                const struct ulv_attachment *a = &d->attachments[i];
                char own[ULV_ATTACHMENT_ID_MAX];

                if (ulv_streq(kind, "block")) {
                        if (a->device && node && ulv_streq(ulv_attachment_node(a), node))
                                return a;
                        continue;
                }
                if (!ulv_streq(ulv_attachment_kind(a), kind))
                        continue;
                ulv_attachment_id(a, d->name, own);
                if (ulv_streq(own, id))
                        return a;
        }
        return NULL;
}

bool ulv_attachment_same(const struct ulv_attachment *a, const struct ulv_attachment *b) {
        return ulv_streq(ulv_attachment_kind(a), ulv_attachment_kind(b)) && a->read_only == b->read_only && ulv_streq(a->source, b->source) &&
               (!a->target || ulv_streq(a->target, b->target)) && ulv_streq(a->format, b->format) && ulv_streq(a->writable, b->writable);
}

/* --- keys -------------------------------------------------------------------------------------------------- */

enum { KEY_SOURCE, KEY_TARGET, KEY_READ_ONLY, KEY_FORMAT, KEY_WRITABLE, KEY_MAX_ };
_Static_assert(KEY_MAX_ <= PART_KEYS_MAX, "a place for each key");

#define KEY(in, word, what) { .section = in, .name = word, .key = what }
static const struct { const char *section, *name; unsigned key; } keys[] = {
        KEY("Mount", "Source", KEY_SOURCE),
        KEY("Mount", "Target", KEY_TARGET),
        KEY("Mount", "ReadOnly", KEY_READ_ONLY),
        KEY("Device", "Path", KEY_SOURCE),
        KEY("Device", "ReadOnly", KEY_READ_ONLY),
        KEY("Block", "File", KEY_SOURCE),
        KEY("Block", "Format", KEY_FORMAT),
        KEY("Block", "Writable", KEY_WRITABLE),
};

bool ulv_attachment_is_section(const char *section) { return ulv_streq(section, "Mount") || ulv_streq(section, "Device") || ulv_streq(section, "Block"); }

static const char *section_of(const struct ulv_attachment *a) { return a->disk ? "Block" : a->device ? "Device" : "Mount"; }
static const char *source_key(const struct ulv_attachment *a) { return a->disk ? "File" : a->device ? "Path" : "Source"; }

static bool is_within(const char *path, const char *top) {
        size_t n = strlen(top);

        return strncmp(path, top, n) == 0 && (path[n] == 0 || path[n] == '/');
}

static int parse_target(const char *v, char **field) {
        static const char *const kernels[] = { "/proc", "/sys", "/dev" };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(kernels); i++)
                if (is_within(v, kernels[i]))
                        return -EINVAL;
        return ulv_part_parse_path(v, field);
}

static int parse_node(const char *v, char **field) {
        const char *name = ulv_startswith(v, "/dev/") ? v + strlen("/dev/") : "";

        if (!is_node_name(name, strlen(name), NODE_NAME_MAX) || is_in(name, host_nodes, ULV_ARRAY_SIZE(host_nodes)) ||
            is_in(name, usual_nodes, ULV_ARRAY_SIZE(usual_nodes)) || ulv_startswith(name, "pts/") || ulv_startswith(name, "shm/"))
                return -EINVAL;
        return ulv_part_parse_path(v, field);
}

static int parse_yes(const char *v, bool *field) {
        if (!ulv_streq(v, "yes") && !ulv_streq(v, "no"))
                return -EINVAL;
        *field = v[0] == 'y';
        return 0;
}

/* Libvirt's XML has these paths, and QEMU's options, where a comma parts words. */
static int parse_file(const char *v, char **field) {
        for (const char *p = v; *p; p++)
                if (*p < '!' || *p > '~' || *p == ',')
                        return -EINVAL;
        return ulv_part_parse_path(v, field);
}

/* How an image is to be read is said, never guessed: a guest that may write its first bytes could say otherwise. */
static const char *const formats[] = { "raw", "qcow2", "iso" };
static const char *const writables[] = { "kept", "ephemeral", "direct", "no" };

static int parse_word(const char *v, const char *const *words, size_t n, char *field, size_t size) {
        if (!is_in(v, words, n))
                return -EINVAL;
        ulv_cut(field, size, v);
        return 0;
}

static int begin(struct ulv_parts_parser *p, struct ulv_definition *d, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        bool device = ulv_streq(item->section, "Device"), disk = ulv_streq(item->section, "Block");
        int r;

        if (!ulv_name_is_valid(item->label))
                return ulv_ini_error(item, false, reterr, "[%s] needs a label of a-z, 0-9 and -, like [%s \"%s\"]", item->section, item->section,
                                     device ? "fuse" : disk ? "root" : "data");
        for (p->attachment = 0; p->attachment < d->n_attachments; p->attachment++) {
                if (!ulv_streq(d->attachments[p->attachment].label, item->label))
                        continue;
                if (ulv_streq(section_of(&d->attachments[p->attachment]), item->section))
                        return 0;
                return ulv_ini_error(item, false, reterr, "[%s \"%s\"] and [%s \"%s\"] need labels that differ", section_of(&d->attachments[p->attachment]),
                                     item->label, item->section, item->label);
        }
        if (d->n_attachments == ULV_ATTACHMENTS_MAX)
                return ulv_ini_error(item, false, reterr, "more than %d mounts, devices and disks", ULV_ATTACHMENTS_MAX);
        p->attachment_at[d->n_attachments] = (struct ulv_key_place) { .file = item->file, .line = item->line, .column = item->column };
        r = ulv_part_append((void **) &d->attachments, &d->n_attachments, sizeof(*d->attachments), item->label);
        if (r == 0) {
                d->attachments[p->attachment].device = device;
                d->attachments[p->attachment].disk = disk;
        }
        return r;
}

static int unknown_key(const struct ulv_ini_item *item, bool device, struct ulv_diag *reterr) {
        const char *known[KEY_MAX_];
        size_t n = 0;

        if (ulv_streq(item->section, "Block") && (ulv_streq(item->key, "Volume") || ulv_streq(item->key, "Mount")))
                return ulv_ini_error(item, false, reterr, "%s= is not served by this version (File=, an image of this host)", item->key);

        if (device && ulv_streq(item->key, "PCI"))
                return ulv_ini_error(item, false, reterr, "PCI= is not served by this version (Path=, a device node of this host)");
        for (size_t i = 0; i < ULV_ARRAY_SIZE(keys); i++)
                if (ulv_streq(keys[i].section, item->section))
                        known[n++] = keys[i].name;
        return ulv_config_unknown(item, "", item->key, "=", ulv_streq(item->section, "Block") ? " in [Block]" : device ? " in [Device]" : " in [Mount]", known, n, reterr);
}

static void reset(struct ulv_attachment *a, unsigned key) {
        char **text = key == KEY_SOURCE ? &a->source : &a->target;

        if (key == KEY_READ_ONLY) {
                a->read_only = false;
                return;
        }
        if (key == KEY_FORMAT || key == KEY_WRITABLE) {
                *(key == KEY_FORMAT ? a->format : a->writable) = 0;
                return;
        }
        free(*text);
        *text = NULL;
}

static int take_value(struct ulv_attachment *a, unsigned key, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        const char *expected = "an absolute path without . and .. in it, other than /";
        int r;

        if (key == KEY_READ_ONLY) {
                expected = "yes or no";
                r = parse_yes(item->value, &a->read_only);
        } else if (key == KEY_FORMAT) {
                expected = "a format (raw, qcow2 or iso)";
                r = parse_word(item->value, formats, ULV_ARRAY_SIZE(formats), a->format, sizeof(a->format));
        } else if (key == KEY_WRITABLE) {
                expected = "kept, ephemeral, direct or no";
                r = parse_word(item->value, writables, ULV_ARRAY_SIZE(writables), a->writable, sizeof(a->writable));
        } else if (a->disk) {
                expected = "an absolute path without . and .. in it, of plain characters without blanks and commas";
                r = parse_file(item->value, &a->source);
        } else if (key == KEY_TARGET) {
                expected = "an absolute path inside without . and .. in it, other than / and not in /proc, /sys or /dev";
                r = parse_target(item->value, &a->target);
        } else if (a->device) {
                expected = "a device node of this host (like /dev/fuse; none that every container has, and none of the host's memory)";
                r = parse_node(item->value, &a->source);
        } else
                r = ulv_part_parse_path(item->value, &a->source);
        return r == 0 || r == -ENOMEM ? r : ulv_config_bad_value(item, expected, reterr);
}

int ulv_attachments_take(struct ulv_parts_parser *p, struct ulv_definition *d, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        struct ulv_attachment *a;
        struct ulv_key_place *at;
        unsigned key;

        if (item->type == ULV_INI_SECTION)
                return begin(p, d, item, reterr);
        a = &d->attachments[p->attachment];
        key = KEY_MAX_;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(keys); i++)
                if (ulv_streq(keys[i].section, item->section) && ulv_streq(keys[i].name, item->key))
                        key = keys[i].key;
        if (key == KEY_MAX_)
                return unknown_key(item, a->device, reterr);
        at = &p->attachments[p->attachment][key];
        if (at->line > 0 && at->file == item->file)
                return ulv_ini_error(item, false, reterr, "%s= is given twice (first in line %u)", item->key, at->line);
        *at = (struct ulv_key_place) { .file = item->file, .line = item->line, .column = item->column, .value_column = item->value_column };
        if (item->value[0])
                return take_value(a, key, item, reterr);
        reset(a, key);
        return 0;
}

/* --- the whole ---------------------------------------------------------------------------------------------- */

#define FAIL_AT(place, ...) ulv_ini_error(&(struct ulv_ini_item) { \
                .file = (place)->file, .line = (place)->line, .column = (place)->column }, false, reterr, __VA_ARGS__)

static void drop(struct ulv_attachment *a) {
        free(a->source);
        free(a->target);
}

/* One whose path was given and then unset, by a drop-in, is none. */
static void remove_unset(struct ulv_parts_parser *p, struct ulv_definition *d) {
        size_t kept = 0;

        for (size_t i = 0; i < d->n_attachments; i++) {
                struct ulv_attachment *a = &d->attachments[i];

                if (!a->source && !a->target && p->attachments[i][KEY_SOURCE].line > 0) {
                        drop(a);
                        continue;
                }
                memmove(p->attachments[kept], p->attachments[i], sizeof(p->attachments[0]));
                p->attachment_at[kept] = p->attachment_at[i];
                d->attachments[kept++] = *a;
        }
        d->n_attachments = kept;
}

static int check_disk(const struct ulv_parts_parser *p, struct ulv_definition *d, size_t index, struct ulv_diag *reterr) {
        struct ulv_attachment *a = &d->attachments[index];
        const struct ulv_key_place *writable = &p->attachments[index][KEY_WRITABLE];
        bool iso = ulv_streq(a->format, "iso");

        if (!a->format[0])
                return FAIL_AT(&p->attachment_at[index], "[Block \"%s\"] has no Format= (raw, qcow2 or iso)", a->label);
        if (!a->writable[0])
                ulv_cut(a->writable, sizeof(a->writable), iso ? "no" : "kept");
        if (iso && !ulv_streq(a->writable, "no"))
                return FAIL_AT(writable, "Writable=%s in [Block \"%s\"]: what is in a CD-ROM drive (Format=iso) can't be written", a->writable, a->label);
        if (is_direct(a) && !is_node_name(a->source + 1, strlen(a->source + 1), DIRECT_MAX))
                return FAIL_AT(&p->attachments[index][KEY_SOURCE], "File=%s has more than %d characters, or others than a-z A-Z 0-9 / . _ : -; the ledger keeps "
                               "the path of an image that is written itself (Writable=direct)", a->source, DIRECT_MAX);
        for (size_t i = 0; i < index; i++) {
                const struct ulv_attachment *b = &d->attachments[i];

                if (b->disk && (is_direct(a) || is_direct(b)) && ulv_streq(a->source, b->source))
                        return FAIL_AT(&p->attachments[index][KEY_SOURCE], "[Block \"%s\"] and [Block \"%s\"] are the same image, and one of them writes it (Writable=direct)",
                                       b->label, a->label);
        }
        return 0;
}

static int check_one(const struct ulv_parts_parser *p, struct ulv_definition *d, size_t index, struct ulv_diag *reterr) {
        const struct ulv_attachment *a = &d->attachments[index];
        const struct ulv_key_place *at = &p->attachment_at[index];

        if (!a->source)
                return FAIL_AT(at, "[%s \"%s\"] has no %s= (a %s of this host)", section_of(a), a->label, source_key(a),
                               a->disk ? "disk's image" : a->device ? "device node" : "directory");
        if (a->disk)
                return check_disk(p, d, index, reterr);
        if (!a->device && !a->target)
                return FAIL_AT(at, "[Mount \"%s\"] has no Target= (where it stands inside)", a->label);
        for (size_t i = 0; i < index; i++) {
                const struct ulv_attachment *b = &d->attachments[i];

                if (a->device && b->device && ulv_streq(a->source, b->source))
                        return FAIL_AT(&p->attachments[index][KEY_SOURCE], "[Device \"%s\"] and [Device \"%s\"] are the same device", b->label, a->label);
                if (!a->device && a->target && b->target && ulv_streq(a->target, b->target))
                        return FAIL_AT(&p->attachments[index][KEY_TARGET], "[Mount \"%s\"] and [Mount \"%s\"] have the same Target=", b->label, a->label);
        }
        return 0;
}

int ulv_attachments_check(struct ulv_parts_parser *p, struct ulv_definition *d, struct ulv_diag *reterr) {
        int r = 0;

        remove_unset(p, d);
        for (size_t i = 0; r == 0 && i < d->n_attachments; i++) {
                const struct ulv_attachment *a = &d->attachments[i];
                bool container = ulv_streq(d->type, "container") && !a->disk, vm = ulv_streq(d->type, "vm") && (a->disk || a->device);

                r = container || vm ? check_one(p, d, i, reterr) :
                    FAIL_AT(&p->attachment_at[i], "[%s] is for Type=%s, and this is a %s", section_of(a), a->disk ? "vm" : a->device ? "container and vm" : "container", d->type);
        }
        return r;
}

void ulv_attachments_format(struct ulv_strbuf *b, const struct ulv_definition *d) {
        for (size_t i = 0; i < d->n_attachments; i++) {
                const struct ulv_attachment *a = &d->attachments[i];

                ulv_strbuf_addf(b, "%s[%s \"%s\"]\n%s=%s\n", b->len > 0 ? "\n" : "", section_of(a), a->label, source_key(a), a->source ? a->source : "");
                if (a->disk)
                        ulv_strbuf_addf(b, "Format=%s\nWritable=%s\n", a->format, a->writable);
                else if (!a->device)
                        ulv_strbuf_addf(b, "Target=%s\n", a->target ? a->target : "");
                if (a->read_only)
                        ulv_strbuf_add(b, "ReadOnly=yes\n");
        }
}

void ulv_attachments_free(struct ulv_definition *d) {
        for (size_t i = 0; i < d->n_attachments; i++)
                drop(&d->attachments[i]);
        free(d->attachments);
}
