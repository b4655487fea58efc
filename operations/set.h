/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sets of definitions and policies: the one in force, candidates for it, and the numbered files that keep
 * the last SET_KEEP good ones. */

#include "operations/files.h"

#define SET_KEEP 50     /* undo reaches that far back */

/* One whole set as its bundle. */
struct set {
        char *text; size_t len;                 /* owned; the bundle */
        struct ulv_bundle_files files;          /* with the version */
};
void set_done(struct set *s);

/* What changed between two sets, in path order. old or new is NULL where the file isn't in that set. */
struct change { const char *path; const struct ulv_source *old, *new; };
/* *ret is to be freed; it points into both sets. */
int set_changes(const struct set *old, const struct set *new, struct change **ret, size_t *ret_n) ULV_MUST_CHECK;

/* A set from files; not validated. 0; 1 = too many or too big (reterr); -ENOMEM. */
int set_build(uint64_t version, const struct ulv_source *files, size_t n, struct set *ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* A set from a bundle's text; not validated. 0; 1 = not of the form (reterr); -ENOMEM. */
int set_parse(const char *text, size_t len, struct set *ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* Do all files parse, and agree with each other? Appends a line per error to problems. 0 yes, 1 no, -ENOMEM. */
int set_validate(const struct set *s, struct ulv_strbuf *problems) ULV_MUST_CHECK;

/* The newest set kept in state (a directory's fd) that is below `below` and still good; others are told of
 * in the log. 0; 1 = none; -errno. *ret_newest: the highest number seen, good or not. */
int set_load(int state, uint64_t below, struct set *ret, uint64_t *ret_newest) ULV_MUST_CHECK;
/* A version that was made once and the one before it, as they are kept, and whatever one would think of them today.
 * 0; 1 = one of them isn't kept, or is damaged; -errno. */
int set_read_pair(int state, uint64_t version, struct set *ret, struct set *ret_before) ULV_MUST_CHECK;
/* Writes s under its number (durable when it returns 0) and removes the oldest. */
int set_store(int state, const struct set *s) ULV_MUST_CHECK;
void set_prune(int state, uint64_t newest);
/* Name of the file of a version, in a buffer of SET_NAME_SIZE. */
#define SET_NAME_SIZE 32
const char *set_name(uint64_t version, char buf[SET_NAME_SIZE]);
