#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The systemd bed: runs a command on Debian 12's user land with systemd 252 as PID 1, D-Bus and polkit, in a
# container on this machine's own kernel. Faster than vm.sh, but without cgroup controllers, modules or devices.
#
#   nspawn.sh make                                          builds the tree that a run needs; instant when it is there
#   nspawn.sh run [-t SECONDS] PAYLOAD_DIR [-- COMMAND...]  makes it, then runs COMMAND (./run.sh) in a copy of the
#                                                           folder, /run/payload, as root
# Output and exit status are those of vm.sh.
#
# How: systemd-nspawn boots the tree under an overlay in memory, so it stays pristine and any number of runs may go
# on at once. The three files that host and agent speak through (lib.bash) are bind mounted at /bed.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.bash"

nspawn_make() {
        ((EUID == 0)) || bed_skip "root (for systemd-nspawn)"
        bed_need systemd-nspawn systemd-container
        bed_lock -s
        bed_tree_ready && return
        bed_lock -x
        bed_tree
        bed_lock -s
}

nspawn_run() {
        local timeout=$1 dir=$2 mount nspawn
        shift 2
        mount=$(findmnt -n -o TARGET -t cgroup2 | head -n 1)
        [[ -n $mount ]] || bed_skip "a mounted cgroup2"
        bed_begin
        bed_payload "$bed_run/payload" "$dir" "$@"
        bed_copy
        # nspawn makes its groups below the one that it is in, and leaves them there: each run has a group of its own.
        # The container outlives a killed nspawn, but not the pid namespace that both are in.
        bed_cgroup=$mount/${bed_run##*/}
        mkdir "$bed_cgroup"
        (
                echo "$BASHPID" >"$bed_cgroup/cgroup.procs"
                # Without systemd on the host there is no machined to register with, and no unit to make.
                SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 \
                        exec setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount-proc systemd-nspawn \
                        --quiet --directory="$bed_tree" --volatile=overlay --register=no --keep-unit --private-network \
                        --machine="bed-$$" --bind="$bed_run:/bed" --boot </dev/null >"$bed_run/console.log" 2>&1
        ) &
        nspawn=$!
        bed_pids+=("$nspawn")
        bed_finish "$nspawn" "$timeout"
        tail -n 15 "$bed_run/console.log" >&2
        bed_die "the container went away before the command ended"
}

bed_main nspawn_make nspawn_run "$@"
