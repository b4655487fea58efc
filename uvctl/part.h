/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How one partition is shown, for list, status and show. */

#include "uvctl/rows.h"

enum colour state_colour(const struct part *p);
void part_up(const struct part *p, char *buf, size_t size);
void part_json(struct json *j, const struct part *p);   /* its properties, into the open object */
void part_properties(struct ulv_strbuf *b, const struct part *p);       /* the same as NAME=VALUE lines */
void format_age(char *buf, size_t size, uint64_t usec); /* "41d" "3h" "12min" "5s" */
uint64_t now_usec(void);                                /* CLOCK_REALTIME: for showing only */
int no_such_partition(struct uvctl *u, const char *name);
