/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A snapshot: the planner's rows, asked for as anybody asks who may look (of an installed Ultravisor on the system bus,
 * where this program's account is in the group ultravisor-view and polkit decides; else on the private socket), and for
 * each partition that runs what the kernel counts. */

#include "metrics/metrics.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/bus.h"
#include "lib/cgroup.h"
#include "lib/protocol.h"

#define PATIENCE_USEC UINT64_C(1500000)         /* of each of three calls; serve.c gives a connection five seconds */

static int reach(struct source *s) {
        bool installed = ulv_streq(s->root, "/");
        _cleanup_free_ char *path = NULL;
        int r;

        if (s->bus && sd_bus_is_open(s->bus) > 0)
                return 0;
        s->bus = sd_bus_close_unref(s->bus);
        if (installed && sd_bus_open_system(&s->bus) >= 0) {
                s->service = ULV_SERVICE;
                return 0;
        }
        s->service = NULL;
        if (asprintf(&path, "%s%srun/ultravisor/%s", s->root, installed ? "" : "/", ULV_SOCKET_PUBLIC) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        r = ulv_bus_connect(NULL, path, &s->bus);
        return r < 0 ? r : 0;
}

static int ask(struct source *s, const char *method, const char *kind, sd_bus_message **ret) {
        sd_bus_message *call = NULL;
        int r;

        r = sd_bus_message_new_method_call(s->bus, &call, s->service, ULV_PATH, ULV_IF_MANAGER, method);
        if (r >= 0 && kind)
                r = sd_bus_message_append(call, "s", kind);
        if (r >= 0)
                r = sd_bus_call(s->bus, call, PATIENCE_USEC, NULL, ret);
        sd_bus_message_unref(call);
        return r;
}

static int take_row(const char *line, size_t len, void *userdata) {
        struct snapshot *s = userdata;
        struct subject one = { 0 }, *more;
        uint64_t leader = 0;
        int r;

        r = ulv_op_parse(line, len, &one.row, NULL);
        if (r != 0)
                return r < 0 ? r : -EBADMSG;
        if (s->n_subjects == s->size_subjects) {
                more = reallocarray(s->subjects, s->size_subjects + 64, sizeof(*more));
                if (!more) {
                        ulv_op_done(&one.row);
                        return -ENOMEM;
                }
                s->subjects = more;
                s->size_subjects += 64;
        }
        if (ulv_op_get_u64(&one.row, "leader", &leader) == 0 && leader > 0)
                usage_read(s->cgroups, one.row.id, leader, &one.usage);
        s->subjects[s->n_subjects++] = one;
        return 0;
}

static int take_channel(const char *line, size_t len, void *userdata) {
        struct snapshot *s = userdata;
        struct ulv_op op, *more;
        int r = ulv_op_parse(line, len, &op, NULL);

        if (r != 0)
                return r < 0 ? r : -EBADMSG;
        if (s->n_channels == s->size_channels) {
                more = reallocarray(s->channels, s->size_channels + 64, sizeof(*more));
                if (!more) {
                        ulv_op_done(&op);
                        return -ENOMEM;
                }
                s->channels = more;
                s->size_channels += 64;
        }
        s->channels[s->n_channels++] = op;
        return 0;
}

static int take_rows(struct source *source, const char *kind, int (*take)(const char *, size_t, void *), struct snapshot *s) {
        sd_bus_message *reply = NULL;
        const char *text;
        int r;

        r = ask(source, "Rows", kind, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "ts", &s->generation, &text);
        if (r >= 0)
                r = ulv_op_each_line(text, strlen(text), take, s);
        sd_bus_message_unref(reply);
        return r;
}

static int take_status(struct source *source, struct snapshot *s) {
        sd_bus_message *reply = NULL;
        const char *key, *value;
        int r;

        r = ask(source, "Status", NULL, &reply);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "{ss}");
        while (r >= 0 && (r = sd_bus_message_read(reply, "{ss}", &key, &value)) > 0) {
                if (ulv_streq(key, "Ledger"))
                        s->ledger = ulv_streq(value, "connected");
                else if (ulv_streq(key, "Operations"))
                        s->operations = ulv_streq(value, "connected");
                else if (ulv_streq(key, "TransactionsDone"))
                        s->done = strtoull(value, NULL, 10);
                else if (ulv_streq(key, "TransactionsUndone"))
                        s->undone = strtoull(value, NULL, 10);
        }
        sd_bus_message_unref(reply);
        return r;
}

int snapshot_take(struct source *source, struct snapshot *ret) {
        struct snapshot s = { 0 };
        int r;

        if (ulv_cgroup_mount(s.cgroups, sizeof(s.cgroups)) < 0)
                s.cgroups[0] = 0;
        steal_read(&s);
        r = reach(source);
        if (r >= 0 && (r = take_status(source, &s)) >= 0 && (r = take_rows(source, "channel", take_channel, &s)) >= 0)
                r = take_rows(source, "partition", take_row, &s);
        if (r == -ENOMEM) {
                snapshot_done(&s);
                return r;
        }
        s.up = r >= 0;
        if (r < 0)              /* a connection that didn't answer is made anew */
                source->bus = sd_bus_close_unref(source->bus);
        *ret = s;
        return 0;
}

void snapshot_done(struct snapshot *s) {
        for (size_t i = 0; i < s->n_subjects; i++)
                ulv_op_done(&s->subjects[i].row);
        free(s->subjects);
        for (size_t i = 0; i < s->n_channels; i++)
                ulv_op_done(&s->channels[i]);
        free(s->channels);
        *s = (struct snapshot) { 0 };
}
