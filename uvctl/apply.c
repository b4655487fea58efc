/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* verify, plan, apply: from files to the ledger.
 *
 * apply asks in between: it makes the dry run, shows it, and after the yes sends the same again with the
 * generation that the ledger had before the dry run. So what happens is what was shown: if the ledger
 * moved meanwhile, the second call is refused, and the new plan is shown and asked about again. */

#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "uvctl/files.h"
#include "uvctl/job.h"

#define ASK_MAX 5       /* a ledger that moves faster than people answer is no place for questions */

/* --- the bundle and the call ------------------------------------------------------------------------- */

/* A definition brings the template along that it was checked with: that one may not be in force yet. */
static int build_bundle(const struct file_set *f, struct ulv_strbuf *b) {
        _cleanup_free_ struct ulv_source *v = NULL;

        if (!f->template.file)
                return ulv_bundle_build(0, f->v, f->n, b);
        v = calloc(f->n + 1, sizeof(*v));
        if (!v)
                return -ENOMEM;
        memcpy(v, f->v, f->n * sizeof(*v));
        v[f->n] = f->template;
        return ulv_bundle_build(0, v, f->n + 1, b);
}

static int bundle_memfd(struct uvctl *u, const struct file_set *f, int *ret) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        _cleanup_close_ int fd = -1;
        int r;

        fd = memfd_create("ultravisor-bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return fail_errno(u, -errno, "make a bundle");
        r = f ? build_bundle(f, &b) : 0;
        if (r < 0)
                return fail_errno(u, r, "make a bundle");
        for (size_t at = 0; at < b.len;) {
                ssize_t n = write(fd, b.s + at, b.len - at);

                if (n < 0)
                        return fail_errno(u, -errno, "make a bundle");
                at += (size_t) n;
        }
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                return fail_errno(u, -errno, "seal the bundle");
        *ret = ulv_steal_fd(&fd);
        return 0;
}

static int apply_call(struct uvctl *u, int bundle, bool replace, uint64_t flags, uint64_t if_generation, char **ret_job, struct plan *ret) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = client_new(u, "Apply", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "hbuts", bundle, (int) replace, (uint32_t) flags, if_generation, u->reason);
        return r < 0 ? fail_errno(u, r, "make a call") : job_call(u, m, ret_job, ret);
}

static int get_generation(struct uvctl *u, uint64_t *ret) {
        _cleanup_message_ sd_bus_message *m = NULL;
        const char *rows;
        int r;

        r = client_call(u, &m, "Rows", "s", "ledger");
        return r != 0 ? r : client_read(u, m, "ts", ret, &rows);
}

/* One dry run, shown. *ret_empty: there is nothing to do. */
static int preview(struct uvctl *u, int bundle, bool replace, bool *ret_empty) {
        _cleanup_free_ char *job = NULL;
        struct plan p = { 0 };
        int r;

        r = apply_call(u, bundle, replace, job_flags(u) | ULV_FLAG_DRY_RUN, u->if_generation, &job, &p);
        if (r != 0)
                return r;
        r = u->output == OUTPUT_JSON ? 0 : plan_show(u, &p);
        *ret_empty = true;
        for (size_t i = 0; i < p.n_lines; i++)
                *ret_empty = *ret_empty && (ulv_streq(p.lines[i].action, "kept") || ulv_streq(p.lines[i].action, "can't start"));
        plan_done(&p);
        return r;
}

static int apply_now(struct uvctl *u, int bundle, bool replace, uint64_t if_generation, bool show) {
        _cleanup_free_ char *job = NULL;
        struct plan p = { 0 };
        int r;

        r = apply_call(u, bundle, replace, job_flags(u), if_generation, &job, &p);
        return r != 0 ? r : job_show_and_finish(u, job, &p, show);
}

/* A refusal for the generation is answered by asking again; any other conflict (a hand edit that doesn't count
 * yet would be lost) stays what it is, however often one asks. */
static bool has_moved_on(struct uvctl *u, uint64_t generation) {
        struct ulv_diag refusal = u->diag;
        uint64_t now = 0;

        if (!u->if_generation && get_generation(u, &now) == 0 && now != generation)
                return true;
        u->diag = refusal;
        return false;
}

int files_apply(struct uvctl *u, const struct file_set *f, bool replace, const char *command) {
        _cleanup_close_ int bundle = -1;
        bool empty = false;
        uint64_t generation = 0;
        int r;

        r = bundle_memfd(u, f, &bundle);
        if (r != 0)
                return r;
        if (given(u, OPT_YES) || given(u, OPT_DRY_RUN))
                return apply_now(u, bundle, replace, u->if_generation, true);
        for (unsigned i = 0; i < ASK_MAX; i++) {
                r = get_generation(u, &generation);
                if (r == 0)
                        r = preview(u, bundle, replace, &empty);
                if (r != 0 || empty)
                        return r;
                if (!confirm(u, "Apply as one transaction?", command))
                        return (int) u->diag.code;
                r = apply_now(u, bundle, replace, u->if_generation ? u->if_generation : generation, false);
                if (r != ULV_EXIT_CONFLICT || !has_moved_on(u, generation))
                        return r;
                fputs("the ledger has changed meanwhile; now it would be:\n", stderr);
                u->diag = (struct ulv_diag) { 0 };
        }
        return fail(u, ULV_EXIT_CONFLICT, "nothing was changed: the ledger changes faster than it can be asked about", "", "uvctl apply -y");
}

/* --- verify, plan, apply ------------------------------------------------------------------------------ */

char *files_configuration(const struct uvctl *u) {
        char *path = NULL;

        return asprintf(&path, "%s%setc/ultravisor", u->root, ulv_streq(u->root, "/") ? "" : "/") < 0 ? NULL : path;
}

/* Errors of one argument; *n grows by the number of files, *bad by the number of errors. */
static int verify_one(struct uvctl *u, const char *path, struct json *json, size_t *n, unsigned *bad) {
        struct file_set f;
        unsigned errors = 0;
        int r;

        r = files_load(u, path, &f);
        if (r != 0)
                return r;
        *n += f.n;
        r = files_check(u, &f, json, &errors);
        *bad += errors;
        files_done(&f);
        return r;
}

int verb_verify(struct uvctl *u, int argc, char **argv) {
        _cleanup_free_ char *all = NULL;
        struct json j = { 0 };
        bool json = u->output == OUTPUT_JSON;
        unsigned bad = 0;
        size_t n = 0;
        int r = 0;

        if (argc == 0) {
                all = files_configuration(u);
                if (!all)
                        return fail_errno(u, -ENOMEM, "check the files");
                argv = &all;
                argc = 1;
        }
        json_object(&j, NULL);
        json_array(&j, "Problems");
        for (int i = 0; i < argc && r == 0; i++)
                r = verify_one(u, argv[i], json ? &j : NULL, &n, &bad);
        json_end(&j);
        json_bool(&j, "Ok", r == 0 && bad == 0);
        json_end(&j);
        if (json && r == 0)
                r = put(u, &j.b);
        ulv_strbuf_done(&j.b);
        if (r == 0 && !json && bad == 0 && !u->quiet)
                printf("%zu file%s, nothing wrong\n", n, n == 1 ? "" : "s");
        return r != 0 ? r : bad > 0 ? ULV_EXIT_FAILED : ULV_EXIT_OK;
}

int verb_apply(struct uvctl *u, int argc, char **argv) {
        struct file_set f;
        char command[200];
        unsigned bad = 0;
        int r;

        if (argc == 0)
                return files_apply(u, NULL, false, "apply");
        (void) snprintf(command, sizeof(command), "apply %.180s", argv[0]);
        r = files_load(u, argv[0], &f);
        if (r != 0)
                return r;
        /* The errors of the files are told here, with the paths as they were named. */
        r = files_check(u, &f, NULL, &bad);
        if (r == 0 && bad > 0)
                r = fail(u, ULV_EXIT_FAILED, "nothing was changed: the files have errors", "they are listed above", "");
        /* What has no file here stays as it is, unless --prune says that these are all there are. */
        if (r == 0)
                r = files_apply(u, &f, f.directory && given(u, OPT_PRUNE), command);
        files_done(&f);
        return r;
}

int verb_plan(struct uvctl *u, int argc, char **argv) {
        u->given |= OPT_DRY_RUN;
        return verb_apply(u, argc, argv);
}
