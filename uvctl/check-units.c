/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* check, of an installed Ultravisor: PID 1's list of units beside the ledger's of partitions. */

#include <stdio.h>

#include "lib/cgroup.h"
#include "uvctl/check.h"

#define MANAGER "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
#define ANSWER_USEC 5000000u
#define TRANSIENT "/run/systemd/transient/"     /* what uv-monitor-lxc sets of a scope is there */

struct unit { char name[160]; bool active; };
struct units { sd_bus *bus; struct unit *v; size_t n; };

static int list_units(sd_bus *bus, struct units *ret) {
        ULV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        const char *name, *state;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, MANAGER, "ListUnitsByPatterns");
        if (r >= 0)
                r = sd_bus_message_append(m, "asas", 0, 3, "uv-partition@*.service", "ultravisor-*.scope", "machine-qemu*ultravisor*.scope");
        if (r >= 0)
                r = sd_bus_call(bus, m, ANSWER_USEC, NULL, &reply);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");
        while (r >= 0 && (r = sd_bus_message_read(reply, "(ssssssouso)", &name, NULL, NULL, &state, NULL, NULL, NULL, NULL, NULL, NULL)) > 0) {
                struct unit *v = reallocarray(ret->v, ret->n + 1, sizeof(*v));

                if (!v)
                        return -ENOMEM;
                ret->v = v;
                (void) snprintf(v[ret->n].name, sizeof(v[0].name), "%.159s", name);
                v[ret->n++].active = ulv_streq(state, "active");
        }
        return r;
}

static const struct unit *find(const struct units *u, const char *name) {
        for (size_t i = 0; i < u->n; i++)
                if (ulv_streq(u->v[i].name, name))
                        return &u->v[i];
        return NULL;
}

/* The partition's scope, whoever had it made. */
static const struct unit *find_scope(const struct units *u, const char *partition) {
        char name[96];

        for (size_t i = 0; i < u->n; i++)
                if (ulv_scope_partition(u->v[i].name, strlen(u->v[i].name), name, sizeof(name)) && ulv_streq(name, partition))
                        return &u->v[i];
        return NULL;
}

static void say(struct check *c, const char *partition, const char *unit, const char *text) {
        struct finding *f = check_find(c, CHECK_UNIT, partition, unit, "%s %s", unit, text);

        if (f)
                (void) snprintf(f->try_, sizeof(f->try_), "systemctl status %.200s", unit);
}

/* A drop-in made for this scope alone, by `systemctl edit` or by hand. (set-property on it changes what `limit` compares.) */
static void check_dropins(struct check *c, sd_bus *bus, const char *partition, const char *unit) {
        _cleanup_free_ char *path = NULL;
        char **files = NULL, part[192];

        (void) snprintf(part, sizeof(part), "/%.159s.d/", unit);
        if (sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit, &path) >= 0 &&
            sd_bus_get_property_strv(bus, "org.freedesktop.systemd1", path, "org.freedesktop.systemd1.Unit", "DropInPaths", NULL, &files) >= 0)
                for (char **f = files; f && *f; f++)
                        if (!ulv_startswith(*f, TRANSIENT) && strstr(*f, part)) {
                                struct finding *x = check_find(c, CHECK_UNIT, partition, *f, "%.300s changes its scope", *f);

                                if (x)
                                        (void) snprintf(x->try_, sizeof(x->try_), "systemctl revert %.127s", unit);
                        }
        for (char **f = files; f && *f; f++)
                free(*f);
        free(files);
}

static void check_running(struct check *c, const struct units *u, const struct part *p) {
        char service[128], scope[128];
        const struct unit *s;

        (void) snprintf(service, sizeof(service), "uv-partition@%s.service", p->name);
        (void) snprintf(scope, sizeof(scope), "ultravisor-%s.scope", p->name);
        s = find(u, service);
        if (!s || !s->active)
                say(c, p->name, service, "isn't active, and by the ledger its partition runs");
        if (!ulv_streq(p->type, "container") && !ulv_streq(p->type, "vm"))
                return;
        s = find_scope(u, p->name);
        if (!s || !s->active)
                say(c, p->name, s ? s->name : scope, "isn't active, and by the ledger its partition runs");
        else
                check_dropins(c, u->bus, p->name, s->name);
}

/* A unit of a partition that by the ledger doesn't run. */
static void check_unit(struct check *c, const struct unit *u) {
        const struct part *p;
        char name[64] = "";

        if (!u->active || (sscanf(u->name, "uv-partition@%63[^.]", name) != 1 && !ulv_scope_partition(u->name, strlen(u->name), name, sizeof(name))))
                return;
        p = rows_part(c->rows, name);
        if ((!p || !check_live(p)) && check_wants(c, name))
                say(c, name, u->name, p ? "is active, and by the ledger its partition doesn't run" : "is active, and there is no such partition");
}

void check_units(struct check *c) {
        struct units u = { 0 };

        if (!ulv_streq(c->u->root, "/"))
                return;
        if (sd_bus_open_system(&u.bus) < 0 || list_units(u.bus, &u) < 0)
                (void) snprintf(c->skipped, sizeof(c->skipped), "not compared: units, for systemd doesn't answer");
        else {
                for (size_t i = 0; i < c->rows->n_parts; i++)
                        if (!c->rows->parts[i].infrastructure && c->rows->parts[i].running && check_wants(c, c->rows->parts[i].name))
                                check_running(c, &u, &c->rows->parts[i]);
                for (size_t i = 0; i < u.n; i++)
                        check_unit(c, &u.v[i]);
        }
        free(u.v);
        sd_bus_flush_close_unref(u.bus);
}
