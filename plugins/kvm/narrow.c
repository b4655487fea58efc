/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a VM's monitor gives up. It is uid 0, for libvirt takes no other's word for a system's domain; of root's rights
 * it keeps those of the table, first for a start, then for the time that the VM runs, and proves that the rest is gone.
 * (libvirtd, which it asks, has them all.) */

#include <linux/prctl.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include "lib/log.h"
#include "plugins/kvm/kvm.h"

static const struct kept {
        cap_value_t cap;
        enum ulv_stage until;   /* kept in this stage and those before */
        const char *reason;
} kept[] = {
        { CAP_CHOWN, ULV_STAGE_BORN, "the VM's directory and the log files get their owners" },
        { CAP_DAC_READ_SEARCH, ULV_STAGE_BORN, "Kernel= and Initrd= may lie where root doesn't own the directory" },
        { CAP_DAC_OVERRIDE, ULV_STAGE_STARTED, "what QEMU left in the VM's directory is removed, whosever it is" },
        { CAP_SETPCAP, ULV_STAGE_STARTED, "uv-port, forked again after a crash, empties its bounding set" },
        { CAP_SETUID, ULV_STAGE_STARTED, "uv-port becomes its own uid" },
        { CAP_SETGID, ULV_STAGE_STARTED, "uv-port becomes its own gid" },
        { CAP_KILL, ULV_STAGE_STARTED, "uv-port and QEMU have other uids and must be ended" },
        { CAP_SYS_NICE, ULV_STAGE_STARTED, "affinity of QEMU's threads" },
};

static bool is_kept(cap_value_t cap, enum ulv_stage stage) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(kept); i++)
                if (kept[i].cap == cap)
                        return stage <= kept[i].until;
        return false;
}

/* The bounding set first, while CAP_SETPCAP is there; then the others: what is kept and was there. */
static int narrow(enum ulv_stage stage) {
        cap_t now = cap_get_proc(), next = cap_init();
        int r = now && next ? 0 : -ENOMEM;

        for (cap_value_t cap = 0; r == 0 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
                cap_flag_value_t have = CAP_CLEAR;

                if (!is_kept(cap, stage)) {
                        if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 && cap_drop_bound(cap) < 0)
                                r = -errno;
                } else if (cap_get_flag(now, cap, CAP_PERMITTED, &have) == 0 && have == CAP_SET &&
                           (cap_set_flag(next, CAP_PERMITTED, 1, &cap, CAP_SET) < 0 || cap_set_flag(next, CAP_EFFECTIVE, 1, &cap, CAP_SET) < 0))
                        r = -errno;
        }
        if (r == 0 && (cap_reset_ambient() < 0 || cap_set_proc(next) < 0))
                r = -errno;
        (void) cap_free(now);
        (void) cap_free(next);
        return r;
}

/* Tries to take each dropped capability back. */
static int prove(enum ulv_stage stage) {
        int r = 0;

        for (cap_value_t cap = 0; r == 0 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
                cap_t want = is_kept(cap, stage) ? NULL : cap_get_proc();

                if (!want)
                        continue;
                if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != 0 || cap_set_flag(want, CAP_PERMITTED, 1, &cap, CAP_SET) < 0 ||
                    cap_set_flag(want, CAP_EFFECTIVE, 1, &cap, CAP_SET) < 0 || cap_set_proc(want) == 0)
                        r = -EPERM;
                (void) cap_free(want);
        }
        return r;
}

int kvm_narrow(ULV_UNUSED struct ulv_monitor *m, enum ulv_stage stage) {
        int r = narrow(stage);

        if (r == 0)
                r = prove(stage);
        return r < 0 ? ulv_log_errno(r, "cannot give up rights that are not needed") : 0;
}
