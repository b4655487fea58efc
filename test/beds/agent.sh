#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Runs inside a test bed, as root, as bed-agent.service: waits for a payload, runs its command, tells its exit
# status. lib.bash has the protocol. In the VM this process is part of the saved state: it is asleep in the wait
# for the disk when the state is saved, and wakes up there in every run.
set -u

if [[ -d /bed ]]; then                                  # nspawn.sh's bind mount
        source=/bed/payload out=/bed/out ctl=/bed/ctl
else                                                    # vm.sh's devices
        source=/dev/vdb out=/dev/virtio-ports/bed.out ctl=/dev/virtio-ports/bed.ctl
        until [[ -e $out && -e $ctl ]]; do sleep 0.1; done
fi
scratch=/run/bed
mkdir -p "$scratch" /run/payload
mount --bind /payload /run/payload                      # on the disk: /run is memory, which tests count

# The disk is read past the page cache, or the first, empty answer would stay for ever.
wait_for_disk() {
        until [[ $(head -c 8 "$scratch/head" 2>/dev/null | tr -d '\0') == BED_NOW= ]]; do
                sleep 0.1
                dd if="$source" of="$scratch/head" bs=64K count=1 iflag=direct status=none
        done
}

state=$(systemctl is-system-running --wait)
if [[ $source == /dev/vdb ]]; then
        # What every run needs is in the page cache before the state is saved.
        cat /bin/tar /usr/bin/busctl /usr/bin/systemctl /usr/bin/bats /usr/lib/x86_64-linux-gnu/*.so.* >/dev/null 2>&1
        tar --version >/dev/null; busctl list >/dev/null; systemctl list-units >/dev/null
        sync
        sleep 1
        echo "ready $state $(systemctl list-units --failed --plain --no-legend | cut -d' ' -f1 | tr '\n' ' ')" >"$ctl"
        wait_for_disk
else
        dd if="$source" of="$scratch/head" bs=64K count=1 status=none
fi

tr -d '\0' <"$scratch/head" >"$scratch/head.sh"
# shellcheck source=/dev/null
. "$scratch/head.sh"
if [[ $source == /dev/vdb ]]; then
        date -s "@$BED_NOW" >/dev/null                  # the saved state's clock has stood still
        echo "$BED_SEED" >/dev/urandom                  # and its random pool is the same in every run
        tar -C /run/payload -xf - < <(dd if="$source" bs=64K skip=1 iflag=direct status=none)
else
        tar -C /run/payload -xf - < <(dd if="$source" bs=64K skip=1 status=none)
fi

# A pipe stands between command and port, because a port can be opened only once: `echo >/dev/stderr` would fail.
# A process left behind may keep the pipe open, so the end of the copy is waited for, but not long.
mkfifo "$scratch/pipe"
cat "$scratch/pipe" >"$out" &
copy=$!
# A session of its own, or a `kill 0` in it would end this script too.
(cd /run/payload && exec setsid --wait "${BED_COMMAND[@]}") </dev/null >"$scratch/pipe" 2>&1
status=$?
for ((i = 0; i < 20; i++)); do
        kill -0 "$copy" 2>/dev/null || break
        sleep 0.05
done
echo "exit $status" >"$ctl"
