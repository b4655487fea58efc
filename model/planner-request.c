/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/planner-internal.h"
#include "model/restart.h"

/* What is asked for one partition as a whole: start, stop, remove. */

/* --- common refusals ----------------------------------------------------------------------------------- */

const char *ulv_request_verb_name(enum ulv_request_verb v) {
        static const char *const names[] = {
                [ULV_REQUEST_START] = "start", [ULV_REQUEST_STOP] = "stop", [ULV_REQUEST_SET] = "set",
                [ULV_REQUEST_MOVE] = "move", [ULV_REQUEST_APPLY] = "apply", [ULV_REQUEST_REMOVE] = "remove",
                [ULV_REQUEST_PAUSE] = "pause", [ULV_REQUEST_RESUME] = "resume",
                [ULV_REQUEST_ATTACH] = "attach", [ULV_REQUEST_DETACH] = "detach",
        };
        return names[v];
}

static int collect_name(const struct ulv_partition_info *info, void *userdata) {
        struct { const char **v; size_t n; } *names = userdata;

        if (!ulv_streq(info->role, "infrastructure") && names->n < ULV_PARTITIONS_MAX)
                names->v[names->n++] = info->name;
        return 0;
}

static int refuse_unknown(struct planner *p, const char *name) {
        struct { const char **v; size_t n; } names = {};
        const char *nearest = NULL;

        names.v = calloc(ULV_PARTITIONS_MAX + p->b->n_definitions, sizeof(*names.v));
        if (!names.v)
                return -ENOMEM;
        (void) ulv_ledger_each_partition(p->l, collect_name, &names);
        for (size_t i = 0; i < p->b->n_definitions; i++)
                names.v[names.n++] = p->b->definitions[i]->name;
        nearest = ulv_config_nearest(name, names.v, names.n);
        free(names.v);
        return ulv_plan_refuse(p, ULV_EXIT_NOT_FOUND, TEXT("no partition %s", ULV_Q(name)), "no definition has this name, and the ledger doesn't know it",
                               nearest ? TEXT("uvctl %s %s", ulv_request_verb_name(p->r->verb), nearest) : "uvctl list");
}

static int refuse_infrastructure(struct planner *p, const char *name) {
        return ulv_plan_refuse(p, ULV_EXIT_USAGE, TEXT("cannot %s %s", ulv_request_verb_name(p->r->verb), name), "it belongs to the ultravisor itself",
                               "uvctl list, to see the partitions");
}

int ulv_plan_look_up(struct planner *p, const char *name, struct ulv_partition_info *ret, bool *ret_known) {
        if (ulv_name_is_reserved(name))
                return refuse_infrastructure(p, name);
        *ret_known = ulv_ledger_partition(p->l, name, ret) == 0;
        if (!*ret_known)
                *ret = (struct ulv_partition_info) { .name = name, .state = ULV_DEFINED, .wanted = ULV_DEFINED };
        return *ret_known || ulv_bundle_definition(p->b, name) ? 0 : refuse_unknown(p, name);
}

int ulv_plan_refuse_stopping(struct planner *p, const char *what, const char *name) {
        return ulv_plan_refuse(p, ULV_EXIT_CONFLICT, what, TEXT("%s is stopping, and all that it has goes back to idle", name),
                               TEXT("uvctl start %s, when uvctl status %s says that it is gone", name, name));
}

int ulv_plan_need_definition(struct planner *p, const char *name, const struct ulv_definition **ret, struct ulv_definition **ret_own) {
        int r;

        r = ulv_plan_definition(p, name, ret, ret_own);
        if (r <= 0)
                return r;
        return ulv_plan_refuse(p, ULV_EXIT_FAILED, TEXT("cannot %s %s", ulv_request_verb_name(p->r->verb), name),
                               "the ledger's definition of it is none that this version can read, and no file defines it",
                               TEXT("write %s.partition, then uvctl apply", name));
}

bool ulv_plan_lacks_image(const struct planner *p, const struct ulv_definition *d) {
        for (const char *const *v = p->r->missing; v && *v && d->image[0]; v++)
                if (ulv_streq(*v, d->image))
                        return true;
        return false;
}

/* In the words of the monitor, which has the last one (plugins/lxc/image.c). */
static int check_image(struct planner *p, const struct ulv_definition *d) {
        if (!ulv_plan_lacks_image(p, d))
                return 0;
        return ulv_plan_refuse(p, ULV_EXIT_FAILED, TEXT("cannot start %s", d->name), TEXT("there is no image %s: uvctl image list shows what there is", d->image),
                               TEXT("uvctl image build %s, or: uvctl image import", d->image));
}

/* --- start --------------------------------------------------------------------------------------------- */

struct values ulv_plan_values(const struct ulv_definition *d) {
        return (struct values) {
                .has_cores = d->whole_cores, .cores = d->cores, .has_share = !d->whole_cores, .share = d->share,
                .has_memory = true, .memory = d->memory,
        };
}

static int place_start(struct planner *p, const struct ulv_definition *d, const struct values *v, struct shortages *ret) {
        const struct need need = {
                .owner = d->name, .d = d, .cores = v->has_cores ? v->cores : 0, .share = v->has_share ? v->share : 0,
                .memory = v->memory / ULV_MEMORY_UNIT, .uids = !ulv_streq(d->type, "sim"),
        };

        return ulv_place(p, &need, ret);
}

/* On top of what it has, if it runs already. */
bool ulv_plan_lower(const struct ulv_definition *d, const struct values *has, const struct shortages *s, struct values *v) {
        for (size_t i = 0; i < s->n; i++) {
                uint64_t more = s->v[i].idle + s->v[i].spare;

                if (s->v[i].what == SHORT_OF_CORES && d->cores_min > 0 && has->cores + more >= d->cores_min)
                        v->cores = has->cores + more;
                else if (s->v[i].what == SHORT_OF_SHARE && d->share_min > 0 && has->share + more >= d->share_min)
                        v->share = has->share + more;
                else if (s->v[i].what == SHORT_OF_MEMORY && d->memory_min > 0 && has->memory + more * ULV_MEMORY_UNIT >= d->memory_min)
                        v->memory = has->memory + more * ULV_MEMORY_UNIT;
                else
                        return false;
        }
        return true;
}

static void add_cores_text(const struct planner *p, const char *name, struct ulv_strbuf *b) {
        uint64_t n = ulv_world_wanted_cores(&p->w, name);
        int node = -1;

        for (unsigned i = 0; i < ulv_world_nodes(&p->w); i++)
                if (ulv_world_count_cores(&p->w, name, (int) i) == n)
                        node = (int) i;
        ulv_strbuf_addf(b, "%llu core%s", (unsigned long long) n, n == 1 ? "" : "s");
        if (node >= 0)
                ulv_strbuf_addf(b, " on node %d", node);
}

static void add_memory_text(const struct planner *p, const char *name, const char *pages, struct ulv_strbuf *b) {
        bool first = true;

        for (unsigned i = 0; i < ulv_world_nodes(&p->w); i++) {
                uint64_t n = ulv_world_count_memory(&p->w, name, (int) i, pages);

                if (n == 0)
                        continue;
                ulv_strbuf_addf(b, "%s%s on node %u", first ? "" : " and ", MEMORY(n), i);
                first = false;
        }
}

/* "2 cores on node 1, 16G on node 1", and what is less than wanted. */
static void line_start(struct planner *p, const struct ulv_definition *d, const struct values *v) {
        STACK_TEXT(b);
        STACK_TEXT(note);

        if (p->trial)
                return;
        if (d->whole_cores)
                add_cores_text(p, d->name, &b);
        else
                ulv_strbuf_addf(&b, "%s share", SHARE(v->share));
        ulv_strbuf_add(&b, ", ");
        add_memory_text(p, d->name, d->pages, &b);
        if ((d->whole_cores && v->cores < d->cores) || (!d->whole_cores && v->share < d->share) || v->memory < d->memory)
                ulv_strbuf_add(&note, "less than wanted");
        ulv_plan_line(p, d->name, "start", ulv_strbuf_str(&note), "%s", ulv_strbuf_str(&b));
}

static int start_defined(struct planner *p, const struct ulv_definition *d) {
        struct values v = p->values ? *p->values : ulv_plan_values(d);
        size_t mark = ulv_plan_mark(p);
        struct shortages s;
        int r;

        r = place_start(p, d, &v, &s);
        if (r > 0 && !p->values && ulv_plan_lower(d, &(struct values) {}, &s, &v)) {
                struct shortages again;

                ulv_plan_explain(p, "less than wanted is allowed (Min=): tried again");
                r = ulv_plan_restart(p, mark);
                if (r == 0)
                        r = place_start(p, d, &v, &again);
        }
        if (r != 0)
                return r < 0 ? r : ulv_plan_short(p, TEXT("cannot start %s", d->name), d, &s);
        ulv_plan_limits(p, d, NULL);
        r = ulv_plan_attach_start(p, d);
        if (r == 0)
                r = ulv_plan_channels_start(p, d);
        if (r != 0)
                return r;
        ulv_plan_op_state(p, d->name, ULV_STARTING, false);
        line_start(p, d, &v);
        return 0;
}

int ulv_plan_start(struct planner *p) {
        const char *name = p->r->name;
        const struct ulv_definition *d;
        struct ulv_definition *own = NULL;
        struct ulv_partition_info info;
        bool known;
        int r;

        r = ulv_plan_look_up(p, name, &info, &known);
        if (r != 0)
                return r;
        ulv_plan_explain(p, "%s is %s", name, known ? ulv_state_name(info.state) : "not in the ledger yet");
        if (info.state == ULV_STOPPING)
                return ulv_plan_refuse_stopping(p, TEXT("cannot start %s now", name), name);
        if (ulv_state_is_live(info.state)) {
                ulv_plan_line(p, name, "kept", "", info.state == ULV_STARTING ? "already starting" :
                              info.state == ULV_RUNNING ? "already running" : "already running, and paused");
                return 0;
        }
        r = ulv_plan_need_definition(p, name, &d, &own);
        if (r == 0)
                r = check_image(p, d);
        if (r == 0)
                r = ulv_plan_check_isolation(p, d);
        if (r == 0)
                r = ulv_plan_define(p, d, NULL);
        if (r == 0)
                r = start_defined(p, d);
        ulv_definition_free(own);
        return r;
}

/* --- stop, remove -------------------------------------------------------------------------------------- */

int ulv_plan_stop(struct planner *p) {
        const char *name = p->r->name;
        struct ulv_partition_info info;
        bool known;
        int r;

        r = ulv_plan_look_up(p, name, &info, &known);
        if (r != 0)
                return r;
        if (!ulv_state_is_live(info.state) && known && info.wanted != ULV_DEFINED && ulv_restart_is_due(&info, ulv_bundle_definition(p->b, name))) {
                ulv_plan_op_state(p, name, ULV_DEFINED, false);
                ulv_plan_line(p, name, "stop", "", "not running, and not started again (Restart=)");
                return 0;
        }
        if (!ulv_state_is_live(info.state)) {
                ulv_plan_line(p, name, "kept", "", "not running");
                return 0;
        }
        if (info.state == ULV_STOPPING && !p->r->force) {
                ulv_plan_line(p, name, "kept", "", "already stopping");
                return 0;
        }
        ulv_plan_op_state(p, name, ULV_STOPPING, p->r->force);
        ulv_plan_line(p, name, p->r->force ? "kill" : "stop", "", "all that it has goes back to idle");
        return 0;
}

/* --- pause, resume ------------------------------------------------------------------------------------- */

static bool is_on_the_way(enum ulv_state state, enum ulv_state wanted, bool pause) {
        return pause ? state == ULV_PAUSING && wanted == ULV_PAUSED : (state == ULV_PAUSING || state == ULV_PAUSED) && wanted == ULV_RUNNING;
}

/* The monitor has said whether there is something to hold it in. */
static int refuse_pause(struct planner *p, const char *name, const struct ulv_partition_info *info) {
        if (info->state != ULV_RUNNING && info->state != ULV_PAUSING && info->state != ULV_PAUSED)
                return ulv_plan_refuse(p, ulv_state_is_live(info->state) ? ULV_EXIT_CONFLICT : ULV_EXIT_NOT_ACTIVE,
                                       TEXT("cannot %s %s", ulv_request_verb_name(p->r->verb), name), TEXT("it is %s", ulv_state_name(info->state)),
                                       ulv_state_is_live(info->state) ? TEXT("uvctl status %s, and again when it runs", name) :
                                       TEXT("uvctl start %s", name));
        if (!strstr(info->contain, "freezer"))
                return ulv_plan_refuse(p, ULV_EXIT_FAILED, TEXT("cannot %s %s", ulv_request_verb_name(p->r->verb), name),
                                       "there is no cgroup v2 here in which it could be held (cgroup.freeze)",
                                       "a kernel with cgroup v2 mounted, and uvctl restart; or uvctl stop");
        return 0;
}

int ulv_plan_pause(struct planner *p, bool pause) {
        const char *name = p->r->name;
        struct ulv_partition_info info;
        bool known;
        int r;

        r = ulv_plan_look_up(p, name, &info, &known);
        if (r == 0)
                r = refuse_pause(p, name, &info);
        if (r != 0)
                return r;
        if (info.state == (pause ? ULV_PAUSED : ULV_RUNNING) && info.wanted == info.state) {
                ulv_plan_line(p, name, "kept", "", pause ? "already paused" : "already running");
                return 0;
        }
        if (is_on_the_way(info.state, info.wanted, pause)) {
                ulv_plan_line(p, name, "kept", "", pause ? "already pausing" : "already resuming");
                return 0;
        }
        ulv_plan_op_state(p, name, pause ? ULV_PAUSING : ULV_RUNNING, false);
        ulv_plan_line(p, name, pause ? "pause" : "resume", "", pause ? "nothing of it runs; it keeps what it has" : "it goes on");
        return 0;
}

int ulv_plan_remove(struct planner *p) {
        const char *name = p->r->name;
        struct ulv_partition_info info;
        struct ulv_strbuf *b = ulv_plan_ops(p);
        bool known;
        int r;

        r = ulv_plan_look_up(p, name, &info, &known);
        if (r != 0)
                return r;
        if (ulv_state_is_live(info.state))
                return ulv_plan_refuse(p, ULV_EXIT_CONFLICT, TEXT("cannot remove %s", name), TEXT("it is %s", ulv_state_name(info.state)),
                                       info.state == ULV_STOPPING ? TEXT("uvctl remove %s, when it is gone", name) :
                                       TEXT("uvctl stop %s, then again", name));
        if (known && b) {
                ulv_op_begin(b, "remove", "partition", name, NULL);
                ulv_op_end(b);
        }
        ulv_plan_line(p, name, "remove", "", "its definition");
        return 0;
}
