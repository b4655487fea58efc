/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Golden cases: what people write, and exactly what they get for it. test/golden/KIND/NAME.in beside
 * NAME.ok (the canonical text) or NAME.err (the message: file:line:column: what, then why and try where
 * they are given). Prints TAP, one line a case.
 *
 *   test-golden [DIRECTORY]            default test/golden
 *   test-golden --write [DIRECTORY]    writes the expectations that are missing, to be read by a person
 *
 * An .in is one file; if it begins with "=== NAME" it is several, each behind such a line. */

#include <dirent.h>
#include <stdio.h>

#include "lib/strbuf.h"
#include "model/bundle.h"

#define FILES_MAX 32

struct kind {
        const char *name, *file;        /* what a single file is called */
        int (*run)(const struct ulv_source *files, size_t n, struct ulv_strbuf *b);     /* 0 ok, 1 error; fills b */
};

static void add_diag(struct ulv_strbuf *b, const struct ulv_diag *d) {
        if (d->file[0])
                ulv_strbuf_addf(b, "%s:%u:%u: ", d->file, d->line, d->column);
        ulv_strbuf_addf(b, "%s\n", d->what);
        if (d->why[0])
                ulv_strbuf_addf(b, "%s\n", d->why);
        if (d->try_[0])
                ulv_strbuf_addf(b, "try: %s\n", d->try_);
}

static int run_definition(const struct ulv_source *files, size_t n, struct ulv_strbuf *b) {
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *d = NULL;
        struct ulv_diag diag = {};
        int r;

        /* A template stands last. */
        const struct ulv_source *template = n > 1 && strncmp(files[n - 1].file, ULV_TEMPLATES, strlen(ULV_TEMPLATES)) == 0 ? &files[n - 1] : NULL;

        r = ulv_definition_parse_with(template, files, n - (template ? 1 : 0), &d, &diag);
        if (r > 0)
                add_diag(b, &diag);
        return r == 0 ? ulv_definition_format(d, b) : r;
}

static int run_policy(const struct ulv_source *files, size_t n, struct ulv_strbuf *b) {
        ULV_CLEANUP(ulv_policy_freep) struct ulv_policy *p = NULL;
        struct ulv_diag diag = {};
        int r;

        r = ulv_policy_parse(files, n, &p, &diag);
        if (r != 0) {
                add_diag(b, &diag);
                return r;
        }
        if (p->host_has_cores)
                ulv_strbuf_addf(b, "host cores %u (%s:%u)\n", p->host_cores, p->at.host_cores.file, p->at.host_cores.line);
        if (p->host_has_memory)
                ulv_strbuf_addf(b, "host memory %llu (%s:%u)\n", (unsigned long long) p->host_memory, p->at.host_memory.file, p->at.host_memory.line);
        if (p->pool_has_cores)
                ulv_strbuf_addf(b, "pool cores %u (%s:%u)\n", p->pool_cores, p->at.pool_cores.file, p->at.pool_cores.line);
        ulv_strbuf_addf(b, "pool overcommit %llu\n", (unsigned long long) p->overcommit);
        for (size_t i = 0; i < p->n_require; i++)
                ulv_strbuf_addf(b, "require \"%s\" match \"%s\" isolation %s (%s:%u)\n", p->require[i].label, p->require[i].match,
                                ulv_isolation_name(p->require[i].isolation), p->require[i].at.file, p->require[i].at.line);
        return 0;
}

static void add_diag_to(const struct ulv_diag *d, void *userdata) { add_diag(userdata, d); }

static int run_bundle(const struct ulv_source *files, size_t n, struct ulv_strbuf *b) {
        ULV_CLEANUP(ulv_bundle_freep) struct ulv_bundle *bundle = NULL;
        _cleanup_strbuf_ struct ulv_strbuf text = {};
        int r;

        r = ulv_bundle_build(7, files, n, &text);
        if (r == 0)
                r = ulv_bundle_parse(text.s, text.len, &bundle, add_diag_to, b);
        for (size_t i = 0; r == 0 && i < bundle->n_definitions; i++)
                ulv_strbuf_addf(b, "%s\n", bundle->definitions[i]->name);
        return r;
}

static const struct kind kinds[] = {
        { "definition", "web.partition", run_definition },
        { "policy", "50-test.policy", run_policy },
        { "bundle", "partitions/web.partition", run_bundle },
};

static bool read_file(const char *path, struct ulv_strbuf *b) {
        FILE *f = fopen(path, "re");
        char chunk[4096];
        size_t n;

        if (!f)
                return false;
        while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
                ulv_strbuf_add_len(b, chunk, n);
        fclose(f);
        return ulv_strbuf_error(b) == 0;
}

/* Takes an .in apart in place. */
static size_t split_files(char *s, size_t len, const char *single, struct ulv_source *files) {
        size_t n = 0;

        if (len < 4 || memcmp(s, "=== ", 4) != 0) {
                files[0] = (struct ulv_source) { .file = single, .buf = s, .len = len };
                return 1;
        }
        for (char *p = s, *end = s + len; p < end && n < FILES_MAX;) {
                char *newline = memchr(p, '\n', (size_t) (end - p)), *next = end;

                *newline = 0;
                for (char *q = newline + 1; q + 4 < end; q++)
                        if (memcmp(q, "=== ", 4) == 0 && (q == newline + 1 || q[-1] == '\n')) {
                                next = q;
                                break;
                        }
                files[n++] = (struct ulv_source) { .file = p + 4, .buf = newline + 1, .len = (size_t) (next - newline - 1) };
                p = next;
        }
        return n;
}

static void print_as_comment(const char *what, const char *text) {
        printf("# %s:\n", what);
        for (const char *p = text; *p;) {
                size_t n = strcspn(p, "\n");
                printf("#   %.*s\n", (int) n, p);
                p += n + (p[n] == '\n');
        }
}

/* True if it is as expected. */
static bool run_case(const struct kind *k, const char *stem, bool write_missing) {
        _cleanup_strbuf_ struct ulv_strbuf in = {}, got = {}, want = {};
        struct ulv_source files[FILES_MAX];
        char path[600];
        int r;

        snprintf(path, sizeof(path), "%s.in", stem);
        if (!read_file(path, &in))
                return false;
        ulv_strbuf_add_len(&in, "", 0);
        r = k->run(files, split_files(in.s, in.len, k->file, files), &got);
        snprintf(path, sizeof(path), "%s.%s", stem, r == 0 ? "ok" : "err");
        if (!read_file(path, &want)) {
                FILE *f;

                print_as_comment("no expectation of this sort, and got", ulv_strbuf_str(&got));
                if (!write_missing)
                        return false;
                f = fopen(path, "wex");
                return f && fputs(ulv_strbuf_str(&got), f) >= 0 && fclose(f) == 0;
        }
        if (r >= 0 && ulv_streq(ulv_strbuf_str(&got), ulv_strbuf_str(&want)))
                return true;
        print_as_comment("expected", ulv_strbuf_str(&want));
        print_as_comment("got", ulv_strbuf_str(&got));
        return false;
}

static int is_input(const struct dirent *e) {
        size_t n = strlen(e->d_name);
        return n > 3 && ulv_streq(e->d_name + n - 3, ".in");
}

int main(int argc, char **argv) {
        bool write_missing = argc > 1 && ulv_streq(argv[1], "--write");
        const char *dir = argc > 1 + write_missing ? argv[1 + write_missing] : "test/golden";
        unsigned n = 0, failed = 0;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(kinds); i++) {
                struct dirent **entries;
                char path[300];
                int count;

                snprintf(path, sizeof(path), "%s/%s", dir, kinds[i].name);
                count = scandir(path, &entries, is_input, alphasort);
                for (int j = 0; j < count; j++) {
                        char stem[580];
                        int len = (int) strlen(entries[j]->d_name) - 3;
                        bool good;

                        snprintf(stem, sizeof(stem), "%s/%.*s", path, len, entries[j]->d_name);
                        good = run_case(&kinds[i], stem, write_missing);
                        failed += !good;
                        printf("%s %u - %s/%.*s\n", good ? "ok" : "not ok", ++n, kinds[i].name, len, entries[j]->d_name);
                        free(entries[j]);
                }
                if (count >= 0)
                        free(entries);
        }
        printf("1..%u\n", n);
        return failed > 0 || n == 0;
}
