/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The bundle: every definition and policy file of a configuration, as one text with a version, handed
 * from operations to command in a sealed memfd, and parsed by the same code at both ends.
 *
 *   ultravisor-bundle 1\n
 *   version N\n
 *   file LENGTH PATH\n  followed by LENGTH bytes and \n      (sorted by PATH; paths are relative to the
 *   ...                                                       configuration directory: partitions/web.partition,
 *   end\n                                                     partitions/web.partition.d/50-set.conf, policies/50-x.policy, templates/t.partition)
 */

#include "model/definition.h"
#include "model/policy.h"

#define ULV_BUNDLE_MAX ((size_t) 64 * 1024 * 1024)
#define ULV_BUNDLE_FILES_MAX 16384

struct ulv_bundle {
        uint64_t version;
        char *text; size_t text_len;                    /* owned copy; sources point into it */
        struct ulv_source *files; size_t n_files;
        struct ulv_definition **definitions; size_t n_definitions;      /* by name */
        struct ulv_policy *policy;
};

/* A builder: begin, add files in any order, end (sorts). Pure text work. */
int ulv_bundle_build(uint64_t version, const struct ulv_source *files, size_t n_files, struct ulv_strbuf *b) ULV_MUST_CHECK;

/* Splits only: form, limits, sorted paths; the files' own text isn't looked at (bundle-split.c). For who
 * merges bundles: a part of a set needn't be valid by itself. 0; 1 = not of the form (reterr); -ENOMEM. */
struct ulv_bundle_files {
        uint64_t version;
        char *text;                                     /* owned copy; files point into it */
        struct ulv_source *files; size_t n_files;       /* owned array, sorted by path */
};
int ulv_bundle_split(const char *buf, size_t len, struct ulv_bundle_files *ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
void ulv_bundle_files_done(struct ulv_bundle_files *f);
/* May a file of a bundle have this path? partitions/NAME.partition, partitions/NAME.partition.d/X.conf,
 * templates/NAME.partition, policies/X.policy; X of [A-Za-z0-9._-], not beginning with a dot. Nothing else is ever read or written. */
bool ulv_bundle_path_is_valid(const char *path);

/* Splits and, with the whole set, checks: every file parses, After= names exist and have no cycle.
 * 0; 1 = invalid; -ENOMEM. diags (may be NULL): called for EVERY error found, in file order. */
int ulv_bundle_parse(const char *buf, size_t len, struct ulv_bundle **ret,
                     void (*diags)(const struct ulv_diag *d, void *userdata), void *userdata) ULV_MUST_CHECK;
void ulv_bundle_free(struct ulv_bundle *b);
ULV_DEFINE_CLEANUP(struct ulv_bundle, ulv_bundle_free)
const struct ulv_definition *ulv_bundle_definition(const struct ulv_bundle *b, const char *name);
/* What it would be without its drop-in of `uvctl set` (ULV_SET_DROP_IN). 0; 1 = it has none, or can't be without it; -ENOMEM. */
#define ULV_SET_DROP_IN "50-set.conf"
int ulv_bundle_definition_as_written(const struct ulv_bundle *b, const char *name, struct ulv_definition **ret) ULV_MUST_CHECK;
/* The drop-in; NULL: it has none. */
const struct ulv_source *ulv_bundle_set_drop_in(const struct ulv_bundle *b, const char *name);
