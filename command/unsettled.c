/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What was written and not submitted, or submitted and not seen to its end, because this process was killed in
 * between, or uvd was away for too long. operations notes for which transaction it writes files:
 * who comes after asks uvd for that transaction, as for any whose answer was lost (submit.c), and the job
 * that is made for it here ends as the first one would have: the files stay, or go back. */

#include <stdio.h>

#include "command/job.h"
#include "lib/log.h"
#include "lib/protocol.h"

static bool is_under_way(const struct manager *m, const char *txn) {
        for (const struct job *j = m->jobs->first; j; j = j->next)
                for (size_t i = 0; !j->state && i < j->n_items; i++)
                        if (ulv_streq(j->items[i].intent, txn))
                                return true;
        return false;
}

static void take_up(struct manager *m, uint64_t version, const char *partition, const char *txn) {
        struct job *j = job_new(m, NULL, *partition ? "set" : "apply", 1, 0, 0, "");
        struct item *i = j ? &j->items[0] : NULL;

        if (!j)
                return;         /* the note stays, for the next review */
        j->turn = TURN_HAS;
        if (!item_name(i, partition, ""))
                return;
        if (!ulv_copy(i->txn, sizeof(i->txn), txn) || !ulv_copy(i->intent, sizeof(i->intent), txn)) {
                job_refuse_errno(j, -EINVAL);
                return;
        }
        i->request.verb = *partition ? ULV_REQUEST_SET : ULV_REQUEST_APPLY;
        j->installed = version;
        j->files_of = i->name;
        j->noted = true;
        i->tries = JOB_TRIES_MAX;       /* whoever asked for it isn't there any more: what never came isn't tried again */
        i->state = ITEM_UNKNOWN;
        ulv_log(ULV_LOG_INFO, "version %llu of the definitions was written for transaction %s%s%s: asking how that ended",
                (unsigned long long) version, txn, *partition ? " of " : "", partition);
        submit_resolve(m, i);
}

static int on_unsettled(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct manager *m = userdata;
        const char *partition, *txn;
        uint64_t version;
        int r;

        if (sd_bus_message_is_method_error(reply, NULL))
                return 0;       /* the connection ended: the next one asks */
        r = sd_bus_message_enter_container(reply, 'a', "(tss)");
        while (r > 0 && (r = sd_bus_message_read(reply, "(tss)", &version, &partition, &txn)) > 0)
                if (!is_under_way(m, txn))
                        take_up(m, version, partition, txn);
        if (r < 0)
                (void) ulv_log_errno(r, "cannot read what isn't settled");
        m->reviewed = true;
        public_ready(m, false);
        return 0;
}

void unsettled_review(struct manager *m) {
        sd_bus_message *call = NULL;
        int r = 0;

        if (!m->fresh || !m->operations.bus)
                return;         /* it comes when both are there */
        r = sd_bus_message_new_method_call(m->operations.bus, &call, NULL, ULV_PATH_OPERATIONS, ULV_IF_OPERATIONS, "Unsettled");
        if (r >= 0)
                r = link_call(&m->operations, call, on_unsettled, m);
        sd_bus_message_unref(call);
        if (r == -ENOMEM)
                (void) ulv_log_errno(r, "cannot ask what isn't settled");
}

int unsettled_intend(struct job *j) {
        int r = 0;

        for (size_t i = 0; i < j->n_items && r == 0; i++)
                if (!j->items[i].intent[0])
                        r = submit_new_id(j->m, j->items[i].intent);
        return r;
}

/* Without an answer: a note that stays is asked about again, and found done. */
void unsettled_settle(struct job *j) {
        sd_bus *bus = j->m->operations.bus;
        sd_bus_message *call = NULL;

        if (!j->noted || j->installed == 0 || !j->end || !ulv_streq(j->end, "done"))
                return;
        j->noted = false;
        if (bus && sd_bus_message_new_method_call(bus, &call, NULL, ULV_PATH_OPERATIONS, ULV_IF_OPERATIONS, "Settle") >= 0 &&
            sd_bus_message_append(call, "t", j->installed) >= 0 && sd_bus_message_set_expect_reply(call, false) >= 0)
                (void) sd_bus_send(bus, call, NULL);
        sd_bus_message_unref(call);
}
