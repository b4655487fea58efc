/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The two profiles of a container.
 *
 * Theory of operation. `app` runs one program. What it starts as has no capability, not even in its own
 * user namespace, and can't get one: bounding set empty, root nobody special (securebits), no_new_privs. uv-init alone keeps four, to start
 * programs as their users and to signal them, and takes them from whatever it starts (init/program.c).
 *
 * `system` (Init=yes) runs an image's own init with what a distribution's services ask for: all
 * of it counts in the container's user namespace only. Left out is what opens the kernel's least tested doors
 * even there (CAP_NET_RAW with packet sockets, CAP_MKNOD, which can't make a node there anyway) and what means
 * the machine rather than the container (time, modules, reboot, raw I/O, the kernel's log, audit).
 * CAP_SYS_BOOT isn't kept, so that an init that wants to halt ends, with a status that can be told.
 *
 * LXC_NESTING adds to either: user namespaces and mounts by the filter, and a /proc without masks, for the
 * kernel lets a new one be mounted only where a whole one is seen. */

#include <stdio.h>
#include <sys/capability.h>

#include "plugins/lxc/lxc.h"

static const cap_value_t app[] = { CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_KILL };

static const cap_value_t init[] = {
        CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP,  /* files of its own ids */
        CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_KILL, CAP_SYS_CHROOT, CAP_SYS_PTRACE,          /* services and their users */
        CAP_SYS_ADMIN,          /* mounts and namespaces of services; user namespaces are the filter's to refuse */
        CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_NET_BROADCAST,         /* its own network namespace */
        CAP_IPC_OWNER, CAP_IPC_LOCK, CAP_LEASE, CAP_AUDIT_WRITE, CAP_SYS_RESOURCE, CAP_SYS_NICE, CAP_SYS_TTY_CONFIG,
};

unsigned lxc_rights(const struct ulv_definition *d) {
        return (d->init ? LXC_INIT : 0u) | (d->nesting ? LXC_NESTING : 0u);
}

const cap_value_t *lxc_uv_init_capabilities(size_t *ret_n) {
        *ret_n = ULV_ARRAY_SIZE(app);
        return app;
}

bool lxc_keeps_capability(unsigned rights, int capability) {
        const cap_value_t *list = rights & LXC_INIT ? init : app;
        size_t n = rights & LXC_INIT ? ULV_ARRAY_SIZE(init) : ULV_ARRAY_SIZE(app);

        if (!lxc_barrier("caps"))
                return true;
        for (size_t i = 0; i < n; i++)
                if (list[i] == capability)
                        return true;
        return false;
}

bool lxc_apparmor_loaded(void) {
        FILE *f = fopen("/sys/kernel/security/apparmor/profiles", "re");
        char line[512];
        bool found = false;

        while (f && !found && fgets(line, sizeof(line), f))
                found = ulv_startswith(line, "ultravisor-container (");
        if (f)
                (void) fclose(f);
        return found;
}

bool lxc_apparmor_confines(pid_t pid) {
        char path[64], line[128] = "";

        snprintf(path, sizeof(path), "/proc/%d/attr/apparmor/current", (int) pid);
        FILE *f = pid > 0 ? fopen(path, "re") : NULL;
        bool read = f && fgets(line, sizeof(line), f);
        if (f)
                (void) fclose(f);
        return read && ulv_startswith(line, "ultravisor-container ");
}
