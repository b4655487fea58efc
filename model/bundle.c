/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/bundle.h"
#include "model/after.h"
#include "model/config.h"

/* ulv_bundle_split() takes the frame apart: it is made by programs, and its first error ends it. The
 * files are people's: each definition and each policy is parsed whatever the others say, all errors are
 * collected, and told in file order. */

/* --- building ---------------------------------------------------------------------------------------- */

static int by_path(const void *a, const void *b) {
        return strcmp((*(const struct ulv_source *const *) a)->file, (*(const struct ulv_source *const *) b)->file);
}

int ulv_bundle_build(uint64_t version, const struct ulv_source *files, size_t n_files, struct ulv_strbuf *b) {
        _cleanup_free_ const struct ulv_source **sorted = calloc(n_files + 1, sizeof(*sorted));

        if (!sorted)
                return -ENOMEM;
        if (n_files > ULV_BUNDLE_FILES_MAX)
                return -E2BIG;
        for (size_t i = 0; i < n_files; i++)
                sorted[i] = &files[i];
        qsort(sorted, n_files, sizeof(*sorted), by_path);
        ulv_strbuf_addf(b, "ultravisor-bundle 1\nversion %llu\n", (unsigned long long) version);
        for (size_t i = 0; i < n_files; i++) {
                ulv_strbuf_addf(b, "file %zu %s\n", sorted[i]->len, sorted[i]->file);
                ulv_strbuf_add_len(b, sorted[i]->buf, sorted[i]->len);
                ulv_strbuf_addc(b, '\n');
        }
        ulv_strbuf_add(b, "end\n");
        if (ulv_strbuf_error(b) == 0 && b->len > ULV_BUNDLE_MAX)
                return -E2BIG;
        return ulv_strbuf_error(b);
}

/* --- the files --------------------------------------------------------------------------------------- */

struct errors { struct ulv_diag *diags; size_t n, allocated; };

static int add_error(struct errors *e, const struct ulv_diag *d) {
        if (e->n == e->allocated) {
                struct ulv_diag *grown = realloc(e->diags, (e->allocated * 2 + 4) * sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                e->diags = grown;
                e->allocated = e->allocated * 2 + 4;
        }
        e->diags[e->n++] = *d;
        return 0;
}

static int by_place(const void *a, const void *b) {
        const struct ulv_diag *x = a, *y = b;
        int r = strcmp(x->file, y->file);

        if (r == 0 && x->line != y->line)
                r = x->line < y->line ? -1 : 1;
        return r != 0 ? r : x->column < y->column ? -1 : x->column > y->column;
}

static bool ends_with(const char *s, const char *suffix) {
        size_t n = strlen(s), m = strlen(suffix);

        return n > m && ulv_streq(s + n - m, suffix);
}

enum file_kind { FILE_DEFINITION, FILE_DROP_IN, FILE_POLICY, FILE_TEMPLATE };

/* Of a path that ulv_bundle_path_is_valid() accepts. */
static enum file_kind kind_of(const char *path) {
        if (ulv_startswith(path, "policies/"))
                return FILE_POLICY;
        if (ulv_startswith(path, ULV_TEMPLATES))
                return FILE_TEMPLATE;
        return ends_with(path, ".partition") ? FILE_DEFINITION : FILE_DROP_IN;
}

static int refuse_drop_in(struct errors *e, const char *path) {
        struct ulv_diag d;

        ulv_diag_what(&d, ULV_EXIT_FAILED, "a drop-in for a partition that has no definition");
        ulv_diag_at(&d, path, 1, 1);
        return add_error(e, &d);
}

/* The number of drop-ins of files[i] that follow it: its path with ".d/" is their start. */
static size_t count_drop_ins(const struct ulv_bundle *b, size_t i) {
        size_t n = strlen(b->files[i].file), k = i + 1;

        while (k < b->n_files && strncmp(b->files[k].file, b->files[i].file, n) == 0 &&
               strncmp(b->files[k].file + n, ".d/", 3) == 0)
                k++;
        return k - i - 1;
}

static int by_file(const void *a, const void *b) {
        return strcmp(((const struct ulv_source *) a)->file, ((const struct ulv_source *) b)->file);
}

/* The template that a definition names; NULL: none, or it isn't there. */
static int find_template(const struct ulv_bundle *b, const struct ulv_source *definition, const struct ulv_source **ret) {
        char name[ULV_NAME_MAX + 1], path[sizeof(ULV_TEMPLATES) + ULV_NAME_MAX + sizeof(".partition")] = ULV_TEMPLATES;
        const struct ulv_source key = { .file = path };
        int r;

        r = ulv_definition_template(definition, name);
        if (r < 0)
                return r;
        memcpy(path + strlen(ULV_TEMPLATES), name, strlen(name));
        memcpy(path + strlen(ULV_TEMPLATES) + strlen(name), ".partition", sizeof(".partition"));
        *ret = name[0] ? bsearch(&key, b->files, b->n_files, sizeof(key), by_file) : NULL;
        return 0;
}

static int parse_definition(struct ulv_bundle *b, struct errors *e, size_t i, size_t n_drop_ins) {
        const struct ulv_source *template = NULL;
        struct ulv_diag d = {}, of_template = {};
        int r;

        r = find_template(b, &b->files[i], &template);
        if (r == 0)
                r = ulv_definition_parse_with(template, &b->files[i], 1 + n_drop_ins, &b->definitions[b->n_definitions], &d);
        /* What is wrong with the template itself is told once, not for each that uses it. */
        if (r > 0 && template && ulv_streq(d.file, template->file)) {
                int k = ulv_definition_check_template(template, &of_template);
                if (k != 0)
                        return k < 0 ? k : 0;
        }
        if (r > 0)
                return add_error(e, &d);
        if (r == 0)
                b->n_definitions++;
        return r;
}

static int check_template(const struct ulv_bundle *b, struct errors *e, size_t i) {
        struct ulv_diag d = {};
        int r = ulv_definition_check_template(&b->files[i], &d);

        return r > 0 ? add_error(e, &d) : r;
}

/* One error of each file, or, if each alone is good, of the set. */
static int parse_policies(struct ulv_bundle *b, struct errors *e, size_t first, size_t n) {
        struct ulv_diag d = {}, of_set = {};
        size_t before = e->n;
        int r;

        r = ulv_policy_parse(b->files + first, n, &b->policy, &of_set);
        if (r <= 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                ULV_CLEANUP(ulv_policy_freep) struct ulv_policy *alone = NULL;

                r = ulv_policy_parse(&b->files[first + i], 1, &alone, &d);
                if (r > 0)
                        r = add_error(e, &d);
                if (r < 0)
                        return r;
        }
        return e->n == before ? add_error(e, &of_set) : 0;
}

static int by_name(const void *a, const void *b) {
        return strcmp((*(struct ulv_definition *const *) a)->name, (*(struct ulv_definition *const *) b)->name);
}

static int parse_files(struct ulv_bundle *b, struct errors *e) {
        size_t first_policy = 0, n_policies = 0;
        int r = 0;

        b->definitions = calloc(b->n_files + 1, sizeof(struct ulv_definition *));
        if (!b->definitions)
                return -ENOMEM;
        for (size_t i = 0; r == 0 && i < b->n_files; i++)
                switch (kind_of(b->files[i].file)) {
                case FILE_DEFINITION: {
                        size_t n = count_drop_ins(b, i);

                        r = parse_definition(b, e, i, n);
                        i += n;
                        break;
                }
                case FILE_TEMPLATE:
                        r = check_template(b, e, i);
                        break;
                case FILE_DROP_IN:
                        r = refuse_drop_in(e, b->files[i].file);
                        break;
                case FILE_POLICY:
                        if (n_policies++ == 0)
                                first_policy = i;
                        break;
                }
        if (r == 0)
                r = parse_policies(b, e, first_policy, n_policies);
        qsort(b->definitions, b->n_definitions, sizeof(struct ulv_definition *), by_name);
        return r;
}

/* --- After= ------------------------------------------------------------------------------------------ */

struct after_check { struct ulv_bundle *b; struct errors *e; };

/* The column of a word in a line (from 1) of a text, behind the =; 1 if it isn't there. */
static unsigned word_column(const struct ulv_source *f, unsigned line, const char *word) {
        const char *p = f->buf, *end = f->buf + f->len, *stop;
        size_t n = strlen(word);

        while (--line > 0 && (p = memchr(p, '\n', (size_t) (end - p))))
                p++;
        if (!p)
                return 1;
        stop = memchr(p, '\n', (size_t) (end - p));
        stop = stop ? stop : end;
        for (const char *s = p; (size_t) (stop - s) > n; s++)
                if (strchr("= \t", *s) && memcmp(s + 1, word, n) == 0 && (s + 1 + n == stop || strchr(" \t", s[1 + n])))
                        return (unsigned) (s + 1 - p) + 1;
        return 1;
}

/* Puts d at a name in d's After=. */
static void place_after(const struct ulv_bundle *b, const struct ulv_definition *def, const char *name, struct ulv_diag *d) {
        for (size_t i = 0; i < b->n_files; i++)
                if (kind_of(b->files[i].file) != FILE_POLICY && ulv_streq(ulv_config_short_name(b->files[i].file), def->at.after.file)) {
                        ulv_diag_at(d, b->files[i].file, def->at.after.line, word_column(&b->files[i], def->at.after.line, name));
                        return;
                }
}

/* Is there a file for this name, be it a bad one? Then it has its own error. */
static bool has_file(const struct ulv_bundle *b, const char *name) {
        size_t n = strlen(name);

        for (size_t i = 0; i < b->n_files; i++)
                if (kind_of(b->files[i].file) == FILE_DEFINITION && strncmp(strchr(b->files[i].file, '/') + 1, name, n) == 0 &&
                    ulv_streq(strchr(b->files[i].file, '/') + 1 + n, ".partition"))
                        return true;
        return false;
}

static int check_after_names(struct after_check *c, const struct ulv_definition *def) {
        _cleanup_free_ const char **names = NULL;
        struct ulv_diag d;

        for (size_t i = 0; i < def->n_after; i++) {
                const char *nearest;
                int r;

                if (ulv_bundle_definition(c->b, def->after[i]) || has_file(c->b, def->after[i]))
                        continue;
                if (!names && !(names = calloc(c->b->n_definitions, sizeof(*names))))
                        return -ENOMEM;
                for (size_t k = 0; k < c->b->n_definitions; k++)
                        names[k] = c->b->definitions[k]->name;
                /* Comparing words takes its time: a set in which nothing fits gets no suggestions. */
                nearest = c->e->n >= 100 ? NULL : ulv_config_nearest(def->after[i], names, c->b->n_definitions);
                ulv_diag_what(&d, ULV_EXIT_FAILED, "After=%s: there is no partition of this name%s%s%s", def->after[i],
                              nearest ? ": did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
                place_after(c->b, def, def->after[i], &d);
                r = add_error(c->e, &d);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int report_cycle(const size_t *path, size_t n, void *userdata) {
        struct after_check *c = userdata;
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        struct ulv_diag d;

        for (size_t i = 0; i < n; i++)
                if (i < 3 || i == n - 1)
                        ulv_strbuf_addf(&b, "%s -> ", c->b->definitions[path[i]]->name);
                else if (i == 3)
                        ulv_strbuf_addf(&b, "(%zu more) -> ", n - 4);
        if (ulv_strbuf_error(&b) < 0)
                return -ENOMEM;
        ulv_diag_what(&d, ULV_EXIT_FAILED, "After= goes in a circle: %s%s", ulv_strbuf_str(&b), c->b->definitions[path[0]]->name);
        place_after(c->b, c->b->definitions[path[0]], c->b->definitions[path[n > 1 ? 1 : 0]]->name, &d);
        return add_error(c->e, &d);
}

static int check_after(struct ulv_bundle *b, struct errors *e) {
        struct after_check c = { .b = b, .e = e };

        for (size_t i = 0; i < b->n_definitions; i++) {
                int r = check_after_names(&c, b->definitions[i]);
                if (r < 0)
                        return r;
        }
        return ulv_after_walk(b->definitions, b->n_definitions, NULL, report_cycle, &c);
}

/* --- MAC= -------------------------------------------------------------------------------------------- */

struct card { uint8_t mac[6]; const struct ulv_definition *owner; };

static int by_mac(const void *a, const void *b) {
        const struct card *x = a, *y = b;
        int r = memcmp(x->mac, y->mac, sizeof(x->mac));

        return r != 0 ? r : strcmp(x->owner->name, y->owner->name);
}

static int refuse_mac(const struct ulv_bundle *b, struct errors *e, const struct card *x, const struct card *y) {
        const uint8_t *m = y->mac;
        struct ulv_diag d;

        ulv_diag_what(&d, ULV_EXIT_FAILED, "MAC=%02x:%02x:%02x:%02x:%02x:%02x of %s is that of %s, too", m[0], m[1], m[2], m[3], m[4], m[5],
                      y->owner->name, x->owner->name);
        for (size_t i = 0; i < b->n_files; i++)
                if (kind_of(b->files[i].file) == FILE_DEFINITION && ulv_streq(ulv_config_short_name(b->files[i].file), y->owner->at.file.file))
                        ulv_diag_at(&d, b->files[i].file, 1, 1);
        return add_error(e, &d);
}

/* Two cards of one address on a link take each other's packets. */
static int check_macs(const struct ulv_bundle *b, struct errors *e) {
        size_t n = 0, most = 0;
        int r = 0;

        for (size_t i = 0; i < b->n_definitions; i++)
                most += b->definitions[i]->n_networks;
        _cleanup_free_ struct card *cards = calloc(most + 1, sizeof(*cards));
        if (!cards)
                return -ENOMEM;
        for (size_t i = 0; i < b->n_definitions; i++)
                for (size_t k = 0; k < b->definitions[i]->n_networks; k++)
                        if (b->definitions[i]->networks[k].has_mac) {
                                cards[n].owner = b->definitions[i];
                                memcpy(cards[n++].mac, b->definitions[i]->networks[k].mac, sizeof(cards[0].mac));
                        }
        qsort(cards, n, sizeof(*cards), by_mac);
        for (size_t i = 1; r == 0 && i < n; i++)
                if (memcmp(cards[i - 1].mac, cards[i].mac, sizeof(cards[0].mac)) == 0)
                        r = refuse_mac(b, e, &cards[i - 1], &cards[i]);
        return r;
}

/* --- the whole --------------------------------------------------------------------------------------- */

const struct ulv_definition *ulv_bundle_definition(const struct ulv_bundle *b, const char *name) {
        ptrdiff_t i = ulv_after_find(b->definitions, b->n_definitions, name);

        return i >= 0 ? b->definitions[i] : NULL;
}

void ulv_bundle_free(struct ulv_bundle *b) {
        if (!b)
                return;
        for (size_t i = 0; i < b->n_definitions; i++)
                ulv_definition_free(b->definitions[i]);
        free(b->definitions);
        ulv_policy_free(b->policy);
        free(b->files);
        free(b->text);
        free(b);
}

static int parse(struct ulv_bundle *b, const char *buf, size_t len, struct errors *e) {
        struct ulv_bundle_files split;
        struct ulv_diag d = {};
        int r;

        r = ulv_bundle_split(buf, len, &split, &d);
        if (r != 0)
                return r < 0 ? r : add_error(e, &d);
        b->version = split.version;
        b->text = split.text;
        b->text_len = len;
        b->files = split.files;
        b->n_files = split.n_files;
        r = parse_files(b, e);
        if (r == 0)
                r = check_macs(b, e);
        return r == 0 ? check_after(b, e) : r;
}

int ulv_bundle_parse(const char *buf, size_t len, struct ulv_bundle **ret,
                     void (*diags)(const struct ulv_diag *d, void *userdata), void *userdata) {
        ULV_CLEANUP(ulv_bundle_freep) struct ulv_bundle *b = calloc(1, sizeof(*b));
        struct errors e = {};
        int r;

        if (!b)
                return -ENOMEM;
        r = parse(b, buf, len, &e);
        if (r == 0 && e.n > 0) {
                qsort(e.diags, e.n, sizeof(*e.diags), by_place);
                for (size_t i = 0; diags && i < e.n; i++)
                        diags(&e.diags[i], userdata);
                r = 1;
        }
        free(e.diags);
        if (r == 0)
                *ret = ulv_steal(b);
        return r;
}

/* partitions/NAMEsuffix */
static const struct ulv_source *find_file(const struct ulv_bundle *b, const char *name, const char *suffix) {
        char path[sizeof("partitions/") + ULV_NAME_MAX + sizeof(".partition.d/" ULV_SET_DROP_IN)] = "partitions/";
        const struct ulv_source key = { .file = path };

        if (!ulv_name_is_valid(name))
                return NULL;
        memcpy(path + strlen("partitions/"), name, strlen(name));
        memcpy(path + strlen("partitions/") + strlen(name), suffix, strlen(suffix) + 1);
        return bsearch(&key, b->files, b->n_files, sizeof(key), by_file);
}

const struct ulv_source *ulv_bundle_set_drop_in(const struct ulv_bundle *b, const char *name) {
        return find_file(b, name, ".partition.d/" ULV_SET_DROP_IN);
}

int ulv_bundle_definition_as_written(const struct ulv_bundle *b, const char *name, struct ulv_definition **ret) {
        const struct ulv_source *first = find_file(b, name, ".partition"), *set = ulv_bundle_set_drop_in(b, name), *template = NULL;
        struct ulv_source *v;
        size_t n = 0;
        int r;

        if (!first || !set)
                return 1;
        r = find_template(b, first, &template);
        if (r < 0)
                return r;
        v = calloc(1 + count_drop_ins(b, (size_t) (first - b->files)), sizeof(*v));
        if (!v)
                return -ENOMEM;
        for (const struct ulv_source *f = first; f <= first + count_drop_ins(b, (size_t) (first - b->files)); f++)
                if (f != set)
                        v[n++] = *f;
        r = ulv_definition_parse_with(template, v, n, ret, NULL);
        free(v);
        return r;
}
