/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/after.h"

static int compare(const void *key, const void *element) {
        return strcmp(key, (*(struct ulv_definition *const *) element)->name);
}

ptrdiff_t ulv_after_find(struct ulv_definition *const *defs, size_t n, const char *name) {
        struct ulv_definition *const *found = n > 0 ? bsearch(name, defs, n, sizeof(*defs), compare) : NULL;

        return found ? found - defs : -1;
}

/* The path from the root of the walk to the partition at hand is kept as a stack of our own: After=
 * chains may be thousands long, and the C stack is not for their authors to fill. */
struct walk {
        struct ulv_definition *const *defs;
        size_t n;
        unsigned char *seen;    /* 0 not yet, 1 on the path, 2 left */
        size_t *path, *next;    /* by depth: the partition, and which of its After= is next */
        size_t depth;
        int (*left)(size_t i, void *userdata);
        int (*cycle)(const size_t *path, size_t n_path, void *userdata);
        void *userdata;
};

static void enter(struct walk *w, size_t i) {
        w->seen[i] = 1;
        w->path[w->depth] = i;
        w->next[w->depth++] = 0;
}

static int report_cycle(const struct walk *w, size_t i) {
        size_t from = w->depth;

        while (w->path[--from] != i)
                ;
        return w->cycle ? w->cycle(w->path + from, w->depth - from, w->userdata) : 0;
}

/* One step at the top of the path: down along the next edge, or up. */
static int step(struct walk *w) {
        size_t i = w->path[w->depth - 1], edge = w->next[w->depth - 1]++;
        ptrdiff_t to;

        if (edge == w->defs[i]->n_after) {
                w->seen[i] = 2;
                w->depth--;
                return w->left ? w->left(i, w->userdata) : 0;
        }
        to = ulv_after_find(w->defs, w->n, w->defs[i]->after[edge]);
        if (to >= 0 && w->seen[to] == 1)
                return report_cycle(w, (size_t) to);
        if (to >= 0 && w->seen[to] == 0)
                enter(w, (size_t) to);
        return 0;
}

int ulv_after_walk(struct ulv_definition *const *defs, size_t n,
                   int (*left)(size_t i, void *userdata),
                   int (*cycle)(const size_t *path, size_t n_path, void *userdata), void *userdata) {
        _cleanup_free_ unsigned char *seen = calloc(n + 1, 1);
        _cleanup_free_ size_t *path = calloc(n + 1, sizeof(*path)), *next = calloc(n + 1, sizeof(*next));
        struct walk w = {
                .defs = defs, .n = n, .seen = seen, .path = path, .next = next,
                .left = left, .cycle = cycle, .userdata = userdata,
        };
        int r = 0;

        if (!seen || !path || !next)
                return -ENOMEM;
        for (size_t i = 0; r == 0 && i < n; i++) {
                if (seen[i] == 0)
                        enter(&w, i);
                while (r == 0 && w.depth > 0)
                        r = step(&w);
        }
        return r;
}
