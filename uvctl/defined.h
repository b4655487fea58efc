/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a definition says beside the row, for status and show. */

#include "model/definition.h"
#include "uvctl/part.h"

#define STATUS_LABEL "%11s: "

/* From the text that the planner hands out; *ret NULL if there is none, or none that this version reads. -ENOMEM. */
int defined_parse(const char *name, const char *text, struct ulv_definition **ret) ULV_MUST_CHECK;
void defined_add(struct ulv_strbuf *b, const char *root, const struct part *p, const struct ulv_definition *d);  /* lines of the block */
void defined_json(struct json *j, const struct part *p, const struct ulv_definition *d);       /* into the open object */
