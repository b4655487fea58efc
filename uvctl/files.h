/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Definitions and policies from disk, as the administrator names them: a directory in the layout of
 * /etc/ultravisor, a NAME.partition with its drop-ins, or a policy. */

#include "model/bundle.h"
#include "uvctl/uvctl.h"

struct file_set {
        char *base;             /* what stands before a source's path for people: "DIR/"; owned */
        bool directory;
        struct ulv_source template;     /* of a single definition: what its Template= names; NULL, NULL, 0 if none was found */
        struct ulv_source *v;   /* file (the path in a bundle) and buf are owned */
        size_t n, size;
};

int files_load(struct uvctl *u, const char *path, struct file_set *ret) ULV_MUST_CHECK;
void files_done(struct file_set *f);
/* ROOT/etc/ultravisor, to be freed; NULL: no memory. */
char *files_configuration(const struct uvctl *u);
/* Looks for the template that the first file names, below `base`templates/ (NULL: nowhere). Not there: the parser will say so. */
int files_find_template(struct uvctl *u, struct file_set *f, const char *base) ULV_MUST_CHECK;
/* path: as in a bundle; text is copied. */
int files_add(struct file_set *f, const char *path, const char *text, size_t len) ULV_MUST_CHECK;

/* Tells every error that the files have, one file:line:column: what each. *ret_n is their number. With
 * json, they are objects of its open array; else lines on standard output. */
int files_check(struct uvctl *u, const struct file_set *f, struct json *json, unsigned *ret_n) ULV_MUST_CHECK;

/* hand-edit.c. If u->diag says that this partition isn't there, but its file is: that it must be applied. */
void tell_unapplied(struct uvctl *u, const char *name);

/* Plan, question, transaction: what apply and edit end in. f NULL: the files in force. */
int files_apply(struct uvctl *u, const struct file_set *f, bool replace, const char *command) ULV_MUST_CHECK;
