/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Installing a set: the files of the configuration directory and the set in force change together. */

#include "operations/set.h"

struct install {
        int etc, state;                 /* fds of ROOT/etc/ultravisor and of our state directory; the caller's */
        struct set in_force;            /* version 0, no file: there never was a good set */
        uint64_t newest;                /* highest version ever given */
};

/* Finds the set in force, and undoes an installation that a crash left half done. 0 or -errno (logged). */
int install_open(struct install *in, int etc, int state) ULV_MUST_CHECK;
void install_done(struct install *in);

/* A set with the next version. 0; 1 (reterr); -ENOMEM. */
int install_candidate(const struct install *in, const struct ulv_source *files, size_t n, struct set *ret, struct ulv_diag *reterr) ULV_MUST_CHECK;

/* Makes a valid candidate the set in force and writes the files that differ between the two; one that
 * changes nothing only succeeds. Takes the candidate's content in every case. 0; 1 = refused, nothing
 * changed (reterr). */
int install_run(struct install *in, struct set *candidate, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* Takes back what the installation that made `version` changed (of one partition's files, or "": of all), if nobody
 * changed these files again since: later changes of other files stay, and what is back already is left alone.
 * dry: only tells whether it could. 0; 1 = refused (reterr). */
int install_revert(struct install *in, uint64_t version, const char *partition, bool dry, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* Makes a valid candidate, read from the directory itself, the set in force. 0; 1 (reterr). */
int install_adopt(struct install *in, struct set *candidate, struct ulv_diag *reterr) ULV_MUST_CHECK;
