/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Credentials read again while the partition runs. The backend does it in a child, for decrypting may take its
 * time (a TPM's is seconds) and the payload's end must not wait for it. One at a time. What travels over the bus is a
 * credential's name, and the three lines of a failure. */

#include "monitor/monitor.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#include "lib/bus.h"
#include "lib/log.h"
#include "lib/protocol.h"

#define ROTATE_USEC (60 * 1000 * 1000u)

struct rotation {
        struct ulv_monitor *m;
        sd_bus_message *call;
        int words;              /* the child's, to us: one struct ulv_diag, or nothing if all went well */
        pid_t pid;
        sd_event_source *child, *timer;
};

static void rotation_free(struct rotation *r) {
        r->m->rotation = NULL;
        sd_event_source_disable_unref(r->child);
        sd_event_source_disable_unref(r->timer);
        sd_bus_message_unref(r->call);
        (void) ulv_close(r->words);
        free(r);
}

static int on_rotated(ULV_UNUSED sd_event_source *s, const siginfo_t *si, void *userdata) {
        struct rotation *r = userdata;
        struct ulv_diag d = { 0 };
        ssize_t n = read(r->words, &d, sizeof(d));

        if (n != sizeof(d) && (si->si_code != CLD_EXITED || si->si_status != 0)) {
                ulv_diag_what(&d, ULV_EXIT_FAILED, "cannot rotate credentials of %s", r->m->name);
                ulv_diag_why(&d, "the process that reads them was killed, or took longer than a minute");
                ulv_diag_try(&d, "the same again");
                n = sizeof(d);
        }
        if (n == sizeof(d))
                (void) ulv_bus_reply_diag(r->call, &d);
        else
                (void) sd_bus_reply_method_return(r->call, NULL);
        rotation_free(r);
        return 0;
}

static int on_late(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct rotation *r = userdata;

        (void) kill(r->pid, SIGKILL);   /* our child, not waited for: the pid is its own */
        return 0;
}

static _Noreturn void rotate(struct ulv_monitor *m, const char *label, int words) {
        struct ulv_diag d = { 0 };
        int r = ulv_plugin.rotate(m, m->seen.definition, label, &d);

        if (r < 0) {
                ulv_diag_what(&d, r == -ENOENT ? ULV_EXIT_NOT_FOUND : ULV_EXIT_FAILED, "cannot rotate credentials of %s", m->name);
                ulv_diag_why(&d, "%s", r == -ENOENT ? "its definition in force has no such [Credential]"
                                     : r == -ENODATA ? "it was started without credentials" : strerror(-r));
                ulv_diag_try(&d, r == -ENODATA ? "uvctl restart %s" : "uvctl show %s", m->name);
        }
        if (r != 0 && write(words, &d, sizeof(d)) != sizeof(d))
                _exit(1);
        _exit(0);
}

static int begin(struct rotation *r, const char *label) {
        int words[2], k;

        if (pipe2(words, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        r->words = words[0];
        r->pid = fork();
        if (r->pid == 0)
                rotate(r->m, label, words[1]);
        k = r->pid < 0 ? -errno : 0;
        (void) close(words[1]);
        if (k < 0)
                return k;
        k = sd_event_add_child(r->m->event, &r->child, r->pid, WEXITED, on_rotated, r);
        return k < 0 ? k : sd_event_add_time_relative(r->m->event, &r->timer, CLOCK_MONOTONIC, ROTATE_USEC, 0, on_late, r);
}

int credential_rotate(struct ulv_monitor *m, sd_bus_message *call) {
        const char *label;
        struct rotation *r;
        int k = sd_bus_message_read(call, "s", &label);

        if (k < 0)
                return k;
        if (!ulv_plugin.rotate || !m->seen.definition)
                return -EOPNOTSUPP;
        if (m->rotation)
                return -EBUSY;
        r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        *r = (struct rotation) { .m = m, .words = -1 };
        m->rotation = r;
        k = begin(r, label);
        r->call = sd_bus_message_ref(call);
        if (k < 0)
                rotation_free(r);
        return k;
}
