/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Verbs that change something by one call: start stop restart pause resume kill set move remove undo. */

#include "uvctl/files.h"
#include "uvctl/image.h"
#include "uvctl/job.h"

/* No names and no --all is a slip of the finger, not a wish for everything. */
static int check_all(struct uvctl *u, const char *verb, int argc) {
        if ((argc > 0) != given(u, OPT_ALL))
                return 0;
        ulv_diag_what(&u->diag, ULV_EXIT_USAGE, argc > 0 ? "uvctl %s takes names or --all, not both" : "uvctl %s needs names, or --all", verb);
        ulv_diag_try(&u->diag, "uvctl %s --help", verb);
        return ULV_EXIT_USAGE;
}

/* Start, Stop, Remove: (as names, u flags, t if_generation, s reason). */
static int change_names(struct uvctl *u, const char *method, char **argv) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = client_new(u, method, &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append_strv(m, argv);
        if (r >= 0)
                r = sd_bus_message_append(m, "uts", (uint32_t) job_flags(u), u->if_generation, u->reason);
        r = r < 0 ? fail_errno(u, r, "make a call") : job_run(u, m);
        for (char **name = argv; *name; name++)
                tell_unapplied(u, *name);
        return r;
}

int verb_start(struct uvctl *u, int argc, char **argv) {
        int r = check_all(u, "start", argc);

        return r != 0 ? r : change_names(u, "Start", argv);
}

int verb_stop(struct uvctl *u, int argc, char **argv) {
        int r = check_all(u, "stop", argc);

        return r != 0 ? r : change_names(u, "Stop", argv);
}

/* What a container wrote (Writable=kept) outlives its definition, unless it is said otherwise. */
static int purge(struct uvctl *u, struct image_store *s, const char *name) {
        int r = store_purge(s, name);

        if (r == 0 && !u->quiet)
                printf("%s  what it wrote is deleted\n", name);
        return r < 0 ? fail_errno(u, r, "delete what it wrote") : 0;
}

static void tell_kept(const struct uvctl *u, const struct image_store *s, const char *name) {
        if (!u->quiet && u->output == OUTPUT_TABLE && store_has_layer(s, name))
                printf("what %s wrote is kept; uvctl remove --purge %s deletes it\n", name, name);
}

int verb_remove(struct uvctl *u, int argc, char **argv) {
        struct image_store s = { -1, -1, -1 };
        bool purging = given(u, OPT_PURGE) && !given(u, OPT_DRY_RUN);
        int r = 0;

        if (purging || geteuid() == 0)
                r = store_open(u, &s, false);
        if (r == 0) {
                r = change_names(u, "Remove", argv);
                /* Removed before, without --purge: then that is what is left to do. */
                if (r == ULV_EXIT_NOT_FOUND && purging && argc == 1 && store_has_layer(&s, argv[0])) {
                        u->diag = (struct ulv_diag) { 0 };
                        r = 0;
                }
        }
        for (int i = 0; i < argc && r == 0 && !given(u, OPT_DRY_RUN); i++) {
                disable_removed(u, argv[i]);
                if (purging)
                        r = purge(u, &s, argv[i]);
                else
                        tell_kept(u, &s, argv[i]);
        }
        store_done(&s);
        return r;
}

int verb_restart(struct uvctl *u, int argc, char **argv) {
        int r = check_all(u, "restart", argc);

        return r != 0 ? r : change_names(u, "Restart", argv);
}

int verb_pause(struct uvctl *u, int argc, char **argv) {
        int r = check_all(u, "pause", argc);

        return r != 0 ? r : change_names(u, "Pause", argv);
}

int verb_resume(struct uvctl *u, int argc, char **argv) {
        int r = check_all(u, "resume", argc);

        return r != 0 ? r : change_names(u, "Resume", argv);
}

int verb_kill(struct uvctl *u, int argc ULV_UNUSED, char **argv) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        struct json j = { 0 };
        int r;

        r = client_call(u, &reply, "Signal", "si", argv[0], u->signal);
        if (r != 0 || u->output != OUTPUT_JSON)
                return r;
        json_object(&j, NULL);
        json_string(&j, "Name", argv[0]);
        json_u64(&j, "Signal", (uint64_t) u->signal);
        json_end(&j);
        r = put(u, &j.b);
        ulv_strbuf_done(&j.b);
        return r;
}

int append_values(struct uvctl *u, sd_bus_message *m, int argc, char **argv) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{ss}");
        for (int i = 0; r >= 0 && i < argc; i++) {
                char *equals = strchr(argv[i], '=');

                if (!equals || equals == argv[i]) {
                        ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "%.64s is not KEY=VALUE", argv[i]);
                        ulv_diag_why(&u->diag, "the keys are cores=, share=, memory=, tasks=, io-read=, io-write=, iops-read= and iops-write=");
                        ulv_diag_try(&u->diag, "uvctl set NAME memory=2G");
                        return ULV_EXIT_USAGE;
                }
                *equals = 0;
                r = sd_bus_message_append(m, "{ss}", argv[i], equals + 1);
                *equals = '=';
        }
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? fail_errno(u, r, "make a call") : 0;
}

int verb_set(struct uvctl *u, int argc, char **argv) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = client_new(u, "Set", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "s", argv[0]);
        if (r < 0)
                return fail_errno(u, r, "make a call");
        r = append_values(u, m, argc - 1, argv + 1);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "uts", (uint32_t) job_flags(u), u->if_generation, u->reason);
        r = r < 0 ? fail_errno(u, r, "make a call") : job_run(u, m);
        tell_unapplied(u, argv[0]);
        return r;
}

int verb_revert(struct uvctl *u, int argc ULV_UNUSED, char **argv) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = client_new(u, "Revert", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "suts", argv[0], (uint32_t) job_flags(u), u->if_generation, u->reason);
        return r < 0 ? fail_errno(u, r, "make a call") : job_run(u, m);
}

static int call_attach(struct uvctl *u, const char *method, char **argv) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = client_new(u, method, &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "ssuts", argv[0], argv[1], (uint32_t) job_flags(u), u->if_generation, u->reason);
        r = r < 0 ? fail_errno(u, r, "make a call") : job_run(u, m);
        /* Of a detach, what isn't there is the label. */
        if (ulv_streq(method, "Attach"))
                tell_unapplied(u, argv[0]);
        return r;
}

int verb_attach(struct uvctl *u, int argc ULV_UNUSED, char **argv) { return call_attach(u, "Attach", argv); }
int verb_detach(struct uvctl *u, int argc ULV_UNUSED, char **argv) { return call_attach(u, "Detach", argv); }

int verb_move(struct uvctl *u, int argc ULV_UNUSED, char **argv) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = client_new(u, "Move", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "sssuts", argv[0], argv[1], argv[2], (uint32_t) job_flags(u), u->if_generation, u->reason);
        r = r < 0 ? fail_errno(u, r, "make a call") : job_run(u, m);
        tell_unapplied(u, argv[1]);
        tell_unapplied(u, argv[2]);
        return r;
}

static int undo_one(struct uvctl *u, const char *transaction) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = client_new(u, "Undo", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "sus", transaction, (uint32_t) job_flags(u), u->reason);
        return r < 0 ? fail_errno(u, r, "make a call") : job_run(u, m);
}

/* One after the other, as they are given: the latest first, since each must find what it left. */
int verb_undo(struct uvctl *u, int argc, char **argv) {
        int r = 0;

        for (int i = 0; i < argc && r == 0; i++)
                r = undo_one(u, argv[i]);
        return r;
}
