/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-slice.service: the slices of partitions, at boot and whenever it is reloaded. Without a partition on cores of its own it
 * takes nothing: the slice's cpuset is empty, and a cpuset partition it becomes with its first core. */

#include "monitor/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "lib/cgroup.h"
#include "lib/fd.h"
#include "lib/log.h"
#include "lib/strbuf.h"
#include "monitor/enforce/enforce.h"

/* Each controller, and what is weaker without it. */
static const struct { const char *name, *instead; } controllers[] = {
        { "cpuset", "cores are an affinity" },
        { "cpu", "shares are tracked only" },
        { "memory", "memory is tracked only" },
        { "pids", "tasks are tracked only" },
        { "io", "I/O limits are tracked only" },
};

static bool has_word(const char *text, const char *word) {
        size_t n = strlen(word);

        for (const char *p = strstr(text, word); p; p = strstr(p + 1, word))
                if ((p == text || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
                        return true;
        return false;
}

/* A cpuset partition wants a parent that is one. The machine's own root always is; a container's may not be, nor have all
 * controllers. */
static void say_machine(int root, struct ulv_strbuf *b) {
        char offered[1024], state[256];
        unsigned missing = 0;

        if (ulv_cgroup_read(root, "cgroup.controllers", offered, sizeof(offered)) < 0)
                offered[0] = 0;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(controllers); i++)
                if (!has_word(offered, controllers[i].name))
                        ulv_strbuf_addf(b, "%s %s (%s)", missing++ == 0 ? "; missing: controller" : ",", controllers[i].name, controllers[i].instead);
        if (has_word(offered, "cpuset") && ulv_cgroup_read(root, "cpuset.cpus.partition", state, sizeof(state)) == 0 &&
            !ulv_streq(state, "root") && !ulv_streq(state, "isolated"))
                ulv_strbuf_addf(b, "; cores are a limit, no cpuset partition: the cgroup of this system is \"%s\"", state);
}

static void say_cores(int slice, struct ulv_strbuf *b) {
        char cpus[4096], state[256];

        if (slice < 0 || ulv_cgroup_read(slice, "cpuset.cpus", cpus, sizeof(cpus)) < 0 || !cpus[0]) {
                ulv_strbuf_add(b, "no partition has cores of its own");
                return;
        }
        if (ulv_cgroup_read(slice, "cpuset.cpus.partition", state, sizeof(state)) < 0)
                (void) snprintf(state, sizeof(state), "not a partition");
        ulv_strbuf_addf(b, "CPUs %s are partitions' own, cpuset %s", cpus, state);
}

int unit_slice(void) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        _cleanup_close_ int lock = ulv_slice_lock(), root = -1, slice = -1;
        char path[4096], *end;
        int r = lock < 0 ? lock : ulv_cgroup_root(path, sizeof(path) - sizeof("/" ULV_SLICE_CORES));

        if (r == 0) {
                root = ulv_cgroup_open(path, false);
                end = path + strlen(path);
                memcpy(end, "/" ULV_SLICE_CORES, sizeof("/" ULV_SLICE_CORES));
                r = ulv_slice_fit(path, NULL);
        }
        ulv_scope_done();
        if (r < 0)
                return ulv_log_errno(r, "the slice of partitions with cores can't be made to fit");
        slice = ulv_cgroup_open(path, false);
        say_cores(slice, &b);
        say_machine(root, &b);
        r = ulv_strbuf_error(&b);
        if (r < 0)
                return ulv_log_errno(r, "what this machine can enforce isn't said");
        ulv_log(ULV_LOG_INFO, "%s", ulv_strbuf_str(&b));
        (void) sd_notifyf(0, "STATUS=%s", ulv_strbuf_str(&b));
        return 0;
}
