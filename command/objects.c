/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Partitions as bus objects: /org/ultravisor1/partition/NAME with properties, below an ObjectManager at
 * /org/ultravisor1. The properties come from the same summary as the rows. A connection that never looked
 * at an object isn't told of their changes: `uvctl list` would only throw them away. */

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION HASH_FNV  /* the default one falls through cases in a way that clang warns of */

#include <stdio.h>
#include <uthash.h>

#include "command/public.h"
#include "command/rows.h"
#include "command/system.h"
#include "lib/protocol.h"

/* A row of the table: how one property is made. */
struct source { struct ulv_partition_info p; const struct summary *s; const struct ulv_definition *d; };

static int get_string(sd_bus_message *m, const char *property, const struct source *o) {
        const struct { const char *name, *value; } values[] = {
                { "Name", o->p.name }, { "Type", o->p.type }, { "Role", o->p.role }, { "State", ulv_state_name(o->p.state) },
                { "Isolation", ulv_isolation_name(o->s->isolation) }, { "Zone", o->p.zone }, { "Result", o->p.result },
                { "Transaction", o->p.txn }, { "Description", o->s->description }, { "CPUHow", o->s->cpu_how },
                { "MemoryHow", o->s->memory_how }, { "Build", o->p.build },
        };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(values); i++)
                if (ulv_streq(values[i].name, property))
                        return sd_bus_message_append(m, "s", values[i].value);
        return -ENOENT;
}

static int get_number(sd_bus_message *m, const char *property, const struct source *o) {
        const struct { const char *name; uint64_t value; } values[] = {
                { "Leader", o->p.leader }, { "Since", o->p.since }, { "MemoryWanted", o->s->memory_wanted },
                { "MemoryReached", o->s->memory_reached },
        };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(values); i++)
                if (ulv_streq(values[i].name, property))
                        return sd_bus_message_append(m, "t", values[i].value);
        return -ENOENT;
}

static int get_cores(sd_bus_message *m, const struct source *o) {
        struct ulv_cpus cores;
        int r;

        r = ulv_cpus_parse(o->s->cores, &cores);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "u");
        for (unsigned i = 0; i < ULV_CPU_MAX && r >= 0; i++)
                if (ulv_cpus_has(&cores, i))
                        r = sd_bus_message_append(m, "u", i);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/* Of each what it is ("io-read:/dev/vda"), wanted, reached, by what. */
static int get_list(sd_bus_message *m, const char *text) {
        _cleanup_free_ char *list = strdup(text);
        char *rest, *word[4];
        int r = list ? sd_bus_message_open_container(m, 'a', "(stts)") : -ENOMEM;

        for (char *at = list; r >= 0; at = NULL) {
                for (size_t i = 0; i < ULV_ARRAY_SIZE(word); i++, at = NULL)
                        word[i] = strtok_r(at, " ", &rest);
                if (!word[3])
                        break;
                r = sd_bus_message_append(m, "(stts)", word[0], strtoull(word[1], NULL, 10), strtoull(word[2], NULL, 10), word[3]);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int property(ULV_UNUSED sd_bus *bus, const char *path, ULV_UNUSED const char *interface, const char *name, sd_bus_message *m,
                    void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        _cleanup_free_ char *partition = NULL;
        struct source o;
        int r;

        r = sd_bus_path_decode(path, ULV_PATH_PARTITION, &partition);
        if (r <= 0)
                return r < 0 ? r : -ENOENT;
        r = rows_summary(pp->m, partition, &o.p, &o.s, &o.d);
        if (r != 0)
                return r < 0 ? r : -ENOENT;
        if (ulv_streq(name, "Cores"))
                return get_cores(m, &o);
        if (ulv_streq(name, "Limits"))
                return get_list(m, o.s->limits);
        if (ulv_streq(name, "Attached"))
                return get_list(m, o.s->attached);
        if (ulv_streq(name, "CoresWanted"))
                return sd_bus_message_append(m, "u", o.s->cores_wanted);
        if (ulv_streq(name, "CoresReached"))
                return sd_bus_message_append(m, "u", o.s->cores_reached);
        if (ulv_streq(name, "ShareWanted"))
                return sd_bus_message_append(m, "d", (double) o.s->share_wanted / 1000);
        if (ulv_streq(name, "ShareReached"))
                return sd_bus_message_append(m, "d", (double) o.s->share_reached / 1000);
        if (ulv_streq(name, "Degraded"))
                return sd_bus_message_append(m, "b", (int) o.s->degraded);
        if (ulv_streq(name, "StatusText")) {
                char text[SAID_STATUS_MAX];

                query_said(pp->m, &o.p, text);
                return sd_bus_message_append(m, "s", text);
        }
        if (ulv_streq(name, "Ready"))
                return sd_bus_message_append(m, "b", (int) o.p.ready);
        r = get_number(m, name, &o);
        return r == -ENOENT ? get_string(m, name, &o) : r;
}

#define PROPERTY(name, type) SD_BUS_PROPERTY(name, type, property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Name", "s", property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        PROPERTY("Type", "s"), PROPERTY("Role", "s"), PROPERTY("Zone", "s"), PROPERTY("Description", "s"),
        PROPERTY("State", "s"), PROPERTY("Result", "s"), PROPERTY("Transaction", "s"), PROPERTY("Since", "t"), PROPERTY("Leader", "t"),
        PROPERTY("Isolation", "s"), PROPERTY("Degraded", "b"), PROPERTY("Ready", "b"),
        PROPERTY("Cores", "au"), PROPERTY("CoresWanted", "u"), PROPERTY("CoresReached", "u"),
        PROPERTY("ShareWanted", "d"), PROPERTY("ShareReached", "d"), PROPERTY("CPUHow", "s"),
        PROPERTY("MemoryWanted", "t"), PROPERTY("MemoryReached", "t"), PROPERTY("MemoryHow", "s"), PROPERTY("Build", "s"),
        SD_BUS_PROPERTY("StatusText", "s", property, 0, 0),     /* the partition's own words: nobody is told when they change */
        PROPERTY("Limits", "a(stts)"), PROPERTY("Attached", "a(stts)"),
        SD_BUS_VTABLE_END,
};

/* What may change while a partition lives. */
static char *changing[] = {
        (char *) "State", (char *) "Result", (char *) "Transaction", (char *) "Since", (char *) "Leader", (char *) "Isolation",
        (char *) "Degraded", (char *) "Ready", (char *) "Cores", (char *) "CoresWanted", (char *) "CoresReached", (char *) "ShareWanted",
        (char *) "ShareReached", (char *) "CPUHow", (char *) "MemoryWanted", (char *) "MemoryReached", (char *) "MemoryHow", (char *) "Build",
        (char *) "Limits", (char *) "Attached",
        (char *) "Type", (char *) "Role", (char *) "Zone", (char *) "Description", NULL,
};

/* --- who is known --------------------------------------------------------------------------------------- */

/* A partition that was told of: what is new, and what is gone, is seen by comparing with the ledger. */
struct known { char name[ULV_NAME_MAX + 1]; bool there; UT_hash_handle hh; };
struct objects { struct known *all; };

static void forget(struct objects *o, struct known *k) {
        HASH_DEL(o->all, k);
        free(k);
}

/* true: it wasn't known. */
static bool remember(struct objects *o, const char *name) {
        struct known *k;

        HASH_FIND_STR(o->all, name, k);
        if (k) {
                k->there = true;
                return false;
        }
        k = calloc(1, sizeof(*k));
        if (!k || !ulv_copy(k->name, sizeof(k->name), name)) {
                free(k);
                return false;
        }
        k->there = true;
        HASH_ADD_STR(o->all, name, k);
        if (!k->hh.tbl)         /* HASH_NONFATAL_OOM */
                free(k);
        return true;
}

static int seed(const struct ulv_partition_info *p, void *userdata) {
        (void) remember(userdata, p->name);
        return 0;
}

/* From now on this connection is told of changes; with the first one they begin to be followed. */
static void follow(struct public_peer *pp) {
        struct manager *m = pp->m;

        pp->uses_objects = true;
        if (m->objects || !(m->objects = calloc(1, sizeof(*m->objects))))
                return;
        if (m->ledger)
                (void) ulv_ledger_each_partition(m->ledger, seed, m->objects);
}

static int find(ULV_UNUSED sd_bus *bus, const char *path, ULV_UNUSED const char *interface, void *userdata, void **ret, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        _cleanup_free_ char *name = NULL;
        struct ulv_partition_info p;
        int r;

        r = sd_bus_path_decode(path, ULV_PATH_PARTITION, &name);
        if (r <= 0 || !pp->m->ledger || ulv_ledger_partition(pp->m->ledger, name, &p) != 0)
                return r < 0 ? r : 0;
        follow(pp);
        *ret = pp;
        return 1;
}

struct nodes { char **v; size_t n; };

static int add_node(const struct ulv_partition_info *p, void *userdata) {
        struct nodes *nodes = userdata;

        if (nodes->n >= ULV_PARTITIONS_MAX)
                return 0;
        return sd_bus_path_encode(ULV_PATH_PARTITION, p->name, &nodes->v[nodes->n++]) < 0 ? -ENOMEM : 0;
}

static int enumerate(ULV_UNUSED sd_bus *bus, ULV_UNUSED const char *prefix, void *userdata, char ***ret, ULV_UNUSED sd_bus_error *error) {
        struct public_peer *pp = userdata;
        struct nodes nodes = { .v = calloc(ULV_PARTITIONS_MAX + 1, sizeof(char *)) };
        int r = 0;

        if (!nodes.v)
                return -ENOMEM;
        follow(pp);
        if (pp->m->ledger)
                r = ulv_ledger_each_partition(pp->m->ledger, add_node, &nodes);
        if (r < 0) {
                ulv_strv_free(nodes.v);
                return r;
        }
        *ret = nodes.v;
        return 0;
}

int objects_add(struct public_peer *pp) {
        sd_bus *bus = pp->bus;
        int r;

        r = sd_bus_add_object_manager(bus, NULL, ULV_PATH);
        if (r >= 0)
                r = sd_bus_add_fallback_vtable(bus, NULL, ULV_PATH_PARTITION, ULV_IF_PARTITION, vtable, find, pp);
        if (r >= 0)
                r = sd_bus_add_node_enumerator(bus, NULL, ULV_PATH_PARTITION, enumerate, pp);
        if (r >= 0)
                r = job_objects_add(pp);
        if (r >= 0 && !pp->peer)        /* who listens on the system bus isn't known: it is always told */
                follow(pp);
        return r < 0 ? r : 0;
}

/* --- changes ------------------------------------------------------------------------------------------ */

struct emission { const char *path, *interface; char **changing; enum news what; };

static void emit(sd_bus *bus, const struct emission *t) {
        if (t->what == NEWS_ADDED)
                (void) sd_bus_emit_interfaces_added(bus, t->path, t->interface, NULL);
        else if (t->what == NEWS_CHANGED)
                (void) sd_bus_emit_properties_changed_strv(bus, t->path, t->interface, t->changing);
        else
                (void) sd_bus_emit_interfaces_removed(bus, t->path, t->interface, NULL);
}

static int emit_to(struct ulv_bus_peer *p, void *userdata) {
        const struct public_peer *pp = p->userdata;

        if (pp->uses_objects) {
                emit(p->bus, userdata);
                (void) ulv_bus_peer_overdue(p);
        }
        return 0;
}

void objects_emit(struct manager *m, const char *path, const char *interface, char **properties, enum news what) {
        struct emission e = { .path = path, .interface = interface, .changing = properties, .what = what };
        const struct public_peer *system = system_peer(m);

        if (m->listener)
                (void) ulv_bus_listener_each(m->listener, emit_to, &e);
        if (system)
                emit(system->bus, &e);
}

struct telling { struct manager *m; char last[ULV_NAME_MAX + 1]; };

static void tell(const struct telling *t, const char *name, enum news what) {
        _cleanup_free_ char *path = NULL;

        if (sd_bus_path_encode(ULV_PATH_PARTITION, name, &path) >= 0)
                objects_emit(t->m, path, ULV_IF_PARTITION, changing, what);
}

static void look(struct telling *t, const char *name) {
        struct ulv_partition_info p;
        struct known *k;

        if (ulv_streq(name, t->last) || !name[0])
                return;         /* a transaction's lines come partition by partition: mostly told just now */
        (void) snprintf(t->last, sizeof(t->last), "%s", name);
        if (ulv_ledger_partition(t->m->ledger, name, &p) == 0) {
                tell(t, name, remember(t->m->objects, name) ? NEWS_ADDED : NEWS_CHANGED);
                return;
        }
        HASH_FIND_STR(t->m->objects->all, name, k);
        if (k) {
                forget(t->m->objects, k);
                tell(t, name, NEWS_REMOVED);
        }
}

static int look_at_line(const char *line, size_t len, void *userdata) {
        _cleanup_op_ struct ulv_op op = { 0 };

        if (ulv_op_parse(line, len, &op, NULL) == 0)
                look(userdata, ulv_streq(op.kind, "partition") ? op.id : op.owner);
        return 0;
}

static int look_at(const struct ulv_partition_info *p, void *userdata) {
        look(userdata, p->name);
        return 0;
}

/* The mirror was loaded anew: anything may have changed. */
static void look_at_all(struct telling *t) {
        struct known *k, *next;

        HASH_ITER(hh, t->m->objects->all, k, next)
                k->there = false;
        (void) ulv_ledger_each_partition(t->m->ledger, look_at, t);
        HASH_ITER(hh, t->m->objects->all, k, next)
                if (!k->there) {
                        char name[sizeof(k->name)];

                        (void) snprintf(name, sizeof(name), "%s", k->name);
                        forget(t->m->objects, k);
                        tell(t, name, NEWS_REMOVED);
                }
}

void objects_tell(struct manager *m, const char *changes) {
        struct telling t = { .m = m };

        if (!m->ledger || !m->objects)
                return;
        if (changes[0])
                (void) ulv_op_each_line(changes, strlen(changes), look_at_line, &t);
        else
                look_at_all(&t);
}

void objects_done(struct manager *m) {
        if (!m->objects)
                return;
        while (m->objects->all)
                forget(m->objects, m->objects->all);
        free(m->objects);
        m->objects = NULL;
}
