/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The file of --inventory. Its sections are collected as they stand, then made into cores and memory:
 * a node's Memory= is all it has, and its huge pages are a part of that. */

#include "model/inventory.h"

#include "lib/ini.h"
#include "model/name.h"
#include "model/op.h"

#define NODES_MAX 1024
#define DEVICES_MAX 4096

struct node { unsigned id; struct ulv_cpus cpus; uint64_t stride, memory, huge_2m, huge_1g; };

struct parser {
        struct ulv_inventory *inv;
        struct node *nodes;
        size_t n_nodes;
        struct ulv_cpus seen;
        bool has_kind, has_uids;
};

typedef int (*setter)(struct parser *p, const struct ulv_ini_item *item, struct ulv_diag *reterr);

/* --- sections ------------------------------------------------------------------------------------------- */

static int add_node(struct parser *p, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        struct node *bigger;
        uint64_t id;

        if (ulv_uint_parse(item->label, NODES_MAX - 1, &id) < 0)
                return ulv_ini_error(item, false, reterr, "[Node] needs a number of 0 to %d behind it: [Node \"0\"]", NODES_MAX - 1);
        for (size_t i = 0; i < p->n_nodes; i++)
                if (p->nodes[i].id == id)
                        return ulv_ini_error(item, false, reterr, "[Node \"%s\"] stands here for the second time", item->label);
        bigger = realloc(p->nodes, (p->n_nodes + 1) * sizeof(*bigger));
        if (!bigger)
                return -ENOMEM;
        p->nodes = bigger;
        p->nodes[p->n_nodes++] = (struct node) { .id = (unsigned) id };
        return 0;
}

static int add_device(struct parser *p, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        struct ulv_inventory *inv = p->inv;
        struct ulv_inv_device *bigger, d = {};

        if (!item->label[0] || ulv_streq(item->label, "-") || !ulv_copy(d.id, sizeof(d.id), item->label))
                return ulv_ini_error(item, false, reterr, "[Device] needs an id of 1 to %zu bytes behind it", sizeof(d.id) - 1);
        if (inv->n_devices >= DEVICES_MAX)
                return ulv_ini_error(item, false, reterr, "more than %d devices", DEVICES_MAX);
        bigger = realloc(inv->devices, (inv->n_devices + 1) * sizeof(*bigger));
        if (!bigger)
                return -ENOMEM;
        inv->devices = bigger;
        inv->devices[inv->n_devices++] = d;
        return 0;
}

static int begin_section(struct parser *p, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        if (ulv_streq(item->section, "Machine"))
                return item->label[0] ? ulv_ini_error(item, false, reterr, "[Machine] takes no label") : 0;
        if (ulv_streq(item->section, "Node"))
                return add_node(p, item, reterr);
        if (ulv_streq(item->section, "Device"))
                return add_device(p, item, reterr);
        return ulv_ini_error(item, false, reterr, "no section [%s] in an inventory: [Machine], [Node \"N\"], [Device \"ID\"]", item->section);
}

/* --- keys ------------------------------------------------------------------------------------------------- */

static int set_name(struct parser *p, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        if (!ulv_copy(p->inv->name, sizeof(p->inv->name), item->value))
                return ulv_ini_error(item, true, reterr, "Name= has more than %zu bytes", sizeof(p->inv->name) - 1);
        return 0;
}

static int set_kind(struct parser *p, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        if (ulv_streq(item->value, "part"))
                p->inv->kind = ULV_INVENTORY_PART;
        else if (ulv_streq(item->value, "imagined"))
                p->inv->kind = ULV_INVENTORY_IMAGINED;
        else
                return ulv_ini_error(item, true, reterr, "Kind=%s: it is part or imagined", item->value);
        p->has_kind = true;
        return 0;
}

static int set_prefix(struct parser *p, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        if (!ulv_name_is_valid(item->value) || !ulv_copy(p->inv->prefix, sizeof(p->inv->prefix), item->value))
                return ulv_ini_error(item, true, reterr, "Prefix= has 1 to %zu of a-z 0-9 -", sizeof(p->inv->prefix) - 1);
        return 0;
}

static int set_uids(struct parser *p, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        struct ulv_cpus list;
        unsigned first = 0, n;

        /* A range is written like a list of CPUs, and must be one without holes. */
        if (ulv_cpus_parse(item->value, &list) < 0 || (n = ulv_cpus_count(&list)) == 0)
                return ulv_ini_error(item, true, reterr, "UIDRanges=%s: it is FIRST-LAST", item->value);
        while (!ulv_cpus_has(&list, first))
                first++;
        if (first < 1 || first + n - 1 > ULV_UID_RANGES || !ulv_cpus_has(&list, first + n - 1))
                return ulv_ini_error(item, true, reterr, "UIDRanges=%s: it is FIRST-LAST within 1-%u", item->value, ULV_UID_RANGES);
        p->inv->uids_first = first;
        p->inv->uids_last = first + n - 1;
        p->has_uids = true;
        return 0;
}

static int set_cpus(struct parser *p, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        struct node *n = &p->nodes[p->n_nodes - 1];

        if (ulv_cpus_count(&n->cpus) > 0)
                return ulv_ini_error(item, false, reterr, "CPUs= stands here for the second time");
        if (ulv_cpus_parse(item->value, &n->cpus) < 0 || ulv_cpus_count(&n->cpus) == 0)
                return ulv_ini_error(item, true, reterr, "CPUs=%s: it is a list like 0-3,8-11", item->value);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(n->cpus.bits); i++) {
                if (p->seen.bits[i] & n->cpus.bits[i])
                        return ulv_ini_error(item, true, reterr, "a CPU of CPUs=%s is on another node already", item->value);
                p->seen.bits[i] |= n->cpus.bits[i];
        }
        return 0;
}

static int set_stride(struct parser *p, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        if (ulv_uint_parse(item->value, ULV_CPU_MAX - 1, &p->nodes[p->n_nodes - 1].stride) < 0)
                return ulv_ini_error(item, true, reterr, "ThreadStride= is a number of 0 to %d", ULV_CPU_MAX - 1);
        return 0;
}

static int set_memory(struct parser *p, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        uint64_t bytes;

        /* 1 EiB: so that no sum of nodes overflows. */
        if (ulv_size_parse(item->value, &bytes) < 0 || bytes > UINT64_C(1) << 60)
                return ulv_ini_error(item, true, reterr, "Memory=%s: it is a size like 64G", item->value);
        p->nodes[p->n_nodes - 1].memory = bytes / ULV_MEMORY_UNIT;
        return 0;
}

static int set_huge(struct parser *p, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        struct node *n = &p->nodes[p->n_nodes - 1];
        uint64_t *field = ulv_streq(item->key, "HugePages2M") ? &n->huge_2m : &n->huge_1g;

        if (ulv_uint_parse(item->value, UINT64_C(1) << 32, field) < 0)
                return ulv_ini_error(item, true, reterr, "%s= is a number of pages", item->key);
        return 0;
}

static int set_device_kind(struct parser *p, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        struct ulv_inv_device *d = &p->inv->devices[p->inv->n_devices - 1];

        if (!ulv_streq(item->value, "pci") && !ulv_streq(item->value, "block") && !ulv_streq(item->value, "net"))
                return ulv_ini_error(item, true, reterr, "Kind=%s: it is pci, block or net", item->value);
        for (const struct ulv_inv_device *e = p->inv->devices; e < d; e++)
                if (ulv_streq(e->id, d->id) && ulv_streq(e->kind, item->value))
                        return ulv_ini_error(item, false, reterr, "device %s stands here for the second time", d->id);
        (void) ulv_copy(d->kind, sizeof(d->kind), item->value);
        return 0;
}

static int set_device_word(struct parser *p, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        struct ulv_inv_device *d = &p->inv->devices[p->inv->n_devices - 1];
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        const char *word, *name;
        size_t n;

        ulv_op_add(&b, ulv_streq(item->key, "Group") ? "group" : ulv_streq(item->key, "Name") ? "name" : "description", item->value);
        if (ulv_strbuf_error(&b) < 0)
                return -ENOMEM;
        word = ulv_strbuf_str(&b) + (d->attrs[0] ? 0 : 1);      /* words are parted by a space, none before the first */
        name = ulv_streq(item->key, "Group") ? " group=" : ulv_streq(item->key, "Name") ? " name=" : " description=";
        if (ulv_startswith(d->attrs, name + 1) || strstr(d->attrs, name))
                return ulv_ini_error(item, false, reterr, "%s= stands here for the second time", item->key);
        n = strlen(d->attrs);
        if (!ulv_copy(d->attrs + n, sizeof(d->attrs) - n, word))
                return ulv_ini_error(item, true, reterr, "the device's values are too long");
        return 0;
}

static int handle(const struct ulv_ini_item *item, void *userdata, struct ulv_diag *reterr) {
        static const struct { const char *section, *key; setter set; } keys[] = {
                { "Machine", "Name", set_name }, { "Machine", "Kind", set_kind }, { "Machine", "Prefix", set_prefix },
                { "Machine", "UIDRanges", set_uids },
                { "Node", "CPUs", set_cpus }, { "Node", "ThreadStride", set_stride }, { "Node", "Memory", set_memory },
                { "Node", "HugePages2M", set_huge }, { "Node", "HugePages1G", set_huge },
                { "Device", "Kind", set_device_kind }, { "Device", "Group", set_device_word }, { "Device", "Name", set_device_word },
                { "Device", "Description", set_device_word },
        };
        struct parser *p = userdata;

        if (item->type == ULV_INI_SECTION)
                return begin_section(p, item, reterr);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(keys); i++)
                if (ulv_streq(keys[i].section, item->section) && ulv_streq0(keys[i].key, item->key))
                        return keys[i].set(p, item, reterr);
        return ulv_ini_error(item, false, reterr, "[%s] has no key %s=", item->section, item->key ? item->key : "");
}

/* --- what it comes to ------------------------------------------------------------------------------------- */

static int add_core(struct ulv_inventory *inv, const struct node *n, unsigned first, unsigned second) {
        struct ulv_inv_core *bigger = realloc(inv->cores, (inv->n_cores + 1) * sizeof(*bigger)), *c;

        if (!bigger)
                return -ENOMEM;
        inv->cores = bigger;
        c = &inv->cores[inv->n_cores];
        *c = (struct ulv_inv_core) { .id = first, .node = n->id, .threads = calloc(1, sizeof(*c->threads)) };
        if (!c->threads)
                return -ENOMEM;
        inv->n_cores++;
        ulv_cpus_set(c->threads, first);
        ulv_cpus_set(c->threads, second);
        c->n_threads = first == second ? 1 : 2;
        return 0;
}

static int make_cores(struct ulv_inventory *inv, const struct node *n) {
        struct ulv_cpus left = n->cpus;

        for (unsigned i = 0; i < ULV_CPU_MAX; i++) {
                unsigned other = i + (unsigned) n->stride;
                int r;

                if (!ulv_cpus_has(&left, i))
                        continue;
                if (!ulv_cpus_has(&left, other))
                        other = i;
                left.bits[other / 64] &= ~(UINT64_C(1) << (other % 64));
                r = add_core(inv, n, i, other);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_memory(struct ulv_inventory *inv, unsigned node, const char *pages, uint64_t amount, bool always) {
        struct ulv_inv_memory *bigger;

        if (amount == 0 && !always)
                return 0;
        bigger = realloc(inv->memory, (inv->n_memory + 1) * sizeof(*bigger));
        if (!bigger)
                return -ENOMEM;
        inv->memory = bigger;
        inv->memory[inv->n_memory] = (struct ulv_inv_memory) { .node = node, .amount = amount };
        (void) ulv_copy(inv->memory[inv->n_memory].pages, sizeof(inv->memory->pages), pages);
        inv->n_memory++;
        return 0;
}

static int make_memory(struct ulv_inventory *inv, const struct node *n) {
        uint64_t giga = n->huge_1g * (1024 / 2), small = n->memory - giga - n->huge_2m;
        int r;

        r = add_memory(inv, n->id, "1G", giga, false);
        if (r == 0)
                r = add_memory(inv, n->id, "2M", n->huge_2m, false);
        return r == 0 ? add_memory(inv, n->id, "4K", small, true) : r;
}

static int by_core(const void *a, const void *b) {
        unsigned x = ((const struct ulv_inv_core *) a)->id, y = ((const struct ulv_inv_core *) b)->id;

        return x < y ? -1 : x > y;
}
static int by_node(const void *a, const void *b) {
        unsigned x = ((const struct node *) a)->id, y = ((const struct node *) b)->id;

        return x < y ? -1 : x > y;
}

static int whole_error(const char *file, struct ulv_diag *reterr, const char *why) {
        ulv_diag_what(reterr, ULV_EXIT_USAGE, "%s", why);
        ulv_diag_at(reterr, file, 1, 1);
        return 1;
}

static int check_whole(const struct parser *p, const char *file, struct ulv_diag *reterr) {
        if (!p->has_kind)
                return whole_error(file, reterr, "[Machine] needs Kind=part or Kind=imagined");
        if (p->inv->kind == ULV_INVENTORY_PART && (!p->inv->prefix[0] || !p->has_uids))
                return whole_error(file, reterr, "[Machine] of a part needs Prefix= and UIDRanges=, so that parts don't collide");
        if (p->n_nodes == 0 || ulv_cpus_count(&p->seen) == 0)
                return whole_error(file, reterr, "an inventory needs [Node \"N\"] with CPUs=");
        for (size_t i = 0; i < p->n_nodes; i++)
                if (p->nodes[i].huge_1g * (1024 / 2) + p->nodes[i].huge_2m > p->nodes[i].memory)
                        return whole_error(file, reterr, "the huge pages of a node are more than its Memory=");
        for (size_t i = 0; i < p->inv->n_devices; i++)
                if (!p->inv->devices[i].kind[0])
                        return whole_error(file, reterr, "a [Device] needs Kind=pci, block or net");
        return 0;
}

static int make_whole(struct parser *p) {
        int r = 0;

        if (!p->has_uids) {
                p->inv->uids_first = 1;
                p->inv->uids_last = ULV_UID_RANGES;
        }
        qsort(p->nodes, p->n_nodes, sizeof(*p->nodes), by_node);
        for (size_t i = 0; i < p->n_nodes && r == 0; i++) {
                r = make_cores(p->inv, &p->nodes[i]);
                if (r == 0)
                        r = make_memory(p->inv, &p->nodes[i]);
        }
        if (p->inv->n_cores > 0)
                qsort(p->inv->cores, p->inv->n_cores, sizeof(*p->inv->cores), by_core);
        return r;
}

int ulv_inventory_parse(const char *file, const char *buf, size_t len, struct ulv_inventory **ret, struct ulv_diag *reterr) {
        ULV_CLEANUP(ulv_inventory_freep) struct ulv_inventory *inv = calloc(1, sizeof(*inv));
        struct parser p = { .inv = inv };
        int r;

        if (!inv)
                return -ENOMEM;
        r = ulv_ini_scan(file, buf, len, NULL, handle, &p, reterr);
        if (r == 0)
                r = check_whole(&p, file, reterr);
        if (r == 0)
                r = make_whole(&p);
        free(p.nodes);
        if (r != 0)
                return r;
        *ret = ulv_steal(inv);
        return 0;
}

void ulv_inventory_free(struct ulv_inventory *inv) {
        if (!inv)
                return;
        for (size_t i = 0; i < inv->n_cores; i++)
                free(inv->cores[i].threads);
        free(inv->cores);
        free(inv->memory);
        free(inv->devices);
        free(inv);
}
