/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How one partition is shown, for list, status and show. */

#include "model/definition.h"
#include "model/limits.h"
#include "uvctl/rows.h"

enum colour state_colour(const struct part *p);
void part_up(const struct part *p, char *buf, size_t size);
void part_json(struct json *j, const struct part *p);   /* its properties, into the open object */
void part_properties(struct ulv_strbuf *b, const struct part *p);       /* the same as NAME=VALUE lines */
void format_age(char *buf, size_t size, uint64_t usec); /* "41d" "3h" "12min" "5s" */
uint64_t now_usec(void);                                /* CLOCK_REALTIME: for showing only */
/* limits.c. Of what the key limits= of its row says: takes the next one off. */
struct part_limit { struct ulv_limit limit; /* its amount is what is wanted */ uint64_t reached; char how[24]; };
bool part_next_limit(const char **at, struct part_limit *ret);
void limits_json(struct json *j, const char *key, const char *list);
/* A line each in the block of `status`, which gives the columns. */
void limits_lines(struct ulv_strbuf *b, const struct part *p, void (*label)(struct ulv_strbuf *b, const char *label),
                  void (*enforced)(struct ulv_strbuf *b, size_t line, const char *how));
/* attached.c: the same of attached=, its mounts and devices; paths are those of d, which may be NULL. */
void attached_json(struct json *j, const char *key, const char *list);
void attached_lines(struct ulv_strbuf *b, const struct part *p, const struct ulv_definition *d, void (*label)(struct ulv_strbuf *b, const char *label));
int no_such_partition(struct uvctl *u, const char *name);

/* The monitor's words about its containment, spelled out. The last has no word. */
struct part_barrier { const char *word, *text; bool missing; };
extern const struct part_barrier part_barriers[];
