/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "channel/caller.h"

/* A verb of the call interface: what main() returns. */
struct guest_verb { const char *name, *arguments, *what; int min, max; int (*f)(int argc, char **argv); };
extern const struct guest_verb guest_verbs[];
extern const unsigned guest_n_verbs;

#define VIEW_MAX 65536
int guest_fail(const char *what, const char *why, const char *try_);   /* says it; 1 */
/* One question on a connection of its own. 0: code OK; else it was said why, if `what` isn't NULL. */
int guest_ask(struct ulv_call *c, const char *what);
/* The whole view, of one generation, with its NUL. 0; -errno; >0: a code. */
int guest_view(char *buf, size_t size);
/* A value of "KEY=VALUE" in the view's [SECTION]; false: it has none. */
bool guest_view_get(const char *view, const char *section, const char *key, char *ret, size_t size);
int guest_listen(int argc, char **argv);
/* Prints a line for each check to f, if there is one. */
void guest_checks(FILE *f, unsigned *ret_made, unsigned *ret_failed);
