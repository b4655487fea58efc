/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mounts and devices brought to what the view says: it keeps one that isn't attached, or has one on its way out that is.
 * The backend does the work, one after the other, and proves it; what it can't do is refused, which the ledger answers
 * by another view. A refusal is remembered as long as the view asks for that very thing. */

#include "monitor/monitor.h"

#include <stdio.h>

#include "lib/log.h"
#include "model/attachment.h"

#define LATER_USEC (500 * 1000u)

bool attach_is_kind(const char *kind) { return ulv_attachment_is_kind(kind); }

/* "mount data", "device fuse" */
static void make_key(const struct holding *h, char key[static ATTACH_KEY_MAX]) {
        bool block = ulv_streq(h->kind, "block");
        const char *name = block ? h->node : h->id;

        (void) snprintf(key, ATTACH_KEY_MAX, "%s %.*s", block ? "device" : h->kind, (int) (block ? strlen(name) : strcspn(name, "@")), name);
}

const char *attach_how(struct ulv_monitor *m, const struct holding *h) {
        char key[ATTACH_KEY_MAX];

        make_key(h, key);
        return ulv_plugin.attached ? ulv_plugin.attached(m, key) : NULL;
}

const char *attach_refusal(const struct ulv_monitor *m, const struct holding *h) {
        char key[ATTACH_KEY_MAX];

        make_key(h, key);
        for (size_t i = 0; i < m->n_refused; i++)
                if (ulv_streq(m->refused[i].key, key) && m->refused[i].keep == (h->keep > 0))
                        return m->refused[i].why;
        return NULL;
}

static void forget(struct ulv_monitor *m, size_t i) { m->refused[i] = m->refused[--m->n_refused]; }

/* What nobody asks for any more. */
static void forget_old(struct ulv_monitor *m) {
        for (size_t i = m->n_refused; i-- > 0; ) {
                bool asked = false;

                for (size_t k = 0; k < m->seen.n_holdings && !asked; k++) {
                        const struct holding *h = &m->seen.holdings[k];

                        asked = attach_is_kind(h->kind) && attach_refusal(m, h) == m->refused[i].why;
                }
                if (!asked)
                        forget(m, i);
        }
}

static void refuse(struct ulv_monitor *m, const char *key, bool keep, const struct ulv_diag *d) {
        struct refused *r;

        /* More than there can be asked for at once: the oldest is asked for again, that is all. */
        if (m->n_refused == ULV_ARRAY_SIZE(m->refused))
                forget(m, 0);
        r = &m->refused[m->n_refused++];
        r->keep = keep;
        (void) snprintf(r->key, sizeof(r->key), "%s", key);
        /* The two lines that the ledger keeps for people; what was asked for they know. */
        (void) snprintf(r->why, sizeof(r->why), "%.160s\n%.90s", d->why, d->try_);
        ulv_log(ULV_LOG_WARNING, "%s: %s", d->what, d->why);
}

static int on_later(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct ulv_monitor *m = userdata;

        m->attach_later = false;
        monitor_turn(m);
        return 0;
}

void ulv_monitor_attach_done(struct ulv_monitor *m, const struct ulv_diag *d, bool later) {
        if (d)
                refuse(m, m->attaching, m->attaching_keep, d);
        if (later && monitor_arm(m, &m->attach_timer, LATER_USEC, on_later) >= 0)
                m->attach_later = true;
        m->attaching[0] = 0;
        monitor_turn(m);
}

static void failed(struct ulv_monitor *m, const char *key, bool keep, int r) {
        struct ulv_diag d = { 0 };

        if (r == -EPERM) {
                ulv_log(ULV_LOG_NOTICE, "%s: this monitor can't any more: a new one for it", key);
                (void) sd_event_exit(m->event, EXIT_FAILURE);
                return;
        }
        ulv_diag_what(&d, ULV_EXIT_FAILED, "cannot %s %s", keep ? "attach" : "detach", strchr(key, ' ') + 1);
        ulv_diag_why(&d, "%s", strerror(-r));
        ulv_diag_try(&d, "dmesg: the kernel may say more");
        refuse(m, key, keep, &d);
        monitor_turn(m);
}

/* 1: begun. */
static int follow_one(struct ulv_monitor *m, const struct holding *h) {
        const struct ulv_attachment *a = m->seen.definition ? ulv_attachment_find(m->seen.definition, h->kind, h->id, h->node) : NULL;
        bool keep = h->keep > 0;
        char key[ATTACH_KEY_MAX];
        int r;

        if (keep == (attach_how(m, h) != NULL) || attach_refusal(m, h) || (!keep && m->attach_later))
                return 0;
        make_key(h, key);
        (void) snprintf(m->attaching, sizeof(m->attaching), "%s", key);
        m->attaching_keep = keep;
        r = !keep ? ulv_plugin.detach(m, key, h->force) : a ? ulv_plugin.attach(m, key, a) : -ENOENT;
        if (r == 0)
                return 1;
        m->attaching[0] = 0;
        failed(m, key, keep, r);
        return r == -EPERM;
}

void attach_follow(struct ulv_monitor *m) {
        if (!ulv_plugin.attached)
                return;
        forget_old(m);
        for (size_t i = 0; i < m->seen.n_holdings && !m->attaching[0]; i++)
                if (attach_is_kind(m->seen.holdings[i].kind) && follow_one(m, &m->seen.holdings[i]) > 0)
                        return;
}
