/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/definition-keys.h"
#include "model/definition-parts.h"
#include "model/op.h"

/* Reading a definition: each file of the list is scanned once and its keys, found in the table of
 * definition-keys.c, are stored as they come, so that a drop-in wins over what stood before it. A template
 * is one more file, before the first; which one is found out by a look at Template= alone. Where
 * each key was written is kept, and what needs more than one key (bounds, Cores= beside Share=) is
 * checked at the end, when all files are in. */

#define TEXTS(X) X(description) X(root) X(exec) X(user) X(cwd) X(hostname) X(time_zone) X(kernel) X(initrd) X(command_line) X(seed)

void ulv_strv_free(char **v) {
        for (size_t i = 0; v && v[i]; i++)
                free(v[i]);
        free(v);
}

void ulv_definition_free(struct ulv_definition *d) {
        if (!d)
                return;
#define FREE(field) free(d->field);
        TEXTS(FREE)
#undef FREE
        ulv_parts_free(d);
        free(d->limits);
        ulv_strv_free(d->after);
        ulv_strv_free(d->environment);
        free(d->places);
        free(d);
}

struct parser {
        struct ulv_definition *d;
        const char *file;                       /* the one that is scanned now */
        const char *first;                      /* NAME.partition */
        const char *template;                   /* templates/T.partition, NULL if there is none */
        struct ulv_key_place at[KEY_MAX_];
        struct ulv_parts_parser parts;
        struct ulv_diag *reterr;
};

/* --- names that are no keys ---------------------------------------------------------------------------- */

static const char *const sections[] = { "Partition", "CPU", "Memory", "Limits", "Container", "Network", "Credential", "Mount", "Device", "Block", "VM", "Sim" };
/* What FACE.md shows and later versions serve: told apart from a misspelling. */
static const struct { const char *section, *key; } later_keys[] = {
        { "Partition", "Role" }, { "Partition", "Apart" },
        { "VM", "Boot" },
};
/* systemd.resource-control(5) has longer words for them. */
static const struct { const char *section, *key, *ours; } words_of_systemd[] = {
        { "Limits", "TasksMax", "Tasks" }, { "Limits", "IOReadBandwidthMax", "IOReadMax" }, { "Limits", "IOWriteBandwidthMax", "IOWriteMax" },
        { "Limits", "IOReadIOPSMax", "IOPSReadMax" }, { "Limits", "IOWriteIOPSMax", "IOPSWriteMax" },
};

static bool is_in(const char *word, const char *const *words, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (ulv_streq(word, words[i]))
                        return true;
        return false;
}

static int check_section(struct parser *p, const struct ulv_ini_item *item) {
        if (!is_in(item->section, sections, ULV_ARRAY_SIZE(sections)))
                return ulv_config_unknown(item, "[", item->section, "]", "", sections, ULV_ARRAY_SIZE(sections), p->reterr);
        if (item->label[0])
                return ulv_ini_error(item, false, p->reterr, "[%s] takes no label", item->section);
        return 0;
}

static int unknown_key(struct parser *p, const struct ulv_ini_item *item) {
        const char *known[KEY_MAX_], *other = NULL;
        _cleanup_strbuf_ struct ulv_strbuf where = {};
        size_t n = 0;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(later_keys); i++)
                if (ulv_streq(item->section, later_keys[i].section) && ulv_streq(item->key, later_keys[i].key))
                        return ulv_ini_error(item, false, p->reterr, "%s= is not served by this version", item->key);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(words_of_systemd); i++)
                if (ulv_streq(item->section, words_of_systemd[i].section) && ulv_streq(item->key, words_of_systemd[i].key))
                        return ulv_ini_error(item, false, p->reterr, "unknown %s= in [%s]: did you mean %s=?", item->key, item->section, words_of_systemd[i].ours);
        for (size_t i = 0; i < KEY_MAX_; i++)
                if (ulv_streq(ulv_definition_keys[i].section, item->section))
                        known[n++] = ulv_definition_keys[i].name;
                else if (ulv_streq(ulv_definition_keys[i].name, item->key))
                        other = ulv_definition_keys[i].section;
        if (other)
                return ulv_ini_error(item, false, p->reterr, "%s= belongs into [%s], not into [%s]", item->key, other, item->section);
        ulv_strbuf_addf(&where, " in [%s]", item->section);
        if (ulv_strbuf_error(&where) < 0)
                return -ENOMEM;
        return ulv_config_unknown(item, "", item->key, "=", ulv_strbuf_str(&where), known, n, p->reterr);
}

/* --- one key ------------------------------------------------------------------------------------------- */

static void reset_key(struct parser *p, size_t k) {
        const struct definition_kind *kind = ulv_definition_keys[k].kind;
        void *field = ulv_definition_field(p->d, (enum definition_key_id) k);

        if (kind->reset)
                kind->reset(p->d, field);
        else
                memcpy(field, (const char *) &ulv_definition_defaults + ulv_definition_keys[k].offset, kind->size);
}

static int bad_value(struct parser *p, const struct ulv_ini_item *item, size_t k, int r) {
        if (r == -E2BIG)
                return ulv_ini_error(item, true, p->reterr, "%s= has more than %d entries", item->key,
                                     k == KEY_AFTER ? ULV_AFTER_MAX : k == KEY_ENVIRONMENT ? ULV_ENVIRONMENT_MAX : ULV_LIMITS_MAX);
        return ulv_config_bad_value(item, ulv_definition_keys[k].kind->expected, p->reterr);
}

/* A chain of templates, or one that a drop-in changes, would be hard to follow at three in the morning. */
static int check_template_key(struct parser *p, const struct ulv_ini_item *item) {
        if (p->file == p->template)
                return ulv_ini_error(item, false, p->reterr, "Template= stands in a definition, not in a template");
        if (p->file != p->first)
                return ulv_ini_error(item, false, p->reterr, "Template= stands in %s itself, not in a drop-in", ulv_config_short_name(p->first));
        if (item->value[0] && !p->template && ulv_name_is_valid(item->value))
                return ulv_ini_error(item, true, p->reterr, "Template=%s: there is no " ULV_TEMPLATES "%s.partition", item->value, item->value);
        return 0;
}

static int take_key(struct parser *p, const struct ulv_ini_item *item, size_t k) {
        const struct definition_kind *kind = ulv_definition_keys[k].kind;
        struct ulv_key_place *at = &p->at[k];
        int r;

        if (k == KEY_TEMPLATE && (r = check_template_key(p, item)) != 0)
                return r;
        if (at->line > 0 && at->file == p->file && !kind->repeatable)
                return ulv_ini_error(item, false, p->reterr, "%s= is given twice (first in line %u)", item->key, at->line);
        *at = (struct ulv_key_place) {
                .file = p->file, .line = item->line, .column = item->column, .value_column = item->value_column,
        };
        if (!item->value[0]) {
                reset_key(p, k);
                return 0;
        }
        r = kind->parse(item->value, p->d, ulv_definition_field(p->d, (enum definition_key_id) k));
        return r == 0 || r == -ENOMEM ? r : bad_value(p, item, k, r);
}

static int take_item(const struct ulv_ini_item *item, void *userdata, ULV_UNUSED struct ulv_diag *reterr) {
        struct parser *p = userdata;

        if (ulv_parts_have(item->section))
                return ulv_parts_take(&p->parts, p->d, item, p->reterr);
        if (item->type == ULV_INI_SECTION)
                return check_section(p, item);
        for (size_t k = 0; k < KEY_MAX_; k++)
                if (ulv_streq(item->key, ulv_definition_keys[k].name) && ulv_streq(item->section, ulv_definition_keys[k].section))
                        return take_key(p, item, k);
        return unknown_key(p, item);
}

/* --- the whole ----------------------------------------------------------------------------------------- */

/* Fails at the key, or, where it was never written, at the top of NAME.partition. */
#define FAIL_AT(p, k, ...) ulv_ini_error(&(struct ulv_ini_item) { \
                .file = (p)->at[k].line ? (p)->at[k].file : (p)->first, \
                .line = ULV_MAX((p)->at[k].line, 1u), .column = ULV_MAX((p)->at[k].column, 1u), \
        }, false, (p)->reterr, __VA_ARGS__)

static bool is_given(const struct parser *p, size_t k) {
        static const struct ulv_definition *const none = &ulv_definition_defaults;
        const struct definition_key *key = &ulv_definition_keys[k];
        const char *field = (const char *) p->d + key->offset;

        if (p->at[k].line == 0)
                return false;
        if (key->kind->size == 0)
                return *(char *const *) field != NULL;
        return memcmp(field, (const char *) none + key->offset, key->kind->size) != 0;
}

/* The place of the other key as seen from the file of this one. */
static struct ulv_place_text other_place(const struct parser *p, size_t other, size_t from) {
        return ulv_config_place(&p->at[other], p->at[from].file);
}

static bool is_before(const struct parser *p, size_t a, size_t b) {
        return p->at[a].file == p->at[b].file && p->at[a].line < p->at[b].line;
}

static int check_cpu(struct parser *p) {
        static const enum definition_key_id of_share[] = { KEY_SHARE_MIN, KEY_SHARE_MAX },
                of_cores[] = { KEY_CORES_MIN, KEY_CORES_MAX, KEY_CPU_NODE };
        bool cores = is_given(p, KEY_CORES), share = is_given(p, KEY_SHARE);

        if (cores && share) {
                bool later = is_before(p, KEY_CORES, KEY_SHARE);
                enum definition_key_id at = later ? KEY_SHARE : KEY_CORES, other = later ? KEY_CORES : KEY_SHARE;

                return FAIL_AT(p, at, "%s= and %s= exclude each other (%s= is in %s)", ulv_definition_keys[at].name,
                               ulv_definition_keys[other].name, ulv_definition_keys[other].name, other_place(p, other, at).s);
        }
        if (!cores && !share)
                return FAIL_AT(p, KEY_CORES, "[CPU] has neither Cores= (whole cores) nor Share= (hardware threads of the pool)");
        for (size_t i = 0; cores && i < ULV_ARRAY_SIZE(of_share); i++)
                if (is_given(p, of_share[i]))
                        return FAIL_AT(p, of_share[i], "%s= needs Share=, and this partition has Cores= (%s)",
                                       ulv_definition_keys[of_share[i]].name, other_place(p, KEY_CORES, of_share[i]).s);
        for (size_t i = 0; share && i < ULV_ARRAY_SIZE(of_cores); i++)
                if (is_given(p, of_cores[i]))
                        return FAIL_AT(p, of_cores[i], "%s= needs Cores=, and this partition has Share= (%s)",
                                       ulv_definition_keys[of_cores[i]].name, other_place(p, KEY_SHARE, of_cores[i]).s);
        p->d->whole_cores = cores;
        return 0;
}

/* The value of a bounded key as a number: all of them are plain and ordered. */
static uint64_t number(const struct parser *p, size_t k) {
        const char *field = (const char *) p->d + ulv_definition_keys[k].offset;

        return ulv_definition_keys[k].kind->size == sizeof(uint64_t) ? *(const uint64_t *) field : *(const unsigned *) field;
}

static int check_bound(struct parser *p, size_t wanted, size_t bound, bool is_min) {
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        const struct definition_key *w = &ulv_definition_keys[wanted], *k = &ulv_definition_keys[bound];
        uint64_t value = number(p, bound);

        if (value == 0 || !is_given(p, wanted) || (is_min ? value <= number(p, wanted) : value >= number(p, wanted)))
                return 0;
        ulv_strbuf_addf(&b, "%s=", k->name);
        k->kind->format(&b, p->d, (const char *) p->d + k->offset);
        ulv_strbuf_addf(&b, " is %s than %s=", is_min ? "more" : "less", w->name);
        w->kind->format(&b, p->d, (const char *) p->d + w->offset);
        if (ulv_strbuf_error(&b) < 0)
                return -ENOMEM;
        return FAIL_AT(p, bound, "%s (%s)", ulv_strbuf_str(&b), other_place(p, wanted, bound).s);
}

static int check_bounds(struct parser *p) {
        static const enum definition_key_id bounds[][3] = {
                { KEY_CORES, KEY_CORES_MIN, KEY_CORES_MAX }, { KEY_SHARE, KEY_SHARE_MIN, KEY_SHARE_MAX },
                { KEY_SIZE, KEY_SIZE_MIN, KEY_SIZE_MAX },
        };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(bounds); i++)
                for (size_t j = 1; j <= 2; j++) {
                        int r = check_bound(p, bounds[i][0], bounds[i][j], j == 1);
                        if (r != 0)
                                return r;
                }
        return 0;
}

static int check_memory(struct parser *p) {
        static const enum definition_key_id sizes[] = { KEY_SIZE, KEY_SIZE_MIN, KEY_SIZE_MAX };

        if (!is_given(p, KEY_SIZE))
                return FAIL_AT(p, KEY_SIZE, "[Memory] Size= is missing");
        for (size_t i = 0; ulv_streq(p->d->pages, "1G") && i < ULV_ARRAY_SIZE(sizes); i++)
                if (number(p, sizes[i]) % (UINT64_C(1) << 30) != 0)
                        return FAIL_AT(p, sizes[i], "%s= is not a multiple of 1G, the size of a page (Pages=1G in %s)",
                                       ulv_definition_keys[sizes[i]].name, other_place(p, KEY_PAGES, sizes[i]).s);
        return 0;
}

/* An init starts as root in / and finds users and directories for its services itself. */
static int check_init(struct parser *p) {
        static const enum definition_key_id not_of_init[] = { KEY_USER, KEY_CWD };

        for (size_t i = 0; p->d->init && i < ULV_ARRAY_SIZE(not_of_init); i++)
                if (is_given(p, not_of_init[i]))
                        return FAIL_AT(p, not_of_init[i], "%s= is for Exec= alone, and this partition runs an init (Init=yes in %s)",
                                       ulv_definition_keys[not_of_init[i]].name, other_place(p, KEY_INIT, not_of_init[i]).s);
        if (p->d->init && p->d->exec && p->d->exec[0] != '/')
                return FAIL_AT(p, KEY_EXEC, "Exec= must be an absolute path with Init=yes (%s)", other_place(p, KEY_INIT, KEY_EXEC).s);
        return 0;
}

/* Sections of another type than the partition's say that somebody erred. */
static int check_root(struct parser *p) {
        bool image = is_given(p, KEY_IMAGE), root = is_given(p, KEY_ROOT);

        if (image && root) {
                enum definition_key_id at = is_before(p, KEY_IMAGE, KEY_ROOT) ? KEY_ROOT : KEY_IMAGE,
                        other = at == KEY_ROOT ? KEY_IMAGE : KEY_ROOT;

                return FAIL_AT(p, at, "%s= and %s= exclude each other (%s= is in %s)", ulv_definition_keys[at].name,
                               ulv_definition_keys[other].name, ulv_definition_keys[other].name, other_place(p, other, at).s);
        }
        if (!image && !root)
                return FAIL_AT(p, p->at[KEY_IMAGE].line ? KEY_IMAGE : KEY_ROOT,
                               "[Container] has neither Image= (as in uvctl image list) nor Root= (the directory that becomes its /)");
        if (root && is_given(p, KEY_WRITABLE))
                return FAIL_AT(p, KEY_WRITABLE, "Writable= is for Image=, and Root= is written as it is (%s)", other_place(p, KEY_ROOT, KEY_WRITABLE).s);
        return 0;
}

static int check_vm(struct parser *p) {
        static const enum definition_key_id of_kernel[] = { KEY_INITRD, KEY_COMMAND_LINE };

        bool disk = false;

        for (size_t i = 0; i < p->d->n_attachments; i++)
                disk |= p->d->attachments[i].source != NULL;
        if (!p->d->kernel && !disk)
                return FAIL_AT(p, KEY_KERNEL, "nothing to boot: neither Kernel= in [VM] (a kernel's file) nor a [Block] (a disk's image)");
        for (size_t i = 0; i < ULV_ARRAY_SIZE(of_kernel); i++)
                if (!p->d->kernel && is_given(p, of_kernel[i]))
                        return FAIL_AT(p, of_kernel[i], "%s= needs Kernel=: what a disk boots has its own", ulv_definition_keys[of_kernel[i]].name);
        return 0;
}

static int check_type(struct parser *p) {
        int r;

        if (!is_given(p, KEY_TYPE))
                return FAIL_AT(p, KEY_TYPE, "[Partition] Type= is missing (container, vm or sim)");
        for (size_t k = KEY_IMAGE; k < KEY_MAX_; k++) {
                const char *section = ulv_definition_keys[k].section;
                const char *type = ulv_streq(section, "Container") ? "container" : ulv_streq(section, "VM") ? "vm" : "sim";

                if (is_given(p, k) && !ulv_streq(type, p->d->type))
                        return FAIL_AT(p, k, "[%s] %s= is for Type=%s, and this is a %s (%s)", section, ulv_definition_keys[k].name, type,
                                       p->d->type, other_place(p, KEY_TYPE, k).s);
        }
        if (ulv_streq(p->d->type, "container") && (r = check_root(p)) != 0)
                return r;
        if (ulv_streq(p->d->type, "container") && !p->d->exec && !p->d->init)
                return FAIL_AT(p, KEY_EXEC, "[Container] Exec= is missing (the command that it runs; or Init=yes)");
        if (ulv_streq(p->d->type, "vm") && (r = check_vm(p)) != 0)
                return r;
        if (ulv_streq(p->d->ready, "notify") && ulv_streq(p->d->type, "sim"))
                return FAIL_AT(p, KEY_READY, "Ready=notify is not for Type=sim: nothing runs in it that could say so");
        return check_init(p);
}

static int check_after(struct parser *p) {
        const struct ulv_definition *d = p->d;

        for (size_t i = 0; i < d->n_after; i++) {
                if (ulv_streq(d->after[i], d->name))
                        return FAIL_AT(p, KEY_AFTER, "After= names the partition itself");
                if (is_in(d->after[i], (const char *const *) d->after, i))
                        return FAIL_AT(p, KEY_AFTER, "After= names %s twice", d->after[i]);
        }
        return 0;
}

static int check_parts(struct parser *p) { return ulv_parts_check(&p->parts, p->d, p->reterr); }

static int check_whole(struct parser *p) {
        static int (*const checks[])(struct parser *p) = {
                check_type, check_cpu, check_memory, check_bounds, check_after, check_parts,
        };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(checks); i++) {
                int r = checks[i](p);
                if (r != 0)
                        return r;
        }
        return 0;
}

/* --- the name, the places, the texts --------------------------------------------------------------------- */

static int take_name(struct parser *p) {
        static const char suffix[] = ".partition";
        const struct ulv_ini_item top = { .file = p->first, .line = 1, .column = 1 };
        const char *base = strrchr(p->first, '/');
        size_t n;

        base = base ? base + 1 : p->first;
        n = strlen(base);
        if (n < sizeof(suffix) || !ulv_streq(base + n - (sizeof(suffix) - 1), suffix))
                return ulv_ini_error(&top, false, p->reterr, "the file's name does not end in .partition");
        n -= sizeof(suffix) - 1;
        if (n <= ULV_NAME_MAX)
                memcpy(p->d->name, base, n);
        if (!ulv_name_is_valid(p->d->name))
                return ulv_ini_error(&top, false, p->reterr, "the file's name gives no name for a partition (a-z, 0-9 and -, at most %d)", ULV_NAME_MAX);
        if (ulv_name_is_reserved(p->d->name))
                return ulv_ini_error(&top, false, p->reterr, "%s is the ultravisor's own; a partition needs another name", p->d->name);
        return 0;
}

/* files: all of them, NAME.partition first. */
static int keep_places(struct parser *p, const struct ulv_source *files, size_t n_files) {
        struct ulv_definition *d = p->d;
        const struct { struct ulv_place *place; enum definition_key_id key; } wanted[] = {
                { &d->at.type, KEY_TYPE }, { &d->at.cores, KEY_CORES }, { &d->at.share, KEY_SHARE },
                { &d->at.cpu_node, KEY_CPU_NODE }, { &d->at.memory, KEY_SIZE }, { &d->at.memory_node, KEY_MEMORY_NODE },
                { &d->at.isolation, KEY_ISOLATION }, { &d->at.after, KEY_AFTER },
        };
        _cleanup_free_ const char **names = calloc(n_files, sizeof(*names));
        int r;

        if (!names)
                return -ENOMEM;
        r = ulv_config_keep_files(files, n_files, names, &d->places);
        if (r < 0)
                return r;
        d->at.file = (struct ulv_place) { .file = names[0], .line = 1 };
        for (size_t i = 0; i < ULV_ARRAY_SIZE(wanted); i++) {
                const struct ulv_key_place *at = &p->at[wanted[i].key];

                *wanted[i].place = (struct ulv_place) { .file = "" };
                for (size_t f = 0; is_given(p, wanted[i].key) && f < n_files; f++)
                        if (at->file == files[f].file)
                                *wanted[i].place = (struct ulv_place) { .file = names[f], .line = at->line };
        }
        return 0;
}

static int fill_texts(struct ulv_definition *d) {
#define FILL(field) if (!d->field && !(d->field = strdup(""))) return -ENOMEM;
        TEXTS(FILL)
#undef FILL
        return 0;
}

/* The ledger, the bus and the views carry the canonical text, and it must fit them. */
static int check_size(struct parser *p) {
        _cleanup_strbuf_ struct ulv_strbuf b = { .max = ULV_DEFINITION_MAX };
        const struct ulv_ini_item top = { .file = p->first, .line = 1, .column = 1 };
        int r;

        r = ulv_definition_format(p->d, &b);
        return r == -E2BIG ? ulv_ini_error(&top, false, p->reterr, "the definition with its drop-ins is larger than %dK", ULV_DEFINITION_MAX / 1024) : r;
}

static struct ulv_definition *new_definition(void) {
        struct ulv_definition *d = malloc(sizeof(*d));

        if (d)
                memcpy(d, &ulv_definition_defaults, sizeof(*d));
        return d;
}

static int take_file(struct parser *p, const struct ulv_source *f) {
        p->file = f->file;
        return ulv_ini_scan(f->file, f->buf, f->len, NULL, take_item, p, p->reterr);
}

static int parse_all(struct parser *p, const struct ulv_source *template, const struct ulv_source *files, size_t n_files) {
        _cleanup_free_ struct ulv_source *all = calloc(n_files + 1, sizeof(*all));
        int r;

        if (!all)
                return -ENOMEM;
        memcpy(all, files, n_files * sizeof(*all));
        if (template)
                all[n_files] = *template;
        r = take_name(p);
        if (r == 0 && template)
                r = take_file(p, template);
        for (size_t i = 0; r == 0 && i < n_files; i++)
                r = take_file(p, &files[i]);
        if (r == 0)
                r = check_whole(p);
        if (r == 0)
                r = check_size(p);
        return r == 0 ? keep_places(p, all, n_files + (template ? 1 : 0)) : r;
}

int ulv_definition_parse_with(const struct ulv_source *template, const struct ulv_source *files, size_t n_files,
                              struct ulv_definition **ret, struct ulv_diag *reterr) {
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *d = new_definition();
        struct parser p = { .d = d, .first = files[0].file, .template = template ? template->file : NULL, .reterr = reterr };
        int r;

        if (!d)
                return -ENOMEM;
        r = parse_all(&p, template, files, n_files);
        if (r == 0)
                r = fill_texts(d);
        if (r == 0)
                *ret = ulv_steal(d);
        return r;
}

int ulv_definition_parse(const struct ulv_source *files, size_t n_files, struct ulv_definition **ret, struct ulv_diag *reterr) {
        return ulv_definition_parse_with(NULL, files, n_files, ret, reterr);
}

/* --- templates ------------------------------------------------------------------------------------------- */

static int find_template(const struct ulv_ini_item *item, void *userdata, ULV_UNUSED struct ulv_diag *reterr) {
        if (item->type == ULV_INI_KEY && ulv_streq(item->section, "Partition") && ulv_streq(item->key, "Template") &&
            (!item->value[0] || ulv_name_is_valid(item->value)))
                ulv_cut(userdata, ULV_NAME_MAX + 1, item->value);
        return 0;
}

int ulv_definition_template(const struct ulv_source *file, char ret[static ULV_NAME_MAX + 1]) {
        struct ulv_diag ignored = {};
        char name[ULV_NAME_MAX + 1] = "";
        int r;

        r = ulv_ini_scan(file->file, file->buf, file->len, NULL, find_template, name, &ignored);
        if (r < 0)
                return r;
        memcpy(ret, name, sizeof(name));
        return 0;
}

int ulv_definition_check_template(const struct ulv_source *template, struct ulv_diag *reterr) {
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *d = new_definition();
        struct parser p = { .d = d, .first = "", .template = template->file, .reterr = reterr };

        return d ? take_file(&p, template) : -ENOMEM;
}
