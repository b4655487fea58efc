/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Measuring: rounds in which every contender runs in turn (ours, peers, the limit), medians over the rounds,
 * and ratios within each round, so that a machine whose speed drifts doesn't lie. */

#include "test/lib/instance.h"

#define ROUNDS_MAX 64
struct contender {
        const char *name;
        double (*run)(void *userdata);  /* one round: a figure, or < 0 if it can't be had */
        void *userdata;
        const char *missing;            /* why it can't be had, if it can't */
        double figures[ROUNDS_MAX];
};

/* Runs them in turn and prints a table: median, min, max, and the median of the ratios to contender `base`. */
void bench_run(const char *title, const char *unit, struct contender *c, size_t n, unsigned rounds, size_t base);
double bench_median(double *v, size_t n);
/* A program from PATH, waited for, without a shell and without its output. Its exit status, -1 if there is none. */
int bench_spawn(char *const argv[]);
/* Is this program in PATH? */
bool bench_has(const char *program);
