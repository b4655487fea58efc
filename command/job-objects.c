/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Jobs as bus objects: /org/ultravisor1/job/ID, from the moment that a caller is told the id until the job is forgotten
 * (job.c says when). A caller that goes away finds its work again; what a job did outlives it in the ledger, by its
 * transactions. */

#include "command/public.h"

#include "command/job.h"
#include "lib/protocol.h"

static const char *state_of(const struct job *j) { return j->state ? j->state : "running"; }

static int get_transactions(sd_bus_message *m, const struct job *j) {
        int r = sd_bus_message_open_container(m, 'a', "s");

        for (size_t i = 0; r >= 0 && i < j->n_items; i++)
                if (j->items[i].txn[0])
                        r = sd_bus_message_append(m, "s", j->items[i].txn);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int property(ULV_UNUSED sd_bus *bus, ULV_UNUSED const char *path, ULV_UNUSED const char *interface, const char *name, sd_bus_message *m,
                    void *userdata, ULV_UNUSED sd_bus_error *error) {
        const struct job *j = userdata;
        const struct { const char *name, *value; } values[] = {
                { "Id", j->id }, { "Verb", j->verb }, { "Subject", j->subject }, { "Reason", j->reason }, { "Plan", ulv_strbuf_str(&j->plan) },
                { "State", state_of(j) }, { "Text", j->text ? j->text : "" },
        };

        if (ulv_streq(name, "Transactions"))
                return get_transactions(m, j);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(values); i++)
                if (ulv_streq(values[i].name, name))
                        return sd_bus_message_append(m, "s", values[i].value);
        return -ENOENT;
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Id", "s", property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Verb", "s", property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Subject", "s", property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Reason", "s", property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Plan", "s", property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("State", "s", property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Text", "s", property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Transactions", "as", property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};
static char *changing[] = { (char *) "State", (char *) "Text", (char *) "Transactions", NULL };

static int find(ULV_UNUSED sd_bus *bus, const char *path, ULV_UNUSED const char *interface, void *userdata, void **ret, ULV_UNUSED sd_bus_error *error) {
        const struct public_peer *pp = userdata;
        _cleanup_free_ char *id = NULL;
        struct job *j;
        int r = sd_bus_path_decode(path, ULV_PATH_JOB, &id);

        if (r <= 0)
                return r;
        j = job_find(pp->m, id);
        if (!j || !j->shown)
                return 0;
        *ret = j;
        return 1;
}

static int enumerate(ULV_UNUSED sd_bus *bus, ULV_UNUSED const char *prefix, void *userdata, char ***ret, ULV_UNUSED sd_bus_error *error) {
        const struct public_peer *pp = userdata;
        char **nodes = calloc(JOBS_MAX + 1, sizeof(*nodes));
        size_t n = 0;

        if (!nodes)
                return -ENOMEM;
        for (const struct job *j = pp->m->jobs->first; j && n < JOBS_MAX; j = j->next)
                if (j->shown && sd_bus_path_encode(ULV_PATH_JOB, j->id, &nodes[n++]) < 0) {
                        ulv_strv_free(nodes);
                        return -ENOMEM;
                }
        *ret = nodes;
        return 0;
}

int job_objects_add(struct public_peer *pp) {
        int r = sd_bus_add_fallback_vtable(pp->bus, NULL, ULV_PATH_JOB, ULV_IF_JOB, vtable, find, pp);

        return r < 0 ? r : sd_bus_add_node_enumerator(pp->bus, NULL, ULV_PATH_JOB, enumerate, pp);
}

void job_object_tell(struct job *j, enum news what) {
        _cleanup_free_ char *path = NULL;

        if (what == NEWS_ADDED)
                j->shown = true;
        if (j->shown && sd_bus_path_encode(ULV_PATH_JOB, j->id, &path) >= 0)
                objects_emit(j->m, path, ULV_IF_JOB, changing, what);
        if (what == NEWS_REMOVED)
                j->shown = false;
}
