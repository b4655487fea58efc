/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/policy.h"
#include "model/config.h"

/* The set of policy files is read in name order into one policy. [Host] and [Pool] may stand once in
 * the whole set; [Require] adds up. Requirements are checked when their section ends: at the next
 * section header or at the end of the file. */

void ulv_policy_free(struct ulv_policy *p) {
        if (!p)
                return;
        for (size_t i = 0; i < p->n_require; i++) {
                free(p->require[i].label);
                free(p->require[i].match);
        }
        free(p->require);
        free(p->places);
        free(p);
}

enum key_id { HOST_CORES, HOST_MEMORY, POOL_CORES, POOL_OVERCOMMIT, REQUIRE_MATCH, REQUIRE_ISOLATION, KEY_MAX_ };
enum section_id { HOST, POOL, REQUIRE, SECTION_MAX_ };

static const char *const sections[] = { "Host", "Pool", "Require" };
static const char *const later_sections[] = { "Class", "Schedule", "Rules" };
static const struct { enum section_id section; const char *name; } keys[KEY_MAX_] = {
        [HOST_CORES] = { HOST, "Cores" }, [HOST_MEMORY] = { HOST, "Memory" },
        [POOL_CORES] = { POOL, "Cores" }, [POOL_OVERCOMMIT] = { POOL, "Overcommit" },
        [REQUIRE_MATCH] = { REQUIRE, "Match" }, [REQUIRE_ISOLATION] = { REQUIRE, "Isolation" },
};

struct parser {
        struct ulv_policy *policy;
        const struct ulv_source *files;
        size_t n_files, file;                           /* file: index of the one that is scanned */
        const char **names;                             /* short names, in policy->places */
        struct ulv_key_place section[SECTION_MAX_];     /* where [Host] and [Pool] stand; the last [Require] */
        struct ulv_key_place at[KEY_MAX_];              /* [Require]'s: of the section at hand */
        enum section_id in;
        struct ulv_diag *reterr;
};

#define FAIL_AT(p, place, ...) ulv_ini_error(&(struct ulv_ini_item) { \
                .file = (place)->file, .line = (place)->line, .column = (place)->column, \
        }, false, (p)->reterr, __VA_ARGS__)

static struct ulv_place short_place(const struct parser *p, const struct ulv_ini_item *item) {
        return (struct ulv_place) { .file = p->names[p->file], .line = item->line };
}

/* --- sections -------------------------------------------------------------------------------------------- */

/* Is the [Require] that ends here complete? */
static int end_section(struct parser *p) {
        if (p->in != REQUIRE)
                return 0;
        if (p->at[REQUIRE_MATCH].line == 0)
                return FAIL_AT(p, &p->section[REQUIRE], "[Require \"%s\"] has no Match=",
                               ulv_quote(p->policy->require[p->policy->n_require - 1].label).s);
        if (p->at[REQUIRE_ISOLATION].line == 0)
                return FAIL_AT(p, &p->section[REQUIRE], "[Require \"%s\"] requires nothing: Isolation= is missing",
                               ulv_quote(p->policy->require[p->policy->n_require - 1].label).s);
        return 0;
}

static int begin_require(struct parser *p, const struct ulv_ini_item *item) {
        struct ulv_policy *policy = p->policy;
        struct ulv_require *grown;

        if (!item->label[0])
                return ulv_ini_error(item, false, p->reterr, "[Require] needs a label, like [Require \"prod\"]");
        for (size_t i = 0; i < policy->n_require; i++)
                if (ulv_streq(policy->require[i].label, item->label))
                        return ulv_ini_error(item, false, p->reterr, "[Require \"%s\"] is given twice (first in %s:%u)",
                                             ulv_quote(item->label).s, policy->require[i].at.file, policy->require[i].at.line);
        if (policy->n_require == ULV_REQUIRE_MAX)
                return ulv_ini_error(item, false, p->reterr, "more than %d [Require] sections", ULV_REQUIRE_MAX);
        grown = realloc(policy->require, (policy->n_require + 1) * sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        policy->require = grown;
        grown += policy->n_require;
        *grown = (struct ulv_require) { .label = strdup(item->label), .at = short_place(p, item) };
        if (!grown->label)
                return -ENOMEM;
        policy->n_require++;
        p->at[REQUIRE_MATCH] = p->at[REQUIRE_ISOLATION] = (struct ulv_key_place) {};
        return 0;
}

static int begin_section(struct parser *p, const struct ulv_ini_item *item) {
        struct ulv_key_place *at;
        int r;

        r = end_section(p);
        if (r != 0)
                return r;
        p->in = SECTION_MAX_;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(later_sections); i++)
                if (ulv_streq(item->section, later_sections[i]))
                        return ulv_ini_error(item, false, p->reterr, "[%s] is not served by this version", item->section);
        for (size_t i = 0; i < SECTION_MAX_; i++)
                if (ulv_streq(item->section, sections[i]))
                        p->in = (enum section_id) i;
        if (p->in == SECTION_MAX_)
                return ulv_config_unknown(item, "[", item->section, "]", "", sections, SECTION_MAX_, p->reterr);
        at = &p->section[p->in];
        if (p->in != REQUIRE && item->label[0])
                return ulv_ini_error(item, false, p->reterr, "[%s] takes no label", item->section);
        if (p->in != REQUIRE && at->line > 0)
                return ulv_ini_error(item, false, p->reterr, "[%s] may stand once in all policies (it is in %s)",
                                     item->section, ULV_AT(at, item->file));
        *at = (struct ulv_key_place) { .file = p->files[p->file].file, .line = item->line, .column = item->column };
        return p->in == REQUIRE ? begin_require(p, item) : 0;
}

/* --- keys ------------------------------------------------------------------------------------------------ */

static int take_cores(struct parser *p, const struct ulv_ini_item *item, unsigned *field) {
        uint64_t n;

        if (ulv_uint_parse(item->value, ULV_CPU_MAX, &n) < 0 || n < 1)
                return ulv_config_bad_value(item, "a number of whole cores (from 1 to 8192)", p->reterr);
        *field = (unsigned) n;
        return 0;
}

static int take_host_memory(struct parser *p, const struct ulv_ini_item *item) {
        uint64_t n;

        if (ulv_size_parse(item->value, &n) < 0 || n < ULV_MEMORY_UNIT || n > UINT64_C(1) << 52)
                return ulv_config_bad_value(item, "a size from 2M to 4P (like 512M or 4G)", p->reterr);
        p->policy->host_memory = (n + ULV_MEMORY_UNIT - 1) / ULV_MEMORY_UNIT * ULV_MEMORY_UNIT;
        return 0;
}

/* no, or a factor of 1 and more in thousandths, up to 100. */
static int take_overcommit(struct parser *p, const struct ulv_ini_item *item) {
        uint64_t n = 1000;

        if (!ulv_streq(item->value, "no") && (ulv_share_parse(item->value, &n) < 0 || n < 1000 || n > 100000))
                return ulv_config_bad_value(item, "a factor from 1 to 100 (like 1.5) or no", p->reterr);
        p->policy->overcommit = n;
        return 0;
}

static int take_isolation(struct parser *p, const struct ulv_ini_item *item) {
        enum ulv_isolation i = ulv_isolation_from_name(item->value);

        if (i == ULV_ISOLATION_INVALID || i == ULV_ISOLATION_NONE)
                return ulv_config_bad_value(item, "a grade to require (soft, firm or hard)", p->reterr);
        p->policy->require[p->policy->n_require - 1].isolation = i;
        return 0;
}

/* One term of Match=, len bytes: zone:NAME, type:NAME, or a glob over names. */
static bool term_is_valid(const char *term, size_t len) {
        size_t skip = len > 5 && (strncmp(term, "zone:", 5) == 0 || strncmp(term, "type:", 5) == 0) ? 5 : 0;

        for (size_t i = skip; i < len; i++)
                if (!((term[i] >= 'a' && term[i] <= 'z') || (term[i] >= '0' && term[i] <= '9') || strchr("-*?", term[i])))
                        return false;
        return len - skip <= ULV_NAME_MAX;
}

static int take_match(struct parser *p, const struct ulv_ini_item *item) {
        struct ulv_require *q = &p->policy->require[p->policy->n_require - 1];

        for (const char *t = item->value; *t;) {
                size_t len = strcspn(t, " \t");

                if (len > 0 && !term_is_valid(t, len)) {
                        char term[ULV_QUOTE_MAX + 2] = {};

                        memcpy(term, t, ULV_MIN(len, sizeof(term) - 1));
                        if (t > item->value && (term[0] == '#' || term[0] == ';'))
                                return ulv_config_bad_value(item, "", p->reterr);
                        (void) ulv_ini_error(item, true, p->reterr, "Match=: %s is not a term (zone:NAME, type:NAME, or a name with * and ?)", ulv_quote(term).s);
                        ulv_diag_at(p->reterr, item->file, item->line, item->value_column + (unsigned) (t - item->value));
                        return 1;
                }
                t += len;
                t += strspn(t, " \t");
        }
        q->match = strdup(item->value);
        return q->match ? 0 : -ENOMEM;
}

static int take_value(struct parser *p, const struct ulv_ini_item *item, enum key_id k) {
        struct ulv_policy *policy = p->policy;

        switch (k) {
        case HOST_CORES:
                policy->host_has_cores = true;
                policy->at.host_cores = short_place(p, item);
                return take_cores(p, item, &policy->host_cores);
        case HOST_MEMORY:
                policy->host_has_memory = true;
                policy->at.host_memory = short_place(p, item);
                return take_host_memory(p, item);
        case POOL_CORES:
                policy->pool_has_cores = true;
                policy->at.pool_cores = short_place(p, item);
                return take_cores(p, item, &policy->pool_cores);
        case POOL_OVERCOMMIT:
                policy->at.overcommit = short_place(p, item);
                return take_overcommit(p, item);
        case REQUIRE_MATCH:
                return take_match(p, item);
        case REQUIRE_ISOLATION:
                return take_isolation(p, item);
        case KEY_MAX_:
                break;
        }
        return -EINVAL;
}

static int unknown_key(struct parser *p, const struct ulv_ini_item *item) {
        _cleanup_strbuf_ struct ulv_strbuf where = {};
        const char *known[KEY_MAX_];
        size_t n = 0;

        if (p->in == REQUIRE && ulv_streq(item->key, "Paths"))
                return ulv_ini_error(item, false, p->reterr, "Paths= is not served by this version");
        for (size_t k = 0; k < KEY_MAX_; k++)
                if (keys[k].section == p->in)
                        known[n++] = keys[k].name;
        ulv_strbuf_addf(&where, " in [%s]", item->section);
        if (ulv_strbuf_error(&where) < 0)
                return -ENOMEM;
        return ulv_config_unknown(item, "", item->key, "=", ulv_strbuf_str(&where), known, n, p->reterr);
}

static int take_item(const struct ulv_ini_item *item, void *userdata, ULV_UNUSED struct ulv_diag *reterr) {
        struct parser *p = userdata;

        if (item->type == ULV_INI_SECTION)
                return begin_section(p, item);
        for (size_t k = 0; k < KEY_MAX_; k++) {
                if (keys[k].section != p->in || !ulv_streq(keys[k].name, item->key))
                        continue;
                if (p->at[k].line > 0)
                        return ulv_ini_error(item, false, p->reterr, "%s= is given twice (first in line %u)", item->key, p->at[k].line);
                if (!item->value[0])
                        return ulv_ini_error(item, true, p->reterr, "%s= has no value", item->key);
                p->at[k] = (struct ulv_key_place) {
                        .file = p->files[p->file].file, .line = item->line, .column = item->column, .value_column = item->value_column,
                };
                return take_value(p, item, (enum key_id) k);
        }
        return unknown_key(p, item);
}

/* --- the set --------------------------------------------------------------------------------------------- */

static int scan_files(struct parser *p) {
        for (p->file = 0; p->file < p->n_files; p->file++) {
                const struct ulv_source *f = &p->files[p->file];
                int r;

                p->in = SECTION_MAX_;
                r = ulv_ini_scan(f->file, f->buf, f->len, NULL, take_item, p, p->reterr);
                if (r == 0)
                        r = end_section(p);
                if (r != 0)
                        return r;
        }
        return 0;
}

int ulv_policy_parse(const struct ulv_source *files, size_t n_files, struct ulv_policy **ret, struct ulv_diag *reterr) {
        ULV_CLEANUP(ulv_policy_freep) struct ulv_policy *policy = calloc(1, sizeof(*policy));
        _cleanup_free_ const char **names = calloc(n_files + 1, sizeof(*names));
        struct parser p = { .policy = policy, .files = files, .n_files = n_files, .names = names, .reterr = reterr };
        int r;

        if (!policy || !names)
                return -ENOMEM;
        policy->overcommit = 1000;
        policy->at.host_cores = policy->at.host_memory = policy->at.pool_cores = policy->at.overcommit = (struct ulv_place) { .file = "" };
        r = ulv_config_keep_files(files, n_files, names, &policy->places);
        if (r == 0)
                r = scan_files(&p);
        if (r != 0)
                return r;
        policy->has_host = p.section[HOST].line > 0;
        policy->has_pool = p.section[POOL].line > 0;
        *ret = ulv_steal(policy);
        return 0;
}

/* --- matching -------------------------------------------------------------------------------------------- */

static bool term_matches(const char *term, const struct ulv_definition *d) {
        if (ulv_startswith(term, "zone:"))
                return ulv_name_matches(term + 5, d->zone);
        if (ulv_startswith(term, "type:"))
                return ulv_name_matches(term + 5, d->type);
        return ulv_name_matches(term, d->name);
}

bool ulv_policy_matches(const char *match, const struct ulv_definition *d) {
        for (const char *t = match + strspn(match, " \t"); *t; t += strspn(t, " \t")) {
                char term[5 + ULV_NAME_MAX + 1];
                size_t len = strcspn(t, " \t");

                if (len >= sizeof(term))
                        return false;
                memcpy(term, t, len);
                term[len] = 0;
                if (!term_matches(term, d))
                        return false;
                t += len;
        }
        return true;
}
