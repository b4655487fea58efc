/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/planner-internal.h"

/* Will a partition reach the isolation that it, or policy, asks for? Answered before it starts, from
 * what its monitor would report on this machine: the same words that uvd's ledger gets later, graded by
 * the same function, so that list and status don't contradict a start that was allowed. */

static bool has_controller(const struct ulv_inventory_info *inv, const char *name) {
        size_t n = strlen(name);

        for (const char *s = inv->controllers; *s; s += strspn(s, " ")) {
                size_t len = strcspn(s, " ");

                if (len == n && memcmp(s, name, n) == 0)
                        return true;
                s += len;
        }
        return false;
}

/* contain= of the backends: plugins/lxc/plugin.c, plugins/kvm/plugin.c and plugins/sim/sim.c report these words. The device filter
 * takes a cgroup2 directory; whether there is one shows in its controllers, without which no grade needs it. */
static const char *containment(const struct ulv_inventory_info *inv, const struct ulv_definition *d) {
        if (ulv_streq(d->type, "vm") && inv->kind != ULV_INVENTORY_IMAGINED)
                return ulv_streq(d->accel, "tcg") ? "tcg confined" : "kvm confined";
        if (!ulv_streq(d->type, "container"))
                return "simulated";
        return inv->controllers[0] ? "userns seccomp nocaps devices" : "userns seccomp nocaps anydevice";
}

static const char *cpu_how(const struct ulv_inventory_info *inv, const struct ulv_definition *d) {
        if (inv->kind == ULV_INVENTORY_IMAGINED)
                return "tracked";
        if (ulv_streq(d->type, "vm"))   /* its threads are pinned; nothing limits them */
                return d->whole_cores ? "affinity" : "tracked";
        if (d->whole_cores)
                return has_controller(inv, "cpuset") ? "isolated" : "affinity";
        return has_controller(inv, "cpu") ? "limit" : "tracked";
}

static const char *memory_how(const struct ulv_inventory_info *inv, const struct ulv_definition *d) {
        return inv->kind != ULV_INVENTORY_IMAGINED && !ulv_streq(d->type, "vm") && has_controller(inv, "memory") ? "limit" : "tracked";
}

static bool is_limited(const struct ulv_inventory_info *inv, const struct ulv_limit *l) {
        return inv->kind != ULV_INVENTORY_IMAGINED && has_controller(inv, l->what == ULV_LIMIT_TASKS ? "pids" : "io");
}

static const char *limits_how(const struct ulv_inventory_info *inv, const struct ulv_definition *d) {
        for (size_t i = 0; i < d->n_limits; i++)
                if (!is_limited(inv, &d->limits[i]))
                        return "tracked";
        return d->n_limits > 0 ? "limit" : "";
}

/* What stands between this partition and a better grade. */
static const char *obstacle(const struct ulv_inventory_info *inv, const struct ulv_definition *d) {
        if (inv->kind == ULV_INVENTORY_IMAGINED)
                return "this machine is imagined (--inventory): nothing is enforced, all is tracked only";
        if (ulv_streq(d->type, "sim"))
                return "it is simulated: nothing runs, and nothing contains it";
        if (ulv_streq(d->type, "vm"))
                return ulv_streq(d->accel, "tcg") ? "it is emulated (Accel=tcg), which isolates nothing" :
                        "this version pins a VM's threads to its CPUs, but sets no limit for QEMU";
        if (!has_controller(inv, "memory"))
                return "this machine has no memory controller for cgroups: its memory can't be limited";
        if (!has_controller(inv, d->whole_cores ? "cpuset" : "cpu"))
                return d->whole_cores ? "this machine has no cpuset controller for cgroups: its cores are asked for only (affinity)" :
                        "this machine has no cpu controller for cgroups: its share can't be limited";
        for (size_t i = 0; i < d->n_limits; i++)
                if (!is_limited(inv, &d->limits[i]))
                        return d->limits[i].what == ULV_LIMIT_TASKS ? "this machine has no pids controller for cgroups: Tasks= can't be enforced" :
                                "this machine has no io controller for cgroups: what it reads and writes can't be limited";
        return "a container shares the host's kernel; more takes a kernel of its own, a VM's (Type=vm)";
}

static int refuse(struct planner *p, const struct ulv_definition *d, enum ulv_isolation wanted, enum ulv_isolation grade,
                  const char *why, const char *who, const char *try_) {
        return ulv_plan_refuse(p, ULV_EXIT_DENIED, TEXT("cannot start %s with isolation %s", d->name, ulv_isolation_name(wanted)),
                               TEXT("it would be %s: %s (%s)", ulv_isolation_name(grade), why, who), try_);
}

int ulv_plan_check_isolation(struct planner *p, const struct ulv_definition *d) {
        struct ulv_inventory_info inv;
        const struct ulv_policy *policy = p->b->policy;
        enum ulv_isolation grade;

        ulv_ledger_inventory(p->l, &inv);
        grade = ulv_isolation_grade(d->type, containment(&inv, d), cpu_how(&inv, d), memory_how(&inv, d), limits_how(&inv, d), d->whole_cores);
        ulv_plan_explain(p, "isolation: %s can reach %s (contain: %s, cpu: %s, memory: %s); it wants %s", d->name, ulv_isolation_name(grade),
                         containment(&inv, d), cpu_how(&inv, d), memory_how(&inv, d), ulv_isolation_name(d->isolation));
        if (grade < d->isolation)
                return refuse(p, d, d->isolation, grade, obstacle(&inv, d),
                              TEXT("%s:%u Isolation=%s", d->at.isolation.file[0] ? d->at.isolation.file : d->name, d->at.isolation.line, ulv_isolation_name(d->isolation)),
                              TEXT("uvctl edit %s, and set Isolation=%s in [Partition]", d->name, ulv_isolation_name(grade)));
        for (size_t i = 0; i < policy->n_require; i++) {
                const struct ulv_require *q = &policy->require[i];

                if (!ulv_policy_matches(q->match, d))
                        continue;
                ulv_plan_explain(p, "isolation: [Require \"%s\"] (%s:%u) wants %s", ULV_Q(q->label), q->at.file, q->at.line, ulv_isolation_name(q->isolation));
                if (grade < q->isolation)
                        return refuse(p, d, q->isolation, grade, obstacle(&inv, d),
                                      TEXT("%s:%u [Require \"%s\"]", q->at.file, q->at.line, ULV_Q(q->label)),
                                      TEXT("edit %s, so that [Require \"%s\"] doesn't match %s, then uvctl reload", q->at.file, ULV_Q(q->label), d->name));
        }
        return 0;
}
