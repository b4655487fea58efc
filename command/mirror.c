/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The mirror of the ledger. On each connection to uvd: subscribe, ask for all rows, then follow Changed.
 * The connection keeps order, so what comes before the rows is in them, and what comes after follows them
 * without a gap; that this holds is checked by the generation after each change. Whatever doesn't fit is
 * answered in one way: load all rows again. While uvd is away the last state goes on answering reads. */

#include "command/job.h"
#include "command/manager.h"
#include "command/restart.h"
#include "command/rows.h"
#include "command/wanted.h"
#include "lib/log.h"
#include "lib/protocol.h"

static int load(struct manager *m);

static void lost(struct manager *m) {
        if (m->fresh)
                m->lost_at = manager_now(m, CLOCK_MONOTONIC);
        m->fresh = false;
        ulv_strbuf_reset(&m->settled);
        m->settled_generation = 0;
        rows_stale(m);
}

static int on_rows(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct manager *m = userdata;
        struct ulv_ledger *l = NULL;
        struct ulv_diag d = { 0 };
        const char *epoch, *rows;
        uint64_t generation;
        int r;

        m->loading = false;
        if (sd_bus_message_is_method_error(reply, NULL)) {
                if (ulv_startswith(sd_bus_message_get_error(reply)->name, ULV_ERROR_PREFIX))    /* else the connection ended */
                        ulv_log(ULV_LOG_ERR, "uvd doesn't give its rows: %s", sd_bus_message_get_error(reply)->message);
                link_drop(&m->uvd);
                return 0;
        }
        r = sd_bus_message_read(reply, "tss", &generation, &epoch, &rows);
        if (r >= 0)
                r = ulv_ledger_load(rows, strlen(rows), &l, &d);
        if (r != 0) {
                ulv_log(ULV_LOG_ERR, "cannot read uvd's rows: %s %s", r < 0 ? strerror(-r) : d.what, d.why);
                link_drop(&m->uvd);
                return 0;
        }
        ulv_ledger_free(m->ledger);
        m->ledger = l;
        m->fresh = true;
        rows_all_changed(m);
        public_tell_changed(m, generation, "");
        restart_review(m);
        wanted_review(m);
        jobs_resume(m);
        public_ready(m, false);
        return 0;
}

/* Settled may be told before the change that it is about is in the mirror: then it waits for it. */
static void settle(struct manager *m) {
        if (m->settled.len > 0 && m->settled_generation <= ulv_ledger_generation(m->ledger)) {
                _cleanup_free_ char *lines = ulv_strbuf_steal(&m->settled);

                if (lines)
                        jobs_settled(m, lines);
        }
}

static int on_changed(sd_bus_message *signal, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct manager *m = userdata;
        struct ulv_diag d = { 0 };
        uint64_t generation;
        const char *changes;
        int r;

        if (sd_bus_message_read(signal, "ts", &generation, &changes) < 0 || !m->fresh || generation <= ulv_ledger_generation(m->ledger))
                return 0;
        r = ulv_ledger_apply(m->ledger, changes, strlen(changes), &d);
        if (r == 0 && ulv_ledger_generation(m->ledger) != generation) {
                ulv_diag_what(&d, ULV_EXIT_FAILED, "generation %llu after changes up to %llu",
                              (unsigned long long) ulv_ledger_generation(m->ledger), (unsigned long long) generation);
                r = 1;
        }
        if (r != 0) {
                ulv_log(ULV_LOG_WARNING, "cannot follow uvd's changes, loading all rows again: %s", r < 0 ? strerror(-r) : d.what);
                mirror_reload(m);
                return 0;
        }
        rows_changed(m, changes);
        public_tell_changed(m, generation, changes);
        settle(m);
        if (strstr(changes, "row partition ")) {
                restart_review(m);
                wanted_review(m);
        }
        jobs_kick(m);
        return 0;
}

static int on_settled(sd_bus_message *signal, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct manager *m = userdata;
        uint64_t generation;
        const char *lines;

        if (sd_bus_message_read(signal, "ts", &generation, &lines) < 0 || !m->fresh)
                return 0;       /* while loading: jobs_resume() asks for each transaction's state */
        ulv_strbuf_add(&m->settled, lines);
        m->settled_generation = ULV_MAX(m->settled_generation, generation);
        if (ulv_strbuf_error(&m->settled))
                mirror_reload(m);
        else
                settle(m);
        return 0;
}

static int on_replaced(ULV_UNUSED sd_bus_message *signal, void *userdata, ULV_UNUSED sd_bus_error *error) {
        mirror_reload(userdata);
        return 0;
}

void mirror_settle_at(struct manager *m, uint64_t generation, const char *txn) {
        ulv_strbuf_addf(&m->settled, "done %s\n", txn);
        m->settled_generation = ULV_MAX(m->settled_generation, generation);
        if (ulv_strbuf_error(&m->settled))
                mirror_reload(m);
        else
                settle(m);
}

static int load(struct manager *m) {
        sd_bus_message *call = NULL;
        int r;

        if (m->loading || !m->uvd.bus)
                return 0;
        r = sd_bus_message_new_method_call(m->uvd.bus, &call, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Rows");
        if (r >= 0)
                r = sd_bus_message_append(call, "s", "");
        if (r >= 0)
                r = link_call(&m->uvd, call, on_rows, m);
        sd_bus_message_unref(call);
        m->loading = r >= 0;
        return r < 0 ? r : 0;
}

void mirror_reload(struct manager *m) {
        int r;

        lost(m);
        r = load(m);
        if (r < 0) {
                (void) ulv_log_errno(r, "cannot ask uvd for its rows");
                link_drop(&m->uvd);
        }
}

static int on_start_wanted(sd_bus_message *signal, void *userdata, ULV_UNUSED sd_bus_error *error) {
        const char *name;

        if (sd_bus_message_read(signal, "s", &name) >= 0)
                wanted_add(userdata, name);
        return 0;
}

static int uvd_up(struct link *l, void *userdata) {
        struct manager *m = userdata;

        m->loading = false;
        definitions_tell_who(m);
        if (sd_bus_match_signal(l->bus, NULL, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Changed", on_changed, m) < 0 ||
            sd_bus_match_signal(l->bus, NULL, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Settled", on_settled, m) < 0 ||
            sd_bus_match_signal(l->bus, NULL, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "Replaced", on_replaced, m) < 0 ||
            sd_bus_match_signal(l->bus, NULL, NULL, ULV_PATH_LEDGER, ULV_IF_LEDGER, "StartWanted", on_start_wanted, m) < 0)
                return -ENOMEM;
        return load(m);
}

static void uvd_down(ULV_UNUSED struct link *l, void *userdata) {
        struct manager *m = userdata;

        lost(m);
        wanted_forget(m);
        jobs_kick(m);
}

int mirror_start(struct manager *m) {
        char *path = ulv_role_path(&m->role, "run/ultravisor/" ULV_SOCKET_LEDGER);

        if (!path)
                return -ENOMEM;
        m->lost_at = manager_now(m, CLOCK_MONOTONIC);
        m->uvd.up = uvd_up;
        m->uvd.down = uvd_down;
        m->uvd.userdata = m;
        return link_start(&m->uvd, m->role.event, path);
}

void mirror_done(struct manager *m) {
        link_done(&m->uvd);
        ulv_ledger_free(m->ledger);
        m->ledger = NULL;
        ulv_strbuf_done(&m->settled);
}

int mirror_copy(const struct manager *m, struct ulv_ledger **ret) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        int r;

        r = ulv_ledger_dump(m->ledger, NULL, &b);
        if (r == 0)
                r = ulv_ledger_load(ulv_strbuf_str(&b), b.len, ret, NULL);
        return r > 0 ? -EBADMSG : r;
}
