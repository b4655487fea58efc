/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench/bench.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static int by_value(const void *a, const void *b) {
        double x = *(const double *) a, y = *(const double *) b;

        return x < y ? -1 : x > y;
}

double bench_median(double *v, size_t n) {
        qsort(v, n, sizeof(*v), by_value);
        return n == 0 ? 0 : n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

int bench_spawn(char *const argv[]) {
        posix_spawn_file_actions_t actions;
        int status = -1, r;
        pid_t pid;

        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
        r = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        if (r != 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
                return -1;
        return WEXITSTATUS(status);
}

bool bench_has(const char *program) {
        _cleanup_free_ char *copy = strdup(getenv("PATH") ? getenv("PATH") : "/usr/sbin:/usr/bin:/sbin:/bin");
        char *save = NULL, path[512];

        for (char *d = copy ? strtok_r(copy, ":", &save) : NULL; d; d = strtok_r(NULL, ":", &save)) {
                snprintf(path, sizeof(path), "%s/%s", d, program);
                if (access(path, X_OK) == 0)
                        return true;
        }
        return false;
}

void bench_run(const char *title, const char *unit, struct contender *c, size_t n, unsigned rounds, size_t base) {
        double sorted[ROUNDS_MAX], ratios[ROUNDS_MAX];

        rounds = ULV_MIN(rounds, (unsigned) ROUNDS_MAX);
        for (unsigned r = 0; r < rounds; r++)
                for (size_t i = 0; i < n; i++)
                        c[i].figures[r] = c[i].missing ? -1 : c[i].run(c[i].userdata);
        printf("%s (%s, median of %u rounds, interleaved)\n", title, unit, rounds);
        for (size_t i = 0; i < n; i++) {
                if (c[i].missing || c[i].figures[0] < 0) {
                        printf("  %-44s      not measured: %s\n", c[i].name, c[i].missing ? c[i].missing : "it failed");
                        continue;
                }
                for (unsigned r = 0; r < rounds; r++) {
                        sorted[r] = c[i].figures[r];
                        ratios[r] = c[base].figures[r] > 0 ? c[i].figures[r] / c[base].figures[r] : 0;
                }
                printf("  %-44s %10.2f", c[i].name, bench_median(sorted, rounds));
                printf("  (%.2f .. %.2f)", sorted[0], sorted[rounds - 1]);
                printf("  %6.2fx of %s\n", bench_median(ratios, rounds), c[base].name);
        }
        printf("\n");
}
