/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a VM's monitor gives up. It is uid 0, for libvirt takes no other's word for a system's domain; of root's rights
 * it keeps those of the table, first for a start, then for the time that the VM runs (monitor/narrow.c).
 * libvirtd, which it asks, has them all. */

#include <sys/capability.h>

#include "lib/log.h"
#include "plugins/kvm/kvm.h"

static const struct ulv_kept_right kept[] = {
        { CAP_CHOWN, ULV_STAGE_STARTED, "the VM's directory and the log files get their owners, and a disk's layer when it is attached" },
        { CAP_DAC_READ_SEARCH, ULV_STAGE_BORN, "Kernel= and Initrd= may lie where root doesn't own the directory" },
        { CAP_DAC_OVERRIDE, ULV_STAGE_STARTED, "what QEMU left in the VM's directory is removed, whosever it is" },
        { CAP_SETPCAP, ULV_STAGE_STARTED, "uv-port, forked again after a crash, empties its bounding set" },
        { CAP_SETUID, ULV_STAGE_STARTED, "uv-port becomes its own uid" },
        { CAP_SETGID, ULV_STAGE_STARTED, "uv-port becomes its own gid" },
        { CAP_KILL, ULV_STAGE_STARTED, "uv-port and QEMU have other uids and must be ended" },
        { CAP_SYS_NICE, ULV_STAGE_STARTED, "affinity of QEMU's threads" },
};

int kvm_narrow(ULV_UNUSED struct ulv_monitor *m, enum ulv_stage stage) {
        int r = ulv_monitor_narrow(kept, ULV_ARRAY_SIZE(kept), stage);

        return r < 0 ? ulv_log_errno(r, "cannot give up rights that are not needed") : 0;
}
