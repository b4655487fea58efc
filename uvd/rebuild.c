/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A ledger that is lost or damaged, made anew.
 *
 * --rebuild takes the place of uvd for a moment: it listens where monitors connect, and waits until every
 * monitor that the starter keeps has said Hello with the last view that it was given. Each view is a
 * partition's own rows, so their sum is the ledger of what runs; what no view claims is host's, as at first.
 * Definitions of partitions that don't run aren't in any view: command defines them again from the files.
 * No Hello is answered, so monitors connect to the uvd that comes after. Nothing is written before all
 * views fitted together, and then as one whole file.
 *
 * --restore FILE puts a backup in the place of the log, if no monitor runs. */

#include "uvd/uvd.h"

#include <fcntl.h>
#include <stdio.h>

#include "lib/fd.h"
#include "lib/log.h"

#define WAIT_USEC UINT64_C(60000000)

static unsigned still_missing(const struct uvd *u, char name[static ULV_NAME_MAX + 1]) {
        unsigned n = 0;

        for (const struct guest *g = u->guests; g; g = g->hh.next)
                if (g->token[0] && !g->fresh) {
                        if (n++ == 0)
                                (void) snprintf(name, ULV_NAME_MAX + 1, "%s", g->name);
                }
        return n;
}

/* Exit codes of the loop: 0 all are there, 1 a view was refused (said). `fresh` marks those that spoke. */
static int on_held(struct uvd *u, struct guest *g, const char *view) {
        char name[ULV_NAME_MAX + 1];
        struct ulv_diag d = {};
        int r;

        if (g->fresh)
                return 1;       /* said it before, over another connection */
        r = ulv_ledger_adopt(u->ledger, view, strlen(view), &d);
        if (r != 0) {
                ulv_log(ULV_LOG_ERR, "cannot take over what %s holds: %s; %s", g->name, r < 0 ? strerror(-r) : d.what, d.why);
                return sd_event_exit(u->event, 1);
        }
        g->fresh = true;
        ulv_log(ULV_LOG_INFO, "took over %s", g->name);
        if (still_missing(u, name) == 0)
                (void) sd_event_exit(u->event, 0);
        return 1;
}

static int on_timeout(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct uvd *u = userdata;
        char name[ULV_NAME_MAX + 1];
        unsigned n = still_missing(u, name);

        ulv_log(ULV_LOG_ERR, "%u monitors have not come, among them that of %s", n, name);
        return sd_event_exit(u->event, 1);
}

static int collect(struct uvd *u, struct ulv_diag *reterr) {
        char name[ULV_NAME_MAX + 1];
        int r;

        if (still_missing(u, name) == 0)
                return 0;
        u->rebuilding = true;
        u->on_held_view = on_held;
        if ((r = monitors_listen(u)) < 0 || (r = sd_event_add_time_relative(u->event, NULL, CLOCK_MONOTONIC, WAIT_USEC, 0, on_timeout, u)) < 0)
                return r;
        ulv_log(ULV_LOG_NOTICE, "waiting for %u monitors to tell what they hold", still_missing(u, name));
        r = sd_event_loop(u->event);
        if (r <= 0)
                return r;
        ulv_diag_what(reterr, ULV_EXIT_FAILED, "no ledger was made; nothing was changed");
        ulv_diag_why(reterr, "not every running monitor told what it holds, or two claim the same (see above)");
        ulv_diag_try(reterr, "stop the partition named above, then again; or uvd --restore BACKUP");
        return 1;
}

/* Without the starter's word it can't be known whether all that runs has spoken. */
static int need_starter(struct uvd *u, struct ulv_diag *reterr) {
        int r = starter_connect(u);

        if (r <= 0)
                return r;
        ulv_log(ULV_LOG_NOTICE, "no starter is there, so no monitor runs");
        (void) reterr;
        return 0;
}

int uvd_rebuild(struct uvd *u, struct ulv_diag *reterr) {
        ULV_CLEANUP(ulv_inventory_freep) struct ulv_inventory *inv = NULL;
        _cleanup_strbuf_ struct ulv_strbuf rows = {};
        int r;

        r = uvd_inventory(u, &inv, reterr);
        if (r != 0 || (r = need_starter(u, reterr)) < 0 || (r = ulv_ledger_new(inv, &u->ledger)) < 0)
                return r;
        r = collect(u, reterr);
        if (r == 0)
                r = ulv_ledger_check(u->ledger, reterr);
        if (r == 0)
                r = ulv_ledger_dump(u->ledger, NULL, &rows);
        if (r != 0)
                return r;
        r = store_install(u->state_dir, ulv_strbuf_str(&rows), rows.len, "", 0, reterr);
        if (r == 0)
                ulv_log(ULV_LOG_NOTICE, "a new ledger is in %s/ledger.db; the old one, if there was one, is ledger.db.old", u->state_dir);
        return r;
}

static int refuse_running(struct uvd *u, struct ulv_diag *reterr) {
        char name[ULV_NAME_MAX + 1];
        int r = starter_connect(u);

        if (r < 0 || still_missing(u, name) == 0)
                return r < 0 ? r : 0;
        ulv_diag_what(reterr, ULV_EXIT_CONFLICT, "cannot restore while partitions run");
        ulv_diag_why(reterr, "the monitor of %s runs, and a restored ledger would not know what it holds", name);
        ulv_diag_try(reterr, "uvd --rebuild, or stop the partitions first: uvctl stop --all");
        return 1;
}

/* The file is read before root is given up: a backup may well be root's. */
int uvd_restore_file(struct uvd *u, const char *buf, size_t len, struct ulv_diag *reterr) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = NULL;
        struct backup b;
        int r;

        r = refuse_running(u, reterr);
        if (r == 0)
                r = backup_parse(buf, len, &b, reterr);
        if (r == 0)
                r = ulv_ledger_load(b.rows, b.rows_len, &l, reterr);
        if (r == 0)
                r = ulv_ledger_check(l, reterr);
        if (r != 0)
                return r;
        r = store_install(u->state_dir, b.rows, b.rows_len, b.history, b.history_len, reterr);
        if (r == 0)
                ulv_log(ULV_LOG_NOTICE, "restored generation %llu; the ledger before it is ledger.db.old", (unsigned long long) b.generation);
        return r;
}
